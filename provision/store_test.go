package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// lossyProxy passes connections on to the server at addr. While armed, it
// passes the next command that contains text on, and then closes the
// connection without its reply, once.
func lossyProxy(t *testing.T, addr, text string) (proxy string, armed *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	armed = new(atomic.Bool)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				return
			}
			go pass(client, server, text, armed)
		}
	}()
	return l.Addr().String(), armed
}

// pass copies between client and server until one of them closes.
func pass(client, server net.Conn, text string, armed *atomic.Bool) {
	var losing atomic.Bool
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf) // the command has been carried out by now
			if err != nil || losing.Load() {
				return
			}
			client.Write(buf[:n])
		}
	}()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if strings.Contains(string(buf[:n]), text) && armed.CompareAndSwap(true, false) {
			losing.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestLostReply: the client sends a commit again whose reply was lost. It must
// find its own work, not a conflict.
func TestLostReply(t *testing.T) {
	t.Parallel()
	addr := map[string]string{"embedded": testenv.Embedded(t).Addr(), "redis": testenv.RedisServer(t).Addr}
	for store, addr := range addr {
		proxy, armed := lossyProxy(t, addr, redis.NewScript(commitSource).Hash())
		through, direct := testenv.Client(t, proxy), testenv.Client(t, addr)
		for _, test := range []struct {
			why         string
			first, then []string
			told        string
		}{
			{"a first login", nil, []string{"userName", "ann", "ExternalId", "1"}, "user_created ExternalId+domain+userName, login"},
			{"a rename", []string{"userName", "ann", "ExternalId", "1"}, []string{"userName", "anna", "ExternalId", "1"}, "user_renamed, login"},
			{"no change", []string{"userName", "ann"}, []string{"userName", "ann"}, "login"},
		} {
			t.Run(store+": "+test.why, func(t *testing.T) {
				w := newWorld(t, through)
				w.login("acme", "userName", "zoe") // so that the script is loaded
				if test.first != nil {
					w.login("acme", test.first...)
				}
				trail := len(w.trail("acme"))
				armed.Store(true)
				out := w.login("acme", test.then...)
				if armed.Load() {
					t.Fatal("no reply was lost")
				}
				if out.Created != (test.first == nil) {
					t.Errorf("created = %v, want %v", out.Created, test.first == nil)
				}
				if got := tell(w.trail("acme")[trail:]); got != test.told {
					t.Errorf("events = %s, want %s", got, test.told)
				}
				w.rdb = direct
				if n := w.count("acme"); n != 2 {
					t.Errorf("%d users, want 2", n)
				}
			})
		}
	}
}

// TestCluster: every script names its keys, and they are of one slot.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := testenv.RedisServer(t, "--cluster-enabled", "yes", "--dir", t.TempDir())
	ctx := t.Context()
	one := testenv.Client(t, s.Addr)
	if err := one.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.Addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	testenv.Eventually(t, func() error {
		if info := one.ClusterInfo(ctx).Val(); !strings.Contains(info, "cluster_state:ok") {
			return fmt.Errorf("the cluster is not up: %s", info)
		}
		return nil
	})
	w := newWorld(t, rdb, groupsByDepartment)
	w.login("acme", "userName", "ann", "ExternalId", "1", "department", "d1", "hat", "7")
	w.login("acme", "userName", "anna", "ExternalId", "1")
	w.login("other", "userName", "ann")
	w.refused(CodeUserNameMissing, "acme")
	users, _, err := w.List(ctx, "", "", 10)
	if err != nil || len(users) != 2 {
		t.Errorf("List = %+v, %v, want two users", users, err)
	}
	found, err := w.Find(ctx, "", "anna")
	if err != nil || len(found) != 1 {
		t.Fatalf("Find = %+v, %v, want one user", found, err)
	}
	if _, _, err := w.Block(ctx, "acme", found[0].ID, byAdmin); err != nil {
		t.Error(err)
	}
	w.refused(CodeUserBlocked, "acme", "userName", "anna", "ExternalId", "1")
	if _, _, err := w.Unblock(ctx, "acme", found[0].ID, byAdmin); err != nil {
		t.Error(err)
	}
	w.rdb.HDel(ctx, w.keys("acme").seen, found[0].ID) // so that it is read again, all at one moment
	if got := w.inconsistencies("acme"); len(got) != 1 {
		t.Errorf("inconsistencies = %q, want one", got)
	}
	w.delete("acme")
	w.refused(CodeDirectoryDeleted, "acme", "userName", "anna")
	if _, err := w.CreateDirectory(ctx, "acme", byAdmin); err != nil {
		t.Error(err)
	}
	w.login("acme", "userName", "anna")
}

// TestStoreDown: a store that does not answer is an error, never a refusal or
// an absent user, and in the time that the context gives.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	s := testenv.RedisServer(t)
	w := newWorld(t, testenv.Client(t, s.Addr))
	u := w.login("acme", "userName", "ann").User
	calls := map[string]func(ctx context.Context) error{
		"SignIn": func(ctx context.Context) error {
			_, err := w.SignIn(ctx, SignIn{IdP: "acme", Attributes: sent("userName", "ann")})
			return err
		},
		"SignIn that is refused": func(ctx context.Context) error { _, err := w.SignIn(ctx, SignIn{IdP: "acme"}); return err },
		"User":                   func(ctx context.Context) error { _, _, err := w.User(ctx, "acme", u.ID); return err },
		"Find":                   func(ctx context.Context) error { _, err := w.Find(ctx, "", "ann"); return err },
		"List":                   func(ctx context.Context) error { _, _, err := w.List(ctx, "", "", 1); return err },
		"Record": func(ctx context.Context) error {
			_, err := w.Record(ctx, audit.Event{Type: audit.Logout, Directory: "acme"})
			return err
		},
	}
	check := func(state string) {
		for name, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			start := time.Now()
			err := call(ctx)
			cancel()
			var refusal *Refusal
			if err == nil || errors.As(err, &refusal) {
				t.Errorf("%s, %s: error = %v, want one that is not a refusal", name, state, err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%s, %s: took %v", name, state, took)
			}
		}
	}
	s.Pause()
	check("frozen")
	s.Resume()
	w.login("acme", "userName", "ann")
	s.Stop()
	check("gone")
}

// TestStaleEnds: a login that never finds the store as it read it ends with its context.
func TestStaleEnds(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		w.commitScript = redis.NewScript(`return 'stale'`)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := w.SignIn(ctx, SignIn{IdP: "acme", Attributes: sent("userName", "ann")})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want %v", err, context.DeadlineExceeded)
		}
		if n := w.count("acme"); n != 0 {
			t.Errorf("%d users, want none", n)
		}
	})
}

// TestBrokenStore: what nobody of us wrote is an error, and not overwritten.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why   string
			spoil func(k keys, id string)
		}{
			{"an index without its user", func(k keys, id string) { rdb.Del(t.Context(), k.users) }},
			{"a record that is not JSON", func(k keys, id string) { rdb.HSet(t.Context(), k.users, id, "{") }},
			{"a key of another type", func(k keys, id string) { rdb.Del(t.Context(), k.names); rdb.Set(t.Context(), k.names, "x", 0) }},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				u := w.login("acme", "userName", "ann").User
				test.spoil(w.keys("acme"), u.ID)
				trail := len(w.trail("acme"))
				var refusal *Refusal
				_, err := w.try("acme", "userName", "ann")
				if err == nil || errors.As(err, &refusal) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error = %v, want one at once that is not a refusal", err)
				}
				if n := len(w.trail("acme")); n != trail {
					t.Errorf("%d events, want %d", n, trail)
				}
			})
		}
	})
}

func TestFindAndList(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w, ctx := newWorld(t, rdb), t.Context()
		var want []string
		for i := range 25 {
			name := fmt.Sprintf("u%02d", i)
			w.login("acme", "userName", name)
			want = append(want, "acme/acme.example/"+name)
		}
		for _, d := range []string{"labs.example", "xn--bcher-kva.example"} {
			w.login("labs", "userName", "U01", "domain", d)
			want = append(want, "labs/"+d+"/U01")
		}
		w.login("other", "userName", "u01", "ExternalId", "1")
		w.login("other", "userName", "zed", "ExternalId", "1")
		w.refused(CodeAttributeInvalid, "other", "userName", "a*\r\nDEL x")
		want = append(want, "other/other.example/zed")

		for _, limit := range []int{0, 1, 5, 25, 26, 28, 1000} {
			var got []string
			after, pages := "", 0
			for {
				users, next, err := w.List(ctx, "", after, limit)
				if err != nil || len(users) > max(limit, 1) {
					t.Fatalf("List(%d) = %d users, %v", limit, len(users), err)
				}
				for _, u := range users {
					got = append(got, u.Directory+"/"+u.Domain+"/"+u.UserName)
				}
				if after, pages = next, pages+1; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("List in pages of %d = %q, want %q", limit, got, want)
			}
			if most := len(want)/max(limit, 1) + 1; pages > most {
				t.Errorf("List in pages of %d took %d, want at most %d", limit, pages, most)
			}
		}
		for _, test := range []struct {
			directory string
			want      int
		}{{"acme", 25}, {"labs", 2}, {"other", 1}, {"nowhere", 0}} {
			if n := w.count(test.directory); n != test.want {
				t.Errorf("%d users in %s, want %d", n, test.directory, test.want)
			}
		}
		for _, cursor := range []string{"no cursor!", "bm9uZQ"} { // not base64, and without a NUL
			if _, _, err := w.List(ctx, "", cursor, 1); !errors.Is(err, ErrCursor) {
				t.Errorf("List from %q: error = %v, want %v", cursor, err, ErrCursor)
			}
		}

		zed, _ := w.Find(ctx, "other", "zed")
		if len(zed) != 1 {
			t.Fatalf("Find(other, zed) = %+v, want one user", zed)
		}
		for _, test := range []struct {
			why, directory, name string
			want                 int
		}{
			{"in three domains of two directories", "", "u01", 3},
			{"in one directory", "labs", "u01", 2},
			{"case does not matter", "acme", "U24", 1},
			{"a name given up", "other", "u01", 0},
			{"an ID", "", zed[0].ID, 1},
			{"an ID of another directory", "acme", zed[0].ID, 0},
			{"nobody", "", "nobody", 0},
			{"a directory that is not there", "nowhere", "u01", 0},
			{"nothing", "", "", 0},
		} {
			if got, err := w.Find(ctx, test.directory, test.name); err != nil || len(got) != test.want {
				t.Errorf("%s: Find(%q, %q) = %+v, %v, want %d users", test.why, test.directory, test.name, got, err, test.want)
			}
		}
	})
}

// TestBeginning finds users by how their names begin.
func TestBeginning(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		for _, name := range []string{"ann", "Anna", "bob", "än"} {
			w.login("acme", "userName", name)
		}
		w.login("labs", "userName", "Annette", "domain", "labs.example")
		for _, test := range []struct {
			why, directory, text string
			limit                int
			want                 string
		}{
			{"whatever the case", "", "AN", 10, "[ann Anna Annette]"},
			{"a whole name", "", "anna", 10, "[Anna]"},
			{"one directory", "labs", "a", 10, "[Annette]"},
			{"nothing is what all begin with", "acme", "", 10, "[ann Anna bob än]"},
			{"not only ASCII", "", "ä", 10, "[än]"},
			{"no more than asked for", "", "an", 2, "[ann Anna]"},
			{"nobody", "", "c", 10, "[]"},
			{"a directory that is not there", "typo", "a", 10, "[]"},
			{"no pattern", "", "*", 10, "[]"},
		} {
			users, err := w.Beginning(t.Context(), test.directory, test.text, test.limit)
			names := []string{}
			for _, u := range users {
				names = append(names, u.UserName)
			}
			if got := fmt.Sprint(names); err != nil || got != test.want {
				t.Errorf("%s: Beginning(%q, %q) = %s, %v, want %s", test.why, test.directory, test.text, got, err, test.want)
			}
		}
	})
}

// TestUserAbsent tells absent from broken.
func TestUserAbsent(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		u := w.login("acme", "userName", "ann").User
		for _, test := range []struct {
			why, directory, id string
			want               bool
		}{
			{"there", "acme", u.ID, true},
			{"another ID", "acme", strings.Repeat("0", 32), false},
			{"no ID", "acme", "", false},
			{"another directory", "labs", u.ID, false},
			{"a directory that is not configured", "gone", u.ID, false},
		} {
			if got, ok, err := w.User(t.Context(), test.directory, test.id); ok != test.want || err != nil || (got.ID != "") != test.want {
				t.Errorf("%s: User = %+v, %v, %v, want %v", test.why, got, ok, err, test.want)
			}
		}
		without := w.reload(func(c *config.Config) { c.Directories = c.Directories[1:] })
		if _, ok, err := without.User(t.Context(), "acme", u.ID); ok || err != nil {
			t.Errorf("User of a directory taken out of the configuration = %v, %v, want none", ok, err)
		}
	})
}

// BenchmarkSignIn is a login that changes nothing, with 50 groups by rule and
// as many asserted.
func BenchmarkSignIn(b *testing.B) {
	cfg := testConfig()
	pairs := []string{"userName", "ann", "email", "ann@acme.example", "department", "d1", "title", "Boss"}
	for i := range 50 {
		pairs = append(pairs, "groups", fmt.Sprint("eng-team-", i))
		cfg.Groups = append(cfg.Groups, config.Group{
			Name: fmt.Sprint("group-", i), Rule: &config.Rule{Attribute: "department", StartsWith: "d"}, Entitlements: []string{"wiki"},
		})
	}
	stores := map[string]func() string{
		"embedded": func() string { return testenv.Embedded(b).Addr() },
		"redis":    func() string { return testenv.RedisServer(b).Addr },
	}
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		b.Run(name, func(b *testing.B) {
			r, err := New(testenv.Client(b, stores[name]()), "b:", cfg)
			if err != nil {
				b.Fatal(err)
			}
			in := SignIn{IdP: "acme", Attributes: sent(pairs...)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.SignIn(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("without a store", func(b *testing.B) {
		r, err := New(nil, "b:", cfg)
		if err != nil {
			b.Fatal(err)
		}
		p := r.idps["acme"]
		c, _ := p.read(sent(pairs...))
		ch, _ := r.decide(p, c, found{}, audit.Event{})
		f := found{byName: stored{record: ch.after, json: ch.json}}
		b.ReportAllocs()
		for b.Loop() {
			c, _ := p.read(sent(pairs...))
			r.decide(p, c, f, audit.Event{})
		}
	})
}
