package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Rows of part G of the catalogue of attacks that are about HTTP/2, odd requests,
// and what apps answer.

// over2 sends one request over HTTP/2 with the fields as they are, and returns the
// status and the body: status 0 where the server broke off instead.
func (s *site) over2(t *testing.T, address string, fields ...string) (status, body string) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		i := strings.Index(f[1:], ":") + 1 // names may begin with a colon
		enc.WriteField(hpack.HeaderField{Name: f[:i], Value: strings.TrimPrefix(f[i+1:], " ")})
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return "0", body
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
			if f.StreamEnded() {
				return status, body
			}
		case *http2.DataFrame:
			body += string(f.Data())
			if f.StreamEnded() {
				return status, body
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "0", body
		}
	}
}

// http2 serves the gateway over HTTP/2 too, and returns the address.
func (s *site) http2() string {
	server := httptest.NewUnstartedServer(s.Gateway)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{keys().gateway.TLS()}}
	server.StartTLS()
	s.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// gatewayRoots trusts the certificate that visitors are shown.
func gatewayRoots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(keys().gateway.Certificate)
	return roots
}

// http2Client returns a client that speaks HTTP/2 to a gateway at an address, whichever
// host it asks for.
func http2Client(address string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: gatewayRoots()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
}

func TestHTTP2Attacks(t *testing.T) {
	t.Parallel()
	row(t, "G22 HTTP/2 requests that HTTP/1 would read in another way", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		address := s.http2()
		session := ""
		for _, c := range strings.Split(s.cookie(s.signedIn("ann", s.url("wiki", "/"))), "; ") {
			if strings.HasPrefix(c, "__Host-jitgate=") {
				session = c
			}
		}
		for _, test := range []struct {
			why    string
			fields []string
			status string // "400" stands for any refusal
		}{
			{"honest", []string{":authority: wiki.example.com", ":path: /x", "cookie: " + session}, "200"},
			{"the cookie among crumbs", []string{":authority: wiki.example.com", ":path: /x", "cookie: a=1", "cookie: " + session, "cookie: b=2"}, "200"},
			{"the cookie in two crumbs", []string{":authority: wiki.example.com", ":path: /x", "cookie: " + session, "cookie: a=1", "cookie: " + session}, "401"},
			{"a crumb that ends another", []string{":authority: wiki.example.com", ":path: /x", "cookie: __Host-jitgate=", "cookie: " + session}, "401"},
			{"no cookie", []string{":authority: wiki.example.com", ":path: /x"}, "401"},
			{"another authority", []string{":authority: evil.example", ":path: /public/x"}, "421"},
			{"an authority beside another host", []string{":authority: evil.example", ":path: /public/x", "host: wiki.example.com"}, "421"},
			{"a host beside our authority", []string{":authority: wiki.example.com", ":path: /public/x", "host: evil.example"}, "200"},
			{"a host without authority", []string{":path: /public/x", "host: wiki.example.com"}, "200"},
			{"another host without authority", []string{":path: /public/x", "host: evil.example"}, "421"},
			{"no host", []string{":path: /public/x"}, "421"},
			{"an authority with a user", []string{":authority: wiki.example.com@evil.example", ":path: /public/x"}, "400"},
			{"the path of another reading", []string{":authority: wiki.example.com", ":path: /public/%2e%2e/x"}, "400"},
			{"no slash", []string{":authority: wiki.example.com", ":path: public/x"}, "400"},
			{"a path of another host", []string{":authority: wiki.example.com", ":path: http://evil.example/public/x"}, "400"},
			{"two paths", []string{":authority: wiki.example.com", ":path: /public/x", ":path: /x"}, "400"},
			{"a name in capitals", []string{":authority: wiki.example.com", ":path: /public/x", "X-Forwarded-User: evil"}, "400"},
			{"connection", []string{":authority: wiki.example.com", ":path: /public/x", "connection: x-forwarded-user"}, "400"},
			{"upgrade", []string{":authority: wiki.example.com", ":path: /public/x", "upgrade: websocket"}, "400"},
			{"transfer-encoding", []string{":authority: wiki.example.com", ":path: /public/x", "transfer-encoding: chunked"}, "400"},
			{"a line break in a value", []string{":authority: wiki.example.com", ":path: /public/x", "x-y: a\r\nx-forwarded-user: evil"}, "400"},
			{"a line break in a name", []string{":authority: wiki.example.com", ":path: /public/x", "x-y\r\nx-forwarded-user: evil"}, "400"},
			{"a line break in the path", []string{":authority: wiki.example.com", ":path: /public/x HTTP/1.1\r\nx-forwarded-user: evil\r\n"}, "400"},
			{"a protocol to connect by (RFC 8441)", []string{":authority: wiki.example.com", ":path: /public/x", ":protocol: websocket"}, "400"},
		} {
			before := s.upstream.requests()
			got, body := s.over2(t, address, append([]string{":method: GET", ":scheme: https"}, test.fields...)...)
			if got != test.status && (test.status != "400" || got != "0") {
				t.Errorf("%s: %s, want %s: %.200s", test.why, got, test.status, body)
			}
			if n := s.upstream.requests() - before; test.status != "200" && n != 0 {
				t.Errorf("%s: reached the app", test.why)
			} else if test.status == "200" && n == 1 && strings.Contains(body, "evil") {
				t.Errorf("%s: the app got %s", test.why, body)
			}
		}
	})
}

func TestOddRequests(t *testing.T) {
	t.Parallel()
	row(t, "G27 hosts that are long, numbers, or in brackets", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for host, want := range map[string]int{
			"wiki.example.com": 200, "wiki.example.com:65535": 200, "wiki.example.com:": 200,
			strings.Repeat("a", 20000) + ".example.com": 421, strings.Repeat("wiki.", 2000) + "example.com": 421,
			"wiki.example.com:" + strings.Repeat("4", 6): 421, "wiki.example.com:-1": 421, "[wiki.example.com]": 421, "[wiki.example.com]:443": 421, "[::1]": 421,
			"[::ffff:127.0.0.1]:80": 421, "[fe80::1%25eth0]": 421, "[::1": 421, "::1": 421, "2130706433": 421, "0x7f.1": 421, "user@wiki.example.com": 421,
			"wiki.example.com/x": 421, "wiki.example.com, evil.example": 421, "ｗiki.example.com": 421, "wiki。example.com": 421, "wiki.example.com%00.evil.example": 421,
		} {
			before := s.upstream.requests()
			res, _ := s.raw("GET /public/x HTTP/1.1\nHost: " + host + "\nConnection: close\n\n")
			if res.StatusCode != want && (want != 421 || res.StatusCode != 400) {
				t.Errorf("Host %.60q: %d, want %d", host, res.StatusCode, want)
			}
			if n := s.upstream.requests() - before; want != 200 && n != 0 {
				t.Errorf("Host %.60q: reached the app", host)
			}
		}
		res, body := s.raw("GET https://ann:secret@wiki.example.com/public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close\n\n")
		if e := parseEcho(t, body); res.StatusCode != 200 || e.URI != "/public/x" || e.Header.Get("Authorization") != "" {
			t.Errorf("absolute form with a password: %d, the app got %s with %v", res.StatusCode, e.URI, e.Header)
		}
	})
	row(t, "G28 websockets with a body, or by another method", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.upstream.answer(tunnel(t))
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		const ws = "Connection: keep-alive, Upgrade\nUpgrade: websocket\n"
		for request, want := range map[string]int{
			"GET /ws HTTP/1.1\n" + ws:                                                            101,
			"GET /ws HTTP/1.1\nContent-Length: 0\n" + ws:                                         101,
			"GET /ws HTTP/1.1\nConnection: upgrade,close\nUpgrade: websocket\n":                  101,
			"GET /ws HTTP/1.1\nContent-Length: 4\n" + ws:                                         200,
			"GET /ws HTTP/1.1\nTransfer-Encoding: chunked\n" + ws:                                200,
			"POST /ws HTTP/1.1\nContent-Length: 0\n" + ws:                                        200,
			"GET /ws HTTP/1.1\nConnection: Upgrade-Insecure, xUpgrade\nUpgrade: websocket\n":     200,
			"GET /ws HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nUpgrade: websocket\n":    200,
			"GET /ws HTTP/1.1\nConnection: Upgrade\nUpgrade: \"websocket\"\n":                    200,
			"GET /ws HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket/13\n":                     200,
			"GET /ws HTTP/1.0\nConnection: Upgrade, X-Forwarded-User\nUpgrade: websocket, foo\n": 200,
		} {
			conn := s.dial()
			text := strings.Replace(request, "\n", "\nHost: wiki.example.com\nCookie: "+cookie+"\n", 1) + "\n"
			body := "body"
			if strings.Contains(request, "chunked") {
				body = "4\r\nbody\r\n0\r\n\r\n"
			}
			io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")+body)
			var first [13]byte
			if _, err := io.ReadFull(conn, first[:]); err != nil || string(first[9:12]) != fmt.Sprint(want) {
				t.Errorf("%q: %q, %v, want %d", request, first, err, want)
			}
			conn.Close()
		}
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) { // unasked, or another one than was asked for
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			rw.Flush()
		})
		for _, headers := range []string{"X-Y: z", strings.TrimSpace(ws)} {
			if _, _, res := s.upgrade("/ws", cookie, headers); res.StatusCode != 502 {
				t.Errorf("%q, and the app switches to h2c: %d, want 502", headers, res.StatusCode)
			}
		}
	})
	row(t, "G29 trailers that nobody announced, and chunks that say more", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for _, body := range []string{
			"4\nbody\n0\n\n", "4;X-Forwarded-User=evil\nbody\n0\n\n", "4\nbody\n0\nX-Forwarded-User: evil\n\n",
			"4\nbody\n0\nX_Forwarded_User: evil\nCookie: __Host-jitgate=evil\nHost: evil\n\n", "4\nbody\n0;evil\nContent-Length: 9\nTransfer-Encoding: evil\n\n",
		} {
			res, answer := s.raw("POST /public/x HTTP/1.1\nHost: wiki.example.com\nConnection: close\nTransfer-Encoding: chunked\n\n" + body)
			if res.StatusCode == 400 {
				continue // as good
			}
			if e := parseEcho(t, answer); e.Body != "body" || len(e.Trailer) != 0 || strings.Contains(answer, "evil") {
				t.Errorf("%q: the app got %q, trailer %v, %v", body, e.Body, e.Trailer, e.Header)
			}
		}
	})
	row(t, "G30 conditions and ranges open nothing that is protected", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Vary", "Accept")
			http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader("0123456789"))
		})
		for header, want := range map[string]int{`If-None-Match: "v1"`: 304, `If-None-Match: *`: 304, "Range: bytes=2-3": 206, `If-Match: "v2"`: 412} {
			res, _ := s.get(b, s.url("wiki", "/x"), header)
			if res.StatusCode != want || res.Header.Get("Cache-Control") != "private, no-store" || res.Header.Get("Vary") != "Accept" {
				t.Errorf("signed in, %s: %d %v, want %d", header, res.StatusCode, res.Header, want)
			}
			if res, body := s.get(s.browser(), s.url("wiki", "/x"), header); res.StatusCode != 401 || res.Header.Get("ETag") != "" || strings.Contains(body, "23") && res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("without a session, %s: %d %v %q, want 401", header, res.StatusCode, res.Header, body)
			}
			if res, _ = s.get(s.browser(), s.url("wiki", "/x"), header, "Accept: text/html", "Sec-Fetch-Mode: navigate"); res.StatusCode != 302 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("without a session, a browser, %s: %d %v, want 302", header, res.StatusCode, res.Header)
			}
		}
	})
}

func TestAppAttacks(t *testing.T) {
	t.Parallel()
	row(t, "G31 an app that has the browser forget the gateway's cookies", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for sent, want := range map[string]string{
			`"cookies"`: "", `"*"`: `"cache", "storage"`, `"cache", "cookies", "storage"`: `"cache", "storage"`, `"cache"`: `"cache"`, ` "cookies" ,"cookies"`: "", `"storage","executionContexts"`: `"storage", "executionContexts"`,
		} {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Clear-Site-Data", sent) })
			if res, _ := s.get(s.browser(), s.url("wiki", "/public/x")); strings.Join(res.Header["Clear-Site-Data"], "|") != want {
				t.Errorf("%s: %q, want %q", sent, res.Header["Clear-Site-Data"], want)
			}
		}
	})
	row(t, "G25 a service worker that would come before the gateway's own pages", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{apps: `
  - {name: front, upstream: "UPSTREAM", allow: {any_user: true}, public: [/sw.js, /app/]}
  - {name: part, host: wiki.example.com, path: /part, upstream: "UPSTREAM", allow: {any_user: true}, public: [/part, /part/x/]}`})
		for _, test := range []struct {
			host, path, scope string
			status            int
			want              string // of Service-Worker-Allowed
		}{
			{"wiki", "/public/sw.js", "", 200, ""},
			{"wiki", "/public/sw.js", "/", 200, "/"}, // all that the host has besides is for it
			{"wiki", "/part/x/sw.js", "/part/", 200, "/part/"},
			{"wiki", "/part/x/sw.js", "/part", 200, ""},
			{"wiki", "/part/x/sw.js", "/", 200, ""},
			{"wiki", "/part/x/sw.js", "/part/../", 200, ""},
			{"wiki", "/part/x/sw.js", "../", 200, ""},
			{"wiki", "/part/x/sw.js", "https://wiki.example.com/", 200, ""},
			{"wiki", "/part", "", 403, ""}, // its folder is the topmost one
			{"sso", "/sw.js", "", 403, ""},
			{"sso", "/app/sw.js", "/app/", 200, "/app/"},
			{"sso", "/app/sw.js", "/", 200, ""},
			{"sso", "/app/sw.js", "/.", 200, ""},
			{"sso", "/app/sw.js", "/.jitgate", 200, ""},
			{"sso", "/app/sw.js", "", 200, ""},
		} {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
				if test.scope != "" {
					w.Header().Set("Service-Worker-Allowed", test.scope)
				}
			})
			res, _ := s.get(s.browser(), s.url(test.host, test.path), "Service-Worker: script")
			if got := strings.Join(res.Header["Service-Worker-Allowed"], "|"); res.StatusCode != test.status || got != test.want {
				t.Errorf("%s%s for %q: %d, %q, want %d, %q", test.host, test.path, test.scope, res.StatusCode, got, test.status, test.want)
			}
		}
		if res, _ := s.get(s.browser(), s.url("sso", "/sw.js")); res.StatusCode != 200 { // not as one
			t.Errorf("the script for something else: %d, want 200", res.StatusCode)
		}
	})
	row(t, "G23 answers that name what is the gateway's", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			for _, c := range []string{"__Host-Jitgate=EVIL; Domain=example.com", "jitgate=EVIL; domain=.example.com", "jitgate-login-A=EVIL; Path=/.jitgate", "\t=__host-jitgate-login-x=EVIL", "jitgate =EVIL", "__HOST-jitgate=EVIL; Path=/; Secure", "\t__Host-jitgate-logout=EVIL", "a=1; Domain=example.com"} {
				w.Header().Add("set-cookie", c)
			}
			w.Header().Set("X-Jitgate-Assertion", "EVIL")
			w.Header().Set("x-jitgate-directory", "EVIL")
			w.Header().Set("X-Request-Id", "EVIL")
			w.Header().Set("Alt-Svc", `h3="EVIL:443"`)
			w.Header().Set("X-Harmless", "yes")
			w.WriteHeader(http.StatusTeapot)
		})
		res, _ := s.get(s.browser(), s.url("wiki", "/public/x"))
		if res.StatusCode != http.StatusTeapot || res.Header.Get("X-Harmless") != "yes" || strings.Contains(fmt.Sprint(res.Header), "EVIL") || fmt.Sprint(res.Header["Set-Cookie"]) != "[a=1; Domain=example.com]" {
			t.Errorf("the visitor got %v", res.Header)
		}
	})
	row(t, "G32 interim answers without end, and with cookies", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			for range 500 {
				w.Header().Set("Link", "</style.css>; rel=preload")
				w.Header().Set("Set-Cookie", "__Host-jitgate=EVIL; Secure; Path=/")
				w.WriteHeader(http.StatusEarlyHints)
			}
			w.Header().Del("Set-Cookie")
			io.WriteString(w, "done")
		})
		hints := 0
		req := mustRequest(t, s.url("wiki", "/public/x"))
		req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints++
			if h.Get("Link") == "" || strings.Contains(fmt.Sprint(h), "EVIL") {
				t.Errorf("an interim answer %d with %v", code, h)
			}
			return nil
		}}))
		if res, body := s.do(s.browser(), req); res.StatusCode != 200 || body != "done" || hints == 0 || hints > maxHints {
			t.Errorf("%d %q after %d interim answers, want some and at most %d", res.StatusCode, body, hints, maxHints)
		}
	})
	row(t, "G33 answers with headers without end", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		for size, want := range map[int]int{100 << 10: 200, 1 << 20: 502} {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Large", strings.Repeat("a", size)) })
			req := mustRequest(t, "https://wiki.example.com/public/x")
			w := httptest.NewRecorder()
			s.Gateway.ServeHTTP(w, req)
			if w.Code != want {
				t.Errorf("%d bytes: %d, want %d", size, w.Code, want)
			}
		}
	})
}
