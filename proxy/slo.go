package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/proxy/session"
	"github.com/jitgate/jitgate/samlsp"
)

// departureLifetime is how long a sign-out may take from an app's host to ours,
// which is one redirect.
const departureLifetime = time.Minute

// A departure is a login that has ended here and is to end at its identity
// provider too. It travels from an app's host to ours, sealed.
type departure struct {
	Host         string // where the visitor signed out
	Base         string // session.Record.Key of the login's session on our own host
	IdP          string
	NameID       samlsp.NameID
	SessionIndex string
	Time         time.Time
}

// A leaving visitor is one who is signing out at the identity provider: what the
// browser keeps for us meanwhile.
type leaving struct {
	Host      string // where to sign in again
	IdP       string
	RequestID string
	Token     string // the RelayState
	Time      time.Time
}

// leave takes a visitor whose login has ended here on to its identity provider.
// That begins on our own host, where the answer will come to.
func (g *Gateway) leave(w http.ResponseWriter, r *http.Request, host string, s session.Record) error {
	d := departure{
		Host: host, Base: cmp.Or(s.Base, s.Key), IdP: s.IdP, SessionIndex: s.SessionIndex, Time: g.now().UTC(),
		NameID: nameOf(s),
	}
	if host == g.base.Hostname() {
		return g.depart(w, r, d)
	}
	sealed, err := seal(g.jar.logouts, "departure", d)
	if err != nil { // too long for a URL
		g.log.Warn("sign-out not taken to the identity provider", zap.String("idp", s.IdP), zap.Error(err))
		g.signedOut(w, r, host, "")
		return nil
	}
	redirect(w, http.StatusSeeOther, g.origin(g.base.Hostname())+ownPrefix+"/logout?from="+sealed)
	return nil
}

// continueLogout goes on, on our own host, with a sign-out that began on an app's.
// It has to be the browser whose login that was: anybody may have made the link.
func (g *Gateway) continueLogout(w http.ResponseWriter, r *http.Request, host, sealed string) error {
	var d departure
	data, ok := g.jar.logouts.Open("departure", sealed)
	if !ok || json.Unmarshal(data, &d) != nil || host != g.base.Hostname() {
		return badRequest(http.StatusBadRequest, "no sign-out to go on with")
	}
	id, ok := g.jar.session(r.Header)
	if !ok || session.KeyOf(id) != d.Base || g.now().Sub(d.Time) >= departureLifetime {
		g.signedOut(w, r, d.Host, "")
		return nil
	}
	g.jar.clearSession(w)
	return g.depart(w, r, d)
}

// depart sends the browser to the identity provider, where that has a single
// logout service. The visitor is signed out here, whatever comes of it.
func (g *Gateway) depart(w http.ResponseWriter, r *http.Request, d departure) error {
	idp, ok := g.idps[d.IdP]
	if !ok { // it was there a minute ago
		g.signedOut(w, r, d.Host, "")
		return nil
	}
	token := rand.Text()
	begun, ok, err := idp.BeginLogout(d.NameID, d.SessionIndex, token)
	if err != nil {
		g.log.Warn("sign-out not taken to the identity provider", zap.String("idp", d.IdP), zap.Error(err))
	}
	if err != nil || !ok {
		g.signedOut(w, r, d.Host, "")
		return nil
	}
	p := leaving{Host: d.Host, IdP: d.IdP, RequestID: begun.RequestID, Token: token, Time: g.now().UTC()}
	value, err := seal(g.jar.logouts, g.jar.logoutName(), p)
	if err != nil {
		return err
	}
	g.jar.set(w, g.jar.logoutName(), value, loginLifetime, g.jar.loginSameSite())
	g.sendTo(w, r, begun, "signing_out")
	return nil
}

// leaving returns the sign-out under way that a RelayState names.
func (j *jar) leaving(h http.Header, token string) (leaving, bool) {
	value, ok := session.Cookie(h, j.logoutName())
	if !ok {
		return leaving{}, false
	}
	var p leaving
	data, ok := j.logouts.Open(j.logoutName(), value)
	ok = ok && json.Unmarshal(data, &p) == nil && p.Token == token && j.now().Sub(p.Time) < loginLifetime
	return p, ok
}

// serveSLO takes what an identity provider says of a logout: that one is to end
// here too, or what became of one that began here. It is the single logout
// service (SAML profiles, section 4.4).
func (g *Gateway) serveSLO(w http.ResponseWriter, r *http.Request, ev *event, idp string) error {
	m, err := g.readLogout(w, r)
	if err != nil {
		return g.logoutRefused(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), finishTimeout)
	defer cancel()
	if m.IsRequest() {
		return g.endForIdP(w, r.WithContext(ctx), ev, idp, m)
	}
	return g.arrive(w, r.WithContext(ctx), idp, m)
}

func (g *Gateway) readLogout(w http.ResponseWriter, r *http.Request) (samlsp.Message, error) {
	if r.Method == http.MethodGet {
		return samlsp.ReadQuery(r.URL.RawQuery)
	}
	if err := g.readPosted(w, r); err != nil {
		return samlsp.Message{}, err
	}
	return samlsp.ReadForm(r.PostForm)
}

// endForIdP ends the sessions that an identity provider wants ended, and answers.
func (g *Gateway) endForIdP(w http.ResponseWriter, r *http.Request, ev *event, idp string, m samlsp.Message) error {
	sp := g.idps[idp]
	request, err := sp.EndLogout(r.Context(), m, func(ctx context.Context, request *samlsp.LogoutRequest) error {
		return g.endSubject(ctx, ev, idp, request)
	})
	if err != nil {
		return g.logoutRefused(err)
	}
	answer, ok, err := sp.AnswerLogout(request.ID, m.RelayState)
	if err != nil {
		return err
	}
	if !ok {
		g.signedOut(w, r, g.base.Hostname(), page.Everywhere)
		return nil
	}
	g.sendTo(w, r, answer, "signed_out")
	return nil
}

// endSubject ends the logins that a request is about, on all hosts. One that names
// no session at the identity provider is about all that its user has from there:
// the NameIDs of others may be of one time only.
func (g *Gateway) endSubject(ctx context.Context, ev *event, idp string, request *samlsp.LogoutRequest) error {
	open, err := g.sessions.OfSubject(ctx, g.idps[idp].directory, idp, request.NameID.Value)
	if err != nil {
		return err
	}
	all, ending := make(map[session.Owner][]session.Record), make(map[session.Owner][]session.Record)
	for _, s := range open {
		owner := s.Owner()
		all[owner] = append(all[owner], s)
		if request.Matches(nameOf(s), s.SessionIndex) {
			ending[owner] = append(ending[owner], s)
		}
	}
	e := audit.Event{Type: audit.Logout, Reason: "identity_provider", Client: ev.client, RequestID: ev.id}
	for owner, records := range ending {
		u, err := g.userOf(ctx, owner)
		if err != nil {
			return err
		}
		if len(request.SessionIndexes) == 0 {
			records = all[owner]
		}
		if _, err := g.revoke(ctx, e, u, records); err != nil {
			return err
		}
	}
	return nil
}

// nameOf returns what the identity provider called the user at the login that a
// session is of.
func nameOf(s session.Record) samlsp.NameID {
	return samlsp.NameID{Value: s.NameID, Format: s.NameFormat, NameQualifier: s.NameQualifier, SPNameQualifier: s.SPNameQualifier}
}

// arrive takes the identity provider's answer to a sign-out that began here.
func (g *Gateway) arrive(w http.ResponseWriter, r *http.Request, idp string, m samlsp.Message) error {
	p, ok := g.jar.leaving(r.Header, m.RelayState)
	if !ok || p.IdP != idp {
		return &problem{
			status: http.StatusForbidden, code: samlsp.CodeInvalid, say: "logout_unasked",
			cause: errors.New("no sign-out under way in this browser"), link: g.logoutLink(),
		}
	}
	everywhere, err := g.idps[idp].FinishLogout(r.Context(), m, p.RequestID)
	if _, refused := errors.AsType[*samlsp.Refusal](err); err != nil && !refused {
		return err
	}
	g.jar.clear(w, g.jar.logoutName(), g.jar.loginSameSite())
	if err != nil {
		return &problem{status: http.StatusForbidden, code: samlsp.CodeInvalid, say: "logout_unverified", cause: err}
	}
	said := page.Partly
	if everywhere {
		said = page.Everywhere
	}
	// The page is at an address that can be loaded again, where the visitor began.
	redirect(w, http.StatusSeeOther, g.origin(p.Host)+ownPrefix+"/logout?idp="+said)
	return nil
}

// logoutRefused is a logout message that is not believed. Any other error is
// returned as it is.
func (g *Gateway) logoutRefused(err error) error {
	if r, ok := errors.AsType[*samlsp.Refusal](err); ok {
		return &problem{status: http.StatusForbidden, code: r.Code, say: "logout_refused", cause: err, link: g.logoutLink()}
	}
	return err
}

func (g *Gateway) logoutLink() *page.Link {
	return &page.Link{URL: g.origin(g.base.Hostname()) + ownPrefix + "/logout", Text: "sign_out_here"}
}
