package proxy

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/jitgate/jitgate/proxy/page"
)

// maxAddresses is how many addresses are remembered for their attempts at once, in
// about 10 MB.
const maxAddresses = 100_000

// attempts are when each address will have as many attempts again as it may have at
// once: a bucket that leaks, of which the time is all that has to be known (the
// generic cell rate algorithm). One whose time has come may be forgotten.
type attempts struct {
	mu    sync.Mutex
	whole map[netip.Prefix]time.Time
	swept time.Time
}

// take notes an attempt, and returns zero; or how long it is until the next one may
// be made, and notes nothing.
func (a *attempts) take(from netip.Prefix, perMinute int, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := a.whole[from]
	if whole.Before(now) || whole.Sub(now) > time.Minute { // later than that, and the clock has been set back
		whole = now
	}
	whole = whole.Add(time.Minute / time.Duration(perMinute))
	if over := whole.Sub(now) - time.Minute; over > 0 {
		return over
	}
	if a.whole == nil {
		a.whole = make(map[netip.Prefix]time.Time)
	}
	if _, known := a.whole[from]; !known && len(a.whole) >= maxAddresses {
		a.makeRoom(now)
	}
	a.whole[from] = whole
	return 0
}

// makeRoom forgets the addresses that have made no attempt for a while, and any one
// if there are none: whoever has so many addresses does not depend on one of them.
func (a *attempts) makeRoom(now time.Time) {
	if now.Sub(a.swept) >= time.Second { // looking at all of them takes its time
		a.swept = now
		for from, whole := range a.whole {
			if whole.Before(now) {
				delete(a.whole, from)
			}
		}
	}
	for from := range a.whole {
		if len(a.whole) < maxAddresses {
			return
		}
		delete(a.whole, from)
	}
}

// networkOf returns what counts as one address: an IPv4 address, or the 64 bits of
// an IPv6 address by which networks are told apart. Whoever has one of those has
// all of it.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	network, err := addr.Prefix(bits)
	if err != nil { // no address: all that have none are one
		return netip.Prefix{}
	}
	return network
}

// attempt counts a try to sign in or out: what costs us a signature, or the reading
// of a message that anybody can send. An error means that the visitor's address
// has had enough of them.
func (g *Gateway) attempt(ev *event) error {
	addr, _ := parseAddr(ev.client)
	wait := g.attempts.take(networkOf(addr), g.limits.LoginsPerMinute, g.now())
	if wait == 0 {
		return nil
	}
	return &problem{
		status: http.StatusTooManyRequests, code: codeTooMany, retry: wait,
		link: &page.Link{URL: g.loginURL(g.base.Hostname(), ""), Text: "try_again"},
	}
}
