package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A spread is the median of some values, and the quartiles around it.
type spread struct{ low, median, high float64 }

// spreadOf returns that of values, of which there is at least one. Between two
// values it interpolates.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	at := func(part float64) float64 {
		position := part * float64(len(sorted)-1)
		i := int(position)
		if i == len(sorted)-1 {
			return sorted[i]
		}
		return sorted[i] + (position-float64(i))*(sorted[i+1]-sorted[i])
	}
	return spread{at(0.25), at(0.5), at(0.75)}
}

// String returns it as "1.05 (1.04–1.07)".
func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.low, s.high) }

// A figure is something that was measured of each sample.
type figure func(sample) float64

func cpuPerRequest(s sample) float64   { return s.cpu.Seconds() / float64(s.Requests) }
func redisPerRequest(s sample) float64 { return s.redis.Seconds() / float64(s.Requests) }
func perSecond(s sample) float64       { return float64(s.Requests) / s.Seconds }
func p99(s sample) float64             { return s.P99.Seconds() }

// of returns the figure of every round.
func (f figure) of(r result) []float64 {
	values := make([]float64, len(r.samples))
	for i, s := range r.samples {
		values[i] = f(s)
	}
	return values
}

// ratio compares the figure of r with that of base, round by round.
func (f figure) ratio(r, base result) spread {
	values, bases := f.of(r), f.of(base)
	for i := range values {
		values[i] /= bases[i]
	}
	return spreadOf(values)
}

// A report prints tables, and notes what had no figures.
type report struct {
	out     io.Writer
	refused []error
	line    string // for the history
}

// refuse returns why r has no figures, "" where it has them.
func (r *report) refuse(title string, got result) string {
	why := ""
	switch {
	case got.problem != nil:
		why = got.problem.Error()
	case got.failed > 0:
		why = fmt.Sprintf("%d failed", got.failed)
	default:
		return ""
	}
	r.refused = append(r.refused, fmt.Errorf("%s: %s: %s", title, got.name, why))
	return why
}

// err returns an error where any figures are missing.
func (r *report) err() error { return errors.Join(r.refused...) }

// table prints the results of a scene.
func (r *report) table(sc scene, results []result) {
	fmt.Fprintf(r.out, "\n### %s\n\n", sc.title)
	fmt.Fprintln(r.out, "| | CPU/request | of bare | requests/s | of bare | p99 | of bare | memory | Redis CPU/request |")
	fmt.Fprintln(r.out, "|---|---|---|---|---|---|---|---|---|")
	base := results[0]
	missing := r.refuse(sc.title, base) // else once for each row
	for i, got := range results {
		why := missing
		if i > 0 && why == "" {
			why = r.refuse(sc.title, got)
		}
		if why != "" {
			fmt.Fprintf(r.out, "| %s | refused: %s |\n", got.name, why)
			continue
		}
		median := func(f figure) float64 { return spreadOf(f.of(got)).median }
		fmt.Fprintf(r.out, "| %s | %.1f µs | %v | %.0f | %v | %v | %v | %.1f MiB | %.1f µs |\n", got.name,
			median(cpuPerRequest)*1e6, figure(cpuPerRequest).ratio(got, base),
			median(perSecond), figure(perSecond).ratio(got, base),
			time.Duration(median(p99)*1e9).Round(10*time.Microsecond), figure(p99).ratio(got, base),
			float64(got.memory)/(1<<20), median(redisPerRequest)*1e6)
	}
}
