package proxy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/proxy/session"
	"github.com/jitgate/jitgate/samlsp"
)

const (
	// maxResponse is the most that an identity provider may post.
	maxResponse = 1 << 20

	// largeForm is the length from which a form counts as large, and
	// maxLargeForms how many of those are read at once.
	largeForm     = 64 << 10
	maxLargeForms = 64

	// finishTimeout is how long verifying a response and storing what comes of
	// it may take, waiting for a free processor included.
	finishTimeout = 3 * time.Second
)

// A response is what an identity provider has the browser post (SAML bindings,
// section 3.5.4).
type response struct {
	saml       string // base64
	relayState string
}

// serveACS takes an identity provider's response: the assertion consumer
// service.
func (g *Gateway) serveACS(w http.ResponseWriter, r *http.Request, ev *event, idp string) error {
	res, err := g.readResponse(w, r)
	if err != nil {
		return err
	}
	p, ok := g.jar.pending(r.Header, res.relayState)
	if !ok {
		return g.unasked(w, r, ev, idp, res, p.Target)
	}
	s, err := g.finishLogin(w, r, ev, idp, res.saml, p)
	if isUnavailable(err) {
		again := unavailable(err)
		again.say = "login_postponed"
		again.link = &page.Link{URL: g.loginURL(p.Target.Host, p.Target.Return), Text: "try_again"}
		return again
	}
	g.jar.clear(w, p.cookie, g.jar.loginSameSite())
	if err != nil {
		return err
	}
	return g.land(w, r, s, p.Target)
}

func (g *Gateway) readResponse(w http.ResponseWriter, r *http.Request) (response, error) {
	if err := g.readPosted(w, r); err != nil {
		return response{}, err
	}
	saml, relay := r.PostForm["SAMLResponse"], r.PostForm["RelayState"]
	if len(saml) != 1 || len(relay) > 1 || r.Form.Has("SAMLart") {
		return response{}, badRequest(http.StatusBadRequest, "%d SAMLResponse, %d RelayState, artifact: %v", len(saml), len(relay), r.Form.Has("SAMLart"))
	}
	return response{saml: saml[0], relayState: strings.Join(relay, "")}, nil
}

// readPosted reads the form in which a message of the POST binding comes. It is
// held in memory until all of it is there, for as long as formTime: only so many
// large ones are read at once, and the next one has to come again.
func (g *Gateway) readPosted(w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return badRequest(http.StatusUnsupportedMediaType, "content type %q", r.Header.Get("Content-Type"))
	}
	if r.ContentLength > maxResponse {
		return badRequest(http.StatusRequestEntityTooLarge, "message of %d bytes", r.ContentLength)
	}
	done, err := g.beginForm(r)
	if err != nil {
		return err
	}
	defer done()
	r.Body = http.MaxBytesReader(w, r.Body, maxResponse)
	err = r.ParseForm()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return badRequest(http.StatusRequestEntityTooLarge, "message of more than %d bytes", maxResponse)
	}
	if err != nil {
		return badRequest(http.StatusBadRequest, "reading the message: %w", err)
	}
	return nil
}

// beginForm is to be called before a form is read, and what it returns afterwards. The
// error is that too many large ones are being read.
func (g *Gateway) beginForm(r *http.Request) (done func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= largeForm {
		return func() {}, nil
	}
	if done, ok := g.largeForms.take(); ok {
		return done, nil
	}
	return nil, fmt.Errorf("reading a form: %w", samlsp.ErrBusy)
}

// places are for what is done in so many requests at once.
type places chan struct{}

// take takes one of the places until free is called. ok is false where all are taken.
func (p places) take() (free func(), ok bool) {
	select {
	case p <- struct{}{}:
		return func() { <-p }, true
	default:
		return nil, false
	}
}

// finishLogin verifies the answer to a pending login, signs the user in, and
// returns the new session on our own host. It logs what came of it.
func (g *Gateway) finishLogin(w http.ResponseWriter, r *http.Request, ev *event, idp, saml string, p pending) (session.Record, error) {
	ctx, cancel := context.WithTimeout(r.Context(), finishTimeout)
	defer cancel()
	identity, outcome, err := g.accept(ctx, ev, idp, saml, p)
	if err != nil {
		err = refused(err, g.loginURL(p.Target.Host, p.Target.Return))
		g.logLogin(ev, idp, outcome, err)
		return session.Record{}, err
	}
	s := newRecord(identity, outcome.User)
	s.Host = g.base.Hostname()
	s, err = g.open(ctx, w, r, s, p.Prior)
	g.logLogin(ev, idp, outcome, err)
	return s, err
}

// accept returns who signed in, according to a response that answers p.
func (g *Gateway) accept(ctx context.Context, ev *event, idp, saml string, p pending) (*samlsp.Identity, provision.Outcome, error) {
	if p.IdP != idp {
		return nil, provision.Outcome{}, &samlsp.Refusal{Code: samlsp.CodeInvalid, Check: "other_identity_provider", Got: idp, Want: p.IdP}
	}
	verifying, span := child(ctx, "verify response", trace.SpanKindInternal)
	span.SetAttributes(attribute.String("jitgate.idp", idp))
	identity, err := g.idps[idp].Finish(verifying, saml, p.RequestID)
	endSpan(span, err != nil)
	if err != nil {
		return nil, provision.Outcome{}, err
	}
	g.metrics.offset.WithLabelValues(idp).Set(identity.IssuedAt.Sub(g.now()).Seconds())
	in := provision.SignIn{IdP: idp, Attributes: sentAttributes(identity), RequestID: ev.id, Client: ev.client}
	provisioning, span := child(ctx, "provision user", trace.SpanKindInternal)
	outcome, err := g.users.SignIn(provisioning, in)
	endSpan(span, err != nil)
	if err != nil {
		return nil, outcome, err
	}
	if !outcome.Created {
		g.memory.changed(outcome.User.Directory, outcome.User.ID)
	}
	ev.user = g.users.LogName(outcome.User)
	return identity, outcome, nil
}

// sentAttributes returns the values of each attribute, in their order. One that
// came several times has the values of all.
func sentAttributes(identity *samlsp.Identity) map[string][]string {
	sent := make(map[string][]string)
	for _, a := range identity.Attributes {
		sent[a.Name] = append(sent[a.Name], a.Values...)
	}
	return sent
}

// newRecord returns the session that a login makes, but for its host.
func newRecord(id *samlsp.Identity, u provision.User) session.Record {
	return session.Record{
		Directory: u.Directory, UserID: u.ID, IdP: id.IdP,
		NameID: id.NameID.Value, NameFormat: id.NameID.Format,
		NameQualifier: id.NameID.NameQualifier, SPNameQualifier: id.NameID.SPNameQualifier,
		SessionIndex: id.SessionIndex, Expires: id.SessionNotOnOrAfter,
		AuthnContext: headerValue(id.AuthnContext), AuthnInstant: id.AuthnInstant.UTC(),
	}
}

// unasked answers a response that belongs to no login of this browser: one that
// has expired, or that the identity provider sent of its own accord. What it
// says is not verified here, so it decides nothing but where to begin. One that has
// expired was to end at was, which is zero where that is not known any more.
func (g *Gateway) unasked(w http.ResponseWriter, r *http.Request, ev *event, idp string, res response, was target) error {
	ctx, cancel := context.WithTimeout(r.Context(), finishTimeout)
	defer cancel()
	unsolicited, err := g.idps[idp].Unsolicited(ctx, res.saml)
	if err != nil {
		return err
	}
	if !unsolicited {
		if _, served := g.apps[was.Host]; !served {
			was = target{Host: g.base.Hostname()}
		}
		err := g.expiredHere(r, ev, g.base.Hostname(), errors.New("no login under way in this browser"))
		if p, ok := errors.AsType[*problem](err); ok {
			p.link.URL = g.loginURL(was.Host, was.Return)
		}
		return err
	}
	end := g.portalTarget(res.relayState)
	if g.idps[idp].unsolicited == "restart" {
		again := loginForm{idp: idp, rd: end.Return}
		redirect(w, http.StatusSeeOther, g.ownURL(end.Host, "/login", again))
		return nil
	}
	// Whether it is accepted is for the service provider to say.
	s, err := g.finishLogin(w, r, ev, idp, res.saml, pending{Target: end, IdP: idp})
	if err != nil {
		return err
	}
	return g.land(w, r, s, end)
}

// portalTarget returns where the RelayState of an identity provider's portal
// leads: a path on our own host or the URL of a page on one of our hosts.
// Anything else is our front page.
func (g *Gateway) portalTarget(relayState string) target {
	home := target{Host: g.base.Hostname(), Return: "/"}
	if strings.HasPrefix(relayState, "/") {
		home.Return = safeReturn(relayState)
		return home
	}
	u, err := url.Parse(relayState)
	if err != nil || u.Scheme != g.base.Scheme || u.User != nil || u.Opaque != "" {
		return home
	}
	host, ok := canonicalHost(u.Host)
	if _, served := g.apps[host]; !ok || !served {
		return home
	}
	path := u.EscapedPath()
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return target{Host: host, Return: safeReturn(path)}
}
