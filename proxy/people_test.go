package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// newPeopleSite is a site for people: on http and with pages that one can look at.
func newPeopleSite(t *testing.T, o setup) *site {
	o.http = true
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), o)
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>app</title><h1 id=app>%s at %s</h1>", r.Header.Get("X-Forwarded-User"), r.RequestURI)
	})
	return s
}

// seesApp waits until a tab is at an app, and looks who it takes for whom.
func seesApp(t *testing.T, tab *testenv.Tab, address, want string) {
	t.Helper()
	tab.At(address)
	if got := tab.Text("#app"); got != want {
		t.Errorf("%s says %q, want %q", address, got, want)
	}
}

const (
	nameField     = "input[name=username]"
	passwordField = "input[name=password]"
	tabKey, enter = "\t", "\r"
)

// signIn fills in the identity provider's form.
func signIn(tab *testenv.Tab, name string) {
	tab.Type(nameField, name)
	tab.Type(passwordField, "secret"+enter)
}

// Somebody without a mouse signs in and out: what is to be typed into has the focus.
func TestPeopleKeyboard(t *testing.T) {
	s := newPeopleSite(t, setup{idps: others})
	tab := testenv.NewTab(t)
	tab.Open(s.url("wiki", "/deep"))
	tab.Focused("#domain")
	tab.Press("acme.example" + enter)
	tab.Has("ul.choices") // two identity providers
	tab.Press(tabKey + tabKey + enter)
	tab.Focused(nameField)
	tab.Press("ann" + tabKey + "secret" + enter)
	seesApp(t, tab, s.url("wiki", "/deep"), "ann at /deep")

	tab.Open(s.url("wiki", "/.jitgate/logout"))
	tab.Focused("form button")
	tab.Press(enter)
	tab.At(s.url("wiki", "/.jitgate/logout?idp=everywhere"))
	tab.Open(s.url("wiki", "/again"))
	tab.See("a.button")
	tab.Focused("#domain")
}

// Somebody whose browser runs no scripts signs in by either binding, and out.
func TestPeopleWithoutScripts(t *testing.T) {
	for name, change := range map[string]func(*samltest.Options){"redirect": nil, "POST": postOnly} {
		t.Run(name, func(t *testing.T) {
			s := newPeopleSite(t, setup{idpSetup: change, top: "discovery: {list: true}", idps: "  - {name: other, directory: other, metadata: {file: second.xml}}"})
			tab := testenv.NewTab(t)
			tab.WithoutScripts()
			tab.Open(s.url("wiki", "/deep"))
			tab.See("#domains button")
			tab.Type("#domain", "ann@acme.example"+enter)
			if change != nil {
				tab.Has("input[name=SAMLRequest]")
				tab.Click("main button") // nobody else submits the form
			}
			tab.See(passwordField)
			signIn(tab, "ann")
			tab.Has("input[name=SAMLResponse]")
			tab.Click("main button") // the identity provider's form
			seesApp(t, tab, s.url("wiki", "/deep"), "ann at /deep")
		})
	}
}

// The back button after a sign-in leads to pages that are over; each has a way on.
func TestPeopleBack(t *testing.T) {
	s := newPeopleSite(t, setup{})
	tab := testenv.NewTab(t)
	tab.Open(s.url("wiki", "/one"))
	signIn(tab, "ann")
	seesApp(t, tab, s.url("wiki", "/one"), "ann at /one")
	tab.Open(s.url("wiki", "/two"))
	tab.Back()
	seesApp(t, tab, s.url("wiki", "/one"), "ann at /one")

	// Further back is what the identity provider posted, which is used up; or, where the
	// browser has kept it, the form to sign in there. Either leads on.
	tab.Back()
	tab.See("a.button, " + passwordField)
	if testenv.Eval[bool](tab, "document.querySelector('input[name=password]') !== null") {
		testenv.Eval[bool](tab, "(document.querySelector('form').reset(), true)")
		signIn(tab, "ann")
		tab.See("a.button")
	}
	tab.Click("a.button") // to continue
	tab.At(s.url("sso", "/.jitgate/session"))
	if got := tab.Text("main"); !strings.Contains(got, "You are signed in") {
		t.Errorf("the way on ends at %q", got)
	}
	tab.Open(s.url("wiki", "/one"))
	seesApp(t, tab, s.url("wiki", "/one"), "ann at /one")
}

// Pages that were left open for 14 minutes, ours and the identity provider's, still lead
// to where one was going.
func TestPeopleSlow(t *testing.T) {
	s := newPeopleSite(t, setup{idps: others})
	tab := testenv.NewTab(t)
	tab.Open(s.url("wiki", "/deep?x=1"))
	tab.See("#domain")
	s.clock.Add(14 * time.Minute)
	tab.Type("#domain", "acme.example"+enter)
	tab.See("ul.choices")
	tab.Click("ul.choices li:first-child a")
	tab.See(passwordField)
	s.clock.Add(14 * time.Minute)
	signIn(tab, "ann")
	seesApp(t, tab, s.url("wiki", "/deep?x=1"), "ann at /deep?x=1")
}

// Five tabs that all ask for a sign-in each get to their own page, in whatever order
// they are dealt with.
func TestPeopleTabs(t *testing.T) {
	s := newPeopleSite(t, setup{})
	tabs := []*testenv.Tab{testenv.NewTab(t)}
	for len(tabs) < 5 {
		tabs = append(tabs, tabs[0].Beside())
	}
	for i, tab := range tabs {
		tab.Open(s.url("wiki", fmt.Sprint("/page", i)))
		tab.See(passwordField)
	}
	for i, tab := range tabs {
		signIn(tab, "ann")
		seesApp(t, tab, s.url("wiki", fmt.Sprint("/page", i)), fmt.Sprint("ann at /page", i))
	}
}

// Two people at one browser, one after the other: the second is not taken for the first,
// in no tab.
func TestPeopleTwo(t *testing.T) {
	s := newPeopleSite(t, setup{})
	tab := testenv.NewTab(t)
	old := tab.Beside()
	tab.Open(s.url("wiki", "/"))
	signIn(tab, "ann")
	seesApp(t, tab, s.url("wiki", "/"), "ann at /")
	old.Open(s.url("sso", "/tools/"))
	seesApp(t, old, s.url("sso", "/tools/"), "ann at /tools/")

	tab.Open(s.url("wiki", "/.jitgate/logout"))
	tab.Click("form button")
	tab.At(s.url("wiki", "/.jitgate/logout?idp=everywhere"))
	tab.Open(s.url("sso", "/tools/"))
	signIn(tab, "bob")
	seesApp(t, tab, s.url("sso", "/tools/"), "bob at /tools/")
	old.Open(s.url("sso", "/tools/"))
	seesApp(t, old, s.url("sso", "/tools/"), "bob at /tools/")
	old.Open(s.url("wiki", "/"))
	old.See("main dl")
	if got := old.Text("main"); !strings.Contains(got, "You do not have access") || !strings.Contains(got, "bob") || strings.Contains(got, "ann") {
		t.Errorf("the first one's page says %q, want that bob has no access", got)
	}
}

// Without cookies nobody can be signed in, and the page says that this may be why.
func TestPeopleWithoutCookies(t *testing.T) {
	s := newPeopleSite(t, setup{})
	tab := testenv.NewTab(t, testenv.WithoutCookies)
	tab.Open(s.url("wiki", "/deep"))
	signIn(tab, "ann")
	tab.At(s.url("sso", "/.jitgate/saml/acme/acs"))
	if got := tab.Text("main"); !strings.Contains(got, "cookies") || !strings.Contains(got, "Continue to sign-in") {
		t.Errorf("the page says %q, want something of cookies, and a way on", got)
	}
}

// A visitor's clock decides nothing: five minutes fast or slow, they sign in, and what
// they have typed is kept and sent.
func TestPeopleClock(t *testing.T) {
	for _, wrong := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		t.Run(wrong.String(), func(t *testing.T) {
			s := newPeopleSite(t, setup{})
			posts := formApp(s, "<form method=post action=/save><input name=a value=b><button>Save</button></form>")
			tab := testenv.NewTab(t)
			tab.Clock(wrong)
			tab.Open(s.url("wiki", "/form"))
			signIn(tab, "ann")
			tab.At(s.url("wiki", "/form"))
			if off := time.Until(time.UnixMilli(testenv.Eval[int64](tab, "Date.now()"))); (off - wrong).Abs() > 30*time.Second {
				t.Fatalf("the clock is %s off, want %s", off, wrong)
			}
			s.clock.Add(2 * time.Hour)
			tab.Click("button")
			tab.Click("#kept a")
			tab.See("#ask")
			tab.Click("#send button")
			tab.At(s.url("wiki", "/thanks"))
			if got := posts(); len(got) != 1 || got[0].body != "a=b" {
				t.Errorf("the app got %q", got)
			}
		})
	}
}

// The console, wide and narrow, light and dark.
func TestPeopleConsole(t *testing.T) {
	s := newPeopleSite(t, setup{top: "admin: {groups: [engineers]}"})
	s.signedIn("bob", s.url("sso", "/tools/"))
	s.idp.SetAttribute("bob", "email")
	if _, err := s.browser().Login(s.url("sso", "/tools/"), "", "bob", "secret"); err != nil {
		t.Fatal(err)
	}
	s.writeTally()
	tab := testenv.NewTab(t)
	tab.Open(s.url("sso", "/tools/"))
	signIn(tab, "ann")
	tab.See("#app")
	paths := append([]string{"/user?directory=acme&id=" + s.userID("bob"), "/ask?do=block&directory=acme&user=" + s.userID("bob")}, consolePaths...)
	for _, path := range paths {
		tab.Open(s.url("sso", consoleRoot+path))
		for _, width := range []int64{320, 768, 1440} {
			for _, dark := range []bool{false, true} {
				tab.Look(width, dark)
				tab.Accessible(fmt.Sprintf("%s at %d, dark: %v", path, width, dark))
			}
		}
	}
	tab.Look(1440, false)
	tab.Open(s.url("sso", consoleRoot))
	tab.Press(tabKey + enter) // over the menu
	if got := testenv.Eval[string](tab, "location.hash"); got != "#main" {
		t.Errorf("the first link leads to %q, want #main", got)
	}
}
