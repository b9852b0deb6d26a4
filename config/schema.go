package config

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of the configuration file, for editors:
// it accepts whatever [Load] accepts, and knows the keys, their types and docs. It is
// made by make docs.
//
//go:embed schema.json
var Schema string
