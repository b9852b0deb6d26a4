package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

func cpuPerRequest(s sample) float64      { return s.cpu.Seconds() / float64(s.Requests) }
func redisPerRequest(s sample) float64    { return s.redis.Seconds() / float64(s.Requests) }
func tripsPerRequest(s sample) float64    { return float64(s.trips) / float64(s.Requests) }
func commandsPerRequest(s sample) float64 { return float64(s.commands) / float64(s.Requests) }
func perCPUSecond(s sample) float64       { return 1 / cpuPerRequest(s) }
func perSecond(s sample) float64          { return float64(s.Requests) / s.Seconds }
func p99(s sample) float64                { return s.P99.Seconds() }

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

// median returns the median of the figure over all rounds.
func (f figure) median(r result) float64 { return spreadOf(f.of(r)).median }

// A report prints tables, and notes what had no figures and what goes into the
// history.
type report struct {
	out     io.Writer
	refused []error
	history []string
}

// err returns an error where any figures are missing.
func (r *report) err() error { return errors.Join(r.refused...) }

// requests prints the results of asking for something.
func (r *report) requests(title string, results []result) {
	columns := []string{"CPU/request", "of bare", "requests/s", "of bare", "p99", "of bare", "memory", "Redis CPU/request", "Redis trips/request"}
	r.table(title, columns, results, func(got, base result) []any {
		return []any{
			micros(figure(cpuPerRequest).median(got)), figure(cpuPerRequest).ratio(got, base),
			fmt.Sprintf("%.0f", figure(perSecond).median(got)), figure(perSecond).ratio(got, base),
			fmt.Sprintf("%.2f ms", figure(p99).median(got)*1e3), figure(p99).ratio(got, base),
			fmt.Sprintf("%.1f MiB", float64(got.memory)/(1<<20)),
			micros(figure(redisPerRequest).median(got)), fmt.Sprintf("%.2f", figure(tripsPerRequest).median(got)),
		}
	})
}

// logins prints the results of signing in.
func (r *report) logins(title string, results []result) {
	columns := []string{"CPU/login", "of bare", "logins/CPU second", "memory", "Redis CPU/login", "Redis commands/login", "Redis trips/login"}
	r.table(title, columns, results, func(got, base result) []any {
		return []any{
			fmt.Sprintf("%.2f ms", figure(cpuPerRequest).median(got)*1e3), figure(cpuPerRequest).ratio(got, base),
			fmt.Sprintf("%.0f", figure(perCPUSecond).median(got)),
			fmt.Sprintf("%.1f MiB", float64(got.memory)/(1<<20)),
			micros(figure(redisPerRequest).median(got)),
			fmt.Sprintf("%.1f", figure(commandsPerRequest).median(got)), fmt.Sprintf("%.1f", figure(tripsPerRequest).median(got)),
		}
	})
}

// growth prints the results of gateways that have more and more to do.
func (r *report) growth(title string, results []result) {
	columns := []string{"CPU each", "of the first", "memory", "Redis CPU each", "Redis trips each"}
	r.table(title, columns, results, func(got, base result) []any {
		return []any{
			micros(figure(cpuPerRequest).median(got)), figure(cpuPerRequest).ratio(got, base),
			fmt.Sprintf("%.1f MiB", float64(got.memory)/(1<<20)),
			micros(figure(redisPerRequest).median(got)), fmt.Sprintf("%.2f", figure(tripsPerRequest).median(got)),
		}
	})
}

func micros(seconds float64) string { return fmt.Sprintf("%.1f µs", seconds*1e6) }

// table prints a table with a row of cells for each result that has figures. The
// ratios of CPU time go into the history.
func (r *report) table(title string, columns []string, results []result, cells func(got, base result) []any) {
	fmt.Fprintf(r.out, "\n### %s\n\n| | %s |\n|---|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	base := results[0]
	var ratios []string
	for i, got := range results {
		why := got.refused()
		if i > 0 && why == "" && base.refused() != "" {
			why = base.name + " has no figures"
		}
		if why != "" {
			r.refused = append(r.refused, fmt.Errorf("%s: %s: %s", title, got.name, why))
			fmt.Fprintf(r.out, "| %s | refused: %s |\n", got.name, strings.Join(strings.Fields(why), " "))
			continue
		}
		fmt.Fprintf(r.out, "| %s |", got.name)
		for _, cell := range cells(got, base) {
			fmt.Fprintf(r.out, " %v |", cell)
		}
		fmt.Fprintln(r.out)
		if i > 0 {
			ratios = append(ratios, fmt.Sprintf("%s %.2f", got.name, figure(cpuPerRequest).ratio(got, base).median))
		}
	}
	r.history = append(r.history, title+": "+strings.Join(ratios, ", "))
}

// refused returns why there are no figures, "" where there are.
func (r result) refused() string {
	switch {
	case r.problem != nil:
		return r.problem.Error()
	case r.failed > 0:
		return fmt.Sprintf("%d failed", r.failed)
	}
	return ""
}
