package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/session"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// Who is sent to sign in, and who is told.
func TestWithoutSession(t *testing.T) {
	t.Parallel()
	row(t, "E07 requests without a session, by pages and scripts", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		commands := hookStore(rdb)
		const html = "Accept: text/html,application/xhtml+xml;q=0.9"
		for _, test := range []struct {
			why, method string
			headers     []string
			status      int
		}{
			{"a browser", "GET", []string{html, "Sec-Fetch-Mode: navigate"}, 302},
			{"a script that takes anything", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: cors"}, 401},
			{"a script that takes HTML", "GET", []string{html, "Sec-Fetch-Mode: same-origin"}, 401},
			{"an image", "GET", []string{"Accept: image/*", "Sec-Fetch-Mode: no-cors"}, 401},
			{"a websocket", "GET", []string{"Sec-Fetch-Mode: websocket"}, 401},
			{"a program", "GET", nil, 401},
			{"a form", "POST", []string{html, "Sec-Fetch-Mode: navigate"}, 401},
			{"HEAD", "HEAD", []string{html, "Sec-Fetch-Mode: navigate"}, 401},
			{"JSON", "GET", []string{"Accept: application/json", "Sec-Fetch-Mode: navigate"}, 401},
		} {
			req, err := http.NewRequest(test.method, s.url("wiki", "/x?a=1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range test.headers {
				name, value, _ := strings.Cut(h, ": ")
				req.Header.Set(name, value)
			}
			res, body := s.do(s.browser(), req)
			if res.StatusCode != test.status {
				t.Errorf("%s: %d, want %d", test.why, res.StatusCode, test.status)
			}
			if got, want := res.Header.Get("Cache-Control"), "no-store"; got != want {
				t.Errorf("%s: Cache-Control = %q, want %q", test.why, got, want)
			}
			if len(res.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: sets %q", test.why, res.Header["Set-Cookie"])
			}
			if got, want := res.Header.Get("Location"), s.url("wiki", "/.jitgate/login?rd=%2Fx%3Fa%3D1"); test.status == 302 && got != want {
				t.Errorf("%s: sent to %q, want %q", test.why, got, want)
			}
			if test.status == 401 && !acceptsHTML(req) {
				var e map[string]string
				if err := json.Unmarshal([]byte(body), &e); err != nil || e["error"] != "login_required" || e["login_url"] != s.url("wiki", "/.jitgate/login") {
					t.Errorf("%s: %s", test.why, body)
				}
			}
		}
		if res, _ := s.raw("GET /x HTTP/1.1\nHost: wiki.example.com\nConnection: close\n" + html + "\n\n"); res.StatusCode != 302 {
			t.Errorf("an old browser, without Sec-Fetch-Mode: %d, want 302", res.StatusCode)
		}
		for range 200 {
			s.get(s.browser(), s.url("wiki", "/x"), html)
		}
		if n := commands.reset(); n != 0 {
			t.Errorf("%d commands to the store for visitors without a session, want none", n)
		}
	})
}

// Cookies that are not exactly one of ours cost nothing and open nothing.
func TestSessionCookie(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		good := ""
		for _, c := range b.Cookies(s.url("wiki", "/")) {
			if c.Name == "__Host-jitgate" {
				good = c.Value
			}
		}
		sso := sessionCookies(b, s)[0]
		unknown, err := session.NewKeyring([][]byte{[]byte(strings.Repeat("x", 64))}, "session", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := unknown.Seal("__Host-jitgate", append(make([]byte, 32), "acme u1"...))
		if err != nil {
			t.Fatal(err)
		}
		neverSeen, err := s.jar.sessions.Seal("__Host-jitgate", append(make([]byte, 32), "acme u1"...))
		if err != nil {
			t.Fatal(err)
		}
		commands := hookStore(rdb)
		for _, test := range []struct {
			why, cookie string
			status      int
			free        bool // costs no command
		}{
			{"ours", "__Host-jitgate=" + good, 200, false},
			{"ours among others", "a=1; __Host-jitgate=" + good + "; b=2", 200, false},
			{"G11 twice", "__Host-jitgate=" + good + "; __Host-jitgate=" + good, 401, true},
			{"G11 a sibling domain's beside ours", "__Host-jitgate=x; __Host-jitgate=" + good, 401, true},
			{"G11 one that net/http does not see beside ours", "__Host-jitgate=\x80; __Host-jitgate=" + good, 401, true},
			{"H10 forged", "__Host-jitgate=" + strings.Repeat("A", len(good)), 401, true},
			{"H10 garbage", "__Host-jitgate=garbage", 401, true},
			{"H10 changed", "__Host-jitgate=" + good[:20] + "A" + good[21:], 401, true},
			{"H09 sealed with an unknown key", "__Host-jitgate=" + foreign, 401, true},
			{"G11 under the name for http", "jitgate=" + good, 401, true},
			{"G11 under another of our names", "__Host-jitgate-return=" + good, 401, true},
			{"E05 sealed, but of no session", "__Host-jitgate=" + neverSeen, 401, false},
			{"G11 of another host", "__Host-jitgate=" + sso, 401, false},
		} {
			t.Run(test.why, func(t *testing.T) {
				if res, _ := s.get(s.browser(), s.url("wiki", "/x"), "Cookie: __Host-jitgate="+good); res.StatusCode != 200 {
					t.Errorf("the honest twin: %d, want 200", res.StatusCode)
				}
				commands.reset()
				res, _ := s.get(s.browser(), s.url("wiki", "/x"), "Cookie: "+test.cookie)
				if res.StatusCode != test.status {
					t.Errorf("%d, want %d", res.StatusCode, test.status)
				}
				if n := commands.reset(); (n == 0) != test.free {
					t.Errorf("%d commands to the store", n)
				}
				if len(res.Header["Set-Cookie"]) != 0 {
					t.Errorf("sets %q", res.Header["Set-Cookie"])
				}
			})
		}
	})
}

// H01: the store is down. Nobody is signed out by it, nor sent to sign in.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	row(t, "H01 the store is down at a request", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		hook := hookStore(rdb)
		for _, path := range []string{"/x", "/.jitgate/session", "/.jitgate/logout", "/.jitgate/login", "/.jitgate/return?code=" + strings.Repeat("A", 43)} {
			hook.setDown(true)
			page, err := b.Open(s.url("wiki", path))
			if err != nil {
				t.Fatal(err)
			}
			if page.Status != 503 || !strings.Contains(page.Text(), "store_unavailable") || page.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %s", path, page.Status, page.Text())
			}
			if len(page.Header["Set-Cookie"]) != 0 || page.URL.Path != strings.Split(path, "?")[0] {
				t.Errorf("%s: at %s, sets %q", path, page.URL, page.Header["Set-Cookie"])
			}
			if strings.Contains(page.Body, "refused") {
				t.Errorf("%s: the page tells why", path)
			}
			hook.setDown(false)
		}
		req, _ := http.NewRequest("POST", s.url("wiki", "/.jitgate/logout"), nil)
		hook.setDown(true)
		if res, _ := s.do(b, req); res.StatusCode != 503 || len(res.Header["Set-Cookie"]) != 0 {
			t.Errorf("signing out: %d, sets %q", res.StatusCode, res.Header["Set-Cookie"])
		}
		if res, _ := s.get(b, s.url("wiki", "/public/x")); res.StatusCode != 200 {
			t.Errorf("a public path: %d, want 200", res.StatusCode)
		}
		hook.setDown(false)
		if res, body := s.get(b, s.url("wiki", "/x")); res.StatusCode != 200 || parseEcho(t, body).Header.Get("X-Forwarded-User") != "ann" {
			t.Errorf("after the outage: %d", res.StatusCode)
		}
	})
}

// H03: the store stalls. The visitor does not wait for it.
func TestStoreStalls(t *testing.T) {
	t.Parallel()
	t.Run("H03 the store stalls", func(t *testing.T) {
		server := testenv.RedisServer(t)
		s := newSite(t, testenv.Client(t, server.Addr), setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		server.Pause()
		if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 503 {
			t.Errorf("%d, want 503", res.StatusCode)
		}
		w := httptest.NewRecorder()
		s.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != 503 {
			t.Errorf("/readyz = %d, want 503", w.Code)
		}
		server.Resume()
		eventually(t, "works again", func() bool {
			res, _ := s.get(b, s.url("wiki", "/x"))
			return res.StatusCode == 200
		})
	})
}

// H15: idle and absolute end, by the gateway's clock.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	row(t, "H15 a session that was idle for too long", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		status := func(b *testenv.Browser) int {
			res, _ := s.get(b, s.url("wiki", "/x"))
			return res.StatusCode
		}
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.clock.Add(s.cfg.Session.Idle - time.Second)
		if got := status(b); got != 200 {
			t.Errorf("a second before the idle end: %d, want 200", got)
		}
		s.clock.Add(s.cfg.Session.Idle - time.Second)
		if got := status(b); got != 200 {
			t.Errorf("used meanwhile: %d, want 200", got)
		}
		s.clock.Add(s.cfg.Session.Idle)
		if got := status(b); got != 401 {
			t.Errorf("at the idle end: %d, want 401", got)
		}
	})
	row(t, "H15 a session at the end of its lifetime", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		for range 16 {
			if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 200 {
				t.Fatalf("in use: %d, want 200", res.StatusCode)
			}
			s.clock.Add(s.cfg.Session.Lifetime / 16)
		}
		if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 401 {
			t.Errorf("at the end of the lifetime: %d, want 401", res.StatusCode)
		}
	})
}

// Two gateways on one store are one to the visitor.
func TestTwoGateways(t *testing.T) {
	t.Parallel()
	row(t, "H08 a session that was ended at another replica", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		second := s.gateway()
		ask := func() int {
			r := httptest.NewRequest("GET", "https://wiki.example.com/x", nil)
			r.Header.Set("Cookie", s.cookie(b))
			w := httptest.NewRecorder()
			second.ServeHTTP(w, r)
			return w.Code
		}
		if got := ask(); got != 200 {
			t.Fatalf("the second gateway: %d, want 200", got)
		}
		signOut(t, s, b, s.url("sso", ""))
		b.SetCookie(s.url("wiki", "/"), &http.Cookie{Name: "x", Value: "y"})
		if got := ask(); got != 401 {
			t.Errorf("H08: signed out at the first, the second says %d, want 401", got)
		}
	})
}

// G15: signing out takes a form of our own, and ends the login on all hosts.
func TestLogout(t *testing.T) {
	t.Parallel()
	row(t, "G15 a sign-out that another site posts", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b, phone := s.signedIn("ann", s.url("wiki", "/")), s.signedIn("ann", s.url("wiki", "/"))
		status := func(b *testenv.Browser, host, path string) int {
			res, _ := s.get(b, s.url(host, path))
			return res.StatusCode
		}
		if page, err := b.Open(s.url("wiki", "/.jitgate/logout")); err != nil || !strings.Contains(page.Text(), "ann") {
			t.Errorf("the page: %v %v", page, err)
		}
		page, err := b.Post(s.url("wiki", "/.jitgate/logout"), url.Values{})
		if err != nil || page.Status != 403 {
			t.Errorf("from another site: %d %v", page.Status, err)
		}
		if status(b, "wiki", "/x") != 200 {
			t.Fatal("another site signed the visitor out")
		}
		cookie := s.cookie(b)
		signOut(t, s, b, s.url("wiki", ""))
		if n := len(sessionCookies(b, s)); n != 0 {
			t.Errorf("%d session cookies, want none on either host", n)
		}
		if got := status(b, "sso", "/tools/x"); got != 401 {
			t.Errorf("the other host: %d, want 401", got)
		}
		if res, _ := s.get(s.browser(), s.url("wiki", "/x"), "Cookie: "+cookie); res.StatusCode != 401 {
			t.Errorf("a kept cookie: %d, want 401", res.StatusCode)
		}
		if got := status(phone, "wiki", "/x"); got != 200 {
			t.Errorf("the visitor's other browser: %d, want 200", got)
		}
		entries, err := audit.Entries(audit.Ask(t.Context(), rdb, audit.Key(s.cfg.Redis.KeyPrefix, "acme"), "", 100))
		if err != nil {
			t.Fatal(err)
		}
		if last := entries[len(entries)-1].Event; last.Type != audit.Logout || last.UserName != "ann" || last.Client != "127.0.0.1" || last.RequestID == "" {
			t.Errorf("the audit trail ends with %+v", last)
		} else if got, want := toString(s.logged("audit")["event"]), toString(last); got != want {
			t.Errorf("the log has %s, want what the audit trail has: %s", got, want)
		}
		// Again, without a session.
		if page, err = b.Open(s.url("wiki", "/.jitgate/logout")); err != nil || page.Status != 200 || len(page.Forms) != 0 {
			t.Errorf("signed out already: %d %v", page.Status, err)
		}
	})
}

// TestSensitiveName signs in and out where userName is sensitive: no line of the
// log may have it, and those of requests have the user's ID.
func TestSensitiveName(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{attributes: "  - {name: userName, sensitive: true}", idpSetup: func(o *samltest.Options) {
			o.Users[0].Attributes["userName"] = []string{"p-12345"}
		}})
		b := s.signedIn("ann", s.url("wiki", "/"))
		users, err := s.users.Find(t.Context(), "acme", "p-12345")
		if err != nil || len(users) != 1 {
			t.Fatalf("Find = %v, %v, want one user", users, err)
		}
		// The line of a request is written after its answer.
		eventually(t, "a request logged with the user's ID", func() bool { return s.logged("request")["user"] == users[0].ID })
		signOut(t, s, b, s.url("wiki", ""))
		for _, line := range s.logs.All() {
			if text := toString(line.ContextMap()); strings.Contains(text, "p-12345") {
				t.Errorf("%s has the userName: %s", line.LoggerName, text)
			}
		}
	})
}

func TestSessionPage(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: hidden, host: wiki.example.com, path: /hidden, upstream: "UPSTREAM", allow: {groups: [nobody]}}
  - {name: byent, host: wiki.example.com, path: /byent, upstream: "UPSTREAM", allow: {entitlements: [wiki]}}`})
		b := s.signedIn("ann", s.url("wiki", "/"))
		res, body := s.get(b, s.url("wiki", "/.jitgate/session"), "Accept: application/json")
		var got struct {
			User, Email, Directory, Domain, IdP string
			Groups, Entitlements                []string
			Expires                             time.Time
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		want := s.clock.Now().Add(s.cfg.Session.Lifetime)
		if d := want.Sub(got.Expires); d < -2*time.Second || d > 2*time.Second {
			t.Errorf("expires = %v, want %v", got.Expires, want)
		}
		got.Expires = time.Time{}
		if text := fmt.Sprint(got); text != "{ann ann@acme.example acme acme.example acme [a,b engineers] [wiki] 0001-01-01 00:00:00 +0000 UTC}" {
			t.Errorf("session = %s", text)
		}
		page, err := b.Open(s.url("sso", "/.jitgate/session"))
		if err != nil || page.Status != 200 {
			t.Fatal(page, err)
		}
		for _, text := range []string{"ann@acme.example", "engineers", "wiki", "byent", "tools"} {
			if !strings.Contains(page.Text(), text) {
				t.Errorf("the page lacks %q: %s", text, page.Text())
			}
		}
		if strings.Contains(page.Text(), "hidden") {
			t.Error("the page names an app that the visitor may not use")
		}
		if page, err = page.Follow("tools"); err != nil || page.Status != 200 {
			t.Errorf("following an app: %v %v", page, err)
		}
		if res, body := s.get(s.browser(), s.url("wiki", "/.jitgate/session"), "Accept: application/json"); res.StatusCode != 401 || !strings.Contains(body, "login_url") {
			t.Errorf("without a session: %d %s", res.StatusCode, body)
		}
		if page, err := s.browser().Open(s.url("wiki", "/.jitgate/session")); err != nil || page.URL.Path != "/sso" {
			t.Errorf("without a session, a browser: %v %v", page.URL, err)
		}
	})
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("bob", s.url("sso", "/tools/"))
		page, err := b.Open(s.url("wiki", "/x"))
		if err != nil || page.Status != 403 {
			t.Fatalf("%v %v", page, err)
		}
		for _, text := range []string{"forbidden", "wiki", "bob", page.Header.Get("X-Request-Id")} {
			if !strings.Contains(page.Text(), text) {
				t.Errorf("the page lacks %q: %s", text, page.Text())
			}
		}
		res, body := s.get(b, s.url("wiki", "/x"))
		if res.StatusCode != 403 || !strings.Contains(body, `"error":"forbidden"`) || !strings.Contains(body, `"app":"wiki"`) {
			t.Errorf("JSON: %d %s", res.StatusCode, body)
		}
		if s.upstream.requests() != 1 { // signing in ended at /tools/
			t.Error("reached the app")
		}
		// Groups are worked out anew at each login, for all sessions that are open.
		s.idp.SetAttribute("bob", "department", "Engineering")
		s.signedIn("bob", s.url("sso", "/tools/"))
		if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 200 {
			t.Errorf("after joining the group: %d, want 200", res.StatusCode)
		}
	})
}

// H16: the session of a user who is gone ends.
func TestUserGone(t *testing.T) {
	t.Parallel()
	row(t, "H16 the session of a user who is gone", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		users, err := s.users.Find(t.Context(), "acme", "ann")
		if err != nil || len(users) != 1 {
			t.Fatal(users, err)
		}
		rdb.HDel(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:users", users[0].ID)
		if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 401 {
			t.Errorf("%d, want 401", res.StatusCode)
		}
		if keys := rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val(); len(keys) != 0 {
			t.Errorf("sessions %q are still there", keys)
		}
	})
}

// E01: wherever a return target comes in, the way out stays with us.
func TestReturnTargets(t *testing.T) {
	t.Parallel()
	row(t, "E01 return targets on other sites", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: front, upstream: "UPSTREAM", allow: {any_user: true}}`})
		b := s.signedIn("ann", s.url("wiki", "/"))
		for _, rd := range openRedirects() {
			for _, host := range []string{"wiki", "sso"} {
				res, _ := s.get(b, s.url(host, "/.jitgate/login?rd="+url.QueryEscape(rd)), "Sec-Fetch-Mode: navigate", "Accept: text/html")
				if got, want := res.Header.Get("Location"), s.url(host, "/"); res.StatusCode != 303 || got != want {
					t.Errorf("%s, rd %q: %d to %q, want %q", host, rd, res.StatusCode, got, want)
				}
			}
		}
		for host, rd := range map[string]string{"wiki": "/deep?x=1", "sso": "/tools/x"} {
			res, _ := s.get(b, s.url(host, "/.jitgate/login?rd="+url.QueryEscape(rd)), "Sec-Fetch-Mode: navigate", "Accept: text/html")
			if got, want := res.Header.Get("Location"), s.url(host, rd); res.StatusCode != 303 || got != want {
				t.Errorf("the honest twin, %s: %d to %q, want %q", host, res.StatusCode, got, want)
			}
		}
		// The same after a whole login, by way of both hosts.
		for _, rd := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "/%09/evil.example", "/.jitgate/logout"} {
			page, err := s.browser().Login(s.url("wiki", "/.jitgate/login?rd="+url.QueryEscape(rd)), "", "ann", "secret")
			if err != nil || page.URL.String() != s.url("wiki", "/") {
				t.Errorf("login with rd %q ended at %v, %v", rd, page.URL, err)
			}
		}
	})
}

// The sign-in page is for people: scripts and images of other sites must not
// push out the logins of a visitor.
func TestLoginIsForNavigation(t *testing.T) {
	t.Parallel()
	row(t, "E24 the sign-in page, fetched by another site", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, mode := range []string{"cors", "no-cors", "same-origin"} {
			res, _ := s.get(s.browser(), s.url("sso", "/.jitgate/login"), "Sec-Fetch-Mode: "+mode)
			if res.StatusCode != 403 || len(res.Header["Set-Cookie"]) != 0 {
				t.Errorf("mode %s: %d, sets %q", mode, res.StatusCode, res.Header["Set-Cookie"])
			}
		}
		page, err := s.browser().Post(s.url("sso", "/.jitgate/login"), url.Values{"domain": {"acme.example"}})
		if err != nil || page.Status != 403 {
			t.Errorf("a form of another site: %d %v", page.Status, err)
		}
		if page, err = s.browser().Open(s.url("sso", "/.jitgate/login")); err != nil || page.Status != 200 {
			t.Errorf("the honest twin: %v, %v", page, err)
		}
	})
}

func TestOwnRoutes(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, test := range []struct {
			method, host, path string
			status             int
			kind               string
		}{
			{"GET", "sso", "/.jitgate/saml/acme/metadata", 200, "application/samlmetadata+xml"},
			{"POST", "sso", "/.jitgate/saml/acme/metadata", 405, ""},
			{"GET", "wiki", "/.jitgate/saml/acme/metadata", 404, ""},
			{"GET", "sso", "/.jitgate/saml/nobody/metadata", 404, ""},
			{"GET", "sso", "/.jitgate/auth", 403, ""},
			{"GET", "sso", "/.jitgate/jwks.json", 404, ""},
			{"GET", "sso", "/.jitgate/", 404, ""},
			{"GET", "sso", "/", 404, ""},
			{"POST", "sso", "/.jitgate/session", 405, ""},
			{"DELETE", "wiki", "/.jitgate/logout", 405, ""},
			{"POST", "wiki", "/.jitgate/login", 405, ""},
			{"GET", "wiki", "/.jitgate/return", 400, ""},
			{"GET", "wiki", "/.jitgate/return?code=x", 400, ""},
		} {
			req, err := http.NewRequest(test.method, s.url(test.host, test.path), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Sec-Fetch-Mode", "navigate")
			res, body := s.do(s.browser(), req)
			if res.StatusCode != test.status || test.kind != "" && res.Header.Get("Content-Type") != test.kind {
				t.Errorf("%s %s%s: %d %s, want %d: %s", test.method, test.host, test.path, res.StatusCode, res.Header.Get("Content-Type"), test.status, body)
			}
			referrer := "same-origin"
			if strings.HasPrefix(test.path, "/.jitgate/return") {
				referrer = "no-referrer"
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": referrer} {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s %s: %s = %q, want %q", test.method, test.path, name, got, want)
				}
			}
			if len(res.Header.Get("X-Request-Id")) != 32 || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("%s %s: headers %v", test.method, test.path, res.Header)
			}
		}
	})
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		hook := hookStore(rdb)
		status := func(path string) (int, string) {
			w := httptest.NewRecorder()
			s.Admin().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			return w.Code, w.Body.String()
		}
		check := func(why string, ready int, text string) {
			t.Helper()
			if got, body := status("/readyz"); got != ready || !strings.Contains(body, text) {
				t.Errorf("%s: /readyz = %d %q, want %d %q", why, got, body, ready, text)
			}
			if got, _ := status("/healthz"); got != 200 {
				t.Errorf("%s: /healthz = %d, want 200", why, got)
			}
		}
		check("all is well", 200, "ok")
		hook.setDown(true)
		check("the store is down", 503, "redis")
		hook.setDown(false)
		s.Drain()
		check("draining", 503, "draining")
	})
}

func TestSocket(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.signedIn("ann", s.url("sso", "/tools/"))
		s.signedIn("bob", s.url("sso", "/tools/"))
		ask := func(path string, status int) (names string, next string) {
			t.Helper()
			w := httptest.NewRecorder()
			s.Socket().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			var answer struct {
				Users []provision.User
				Next  string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != status || status == 200 && answer.Users == nil {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			for _, u := range answer.Users {
				names += u.UserName + " "
			}
			return names, answer.Next
		}
		if got, _ := ask("/users", 200); got != "ann bob " {
			t.Errorf("users = %q, want %q", got, "ann bob ")
		}
		first, next := ask("/users?limit=1&directory=acme", 200)
		second, _ := ask("/users?limit=1&directory=acme&after="+url.QueryEscape(next), 200)
		if first != "ann " || second != "bob " || next == "" {
			t.Errorf("pages = %q, %q", first, second)
		}
		for path, want := range map[string]string{"/users?name=ann": "ann ", "/users?name=ANN&directory=acme": "ann ", "/users?name=nobody": "", "/users?name=ann&directory=other": "", "/users?directory=other": ""} {
			if got, _ := ask(path, 200); got != want {
				t.Errorf("%s = %q, want %q", path, got, want)
			}
		}
		for path, want := range map[string]string{
			"/users?directory=typo": `404 {"error":"no directory \"typo\""}`, "/users?name=ann&directory=typo": `404 {"error":"no directory \"typo\""}`,
			"/users?after=typo": `400 {"error":"\"typo\" is not a place in a listing"}`,
		} {
			w := httptest.NewRecorder()
			s.Socket().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if got := fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String())); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
		hookStore(rdb).setDown(true)
		ask("/users", 503)
	})
}

// H12: many first logins of one user at once make one user, and a session each.
func TestParallelFirstLogins(t *testing.T) {
	t.Parallel()
	row(t, "H12 first logins of one user at once", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		const many = 10
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				page, err := s.browser().Login(s.url("sso", "/tools/x"), "", "ann", "secret")
				if err != nil || page.Status != 200 {
					t.Errorf("%v %v", page, err)
				}
			})
		}
		all.Wait()
		users, _, err := s.users.List(t.Context(), "", "", 10)
		if err != nil || len(users) != 1 {
			t.Errorf("%d users, %v, want 1", len(users), err)
		}
		if n := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val()); n != many {
			t.Errorf("%d sessions, want %d", n, many)
		}
	})
}

// A panic is answered and logged, and does not take the connection along.
func TestPanic(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.Gateway.apps["wiki.example.com"] = []*app{nil}
		page, err := s.browser().Open(s.url("wiki", "/x"))
		if err != nil || page.Status != 500 || !strings.Contains(page.Text(), "internal_error") || strings.Contains(page.Body, "nil pointer") {
			t.Errorf("%v %v", page, err)
		}
		eventually(t, "the panic logged as what the visitor got", func() bool {
			got := s.logged("request")
			return got["code"] == "internal_error" && got["status"] == int64(500)
		})
	})
}
