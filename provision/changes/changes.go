// Package changes tells every process that remembers users and sessions what the
// others have changed, over Redis pub/sub.
//
// Whoever changes a user, or ends sessions of one, publishes the user's ID on the
// channel of the directory, in one step with the change: in the same script or
// transaction. So whoever reads the store after a message sees what it is about.
//
// A [Feed] listens. Pub/sub forgets: what is published while a subscriber is away
// never arrives, and a connection may be dead for long before anybody notices. So the
// feed says up to when it knows that it has heard everything: it publishes beats to
// itself, and Redis keeps the order. A beat that was sent at noon and comes back shows
// that all is here which had been published by noon. In a Redis Cluster it does so
// with each master: a message comes to the subscribers of the node that it was
// published on in order, and to those of others some time or never.
package changes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// trust is for how long after it was sent a beat that came back shows that the
	// feed is current. What changes is known everywhere after that time, whatever
	// happens to the connections.
	trust = 700 * time.Millisecond

	// beatEvery is how often there is a beat, and silence how long none may come
	// before the connection is given up.
	beatEvery = 150 * time.Millisecond
	silence   = time.Second

	// lookEvery is how often the masters of a cluster are looked at.
	lookEvery = time.Second
)

// Channel returns the channel on which changes of a directory's users are published.
// It lies in the directory's slot. A message is the ID of a user; the empty one is
// about all users of the directory. The channel of the directory "" is for what
// concerns all of them: the message is an ID for the change of configuration.
func Channel(prefix, directory string) string {
	return prefix + "changed:{" + directory + "}"
}

// A Feed hears of changes. Make one with [NewFeed].
type Feed struct {
	// Missed is called when changes are heard of again, or for the first time: some may
	// have been missed. It may be nil, and is set before Run.
	Missed func()

	rdb    redis.UniversalClient
	prefix string
	heard  func(directory, user string)
	start  time.Time

	until atomic.Int64 // since start: up to when it is current
	gaps  atomic.Uint64

	mu     sync.Mutex
	states map[string]*state // by address of the node
	err    error
}

// A state is how far the feed of one node has come.
type state struct {
	until time.Duration // since the feed's start
	stop  context.CancelFunc
}

// NewFeed returns a feed of what is published under a prefix of keys. It calls heard
// for each change, from several goroutines.
func NewFeed(rdb redis.UniversalClient, prefix string, heard func(directory, user string)) *Feed {
	return &Feed{rdb: rdb, prefix: prefix, heard: heard, start: time.Now(), states: make(map[string]*state)}
}

// Current reports whether everything has been heard that was published until a
// moment ago, less than a second. In that case gap is the number of times that
// something may have been missed so far: what was read before it was a higher number
// has to be read again.
func (f *Feed) Current() (gap uint64, ok bool) {
	gap = f.gaps.Load() // before until: a gap comes before the first beat after it
	return gap, time.Since(f.start) < time.Duration(f.until.Load())
}

// Until returns up to when the feed was or is current; the zero time where it never was.
func (f *Feed) Until() time.Time {
	until := f.until.Load()
	if until == 0 {
		return time.Time{}
	}
	return f.start.Add(time.Duration(until))
}

// Err returns why the feed is not current, as far as that is known.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Run listens until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	defer f.follow(ctx, nil)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if nodes, err := f.nodes(ctx); err == nil {
			f.follow(ctx, nodes)
		} else {
			f.note(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// nodes returns where to listen, by address.
func (f *Feed) nodes(ctx context.Context) (map[string]*redis.Client, error) {
	cluster, ok := f.rdb.(*redis.ClusterClient)
	if !ok {
		single, ok := f.rdb.(*redis.Client)
		if !ok {
			return nil, fmt.Errorf("no pub/sub over a %T", f.rdb)
		}
		return map[string]*redis.Client{"": single}, nil
	}
	var mu sync.Mutex
	nodes := make(map[string]*redis.Client)
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	err := cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes[node.Options().Addr] = node
		return nil
	})
	if err == nil && len(nodes) == 0 {
		err = errors.New("the cluster has no master")
	}
	return nodes, err
}

// follow listens at these nodes, and no longer at others.
func (f *Feed) follow(ctx context.Context, nodes map[string]*redis.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for address, s := range f.states {
		if nodes[address] == nil {
			s.stop()
			delete(f.states, address)
		}
	}
	for address, node := range nodes {
		if f.states[address] != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		s := &state{stop: stop}
		f.states[address] = s
		go f.stay(ctx, node, s)
	}
	f.settle()
}

// stay listens at a node until ctx ends, and begins anew whenever that goes wrong.
func (f *Feed) stay(ctx context.Context, node *redis.Client, s *state) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		err := f.listen(ctx, node, s)
		if ctx.Err() == nil {
			f.advance(s, 0)
			f.note(err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// listen subscribes at a node and hears what is published there.
func (f *Feed) listen(ctx context.Context, node *redis.Client, s *state) error {
	own := f.prefix + "beat:" + rand.Text()
	sub := node.Subscribe(ctx, own)
	defer sub.Close()
	pattern := Channel(f.prefix, "*")
	if err := sub.PSubscribe(ctx, pattern); err != nil {
		return fmt.Errorf("subscribing to changes: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for confirmed := 0; ; {
		message, err := sub.ReceiveTimeout(ctx, silence)
		if err != nil {
			return fmt.Errorf("listening for changes: %w", err)
		}
		switch m := message.(type) {
		case *redis.Subscription:
			// The client subscribes again by itself when a connection broke.
			if confirmed++; confirmed > 2 {
				return errors.New("listening for changes: the connection was another one")
			}
			if confirmed == 2 {
				f.gaps.Add(1)
				if f.Missed != nil {
					f.Missed()
				}
				go f.beat(ctx, node, own)
			}
		case *redis.Message:
			if m.Channel == own {
				f.beaten(s, m.Payload)
				continue
			}
			f.heard(f.directory(m.Channel), m.Payload)
		}
	}
}

// directory returns which directory a channel is of.
func (f *Feed) directory(channel string) string {
	return strings.TrimSuffix(strings.TrimPrefix(channel, f.prefix+"changed:{"), "}")
}

// beat publishes what the time is until ctx ends.
func (f *Feed) beat(ctx context.Context, node *redis.Client, own string) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		now := strconv.FormatInt(int64(time.Since(f.start)), 10)
		if err := node.Publish(ctx, own, now).Err(); err != nil && ctx.Err() == nil {
			f.note(fmt.Errorf("publishing to ourselves: %w", err))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// beaten takes a beat that came back.
func (f *Feed) beaten(s *state, sent string) {
	n, err := strconv.ParseInt(sent, 10, 64)
	if err == nil {
		f.advance(s, time.Duration(n)+trust)
	}
}

// advance notes up to when the feed of a node is current.
func (f *Feed) advance(s *state, until time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.until = until
	f.settle()
}

// settle works out up to when all is current. It is called with mu held.
func (f *Feed) settle() {
	least := time.Duration(0)
	first := true
	for _, s := range f.states {
		if first || s.until < least {
			least, first = s.until, false
		}
	}
	if least == 0 {
		// What it was is what it is known to have been.
		least = min(time.Duration(f.until.Load()), time.Since(f.start))
	} else {
		f.err = nil
	}
	f.until.Store(int64(least))
}

// note keeps the reason for which the feed may not be current.
func (f *Feed) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}
