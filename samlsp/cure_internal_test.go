package samlsp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every name in checks.go has its meaning and its cure, in the order there.
func TestCures(t *testing.T) {
	t.Parallel()
	var names, have []string
	for _, r := range remedies() {
		have = append(have, r.check)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "checks.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok {
			name, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		return true
	})
	if !slices.Equal(have, names) {
		t.Errorf("cures of  %q\nchecks are %q", have, names)
	}
	for _, name := range names {
		meaning, cure := Cure(name)
		for _, text := range []string{meaning, cure} {
			if len(text) < 20 || !strings.HasSuffix(text, ".") || strings.Contains(text, ". ") || strings.Contains(text, "  ") {
				t.Errorf("%s: %q is not one sentence", name, text)
			}
		}
	}
	if meaning, cure := Cure("nothing"); meaning != "" || cure != "" {
		t.Errorf("Cure of nothing = %q, %q; want neither", meaning, cure)
	}
	if meaning, _ := Cure(checkTooLarge); !strings.Contains(meaning, strconv.Itoa(maxResponse>>10)+" KiB") {
		t.Errorf("the limit is %d KiB: %q", maxResponse>>10, meaning)
	}
}

// The cures name keys of the configuration: those that there are.
func TestCuresNameKeys(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../deploy/jitgate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for word := range strings.FieldsFuncSeq(cures, func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz_.[]", c) }) {
		word = strings.TrimSuffix(word, ".")
		if _, isCheck := checkNamed(word); isCheck || !strings.ContainsAny(word, "_.") || word == "jitgate.yaml" || strings.HasPrefix(word, "[") {
			continue
		}
		for key := range strings.SplitSeq(strings.ReplaceAll(word, "[]", ""), ".") {
			keys++
			if !strings.Contains(string(example), key+":") {
				t.Errorf("%q: no key %q in the example", word, key)
			}
		}
	}
	if keys < 10 {
		t.Errorf("%d keys found in the cures, want more", keys)
	}
}

func checkNamed(name string) (remedy, bool) {
	for _, r := range remedies() {
		if r.check == name {
			return r, true
		}
	}
	return remedy{}, false
}
