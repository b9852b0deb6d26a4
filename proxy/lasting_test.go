package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// endsWithin is how long what lasts may go on after its session's end, with some room for
// a busy machine. It is far less than watchEvery.
const endsWithin = 5 * time.Second

// A lasting is all that lasts of one visitor, through one gateway: a websocket, events, an
// upload and a stream of gRPC. What comes to its end, at the app, says so in ended.
type lasting struct {
	t      *testing.T
	served string // address
	cookie string
	began  chan string // uploads
	ended  chan string
	client *http.Client // speaks HTTP/2
}

// kinds are what lasts. The public one is of nobody, and no session's end ends it.
var kinds = []string{"/ws", "/events", "/upload", "/rpc/x", "/public/x"}

// lastingSite returns a site whose apps serve what lasts, and what lasts there once serve
// was called.
func lastingSite(t *testing.T, rdb redis.UniversalClient) (*site, *lasting) {
	t.Helper()
	l := &lasting{t: t, began: make(chan string, 10), ended: make(chan string, 10)}
	app := func(w http.ResponseWriter, r *http.Request) {
		defer func() { l.ended <- r.URL.Path }()
		switch r.URL.Path {
		case "/ws":
			tunnel(t)(w, r)
		case "/upload":
			l.began <- r.URL.Path
			io.Copy(io.Discard, r.Body)
		default:
			fmt.Fprintln(w, "first")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
	rpc := h2cServer(t, app)
	s := newSite(t, rdb, setup{session: "idle: 10h, lifetime: 10h", apps: fmt.Sprintf(
		"  - {name: rpc, host: wiki.example.com, path: /rpc, body: unlimited, allow: {groups: [engineers]}, upstream: \"h2c://%s\"}\n", rpc.Listener.Addr())})
	s.upstream.answer(app)
	return s, l
}

// serve has a gateway serve, as the program does.
func (l *lasting) serve(g *Gateway) {
	l.t.Helper()
	server := httptest.NewUnstartedServer(g)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{keys().gateway.TLS()}}
	server.StartTLS()
	l.t.Cleanup(server.CloseClientConnections)
	l.served = server.Listener.Addr().String()
	l.client = http2Client(l.served)
}

// begin begins one of kinds.
func (l *lasting) begin(path string) {
	l.t.Helper()
	switch path {
	case "/ws":
		conn, in := l.send("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
		if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			l.t.Fatalf("%s: %v, %v", path, res, err)
		}
		fmt.Fprintln(conn, "hello")
		if line, err := in.ReadString('\n'); line != "got hello\n" {
			l.t.Fatalf("%s: %q, %v", path, line, err)
		}
	case "/upload":
		conn, _ := l.send("POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n")
		go func() {
			tick := time.NewTicker(10 * time.Millisecond) // or it would be too long
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(conn, "1\r\nx\r\n"); err != nil {
					return
				}
			}
		}()
		select { // or its session may end before it is there
		case <-l.began:
		case <-time.After(endsWithin):
			l.t.Fatal("/upload does not get to the app")
		}
	default:
		req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "https://wiki.example.com"+path, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		if path == "/rpc/x" {
			body, say := io.Pipe()
			l.t.Cleanup(func() { say.Close() })
			req.Method, req.Body = http.MethodPost, body
		}
		req.Header.Set("Cookie", l.cookie)
		res, err := l.client.Do(req)
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { res.Body.Close() })
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "first\n" {
			l.t.Fatalf("%s: %s, %q, %v", path, res.Status, line, err)
		}
	}
}

// send sends a request over HTTP/1.1.
func (l *lasting) send(request string) (net.Conn, *bufio.Reader) {
	l.t.Helper()
	conn, err := tls.Dial("tcp", l.served, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request+"Host: wiki.example.com\r\nCookie: "+l.cookie+"\r\n\r\n"); err != nil {
		l.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// wantEnds wants these to end, and none else.
func (l *lasting) wantEnds(why string, want ...string) {
	l.t.Helper()
	open := make(map[string]bool)
	for _, path := range want {
		open[path] = true
	}
	late := time.After(endsWithin)
	for len(open) > 0 {
		select {
		case path := <-l.ended:
			if !open[path] {
				l.t.Errorf("%s: %s has ended", why, path)
			}
			delete(open, path)
		case <-late:
			l.t.Errorf("%s: these go on: %v", why, open)
			return
		}
	}
}

// What lasts ends with its session, however that ends and wherever, and so does what is
// public with its app.
func TestLastingEnds(t *testing.T) {
	t.Parallel()
	own := kinds[:len(kinds)-1]
	for _, test := range []struct {
		why  string
		end  func(t *testing.T, s *site, b *testenv.Browser, at *Gateway)
		want []string
	}{
		{"signed out", func(t *testing.T, s *site, b *testenv.Browser, _ *Gateway) { signOut(t, s, b, s.url("wiki", "")) }, own},
		{"revoked", func(t *testing.T, s *site, _ *testenv.Browser, _ *Gateway) {
			var a sessionsAnswer
			s.ask("DELETE /sessions?all=true", 200, &a)
		}, own},
		{"blocked", func(t *testing.T, s *site, _ *testenv.Browser, _ *Gateway) {
			var a usersAnswer
			s.ask("GET /users?name=ann", 200, &a)
			s.ask("POST /users/"+a.Users[0].ID+"/block?directory=acme", 200, &a)
		}, own},
		{"the lifetime is over", nil, own},
		{"the app is gone", reloaded(func(c *config.Config) { c.Apps = c.Apps[1:2] }), kinds},
		{"no longer allowed", reloaded(func(c *config.Config) {
			c.Apps = slices.Clone(c.Apps)
			for i := range c.Apps {
				c.Apps[i].Allow = config.Allow{Groups: []string{"nobody"}}
			}
		}), own},
		{"the identity provider is gone", reloaded(func(c *config.Config) { c.IdentityProviders = nil }), own},
	} {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, elsewhere: %t", test.why, elsewhere), func(t *testing.T) {
				t.Parallel()
				rdb := testenv.Client(t, testenv.RedisServer(t).Addr)
				s, l := lastingSite(t, rdb)
				at := s.Gateway
				if elsewhere {
					at = s.remembering(rdb.(*redis.Client).Options().Addr).Gateway
				} else {
					followed(t, at)
				}
				b := s.signedIn("ann", s.url("wiki", "/.jitgate/session"))
				l.cookie = s.cookie(b)
				if test.end == nil {
					var open sessionsAnswer
					s.ask("GET /sessions", 200, &open)
					ends, begin := open.Sessions[0].Ends, time.Now()
					at.now = func() time.Time { return ends.Add(time.Since(begin) - 3*time.Second) }
				}
				l.serve(at)
				for _, path := range kinds {
					l.begin(path)
				}
				if test.end != nil {
					test.end(t, s, b, at)
				}
				l.wantEnds(test.why, test.want...)
			})
		}
	}
}

// reloaded is the end that another configuration brings.
func reloaded(change func(*config.Config)) func(*testing.T, *site, *testenv.Browser, *Gateway) {
	return func(t *testing.T, s *site, _ *testenv.Browser, at *Gateway) {
		t.Helper()
		next := *s.cfg
		change(&next)
		if err := at.Replace(Options{Config: &next, Redis: at.redis, IdPs: s.idps, Users: at.users, Log: at.log}); err != nil {
			t.Fatal(err)
		}
	}
}

// What ended while a gateway could not hear of it ends there as soon as it can.
func TestLastingEndsUnheard(t *testing.T) {
	t.Parallel()
	rdb := testenv.Client(t, testenv.RedisServer(t).Addr)
	s, l := lastingSite(t, rdb)
	there := s.remembering(rdb.(*redis.Client).Options().Addr)
	b := s.signedIn("ann", s.url("wiki", "/.jitgate/session"))
	l.cookie = s.cookie(b)
	l.serve(there.Gateway)
	for _, path := range kinds {
		l.begin(path)
	}
	there.relay.Cut()
	follows(t, there.Gateway, false)
	signOut(t, s, b, s.url("wiki", ""))
	there.relay.Mend()
	follows(t, there.Gateway, true)
	l.wantEnds("the sign-out was not heard of", kinds[:len(kinds)-1]...)
}
