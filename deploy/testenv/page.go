package testenv

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// A Page is what a browser arrived at, whether or not it is HTML.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
	Forms  []*Form

	browser *Browser
	doc     *html.Node
}

// A Form is a form of a page, to be filled in and submitted.
type Form struct {
	Action *url.URL
	Method string     // GET or POST
	Values url.Values // what would be sent now; buttons are not in it

	page   *Page
	fields []field
}

// A field is an input that a form has, or a button.
type field struct{ name, kind, value, label string }

func newPage(b *Browser, u *url.URL, resp *http.Response, body []byte) (*Page, error) {
	p := &Page{URL: u, Status: resp.StatusCode, Header: resp.Header, Body: string(body), browser: b}
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("page %s: %w", u, err)
	}
	p.doc = doc
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return p, nil
	}
	for n := range doc.Descendants() {
		if n.DataAtom != atom.Form {
			continue
		}
		f, err := newForm(p, n)
		if err != nil {
			return nil, fmt.Errorf("page %s: %w", u, err)
		}
		p.Forms = append(p.Forms, f)
	}
	return p, nil
}

// Title returns the text of the page's title.
func (p *Page) Title() string {
	for n := range p.doc.Descendants() {
		if n.DataAtom == atom.Title {
			return text(n)
		}
	}
	return ""
}

// Text returns the text of the page, with single spaces and without its title,
// scripts and styles.
func (p *Page) Text() string {
	for n := range p.doc.Descendants() {
		if n.DataAtom == atom.Body {
			return text(n)
		}
	}
	return ""
}

// FormWith returns the first form that has all the fields. Buttons are none.
func (p *Page) FormWith(fields ...string) (*Form, bool) {
	for _, f := range p.Forms {
		if !slices.ContainsFunc(fields, func(name string) bool { return !f.has(name) }) {
			return f, true
		}
	}
	return nil, false
}

// Follow goes where the link with this text leads.
func (p *Page) Follow(linkText string) (*Page, error) {
	for n := range p.doc.Descendants() {
		if n.DataAtom != atom.A || text(n) != linkText {
			continue
		}
		u, err := p.URL.Parse(attr(n, "href"))
		if err != nil {
			return nil, fmt.Errorf("link %q: %w", linkText, err)
		}
		return p.browser.navigate(visit{method: http.MethodGet, url: u, from: p.URL})
	}
	return nil, fmt.Errorf("page %s has no link %q", p.URL, linkText)
}

// passwordForm returns the form that asks for a password.
func (p *Page) passwordForm() (*Form, bool) {
	for _, f := range p.Forms {
		if slices.ContainsFunc(f.fields, func(i field) bool { return i.kind == "password" }) {
			return f, true
		}
	}
	return nil, false
}

// messageForm returns the form that carries a SAML message.
func (p *Page) messageForm() (*Form, bool) {
	for _, f := range p.Forms {
		if f.Method == http.MethodPost && (f.Values.Has("SAMLResponse") || f.Values.Has("SAMLRequest")) {
			return f, true
		}
	}
	return nil, false
}

func newForm(p *Page, n *html.Node) (*Form, error) {
	action, err := p.URL.Parse(cmp.Or(attr(n, "action"), p.URL.String()))
	if err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	f := &Form{Action: action, Method: http.MethodGet, Values: url.Values{}, page: p}
	if strings.EqualFold(attr(n, "method"), "post") {
		f.Method = http.MethodPost
	}
	for c := range n.Descendants() {
		f.add(c)
	}
	return f, nil
}

// add takes in a field of the form.
func (f *Form) add(n *html.Node) {
	i := field{name: attr(n, "name"), value: attr(n, "value")}
	switch n.DataAtom {
	case atom.Input:
		i.kind, i.label = cmp.Or(strings.ToLower(attr(n, "type")), "text"), i.value
	case atom.Button:
		i.kind, i.label = cmp.Or(strings.ToLower(attr(n, "type")), "submit"), text(n)
	case atom.Textarea:
		i.kind, i.value = "textarea", text(n)
	case atom.Select:
		i.kind, i.value = "select", selected(n)
	default:
		return
	}
	if hasAttr(n, "disabled") {
		return
	}
	f.fields = append(f.fields, i)
	switch i.kind {
	case "submit", "button", "image", "reset", "file":
		return
	case "checkbox", "radio":
		if !hasAttr(n, "checked") {
			return
		}
		i.value = cmp.Or(i.value, "on")
	}
	if i.name != "" {
		f.Values.Add(i.name, i.value)
	}
}

func (f *Form) has(name string) bool {
	return slices.ContainsFunc(f.fields, func(i field) bool { return i.name == name && i.kind != "submit" })
}

// Set fills in a field, and returns the form.
func (f *Form) Set(name, value string) *Form {
	f.Values.Set(name, value)
	return f
}

// Submit sends the form and returns the page that this leads to. Label is the text
// of the button that is pressed; without one it is the form's first, as when Enter
// is pressed.
func (f *Form) Submit(label ...string) (*Page, error) {
	for _, i := range f.fields {
		if i.kind == "submit" && (len(label) == 0 || i.label == label[0]) {
			return f.page.browser.navigate(f.visit(i))
		}
	}
	if len(label) > 0 {
		return nil, fmt.Errorf("page %s has no button %q", f.page.URL, label[0])
	}
	return f.page.browser.navigate(f.visit(field{}))
}

// signIn fills in who it is: the login name goes into the first field for text.
func (f *Form) signIn(user, password string) *Form {
	named := false
	for _, i := range f.fields {
		switch {
		case i.kind == "password":
			f.Set(i.name, password)
		case !named && (i.kind == "text" || i.kind == "email"):
			f.Set(i.name, user)
			named = true
		}
	}
	return f
}

// visit is the navigation that pressing the button starts.
func (f *Form) visit(button field) visit {
	values := url.Values{}
	for name, v := range f.Values {
		values[name] = slices.Clone(v)
	}
	if button.name != "" {
		values.Add(button.name, button.value)
	}
	v := visit{method: f.Method, url: f.Action, from: f.page.URL}
	if f.Method == http.MethodPost {
		v.body = values
		return v
	}
	u := *f.Action
	u.RawQuery = values.Encode()
	v.url = &u
	return v
}

// text returns the text below n, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		switch {
		case n.Type == html.TextNode:
			b.WriteString(n.Data)
			return
		case n.DataAtom == atom.Script || n.DataAtom == atom.Style || n.DataAtom == atom.Template:
			return
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
		// What stands in two elements is two words, but for emphasis inside one.
		if n.Type == html.ElementNode && n.DataAtom != atom.B && n.DataAtom != atom.Em && n.DataAtom != atom.Strong {
			b.WriteByte(' ')
		}
	}
	walk(n)
	return strings.Join(strings.Fields(b.String()), " ")
}

// selected returns the value of the option that a select has.
func selected(n *html.Node) string {
	value, first := "", true
	for o := range n.Descendants() {
		if o.DataAtom != atom.Option {
			continue
		}
		if first || hasAttr(o, "selected") {
			value = attr(o, "value")
			if !hasAttr(o, "value") {
				value = text(o)
			}
			first = false
		}
	}
	return value
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}
