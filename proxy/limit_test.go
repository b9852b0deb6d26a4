package proxy

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
)

func TestAttempts(t *testing.T) {
	t.Parallel()
	a, now := new(attempts), time.Now()
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	for i := range 60 {
		if wait := a.take(one, 60, now); wait != 0 {
			t.Fatalf("attempt %d has to wait %v", i, wait)
		}
	}
	if wait := a.take(one, 60, now); wait != time.Second {
		t.Errorf("one too many has to wait %v, want 1s", wait)
	}
	if wait := a.take(other, 60, now); wait != 0 {
		t.Errorf("another address has to wait %v", wait)
	}
	if wait := a.take(one, 60, now.Add(time.Second)); wait != 0 {
		t.Errorf("after that time it has to wait %v more", wait)
	}
	if wait := a.take(one, 60, now.Add(time.Second)); wait != time.Second {
		t.Errorf("one was free and the next one has to wait %v, want 1s", wait)
	}
	if wait := a.take(one, 120, now.Add(time.Second)); wait == 0 {
		t.Error("a higher rate has given all at once to one that has used its own up")
	}
}

// TestAttemptsOfMany has more addresses than are remembered.
func TestAttemptsOfMany(t *testing.T) {
	t.Parallel()
	a, now := new(attempts), time.Now()
	from := func(i int) netip.Prefix {
		return networkOf(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	for i := range maxAddresses + 1000 {
		a.take(from(i), 60, now)
	}
	if len(a.whole) != maxAddresses {
		t.Errorf("%d addresses are remembered, want %d", len(a.whole), maxAddresses)
	}
	a.take(from(maxAddresses+2000), 60, now.Add(time.Minute))
	if len(a.whole) != 1 {
		t.Errorf("%d addresses are remembered after a minute without any of theirs, want 1", len(a.whole))
	}
}

func TestNetworkOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::": "2001:db8:1:2::/64", "[2001:db8::1%eth0]:443": "2001:db8::/64",
	} {
		parsed, ok := parseAddr(addr)
		if got := networkOf(parsed); !ok || got.String() != want {
			t.Errorf("network of %s = %v, want %s", addr, got, want)
		}
	}
	if got := networkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("network of no address = %v", got)
	}
}

// TestTooManyLogins asks for more sign-ins than one address may, at both ends of
// them, as a browser and as a script.
func TestTooManyLogins(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{top: "trusted_proxies: [127.0.0.1]\nlimits: {logins_per_minute: 2}"})
	login, acs := s.url("sso", "/.jitgate/login?idp=acme&rd=%2Ftools%2Fx"), s.url("sso", "/.jitgate/saml/acme/acs")
	post := func(from string) *http.Response {
		req, err := http.NewRequest(http.MethodPost, acs, strings.NewReader("SAMLResponse=x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Forwarded-For", from)
		res, _ := s.do(s.browser(), req)
		return res
	}
	get := func(from, accept string) (*http.Response, string) {
		return s.get(s.browser(), login, "X-Forwarded-For: "+from, "Accept: "+accept, "Sec-Fetch-Mode: navigate")
	}
	for range 2 {
		if res, body := get("192.0.2.1", "text/html"); res.StatusCode != http.StatusOK && res.StatusCode != http.StatusSeeOther {
			t.Fatalf("beginning: status %d: %s", res.StatusCode, body)
		}
	}
	res, body := get("192.0.2.1", "text/html")
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "30" || !strings.Contains(body, codeTooMany) || !strings.Contains(body, `href="`+s.url("sso", "/.jitgate/login?idp=acme&amp;rd=%2Ftools%2Fx")+`"`) {
		t.Errorf("a third one: status %d, Retry-After %q: %s", res.StatusCode, res.Header.Get("Retry-After"), body)
	}
	res, body = get("192.0.2.1", "application/json")
	var answer struct{ Error string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || res.StatusCode != http.StatusTooManyRequests || answer.Error != codeTooMany {
		t.Errorf("as a script: status %d: %s", res.StatusCode, body)
	}
	if res := post("192.0.2.1"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("its response: status %d, want 429", res.StatusCode)
	}
	if res := post("192.0.2.2"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a response from elsewhere: status %d, want 400", res.StatusCode)
	}
	if res, _ := s.get(s.browser(), s.url("wiki", "/public/"), "X-Forwarded-For: 192.0.2.1"); res.StatusCode != http.StatusOK {
		t.Errorf("no sign-in: status %d, want 200", res.StatusCode)
	}
	post("2001:db8::1")
	post("2001:db8::2")
	if res := post("2001:db8::3"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a third address of an IPv6 network: status %d, want 429", res.StatusCode)
	}
	s.clock.Add(time.Minute)
	if res, _ := get("192.0.2.1", "text/html"); res.StatusCode == http.StatusTooManyRequests {
		t.Error("still too many after a minute")
	}
	// What was used stays used when another configuration comes.
	get("192.0.2.1", "text/html")
	o := Options{Config: s.cfg, Redis: s.rdb, IdPs: s.idps, Users: s.users, Log: s.log}
	if err := s.Replace(o); err != nil {
		t.Fatal(err)
	}
	if res, _ := get("192.0.2.1", "text/html"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after a reload: status %d, want 429", res.StatusCode)
	}
	s.cfg.Limits.LoginsPerMinute = 600
	if err := s.Replace(o); err != nil {
		t.Fatal(err)
	}
	s.clock.Add(time.Second)
	if res, _ := get("192.0.2.1", "text/html"); res.StatusCode == http.StatusTooManyRequests {
		t.Error("still too many a second after the limit was raised")
	}
}

// TestBusy is what a visitor is told where too many messages wait.
func TestBusy(t *testing.T) {
	t.Parallel()
	p := unavailable(fmt.Errorf("waiting: %w", samlsp.ErrBusy))
	if p.status != http.StatusServiceUnavailable || p.code != codeBusy {
		t.Errorf("status %d, code %s, want 503 and %s", p.status, p.code, codeBusy)
	}
}

// TestLargeForms has as many large forms on their way as may be: one more is turned
// away, whatever it says of its length, and small ones are not.
func TestLargeForms(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	post := func(size int, known bool) int {
		body := io.Reader(strings.NewReader("SAMLResponse=" + strings.Repeat("A", size)))
		if !known {
			body = io.MultiReader(body)
		}
		req, err := http.NewRequest(http.MethodPost, s.url("sso", "/.jitgate/saml/acme/acs"), body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, _ := s.do(s.browser(), req)
		return res.StatusCode
	}
	if got := post(largeForm, true); got != 400 {
		t.Errorf("a large form: %d, want it read", got)
	}
	for range maxLargeForms {
		s.Gateway.largeForms <- struct{}{}
	}
	for _, test := range []struct {
		size, status int
		known        bool
	}{{largeForm, 503, true}, {10, 503, false}, {10, 400, true}} {
		if got := post(test.size, test.known); got != test.status {
			t.Errorf("%d bytes, length known %v: %d, want %d", test.size, test.known, got, test.status)
		}
	}
	<-s.Gateway.largeForms
	if got := post(largeForm, true); got != 400 {
		t.Errorf("when there is room again: %d, want it read", got)
	}
}

// TestConnections opens more connections than one address may have, and than all may.
func TestConnections(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{http: true, top: "limits: {connections: 3, connections_per_address: 2}"})
	// use opens a connection and asks for something; ok is false where it was closed.
	use := func(from string, wait time.Duration) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET /public/ HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(wait))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
		return c, err
	}
	const long = 20 * time.Second
	var open []net.Conn
	for range 2 {
		c, err := use("127.0.0.2", long)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, err := use("127.0.0.2", long); err == nil {
		t.Error("a third connection of an address was answered")
	}
	third, err := use("127.0.0.3", long)
	if err != nil {
		t.Errorf("the first connection of another address: %v", err)
	}
	fourth, err := use("127.0.0.4", 200*time.Millisecond)
	if err == nil {
		t.Error("a fourth connection was answered, of three that may be")
	}
	fourth.Close()
	third.Close()
	if _, err := use("127.0.0.4", long); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	for _, c := range open {
		c.Close()
	}
	testenv.Eventually(t, func() error { _, err := use("127.0.0.2", long); return err })

	// More by another configuration, which need not wait for one to end.
	s.cfg.Limits.Connections, s.cfg.Limits.ConnectionsPerAddress = 100, 100
	s.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.5/32")}
	if err := s.Replace(Options{Config: s.cfg, Redis: s.rdb, IdPs: s.idps, Users: s.users, Log: s.log}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := use("127.0.0.6", long); err != nil {
			t.Errorf("by another configuration: %v", err)
		}
	}
	s.cfg.Limits.ConnectionsPerAddress = 1
	if err := s.Replace(Options{Config: s.cfg, Redis: s.rdb, IdPs: s.idps, Users: s.users, Log: s.log}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := use("127.0.0.5", long); err != nil {
			t.Errorf("of a trusted proxy: %v", err)
		}
	}
	if told := s.logs.FilterMessage("too many connections of one address").Len(); told != 1 {
		t.Errorf("logged %d times, want once", told)
	}
}

// TestBodyLimit sends more than an app takes, and just as much.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{
		top:  "limits: {body: 1MiB}",
		apps: "  - {name: small, path: /small, upstream: UPSTREAM, public: [/small/in], body: 1KiB, allow: {any_user: true}}",
	})
	for _, test := range []struct {
		address string
		bytes   int
		status  int
	}{
		{s.url("wiki", "/public/in"), 1 << 20, http.StatusOK},
		{s.url("wiki", "/public/in"), 1<<20 + 1, http.StatusRequestEntityTooLarge},
		{s.url("sso", "/small/in"), 1 << 10, http.StatusOK},
		{s.url("sso", "/small/in"), 1<<10 + 1, http.StatusRequestEntityTooLarge},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", test.bytes))
			if chunked {
				body = struct{ io.Reader }{body}
			}
			req, err := http.NewRequest(http.MethodPost, test.address, body)
			if err != nil {
				t.Fatal(err)
			}
			res, text := s.do(s.browser(), req)
			if res.StatusCode != test.status || test.status != http.StatusOK && !strings.Contains(text, codeTooLarge) {
				t.Errorf("%d bytes to %s, chunked %t: status %d, want %d: %s", test.bytes, test.address, chunked, res.StatusCode, test.status, text[:min(200, len(text))])
			}
		}
	}
}

// stalling starts a site where nobody may stall for longer than a second.
func stalling(t *testing.T) *site {
	t.Helper()
	return newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{top: "limits: {stall: 1s}"})
}

// TestStalledBody sends part of a body, to an app, to one that it does not reach,
// and to the gateway itself.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		head   string
		status int
	}{
		"to an app":               {"POST /public/ HTTP/1.1\nHost: wiki.example.com", http.StatusRequestTimeout},
		"without a session":       {"POST /x HTTP/1.1\nHost: wiki.example.com", http.StatusUnauthorized},
		"to the gateway":          {"POST /.jitgate/saml/acme/acs HTTP/1.1\nHost: sso.example.com\nContent-Type: application/x-www-form-urlencoded", http.StatusBadRequest},
		"to nothing":              {"POST /x HTTP/1.1\nHost: sso.example.com", http.StatusNotFound},
		"to a host of nobody's":   {"POST /x HTTP/1.1\nHost: evil.example", http.StatusMisdirectedRequest},
		"of a length, in no time": {"POST /public/ HTTP/1.1\nHost: wiki.example.com\nExpect: 100-continue", http.StatusRequestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stalling(t)
			conn := s.dial()
			defer conn.Close()
			fmt.Fprint(conn, strings.ReplaceAll(test.head+"\nContent-Length: 100000\n\nhalf", "\n", "\r\n"))
			conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			for err == nil && res.StatusCode == http.StatusContinue {
				res, err = http.ReadResponse(in, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != test.status {
				t.Log(s.logged("request"))
				t.Errorf("status %d, want %d", res.StatusCode, test.status)
			}
			if _, err := io.Copy(io.Discard, in); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the connection stays open: %v", err)
			}
		})
	}
}

// TestSlowButSteady sends and takes for longer than anybody may stall, a little at
// a time, and is silent where nothing is to be said.
func TestSlowButSteady(t *testing.T) {
	t.Parallel()
	const pause = 300 * time.Millisecond
	slow := func(times int, w io.Writer, flush func() error) {
		for range times { // a pace, and nothing that is waited for
			fmt.Fprint(w, "x")
			if flush != nil {
				flush()
			}
			<-time.After(pause)
		}
	}
	for name, run := range map[string]func(*testing.T, *site, *http.Client){
		"upload": func(t *testing.T, s *site, c *http.Client) {
			out, in := io.Pipe()
			go func() { slow(8, in, nil); in.Close() }()
			res, err := c.Post(s.url("wiki", "/public/"), "text/plain", out)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if e := parseEcho(t, string(body)); e.Body != "xxxxxxxx" {
				t.Errorf("the app got %q", e.Body)
			}
		},
		"long poll": func(t *testing.T, s *site, c *http.Client) {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				<-time.After(8 * pause)
				fmt.Fprint(w, "at last")
			})
			res, err := c.Post(s.url("wiki", "/public/"), "text/plain", strings.NewReader("question"))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "at last" {
				t.Errorf("answer %q, %v", body, err)
			}
		},
		"an app that is slow to read": func(t *testing.T, s *site, c *http.Client) {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
				io.ReadFull(r.Body, make([]byte, 1))
				<-time.After(8 * pause)
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, n, err)
			})
			res, err := c.Post(s.url("wiki", "/public/"), "text/plain", strings.NewReader(strings.Repeat("x", 16<<20)))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != fmt.Sprint(16<<20-1, " <nil>") {
				t.Errorf("answer %q, %v", body, err)
			}
		},
		"events": func(t *testing.T, s *site, c *http.Client) {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "first")
				http.NewResponseController(w).Flush()
				<-time.After(8 * pause)
				fmt.Fprint(w, "second")
			})
			res, err := c.Get(s.url("wiki", "/public/"))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "firstsecond" {
				t.Errorf("events %q, %v", body, err)
			}
		},
		"both ways, with one silent": func(t *testing.T, s *site, c *http.Client) {
			s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
				control := http.NewResponseController(w)
				control.EnableFullDuplex()
				slow(8, w, control.Flush)
				body, _ := io.ReadAll(r.Body)
				w.Write(body)
			})
			out, in := io.Pipe()
			res, err := c.Post(s.url("wiki", "/public/"), "text/plain", out)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			first := make([]byte, 8)
			if _, err := io.ReadFull(res.Body, first); err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(in, "end")
			in.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "end" {
				t.Errorf("answer %q, %v", body, err)
			}
		},
	} {
		for _, version := range []string{"h1", "h2"} {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				s := stalling(t)
				run(t, s, s.client(version == "h2"))
			})
		}
	}
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		s := stalling(t)
		s.upstream.answer(tunnel(t))
		conn, in, res := s.upgrade("/public/ws", "", "Connection: Upgrade\nUpgrade: websocket")
		if res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", res.StatusCode)
		}
		<-time.After(8 * pause)
		fmt.Fprint(conn, "hello\n")
		if line, err := in.ReadString('\n'); err != nil || line != "got hello\n" {
			t.Errorf("after a silence: %q, %v", line, err)
		}
	})
}

// client returns one that speaks HTTP/2, or does not.
func (s *site) client(two bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!two)
	protocols.SetHTTP2(two)
	tr := &http.Transport{
		Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: keys().gateway.Pool()},
		DialContext: (&net.Dialer{Resolver: nil}).DialContext,
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: toSite{tr, s}, Timeout: 30 * time.Second}
}

// toSite sends requests to where the site listens, whatever host they name.
type toSite struct {
	*http.Transport
	site *site
}

func (s toSite) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = r.URL.Host
	r.URL = &url.URL{Scheme: r.URL.Scheme, Host: "127.0.0.1:" + s.site.port, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	s.TLSClientConfig.ServerName = strings.Split(r.Host, ":")[0]
	return s.Transport.RoundTrip(r)
}

// TestNeverReading asks for much and reads nothing of it. The app notices when
// that is given up.
func TestNeverReading(t *testing.T) {
	t.Parallel()
	flood := func(done chan<- struct{}) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}
	wait := func(t *testing.T, done <-chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the app goes on sending to somebody who never reads")
		}
	}
	t.Run("HTTP/1", func(t *testing.T) {
		t.Parallel()
		s, done := stalling(t), make(chan struct{})
		s.upstream.answer(flood(done))
		conn := s.dial()
		defer conn.Close()
		fmt.Fprint(conn, "GET /public/ HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n")
		wait(t, done)
	})
	t.Run("a stream of HTTP/2", func(t *testing.T) {
		t.Parallel()
		s, done := stalling(t), make(chan struct{})
		s.upstream.answer(flood(done))
		c := s.client(true)
		res, err := c.Get(s.url("wiki", "/public/"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.ProtoMajor != 2 {
			t.Fatalf("HTTP/%d", res.ProtoMajor)
		}
		wait(t, done)
		s.upstream.answer(nil)
		other, err := c.Get(s.url("wiki", "/public/"))
		if err != nil || other.StatusCode != http.StatusOK {
			t.Errorf("another stream of the connection: %v", err)
		} else {
			other.Body.Close()
		}
	})
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		s, done := stalling(t), make(chan struct{})
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			defer close(done)
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			rw.Flush()
			for {
				if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		s.upgrade("/public/ws", "", "Connection: Upgrade\nUpgrade: websocket")
		wait(t, done)
	})
}

// The server takes deadlines away after each request, and when it gives a connection to
// a websocket. A write to somebody who does not read ends all the same.
func TestWriteDeadlineStays(t *testing.T) {
	t.Parallel()
	for name, takeAway := range map[string]func(net.Conn) error{
		"after a request": func(c net.Conn) error { return c.SetWriteDeadline(time.Time{}) },
		"for a websocket": func(c net.Conn) error { return c.SetDeadline(time.Time{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := net.Pipe()
			defer far.Close()
			c := &limitedConn{Conn: near, g: stalling(t).Gateway}
			defer near.Close()
			go far.Read(make([]byte, 1))
			if _, err := c.Write([]byte("a")); err != nil {
				t.Fatal(err)
			}
			if err := takeAway(c); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte("b"))
				failed <- err
			}()
			select {
			case err := <-failed:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("write that nobody reads: %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("a write that nobody reads goes on")
			}
		})
	}
	t.Run("less time", func(t *testing.T) {
		t.Parallel()
		near, far := net.Pipe()
		defer far.Close()
		c := &limitedConn{Conn: near, g: newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{}).Gateway} // a minute
		defer near.Close()
		if err := c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("a")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write with less time: %v", err)
		}
	})
}

// A clock that is set back shuts nobody out.
func TestAttemptsClockSetBack(t *testing.T) {
	t.Parallel()
	a, now, from := new(attempts), time.Now(), networkOf(netip.MustParseAddr("192.0.2.1"))
	for range 2 {
		if wait := a.take(from, 2, now); wait != 0 {
			t.Fatalf("an attempt waits %v", wait)
		}
	}
	if a.take(from, 2, now) == 0 {
		t.Fatal("a third attempt in a minute is let through")
	}
	back := now.Add(-time.Hour)
	for range 2 {
		if wait := a.take(from, 2, back); wait != 0 {
			t.Errorf("an hour earlier an attempt waits %v", wait)
		}
	}
	if a.take(from, 2, back) == 0 {
		t.Error("an hour earlier a third attempt is let through")
	}
}
