package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A store that takes no more writes keeps nobody out who is in, and nobody in
// who wants out.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	t.Run("H07 the store is full", testStoreFull)
}

func testStoreFull(t *testing.T) {
	rdb := testenv.Client(t, testenv.RedisServer(t).Addr)
	s := newSite(t, rdb, setup{})
	b := s.signedIn("ann", s.url("wiki", "/"))
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	s.clock.Add(2 * time.Minute) // so that the use of the session would be written
	if res, body := s.get(b, s.url("wiki", "/x")); res.StatusCode != 200 {
		t.Errorf("an open session: %d %s, want 200", res.StatusCode, body)
	}
	page, err := s.browser().Login(s.url("wiki", "/"), "acme.example", "bob", "secret")
	if err != nil || page.Status != 503 {
		t.Errorf("a new login: %d %s, %v, want 503", page.Status, page.Text(), err)
	}
	signOut(t, s, b, s.url("wiki", ""))
	for _, host := range []string{"wiki", "sso"} {
		if res, _ := s.get(b, s.url(host, "/.jitgate/session")); res.StatusCode != 401 {
			t.Errorf("%s after signing out: %d, want 401", host, res.StatusCode)
		}
	}
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	s.signedIn("bob", s.url("sso", "/tools/")) // the honest twin
}

// The session on our own host is seldom used, and idle sooner than those of the
// apps. Who signs in again for another app and then signs out is out everywhere.
func TestSignOutAfterIdleBase(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("wiki", "/"))
		for range 3 {
			s.clock.Add(s.cfg.Session.Idle / 2)
			if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 200 {
				t.Fatalf("in use: %d, want 200", res.StatusCode)
			}
		}
		page, err := b.Login(s.url("sso", "/tools/x"), "acme.example", "ann", "secret")
		if err != nil || page.Status != 200 {
			t.Fatalf("signing in again: %d %s, %v", page.Status, page.Text(), err)
		}
		signOut(t, s, b, s.url("sso", ""))
		if res, _ := s.get(b, s.url("wiki", "/x")); res.StatusCode != 401 {
			t.Errorf("the first app: %d, want 401", res.StatusCode)
		}
	})
}

// Two pages of one browser sign in at once: two logins, of which the later one
// is in force on every host.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.browser()
		b.Hold = true
		first, err := b.Login(s.url("wiki", "/one"), "acme.example", "ann", "secret")
		if err != nil {
			t.Fatal(err)
		}
		second, err := b.Login(s.url("wiki", "/two"), "acme.example", "ann", "secret")
		if err != nil {
			t.Fatal(err)
		}
		b.Hold = false
		for _, page := range []*testenv.Page{first, second} {
			form, ok := page.FormWith("SAMLResponse")
			if !ok {
				t.Fatalf("no response at %s: %s", page.URL, page.Text())
			}
			if page, err = form.Submit(); err != nil || page.Status != 200 {
				t.Fatalf("landed on %s: %d %s, %v", page.URL, page.Status, page.Text(), err)
			}
		}
		signOut(t, s, b, s.url("wiki", ""))
		if res, _ := s.get(b, s.url("sso", "/tools/x")); res.StatusCode != 401 {
			t.Errorf("our own host after signing out at the app: %d, want 401", res.StatusCode)
		}
	})
}

// Sessions end with the identity provider that they are of.
func TestIdPTakenOut(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		b := s.signedIn("ann", s.url("sso", "/tools/x"))
		acme := s.Gateway.idps["acme"]
		delete(s.Gateway.idps, "acme")
		if res, _ := s.get(b, s.url("sso", "/tools/x")); res.StatusCode != 401 {
			t.Errorf("without its identity provider: %d, want 401", res.StatusCode)
		}
		s.Gateway.idps["acme"] = acme
		if res, _ := s.get(b, s.url("sso", "/tools/x")); res.StatusCode != 401 {
			t.Errorf("the session is back: %d, want 401", res.StatusCode)
		}
	})
}

// A stream of events ends with the session, as a websocket does.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.watch = 10 * time.Millisecond
		s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, "data: x\n\n"); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-time.After(time.Millisecond):
				case <-r.Context().Done():
				}
			}
		})
		b := s.signedIn("ann", s.url("sso", "/.jitgate/session"))
		req, err := http.NewRequest(http.MethodGet, s.url("sso", "/tools/events"), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		events := bufio.NewReader(res.Body)
		// Open, it keeps the session in use: many looks later it still flows.
		for range 100 {
			if _, err := events.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		signOut(t, s, b, s.url("sso", ""))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			io.Copy(io.Discard, events)
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the stream goes on after signing out")
		}
	})
}

// An answer that comes before the body was read leaves the connection in order:
// the next request on it is answered. Bodies of several sizes, since the server
// reads small ones to their end and gives up on large ones.
func TestUnreadBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{
		apps: `  - {name: gone, path: /gone, upstream: "http://127.0.0.1:1", allow: {any_user: true}, public: [/gone/x]}
  - {name: early, path: /early, upstream: UPSTREAM, allow: {any_user: true}, public: [/early/x]}`,
	})
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) })
	for _, path := range []string{"/gone/x", "/early/x"} {
		for _, size := range []int{1, 100, 100_000} {
			conn, err := tls.Dial("tcp", "127.0.0.1:"+s.port, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			for range 5 {
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: sso.example.com\r\nContent-Length: %d\r\n\r\n%s", path, size, strings.Repeat("x", size))
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("%s with %d bytes: %v", path, size, err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Fatalf("%s with %d bytes: %v", path, size, err)
				}
				if want := map[string]int{"/gone/x": 502, "/early/x": 413}[path]; res.StatusCode != want {
					t.Errorf("%s with %d bytes: %d, want %d", path, size, res.StatusCode, want)
				}
				if res.Close {
					break
				}
			}
			conn.Close()
		}
	}
}

// A frame in somebody else's page begins no login.
func TestLoginInFrame(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	res, _ := s.get(s.browser(), s.url("sso", "/.jitgate/login?idp=acme"), "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Accept: text/html")
	if res.StatusCode != 401 || len(res.Cookies()) != 0 {
		t.Errorf("%d with the cookies %v, want 401 and none", res.StatusCode, res.Cookies())
	}
	res, _ = s.get(s.browser(), s.url("sso", "/.jitgate/login?idp=acme"), "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
	if res.StatusCode != 303 || len(res.Cookies()) == 0 {
		t.Errorf("a page: %d with the cookies %v, want 303 and one", res.StatusCode, res.Cookies())
	}
}

// A cookie without a name comes back from browsers as if its value began with
// one.
func TestNamelessCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"=jitgate=evil", "=__Host-jitgate=evil; Path=/", " = jitgate=evil", "=mine", "=theirs=1"}
		fmt.Fprint(w, r.Header["Cookie"])
	})
	res, body := s.get(s.browser(), s.url("wiki", "/public/x"), "Cookie: =__Host-jitgate=a; =b; c=d")
	if got := fmt.Sprint(res.Header["Set-Cookie"]); got != "[=mine =theirs=1]" {
		t.Errorf("Set-Cookie = %s, want [=mine =theirs=1]", got)
	}
	if body != "[=b; c=d]" {
		t.Errorf("Cookie = %s, want [=b; c=d]", body)
	}
}
