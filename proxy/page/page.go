// Package page renders the gateway's own pages.
//
// Each page is a struct, which [Set.Write] answers with in the visitor's language:
// what is said is in the files below lang. They work without scripts, from 320 pixels
// up, in light and dark, and by keyboard and screen reader; the scripts there are
// press the button of [Post], filter the list of [Login], and keep a form for later
// ([Kept] and [Resend]), which nothing else can. The stylesheet is part of
// each page, so that a page needs nothing else, and the content security policy
// names it by its hash.
//
// A [Set] has the pages as an operator wants them: with their name and colors, and
// with templates of their own.
package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

// submit is the script that submits the form of a [Post] page.
const submit = "document.forms[0].submit()"

// A Page is one of the structs in this package.
type Page interface {
	// view returns how the page is shown.
	view() view
}

// A view is the name of a template, and what the content security policy of the page
// allows besides the stylesheet: "" for nothing.
type view struct {
	template        string
	forms, scripts  string // form-action, script-src
	framed, referer bool   // by any site; whether the origin is told to any
}

// anywhere is for forms that lead to an identity provider by redirects: any number of
// them, and Chromium holds form-action against each, so that no list could be complete.
const anywhere = "'self' https: http:"

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
	Domain     string   // what was typed, to be corrected
	Unknown    bool     // and is not a domain that we know
	Remembered string   // domain of the last login, "" for none
	Domains    []string // to choose from, or none
}

func (p Login) view() view {
	v := view{template: "login", forms: anywhere}
	if len(p.Domains) > 0 {
		v.scripts = Source(narrow)
	}
	return v
}

// Choose asks which identity provider of a domain to sign in at.
type Choose struct {
	Site   string
	Target Target
	Domain string
	Hint   string // who is about to sign in, or ""
	IdPs   []IdP
}

// An IdP is an identity provider to choose.
type IdP struct{ Name, Title string }

func (Choose) view() view { return view{template: "choose"} }

// Post takes a message to an identity provider by the POST binding (SAML
// bindings, section 3.5).
type Post struct {
	Site               string
	Say                string // what it says: the key is post.Say.title and the like
	Action             string
	Parameter, Message string
	RelayState         string // "" for none
}

func (Post) view() view {
	// An identity provider may refuse a form from nowhere: say our origin.
	return view{template: "post", forms: "https: http:", scripts: Source(submit), referer: true}
}

// Frame is for a visitor inside of another page, who cannot sign in there.
type Frame struct {
	Site     string
	SignIn   string // URL, for a page of its own
	Continue string // URL, for where this page is
	Lost     bool   // somebody has sent a form there, which is not kept
}

// It does nothing but lead to where a link of any site could lead as well, and it
// would be invisible otherwise.
func (Frame) view() view { return view{template: "frame", framed: true} }

// A Form is what somebody has sent.
type Form struct {
	To     string  `json:"to"`   // path and query
	Type   string  `json:"type"` // as enctype has it
	Fields []Field `json:"fields"`
	Owner  string  `json:"owner,omitempty"` // a mark of who has filled it in, where that is known
}

// A Field is one of a form.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	File  bool   `json:"file,omitempty"` // for a file that was not chosen
}

// Kept is for somebody who has sent a form after their session had ended. It keeps the
// form in the browser.
type Kept struct {
	Site   string
	SignIn string // URL, for a form that is kept
	Again  string // URL, for one that is not
	Key    string // that names the form
	Form   *Form  // nil for one that cannot be kept
}

func (p Kept) view() view {
	v := view{template: "kept"}
	if p.Form != nil {
		v.scripts = Source(keep)
	}
	return v
}

// Resend asks whether to send a form that was kept.
type Resend struct {
	Site  string
	Key   string // that names the form
	User  string // as whom it is sent
	Owner string // a mark of them
	App   string // URL, for those who do not
}

func (Resend) view() view {
	return view{template: "resend", forms: anywhere, scripts: Source(resend)} // the app may answer with a redirect
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

func (Error) view() view { return view{template: "error"} }

// Logout asks whether to sign out.
type Logout struct{ Site, User string }

// The form may lead to the identity provider, as that of Login does.
func (Logout) view() view { return view{template: "logout", forms: anywhere} }

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

func (SignedOut) view() view { return view{template: "signedout"} }

// Session tells visitors who they are.
type Session struct {
	Site                                string
	User, Email, Directory, Domain, IdP string
	Groups, Entitlements                []string
	Expires                             time.Time
	Apps                                []Link
}

func (Session) view() view { return view{template: "session"} }

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

// Source names inline content in a content security policy by its hash.
func Source(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
