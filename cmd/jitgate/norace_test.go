//go:build !race

package main

// raced says that the race detector is not in this program.
const raced = false
