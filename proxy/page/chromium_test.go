package page

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// ordinary are all pages, as visitors see them.
func ordinary() map[string]Page {
	target := Target{To: "MTIzNDU2"}
	long := strings.Repeat("a-very-long-name.", 12) + "example"
	return map[string]Page{
		"login":       Login{Site: "sso.acme.example", Target: target},
		"remembered":  Login{Site: "sso.acme.example", Target: target, Remembered: "acme.example"},
		"unknown":     Login{Site: "sso.acme.example", Target: target, Domain: "ann@" + long, Unknown: true, Remembered: long},
		"list":        Login{Site: "sso.acme.example", Target: target, Domains: []string{"acme-labs.example", "acme.example", "globex.example", long, "a.example", "b.example", "c.example", "d.example"}},
		"choose":      Choose{Site: "sso.acme.example", Target: target, Domain: "acme.example", IdPs: []IdP{{"acme", "Acme Corporation"}, {"two", long}}},
		"post":        Post{Site: "sso.acme.example", Say: "signing_in", Action: "/nothing", Parameter: "SAMLRequest", Message: "PGEvPg=="},
		"expired":     Error{Site: "wiki.acme.example", Say: "login_expired", Code: "login_expired", RequestID: "9f86d081884c7d659a2feaa0c55ad015", Link: &Link{URL: "/x", Text: "continue_to_sign_in"}},
		"refused":     Error{Site: "wiki.acme.example", Say: "attribute_missing", Args: []any{"email (urn:oid:0.9.2342.19200300.100.1.3)"}, Code: "attribute_missing", RequestID: "9f86d081884c7d659a2feaa0c55ad015", Attribute: "urn:oid:0.9.2342.19200300.100.1.3", Domain: long, Link: &Link{URL: "/x", Text: "try_again"}},
		"forbidden":   Error{Site: "wiki.acme.example", Say: "forbidden", Code: "forbidden", RequestID: "9f86d081884c7d659a2feaa0c55ad015", App: "wiki", User: "ann@" + long},
		"elsewhere":   Error{Site: "wiki.acme.example", Say: "forbidden_idp", Code: "forbidden", RequestID: "9f86d081884c7d659a2feaa0c55ad015", App: "wiki", User: "ann", Link: &Link{URL: "/x", Text: "sign_in_otherwise"}},
		"app down":    Error{Site: "wiki.acme.example", Say: "upstream_unavailable", Code: "upstream_unavailable", RequestID: "9f86d081884c7d659a2feaa0c55ad015", App: "wiki", User: "ann"},
		"unavailable": Error{Site: "wiki.acme.example", Say: "store_unavailable", Code: "store_unavailable", RequestID: "9f86d081884c7d659a2feaa0c55ad015"},
		"logout":      Logout{Site: "wiki.acme.example", User: "ann@acme.example"},
		"signed out":  SignedOut{Site: "wiki.acme.example", IdP: Partly, Again: "/x"},
		"session": Session{
			Site: "wiki.acme.example", User: "ann@acme.example", Email: "ann@" + long, Directory: "acme", Domain: "acme.example", IdP: "acme", Groups: []string{"engineers", "staff", long},
			Entitlements: []string{"wiki"}, Expires: time.Now(), Apps: []Link{{URL: "/x", Text: "wiki"}, {URL: "/y", Text: long}},
		},
		"kept":   Kept{Site: "wiki.acme.example", SignIn: "/x", Again: "/y", Key: "ABC", Form: &Form{To: "/save", Type: "multipart/form-data", Fields: []Field{{Name: "a", Value: "b"}}}},
		"lost":   Kept{Site: "wiki.acme.example", SignIn: "/x", Again: "/y", Key: "ABC"},
		"resend": Resend{Site: "wiki.acme.example", Key: "ABC", User: "ann@acme.example", App: "/x"},
		"frame":  Frame{Site: "wiki.acme.example", SignIn: "/x", Continue: "/y"},
	}
}

// Every page in a real browser: wide and narrow, light and dark, in all languages.
// Nothing is wider than the window, and axe-core finds nothing.
func TestChromium(t *testing.T) {
	t.Parallel()
	branded, err := New(Brand{Name: "Acme Portal", Logo: "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHZpZXdCb3g9IjAgMCAxMCAxMCI+PHJlY3Qgd2lkdGg9IjEwIiBoZWlnaHQ9IjEwIiBmaWxsPSIjYTAzMDAwIi8+PC9zdmc+",
		Links: []Link{{URL: "https://help.example.com", Text: "Help"}, {URL: "tel:+15550100", Text: "Call us"}}, Help: map[string]string{"forbidden": "Call the service desk at 555-0100."}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := ordinary()[r.URL.Query().Get("page")]
		if !ok { // where the form of a POST binding leads: the page stays
			w.WriteHeader(http.StatusNoContent)
			return
		}
		set := plain
		if r.URL.Query().Has("brand") {
			set = branded
		}
		if l := r.URL.Query().Get("lang"); l != "" {
			r.Header.Set("Accept-Language", l)
		}
		set.Write(w, r, http.StatusOK, p)
	}))
	t.Cleanup(server.Close)
	tab := testenv.NewTab(t)
	open := func(name, more string) {
		tab.Open(server.URL + "/?page=" + strings.ReplaceAll(name, " ", "+") + more)
		if name == "resend" { // which has the form that the page before it has kept
			tab.See("#ask")
		}
	}
	open("kept", "")
	tab.See("#kept")
	for name := range ordinary() {
		open(name, "&lang=en")
		for _, width := range []int64{320, 768, 1440} {
			for _, scheme := range []string{"light", "dark"} {
				what := fmt.Sprintf("%s-%d-%s", strings.ReplaceAll(name, " ", "-"), width, scheme)
				tab.Look(width, scheme == "dark")
				tab.Accessible(what)
				tab.Picture(what)
			}
		}
	}
	tab.Look(320, false)
	for _, c := range catalogs {
		for name := range ordinary() {
			open(name, "&brand=1&lang="+c.tag)
			if wide := testenv.Eval[int](tab, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
				t.Errorf("%s in %s: %d pixels wider than the window", name, c.tag, wide)
			}
			if c.tag == "en" {
				tab.Accessible(name + " with a brand")
				tab.Picture("brand-" + strings.ReplaceAll(name, " ", "-"))
			}
		}
	}

	// The list narrows down to what is typed, with or without a name before it.
	open("list", "")
	tab.Press("ann@LABS")
	if got := tab.Text("#domains"); got != "acme-labs.example" {
		t.Errorf("of the list is left %q, want acme-labs.example", got)
	}
}
