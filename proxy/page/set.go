package page

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed style.css *.js *.html
var files embed.FS

// The scripts besides submit: narrow filters the list of [Login], keep puts the form of
// a [Kept] page into the browser's storage, and resend sends it from a [Resend] page.
var narrow, keep, resend = mustRead("narrow.js"), mustRead("keep.js"), mustRead("resend.js")

func mustRead(name string) string {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(data)
}

// A Brand is what an operator has on all pages. The zero Brand is that of jitgate.
type Brand struct {
	Name   string            // in place of the host's, or ""
	Logo   string            // data: URL of an image, or ""
	Style  string            // rules after those of the stylesheet
	Links  []Link            // at the foot of each page, with texts and not keys
	Help   map[string]string // on the page of an error, by its code
	Folder string            // with templates and a stylesheet in place of ours, or ""
}

// A Set is all pages, as one operator wants them. Make one with [New].
type Set struct {
	brand     Brand
	failed    func(error) // is told of what cannot be shown
	style     string
	templates []map[string]*template.Template // by language, then by name
}

// New returns the pages of a brand. It reads the folder, and shows each page, in each
// language: an error says which file is wrong, and where. What cannot be shown all the
// same, failed is told.
func New(b Brand, failed func(error)) (*Set, error) {
	s := &Set{brand: b, failed: failed, style: mustRead("style.css")}
	own := make(map[string]string)
	if b.Folder != "" {
		var err error
		if own, err = readFolder(b.Folder); err != nil {
			return nil, err
		}
	}
	if css, ok := own["style.css"]; ok {
		s.style = css
	}
	s.style += b.Style
	for _, c := range catalogs {
		templates := make(map[string]*template.Template)
		for _, name := range names() {
			t, err := s.parse(c, name, own)
			if err != nil {
				return nil, err
			}
			templates[name] = t
		}
		s.templates = append(s.templates, templates)
	}
	if b.Folder != "" {
		if err := s.try(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// names returns the names of the templates of pages.
func names() []string {
	return []string{"login", "choose", "post", "error", "logout", "signedout", "session", "frame", "kept", "resend"}
}

// shared are the templates that all pages have.
func shared() []string { return []string{"layout", "target"} }

// readFolder returns the files of a folder that take the place of ours, by their names.
func readFolder(folder string) (map[string]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	own := make(map[string]string)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if _, err := fs.Stat(files, e.Name()); err != nil || filepath.Ext(e.Name()) == ".js" {
			known := append(names(), shared()...)
			slices.Sort(known)
			return nil, fmt.Errorf("%s: there is no such file to replace; want style.css, or one of %s, with .html", filepath.Join(folder, e.Name()), strings.Join(known, ", "))
		}
		data, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
			return nil, fmt.Errorf("%s: is not a text in UTF-8", filepath.Join(folder, e.Name()))
		}
		if e.Name() == "style.css" && strings.Contains(strings.ToLower(string(data)), "</style") {
			return nil, fmt.Errorf("%s: has </style in it", filepath.Join(folder, e.Name()))
		}
		// Browsers read line ends so before they compare with the content security policy.
		own[e.Name()] = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	}
	return own, nil
}

// parse returns a template in a language. Those in own, by their file's name, come in
// place of ours.
func (s *Set) parse(c *catalog, name string, own map[string]string) (*template.Template, error) {
	t := template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(s.style) },
		"submit": func() template.JS { return submit },
		"narrow": func() template.JS { return template.JS(narrow) },
		"keep":   func() template.JS { return template.JS(keep) },
		"resend": func() template.JS { return template.JS(resend) },
		"lang":   func() string { return c.tag },
		"name":   func() string { return s.brand.Name },
		"logo":   func() template.URL { return template.URL(s.brand.Logo) },
		"links":  func() []Link { return s.brand.Links },
		"trust":  func(url string) template.URL { return template.URL(url) },
		"help":   func(code string) string { return s.brand.Help[code] },
		"say":    c.say,
		"strong": c.strong,
	})
	for _, part := range append(shared(), name) {
		file := part + ".html"
		text, ok := own[file]
		if !ok {
			text = mustRead(file)
		}
		if _, err := t.New(file).Parse(text); err != nil {
			return nil, s.problem(file, err)
		}
	}
	return t.Lookup("layout.html"), nil
}

// problem is an error of a template as the operator is told: they have files. What is
// wrong in one may show in another that it is part of.
func (s *Set) problem(file string, err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "template: "), "html/template:")
	if !strings.HasPrefix(text, file) {
		text = file + ": " + text
	}
	return errors.New(filepath.Join(s.brand.Folder, text))
}

// Write answers with a page.
func (s *Set) Write(w http.ResponseWriter, r *http.Request, status int, p Page) {
	i, v := languageOf(r), p.view()
	var body bytes.Buffer
	if err := s.render(&body, i, p); err != nil {
		// Ours fit their structs, and those of an operator were tried: what is left are
		// values that nobody thought of.
		s.failed(err)
		http.Error(w, catalogs[i].say("error.internal_error.text"), max(status, http.StatusInternalServerError))
		return
	}
	h := w.Header()
	if v.referer {
		h.Set("Referrer-Policy", "strict-origin")
	}
	Protect(h)
	h.Set("Content-Security-Policy", s.policy(v))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", catalogs[i].tag)
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // the visitor may be gone
}

// render writes a page in a language.
func (s *Set) render(body *bytes.Buffer, language int, p Page) error {
	data := any(p)
	if e, ok := p.(Error); ok {
		c := catalogs[language]
		data = struct {
			Error
			Title, Text string
		}{e, c.say("error." + e.Say + ".title"), c.say("error."+e.Say+".text", e.Args...)}
	}
	return s.templates[language][p.view().template].Execute(body, data)
}

// policy returns the content security policy of a page.
func (s *Set) policy(v view) string {
	ancestors := "'none'"
	if v.framed {
		ancestors = "*"
	}
	forms := "'none'"
	if v.forms != "" {
		forms = v.forms
	}
	policy := "default-src 'none'; style-src " + Source(s.style) + "; img-src data:; base-uri 'none'; frame-ancestors " + ancestors + "; form-action " + forms
	if v.scripts != "" {
		policy += "; script-src " + v.scripts
	}
	return policy
}

// try shows each page once in each language, and looks for what it cannot do without.
func (s *Set) try() error {
	target := Target{To: "some-target"}
	for i := range catalogs {
		for _, test := range []struct {
			page  Page
			wants []string
		}{
			{Login{Site: "sso.example.com", Target: target, Remembered: "acme.example", Domain: "ann@x", Unknown: true, Domains: []string{"acme.example"}},
				[]string{`action="/.jitgate/login"`, `name="domain"`, `name="to"`, "some-target", "domain=acme.example"}},
			{Choose{Site: "sso.example.com", Target: target, Domain: "acme.example", Hint: "ann", IdPs: []IdP{{"acme-idp", "Acme"}}}, []string{"idp=acme-idp", "some-target"}},
			{Post{Say: "signing_in", Action: "https://idp.example/sso", Parameter: "SAMLRequest", Message: "some-message", RelayState: "some-state"},
				[]string{`action="https://idp.example/sso"`, `name="SAMLRequest"`, "some-message", `name="RelayState"`, "some-state"}},
			{Error{Say: "forbidden", Code: "some-code", RequestID: "some-request", App: "wiki", User: "ann", Attribute: "email", Domain: "acme.example", Link: &Link{URL: "/some-way-on", Text: "sign_in"}},
				[]string{"some-code", "some-request", "/some-way-on"}},
			{Logout{Site: "sso.example.com", User: "ann"}, []string{`action="/.jitgate/logout"`, `method="post"`}},
			{SignedOut{Site: "sso.example.com", IdP: Everywhere, Again: "/some-way-on"}, []string{"/some-way-on"}},
			{Session{Site: "sso.example.com", User: "some-user", Groups: []string{"staff"}, Apps: []Link{{URL: "/", Text: "wiki"}}}, []string{"some-user", "/.jitgate/logout"}},
			{Kept{Site: "sso.example.com", SignIn: "/some-sign-in", Again: "/some-way-on", Key: "some-key", Form: &Form{To: "/some-path"}},
				[]string{"/some-sign-in", "/some-way-on", `data-key="some-key"`, "/some-path", `id="form"`, `id="kept"`, `id="lost"`, keep}},
			{Resend{Site: "sso.example.com", Key: "some-key", User: "some-user", App: "/some-way-on"},
				[]string{"some-user", "/some-way-on", `data-key="some-key"`, `id="ask"`, `id="send"`, `id="to"`, `id="fields"`, `id="sent"`, `id="gone"`, `id="discard"`, resend}},
			{Frame{Site: "sso.example.com", SignIn: "/some-sign-in", Continue: "/some-way-on"}, []string{"/some-sign-in", "/some-way-on"}},
			// The same with no more than there is at least.
			{Login{Site: "sso.example.com", Target: target}, []string{`action="/.jitgate/login"`, `name="domain"`, `name="to"`, "some-target"}},
			{Error{Say: "not_found", Code: "some-code", RequestID: "some-request"}, []string{"some-code", "some-request"}},
			{SignedOut{Site: "sso.example.com", Again: "/some-way-on"}, []string{"/some-way-on"}},
			{Session{Site: "sso.example.com", User: "some-user"}, []string{"some-user", "/.jitgate/logout"}},
			{Kept{Site: "sso.example.com", Again: "/some-way-on"}, []string{"/some-way-on"}},
			{Frame{Site: "sso.example.com", SignIn: "/some-sign-in", Lost: true}, []string{"/some-sign-in"}},
		} {
			var body bytes.Buffer
			if err := s.render(&body, i, test.page); err != nil {
				return s.problem(test.page.view().template+".html", err)
			}
			for _, want := range test.wants {
				if !strings.Contains(body.String(), want) {
					return fmt.Errorf("%s.html: the page lacks %s", filepath.Join(s.brand.Folder, test.page.view().template), want)
				}
			}
			if tag, ok := s.blocked(body.String()); ok {
				return fmt.Errorf("%s.html: browsers would block what is in <%s>; write it as it is in the gateway's own, without anything around it", filepath.Join(s.brand.Folder, test.page.view().template), tag)
			}
		}
	}
	return nil
}

// element matches what the content security policy is about.
var element = regexp.MustCompile(`(?is)<(style|script)([^>]*)>(.*?)</(?:style|script)\s*>`)

// blocked returns the tag of a style or a script that is not one of those in the content
// security policy, to the last character.
func (s *Set) blocked(page string) (tag string, ok bool) {
	for _, found := range element.FindAllStringSubmatch(page, -1) {
		if !slices.Contains([]string{s.style, string(submit), narrow, keep, resend}, found[3]) && !strings.Contains(found[2], "application/json") {
			return strings.ToLower(found[1]), true
		}
	}
	return "", false
}
