// Command docs writes what can be made of the struct docs of package config: the
// reference for operators, deploy/CONFIGURATION.md, and the JSON Schema for their
// editors, config/schema.json. Run it from the root of the repository: make docs.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run() error {
	made, err := generate("config")
	if err != nil {
		return err
	}
	for path, data := range made {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes the files, by their paths from the root of the repository, of the docs
// in the folder of package config.
func generate(folder string) (map[string][]byte, error) {
	root, err := readConfig(folder)
	if err != nil {
		return nil, err
	}
	schema, err := root.schema()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"deploy/CONFIGURATION.md": root.markdown(), "config/schema.json": schema}, nil
}
