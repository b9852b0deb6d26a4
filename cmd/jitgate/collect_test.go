package main

import "testing"

func TestCollectAt(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{
		0: 100, 2 * mib: 400, 4 * mib: 400, 5 * mib: 300, 8 * mib: 150, 10 * mib: 100, 15 * mib: 100, 1 << 40: 100,
	} {
		if got := collectAt(live); got != want {
			t.Errorf("%d MiB alive: GOGC %d, want %d", live/mib, got, want)
		}
	}
}
