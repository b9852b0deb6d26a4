// Package cache holds what was read from a store that others change: values by key,
// each of an owner, bounded in number and in bytes.
//
// A change of an owner drops all values of that owner. What was being read when the
// change was heard of may be from before it, so [Cache.Put] takes what [Cache.Changes]
// returned before the reading began, and keeps nothing that is too old.
package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// samples is how many values are looked at to find one that can go. The one that was
// used longest ago of so many at random is nearly as good as that of all.
const samples = 8

// overhead is about what the cache itself takes for a value, in bytes.
const overhead = 256

// A Cache holds values of type V by key. Make one with [New]. It is safe for
// concurrent use.
type Cache[O comparable, V any] struct {
	clock   atomic.Uint64 // goes on with each use
	changes atomic.Uint64

	mu      sync.RWMutex
	entries int   // at most
	limit   int64 // of bytes
	bytes   int64
	byKey   map[string]*entry[O, V]
	byOwner map[O]*entry[O, V] // the first one, which leads to the others
	all     []*entry[O, V]     // in any order, to take some at random
}

type entry[O comparable, V any] struct {
	key        string
	owner      O
	value      V
	bytes      int64
	used       atomic.Uint64 // the clock then
	next, prev *entry[O, V]  // of the same owner
	at         int           // in all
}

// New returns a cache of at most so many entries, and of so many bytes by what Put is
// told.
func New[O comparable, V any](entries int, bytes int64) *Cache[O, V] {
	c := &Cache[O, V]{byKey: make(map[string]*entry[O, V]), byOwner: make(map[O]*entry[O, V])}
	c.Limit(entries, bytes)
	return c
}

// Limit sets how many entries and bytes there may be.
func (c *Cache[O, V]) Limit(entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries, c.limit = entries, bytes
	c.shrink(nil)
}

// Get returns the value under a key.
func (c *Cache[O, V]) Get(key string) (value V, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	// One that was used lately is as good as new: most reads write nothing here.
	if now := c.clock.Load(); now-e.used.Load() > uint64(len(c.byKey)/4) {
		e.used.Store(c.clock.Add(1))
	}
	return e.value, true
}

// Changes returns a number that is another one after each change.
func (c *Cache[O, V]) Changes() uint64 { return c.changes.Load() }

// Put keeps a value of an owner that takes so many bytes. Since is what Changes
// returned before the value was read; if there was a change meanwhile, it is not kept.
func (c *Cache[O, V]) Put(key string, owner O, value V, bytes int, since uint64) {
	e := &entry[O, V]{key: key, owner: owner, value: value, bytes: int64(bytes + len(key) + overhead)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.Load() != since {
		return
	}
	if old, ok := c.byKey[key]; ok {
		c.remove(old)
	}
	if c.entries < 1 || e.bytes > c.limit {
		return
	}
	e.used.Store(c.clock.Add(1))
	c.byKey[key] = e
	e.at = len(c.all)
	c.all = append(c.all, e)
	if first := c.byOwner[owner]; first != nil {
		e.next, first.prev = first, e
	}
	c.byOwner[owner] = e
	c.bytes += e.bytes
	c.shrink(e)
}

// Drop drops what there is of an owner.
func (c *Cache[O, V]) Drop(owner O) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	for e := c.byOwner[owner]; e != nil; e = c.byOwner[owner] {
		c.remove(e)
	}
}

// DropFunc drops what there is of all owners that match.
func (c *Cache[O, V]) DropFunc(match func(O) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.Add(1)
	for _, e := range c.byKey {
		if match(e.owner) {
			c.remove(e)
		}
	}
}

// Size returns how many entries and bytes there are.
func (c *Cache[O, V]) Size() (entries int, bytes int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.byKey), c.bytes
}

// shrink makes room until the limits are kept; not by what is new. It does not go by
// the order of a map: a range begins at a random place, but what it comes to next are
// neighbors, and where many went lately, those left are all new.
func (c *Cache[O, V]) shrink(fresh *entry[O, V]) {
	for len(c.all) > 0 && (len(c.all) > c.entries || c.bytes > c.limit) {
		var oldest *entry[O, V]
		for range samples {
			e := c.all[rand.IntN(len(c.all))]
			if e != fresh && (oldest == nil || e.used.Load() < oldest.used.Load()) {
				oldest = e
			}
		}
		if oldest != nil {
			c.remove(oldest)
		}
	}
}

func (c *Cache[O, V]) remove(e *entry[O, V]) {
	delete(c.byKey, e.key)
	last := len(c.all) - 1
	c.all[e.at] = c.all[last]
	c.all[e.at].at = e.at
	c.all[last] = nil
	c.all = c.all[:last]
	c.bytes -= e.bytes
	if e.next != nil {
		e.next.prev = e.prev
	}
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		c.byOwner[e.owner] = e.next
	default:
		delete(c.byOwner, e.owner)
	}
}
