package proxy

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// All domains are on the sign-in page where the configuration says so, and nowhere
// else.
func TestDiscoveryList(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, list := range []bool{false, true} {
			o := setup{idps: others, app: "identity_providers: [acme, acme-two]\n    allow: {any_user: true}"}
			if list {
				o.top = "discovery: {list: true}"
			}
			s := newSite(t, rdb, o)
			for path, want := range map[string][]string{
				s.url("sso", "/tools/x"):                         {"acme-labs.example", "acme.example", "other.example"},
				s.url("wiki", "/deep"):                           {"acme-labs.example", "acme.example"}, // the others are not for this app
				s.url("sso", "/.jitgate/login?domain=x.example"): {"acme-labs.example", "acme.example", "other.example"},
			} {
				page, err := s.browser().Open(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, domain := range []string{"acme-labs.example", "acme.example", "other.example"} {
					wanted := list && strings.Contains(strings.Join(want, " "), domain)
					if got := strings.Contains(page.Body, ">"+domain+"</button>"); got != wanted {
						t.Errorf("list: %v: %s shows %s: %v", list, path, domain, got)
					}
				}
				if !list && strings.Contains(page.Body, "<script>") {
					t.Errorf("%s has a script without a list", path)
				}
			}
			if !list {
				continue
			}
			page, err := s.browser().Open(s.url("sso", "/tools/x?a=1"))
			if err != nil {
				t.Fatal(err)
			}
			if page, err = page.Forms[len(page.Forms)-1].Submit("other.example"); err != nil || page.URL.Host != strings.TrimPrefix(s.secondURL, "http://") {
				t.Errorf("a domain of the list leads to %v, %v; want its identity provider", page.URL, err)
			}
		}
	})
}

// What somebody types, or an app knows of them, reaches those identity providers that
// are set up for it.
func TestLoginHint(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idp: ", login_hint: [subject, query]", idps: "  - {name: other, directory: other, login_hint: [subject], metadata: {file: second.xml}}"})
		for _, test := range []struct {
			why, address string
			query, name  string // what the identity provider gets in its URL, and shows as user name
		}{
			{"an address", s.url("sso", "/.jitgate/login?domain=Ann.Ä%2Bx@other.example"), "", "Ann.Ä+x@other.example"},
			{"a domain alone is nobody", s.url("sso", "/.jitgate/login?domain=other.example"), "", ""},
			{"a hint beside a domain", s.url("sso", "/.jitgate/login?domain=other.example&login_hint=ann"), "", "ann"},
			{"by way of another host", s.url("wiki", "/.jitgate/login?idp=acme&login_hint=ann@x.example&rd=/p"), "ann@x.example", "ann@x.example"},
			{"with markup", s.url("sso", "/.jitgate/login?idp=acme&login_hint="+url.QueryEscape(`"><b>&amp;`)), `"><b>&amp;`, `"><b>&amp;`},
			{"too long", s.url("sso", "/.jitgate/login?idp=acme&login_hint="+strings.Repeat("a", 321)), "", ""},
			{"a control character", s.url("sso", "/.jitgate/login?idp=acme&login_hint=a%01b"), "", ""},
			{"a line break", s.url("sso", "/.jitgate/login?idp=acme&login_hint=a%0d%0aX:b"), "", ""},
			{"not UTF-8", s.url("sso", "/.jitgate/login?idp=acme&login_hint=a%ff"), "", ""},
		} {
			page, err := s.browser().Open(test.address)
			if err != nil {
				t.Fatal(err)
			}
			form, ok := page.FormWith("username", "password")
			if !ok {
				t.Errorf("%s: %d at %s, want the identity provider's form", test.why, page.Status, page.URL)
				continue
			}
			if got := form.Values.Get("username"); got != test.name {
				t.Errorf("%s: the identity provider has %q for the name, want %q", test.why, got, test.name)
			}
			if got := page.URL.Query().Get("login_hint"); got != test.query {
				t.Errorf("%s: login_hint = %q, want %q", test.why, got, test.query)
			}
		}
		// A choice in between forgets nothing.
		s = newSite(t, rdb, setup{idp: ", login_hint: [subject, query]", idps: others})
		page, err := s.browser().Open(s.url("sso", "/.jitgate/login?domain=ann@acme.example"))
		if err != nil {
			t.Fatal(err)
		}
		if page, err = page.Follow("acme"); err != nil || page.URL.Query().Get("login_hint") != "ann@acme.example" {
			t.Errorf("after a choice: %v, %v", page.URL, err)
		}
	})
}

// An app can be for the users of some identity providers alone: others are told so,
// and keep their session until they sign in there.
func TestAppIdPs(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{
			idps: strings.ReplaceAll(others, "acme-two,", "acme-two, title: Acme Two,"),
			apps: "  - {name: inner, path: /inner, upstream: UPSTREAM, allow: {any_user: true}, identity_providers: [acme-two]}",
			app:  "identity_providers: [acme-two]\n    allow: {groups: [engineers]}",
		})
		second := strings.TrimPrefix(s.secondURL, "http://")
		for _, address := range []string{s.url("sso", "/inner/deep?a=1"), s.url("wiki", "/deep?a=1")} {
			// There is one alone, so nobody is asked.
			page, err := s.browser().Open(address)
			if err != nil || page.URL.Host != second {
				t.Errorf("%s leads to %v, %v; want the one identity provider of the app", address, page.URL, err)
			}

			b := s.browser()
			if page, err = b.Open(s.url("sso", "/.jitgate/login?idp=acme&rd=/tools/")); err != nil {
				t.Fatal(err)
			}
			form, _ := page.FormWith("username")
			if page, err = form.Set("username", "ann").Set("password", "secret").Submit(); err != nil || page.Status != http.StatusOK {
				t.Fatalf("signing in at acme: %v, %v", page.URL, err)
			}
			if page, err = b.Open(address); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(address, "wiki") { // another host: there is no session there yet
				if page.URL.Host != second {
					t.Errorf("%s leads to %s, want the identity provider", address, page.URL)
				}
				continue
			}
			if page.Status != http.StatusForbidden || !strings.Contains(page.Text(), "sign in at another identity provider") {
				t.Errorf("%s: %d %s", address, page.Status, page.Text())
			}
			res, body := s.get(b, address, "Accept: application/json")
			if res.StatusCode != http.StatusForbidden || !strings.Contains(body, `"error":"forbidden"`) {
				t.Errorf("a script gets %d %s", res.StatusCode, body)
			}
			if now, err := b.Open(s.url("sso", "/tools/")); err != nil || now.Status != http.StatusOK {
				t.Errorf("the session is gone: %d %v", now.Status, err)
			}
			if page, err = page.Follow("Sign in another way"); err != nil || page.URL.Host != second {
				t.Fatalf("the way on leads to %v, %v", page.URL, err)
			}
			form, _ = page.FormWith("username")
			page, err = form.Set("username", "ann").Set("password", "secret").Submit()
			if err != nil || page.URL.String() != address || parseEcho(t, page.Body).Header.Get("X-Forwarded-User") != "ann" {
				t.Errorf("ended at %v, %v, want %s", page.URL, err, address)
			}
		}
		// A domain whose identity providers are not for the app is like one that nobody knows.
		page, err := s.browser().Open(s.url("sso", "/.jitgate/login?domain=other.example&rd=/inner/"))
		if err != nil || page.Status != http.StatusBadRequest || !strings.Contains(page.Text(), "This domain is not known here.") {
			t.Errorf("another domain: %d %v", page.Status, err)
		}
		// Elsewhere there is a choice, by their titles.
		page, err = s.browser().Open(s.url("sso", "/.jitgate/login?domain=acme.example&rd=/tools/"))
		if err != nil || !strings.Contains(page.Text(), "acme Acme Two") {
			t.Errorf("the choice: %s %v", page.Text(), err)
		}
	})
}

// A discovery service is asked instead of the visitor, and what comes back is a choice
// among our identity providers and nothing else.
func TestDiscoveryService(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		const service = "http://localhost:1/disco?lang=en" // where nobody goes
		s := newSite(t, rdb, setup{
			idps: "  - {name: other, directory: other, metadata: {file: second.xml}}", top: "discovery: {service: \"" + service + "\"}",
			apps: "  - {name: inner, path: /inner, upstream: UPSTREAM, allow: {any_user: true}, identity_providers: [acme]}",
		})
		asked := func(address string) url.Values {
			t.Helper()
			for range 3 {
				res, _ := s.get(s.browser(), address, "Accept: text/html", "Sec-Fetch-Mode: navigate")
				address = res.Header.Get("Location")
				if strings.HasPrefix(address, service+"&") {
					u, err := url.Parse(address)
					if err != nil {
						t.Fatal(err)
					}
					return u.Query()
				}
			}
			t.Fatalf("ended at %q, want the discovery service", address)
			return nil
		}
		idp := s.idps["acme"].EntityID()
		for _, end := range []string{s.url("sso", "/tools/x?a=1&b=2"), s.url("wiki", "/deep?c=d"), s.url("sso", "/tools/")} {
			q := asked(end)
			if q.Get("entityID") != s.cfg.SAML.EntityID || q.Get("returnIDParam") != "entityID" || !strings.HasPrefix(q.Get("return"), s.url("sso", "/.jitgate/login?")) {
				t.Errorf("the discovery service is asked with %v", q)
			}
			b := s.browser()
			if strings.Contains(end, "wiki") { // the way back is bound to the browser that began
				page, err := b.Open(s.url("wiki", "/.jitgate/login?idp=other&rd=/x"))
				if err != nil || page.URL.Host != strings.TrimPrefix(s.secondURL, "http://") {
					t.Fatalf("a named identity provider: %v, %v", page.URL, err)
				}
				res, _ := s.get(b, s.url("wiki", "/.jitgate/login?rd=%2Fdeep%3Fc%3Dd"), "Accept: text/html", "Sec-Fetch-Mode: navigate")
				res, _ = s.get(b, res.Header.Get("Location"), "Accept: text/html", "Sec-Fetch-Mode: navigate")
				u, _ := res.Location()
				q = u.Query()
			}
			page, err := b.Open(q.Get("return") + "&entityID=" + url.QueryEscape(idp))
			if err != nil {
				t.Fatal(err)
			}
			form, ok := page.FormWith("username")
			if !ok || page.URL.Host != strings.TrimPrefix(s.idpURL, "http://") {
				t.Fatalf("what was chosen leads to %s: %s", page.URL, page.Text())
			}
			if page, err = form.Set("username", "ann").Set("password", "secret").Submit(); err != nil || page.URL.String() != end {
				t.Errorf("ended at %v, %v, want %s", page.URL, err, end)
			}
		}
		back := asked(s.url("sso", "/tools/x"))["return"][0]
		for why, entityID := range map[string]string{
			"an identity provider that we do not have": "https://evil.example/idp", "a name instead": "acme", "a URL of ours": s.origin,
		} {
			page, err := s.browser().Open(back + "&entityID=" + url.QueryEscape(entityID))
			if err != nil || page.Status != http.StatusBadRequest || page.URL.Host != "sso.example.com:"+s.port || !strings.Contains(page.Text(), "identity provider that was chosen is not known here") {
				t.Errorf("%s: %d at %s, %v", why, page.Status, page.URL, err)
				continue
			}
			if page, err = page.Follow("Try again"); err != nil || page.Status != http.StatusOK || !strings.Contains(page.Text(), "E-mail address or domain") {
				t.Errorf("%s: the way on leads to %d at %v, %v", why, page.Status, page.URL, err)
			}
		}
		// One that the app is not for.
		page, err := s.browser().Open(s.url("sso", "/.jitgate/login?chosen=1&rd=/inner/&entityID=") + url.QueryEscape(s.idps["other"].EntityID()))
		if err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("an identity provider that is not for the app: %d at %v, %v", page.Status, page.URL, err)
		}
		// Nobody chose: then we ask.
		page, err = s.browser().Open(back)
		if err != nil || page.Status != http.StatusOK || !strings.Contains(page.Text(), "E-mail address or domain") {
			t.Errorf("without a choice: %d %s, %v", page.Status, page.Text(), err)
		}
	})
}

// An app in a frame, whose session has ended, says so in there; the way to sign in is
// beside it, and then the frame goes on where it was.
func TestFrame(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.browser()
		framed := []string{"Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}
		address := s.url("wiki", "/deep?a=1&b=<")
		res, body := s.get(b, address, framed...)
		if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors *;") || len(res.Cookies()) != 0 {
			t.Fatalf("in a frame: %d %v", res.StatusCode, res.Header)
		}
		for _, want := range []string{
			`href="` + s.url("wiki", "/.jitgate/login?rd=%2Fdeep%3Fa%3D1%26b%3D%253C") + `" target="_blank" rel="noopener"`,
			`href="` + s.url("wiki", "/deep?a=1&amp;b=%3C") + `"`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("the page in the frame lacks %s:\n%s", want, body)
			}
		}
		_, body = s.get(b, s.url("wiki", "/.jitgate/login?rd=%2Fdeep&idp=acme&other=x"), framed...)
		if want := `href="` + s.url("wiki", "/.jitgate/login?idp=acme&amp;rd=%2Fdeep") + `"`; !strings.Contains(body, want) {
			t.Errorf("the sign-in page in the frame lacks %s:\n%s", want, body)
		}
		if _, err := b.Login(s.url("wiki", "/.jitgate/login?rd=%2Fdeep"), "", "ann", "secret"); err != nil {
			t.Fatal(err)
		}
		if res, body = s.get(b, s.url("wiki", "/deep?a=1&b=%3C"), framed...); res.StatusCode != http.StatusOK || parseEcho(t, body).URI != "/deep?a=1&b=%3C" {
			t.Errorf("signed in, the frame gets %d", res.StatusCode)
		}
		// What is no page in there is told by its status alone.
		res, body = s.get(s.browser(), address, "Accept: application/json", "Sec-Fetch-Dest: iframe")
		if res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "login_required") {
			t.Errorf("no page: %d %s", res.StatusCode, body)
		}
	})
}

// Somebody who took too long at the identity provider gets to where they wanted all
// the same.
func TestLateLogin(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, address := range []string{s.url("wiki", "/deep?a=1"), s.url("sso", "/tools/x?b=2")} {
			b := s.browser()
			page, err := b.Open(address)
			if err != nil {
				t.Fatal(err)
			}
			form, _ := page.FormWith("username")
			s.clock.Add(loginLifetime + time.Minute)
			if page, err = form.Set("username", "ann").Set("password", "secret").Submit(); err != nil || page.Status != http.StatusBadRequest {
				t.Fatalf("too late: %d %v", page.Status, err)
			}
			if page, err = page.Follow("Continue to sign-in"); err != nil || page.URL.String() != address || page.Status != http.StatusOK {
				t.Errorf("ended at %v, %v, want %s", page.URL, err, address)
			}
		}
	})
}

// The pages are as the operator wants them, and a template that is wrong is refused
// before it is used.
func TestBranding(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{idps: others, top: `
branding:
  name: Acme Portal
  colors: {accent: "#a03000"}
  help: {unknown_domain: "Call 555-0100."}`})
	page, err := s.browser().Open(s.url("sso", "/.jitgate/login"))
	if err != nil || !strings.Contains(page.Body, "Acme Portal") || !strings.Contains(page.Body, "--accent: #a03000; --accent-ink: #ffffff;") || !strings.Contains(page.Body, "--accent: #8ab8ff; --accent-ink: #0c1a2e;") {
		t.Errorf("%v: %s", err, page.Body)
	}
	page, err = s.browser().Open(s.url("sso", "/.jitgate/login?chosen=1&entityID=x"))
	if err != nil || !strings.Contains(page.Text(), "Call 555-0100.") {
		t.Errorf("%v: %s", err, page.Text())
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "login.html"), []byte("{{.Nonsense}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := *s.cfg
	cfg.Branding.Templates = dir
	err = s.Gateway.Replace(Options{Config: &cfg, Redis: s.rdb, IdPs: s.idps, Users: s.users, Log: s.log})
	if err == nil || !strings.Contains(err.Error(), "branding.templates: "+filepath.Join(dir, "login.html")) {
		t.Errorf("a template that is wrong: %v", err)
	}
	if page, err = s.browser().Open(s.url("sso", "/.jitgate/login")); err != nil || page.Status != http.StatusOK {
		t.Errorf("afterwards: %d %v", page.Status, err)
	}
}
