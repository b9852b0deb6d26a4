package proxy

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/changes"
	"github.com/jitgate/jitgate/proxy/cache"
	"github.com/jitgate/jitgate/proxy/session"
)

const (
	// storeTimeout is how long the store may take to answer for one request.
	storeTimeout = time.Second

	// retryStore is for how long after the store failed those whom we remember, and
	// who may go on without it, do not wait for it again.
	retryStore = 500 * time.Millisecond

	// touchWait is how long the use of a session waits for that of others, to be noted
	// at once. It is lost with a process that is killed, as is that of the last minute.
	touchWait = 100 * time.Millisecond
)

// A memory is what this process remembers of what is in the store: who is signed in.
// It is believed as long as the feed of changes is current.
type memory struct {
	visitors *cache.Cache[session.Owner, *visitor] // by the value of their cookie
	feed     *changes.Feed
	failed   atomic.Int64 // when the store last failed, in ns since 1970

	hits, misses, graces atomic.Uint64

	mu      sync.Mutex
	waiting map[session.Owner]map[chan struct{}]struct{} // to hear of a change
	used    []session.Record                             // which the store is to be told
}

func newMemory(rdb redis.UniversalClient, prefix string) *memory {
	m := &memory{visitors: cache.New[session.Owner, *visitor](0, 0), waiting: make(map[session.Owner]map[chan struct{}]struct{})}
	m.feed = changes.NewFeed(rdb, prefix, m.changed)
	return m
}

// changed drops a user of a directory, or all of them.
func (m *memory) changed(directory, user string) {
	if user != "" {
		m.drop(session.Owner{Directory: directory, UserID: user})
		return
	}
	m.visitors.DropFunc(func(o session.Owner) bool { return o.Directory == directory })
	m.mu.Lock()
	defer m.mu.Unlock()
	for o := range m.waiting {
		if o.Directory == directory {
			m.wake(o)
		}
	}
}

// drop forgets a user who has changed.
func (m *memory) drop(o session.Owner) {
	m.visitors.Drop(o)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake(o)
}

// wake has those look again who await a change of a user. It is called with mu held.
func (m *memory) wake(o session.Owner) {
	for changed := range m.waiting[o] {
		select {
		case changed <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// await returns a channel on which there is something after each change of a user,
// until stop is called.
func (m *memory) await(o session.Owner) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[o] == nil {
		m.waiting[o] = make(map[chan struct{}]struct{})
	}
	m.waiting[o][c] = struct{}{}
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.waiting[o], c)
		if len(m.waiting[o]) == 0 {
			delete(m.waiting, o)
		}
	}
}

// Follow hears what other replicas change, until ctx ends, so that this one may
// remember who is signed in. Without it, each request asks the store.
func (g *Gateway) Follow(ctx context.Context) {
	var feed sync.WaitGroup
	feed.Go(func() { g.memory.feed.Run(ctx) })
	defer feed.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	was := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch _, is := g.memory.feed.Current(); {
		case was && !is:
			g.log.Warn("changes are not heard of; each request asks the store", zap.Error(g.memory.feed.Err()))
			was = is
		case !was && is:
			g.log.Info("changes are heard of again")
			was = is
		}
	}
}

// A visitor is somebody who is signed in. It does not change, but for what follows
// from it and is worked out once.
type visitor struct {
	session session.Record
	user    provision.User
	logName string

	gateway *Gateway  // by whose configuration this is
	gap     uint64    // of the feed when it was read
	read    time.Time // when
	seen    time.Time // by the gateway's clock
	passes  atomic.Pointer[[]pass]
}

// maxPasses is how many apps a visitor is remembered with. More are worked out anew.
const maxPasses = 8

// A pass is what an app means for a visitor.
type pass struct {
	app     *app
	allowed bool
	headers []header // that tell the app who the visitor is
}

// A header is a line of a request, its value ready for an [http.Header].
type header struct {
	name  string
	value []string
}

// pass returns what app means for the visitor.
func (v *visitor) pass(a *app) pass {
	var known []pass
	if p := v.passes.Load(); p != nil {
		known = *p
	}
	for _, p := range known {
		if p.app == a {
			return p
		}
	}
	p := pass{app: a, allowed: a.allows(v.user)}
	if p.allowed {
		p.headers = a.identity(v.user)
	}
	if len(known) == maxPasses {
		known = nil
	}
	// Two requests at once may each lose what the other has found.
	known = append(known[:len(known):len(known)], p)
	v.passes.Store(&known)
	return p
}

// visitor returns who sent the request. ok is false for a visitor without a
// session; an error means that we cannot tell.
func (g *Gateway) visitor(r *http.Request, host string) (v *visitor, ok bool, err error) {
	name := g.jar.sessionName()
	sealed, ok := session.Cookie(r.Header, name)
	if !ok {
		return nil, false, nil
	}
	old := g.known(sealed, host)
	if gap, current := g.memory.feed.Current(); old != nil && current && old.gap == gap {
		// Once in a while it is read again all the same: that notes its use.
		if !g.sessions.Due(old.seen, g.now()) {
			g.memory.hits.Add(1)
			return old, true, nil
		}
	}
	now := time.Now()
	if old != nil && now.Sub(time.Unix(0, g.memory.failed.Load())) < retryStore && g.mayGoOn(old, now) {
		return old, true, nil
	}
	token, ok := g.jar.sessions.Open(name, sealed)
	if !ok {
		return nil, false, nil
	}
	v, err = g.load(r.Context(), sealed, token, host)
	if err != nil {
		if old != nil && r.Context().Err() == nil && g.mayGoOn(old, time.Now()) {
			return old, true, nil
		}
		return nil, false, err
	}
	return v, v != nil, nil
}

// known returns the visitor whose cookie has a value, nil if that is none whom we
// remember, or whose session may be over.
func (g *Gateway) known(sealed, host string) *visitor {
	v, ok := g.memory.visitors.Get(sealed)
	if !ok || v.gateway != g || v.session.Host != host || !g.sessions.End(v.session).After(g.now()) {
		return nil
	}
	return v
}

// mayGoOn reports whether a visitor may go on while the store cannot be asked: for as
// long as the grace lasts, counted from when it was last known that nothing had changed.
func (g *Gateway) mayGoOn(v *visitor, now time.Time) bool {
	known := v.read
	if gap, _ := g.memory.feed.Current(); gap == v.gap && g.memory.feed.Until().After(known) {
		known = g.memory.feed.Until()
	}
	if now.Sub(known) >= g.grace {
		return false
	}
	g.memory.graces.Add(1)
	return true
}

// load asks the store who a visitor is, once for all requests that want to know it at
// the same time. It returns nil for a visitor without a session.
func (g *Gateway) load(ctx context.Context, sealed string, token []byte, host string) (*visitor, error) {
	g.memory.misses.Add(1)
	since := g.memory.visitors.Changes()
	// What has changed must not be had from somebody who asked before it did.
	one := sealed + host + strconv.FormatUint(since, 10)
	result := g.loads.DoChan(one, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		gap, current := g.memory.feed.Current()
		v, ok, err := g.lookup(ctx, session.OwnerOf(token), session.KeyOf(token), host)
		if err != nil {
			g.memory.failed.Store(time.Now().UnixNano())
			return nil, err
		}
		if !ok {
			return nil, nil
		}
		v.gap = gap
		if !current {
			g.touch(ctx, v.session)
			return v, nil
		}
		if now := g.now(); g.sessions.Due(v.session.Seen, now) {
			g.touchSoon(v.session)
			v.session.Seen = now
		}
		// A copy: the value is a piece of all that the request's head was.
		g.memory.visitors.Put(strings.Clone(sealed), v.session.Owner(), v, v.size(), since)
		return v, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-result:
		v, _ := r.Val.(*visitor)
		return v, r.Err
	}
}

// touch notes that sessions are in use. A store that is full or read-only can still
// tell who is signed in.
func (g *Gateway) touch(ctx context.Context, used ...session.Record) {
	if err := g.sessions.Touch(ctx, used...); err != nil && ctx.Err() != context.Canceled {
		g.log.Warn("sessions not touched", zap.Int("sessions", len(used)), zap.Error(err))
	}
}

// touchSoon notes that a session is in use, along with others: a trip of its own would
// cost as much as reading it.
func (g *Gateway) touchSoon(r session.Record) {
	m := g.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used = append(m.used, r); len(m.used) == 1 {
		time.AfterFunc(touchWait, g.touchUsed)
	}
}

// touchUsed notes which sessions were used.
func (g *Gateway) touchUsed() {
	m := g.memory
	m.mu.Lock()
	used := m.used
	m.used = nil
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	g.newest.Load().touch(ctx, used...)
}

// lookup returns the visitor whose session is under key. The session of a user
// who is no longer there or is blocked ends, and that of an identity provider
// taken out of the configuration.
func (g *Gateway) lookup(ctx context.Context, owner session.Owner, key, host string) (*visitor, bool, error) {
	now := time.Now()
	pipe := g.redis.Pipeline()
	stored := g.sessions.Ask(ctx, pipe, key)
	user := g.users.AskUser(ctx, pipe, owner.Directory, owner.UserID)
	_, _ = pipe.Exec(ctx) // each command has its own error
	s, ok, err := stored()
	if err != nil || !ok || s.Host != host || s.Owner() != owner {
		return nil, false, err
	}
	if idp, ok := g.idps[s.IdP]; !ok || idp.directory != s.Directory {
		return nil, false, g.sessions.Revoke(ctx, s)
	}
	u, ok, err := user()
	if err != nil {
		return nil, false, err
	}
	if !ok || u.Blocked != nil {
		return nil, false, g.sessions.Revoke(ctx, s)
	}
	return &visitor{session: s, user: u.Slim(), logName: g.users.LogName(u), gateway: g, read: now, seen: g.now()}, true, nil
}

// size returns about what a visitor takes in memory, in bytes, with the headers for
// one app.
func (v *visitor) size() int {
	n := 1500
	for _, names := range [][]string{v.user.Groups, v.user.Entitlements} {
		for _, name := range names {
			n += 2*len(name) + 17 // in the headers too
		}
	}
	for name, values := range v.user.Attributes {
		n += len(name) + 80
		for _, value := range values {
			n += len(value) + 16
		}
	}
	return n
}
