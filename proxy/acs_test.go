package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

func postOnly(o *samltest.Options) { o.PostOnly = true }

// atResponse returns a browser that has signed in at the identity provider and
// holds the form with the response, which is to lead to wiki's /deep.
func atResponse(t *testing.T, s *site) (*testenv.Browser, *testenv.Form) {
	t.Helper()
	b := s.browser()
	b.Hold = true
	page, err := b.Login(s.url("wiki", "/deep"), "acme.example", "ann", "secret")
	if err != nil {
		t.Fatal(err)
	}
	form, ok := page.FormWith("SAMLResponse", "RelayState")
	if !ok {
		t.Fatalf("no response at %s: %s", page.URL, page.Text())
	}
	return b, form
}

// expect checks a page of an error, and that nobody is signed in by it.
func expect(t *testing.T, s *site, why string, b *testenv.Browser, page *testenv.Page, err error, status int, code string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", why, err)
		return
	}
	if page.Status != status || !strings.Contains(page.Text(), code) {
		t.Errorf("%s: %d %s, want %d %s", why, page.Status, page.Text(), status, code)
	}
	if n := len(sessionCookies(b, s)); n != 0 {
		t.Errorf("%s: %d session cookies, want none", why, n)
	}
	if strings.Contains(page.Body, "wrong_") || strings.Contains(page.Body, "signature") {
		t.Errorf("%s: the page tells which check failed: %s", why, page.Text())
	}
}

func TestACSRefuses(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others})
		good := func() (*testenv.Browser, *testenv.Form) {
			b := s.browser()
			b.Hold = true
			page, err := b.Login(s.url("sso", "/.jitgate/login?idp=acme&rd=/tools/x"), "", "ann", "secret")
			if err != nil {
				t.Fatal(err)
			}
			form, _ := page.FormWith("SAMLResponse")
			return b, form
		}

		b, form := good()
		tampered := strings.Replace(form.Values.Get("SAMLResponse"), "A", "B", 1)
		page, err := form.Set("SAMLResponse", tampered).Submit()
		expect(t, s, "tampered", b, page, err, 403, "saml_invalid")

		b, form = good()
		page, err = form.Set("SAMLResponse", "garbage!").Submit()
		expect(t, s, "garbage", b, page, err, 403, "saml_invalid")

		b, form = good()
		for _, c := range b.Cookies(s.url("sso", "/")) {
			b.Forget("sso.example.com", c.Name)
		}
		page, err = form.Submit()
		expect(t, s, "no state: another browser's response, or login CSRF", b, page, err, 400, "login_expired")
		if _, err := page.Follow("Continue to sign-in"); err != nil {
			t.Errorf("no way to begin again: %v", err)
		}

		_, foreign := good()
		b, own := good()
		page, err = own.Set("SAMLResponse", foreign.Values.Get("SAMLResponse")).Submit()
		expect(t, s, "C04: answers another browser's request, with a state of this one", b, page, err, 403, "saml_invalid")
		if got := s.logged("login")["check"]; got != "wrong_request" {
			t.Errorf("logged check = %v, want %q", got, "wrong_request")
		}

		b, form = good()
		form.Action.Path = "/.jitgate/saml/other/acs"
		page, err = form.Submit()
		expect(t, s, "C42: state of one identity provider at the ACS of another", b, page, err, 403, "saml_invalid")
		if got := s.logged("login")["check"]; got != "other_identity_provider" {
			t.Errorf("logged check = %v, want %q", got, "other_identity_provider")
		}

		b, form = good()
		s.clock.Add(loginLifetime)
		page, err = form.Submit()
		expect(t, s, "state expired", b, page, err, 400, "login_expired")

		b, form = good()
		for _, c := range b.Cookies(s.url("sso", "/")) {
			if strings.HasPrefix(c.Name, "__Host-jitgate-login-") {
				changed := *c
				changed.Value = strings.Replace(c.Value, "M", "N", 1)
				b.SetCookie(s.url("sso", "/"), &changed)
			}
		}
		page, err = form.Submit()
		expect(t, s, "E03: tampered state", b, page, err, 400, "login_expired")

		b, form = good()
		relay := form.Values.Get("RelayState")
		form.Values.Del("RelayState")
		form.Action.RawQuery = url.Values{"RelayState": {relay}}.Encode()
		page, err = form.Submit()
		expect(t, s, "E10: RelayState in the query", b, page, err, 400, "login_expired")

		_, form = good()
		first, err := form.Submit()
		if err != nil || first.URL.String() != s.url("sso", "/tools/x") {
			t.Fatalf("good: %s, %v", first.URL, err)
		}
		page, err = form.Submit()
		if err != nil || page.Status != 400 || !strings.Contains(page.Text(), "login_expired") {
			t.Errorf("E11: back button after login: %d %s, %v", page.Status, page.Text(), err)
		}
		if page, err = page.Follow("Continue to sign-in"); err != nil || page.Status != 200 {
			t.Errorf("E11: continuing: %v, %v", page, err)
		}
	})
}

// What is not a response at all is refused before anything is looked at.
func TestACSForms(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		acs := s.url("sso", "/.jitgate/saml/acme/acs")
		const form = "application/x-www-form-urlencoded"
		commands := hookStore(rdb)
		for _, test := range []struct {
			why, method, url, kind, body string
			status                       int
		}{
			{"E08: GET", "GET", acs + "?SAMLResponse=x", "", "", 405},
			{"E08: PUT", "PUT", acs, form, "SAMLResponse=x", 405},
			{"HEAD", "HEAD", acs, "", "", 405},
			{"E09: no type", "POST", acs, "", "SAMLResponse=x", 415},
			{"E09: JSON", "POST", acs, "application/json", "{}", 415},
			{"E09: multipart", "POST", acs, "multipart/form-data; boundary=x", "--x--", 415},
			{"E09: text", "POST", acs, "text/plain", "SAMLResponse=x", 415},
			{"no response", "POST", acs, form, "RelayState=x", 400},
			{"response in the query", "POST", acs + "?SAMLResponse=x", form, "RelayState=x", 400},
			{"two responses", "POST", acs, form, "SAMLResponse=x&SAMLResponse=y", 400},
			{"two RelayStates", "POST", acs, form, "SAMLResponse=x&RelayState=y&RelayState=z", 400},
			{"C44: artifact", "POST", acs, form, "SAMLart=x", 400},
			{"C44: artifact beside a response", "POST", acs, form, "SAMLResponse=x&SAMLart=x", 400},
			{"C44: artifact in the query", "POST", acs + "?SAMLart=x", form, "SAMLResponse=x", 400},
			{"not a form", "POST", acs, form, "SAMLResponse=%zz", 400},
			{"B15: too large", "POST", acs, form, "SAMLResponse=" + strings.Repeat("A", 2<<20), 413},
			{"garbage that nobody asked for", "POST", acs, form, "SAMLResponse=garbage", 400},
			{"on an app's host", "POST", s.url("wiki", "/.jitgate/saml/acme/acs"), form, "SAMLResponse=x", 404},
			{"unknown identity provider", "POST", s.url("sso", "/.jitgate/saml/nobody/acs"), form, "SAMLResponse=x", 404},
			{"below the ACS", "POST", acs + "/x", form, "SAMLResponse=x", 404},
			{"another spelling", "POST", s.url("sso", "/.jitgate/SAML/acme/acs"), form, "SAMLResponse=x", 404},
		} {
			req, err := http.NewRequest(test.method, test.url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.kind != "" {
				req.Header.Set("Content-Type", test.kind)
			}
			res, body := s.do(s.browser(), req)
			if res.StatusCode != test.status {
				t.Errorf("%s: %d, want %d: %s", test.why, res.StatusCode, test.status, body)
			}
			if len(res.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: sets %q", test.why, res.Header["Set-Cookie"])
			}
			if test.status == 405 && res.Header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow = %q, want POST", test.why, res.Header.Get("Allow"))
			}
		}
		if n := commands.reset(); n != 0 {
			t.Errorf("%d commands to the store, want none", n)
		}
	})
}

// A response counts once, whoever brings it and however fast.
func TestReplay(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b, form := atResponse(t, s)
		// The browser's cookies, as somebody has them who submits twice.
		var cookies []string
		for _, c := range b.Cookies(s.url("sso", "/")) {
			cookies = append(cookies, c.Name+"="+c.Value)
		}
		body := form.Values.Encode()
		statuses := make([]int, 6)
		var all sync.WaitGroup
		for i := range statuses {
			all.Go(func() {
				req, err := http.NewRequest("POST", form.Action.String(), strings.NewReader(body))
				if err != nil {
					return
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Cookie", strings.Join(cookies, "; "))
				res, err := s.browser().Do(req)
				if err == nil {
					res.Body.Close()
					statuses[i] = res.StatusCode
				}
			})
		}
		all.Wait()
		count := map[int]int{}
		for _, status := range statuses {
			count[status]++
		}
		if count[http.StatusSeeOther] != 1 || count[http.StatusForbidden] != len(statuses)-1 {
			t.Errorf("C03: statuses = %v, want one 303 and the others 403", count)
		}
		if n := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"s:*").Val()); n != 1 {
			t.Errorf("C03: %d sessions, want 1", n)
		}
		page, err := form.Submit()
		if err != nil || page.Status != 403 || !strings.Contains(page.Text(), "saml_replayed") {
			t.Errorf("C01: %d %s, %v", page.Status, page.Text(), err)
		}
		if !strings.Contains(page.Body, s.url("wiki", "/.jitgate/login?rd=%2Fdeep")) {
			t.Errorf("no link to begin again: %s", page.Body)
		}
	})
}

// What the identity provider has to send is said on the page, and in the log.
func TestProvisioningRefusals(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, test := range []struct {
			attribute string
			values    []string
			code      string
			text      string
		}{
			{"email", nil, "attribute_missing", "“email”"},
			{"userName", []string{" "}, "username_missing", "“userName”"},
			{"domain", nil, "domain_missing", "“domain”"},
			{"domain", []string{"other.example"}, "domain_mismatch", "Domain other.example"},
			{"userName", []string{"ann@evil.example"}, "domain_mismatch", "Attribute userName Domain evil.example"},
			{"department", []string{"a", "b"}, "attribute_invalid", "“department”"},
		} {
			before, _ := s.idp.User("ann")
			s.idp.SetAttribute("ann", test.attribute, test.values...)
			b := s.browser()
			page, err := b.Login(s.url("wiki", "/"), "", "ann", "secret")
			s.idp.SetAttribute("ann", test.attribute, before.Attributes[test.attribute]...)
			expect(t, s, test.code, b, page, err, 403, test.code)
			if err == nil && !strings.Contains(strings.Join(strings.Fields(page.Text()), " "), test.text) {
				t.Errorf("%s: %q does not say %s", test.code, page.Text(), test.text)
			}
			if got := s.logged("login"); got["code"] != test.code || got["attribute"] != test.attribute {
				t.Errorf("%s: logged as %v", test.code, got)
			}
			if got := s.logged("audit"); got == nil {
				t.Errorf("%s: not in the audit log", test.code)
			}
		}
	})
}

// The identity provider says no: its own sentence, and no loop.
func TestIdPRefused(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idpSetup: func(o *samltest.Options) {
			o.Adjust = func(m *samltest.Message) {
				m.Status = samltest.Status{Code: samltest.StatusResponder}
				m.Omit, m.SignResponse = samltest.OmitAssertion, true
			}
		}})
		b := s.browser()
		page, err := b.Login(s.url("wiki", "/"), "", "ann", "secret")
		expect(t, s, "E13", b, page, err, 403, "idp_refused")
	})
}

// Responses that nobody asked for, from a link in the identity provider's portal.
func TestUnsolicited(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, mode := range []string{"restart", "accept", "off"} {
			s := newSite(t, rdb, setup{idp: ", idp_initiated: " + mode})
			start := s.idpURL + "/start?sp=" + url.QueryEscape(s.cfg.SAML.EntityID) + "&RelayState="
			for _, test := range []struct{ why, relay, end string }{
				{"a path", "/tools/x?y=1", s.url("sso", "/tools/x?y=1")},
				{"a URL of an app on another host", s.url("wiki", "/deep?y=1"), s.url("wiki", "/deep?y=1")},
				{"a URL of our own host", s.url("sso", "/tools/z"), s.url("sso", "/tools/z")},
				{"nothing", "", s.url("sso", "/.jitgate/session")},
				{"E01: another site", "https://evil.example/", s.url("sso", "/.jitgate/session")},
				{"E01: another site, without a scheme", "//evil.example", s.url("sso", "/.jitgate/session")},
				{"a script", "javascript:alert(1)", s.url("sso", "/.jitgate/session")},
				{"our host, for somebody who reads URLs wrongly", "https://wiki.example.com@evil.example/", s.url("sso", "/.jitgate/session")},
				{"our host with a bad path", s.url("wiki", "//evil.example"), s.url("wiki", "/")},
				{"a token of no login", strings.Repeat("A", 26), s.url("sso", "/.jitgate/session")},
			} {
				b := s.browser()
				page, err := b.Login(start+url.QueryEscape(test.relay), "", "ann", "secret")
				if mode == "off" {
					expect(t, s, mode+": "+test.why, b, page, err, 403, "saml_invalid")
					continue
				}
				if err != nil || page.URL.String() != test.end || page.Status != 200 {
					t.Errorf("%s: %s: ended at %v, %v, want %s", mode, test.why, page.URL, err, test.end)
				}
				posts := strings.Count(strings.Join(b.Trail, "\n"), "POST "+s.url("sso", "/.jitgate/saml/acme/acs"))
				if want := map[string]int{"restart": 2, "accept": 1}[mode]; posts != want {
					t.Errorf("%s: %s: %d responses, want %d\n%s", mode, test.why, posts, want, strings.Join(b.Trail, "\n"))
				}
			}
		}
	})
}

// C06: restart believes nothing of the response: nothing of it is verified, nobody
// is signed in by it, and nothing is stored.
func TestRestartStoresNothing(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		metadata := s.cfg.BaseURL + "/.jitgate/saml/acme/acs"
		forged := s.idp.Good(samltest.SPInfo{EntityID: s.cfg.SAML.EntityID, ACS: metadata}, "", people()[0])
		forged.SignAssertion = false
		text, err := forged.Base64()
		if err != nil {
			t.Fatal(err)
		}
		commands := hookStore(rdb)
		req, _ := http.NewRequest("POST", metadata, strings.NewReader(url.Values{"SAMLResponse": {text}, "RelayState": {"/x"}}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, _ := s.do(s.browser(), req)
		if got, want := res.Header.Get("Location"), s.url("sso", "/.jitgate/login?idp=acme&rd=%2Fx"); res.StatusCode != 303 || got != want {
			t.Errorf("%d to %q, want 303 to %q", res.StatusCode, got, want)
		}
		if n := commands.reset(); n != 0 || len(res.Header["Set-Cookie"]) != 0 {
			t.Errorf("%d commands and %q, want nothing", n, res.Header["Set-Cookie"])
		}
	})
}

// H02: a store that is down while the response arrives.
func TestStoreDownAtACS(t *testing.T) {
	t.Parallel()
	row(t, "H02 the store is down at the ACS", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b, form := atResponse(t, s)
		hook := hookStore(rdb)
		hook.setDown(true)
		page, err := form.Submit()
		expect(t, s, "H02", b, page, err, 503, "store_unavailable")
		if page.Header.Get("Retry-After") == "" || len(page.Header["Set-Cookie"]) != 0 {
			t.Errorf("Retry-After = %q, Set-Cookie = %q, want the first alone", page.Header.Get("Retry-After"), page.Header["Set-Cookie"])
		}
		hook.setDown(false)
		// The state was kept: the same response is good now.
		if page, err = form.Submit(); err != nil || page.URL.String() != s.url("wiki", "/deep") {
			t.Errorf("after the outage: %d at %s, %v", page.Status, page.URL, err)
		}
	})
}

// E06: a fifth login pushes out the first, and the cookies stay below 8 KiB.
func TestParallelLogins(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why  string
			rd   string
			want []bool // of the logins, which can still be finished
		}{
			{"five", "/tools/x", []bool{false, true, true, true, true}},
			{"five to the longest addresses", "/tools/x?" + strings.Repeat("a", maxReturn-9), []bool{false, false, false, true, true}},
		} {
			s := newSite(t, rdb, setup{})
			b := s.browser()
			b.Hold = true
			var forms []*testenv.Form
			for range test.want {
				page, err := b.Login(s.url("sso", "/.jitgate/login?idp=acme&rd="+url.QueryEscape(test.rd)), "", "ann", "secret")
				if err != nil {
					t.Fatal(err)
				}
				form, _ := page.FormWith("SAMLResponse")
				forms = append(forms, form)
				s.clock.Add(time.Second)
			}
			size := 0
			for _, c := range b.Cookies(s.url("sso", "/")) {
				size += len(c.Name) + len(c.Value) + 3
			}
			if size > 6<<10 {
				t.Errorf("%s: %d bytes of cookies", test.why, size)
			}
			for i, form := range forms {
				page, err := form.Submit()
				if err != nil {
					t.Fatal(err)
				}
				if got := page.Status == 200; got != test.want[i] {
					t.Errorf("%s: login %d: %d %s", test.why, i, page.Status, page.Text())
				}
			}
		}
	})
}

// E05: a login makes a new session, and ends the one before, also where its
// cookie does not come with the identity provider's POST.
func TestNewSessionAtLogin(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		before := sessionCookies(b, s)
		if len(before) != 2 {
			t.Fatalf("%d sessions, want one on each host", len(before))
		}
		page, err := b.Open(s.url("sso", "/.jitgate/login?idp=acme&rd=/tools/"))
		if err != nil || page.Status != 200 {
			t.Fatalf("second login: %v %v", page, err)
		}
		after := sessionCookies(b, s)
		if after[0] == before[0] {
			t.Error("the cookie is the same as before")
		}
		for i, value := range before {
			host := []string{"sso", "wiki"}[i]
			res, _ := s.get(s.browser(), s.url(host, map[string]string{"sso": "/tools/", "wiki": "/"}[host]), "Cookie: __Host-jitgate="+value)
			if res.StatusCode != 401 {
				t.Errorf("the session on %s from before the login: %d, want 401", host, res.StatusCode)
			}
		}
	})
}

// E15: no line of the log holds a message, a cookie or a code.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b, form := atResponse(t, s)
		page, err := form.Submit()
		if err != nil || page.Status != 200 {
			t.Fatal(page, err)
		}
		if _, err := form.Submit(); err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		for _, e := range s.logs.All() {
			io.WriteString(&all, e.LoggerName+" "+e.Message)
			for k, v := range e.ContextMap() {
				io.WriteString(&all, " "+k+"=")
				io.WriteString(&all, strings.TrimSpace(toString(v)))
			}
			all.WriteByte('\n')
		}
		if !strings.Contains(all.String(), "login") || !strings.Contains(all.String(), "audit") {
			t.Fatalf("nothing was logged:\n%s", all.String())
		}
		secrets := append(sessionCookies(b, s), form.Values.Get("SAMLResponse")[:40], form.Values.Get("RelayState"), "<saml", "?code=")
		for _, secret := range secrets {
			if strings.Contains(all.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, all.String())
			}
		}
	})
}
