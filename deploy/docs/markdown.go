package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/jitgate/jitgate/config"
)

const preface = `# Configuration

Every key of jitgate.yaml. This file is made of the docs of package config by
` + "`make docs`" + `; change them there. [jitgate.example.yaml](jitgate.example.yaml) has
every key in use, and ` + "`jitgate check --schema`" + ` prints a JSON Schema, with which an
editor completes keys and says what they are:

    jitgate check --schema > jitgate.schema.json
    # yaml-language-server: $schema=jitgate.schema.json    <- the first line of jitgate.yaml

Paths are relative to the folder of the file. A *duration* is like 90s, 15m, 1h30m
or 90d; a *size* like 4096, 32KiB, 10MiB or 1GiB; a *network* like 10.0.0.0/8, or an
address; a *secret* names where it is: env:NAME is an environment variable and
file:PATH a file.
`

// markdown returns the reference of a whole configuration.
func (s *section) markdown() []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	b.WriteString("\n## Top level\n\n")
	s.write(&b, "")
	return b.Bytes()
}

// write writes the keys of a section at path, and then the sections below it.
func (s *section) write(b *bytes.Buffer, path string) {
	for _, f := range s.fields {
		name := "`" + f.key + "`"
		if f.key == "" {
			name = "any other key"
		}
		fmt.Fprintf(b, "- **%s** (%s)", name, f.facts(s, path))
		if f.doc != "" {
			b.WriteString(": " + f.doc)
		}
		if f.fallback != "" {
			b.WriteString(" Default: " + f.fallback + ".")
		}
		b.WriteByte('\n')
	}
	for _, f := range s.fields {
		if f.section == nil || f.section == s {
			continue
		}
		inner := f.path(path)
		fmt.Fprintf(b, "\n## `%s`\n\n%s\n\n", inner, f.section.doc)
		f.section.write(b, inner)
	}
}

// path returns the field's path, where its section is at path.
func (f *field) path(path string) string {
	if path != "" {
		path += "."
	}
	path += f.key
	if f.typ.Kind() == reflect.Slice {
		path += "[]"
	}
	return path
}

// facts says what can be written for the field, in a section at path.
func (f *field) facts(around *section, path string) string {
	kind := kindOf(f.typ)
	if len(f.words) > 0 {
		kind = "`" + strings.Join(f.words, "`, `") + "`"
		if f.typ.Kind() == reflect.Slice {
			kind = "list of " + kind
		}
	}
	if f.section != nil && f.section != around {
		inner := f.path(path)
		kind += fmt.Sprintf(": [%s](#%s)", inner, anchor.Replace(inner))
	}
	if f.required {
		kind += ", required"
	}
	return kind
}

// anchor makes of a heading what links lead to it by.
var anchor = strings.NewReplacer(".", "", "[", "", "]", "")

// kindOf names what is written for a type.
func kindOf(typ reflect.Type) string {
	switch typ {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[config.Size]():
		return "size"
	case reflect.TypeFor[config.Secret]():
		return "secret"
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return kindOf(typ.Elem())
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Struct && !single(typ.Elem()) {
			return "list"
		}
		return "list of " + kindOf(typ.Elem()) + "s"
	case reflect.Map:
		return "mapping of " + kindOf(typ.Elem()) + "s"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Float64:
		return "number"
	case reflect.Struct:
		if single(typ) {
			return "network"
		}
		return "mapping"
	}
	return "text"
}
