package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// profilePart is how much of a profile an activity is.
type profilePart struct {
	what string
	time time.Duration
	do   func(context.Context, candidate, time.Duration) (load, error)
}

// profileParts are what jitgate does while it is profiled: most of all, pass on
// the requests of visitors with a session, and some of all else.
func (s *stage) profileParts() []profilePart {
	public := func(c candidate) candidate { c.request.path, c.request.cookie = "/public/", ""; return c }
	stranger := func(c candidate) candidate {
		c.request.cookie, c.request.status, c.request.body = "", http.StatusFound, 0
		return c
	}
	as := func(change func(candidate) candidate) func(context.Context, candidate, time.Duration) (load, error) {
		return func(ctx context.Context, c candidate, d time.Duration) (load, error) {
			return asFastAs(32)(ctx, change(c), d)
		}
	}
	return []profilePart{
		{"requests with a session", 30 * time.Second, asFastAs(32)},
		{"public paths", 3 * time.Second, as(public)},
		{"requests without a session", 3 * time.Second, as(stranger)},
		{"logins", 8 * time.Second, s.signIns},
	}
}

// makeProfile profiles a jitgate under load, and writes the profile that the
// compiler then builds it by.
func makeProfile(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	binary, err := s.build(ctx, "jitgate", "-tags", "profile", "-pgo", "off")
	if err != nil {
		return err
	}
	raw := filepath.Join(s.dir, "cpu.pprof")
	p, err := s.startGateway(ctx, binary, gatewayConfig{}, "JITGATE_CPUPROFILE="+raw)
	if err != nil {
		return err
	}
	c, err := s.signedIn("jitgate", p, gatewayLogin(p), sessionGroups)
	if err != nil {
		return err
	}
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	for _, part := range s.profileParts() {
		fmt.Fprintf(os.Stderr, "profiling %s\n", part.what)
		l, err := part.do(ctx, c, part.time)
		if err == nil && l.Failed > 0 {
			err = fmt.Errorf("%d failed", l.Failed)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part.what, err)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	if err := p.awaitFile(ctx, raw); err != nil {
		return err
	}
	file := filepath.Join(s.root, "cmd/jitgate/default.pgo")
	data, err := os.ReadFile(raw)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d kB\n", file, len(data)/1000)
	return os.WriteFile(file, data, 0o644)
}

// awaitFile waits for a file that the process is to write.
func (p *process) awaitFile(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := os.Stat(file)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return errors.New("jitgate has ended")
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
