package proxy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/proxy/page"
)

// TestCodesAreInREADME holds the codes that the packages define against the rows
// of README's table: each has one, and there is none for a code that is not.
func TestCodesAreInREADME(t *testing.T) {
	t.Parallel()
	defined := make(map[string]bool)
	for _, file := range []string{"errors.go", "../samlsp/samlsp.go", "../provision/signin.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := len(defined)
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if ok && strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "code") && len(spec.Values) == 1 {
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
					code, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					defined[code] = true
				}
			}
			return true
		})
		if len(defined) == before {
			t.Errorf("%s defines no code", file)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "## When a sign-in fails")
	described := make(map[string]bool)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				described[code[1]] = true
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(defined)) {
		if !described[code] {
			t.Errorf("README has no row for %s", code)
		}
		if page.Message(httptest.NewRequest("GET", "/", nil), code) == "error."+code+".text" {
			t.Errorf("there is no text for %s", code)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(described)) {
		if !defined[code] {
			t.Errorf("README describes %s, which nothing defines", code)
		}
	}
}

// TestSaid: what the gateway has a page say besides the codes is in the pages' texts.
func TestSaid(t *testing.T) {
	t.Parallel()
	texts := make(map[string]string)
	data, err := os.ReadFile("page/lang/en.json")
	if err == nil {
		err = json.Unmarshal(data, &texts)
	}
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for form, key := range map[string]string{
			`\bsay(?:, \w\.\w+)? *[:=]+ *"(\w+)"`:      "error.%s.text",
			`page\.Link\{URL: [^{}]*, Text: "(\w+)"\}`: "link.%s",
			`link\.Text = "(\w+)"`:                     "link.%s",
			`sendTo\(w, r, \w+, "(\w+)"\)`:             "post.%s.title",
			`return "(unknown_host)"`:                  "error.%s.title",
		} {
			for _, said := range regexp.MustCompile(form).FindAllStringSubmatch(string(source), -1) {
				found++
				if key := fmt.Sprintf(key, said[1]); texts[key] == "" {
					t.Errorf("%s says %s, which there is not", file, key)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("found %d places, want those that there are", found)
	}
}
