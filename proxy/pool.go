package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jitgate/jitgate/config"
)

const (
	// leftOut is for how long an address gets no requests that no connection could be
	// made to.
	leftOut = 5 * time.Second

	// examineEvery is how often the health of each address is asked for, while there are
	// requests, and examineTime how long the answer may take.
	examineEvery = 5 * time.Second
	examineTime  = 2 * time.Second
)

// A pool asks an app at its several addresses, each in turn. Where no connection can be
// made, nothing was sent, and so the next one is asked; any other error may come from an
// app that has done what it was asked, and nothing is asked twice.
type pool struct {
	via       http.RoundTripper
	addresses []*address
	turn      atomic.Uint32
	health    string // path, or "" where none is asked for
	host      string // that it is asked for with
	ended     context.Context
	now       func() time.Time
}

// An address is one of a pool.
type address struct {
	host     string       // and port
	refused  atomic.Int64 // when no connection could be made, in nanoseconds of Unix
	examined atomic.Int64 // when its health was asked for last
	sick     atomic.Bool
}

// newPool returns what asks an app with several addresses, until ctx is done.
func newPool(ctx context.Context, via http.RoundTripper, c config.App) *pool {
	p := &pool{via: via, health: c.Health, host: bracket(c.Host), ended: ctx, now: time.Now}
	for _, host := range c.UpstreamHosts {
		p.addresses = append(p.addresses, &address{host: host})
	}
	return p
}

// isUp reports whether an address gets requests.
func (a *address) isUp(now time.Time) bool {
	return !a.sick.Load() && isPast(a.refused.Load(), leftOut, now)
}

// isPast reports whether so much time has passed since then, in nanoseconds of Unix, or
// the clock was set back.
func isPast(then int64, passed time.Duration, now time.Time) bool {
	since := now.UnixNano() - then
	return since < 0 || since >= int64(passed)
}

// order returns all addresses, beginning with the one whose turn it is. Those that are
// left out come last: where there are no others, they are asked all the same.
func (p *pool) order(now time.Time) []*address {
	first := int(p.turn.Add(1) % uint32(len(p.addresses)))
	var up, out []*address
	for i := range p.addresses {
		if a := p.addresses[(first+i)%len(p.addresses)]; a.isUp(now) {
			up = append(up, a)
		} else {
			out = append(out, a)
		}
	}
	return append(up, out...)
}

// RoundTrip makes it an [http.RoundTripper].
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	now := p.now()
	p.examine(r.URL.Scheme, now)
	var failed error
	for _, a := range p.order(now) {
		u, out := *r.URL, r.WithContext(r.Context())
		u.Host, out.URL = a.host, &u
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = &unreadBody{ReadCloser: r.Body}
		}
		res, err := p.via.RoundTrip(out)
		if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" || r.Context().Err() != nil {
			return res, err
		}
		a.refused.Store(now.UnixNano())
		failed = err
	}
	return nil, failed
}

// examine asks for the health of each address for which it is time to.
func (p *pool) examine(scheme string, now time.Time) {
	if p.health == "" {
		return
	}
	for _, a := range p.addresses {
		if last := a.examined.Load(); isPast(last, examineEvery, now) && a.examined.CompareAndSwap(last, now.UnixNano()) {
			go func() { a.sick.Store(!p.isWell(scheme + "://" + a.host + p.health)) }()
		}
	}
}

// isWell reports whether a page is answered with 2xx.
func (p *pool) isWell(page string) bool {
	ctx, cancel := context.WithTimeout(p.ended, examineTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return false
	}
	r.Host = p.host
	res, err := p.via.RoundTrip(r)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, err = io.CopyN(io.Discard, res.Body, 64<<10)
	return res.StatusCode/100 == 2 && (err == nil || errors.Is(err, io.EOF))
}

// An unreadBody is left open where nobody has read from it, for the next address.
type unreadBody struct {
	io.ReadCloser
	read atomic.Bool
}

func (b *unreadBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.ReadCloser.Read(p)
}

// Close leaves it to the caller of RoundTrip, who closes it in the end, to close what
// nobody has read from.
func (b *unreadBody) Close() error {
	if !b.read.Load() {
		return nil
	}
	return b.ReadCloser.Close()
}
