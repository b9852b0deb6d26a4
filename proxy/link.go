package proxy

import (
	"net/http"
	"net/url"

	"github.com/jitgate/jitgate/config"
)

// A link is an address that apps lead visitors to for signing in or out, because the
// program that was in front of them before answered there. It goes on to a page of ours.
type link struct {
	page string // below ownPrefix
	back string // the parameter that says where to go on, "" if none does
	idp  string // the one that has an identity provider's entity ID, "" if none does
}

// presetLinks are those of a preset, by what follows the app's endpoint. Where to go on
// after signing out is not for the app to say: visitors are told what has ended.
var presetLinks = map[string]map[string]link{
	"shibboleth": {"/Login": {"/login", "target", "entityID"}, "/Logout": {page: "/logout"}},
	"mellon":     {"/login": {"/login", "ReturnTo", "IdP"}, "/logout": {page: "/logout"}},
}

// links are those of all apps, by host and path. Those of one app are there for all that
// are on its host, as they were before.
type links map[string]map[string]link

func newLinks(cfg *config.Config) links {
	all := make(links)
	for _, a := range cfg.Apps {
		for name, l := range presetLinks[a.Headers.Preset] {
			if all[a.Host] == nil {
				all[a.Host] = make(map[string]link)
			}
			all[a.Host][a.Endpoint+name] = l
		}
	}
	return all
}

// follow leads a visitor of a host to the page that a link is for.
func (g *Gateway) follow(w http.ResponseWriter, r *http.Request, host string, l link) error {
	status := http.StatusFound
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost: // by a form without anything that counts
		status = http.StatusSeeOther
	default:
		return badMethod(w, r, "GET, POST")
	}
	var want loginForm
	sent := r.URL.Query()
	if l.back != "" && sent.Get(l.back) != "" {
		to, rd, ok := g.goesOn(host, sent.Get(l.back))
		if !ok {
			return badRequest(http.StatusBadRequest, "%s %q is not at a host that is served", l.back, sent.Get(l.back))
		}
		host, want.rd = to, rd
	}
	if l.idp != "" {
		want.entityID = sent.Get(l.idp)
	}
	redirect(w, status, g.ownURL(host, l.page, want))
	return nil
}

// goesOn returns the host on which somebody goes on, and what they ask for there. What an
// app says is a path, or a URL: of one of our hosts, with the scheme and the port that
// the app thinks it has. Its fragment is left out: no login can end at one. It reports
// whether it is one of these.
func (g *Gateway) goesOn(host, back string) (to, rd string, ok bool) {
	u, err := url.Parse(back)
	switch {
	case err != nil:
		return "", "", false
	case u.Scheme == "" && u.Host == "":
		return host, safeReturn(u.RequestURI()), true
	}
	to, ok = canonicalHost(u.Host)
	if _, served := g.apps[to]; !ok || !served || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return "", "", false
	}
	return to, safeReturn(u.RequestURI()), true
}
