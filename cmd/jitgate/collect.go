package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// roomy is how much memory the heap may take before the garbage collector has to
	// save it. Up to there, less of it is collected than by default, which costs less.
	roomy = 20 << 20

	mostPercent  = 400 // GOGC at most
	usualPercent = 100 // the default of the Go runtime
)

// tuneCollector has the garbage collector run less often while little memory is in
// use, until ctx ends; as it does by itself where there is much. Somebody who has set
// GOGC knows better.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	collected := make(chan struct{}, 1)
	for last := 0; ; {
		// What the last collection has left decides, and no later than now: with a
		// high percentage the heap grows to a multiple of it before the next.
		runtime.AddCleanup(new(marker), func(c chan<- struct{}) { c <- struct{}{} }, collected)
		if percent := collectAt(liveHeap()); percent != last {
			debug.SetGCPercent(percent)
			last = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
	}
}

// A marker is what nobody has, so that it is gone after the next collection.
type marker struct{ _ *marker }

// collectAt returns by how much of what is alive, in per cent and in steps of ten, the
// heap may grow before it is collected.
func collectAt(live uint64) int {
	if live == 0 || live >= roomy {
		return usualPercent
	}
	percent := int((roomy - live) * 100 / live)
	return min(max(percent/10*10, usualPercent), mostPercent)
}

// liveHeap returns how many bytes were in use after the last collection.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
