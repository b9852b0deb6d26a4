package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// check fails the test where the parts of a cache do not agree, or a limit is exceeded.
func check(t *testing.T, c *Cache[string, string]) {
	t.Helper()
	var bytes int64
	n := 0
	for owner, first := range c.byOwner {
		for e := first; e != nil; e = e.next {
			if e.owner != owner || c.byKey[e.key] != e || e.next != nil && e.next.prev != e || e == first && e.prev != nil {
				t.Fatalf("entry %q of %q hangs wrong", e.key, owner)
			}
			bytes += e.bytes
			n++
		}
	}
	for i, e := range c.all {
		if e.at != i || c.byKey[e.key] != e {
			t.Fatalf("entry %q is said to be at %d, is at %d", e.key, e.at, i)
		}
	}
	if n != len(c.byKey) || n != len(c.all) || bytes != c.bytes || n > c.entries || bytes > c.limit {
		t.Fatalf("%d entries and %d bytes by owner, %d and %d in all, want at most %d and %d", n, bytes, len(c.byKey), c.bytes, c.entries, c.limit)
	}
}

func TestCache(t *testing.T) {
	c := New[string, string](3, 1<<20)
	put := func(key, owner string) { c.Put(key, owner, key+" of "+owner, 10, c.Changes()) }
	put("a", "ann")
	put("b", "bob")
	put("c", "ann")
	put("a", "ann") // again
	check(t, c)
	if v, ok := c.Get("a"); !ok || v != "a of ann" {
		t.Errorf(`Get("a") = %q, %v, want what was put there`, v, ok)
	}
	c.Drop("ann")
	check(t, c)
	for key, want := range map[string]bool{"a": false, "b": true, "c": false} {
		if _, ok := c.Get(key); ok != want {
			t.Errorf("%q is there: %v, want %v", key, ok, want)
		}
	}
	c.DropFunc(func(owner string) bool { return owner == "bob" })
	if n, bytes := c.Size(); n != 0 || bytes != 0 {
		t.Errorf("Size() = %d, %d, want nothing", n, bytes)
	}
}

// What was read before a change is not kept after it.
func TestPutLate(t *testing.T) {
	for name, change := range map[string]func(*Cache[string, string]){
		"drop":     func(c *Cache[string, string]) { c.Drop("ann") },
		"drop all": func(c *Cache[string, string]) { c.DropFunc(func(string) bool { return true }) },
	} {
		c := New[string, string](3, 1<<20)
		since := c.Changes()
		change(c)
		c.Put("a", "ann", "old", 1, since)
		if _, ok := c.Get("a"); ok {
			t.Errorf("%s: what was read before is kept", name)
		}
		c.Put("a", "ann", "new", 1, c.Changes())
		if _, ok := c.Get("a"); !ok {
			t.Errorf("%s: what was read after is not kept", name)
		}
	}
}

// Limits hold whatever is put, and what is in use stays rather than what is not.
func TestLimits(t *testing.T) {
	const entries, used = 1000, 100
	gone := 0
	c := New[string, string](entries, 1<<20)
	for i := range 10 * entries {
		c.Put(fmt.Sprint(i), fmt.Sprint(i%7), "", 10, c.Changes())
		for k := range used {
			if _, ok := c.Get(fmt.Sprint(k)); !ok && k <= i {
				gone++
				c.Put(fmt.Sprint(k), fmt.Sprint(k%7), "", 10, c.Changes())
			}
		}
	}
	check(t, c)
	if n, _ := c.Size(); n != entries {
		t.Errorf("%d entries, want %d", n, entries)
	}
	// None is the rule, one the exception. Where those looked at to find what goes are
	// neighbors, half of them or more go.
	if gone > used/10 {
		t.Errorf("%d entries that are in use have gone of %d", gone, used)
	}
	c.Put("large", "x", "", 1<<20, c.Changes())
	if _, ok := c.Get("large"); ok {
		t.Error("an entry is kept that is larger than all may be")
	}
	for i := range entries {
		c.Put("large"+fmt.Sprint(i), "x", "", 100<<10, c.Changes())
		check(t, c)
	}
	c.Limit(3, 1<<20)
	check(t, c)
	c.Limit(0, 0)
	if n, bytes := c.Size(); n != 0 || bytes != 0 {
		t.Errorf("Size() = %d, %d, want nothing", n, bytes)
	}
	c.Put("a", "ann", "", 1, c.Changes())
	if _, ok := c.Get("a"); ok {
		t.Error("a cache for nothing keeps something")
	}
}

func TestConcurrent(t *testing.T) {
	c := New[string, string](50, 20<<10)
	var all sync.WaitGroup
	for worker := range uint64(8) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(worker, 0))
			for range 5000 {
				key := strings.Repeat("k", 1+r.IntN(100))
				switch owner := fmt.Sprint(len(key) % 9); r.IntN(10) {
				case 0:
					c.Drop(owner)
				case 1, 2, 3:
					c.Put(key, owner, key, r.IntN(500), c.Changes())
				default:
					if v, ok := c.Get(key); ok && v != key {
						t.Errorf("Get(%q) = %q", key, v)
					}
				}
			}
		})
	}
	all.Wait()
	check(t, c)
}
