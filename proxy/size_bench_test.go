package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/session"
)

// manyUsers is how many users the benchmarks below work with.
const manyUsers = 100_000

// BenchmarkDeleteDirectory deletes a directory of 100,000 users, each with a
// session, on a real redis-server, while others sign in to another directory. It
// reports what each user, each session and the full audit trail take in Redis'
// memory, how long the deletion took, the slowest command that Redis did meanwhile,
// of whatever kind, and the one that deletes all users (0: less than 0.2 ms). A
// machine that is busy otherwise makes any command slow now and then:
//
//	go test ./proxy -run '^$' -bench DeleteDirectory -benchtime 1x
func BenchmarkDeleteDirectory(b *testing.B) {
	rdb := testenv.Client(b, testenv.RedisServer(b).Addr)
	for b.Loop() {
		b.StopTimer()
		s := newSite(b, rdb, setup{idps: "  - {name: other, directory: other, metadata: {file: second.xml}}"})
		ctx := b.Context()
		empty := usedMemory(b, rdb)
		owners := s.fill(manyUsers)
		trail, err := rdb.MemoryUsage(ctx, audit.Key(s.cfg.Redis.KeyPrefix, "acme"), 0).Result()
		if err != nil {
			b.Fatal(err)
		}
		users := usedMemory(b, rdb) - trail
		inParallel(manyUsers, func(i int) {
			r := session.Record{
				Directory: "acme", UserID: owners[i].UserID, IdP: "acme", Host: "wiki.example.com", NameID: fmt.Sprintf("user%06d@acme.example", i),
				NameFormat: "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress", SessionIndex: fmt.Sprintf("_session-%06d", i),
			}
			if _, _, err := s.Gateway.sessions.Create(ctx, r); err != nil {
				b.Error(err)
			}
		})
		sessions := usedMemory(b, rdb) - trail
		b.ReportMetric(float64(users-empty)/manyUsers, "B/user")
		b.ReportMetric(float64(sessions-users)/manyUsers, "B/session")
		b.ReportMetric(float64(trail), "B/trail")

		for _, args := range [][]any{{"config", "set", "slowlog-log-slower-than", "200"}, {"config", "set", "slowlog-max-len", "10000"}, {"slowlog", "reset"}} {
			if err := rdb.Do(ctx, args...).Err(); err != nil {
				b.Fatal(err)
			}
		}
		logins := s.loginsBeside(func() {
			b.StartTimer()
			s.deleteWhole("acme")
			b.StopTimer()
		})
		var slowest, erase time.Duration
		for _, entry := range rdb.SlowLogGet(ctx, -1).Val() {
			slowest = max(slowest, entry.Duration)
			if len(entry.Args) > 3 && strings.HasSuffix(entry.Args[3], "{acme}:state") {
				erase = max(erase, entry.Duration)
			}
		}
		b.ReportMetric(float64(logins), "logins")
		b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
		b.ReportMetric(float64(erase.Microseconds())/1000, "erase-ms")
		b.StartTimer()
	}
}

// fill signs in n users of acme.
func (s *site) fill(n int) []session.Owner {
	owners := make([]session.Owner, n)
	inParallel(n, func(i int) {
		name := fmt.Sprintf("user%06d", i)
		out, err := s.users.SignIn(s.t.Context(), provision.SignIn{IdP: "acme", Attributes: map[string][]string{
			"userName": {name}, "ExternalId": {fmt.Sprintf("00u%017d", i)}, "email": {name + "@acme.example"}, "domain": {"acme.example"},
			"department": {"Engineering"}, "displayName": {"User Number " + name}, "title": {"Engineer"},
		}})
		if err != nil {
			s.t.Error(err)
			return
		}
		owners[i] = ownerOf(out.User)
	})
	return owners
}

// loginsBeside runs work while users sign in to the directory other, one after
// the other, and returns how many did.
func (s *site) loginsBeside(work func()) int64 {
	ctx, cancel := context.WithCancel(s.t.Context())
	var n atomic.Int64
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("other%d-%d@other.example", worker, i)
				in := provision.SignIn{IdP: "other", Attributes: map[string][]string{"userName": {name}, "email": {name}}}
				if _, err := s.users.SignIn(s.t.Context(), in); err != nil {
					s.t.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	work()
	cancel()
	all.Wait()
	return n.Load()
}

// deleteWhole deletes a directory as the command line does.
func (s *site) deleteWhole(directory string) {
	for after := ""; ; {
		var part directoriesAnswer
		s.ask("DELETE /directories/"+directory+"?limit=500&after="+url.QueryEscape(after), http.StatusOK, &part)
		if after = part.Next; after == "" {
			return
		}
	}
}

// BenchmarkSteer is what the command line's questions cost with 100,000 users: a
// page of users, of how many are in each group, and of sessions, and one user by
// name.
func BenchmarkSteer(b *testing.B) {
	s := newSite(b, testenv.Client(b, testenv.RedisServer(b).Addr), setup{})
	s.fill(manyUsers)
	for name, path := range map[string]string{
		"users": "/users?limit=500", "counts": "/counts?limit=500", "sessions": "/sessions?limit=500", "find": "/users?name=user050000",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w := httptest.NewRecorder()
				s.Socket().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

// inParallel calls f with 0 to n-1, some at a time.
func inParallel(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}

// usedMemory returns what Redis has allocated, in bytes.
func usedMemory(b *testing.B, rdb redis.UniversalClient) int64 {
	b.Helper()
	for line := range strings.Lines(rdb.Info(b.Context(), "memory").Val()) {
		if value, ok := strings.CutPrefix(line, "used_memory:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("redis does not say what memory it uses")
	return 0
}
