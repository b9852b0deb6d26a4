//go:build profile

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// A build with the tag profile, which make pgo makes, writes a CPU profile to the
// file that JITGATE_CPUPROFILE names, from one SIGUSR2 to the next. Others have
// no way to be profiled. The file is complete as soon as it is there.
func init() {
	file := os.Getenv("JITGATE_CPUPROFILE")
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	go func() {
		for range signals {
			if err := profile(file, signals); err != nil {
				fmt.Fprintln(os.Stderr, "jitgate: profiling:", err)
			}
		}
	}()
}

// profile profiles until a signal comes.
func profile(file string, until <-chan os.Signal) error {
	f, err := os.Create(file + ".part")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	<-until
	pprof.StopCPUProfile()
	return os.Rename(f.Name(), file)
}
