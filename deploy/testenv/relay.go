package testenv

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A Relay stands between a server and its clients, and can be made to fail as
// the network between them would.
type Relay struct {
	Addr string // that clients connect to

	target   string
	listener net.Listener
	ended    chan struct{}

	mu     sync.Mutex
	dead   bool
	lose   bool
	delay  time.Duration
	mended chan struct{} // closed when delay is over
	conns  map[net.Conn]struct{}
}

// NewRelay starts a relay to the server at target. It ends with the test.
func NewRelay(t testing.TB, target string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{
		Addr: l.Addr().String(), target: target, listener: l, ended: make(chan struct{}),
		mended: make(chan struct{}), conns: make(map[net.Conn]struct{}),
	}
	go r.accept()
	t.Cleanup(func() {
		close(r.ended)
		l.Close()
		r.Cut()
	})
	return r
}

// Cut breaks all connections off, and every new one at once.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = true
	for c := range r.conns {
		c.Close()
	}
}

// Slow holds back whatever the server says for d.
func (r *Relay) Slow(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Lose has the next reply of the server get lost, and its connection with it:
// the command was done, and the client cannot know.
func (r *Relay) Lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = true
}

// Mend ends what Cut and Slow began.
func (r *Relay) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead, r.lose, r.delay = false, false, 0
	close(r.mended)
	r.mended = make(chan struct{})
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.serve(client)
	}
}

// serve passes on what a client and the server say, until one of them ends.
func (r *Relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !r.note(client, server) {
		return
	}
	defer r.forget(client, server)
	go func() {
		defer server.Close()
		pass(server, client, func() bool { return true })
	}()
	pass(client, server, r.hold)
}

// pass copies from one connection to the other. Ahead of each write it asks whether
// to go on.
func pass(to, from net.Conn, goOn func() bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !goOn() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as long as Slow says, and reports whether the reply is not to get
// lost.
func (r *Relay) hold() bool {
	r.mu.Lock()
	delay, mended, lose := r.delay, r.mended, r.lose
	r.lose = false
	r.mu.Unlock()
	if lose || delay == 0 {
		return !lose
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-mended:
	case <-r.ended:
	}
	return true
}

func (r *Relay) note(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return false
	}
	for _, c := range conns {
		r.conns[c] = struct{}{}
	}
	return true
}

func (r *Relay) forget(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
	}
}
