package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

// warmUp is how long a candidate is asked before it is measured. wrk counts in
// seconds.
const warmUp = time.Second

// fixedRate is in requests a second: far from saturation, as most gateways run.
const fixedRate = 2000

// A candidate is a server under test, and what is asked of it.
type candidate struct {
	name    string
	process *process
	request request

	at        loginAt // where visitors sign in
	newcomers bool    // they are new ones
}

// A scene is one way to ask, for which there is one table. The others are
// compared with the first candidate.
type scene struct {
	title      string
	ask        func(context.Context, candidate, time.Duration) (load, error)
	candidates []candidate
}

// A sample is what was measured of a candidate in a round: what was asked of it,
// and what its processes and Redis did for that in all.
type sample struct {
	load
	used
}

// Used is what a candidate and Redis have used.
type used struct {
	cpu, redis time.Duration // of processors
	traffic
}

// A result is what was measured of a candidate.
type result struct {
	name    string
	samples []sample // one a round
	memory  int64    // bytes, at the end
	failed  int
	problem error // why there are no figures
}

// play asks every candidate of sc once a round.
func (s *stage) play(ctx context.Context, set settings, sc scene) ([]result, error) {
	results := make([]result, len(sc.candidates))
	for i, c := range sc.candidates {
		results[i].name = c.name
	}
	for round := range set.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", sc.title, round+1, set.rounds)
		for _, i := range rand.Perm(len(sc.candidates)) {
			if results[i].problem != nil {
				continue
			}
			sample, err := s.sample(ctx, set.time, sc, sc.candidates[i])
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			results[i].samples = append(results[i].samples, sample)
			results[i].failed += sample.Failed
			results[i].problem = err
		}
	}
	for i, c := range sc.candidates {
		var err error
		if results[i].memory, err = c.process.memory(); err != nil {
			results[i].problem = err
		}
	}
	return results, nil
}

// sample asks a candidate for a while, and measures that.
func (s *stage) sample(ctx context.Context, d time.Duration, sc scene, c candidate) (sample, error) {
	warm, err := sc.ask(ctx, c, warmUp)
	if err != nil {
		return sample{}, err
	}
	before, err := s.used(ctx, c.process)
	if err != nil {
		return sample{}, err
	}
	l, err := sc.ask(ctx, c, d)
	if err != nil {
		return sample{}, err
	}
	l.Failed += warm.Failed
	after, err := s.used(ctx, c.process)
	if err == nil && l.Requests == 0 {
		err = errors.New("nothing was answered")
	}
	return sample{l, after.since(before)}, err
}

// used returns what p and Redis have used so far.
func (s *stage) used(ctx context.Context, p *process) (used, error) {
	var u used
	var err error
	if u.traffic, err = s.traffic(ctx); err != nil {
		return used{}, err
	}
	if u.redis, err = s.redis.cpu(); err != nil {
		return used{}, err
	}
	u.cpu, err = p.cpu()
	return u, err
}

// since returns what was used after before.
func (u used) since(before used) used {
	u.cpu -= before.cpu
	u.redis -= before.redis
	u.commands -= before.commands
	u.trips -= before.trips
	return u
}

// asFastAs returns how to ask with so many connections, as fast as answers come.
func asFastAs(connections int) func(context.Context, candidate, time.Duration) (load, error) {
	return probed(func(ctx context.Context, r request, d time.Duration) (load, error) {
		return wrk(ctx, r, connections, d)
	})
}

// atRate returns how to ask at a fixed rate.
func atRate(rate int) func(context.Context, candidate, time.Duration) (load, error) {
	return probed(func(ctx context.Context, r request, d time.Duration) (load, error) { return paced(ctx, r, rate, d) })
}

// probed looks at an answer before and after many are asked for, since not all
// that ask for many look at them.
func probed(ask func(context.Context, request, time.Duration) (load, error)) func(context.Context, candidate, time.Duration) (load, error) {
	return func(ctx context.Context, c candidate, d time.Duration) (load, error) {
		if err := probe(c.request); err != nil {
			return load{}, err
		}
		l, err := ask(ctx, c.request, d)
		if err != nil {
			return load{}, err
		}
		return l, probe(c.request)
	}
}

// measure is the benchmark.
func measure(ctx context.Context, args []string, out io.Writer) error {
	set, err := parseSettings(args)
	if err != nil {
		return err
	}
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	r := report{out: out}
	if set.only == "" || set.only == "requests" {
		if err := s.measureRequests(ctx, set, &r); err != nil {
			return err
		}
	}
	if set.only == "logins" || set.only == "" && !set.quick {
		if err := s.measureLogins(ctx, set, &r); err != nil {
			return err
		}
	}
	if err := r.err(); err != nil {
		return err
	}
	if !set.quick && set.only == "" && set.against == "" {
		return s.remember(set, r)
	}
	return nil
}

func (s *stage) measureRequests(ctx context.Context, set settings, r *report) error {
	all, err := s.candidates(ctx, set)
	if err != nil {
		return err
	}
	for _, sc := range scenes(set, all) {
		results, err := s.play(ctx, set, sc)
		if err != nil {
			return err
		}
		r.requests(sc.title, results)
	}
	return nil
}

func (s *stage) measureLogins(ctx context.Context, set settings, r *report) error {
	sc, err := s.loginScene(ctx, set)
	if err != nil {
		return err
	}
	results, err := s.play(ctx, set, sc)
	if err != nil {
		return err
	}
	r.logins(sc.title, results)
	return nil
}
