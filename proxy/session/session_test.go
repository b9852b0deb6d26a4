package session

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// stores runs a test on both stores, with an hour of idle time, eight of
// lifetime, and a clock to move.
func stores(t *testing.T, run func(t *testing.T, s *Store, c *clock)) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		c := &clock{now: time.Now()}
		run(t, &Store{Redis: rdb, Prefix: testenv.Prefix(t), Idle: time.Hour, Lifetime: 8 * time.Hour, Now: c.Now}, c)
	})
}

func create(t *testing.T, s *Store, r Record) (Record, []byte) {
	t.Helper()
	r, id, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r, id
}

// alive reports whether id is a session now.
func alive(t *testing.T, s *Store, id []byte) bool {
	t.Helper()
	_, ok, err := s.Lookup(t.Context(), KeyOf(id))
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func ann(host, login string) Record {
	return Record{Host: host, Directory: "acme", UserID: "u1", IdP: "acme", Login: login, NameID: "n", SessionIndex: "i"}
}

func TestCreate(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, _ *clock) {
		want, id := create(t, s, ann("wiki.example.com", "l1"))
		got, ok, err := s.Lookup(t.Context(), KeyOf(id))
		if err != nil || !ok {
			t.Fatalf("Lookup = %v, %v, want a session", ok, err)
		}
		if got != want {
			t.Errorf("Lookup = %+v, want %+v", got, want)
		}
		keys := s.Redis.Keys(t.Context(), s.Prefix+"{acme}:s:*").Val()
		if len(keys) != 1 || strings.Contains(keys[0], base64.RawURLEncoding.EncodeToString(id[:32])) {
			t.Errorf("keys = %q, want one that does not hold the ID", keys)
		}
		for _, unknown := range [][]byte{nil, id[:31], make([]byte, 32), append(slices.Clone(id), 0), append(slices.Clone(id[:32]), "labs u1"...)} {
			if alive(t, s, unknown) {
				t.Errorf("ID %x is a session", unknown)
			}
		}
	})
}

// A record that a mixed-up reply or a copied key brings is nobody's session.
func TestForeignRecord(t *testing.T) {
	t.Run("H13 a record under another key", func(t *testing.T) { stores(t, testForeignRecord) })
}

func testForeignRecord(t *testing.T, s *Store, _ *clock) {
	r, id := create(t, s, ann("h", "l1"))
	if !alive(t, s, id) {
		t.Error("the honest twin is no session")
	}
	data := s.Redis.Get(t.Context(), s.key(r.Key)).Val()
	other := make([]byte, 32)
	s.Redis.Set(t.Context(), s.key(KeyOf(other)), data, time.Minute)
	if alive(t, s, other) {
		t.Error("a record under another key is a session")
	}
}

func TestEnds(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		_, idle := create(t, s, ann("h", "idle"))
		capped := ann("h", "capped")
		capped.Expires = c.Now().Add(10 * time.Minute) // the IdP's SessionNotOnOrAfter
		_, short := create(t, s, capped)
		late := ann("h", "late")
		late.Expires = c.Now().Add(100 * time.Hour)
		lateRecord, used := create(t, s, late)
		if got, want := lateRecord.Expires, c.Now().Add(s.Lifetime); !got.Equal(want) {
			t.Errorf("Expires = %v, want %v", got, want)
		}

		c.Add(10*time.Minute - time.Second)
		if !alive(t, s, short) {
			t.Error("ended before SessionNotOnOrAfter")
		}
		c.Add(time.Second)
		if alive(t, s, short) {
			t.Error("alive at SessionNotOnOrAfter")
		}
		for range 9 {
			r, ok, err := s.Lookup(t.Context(), KeyOf(used))
			if err != nil || !ok {
				t.Fatalf("in use, Get = %v, %v", ok, err)
			}
			if err := s.Touch(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			c.Add(50 * time.Minute)
		}
		if alive(t, s, idle) {
			t.Error("alive after an idle hour")
		}
		if !alive(t, s, used) {
			t.Error("ended in use, before its lifetime")
		}
		r, _, _ := s.Lookup(t.Context(), KeyOf(used))
		if err := s.Touch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		c.Add(21 * time.Minute) // 8 h 1 min since Create
		if alive(t, s, used) {
			t.Error("alive after its lifetime")
		}
	})
}

// Redis forgets a session by itself: what ended takes up no room.
func TestRedisExpires(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		r, _ := create(t, s, ann("h", "l"))
		ttl := s.Redis.PTTL(t.Context(), s.key(r.Key)).Val()
		if ttl > s.Lifetime || ttl < s.Lifetime-time.Minute {
			t.Errorf("TTL = %v, want %v", ttl, s.Lifetime)
		}
		c.Add(30 * time.Minute)
		if err := s.Touch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if after := s.Redis.PTTL(t.Context(), s.key(r.Key)).Val(); after > ttl-29*time.Minute || after < ttl-31*time.Minute {
			t.Errorf("TTL after use = %v, want half an hour less than %v", after, ttl)
		}
		index := s.Redis.TTL(t.Context(), s.index(r.Owner())).Val()
		if index < s.Lifetime {
			t.Errorf("TTL of the index = %v, want at least %v", index, s.Lifetime)
		}
	})
}

func TestTouch(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		r, id := create(t, s, ann("h", "l"))
		commands := count(s.Redis)
		c.Add(59 * time.Second)
		if err := s.Touch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if n := commands(); n != 0 {
			t.Errorf("%d commands within a minute, want 0", n)
		}
		c.Add(time.Second)
		if err := s.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := s.Touch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if alive(t, s, id) {
			t.Error("Touch brought back a session that was ended")
		}
	})
}

func TestRevoke(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, _ *clock) {
		r, base := create(t, s, ann("sso.example.com", "l1"))
		_, wiki := create(t, s, ann("wiki.example.com", "l1"))
		_, phone := create(t, s, ann("wiki.example.com", "l2"))
		stranger := ann("wiki.example.com", "l1") // never happens: Login is random
		stranger.UserID = "u2"
		_, other := create(t, s, stranger)
		s.Redis.ZRem(t.Context(), s.index(r.Owner()), r.Key)
		if err := s.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			why  string
			id   []byte
			want bool
		}{
			{"the session itself, though not in the index", base, false},
			{"the same login on another host", wiki, false},
			{"the user's other login", phone, true},
			{"another user", other, true},
		} {
			if got := alive(t, s, test.id); got != test.want {
				t.Errorf("%s: alive = %v, want %v", test.why, got, test.want)
			}
		}
	})
}

func TestOpen(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		owner := ann("", "").Owner()
		other := Owner{owner.Directory, "u2"}
		check := func(why string, want string, owners ...Owner) {
			t.Helper()
			open, err := s.Open(t.Context(), owners...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range open {
				got = append(got, r.UserID+" "+r.Login+" "+r.Host)
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%s: %q, want %q", why, got, want)
			}
		}
		check("nobody was here", "", owner, other)
		check("nobody was asked for", "")
		first, _ := create(t, s, ann("b", "l2"))
		c.Add(time.Minute)
		second, _ := create(t, s, ann("a", "l1"))
		stranger := ann("a", "l3")
		stranger.UserID = "u2"
		create(t, s, stranger)
		check("two users", "u2 l3 a, u1 l2 b, u1 l1 a", other, owner)
		s.Redis.ZAdd(t.Context(), s.index(other), redis.Z{Member: first.member()})
		check("a foreign session in the index", "u2 l3 a", other)
		c.Add(time.Hour - time.Second)
		check("one was idle for too long", "u1 l1 a", owner)
		s.Redis.Del(t.Context(), s.key(second.Key))
		check("one that Redis has dropped", "", owner)
	})
}

func TestAtMostTwenty(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		var ids [][]byte
		for range 23 {
			r := ann("h", "")
			r.Expires = c.Now().Add(s.Lifetime - time.Duration(len(ids))*time.Minute) // later ones end earlier
			_, id := create(t, s, r)
			ids = append(ids, id)
			c.Add(time.Second)
		}
		for i, id := range ids {
			if got, want := alive(t, s, id), i >= 3; got != want {
				t.Errorf("session %d: alive = %v, want %v", i, got, want)
			}
		}
	})
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	m := testenv.Embedded(t)
	s := &Store{Redis: testenv.Client(t, m.Addr()), Prefix: "p:", Idle: time.Hour, Lifetime: time.Hour, Now: time.Now}
	r, id := create(t, s, ann("h", "l"))
	m.SetError("LOADING Redis is loading the dataset in memory")
	ctx := t.Context()
	r.Seen = r.Seen.Add(-time.Hour)
	_, _, getErr := s.Lookup(ctx, KeyOf(id))
	_, _, createErr := s.Create(ctx, r)
	_, offerErr := s.Offer(ctx, Handover{})
	_, openErr := s.Open(ctx, r.Owner())
	_, _, takeErr := s.Take(ctx, base64.RawURLEncoding.EncodeToString(id[:32]))
	for name, err := range map[string]error{"Get": getErr, "Create": createErr, "Touch": s.Touch(ctx, r),
		"Revoke": s.Revoke(ctx, r), "Open": openErr, "Offer": offerErr, "Take": takeErr} {
		if err == nil {
			t.Errorf("%s: no error while the store is down", name)
		}
	}
	m.SetError("")
	if !alive(t, s, id) {
		t.Error("the session is gone after the outage")
	}
}

func TestHandover(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		offer := func() (Handover, string) {
			h := Handover{Session: "k", Host: "wiki.example.com", Nonce: "n", Return: "/p?q"}
			code, err := s.Offer(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			h.Offered = c.Now().UTC()
			return h, code
		}
		want, code := offer()
		got, ok, err := s.Take(t.Context(), code)
		if err != nil || !ok || got.Host != want.Host || got.Nonce != want.Nonce || got.Return != want.Return || got.Session != want.Session {
			t.Errorf("Take = %+v, %v, %v, want %+v", got, ok, err, want)
		}
		if _, ok, _ := s.Take(t.Context(), code); ok {
			t.Error("a code was good twice")
		}
		_, code = offer()
		if ttl := s.Redis.TTL(t.Context(), s.Redis.Keys(t.Context(), s.Prefix+"code:*").Val()[0]).Val(); ttl > time.Minute {
			t.Errorf("TTL = %v, want a minute", ttl)
		}
		c.Add(time.Minute)
		if _, ok, _ := s.Take(t.Context(), code); ok {
			t.Error("a code was good after a minute")
		}
		commands := count(s.Redis)
		for _, bad := range []string{"", "x", "*", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("\r\n", 21)} {
			if _, ok, err := s.Take(t.Context(), bad); ok || err != nil {
				t.Errorf("Take(%q) = %v, %v, want nothing", bad, ok, err)
			}
		}
		if n := commands(); n != 0 {
			t.Errorf("%d commands for what cannot be a code, want 0", n)
		}
	})
}

// count counts the commands that go to the store from now on.
func count(rdb redis.UniversalClient) (commands func() int) {
	h := new(countingHook)
	rdb.AddHook(h)
	return func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.n
	}
}

type countingHook struct {
	mu sync.Mutex
	n  int
}

func (h *countingHook) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n += n
}

func (h *countingHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *countingHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.add(1)
		return next(ctx, cmd)
	}
}

func (h *countingHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.add(len(cmds))
		return next(ctx, cmds)
	}
}

// A session that is made while a user's are dropped can still be found and revoked.
func TestDropLeavesNewSessions(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, _ *clock) {
		_, before := create(t, s, ann("wiki.example.com", "l1"))
		var meanwhile Record
		s.Redis.AddHook(&listedHook{then: func() { meanwhile, _ = create(t, s, ann("crm.example.com", "l2")) }})
		if err := s.Drop(t.Context(), ann("", "").Owner()); err != nil {
			t.Fatal(err)
		}
		if alive(t, s, before) {
			t.Error("a session outlives Drop")
		}
		open, err := s.Open(t.Context(), meanwhile.Owner())
		if err != nil || !slices.Equal(open, []Record{meanwhile}) {
			t.Errorf("Open = %v, %v, want the session made meanwhile, %v", open, err, meanwhile)
		}
	})
}

// A listedHook does something once, after sessions were listed.
type listedHook struct {
	countingHook
	then func()
}

func (h *listedHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if then := h.then; then != nil && cmds[0].Name() == "zrange" {
			h.then = nil // it may list some too
			then()
		}
		return err
	}
}

// However many hosts a login is for, it is one of the twenty.
func TestManyHosts(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		var ids [][]byte
		for _, login := range []string{"laptop", "phone"} {
			for i := range maxLogins + 5 {
				_, id := create(t, s, ann(fmt.Sprintf("host%d", i), login))
				ids = append(ids, id)
				c.Add(time.Second)
			}
		}
		for i, id := range ids {
			if !alive(t, s, id) {
				t.Errorf("session %d of two logins is gone", i)
			}
		}
	})
}

// A login that ends while it is carried to another host has no session there.
func TestContinue(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, c *clock) {
		base, _ := create(t, s, ann("sso.example.com", "l1"))
		c.Add(time.Minute)
		id, ok, err := s.Continue(t.Context(), base, "wiki.example.com")
		if err != nil || !ok {
			t.Fatalf("Continue = %v, %v, want a session", ok, err)
		}
		got, ok, err := s.Lookup(t.Context(), KeyOf(id))
		if err != nil || !ok || got.Host != "wiki.example.com" || got.Login != "l1" || !got.Expires.Equal(base.Expires) {
			t.Errorf("continued as %+v, %v, %v", got, ok, err)
		}
		if err := s.Revoke(t.Context(), base); err != nil {
			t.Fatal(err)
		}
		if _, ok, err = s.Continue(t.Context(), base, "builds.example.com"); err != nil || ok {
			t.Errorf("Continue = %v, %v after signing out, want none", ok, err)
		}
		keys := slices.DeleteFunc(s.Redis.Keys(t.Context(), s.Prefix+"*").Val(), func(key string) bool {
			return strings.HasPrefix(key, s.Prefix+"{acme}:si:") // left to expire
		})
		if len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

// Signing out and being carried to other hosts at once leaves no session.
func TestContinueRace(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, _ *clock) {
		for round := range 20 {
			base, _ := create(t, s, ann("sso.example.com", fmt.Sprint("l", round)))
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					if _, _, err := s.Continue(t.Context(), base, fmt.Sprint("host", i)); err != nil {
						t.Error(err)
					}
				})
			}
			if err := s.Revoke(t.Context(), base); err != nil {
				t.Error(err)
			}
			all.Wait()
			if keys := s.Redis.Keys(t.Context(), s.Prefix+"{acme}:s:*").Val(); len(keys) != 0 {
				t.Fatalf("round %d: %d sessions after signing out", round, len(keys))
			}
		}
	})
}

// OfSubject finds the sessions of everybody whom an identity provider calls by a
// name, and nobody else's.
func TestOfSubject(t *testing.T) {
	stores(t, func(t *testing.T, s *Store, _ *clock) {
		want, _ := create(t, s, ann("wiki.example.com", "l1"))
		elsewhere := ann("wiki.example.com", "l2")
		elsewhere.IdP = "globex"
		create(t, s, elsewhere)
		unnamed := ann("wiki.example.com", "l3")
		unnamed.UserID, unnamed.NameID = "u2", ""
		create(t, s, unnamed)
		for _, test := range []struct {
			idp, name string
			want      []Record
		}{
			{"acme", "n", []Record{want}}, {"acme", "other", nil}, {"acme", "", nil}, {"other", "n", nil},
		} {
			got, err := s.OfSubject(t.Context(), "acme", test.idp, test.name)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("OfSubject(%q, %q) = %v, %v, want %v", test.idp, test.name, got, err, test.want)
			}
		}
	})
}
