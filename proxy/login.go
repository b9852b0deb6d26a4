package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/proxy/session"
	"github.com/jitgate/jitgate/samlsp"
)

// domainLifetime is how long a browser remembers the domain of its visitor.
const domainLifetime = 365 * 24 * time.Hour

// A loginForm is what a visitor asks of the sign-in page, in its URL or by its
// form.
type loginForm struct {
	rd, to string // where to end: a path here, or a sealed target elsewhere
	typed  string // a domain or an e-mail address
	hint   string // who is about to sign in, for the identity provider
	idp    string // name

	chosen   bool   // it comes back from a discovery service
	entityID string // of the identity provider that was chosen there
}

func readLoginForm(w http.ResponseWriter, r *http.Request) (loginForm, error) {
	values := r.URL.Query()
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
		if err := r.ParseForm(); err != nil {
			return loginForm{}, badRequest(http.StatusBadRequest, "reading the form: %w", err)
		}
		values = r.PostForm
	}
	typed, hint := strings.TrimSpace(values.Get("domain")), strings.TrimSpace(values.Get("login_hint"))
	if typed == "" {
		typed = hint
	}
	if hint == "" && strings.Contains(typed, "@") {
		hint = typed
	}
	return loginForm{
		rd: values.Get("rd"), to: values.Get("to"), typed: typed, hint: cleanHint(hint), idp: values.Get("idp"),
		chosen: values.Get("chosen") != "", entityID: values.Get("entityID"),
	}, nil
}

// maxHint is the longest name of somebody that is passed on, in bytes: that of an
// e-mail address (RFC 5321, section 4.5.3.1), and some more.
const maxHint = 320

// cleanHint returns a hint as it may be written into a message, or "".
func cleanHint(hint string) string {
	if len(hint) > maxHint || !utf8.ValidString(hint) || strings.ContainsFunc(hint, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return ""
	}
	return hint
}

// asks reports whether the visitor wants to sign in anew, session or not.
func (f loginForm) asks() bool { return f.typed != "" || f.idp != "" || f.entityID != "" }

// query returns the URL query that asks for the same.
func (f loginForm) query() string {
	v := make(url.Values)
	for name, value := range map[string]string{"rd": f.rd, "to": f.to, "domain": f.typed, "login_hint": f.hint, "idp": f.idp, "entityID": f.entityID} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v.Encode()
}

// serveLogin begins a login, or asks where to.
func (g *Gateway) serveLogin(w http.ResponseWriter, r *http.Request, ev *event, host string) error {
	form, err := readLoginForm(w, r)
	if err != nil {
		return err
	}
	if isFramed(r) {
		form.rd = safeReturn(form.rd)
		g.leaveFrame(w, r, host, form)
		return nil
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode != "" && mode != "navigate" || dest != "" && dest != "document" {
		// Somebody's image or script: it must not push out logins under way.
		return badRequest(http.StatusForbidden, "sign-in page fetched with mode %q for %q", mode, dest)
	}
	if host != g.base.Hostname() {
		return g.loginFrom(w, r, ev, host, form)
	}
	end, err := g.targetOf(form)
	if err != nil {
		return err
	}
	if form.to != "" && g.now().Sub(end.Time) >= loginLifetime {
		// The page was open for too long: have the other host begin again.
		form.rd, form.to = end.Return, ""
		redirect(w, http.StatusSeeOther, g.ownURL(end.Host, "/login", form))
		return nil
	}
	if !form.asks() {
		v, ok, err := g.visitor(r, host)
		if err != nil {
			return err
		}
		if ok && g.appAt(end).takes(v.session.IdP) {
			ev.user = v.logName
			return g.land(w, r, v.session, end)
		}
	}
	return g.discover(w, r, ev, form, end)
}

// targetOf returns where a login on our own host is to end.
func (g *Gateway) targetOf(form loginForm) (target, error) {
	if form.to == "" {
		return target{Host: g.base.Hostname(), Return: safeReturn(form.rd)}, nil
	}
	end, ok := g.jar.openTarget(form.to)
	if _, served := g.apps[end.Host]; !ok || !served {
		return target{}, expired(g.loginURL(g.base.Hostname(), ""), errors.New("return target does not open"))
	}
	return end, nil
}

// loginFrom sends a visitor of an app's host to our own host, where logins
// happen, with a sealed note of where to come back. What binds the way back to
// this browser is a random value in a cookie.
func (g *Gateway) loginFrom(w http.ResponseWriter, r *http.Request, ev *event, host string, form loginForm) error {
	if r.Method == http.MethodPost {
		return badMethod(w, r, "GET")
	}
	rd := safeReturn(form.rd)
	if !form.asks() {
		v, ok, err := g.visitor(r, host)
		if err != nil {
			return err
		}
		if ok && g.appAt(target{Host: host, Return: rd}).takes(v.session.IdP) {
			ev.user = v.logName
			redirect(w, http.StatusSeeOther, g.origin(host)+g.landing(host, rd))
			return nil
		}
	}
	to, err := g.jar.sealTarget(target{Host: host, Return: rd, Nonce: g.jar.nonce(w, r.Header)})
	if err != nil {
		return err
	}
	form.to, form.rd = to, ""
	redirect(w, http.StatusFound, g.ownURL(g.base.Hostname(), "/login", form))
	return nil
}

// begin sends the browser to an identity provider.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request, name, hint string, end target) error {
	idp, ok := g.idps[name]
	if !ok {
		return badRequest(http.StatusBadRequest, "no identity provider %q", name)
	}
	token := rand.Text()
	begun, err := idp.Begin(token, hint)
	if err != nil {
		return fmt.Errorf("beginning a login at %q: %w", name, err)
	}
	p := pending{Target: end, RequestID: begun.RequestID, IdP: name}
	if id, ok := g.jar.session(r.Header); ok {
		// The cookie will not come with the identity provider's cross-site POST.
		p.Prior = session.KeyOf(id)
	}
	if err := g.jar.setPending(w, r.Header, token, p); err != nil {
		return err
	}
	g.sendTo(w, r, begun, "signing_in")
	return nil
}

// sendTo has the browser take a message to an identity provider. What [page.Post] says
// is for those who see it meanwhile.
func (g *Gateway) sendTo(w http.ResponseWriter, r *http.Request, b samlsp.Begun, say string) {
	f := b.Post
	if f == nil {
		redirect(w, http.StatusSeeOther, b.Redirect)
		return
	}
	g.pages.Write(w, r, http.StatusOK, page.Post{
		Site: g.base.Hostname(), Say: say,
		Action: f.Action, Parameter: f.Parameter, Message: f.Message, RelayState: f.RelayState,
	})
}

// land takes a visitor who has the session s on our own host to where the login
// was to end: there at once, or on another host with a one-time code.
func (g *Gateway) land(w http.ResponseWriter, r *http.Request, s session.Record, end target) error {
	if _, served := g.apps[end.Host]; !served { // it was, when the login was begun
		end = target{Host: s.Host, Return: "/"}
	}
	if end.Host == s.Host {
		redirect(w, http.StatusSeeOther, g.origin(s.Host)+g.landing(s.Host, end.Return))
		return nil
	}
	if end.Nonce == "" {
		// Nobody began there: a link in an identity provider's portal.
		redirect(w, http.StatusSeeOther, g.loginURL(end.Host, end.Return))
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	code, err := g.sessions.Offer(ctx, session.Handover{Session: s.Key, Host: end.Host, Nonce: end.Nonce, Return: end.Return})
	if err != nil {
		return err
	}
	redirect(w, http.StatusSeeOther, g.origin(end.Host)+ownPrefix+"/return?code="+code)
	return nil
}

// landing returns rd, or what to show instead of a missing front page.
func (g *Gateway) landing(host, rd string) string {
	if _, ok := find(g.apps[host], "/"); rd == "/" && !ok {
		return ownPrefix + "/session"
	}
	return rd
}

// serveReturn ends a login on an app's host: it exchanges the one-time code for
// a session there, if it is the browser that began.
func (g *Gateway) serveReturn(w http.ResponseWriter, r *http.Request, ev *event, host string) error {
	// The code is in the URL, and what this page leads to is an app of the same
	// origin: where the store could not be asked, the code is good still.
	w.Header().Set("Referrer-Policy", "no-referrer")
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	h, ok, err := g.sessions.Take(ctx, r.URL.Query().Get("code"))
	if err != nil {
		return err
	}
	if !ok || h.Host != host {
		return g.expiredHere(r, ev, host, errors.New("no such code for this host"))
	}
	from, ok, err := g.sessions.Lookup(ctx, h.Session)
	if err != nil {
		return err
	}
	if !ok {
		return g.expiredHere(r, ev, host, errors.New("the login is over"))
	}
	nonce, found := session.Cookie(r.Header, g.jar.nonceName())
	if !found || session.Hash([]byte(nonce)) != h.Nonce {
		v, ok, err := g.visitor(r, host)
		if err != nil {
			return err
		}
		if ok && v.session.Login == from.Login { // another page of the same browser was faster
			redirect(w, http.StatusSeeOther, g.origin(host)+g.landing(host, h.Return))
			return nil
		}
		return g.expiredHere(r, ev, host, errors.New("another browser began this login"))
	}
	id, ok, err := g.sessions.Continue(ctx, from, host)
	if err != nil {
		return err
	}
	if !ok {
		return g.expiredHere(r, ev, host, errors.New("the login is over"))
	}
	on := from
	on.Host = host
	if err := g.endOthers(ctx, r, on, ""); err != nil { // as in open
		return err
	}
	if err := g.jar.setSession(w, id); err != nil {
		return err
	}
	// The nonce stays: another page of this browser may be on its way back too.
	redirect(w, http.StatusSeeOther, g.origin(host)+g.landing(host, h.Return))
	return nil
}

// open starts a session on our own host as s says, gives the browser its cookie,
// and returns what was stored.
func (g *Gateway) open(ctx context.Context, w http.ResponseWriter, r *http.Request, s session.Record, prior string) (session.Record, error) {
	s, id, err := g.sessions.Create(ctx, s)
	if err != nil {
		return session.Record{}, err
	}
	// Not before: where the new one cannot be stored, the old one goes on.
	if err := g.endOthers(ctx, r, s, prior); err != nil {
		return session.Record{}, err
	}
	return s, g.jar.setSession(w, id)
}

// endOthers ends, with all of its login, the session that the browser had on the
// host of s before, and the one under the key prior, unless it is the same login.
// One that was idle for too long counts as well: its login may be in use on
// another host.
func (g *Gateway) endOthers(ctx context.Context, r *http.Request, s session.Record, prior string) error {
	keys := []string{prior}
	if id, ok := g.jar.session(r.Header); ok {
		keys = append(keys, session.KeyOf(id))
	}
	for _, key := range keys {
		if key == "" {
			continue
		}
		old, ok, err := g.sessions.Stored(ctx, key)
		if err != nil {
			return err
		}
		if ok && old.Host == s.Host && old.Login != s.Login {
			if err := g.sessions.Revoke(ctx, old); err != nil {
				return err
			}
		}
	}
	return nil
}

// expiredHere is a login that cannot go on. A visitor who is signed in all the
// same, and came back with the browser's back button perhaps, can just continue.
func (g *Gateway) expiredHere(r *http.Request, ev *event, host string, cause error) error {
	v, ok, err := g.visitor(r, host)
	if err != nil {
		return err
	}
	p := expired(g.loginURL(host, ""), cause)
	if ok {
		ev.user = v.logName
		p.say, p.user = "signed_in", v.user.UserName
		p.link.Text = "continue"
	}
	return p
}
