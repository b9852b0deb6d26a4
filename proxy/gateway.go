// Package proxy is the gateway's HTTP: it routes a request to an app, finds out
// who the visitor is, decides, and forwards; and it signs visitors in.
//
// A request goes one way, which [Gateway.serve] shows from top to bottom:
// canonical host and path, app, session, permission, upstream. Every step may
// end it with an error, and one function, [Gateway.answer], answers all of them.
// What is forwarded is what was authorised: the same canonical host and path,
// with every header removed that could pass for identity, and ours set. The
// query decides nothing, and is forwarded as it is.
//
// A login goes over a sealed cookie of its own and leaves no trace in the store
// before an identity provider's assertion was verified. Sessions are of one
// host; [session] keeps them. A login for an app on another host ends with a
// one-time code that only the browser which began there can use.
//
// A store that does not answer is not the same as a visitor without a session:
// such requests get 503, keep their cookies, and are not sent to sign in.
//
// Whoever runs the gateway asks it over the admin socket, which [Gateway.Socket]
// answers. [Gateway.Replace] puts another configuration in use, all of it at once.
package proxy

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/proxy/session"
	"github.com/jitgate/jitgate/samlsp"
)

// Options are the parts that a gateway is made of. All but TLS, Traces and Reload are required.
type Options struct {
	Config *config.Config
	Redis  redis.UniversalClient
	IdPs   map[string]*samlsp.SP // by the name in Config
	Users  *provision.Registry
	Log    *zap.Logger

	// TLS returns the certificates that visitors' browsers are shown, of [UseTLS] or
	// [UseACME]. It may be nil.
	TLS func() []Certificate

	// Traces are where the spans of requests go. It may be nil: nothing is traced.
	Traces trace.TracerProvider

	// Reload reads the configuration again and, unless it returns an error, has called
	// [Gateway.Replace]. It is called when another replica has called
	// [Gateway.TellReload], and from the console. It may be nil. A gateway keeps that of
	// its first configuration.
	Reload func(context.Context) error
}

// A Gateway answers visitors' requests. Make one with [New].
//
// It is of one configuration and never changes; [Gateway.Replace] has another one
// answer in its place, so that each request is answered by one configuration
// from beginning to end.
type Gateway struct {
	base    *url.URL          // origin of our own pages
	apps    map[string][]*app // by host, base's included
	links   links
	idps    map[string]idp
	asking  discovery
	pages   *page.Set
	trusted []netip.Prefix
	limits  config.Limits

	pairs  []config.KeyPair     // for SAML
	signer *signer              // of who visitors are; nil: nobody wants to know it signed
	tls    func() []Certificate // of [Options]

	cfg      *config.Config
	users    *provision.Registry
	sessions *session.Store
	jar      *jar
	redis    redis.UniversalClient

	loads singleflight.Group // of visitors whom we do not remember
	grace time.Duration      // for which visitors whom we remember go on when the store fails

	tracer      trace.Tracer // nil: nothing is traced
	crossOrigin http.CrossOriginProtection
	logs

	now func() time.Time
	*shared
}

// shared is what a gateway has in common with those that take its place.
type shared struct {
	upstreams
	newest   atomic.Pointer[Gateway] // the one that answers
	draining atomic.Bool
	attempts attempts
	tally    tally
	conns    *conns
	metrics  *metrics
	memory   *memory

	largeForms places // one for each that is being read
	keeping    places // one for each form that is being kept
}

func newShared(o Options) *shared {
	s := &shared{
		upstreams: newUpstreams(o.Log), conns: newConns(), memory: newMemory(o.Redis, o.Config.Redis.KeyPrefix),
		largeForms: make(places, maxLargeForms), keeping: make(places, maxKeeping),
	}
	s.memory.reload = o.Reload
	s.metrics = newMetrics(&s.newest)
	o.Redis.AddHook(redisMeter{s.metrics})
	return s
}

// logs are where the lines go.
type logs struct {
	log, requests, logins, audits *zap.Logger
	proxyLog                      *log.Logger // of httputil.ReverseProxy
}

// An idp is an identity provider.
type idp struct {
	*samlsp.SP
	title       string // for visitors
	directory   string // whose users sign in there
	unsolicited string // what becomes of responses that nobody asked for: restart, accept or off
	logout      bool   // takes part in single logout
}

// New returns a gateway. It asks nothing of the network.
func New(o Options) (*Gateway, error) {
	g, err := build(o, newShared(o))
	if err == nil {
		g.takeOver()
	}
	return g, err
}

// Replace has a gateway that o describes answer whatever comes to g from now on.
// What is under way goes on as it began, but for open websockets and streams,
// which end if they may not go on by the new configuration. The store has to be
// the same. If it returns an error, everything stays as it is.
func (g *Gateway) Replace(o Options) error {
	next, err := build(o, g.shared)
	if err != nil {
		return err
	}
	next.now = g.now
	next.takeOver()
	return nil
}

// takeOver has g answer from now on.
func (g *Gateway) takeOver() {
	g.newest.Store(g)
	g.special.keep(g.apps)
	g.memory.guests.Limit(g.limits.Sessions, int64(g.limits.SessionMemory))
	g.memory.guests.DropFunc(func(session.Owner) bool { return true }) // what is remembered is of another configuration
	g.memory.wakeAll()
	g.conns.wake() // there may be room for more
}

// build makes the gateway that o describes, which does not answer yet.
func build(o Options, s *shared) (*Gateway, error) {
	base := o.Config.Base()
	apps, err := newApps(o.Config, s.upstreams)
	if err != nil {
		return nil, err
	}
	goOn(s.newest.Load(), apps)
	proxyLog, err := zap.NewStdLogAt(o.Log.Named("upstream"), zap.WarnLevel)
	if err != nil {
		return nil, fmt.Errorf("logging: %w", err)
	}
	g := &Gateway{
		base: base, apps: apps, links: newLinks(o.Config), idps: make(map[string]idp), trusted: o.Config.TrustedProxies, limits: o.Config.Limits,
		cfg: o.Config, users: o.Users, redis: o.Redis, tls: o.TLS, shared: s,
		logs: logs{
			log: o.Log, requests: o.Log.Named("request"), logins: o.Log.Named("login"), audits: o.Log.Named("audit"), proxyLog: proxyLog,
		},
		grace: o.Config.Session.Grace,
		now:   time.Now,
	}
	for _, onHost := range apps {
		for _, a := range onHost {
			s.metrics.measure(a)
		}
	}
	if o.Traces != nil {
		g.tracer = o.Traces.Tracer(tracerName)
	}
	g.pairs = o.Config.SAML.KeyPairs()
	if g.signer, err = newSigner(o.Config.JWT.PrivateKeys(), base.String()); err != nil {
		return nil, err
	}
	clock := func() time.Time { return g.now() }
	g.sessions = &session.Store{
		Redis: o.Redis, Prefix: o.Config.Redis.KeyPrefix,
		Idle: o.Config.Session.Idle, Lifetime: o.Config.Session.Lifetime, Now: clock,
		Ended: s.memory.drop,
	}
	if g.jar, err = newJar(o.Config, clock); err != nil {
		return nil, err
	}
	for _, c := range o.Config.IdentityProviders {
		sp, ok := o.IdPs[c.Name]
		if !ok {
			return nil, fmt.Errorf("identity provider %q: no service provider", c.Name)
		}
		g.idps[c.Name] = idp{sp, c.Title, c.Directory, c.IDPInitiated, c.SingleLogout}
	}
	g.asking = newDiscovery(o.Config)
	if g.pages, err = newPages(o.Config.Branding, o.Log); err != nil {
		return nil, err
	}
	return g, nil
}

// Drain makes /readyz say that no new visitors should be sent here. Requests
// are answered as before.
func (g *Gateway) Drain() { g.draining.Store(true) }

// Close ends the websockets that are open, and waits a moment for their ends:
// [http.Server.Shutdown] does not know of them.
func (g *Gateway) Close() {
	g.end()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(3 * closeTime); g.sockets.Load() > 0 && time.Now().Before(end); {
		<-tick.C
	}
	g.closeIdle()
	g.touchUsed()
	g.writeTally()
}

// ServeHTTP answers a request, and logs it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.newest.Load().serveHTTP(w, r)
}

func (g *Gateway) serveHTTP(w http.ResponseWriter, r *http.Request) {
	ev, rec := g.newEvent(r), &recorder{ResponseWriter: w}
	r = g.beginTrace(r, ev)
	if r.ProtoMajor > 1 {
		rec.stall = g.limits.Stall
	}
	if r.Body != nil && r.Body != http.NoBody {
		// The server looks into the body of its own request for what was not read.
		r = r.WithContext(r.Context())
		rec.body = newBody(w, r, g.limits.Stall)
	}
	ev.body = rec.body
	defer g.finish(ev, rec, r)
	if err := g.serve(rec, r, ev); err != nil {
		g.answer(rec, r, ev, err)
	}
	if ev.duplex {
		// In full duplex the server reads the next request before it has seen
		// the end of this body, unless that is read or given up here: after the
		// answer, since the client may take its time.
		_ = http.NewResponseController(rec).Flush()
		if ev.body.Close() != nil {
			panic(http.ErrAbortHandler) // what comes next would be taken for a request
		}
	}
	rec.last()
}

// serve answers a request. An error means that nothing was answered yet.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, ev *event) error {
	if isAuth(r.URL.Path) {
		return g.serveAuth(w, r, ev)
	}
	to, err := g.route(r)
	if err != nil {
		return err
	}
	ev.host = to.host
	if isOwn(to.path) {
		return g.serveOwn(w, r, ev, to)
	}
	if l, ok := g.links[to.host][to.path]; ok {
		return g.follow(w, r, to.host, l)
	}
	app, ok := find(g.apps[to.host], to.path)
	if !ok {
		return notFound()
	}
	p, ok, err := g.authorize(r, ev, app, to)
	if err != nil {
		return err
	}
	if !ok {
		return g.sendToLogin(w, r, ev, to)
	}
	return g.forward(w, r, ev, p)
}

// authorize returns how a request for an app may pass. It reports whether it may: else
// the visitor has to sign in, or there is an error.
func (g *Gateway) authorize(r *http.Request, ev *event, app *app, to route) (p passage, ok bool, err error) {
	ev.app = app.name
	if app.isPublic(to.path) {
		return passage{app: app, route: to}, true, nil
	}
	v, ok, err := g.guest(r, to.host, app)
	if err != nil || !ok {
		return passage{}, false, err
	}
	ev.user = v.logName
	pass := v.pass(app)
	if !pass.allowed {
		p := &problem{status: http.StatusForbidden, code: codeForbidden, app: app.name, user: v.userName}
		if pass.misled {
			p.say, p.link = "forbidden_idp", &page.Link{URL: g.loginURL(to.host, to.again(r)), Text: "sign_in_otherwise"}
		}
		return passage{}, false, p
	}
	token, err := g.signer.token(pass.badge, g.now())
	if err != nil {
		return passage{}, false, err
	}
	return passage{app: app, route: to, guest: v, identity: pass.headers, token: token}, true, nil
}

// route returns where a request goes, in canonical form.
func (g *Gateway) route(r *http.Request) (route, error) {
	switch strings.ToUpper(r.Method) { // there are servers to which trace is TRACE
	case http.MethodTrace, http.MethodConnect, "TRACK":
		return route{}, badRequest(http.StatusMethodNotAllowed, "method %s", r.Method)
	}
	host, ok := canonicalHost(r.Host)
	if _, served := g.apps[host]; !ok || !served {
		return route{}, badRequest(http.StatusMisdirectedRequest, "host %q is not served", r.Host)
	}
	if r.URL.Host != "" && r.URL.Host != r.Host { // over HTTP/2, where both are sent
		return route{}, badRequest(http.StatusBadRequest, "path of host %q", r.URL.Host)
	}
	path, raw, ok := canonicalPath(r.URL)
	if !ok {
		return route{}, badRequest(http.StatusBadRequest, "path %q has another reading", r.URL.EscapedPath())
	}
	return route{host: host, path: path, raw: raw}, nil
}

// sendToLogin answers a request for which somebody has to be signed in.
func (g *Gateway) sendToLogin(w http.ResponseWriter, r *http.Request, ev *event, to route) error {
	if !isOwn(to.path) && g.isOwnForm(r, to.host) {
		return g.keepForm(w, r, ev, to)
	}
	login := g.loginURL(to.host, "")
	if !isNavigation(r) {
		return &problem{status: http.StatusUnauthorized, code: codeSignIn, loginURL: login, link: &page.Link{URL: login, Text: "sign_in"}}
	}
	if isFramed(r) {
		ev.outcome = outcomeSignIn
		g.leaveFrame(w, r, to.host, loginForm{rd: to.again(r)})
		return nil
	}
	ev.outcome = outcomeSignIn
	redirect(w, http.StatusFound, g.loginURL(to.host, to.again(r)))
	return nil
}

// origin returns the origin under which visitors reach one of our hosts.
func (g *Gateway) origin(host string) string { return originOf(g.base, host) }

// hostport returns host with the port of base_url, as visitors' browsers have it
// in Host. What a client sends as a port is not passed on.
func (g *Gateway) hostport(host string) string { return hostportOf(g.base, host) }

// loginURL returns where to sign in on a host, to come back to rd.
func (g *Gateway) loginURL(host, rd string) string {
	login := g.origin(host) + ownPrefix + "/login"
	if rd == "" || rd == "/" {
		return login
	}
	return login + "?rd=" + url.QueryEscape(rd)
}

// ownURL returns the address of a page of ours on a host, to ask there for what a form
// asks for.
func (g *Gateway) ownURL(host, page string, form loginForm) string {
	u := g.origin(host) + ownPrefix + page
	if query := form.query(); query != "" {
		u += "?" + query
	}
	return u
}

// siteOf returns what pages on a host are headed with: its name, if it is one
// of ours.
func (g *Gateway) siteOf(host string) string {
	if _, ok := g.apps[host]; ok {
		return host
	}
	return g.base.Hostname()
}
