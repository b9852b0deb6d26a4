package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/proxy/session"
)

// A discovery is what there is to choose from where a visitor signs in.
type discovery struct {
	idps    []string // names, in the configuration's order
	domains []string // of all directories, in alphabetical order
}

func newDiscovery(cfg *config.Config) discovery {
	var d discovery
	for _, p := range cfg.IdentityProviders {
		d.idps = append(d.idps, p.Name)
	}
	for _, directory := range cfg.Directories {
		d.domains = append(d.domains, directory.Domains...)
	}
	slices.Sort(d.domains)
	return d
}

// appAt returns the app where a login is to end, or that a kept form is for; nil where
// there is none.
func (g *Gateway) appAt(end target) *app {
	u, err := url.Parse(end.Return)
	if err != nil {
		return nil
	}
	if u.Path == ownPrefix+"/resend" {
		u = &url.URL{Path: u.Query().Get("for")}
	}
	path, _, ok := canonicalPath(u)
	if !ok {
		return nil
	}
	app, _ := find(g.apps[end.Host], path)
	return app
}

// discover finds the identity provider that a visitor signs in at, and begins
// the login there; or asks the visitor, or has a discovery service ask them.
func (g *Gateway) discover(w http.ResponseWriter, r *http.Request, ev *event, form loginForm, end target) error {
	app := g.appAt(end)
	all := filter(g.asking.idps, app.takes)
	if form.asks() || len(all) == 1 {
		if err := g.attempt(ev); err != nil {
			if p, ok := errors.AsType[*problem](err); ok { // to what was asked for
				p.link.URL = g.ownURL(g.base.Hostname(), "/login", form)
			}
			return err
		}
	}
	domain, known := domainOf(form.typed)
	var idps []string
	if known {
		idps = filter(g.users.IdPs(domain), app.takes)
	}
	// What a link of another site has typed is not what the visitor wants to read next time.
	if len(idps) > 0 && r.Header.Get("Sec-Fetch-Site") != "cross-site" && (form.idp == "" || slices.Contains(idps, form.idp)) {
		g.jar.set(w, g.jar.domainName(), domain, domainLifetime, http.SameSiteLaxMode)
	}
	switch {
	case form.idp != "":
		return g.begin(w, r, form.idp, form.hint, end)
	case form.entityID != "":
		return g.beginChosen(w, r, form, end)
	case len(idps) == 1:
		return g.begin(w, r, idps[0], form.hint, end)
	case len(idps) > 1:
		g.choose(w, r, form, end, domain, idps)
		return nil
	case form.typed != "" && !acceptsHTML(r):
		return &problem{status: http.StatusBadRequest, code: codeDomain}
	case form.typed == "" && len(all) == 1:
		return g.begin(w, r, all[0], form.hint, end)
	case form.typed == "" && g.cfg.Discovery.Service != "" && !form.chosen:
		redirect(w, http.StatusFound, g.serviceURL(form, end))
		return nil
	}
	g.ask(w, r, ev, form, end)
	return nil
}

// ask answers with the page that asks for a domain.
func (g *Gateway) ask(w http.ResponseWriter, r *http.Request, ev *event, form loginForm, end target) {
	status := http.StatusOK
	if form.typed != "" {
		ev.code, status = codeDomain, http.StatusBadRequest
	}
	app := g.appAt(end)
	has := func(domain string) bool { return slices.ContainsFunc(g.users.IdPs(domain), app.takes) }
	p := page.Login{Site: g.base.Hostname(), Target: keep(form, end), Domain: form.typed, Unknown: form.typed != ""}
	// What a browser remembers may be of a domain that is gone.
	remembered, _ := session.Cookie(r.Header, g.jar.domainName())
	if domain, ok := config.NormalizeDomain(remembered); ok && has(domain) {
		p.Remembered = domain
	}
	if g.cfg.Discovery.List {
		p.Domains = filter(g.asking.domains, has)
	}
	g.pages.Write(w, r, status, p)
}

// choose answers with the page that asks which of a domain's identity providers.
func (g *Gateway) choose(w http.ResponseWriter, r *http.Request, form loginForm, end target, domain string, names []string) {
	p := page.Choose{Site: g.base.Hostname(), Target: keep(form, end), Domain: domain, Hint: form.hint}
	for _, name := range names {
		p.IdPs = append(p.IdPs, page.IdP{Name: name, Title: g.idps[name].title})
	}
	g.pages.Write(w, r, http.StatusOK, p)
}

// keep returns where a login is to end as a page keeps it.
func keep(form loginForm, end target) page.Target {
	if form.to == "" && end.Return == "/" {
		return page.Target{}
	}
	return page.Target{To: form.to, Return: end.Return}
}

// serviceURL returns where the discovery service asks the visitor (Identity Provider
// Discovery Service Protocol and Profile, section 2.4.1). It comes back to the sign-in
// page, with entityID.
func (g *Gateway) serviceURL(form loginForm, end target) string {
	back := loginForm{to: form.to, hint: form.hint}
	if form.to == "" && end.Return != "/" {
		back.rd = end.Return
	}
	query := back.query()
	if query != "" {
		query = "&" + query
	}
	asked := url.Values{"entityID": {g.cfg.SAML.EntityID}, "return": {g.loginURL(g.base.Hostname(), "") + "?chosen=1" + query}, "returnIDParam": {"entityID"}}
	separator := "?"
	if strings.Contains(g.cfg.Discovery.Service, "?") {
		separator = "&"
	}
	return g.cfg.Discovery.Service + separator + asked.Encode()
}

// beginChosen begins a login at the identity provider that was chosen at a discovery
// service. What that says is a choice among those that we have, and nothing more.
func (g *Gateway) beginChosen(w http.ResponseWriter, r *http.Request, form loginForm, end target) error {
	for _, name := range filter(g.asking.idps, g.appAt(end).takes) {
		if g.idps[name].EntityID() == form.entityID {
			return g.begin(w, r, name, form.hint, end)
		}
	}
	again := loginForm{to: form.to, rd: form.rd}
	return &problem{
		status: http.StatusBadRequest, code: codeDomain, say: "unknown_idp",
		cause: fmt.Errorf("no identity provider %q is good for this", form.entityID),
		link:  &page.Link{URL: g.loginURL(g.base.Hostname(), "") + "?chosen=1&" + again.query(), Text: "try_again"},
	}
}

// isFramed reports whether a page is asked for inside of another one. A sign-in cannot
// be there: identity providers refuse to be framed, and so do our own pages.
func isFramed(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame", "embed", "object":
		return acceptsHTML(r)
	}
	return false
}

// leaveFrame tells a visitor inside of another page to sign in beside it, as they want it,
// and to come back here.
func (g *Gateway) leaveFrame(w http.ResponseWriter, r *http.Request, host string, form loginForm) {
	g.pages.Write(w, r, http.StatusUnauthorized, page.Frame{Site: g.siteOf(host), SignIn: g.ownURL(host, "/login", form), Continue: g.origin(host) + form.rd})
}

// filter returns those names that are good.
func filter(names []string, isGood func(string) bool) []string {
	var kept []string
	for _, name := range names {
		if isGood(name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// domainOf returns the domain of what a visitor typed: a domain, or an address
// with exactly one @.
func domainOf(typed string) (string, bool) {
	local, domain, found := strings.Cut(typed, "@")
	if !found {
		domain = local
	}
	return config.NormalizeDomain(domain) // which refuses another @
}
