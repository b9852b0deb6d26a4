package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/session"
)

// A replica is one more gateway of a site, asked without a network between.
type replica struct {
	*Gateway
	s     *site
	relay *testenv.Relay // to its Redis
	rdb   redis.UniversalClient
}

// remembering makes a gateway that has its own way to Redis, which is at address, and that
// hears of changes.
func (s *site) remembering(address string) *replica {
	s.t.Helper()
	r := &replica{s: s, relay: testenv.NewRelay(s.t, address)}
	rdb := redis.NewClient(&redis.Options{
		Addr: r.relay.Addr, DialerRetries: 1, ContextTimeoutEnabled: true, MaxRetries: 1,
		DialTimeout: 400 * time.Millisecond, ReadTimeout: 400 * time.Millisecond, WriteTimeout: 400 * time.Millisecond,
	})
	s.t.Cleanup(func() { rdb.Close() })
	users, err := provision.New(rdb, s.cfg.Redis.KeyPrefix, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	r.rdb = rdb
	if r.Gateway, err = New(Options{Config: s.cfg, Redis: rdb, IdPs: s.idps, Users: users, Log: zap.NewNop()}); err != nil {
		s.t.Fatal(err)
	}
	r.now = s.clock.Now
	followed(s.t, r.Gateway)
	return r
}

// followed has a gateway hear of changes.
func followed(t testing.TB, g *Gateway) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var follow sync.WaitGroup
	follow.Go(func() { g.Follow(ctx) })
	t.Cleanup(func() {
		cancel()
		follow.Wait()
	})
	follows(t, g, true)
}

// follows waits until a gateway hears of changes, or does not.
func follows(t testing.TB, g *Gateway, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("the gateway follows: want %v", want), func() bool {
		_, ok := g.memory.feed.Current()
		return ok == want
	})
}

// ask asks for a page of the app with cookies, as a script does.
func (r *replica) ask(cookie string) (status int, body string) {
	req := httptest.NewRequest(http.MethodGet, "/x", nil)
	req.Host = "wiki.example.com"
	req.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// admin asks a question over the replica's admin socket.
func (r *replica) admin(method, path string) error {
	w := httptest.NewRecorder()
	r.Socket().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	if w.Code != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return nil
}

// signOut signs a browser out.
func (s *site) signOut(b *testenv.Browser) {
	s.t.Helper()
	if res, body := s.post(b, s.url("wiki", "/.jitgate/logout")); res.StatusCode >= 400 {
		s.t.Fatalf("signing out: %d: %s", res.StatusCode, body)
	}
}

// ann returns the user of that name.
func (s *site) ann() provision.User {
	s.t.Helper()
	users, err := s.users.Find(s.t.Context(), "acme", "ann")
	if err != nil || len(users) != 1 {
		s.t.Fatal(users, err)
	}
	return users[0]
}

// warm asks until the answer comes from memory.
func (r *replica) warm(cookie string) {
	r.s.t.Helper()
	eventually(r.s.t, "requests are answered from memory", func() bool {
		hits := r.memory.hits.Load()
		status, body := r.ask(cookie)
		if status != http.StatusOK {
			r.s.t.Fatalf("%d: %s", status, body)
		}
		return r.memory.hits.Load() > hits
	})
}

// replicas runs a test with two gateways on one Redis, of each kind.
func replicas(t *testing.T, o setup, run func(t *testing.T, s *site, here, there *replica)) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, o)
		address := rdb.(*redis.Client).Options().Addr
		run(t, s, s.remembering(address), s.remembering(address))
	})
}

// Whatever ends a session or changes a user somewhere holds on every replica within a
// second, though each remembers the session.
func TestChangesReachReplicas(t *testing.T) {
	const app = "allow: {groups: [engineers]}\n    headers: {preset: forwarded}"
	for name, test := range map[string]struct {
		change func(s *site, here *replica, b *testenv.Browser) error
		want   int
	}{
		"sign-out": {func(s *site, here *replica, b *testenv.Browser) error {
			s.signOut(b)
			return nil
		}, 401},
		"revoked": {func(s *site, here *replica, b *testenv.Browser) error {
			return here.admin("DELETE", "/sessions?user="+s.ann().ID+"&directory=acme")
		}, 401},
		"blocked": {func(s *site, here *replica, b *testenv.Browser) error {
			return here.admin("POST", "/users/"+s.ann().ID+"/block?directory=acme")
		}, 401},
		"other groups": {func(s *site, here *replica, b *testenv.Browser) error {
			s.idp.SetAttribute("ann", "department", "Sales")
			_, err := s.browser().Login(s.url("wiki", "/"), "acme.example", "ann", "secret")
			return err
		}, 403},
		"directory deleted": {func(s *site, here *replica, b *testenv.Browser) error {
			return here.admin("DELETE", "/directories/acme")
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			replicas(t, setup{app: app}, func(t *testing.T, s *site, here, there *replica) {
				b := s.signedIn("ann", s.url("wiki", "/"))
				cookie := s.cookie(b)
				here.warm(cookie)
				there.warm(cookie)
				if err := test.change(s, here, b); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				for _, r := range []*replica{here, there} {
					eventually(t, fmt.Sprintf("want %d", test.want), func() bool {
						status, _ := r.ask(cookie)
						return status == test.want
					})
				}
				if took := time.Since(began); took > 5*time.Second { // a second, and what a busy machine adds
					t.Errorf("took %v to reach all", took)
				}
			})
		})
	}
}

// The replica that ends a session lets no request pass after that, heard or not.
func TestOwnChangesAtOnce(t *testing.T) {
	replicas(t, setup{}, func(t *testing.T, s *site, here, there *replica) {
		for range 20 {
			cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
			here.warm(cookie)
			if err := here.admin("DELETE", "/sessions?user="+s.ann().ID+"&directory=acme"); err != nil {
				t.Fatal(err)
			}
			if status, _ := here.ask(cookie); status != 401 {
				t.Fatalf("%d, want 401", status)
			}
		}
	})
}

// A replica that hears of no changes believes nothing that it remembers.
func TestUnheardChanges(t *testing.T) {
	replicas(t, setup{}, func(t *testing.T, s *site, here, there *replica) {
		b := s.signedIn("ann", s.url("wiki", "/"))
		cookie := s.cookie(b)
		there.warm(cookie)
		there.relay.Cut()
		follows(t, there.Gateway, false)
		began := time.Now()
		status, body := there.ask(cookie)
		if status != 503 || !strings.Contains(body, codeStore) {
			t.Errorf("cut off: %d, want 503: %s", status, body)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the answer took %v, want it within a second", took)
		}
		s.signOut(b)
		there.relay.Mend()
		eventually(t, "an answer other than 503", func() bool {
			status, _ = there.ask(cookie)
			return status != 503
		})
		if status != 401 {
			t.Errorf("after the sign-out that was not heard of: %d, want 401", status)
		}
		follows(t, there.Gateway, true)
		if status, _ = there.ask(cookie); status != 401 {
			t.Errorf("following again: %d, want 401", status)
		}
	})
}

// With a grace, those whom a replica remembers go on for so long while Redis is away,
// and nobody else.
func TestGrace(t *testing.T) {
	replicas(t, setup{session: "grace: 3s", app: "allow: {any_user: true}\n    headers: {preset: forwarded}"}, func(t *testing.T, s *site, here, there *replica) {
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		stranger := s.cookie(s.signedIn("bob", s.url("wiki", "/")))
		there.warm(cookie)
		there.relay.Cut()
		follows(t, there.Gateway, false)
		if status, body := there.ask(cookie); status != 200 || !strings.Contains(body, "ann") {
			t.Errorf("within the grace: %d, want 200", status)
		}
		if status, _ := there.ask(stranger); status != 503 {
			t.Errorf("somebody not remembered: %d, want 503", status)
		}
		eventually(t, "the grace ends", func() bool {
			status, _ := there.ask(cookie)
			return status == 503
		})
		if time.Since(there.memory.feed.Until()) < 3*time.Second {
			t.Error("the grace has ended early")
		}
		there.relay.Mend()
		eventually(t, "Redis is asked again", func() bool {
			status, _ := there.ask(cookie)
			return status == 200
		})
	})
}

// Many who want to know the same at once ask the store once.
func TestOneLoad(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		r := s.remembering(rdb.(*redis.Client).Options().Addr)
		r.relay.Slow(60 * time.Millisecond)
		hook := new(loadHook)
		r.rdb.AddHook(hook)
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				if status, _ := r.ask(cookie); status != 200 {
					t.Errorf("%d, want 200", status)
				}
			})
		}
		all.Wait()
		if n := hook.reset(); n != 1 {
			t.Errorf("the store was asked %d times, want once", n)
		}
	})
}

// A loadHook counts how often it is asked who a visitor is.
type loadHook struct{ storeHook }

func (h *loadHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *loadHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "get" {
			_ = h.note(1)
		}
		return next(ctx, cmds)
	}
}

// However many visitors come, a replica remembers no more of them than it may.
func TestBoundedMemory(t *testing.T) {
	replicas(t, setup{top: "limits: {sessions: 3, logins_per_minute: 1000}"}, func(t *testing.T, s *site, here, there *replica) {
		for range 10 {
			if status, _ := there.ask(s.cookie(s.signedIn("ann", s.url("wiki", "/")))); status != 200 {
				t.Fatalf("%d, want 200", status)
			}
			if n, _ := there.memory.guests.Size(); n > 3 {
				t.Fatalf("%d remembered, want at most 3", n)
			}
		}
		if n, bytes := there.memory.guests.Size(); n == 0 || bytes < 1000 {
			t.Errorf("%d remembered, of %d bytes, want some", n, bytes)
		}
	})
}

// A session that is in use here and there does not end for idleness, and what is
// remembered does not outlive it.
func TestRememberedIdle(t *testing.T) {
	replicas(t, setup{}, func(t *testing.T, s *site, here, there *replica) {
		cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
		here.warm(cookie)
		there.warm(cookie)
		for range 10 { // two hours and a half; idle is one
			s.clock.Add(15 * time.Minute)
			here.ask(cookie)
			eventually(t, "the use is noted", func() bool {
				open, err := s.Gateway.openSessions(t.Context(), s.ann())
				if err != nil {
					t.Fatal(err)
				}
				return slices.ContainsFunc(open, func(r session.Record) bool { return r.Seen.Equal(s.clock.Now()) })
			})
		}
		if status, _ := there.ask(cookie); status != 200 {
			t.Errorf("in use elsewhere: %d, want 200", status)
		}
		s.clock.Add(time.Hour)
		for _, r := range []*replica{here, there} {
			if status, _ := r.ask(cookie); status != 401 {
				t.Errorf("after an hour of idleness: %d, want 401", status)
			}
		}
	})
}
