package proxy

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// conns counts the connections that are open.
type conns struct {
	mu      sync.Mutex
	changed *sync.Cond // that there may be room
	all     int
	by      map[netip.Prefix]int
	refused int       // since told
	told    time.Time // when that was logged
}

func newConns() *conns {
	c := &conns{by: make(map[netip.Prefix]int)}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// Limit returns a listener of which visitors' connections are to be accepted. It
// accepts as many as the configuration in use allows. Where one is written to, the
// other end has to take what is written before long.
func (g *Gateway) Limit(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, g: g}
}

type limitedListener struct {
	net.Listener
	g      *Gateway
	closed atomic.Bool
}

// Accept waits until there may be one more connection, and accepts it. Meanwhile
// the others wait in the system's queue.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		if !l.room() {
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from, ok := l.enter(c.RemoteAddr().String()); ok {
			return &limitedConn{Conn: c, g: l.g, from: from}, nil
		}
		c.Close()
	}
}

// Close makes Accept return.
func (l *limitedListener) Close() error {
	l.closed.Store(true)
	l.g.conns.wake()
	return l.Listener.Close()
}

// room returns when there is room, or reports that l is closed.
func (l *limitedListener) room() bool {
	c := l.g.conns
	c.mu.Lock()
	defer c.mu.Unlock()
	for !l.closed.Load() && c.all >= l.g.newest.Load().limits.Connections {
		c.changed.Wait()
	}
	return !l.closed.Load()
}

// enter counts a connection, unless its address has enough of them.
func (l *limitedListener) enter(remote string) (from netip.Prefix, ok bool) {
	g, c := l.g.newest.Load(), l.g.conns
	addr, _ := parseAddr(remote)
	proxy := g.trusts(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !proxy {
		from = networkOf(addr)
	}
	if from.IsValid() && c.by[from] >= g.limits.ConnectionsPerAddress {
		c.refuse(g, addr)
		return from, false
	}
	c.all++
	if from.IsValid() {
		c.by[from]++
	}
	return from, true
}

// refuse notes that a connection was closed as it came, and logs it now and then.
func (c *conns) refuse(g *Gateway, addr netip.Addr) {
	c.refused++
	if now := g.now(); now.Sub(c.told) >= time.Minute {
		g.log.Warn("too many connections of one address", zap.Stringer("address", addr), zap.Int("refused", c.refused))
		c.refused, c.told = 0, now
	}
}

// leave counts one connection less.
func (c *conns) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.by[from]--; c.by[from] <= 0 {
		delete(c.by, from)
	}
	c.changed.Broadcast()
}

// wake has Accept look again.
func (c *conns) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.Broadcast()
}

// A limitedConn is a connection that is counted until it is closed.
type limitedConn struct {
	net.Conn
	g    *Gateway
	from netip.Prefix // invalid: of a trusted proxy
	left atomic.Bool
	set  atomic.Int64 // when the time for writing was set, in ns since 1970
}

func (c *limitedConn) Close() error {
	if c.left.CompareAndSwap(false, true) {
		c.g.conns.leave(c.from)
	}
	return c.Conn.Close()
}

// Write gives up when the other end takes too long for p. All that is sent comes
// through here, whatever the protocol above: websockets, handshakes and whatever
// the server says by itself. Nobody writes much more than 32 KiB at once.
func (c *limitedConn) Write(p []byte) (int, error) {
	now, stall := time.Now(), c.g.newest.Load().limits.Stall
	if now.Sub(time.Unix(0, c.set.Load())) > stall/8 { // setting it costs as much as a short answer
		if err := c.SetWriteDeadline(now.Add(stall)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline is for whoever wants less time for what comes next. The server takes
// the deadline away after each request, which has to stay: Write does not set it anew
// each time.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	c.set.Store(time.Now().UnixNano())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is what the server takes all deadlines away by, when a connection is no
// longer its own.
func (c *limitedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
