package testenv

import (
	"context"
	"strconv"
	"testing"
	"time"
)

// A Node is one server of several that make up a store. It can end and come back at
// the same address. It is for use by one goroutine, as its server is.
type Node struct {
	*Server

	t    testing.TB
	port int
	argv []string
}

// newNode starts a redis-server that is to come back with what it has stored about
// itself, in a directory of its own.
func newNode(t testing.TB, port int, args ...string) *Node {
	t.Helper()
	needRedis(t)
	n := &Node{t: t, port: port, argv: append([]string{"redis-server"}, args...)}
	n.Start()
	return n
}

// dataNode starts a redis-server that holds data, in memory alone.
func dataNode(t testing.TB, args ...string) *Node {
	t.Helper()
	port := FreePort(t)
	return newNode(t, port, append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
		"--repl-diskless-sync-delay", "0",
	}, args...)...)
}

// Start starts the node, which must not run, and waits until it answers.
func (n *Node) Start() {
	n.t.Helper()
	s, err := launch(n.port, n.argv)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Server = s
	n.t.Cleanup(s.Stop)
	if err := s.awaitReady(); err != nil {
		s.Stop()
		n.t.Fatalf("starting redis-server: %v\n%s", err, s.log.String())
	}
}

// until calls f until it returns no error, and fails the test with the last one when
// that takes longer than starting a server may.
func until(t testing.TB, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", 2*startTimeout, last)
		case <-tick.C:
		}
	}
}
