package proxy

import (
	"bufio"
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

// tunnel is an upstream that switches to whatever protocol it is asked for, and
// then sends every line back. Without Upgrade it says so.
func tunnel(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		protocol := r.Header.Get("Upgrade")
		if protocol == "" {
			fmt.Fprintf(w, "no upgrade, connection %q, user %q", r.Header.Get("Connection"), r.Header.Get("X-Forwarded-User"))
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-User: %s\r\n\r\n", protocol, r.Header.Get("X-Forwarded-User"))
		rw.Flush()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(rw, "got "+line)
			rw.Flush()
		}
	}
}

// upgrade asks for a protocol and returns the connection and the answer.
func (s *site) upgrade(path, cookie, headers string) (net.Conn, *bufio.Reader, *http.Response) {
	s.t.Helper()
	conn := s.dial()
	s.t.Cleanup(func() { conn.Close() })
	request := fmt.Sprintf("GET %s HTTP/1.1\nHost: wiki.example.com\nCookie: %s\n%s\n\n", path, cookie, headers)
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn, in, res
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	row(t, "G08 protocols that would tunnel past the gateway, and websockets of other sites", func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.upstream.answer(tunnel(t))
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		const ws = "Connection: Upgrade\nUpgrade: websocket"
		for _, test := range []struct {
			why, path, cookie, headers string
			status                     int
			user                       string
		}{
			{"a websocket", "/ws", cookie, ws, 101, "ann"},
			{"in another case, of a page of the same host", "/ws", cookie, "Connection: keep-alive, upgrade\nUpgrade: WebSocket\nOrigin: https://wiki.example.com", 101, "ann"},
			{"identity in Connection", "/ws", cookie, "Connection: Upgrade, X-Forwarded-User\nUpgrade: websocket\nX-Forwarded-User: evil", 101, "ann"},
			{"on a public path", "/public/ws", "", ws, 101, ""},
			{"without a session", "/ws", "", ws, 401, ""},
			{"of another site's page", "/ws", cookie, ws + "\nOrigin: https://evil.example", 403, ""},
			{"of a sibling host's page", "/ws", cookie, ws + "\nOrigin: https://sso.example.com", 403, ""},
			{"of another port's page", "/ws", cookie, ws + "\nOrigin: https://wiki.example.com:8443", 403, ""},
			{"of a page that came over http", "/ws", cookie, ws + "\nOrigin: http://wiki.example.com", 403, ""},
			{"of a page without an origin", "/ws", cookie, ws + "\nOrigin: null", 403, ""},
			{"of two origins", "/ws", cookie, ws + "\nOrigin: https://wiki.example.com\nOrigin: https://evil.example", 403, ""},
			{"of another site's page, on a public path", "/public/ws", "", ws + "\nOrigin: https://evil.example", 403, ""},
			{"golang/go#80416: h2c", "/ws", cookie, "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x", 200, ""},
			{"any other protocol", "/ws", cookie, "Connection: Upgrade\nUpgrade: foo", 200, ""},
			{"several protocols", "/ws", cookie, "Connection: Upgrade\nUpgrade: websocket, h2c", 200, ""},
			{"several protocols in two lines", "/ws", cookie, "Connection: Upgrade\nUpgrade: websocket\nUpgrade: h2c", 200, ""},
			{"any other protocol, on a public path", "/public/ws", "", "Connection: Upgrade\nUpgrade: foo", 200, ""},
			{"websocket without Connection", "/ws", cookie, "Upgrade: websocket", 200, ""},
		} {
			conn, in, res := s.upgrade(test.path, test.cookie, test.headers)
			if res.StatusCode != test.status {
				t.Errorf("%s: %d, want %d", test.why, res.StatusCode, test.status)
				continue
			}
			if test.status == 200 {
				body, _ := io.ReadAll(res.Body)
				if !strings.HasPrefix(string(body), "no upgrade, connection \"\"") {
					t.Errorf("%s: reached the app as %s", test.why, body)
				}
			}
			if test.status != 101 {
				continue
			}
			if got := res.Header.Get("X-User"); got != test.user {
				t.Errorf("%s: user = %q, want %q", test.why, got, test.user)
			}
			fmt.Fprint(conn, "hello\n")
			if line, err := in.ReadString('\n'); line != "got hello\n" {
				t.Errorf("%s: read %q, %v", test.why, line, err)
			}
		}
	})
}

// G20: an open websocket ends with the session, with the permission, and with
// the gateway; a store that is down ends none.
func TestWebsocketEnds(t *testing.T) {
	t.Parallel()
	if watchEvery > time.Minute {
		t.Errorf("an open websocket's session is looked at every %v, want once a minute at least", watchEvery)
	}
	row(t, "G20 a websocket that outlives its session", func(t *testing.T, rdb redis.UniversalClient) {
		const ws = "Connection: Upgrade\nUpgrade: websocket"
		for _, test := range []struct {
			why string
			end func(s *site, b *testenv.Browser)
		}{
			{"signed out", func(s *site, b *testenv.Browser) { signOut(t, s, b, s.url("sso", "")) }},
			{"revoked by an administrator", func(s *site, _ *testenv.Browser) {
				var a sessionsAnswer
				s.ask("DELETE /sessions?all=true", 200, &a)
			}},
			{"blocked", func(s *site, _ *testenv.Browser) {
				var a usersAnswer
				s.ask("GET /users?name=ann", 200, &a)
				s.ask("POST /users/"+a.Users[0].ID+"/block?directory=acme", 200, &a)
			}},
			{"idle", func(s *site, _ *testenv.Browser) { s.clock.Add(s.cfg.Session.Idle) }},
			{"the end of the session", func(s *site, _ *testenv.Browser) { s.clock.Add(s.cfg.Session.Lifetime) }},
			{"no longer allowed", func(s *site, _ *testenv.Browser) {
				s.idp.SetAttribute("ann", "department", "Sales")
				s.signedIn("ann", s.url("sso", "/tools/"))
			}},
			{"the gateway closes", func(s *site, _ *testenv.Browser) { s.Gateway.Close() }},
			{"the store is down beyond the end of the session", func(s *site, _ *testenv.Browser) {
				hookStore(s.rdb).setDown(true)
				s.clock.Add(s.cfg.Session.Lifetime)
			}},
		} {
			client := rdb.(*redis.Client)
			s := newSite(t, redis.NewClient(client.Options()), setup{})
			s.watch = 10 * time.Millisecond
			s.upstream.answer(tunnel(t))
			b := s.signedIn("ann", s.url("wiki", "/"))
			conn, in, res := s.upgrade("/ws", s.cookie(b), ws)
			if res.StatusCode != 101 {
				t.Fatalf("%s: %d", test.why, res.StatusCode)
			}
			say := func() (string, error) {
				fmt.Fprint(conn, "hello\n")
				return in.ReadString('\n')
			}
			if line, err := say(); err != nil {
				t.Fatalf("%s: read %q, %v", test.why, line, err)
			}
			test.end(s, b)
			eventually(t, test.why, func() bool {
				_, err := say()
				return err != nil
			})
			if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			if _, err := in.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s: the connection is not closed: %v", test.why, err)
			}
		}
	})
}

func TestWebsocketOutlivesOutage(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.watch = 5 * time.Millisecond
		s.upstream.answer(tunnel(t))
		conn, in, _ := s.upgrade("/ws", s.cookie(s.signedIn("ann", s.url("wiki", "/"))), "Connection: Upgrade\nUpgrade: websocket")
		hook := hookStore(rdb)
		hook.setDown(true)
		eventually(t, "looked at the session", func() bool {
			hook.mu.Lock()
			defer hook.mu.Unlock()
			return hook.n >= 3
		})
		hook.setDown(false)
		hook.reset()
		eventually(t, "looked at the session again", func() bool {
			hook.mu.Lock()
			defer hook.mu.Unlock()
			return hook.n >= 4
		})
		fmt.Fprint(conn, "hello\n")
		if line, err := in.ReadString('\n'); err != nil {
			t.Errorf("read %q, %v", line, err)
		}
	})
}
