package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// An axis is something that there may be more and more of.
type axis struct {
	name   string // in the plural
	counts []int
	scenes func(ctx context.Context, a axis) ([]scene, error)
}

// grow shows what it costs when there is more of something.
func grow(ctx context.Context, args []string, out io.Writer) (err error) {
	set := settings{rounds: 5, time: 3 * time.Second}
	f := flag.NewFlagSet("bench grow", flag.ContinueOnError)
	f.IntVar(&set.rounds, "rounds", set.rounds, "ask every candidate `n` times")
	f.DurationVar(&set.time, "time", set.time, "for so `long` each")
	f.StringVar(&set.gateway, "gateway", "", "measure the jitgate in this `file`, in place of one built now")
	most := f.Int("n", 1_000_000, "with up to `n` sessions")
	only := f.String("only", "", "with more of `something` alone: sessions, identity providers, apps or groups")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || set.rounds < 1 || set.time < time.Second || set.time%time.Second != 0 || *most < 1 {
		return errors.New("want at least one round, of whole seconds, one session, and no further arguments")
	}
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if set.gateway, err = s.gatewayBinary(ctx, set); err != nil {
		return err
	}
	g := growth{stage: s, binary: set.gateway}
	r := report{out: out}
	for _, a := range []axis{
		{"sessions", upTo(*most, 10, 10_000, 1_000_000), g.sessions},
		{"identity providers", []int{1, 100, 1000}, g.idps},
		{"apps", []int{1, 100, 2000}, g.apps},
		{"groups", []int{1, 10, 100, 800}, g.groups},
	} {
		if *only != "" && *only != a.name {
			continue
		}
		if err := g.measure(ctx, set, a, &r); err != nil {
			return err
		}
	}
	return r.err()
}

// upTo returns those of counts that are at most n, and n.
func upTo(n int, counts ...int) []int {
	counts = slices.DeleteFunc(counts, func(c int) bool { return c >= n })
	return append(counts, n)
}

// A growth is a stage for gateways that have more or less to do.
type growth struct {
	*stage
	binary string
}

func (g growth) measure(ctx context.Context, set settings, a axis, r *report) error {
	begun := len(g.started)
	scenes, err := a.scenes(ctx, a)
	if err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	for _, sc := range scenes {
		results, err := g.play(ctx, set, sc)
		if err != nil {
			return err
		}
		r.growth(sc.title, results)
	}
	g.stopSince(begun)
	return nil
}

// each starts a gateway for each count, as start does, and returns the scene in
// which they are asked for small bodies.
func (g growth) each(a axis, start func(n int) (candidate, error)) (scene, error) {
	sc := scene{title: "More " + a.name, ask: asFastAs(32)}
	for _, n := range a.counts {
		c, err := start(n)
		if err != nil {
			return sc, err
		}
		c.name = fmt.Sprintf("%s: %d", a.name, n)
		sc.candidates = append(sc.candidates, c)
	}
	return sc, nil
}

// gateway starts a gateway and signs in there as a user in so many groups.
func (g growth) gateway(ctx context.Context, c gatewayConfig, groups int) (candidate, error) {
	p, err := g.startGateway(ctx, g.binary, c)
	if err != nil {
		return candidate{}, err
	}
	return g.signedIn("jitgate", p, gatewayLogin(p), groups)
}

// idps has more identity providers, each with metadata of its own.
func (g growth) idps(ctx context.Context, a axis) ([]scene, error) {
	sc, err := g.each(a, func(n int) (candidate, error) {
		var c gatewayConfig
		var lines strings.Builder
		for i := 1; i < n; i++ {
			if err := g.writeMetadata(i); err != nil {
				return candidate{}, err
			}
			fmt.Fprintf(&lines, "  - {name: idp-%[1]d, directory: acme, metadata: {file: idp-%[1]d.xml}}\n", i)
		}
		c.idps = lines.String()
		return g.gateway(ctx, c, sessionGroups)
	})
	logins := sc
	logins.title, logins.ask = "Logins with more "+a.name, g.signIns
	return []scene{sc, logins}, err
}

// writeMetadata writes the metadata of a further identity provider.
func (g growth) writeMetadata(n int) error {
	m := g.idp.Metadata()
	m.EntityID = fmt.Sprintf("https://idp-%d.example/metadata", n)
	text, err := m.XML()
	if err != nil {
		return err
	}
	_, err = g.write(fmt.Sprintf("idp-%d.xml", n), string(text))
	return err
}

// apps has more apps: one half below paths, the other on hosts of their own.
func (g growth) apps(ctx context.Context, a axis) ([]scene, error) {
	sc, err := g.each(a, func(n int) (candidate, error) {
		var c gatewayConfig
		var lines strings.Builder
		for i := 1; i < n; i++ {
			where := fmt.Sprintf("path: /app-%d", i)
			if i%2 == 0 {
				where = fmt.Sprintf("host: app-%d.localhost", i)
			}
			fmt.Fprintf(&lines, "  - {name: app-%d, %s, upstream: \"http://%s\", allow: {groups: [staff]}}\n", i, where, g.upstream.addr)
		}
		c.apps = lines.String()
		return g.gateway(ctx, c, sessionGroups)
	})
	return []scene{sc}, err
}

// groups has a visitor in more groups.
func (g growth) groups(ctx context.Context, a axis) ([]scene, error) {
	sc, err := g.each(a, func(n int) (candidate, error) { return g.gateway(ctx, gatewayConfig{}, n) })
	return []scene{sc}, err
}
