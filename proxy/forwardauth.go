package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/proxy/extauthz"
	"github.com/jitgate/jitgate/proxy/page"
)

// authPath is where proxies ask about requests.
const authPath = ownPrefix + "/auth"

// ExtAuthz returns what answers Envoy's questions over gRPC, as serveAuth does those over
// HTTP.
func (g *Gateway) ExtAuthz() http.Handler { return extauthz.Handler(g, authPath) }

// isAuth reports whether somebody asks about a request.
func isAuth(path string) bool {
	rest, ok := strings.CutPrefix(path, authPath)
	return ok && (rest == "" || rest[0] == '/')
}

// serveAuth tells a proxy what to do with a request of a visitor, by the rules that
// hold for those which are forwarded here. It answers 202 with the headers for the app,
// 401 where the visitor has to sign in and 403 where they may not use it, as nginx's
// auth_request wants it.
//
// Most proxies hand on what is answered to the visitor. For them there is redirect=1: it
// is answered as if the visitor had come here, with a redirect to sign in, say, and a yes
// has the visitor's cookies but for ours. Envoy asks for the path behind its prefix, and
// takes 200 alone for a yes.
func (g *Gateway) serveAuth(w http.ResponseWriter, r *http.Request, ev *event) error {
	if ev.body != nil {
		ev.body.limit(formTime)
	}
	asked, byPath, err := g.askedAbout(r)
	if err != nil {
		return err
	}
	how := answerMode{redirects: true} // where the path is the visitor's, so is the query
	if !byPath {
		query := r.URL.Query()
		how = answerMode{app: query.Get("app"), redirects: query.Get("redirect") == "1"}
	}
	headers, err := g.decide(w, asked, ev, how)
	if p, ok := errors.AsType[*problem](err); ok && !how.redirects && p.status < 500 && p.status != http.StatusUnauthorized {
		p.status = http.StatusForbidden
	}
	if err != nil || headers == nil {
		return err
	}
	ev.outcome = outcomeAllowed
	page.Protect(w.Header())
	set(w.Header(), headers)
	status := http.StatusAccepted
	if byPath {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	return nil
}

// An answerMode is what a proxy wants to be told.
type answerMode struct {
	app       string // name, or "" for the one at the path
	redirects bool   // what is answered is handed on to the visitor
}

// decide returns the headers that the app gets with a request, none where it has answered
// instead.
func (g *Gateway) decide(w http.ResponseWriter, asked *http.Request, ev *event, how answerMode) ([]header, error) {
	ev.path = asked.URL.EscapedPath()
	to, err := g.route(asked)
	if err != nil {
		return nil, err
	}
	ev.host = to.host
	if isOwn(to.path) {
		return nil, notFound() // the app never sees such a path
	}
	if l, ok := g.links[to.host][to.path]; ok {
		if !how.redirects { // 401 would lead back here, without end
			return nil, notFound()
		}
		return nil, g.follow(w, asked, to.host, l)
	}
	app, ok := find(g.apps[to.host], to.path)
	if how.app != "" {
		app, ok = named(g.apps[to.host], how.app)
	}
	if !ok || app.upstream != nil { // what is forwarded here nobody else asks about
		return nil, notFound()
	}
	if err := g.refuseForeign(asked, passage{app: app, route: to}); err != nil {
		return nil, err
	}
	p, ok, err := g.authorize(asked, ev, app, to)
	switch {
	case err != nil:
		return nil, err
	case !ok && !how.redirects:
		login := g.loginURL(to.host, to.again(asked))
		return nil, &problem{status: http.StatusUnauthorized, code: codeSignIn, loginURL: login, link: &page.Link{URL: login, Text: "sign_in"}}
	case !ok && g.isOwnForm(asked, to.host):
		ev.code = codeSignIn
		g.pages.Write(w, asked, http.StatusUnauthorized, page.Kept{Site: g.siteOf(to.host), Again: g.loginURL(to.host, "")}) // its body is not here
		return nil, nil
	case !ok:
		return nil, g.sendToLogin(w, asked, ev, to)
	}
	headers := g.headersElsewhere(p)
	if sent := asked.Header["Cookie"]; len(sent) > 0 && how.redirects { // to nginx, a long answer is none
		rest := http.Header{"Cookie": sent}
		withoutOurCookies(rest)
		headers = append(headers, header{"Cookie", []string{strings.Join(rest["Cookie"], "; ")}})
	}
	return append(headers, header{"X-Request-Id", []string{ev.id}}), nil
}

// headersElsewhere returns what says who the visitor is, for an app that another proxy
// forwards to: all headers that there can be, empty where the visitor does not have them,
// so that nothing of the same name passes the proxy.
func (g *Gateway) headersElsewhere(p passage) []header {
	headers := append(make([]header, 0, len(p.app.names)+2), p.identity...)
	for _, name := range p.app.names {
		if !slices.ContainsFunc(p.identity, func(h header) bool { return h.name == name }) {
			headers = append(headers, header{name, []string{""}})
		}
	}
	if g.signer != nil {
		headers = append(headers, header{tokenHeader, []string{strings.Join(p.token, "")}}) // empty on a public path
	}
	return headers
}

// named returns the app of a name.
func named(apps []*app, name string) (*app, bool) {
	i := slices.IndexFunc(apps, func(a *app) bool { return a.name == name })
	if i < 0 {
		return nil, false
	}
	return apps[i], true
}

// askedAbout returns the request that a proxy asks about. It is the proxy's own, but for
// method, host, path and query. Those that say them are believed of trusted proxies
// alone, and only where they agree.
//
// It reports whether the path says it, as Envoy has it.
func (g *Gateway) askedAbout(r *http.Request) (asked *http.Request, byPath bool, err error) {
	peer, ok := parseAddr(r.RemoteAddr)
	if !ok || !g.trusts(peer) {
		return nil, false, badRequest(http.StatusForbidden, "%s asks about a request, and is not of trusted_proxies", r.RemoteAddr)
	}
	about := *r
	if path, ok := strings.CutPrefix(r.URL.EscapedPath(), authPath+"/"); ok {
		return &about, true, askedFor(&about, "/"+path, r.URL.RawQuery)
	}
	if r.URL.EscapedPath() != authPath {
		return nil, false, notFound()
	}
	return &about, false, askedByHeaders(&about)
}

// askedByHeaders has r be what its headers say.
func askedByHeaders(r *http.Request) error {
	origin, err := only(r.Header, "X-Original-Url")
	if err != nil {
		return err
	}
	uri, err := only(r.Header, "X-Forwarded-Uri")
	if err != nil {
		return err
	}
	host, err := only(r.Header, "X-Forwarded-Host")
	if err != nil {
		return err
	}
	if origin != "" {
		// What ingress-nginx sends: all in one.
		u, err := url.Parse(origin)
		if err != nil {
			return badRequest(http.StatusForbidden, "X-Original-URL: %w", err)
		}
		if u.Host == "" || uri != "" && uri != u.RequestURI() || host != "" && !strings.EqualFold(host, u.Host) {
			return badRequest(http.StatusForbidden, "X-Original-URL %q does not agree with X-Forwarded-Uri %q and X-Forwarded-Host %q", origin, uri, host)
		}
		uri, host = strings.TrimPrefix(origin, u.Scheme+"://"+u.Host), u.Host
	}
	if !strings.HasPrefix(uri, "/") {
		return badRequest(http.StatusForbidden, "X-Forwarded-Uri %q is no path", uri)
	}
	if host != "" {
		r.Host = host
	}
	method, err := only(r.Header, "X-Forwarded-Method", "X-Original-Method")
	if err != nil {
		return err
	}
	if method != "" {
		r.Method = method
	}
	path, query, _ := strings.Cut(uri, "?")
	return askedFor(r, path, query)
}

// askedFor has r ask for a path and a query.
func askedFor(r *http.Request, path, query string) error {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return badRequest(http.StatusForbidden, "path %q: %w", path, err)
	}
	u.RawQuery = query
	r.URL = u
	return nil
}

// only returns the one value of the header that a proxy says something by, "" where it
// says nothing. If there are several, somebody else has said one of them.
func only(h http.Header, names ...string) (string, error) {
	var values []string
	for _, name := range names {
		for _, value := range h[http.CanonicalHeaderKey(name)] {
			if !slices.Contains(values, value) {
				values = append(values, value)
			}
		}
	}
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", badRequest(http.StatusForbidden, "%s say %q, want one", strings.Join(names, ", "), values)
}

// proxiesAdd are the names, as squash has them, of headers that proxies add themselves:
// a visitor's are not told from theirs. Those that begin with xforwarded are too, but for
// what says who somebody is.
var proxiesAdd = map[string]bool{
	"forwarded": true, "xrealip": true, "xclientip": true, "trueclientip": true, "clientip": true, "cfconnectingip": true, "xclusterclientip": true,
	"xrequestid": true, "xscheme": true, "xurlscheme": true, "frontendhttps": true, "xoriginalurl": true, "xoriginaluri": true, "xoriginalmethod": true,
}

// isAdded reports whether a proxy may have added a header.
func isAdded(squashed []byte) bool {
	for _, family := range []string{"xforwarded", "sslclient", "xsslclient", "xclientcert"} {
		if bytes.HasPrefix(squashed, []byte(family)) {
			return true
		}
	}
	return proxiesAdd[string(squashed)]
}

// refuseIdentity refuses a request with a header that the app could take for one of those
// that say who the visitor is, or what they want. Where another proxy forwards it, nobody
// takes that away.
func (a *app) refuseIdentity(sent http.Header) error {
	for name := range sent {
		var buf [64]byte
		squashed := squash(buf[:0], name)
		if a.squashed[string(squashed)] || a.reserved.reserves(squashed) && !isAdded(squashed) {
			return badRequest(http.StatusForbidden, "header %q of a visitor could pass for ours", name)
		}
	}
	return nil
}

// refuseCookies refuses two cookies that may be a session's, of which proxies take away
// one, and one of ours behind a comma, of a proxy that has made one Cookie line of
// several: it is not told from the cookie before it.
func refuseCookies(lines []string) error {
	sessions := 0
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if name := cookieName(pair); strings.EqualFold(strings.TrimPrefix(name, "__Host-"), "jitgate") {
				sessions++
			}
			_, rest, _ := strings.Cut(pair, ",")
			for part := range strings.SplitSeq(rest, ",") {
				if isOurCookie(cookieName(part)) {
					return badRequest(http.StatusForbidden, "cookie %q behind a comma", cookieName(part))
				}
			}
		}
	}
	if sessions > 1 {
		return badRequest(http.StatusForbidden, "%d cookies of sessions", sessions)
	}
	return nil
}

// refuseForeign refuses what would not be forwarded here either, and what of the cookies
// would not stay here.
func (g *Gateway) refuseForeign(asked *http.Request, p passage) error {
	if err := p.app.refuseIdentity(asked.Header); err != nil {
		return err
	}
	if err := refuseCookies(asked.Header["Cookie"]); err != nil {
		return err
	}
	isWebsocket := asked.Header.Get("Sec-Websocket-Key") != "" || strings.EqualFold(asked.Header.Get("Upgrade"), "websocket")
	switch {
	case isWebsocket && !g.fromSameHost(asked):
		return badRequest(http.StatusForbidden, "websocket opened by %q", asked.Header["Origin"])
	case asked.Header.Get("Service-Worker") != "" && g.coversOurs(p):
		return badRequest(http.StatusForbidden, "script of a service worker that would come before the gateway's own pages")
	}
	return nil
}

// elsewhere is the answer to a request that may pass, for an app that another proxy
// forwards to: what that does not let pass is sent here again, to be told why.
func (a *app) elsewhere(r *http.Request) error {
	if err := a.refuseIdentity(r.Header); err != nil {
		return err
	}
	cause := errors.New("another proxy forwards to this app, and has sent here what is not below /.jitgate/")
	return &problem{status: http.StatusBadGateway, code: codeUpstream, app: a.name, cause: cause}
}
