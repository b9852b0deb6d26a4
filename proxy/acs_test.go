package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
		// attack changes an honest response, or the browser that brings it.
		attack := func(name string, status int, code, check string, change func(b *testenv.Browser, form *testenv.Form)) {
			t.Run(name, func(t *testing.T) {
				_, form := good()
				if page, err := form.Submit(); err != nil || page.URL.String() != s.url("sso", "/tools/x") || page.Status != 200 {
					t.Fatalf("the honest twin: %v, %v", page, err)
				}
				b, form := good()
				change(b, form)
				page, err := form.Submit()
				expect(t, s, name, b, page, err, status, code)
				if got := s.logged("login")["check"]; check != "" && got != check {
					t.Errorf("logged check = %v, want %q", got, check)
				}
			})
		}
		attack("A04 a response that was tampered with", 403, "saml_invalid", "", func(_ *testenv.Browser, form *testenv.Form) {
			form.Set("SAMLResponse", strings.Replace(form.Values.Get("SAMLResponse"), "A", "B", 1))
		})
		attack("B18 garbage in place of base64", 403, "saml_invalid", "encoding", func(_ *testenv.Browser, form *testenv.Form) {
			form.Set("SAMLResponse", "garbage!")
		})
		attack("C02 another browser's response", 400, "login_expired", "", func(b *testenv.Browser, _ *testenv.Form) {
			for _, c := range b.Cookies(s.url("sso", "/")) {
				b.Forget("sso.example.com", c.Name)
			}
		})
		attack("C04 an answer to another browser's request, with a state of this one", 403, "saml_invalid", "wrong_request", func(_ *testenv.Browser, form *testenv.Form) {
			_, foreign := good()
			form.Set("SAMLResponse", foreign.Values.Get("SAMLResponse"))
		})
		attack("C42 state of one identity provider at the ACS of another", 403, "saml_invalid", "other_identity_provider", func(_ *testenv.Browser, form *testenv.Form) {
			form.Action.Path = "/.jitgate/saml/other/acs"
		})
		attack("E03 state that was tampered with", 400, "login_expired", "", func(b *testenv.Browser, _ *testenv.Form) {
			changeState(s, b, func(value string) string { return strings.Replace(value, "M", "N", 1) })
		})
		attack("E03 state of another browser's login under the name of this one's", 400, "login_expired", "", func(b *testenv.Browser, form *testenv.Form) {
			other, _ := good()
			foreign := ""
			changeState(s, other, func(value string) string { foreign = value; return value })
			changeState(s, b, func(string) string { return foreign })
		})
		attack("E10 RelayState in the query", 400, "login_expired", "", func(_ *testenv.Browser, form *testenv.Form) {
			relay := form.Values.Get("RelayState")
			form.Values.Del("RelayState")
			form.Action.RawQuery = url.Values{"RelayState": {relay}}.Encode()
		})
		t.Run("E03 state that has expired", func(t *testing.T) {
			_, honest := good()
			s.clock.Add(loginLifetime - time.Second)
			if page, err := honest.Submit(); err != nil || page.Status != 200 {
				t.Errorf("the honest twin, a second before: %v, %v", page, err)
			}
			b, form := good()
			s.clock.Add(loginLifetime)
			page, err := form.Submit()
			expect(t, s, "expired", b, page, err, 400, "login_expired")
			if _, err := page.Follow("Continue to sign-in"); err != nil {
				t.Errorf("no way to begin again: %v", err)
			}
		})
		t.Run("E12 a login that takes 14 minutes", func(t *testing.T) {
			_, form := good()
			s.clock.Add(loginLifetime - time.Minute)
			if page, err := form.Submit(); err != nil || page.Status != 200 || page.URL.String() != s.url("sso", "/tools/x") {
				t.Errorf("%v, %v, want it finished", page, err)
			}
		})
		t.Run("E04 an attacker's response, posted in the victim's browser", func(t *testing.T) {
			_, stolen := good()
			victim := s.browser()
			page, err := victim.Post(stolen.Action.String(), stolen.Values)
			expect(t, s, "no login under way", victim, page, err, 400, "login_expired")
			victim, own := good() // and while the victim signs in
			stolen.Values.Set("RelayState", own.Values.Get("RelayState"))
			page, err = victim.Post(stolen.Action.String(), stolen.Values)
			expect(t, s, "with the victim's state", victim, page, err, 403, "saml_invalid")
			if page, err := own.Submit(); err != nil || page.Status != 400 {
				t.Errorf("the state was used up: %v, %v, want 400", page, err)
			}
			_, honest := good()
			if page, err := honest.Submit(); err != nil || page.URL.String() != s.url("sso", "/tools/x") {
				t.Errorf("the honest twin: %v, %v", page, err)
			}
		})
		t.Run("E11 the back button after a login", func(t *testing.T) {
			_, form := good()
			first, err := form.Submit()
			if err != nil || first.URL.String() != s.url("sso", "/tools/x") {
				t.Fatalf("the honest twin: %s, %v", first.URL, err)
			}
			page, err := form.Submit()
			if err != nil || page.Status != 400 || !strings.Contains(page.Text(), "login_expired") {
				t.Errorf("%d %s, %v", page.Status, page.Text(), err)
			}
			if page, err = page.Follow("Continue to sign-in"); err != nil || page.Status != 200 {
				t.Errorf("continuing: %v, %v", page, err)
			}
		})
	})
}

// changeState changes the cookie of the login that a browser has under way.
func changeState(s *site, b *testenv.Browser, change func(value string) string) {
	for _, c := range b.Cookies(s.url("sso", "/")) {
		if strings.HasPrefix(c.Name, "__Host-jitgate-login-") {
			changed := *c
			changed.Value = change(c.Value)
			b.SetCookie(s.url("sso", "/"), &changed)
		}
	}
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
			{"E08 GET", "GET", acs + "?SAMLResponse=x", "", "", 405},
			{"E08 PUT", "PUT", acs, form, "SAMLResponse=x", 405},
			{"E08 HEAD", "HEAD", acs, "", "", 405},
			{"E09 no type", "POST", acs, "", "SAMLResponse=x", 415},
			{"E09 JSON", "POST", acs, "application/json", "{}", 415},
			{"E09 multipart", "POST", acs, "multipart/form-data; boundary=x", "--x--", 415},
			{"E09 text", "POST", acs, "text/plain", "SAMLResponse=x", 415},
			{"E16 no response", "POST", acs, form, "RelayState=x", 400},
			{"E16 response in the query", "POST", acs + "?SAMLResponse=x", form, "RelayState=x", 400},
			{"E16 two responses", "POST", acs, form, "SAMLResponse=x&SAMLResponse=y", 400},
			{"E16 two RelayStates", "POST", acs, form, "SAMLResponse=x&RelayState=y&RelayState=z", 400},
			{"C44 artifact", "POST", acs, form, "SAMLart=x", 400},
			{"C44 artifact beside a response", "POST", acs, form, "SAMLResponse=x&SAMLart=x", 400},
			{"C44 artifact in the query", "POST", acs + "?SAMLart=x", form, "SAMLResponse=x", 400},
			{"E16 not a form", "POST", acs, form, "SAMLResponse=%zz", 400},
			{"B15 too large", "POST", acs, form, "SAMLResponse=" + strings.Repeat("A", 2<<20), 413},
			{"E16 garbage that nobody asked for", "POST", acs, form, "SAMLResponse=garbage", 400},
			{"E16 on an app's host", "POST", s.url("wiki", "/.jitgate/saml/acme/acs"), form, "SAMLResponse=x", 404},
			{"E16 unknown identity provider", "POST", s.url("sso", "/.jitgate/saml/nobody/acs"), form, "SAMLResponse=x", 404},
			{"E16 below the ACS", "POST", acs + "/x", form, "SAMLResponse=x", 404},
			{"E16 another spelling of the ACS", "POST", s.url("sso", "/.jitgate/SAML/acme/acs"), form, "SAMLResponse=x", 404},
		} {
			t.Run(test.why, func(t *testing.T) {
				s.clock.Add(time.Second) // so that of too many logins the oldest goes
				_, honest := atResponse(t, s)
				if page, err := honest.Submit(); err != nil || page.Status != 200 {
					t.Fatalf("the honest twin: %v, %v", page, err)
				}
				asked := s.asked.Load()
				commands.reset()
				req, err := http.NewRequest(test.method, test.url, strings.NewReader(test.body))
				if err != nil {
					t.Fatal(err)
				}
				if test.kind != "" {
					req.Header.Set("Content-Type", test.kind)
				}
				res, body := s.do(s.browser(), req)
				if res.StatusCode != test.status {
					t.Errorf("%d, want %d: %s", res.StatusCode, test.status, body)
				}
				if len(res.Header["Set-Cookie"]) != 0 {
					t.Errorf("sets %q", res.Header["Set-Cookie"])
				}
				if test.status == 405 && res.Header.Get("Allow") != "POST" {
					t.Errorf("Allow = %q, want POST", res.Header.Get("Allow"))
				}
				if n := commands.reset(); n != 0 {
					t.Errorf("%d commands to the store, want none", n)
				}
				if n := s.asked.Load() - asked; n != 0 {
					t.Errorf("%d requests to the identity provider, want none", n)
				}
			})
		}
	})
}

// A response counts once, whoever brings it and however fast.
func TestReplay(t *testing.T) {
	t.Parallel()
	row(t, "C03 a response that is submitted six times at once", func(t *testing.T, rdb redis.UniversalClient) {
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
			t.Errorf("statuses = %v, want one 303 and the others 403", count)
		}
		if n := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val()); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		page, err := form.Submit()
		if err != nil || page.Status != 403 || !strings.Contains(page.Text(), "saml_replayed") {
			t.Errorf("once more: %d %s, %v", page.Status, page.Text(), err)
		}
		if !strings.Contains(page.Body, s.url("wiki", "/.jitgate/login?rd=%2Fdeep")) {
			t.Errorf("no link to begin again: %s", page.Body)
		}
	})
}

func TestReplayLater(t *testing.T) {
	t.Parallel()
	row(t, "C01 a response once more, from the same browser", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b, form := atResponse(t, s)
		state := b.Cookies(s.url("sso", "/"))
		if page, err := form.Submit(); err != nil || page.Status != 200 {
			t.Fatalf("the honest twin: %v, %v", page, err)
		}
		for _, c := range state { // as a browser that kept them would
			b.SetCookie(s.url("sso", "/"), c)
		}
		before := sessionCookies(b, s)
		page, err := form.Submit()
		if err != nil || page.Status != 403 || !strings.Contains(page.Text(), "saml_replayed") {
			t.Errorf("%v, %v, want 403 saml_replayed", page, err)
		}
		if !slices.Equal(sessionCookies(b, s), before) {
			t.Error("another session came of it, or the first ended")
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

func TestForeignDomain(t *testing.T) {
	t.Parallel()
	row(t, "C36 a domain that is not the identity provider's", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others})
		honest, _ := s.idp.User("ann")
		for _, test := range []struct{ attribute, value string }{
			{"domain", "other.example"},
			{"domain", "evil.example"},
			{"userName", "ann@other.example"},
			{"userName", "ann@evil.example"},
			{"userName", "ann@acme.example.evil"},
		} {
			s.idp.SetAttribute("ann", test.attribute, test.value)
			b := s.browser()
			page, err := b.Login(s.url("sso", "/.jitgate/login?idp=acme&rd=/tools/"), "", "ann", "secret")
			s.idp.SetAttribute("ann", test.attribute, honest.Attributes[test.attribute]...)
			expect(t, s, test.attribute+" "+test.value, b, page, err, 403, "domain_mismatch")
		}
		if n := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val()); n != 0 {
			t.Errorf("%d sessions, want none", n)
		}
		for _, own := range []string{"acme.example", "acme-labs.example"} {
			s.idp.SetAttribute("ann", "domain", own)
			page, err := s.browser().Login(s.url("sso", "/.jitgate/login?idp=acme&rd=/tools/"), "", "ann", "secret")
			if err != nil || page.Status != 200 {
				t.Errorf("the honest twin, %s: %v, %v", own, page, err)
			}
		}
	})
}

// The identity provider says no: its own sentence, and no loop.
func TestIdPRefused(t *testing.T) {
	t.Parallel()
	row(t, "E13 an identity provider that says no", func(t *testing.T, rdb redis.UniversalClient) {
		var refuses atomic.Bool
		s := newSite(t, rdb, setup{idpSetup: func(o *samltest.Options) {
			o.Adjust = func(m *samltest.Message) {
				if refuses.Load() {
					m.Status = samltest.Status{Code: samltest.StatusResponder}
					m.Omit, m.SignResponse = samltest.OmitAssertion, true
				}
			}
		}})
		s.signedIn("ann", s.url("wiki", "/")) // the honest twin
		refuses.Store(true)
		b := s.browser()
		page, err := b.Login(s.url("wiki", "/"), "", "ann", "secret")
		expect(t, s, "refused", b, page, err, 403, "idp_refused")
		if n := strings.Count(strings.Join(b.Trail, "\n"), "POST "+s.url("sso", "/.jitgate/saml/acme/acs")); n != 1 {
			t.Errorf("%d responses were posted, want 1:\n%s", n, strings.Join(b.Trail, "\n"))
		}
	})
}

// Responses that nobody asked for, from a link in the identity provider's portal.
func TestUnsolicited(t *testing.T) {
	t.Parallel()
	row(t, "C05 a response that nobody asked for, with targets elsewhere", func(t *testing.T, rdb redis.UniversalClient) {
		for _, mode := range []string{"restart", "accept", "off"} {
			s := newSite(t, rdb, setup{idp: ", idp_initiated: " + mode})
			start := s.idpURL + "/start?sp=" + url.QueryEscape(s.cfg.SAML.EntityID) + "&RelayState="
			for _, test := range []struct{ why, relay, end string }{
				{"a path", "/tools/x?y=1", s.url("sso", "/tools/x?y=1")},
				{"a URL of an app on another host", s.url("wiki", "/deep?y=1"), s.url("wiki", "/deep?y=1")},
				{"a URL of our own host", s.url("sso", "/tools/z"), s.url("sso", "/tools/z")},
				{"nothing", "", s.url("sso", "/.jitgate/session")},
				{"another site", "https://evil.example/", s.url("sso", "/.jitgate/session")},
				{"another site, without a scheme", "//evil.example", s.url("sso", "/.jitgate/session")},
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
	row(t, "C06 a response that nobody asked for, where that restarts", func(t *testing.T, rdb redis.UniversalClient) {
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
		// The honest twin: where it restarts, a login can be finished.
		page, err := s.browser().Login(s.url("sso", "/.jitgate/login?idp=acme&rd=%2Ftools%2Fx"), "", "ann", "secret")
		if err != nil || page.URL.String() != s.url("sso", "/tools/x") || page.Status != 200 {
			t.Errorf("the login that it restarts: %v, %v", page, err)
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

// E06: one login more than maxPending pushes out the first, and the cookies stay below 8 KiB.
func TestParallelLogins(t *testing.T) {
	t.Parallel()
	row(t, "E06 a login too many at once", func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why  string
			rd   string
			want []bool // of the logins, which can still be finished
		}{
			{"nine", "/tools/x", append([]bool{false}, slices.Repeat([]bool{true}, maxPending)...)},
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
	row(t, "E05 a session from before the login", func(t *testing.T, rdb redis.UniversalClient) {
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
	row(t, "E05 a session that somebody planted before the login", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		planted := sessionCookies(s.signedIn("bob", s.url("sso", "/tools/")), s)[0]
		neverSeen, err := s.jar.sessions.Seal("__Host-jitgate", append(make([]byte, 32), "acme u1"...))
		if err != nil {
			t.Fatal(err)
		}
		for why, value := range map[string]string{"of the attacker": planted, "of no session": neverSeen} {
			b := s.browser()
			b.SetCookie(s.url("sso", "/"), &http.Cookie{Name: "__Host-jitgate", Value: value, Path: "/", Secure: true, HttpOnly: true})
			page, err := b.Login(s.url("sso", "/.jitgate/login?idp=acme&rd=/tools/"), "", "ann", "secret")
			if err != nil || page.Status != 200 || parseEcho(t, page.Body).Header.Get("X-Forwarded-User") != "ann" {
				t.Fatalf("%s: the login itself: %v, %v", why, page, err)
			}
			if after := sessionCookies(b, s); len(after) != 1 || after[0] == value {
				t.Errorf("%s: the session is still the planted one", why)
			}
			if res, body := s.get(s.browser(), s.url("sso", "/tools/"), "Cookie: __Host-jitgate="+value); res.StatusCode != 401 {
				t.Errorf("%s: the planted cookie afterwards: %d %s, want 401", why, res.StatusCode, body)
			}
		}
	})
}

// E15: no line of the log holds a message, a cookie or a code.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	row(t, "E15 secrets in the log", func(t *testing.T, rdb redis.UniversalClient) {
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
