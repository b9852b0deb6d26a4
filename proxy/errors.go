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
	say       string     // what the visitor is told, as [page.Error] has it; "": what goes with the code
	args      []any      // in that
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
	return &problem{status: http.StatusBadRequest, code: codeExpired, cause: cause, link: &page.Link{URL: restart, Text: "continue_to_sign_in"}}
}

// refused is a login that samlsp or provision refused. Any other error is
// returned as it is. Restart is where to begin again.
func refused(err error, restart string) error {
	p := &problem{status: http.StatusForbidden, cause: err, link: &page.Link{URL: restart, Text: "try_again"}}
	if r, ok := errors.AsType[*samlsp.Refusal](err); ok {
		p.code = r.Code
		return p
	}
	if r, ok := errors.AsType[*provision.Refusal](err); ok {
		p.code, p.args, p.attribute, p.domain = r.Code, whatIsAtFault(r), r.Sent, r.Domain
		return p
	}
	return err
}

// whatIsAtFault returns what belongs into what a visitor is told of a refusal: the
// attribute that it is about, where it is about one.
func whatIsAtFault(r *provision.Refusal) []any {
	switch {
	case r.Attribute == "":
		return nil
	case r.Sent != "" && r.Sent != r.Attribute:
		return []any{r.Attribute + " (" + r.Sent + ")"}
	}
	return []any{r.Attribute}
}

// said returns what the visitor is told, as [page.Error] has it.
func (p *problem) said() string {
	switch {
	case p.say != "":
		return p.say
	case p.status == http.StatusMisdirectedRequest:
		return "unknown_host"
	}
	return p.code
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
	h := w.Header()
	h.Set("X-Request-Id", ev.id)
	switch {
	case p.retry > 0:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
	case p.status == http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter)
	}
	if acceptsHTML(r) {
		g.pages.Write(w, r, p.status, page.Error{
			Site: g.siteOf(ev.host), Say: p.said(), Args: p.args, Code: p.code, RequestID: ev.id,
			App: p.app, User: p.user, Attribute: p.attribute, Domain: p.domain, Link: p.link,
		})
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
	}{p.code, page.Message(r, p.said(), p.args...), p.app, p.attribute, p.domain, p.loginURL, ev.id})
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
