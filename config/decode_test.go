package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestPlaces points at the right line and column in every style of YAML.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		yaml, key string
		line, col int
		why       string
	}{
		{"listen: x", "listen", 1, 9, "a word is at the word"},
		{"# c\n\nlisten:   x # d", "listen", 3, 11, "after comments and spaces"},
		{"listen:\n  x", "listen", 2, 3, "on the line after its key"},
		{"listen: 'x'", "listen", 1, 9, "at the quote"},
		{"listen: |\n  x\n", "listen", 1, 9, "a block of text is at its sign"},
		{"listen: >-\n  x\n  y\nadmin: {listen: z}", "admin.listen", 4, 17, "after a block of text"},
		{"\"listen\": x", "listen", 1, 11, "after a key in quotes"},
		{"listen:", "listen", 1, 1, "nothing is at its key"},
		{"---\nlisten: x\n...\n", "listen", 2, 9, "after the document's beginning"},
		{"%YAML 1.2\n---\nlisten: x\n", "listen", 3, 9, "after a directive"},
		{"\ufefflisten: x", "listen", 1, 9, "a byte order mark is no column"},
		{"admin:\r\n  listen: x\r\n", "admin.listen", 2, 11, "with the line ends of Windows"},
		{"admin: {socket: é, listen: x}", "admin.listen", 1, 28, "columns are characters, not bytes"},
		{"admin:\n  nonsense: [1,\n    2]\n", "admin.nonsense", 2, 3, "an unknown key is at the key"},
		{"directories:\n- name: a\n  domains:\n  - '?'\n  -   '!'\n", "directories[0].domains[1]", 5, 7, "an item of a list"},
		{"directories:\n  -\n    domains: [a.example]\n", "directories[0].name", 3, 5, "a missing key is where its section begins"},
		{"directories:\n- name: a\n", "directories[0].domains", 2, 3, "also in a list"},
		{"apps: [{name: w}]", "apps[0].allow", 1, 8, "also in braces"},
		{"saml:\n  cert_file: x\n", "saml.key_file", 1, 1, "a missing key of a section is at the section"},
		{"x: 1\nx: 2\n", "x", 1, 1, "an unknown key that comes twice is at the first, and at the second"},
	} {
		_, err := Parse("x", []byte(c.yaml), files)
		problems, _ := errors.AsType[Problems](err)
		found := false
		for _, p := range problems {
			if p.Key != c.key {
				continue
			}
			if !found && (p.Line != c.line || p.Col != c.col) {
				t.Errorf("%q: %s is at %d:%d, want %d:%d: %s", c.yaml, c.key, p.Line, p.Col, c.line, c.col, c.why)
			}
			found = true
		}
		if !found {
			t.Errorf("%q: no problem with %s, want one: %s\n%v", c.yaml, c.key, c.why, err)
		}
	}
}

// TestText keeps words as they are in the file where YAML would see a number or
// a truth: a text is wanted there.
func TestText(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"007", "1.10", "1_000", "0x1f", "true", "TRUE", "no", ".inf", ".nan", "1e3", "2026-01-31"} {
		data := strings.Replace(minimal, "apps:", "groups: [{name: g, rule: {attribute: userName, is: "+word+"}}]\napps:", 1)
		if got := parse(t, data).Groups[0].Rule.Is; got != word {
			t.Errorf("is: %s = %q, want %q", word, got, word)
		}
	}
}

// TestNothing takes a section with nothing in it for an empty one, as when all
// of its lines are commented out.
func TestNothing(t *testing.T) {
	t.Parallel()
	c := parse(t, minimal+"groups:\nattributes: ~\ntrusted_proxies: []\nadmin:\n")
	if len(c.Groups) != 0 || len(c.Attributes) != 3 || len(c.TrustedProxies) != 0 || !reflect.DeepEqual(c.Admin, Admin{}) {
		t.Errorf("empty sections = %v, %v, %v, %v, want none", c.Groups, c.Attributes, c.TrustedProxies, c.Admin)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	_, err := Parse("x", []byte(minimal+"#"+strings.Repeat("x", maxSize)), files)
	if got, want := err.Error(), "x:1:1: is larger than 1 MiB; a configuration is not"; got != want {
		t.Errorf("Parse = %q, want %q", got, want)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ word, want, why string }{
		{"listne", "listen", "two letters changed places"},
		{"Listen", "listen", "case alone"},
		{"liste", "listen", "one is missing"},
		{"redis", "", "nothing like it"},
		{"ab", "abc", "a short word may differ in one"},
		{"xy", "", "and not in all of its letters"},
	} {
		if got := nearest(c.word, []string{"listen", "abc", "tls"}); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q: %s", c.word, got, c.want, c.why)
		}
	}
}
