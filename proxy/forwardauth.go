package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
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
func (g *Gateway) ExtAuthz() http.Handler { return extauthz.Handler(g, withoutOurCookies) }

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
// is answered as if the visitor had come here, with a redirect to sign in, say. Envoy
// asks for the path behind its prefix, and takes 200 alone for a yes.
func (g *Gateway) serveAuth(w http.ResponseWriter, r *http.Request, ev *event) error {
	if ev.body != nil {
		ev.body.limit(formTime)
	}
	asked, err := g.askedAbout(r)
	if err != nil {
		return err
	}
	envoy := r.URL.Path != authPath
	redirects := envoy || r.URL.Query().Get("redirect") == "1"
	headers, err := g.decide(w, asked, ev, r.URL.Query().Get("app"), redirects)
	if p, ok := errors.AsType[*problem](err); ok && !redirects && p.status < 500 && p.status != http.StatusUnauthorized {
		p.status = http.StatusForbidden
	}
	if err != nil || headers == nil {
		return err
	}
	ev.outcome = outcomeAllowed
	page.Protect(w.Header())
	set(w.Header(), headers)
	status := http.StatusAccepted
	if envoy {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	return nil
}

// decide returns the headers that the app gets with a request: all that there can be,
// empty where the visitor does not have them, so that nothing of the same name passes
// the proxy. It returns none where it has answered instead.
func (g *Gateway) decide(w http.ResponseWriter, asked *http.Request, ev *event, name string, redirects bool) ([]header, error) {
	ev.path = asked.URL.EscapedPath()
	to, err := g.route(asked)
	if err != nil {
		return nil, err
	}
	ev.host = to.host
	if isOwn(to.path) {
		return nil, notFound() // the app never sees such a path
	}
	app, ok := find(g.apps[to.host], to.path)
	if name != "" {
		app, ok = named(g.apps[to.host], name)
	}
	if !ok {
		return nil, notFound()
	}
	if err := app.refuseIdentity(asked.Header); err != nil {
		return nil, err
	}
	p, ok, err := g.authorize(asked, ev, app, to)
	switch {
	case err != nil:
		return nil, err
	case !ok && !redirects:
		login := g.loginURL(to.host, to.again(asked))
		return nil, &problem{status: http.StatusUnauthorized, code: codeSignIn, loginURL: login, link: &page.Link{URL: login, Text: "sign_in"}}
	case !ok && g.isOwnForm(asked, to.host):
		ev.code = codeSignIn
		g.pages.Write(w, asked, http.StatusUnauthorized, page.Kept{Site: g.siteOf(to.host), Again: g.loginURL(to.host, "")}) // its body is not here
		return nil, nil
	case !ok:
		return nil, g.sendToLogin(w, asked, ev, to)
	}
	headers := append(make([]header, 0, len(app.names)+2), p.identity...)
	for _, name := range app.names {
		if !slices.ContainsFunc(p.identity, func(h header) bool { return h.name == name }) {
			headers = append(headers, header{name, []string{""}})
		}
	}
	if g.signer != nil {
		headers = append(headers, header{tokenHeader, []string{strings.Join(p.token, "")}}) // empty on a public path
	}
	return append(headers, header{"X-Request-Id", []string{ev.id}}), nil
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
func (g *Gateway) askedAbout(r *http.Request) (*http.Request, error) {
	peer, ok := parseAddr(r.RemoteAddr)
	if !ok || !slices.ContainsFunc(g.trusted, func(p netip.Prefix) bool { return p.Contains(peer) }) {
		return nil, badRequest(http.StatusForbidden, "%s asks about a request, and is not of trusted_proxies", r.RemoteAddr)
	}
	asked := *r
	if path, ok := strings.CutPrefix(r.URL.EscapedPath(), authPath+"/"); ok {
		return &asked, askedFor(&asked, "/"+path, r.URL.RawQuery)
	}
	origin, err := only(r.Header, "X-Original-Url")
	if err != nil {
		return nil, err
	}
	uri, err := only(r.Header, "X-Forwarded-Uri")
	if err != nil {
		return nil, err
	}
	host, err := only(r.Header, "X-Forwarded-Host")
	if err != nil {
		return nil, err
	}
	if origin != "" {
		// What ingress-nginx sends: all in one.
		u, err := url.Parse(origin)
		if err != nil {
			return nil, badRequest(http.StatusForbidden, "X-Original-URL: %w", err)
		}
		if u.Host == "" || uri != "" && uri != u.RequestURI() || host != "" && !strings.EqualFold(host, u.Host) {
			return nil, badRequest(http.StatusForbidden, "X-Original-URL %q does not agree with X-Forwarded-Uri %q and X-Forwarded-Host %q", origin, uri, host)
		}
		uri, host = strings.TrimPrefix(origin, u.Scheme+"://"+u.Host), u.Host
	}
	if !strings.HasPrefix(uri, "/") {
		return nil, badRequest(http.StatusForbidden, "X-Forwarded-Uri %q is no path", uri)
	}
	if host != "" {
		asked.Host = host
	}
	method, err := only(r.Header, "X-Forwarded-Method", "X-Original-Method")
	if err != nil {
		return nil, err
	}
	if method != "" {
		asked.Method = method
	}
	path, query, _ := strings.Cut(uri, "?")
	return &asked, askedFor(&asked, path, query)
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

// isFamily reports whether a name is of those that only say who somebody is.
func isFamily(squashed []byte) bool {
	return bytes.HasPrefix(squashed, []byte("xjitgate")) || bytes.HasPrefix(squashed, []byte("shib")) || bytes.HasPrefix(squashed, []byte("mellon"))
}

// refuseIdentity refuses a request with a header that the app could take for one of those
// that say who the visitor is. Where another proxy forwards it, nobody takes that away.
func (a *app) refuseIdentity(sent http.Header) error {
	for name := range sent {
		var buf [64]byte
		squashed := squash(buf[:0], name)
		if isFamily(squashed) || a.squashed[string(squashed)] {
			return badRequest(http.StatusForbidden, "header %q of a visitor could pass for ours", name)
		}
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
