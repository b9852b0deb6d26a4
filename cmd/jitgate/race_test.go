//go:build race

package main

// raced says that the race detector is in this program, which takes a lot of time
// and memory for itself.
const raced = true
