package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	// File is the file's name, as it was given to [Load] or [Parse].
	File string

	// Line and Col are where it is, counted from 1; Col counts characters. For a
	// key that is missing they are those of the section it is missing from.
	Line, Col int

	// Key is the path to the key, like identity_providers[0].metadata.url. It is
	// empty where the file is not YAML at all.
	Key string

	// Text says what is wrong and what to write instead. It never shows a secret.
	Text string
}

// String returns p as file:line:col: key: text.
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Col)
	if p.Key != "" {
		s += p.Key + ": "
	}
	return s + p.Text
}

// Problems is everything that is wrong with a configuration file, in the order
// of the file. It is never empty when returned as an error.
type Problems []Problem

// Error returns the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// place is a position in the file.
type place struct{ line, col int }

// report collects the problems of one file, and knows where in it each key is.
type report struct {
	file, dir string
	places    map[string]place // by the path of the key
	broken    map[string]bool  // keys whose value could not be decoded
	problems  Problems
}

func newReport(file, dir string) *report {
	return &report{
		file:   file,
		dir:    dir,
		places: map[string]place{"": {1, 1}},
		broken: make(map[string]bool),
	}
}

// has reports whether the file gives key a value.
func (r *report) has(key string) bool {
	_, ok := r.places[key]
	return ok
}

// add records that something is wrong with key. It records one problem a key,
// and none below a key that could not be decoded: those would be consequences.
func (r *report) add(key, format string, args ...any) {
	if slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Key == key }) {
		return
	}
	at, found := place{}, false
	for k := key; ; k = parent(k) {
		if r.broken[k] {
			return
		}
		if p, ok := r.places[k]; ok && !found {
			at, found = p, true
		}
		if k == "" {
			break
		}
	}
	r.addAt(at, key, fmt.Sprintf(format, args...))
}

// fail is add for a key whose value could not be decoded.
func (r *report) fail(key, format string, args ...any) {
	r.add(key, format, args...)
	r.broken[key] = true
}

func (r *report) addAt(at place, key, text string) {
	r.problems = append(r.problems, Problem{File: r.file, Line: at.line, Col: at.col, Key: key, Text: text})
}

// sorted returns the problems in the order of the file.
func (r *report) sorted() Problems {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Key, b.Key))
	})
	return r.problems
}

// parent returns the path of the key or list that holds the key at path.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// oneOf records a problem unless v, a word or a list of words, is of those allowed.
// Where there are none, everything is.
func (r *report) oneOf(key string, v reflect.Value, allowed []string) {
	switch {
	case len(allowed) == 0:
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			r.oneOf(fmt.Sprintf("%s[%d]", key, i), v.Index(i), allowed)
		}
	case !slices.Contains(allowed, v.String()):
		r.add(key, "%q is not known here; write %s", v, orList(allowed))
	}
}

// known records a problem unless value is among those defined, calling it a
// what, and says how to define it.
func (r *report) known(key, what, value string, defined map[string]bool) {
	if !defined[value] {
		r.add(key, "%s", unknown(what, value, slices.Collect(maps.Keys(defined))))
	}
}

// unknown is the text for a reference to something that is not defined.
func unknown(what, value string, defined []string) string {
	if near := nearest(value, defined); near != "" {
		return fmt.Sprintf("%s %q is not defined; did you mean %q?", what, value, near)
	}
	if len(defined) == 0 {
		return fmt.Sprintf("%s %q is not defined, nor is any other; define it first", what, value)
	}
	slices.Sort(defined)
	if len(defined) > 12 {
		return fmt.Sprintf("%s %q is not defined; define it, or write one that is", what, value)
	}
	return fmt.Sprintf("%s %q is not defined; define it, or write %s", what, value, orList(defined))
}

// unique records a problem if value was seen before, and remembers where it is
// now. The values of one list share one seen.
func (r *report) unique(key, value string, seen map[string]string) {
	if first, ok := seen[value]; ok {
		r.add(key, "%q is there already, as %s; remove one or change it", value, first)
		return
	}
	seen[value] = key
}

// orList joins words as in "a", "b" or "c".
func orList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// nearest returns the candidate that word is most likely a slip of, or "".
func nearest(word string, candidates []string) string {
	best, least := "", min(3, len(word)/2+1)
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of bytes to insert, remove or replace to get from a to
// b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
