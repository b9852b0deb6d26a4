package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jitgate/jitgate/config"
)

// A section is a mapping of the configuration file, made by a struct.
type section struct {
	typ    reflect.Type
	doc    string
	fields []*field
}

// A field is a key of a section.
type field struct {
	key      string // "" for whatever other keys there are
	doc      string
	fallback string // its default, "" where none is written
	required bool
	words    []string // that it can be
	typ      reflect.Type
	section  *section // of a mapping or a list of mappings, else nil
}

// reader makes sections of types, each once.
type reader struct {
	structs map[string]*ast.TypeSpec // by name
	done    map[reflect.Type]*section
}

// readConfig reads the docs in the folder of package config.
func readConfig(folder string) (*section, error) {
	r := reader{make(map[string]*ast.TypeSpec), make(map[reflect.Type]*section)}
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		r.collect(file)
	}
	return r.section(reflect.TypeFor[config.Config]())
}

// collect remembers the structs that a file declares.
func (r *reader) collect(file *ast.File) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			if typ, ok := spec.(*ast.TypeSpec); ok {
				typ.Doc = gen.Doc // where a declaration of one has it
				r.structs[typ.Name.Name] = typ
			}
		}
	}
}

// section returns the section of a struct. Every field with a key must have a doc.
func (r *reader) section(typ reflect.Type) (*section, error) {
	if s, ok := r.done[typ]; ok {
		return s, nil
	}
	spec := r.structs[typ.Name()]
	if spec == nil {
		return nil, fmt.Errorf("struct %s is not there", typ.Name())
	}
	s := &section{typ: typ, doc: plain(spec.Doc.Text(), typ.Name())}
	r.done[typ] = s
	for _, decl := range spec.Type.(*ast.StructType).Fields.List {
		for _, name := range decl.Names {
			tagged, _ := typ.FieldByName(name.Name)
			tag := tagged.Tag.Get("yaml")
			if tag == "" || tag == "-" {
				continue
			}
			if !strings.HasPrefix(decl.Doc.Text(), name.Name+" ") {
				return nil, fmt.Errorf("%s.%s has no doc that begins with its name", typ.Name(), name.Name)
			}
			f, err := r.field(tagged, decl.Doc.Text())
			if err != nil {
				return nil, err
			}
			s.fields = append(s.fields, f)
		}
	}
	return s, nil
}

var (
	// defaultOf matches the default at the end of a doc.
	defaultOf = regexp.MustCompile(`(?s)\s*Default:\s(.*)\.$`)

	// requiredAt matches the end of the doc of a key that has always to be there.
	requiredAt = regexp.MustCompile(`\s*(Required\.|At least one is required\.)$`)
)

// field returns the field of a key with its doc.
func (r *reader) field(tagged reflect.StructField, doc string) (*field, error) {
	f := &field{
		key:   strings.TrimSuffix(tagged.Tag.Get("yaml"), ",inline"),
		doc:   plain(doc, tagged.Name),
		words: strings.Fields(tagged.Tag.Get("oneof")),
		typ:   tagged.Type,
	}
	f.required = requiredAt.MatchString(f.doc)
	f.doc = requiredAt.ReplaceAllString(f.doc, "")
	if m := defaultOf.FindStringSubmatch(f.doc); m != nil {
		f.doc, f.fallback = strings.TrimSuffix(f.doc, m[0]), m[1]
	}
	inner := tagged.Type
	for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
		inner = inner.Elem()
	}
	if inner.Kind() != reflect.Struct || single(inner) {
		return f, nil
	}
	var err error
	f.section, err = r.section(inner)
	return f, err
}

// single reports whether a struct is written as one word.
func single(typ reflect.Type) bool { return typ.Name() == "Secret" || typ.Name() == "Prefix" }

// plain makes words for operators of a doc, which begins with the name of what it is of.
func plain(doc, name string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	for _, start := range []string{name + " is ", name + " are ", name + " ", "A " + name + " "} {
		if rest, ok := strings.CutPrefix(doc, start); ok {
			first, size := utf8.DecodeRuneInString(rest)
			return string(unicode.ToUpper(first)) + rest[size:]
		}
	}
	return doc
}
