package main

import (
	"context"
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

// A candidate is a proxy under test, and what is asked of it.
type candidate struct {
	name    string
	process *process
	request request
}

// A scene is one way to ask, for which there is one table.
type scene struct {
	title       string
	connections int
	rate        int // requests a second; 0 asks as fast as answers come
	candidates  []candidate
}

// A sample is what was measured of a candidate in a round.
type sample struct {
	load
	cpu, redis time.Duration // of the candidate's processes and of Redis, in all
}

// A result is what was measured of a candidate.
type result struct {
	name    string
	samples []sample // one a round
	memory  int64    // bytes, at the end
	failed  int
	problem error // why there are no figures
}

// play asks every candidate of sc once a round. The first candidate is what the
// others are compared with.
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
			sample, err := s.sample(ctx, set, sc, sc.candidates[i])
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
func (s *stage) sample(ctx context.Context, set settings, sc scene, c candidate) (sample, error) {
	ask := func(d time.Duration) (load, error) {
		if sc.rate > 0 {
			return paced(ctx, c.request, sc.rate, d)
		}
		return wrk(ctx, c.request, sc.connections, d)
	}
	if err := probe(c.request); err != nil {
		return sample{}, err
	}
	if _, err := ask(warmUp); err != nil {
		return sample{}, err
	}
	before, err := s.used(c.process)
	if err != nil {
		return sample{}, err
	}
	l, err := ask(set.time)
	if err != nil {
		return sample{}, err
	}
	after, err := s.used(c.process)
	if err != nil {
		return sample{}, err
	}
	if l.Requests == 0 {
		return sample{}, fmt.Errorf("no request was answered")
	}
	return sample{l, after.cpu - before.cpu, after.redis - before.redis}, probe(c.request)
}

// used returns the processor time that p and Redis have used so far.
func (s *stage) used(p *process) (sample, error) {
	cpu, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	redis, err := s.redis.cpu()
	return sample{cpu: cpu, redis: redis}, err
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
	all, err := s.candidates(ctx, set)
	if err != nil {
		return err
	}
	r := report{out: out}
	for _, sc := range scenes(set, all) {
		results, err := s.play(ctx, set, sc)
		if err != nil {
			return err
		}
		r.table(sc, results)
	}
	return r.err()
}
