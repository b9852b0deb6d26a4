// Rows reads what go test -json prints, shows of it what go test would, and counts
// the rows of the catalogue of attacks.
//
//	go test -json ./... | go run ./deploy/rows SECURITY.md
//
// A row is a subtest whose name begins with its number, like "A01 nothing is
// signed"; several may be of one row. Which rows there have to be is in a table of
// SECURITY.md. The exit status is 1 if a test failed, or a row is not there or, in
// CI, was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rows:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("want one argument, the file with the table")
	}
	page, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	parts := readParts(string(page))
	if len(parts) == 0 {
		return fmt.Errorf("%s has no table of rows", args[0])
	}
	r := report{out: out, output: make(map[string]string), rows: make(map[string]string), begun: make(map[string]bool)}
	if err := r.read(in); err != nil {
		return err
	}
	return errors.Join(r.failed(), r.count(parts, os.Getenv("CI") != ""))
}

// A part is a line of the table: the rows that there have to be.
type part struct {
	name string // a letter
	rows []string
}

var (
	partLine = regexp.MustCompile(`(?m)^\| ([A-Z]) \|.*$`)
	rowRange = regexp.MustCompile(`\b([A-Z])(\d\d)(?:-[A-Z](\d\d))?\b`)
	rowName  = regexp.MustCompile(`^[A-Z]\d\d(?:_|$)`)
)

func readParts(page string) []part {
	var parts []part
	for _, line := range partLine.FindAllStringSubmatch(page, -1) {
		p := part{name: line[1]}
		for _, m := range rowRange.FindAllStringSubmatch(line[0], -1) {
			first, _ := strconv.Atoi(m[2]) // two digits
			last, err := strconv.Atoi(m[3])
			if err != nil { // one row
				last = first
			}
			for n := first; n <= last; n++ {
				p.rows = append(p.rows, fmt.Sprintf("%s%02d", m[1], n))
			}
		}
		parts = append(parts, p)
	}
	return parts
}

// An event is one line of go test -json (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// A report is what was read so far.
type report struct {
	out    io.Writer
	output map[string]string // of tests and packages that have not ended
	rows   map[string]string // by number: pass, skip or fail, whichever is worst but that pass beats skip
	begun  map[string]bool   // packages that have not ended
	broken []string          // packages
	ended  int               // packages
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil {
				r.see(e)
			} else {
				fmt.Fprint(r.out, line) // of the go command itself
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading events: %w", err)
		}
	}
}

func (r *report) see(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "start":
		r.begun[e.Package] = true
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[key] += e.Output
	case "pass", "fail", "skip":
		r.end(e, r.output[key])
		delete(r.output, key)
	}
}

// end shows of a test or a package that has ended what people want to see.
func (r *report) end(e event, output string) {
	r.note(e.Test, e.Action)
	switch {
	case e.Action == "fail", e.Test != "" && e.Action == "skip":
		fmt.Fprint(r.out, output)
	case e.Test == "":
		for line := range strings.Lines(output) {
			if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") {
				fmt.Fprint(r.out, line)
			}
		}
	}
	if e.Test != "" {
		return
	}
	r.ended++
	delete(r.begun, e.Package)
	if e.Action == "fail" {
		r.broken = append(r.broken, e.Package)
	}
}

// note takes down how a test ended for the rows in its name.
func (r *report) note(test, action string) {
	for name := range strings.SplitSeq(test, "/") {
		if !rowName.MatchString(name) {
			continue
		}
		row := name[:3]
		if was := r.rows[row]; was == "" || action == "fail" || action == "pass" && was == "skip" {
			r.rows[row] = action
		}
	}
}

func (r *report) failed() error {
	if r.ended == 0 {
		return errors.New("no package was tested")
	}
	if len(r.begun) > 0 { // go test was cut off
		return fmt.Errorf("not ended: %s", strings.Join(slices.Sorted(maps.Keys(r.begun)), " "))
	}
	if len(r.broken) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(r.broken, " "))
	}
	return nil
}

// count prints how many rows of each part have passed. In CI, none may be skipped.
func (r *report) count(parts []part, ci bool) error {
	var wrong []string
	all, passed := 0, 0
	for _, p := range parts {
		good := 0
		for _, row := range p.rows {
			switch action := r.rows[row]; {
			case action == "pass":
				good++
			case action == "skip" && !ci:
			case action == "":
				wrong = append(wrong, row+" is not there")
			default:
				wrong = append(wrong, row+": "+action)
			}
			delete(r.rows, row)
		}
		fmt.Fprintf(r.out, "rows %s: %d of %d\n", p.name, good, len(p.rows))
		all, passed = all+len(p.rows), passed+good
	}
	fmt.Fprintf(r.out, "rows: %d of %d\n", passed, all)
	for _, row := range slices.Sorted(maps.Keys(r.rows)) {
		wrong = append(wrong, row+" is not in the table")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("rows: %s", strings.Join(wrong, ", "))
	}
	return nil
}
