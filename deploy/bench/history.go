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

// remember adds a line with the ratios of CPU time to RESULTS.md.
func (s *stage) remember(ctx context.Context, set settings, r report) error {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
	cmd.Dir = s.root
	commit, err := cmd.Output()
	if err != nil {
		commit = []byte("unknown")
	}
	f, err := os.OpenFile(filepath.Join(s.root, "deploy/bench/RESULTS.md"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "- %s, commit %s, %d cores, %s, %d rounds of %v. %s.\n", time.Now().UTC().Format("2006-01-02 15:04"),
		strings.TrimSpace(string(commit)), runtime.NumCPU(), runtime.Version(), set.rounds, set.time, strings.Join(r.history, ". "))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
