package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
)

const (
	// leftOut is for how long an address gets no requests that no connection could be
	// made to.
	leftOut = 5 * time.Second

	// examineEvery is how often the health of each address is asked for, and examineTime
	// how long the answer may take.
	examineEvery = 5 * time.Second
	examineTime  = 2 * time.Second
)

// A pool asks an app at its several addresses, each in turn. Where no connection can be
// made, nothing was sent, and so the next one is asked; any other error may come from an
// app that has done what it was asked, and nothing is asked twice.
type pool struct {
	app       string
	scheme    string
	via       http.RoundTripper
	addresses []*address
	turn      atomic.Uint32
	health    string // path, or "" where none is asked for
	host      string // that visitors ask for
	log       *zap.Logger
	now       func() time.Time
}

// An address is one of a pool.
type address struct {
	host    string       // and port
	refused atomic.Int64 // when no connection could be made, in nanoseconds of Unix; 0: one could
	sick    atomic.Bool
}

// newPool returns what asks an app with several addresses.
func newPool(via http.RoundTripper, c config.App, scheme string, log *zap.Logger) *pool {
	p := &pool{app: c.Name, scheme: scheme, via: via, health: c.Health, host: c.Host, log: log.With(zap.String("app", c.Name)), now: time.Now}
	for _, host := range c.UpstreamHosts {
		p.addresses = append(p.addresses, &address{host: host})
	}
	return p
}

// inherit has a pool know of its addresses what the one knows whose place it takes.
func (p *pool) inherit(old *pool) {
	if p.via != old.via || p.scheme != old.scheme || p.health != old.health || p.host != old.host {
		return // it may have been for that that an address was left out
	}
	for i, a := range p.addresses {
		if j := slices.IndexFunc(old.addresses, func(b *address) bool { return a.host == b.host }); j >= 0 {
			p.addresses[i] = old.addresses[j]
		}
	}
}

// isUp reports whether an address gets requests. It is not left out for longer because a
// clock was set back.
func (a *address) isUp(now time.Time) bool {
	since := now.UnixNano() - a.refused.Load()
	return !a.sick.Load() && (since < 0 || since >= int64(leftOut))
}

// order returns all addresses, beginning with the one whose turn it is. One that was left
// out and has to be tried comes before them, for one request: the others would wait as
// well, if it is still not there. Those that are left out come last: where there are no
// others, they are asked all the same.
func (p *pool) order(now time.Time) []*address {
	var try, up, out []*address
	for _, a := range p.addresses {
		refused := a.refused.Load()
		switch {
		case !a.isUp(now):
			out = append(out, a)
		case refused == 0:
			up = append(up, a)
		case len(try) == 0 && a.refused.CompareAndSwap(refused, now.UnixNano()):
			try = append(try, a)
		default:
			out = append(out, a)
		}
	}
	turn := p.turn.Add(1)
	return slices.Concat(try, rotate(up, turn), rotate(out, turn))
}

// rotate returns a list that begins with the one whose turn it is.
func rotate(list []*address, turn uint32) []*address {
	if len(list) == 0 {
		return nil
	}
	first := int(turn % uint32(len(list)))
	return append(slices.Clone(list[first:]), list[:first]...)
}

// RoundTrip makes it an [http.RoundTripper].
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	var connecting atomic.Bool
	if r.URL.Scheme == "https" { // else there is nothing between dialing and sending
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			GetConn: func(string) { connecting.Store(true) },
			GotConn: func(httptrace.GotConnInfo) { connecting.Store(false) },
		}))
	}
	var failed error
	for _, a := range p.order(p.now()) {
		u, out := *r.URL, r.WithContext(r.Context())
		u.Host, out.URL = a.host, &u
		body := &unreadBody{ReadCloser: r.Body}
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = body
		}
		res, err := p.via.RoundTrip(out)
		if err == nil {
			p.reached(a)
			return res, nil
		}
		op, ok := errors.AsType[*net.OpError](err)
		if isSent := !connecting.Load() && (!ok || op.Op != "dial"); isSent || body.read.Load() || r.Context().Err() != nil {
			return nil, err
		}
		p.missed(a, err)
		failed = err
	}
	return nil, failed
}

// missed notes that no connection could be made to an address.
func (p *pool) missed(a *address, err error) {
	if a.refused.Swap(p.now().UnixNano()) == 0 {
		p.log.Warn("upstream left out", zap.String("upstream", a.host), zap.Error(err))
	}
}

// reached notes that an address answers.
func (p *pool) reached(a *address) {
	if a.refused.Load() != 0 && a.refused.Swap(0) != 0 {
		p.log.Info("upstream is there again", zap.String("upstream", a.host))
	}
}

// Examine asks for the health of each address of the apps that have several and say where,
// every now and then until ctx ends.
func (g *Gateway) Examine(ctx context.Context) {
	tick := time.NewTicker(examineEvery)
	defer tick.Stop()
	for {
		g.newest.Load().examine(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// examine asks for the health of each address once.
func (g *Gateway) examine(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range poolsOf(g.apps) {
		if p.health == "" {
			continue
		}
		as := http.Header{"User-Agent": {"jitgate"}, "X-Forwarded-Proto": {g.base.Scheme}, "X-Forwarded-Host": {g.hostport(p.host)}}
		for _, a := range p.addresses {
			all.Go(func() { p.examine(ctx, a, as) })
		}
	}
	all.Wait()
}

// poolsOf returns what asks those apps that have several addresses.
func poolsOf(apps map[string][]*app) []*pool {
	var all []*pool
	for _, onHost := range apps {
		for _, a := range onHost {
			if p, ok := a.via.(*pool); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// examine notes whether an address is well.
func (p *pool) examine(ctx context.Context, a *address, as http.Header) {
	err := p.ask(ctx, a, as)
	if ctx.Err() != nil {
		return
	}
	switch isSick := err != nil; {
	case a.sick.Swap(isSick) == isSick:
	case isSick:
		p.log.Warn("upstream is not well", zap.String("upstream", a.host), zap.Error(err))
	default:
		p.log.Info("upstream is well again", zap.String("upstream", a.host))
	}
	if err == nil {
		p.reached(a)
	}
}

// ask asks for the health of an address, with the headers by which an app knows how
// visitors ask. An error means that it is not well.
func (p *pool) ask(ctx context.Context, a *address, as http.Header) error {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.scheme+"://"+a.host+p.health, nil)
	if err != nil {
		return err
	}
	r.Header, r.Host = as, as.Get("X-Forwarded-Host")
	res, err := p.via.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s is answered with %s", p.health, res.Status)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer of %s: %w", p.health, err)
	}
	return nil
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
