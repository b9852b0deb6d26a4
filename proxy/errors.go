package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/samlsp"
)

// The codes of errors that the proxy itself finds. Those of a refused login come
// from samlsp and provision. They are stable.
const (
	codeBadRequest = "bad_request"
	codeNotFound   = "not_found"
	codeSignIn     = "login_required"
	codeExpired    = "login_expired"
	codeDomain     = "unknown_domain"
	codeForbidden  = "forbidden"
	codeStore      = "store_unavailable"
	codeIdP        = "idp_unavailable"
	codeUpstream   = "upstream_unavailable"
	codeInternal   = "internal_error"
	codeTooMany    = "too_many_logins"
	codeTooLarge   = "too_large"
	codeBusy       = "busy"
)

// retryAfter is in how many seconds to ask again what cannot be answered now.
const retryAfter = "5"

// A problem is an error as the visitor is told about it. Any other error that
// reaches [Gateway.answer] means that something could not be checked: 503.
type problem struct {
	status    int
	code      string
	title     string     // "": what the code says
	text      string     // "": what the code says
	link      *page.Link // what to do now
	app       string
	user      string
	attribute string        // of the assertion that is at fault, or ""
	domain    string        // that is at fault, or ""
	loginURL  string        // JSON alone
	retry     time.Duration // when to try again; 0: what the status says
	cause     error         // for the log alone
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.code + ": " + p.cause.Error()
	}
	return p.code
}

func (p *problem) Unwrap() error { return p.cause }

// isUnavailable reports whether err means that something could not be checked.
func isUnavailable(err error) bool {
	_, ok := errors.AsType[*problem](err)
	return err != nil && !ok
}

// unavailable is what could not be checked: the store did not answer, unless
// the error says otherwise.
func unavailable(cause error) *problem {
	code := codeStore
	switch {
	case errors.Is(cause, samlsp.ErrNoMetadata):
		code = codeIdP
	case errors.Is(cause, samlsp.ErrBusy):
		code = codeBusy
	}
	return &problem{status: http.StatusServiceUnavailable, code: code, cause: cause}
}

// badRequest is a request that we do not understand, and why, for the log.
func badRequest(status int, format string, args ...any) *problem {
	return &problem{status: status, code: codeBadRequest, cause: fmt.Errorf(format, args...)}
}

// notFound is an address at which there is nothing.
func notFound() *problem {
	return &problem{status: http.StatusNotFound, code: codeNotFound}
}

// expired is a login that took too long, was finished already, or was begun by
// another browser. Restart is where to begin again.
func expired(restart string, cause error) *problem {
	return &problem{status: http.StatusBadRequest, code: codeExpired, cause: cause, link: &page.Link{URL: restart, Text: "Continue to sign-in"}}
}

// refused is a login that samlsp or provision refused. Any other error is
// returned as it is. Restart is where to begin again.
func refused(err error, restart string) error {
	p := &problem{status: http.StatusForbidden, cause: err, link: &page.Link{URL: restart, Text: "Try again"}}
	if r, ok := errors.AsType[*samlsp.Refusal](err); ok {
		p.code = r.Code
		return p
	}
	if r, ok := errors.AsType[*provision.Refusal](err); ok {
		p.code, p.text, p.attribute, p.domain = r.Code, whatToSend(r), r.Sent, r.Domain
		return p
	}
	return err
}

// whatToSend says what the identity provider has to send for a login to be taken.
func whatToSend(r *provision.Refusal) string {
	const who = "Please tell your administrator."
	name := fmt.Sprintf("the attribute “%s”", r.Attribute)
	if r.Sent != "" && r.Sent != r.Attribute {
		name += fmt.Sprintf(" (as “%s”)", r.Sent)
	}
	switch r.Code {
	case provision.CodeUserNameMissing, provision.CodeAttributeMissing:
		return fmt.Sprintf("Your identity provider has to send %s, with a value. %s", name, who)
	case provision.CodeAttributeInvalid:
		return fmt.Sprintf("Your identity provider sent a value for %s that cannot be used. %s", name, who)
	case provision.CodeDomainMissing:
		return fmt.Sprintf("Your identity provider has to send %s, with the domain that you belong to. %s", name, who)
	case provision.CodeDomainMismatch:
		return fmt.Sprintf("Your identity provider sent %s with a domain that it may not vouch for. %s", name, who)
	case provision.CodeUserConflict:
		return fmt.Sprintf("Your identity provider sent %s with a value that another user has already. %s", name, who)
	}
	return "" // what the code says
}

// describe returns the title and the sentence that go with a code.
func describe(code string, status int) (title, text string) {
	switch code {
	case codeNotFound:
		return "Page not found", "There is nothing at this address."
	case codeSignIn:
		return "Please sign in", "You are not signed in, or your session has ended."
	case codeExpired:
		return "This sign-in has expired", "It took too long, was finished already, or was begun in another browser. You can continue from here."
	case codeDomain:
		return "Unknown domain", "This domain is not known here."
	case codeForbidden:
		return "You do not have access", "You are signed in, but your account may not use this app. If it should, ask your administrator."
	case codeStore:
		return "Temporarily unavailable", "Sign-in cannot be checked at the moment. Please try again in a minute; you do not need to sign in again."
	case codeBusy:
		return "Too busy", "Too many people are signing in at the moment. Please try again in a minute."
	case codeTooMany:
		return "Too many sign-ins", "There were too many sign-ins from your network within a minute. Please try again a little later."
	case codeTooLarge:
		return "Too large", "This is more than may be sent to this app."
	case codeUpstream:
		return "App unavailable", "The app does not answer at the moment. Please try again in a minute."
	case codeInternal:
		return "Something went wrong", "That is our fault. Please try again; if it stays so, tell your administrator the request number."
	case codeIdP:
		return "Temporarily unavailable", "Your identity provider cannot be reached from here at the moment. Please try again in a few minutes."
	case samlsp.CodeInvalid, samlsp.CodeReplayed:
		return "Sign-in did not complete", "Sign-in did not complete. Please try again."
	case samlsp.CodeRefused:
		return "Sign-in was refused", "Your identity provider did not let you sign in."
	case provision.CodeUserUnknown:
		return "No account", "You have no account here, and your identity provider does not create one. Please ask your administrator."
	case provision.CodeUserBlocked:
		return "Account blocked", "Your account has been blocked here. Please ask your administrator to unblock it."
	case provision.CodeDirectoryDeleted:
		return "Sign-in is closed", "Your organisation’s directory has been closed. Please ask your administrator."
	case codeBadRequest:
		if status == http.StatusMisdirectedRequest {
			return "Unknown host", "There is no app under this host name."
		}
		return "Bad request", "This request cannot be answered. Please go back and try another way."
	}
	return "Sign-in did not complete", "Your account could not be set up. Please ask your administrator."
}

// answer answers every error: a page, or JSON for a client that does not accept
// HTML. It never touches the session, so that a store which is down signs
// nobody out.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, ev *event, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = unavailable(err)
	}
	ev.code, ev.err = p.code, p.cause
	if errors.Is(r.Context().Err(), context.Canceled) && !ev.body.hasStalled() {
		ev.status = statusGone
	}
	title, text := describe(p.code, p.status)
	if p.title != "" {
		title = p.title
	}
	if p.text != "" {
		text = p.text
	}
	h := w.Header()
	h.Set("X-Request-Id", ev.id)
	switch {
	case p.retry > 0:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
	case p.status == http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter)
	}
	if acceptsHTML(r) {
		page.Error{
			Site: g.siteOf(ev.host), Title: title, Text: text, Code: p.code, RequestID: ev.id,
			App: p.app, User: p.user, Attribute: p.attribute, Domain: p.domain, Link: p.link,
		}.Write(w, p.status)
		return
	}
	writeJSON(w, p.status, struct {
		Error     string `json:"error"`
		Message   string `json:"message"`
		App       string `json:"app,omitempty"`
		Attribute string `json:"attribute,omitempty"`
		Domain    string `json:"domain,omitempty"`
		LoginURL  string `json:"login_url,omitempty"`
		RequestID string `json:"request_id"`
	}{p.code, text, p.app, p.attribute, p.domain, p.loginURL, ev.id})
}

// acceptsHTML reports whether the client is one that shows pages.
func acceptsHTML(r *http.Request) bool {
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}

// isNavigation reports whether the request is a visitor going to a page, whom
// a redirect can take to sign in; of a script's or an image's request nobody
// would see where it leads.
func isNavigation(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method == http.MethodGet && acceptsHTML(r) && (mode == "" || mode == "navigate")
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) {
	page.Protect(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// redirect sends the browser to a URL, which nobody keeps.
func redirect(w http.ResponseWriter, status int, to string) {
	page.Protect(w.Header())
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}
