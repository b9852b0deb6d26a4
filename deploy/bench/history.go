package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// commitOf returns the commit that root is at, with -dirty where it has changes.
func commitOf(ctx context.Context, root string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// remember adds a line with the ratios of CPU time to RESULTS.md.
func (s *stage) remember(set settings, r report) error {
	f, err := os.OpenFile(filepath.Join(s.root, "deploy/bench/RESULTS.md"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "- %s, commit %s, %d cores, %s, %d rounds of %v. %s.\n", time.Now().UTC().Format("2006-01-02 15:04"),
		s.commit, runtime.NumCPU(), runtime.Version(), set.rounds, set.time, strings.Join(r.history, ". "))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
