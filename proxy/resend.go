package proxy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jitgate/jitgate/proxy/page"
	"github.com/jitgate/jitgate/proxy/session"
)

const (
	// maxKept is the longest body of a form that is kept, in bytes, and maxFields how
	// many fields it has.
	maxKept   = 1 << 20
	maxFields = 5000

	// maxKeeping is how many forms of more than smallForm bytes are kept at once: each is
	// in memory, many times as long as it came, until the visitor has it again.
	maxKeeping = 8
	smallForm  = 8 << 10
)

// keptKey matches what names a kept form, as rand.Text makes it.
var keptKey = regexp.MustCompile(`^[A-Z2-7]{26,64}$`)

// errNotKept is a form that the browser could not send again as it was.
var errNotKept = errors.New("not a form that can be kept")

// errManyFields is a form with more fields than anybody fills in.
var errManyFields = fmt.Errorf("%w: more than %d fields", errNotKept, maxFields)

// isOwnForm reports whether somebody sends a form of a page of the same origin. What
// another site sends is not kept: nobody who is here has typed it. A page that wants no
// referrer has its forms come from the origin "null".
func (g *Gateway) isOwnForm(r *http.Request, host string) bool {
	mode, site, origin := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	return r.Method == http.MethodPost && acceptsHTML(r) && (mode == "" || mode == "navigate") &&
		(origin == g.origin(host) && (site == "" || site == "same-origin") || origin == "null" && site == "same-origin")
}

// keepForm answers somebody who sends a form after their session has ended. The page
// has the form in it and puts it into the browser's own storage, from where it is sent
// once they are signed in; here nothing is left of it. Where that cannot be, the page
// says so while the form is still one step back.
func (g *Gateway) keepForm(w http.ResponseWriter, r *http.Request, ev *event, to route) error {
	ev.code = codeSignIn
	if isFramed(r) {
		g.pages.Write(w, r, http.StatusUnauthorized, page.Frame{Site: g.siteOf(to.host), SignIn: g.loginURL(to.host, ""), Lost: true})
		return nil
	}
	if ev.body != nil {
		ev.body.limit(formTime)
	}
	p := page.Kept{Site: g.siteOf(to.host), Again: g.loginURL(to.host, ""), Key: rand.Text()}
	p.SignIn = g.loginURL(to.host, resendAt(p.Key, to.path))
	done, err := g.beginKeeping(r, ev)
	if err == nil {
		defer done() // when the page is written
		p.Form, err = readKept(r)
	}
	switch {
	case err == nil:
		p.Form.To = to.raw
		if r.URL.RawQuery != "" {
			p.Form.To += "?" + r.URL.RawQuery
		}
		if token, ok := g.jar.formerSession(r.Header); ok {
			p.Form.Owner = markOf(session.OwnerOf(token))
		}
	case !errors.Is(err, errNotKept):
		return err
	default:
		p.Form, ev.err = nil, err
	}
	g.pages.Write(w, r, http.StatusUnauthorized, p)
	return nil
}

// resendAt returns the page that asks whether to send a form to path, and says which path
// that is unless it is very long: the app there may be for some identity providers alone.
func resendAt(key, path string) string {
	at := ownPrefix + "/resend?key=" + key
	if long := at + "&for=" + url.QueryEscape(path); len(long) <= maxReturn {
		return long
	}
	return at
}

// markOf returns what a kept form and those who sign in after it are compared by: no
// other user of the browser gets to send it.
func markOf(o session.Owner) string {
	return session.Hash([]byte("form\x00" + o.Directory + "\x00" + o.UserID))
}

// beginKeeping waits for nobody: where too many forms are being kept, this one is not.
// What it returns is to be called when that is over.
func (g *Gateway) beginKeeping(r *http.Request, ev *event) (done func(), err error) {
	if 0 <= r.ContentLength && r.ContentLength <= smallForm {
		return func() {}, nil
	}
	if err := g.attempt(ev); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotKept, err)
	}
	if done, ok := g.keeping.take(); ok {
		return done, nil
	}
	return nil, fmt.Errorf("%w: %d others are being kept", errNotKept, maxKeeping)
}

// readKept reads a form that is to be kept. The error is errNotKept where it cannot be.
func readKept(r *http.Request) (*page.Form, error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.Header.Get("Content-Encoding") != "" || kind != "application/x-www-form-urlencoded" && kind != "multipart/form-data" {
		return nil, fmt.Errorf("%w: content type %q", errNotKept, r.Header.Get("Content-Type"))
	}
	if r.ContentLength > maxKept {
		return nil, fmt.Errorf("%w: %d bytes", errNotKept, r.ContentLength)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxKept+1))
	if err != nil {
		return nil, badRequest(http.StatusBadRequest, "reading a form: %w", err)
	}
	if len(body) > maxKept {
		return nil, fmt.Errorf("%w: more than %d bytes", errNotKept, maxKept)
	}
	if bytes.Count(body, []byte("&")) >= maxFields {
		return nil, errManyFields
	}
	form := &page.Form{Type: kind}
	if kind == "multipart/form-data" {
		form.Fields, err = multipartFields(body, parameters["boundary"])
	} else {
		form.Fields, err = urlencodedFields(string(body))
	}
	return form, err
}

// urlencodedFields returns the fields of a body that a browser makes of them again,
// byte for byte (HTML, section 4.10.22.6, and URL, section 5).
func urlencodedFields(body string) ([]page.Field, error) {
	fields := []page.Field{}
	if body == "" {
		return fields, nil
	}
	var again strings.Builder
	for pair := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(pair, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !isText(n) || !isText(v) {
			return nil, fmt.Errorf("%w: a field that is no text", errNotKept)
		}
		fields = append(fields, page.Field{Name: n, Value: v})
		if len(fields) > 1 {
			again.WriteByte('&')
		}
		writeFormEscaped(&again, n)
		again.WriteByte('=')
		writeFormEscaped(&again, v)
	}
	if again.String() != body {
		return nil, fmt.Errorf("%w: not written as browsers do", errNotKept)
	}
	return fields, nil
}

// isText reports whether a browser can have s in a form and send it as it is: UTF-8,
// each line break of two characters.
func isText(s string) bool {
	rest := strings.ReplaceAll(s, "\r\n", "")
	return utf8.ValidString(s) && !strings.ContainsAny(rest, "\r\n")
}

// writeFormEscaped writes s as browsers do in a form.
func writeFormEscaped(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('+')
		case c != '~' && isUnreserved(c) || c == '*':
			b.WriteByte(c)
		default:
			writeEscaped(b, c)
		}
	}
}

// multipartFields returns the fields of a body, which must have no files but those that
// nobody has chosen. Sent again it has another boundary.
func multipartFields(body []byte, boundary string) ([]page.Field, error) {
	fields := []page.Field{}
	for parts := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return fields, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotKept, err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotKept, err)
		}
		disposition := part.Header.Get("Content-Disposition")
		_, parameters, err := mime.ParseMediaType(disposition)
		file, isFile := parameters["filename"]
		switch {
		case len(fields) == maxFields:
			return nil, errManyFields
		case strings.Contains(disposition, `\`): // which browsers do not mean as an escape
			return nil, fmt.Errorf("%w: a field whose name has a backslash", errNotKept)
		case err != nil || !isText(parameters["name"]) || !isText(string(value)):
			return nil, fmt.Errorf("%w: a field that is no text", errNotKept)
		case isFile && (file != "" || len(value) > 0):
			return nil, fmt.Errorf("%w: a file", errNotKept)
		case !isFile && len(part.Header) > 1:
			return nil, fmt.Errorf("%w: a field of type %q", errNotKept, part.Header.Get("Content-Type"))
		}
		fields = append(fields, page.Field{Name: parameters["name"], Value: string(value), File: isFile})
	}
}

// serveResend asks whether to send a form that the browser has kept, as whoever is
// signed in now.
func (g *Gateway) serveResend(w http.ResponseWriter, r *http.Request, ev *event, host string) error {
	key := r.URL.Query().Get("key")
	if !keptKey.MatchString(key) {
		return badRequest(http.StatusBadRequest, "key %q of a kept form", key)
	}
	v, ok, err := g.visitor(r, host)
	if err != nil {
		return err
	}
	if !ok {
		return g.sendToLogin(w, r, ev, route{host: host, path: ownPrefix + "/resend", raw: ownPrefix + "/resend"})
	}
	ev.user = v.logName
	g.pages.Write(w, r, http.StatusOK, page.Resend{Site: g.siteOf(host), Key: key, User: v.user.UserName, Owner: markOf(v.session.Owner()), App: g.origin(host) + g.landing(host, "/")})
	return nil
}
