package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// TestFresh compares what is written with what the docs say now.
func TestFresh(t *testing.T) {
	t.Parallel()
	made, err := generate(filepath.Join(root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range made {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the docs of package config say; run make docs", path)
		}
	}
}

// TestNoDoc takes away the doc of a key, and does not let it pass.
func TestNoDoc(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, doc, want string }{
		{"redis.go", "	// DB is the number of the database. A Cluster has 0 alone. Default: 0.\n", "Redis.DB has no doc that begins with its name"},
		{"group.go", "	// Not holds if this rule does not.\n", "Rule.Not has no doc that begins with its name"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "config"))); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, c.file)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		without := strings.Replace(string(data), c.doc, "", 1)
		if without == string(data) {
			t.Fatalf("%s does not have %q", c.file, c.doc)
		}
		if err := os.WriteFile(file, []byte(without), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := generate(dir); err == nil || err.Error() != c.want {
			t.Errorf("generate without the doc: %v, want %q", err, c.want)
		}
	}
}

// TestLinks follows the links of the reference: each leads to a heading of it, or to a
// file beside it.
func TestLinks(t *testing.T) {
	t.Parallel()
	made, err := generate(filepath.Join(root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(made["deploy/CONFIGURATION.md"])
	headings := make(map[string]bool)
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(line, "## `"); ok {
			headings[anchor.Replace(strings.TrimSuffix(heading, "`\n"))] = true
		}
	}
	links := 0
	for _, after := range strings.Split(text, "](")[1:] {
		to, _, _ := strings.Cut(after, ")")
		links++
		if name, inside := strings.CutPrefix(to, "#"); inside && headings[name] {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "deploy", to)); err != nil {
			t.Errorf("nothing is at %q", to)
		}
	}
	if links < 15 {
		t.Errorf("%d links, want one for each section", links)
	}
}
