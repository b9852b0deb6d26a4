package main

import (
	"fmt"
	"io"
)

// A progress shows how far long work is, on one line of a terminal that goes
// when the work is done. Elsewhere it shows nothing.
type progress struct {
	out   io.Writer // nil: not a terminal
	shown bool
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{out: w}
}

// at shows how far it is now.
func (p *progress) at(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
		p.shown = true
	}
}

// end takes the line away.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}
