// Package console renders the pages for those who run the gateway.
//
// A [Page] is made of sections: facts, tables, charts, forms. All of it is HTML and SVG
// made here; there is no script on any page, and the content security policy allows
// none. What is shown comes from people whom nobody knows, in the end, and is escaped by
// html/template wherever it stands.
package console

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"

	"github.com/jitgate/jitgate/proxy/page"
)

//go:embed console.css
var style string

//go:embed console.html
var markup string

var pages = template.Must(template.New("console.html").Funcs(template.FuncMap{"style": func() template.CSS { return template.CSS(style) }}).Parse(markup))

// policy is the content security policy of all pages.
var policy = "default-src 'none'; style-src " + page.Source(style) + "; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"

// Root is where the console is.
const Root = "/.jitgate/admin"

// A Page is one of the console.
type Page struct {
	Site   string // what heads it
	User   string // who looks at it
	Token  string // that forms which change something have to send
	At     string // the entry of the menu that it belongs to
	Title  string
	Notice string // what was done, or ""
	Body   []Section
}

// A Section is a part of a page: a heading, and any of what follows.
type Section struct {
	Heading string
	Text    string
	Bad     bool // Text is about something that is wrong
	Facts   []Fact
	Chart   *Chart
	Form    *Form
	Table   *Table
	Pre     string
	Actions []Action
}

// A Fact is a name with what is to say of it.
type Fact struct {
	Name  string
	Value Cell
}

// A Cell is a text, perhaps with an address that it leads to.
type Cell struct {
	Text string
	URL  string
	Bad  bool // it is about something that is wrong, or soon will be
}

// A Table is rows of cells, as many as there are columns.
type Table struct {
	Caption string
	Columns []string
	Rows    [][]Cell
	None    string // what is said where there are no rows
	Next    string // URL of what follows, or ""
}

// A Form asks for something: the fields of a GET form say what to show, those of a POST
// form are looked at.
type Form struct {
	Post   bool
	Action string
	Button string
	Fields []Field
}

// A Field is one of a form: a list to choose from where it has Options, an area where it
// is Large, else a line.
type Field struct {
	Name, Label, Value, Hint string
	Options                  []string
	Large                    bool
}

// An Action is a button: with Fields one that changes something, without a link to a
// page.
type Action struct {
	Label  string
	URL    string
	Danger bool
	Fields map[string]string // of a POST
}

// An entry of the menu.
type entry struct{ Path, Name string }

// Menu returns the pages that all others lead to.
func (Page) Menu() []entry {
	return []entry{
		{"", "Overview"}, {"/idps", "Identity providers"}, {"/users", "Users"}, {"/groups", "Groups"}, {"/sessions", "Sessions"},
		{"/audit", "Audit trail"}, {"/explain", "Explain"}, {"/configuration", "Configuration"},
	}
}

// Root is where the console is.
func (Page) Root() string { return Root }

// Write answers with the page.
func (p Page) Write(w http.ResponseWriter, status int) {
	var body bytes.Buffer
	if err := pages.Execute(&body, p); err != nil {
		panic(err) // a template that does not fit its struct
	}
	h := w.Header()
	page.Protect(h)
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // whoever asked may be gone
}

// Time returns a time as the console shows it, "never" for the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
