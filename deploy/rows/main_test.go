package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const table = `# Security

| Part | What | Rows | Ours |
|---|---|---|---|
| A | signatures, as in SHA-256 | A01-A02 | A10 |
| B | XML | B01 | |
`

// events writes lines of go test -json: "action package test output".
func events(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		f := strings.SplitN(line, " ", 4)
		b.WriteString(`{"Action":"` + f[0] + `","Package":"` + f[1] + `","Test":"` + f[2] + `"`)
		if len(f) > 3 {
			b.WriteString(`,"Output":"` + f[3] + `\n"`)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestRows(t *testing.T) {
	all := []string{
		"start p ", "output p T/A01_x noise", "pass p T/A01_x", "pass p T/A02", "pass p T/embedded/A10_of_ours", "pass p T/B01_y", "pass p T",
		"output p  ok  \\tp\\t0.1s", "pass p ",
	}
	for _, test := range []struct {
		why   string
		ci    string
		lines []string
		err   string
		shows string
	}{
		{"all there", "true", all, "", "ok  \tp\t0.1s\nrows A: 3 of 3\nrows B: 1 of 1\nrows: 4 of 4\n"},
		{"one is not there", "", all[3:], "A01 is not there", "rows A: 2 of 3\n"},
		{"one failed, after another of the same number has passed", "", append([]string{"output p T/B01_z it broke", "fail p T/B01_z"}, all...), "B01: fail", "it broke\n"},
		{"one was skipped", "", append([]string{"skip p T/B01_y"}, without(all, "pass p T/B01_y")...), "", "rows B: 0 of 1\n"},
		{"one was skipped in CI", "true", append([]string{"skip p T/B01_y"}, without(all, "pass p T/B01_y")...), "B01: skip", ""},
		{"skipped at one store, passed at the other", "true", append([]string{"skip p T/redis/B01_y"}, all...), "", "rows: 4 of 4\n"},
		{"a row that the table does not have", "", append([]string{"pass p T/C01_z"}, all...), "C01 is not in the table", ""},
		{"a package failed without a test", "", append([]string{"output q  panic: x", "fail q "}, all...), "failed: q", "panic: x\n"},
		{"a package that did not end", "", append([]string{"start q "}, all...), "not ended: q", ""},
		{"nothing was tested", "", nil, "no package was tested", ""},
	} {
		t.Setenv("CI", test.ci)
		file := filepath.Join(t.TempDir(), "SECURITY.md")
		if err := os.WriteFile(file, []byte(table), 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err := run([]string{file}, strings.NewReader(events(test.lines...)), &out)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want %q", test.why, err, test.err)
		}
		if !strings.Contains(out.String(), test.shows) {
			t.Errorf("%s: shows\n%s\nwant\n%s", test.why, &out, test.shows)
		}
	}
}

// without returns the lines but that one.
func without(lines []string, line string) []string {
	var rest []string
	for _, l := range lines {
		if l != line {
			rest = append(rest, l)
		}
	}
	return rest
}

// The real table can be read, and is complete.
func TestTable(t *testing.T) {
	page, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"A": 44, "B": 20, "C": 47, "D": 13, "E": 15, "F": 13, "G": 21, "H": 17} // at least
	for _, p := range readParts(string(page)) {
		if len(p.rows) < want[p.name] {
			t.Errorf("part %s has %d rows, want at least %d", p.name, len(p.rows), want[p.name])
		}
		delete(want, p.name)
	}
	if len(want) > 0 {
		t.Errorf("parts without a line: %v", want)
	}
}
