package proxy

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/page"
)

// serveLogout asks whether to sign out, or does it: a link alone signs nobody
// out. A sign-out here goes on to the identity provider.
func (g *Gateway) serveLogout(w http.ResponseWriter, r *http.Request, ev *event, host string) error {
	if sealed := r.URL.Query().Get("from"); sealed != "" && r.Method != http.MethodPost {
		return g.continueLogout(w, r, host, sealed)
	}
	v, ok, err := g.visitor(r, host)
	if err != nil {
		return err
	}
	if ok {
		ev.user = v.logName
	}
	switch {
	case ok && r.Method != http.MethodPost:
		g.pages.Write(w, r, http.StatusOK, page.Logout{Site: host, User: v.user.UserName})
		return nil
	case ok:
		if err := g.signOut(r.Context(), ev, v); err != nil {
			return err
		}
		g.jar.clearSession(w)
		return g.leave(w, r, host, v.session)
	}
	if r.Method == http.MethodPost {
		g.jar.clearSession(w)
	}
	g.signedOut(w, r, host, r.URL.Query().Get("idp"))
	return nil
}

// signedOut says that the visitor of a host is signed out; at the identity
// provider too, by what that says.
func (g *Gateway) signedOut(w http.ResponseWriter, r *http.Request, host, idp string) {
	g.pages.Write(w, r, http.StatusOK, page.SignedOut{Site: host, IdP: idp, Again: g.loginURL(host, "")})
}

// signOut ends all sessions of the visitor's login, and records that.
func (g *Gateway) signOut(ctx context.Context, ev *event, v *visitor) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := g.sessions.Revoke(ctx, v.session); err != nil {
		return err
	}
	e, err := g.users.Record(ctx, audit.Event{
		Type: audit.Logout, Directory: v.user.Directory, IdP: v.session.IdP,
		UserID: v.user.ID, UserName: v.user.UserName, Client: ev.client, RequestID: ev.id,
	})
	if err != nil {
		// A store that is full takes no record, and must not keep anybody in.
		g.log.Error("logout not recorded", zap.String("id", ev.id), zap.Error(err))
		return nil
	}
	g.audit(e)
	return nil
}

// serveSession tells visitors who they are: a page, or JSON.
func (g *Gateway) serveSession(w http.ResponseWriter, r *http.Request, ev *event, host string) error {
	v, ok, err := g.visitor(r, host)
	if err != nil {
		return err
	}
	if !ok {
		return g.sendToLogin(w, r, ev, route{host: host, path: ownPrefix + "/session", raw: ownPrefix + "/session"})
	}
	ev.user = v.logName
	email := ""
	if values := v.user.Values("email"); len(values) > 0 {
		email = values[0]
	}
	expires := v.session.Expires.UTC().Truncate(time.Second)
	if !acceptsHTML(r) {
		writeJSON(w, http.StatusOK, map[string]any{
			"user": v.user.UserName, "email": email, "directory": v.user.Directory, "domain": v.user.Domain,
			"groups": list(v.user.Groups), "entitlements": list(v.user.Entitlements), "idp": v.session.IdP, "expires": expires,
		})
		return nil
	}
	g.pages.Write(w, r, http.StatusOK, page.Session{
		Site: host, User: v.user.UserName, Email: email, Directory: v.user.Directory, Domain: v.user.Domain, IdP: v.session.IdP,
		Groups: v.user.Groups, Entitlements: v.user.Entitlements, Expires: expires, Apps: g.appsOf(v),
	})
	return nil
}

// list returns names so that none of them is an empty JSON list, not null.
func list(names []string) []string { return append([]string{}, names...) }

// appsOf returns links to the apps that the visitor may use, in alphabetical
// order.
func (g *Gateway) appsOf(v *visitor) []page.Link {
	var links []page.Link
	for host, apps := range g.apps {
		for _, a := range apps {
			if a.allows(v.user, v.session.IdP) {
				links = append(links, page.Link{URL: g.origin(host) + a.prefix + "/", Text: a.name})
			}
		}
	}
	slices.SortFunc(links, func(a, b page.Link) int { return strings.Compare(a.Text, b.Text) })
	return links
}
