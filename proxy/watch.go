package proxy

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/proxy/session"
)

// watchEvery is how often the session of what lasts is looked at again.
const watchEvery = 30 * time.Second

// watchFrom is how long a request may take, unless it is a websocket, before its session is
// watched too.
const watchFrom = time.Second

// watched returns a context for a passage. It ends with the session, and when the
// visitor may no longer use the app or the path is no longer public; that of a
// websocket, with the gateway too. Most passages are over before it looks for the
// first time.
func (g *Gateway) watched(ctx context.Context, p passage, websocket bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	until := g.untilPrivate
	if p.guest != nil {
		until = g.untilRevoked
	}
	watch := func() {
		until(ctx, p)
		cancel(errOver)
	}
	if websocket {
		going := context.AfterFunc(g.ended, func() { cancel(errGoing) })
		go watch()
		return ctx, func() {
			going()
			cancel(nil)
		}
	}
	timer := time.AfterFunc(min(g.watch, watchFrom), watch)
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// untilRevoked returns when ctx is done, or the session is over, or the visitor
// may no longer use the app. It looks at once, since something may have changed
// meanwhile, when it hears of a change, and every now and then. Until then the session
// is in use. A store that cannot tell ends nothing before the session's lifetime is
// over.
func (g *Gateway) untilRevoked(ctx context.Context, p passage) {
	s := p.guest
	changed, stop := g.memory.await(s.owner)
	defer stop()
	tick := time.NewTicker(g.watch)
	defer tick.Stop()
	for s.expires.After(g.now()) && !g.newest.Load().isRevoked(ctx, p) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-time.After(s.expires.Sub(g.now())): // anew each time, since a clock may be set
		case <-changed:
		}
	}
}

// isRevoked reports whether the store has it that a passage must end. Where it does not,
// the session is in use.
func (g *Gateway) isRevoked(ctx context.Context, p passage) bool {
	s := p.guest
	lookup, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	v, ok, err := g.lookup(lookup, s.owner, s.key, s.host)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			g.log.Warn("session of an open connection not checked", zap.String("host", s.host), zap.Error(err))
		}
		return false
	case !ok || !g.stillAllows(p, v):
		return true
	}
	g.touch(lookup, v.session)
	return false
}

// untilPrivate returns when ctx is done, or the path is no longer public.
func (g *Gateway) untilPrivate(ctx context.Context, p passage) {
	changed, stop := g.memory.await(session.Owner{})
	defer stop()
	tick := time.NewTicker(g.watch)
	defer tick.Stop()
	for {
		now := g.newest.Load()
		app, ok := find(now.apps[p.route.host], p.route.path)
		if !ok || app.name != p.app.name || !app.isPublic(p.route.path) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changed:
		}
	}
}

// stillAllows reports whether the visitor may go on with a passage that another
// configuration may have begun.
func (g *Gateway) stillAllows(p passage, v *visitor) bool {
	app, ok := find(g.apps[p.route.host], p.route.path)
	return ok && app.name == p.app.name && app.allows(v.user, v.session.IdP)
}
