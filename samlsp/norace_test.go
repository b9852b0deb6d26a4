//go:build !race

package samlsp

// slowdown is 1 without the race detector.
const slowdown = 1
