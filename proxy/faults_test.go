package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/proxy/session"
)

// maxWait is how long a visitor waits at most for an answer while the store fails,
// with something to spare for a slow machine.
const maxWait = 4 * time.Second

// A fault is a way in which a store fails.
type fault struct {
	name       string
	begin, end func()
	reads      bool // it can still be read
	deletes    bool // it can still be deleted from
	harmless   bool // nobody notices
}

// A faulty store fails when it is told to: as soon as the n-th command from then
// on is about to be sent.
type faulty struct {
	mu    sync.Mutex
	left  int // commands until then; 0 for never
	do    func()
	fired string // name of that command
}

// arm has do done before the n-th command from now on, and forgets what was.
func (f *faulty) arm(n int, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.do, f.fired = n, do, ""
}

// disarm returns the name of the command before which it was done, or "".
func (f *faulty) disarm() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
	return f.fired
}

func (f *faulty) count(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return
	}
	if f.left--; f.left == 0 {
		f.fired = name
		f.do()
	}
}

func (f *faulty) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *faulty) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f.count(cmd.Name())
		return next(ctx, cmd)
	}
}

func (f *faulty) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		f.count("pipeline of " + cmds[0].Name())
		return next(ctx, cmds)
	}
}

// faults are the ways in which a store of its own can fail, and a client of it
// that waits so long, twice.
func faults(t *testing.T, wait time.Duration) (redis.UniversalClient, *testenv.Relay, []fault) {
	t.Helper()
	server := testenv.RedisServer(t)
	relay, direct := testenv.NewRelay(t, server.Addr), testenv.Client(t, server.Addr)
	tell := func(args ...any) func() {
		return func() {
			if err := direct.Do(context.Background(), args...).Err(); err != nil {
				t.Error(err)
			}
		}
	}
	rdb := redis.NewClient(&redis.Options{
		Addr: relay.Addr, ContextTimeoutEnabled: true, DialTimeout: wait, DialerRetries: 1, MaxRetries: 1,
		ReadTimeout: wait, WriteTimeout: wait, PoolTimeout: wait,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { rdb.Close() })
	return rdb, relay, []fault{
		{name: "dead", begin: relay.Cut, end: relay.Mend},
		{name: "slow", begin: func() { relay.Slow(2 * time.Second) }, end: relay.Mend},
		{name: "read-only", begin: tell("REPLICAOF", "127.0.0.1", "1"), end: tell("REPLICAOF", "NO", "ONE"), reads: true},
		{name: "full", begin: tell("CONFIG", "SET", "maxmemory", "1"), end: tell("CONFIG", "SET", "maxmemory", "0"), reads: true, deletes: true},
		{name: "forgetful", begin: tell("SCRIPT", "FLUSH"), end: func() {}, reads: true, harmless: true},
	}
}

// A step is something that somebody does while the store fails. It returns what
// came of it, and how one finds out that a success was none: an error.
type step struct {
	name   string
	writes bool // it cannot be done where the store can only be read
	only   bool // all that it writes is deletions
	run    func(t *testing.T, s *site) (do func() outcome)
}

// An outcome is an answer.
type outcome struct {
	status  int
	header  http.Header
	text    string
	trail   []string     // where the browser was sent on the way
	success bool         // by what it says
	holds   func() error // whether that is true, looked at when the store works again
}

// steps are all that the store is asked for, from a login to its end.
func steps() []step {
	request := func(host, path string, later time.Duration) func(*testing.T, *site) func() outcome {
		return func(t *testing.T, s *site) func() outcome {
			b := s.signedIn("ann", s.url("wiki", "/"))
			s.clock.Add(later)
			return func() outcome {
				before := len(b.Trail)
				page, err := b.Open(s.url(host, path))
				if err != nil {
					t.Fatal(err)
				}
				return outcome{page.Status, page.Header, page.Text(), b.Trail[before:], page.Status == 200, func() error { return s.wants(b, 200) }}
			}
		}
	}
	return []step{
		{"login", true, false, stepLogin},
		{"login page", false, false, request("wiki", "/.jitgate/login", 0)},
		{"request", false, false, request("wiki", "/x", 0)},
		{"request of a session that is touched", false, false, request("wiki", "/x", 2*time.Minute)},
		{"session page", false, false, request("sso", "/.jitgate/session", 0)},
		{"logout page", false, false, request("wiki", "/.jitgate/logout", 0)},
		{"logout", true, true, func(t *testing.T, s *site) func() outcome {
			b := s.signedIn("ann", s.url("wiki", "/"))
			return ending(s, b, func() (*http.Response, string) { return s.post(b, s.url("wiki", "/.jitgate/logout")) })
		}},
		{"slo", true, false, func(t *testing.T, s *site) func() outcome {
			b := s.signedIn("ann", s.url("wiki", "/"))
			l := s.idp.GoodLogout(s.url("sso", sloPath), annName, s.sessionIndex(b))
			return ending(s, b, func() (*http.Response, string) { return s.sendLogout(b, l, sloPath) })
		}},
		{"list over the admin socket", false, false, func(t *testing.T, s *site) func() outcome {
			s.signedIn("ann", s.url("wiki", "/"))
			return s.question("GET", "/users?name=ann", func() error { return nil })
		}},
		{"revocation over the admin socket", true, true, func(t *testing.T, s *site) func() outcome {
			b := s.signedIn("ann", s.url("wiki", "/"))
			id, _ := s.jar.session(http.Header{"Cookie": {s.cookie(b)}})
			return s.question("DELETE", "/sessions/"+session.KeyOf(id), func() error { return s.wants(b, 401) })
		}},
	}
}

// stepLogin is everything between the identity provider's response and the app:
// the claim, the sign-in, the session, the hand-over and the session of the app.
func stepLogin(t *testing.T, s *site) func() outcome {
	b, form := atResponse(t, s)
	return func() outcome {
		before := len(b.Trail)
		page, err := form.Submit()
		if err != nil {
			t.Fatal(err)
		}
		return outcome{page.Status, page.Header, page.Text(), b.Trail[before:], page.Status == 200, func() error { return s.wants(b, 200) }}
	}
}

// ending is a step that ends the session of a browser.
func ending(s *site, b *testenv.Browser, do func() (*http.Response, string)) func() outcome {
	cookie := "Cookie: " + s.cookie(b)
	return func() outcome {
		res, body := do()
		success := res.StatusCode == 200 || res.StatusCode == 303
		return outcome{res.StatusCode, res.Header, body, nil, success, func() error {
			if res, _ := s.get(s.browser(), s.url("wiki", "/x"), cookie); res.StatusCode != 401 {
				return fmt.Errorf("the session that was ended: %d, want 401", res.StatusCode)
			}
			return nil
		}}
	}
}

// question is a step over the admin socket.
func (s *site) question(method, path string, holds func() error) func() outcome {
	return func() outcome {
		w := httptest.NewRecorder()
		s.Socket().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return outcome{w.Code, w.Header(), w.Body.String(), nil, w.Code == 200, holds}
	}
}

// wants returns an error where a browser's request to wiki has another status.
func (s *site) wants(b *testenv.Browser, status int) error {
	if res, body := s.get(b, s.url("wiki", "/x")); res.StatusCode != status {
		return fmt.Errorf("%d, want %d: %.200s", res.StatusCode, status, body)
	}
	return nil
}

// rowOf returns the row of the catalogue that a step and a fault are of.
func rowOf(step, fault string) string {
	switch step + " " + fault {
	case "request dead":
		return "H01"
	case "login dead":
		return "H02"
	case "request slow":
		return "H03"
	case "login read-only":
		return "H04"
	case "login forgetful":
		return "H06"
	case "login full", "request full":
		return "H07"
	}
	return "H18"
}

// The store fails before each command of each step in turn. Nobody is signed out
// by that or sent to sign in, nobody is told what is not so, and when it is over
// all goes on as before.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"dead", "slow", "read-only", "full", "forgetful"} {
		for _, st := range steps() {
			t.Run(fmt.Sprintf("%s %s store at the %s", rowOf(st.name, name), name, st.name), func(t *testing.T) {
				t.Parallel()
				wait := 200 * time.Millisecond // less than what serve waits for, so that the test is over soon
				if rowOf(st.name, name) == "H03" {
					wait = 400 * time.Millisecond
				}
				rdb, _, all := faults(t, wait)
				s, f := newSite(t, rdb, setup{idp: ", single_logout: true"}), new(faulty)
				rdb.AddHook(f)
				old := s.signedIn("ann", s.url("wiki", "/"))
				for n := 1; failAt(t, s, f, all[i], st, old, n); n++ {
					if n > 40 {
						t.Fatal("a step has no end")
					}
				}
			})
		}
	}
}

// failAt does a step, and has the store fail at its n-th command. It reports
// whether there was one: the last time, all goes well. The next one begins with a
// new login, so that it is seen to work again.
func failAt(t *testing.T, s *site, f *faulty, fault fault, st step, old *testenv.Browser, n int) bool {
	t.Helper()
	do := st.run(t, s)
	before := s.openAt()
	f.arm(n, fault.begin)
	start := time.Now()
	got := do()
	took, command := time.Since(start), f.disarm()
	fault.end()
	why := fmt.Sprintf("command %d, %s", n, command)
	s.checkAnswer(t, why, got)
	if took > maxWait {
		t.Errorf("%s: answered after %v", why, took)
	}
	if !got.success && (command == "" || fault.harmless || fault.reads && !st.writes || fault.deletes && st.only) {
		t.Errorf("%s: %d, want it done: %s", why, got.status, got.text)
	}
	if after := s.openAt(); after["sso.example.com"]-before["sso.example.com"] > 1 || after["wiki.example.com"]-before["wiki.example.com"] > 1 {
		t.Errorf("%s: sessions were %v and are %v, want one more at most", why, before, after)
	}
	if got.success {
		if err := got.holds(); err != nil {
			t.Errorf("%s: success, and then %v", why, err)
		}
	}
	testenv.Eventually(t, func() error { return s.wants(old, 200) })
	return command != ""
}

// checkAnswer checks what no answer of a step may be.
func (s *site) checkAnswer(t *testing.T, why string, got outcome) {
	t.Helper()
	if !got.success && (got.status != 503 || got.header.Get("Retry-After") == "") {
		t.Errorf("%s: %d %v %s, want 503 with Retry-After", why, got.status, got.header, got.text)
	}
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		if !got.success && c.Name == s.jar.sessionName() && (c.MaxAge < 0 || c.Value == "") {
			t.Errorf("%s: it clears the session", why)
		}
	}
	for _, visit := range got.trail {
		if u, err := url.Parse(visit[strings.Index(visit, " ")+1:]); err != nil || strings.HasPrefix(u.String(), s.idpURL) {
			t.Errorf("%s: sent to the identity provider: %v", why, got.trail)
		}
	}
}

// openAt returns how many sessions ann has open on each host.
func (s *site) openAt() map[string]int {
	s.t.Helper()
	var a sessionsAnswer
	testenv.Eventually(s.t, func() error {
		w := httptest.NewRecorder()
		s.Socket().ServeHTTP(w, httptest.NewRequest("GET", "/sessions?user=ann", nil))
		if w.Code != 200 {
			return fmt.Errorf("%d %s", w.Code, w.Body)
		}
		return nil
	})
	s.ask("GET /sessions?user=ann", 200, &a)
	open := make(map[string]int)
	for _, session := range a.Sessions {
		open[session.Host]++
	}
	return open
}

// Each reply of a login in turn gets lost after the store has done what it was
// asked: the client asks again, and the login succeeds once.
func TestRepliesLost(t *testing.T) {
	t.Parallel()
	t.Run("H05 a reply that gets lost", func(t *testing.T) {
		rdb, relay, _ := faults(t, time.Second)
		s, f := newSite(t, rdb, setup{}), new(faulty)
		rdb.AddHook(f)
		s.signedIn("ann", s.url("wiki", "/"))
		for n, more := 1, true; more; n++ {
			do := stepLogin(t, s)
			before := s.openAt()
			f.arm(n, relay.Lose)
			got := do()
			command := f.disarm()
			relay.Mend()
			if !got.success {
				t.Errorf("command %d, %s: %d %s, want the login to succeed", n, command, got.status, got.text)
			} else if err := got.holds(); err != nil {
				t.Errorf("command %d, %s: %v", n, command, err)
			}
			if after := s.openAt(); after["sso.example.com"] != before["sso.example.com"]+1 || after["wiki.example.com"] > before["wiki.example.com"]+1 {
				t.Errorf("command %d, %s: sessions were %v and are %v, want one more", n, command, before, after)
			}
			more = command != ""
		}
	})
}
