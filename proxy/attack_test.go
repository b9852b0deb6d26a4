package proxy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/proxy/session"
)

// Rows of parts G and H of the catalogue of attacks that are not the subject of a
// test of their own.

func TestRequestAttacks(t *testing.T) {
	t.Parallel()
	row(t, "G02 Connection names the identity headers", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		for _, connection := range []string{"close", "close, X-Forwarded-User", "X-Forwarded-User, x-forwarded-groups, close", "close\nConnection: X-Jitgate-Directory", "close, Cookie, X-Request-Id"} {
			_, body := s.raw(fmt.Sprintf("GET /x HTTP/1.1\nHost: wiki.example.com\nCookie: %s\nConnection: %s\nX-Forwarded-User: evil\n\n", cookie, connection))
			h := parseEcho(t, body).Header
			if h.Get("X-Forwarded-User") != "ann" || h.Get("X-Forwarded-Groups") == "" || h.Get("X-Jitgate-Directory") != "acme" || h.Get("X-Request-Id") == "" {
				t.Errorf("Connection: %s: the app got %v", connection, h)
			}
		}
	})
	row(t, "G07 X-Original-URL and its family", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, name := range []string{"X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-Method", "X-Real-IP", "X-Envoy-Original-Path", "X-Auth-Request-Redirect"} {
			if res, _ := s.get(s.browser(), s.url("wiki", "/x"), name+": /public/x"); res.StatusCode != 401 {
				t.Errorf("%s opens a protected path: %d, want 401", name, res.StatusCode)
			}
			res, body := s.get(s.browser(), s.url("wiki", "/public/x"), name+": /admin", "X-Harmless: yes")
			e := parseEcho(t, body)
			if res.StatusCode != 200 || e.URI != "/public/x" || e.Header.Get("X-Harmless") != "yes" {
				t.Errorf("the honest twin beside %s: %d %s", name, res.StatusCode, e.URI)
			}
			if len(e.Header.Values(name)) > 0 && name != "X-Envoy-Original-Path" {
				t.Errorf("%s reached the app: %v", name, e.Header.Values(name))
			}
		}
	})
	row(t, "G14 methods, agents and headers that might open a path", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		if res, _ := s.get(s.browser(), s.url("wiki", "/healthz")); res.StatusCode != 200 {
			t.Errorf("the honest twin: %d, want 200", res.StatusCode)
		}
		for _, request := range []string{
			"GET /x HTTP/1.1\nHost: wiki.example.com\nUser-Agent: kube-probe/1.30\n",
			"GET /x HTTP/1.1\nHost: wiki.example.com\nUser-Agent: GoogleHC/1.0\n",
			"GET /x HTTP/1.1\nHost: wiki.example.com\nReferer: https://wiki.example.com/healthz\n",
			"GET /x?/healthz HTTP/1.1\nHost: wiki.example.com\n",
			"POST /x HTTP/1.1\nHost: wiki.example.com\nContent-Length: 0\n",
			"FOO /x HTTP/1.1\nHost: wiki.example.com\n",
			"GET /x HTTP/1.1\nHost: wiki.example.com\nAuthorization: Bearer x\n",
			"GET /x HTTP/1.1\nHost: wiki.example.com\nAccept: application/vnd.paos+xml\nPAOS: ver=\"urn:liberty:paos:2003-08\"\n", // CVE-2019-3878
		} {
			if res, _ := s.raw(request + "Connection: close\n\n"); res.StatusCode != 401 {
				t.Errorf("%.60q: %d, want 401", request, res.StatusCode)
			}
		}
	})
	row(t, "G17 headers that override the method", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override"} {
			_, body := s.get(s.browser(), s.url("wiki", "/public/x"), name+": DELETE", "X-Harmless: yes")
			if e := parseEcho(t, body); e.Method != "GET" || strings.Contains(fmt.Sprint(e.Header), "DELETE") || e.Header.Get("X-Harmless") != "yes" {
				t.Errorf("%s: the app was asked %s with %v", name, e.Method, e.Header)
			}
		}
		b := s.signedIn("ann", s.url("wiki", "/"))
		if res, _ := s.get(b, s.url("wiki", "/.jitgate/logout"), "X-HTTP-Method-Override: POST"); res.StatusCode != 200 {
			t.Errorf("the logout page: %d, want 200", res.StatusCode)
		}
		s.asks(b, "wiki", "/x", 200)
	})
	row(t, "G19 a public path carries no identity, even of who is signed in", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{app: `allow: {groups: [engineers]}
    headers: {preset: forwarded, X-Department: department}`})
		b := s.signedIn("ann", s.url("wiki", "/"))
		_, body := s.get(b, s.url("wiki", "/x"))
		twin := parseEcho(t, body).Header
		_, body = s.get(b, s.url("wiki", "/public/x"))
		h := parseEcho(t, body).Header
		for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Jitgate-Directory", "X-Jitgate-Domain", "X-Jitgate-Entitlements", "X-Department"} {
			if twin.Get(name) == "" {
				t.Errorf("the honest twin has no %s", name)
			}
			if values, ok := h[name]; ok {
				t.Errorf("%s = %q on a public path", name, values)
			}
		}
	})
	row(t, "G21 identity to another host that the app redirects to", func(t *testing.T, rdb redis.UniversalClient) {
		s, other := newSite(t, rdb, setup{}), newUpstream(t)
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/x", http.StatusTemporaryRedirect)
		})
		res, _ := s.get(b, s.url("wiki", "/x"))
		if res.StatusCode != 307 || res.Header.Get("Location") != other.URL+"/x" || other.requests() != 0 {
			t.Errorf("%d to %q, and the other host was asked %d times; want the answer as it is", res.StatusCode, res.Header.Get("Location"), other.requests())
		}
	})
	row(t, "G26 a letter that is another one in another case", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: kiosk, host: wiki.example.com, path: /kiosk, upstream: "UPSTREAM", allow: {groups: [nobody]}}`})
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.asks(b, "wiki", "/x", 200)
		for _, path := range []string{"/kiosk/x", "/KIOSK/x", "/%E2%84%AAiosk/x", "/kio%C5%BFk", "/%E2%84%AAIO%C5%BFK/"} { // the Kelvin sign, and the long s
			s.asks(b, "wiki", path, 403)
		}
	})
	row(t, "G24 lines of its own that a client writes into the log", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.get(s.browser(), s.url("wiki", "/public/x%0A%7B"), "User-Agent: x")
		s.get(s.browser(), s.url("wiki", "/public/x"), "X-Forwarded-For: 1.2.3.4\", \"user\":\"root")
		for _, e := range s.logs.All() {
			for _, v := range e.ContextMap() {
				if strings.ContainsAny(fmt.Sprint(v), "\n\r") || strings.Contains(fmt.Sprint(v), "root") {
					t.Errorf("a line of the log holds what the client wrote: %v", e.ContextMap())
				}
			}
		}
	})
}

func TestStoreAttacks(t *testing.T) {
	t.Parallel()
	row(t, "H11 a name that is a pattern, or a command", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.signedIn("bob", s.url("sso", "/tools/"))
		before := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"*").Val())
		s.idp.SetAttribute("ann", "userName", "a:*{x}[^b]?DEL x")
		s.idp.SetAttribute("ann", "ExternalId", "*}:{other}:users")
		s.signedIn("ann", s.url("wiki", "/"))
		users, _, err := s.users.List(t.Context(), "acme", "", 10)
		if err != nil || len(users) != 2 {
			t.Errorf("%d users, %v, want 2", len(users), err)
		}
		for _, key := range rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"*").Val() {
			if strings.ContainsAny(strings.TrimPrefix(key, s.cfg.Redis.KeyPrefix), "*?[^ ") || strings.Contains(key, "{other}") {
				t.Errorf("a key is made of what a user is called: %q", key)
			}
		}
		if after := len(rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"*").Val()); after-before > 12 {
			t.Errorf("%d keys more for one user", after-before)
		}
		s.idp.SetAttribute("ann", "userName", "a\r\nDEL x")
		page, err := s.browser().Login(s.url("wiki", "/"), "acme.example", "ann", "secret")
		if err != nil || page.Status != 403 {
			t.Errorf("a name of two lines: %v, %v, want 403", page, err)
		}
	})
	row(t, "H14 cookies made of a copy of the store", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.asks(s.signedIn("ann", s.url("wiki", "/")), "wiki", "/x", 200)
		thief := newThief(t)
		for _, key := range rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val() {
			stored := []string{strings.TrimPrefix(key, s.cfg.Redis.KeyPrefix+"{acme}:s:"), rdb.Get(t.Context(), key).Val()}
			var r session.Record
			if err := json.Unmarshal([]byte(stored[1]), &r); err != nil {
				t.Fatal(err)
			}
			raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(r.Key, "acme."))
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, r.Directory+" "+r.UserID...)
			for _, value := range append(stored, r.Login, thief(raw), thief([]byte(r.Key)), base64.URLEncoding.EncodeToString(raw)) {
				if res, _ := s.get(s.browser(), s.url("wiki", "/x"), "Cookie: __Host-jitgate="+strings.Map(cookieOctet, value)); res.StatusCode != 401 {
					t.Errorf("cookie %.40q: %d, want 401", value, res.StatusCode)
				}
			}
			// Nor where the session keys are known, since the hash is no ID.
			sealed, err := s.jar.sessions.Seal(s.jar.sessionName(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if res, _ := s.get(s.browser(), s.url("wiki", "/x"), "Cookie: __Host-jitgate="+sealed); res.StatusCode != 401 {
				t.Errorf("the hash sealed as an ID: %d, want 401", res.StatusCode)
			}
		}
	})
	row(t, "H15 a clock that is put back and forth", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		for _, step := range []time.Duration{-10 * time.Minute, 20 * time.Minute, -10 * time.Minute} {
			s.clock.Add(step)
			s.asks(b, "wiki", "/x", 200)
		}
		s.clock.Add(-time.Hour)
		s.asks(b, "wiki", "/x", 200)
		s.clock.Add(time.Hour + s.cfg.Session.Lifetime)
		s.asks(b, "wiki", "/x", 401)
	})
	row(t, "H16 the session of an identity provider that was taken out", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.asks(b, "wiki", "/x", 200)
		gone := s.replica()
		delete(gone.idps, "acme")
		if got := s.on(gone, b, "wiki", "/x"); got != 401 {
			t.Errorf("without the identity provider: %d, want 401", got)
		}
		s.asks(b, "wiki", "/x", 401) // at no other replica either
	})
	row(t, "H17 10,000 requests without a session leave no key", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		commands := hookStore(rdb)
		const many = 10_000
		paths := []string{"/x", "/public/x", "/.jitgate/login", "/.jitgate/session", "/nothing", "/x?page="}
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				for i := worker; i < many; i += 8 {
					req := mustRequest(t, s.url([]string{"wiki", "sso"}[i%2], paths[i%len(paths)]))
					req.Header.Set("Accept", "text/html")
					s.Gateway.ServeHTTP(discard{}, req)
				}
			})
		}
		all.Wait()
		if n := commands.reset(); n != 0 {
			t.Errorf("%d commands to the store, want none", n)
		}
		if keys := rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"*").Val(); len(keys) != 0 {
			t.Errorf("keys %q, want none", keys)
		}
		s.signedIn("ann", s.url("wiki", "/")) // the honest twin
		if keys := rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val(); len(keys) != 2 {
			t.Errorf("%d sessions after a login, want one on each host", len(keys))
		}
	})
}

// discard is a response that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// newThief returns what seals an ID as somebody would who has the store, and not
// the session keys.
func newThief(t *testing.T) func(id []byte) string {
	t.Helper()
	ring, err := session.NewKeyring([][]byte{[]byte(strings.Repeat("t", 64))}, "session", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return func(id []byte) string {
		sealed, err := ring.Seal("__Host-jitgate", id)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
}

// cookieOctet leaves out what cannot be in a cookie.
func cookieOctet(r rune) rune {
	if r <= ' ' || r == ';' || r == ',' || r == '"' || r == '\\' {
		return -1
	}
	return r
}
