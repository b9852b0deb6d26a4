package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// authSite is one whose apps another proxy forwards to.
func authSite(t *testing.T, rdb redis.UniversalClient) *site {
	return newSite(t, rdb, setup{
		top: "trusted_proxies: [192.0.2.0/24]",
		apps: "  - {name: fwd, host: wiki.example.com, path: /fwd, forward_auth: true, allow: {groups: [engineers]}, public: [/fwd/public/]}\n" +
			"  - {name: other, host: wiki.example.com, path: /fwd/other, forward_auth: true, allow: {groups: [nobody]}, headers: {preset: forwarded, X-Title: title}}\n",
	})
}

// asksAbout asks the gateway as a proxy does, at target with lines of headers.
func (s *site) asksAbout(peer, target string, cookie string, lines ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = peer + ":40000"
	r.Host = "jitgate:8080"
	r.Header.Set("Accept", "text/html")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header[name] = append(r.Header[name], value) // in whatever spelling
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func TestForwardAuth(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := authSite(t, rdb)
		cookieOf := func(user string) string {
			b := s.signedIn(user, s.url("wiki", "/public/"))
			if _, err := b.Login(s.url("wiki", "/"), "acme.example", user, "secret"); err != nil {
				t.Fatal(err)
			}
			for _, c := range b.Cookies(s.url("wiki", "/")) {
				if c.Name == "__Host-jitgate" {
					return c.Name + "=" + c.Value
				}
			}
			t.Fatalf("%s is not signed in", user)
			return ""
		}
		ann, bob := cookieOf("ann"), cookieOf("bob")
		const host, uri = "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /fwd/x?a=1"
		const peer = "192.0.2.7"
		for _, test := range []struct {
			why, peer, target, cookie string
			lines                     []string
			status                    int
		}{
			{"nginx", peer, "/.jitgate/auth", ann, []string{host, uri, "X-Forwarded-Method: GET"}, 202},
			{"without a method", peer, "/.jitgate/auth", ann, []string{host, uri}, 202},
			{"the host itself", peer, "/.jitgate/auth", ann, []string{"Host: wiki.example.com", uri}, 202},
			{"with a port", peer, "/.jitgate/auth", ann, []string{"X-Forwarded-Host: WIKI.example.com:8443", uri}, 202},
			{"ingress-nginx", peer, "/.jitgate/auth", ann, []string{"X-Original-Url: https://wiki.example.com/fwd/x?a=1", "X-Original-Method: GET"}, 202},
			{"both, and they agree", peer, "/.jitgate/auth", ann, []string{"X-Original-Url: https://wiki.example.com/fwd/x?a=1", host, uri}, 202},
			{"Envoy", peer, "/.jitgate/auth/fwd/x?a=1", ann, []string{"Host: wiki.example.com"}, 200},
			{"Envoy at the root", peer, "/.jitgate/auth/fwd/", ann, []string{"Host: wiki.example.com"}, 200},
			{"an app by its name", peer, "/.jitgate/auth?app=fwd", ann, []string{host, uri}, 202},
			{"a public path", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/public/x"}, 202},

			{"nobody", peer, "/.jitgate/auth", "", []string{host, uri}, 401},
			{"nobody, for Traefik", peer, "/.jitgate/auth?redirect=1", "", []string{host, uri}, 302},
			{"nobody, for Envoy", peer, "/.jitgate/auth/fwd/x?a=1", "", []string{"Host: wiki.example.com"}, 302},
			{"nobody's script", peer, "/.jitgate/auth?redirect=1", "", []string{host, uri, "Sec-Fetch-Mode: cors"}, 401},
			{"nobody's form", peer, "/.jitgate/auth?redirect=1", "", []string{host, uri, "X-Forwarded-Method: POST", "Origin: " + s.origin, "Sec-Fetch-Mode: navigate"}, 401},
			{"an app that jitgate forwards to", peer, "/.jitgate/auth", ann, []string{"X-Forwarded-Host: sso.example.com", "X-Forwarded-Uri: /tools/"}, 403},
			{"in no group", peer, "/.jitgate/auth", bob, []string{host, uri}, 403},
			{"in no group, for Traefik", peer, "/.jitgate/auth?redirect=1", bob, []string{host, uri}, 403},
			{"in no group of the app by its name", peer, "/.jitgate/auth?app=other", ann, []string{host, uri}, 403},
			{"no such app there", peer, "/.jitgate/auth?app=tools", ann, []string{host, uri}, 403},
			{"no such app there, for Traefik", peer, "/.jitgate/auth?app=tools&redirect=1", ann, []string{host, uri}, 404},

			{"somebody who is no proxy", "198.51.100.7", "/.jitgate/auth", ann, []string{host, uri}, 403},
			{"no proxy, as Envoy asks", "198.51.100.7", "/.jitgate/auth/fwd/public/x", "", []string{"Host: wiki.example.com"}, 403},
			{"an unknown host", peer, "/.jitgate/auth", ann, []string{"X-Forwarded-Host: evil.example.com", uri}, 403},
			{"nothing of where", peer, "/.jitgate/auth", ann, []string{host}, 403},
			{"no path", peer, "/.jitgate/auth", ann, []string{host, "X-Forwarded-Uri: http://wiki.example.com/public/"}, 403},
			{"two paths", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/x", "X-Forwarded-Uri: /fwd/public/x"}, 403},
			{"two hosts", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Host: sso.example.com", uri}, 403},
			{"two methods", peer, "/.jitgate/auth", "", []string{host, uri, "X-Forwarded-Method: GET", "X-Original-Method: POST"}, 403},
			{"a visitor's X-Original-URL", peer, "/.jitgate/auth", "", []string{"X-Original-Url: https://wiki.example.com/fwd/public/x", host, uri}, 403},
			{"a visitor's X-Original-URL of another host", peer, "/.jitgate/auth", "", []string{"X-Original-Url: https://sso.example.com/x?a=1", host, uri}, 403},
			{"hosts that do not agree", peer, "/.jitgate/auth", "", []string{"X-Original-Url: https://wiki.example.com/fwd/public/x", "X-Forwarded-Uri: /fwd/public/x", "X-Forwarded-Host: sso.example.com"}, 403},
			{"a path with another reading", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/public/../x"}, 403},
			{"a path with another reading, encoded", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/public/%2e%2e/x"}, 403},
			{"a path with two slashes", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: //wiki.example.com/fwd/public/x"}, 403},
			{"a public path in the query", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/x?/public/x"}, 401},
			{"a public path in the fragment", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/public/x#/../../x"}, 403},
			{"a path of ours", peer, "/.jitgate/auth", ann, []string{host, "X-Forwarded-Uri: /.jitgate"}, 403},
			{"a path of ours, for an app by its name", peer, "/.jitgate/auth?app=fwd", ann, []string{host, "X-Forwarded-Uri: /.jitgate/x"}, 403},
			{"a path of ours in another case", peer, "/.jitgate/auth/.JITGATE/x", ann, []string{"Host: wiki.example.com"}, 404},
			{"an app that is forwarded here", peer, "/.jitgate/auth", ann, []string{host, "X-Forwarded-Uri: /x"}, 403},
			{"an app that is forwarded here, by its name", peer, "/.jitgate/auth?app=wiki", ann, []string{host, uri}, 403},
			{"Envoy, with an app in the visitor's query", peer, "/.jitgate/auth/fwd/other/x?app=fwd", ann, []string{"Host: wiki.example.com"}, 403},
			{"Envoy, with the app's own parameter", peer, "/.jitgate/auth/fwd/x?app=nope&redirect=0", ann, []string{"Host: wiki.example.com"}, 200},
			{"our path in another spelling", peer, "/.jitgate/%61uth", ann, []string{host, uri}, 404},
			{"two cookies of sessions", peer, "/.jitgate/auth", ann + "; jitgate=x", []string{host, uri}, 403},
			{"two cookies of sessions on a public path", peer, "/.jitgate/auth", "jitgate=x;\t__Host-jitgate=y", []string{host, "X-Forwarded-Uri: /fwd/public/x"}, 403},
			{"a cookie of ours behind a comma", peer, "/.jitgate/auth", "a=b, __Host-jitgate=x", []string{host, "X-Forwarded-Uri: /fwd/public/x"}, 403},
			{"a websocket of another site", peer, "/.jitgate/auth", ann, []string{"Host: wiki.example.com", uri, "Sec-Websocket-Key: x", "Origin: https://evil.example"}, 403},
			{"a service worker before our pages", peer, "/.jitgate/auth?app=fwd", ann, []string{host, "X-Forwarded-Uri: /sw.js", "Service-Worker: script"}, 403},
			{"another path for the app", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/public/x", "X-Rewrite-Url: /x"}, 403},
			{"another method for the app", peer, "/.jitgate/auth", ann, []string{host, uri, "X-Http-Method-Override: DELETE"}, 403},
			{"somebody for the app", peer, "/.jitgate/auth", ann, []string{host, uri, "Remote-User: root"}, 403},
			{"what proxies add", peer, "/.jitgate/auth", ann, []string{host, uri, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Real-Ip: 1.2.3.4", "Forwarded: for=1.2.3.4", "X-Request-Id: x"}, 202},
			{"TRACE", peer, "/.jitgate/auth", ann, []string{host, uri, "X-Forwarded-Method: TRACE"}, 403},
			{"a header of ours", peer, "/.jitgate/auth", ann, []string{host, uri, "X-Forwarded-User: root"}, 403},
			{"a header of ours in another spelling", peer, "/.jitgate/auth", ann, []string{host, uri, "x_forwarded_user: root"}, 403},
			{"a header of ours on a public path", peer, "/.jitgate/auth", "", []string{host, "X-Forwarded-Uri: /fwd/public/x", "X-Jitgate.Domain: evil"}, 403},
			{"a header of the app in another spelling", peer, "/.jitgate/auth?app=other", ann, []string{host, uri, "X_title: root"}, 403},
		} {
			res := s.asksAbout(test.peer, test.target, test.cookie, test.lines...)
			if res.StatusCode != test.status {
				t.Errorf("%s: %d, want %d", test.why, res.StatusCode, test.status)
			}
			user, isThere := res.Header.Get("X-Forwarded-User"), len(res.Header["X-Forwarded-User"]) == 1
			if want := test.cookie == ann && test.status < 300; want && user != "ann" || !want && user != "" {
				t.Errorf("%s: says that it is %q", test.why, user)
			}
			if test.status < 300 && !isThere {
				t.Errorf("%s: lets a visitor's X-Forwarded-User pass", test.why)
			}
			if got, want := res.Header.Get("Location"), s.url("wiki", "/.jitgate/login?rd=%2Ffwd%2Fx%3Fa%3D1"); test.status == 302 && got != want {
				t.Errorf("%s: sent to %q, want %q", test.why, got, want)
			}
			if res.Header.Get("Set-Cookie") != "" || test.status >= 300 && res.Header.Get("X-Request-Id") == "" && test.status != 302 {
				t.Errorf("%s: headers %v", test.why, res.Header)
			}
		}
	})
}

// What the proxy is told is what the app would get if it was forwarded here.
func TestForwardAuthHeaders(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := authSite(t, rdb)
		b := s.signedIn("ann", s.url("wiki", "/"))
		_, body := s.get(b, s.url("wiki", "/"))
		var forwarded struct{ Header http.Header }
		if err := json.Unmarshal([]byte(body), &forwarded); err != nil {
			t.Fatal(err)
		}
		res := s.asksAbout("192.0.2.7", "/.jitgate/auth", cookieHeader(b, s), "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /fwd/")
		for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Jitgate-Directory", "X-Jitgate-Domain", "X-Jitgate-Entitlements"} {
			if got, want := res.Header.Get(name), forwarded.Header.Get(name); got != want || want == "" {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
	})
}

// A proxy may put what is left of the visitor's cookies in the place of them all.
func TestForwardAuthCookies(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := authSite(t, rdb)
		ours := cookieHeader(s.signedIn("ann", s.url("wiki", "/")), s)
		lines := []string{"Host: wiki.example.com", "X-Forwarded-Uri: /fwd/"}
		for _, test := range []struct {
			target, cookie string
			want           []string
		}{
			{"/.jitgate/auth?redirect=1", "a=b; " + ours + "; c=d", []string{"a=b; c=d"}},
			{"/.jitgate/auth/fwd/", ours + "; c=\"d, e\"", []string{"c=\"d, e\""}},
			{"/.jitgate/auth/fwd/", ours, []string{""}},
			{"/.jitgate/auth/fwd/public/", "", nil},
			{"/.jitgate/auth", "a=b; " + ours, nil}, // nginx has no room for a long answer
		} {
			res := s.asksAbout("192.0.2.7", test.target, test.cookie, lines...)
			if got := res.Header["Cookie"]; res.StatusCode >= 300 || !slices.Equal(got, test.want) {
				t.Errorf("%s: %d, cookies %q, want %q", test.target, res.StatusCode, got, test.want)
			}
		}
	})
}

// cookieHeader returns the Cookie header of somebody who is signed in at wiki.
func cookieHeader(b *testenv.Browser, s *site) string {
	var pairs []string
	for _, c := range b.Cookies(s.url("wiki", "/")) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// A store that does not answer lets nobody pass, and signs nobody out.
func TestForwardAuthStoreDown(t *testing.T) {
	t.Parallel()
	s := authSite(t, testenv.Client(t, testenv.RedisServer(t).Addr))
	cookie := cookieHeader(s.signedIn("ann", s.url("wiki", "/")), s)
	hookStore(s.rdb).setDown(true)
	res := s.asksAbout("192.0.2.7", "/.jitgate/auth", cookie, "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /fwd/")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || res.Header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v, want 503 with Retry-After and no cookie", res.StatusCode, res.Header)
	}
}

// An app that another proxy forwards to has no address here.
func TestForwardAuthAlone(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{
			top:  "trusted_proxies: [192.0.2.0/24]",
			apps: "  - {name: alone, path: /alone, forward_auth: true, allow: {any_user: true}}\n",
		})
		b := s.signedIn("ann", s.url("sso", "/tools/"))
		if res, body := s.get(b, s.url("sso", "/alone/")); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "upstream_unavailable") {
			t.Errorf("%d %s, want 502", res.StatusCode, body)
		}
	})
}
