package proxy

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision"
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

// A guest is what is remembered of somebody who is signed in: what the apps they use
// need, and no more, since there may be very many. It does not change.
type guest struct {
	owner    session.Owner
	key      string    // of the session
	host     string    // that it is good for
	ends     time.Time // if it is not used again
	expires  time.Time // in any case
	userName string
	logName  string
	passes   []pass

	gateway *Gateway  // by whose configuration this is
	gap     uint64    // of the feed when it was read
	read    time.Time // when
	seen    time.Time // by the gateway's clock
}

// maxPasses is how many apps a guest is remembered with.
const maxPasses = 32

// A pass is what an app means for a guest.
type pass struct {
	app     *app
	allowed bool
	misled  bool     // not allowed, since they signed in at the wrong identity provider
	headers []header // that tell the app who the guest is
	badge   *badge   // what tokens say of them; nil: there are none
}

// A header is a line of a request, its value ready for an [http.Header].
type header struct {
	name  string
	value []string
}

// pass returns what an app means for the guest, nil where that is not known.
func (v *guest) pass(a *app) *pass {
	for i := range v.passes {
		if v.passes[i].app == a {
			return &v.passes[i]
		}
	}
	return nil
}

// newPass works out what an app means for a user who signed in at an identity provider.
func newPass(a *app, of person, s *signer) pass {
	p := pass{app: a, allowed: a.allows(of.User, of.session.IdP), misled: !a.takes(of.session.IdP)}
	if p.allowed {
		p.headers, p.badge = a.identity(of), s.badge(a, of.User)
	}
	return p
}

// guest returns who sent a request for an app, with what that means for them. Its ok
// is false for a visitor without a session; an error means that we cannot tell.
func (g *Gateway) guest(r *http.Request, host string, a *app) (v *guest, ok bool, err error) {
	name := g.jar.sessionName()
	sealed, ok := session.Cookie(r.Header, name)
	if !ok {
		return nil, false, nil
	}
	old := g.known(sealed, host, a)
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
	v, err = g.load(r.Context(), sealed, token, host, a)
	if err != nil {
		if old != nil && r.Context().Err() == nil && g.mayGoOn(old, time.Now()) {
			return old, true, nil
		}
		return nil, false, err
	}
	return v, v != nil, nil
}

// known returns the guest whose cookie has a value, nil if that is none whom we
// remember, with that app, or whose session may be over.
func (g *Gateway) known(sealed, host string, a *app) *guest {
	v, ok := g.memory.guests.Get(sealed)
	if !ok || v.gateway != g || v.host != host || !v.ends.After(g.now()) || v.pass(a) == nil {
		return nil
	}
	return v
}

// mayGoOn reports whether a guest may go on while the store cannot be asked: for as
// long as the grace lasts, counted from when it was last known that nothing had changed.
func (g *Gateway) mayGoOn(v *guest, now time.Time) bool {
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

// load asks the store who a guest is, once for all requests for an app that want to
// know it at the same time. It returns nil for a visitor without a session.
func (g *Gateway) load(ctx context.Context, sealed string, token []byte, host string, a *app) (*guest, error) {
	g.memory.misses.Add(1)
	since := g.memory.guests.Changes()
	// What has changed must not be had from somebody who asked before it did.
	span := trace.SpanFromContext(ctx) // of the first that asks
	asked := sealed + "/" + host + "/" + a.name + "/" + strconv.FormatUint(since, 10)
	result := g.loads.DoChan(asked, func() (any, error) {
		ctx, cancel := context.WithTimeout(trace.ContextWithSpan(context.Background(), span), storeTimeout)
		defer cancel()
		gap, current := g.memory.feed.Current()
		read := time.Now()
		v, ok, err := g.lookup(ctx, session.OwnerOf(token), session.KeyOf(token), host)
		if err != nil {
			g.memory.failed.Store(time.Now().UnixNano())
			return nil, err
		}
		if !ok {
			return nil, nil
		}
		if !current {
			g.touch(ctx, v.session)
		} else if now := g.now(); g.sessions.Due(v.session.Seen, now) {
			g.touchSoon(v.session)
			v.session.Seen = now
		}
		old, _ := g.memory.guests.Get(sealed)
		found := g.newGuest(v, a, old)
		found.gap, found.read = gap, read
		if current {
			// A copy: the value is a piece of all that the request's head was.
			g.memory.guests.Put(strings.Clone(sealed), found.owner, found, found.size(), since)
		}
		return found, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-result:
		v, _ := r.Val.(*guest)
		return v, r.Err
	}
}

// newGuest returns what to remember of a visitor who wants into an app, and has used
// those that old knows, which may be nil.
func (g *Gateway) newGuest(v *visitor, a *app, old *guest) *guest {
	apps := []*app{a}
	if old != nil && old.gateway == g {
		for _, p := range old.passes {
			if p.app != a && len(apps) < maxPasses {
				apps = append(apps, p.app)
			}
		}
	}
	of := person{User: v.user, session: v.session}
	if p, ok := g.idps[v.session.IdP]; ok {
		of.issuer = p.EntityID()
	}
	passes := make([]pass, len(apps))
	for i, a := range apps {
		passes[i] = newPass(a, of, g.signer)
	}
	s := v.session
	guest := &guest{
		owner: s.Owner(), key: s.Key, host: s.Host, ends: g.sessions.End(s), expires: s.Expires,
		userName: v.user.UserName, logName: v.logName, passes: passes, gateway: g, seen: g.now(),
	}
	guest.pack()
	return guest
}

// pack has all that the guest says in one piece of memory. The garbage collector looks
// at each piece, and there may be very many guests.
func (v *guest) pack() {
	said := []*string{&v.owner.Directory, &v.owner.UserID, &v.key, &v.host, &v.userName, &v.logName}
	var headers []*header
	for _, p := range v.passes {
		for i := range p.headers {
			headers = append(headers, &p.headers[i])
		}
	}
	values := make([]string, len(headers))
	for i, h := range headers {
		values[i] = h.value[0]
		h.value = values[i : i+1 : i+1]
		said = append(said, &values[i])
	}
	var b strings.Builder
	for _, s := range said {
		b.WriteString(*s)
	}
	rest := strings.Clone(b.String()) // without room for more
	for _, s := range said {
		*s, rest = rest[:len(*s)], rest[len(*s):]
	}
}

// size returns about what a guest takes in memory, in bytes.
func (v *guest) size() int {
	n := 600 + len(v.key) + len(v.owner.UserID) + len(v.userName)
	for _, p := range v.passes {
		n += 48 + p.badge.size()
		for _, h := range p.headers {
			n += 56 + len(h.value[0])
		}
	}
	return n
}

// A visitor is somebody who is signed in.
type visitor struct {
	session session.Record
	user    provision.User
	logName string
}

// visitor asks the store who sent a request. Its ok is false for a visitor without a
// session; an error means that we cannot tell.
func (g *Gateway) visitor(r *http.Request, host string) (v *visitor, ok bool, err error) {
	token, ok := g.jar.session(r.Header)
	if !ok {
		return nil, false, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	if v, ok, err = g.lookup(ctx, session.OwnerOf(token), session.KeyOf(token), host); ok {
		g.touch(ctx, v.session)
	}
	return v, ok, err
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
	return &visitor{s, u, g.users.LogName(u)}, true, nil
}
