package proxy

import (
	"net/http"
	"strings"

	"github.com/jitgate/jitgate/proxy/page"
)

// serveOwn answers requests for the gateway's own addresses. The identity
// providers know those below /saml/, which are on base_url's host alone.
func (g *Gateway) serveOwn(w http.ResponseWriter, r *http.Request, ev *event, to route) error {
	if ev.body != nil {
		ev.body.limit(formTime)
	}
	w.Header().Set("X-Request-Id", ev.id)
	path := strings.TrimPrefix(to.path, ownPrefix)
	if below, ok := strings.CutPrefix(path, "/admin"); ok && (below == "" || below[0] == '/') {
		return g.serveConsole(w, r, ev, to, below)
	}
	if name, ok := strings.CutPrefix(path, "/saml/"); ok && to.host == g.base.Hostname() {
		return g.serveSAML(w, r, ev, name)
	}
	var serve func(http.ResponseWriter, *http.Request, *event, string) error
	form := false // which is posted there
	switch path {
	case "/login":
		serve, form = g.serveLogin, true
	case "/return":
		serve = g.serveReturn
	case "/logout":
		serve, form = g.serveLogout, true
	case "/session":
		serve = g.serveSession
	case "/resend":
		serve = g.serveResend
	case "/jwks.json":
		serve = g.serveKeys
	default:
		return notFound()
	}
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
	case r.Method != http.MethodPost || !form:
		return badMethod(w, r, "GET")
	case g.crossOrigin.Check(r) != nil:
		return badRequest(http.StatusForbidden, "posted from another site")
	}
	return serve(w, r, ev, to.host)
}

// serveSAML answers requests below /saml/, like {idp}/acs.
func (g *Gateway) serveSAML(w http.ResponseWriter, r *http.Request, ev *event, path string) error {
	name, what, _ := strings.Cut(path, "/")
	idp, ok := g.idps[name]
	if !ok {
		return notFound()
	}
	if what == "acs" || what == "slo" {
		if err := g.attempt(ev); err != nil {
			return err
		}
	}
	switch what {
	case "acs":
		if r.Method != http.MethodPost {
			return badMethod(w, r, "POST")
		}
		return g.serveACS(w, r, ev, name)
	case "slo":
		if !idp.logout {
			return notFound()
		}
		if r.Method != http.MethodGet && r.Method != http.MethodPost {
			return badMethod(w, r, "GET, POST")
		}
		return g.serveSLO(w, r, ev, name)
	case "metadata":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return badMethod(w, r, "GET")
		}
		metadata, err := idp.Metadata()
		if err != nil {
			return err
		}
		page.Protect(w.Header())
		w.Header().Set("Content-Type", "application/samlmetadata+xml")
		_, _ = w.Write(metadata)
		return nil
	}
	return notFound()
}

// badMethod refuses a method where only allowed is.
func badMethod(w http.ResponseWriter, r *http.Request, allowed string) error {
	w.Header().Set("Allow", allowed)
	return badRequest(http.StatusMethodNotAllowed, "method %s, want %s", r.Method, allowed)
}
