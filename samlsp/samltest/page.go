package samltest

import (
	"crypto/sha256"
	_ "embed" // for the pages
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed style.css
var styleCSS string

var pages = template.Must(template.New("").Parse(pageHTML))

// submit sends the only form of its page.
const submit = "document.forms[0].submit()"

// A page is what every page shows; the body is one of the structs below.
type page struct {
	Title  string // the organisation
	Mark   string // its first letter
	Domain string
	Style  template.CSS
	Script template.JS
	Body   any
}

type home struct {
	EntityID, SignedIn string
	Users              []userForm
	Services           []service
}

type userForm struct {
	Name, Password string
	Fixed          []field // shown
	Editable       []field // in the form
}

type field struct {
	Name, Values string // one value a line
	Rows         int
}

type service struct {
	EntityID, Start string
}

type login struct {
	Service, Pending, Name string
	Wrong                  bool
	Users                  []User
}

type post struct {
	Action, Service, SAMLResponse, RelayState string
}

type failure struct {
	Text string
}

func (idp *IdP) serveHome(w http.ResponseWriter, r *http.Request) {
	h := home{EntityID: idp.EntityID()}
	if _, user, ok := idp.browser(r); ok {
		h.SignedIn = user.Name
	}
	for _, user := range idp.sorted() {
		h.Users = append(h.Users, idp.userForm(user))
	}
	for _, sp := range idp.services() {
		h.Services = append(h.Services, service{sp.entityID, "/start?" + url.Values{"sp": {sp.entityID}}.Encode()})
	}
	idp.show(w, http.StatusOK, "home", h)
}

func (idp *IdP) userForm(user User) userForm {
	f := userForm{Name: user.Name, Password: user.Password}
	for _, name := range idp.options.Editable {
		values := user.Attributes[name]
		f.Editable = append(f.Editable, field{name, strings.Join(values, "\n"), max(1, len(values))})
	}
	for _, name := range slices.Sorted(maps.Keys(user.Attributes)) {
		if !slices.Contains(idp.options.Editable, name) {
			f.Fixed = append(f.Fixed, field{Name: name, Values: strings.Join(user.Attributes[name], "\n")})
		}
	}
	return f
}

func (idp *IdP) showLogin(w http.ResponseWriter, status int, l login) {
	l.Users = idp.sorted()
	idp.show(w, status, "login", l)
}

func (idp *IdP) showPost(w http.ResponseWriter, p post) {
	idp.show(w, http.StatusOK, "post", p)
}

// fail shows a page that says what went wrong. The text may be exact: everybody
// who uses this identity provider is testing.
func (idp *IdP) fail(w http.ResponseWriter, status int, text string) {
	idp.show(w, status, "failure", failure{text})
}

// show writes the page. Nothing on it is loaded, and no script runs but the one
// that sends the answer to the service provider; only there, and from where one
// signs out, may a form lead elsewhere.
func (idp *IdP) show(w http.ResponseWriter, status int, name string, body any) {
	style := fmt.Sprintf(":root{--hue:%d}\n%s", hue(idp.options.Title), styleCSS)
	policy := "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src " + sourceHash(style)
	switch name {
	case "post":
		policy += "; script-src " + sourceHash(submit)
	case "home": // signing out leads to service providers and back
	default:
		policy += "; form-action 'self'"
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A template that parses fails only when the browser has gone.
	pages.ExecuteTemplate(w, name, page{
		Title: idp.options.Title, Mark: string([]rune(idp.options.Title)[:1]),
		Domain: idp.options.Domain, Body: body,
		Style: template.CSS(style), Script: submit,
	})
}

// hue gives each organisation a colour of its own, as an angle in degrees.
func hue(title string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(title))
	return h.Sum32() % 360
}

// sourceHash names an inline style or script in a Content-Security-Policy.
func sourceHash(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
