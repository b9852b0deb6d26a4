// Package wire asks apps with less work than [http.Transport] has: in the goroutine
// that wants the answer, without two more for each connection.
//
// It does so where there is little to get wrong: for requests without a body, by
// methods that change nothing, over HTTP/1.1 without TLS. All others are left to an
// http.Transport, and so is reading what comes back, to [http.ReadResponse].
package wire

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// defaultMaxHead is how long the head of an answer may be where the [http.Transport]
// does not say, in bytes.
const defaultMaxHead = 10 << 20

// errNoAnswer is a connection that ended before a byte of the answer.
var errNoAnswer = errors.New("connection closed before the answer")

// A Transport is an [http.RoundTripper]. Make one with [New].
//
// As with http.Transport, a request for which a connection is used again that turns
// out to have ended meanwhile is sent once more on a new one. That is safe for the
// methods that it sends itself (RFC 9110, section 9.2.2).
type Transport struct {
	base *http.Transport

	mu       sync.Mutex
	idle     map[string][]*conn // by address, the one that was used last at the end
	sweeping bool
}

// New returns a transport that leaves to base what it does not send itself. Of base it
// takes DialContext, which has to be there, MaxIdleConnsPerHost, IdleConnTimeout and
// MaxResponseHeaderBytes. That last limit is for one answer with all interim ones
// before it. It knows nothing of base's other fields.
func New(base *http.Transport) *Transport {
	return &Transport{base: base, idle: make(map[string][]*conn)}
}

// RoundTrip sends a request and returns the answer. The error of a request whose
// context is done is the context's cause.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isOurs(r) {
		return t.base.RoundTrip(r)
	}
	ctx := r.Context()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	if c := t.take(address); c != nil {
		res, err := t.ask(c, r)
		if !errors.Is(err, errNoAnswer) {
			return res, err
		}
	}
	c, err := t.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return t.ask(c, r)
}

// isOurs reports whether a request is one of those that t sends itself.
func isOurs(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return false
	}
	if r.URL.Scheme != "http" || r.URL.Opaque != "" || (r.Body != nil && r.Body != http.NoBody) || r.Close || len(r.Trailer) > 0 || len(r.TransferEncoding) > 0 {
		return false
	}
	for _, name := range [...]string{"Connection", "Upgrade", "Expect", "Transfer-Encoding", "Trailer"} {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	return isPlainHost(r.URL.Host) && (r.Host == "" || isPlainHost(r.Host))
}

// isPlainHost reports whether a host is written as it is sent.
func isPlainHost(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return host != ""
}

// CloseIdleConnections closes the connections that nothing is sent on, base's too.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	for _, list := range t.idle {
		for _, c := range list {
			c.Close()
		}
	}
	clear(t.idle)
	t.mu.Unlock()
	t.base.CloseIdleConnections()
}

// dial makes a connection.
func (t *Transport) dial(ctx context.Context, address string) (*conn, error) {
	nc, err := t.base.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c := &conn{Conn: nc, address: address}
	c.in = bufio.NewReader(c)
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, err = sc.SyscallConn()
	} else {
		err = errors.New("not a socket")
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connection to %s: %w", address, err)
	}
	c.peek = c.look
	return c, nil
}

// take returns a connection that nothing is sent on, nil if there is none.
func (t *Transport) take(address string) *conn {
	for {
		t.mu.Lock()
		list := t.idle[address]
		if len(list) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		list[len(list)-1] = nil
		t.idle[address] = list[:len(list)-1]
		t.mu.Unlock()
		if c.isQuiet() {
			return c
		}
		c.Close()
	}
}

// keep keeps a connection for the next request.
func (t *Transport) keep(c *conn) {
	c.since = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.idle[c.address]
	if len(list) >= t.base.MaxIdleConnsPerHost {
		c.Close()
		return
	}
	t.idle[c.address] = append(list, c)
	if !t.sweeping && t.base.IdleConnTimeout > 0 {
		t.sweeping = true
		time.AfterFunc(t.base.IdleConnTimeout, t.sweep)
	}
}

// sweep closes what was not used for too long, and comes back while there is more.
func (t *Transport) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.base.IdleConnTimeout
	for address, list := range t.idle {
		old := 0
		for old < len(list) && time.Since(list[old].since) >= t.base.IdleConnTimeout {
			list[old].Close()
			old++
		}
		if old == len(list) {
			delete(t.idle, address)
			continue
		}
		t.idle[address] = append([]*conn(nil), list[old:]...)
		next = min(next, t.base.IdleConnTimeout-time.Since(list[old].since))
	}
	t.sweeping = len(t.idle) > 0
	if t.sweeping {
		time.AfterFunc(next, t.sweep)
	}
}

// ask sends a request on a connection and reads the head of the answer. It closes the
// connection if it returns an error, else the end of the answer does, or keeps it.
func (t *Transport) ask(c *conn, r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	res, err := t.exchange(c, r)
	if err != nil {
		stop()
		c.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	b := &body{transport: t, conn: c, ctx: ctx, stop: stop, reusable: !res.Close && c.broken == nil}
	if res.Body == http.NoBody {
		b.end(true)
		return res, nil
	}
	b.ReadCloser, res.Body = res.Body, b
	return res, nil
}

func (t *Transport) exchange(c *conn, r *http.Request) (*http.Response, error) {
	c.room = t.base.MaxResponseHeaderBytes
	if c.room <= 0 {
		c.room = defaultMaxHead
	}
	var err error
	if c.out, err = appendHead(c.out[:0], r); err != nil {
		return nil, err
	}
	// There may be an answer to what could not be written to the end.
	_, c.broken = c.Write(c.out)
	if _, err := c.in.Peek(1); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, cmp.Or(c.broken, err))
	}
	for {
		res, err := http.ReadResponse(c.in, r)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("answer switches to another protocol, which nobody asked for")
		case res.StatusCode < 100 || res.StatusCode >= 200:
			c.room = math.MaxInt64
			return res, nil
		}
		trace := httptrace.ContextClientTrace(r.Context())
		if trace == nil || trace.Got1xxResponse == nil {
			continue
		}
		if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
			return nil, err
		}
	}
}

// appendHead appends the head of a request to b (RFC 9112, section 3).
func appendHead(b []byte, r *http.Request) ([]byte, error) {
	uri := r.URL.RequestURI()
	for i := range len(uri) {
		if uri[i] <= ' ' || uri[i] == 0x7f {
			return b, fmt.Errorf("request for %q: not a valid address", uri)
		}
	}
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if r.Host != "" {
		b = append(b, r.Host...)
	} else {
		b = append(b, r.URL.Host...)
	}
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		switch {
		case name == "Host", name == "Content-Length":
			continue
		case name == "User-Agent" && len(values) > 0 && values[0] == "": // by which [httputil.ReverseProxy] says that there is none
			continue
		case !isToken(name):
			return b, fmt.Errorf("header %q: not a valid name", name)
		}
		for _, value := range values {
			// Not the value: it may be a secret.
			if !isValue(value) {
				return b, fmt.Errorf("header %s: not a valid value", name)
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...), nil
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		case strings.IndexByte("!#$%&'*+.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// isValue reports whether s may be the value of a header (RFC 9110, section 5.5).
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// A conn is a connection to an app. One request uses it at a time.
type conn struct {
	net.Conn
	address string
	in      *bufio.Reader // reads from the conn itself
	room    int64         // bytes that it may still read
	out     []byte
	broken  error     // of the last write
	since   time.Time // when it was used last

	raw   syscall.RawConn
	peek  func(uintptr) bool // look
	quiet bool               // what look saw
}

var errHead = errors.New("head of the answer is too long")

// Read reads as much as there is room for.
func (c *conn) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, errHead
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.room)])
	c.room -= int64(n)
	return n, err
}

// isQuiet reports whether nothing has come since the last answer, neither the end of
// the connection nor anything that would be taken for the next answer.
func (c *conn) isQuiet() bool {
	c.quiet = false
	return c.raw.Read(c.peek) == nil && c.quiet
}

// look reads what there is, without waiting for it. What it reads is lost, but whoever
// says something unasked is not asked again.
func (c *conn) look(fd uintptr) bool {
	var b [1]byte
	_, err := syscall.Read(int(fd), b[:])
	c.quiet = err == syscall.EAGAIN
	return true
}

// A body is the body of an answer.
type body struct {
	io.ReadCloser
	transport *Transport
	conn      *conn
	ctx       context.Context // of the request
	stop      func() bool     // what closes conn when ctx is done
	reusable  bool            // conn, after the end of the body
	ended     atomic.Bool
}

// Read reads on. At the end, the connection is free for the next request.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	b.end(err == io.EOF)
	return n, err
}

// Close gives up what was not read, and the connection with it.
func (b *body) Close() error {
	b.end(false)
	return nil
}

// end is done with the connection, whole if all of the answer was read.
func (b *body) end(whole bool) {
	if b.ended.Swap(true) {
		return
	}
	if b.stop() && whole && b.reusable && b.conn.in.Buffered() == 0 {
		b.transport.keep(b.conn)
		return
	}
	b.conn.Close()
}
