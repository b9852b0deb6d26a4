package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/proxy/session"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

const sloPath = "/.jitgate/saml/acme/slo"

// annName is what the identity provider calls ann.
var annName = samltest.NameID{Value: "ann", Format: samltest.NameIDUnspecified}

// sendLogout has a browser bring a logout message by the Redirect binding, and
// returns the answer, which is not followed.
func (s *site) sendLogout(b *testenv.Browser, l *samltest.Logout, path string) (*http.Response, string) {
	s.t.Helper()
	query, err := l.Query("idp-state")
	if err != nil {
		s.t.Fatal(err)
	}
	return s.get(b, s.url("sso", path)+"?"+query, "Accept: text/html")
}

// sessionIndex returns what the identity provider calls the login of a browser.
func (s *site) sessionIndex(b *testenv.Browser) string {
	s.t.Helper()
	id, ok := s.jar.session(http.Header{"Cookie": {s.cookie(b)}})
	if !ok {
		s.t.Fatal("no session cookie")
	}
	r, ok, err := s.Gateway.sessions.Lookup(s.t.Context(), session.KeyOf(id))
	if err != nil || !ok || r.SessionIndex == "" {
		s.t.Fatalf("session %+v, %v, %v, want one with a SessionIndex", r, ok, err)
	}
	return r.SessionIndex
}

// TestLogoutAtIdP: signing out here ends the session at the identity provider too,
// whichever host it begins on.
func TestLogoutAtIdP(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for binding, change := range map[string]func(*samltest.Options){"Redirect": nil, "POST": postOnly} {
			s := newSite(t, rdb, setup{idpSetup: change})
			for _, host := range []string{"wiki", "sso"} {
				b := s.signedIn("ann", s.url("wiki", "/"))
				s.asks(b, "sso", "/tools/", 200)
				page, err := b.Open(s.url(host, "/.jitgate/logout"))
				if err != nil {
					t.Fatal(err)
				}
				for len(page.Forms) > 0 && err == nil { // ours, and that of the POST binding
					page, err = page.Forms[0].Submit()
				}
				if err != nil || page.Status != 200 || !strings.Contains(page.Text(), "signed out here and at your organisation’s identity provider") {
					t.Errorf("%s from %s: %d %s, %v", binding, host, page.Status, page.Text(), err)
				}
				if link, err := page.Follow("Sign in again"); err != nil || link.Status != 200 || !strings.Contains(link.Text(), "Password") {
					t.Errorf("%s from %s: signing in again: %v, %v, want the password asked for", binding, host, link.Text(), err)
				}
				s.asks(b, "wiki", "/x", 401)
				s.asks(b, "sso", "/tools/", 401)
				if events := s.events("event=logout"); !strings.Contains(events, "logout") {
					t.Errorf("the trail: %s, want a logout", events)
				}
			}
		}
	})
}

// TestLogoutFromIdP: what an identity provider ends is over on every host and
// replica, in both bindings, open websockets included; and nothing else is.
func TestLogoutFromIdP(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.watch = 10 * time.Millisecond
		replica := s.replica()
		s.upstream.answer(nil)
		slo := s.url("sso", sloPath)
		laptop, phone := s.signedIn("ann", s.url("wiki", "/")), s.signedIn("ann", s.url("wiki", "/"))
		bob := s.signedIn("bob", s.url("sso", "/tools/"))
		s.asks(laptop, "sso", "/tools/", 200)
		s.upstream.answer(tunnel(t))
		conn, in, _ := s.upgrade("/ws", s.cookie(laptop), "Connection: Upgrade\nUpgrade: websocket")
		say := func() error {
			fmt.Fprint(conn, "hello\n")
			_, err := in.ReadString('\n')
			return err
		}
		if err := say(); err != nil {
			t.Fatal(err)
		}
		s.upstream.answer(nil)

		res, body := s.sendLogout(s.browser(), s.idp.GoodLogout(slo, annName, s.sessionIndex(laptop)), sloPath)
		to, _ := url.Parse(res.Header.Get("Location"))
		if res.StatusCode != 303 || !strings.HasPrefix(to.String(), s.idpURL+"/slo?SAMLResponse=") || to.Query().Get("RelayState") != "idp-state" {
			t.Fatalf("%d to %q: %s, want the answer for the identity provider", res.StatusCode, to, body)
		}
		s.asks(laptop, "wiki", "/x", 401)
		s.asks(laptop, "sso", "/tools/", 401)
		if got := s.on(replica, laptop, "wiki", "/x"); got != 401 {
			t.Errorf("at the replica: %d, want 401", got)
		}
		eventually(t, "websocket closed", func() bool { return say() != nil })
		s.asks(phone, "wiki", "/x", 200) // another session of the same user at the identity provider
		if events := s.events("event=logout"); strings.Count(events, "logout") != 1 {
			t.Errorf("the trail: %s, want one logout", events)
		}

		form, err := s.idp.GoodLogout(slo, annName).Form("")
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.browser().Post(slo, form)
		if err != nil || page.URL.Host != strings.TrimPrefix(s.idpURL, "http://") {
			t.Errorf("by POST: %v, %v, want to be taken back", page, err)
		}
		s.asks(phone, "wiki", "/x", 401)
		s.asks(bob, "sso", "/tools/", 200)
	})
}

// TestLogoutOfAll: a request that names no session is about all that the user has
// from that identity provider, under whatever NameID; and about all users whom it
// has called by that one.
func TestLogoutOfAll(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		var names []string
		s := newSite(t, rdb, setup{idpSetup: func(o *samltest.Options) {
			o.Adjust = func(m *samltest.Message) {
				m.NameID = samltest.NameID{Value: samltest.NewID(), Format: samltest.NameIDTransient}
				names = append(names, m.NameID.Value)
			}
		}})
		laptop, phone := s.signedIn("ann", s.url("wiki", "/")), s.signedIn("ann", s.url("wiki", "/"))
		first := samltest.NameID{Value: names[0], Format: samltest.NameIDTransient}
		if res, body := s.sendLogout(s.browser(), s.idp.GoodLogout(s.url("sso", sloPath), first), sloPath); res.StatusCode != 303 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		s.asks(laptop, "wiki", "/x", 401)
		s.asks(phone, "wiki", "/x", 401)

		s = newSite(t, rdb, setup{})
		before := s.signedIn("ann", s.url("wiki", "/"))
		s.idp.SetAttribute("ann", "userName", "anna")
		s.idp.SetAttribute("ann", "email", "anna@acme.example")
		after := s.signedIn("ann", s.url("wiki", "/"))
		if res, body := s.sendLogout(s.browser(), s.idp.GoodLogout(s.url("sso", sloPath), annName), sloPath); res.StatusCode != 303 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		s.asks(before, "wiki", "/x", 401)
		s.asks(after, "wiki", "/x", 401)
		for _, user := range []string{"ann", "anna"} {
			if events := s.events("event=logout&user=" + user); events != "logout" {
				t.Errorf("the trail of %s: %q, want one logout", user, events)
			}
		}
	})
}

// TestLogoutAttacks is what is left of part F of the catalogue: rows that take a
// gateway to see.
func TestLogoutAttacks(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Run("F01 LogoutRequest that nobody has signed ends nothing", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			b := s.signedIn("ann", s.url("wiki", "/"))
			twin := s.idp.GoodLogout(s.url("sso", sloPath), annName)
			query, err := twin.Query("")
			if err != nil {
				t.Fatal(err)
			}
			bare, _, _ := strings.Cut(query, "&SigAlg=")
			res, body := s.get(b, s.url("sso", sloPath)+"?"+bare, "Accept: text/html")
			if res.StatusCode != 403 || !strings.Contains(body, "saml_invalid") || strings.Contains(body, "unsigned") {
				t.Errorf("%d: %s, want 403 without a word why", res.StatusCode, body)
			}
			if got := s.logged("request")["error"]; !strings.Contains(fmt.Sprint(got), "unsigned") {
				t.Errorf("the log: %v, want the check that failed", got)
			}
			s.asks(b, "wiki", "/x", 200)
			if res, _ := s.get(b, s.url("sso", sloPath)+"?"+query); res.StatusCode != 303 {
				t.Errorf("the honest twin: %d, want 303", res.StatusCode)
			}
			s.asks(b, "wiki", "/x", 401)
		})
		t.Run("F09 LogoutRequest once more ends no new login", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			s.signedIn("ann", s.url("wiki", "/"))
			l := s.idp.GoodLogout(s.url("sso", sloPath), annName)
			if res, body := s.sendLogout(s.browser(), l, sloPath); res.StatusCode != 303 {
				t.Fatalf("the honest twin: %d %s", res.StatusCode, body)
			}
			again := s.signedIn("ann", s.url("wiki", "/"))
			if res, body := s.sendLogout(s.browser(), l, sloPath); res.StatusCode != 403 || !strings.Contains(body, "saml_replayed") {
				t.Errorf("%d: %s, want saml_replayed", res.StatusCode, body)
			}
			s.asks(again, "wiki", "/x", 200)
		})
		t.Run("F10 identity provider ends the login of another one's subject", func(t *testing.T) {
			s := newSite(t, rdb, setup{idps: `
  - {name: other, directory: other, metadata: {file: second.xml}}`})
			b := s.signedIn("ann", s.url("wiki", "/"))
			// The same name, said by another identity provider at its own address.
			res, body := s.sendLogout(b, s.second.GoodLogout(s.url("sso", "/.jitgate/saml/other/slo"), annName), "/.jitgate/saml/other/slo")
			if res.StatusCode != 303 {
				t.Errorf("%d: %s, want it answered", res.StatusCode, body)
			}
			// And at the address of the one whose subject that is.
			if res, _ := s.sendLogout(b, s.second.GoodLogout(s.url("sso", sloPath), annName), sloPath); res.StatusCode != 403 {
				t.Errorf("as the other one: %d, want 403", res.StatusCode)
			}
			s.asks(b, "wiki", "/x", 200)
			if res, _ := s.sendLogout(b, s.idp.GoodLogout(s.url("sso", sloPath), annName), sloPath); res.StatusCode != 303 {
				t.Errorf("the honest twin: %d", res.StatusCode)
			}
			s.asks(b, "wiki", "/x", 401)
		})
		t.Run("F11 LogoutResponse to no sign-out of this browser", func(t *testing.T) {
			s := newSite(t, rdb, setup{idps: `
  - {name: other, directory: other, metadata: {file: second.xml}}`})
			answer := s.idp.GoodLogoutAnswer(s.url("sso", sloPath), "id-x")
			refused := func(why string, b *testenv.Browser) {
				t.Helper()
				res, body := s.sendLogout(b, answer, sloPath)
				if res.StatusCode != 403 || !strings.Contains(body, "saml_invalid") {
					t.Errorf("%s: %d, want 403 saml_invalid: %s", why, res.StatusCode, body)
				}
			}
			refused("nothing is under way", s.browser())
			b := s.signedIn("ann", s.url("sso", "/tools/"))
			id, state := s.beginLogout(b)
			refused("another RelayState", b)
			query, err := s.idp.GoodLogoutAnswer(s.url("sso", sloPath), id).Query(state)
			if err != nil {
				t.Fatal(err)
			}
			if res, _ := s.get(s.browser(), s.url("sso", sloPath)+"?"+query); res.StatusCode != 403 {
				t.Errorf("in another browser: %d, want 403", res.StatusCode)
			}
			s.clock.Add(loginLifetime)
			if res, _ := s.get(b, s.url("sso", sloPath)+"?"+query); res.StatusCode != 403 {
				t.Errorf("15 minutes later: %d, want 403", res.StatusCode)
			}
			s.clock.Add(-loginLifetime)
			other, err := s.second.GoodLogoutAnswer(s.url("sso", "/.jitgate/saml/other/slo"), id).Query(state)
			if err != nil {
				t.Fatal(err)
			}
			if res, _ := s.get(b, s.url("sso", "/.jitgate/saml/other/slo")+"?"+other); res.StatusCode != 403 {
				t.Errorf("of another identity provider: %d, want 403", res.StatusCode)
			}
			if res, _ := s.get(b, s.url("sso", sloPath)+"?"+query); res.StatusCode != 303 || res.Header.Get("Location") != s.url("sso", "/.jitgate/logout?idp=everywhere") {
				t.Errorf("the honest twin: %d to %q", res.StatusCode, res.Header.Get("Location"))
			}
			if res, _ := s.get(b, s.url("sso", sloPath)+"?"+query); res.StatusCode != 403 {
				t.Errorf("once more: %d, want 403", res.StatusCode)
			}
			b = s.signedIn("ann", s.url("sso", "/tools/"))
			_, state = s.beginLogout(b)
			if query, err = answer.Query(state); err != nil {
				t.Fatal(err)
			}
			if res, body := s.get(b, s.url("sso", sloPath)+"?"+query, "Accept: text/html"); res.StatusCode != 403 || !strings.Contains(body, "You are signed out here") {
				t.Errorf("an unknown InResponseTo: %d, want 403: %s", res.StatusCode, body)
			}
		})
		t.Run("F11 LogoutResponse that cannot be checked now", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			b := s.signedIn("ann", s.url("sso", "/tools/"))
			id, state := s.beginLogout(b)
			query, err := s.idp.GoodLogoutAnswer(s.url("sso", sloPath), id).Query(state)
			if err != nil {
				t.Fatal(err)
			}
			s.changeMetadata(func(m *samltest.Metadata) { m.ValidUntil = time.Now().Add(500 * time.Millisecond) })
			if res, _ := s.get(b, s.url("sso", sloPath)+"?"+query); res.StatusCode != 503 || len(res.Header["Set-Cookie"]) != 0 {
				t.Errorf("%d, sets %q, want 503 and nothing", res.StatusCode, res.Header["Set-Cookie"])
			}
			s.changeMetadata(func(*samltest.Metadata) {})
			if res, _ := s.get(b, s.url("sso", sloPath)+"?"+query); res.StatusCode != 303 {
				t.Errorf("the honest twin: %d, want 303", res.StatusCode)
			}
		})
		t.Run("F12 cross-site GET of the logout page has no effect", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			b := s.signedIn("ann", s.url("wiki", "/"))
			for _, host := range []string{"wiki", "sso"} {
				if page, err := b.Open(s.url(host, "/.jitgate/logout")); err != nil || page.Status != 200 {
					t.Errorf("%s: %v, %v", host, page, err)
				}
				if page, err := b.Post(s.url(host, "/.jitgate/logout"), url.Values{}); err != nil || page.Status != 403 {
					t.Errorf("%s, posted: %v, %v, want 403", host, page, err)
				}
			}
			s.asks(b, "wiki", "/x", 200)
			signOut(t, s, b, s.url("wiki", "")) // the honest twin
			s.asks(b, "wiki", "/x", 401)
		})
		t.Run("F19 link that goes on with somebody else's sign-out", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			mallory, victim := s.signedIn("ann", s.url("wiki", "/")), s.signedIn("ann", s.url("wiki", "/"))
			res, _ := s.post(mallory, s.url("wiki", "/.jitgate/logout"))
			link := res.Header.Get("Location")
			if res.StatusCode != 303 || !strings.Contains(link, "/.jitgate/logout?from=") {
				t.Fatalf("%d to %q, want one to our own host", res.StatusCode, link)
			}
			if res, _ := s.get(victim, link); res.StatusCode != 200 || len(res.Header["Set-Cookie"]) != 0 {
				t.Errorf("in another browser: %d, sets %q, want a page and no more", res.StatusCode, res.Header["Set-Cookie"])
			}
			s.asks(victim, "wiki", "/x", 200)
			if res, _ := s.get(victim, s.url("sso", "/.jitgate/logout?from=x")); res.StatusCode != 400 {
				t.Errorf("nothing that we sealed: %d, want 400", res.StatusCode)
			}
			s.clock.Add(departureLifetime)
			if res, _ := s.get(mallory, link); res.StatusCode != 200 {
				t.Errorf("a minute later: %d, want 200", res.StatusCode)
			}
			s.clock.Add(-departureLifetime)
			gone := s.replica()
			delete(gone.idps, "acme")
			if got := s.on(gone, mallory, "sso", strings.TrimPrefix(link, s.url("sso", ""))); got != 200 {
				t.Errorf("the identity provider is gone from the configuration: %d, want 200", got)
			}
			if res, _ := s.get(mallory, link); res.StatusCode != 303 || !strings.HasPrefix(res.Header.Get("Location"), s.idpURL+"/slo?SAMLRequest=") {
				t.Errorf("the honest twin: %d to %q", res.StatusCode, res.Header.Get("Location"))
			}
		})
	})
}

// beginLogout signs out on our own host, and returns the ID and the RelayState of
// the request for the identity provider, which does not get it.
func (s *site) beginLogout(b *testenv.Browser) (id, relayState string) {
	s.t.Helper()
	res, body := s.post(b, s.url("sso", "/.jitgate/logout"))
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != 303 {
		s.t.Fatalf("%d to %q: %s, want the identity provider", res.StatusCode, to, body)
	}
	relayState = to.Query().Get("RelayState")
	header := make(http.Header)
	for _, c := range b.Cookies(s.url("sso", "/")) {
		header.Add("Cookie", c.Name+"="+c.Value)
	}
	p, ok := s.jar.leaving(header, relayState)
	if !ok {
		s.t.Fatal("the browser keeps no sign-out under way")
	}
	return p.RequestID, relayState
}

// post is do for a form of our own without fields.
func (s *site) post(b *testenv.Browser, address string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(b, req)
}

// TestLogoutAlone: signing out here is done whether or not the identity provider
// can be told.
func TestLogoutAlone(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		nothing := fmt.Sprintf("http://127.0.0.1:%d", testenv.FreePort(t))
		for _, test := range []struct {
			why    string
			o      setup
			change func(*samltest.Metadata)
			status int
		}{
			{"single logout is off", setup{idp: ", single_logout: false"}, nil, 200},
			{"the identity provider has none", setup{}, func(m *samltest.Metadata) { m.Logout = nil }, 200},
			{"it has one that is of no use", setup{}, func(m *samltest.Metadata) {
				m.Logout = map[string]string{samltest.BindingRedirect: "javascript:alert(1)"}
			}, 200},
			{"nobody is there", setup{}, func(m *samltest.Metadata) { m.Logout = map[string]string{samltest.BindingRedirect: nothing} }, 303},
			{"its metadata has expired", setup{}, func(m *samltest.Metadata) { m.ValidUntil = time.Now().Add(500 * time.Millisecond) }, 200},
		} {
			s := newSite(t, rdb, test.o)
			b := s.signedIn("ann", s.url("sso", "/tools/"))
			if test.change != nil {
				s.changeMetadata(test.change)
			}
			res, body := s.post(b, s.url("sso", "/.jitgate/logout"))
			if res.StatusCode != test.status {
				t.Errorf("%s: %d, want %d: %s", test.why, res.StatusCode, test.status, body)
			}
			s.asks(b, "sso", "/tools/", 401)
		}
		s := newSite(t, rdb, setup{idp: ", single_logout: false"})
		if res, _ := s.sendLogout(s.browser(), s.idp.GoodLogout(s.url("sso", sloPath), annName), sloPath); res.StatusCode != 404 {
			t.Errorf("its address while it is off: %d, want 404", res.StatusCode)
		}
	})
}

// TestLogoutStoreDown: while the store does not answer, nobody is told that they
// are signed out, and the same message does it when the store is back.
func TestLogoutStoreDown(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		l := s.idp.GoodLogout(s.url("sso", sloPath), annName)
		hook := hookStore(rdb)
		hook.setDown(true)
		if res, body := s.sendLogout(b, l, sloPath); res.StatusCode != 503 || len(res.Header["Set-Cookie"]) != 0 {
			t.Errorf("%d, sets %q, want 503 and the cookie kept: %s", res.StatusCode, res.Header["Set-Cookie"], body)
		}
		if res, _ := s.post(b, s.url("wiki", "/.jitgate/logout")); res.StatusCode != 503 {
			t.Errorf("signing out: %d, want 503", res.StatusCode)
		}
		hook.setDown(false)
		s.asks(b, "wiki", "/x", 200)
		if res, body := s.sendLogout(b, l, sloPath); res.StatusCode != 303 {
			t.Errorf("the store is back: %d %s", res.StatusCode, body)
		}
		s.asks(b, "wiki", "/x", 401)
	})
}

// changeMetadata has the identity provider's metadata changed, and read; where it
// has an end, that is waited for.
func (s *site) changeMetadata(change func(*samltest.Metadata)) {
	s.t.Helper()
	m := s.idp.Metadata()
	change(m)
	text, err := m.XML()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.cfg.IdentityProviders[0].Metadata.File, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.idps["acme"].Refresh(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the metadata's end", func() bool { return m.ValidUntil.IsZero() || s.idps["acme"].Ready() != nil })
}
