package main

import (
	"fmt"
	"strings"
)

// A mutant is the source with one check taken out.
type mutant struct {
	check    string // what is taken out, in words
	file     string
	packages []string // whose tests have to notice
	tests    string   // regexp of those that are run first
	quick    []string // files of tests that are compiled and run alone before that
	old, new string
	line     int // in mutants.txt
}

// parse reads mutants as they are written in mutants.txt.
func parse(text string) ([]mutant, error) {
	var mutants []mutant
	now := mutant{} // what is known of the next one
	flush := func() error {
		m := now
		now.check, now.old, now.new = "", "", ""
		switch {
		case m.check == "" && m.old == "" && m.new == "":
			return nil
		case m.check == "" || m.old == "" || m.file == "" || len(m.packages) == 0:
			return fmt.Errorf("mutants.txt:%d: a mutant needs a file, tests, the name of a check and a line with -", m.line)
		}
		m.old, m.new = strings.TrimSuffix(m.old, "\n"), strings.TrimSuffix(m.new, "\n")
		mutants = append(mutants, m)
		return nil
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		word, rest, _ := strings.Cut(line, " ")
		now.line = n
		switch {
		case line == "":
			if err := flush(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "-"):
			now.old += line[1:] + "\n"
		case strings.HasPrefix(line, "+"):
			now.new += line[1:] + "\n"
		case word == "file":
			now.file, now.quick = rest, nil
		case word == "quick":
			now.quick = strings.Fields(rest)
		case word == "test":
			fields := strings.Fields(rest)
			now.packages, now.tests = fields[:len(fields)-1], fields[len(fields)-1]
		default:
			now.check = line
		}
	}
	return mutants, flush()
}

// apply returns the source with the check taken out.
func (m mutant) apply(source string) (string, error) {
	if n := strings.Count(source, m.old); n != 1 {
		return "", fmt.Errorf("mutants.txt:%d: %q is %d times in %s, want once", m.line, m.old, n, m.file)
	}
	return strings.Replace(source, m.old, m.new, 1), nil
}
