//go:build race

package samlsp

// slowdown is by how much the race detector makes the code slower, at most.
const slowdown = 20
