package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// twoIdPs is a configuration for two identity providers. Its verbs are Redis'
// address, the two metadata URLs, and the upstream.
const twoIdPs = `
redis: {addresses: [%q]}
attributes:
  - {name: userName}
  - {name: email, required: true}
  - {name: department, absent: clear}
directories:
  - {name: acme, domains: [acme.example]}
  - {name: globex, domains: [globex.example]}
identity_providers:
  - name: acme
    directory: acme
    metadata: {url: %q, refresh: 1s}
    groups: {attribute: groups, allow: ["eng-*", "diseño"]}
  - name: globex
    directory: globex
    metadata: {url: %q, refresh: 1s}
    encryption: {allow: [aes128-cbc, aes256-cbc, unsigned-response]}
groups:
  - name: engineers
    rule: {attribute: department, is: Engineering}
    entitlements: [builds]
apps:
  - {name: any, path: /, upstream: %q, allow: {any_user: true}, public: [/open]}
  - {name: builds, path: /builds, upstream: %[4]q, allow: {entitlements: [builds]}}
`

// A realSite is a gateway between two real SimpleSAMLphp and a real Redis.
type realSite struct {
	*replica
	acme, globex *testenv.SimpleSAMLIdP
	rest         string
	site         *site
}

func newRealSite(t *testing.T) *realSite {
	t.Helper()
	s := &realSite{site: newSite(t)}
	s.acme = testenv.SimpleSAML(t, testenv.SimpleSAMLOptions{Users: testenv.SimpleSAMLUsers("acme.example")})
	s.globex = testenv.SimpleSAML(t, testenv.SimpleSAMLOptions{Users: testenv.SimpleSAMLUsers("globex.example")})
	redis := testenv.RedisServer(t)
	s.rest = fmt.Sprintf(twoIdPs, redis.Addr, s.acme.MetadataURL, s.globex.MetadataURL, echoUpstream(t).URL)
	s.replica = s.site.start("gateway.localhost", 0, s.rest)
	s.acme.AddSP([]byte(output(t, "metadata", "-c", s.file, "--idp", "acme")))
	s.globex.AddSP([]byte(output(t, "metadata", "-c", s.file, "--idp", "globex")))
	return s
}

// login signs in with a fresh browser and returns where that ended.
func (s *realSite) login(t *testing.T, path, domain, user string) (*testenv.Browser, *testenv.Page) {
	t.Helper()
	b := testenv.NewBrowser(t, nil)
	page, err := b.Login(s.base+path, domain, user, "secret")
	if err != nil {
		t.Fatalf("signing in as %s at %s: %v", user, domain, err)
	}
	return b, page
}

func (s *realSite) spEntityID() string { return s.base + "/.jitgate/saml" }

// awaitMetadata waits until the gateway has seen whether acme takes messages by
// POST alone.
func (s *realSite) awaitMetadata(t *testing.T, postOnly bool) {
	t.Helper()
	testenv.Eventually(t, func() error {
		req, err := http.NewRequest(http.MethodGet, s.base+"/.jitgate/login?idp=acme", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		res, err := testenv.NewBrowser(t, nil).Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if posts := res.StatusCode == http.StatusOK; posts != postOnly {
			return fmt.Errorf("the gateway sends requests by POST: %v, want %v", posts, postOnly)
		}
		return nil
	})
}

// signOut signs out at the gateway and returns where that ends.
func (s *realSite) signOut(t *testing.T, b *testenv.Browser) *testenv.Page {
	t.Helper()
	page, err := b.Open(s.base + "/.jitgate/logout")
	if err == nil && len(page.Forms) == 1 {
		page, err = page.Forms[0].Submit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// wantSignedOut checks that a browser has no session here.
func wantSignedOut(t *testing.T, s *realSite, b *testenv.Browser) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.base+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a request after signing out: %d, want 401", res.StatusCode)
	}
}

// refused checks that page is an error page with the code, and that the browser
// has no session.
func refused(t *testing.T, b *testenv.Browser, page *testenv.Page, status int, code string) {
	t.Helper()
	if page.Status != status || !strings.Contains(page.Body, code) {
		t.Errorf("status %d: %s, want %d with the code %q", page.Status, page.Text(), status, code)
	}
	for _, c := range b.Cookies(page.URL.String()) {
		if c.Name == "jitgate" {
			t.Errorf("there is a session cookie after a refused sign-in")
		}
	}
}

func TestRealIdPs(t *testing.T) {
	t.Parallel()
	s := newRealSite(t)

	t.Run("sign-in at each", func(t *testing.T) {
		_, page := s.login(t, "/reports?week=47&q=a%20b", "alice@acme.example", "alice")
		got := reached(t, page)
		if got.URL != "/reports?week=47&q=a%20b" {
			t.Errorf("landed on %q, want the page first asked for", got.URL)
		}
		got.wantHeaders(t, map[string]string{
			"X-Forwarded-User":       "alice@acme.example",
			"X-Forwarded-Email":      "alice@acme.example",
			"X-Forwarded-Groups":     "eng-core,engineers",
			"X-Jitgate-Directory":    "acme",
			"X-Jitgate-Domain":       "acme.example",
			"X-Jitgate-Entitlements": "builds",
			"Cookie":                 "",
		})
		_, page = s.login(t, "/", "globex.example", "alice")
		reached(t, page).wantHeaders(t, map[string]string{
			"X-Forwarded-User":    "alice@globex.example",
			"X-Forwarded-Groups":  "engineers", // globex' groups are not taken over
			"X-Jitgate-Directory": "globex",
		})
		_, page = s.login(t, "/", "acme.example", "jose")
		reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-Groups": "diseño"})
	})

	t.Run("changes at the IdP show after the next sign-in", func(t *testing.T) {
		_, page := s.login(t, "/builds", "acme.example", "bob")
		if page.Status != http.StatusForbidden || !strings.Contains(page.Body, "forbidden") {
			t.Errorf("bob of sales at /builds: status %d, want 403", page.Status)
		}
		s.acme.SetAttribute("bob", "department", "Engineering")
		s.acme.SetAttribute("bob", "groups", "eng-infra", "eng-core", "staff")
		_, page = s.login(t, "/builds", "acme.example", "bob")
		reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-Groups": "eng-core,eng-infra,engineers"})
		u := s.user(t, "bob@acme.example")
		if got := fmt.Sprint(u["groups"]); got != "[eng-core eng-infra engineers]" {
			t.Errorf("users show: groups %s, want [eng-core eng-infra engineers]", got)
		}
		if got := fmt.Sprint(u["attributes"]); !strings.Contains(got, "department:[Engineering]") {
			t.Errorf("users show: attributes %s, want the new department", got)
		}
		// Gone from the assertion: the attribute says clear.
		s.acme.SetAttribute("bob", "department")
		_, page = s.login(t, "/", "acme.example", "bob")
		reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-Groups": "eng-core,eng-infra", "X-Jitgate-Entitlements": ""})
	})

	t.Run("a user of one IdP cannot claim the other's domain", func(t *testing.T) {
		mallory := testenv.SimpleSAMLUsers("globex.example")["alice"]
		mallory.Attributes["domain"] = []string{"globex.example"}
		s.acme.SetUser("mallory", mallory)
		b, page := s.login(t, "/", "acme.example", "mallory")
		refused(t, b, page, http.StatusForbidden, "domain_mismatch")
		// Nor by the e-mail address alone.
		s.acme.SetAttribute("mallory", "domain", "acme.example")
		s.acme.SetAttribute("mallory", "userName", "mallory@acme.example")
		b, page = s.login(t, "/", "acme.example", "mallory")
		refused(t, b, page, http.StatusForbidden, "domain_mismatch")
	})

	t.Run("everything that it can sign and encrypt", func(t *testing.T) {
		for _, o := range []testenv.SimpleSAMLOptions{
			{Sign: "response"},
			{Sign: "both"},
			{Encrypt: "aes128-gcm", Sign: "both"},
			{Encrypt: "aes256-gcm", Sign: "response"},
			{Encrypt: "aes128-cbc", Sign: "both"},
			{Encrypt: "aes256-cbc"}, // in an unsigned Response, as Entra ID and AD FS send
			{NameID: "transient"},
			{NameID: "emailAddress", AttributeFormat: "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"},
		} {
			s.globex.Configure(o)
			_, page := s.login(t, "/", "globex.example", "bob")
			if page.Status != http.StatusOK {
				t.Errorf("%+v: status %d: %s", o, page.Status, page.Text())
				continue
			}
			reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-User": "bob@globex.example"})
		}
		// What is not allowed at acme is refused there.
		for _, o := range []testenv.SimpleSAMLOptions{
			{Encrypt: "aes128-cbc", Sign: "both"},
			{Encrypt: "aes128-gcm"},
			{Sign: "none"},
			{SignatureMethod: "http://www.w3.org/2000/09/xmldsig#rsa-sha1"},
			{Lifetime: -600e9},
		} {
			s.acme.Configure(o)
			b, page := s.login(t, "/", "acme.example", "alice")
			refused(t, b, page, http.StatusForbidden, "saml_invalid")
		}
		s.acme.Configure(testenv.SimpleSAMLOptions{})
		s.globex.Configure(testenv.SimpleSAMLOptions{})
	})

	t.Run("a key rolled over by metadata", func(t *testing.T) {
		before := strings.Count(s.stderr.String(), "metadata loaded")
		s.acme.StageKey()
		testenv.Eventually(t, func() error {
			if strings.Count(s.stderr.String(), "metadata loaded") == before {
				return fmt.Errorf("the gateway has not seen the second certificate")
			}
			return nil
		})
		_, page := s.login(t, "/", "acme.example", "alice")
		reached(t, page)
		s.acme.SwitchKey()
		_, page = s.login(t, "/", "acme.example", "alice")
		reached(t, page)
	})

	t.Run("begun at the IdP", func(t *testing.T) {
		b := testenv.NewBrowser(t, nil)
		page, err := b.Login(s.acme.StartURL(s.spEntityID(), s.base+"/reports?week=1"), "", "alice", "secret")
		if err != nil {
			t.Fatal(err)
		}
		got := reached(t, page)
		if got.URL != "/reports?week=1" {
			t.Errorf("landed on %q, want what RelayState asked for", got.URL)
		}
		// Elsewhere it never leads.
		for _, evil := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"} {
			page, err := testenv.NewBrowser(t, nil).Login(s.acme.StartURL(s.spEntityID(), evil), "", "alice", "secret")
			if err != nil {
				t.Fatal(err)
			}
			if got := reached(t, page); got.URL != "/" {
				t.Errorf("RelayState %q landed on %q, want /", evil, got.URL)
			}
		}
	})

	t.Run("a response counts once", func(t *testing.T) {
		b := testenv.NewBrowser(t, nil)
		b.Hold = true
		page, err := b.Login(s.base+"/", "acme.example", "alice", "secret")
		if err != nil {
			t.Fatal(err)
		}
		form, ok := page.FormWith("SAMLResponse", "RelayState")
		if !ok {
			t.Fatalf("no response at %s: %s", page.URL, page.Text())
		}
		state := b.Cookies(s.base + "/")
		page, err = form.Submit()
		if err != nil {
			t.Fatal(err)
		}
		reached(t, page)

		// In another browser: it never began a sign-in.
		other := testenv.NewBrowser(t, nil)
		refused(t, other, postForm(t, other, form.Action.String(), form.Values), http.StatusBadRequest, "login_expired")
		// In one that has the state cookie of the first: the response is used up.
		for _, c := range state {
			if err := other.SetCookie(s.base+"/", c); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, other, postForm(t, other, form.Action.String(), form.Values), http.StatusForbidden, "saml_replayed")
	})

	t.Run("signing out here signs out there", func(t *testing.T) {
		for _, postOnly := range []bool{false, true} {
			s.acme.Configure(testenv.SimpleSAMLOptions{PostOnly: postOnly})
			s.awaitMetadata(t, postOnly)
			b, page := s.login(t, "/", "acme.example", "alice")
			reached(t, page)
			page = s.signOut(t, b)
			if page.Status != http.StatusOK || !strings.Contains(page.Text(), "signed out here and at your organisation’s identity provider") {
				t.Errorf("POST alone %v: status %d at %s: %s", postOnly, page.Status, page.URL, page.Text())
			}
			wantSignedOut(t, s, b)
			if page, err := b.Open(s.base + "/.jitgate/login?idp=acme"); err != nil || !strings.Contains(page.Body, "password") {
				t.Errorf("POST alone %v: the IdP lets alice in again without a password: %v", postOnly, err)
			}
		}
		s.acme.Configure(testenv.SimpleSAMLOptions{})
		s.awaitMetadata(t, false)
	})

	t.Run("signing out there signs out here", func(t *testing.T) {
		metadata := output(t, "metadata", "-c", s.file, "--idp", "acme")
		byPost := regexp.MustCompile(`.*SingleLogoutService Binding="[^"]*Redirect".*\n`).ReplaceAllString(metadata, "")
		if byPost == metadata {
			t.Fatalf("no single logout service in %s", metadata)
		}
		for _, sp := range []string{metadata, byPost} {
			s.acme.AddSP([]byte(sp))
			for _, nameID := range []string{"persistent", "transient", "emailAddress"} {
				s.acme.Configure(testenv.SimpleSAMLOptions{NameID: nameID})
				b, page := s.login(t, "/", "acme.example", "alice")
				reached(t, page)
				phone, _ := s.login(t, "/", "acme.example", "alice")
				page, err := b.Open(s.acme.LogoutURL())
				if err != nil || page.Status != http.StatusOK || page.URL.Path != "/logout.php" {
					t.Fatalf("%s: %v at %v: %s", nameID, err, page.URL, page.Text())
				}
				wantSignedOut(t, s, b)
				if page, err := phone.Open(s.base + "/"); err != nil || page.Status != http.StatusOK || page.URL.Path != "/" {
					t.Errorf("%s: the phone is signed out too: %v, %v", nameID, page.URL, err)
				}
			}
		}
		s.acme.AddSP([]byte(metadata))
		s.acme.Configure(testenv.SimpleSAMLOptions{})
	})

	t.Run("tampered and garbled responses", func(t *testing.T) {
		for name, change := range map[string]func(string) string{
			"another user": func(s string) string {
				message, _ := base64.StdEncoding.DecodeString(s)
				return base64.StdEncoding.EncodeToString(bytes.ReplaceAll(message, []byte("alice@acme.example"), []byte("admin@acme.example")))
			},
			"cut short":       func(s string) string { return s[:len(s)/2] },
			"not XML":         func(string) string { return "aGVsbG8=" },
			"not even base64": func(string) string { return "<Response/>" },
			"empty":           func(string) string { return "" },
		} {
			b := testenv.NewBrowser(t, nil)
			b.Hold = true
			page, err := b.Login(s.base+"/", "acme.example", "alice", "secret")
			if err != nil {
				t.Fatal(err)
			}
			form, _ := page.FormWith("SAMLResponse")
			form.Values.Set("SAMLResponse", change(form.Values.Get("SAMLResponse")))
			page, err = form.Submit()
			if err != nil {
				t.Fatal(err)
			}
			if page.Status != http.StatusForbidden && page.Status != http.StatusBadRequest {
				t.Errorf("%s: status %d, want 400 or 403", name, page.Status)
			}
			if strings.Contains(page.Text(), "digest") || strings.Contains(page.Text(), "XML") {
				t.Errorf("%s: the page tells why: %s", name, page.Text())
			}
		}
		_, page := s.login(t, "/", "acme.example", "alice")
		reached(t, page)
	})
}

// postForm sends form fields as another site's page would.
func postForm(t *testing.T, b *testenv.Browser, action string, values url.Values) *testenv.Page {
	t.Helper()
	page, err := b.Post(action, values)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// TestReplicas runs two gateways on one Redis, behind one name: what one began
// the other finishes.
func TestReplicas(t *testing.T) {
	t.Parallel()
	s := newRealSite(t)
	one := s.replica
	two := s.site.start("gateway.localhost", one.listen, s.rest)
	direct := fmt.Sprintf("http://gateway.localhost:%d", two.listen)

	// Begun at one, the response goes to the other one.
	b := testenv.NewBrowser(t, nil)
	b.Hold = true
	page, err := b.Login(one.base+"/", "acme.example", "alice", "secret")
	if err != nil {
		t.Fatal(err)
	}
	form, ok := page.FormWith("SAMLResponse")
	if !ok {
		t.Fatalf("no response at %s: %s", page.URL, page.Text())
	}
	form.Action, err = url.Parse(strings.Replace(form.Action.String(), one.base, direct, 1))
	if err != nil {
		t.Fatal(err)
	}
	page, err = form.Submit()
	if err != nil {
		t.Fatal(err)
	}
	reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-User": "alice@acme.example"})

	// The session of the one is good at the other, and ends at both.
	for _, base := range []string{one.base, direct} {
		page, err := b.Open(base + "/")
		if err != nil {
			t.Fatal(err)
		}
		reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-User": "alice@acme.example"})
	}
	page, err = b.Open(direct + "/.jitgate/logout")
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Forms) != 1 {
		t.Fatalf("the logout page has %d forms: %s", len(page.Forms), page.Text())
	}
	if _, err = page.Forms[0].Submit(); err != nil {
		t.Fatal(err)
	}
	page, err = b.Open(one.base + "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := page.FormWith("domain"); !ok {
		t.Errorf("signed out at one gateway, the other shows %s: %s", page.URL, page.Text())
	}
	if one.stop() != 0 || two.stop() != 0 {
		t.Error("a gateway did not end with status 0")
	}
}
