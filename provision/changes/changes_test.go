package changes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// ears remember what a feed hears.
type ears struct {
	mu    sync.Mutex
	heard []string
}

func (e *ears) hear(directory, user string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, directory+" "+user)
}

func (e *ears) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// follow runs a feed to the end of the test.
func follow(t *testing.T, rdb redis.UniversalClient, prefix string) (*Feed, *ears) {
	t.Helper()
	e := new(ears)
	f := NewFeed(rdb, prefix, e.hear)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { f.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return f, e
}

// current waits until a feed is current, or is not, and returns its gap.
func current(t *testing.T, f *Feed, want bool) (gap uint64) {
	t.Helper()
	testenv.Eventually(t, func() error {
		var ok bool
		if gap, ok = f.Current(); ok != want {
			return fmt.Errorf("current: %v, want %v: %v", ok, want, f.Err())
		}
		return nil
	})
	return gap
}

// hears waits until the last thing heard is one.
func hears(t *testing.T, e *ears, want string) {
	t.Helper()
	testenv.Eventually(t, func() error {
		if all := e.all(); len(all) == 0 || all[len(all)-1] != want {
			return fmt.Errorf("heard %q, want %q at the end", all, want)
		}
		return nil
	})
}

func TestFeed(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) { testFeed(t, rdb) })
	t.Run("cluster", func(t *testing.T) {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{testenv.Cluster(t).Addr}})
		t.Cleanup(func() { rdb.Close() })
		testFeed(t, rdb)
	})
}

func testFeed(t *testing.T, rdb redis.UniversalClient) {
	prefix := testenv.Prefix(t)
	f, e := follow(t, rdb, prefix)
	other, _ := follow(t, rdb, prefix)
	current(t, f, true)
	current(t, other, true)
	for _, m := range [][2]string{{"acme", "u1"}, {"labs", "u2"}, {"acme", ""}} {
		if err := rdb.Publish(t.Context(), Channel(prefix, m[0]), m[1]).Err(); err != nil {
			t.Fatal(err)
		}
		hears(t, e, m[0]+" "+m[1])
	}
	if err := rdb.Publish(t.Context(), Channel("another:", "acme"), "u3").Err(); err != nil {
		t.Fatal(err)
	}
	rdb.Publish(t.Context(), Channel(prefix, "acme"), "end")
	hears(t, e, "acme end")
	if want := []string{"acme u1", "labs u2", "acme ", "acme end"}; !slices.Equal(e.all(), want) {
		t.Errorf("heard %q, want %q", e.all(), want)
	}
}

// Whatever breaks between a feed and Redis, it knows that it hears nothing, and when
// it hears again, that it may have missed something.
func TestFeedBreaks(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(*testenv.Relay){
		"cut":  (*testenv.Relay).Cut,
		"slow": func(r *testenv.Relay) { r.Slow(2 * silence) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testenv.Embedded(t).Addr()
			relay := testenv.NewRelay(t, server)
			rdb := redis.NewClient(&redis.Options{Addr: relay.Addr, DialerRetries: 1, ContextTimeoutEnabled: true, ReadTimeout: silence})
			t.Cleanup(func() { rdb.Close() })
			prefix := testenv.Prefix(t)
			f, e := follow(t, rdb, prefix)
			before := current(t, f, true)
			broken(relay)
			current(t, f, false)
			lost := f.Until()
			near := testenv.Client(t, server)
			near.Publish(t.Context(), Channel(prefix, "acme"), "missed")
			testenv.Eventually(t, func() error {
				if f.Err() == nil {
					return errors.New("no reason is told")
				}
				return nil
			})
			if until := f.Until(); until.After(lost) || until.IsZero() {
				t.Errorf("until %v, want what it was when it broke, %v at most", until, lost)
			}
			relay.Mend()
			if after := current(t, f, true); after <= before {
				t.Errorf("gap %d after it was %d, want another one", after, before)
			}
			near.Publish(t.Context(), Channel(prefix, "acme"), "u1")
			hears(t, e, "acme u1")
		})
	}
}
