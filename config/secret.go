package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// hidden is what a Secret prints as.
const hidden = "[secret]"

// maxFile is the size past which a file that the configuration names is refused.
const maxFile = 16 << 20

// Secret is a value that is named in the configuration file, not written there:
//
//	env:NAME    the environment variable NAME
//	file:PATH   the file at PATH, without the line break at its end
//
// It is read once, by [Load]. It prints as "[secret]", however it is printed or
// encoded, so that a configuration can be logged.
type Secret struct {
	// A pointer, because fmt does not call Format on a value in an unexported
	// field of somebody else's struct, but prints no more than the address of one.
	value *string
}

// Reveal returns the secret itself, "" where the file gives none.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns "[secret]".
func (s Secret) String() string { return hidden }

// Format prints "[secret]" for every verb, also those that would print the
// fields of a struct.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// MarshalText returns "[secret]". It is what JSON and YAML encoders call.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// secret reads what reference names into v. No problem may quote reference: it
// could be the secret itself, written there by mistake.
func (r *report) secret(key, reference string, v reflect.Value) {
	kind, name, _ := strings.Cut(reference, ":")
	var value string
	switch {
	case kind == "env" && name != "":
		found := false
		if value, found = os.LookupEnv(name); !found {
			r.fail(key, "the environment variable %q is not set; set it, or write file:PATH", name)
			return
		}
	case kind == "file" && name != "":
		data, ok := r.read(key, &name)
		if !ok {
			r.broken[key] = true
			return
		}
		value = strings.TrimRight(string(data), "\r\n")
	default:
		r.fail(key, "is not the name of a secret; write env:NAME or file:PATH, and the secret there")
		return
	}
	if value == "" {
		r.fail(key, "the secret named here is empty; give it a value")
		return
	}
	v.Set(reflect.ValueOf(Secret{&value}))
}

// resolve makes *path relative to the configuration file's directory.
func (r *report) resolve(path *string) {
	if *path != "" && !filepath.IsAbs(*path) {
		*path = filepath.Join(r.dir, *path)
	}
}

// read resolves *path, the value of key, and returns what the file holds. It
// reports whether it could be read, having recorded the problem if not.
func (r *report) read(key string, path *string) ([]byte, bool) {
	if *path == "" {
		r.add(key, "is missing; write the path of a file, absolute or relative to this one")
		return nil, false
	}
	r.resolve(path)
	info, err := os.Stat(*path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("not a regular file")
	case info.Size() > maxFile:
		err = errors.New("larger than 16 MiB")
	case info.Size() == 0:
		err = errors.New("empty")
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(*path)
	}
	if err != nil {
		r.add(key, "cannot read %q: %v; write the path of a readable file", *path, reason(err))
		return nil, false
	}
	return data, true
}
