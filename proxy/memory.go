package proxy

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision/changes"
	"github.com/jitgate/jitgate/proxy/cache"
	"github.com/jitgate/jitgate/proxy/session"
)

// A memory is what this process remembers of what is in the store: who is signed in.
// It is believed as long as the feed of changes is current.
type memory struct {
	guests *cache.Cache[session.Owner, *guest] // by the value of their cookie
	feed   *changes.Feed
	failed atomic.Int64 // when the store last failed, in ns since 1970

	hits, misses, graces atomic.Uint64

	mu      sync.Mutex
	waiting map[session.Owner]map[chan struct{}]struct{} // to hear of a change
	used    []session.Record                             // which the store is to be told
	reload  func(context.Context) error                  // of [Options]
	told    string                                       // the last reload that was told of
}

func newMemory(rdb redis.UniversalClient, prefix string) *memory {
	m := &memory{guests: cache.New[session.Owner, *guest](0, 0), waiting: make(map[session.Owner]map[chan struct{}]struct{})}
	m.feed = changes.NewFeed(rdb, prefix, m.changed)
	m.feed.Missed = m.wakeAll
	return m
}

// changed drops a user of a directory, or all of them.
func (m *memory) changed(directory, user string) {
	if directory == "" {
		m.tell(user)
		return
	}
	if user != "" {
		m.drop(session.Owner{Directory: directory, UserID: user})
		return
	}
	m.guests.DropFunc(func(o session.Owner) bool { return o.Directory == directory })
	m.mu.Lock()
	defer m.mu.Unlock()
	for o := range m.waiting {
		if o.Directory == directory {
			m.wake(o)
		}
	}
}

// tell has the configuration read again, unless this reload is known already: it
// began here, or came from another node of a cluster.
func (m *memory) tell(reload string) {
	m.mu.Lock()
	known := m.told == reload
	m.told = reload
	m.mu.Unlock()
	if !known && m.reload != nil {
		go m.reload(context.Background()) // which logs what came of it
	}
}

// TellReload has all other replicas that hear of changes read their configuration
// again, and returns how many those are.
func (g *Gateway) TellReload(ctx context.Context) (others int, err error) {
	m, reload := g.memory, rand.Text()
	m.mu.Lock()
	m.told = reload
	m.mu.Unlock()
	// The channel of no directory, since it is about all.
	heard, err := g.redis.Publish(ctx, changes.Channel(g.sessions.Prefix, ""), reload).Result()
	if err != nil {
		return 0, fmt.Errorf("telling other replicas: %w", err)
	}
	return max(int(heard)-1, 0), nil // we hear it too
}

// drop forgets a user who has changed.
func (m *memory) drop(o session.Owner) {
	m.guests.Drop(o)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake(o)
}

// wake has those look again who await a change of a user. It is called with mu held.
func (m *memory) wake(o session.Owner) {
	for changed := range m.waiting[o] {
		select {
		case changed <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// wakeAll has all those look again who await a change: any of them may have changed.
func (m *memory) wakeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for o := range m.waiting {
		m.wake(o)
	}
}

// await returns a channel on which there is something after each change of a user, or of
// the configuration, until stop is called. For the zero Owner it is the latter alone.
func (m *memory) await(o session.Owner) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[o] == nil {
		m.waiting[o] = make(map[chan struct{}]struct{})
	}
	m.waiting[o][c] = struct{}{}
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.waiting[o], c)
		if len(m.waiting[o]) == 0 {
			delete(m.waiting, o)
		}
	}
}

// Follow hears what other replicas change, until ctx ends, so that this one may
// remember who is signed in. Without it, each request asks the store.
func (g *Gateway) Follow(ctx context.Context) {
	var feed sync.WaitGroup
	feed.Go(func() { g.memory.feed.Run(ctx) })
	defer feed.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	was := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch _, is := g.memory.feed.Current(); {
		case was && !is:
			g.log.Warn("changes are not heard of; each request asks the store", zap.Error(g.memory.feed.Err()))
			was = is
		case !was && is:
			g.log.Info("changes are heard of again")
			was = is
		}
	}
}
