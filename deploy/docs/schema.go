package main

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/jitgate/jitgate/config"
)

// schema returns the JSON Schema of a whole configuration. It accepts whatever
// jitgate accepts, and says of most of the rest what is wrong with it; all that is
// wrong says jitgate check alone.
func (s *section) schema() ([]byte, error) {
	defs := make(object)
	root := s.object(defs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "jitgate.yaml"
	root["$defs"] = defs
	data, err := json.MarshalIndent(root, "", "  ")
	return append(data, '\n'), err
}

// An object is one of JSON.
type object map[string]any

// object returns the schema of a section. One that has sections like itself is among
// the defs.
func (s *section) object(defs object) object {
	properties, required := make(object), []string{}
	o := object{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	for _, f := range s.fields {
		if f.key == "" {
			o["additionalProperties"] = text
			continue
		}
		properties[f.key] = f.schema(s, defs)
		if f.required {
			required = append(required, f.key)
		}
	}
	if len(required) > 0 {
		o["required"], o["type"] = required, "object"
	}
	return o
}

// schema returns the schema of a key in the section around it.
func (f *field) schema(around *section, defs object) object {
	o := f.value(f.typ, around, defs)
	if len(f.words) > 0 {
		if items, ok := o["items"]; ok {
			items.(object)["enum"] = f.words
		} else {
			o = object{"enum": f.words}
		}
	}
	o["description"] = f.doc
	if f.fallback != "" {
		o["description"] = o["description"].(string) + " Default: " + f.fallback + "."
	}
	if v, ok := f.defaultValue(); ok {
		o["default"] = v
	}
	if f.required && f.typ.Kind() == reflect.Slice {
		o["type"], o["minItems"] = "array", 1
	}
	return o
}

// text is the schema of a text. What looks like a number is one too.
var text = object{"type": []string{"string", "number", "boolean"}}

// value returns the schema of what is written for a type.
func (f *field) value(typ reflect.Type, around *section, defs object) object {
	switch typ {
	case reflect.TypeFor[time.Duration]():
		return object{"type": []string{"string", "integer"}, "pattern": `^([0-9]+d|0|[+-]?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+)$`, "maximum": 0}
	case reflect.TypeFor[config.Size]():
		return object{"type": []string{"string", "integer"}, "pattern": `^(unlimited|[0-9]+([KMG]iB)?)$`, "minimum": 0}
	case reflect.TypeFor[config.Secret]():
		return object{"type": "string", "pattern": "^(env|file):."}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return f.value(typ.Elem(), around, defs)
	case reflect.Slice:
		return object{"type": []string{"array", "null"}, "items": f.value(typ.Elem(), around, defs)}
	case reflect.Map:
		return object{"type": []string{"object", "null"}, "additionalProperties": f.value(typ.Elem(), around, defs)}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": []string{"integer", "string"}, "pattern": "^[+-]?[0-9]+$"}
	case reflect.Float64:
		return object{"type": []string{"number", "string"}}
	case reflect.Struct:
		if single(typ) {
			return object{"type": "string"}
		}
		return f.below(around, defs)
	}
	return object{"type": text["type"]}
}

// below returns the schema of the field's section.
func (f *field) below(around *section, defs object) object {
	if !slices.ContainsFunc(f.section.fields, func(inner *field) bool { return inner.section == f.section }) {
		return f.section.object(defs)
	}
	name := f.section.typ.Name()
	if f.section != around {
		defs[name] = f.section.object(defs)
	}
	return object{"$ref": "#/$defs/" + name}
}

// literal matches defaults that are values and not words about them.
var literal = regexp.MustCompile(`^(true|false|[0-9]+|[0-9]+[a-z]+|[0-9]+[KMG]iB)$`)

// defaultValue returns the default as a value, where it is written as one.
func (f *field) defaultValue() (any, bool) {
	switch fallback := f.fallback; {
	case len(f.words) > 0:
		return fallback, slices.Contains(f.words, fallback)
	case !literal.MatchString(fallback):
		return nil, false
	case f.typ.Kind() == reflect.Bool:
		return fallback == "true", true
	case f.typ.Kind() == reflect.Int:
		n, err := strconv.Atoi(fallback)
		return n, err == nil
	default:
		return fallback, true
	}
}
