package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/console"
)

const consoleRoot = "/.jitgate/admin"

// consolePaths are the pages of the console.
var consolePaths = []string{"", "?span=days", "/idps", "/users", "/users?prefix=a", "/groups", "/group?name=engineers", "/sessions", "/audit", "/explain", "/configuration", "/ask?do=reload"}

// postForm sends a form as a page of the same origin does.
func (s *site) postForm(b *testenv.Browser, address string, form url.Values, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return s.do(b, req)
}

// token returns what forms of the console have to send, in a browser.
func (s *site) token(b *testenv.Browser) string {
	s.t.Helper()
	_, body := s.get(b, s.url("sso", consoleRoot+"/ask?do=reload"))
	found := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(body)
	if found == nil {
		s.t.Fatalf("no form: %s", body)
	}
	return found[1]
}

// The console is for those who are named, on one host, and looks like nothing where
// nobody is.
func TestConsoleAccess(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}"})
		ann, bob := s.signedIn("ann", s.url("sso", "/tools/")), s.signedIn("bob", s.url("sso", "/tools/"))
		for _, path := range consolePaths {
			path = consoleRoot + path
			if res, body := s.get(ann, s.url("sso", path)); res.StatusCode != http.StatusOK || !strings.Contains(body, `<nav aria-label="Console">`) {
				t.Errorf("%s: %d for one of the group", path, res.StatusCode)
			} else if policy := res.Header.Get("Content-Security-Policy"); strings.Contains(body, "<script") || strings.Contains(body, "style=") || strings.Contains(policy, "script-src") ||
				!strings.Contains(policy, "frame-ancestors 'none'") || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: headers %v, or a script", path, res.Header)
			}
			if res, body := s.get(bob, s.url("sso", path)); res.StatusCode != http.StatusForbidden || strings.Contains(body, "<nav") {
				t.Errorf("%s: %d for somebody else", path, res.StatusCode)
			}
			if res, body := s.get(s.browser(), s.url("sso", path)); res.StatusCode != http.StatusUnauthorized || strings.Contains(body, "<nav") {
				t.Errorf("%s: %d for nobody", path, res.StatusCode)
			}
			if res, _ := s.get(ann, s.url("wiki", path)); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d on an app's host", path, res.StatusCode)
			}
		}
		for _, path := range []string{"/nonsense", "/do", "/user?directory=acme&id=nobody", "/user?directory=nowhere&id=x", "/group?name=nothing", "/ask?do=nonsense", "?span=years", "/users?directory=nowhere"} {
			if res, _ := s.get(ann, s.url("sso", consoleRoot+path)); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", path, res.StatusCode)
			}
		}
		for _, path := range []string{"/users?after=x", "/audit?after=x", "/audit?since=yesterday"} {
			if res, _ := s.get(ann, s.url("sso", consoleRoot+path)); res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d, want 400", path, res.StatusCode)
			}
		}
		// A group that was left is left at once.
		if _, _, err := s.users.Block(t.Context(), "acme", s.userID("ann"), audit.Event{}); err != nil {
			t.Fatal(err)
		}
		if res, _ := s.get(ann, s.url("sso", consoleRoot)); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%d for one who was blocked", res.StatusCode)
		}

		none := newSite(t, rdb, setup{})
		for _, b := range []*testenv.Browser{none.signedIn("ann", none.url("sso", "/tools/")), none.browser()} {
			if res, _ := none.get(b, none.url("sso", consoleRoot)); res.StatusCode != http.StatusNotFound {
				t.Errorf("%d where nobody may, want 404", res.StatusCode)
			}
		}
	})
}

// userID returns the ID of acme's user of a name.
func (s *site) userID(name string) string {
	s.t.Helper()
	users, err := s.users.Find(s.t.Context(), "acme", name)
	if err != nil || len(users) != 1 {
		s.t.Fatalf("%q: %v, %v", name, users, err)
	}
	return users[0].ID
}

// What is done over the console takes a form of one's own session, is what the command
// line does, and is in the audit trail with who did it.
func TestConsoleDeeds(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}"})
		ann, bob := s.signedIn("ann", s.url("sso", "/tools/")), s.signedIn("bob", s.url("sso", "/tools/"))
		id, token, do := s.userID("bob"), s.token(ann), s.url("sso", consoleRoot+"/do")
		form := func(do string, more ...string) url.Values {
			v := url.Values{"do": {do}, "token": {token}, "directory": {"acme"}, "user": {id}}
			for i := 0; i+1 < len(more); i += 2 {
				v.Set(more[i], more[i+1])
			}
			return v
		}
		same := []string{"Origin", s.origin, "Sec-Fetch-Site", "same-origin"}
		for why, try := range map[string]func() (*http.Response, string){
			"another site": func() (*http.Response, string) {
				return s.postForm(ann, do, form("block"), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
			},
			"another host of ours": func() (*http.Response, string) {
				return s.postForm(ann, do, form("block"), "Origin", s.url("wiki", ""), "Sec-Fetch-Site", "same-site")
			},
			"no token": func() (*http.Response, string) { return s.postForm(ann, do, form("block", "token", ""), same...) },
			"another session's token": func() (*http.Response, string) {
				return s.postForm(ann, do, form("block", "token", s.token(s.signedIn("ann", s.url("sso", "/tools/")))), same...)
			},
			"somebody who may not": func() (*http.Response, string) { return s.postForm(bob, do, form("block"), same...) },
			"an explanation without token": func() (*http.Response, string) {
				return s.postForm(ann, s.url("sso", consoleRoot+"/explain"), url.Values{"idp": {"acme"}, "response": {"x"}}, same...)
			},
		} {
			if res, body := try(); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %d %s", why, res.StatusCode, body)
			}
		}
		if res, _ := s.get(ann, do+"?"+form("block").Encode()); res.StatusCode != http.StatusNotFound {
			t.Errorf("by GET: %d", res.StatusCode)
		}
		if u, _, err := s.users.User(t.Context(), "acme", id); err != nil || u.Blocked != nil {
			t.Fatalf("blocked all the same: %+v, %v", u, err)
		}

		// The page asks, and the form on it does it.
		page, err := ann.Open(s.url("sso", consoleRoot+"/user?directory=acme&id="+id))
		if err != nil {
			t.Fatal(err)
		}
		if page, err = page.Follow("Block …"); err != nil || !strings.Contains(page.Text(), "Block this user?") || !strings.Contains(page.Text(), "bob") {
			t.Fatalf("asked: %v, %v", page, err)
		}
		asked, ok := page.FormWith("do", "token")
		if !ok {
			t.Fatal("no form")
		}
		if page, err = asked.Submit(); err != nil || !strings.Contains(page.Text(), "The user is blocked, and signed out everywhere.") || !strings.Contains(page.Text(), "state administrator") && !strings.Contains(page.Text(), "Unblock") {
			t.Fatalf("done: %v, %v", page.Text(), err)
		}
		if res, _ := s.get(bob, s.url("sso", "/tools/")); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("bob gets %d, want 401", res.StatusCode)
		}
		res, _ := s.postForm(ann, do, form("unblock"), same...)
		if res.StatusCode != http.StatusSeeOther {
			t.Errorf("unblock: %d", res.StatusCode)
		}
		bob = s.signedIn("bob", s.url("sso", "/tools/"))
		if res, _ = s.postForm(ann, do, form("sign-out"), same...); res.StatusCode != http.StatusSeeOther {
			t.Errorf("sign-out: %d", res.StatusCode)
		}
		if res, _ := s.get(bob, s.url("sso", "/tools/")); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("bob gets %d, want 401", res.StatusCode)
		}
		bob = s.signedIn("bob", s.url("sso", "/tools/"))
		_, body := s.get(ann, s.url("sso", consoleRoot+"/sessions"))
		link := regexp.MustCompile(`href="([^"]*do=revoke[^"]*user=` + id + `)"`).FindStringSubmatch(body)
		if link == nil {
			t.Fatalf("no session of bob's: %s", body)
		}
		u, _ := url.Parse(strings.ReplaceAll(link[1], "&amp;", "&"))
		if res, _ = s.postForm(ann, do, form("revoke", "id", u.Query().Get("id")), same...); res.StatusCode != http.StatusSeeOther {
			t.Errorf("revoke: %d", res.StatusCode)
		}
		if res, _ := s.get(bob, s.url("sso", "/tools/")); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("bob gets %d, want 401", res.StatusCode)
		}
		if res, body = s.postForm(ann, do, form("revoke", "id", "nothing"), same...); res.StatusCode != http.StatusNotFound || !strings.Contains(body, "no session &#34;nothing&#34;") {
			t.Errorf("a session that there is not: %d %s", res.StatusCode, body)
		}
		trail, err := s.users.Trail(t.Context(), provision.TrailQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]int)
		for _, e := range trail.Events {
			if e.By != "" {
				got[e.Type]++
				if e.By != "acme.example/ann" || e.Client != "127.0.0.1" || e.RequestID == "" || e.UserID != id {
					t.Errorf("recorded: %+v", e)
				}
			}
		}
		if got[audit.UserBlocked] != 1 || got[audit.UserUnblocked] != 1 || got[audit.SessionRevoked] != 3 {
			t.Errorf("recorded: %v", got)
		}
		if _, body = s.get(ann, s.url("sso", consoleRoot+"/audit?event=user_blocked")); !strings.Contains(body, "by acme.example/ann") {
			t.Errorf("the audit trail does not say who: %s", body)
		}
	})
}

// Somebody whose session has ended comes back to where they were, and no app gets what
// was for the console.
func TestConsoleSignIn(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}", apps: "  - {name: root, upstream: UPSTREAM, allow: {any_user: true}}\n"})
		b := s.browser()
		page, err := b.Login(s.url("sso", consoleRoot+"/users?prefix=an"), "acme.example", "ann", "secret")
		if err != nil {
			t.Fatal(err)
		}
		if page.Status != http.StatusOK || page.URL.String() != s.url("sso", consoleRoot+"/users?prefix=an") {
			t.Errorf("signed in, one is at %s: %d", page.URL, page.Status)
		}
		same := []string{"Origin", s.origin, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Accept", "text/html"}
		for _, path := range []string{"/do", "/explain"} {
			res, body := s.postForm(s.browser(), s.url("sso", consoleRoot+path+"?x=y"), url.Values{"do": {"block"}, "token": {"some-token"}}, same...)
			if res.StatusCode != http.StatusUnauthorized || strings.Contains(body, "some-token") || !strings.Contains(body, "/.jitgate/login") {
				t.Errorf("%s without a session: %d %s", path, res.StatusCode, body)
			}
		}
		if n := s.upstream.requests(); n != 0 {
			t.Errorf("the app was asked %d times", n)
		}
	})
}

// What a page asks about is what the form on it would be about.
func TestConsoleAsk(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}"})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		s.signedIn("bob", s.url("sso", "/tools/"))
		_, sessions := s.get(ann, s.url("sso", consoleRoot+"/sessions"))
		id := regexp.MustCompile(`do=revoke&amp;id=(acme\.[\w-]+)&amp;user=` + s.userID("ann")).FindStringSubmatch(sessions)
		if id == nil {
			t.Fatalf("no session to end in %s", sessions)
		}
		if _, body := s.get(ann, s.url("sso", consoleRoot+"/ask?do=revoke&directory=acme&user="+s.userID("bob")+"&id="+id[1])); !strings.Contains(body, "<dt>name</dt><dd>ann</dd>") {
			t.Errorf("the page does not say that the session is ann's: %s", body)
		}
		for _, query := range []string{"do=revoke&id=acme." + strings.Repeat("x", 43), "do=block&directory=acme&user=nobody", "do=nothing"} {
			if res, _ := s.get(ann, s.url("sso", consoleRoot+"/ask?"+query)); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", query, res.StatusCode)
			}
		}
	})
}

// Reload does what the command line's does, says what is wrong, and is recorded.
func TestConsoleReload(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}"})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		form := url.Values{"do": {"reload"}, "token": {s.token(ann)}}
		do, same := s.url("sso", consoleRoot+"/do"), []string{"Origin", s.origin, "Sec-Fetch-Site", "same-origin"}
		if res, body := s.postForm(ann, do, form, same...); res.StatusCode != http.StatusConflict || !strings.Contains(body, "has no configuration file") {
			t.Errorf("without a file: %d %s", res.StatusCode, body)
		}
		var result atomic.Pointer[error]
		s.memory.reload = func(context.Context) error { return *result.Load() }
		bad := error(config.Problems{{File: "jitgate.yaml", Line: 3, Col: 1, Key: "listen", Text: "is <wrong>"}})
		result.Store(&bad)
		if res, body := s.postForm(ann, do, form, same...); res.StatusCode != http.StatusConflict || !strings.Contains(body, "jitgate.yaml:3:1: listen: is &lt;wrong&gt;") {
			t.Errorf("a file that is not good: %d %s", res.StatusCode, body)
		}
		good := error(nil)
		result.Store(&good)
		if res, _ := s.postForm(ann, do, form, same...); res.StatusCode != http.StatusSeeOther || !strings.HasSuffix(res.Header.Get("Location"), "/configuration?done=reload") {
			t.Errorf("a good one: %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
		trail, err := s.users.Trail(t.Context(), provision.TrailQuery{Type: audit.Reloaded, Limit: 10})
		if err != nil || len(trail.Events) != 2 || trail.Events[0].Reason == "" || trail.Events[1].Reason != "" || trail.Events[1].By != "acme.example/ann" {
			t.Errorf("recorded: %+v, %v", trail.Events, err)
		}
		broken := errors.New("disk on fire")
		result.Store(&broken)
		if res, body := s.postForm(ann, do, form, same...); res.StatusCode != http.StatusConflict || !strings.Contains(body, "nothing has changed: disk on fire") {
			t.Errorf("what nobody expects: %d %s", res.StatusCode, body)
		}
	})
}

// Whatever people are called, it stays text; and no secret is on any page.
func TestConsoleShows(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}\nbranding: {name: Tools & Co}"})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		const nasty = `"><script>alert(1)</script>`
		out, err := s.users.SignIn(t.Context(), provision.SignIn{IdP: "acme", Attributes: map[string][]string{
			"userName": {nasty}, "email": {"x@acme.example"}, "domain": {"acme.example"}, "department": {"Engineering"}, "displayName": {nasty},
		}})
		if err != nil {
			t.Fatal(err)
		}
		paths := append([]string{"/user?directory=acme&id=" + out.User.ID, "/ask?do=block&directory=acme&user=" + out.User.ID, "/audit?user=" + url.QueryEscape(nasty), "/users?prefix=" + url.QueryEscape(nasty)}, consolePaths...)
		shown := 0
		for _, path := range paths {
			res, body := s.get(ann, s.url("sso", consoleRoot+path))
			if res.StatusCode != http.StatusOK || strings.Contains(body, nasty) || strings.Contains(body, "<script") {
				t.Errorf("%s: %d, or a name broke out:\n%s", path, res.StatusCode, body)
			}
			shown += strings.Count(body, "&lt;script&gt;alert(1)")
			for _, secret := range []string{strings.Repeat("k", 64), "a2tra2tra2tr", "PRIVATE KEY"} {
				if strings.Contains(body, secret) {
					t.Errorf("%s shows the secret %q", path, secret)
				}
			}
		}
		if shown < 6 {
			t.Errorf("the name is shown %d times: was it looked at?", shown)
		}
		for path, want := range map[string]string{
			"/groups":                   "department is &#34;Engineering&#34;",
			"/group?name=engineers":     ">ann</a>",
			"/idps":                     s.idpURL,
			"/configuration":            "keys: [&#34;[secret]&#34;]",
			"/audit?event=user_created": "user_created",
			"/users?prefix=an":          ">ann</a>",
			"/sessions":                 "sso.example.com",
			"":                          "<title>Overview – Tools &amp; Co console</title>",
		} {
			if _, body := s.get(ann, s.url("sso", consoleRoot+path)); !strings.Contains(body, want) {
				t.Errorf("%s lacks %s:\n%s", path, want, body)
			}
		}
	})
}

// The charts and the list of identity providers tell the sign-ins that there were.
func TestConsoleCounts(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: others, top: "admin: {groups: [engineers]}"})
		login := func(query string) *testenv.Browser {
			t.Helper()
			b := s.browser()
			if _, err := b.Login(s.url("sso", "/.jitgate/login?"+query), "", "ann", "secret"); err != nil {
				t.Fatal(err)
			}
			return b
		}
		ann := login("idp=acme")
		login("idp=acme")
		s.second.SetAttribute("ann", "email")
		login("idp=acme-two")
		s.writeTally()
		_, body := s.get(ann, s.url("sso", consoleRoot))
		for _, want := range []string{"the last 24 hours (UTC): 2 sign-ins", "acme (2)", "the last 24 hours (UTC): 1 failures", "attribute_missing (1)", `<rect class="s0"`} {
			if !strings.Contains(body, want) {
				t.Errorf("the overview lacks %s:\n%s", want, body)
			}
		}
		s.clock.Add(25 * time.Hour)
		c, err := s.tallied(t.Context(), spans["days"])
		if err != nil || len(c.times) != 14 {
			t.Fatalf("%v, %v", c.times, err)
		}
		for name, of := range map[string]map[string][]int64{"acme 2": c.good, "attribute_missing 1": c.failed} {
			var got []string
			for key, values := range of {
				got = append(got, fmt.Sprint(key, " ", console.Series{Values: values}.Sum()))
			}
			if len(got) != 1 || got[0] != name {
				t.Errorf("of 14 days: %q, want %s", got, name)
			}
		}
		if c, err = s.tallied(t.Context(), spans[""]); err != nil || len(c.good)+len(c.failed) > 0 {
			t.Errorf("of a day later: %+v, %v", c, err)
		}
		last, err := s.lastSignIns(t.Context())
		if err != nil || last["acme"].IsZero() || !last["acme-two"].IsZero() {
			t.Errorf("last sign-ins: %v, %v", last, err)
		}
	})
}

// A response is explained as the command line does it, and not used up.
func TestConsoleExplain(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "admin: {groups: [engineers]}"})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		b := s.browser()
		b.Hold = true
		page, err := b.Login(s.url("sso", "/tools/"), "", "bob", "secret")
		if err != nil {
			t.Fatal(err)
		}
		held, ok := page.FormWith("SAMLResponse")
		if !ok {
			t.Fatal("no response")
		}
		token, same := s.token(ann), []string{"Origin", s.origin, "Sec-Fetch-Site", "same-origin"}
		explain := func(response string) (int, string) {
			res, body := s.postForm(ann, s.url("sso", consoleRoot+"/explain"), url.Values{"token": {token}, "idp": {"acme"}, "response": {response}}, same...)
			return res.StatusCode, body
		}
		status, body := explain(held.Values.Get("SAMLResponse"))
		for _, want := range []string{"It would be accepted", "bob (new)", "<td>tools</td><td>allowed</td>", `<td>wiki</td><td><strong class="bad">forbidden</strong></td>`, "X-Forwarded-User: bob", "signature"} {
			if status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%d lacks %s:\n%s", status, want, body)
			}
		}
		if status, body = explain(`<Response xmlns="urn:oasis:names:tc:SAML:2.0:protocol"/>`); status != http.StatusOK || !strings.Contains(body, "It would be refused: saml_invalid") {
			t.Errorf("an empty response: %d\n%s", status, body)
		}
		if status, body = explain("nonsense!"); status != http.StatusOK || !strings.Contains(body, "This is not a response") {
			t.Errorf("nonsense: %d\n%s", status, body)
		}
		if status, _ = explain(strings.Repeat("A", maxPasted)); status != http.StatusBadRequest {
			t.Errorf("too much: %d", status)
		}
		if page, err = held.Submit(); err != nil || page.Status != http.StatusOK {
			t.Errorf("the response was used up: %d %v", page.Status, err)
		}
	})
}

// BenchmarkConsole times each page over 100,000 users and a million lines of audit
// trail: it must stay below 200 ms.
func BenchmarkConsole(b *testing.B) {
	rdb := testenv.Client(b, testenv.RedisServer(b).Addr)
	s := newSite(b, rdb, setup{top: "admin: {groups: [engineers]}"})
	fillConsole(b, s, 100_000, 1_000_000)
	ann := s.signedIn("ann", s.url("sso", "/tools/"))
	_, users := s.get(ann, s.url("sso", consoleRoot+"/users"))
	deep := regexp.MustCompile(`href="/.jitgate/admin(/users\?after=[^"]+)"`).FindStringSubmatch(users)
	for _, path := range append([]string{deep[1], "/audit?user=u77777", "/audit?event=user_blocked", "/audit?idp=acme", "/users?prefix=u9999", "/group?name=nobody", "/user?directory=acme&id=" + s.userID("ann")}, consolePaths...) {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if res, body := s.get(ann, s.url("sso", consoleRoot+path)); res.StatusCode != http.StatusOK {
					b.Fatalf("%d %s", res.StatusCode, body)
				}
			}
			if each := b.Elapsed() / time.Duration(b.N); each > 200*time.Millisecond {
				b.Errorf("%s", each)
			}
		})
	}
}

// fillConsole writes users and events of them, as they are stored.
func fillConsole(b *testing.B, s *site, users, events int) {
	b.Helper()
	out, err := s.users.SignIn(b.Context(), provision.SignIn{IdP: "acme", Attributes: map[string][]string{"userName": {"u"}, "email": {"u@acme.example"}, "domain": {"acme.example"}, "department": {"Sales"}}})
	if err != nil {
		b.Fatal(err)
	}
	tag := s.cfg.Redis.KeyPrefix + "{acme}:"
	record, err := s.rdb.HGet(b.Context(), tag+"users", out.User.ID).Result()
	if err != nil {
		b.Fatal(err)
	}
	each := func(n int, do func(pipe redis.Pipeliner, i int)) {
		for at := 0; at < n; at += 5000 {
			pipe := s.rdb.Pipeline()
			for i := at; i < min(at+5000, n); i++ {
				do(pipe, i)
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	each(users, func(pipe redis.Pipeliner, i int) {
		name, id := fmt.Sprintf("u%05d", i), fmt.Sprintf("%032x", i)
		mine := strings.NewReplacer(out.User.ID, id, `"u"`, `"`+name+`"`).Replace(record)
		pipe.HSet(b.Context(), tag+"users", id, mine)
		pipe.HSet(b.Context(), tag+"names", "acme.example/"+name, id)
		pipe.ZAdd(b.Context(), tag+"list", redis.Z{Member: "acme.example/" + name + "\x00" + id})
		pipe.HSet(b.Context(), tag+"seen", id, fmt.Sprintf("%d x", time.Now().UnixMilli()))
	})
	begin := time.Now().UnixMilli() + 1
	line := func(i int) string {
		data, err := json.Marshal(audit.Event{Time: time.Now().UTC(), Type: audit.Login, Directory: "acme", IdP: "acme", UserID: fmt.Sprintf("%032x", i%users), UserName: fmt.Sprintf("u%05d", i%users), Client: "10.0.0.1", RequestID: "abc"})
		if err != nil {
			b.Fatal(err)
		}
		return string(data)
	}
	each(events, func(pipe redis.Pipeliner, i int) {
		pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: audit.Key(s.cfg.Redis.KeyPrefix, []string{"acme", "other"}[i%2]), ID: fmt.Sprintf("%d-1", begin+int64(i)), Values: []string{audit.Field, line(i)}})
	})
}
