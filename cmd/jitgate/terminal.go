package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// isTerminal reports whether w is where somebody reads along.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columnsOf returns how many columns a terminal has, 0 where w is none: what goes to a
// file or a pipe is not cut.
func columnsOf(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n, _, err := term.GetSize(int(w.(*os.File).Fd())); err == nil && n > 0 {
		return n
	}
	return 80
}

// bold returns text so that a terminal shows it bold, and as it is elsewhere, under
// NO_COLOR (no-color.org) and where the terminal can do nothing.
func bold(w io.Writer, text string) string {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// gap is between two columns of a table.
const gap = "  "

// minColumn is what a column has at least, where a table is cut to fit.
const minColumn = 6

// A table prints rows in columns. On a terminal, what does not fit is cut, from the
// widest columns first; elsewhere it is as wide as it has to be.
type table struct {
	out     io.Writer
	columns int // 0: any number
	header  bool
	rows    [][]string
	widest  []int // of each column so far
}

// newTable returns a table with a row of headers, or none.
func newTable(out io.Writer, header ...string) *table {
	t := &table{out: out, columns: columnsOf(out)}
	if len(header) > 0 {
		t.header, t.rows = true, [][]string{header}
	}
	return t
}

// row adds a row.
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = printable(fmt.Sprint(cell))
	}
	t.rows = append(t.rows, texts)
}

// flush prints the rows that were added. Those that come later are never narrower.
func (t *table) flush() error {
	widths := t.widths()
	for _, row := range t.rows {
		var b strings.Builder
		for i, cell := range row {
			cell = cutText(cell, widths[i])
			b.WriteString(cell + strings.Repeat(" ", widths[i]-textWidth(cell)) + gap)
		}
		line := strings.TrimRight(b.String(), " ")
		if t.header {
			line, t.header = bold(t.out, line), false
		}
		if _, err := fmt.Fprintln(t.out, line); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

// widths returns how wide each column is.
func (t *table) widths() []int {
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(t.widest) {
				t.widest = append(t.widest, 0)
			}
			t.widest[i] = max(t.widest[i], textWidth(cell))
		}
	}
	widths := slices.Clone(t.widest)
	if t.columns == 0 || len(widths) == 0 {
		return widths
	}
	for {
		total := len(gap) * (len(widths) - 1)
		for _, w := range widths {
			total += w
		}
		widest := slices.Index(widths, slices.Max(widths))
		if total <= t.columns || widths[widest] <= minColumn {
			return widths
		}
		widths[widest]--
	}
}

// printable returns text with nothing in it that would move the terminal's cursor, which
// a name that somebody chose may have.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// textWidth returns how many columns a printable text takes.
func textWidth(text string) int {
	columns := 0
	for _, c := range text {
		columns += runeWidth(c)
	}
	return columns
}

func runeWidth(c rune) int {
	if unicode.Is(unicode.Mn, c) {
		return 0
	}
	switch width.LookupRune(c).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cutText returns as much of a printable text as so many columns have room for.
func cutText(text string, columns int) string {
	if textWidth(text) <= columns {
		return text
	}
	used := 1 // by the mark that says so
	for i, c := range text {
		if used += runeWidth(c); used > columns {
			return text[:i] + "…"
		}
	}
	return text
}

// wrapText returns text in lines of so many columns at most. A word that is longer stays
// whole.
func wrapText(text string, columns int) []string {
	var lines []string
	line, used := "", 0
	for _, word := range strings.Fields(text) {
		n := textWidth(word)
		if used > 0 && used+1+n > columns {
			lines, line, used = append(lines, line), "", 0
		}
		if used > 0 {
			word, n = " "+word, n+1
		}
		line, used = line+word, used+n
	}
	return append(lines, line)
}
