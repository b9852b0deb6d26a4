// Mutants takes the checks out of the code that decides who may sign in, one at a
// time, and runs the tests: each mutant has to be killed by one. A check that can
// go without any test failing is one that a slip can take away unseen.
//
//	go run ./deploy/mutants [-run regexp] [-jobs n]
//
// The mutants are in mutants.txt, which says how they are written. Each is made in
// a copy of the tree, never in the tree itself. It prints what became of each, and
// ends with status 1 if one survived or could not be made.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed mutants.txt
var list string

func main() {
	filter := flag.String("run", "", "make only the mutants whose file and check match this `regexp`")
	jobs := flag.Int("jobs", 1, "make so many at a time, each in a copy of its own")
	flag.Parse()
	ok, err := run(os.Stdout, *filter, *jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run makes the mutants, and reports whether all of them were killed.
func run(out io.Writer, filter string, jobs int) (bool, error) {
	wanted, err := regexp.Compile(filter)
	if err != nil {
		return false, err
	}
	all, err := parse(list)
	if err != nil {
		return false, err
	}
	var mutants []mutant
	for _, m := range all {
		if wanted.MatchString(m.file + " " + m.check) {
			mutants = append(mutants, m)
		}
	}
	root, err := moduleRoot()
	if err != nil {
		return false, err
	}
	work, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(work)
	if err := sound(root, mutants); err != nil {
		return false, err
	}
	fates, err := breed(root, work, mutants, max(1, jobs))
	if err != nil {
		return false, err
	}
	return report(out, mutants, fates), nil
}

// sound returns an error unless the tests pass on the tree as it is: else they
// would kill everything.
func sound(root string, mutants []mutant) error {
	seen := map[string]bool{}
	for _, m := range mutants {
		for _, what := range m.stages(root) {
			if name := strings.Join(what, " "); !seen[name] && !strings.HasPrefix(name, "-run=") {
				seen[name] = true
				if f := test(root, what); f != (fate{}) {
					return fmt.Errorf("the tests do not pass as it is: %s\n%s", f.killer, f.detail)
				}
			}
		}
	}
	return nil
}

// breed makes the mutants in several copies of the tree at a time. The fate of each
// comes through its own channel, so that they can be told in their order.
func breed(root, work string, mutants []mutant, jobs int) ([]chan fate, error) {
	todo := make(chan int)
	fates := make([]chan fate, len(mutants))
	for i := range fates {
		fates[i] = make(chan fate, 1)
	}
	for j := range jobs {
		tree := filepath.Join(work, fmt.Sprint(j))
		if err := copyTree(tree, root); err != nil {
			return nil, err
		}
		go func() {
			for i := range todo {
				fates[i] <- try(tree, mutants[i])
			}
		}()
	}
	go func() {
		for i := range mutants {
			todo <- i
		}
		close(todo)
	}()
	return fates, nil
}

// report writes a line for each mutant, and reports whether all were killed.
func report(out io.Writer, mutants []mutant, fates []chan fate) bool {
	file, killed, began := "", 0, time.Now()
	for i, m := range mutants {
		if m.file != file {
			file = m.file
			fmt.Fprintf(out, "\n%s\n", file)
		}
		f := <-fates[i]
		if f.killer != "" {
			killed++
			fmt.Fprintf(out, "  killed    %-70s %s\n", m.check, f.killer)
			continue
		}
		fmt.Fprintf(out, "  %-9s %-70s %s\n", f.what, m.check, f.detail)
	}
	fmt.Fprintf(out, "\n%d of %d killed in %s\n", killed, len(mutants), time.Since(began).Round(time.Second))
	return killed == len(mutants)
}

// A fate is what became of a mutant.
type fate struct {
	killer string // the test that failed; "" if none did
	what   string // else: SURVIVED, or BROKEN
	detail string
}

// try makes one mutant in the tree, runs the tests and takes it back. The tests
// that it names come first, since that is quicker.
func try(tree string, m mutant) fate {
	name := filepath.Join(tree, m.file)
	before, err := os.ReadFile(name)
	if err != nil {
		return fate{what: "BROKEN", detail: err.Error()}
	}
	after, err := m.apply(string(before))
	if err != nil {
		return fate{what: "BROKEN", detail: err.Error()}
	}
	defer os.WriteFile(name, before, 0o644)
	if err := os.WriteFile(name, []byte(after), 0o644); err != nil {
		return fate{what: "BROKEN", detail: err.Error()}
	}
	for _, what := range m.stages(tree) {
		f := test(tree, what)
		if f.killer != "" || f.what == "BROKEN" {
			return f
		}
	}
	return fate{what: "SURVIVED"}
}

// stages returns what go test is asked for, one after the other until a test
// fails. A mutant has survived when all tests of its packages have passed.
func (m mutant) stages(tree string) [][]string {
	var stages [][]string
	if len(m.quick) > 0 {
		files := slices.Clone(m.quick)
		sources, _ := fs.Glob(os.DirFS(tree), filepath.Dir(m.file)+"/*.go") // a good pattern
		for _, name := range sources {
			if !strings.HasSuffix(name, "_test.go") {
				files = append(files, name)
			}
		}
		stages = append(stages, files)
	}
	return append(stages, append([]string{"-run=" + m.tests}, m.packages...), m.packages)
}

// test runs go test, and returns which test has failed.
func test(tree string, what []string) fate {
	command := exec.Command("go", append([]string{"test", "-vet=off", "-failfast", "-count=1", "-ldflags=-s -w", "-timeout=5m"}, what...)...)
	command.Dir = tree
	text, err := command.CombinedOutput()
	if err == nil {
		return fate{}
	}
	if regexp.MustCompile(`\[(build|setup) failed\]`).Match(text) {
		return fate{what: "BROKEN", detail: "does not compile: " + firstError(string(text))}
	}
	if by := killer(string(text)); by != "" {
		return fate{killer: by, detail: strings.TrimSpace(string(text))}
	}
	return fate{what: "BROKEN", detail: strings.TrimSpace(string(text))}
}

// firstError returns the first error of the compiler.
func firstError(text string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, ".go:") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// killer returns the test that has failed, the innermost of the first ones. It is
// "" where none has: then go test has ended for another reason.
func killer(text string) string {
	best := ""
	for _, found := range regexp.MustCompile(`--- FAIL: (\S+)`).FindAllStringSubmatch(text, -1) {
		if strings.Count(found[1], "/") > strings.Count(best, "/") || best == "" {
			best = found[1]
		}
	}
	if best == "" && strings.Contains(text, "\npanic: ") {
		return "a panic, or a test that does not end"
	}
	return best
}

// moduleRoot returns the directory of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// copyTree copies the source, without what git and the build keep beside it.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case name == ".git" || name == "bin":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, info.Mode())
	})
}
