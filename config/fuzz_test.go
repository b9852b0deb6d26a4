package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse looks for a file that makes Parse panic, that is refused without
// saying why, whose problems are not in the file, or that is accepted and not by the
// Schema.
func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	example, err := os.ReadFile("../deploy/jitgate.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	paths, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("x.yaml", data, files)
		if err == nil {
			if c == nil || c.Base().Host == "" || len(c.Session.KeyBytes()) == 0 {
				t.Errorf("Parse accepts a configuration without base_url or keys")
			}
			if wrong := bySchema(t, data); len(wrong) > 0 {
				t.Errorf("the schema refuses at %q what Parse accepts", wrong)
			}
			return
		}
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) == 0 || c != nil {
			t.Fatalf("Parse = %v, %v, want problems", c, err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Col < 1 || p.Text == "" {
				t.Errorf("problem %+v is nowhere, or says nothing", p)
			}
		}
	})
}
