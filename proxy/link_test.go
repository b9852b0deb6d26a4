package proxy

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// linkSite is one with apps that were behind Shibboleth and Mellon before.
func linkSite(t *testing.T, rdb redis.UniversalClient) *site {
	return newSite(t, rdb, setup{
		idps: "  - {name: acme-two, directory: acme, metadata: {file: second.xml}}",
		app:  "headers: {preset: shibboleth}\n    allow: {any_user: true}",
		apps: "  - {name: inner, host: wiki.example.com, path: /inner, upstream: UPSTREAM, headers: {preset: mellon}, endpoint: /inner/sso, allow: {any_user: true}}\n" +
			"  - {name: fwd, host: sso.example.com, path: /fwd, forward_auth: true, headers: {preset: mellon}, allow: {any_user: true}}\n",
		top: "trusted_proxies: [192.0.2.0/24]",
	})
}

// Where an app's links for signing in and out lead to.
func TestLinks(t *testing.T) {
	t.Parallel()
	s := linkSite(t, testenv.Client(t, testenv.Embedded(t).Addr()))
	b := s.browser()
	login, sso := s.url("wiki", "/.jitgate/login"), s.url("sso", "/.jitgate/login")
	for _, test := range []struct{ host, from, to string }{
		{"wiki", "/Shibboleth.sso/Login", login},
		{"wiki", "/Shibboleth.sso/Login?target=" + url.QueryEscape("/x?a=1&b"), login + "?rd=" + url.QueryEscape("/x?a=1&b")},
		{"wiki", "/Shibboleth.sso/Login?target=" + url.QueryEscape(s.url("wiki", "/x?a=1#b")), login + "?rd=" + url.QueryEscape("/x?a=1")},
		{"wiki", "/Shibboleth.sso/Login?target=" + url.QueryEscape("/é x?a=é#b"), login + "?rd=" + url.QueryEscape("/%C3%A9%20x?a=%C3%A9")},
		{"wiki", "/Shibboleth.sso/Login?target=" + url.QueryEscape(`/\evil.example`), login + "?rd=%2F"},
		{"wiki", "/Shibboleth.sso/Login?target=" + url.QueryEscape("///evil.example"), login + "?rd=%2F"},
		{"wiki", "/Shibboleth.sso/Login?target=http%3A%2F%2FWIKI.example.com%2Fx", login + "?rd=%2Fx"}, // as an app has it that knows nothing of TLS
		{"wiki", "/Shibboleth.sso/Login?target=" + url.QueryEscape(s.url("sso", "")), sso + "?rd=%2F"},
		{"wiki", "/Shibboleth.sso/Login?target=%2F%2Fsso.example.com%2Fx", sso + "?rd=%2Fx"},
		{"wiki", "/Shibboleth.sso/Login?target=relative", login + "?rd=%2F"},
		{"wiki", "/Shibboleth.sso/Login?entityID=" + url.QueryEscape("https://idp.example?a&b"), login + "?entityID=" + url.QueryEscape("https://idp.example?a&b")},
		{"wiki", "/Shibboleth.sso/Logout?return=%2Fx", s.url("wiki", "/.jitgate/logout")},
		{"wiki", "/Shibboleth.sso/Logout?=%2Fx", s.url("wiki", "/.jitgate/logout")},
		{"wiki", "/inner/sso/login?ReturnTo=%2Finner%2Fx&IdP=i", login + "?entityID=i&rd=%2Finner%2Fx"},
		{"wiki", "/inner/sso/logout?ReturnTo=%2Fx", s.url("wiki", "/.jitgate/logout")},
		{"sso", "/mellon/login?ReturnTo=%2Ffwd%2Fx", sso + "?rd=%2Ffwd%2Fx"},
	} {
		res, body := s.get(b, s.url(test.host, test.from))
		if res.StatusCode != http.StatusFound || res.Header.Get("Location") != test.to {
			t.Errorf("%s: %d to %q, want %q: %s", test.from, res.StatusCode, res.Header.Get("Location"), test.to, body)
		}
	}
	for _, target := range []string{"https://evil.example/", "//evil.example/", "https:evil.example", "javascript:alert(1)", "ftp://wiki.example.com/", "https://ann@evil.example/", "https://wiki.example.com:x/", "%zz"} {
		res, _ := s.get(b, s.url("wiki", "/Shibboleth.sso/Login?target="+url.QueryEscape(target)))
		if res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
			t.Errorf("target %q: %d to %q, want 400", target, res.StatusCode, res.Header.Get("Location"))
		}
	}
	// What is near to them is the app's.
	for _, path := range []string{"/Shibboleth.sso/Session", "/Shibboleth.sso/Login/x", "/Shibboleth.sso", "/shibboleth.sso/Login", "/mellon/login"} {
		if res, _ := s.get(b, s.url("wiki", path)); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", path, res.StatusCode)
		}
	}
	if res, _ := s.get(b, s.url("sso", "/Shibboleth.sso/Login")); res.StatusCode != http.StatusNotFound {
		t.Errorf("on a host without the preset: %d, want 404", res.StatusCode)
	}
	for method, want := range map[string]int{http.MethodHead: http.StatusFound, http.MethodPost: http.StatusSeeOther, http.MethodPut: http.StatusMethodNotAllowed} {
		req, err := http.NewRequest(method, s.url("wiki", "/Shibboleth.sso/Logout"), strings.NewReader("csrf=x"))
		if err != nil {
			t.Fatal(err)
		}
		if res, _ := s.do(b, req); res.StatusCode != want || (res.Header.Get("Location") == s.url("wiki", "/.jitgate/logout")) == (want == http.StatusMethodNotAllowed) {
			t.Errorf("%s: %d to %q, want %d", method, res.StatusCode, res.Header.Get("Location"), want)
		}
	}

	// A proxy that asks is told where to send the visitor, unless it takes that for "sign in".
	for target, want := range map[string]int{"/.jitgate/auth?redirect=1": http.StatusFound, "/.jitgate/auth": http.StatusForbidden} {
		res := s.asksAbout("192.0.2.7", target, "", "X-Forwarded-Host: sso.example.com", "X-Forwarded-Uri: /mellon/logout?ReturnTo=/")
		if to := res.Header.Get("Location"); res.StatusCode != want || want == http.StatusFound && to != s.url("sso", "/.jitgate/logout") {
			t.Errorf("%s: %d to %q, want %d", target, res.StatusCode, to, want)
		}
	}
}

// By an app's own links a visitor signs in, at the identity provider that they say, and
// out again.
func TestLinksSignInAndOut(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := linkSite(t, rdb)
		b := s.browser()
		page, err := b.Open(s.url("wiki", "/Shibboleth.sso/Login?target="+url.QueryEscape("/inner/x?a=1")+"&entityID="+url.QueryEscape(s.second.EntityID())))
		if err != nil {
			t.Fatal(err)
		}
		form, ok := page.FormWith("username", "password")
		if !ok || page.URL.Host != strings.TrimPrefix(s.secondURL, "http://") {
			t.Fatalf("%d at %s, want the form of the second identity provider", page.Status, page.URL)
		}
		form.Values.Set("username", "ann")
		form.Values.Set("password", "secret")
		if page, err = form.Submit(); err != nil || page.URL.String() != s.url("wiki", "/inner/x?a=1") {
			t.Fatalf("%v at %s, want to go on where the app said", err, page.URL)
		}
		_, body := s.get(b, s.url("wiki", "/x"))
		var seen struct{ Header http.Header }
		if err := json.Unmarshal([]byte(body), &seen); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if got := seen.Header.Get("Shib-Handler"); got != s.url("wiki", "/Shibboleth.sso") {
			t.Errorf("Shib-Handler: %q", got)
		}
		ends, err := strconv.ParseInt(seen.Header.Get("Shib-Session-Expires"), 10, 64)
		if left := time.Unix(ends, 0).Sub(s.clock.Now()); err != nil || left > s.cfg.Session.Lifetime || left < s.cfg.Session.Lifetime-time.Minute {
			t.Errorf("Shib-Session-Expires: %q, which is in %s", seen.Header.Get("Shib-Session-Expires"), left)
		}
		if page, err = b.Open(seen.Header.Get("Shib-Handler") + "/Logout?return=/"); err != nil || len(page.Forms) == 0 {
			t.Fatalf("%v at %s: %s", err, page.URL, page.Text())
		}
		if page, err = page.Forms[0].Submit(); err != nil || page.Status != http.StatusOK {
			t.Fatalf("%v, %d at %s", err, page.Status, page.URL)
		}
		if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("signed out: %d, want 401", res.StatusCode)
		}
	})
}
