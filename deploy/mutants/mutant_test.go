package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each mutant can be made of the source as it is, and is Go.
func TestMutantsCanBeMade(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 200 {
		t.Errorf("%d mutants, want 200 and more", len(mutants))
	}
	seen := map[string]bool{}
	for _, m := range mutants {
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := m.apply(string(source))
		if err != nil {
			t.Errorf("%s: %v", m.check, err)
			continue
		}
		if changed == string(source) {
			t.Errorf("%s: nothing is changed", m.check)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, changed, 0); err != nil {
			t.Errorf("%s: %v", m.check, err)
		}
		if name := m.file + " " + m.check; seen[name] {
			t.Errorf("%s is there twice", name)
		} else {
			seen[name] = true
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	const head = "file a.go\ntest ./a ./b TestX|TestY\n\n"
	mutants, err := parse(head + "# why\nno x\n-\tif x {\n-\t}\n+\tif false {\n+\t}\n\nno y\n-y\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) != 2 {
		t.Fatalf("%d mutants, want 2", len(mutants))
	}
	m := mutants[0]
	if m.check != "no x" || m.file != "a.go" || strings.Join(m.packages, " ") != "./a ./b" || m.tests != "TestX|TestY" {
		t.Errorf("mutant = %+v", m)
	}
	if got, err := m.apply("{\n\tif x {\n\t}\n}"); err != nil || got != "{\n\tif false {\n\t}\n}" {
		t.Errorf("applied: %q, %v", got, err)
	}
	if got, err := mutants[1].apply("xyz"); err != nil || got != "xz" {
		t.Errorf("applied: %q, %v", got, err)
	}
	for _, source := range []string{"", "yy"} {
		if got, err := mutants[1].apply(source); err == nil {
			t.Errorf("applied to %q: %q, want an error", source, got)
		}
	}
	for _, bad := range []string{head + "-x\n", head + "no x\n", "no x\n-x\n", head + "no x\n+y\n"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is read, want an error", bad)
		}
	}
}

func TestKiller(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/A01_x (0.0s)\n        x\n--- FAIL: TestB (0.1s)\n    --- FAIL: TestB/B (0s)\n": "TestA/A01_x",
		"--- FAIL: TestA (0.1s)\n":            "TestA",
		"x\npanic: test timed out after 5m0s": "a panic, or a test that does not end",
		"go: no such directory\n":             "",
	} {
		if got := killer(text); got != want {
			t.Errorf("killer = %q, want %q", got, want)
		}
	}
}
