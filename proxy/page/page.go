// Package page renders the gateway's own pages.
//
// Each page is a struct with a Write method, which answers in the visitor's language:
// what is said is in the files below lang. They work without scripts, from 320 pixels
// up, in light and dark, and by keyboard and screen reader; the one script there is
// presses the button of [Post]. The stylesheet is part of each
// page, so that a page needs nothing else, and the content security policy
// names it by its hash.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"
)

//go:embed style.css *.html
var files embed.FS

// submit is the one script: it submits the form of a [Post] page.
const submit = "document.forms[0].submit()"

// style is the stylesheet of all pages.
var style = readStyle()

func readStyle() string {
	css, err := files.ReadFile("style.css")
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(css)
}

type templates struct {
	login, choose, post, error, logout, signedOut, session *template.Template
}

// parse returns the templates of a language.
func parse(c *catalog) templates {
	one := func(name string) *template.Template {
		return template.Must(template.New("layout.html").Funcs(template.FuncMap{
			"style":  func() template.CSS { return template.CSS(style) },
			"script": func() template.JS { return submit },
			"lang":   func() string { return c.tag },
			"say":    c.say,
			"strong": c.strong,
		}).ParseFS(files, "layout.html", "target.html", name+".html"))
	}
	return templates{
		login: one("login"), choose: one("choose"), post: one("post"), error: one("error"),
		logout: one("logout"), signedOut: one("signedout"), session: one("session"),
	}
}

// A Target is where a login is to end. It travels through the pages as it is:
// what it says is checked when it comes back.
type Target struct {
	To     string // sealed: another host, and the path there
	Return string // path on this host; not used where there is a To
}

// Login asks for the visitor's domain.
type Login struct {
	Site       string // host name of the gateway
	Target     Target
	Domain     string // what was typed, to be corrected
	Unknown    bool   // and is not a domain that we know
	Remembered string // domain of the last login, "" for none
}

// Write answers with the page.
func (p Login) Write(w http.ResponseWriter, r *http.Request, status int) {
	// The form leads to an identity provider by redirects, any number of them,
	// and Chromium holds form-action against each: no list could be complete.
	c := catalogFor(r)
	c.write(w, status, c.login, p, "form-action 'self' https: http:")
}

// Choose asks which identity provider of a domain to sign in at.
type Choose struct {
	Site   string
	Target Target
	Domain string
	IdPs   []string // names
}

// Write answers with the page.
func (p Choose) Write(w http.ResponseWriter, r *http.Request, status int) {
	c := catalogFor(r)
	c.write(w, status, c.choose, p, "form-action 'none'")
}

// Post takes a message to an identity provider by the POST binding (SAML
// bindings, section 3.5).
type Post struct {
	Site               string
	Say                string // what it says: the key is post.Say.title and the like
	Action             string
	Parameter, Message string
	RelayState         string // "" for none
}

// Write answers with the page.
func (p Post) Write(w http.ResponseWriter, r *http.Request, status int) {
	// An identity provider may refuse a form from nowhere: say our origin.
	w.Header().Set("Referrer-Policy", "strict-origin")
	c := catalogFor(r)
	c.write(w, status, c.post, p, "form-action https: http:; script-src "+source(submit))
}

// A Link is something to go to.
type Link struct{ URL, Text string }

// Error says what went wrong.
type Error struct {
	Site      string
	Say       string // what it says: the key is error.Say.title and the like
	Args      []any  // in what it says
	Code      string // stable
	RequestID string
	App       string // that it is about, or ""
	User      string // who is signed in, or ""
	Attribute string // of the assertion that is at fault, or ""
	Domain    string // that is at fault, or ""
	Link      *Link  // what to do now, or nil; its Text is a key: link.Text
}

// Write answers with the page.
func (p Error) Write(w http.ResponseWriter, r *http.Request, status int) {
	c := catalogFor(r)
	said := struct {
		Error
		Title, Text string
	}{p, c.say("error." + p.Say + ".title"), c.say("error."+p.Say+".text", p.Args...)}
	c.write(w, status, c.error, said, "form-action 'none'")
}

// Logout asks whether to sign out.
type Logout struct{ Site, User string }

// Write answers with the page.
func (p Logout) Write(w http.ResponseWriter, r *http.Request, status int) {
	// The form may lead to the identity provider, as that of Login does.
	c := catalogFor(r)
	c.write(w, status, c.logout, p, "form-action 'self' https: http:")
}

// SignedOut says that the session is over.
type SignedOut struct {
	Site  string
	IdP   string // what that said: Everywhere, Partly, or anything else for nothing
	Again string // URL to sign in anew
}

// What the identity provider says of a sign-out.
const (
	Everywhere = "everywhere"
	Partly     = "partly"
)

// Write answers with the page.
func (p SignedOut) Write(w http.ResponseWriter, r *http.Request, status int) {
	c := catalogFor(r)
	c.write(w, status, c.signedOut, p, "form-action 'none'")
}

// Session tells visitors who they are.
type Session struct {
	Site                                string
	User, Email, Directory, Domain, IdP string
	Groups, Entitlements                []string
	Expires                             time.Time
	Apps                                []Link
}

// Write answers with the page.
func (p Session) Write(w http.ResponseWriter, r *http.Request, status int) {
	c := catalogFor(r)
	c.write(w, status, c.session, p, "form-action 'none'")
}

// Protect sets the headers that every answer of the gateway's own has, page or
// not: nobody keeps it, frames it or takes it for another type.
func Protect(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'")
	if h.Get("Referrer-Policy") == "" {
		h.Set("Referrer-Policy", "same-origin")
	}
}

// write renders a page whose policy allows its stylesheet and what more says.
func (c *catalog) write(w http.ResponseWriter, status int, t *template.Template, data any, more string) {
	var body bytes.Buffer
	if err := t.Execute(&body, data); err != nil {
		panic(err) // a template that does not fit its struct
	}
	Protect(w.Header())
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src "+source(style)+"; img-src data:; base-uri 'none'; frame-ancestors 'none'; "+more)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", c.tag)
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // the visitor may be gone
}

// source names inline content in a content security policy by its hash.
func source(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
