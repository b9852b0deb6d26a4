package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/net/html"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// Rows of part E of the catalogue of attacks that are not the subject of a test of
// their own.

// navigate is get for somebody who goes to a page.
func (s *site) navigate(b *testenv.Browser, address string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	return s.get(b, address, append(headers, "Sec-Fetch-Mode: navigate", "Accept: text/html")...)
}

// handover begins a login on wiki in the browser of somebody who is signed in on
// our own host, and returns the address with the one-time code that it leads to.
func (s *site) handover(b *testenv.Browser) string {
	s.t.Helper()
	res, _ := s.navigate(b, s.sealedTarget(b))
	location := res.Header.Get("Location")
	if !strings.HasPrefix(location, s.url("wiki", "/.jitgate/return?code=")) {
		s.t.Fatalf("%d, sent to %q, want wiki with a code", res.StatusCode, location)
	}
	return location
}

// sealedTarget begins a login on wiki, and returns the address on our own host
// that the browser is sent to.
func (s *site) sealedTarget(b *testenv.Browser) string {
	s.t.Helper()
	res, _ := s.navigate(b, s.url("wiki", "/.jitgate/login?rd=/x"))
	location := res.Header.Get("Location")
	if !strings.HasPrefix(location, s.url("sso", "/.jitgate/login?to=")) {
		s.t.Fatalf("%d, sent to %q, want our own host with a target", res.StatusCode, location)
	}
	return location
}

// What a visitor brings goes to the identity provider in no other form than ours.
func TestSentToIdP(t *testing.T) {
	t.Parallel()
	row(t, "E02 return target that would add a parameter", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, rd := range []string{"/tools/x", "/tools/x?a&SigAlg=evil&RelayState=evil&Signature=evil"} {
			res, _ := s.navigate(s.browser(), s.url("sso", "/.jitgate/login?idp=acme&rd="+url.QueryEscape(rd)))
			checkSent(t, s, res)
			page, err := s.browser().Login(s.url("sso", "/.jitgate/login?idp=acme&rd="+url.QueryEscape(rd)), "", "ann", "secret")
			if err != nil || page.URL.String() != s.url("sso", rd) {
				t.Errorf("ended at %v, %v, want %s", page, err, rd)
			}
		}
	})
	row(t, "E14 parameters that would weaken the AuthnRequest's signature", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, query := range []string{"", "&SigAlg=http%3A%2F%2Fwww.w3.org%2F2000%2F09%2Fxmldsig%23rsa-sha1", "&Signature=", "&RelayState=evil&SAMLRequest=evil"} {
			res, _ := s.navigate(s.browser(), s.url("sso", "/.jitgate/login?idp=acme"+query))
			checkSent(t, s, res)
		}
	})
}

// checkSent checks that an answer sends to the identity provider a request that is
// signed with SHA-256, with each parameter once and nothing of a visitor's.
func checkSent(t *testing.T, s *site, res *http.Response) {
	t.Helper()
	to, err := res.Location()
	if err != nil || res.StatusCode != 303 || !strings.HasPrefix(to.String(), s.idpURL) {
		t.Fatalf("%d to %v, %v, want the identity provider", res.StatusCode, to, err)
	}
	var names []string
	for pair := range strings.SplitSeq(to.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	if want := []string{"SAMLRequest", "RelayState", "SigAlg", "Signature"}; !slices.Equal(names, want) {
		t.Errorf("parameters = %q, want %q", names, want)
	}
	if got, want := to.Query().Get("SigAlg"), "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"; got != want {
		t.Errorf("SigAlg = %q, want %q", got, want)
	}
	if strings.Contains(to.String(), "evil") {
		t.Errorf("what the visitor brought is in %q", to)
	}
}

// A one-time code is used once and seen by nobody else.
func TestOneTimeCode(t *testing.T) {
	t.Parallel()
	row(t, "E17 a one-time code in Referer", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		address := s.handover(ann)
		_, code, _ := strings.Cut(address, "code=")
		hook := hookStore(rdb)
		for _, test := range []struct {
			why    string
			down   bool
			status int
		}{
			{"the store is down: the code may be good still", true, 503},
			{"the honest twin", false, 303},
			{"once more", false, 400},
		} {
			hook.setDown(test.down)
			res, body := s.navigate(ann, address)
			hook.setDown(false)
			if res.StatusCode != test.status {
				t.Errorf("%s: %d, want %d", test.why, res.StatusCode, test.status)
			}
			// Even same-origin would tell the app.
			if got := res.Header.Get("Referrer-Policy"); got != "no-referrer" {
				t.Errorf("%s: Referrer-Policy = %q, want no-referrer", test.why, got)
			}
			if strings.Contains(res.Header.Get("Location")+body, code) {
				t.Errorf("%s: the answer holds the code", test.why)
			}
		}
	})
	row(t, "E20 a one-time code that is exchanged six times at once", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		address := s.handover(ann)
		cookie := s.cookie(ann) // the nonce
		statuses := make([]int, 6)
		sets := make([]int, len(statuses))
		var all sync.WaitGroup
		for i := range statuses {
			b := s.browser()
			all.Go(func() {
				req, err := http.NewRequest("GET", address, nil)
				if err != nil {
					return
				}
				req.Header.Set("Cookie", cookie)
				if res, err := b.Do(req); err == nil {
					res.Body.Close()
					statuses[i], sets[i] = res.StatusCode, len(res.Cookies())
				}
			})
		}
		all.Wait()
		won, refused := 0, 0
		for i, status := range statuses {
			switch {
			case status == 303 && sets[i] == 1:
				won++
			case status == 400 && sets[i] == 0:
				refused++
			}
		}
		if won != 1 || refused != len(statuses)-1 {
			t.Errorf("statuses = %v with %v cookies, want one 303 with a cookie and the others 400", statuses, sets)
		}
		if n := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val()); n != 2 {
			t.Errorf("%d sessions, want one on each host", n)
		}
	})
}

// No script of another site reads what the gateway answers.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	row(t, "E18 scripts of another origin at the gateway's own addresses", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		ann := s.signedIn("ann", s.url("wiki", "/"))
		for _, path := range []string{"/session", "/login", "/logout", "/return?code=x", "/saml/acme/metadata", "/saml/acme/acs", "/nothing"} {
			for _, host := range []string{"sso", "wiki"} {
				address := s.url(host, "/.jitgate"+path)
				for _, origin := range []string{"https://evil.example", "null", s.url("wiki", ""), s.url("sso", "")} {
					for _, method := range []string{"GET", "POST", "OPTIONS"} {
						req, err := http.NewRequest(method, address, nil)
						if err != nil {
							t.Fatal(err)
						}
						req.Header.Set("Origin", origin)
						req.Header.Set("Sec-Fetch-Mode", "cors")
						req.Header.Set("Sec-Fetch-Site", "cross-site")
						req.Header.Set("Access-Control-Request-Method", "POST")
						res, _ := s.do(ann, req)
						for name := range res.Header {
							if strings.HasPrefix(name, "Access-Control-") {
								t.Errorf("%s %s from %s: %s = %q", method, address, origin, name, res.Header[name])
							}
						}
						if method == "OPTIONS" && res.StatusCode < 400 {
							t.Errorf("a preflight to %s from %s: %d", address, origin, res.StatusCode)
						}
					}
				}
			}
		}
		if page, err := ann.Open(s.url("wiki", "/.jitgate/session")); err != nil || page.Status != 200 || !strings.Contains(page.Text(), "ann") {
			t.Errorf("the honest twin, still signed in: %v, %v", page, err)
		}
		// What an app allows is its own affair.
		s.upstream.answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "https://friend.example")
		})
		res, _ := s.get(ann, s.url("wiki", "/x"), "Origin: https://friend.example")
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "https://friend.example" {
			t.Errorf("the app's Access-Control-Allow-Origin = %q", got)
		}
	})
}

// Pages show what a visitor brings as text.
func TestInjection(t *testing.T) {
	t.Parallel()
	row(t, "E19 markup in the parameters of the sign-in page", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others})
		for _, text := range []string{
			"ann@unknown.example", // the honest twin
			`"><script>alert(1)</script>`,
			`' onmouseover='alert(1)`,
			`" autofocus onfocus="alert(1)`,
			`</title></style><img src=x onerror=alert(1)>`,
			`javascript:alert(1)`,
			`{{.Site}}${7*7}`,
			`<base href=//evil.example>`,
		} {
			for _, name := range []string{"domain", "login_hint"} {
				page, err := s.browser().Open(s.url("sso", "/.jitgate/login?"+url.Values{name: {text}}.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				checkMarkup(t, name+" "+text, page)
				if form, ok := page.FormWith("domain"); !ok || page.Status != 400 || form.Values.Get("domain") != text {
					t.Errorf("%s %q: %d, not to be corrected on the page", name, text, page.Status)
				}
			}
			for _, query := range []url.Values{{"rd": {text}}, {"rd": {"/" + text}}, {"rd": {"/?" + text}, "domain": {"acme.example"}}, {"to": {text}}, {"idp": {text}}, {"code": {text}}} {
				for _, path := range []string{"/login?", "/return?", "/session?", "/logout?"} {
					page, err := s.browser().Open(s.url("sso", "/.jitgate"+path+query.Encode()))
					if err != nil {
						t.Fatal(err)
					}
					checkMarkup(t, path+query.Encode(), page)
				}
			}
		}
	})
}

// checkMarkup checks that a page has no element or attribute that is not ours.
func checkMarkup(t *testing.T, why string, page *testenv.Page) {
	t.Helper()
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe-") {
		t.Errorf("%s: Content-Security-Policy = %q", why, policy)
	}
	doc, err := html.Parse(strings.NewReader(page.Body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "img", "iframe", "base", "object", "embed"}, n.Data) {
			t.Errorf("%s: an element %s: %s", why, n.Data, page.Body)
		}
		for _, a := range n.Attr {
			link := a.Key == "href" || a.Key == "src" || a.Key == "action"
			if strings.HasPrefix(a.Key, "on") || link && strings.HasPrefix(strings.ToLower(a.Val), "javascript:") {
				t.Errorf("%s: an attribute %s=%q", why, a.Key, a.Val)
			}
		}
	}
}

// A session is good on the host that it was made for.
func TestSessionOfAnotherHost(t *testing.T) {
	t.Parallel()
	row(t, "E21 the session cookie of one host on another", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: notes, host: notes.example.com, upstream: "UPSTREAM", allow: {any_user: true}}`})
		ann := s.signedIn("ann", s.url("wiki", "/"))
		cookies := sessionCookies(ann, s)
		paths := map[string]string{"sso": "/tools/", "wiki": "/x", "notes": "/x"}
		for i, from := range []string{"sso", "wiki"} {
			for host, path := range paths {
				want := 401
				if host == from {
					want = 200 // the honest twin
				}
				asked := s.upstream.requests()
				res, _ := s.get(s.browser(), s.url(host, path), "Cookie: __Host-jitgate="+cookies[i])
				if res.StatusCode != want {
					t.Errorf("the cookie of %s on %s: %d, want %d", from, host, res.StatusCode, want)
				}
				if n := s.upstream.requests() - asked; (n == 1) != (want == 200) {
					t.Errorf("the cookie of %s on %s: %d requests reached the app", from, host, n)
				}
				if host == from {
					continue
				}
				if _, body := s.navigate(s.browser(), s.url(host, "/.jitgate/session"), "Cookie: __Host-jitgate="+cookies[i]); strings.Contains(body, "ann@acme.example") {
					t.Errorf("the cookie of %s tells on %s who it is", from, host)
				}
			}
		}
		if got := sessionCookies(ann, s); !slices.Equal(got, cookies) {
			t.Error("her own sessions have changed")
		}
	})
}

// sealedIn returns the sealed target that an address carries.
func sealedIn(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Query().Get("to") == "" {
		t.Fatalf("no target in %q, %v", address, err)
	}
	return u.Query().Get("to")
}

// A sealed target leads where it was sealed for, in its time.
func TestSealedTarget(t *testing.T) {
	t.Parallel()
	row(t, "E22 a sealed target after its time, changed, or for another host", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: notes, host: notes.example.com, upstream: "UPSTREAM", allow: {any_user: true}}`})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		if page, err := ann.Open(s.handover(ann)); err != nil || page.URL.String() != s.url("wiki", "/x") {
			t.Errorf("the honest twin: %v, %v", page, err)
		}
		ann.Forget("wiki.example.com", "__Host-jitgate")

		address := s.sealedTarget(ann)
		to := sealedIn(t, address)
		elsewhere, err := s.jar.sealTarget(target{Host: "evil.example", Return: "/"})
		if err != nil {
			t.Fatal(err)
		}
		state, err := seal(s.jar.logins, "to", target{Host: "wiki.example.com", Return: "/", Time: s.clock.Now()})
		if err != nil {
			t.Fatal(err)
		}
		for why, sealed := range map[string]string{"changed": to[:40] + to[41:], "for a host that is not served": elsewhere, "sealed for another purpose": state} {
			res, _ := s.navigate(ann, s.url("sso", "/.jitgate/login?to="+url.QueryEscape(sealed)))
			if res.StatusCode != 400 || res.Header.Get("Location") != "" {
				t.Errorf("%s: %d to %q, want 400", why, res.StatusCode, res.Header.Get("Location"))
			}
		}
		// An app's host seals one of its own, whatever it is brought.
		res, _ := s.navigate(ann, s.url("notes", "/.jitgate/login?to="+url.QueryEscape(to)))
		if end, ok := s.jar.openTarget(sealedIn(t, res.Header.Get("Location"))); !ok || end.Host != "notes.example.com" || end.Return != "/" {
			t.Errorf("on another host: it leads to %+v", end)
		}
		// A parameter beside it changes nothing.
		if page, err := ann.Open(address + "&rd=%2Fevil"); err != nil || page.URL.String() != s.url("wiki", "/x") {
			t.Errorf("with another path beside it: %v, %v", page, err)
		}
		ann.Forget("wiki.example.com", "__Host-jitgate")
		// After its time it makes no code, and its host is asked to begin anew.
		codes := func() int { return len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"code:*").Val()) }
		before := codes()
		s.clock.Add(loginLifetime + time.Second)
		res, _ = s.navigate(ann, address)
		if got, want := res.Header.Get("Location"), s.url("wiki", "/.jitgate/login?rd=%2Fx"); res.StatusCode != 303 || got != want {
			t.Errorf("after its time: %d to %q, want %q", res.StatusCode, got, want)
		}
		if n := codes() - before; n != 0 {
			t.Errorf("%d codes more, want none", n)
		}
	})
}
