package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// flushEvery is how long what came of an answer may wait for more of it. Where the app
// does not say how long it will be, nothing waits.
const flushEvery = 10 * time.Millisecond

// A passage is a request that may go to an app. Without a guest it is one for a
// public path, and says nothing of who sent it.
type passage struct {
	app      *app
	route    route
	guest    *guest
	identity []header
	token    []string // that signs it, or nil
}

// forward sends a request to its app and the answer back. It may only be called
// for what has been authorised.
//
// It uses Rewrite, not Director: a client can name any header in Connection, and
// headers set by a Director are removed along with those. An error means that
// the app did not answer.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, ev *event, p passage) error {
	websocket := isWebsocket(r)
	switch {
	case p.app.upstream == nil:
		return p.app.elsewhere(r)
	case websocket && !g.fromSameHost(r):
		return badRequest(http.StatusForbidden, "websocket opened by %q", r.Header["Origin"])
	case r.Header.Get("Service-Worker") != "" && g.coversOurs(p):
		return badRequest(http.StatusForbidden, "script of a service worker that would come before the gateway's own pages")
	}
	ctx, cancel := g.watched(r.Context(), p, websocket)
	defer cancel()
	defer ev.body.endWith(ctx)()
	if websocket {
		g.sockets.Add(1)
		defer g.sockets.Add(-1)
	}
	var failed error
	broken := true // until all of the answer has come: ReverseProxy panics where it does not
	ctx, asked := beginAsking(ctx, p, r.Method)
	defer func() { endSpan(asked, broken || failed != nil) }()
	r = r.WithContext(ctx)
	// ReverseProxy would open a tunnel for any protocol, and what is in the tunnel is
	// never authorised. It sees no header but what asks for a websocket.
	sent := r.Header
	r.Header = nil
	if websocket {
		r.Header = http.Header{"Connection": sent["Connection"], "Upgrade": sent["Upgrade"]}
	}
	if ev.body != nil && r.ProtoMajor == 1 {
		// Else the server would read the rest of the body before it sends a
		// byte of the answer. Not every ResponseWriter can do it.
		ev.duplex = http.NewResponseController(w).EnableFullDuplex() == nil
	}
	if r.ContentLength > p.app.body {
		return tooLarge(p.app)
	}
	if ev.body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, p.app.body)
	}
	ev.forwarding = p.app
	proxy := httputil.ReverseProxy{
		Rewrite:        func(pr *httputil.ProxyRequest) { g.rewrite(pr, sent, ev, p) },
		ModifyResponse: func(res *http.Response) error { return g.checkAnswer(ctx, res, ev, p) },
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		Transport:      p.app.via,
		BufferPool:     g.buffers,
		FlushInterval:  flushEvery,
		ErrorLog:       g.proxyLog,
	}
	proxy.ServeHTTP(w, r)
	broken = false
	return p.failure(w, ev, failed)
}

// failure returns what the visitor is told of an error of forwarding, nil for none.
func (p passage) failure(w http.ResponseWriter, ev *event, failed error) error {
	switch _, isTooLong := errors.AsType[*http.MaxBytesError](failed); {
	case failed == nil:
		return nil
	case isTooLong:
		failed = tooLarge(p.app)
	case ev.body.hasStalled(): // which ends the request, and that may be what failed
		w.Header().Set("Connection", "close")
		failed = badRequest(http.StatusRequestTimeout, "nothing more of the body has come")
	default:
		failed = &problem{status: http.StatusBadGateway, code: codeUpstream, app: p.app.name, cause: failed}
	}
	ev.status = 0
	return failed
}

// checkAnswer makes of an app's answer the one that the visitor gets.
func (g *Gateway) checkAnswer(ctx context.Context, res *http.Response, ev *event, p passage) error {
	if res.StatusCode < 100 { // the server would panic
		return fmt.Errorf("answer with status %q", res.Status)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		ev.status = res.StatusCode
		if upstream, ok := res.Body.(io.ReadWriteCloser); ok {
			res.Body = newWebsocket(ctx, upstream)
		}
	}
	tellStatus(ctx, res.StatusCode)
	g.confine(res.Header, p)
	res.Header.Set("X-Request-Id", ev.id)
	if p.guest != nil {
		keepPrivate(res.Header)
	}
	return nil
}

// tooLarge is a body that is longer than the app's may be.
func tooLarge(a *app) *problem {
	cause := fmt.Errorf("body of more than %d bytes", a.body)
	return &problem{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, app: a.name, cause: cause}
}

// rewrite makes of a visitor's request, whose headers are in sent, the one that the
// app gets.
func (g *Gateway) rewrite(pr *httputil.ProxyRequest, sent http.Header, ev *event, p passage) {
	out, h := pr.Out, p.header(sent)
	out.URL.Scheme, out.URL.Host, out.URL.User = p.app.upstream.Scheme, p.app.upstream.Host, nil
	out.URL.Path, out.URL.RawPath = p.route.path, p.route.raw
	out.URL.RawQuery = pr.In.URL.RawQuery
	out.Host = g.hostport(p.route.host)
	out.Trailer = nil
	for name, values := range out.Header { // what makes it a websocket
		h[name] = values
	}
	lines := [...]string{ev.id, g.base.Scheme, out.Host, ev.forwarded}
	h["X-Request-Id"], h["X-Forwarded-Proto"], h["X-Forwarded-Host"] = lines[0:1:1], lines[1:2:2], lines[2:3:3]
	if ev.forwarded != "" {
		h["X-Forwarded-For"] = lines[3:4:4]
	}
	if pr.In.ProtoMajor == 2 && httpguts.HeaderValuesContainsToken(sent["Te"], "trailers") {
		h["Te"] = []string{"trailers"} // gRPC wants it
	}
	set(h, p.identity)
	if p.token != nil {
		h[tokenHeader] = p.token
	}
	g.passOn(pr.In.Context(), h)
	out.Header = h
}

// header returns what goes to the app of the headers that a visitor sent. It has room
// for what is to be added, and shares the values.
func (p passage) header(sent http.Header) http.Header {
	h := make(http.Header, len(sent)+len(p.identity)+5)
	for name, values := range sent {
		if p.app.reserved.mayPass(name) {
			h[name] = values
		}
	}
	for _, line := range sent["Connection"] { // RFC 9110, section 7.6.1
		for name := range strings.SplitSeq(line, ",") {
			delete(h, http.CanonicalHeaderKey(strings.Trim(name, " \t")))
		}
	}
	withoutOurCookies(h)
	return h
}

// isWebsocket reports whether a request asks for a websocket and nothing else
// (RFC 6455, section 4.1). One with a body does not: what the app would take for
// the body, and what for the tunnel, is anybody's guess.
func isWebsocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") && r.Method == http.MethodGet && r.ContentLength == 0
}

// fromSameHost reports whether a websocket is opened by a page of the same
// host, over https where that is how we are reached. Browsers let any page open
// one, cookies and all, and leave it to the server to look at Origin, which they
// always send.
func (g *Gateway) fromSameHost(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && u.Scheme == g.base.Scheme && strings.EqualFold(u.Host, r.Host)
}

// withoutOurCookies takes our cookies out of the Cookie header. All others stay
// as they are, byte for byte.
func withoutOurCookies(h http.Header) {
	lines := h["Cookie"]
	if !slices.ContainsFunc(lines, mayHoldOurs) {
		return
	}
	var kept []string
	for _, line := range lines {
		if !mayHoldOurs(line) {
			kept = append(kept, line)
			continue
		}
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			if !isOurCookie(cookieName(pair)) {
				pairs = append(pairs, pair)
			}
		}
		if line = strings.TrimLeft(strings.Join(pairs, ";"), " "); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// mayHoldOurs reports whether the name of one of our cookies may be in a line, in
// whatever case.
func mayHoldOurs(line string) bool {
	const name = "jitgate"
	for {
		i := strings.IndexAny(line, "jJ")
		if i < 0 || len(line)-i < len(name) {
			return false
		}
		if strings.EqualFold(line[i:i+len(name)], name) {
			return true
		}
		line = line[i+1:]
	}
}

// confine takes out of the app's answer what concerns others: the gateway's cookies
// and names, the way to reach the host, and what scripts of other apps on it do.
func (g *Gateway) confine(h http.Header, p passage) {
	dropOurCookies(h)
	keepCookies(h)
	h.Del("Alt-Svc") // a server that is not behind the gateway (RFC 7838)
	for name := range h {
		if strings.HasPrefix(name, "X-Jitgate-") {
			delete(h, name)
		}
	}
	if scope, ok := h["Service-Worker-Allowed"]; ok && (len(scope) != 1 || !g.mayReach(p, scope[0])) {
		delete(h, "Service-Worker-Allowed")
	}
}

// coversOurs reports whether a service worker whose script is at the path of a
// passage would by default be asked for the gateway's own pages: one in the topmost
// folder. It could read the responses of identity providers, and stay when its app
// is gone. On a host of its own, an app may have that: there, all that it would
// come before is for that app.
func (g *Gateway) coversOurs(p passage) bool {
	shared := p.app.prefix != "" || p.route.host == g.base.Hostname()
	return shared && strings.Count(p.route.path, "/") == 1
}

// mayReach reports whether a service worker of the app of a passage may be asked
// for all below scope.
func (g *Gateway) mayReach(p passage, scope string) bool {
	path, _, ok := canonicalPath(&url.URL{RawPath: scope})
	if !ok || !strings.HasPrefix(path, p.app.prefix+"/") {
		return false
	}
	return p.app.prefix != "" || p.route.host != g.base.Hostname() || !strings.HasPrefix(ownPrefix+"/", path)
}

// keepCookies takes the cookies out of what an app wants the browser to forget: the
// gateway's would go as well, those for other apps included.
func keepCookies(h http.Header) {
	sent := h["Clear-Site-Data"]
	if len(sent) == 0 {
		return
	}
	var kept []string
	for kind := range strings.SplitSeq(strings.Join(sent, ","), ",") {
		switch kind = strings.TrimSpace(kind); kind {
		case "", `"cookies"`:
		case `"*"`:
			kept = append(kept, `"cache"`, `"storage"`)
		default:
			kept = append(kept, kind)
		}
	}
	if len(kept) == 0 {
		h.Del("Clear-Site-Data")
		return
	}
	h["Clear-Site-Data"] = []string{strings.Join(kept, ", ")}
}

// dropOurCookies takes out of an app's answer the cookies that only the gateway
// sets.
func dropOurCookies(h http.Header) {
	cookies := h["Set-Cookie"]
	if len(cookies) == 0 {
		return
	}
	h["Set-Cookie"] = slices.DeleteFunc(cookies, func(c string) bool {
		pair, _, _ := strings.Cut(c, ";")
		return isOurCookie(cookieName(pair))
	})
}

// cookieName returns the name of a cookie, as whoever gets it next will see it:
// browsers send one that was set without a name, "=a=b", as "a=b", and the server makes
// line breaks of an app's header spaces.
func cookieName(pair string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(pair, " \t\r\n="), "=")
	return strings.Trim(name, " \t\r\n")
}

// keepPrivate sees to it that no shared cache keeps what was made for one
// visitor. What the app says for the visitor's own browser stays.
func keepPrivate(h http.Header) {
	for name := range h {
		// RFC 9213 and what CDNs have of their own kind; nginx heeds its header first.
		if strings.HasSuffix(name, "Cdn-Cache-Control") || name == "Surrogate-Control" || name == "Edge-Control" || name == "X-Accel-Expires" {
			delete(h, name)
		}
	}
	sent := h.Values("Cache-Control")
	if len(sent) == 0 {
		h.Set("Cache-Control", "private, no-store")
		return
	}
	directives := []string{"private"}
	for directive := range strings.SplitSeq(strings.Join(sent, ","), ",") {
		directive = strings.TrimSpace(directive)
		name, _, _ := strings.Cut(strings.ToLower(directive), "=")
		switch strings.TrimSpace(name) {
		case "", "public", "s-maxage", "private":
		default:
			directives = append(directives, directive)
		}
	}
	h.Set("Cache-Control", strings.Join(directives, ", "))
}
