// Bench measures what the gateway costs, beside a bare httputil.ReverseProxy and
// other proxies of the same machine.
//
//	go run ./deploy/bench [-quick] [-rounds n] [-time d] [-connections 32,256]
//	go run ./deploy/bench grow [-n sessions]
//	go run ./deploy/bench pgo
//
// Each round asks every candidate once, in random order, and what counts is the
// median of the ratios to the bare ReverseProxy of the same round: machines are
// noisy, and both are then of the same moment. CPU time is that of the candidate's
// processes alone, from /proc. The candidates are real programs, started on free
// ports of the loopback interface; deploy/testenv/install.sh bench installs those
// that come from Debian. A candidate that fails a request has no figures, and the
// exit status is then 1.
//
// What it prints is Markdown. A whole run adds a line to RESULTS.md. The command
// grow shows what depends on the number of sessions, identity providers, apps and
// groups; pgo writes the profile that the compiler builds jitgate by.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command runs a command line. Those commands that are not in the package's
// comment are the processes that a benchmark starts of its own program.
func command(ctx context.Context, args []string, out io.Writer) error {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	switch name {
	case "":
		return measure(ctx, args, out)
	case "grow":
		return grow(ctx, args, out)
	case "pgo":
		return makeProfile(ctx, args, out)
	case "bare":
		return serveBare(args)
	case "acs":
		return serveACS(args)
	case "pace":
		return servePace(args, out)
	}
	return fmt.Errorf("unknown command %q", name)
}

// Settings are how a benchmark is run.
type settings struct {
	rounds      int
	time        time.Duration
	connections []int
	quick       bool
	gateway     string // a jitgate that is built already
	against     string // another one, to compare
	only        string // requests or logins; "" for both
}

func parseSettings(args []string) (settings, error) {
	s := settings{connections: []int{32}}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&s.rounds, "rounds", 5, "ask every candidate `n` times")
	f.DurationVar(&s.time, "time", 3*time.Second, "for so `long` each")
	f.BoolVar(&s.quick, "quick", false, "the bare ReverseProxy and jitgate alone, small bodies, no logins, 3 rounds")
	f.StringVar(&s.gateway, "gateway", "", "measure the jitgate in this `file`, in place of one built now")
	f.StringVar(&s.against, "against", "", "measure the jitgate in this `file` as well")
	f.StringVar(&s.only, "only", "", "measure `requests` or logins alone")
	f.Func("connections", "with so many connections, a `list` like 32,256 (default 32)", func(list string) error {
		s.connections = nil
		for text := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a number of connections", text)
			}
			s.connections = append(s.connections, n)
		}
		return nil
	})
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if s.quick && !given(f, "rounds") {
		s.rounds = 3
	}
	if s.only != "" && s.only != "requests" && s.only != "logins" {
		return s, fmt.Errorf("-only %q: want requests or logins", s.only)
	}
	if f.NArg() > 0 || s.rounds < 1 || s.time < time.Second || s.time%time.Second != 0 {
		return s, errors.New("want at least one round, of whole seconds, and no further arguments")
	}
	return s, nil
}

// given reports whether a flag was on the command line.
func given(f *flag.FlagSet, name string) (found bool) {
	f.Visit(func(g *flag.Flag) { found = found || g.Name == name })
	return found
}
