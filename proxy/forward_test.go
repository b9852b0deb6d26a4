package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// raw sends bytes to the gateway as they are, and returns its answer with the
// body. Lines may end in \n alone here.
func (s *site) raw(request string) (*http.Response, string) {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%.300q: %v", request, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// dial connects to the gateway.
func (s *site) dial() net.Conn {
	s.t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:"+s.port, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// cookie returns the Cookie header of a browser on the host of wiki.
func (s *site) cookie(b *testenv.Browser) string {
	var pairs []string
	for _, c := range b.Cookies(s.url("wiki", "/")) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// Identity that a client sends never reaches an app, however it is spelled, be
// the path protected or public.
func TestSpoofedIdentity(t *testing.T) {
	t.Parallel()
	row(t, "G01 identity headers in every spelling, and with Connection naming them", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{app: `allow: {groups: [engineers]}
    headers: {preset: forwarded, X-Department: department, Remote-User: userName, Titles: title, Display: displayName, Ext: ExternalId}`})
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		names := []string{
			"X-Forwarded-User", "x-forwarded-user", "X-FORWARDED-USER", "X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User", "X-Forwarded-User_",
			"XForwardedUser", "X--Forwarded--User", "X~Forwarded~User", "X-Forwarded-User-", "X!Forwarded!User", "x+forwarded+user",
			"X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-Foo",
			"X-Jitgate-Directory", "X_Jitgate_Domain", "X-Jitgate-Entitlements", "X-Jitgate-Assertion", "X-Jitgate-Anything",
			"X-Department", "X_DEPARTMENT", "x-department", "XDepartment", "Remote-User", "Remote_User", "REMOTE-USER", "Titles", "TITLES", "Ext", "Display",
			"X-Remote-User", "X-Auth-Request-User", "X-WEBAUTH-USER", "X-Authenticated-User", "Remote-Groups", "Remote-Email", "Remote-Name",
			"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Method", "X-Forwarded-Server", "X-Forwarded-Port",
			"X-Original-URL", "X-Original-Uri", "X-Rewrite-URL", "X-Real-IP", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Request-Id", "Proxy", "X-Client-Ip",
			"X-User", "X-Auth-User", "SSL-Client-Cert", "X-SSL-Client-S-DN", "X-Client-Cert", "Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "X-HTTP-Host-Override", "X-Sendfile-Type", "X-Accel-Mapping",
			"Some_Header", "Some.Header",
		}
		ours := map[string]string{
			"X-Forwarded-User": "ann", "X-Forwarded-Email": "ann@acme.example", "X-Forwarded-Groups": "a%2Cb,engineers",
			"X-Jitgate-Directory": "acme", "X-Jitgate-Domain": "acme.example", "X-Jitgate-Entitlements": "wiki",
			"X-Department": "Engineering", "Remote-User": "ann", "Titles": "a%2Cb%25,c", "Display": "Doe, Änn 100%",
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "wiki.example.com:" + s.port,
		}
		alone := map[string]bool{"X-Request-Id": true, "X-Forwarded-For": true, "X-Forwarded-Proto": true, "X-Forwarded-Host": true}
		for _, path := range []string{"/x", "/public/x"} {
			for _, name := range names {
				res, body := s.raw(fmt.Sprintf("GET %s HTTP/1.1\nHost: wiki.example.com:%s\nCookie: %s\nConnection: close, X-Forwarded-User, X-Jitgate-Domain, Remote-User\nX-Harmless: yes\n%s: evil\n%s: evil,evil\n\n", path, s.port, cookie, name, name))
				if res.StatusCode != http.StatusOK {
					t.Errorf("%s, %s: %d", path, name, res.StatusCode)
					continue
				}
				e := parseEcho(t, body)
				if strings.Contains(fmt.Sprint(e.Header), "evil") {
					t.Errorf("%s, %s: reached the app: %v", path, name, e.Header)
				}
				if e.Header.Get("X-Harmless") != "yes" {
					t.Errorf("%s, %s: other headers did not reach the app", path, name)
				}
				for header, want := range ours {
					if path == "/public/x" && !alone[header] {
						want = ""
					}
					if got := strings.Join(e.Header.Values(header), "|"); got != want {
						t.Errorf("%s, %s: %s = %q, want %q", path, name, header, got, want)
					}
				}
				if _, ok := e.Header["Ext"]; ok {
					t.Errorf("%s, %s: Ext = %q, want none: ann has no such attribute", path, name, e.Header["Ext"])
				}
			}
		}
	})
}

// G03: a trailer is a header too, to some.
func TestTrailers(t *testing.T) {
	t.Parallel()
	row(t, "G03 identity in trailers", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		_, body := s.raw("POST /public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close, te\nTE: trailers\nTrailer: X-Forwarded-User\nTransfer-Encoding: chunked\n\n4\nbody\n0\nX-Forwarded-User: evil\n\n")
		e := parseEcho(t, body)
		if e.Body != "body" || len(e.Trailer) != 0 || e.Header.Get("Te") != "" || e.Header.Get("Trailer") != "" {
			t.Errorf("the app got body %q, trailer %v, headers %v; want the body alone", e.Body, e.Trailer, e.Header)
		}
		// The app's own trailers go back.
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Checksum")
			io.WriteString(w, "x")
			w.Header().Set("X-Checksum", "42")
		})
		res, _ := s.get(s.browser(), s.url("wiki", "/public/x"))
		if got := res.Trailer.Get("X-Checksum"); got != "42" {
			t.Errorf("the app's trailer = %q, want %q", got, "42")
		}
	})
}

// G04, G14: what the app is asked for is what was authorised.
func TestPaths(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: admin, host: wiki.example.com, path: /admin, upstream: "UPSTREAM", allow: {groups: [nobody]}, public: [/admin/open]}`,
			top: ""})
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		const preflight = "OPTIONS\nOrigin: https://evil.example\nAccess-Control-Request-Method: POST\n"
		for _, test := range []struct {
			why, method, target, cookie string
			status                      int
			uri                         string // that the app gets
		}{
			{"G04 signed in", "GET", "/x/y?z", cookie, 200, "/x/y?z"},
			{"G04 not signed in", "GET", "/x", "", 401, ""},
			{"G14 public", "GET", "/public/x", "", 200, "/public/x"},
			{"G14 public, exactly", "GET", "/healthz", "", 200, "/healthz"},
			{"G04 below an exact path", "GET", "/healthz/x", "", 401, ""},
			{"G04 beside it", "GET", "/healthzx", "", 401, ""},
			{"G04 the folder itself, without a slash", "GET", "/public", "", 401, ""},
			{"G14 public paths are exact in case", "GET", "/Public/x", "", 401, ""},
			{"G14 public with a query", "GET", "/public/x?../../y", "", 200, "/public/x?../../y"},
			{"G14 a query decides nothing", "GET", "/x?/public/", "", 401, ""},
			{"G04 encoded letters are letters", "GET", "/%70ublic/x", "", 200, "/public/x"},
			{"G14 out of public", "GET", "/public/../x", "", 400, ""},
			{"G14 out of public, encoded", "GET", "/public/%2e%2e/x", "", 400, ""},
			{"G14 out of public, encoded slash", "GET", "/public/..%2fx", "", 400, ""},
			{"G14 out of public, path parameter", "GET", "/public/..;/x", "", 400, ""},
			{"G14 out of public, backslash", "GET", `/public/..\x`, "", 400, ""},
			{"G04 out of public, half encoded", "GET", "/public/.%2E/x", "", 400, ""},
			{"G04 out of public, encoded twice", "GET", "/public/%252e%252e/x", "", 400, ""},
			{"G04 out of public, encoded path parameter", "GET", "/public/..%3bx=y/x", "", 400, ""},
			{"G04 out of public, encoded backslash", "GET", "/public/..%5cx", "", 400, ""},
			{"G04 out of public, without a slash (CVE-2026-48020)", "GET", "/public../x", "", 401, ""},
			{"G04 NUL", "GET", "/public/x%00.png", "", 400, ""},
			{"G04 an encoded fragment", "GET", "/x%23/public/", "", 400, ""},
			{"G04 another app, by way of a dot", "GET", "/./admin/x", cookie, 400, ""},
			{"G04 another app, overlong UTF-8", "GET", "/x/%c0%ae%c0%ae/admin", cookie, 400, ""},
			{"G04 fullwidth letters are others", "GET", "/%EF%BD%81dmin/x", cookie, 200, "/%EF%BD%81dmin/x"},
			{"G04 the long s is another letter", "GET", "/%C5%BF", cookie, 200, "/%C5%BF"},
			{"G04 fullwidth dots are letters", "GET", "/x/．．/admin", cookie, 200, "/x/%EF%BC%8E%EF%BC%8E/admin"},
			{"G14 in an encoded query", "GET", "/x%3F/public/", "", 401, ""},
			{"G14 in a fragment", "GET", "/x#/healthz", "", 400, ""},
			{"G14 HEAD", "HEAD", "/x", "", 401, ""},
			{"G14 a public path by another method", "DELETE", "/public/x", "", 200, "/public/x"},
			{"G04 a fragment (CVE-2026-41059)", "GET", "/x#/public/", "", 400, ""},
			{"G14 a fragment in a public path", "GET", "/public/#x", "", 400, ""},
			{"G04 another app", "GET", "/admin/x", cookie, 403, ""},
			{"G04 another app, itself", "GET", "/admin", cookie, 403, ""},
			{"G04 another app, in another case", "GET", "/ADMIN/x", cookie, 403, ""},
			{"G04 another app, encoded", "GET", "/%61dmin/x", cookie, 403, ""},
			{"G04 another app, two slashes", "GET", "//admin/x", cookie, 400, ""},
			{"G14 another app's public path", "GET", "/admin/open", "", 200, "/admin/open"},
			{"G04 dots after a name (CVE-2026-48020)", "GET", "/admin../x", cookie, 200, "/admin../x"},
			{"G04 a longer name", "GET", "/admins", cookie, 200, "/admins"},
			{"G04 unparseable query, untouched", "GET", "/x?a=1;b=2&c=%zz", cookie, 200, "/x?a=1;b=2&c=%zz"},
			{"G04 an empty query", "GET", "/x?", cookie, 200, "/x?"},
			{"G18 many parameters", "GET", "/x?" + strings.Repeat("a=1&", 10001), cookie, 200, "/x?" + strings.Repeat("a=1&", 10001)},
			{"G18 many parameters, without a session", "GET", "/x?" + strings.Repeat("a=1&", 10001), "", 401, ""},
			{"G18 what comes after so many (CVE-2026-39825)", "GET", "/x?" + strings.Repeat("a=1&", 10001) + "admin=1", cookie, 200, "/x?" + strings.Repeat("a=1&", 10001) + "admin=1"},
			{"G05 absolute form of the same host", "GET", "https://wiki.example.com/x", cookie, 200, "/x"},
			{"G05 absolute form of another host", "GET", "http://evil.example/x", cookie, 421, ""},
			{"G13 TRACE", "TRACE", "/x", cookie, 405, ""},
			{"G13 trace in lower case", "trace", "/x", cookie, 405, ""},
			{"G13 TRACK", "TRACK", "/x", cookie, 405, ""},
			{"G13 CONNECT", "CONNECT", "/x", cookie, 405, ""},
			{"G13 CONNECT to a host", "CONNECT", "127.0.0.1:22", cookie, 405, ""},
			{"G13 CONNECT to our own host", "CONNECT", "wiki.example.com:443", cookie, 405, ""},
			{"G13 TRACE of a public path", "TRACE", "/public/x", "", 405, ""},
			{"G12 OPTIONS without a session", "OPTIONS", "/x", "", 401, ""},
			{"G12 OPTIONS with one", "OPTIONS", "/x", cookie, 200, "/x"},
			{"G12 OPTIONS of the whole server", "OPTIONS", "*", cookie, 400, ""},
			{"G12 a preflight without a session", preflight, "/x", "", 401, ""},
			{"G12 a preflight with one", preflight, "/x", cookie, 200, "/x"},
			{"G12 a preflight of another app", preflight, "/admin/x", cookie, 403, ""},
			{"G12 a preflight of a public path", preflight, "/public/x", "", 200, "/public/x"},
			{"G04 other methods pass", "PROPFIND", "/x", cookie, 200, "/x"},
			{"G04 our own prefix never goes up", "GET", "/.jitgate/x", cookie, 404, ""},
			{"G04 our own prefix alone", "GET", "/.jitgate", cookie, 404, ""},
			{"G04 our own prefix, another case", "GET", "/.JITGATE/login", cookie, 404, ""},
			{"G04 not our prefix", "GET", "/.jitgates", cookie, 200, "/.jitgates"},
		} {
			t.Run(test.why, func(t *testing.T) {
				twin := func(target string) string {
					return fmt.Sprintf("GET %s HTTP/1.1\nHost: wiki.example.com\nCookie: %s\nConnection: close\n\n", target, cookie)
				}
				for _, target := range []string{"/x", "/public/x"} {
					if res, _ := s.raw(twin(target)); res.StatusCode != 200 {
						t.Errorf("the honest twin, %s: %d, want 200", target, res.StatusCode)
					}
				}
				before := s.upstream.requests()
				method, headers, _ := strings.Cut(test.method, "\n")
				res, body := s.raw(fmt.Sprintf("%s %s HTTP/1.1\nHost: wiki.example.com\nCookie: %s\n%sConnection: close\n\n", method, test.target, test.cookie, headers))
				if res.StatusCode != test.status {
					t.Errorf("%d, want %d: %.300s", res.StatusCode, test.status, body)
					return
				}
				if test.uri == "" {
					if n := s.upstream.requests() - before; n != 0 {
						t.Error("it reached the app")
					}
					return
				}
				if e := parseEcho(t, body); e.URI != test.uri || e.Method != method {
					t.Errorf("the app was asked %s %.80q, want %.80q", e.Method, e.URI, test.uri)
				}
			})
		}
	})
}

// G05: hosts.
func TestHosts(t *testing.T) {
	t.Parallel()
	row(t, "G05 hosts that are not served, or look like one that is", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, test := range []struct {
			host   string
			status int
			want   string // Host that the app gets
		}{
			{"wiki.example.com", 200, "wiki.example.com:" + s.port},
			{"WIKI.Example.Com:8443", 200, "wiki.example.com:" + s.port},
			{"wiki.example.com.", 200, "wiki.example.com:" + s.port},
			{"sso.example.com", 404, ""},
			{"evil.example", 421, ""},
			{"wiki.example.com.evil.example", 421, ""},
			{"xwiki.example.com", 421, ""},
			{"wiki.example.com..", 421, ""},
			{"wiki.example.com:80x", 421, ""},
			{"127.0.0.1", 421, ""},
			{"", 421, ""},
		} {
			res, body := s.raw(fmt.Sprintf("GET /public/x HTTP/1.1\nHost: %s\nConnection: close\n\n", test.host))
			if res.StatusCode != test.status && (test.host != "wiki.example.com:80x" || res.StatusCode != 400) {
				t.Errorf("Host %q: %d, want %d: %s", test.host, res.StatusCode, test.status, body)
				continue
			}
			if test.status == 200 {
				if e := parseEcho(t, body); e.Host != test.want || e.Header.Get("X-Forwarded-Host") != test.want {
					t.Errorf("Host %q: the app got %q and %q, want %q", test.host, e.Host, e.Header.Get("X-Forwarded-Host"), test.want)
				}
			}
		}
		for target, want := range map[string]int{
			"https://wiki.example.com/public/x": 200, "https://wiki.example.com:8443/public/x": 200, "HTTPS://WIKI.example.com./public/x": 200,
			"http://evil.example/public/x": 421, "https://evil.example:443/public/x": 421, "https://wiki.example.com@evil.example/public/x": 421,
			"https://wiki.example.com//public/x": 400, "https://wiki.example.com": 400,
		} {
			res, body := s.raw("GET " + target + " HTTP/1.1\nHost: wiki.example.com\nConnection: close\n\n")
			if res.StatusCode != want {
				t.Errorf("absolute form %s: %d, want %d", target, res.StatusCode, want)
			} else if want == 200 {
				if e := parseEcho(t, body); e.URI != "/public/x" || e.Host != "wiki.example.com:"+s.port {
					t.Errorf("absolute form %s: the app was asked %s of %s", target, e.URI, e.Host)
				}
			}
		}
		// The target counts, and not what Host says beside it.
		if res, _ := s.raw("GET https://wiki.example.com/public/x HTTP/1.1\nHost: evil.example\nConnection: close\n\n"); res.StatusCode != 200 {
			t.Errorf("absolute form with another Host: %d, want 200", res.StatusCode)
		}
		if res, _ := s.raw("GET /public/x HTTP/1.0\nConnection: close\n\n"); res.StatusCode != 421 {
			t.Errorf("HTTP/1.0 without Host: %d, want 421", res.StatusCode)
		}
		if res, _ := s.raw("GET /public/x HTTP/1.1\nHost: wiki.example.com\nHost: wiki.example.com\nConnection: close\n\n"); res.StatusCode != 400 {
			t.Errorf("two Host headers: %d, want 400", res.StatusCode)
		}
	})
}

// G06: X-Forwarded-For is believed from trusted proxies alone.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	row(t, "G06 X-Forwarded-For of whom nobody trusts", func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, trusted string
			sent         []string
			want, client string
		}{
			{"nobody is trusted", "[]", []string{"192.0.2.1"}, "127.0.0.1", "127.0.0.1"},
			{"another network is", "[10.0.0.0/8]", []string{"192.0.2.1"}, "127.0.0.1", "127.0.0.1"},
			{"a trusted proxy", "[127.0.0.1]", []string{"192.0.2.1"}, "192.0.2.1, 127.0.0.1", "192.0.2.1"},
			{"a trusted proxy that says nothing", "[127.0.0.1]", nil, "127.0.0.1", "127.0.0.1"},
			{"what the client had put there is dropped", "[127.0.0.1]", []string{"10.9.9.9, 192.0.2.1"}, "192.0.2.1, 127.0.0.1", "192.0.2.1"},
			{"the same in two lines", "[127.0.0.1]", []string{"10.9.9.9", "192.0.2.1"}, "192.0.2.1, 127.0.0.1", "192.0.2.1"},
			{"two trusted proxies", "[127.0.0.0/8, 10.0.0.0/8]", []string{"6.6.6.6, 192.0.2.1, 10.0.0.7"}, "192.0.2.1, 10.0.0.7, 127.0.0.1", "192.0.2.1"},
			{"not an address", "[127.0.0.1]", []string{"unknown"}, "127.0.0.1", "127.0.0.1"},
			{"with a port, IPv6", "[127.0.0.1]", []string{"[2001:db8::1]:4711"}, "2001:db8::1, 127.0.0.1", "2001:db8::1"},
		} {
			s := newSite(t, rdb, setup{top: "trusted_proxies: " + test.trusted})
			var headers []string
			for _, v := range test.sent {
				headers = append(headers, "X-Forwarded-For: "+v)
			}
			_, body := s.get(s.browser(), s.url("wiki", "/public/x"), headers...)
			if got := parseEcho(t, body).Header.Get("X-Forwarded-For"); got != test.want {
				t.Errorf("%s: X-Forwarded-For = %q, want %q", test.why, got, test.want)
			}
			eventually(t, "logged", func() bool { return s.logged("request") != nil })
			if got := s.logged("request")["client"]; got != test.client {
				t.Errorf("%s: client = %q, want %q", test.why, got, test.client)
			}
		}
	})
}

// G10: our cookies do not reach an app, others do, byte for byte; and no app can
// set ours.
func TestCookiesAreKept(t *testing.T) {
	t.Parallel()
	row(t, "G10 the gateway's cookies to an app and from one", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, test := range []struct{ sent, want string }{
			{`a=1; b="x y"; c=d=e;f;  g=`, `a=1; b="x y"; c=d=e;f;  g=`},
			{`a=1; __Host-jitgate=SECRET; b=2`, `a=1; b=2`},
			{`__Host-jitgate=SECRET; b=2`, `b=2`},
			{`a=1; __Host-jitgate=SECRET`, `a=1`},
			{`__Host-jitgate=SECRET`, ``},
			{`__host-JITGATE=SECRET; a=1`, `a=1`},
			{`__Host-jitgate-login-X=SECRET; __Host-jitgate-return=SECRET; __Host-jitgate-domain=SECRET; a=1`, `a=1`},
			{`jitgate=SECRET; jitgate-login-Y=SECRET; jitgate-return=SECRET; jitgate-domain=SECRET; jitgate-logout=SECRET; a=1`, `a=1`},
			{`jitgatex=mine; my-jitgate=mine; jitgate_theme=mine`, `jitgatex=mine; my-jitgate=mine; jitgate_theme=mine`},
			{`a=1;__Host-jitgate =SECRET;b=2`, `a=1;b=2`},
			{"a=1;\t__Host-jitgate=SECRET", `a=1`},
		} {
			_, body := s.get(s.browser(), s.url("wiki", "/public/x"), "Cookie: "+test.sent)
			if got := parseEcho(t, body).Header.Get("Cookie"); got != test.want {
				t.Errorf("Cookie %q reached the app as %q, want %q", test.sent, got, test.want)
			}
		}
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			for _, c := range []string{"a=1; Path=/", "__Host-jitgate=EVIL; Secure; Path=/", "__Host-jitgate-login-x=EVIL", "jitgate=EVIL", " __host-jitgate=EVIL", "jitgate-return=EVIL", "jitgatex=2"} {
				w.Header().Add("Set-Cookie", c)
			}
		})
		res, _ := s.get(s.browser(), s.url("wiki", "/public/x"))
		if got, want := strings.Join(res.Header["Set-Cookie"], "|"), "a=1; Path=/|jitgatex=2"; got != want {
			t.Errorf("Set-Cookie = %q, want %q", got, want)
		}
	})
}

// G16: nobody shares what was made for one visitor.
func TestCacheControl(t *testing.T) {
	t.Parallel()
	row(t, "G16 shared caches", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		cdnHeaders := []string{"CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control", "Edge-Control", "X-Accel-Expires"}
		for _, test := range []struct{ path, sent, want string }{
			{"/x", "", "private, no-store"},
			{"/x", "no-cache", "private, no-cache"},
			{"/x", "public, max-age=60", "private, max-age=60"},
			{"/x", "max-age=60, s-maxage=600", "private, max-age=60"},
			{"/x", "PUBLIC", "private"},
			{"/x", "private, max-age=60", "private, max-age=60"},
			{"/public/x", "", ""},
			{"/public/x", "public, max-age=60", "public, max-age=60"},
		} {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
				if test.sent != "" {
					w.Header().Set("Cache-Control", test.sent)
				}
				for _, name := range cdnHeaders {
					w.Header().Set(name, "max-age=60")
				}
				w.Header().Set("X-Request-Id", "the app's own")
			})
			res, _ := s.get(b, s.url("wiki", test.path))
			if got := strings.Join(res.Header["Cache-Control"], "|"); got != test.want {
				t.Errorf("%s, %q: Cache-Control = %q, want %q", test.path, test.sent, got, test.want)
			}
			for _, name := range cdnHeaders {
				if got := res.Header.Get(name); (got == "") != (test.path == "/x") {
					t.Errorf("%s: %s = %q", test.path, name, got)
				}
			}
			if got := res.Header["X-Request-Id"]; len(got) != 1 || len(got[0]) != 32 {
				t.Errorf("%s: X-Request-Id = %q, want ours alone", test.path, got)
			}
		}
		for path, status := range map[string]int{
			"/x": 302, "/.jitgate/login": 302, "/%2e": 400, "/.jitgate/nothing": 404, "/.jitgate/logout": 200,
		} {
			res, _ := s.raw("GET " + path + " HTTP/1.1\nHost: wiki.example.com\nAccept: text/html\nConnection: close\n\n")
			if got := res.Header.Get("Cache-Control"); res.StatusCode != status || got != "no-store" {
				t.Errorf("our own %s: %d with Cache-Control %q, want %d and no-store", path, res.StatusCode, got, status)
			}
		}
		if res, _ := s.raw("GET /x HTTP/1.1\nHost: evil.example\nConnection: close\n\n"); res.StatusCode != 421 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("another host: %d %v", res.StatusCode, res.Header)
		}
		s.upstream.Close()
		if res, _ := s.get(b, s.url("wiki", "/public/x")); res.StatusCode != 502 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("the app is down: %d %v", res.StatusCode, res.Header)
		}
	})
}

// What the app answers goes back as it is, and what is badly framed does not go up.
func TestPassesAnswers(t *testing.T) {
	t.Parallel()
	row(t, "G21 answers that lead elsewhere", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Location", "https://elsewhere.example/?x")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusFound)
			w.Write([]byte{1, 2, 3})
		})
		res, body := s.get(b, s.url("wiki", "/x"), "Accept-Encoding: gzip")
		if res.StatusCode != 302 || res.Header.Get("Location") != "https://elsewhere.example/?x" || body != "\x01\x02\x03" {
			t.Errorf("got %d %v %q", res.StatusCode, res.Header, body)
		}
	})
	row(t, "G09 requests that are framed in two ways", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		if res, body := s.raw("POST /public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close\nContent-Length: 4\n\nbody"); res.StatusCode != 200 || parseEcho(t, body).Body != "body" {
			t.Errorf("the honest twin: %d %s", res.StatusCode, body)
		}
		for _, test := range []struct{ why, head string }{
			{"two lengths", "Content-Length: 3\nContent-Length: 4\n"},
			{"two lengths in one line", "Content-Length: 4, 4\n"},
			{"a length with a sign", "Content-Length: +4\n"},
			{"chunks not last", "Transfer-Encoding: chunked, identity\n"},
			{"two codings", "Transfer-Encoding: chunked\nTransfer-Encoding: identity\n"},
			{"space before the colon of the length", "Content-Length : 4\n"},
			{"a bare CR", "X-Y: a\rX-Forwarded-User: evil\n"},
			{"NUL", "X-Y: a\x00b\n"},
			{"unknown coding", "Transfer-Encoding: xchunked\n"},
			{"space before the colon", "X-Forwarded-User : evil\n"},
			{"no colon", "X-Forwarded-User\n"},
		} {
			before := s.upstream.requests()
			res, _ := s.raw("POST /public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close\n" + test.head + "\nbody")
			if res.StatusCode != 400 && res.StatusCode != 501 || s.upstream.requests() != before {
				t.Errorf("%s: %d, want it refused", test.why, res.StatusCode)
			}
		}
		_, body := s.raw("POST /public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close\nContent-Length: 3\nTransfer-Encoding: chunked\n\n4\nbody\n0\n\n")
		if e := parseEcho(t, body); e.Body != "body" || e.Header.Get("Content-Length") != "" {
			t.Errorf("length and chunks: the app got %q with %v", e.Body, e.Header)
		}
		// No second request hides in the first.
		before := s.upstream.requests()
		s.raw("GET /public/x HTTP/1.1\nHost: wiki.example.com\nContent-Length: 56\nConnection: close\n\nGET /smuggled HTTP/1.1\nHost: wiki.example.com\nX-Y: z\n\n")
		if n := s.upstream.requests() - before; n != 1 {
			t.Errorf("%d requests reached the app, want 1", n)
		}
		// A line that goes on, and one that ends in LF alone, are read and written anew.
		for _, header := range []string{"X-Harmless: a\n X-Forwarded-User: evil\n", "X-Harmless: a\x00X-Forwarded-User: evil\n"} {
			conn := s.dial()
			request := strings.ReplaceAll("GET /public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close\n"+header+"\n", "\n", "\r\n")
			if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\x00", "\n")); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			conn.Close()
			if res.StatusCode == http.StatusBadRequest {
				continue // as good
			}
			if e := parseEcho(t, string(body)); err != nil || e.Header.Get("X-Forwarded-User") != "" {
				t.Errorf("%q: the app got %v, %v", header, e.Header, err)
			}
		}
	})
}

// The app is down, or breaks off.
func TestUpstreamDown(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.upstream.answer(breakOff)
		res, err := b.Do(mustRequest(t, s.url("wiki", "/x")))
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Error("an answer that the app broke off looks whole")
		}
		eventually(t, "logged", func() bool { return s.logged("request")["code"] == "upstream_unavailable" })

		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 099 None\r\nContent-Length: 2\r\n\r\nok")
		})
		if page, err := b.Open(s.url("wiki", "/x")); err != nil || page.Status != 502 {
			t.Errorf("answer with no status that there is: %d %v", page.Status, err)
		}

		s.upstream.Close()
		page, err := b.Open(s.url("wiki", "/x"))
		if err != nil || page.Status != 502 || !strings.Contains(page.Text(), "upstream_unavailable") {
			t.Fatalf("app down: %d %s %v", page.Status, page.Text(), err)
		}
		id := page.Header.Get("X-Request-Id")
		if !strings.Contains(page.Text(), id) || s.logged("request")["id"] != id || !strings.Contains(fmt.Sprint(s.logged("request")["error"]), "refused") {
			t.Errorf("page %q and log %v, want both with request %s", page.Text(), s.logged("request"), id)
		}
		if strings.Contains(page.Body, "127.0.0.1") {
			t.Error("the page tells the app's address")
		}
		response, body := s.get(b, s.url("wiki", "/x"), "Accept: application/json")
		var e struct{ Error, App, Request_ID string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || response.StatusCode != 502 || e.Error != "upstream_unavailable" || e.App != "wiki" || len(e.Request_ID) != 32 {
			t.Errorf("JSON: %d %s", response.StatusCode, body)
		}
	})
}

func mustRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// Answers reach the visitor while the app is still writing, and the app reads a
// body that is still being sent.
func TestStreaming(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			if r.Header.Get("X-Length") != "" {
				w.Header().Set("Content-Length", r.Header.Get("X-Length"))
			}
			http.NewResponseController(w).Flush()
			lines := bufio.NewReader(r.Body)
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				io.WriteString(w, "got "+line)
				http.NewResponseController(w).Flush()
			}
		})
		for _, head := range []string{"Accept: text/event-stream", "Accept: text/plain", "Accept: text/plain\nX-Length: 18", "Expect: 100-continue"} {
			conn := s.dial()
			defer conn.Close()
			fmt.Fprint(conn, strings.ReplaceAll("POST /x HTTP/1.1\nHost: wiki.example.com\nTransfer-Encoding: chunked\nCookie: "+cookie+"\n"+head+"\n\n", "\n", "\r\n"))
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err == nil && res.StatusCode == http.StatusContinue {
				res, err = http.ReadResponse(in, nil)
			}
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%s: %v %v", head, res, err)
			}
			body := bufio.NewReader(res.Body)
			for _, line := range []string{"one\n", "two\n"} {
				fmt.Fprintf(conn, "%x\r\n%s\r\n", len(line), line)
				if got, err := body.ReadString('\n'); err != nil || got != "got "+line {
					t.Fatalf("%s: read %q, %v, want %q before the body ends", head, got, err, "got "+line)
				}
			}
			io.WriteString(conn, "0\r\n\r\n")
			if rest, err := io.ReadAll(body); len(rest) != 0 || err != nil && head != "Accept: text/plain\nX-Length: 18" {
				t.Errorf("%s: ends with %q, %v", head, rest, err)
			}
		}
	})
}

// A large body goes both ways unchanged.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
		})
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
		req, err := http.NewRequest(http.MethodPost, s.url("wiki", "/public/x"), bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		if res, body := s.do(s.browser(), req); res.StatusCode != 200 || body != string(sent) {
			t.Errorf("%d, %d bytes, want %d", res.StatusCode, len(body), len(sent))
		}
	})
}
