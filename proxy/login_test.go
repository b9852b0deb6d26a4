package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A whole login: deep link, discovery, identity provider, hand-over to the
// app's host, and the app with the user's headers.
func TestLogin(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.browser()
		page, err := b.Login(s.url("wiki", "/page%20one?a=1&b=%2F&c=x;y"), "", "ann", "secret")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := page.URL.String(), s.url("wiki", "/page%20one?a=1&b=%2F&c=x;y"); got != want {
			t.Errorf("login ended at %s, want %s\n%s", got, want, strings.Join(b.Trail, "\n"))
		}
		e := parseEcho(t, page.Body)
		if want := "/page%20one?a=1&b=%2F&c=x;y"; e.URI != want {
			t.Errorf("the app was asked for %q, want %q", e.URI, want)
		}
		for header, want := range map[string]string{
			"X-Forwarded-User":       "ann",
			"X-Forwarded-Email":      "ann@acme.example",
			"X-Forwarded-Groups":     "a%2Cb,engineers",
			"X-Jitgate-Directory":    "acme",
			"X-Jitgate-Domain":       "acme.example",
			"X-Jitgate-Entitlements": "wiki",
			"X-Forwarded-Proto":      "https",
			"X-Forwarded-Host":       "wiki.example.com:" + s.port,
			"X-Forwarded-For":        "127.0.0.1",
		} {
			if got := e.Header.Get(header); got != want {
				t.Errorf("%s = %q, want %q", header, got, want)
			}
		}
		if got, want := e.Host, "wiki.example.com:"+s.port; got != want {
			t.Errorf("Host = %q, want %q", got, want)
		}
		if id := e.Header.Get("X-Request-Id"); len(id) != 32 || id != page.Header.Get("X-Request-Id") {
			t.Errorf("X-Request-Id = %q, want 32 digits, the same as in the answer: %q", id, page.Header.Get("X-Request-Id"))
		}
		if e.Header.Get("Cookie") != "" {
			t.Errorf("Cookie = %q, want none", e.Header.Get("Cookie"))
		}
		if got := s.logged("login"); got["user"] != "ann" || got["idp"] != "acme" || got["directory"] != "acme" || got["created"] != true {
			t.Errorf("login was logged as %v", got)
		}

		// The gateway's own host knows the login too, without another one.
		page, err = b.Open(s.url("sso", "/tools/x"))
		if err != nil || page.Status != http.StatusOK || parseEcho(t, page.Body).Header.Get("X-Forwarded-User") != "ann" {
			t.Errorf("on the gateway's own host: %d %v", page.Status, err)
		}
	})
}

// others are two more identity providers: one for another directory, and one
// more for acme's.
const others = `
  - {name: other, directory: other, metadata: {file: second.xml}}
  - {name: acme-two, directory: acme, metadata: {file: second.xml}}`

func TestDiscovery(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others})
		b := s.browser()
		page, err := b.Open(s.url("wiki", "/deep?x=1"))
		if err != nil {
			t.Fatal(err)
		}
		form, ok := page.FormWith("domain")
		if !ok || page.Status != http.StatusOK || page.URL.Host != "sso.example.com:"+s.port {
			t.Fatalf("%d at %s, want the discovery page on the gateway's own host", page.Status, page.URL)
		}

		// An unknown domain: the same page, with what was typed.
		page, err = form.Set("domain", "ann@unknown.example").Submit()
		if err != nil {
			t.Fatal(err)
		}
		if form, ok = page.FormWith("domain"); !ok || page.Status != http.StatusBadRequest || !strings.Contains(page.Text(), "This domain is not known here.") {
			t.Fatalf("unknown domain: %d %s", page.Status, page.Text())
		}
		if got := form.Values.Get("domain"); got != "ann@unknown.example" {
			t.Errorf("what was typed is now %q", got)
		}
		eventually(t, "unknown_domain logged", func() bool { return s.logged("request")["code"] == "unknown_domain" })

		// A domain with two identity providers: the visitor chooses.
		page, err = form.Set("domain", " Ann@ACME.example. ").Submit()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page.Text(), "acme.example") || page.Status != http.StatusOK {
			t.Fatalf("two identity providers: %d %s", page.Status, page.Text())
		}
		page, err = page.Follow("acme-two")
		if err != nil {
			t.Fatal(err)
		}
		if page.URL.Host != strings.TrimPrefix(s.secondURL, "http://") {
			t.Fatalf("at %s, want the identity provider", page.URL)
		}

		// The way back, with the deep link.
		login, ok := page.FormWith("username", "password")
		if !ok {
			t.Fatalf("no login form: %s", page.Text())
		}
		page, err = login.Set("username", "ann").Set("password", "secret").Submit()
		if err != nil || page.URL.String() != s.url("wiki", "/deep?x=1") || page.Status != http.StatusOK {
			t.Fatalf("login ended at %s with %d, %v", page.URL, page.Status, err)
		}

		// The next time, the domain is one click away.
		b.Forget("sso.example.com", "__Host-jitgate")
		b.Forget("wiki.example.com", "__Host-jitgate")
		if page, err = b.Open(s.url("wiki", "/again")); err != nil {
			t.Fatal(err)
		}
		if page, err = page.Follow("Continue with acme.example"); err != nil {
			t.Fatal(err)
		}
		if page, err = page.Follow("acme-two"); err != nil || page.URL.String() != s.url("wiki", "/again") {
			t.Errorf("remembered domain: ended at %v, %v", page.URL, err)
		}
	})
}

func TestDiscoveryShortcuts(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others})
		acme, second := strings.TrimPrefix(s.idpURL, "http://"), strings.TrimPrefix(s.secondURL, "http://")
		own := "sso.example.com:" + s.port
		for _, test := range []struct {
			why, path string
			host      string // where it leads
			status    int
			text      string
		}{
			{"a domain with one identity provider starts at once", "?domain=other.example", second, 200, ""},
			{"so does an address", "?domain=x@other.example", second, 200, ""},
			{"and a hint", "?login_hint=x@other.example", second, 200, ""},
			{"and a named identity provider", "?idp=acme", acme, 200, ""},
			{"a domain with two asks", "?domain=acme.example", own, 200, "Choose how to sign in"},
			{"nothing asks", "", own, 200, "E-mail address or domain"},
			{"an unknown identity provider", "?idp=nobody", own, 400, "Bad request"},
			{"a name from elsewhere", "?idp=../acme", own, 400, "Bad request"},
			{"CVE-2026-40574: two @", "?domain=a@evil@other.example", own, 400, "not known"},
			{"not a subdomain", "?domain=x.other.example", own, 400, "not known"},
			{"not with something after it", "?domain=other.example.evil", own, 400, "not known"},
			{"not a part of it", "?domain=example", own, 400, "not known"},
			{"only an @", "?domain=@", own, 400, "not known"},
			{"a sealed target that is none", "?to=MTIz", own, 400, "expired"},
		} {
			page, err := s.browser().Open(s.url("sso", "/.jitgate/login"+test.path))
			if err != nil {
				t.Fatal(err)
			}
			if page.URL.Host != test.host || test.host == own && page.Status != test.status || !strings.Contains(page.Text(), test.text) {
				t.Errorf("%s: %d at %s: %s", test.why, page.Status, page.URL, page.Text())
			}
			if test.host != own && page.URL.Query().Get("RelayState") == "" {
				t.Errorf("%s: no RelayState at %s", test.why, page.URL)
			}
		}
		// On an app's host, the same goes to our own host first.
		page, err := s.browser().Open(s.url("wiki", "/.jitgate/login?login_hint=x@other.example"))
		if err != nil || page.URL.Host != second {
			t.Errorf("hint on an app's host: ended at %v, %v", page, err)
		}
	})
}

// The POST binding: a page with a form that submits itself.
func TestPostBinding(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idpSetup: postOnly})
		page, err := s.browser().Login(s.url("wiki", "/deep"), "", "ann", "secret")
		if err != nil || page.URL.String() != s.url("wiki", "/deep") || page.Status != http.StatusOK {
			t.Errorf("ended at %v, %v", page.URL, err)
		}
	})
}

// On http (a demo, or a developer's machine), everything works without Secure.
func TestLoginPlain(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{http: true})
		b := s.browser()
		page, err := b.Login(s.url("wiki", "/deep"), "", "ann", "secret")
		if err != nil || page.URL.String() != s.url("wiki", "/deep") || page.Status != http.StatusOK {
			t.Fatalf("ended at %v, %v", page, err)
		}
		for _, c := range b.Cookies(s.url("wiki", "/")) {
			if c.Secure || strings.HasPrefix(c.Name, "__Host-") {
				t.Errorf("cookie %s is for https", c.Name)
			}
		}
	})
}

// What the browser is told of our cookies.
func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, plain := range []bool{false, true} {
			s := newSite(t, rdb, setup{http: plain, idps: others})
			b := s.browser()
			b.Hold = true
			prefix, secure := "__Host-", "; Secure"
			if plain {
				prefix, secure = "", ""
			}
			res, _ := s.get(b, s.url("sso", "/.jitgate/login?domain=other.example"), "Sec-Fetch-Mode: navigate", "Accept: text/html")
			cookies := map[string]string{}
			for _, c := range res.Header.Values("Set-Cookie") {
				name, rest, _ := strings.Cut(c, "=")
				_, attributes, _ := strings.Cut(rest, ";")
				cookies[name] = attributes
			}
			for name, attributes := range cookies {
				want := " Path=/; Max-Age=31536000; HttpOnly" + secure + "; SameSite=Lax"
				if strings.HasPrefix(name, prefix+"jitgate-login-") {
					// Without https there is no SameSite=None; without SameSite,
					// browsers send it with the identity provider's POST for two minutes.
					if want = " Path=/; Max-Age=7200; HttpOnly" + secure; !plain {
						want += "; SameSite=None"
					}
				} else if name != prefix+"jitgate-domain" {
					t.Errorf("unexpected cookie %s", name)
				}
				if attributes != want {
					t.Errorf("%s: %q, want %q", name, attributes, want)
				}
			}
			if len(cookies) != 2 {
				t.Errorf("cookies = %v, want a login and a domain", cookies)
			}
			res, _ = s.get(b, s.url("wiki", "/.jitgate/login"), "Sec-Fetch-Mode: navigate", "Accept: text/html")
			if got, want := res.Header.Get("Set-Cookie"), "; Path=/; Max-Age=1860; HttpOnly"+secure+"; SameSite=Lax"; !strings.HasPrefix(got, prefix+"jitgate-return=") || !strings.HasSuffix(got, want) {
				t.Errorf("Set-Cookie = %q, want %q", got, want)
			}
		}
	})
}

// The way back to another host is bound to the browser that began there.
func TestHandoverIsBound(t *testing.T) {
	t.Parallel()
	row(t, "E23 a one-time code of another browser, another host or another time", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		// code lets ann sign in for wiki in b, and takes the code that she would
		// use there.
		code := func(b *testenv.Browser) string {
			t.Helper()
			res, _ := s.get(b, s.url("wiki", "/.jitgate/login?rd=/x"), "Sec-Fetch-Mode: navigate", "Accept: text/html")
			res, _ = s.get(b, res.Header.Get("Location"), "Sec-Fetch-Mode: navigate", "Accept: text/html")
			location := res.Header.Get("Location")
			if !strings.HasPrefix(location, s.url("wiki", "/.jitgate/return?code=")) {
				t.Fatalf("%d, sent to %q, want the app's host: %v", res.StatusCode, location, s.logged("request"))
			}
			return location
		}
		ann := s.signedIn("ann", s.url("sso", "/tools/"))

		stolen := code(ann)
		page, err := s.browser().Open(stolen)
		if err != nil || page.Status != http.StatusBadRequest || !strings.Contains(page.Text(), "login_expired") {
			t.Errorf("another browser's code: %d %s, %v", page.Status, page.Text(), err)
		}
		other := s.browser()
		if _, err := other.Open(s.url("wiki", "/.jitgate/login")); err != nil { // has a nonce of its own
			t.Fatal(err)
		}
		if page, err = other.Open(code(ann)); err != nil || page.Status != http.StatusBadRequest || len(sessionCookies(other, s)) != 0 {
			t.Errorf("another browser's code, with a nonce: %d, %v", page.Status, err)
		}
		bob := s.signedIn("bob", s.url("sso", "/tools/"))
		if _, err := bob.Open(s.url("wiki", "/.jitgate/login")); err != nil || len(sessionCookies(bob, s)) != 2 {
			t.Fatalf("bob has %d sessions, %v", len(sessionCookies(bob, s)), err)
		}
		if page, err = bob.Open(code(ann)); err != nil || page.Status != http.StatusBadRequest || !strings.Contains(page.Text(), "You are signed in") {
			t.Errorf("the code in the browser of somebody else who is signed in: %d %s, %v", page.Status, page.Text(), err)
		}
		if page, err = ann.Open(stolen); err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("a code that was used: %d, %v", page.Status, err)
		}
		elsewhere := strings.Replace(code(ann), "wiki.example.com", "sso.example.com", 1)
		if page, err = ann.Open(elsewhere); err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("a code for another host: %d, %v", page.Status, err)
		}
		// Two pages of her browser want to sign in, and both come back.
		first, late := code(ann), code(ann)
		if page, err = ann.Open(first); err != nil || page.URL.String() != s.url("wiki", "/x") {
			t.Errorf("her own code: %s, %v", page.URL, err)
		}
		if page, err = ann.Open(late); err != nil || page.URL.String() != s.url("wiki", "/x") {
			t.Errorf("the second page: %d at %s, %v", page.Status, page.URL, err)
		}
		// Signed out in between: the code is worth nothing.
		ann.Forget("wiki.example.com", "__Host-jitgate")
		last := code(ann)
		signOut(t, s, ann, s.url("sso", ""))
		if page, err = ann.Open(last); err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("a code after signing out: %d, %v", page.Status, err)
		}
	})
}

// sessionCookies returns the session cookies that a browser has.
func sessionCookies(b *testenv.Browser, s *site) (values []string) {
	for _, host := range []string{"sso", "wiki"} {
		for _, c := range b.Cookies(s.url(host, "/")) {
			if c.Name == s.jar.sessionName() {
				values = append(values, c.Value)
			}
		}
	}
	return values
}

func signOut(t *testing.T, s *site, b *testenv.Browser, origin string) {
	t.Helper()
	page, err := b.Open(origin + "/.jitgate/logout")
	if err != nil || len(page.Forms) != 1 {
		t.Fatalf("signing out: %v %v", page, err)
	}
	if page, err = page.Forms[0].Submit(); err != nil || page.Status != http.StatusOK || !strings.Contains(page.Text(), "signed out") {
		t.Fatalf("signing out: %d %s %v", page.Status, page.Text(), err)
	}
}

// A target that was sealed long ago is begun anew on its host, not lost.
func TestStaleDiscoveryPage(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others})
		b := s.browser()
		page, err := b.Open(s.url("wiki", "/deep"))
		if err != nil {
			t.Fatal(err)
		}
		form, _ := page.FormWith("domain")
		s.clock.Add(loginLifetime)
		b.Forget("wiki.example.com", "__Host-jitgate-return")
		page, err = form.Set("domain", "acme.example").Submit()
		if err != nil {
			t.Fatal(err)
		}
		if page, err = page.Follow("acme"); err != nil {
			t.Fatal(err)
		}
		login, _ := page.FormWith("username")
		page, err = login.Set("username", "ann").Set("password", "secret").Submit()
		if err != nil || page.URL.String() != s.url("wiki", "/deep") {
			t.Errorf("ended at %s, %v", page.URL, err)
		}
	})
}

// The longest addresses that are kept come back too, whatever they are made of.
func TestLongAddresses(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, c := range []string{"a", "&", "'", "%22", "%3C"} {
			deep := s.url("wiki", "/x?"+strings.Repeat(c, (maxReturn-3)/len(c)))
			page, err := s.browser().Login(deep, "", "ann", "secret")
			if err != nil || page.URL.String() != deep {
				t.Errorf("of %q: ended at %.80s, %v", c, page.URL, err)
			}
		}
		page, err := s.browser().Login(s.url("wiki", "/x?"+strings.Repeat("a", maxReturn)), "", "ann", "secret")
		if err != nil || page.URL.String() != s.url("wiki", "/x") {
			t.Errorf("too long: ended at %.80s, %v", page.URL, err)
		}
	})
}
