package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// tallyWait is how long a sign-in that was counted waits for others, to be written at
// once. It is lost with a process that is killed.
const tallyWait = time.Second

// How long the counts of an hour and of a day are kept.
const (
	keepHours = 49 * time.Hour
	keepDays  = 15 * 24 * time.Hour
)

// A counted is what is counted of sign-ins: names of the configuration and codes of our
// own, so that there are only so many.
type counted struct {
	hour int64  // in Unix time, in hours
	idp  string // name
	code string // "" for those who were signed in
}

// A tally counts sign-ins until they are written to the store.
type tally struct {
	mu     sync.Mutex
	counts map[counted]int64
	last   map[string]time.Time // when somebody last signed in, by the identity provider
}

// count notes what came of a sign-in. It is written a little later, so that no sign-in
// waits for it.
func (g *Gateway) count(idp, code string) {
	now := g.now()
	g.tally.mu.Lock()
	defer g.tally.mu.Unlock()
	if len(g.tally.counts) == 0 {
		g.tally.counts, g.tally.last = make(map[counted]int64), make(map[string]time.Time)
		time.AfterFunc(tallyWait, g.writeTally)
	}
	g.tally.counts[counted{now.Unix() / 3600, idp, code}]++
	if code == "" {
		g.tally.last[idp] = now
	}
}

// tallyKey returns the key of an hour's counts, a day's, or when sign-ins last were. No
// directory has a name that begins with a dot.
func (g *Gateway) tallyKey(what string) string { return g.sessions.Prefix + "{.sign-ins}:" + what }

func hourKey(hour int64) string { return "hour:" + strconv.FormatInt(hour, 10) }
func dayKey(day int64) string   { return "day:" + strconv.FormatInt(day, 10) }

// writeTally writes what was counted. What cannot be written is lost: a store that is
// down has signed nobody in.
func (g *Gateway) writeTally() {
	g.tally.mu.Lock()
	counts, last := g.tally.counts, g.tally.last
	g.tally.counts, g.tally.last = nil, nil
	g.tally.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	_, err := g.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for c, n := range counts {
			hour, day, field := g.tallyKey(hourKey(c.hour)), g.tallyKey(dayKey(c.hour/24)), c.idp+" "+c.code
			pipe.HIncrBy(ctx, hour, field, n)
			pipe.Expire(ctx, hour, keepHours)
			pipe.HIncrBy(ctx, day, field, n)
			pipe.Expire(ctx, day, keepDays)
		}
		for idp, at := range last {
			pipe.HSet(ctx, g.tallyKey("last"), idp, at.UnixMilli())
		}
		return nil
	})
	if err != nil {
		g.log.Warn("sign-ins not counted", zap.Error(err))
	}
}

// A span is a time of which sign-ins are counted, in equal parts.
type span struct {
	parts int
	of    time.Duration // an hour or a day
	key   func(int64) string
}

// The spans that the console knows, by the name in its URL.
var spans = map[string]span{"": {24, time.Hour, hourKey}, "days": {14, 24 * time.Hour, dayKey}}

// counts are how many sign-ins there were in each part of a span: those that were good
// by the identity provider, and those that failed by the error code.
type counts struct {
	times        []time.Time // when the parts begin
	good, failed map[string][]int64
}

// tallied returns the counts of a span that ends now.
func (g *Gateway) tallied(ctx context.Context, s span) (counts, error) {
	c := counts{good: make(map[string][]int64), failed: make(map[string][]int64)}
	now := g.now().Unix() / int64(s.of/time.Second)
	pipe := g.redis.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, s.parts)
	for i := range cmds {
		part := now - int64(s.parts-1-i)
		c.times = append(c.times, time.Unix(part*int64(s.of/time.Second), 0).UTC())
		cmds[i] = pipe.HGetAll(ctx, g.tallyKey(s.key(part)))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, cmd := range cmds {
		fields, err := cmd.Result()
		if err != nil {
			return counts{}, fmt.Errorf("reading counts of sign-ins: %w", err)
		}
		for field, value := range fields {
			of := c.good
			name, code, _ := strings.Cut(field, " ")
			if code != "" {
				of, name = c.failed, code
			}
			if of[name] == nil {
				of[name] = make([]int64, s.parts)
			}
			n, _ := strconv.ParseInt(value, 10, 64)
			of[name][i] += n
		}
	}
	return c, nil
}

// lastSignIns returns when somebody last signed in at each identity provider.
func (g *Gateway) lastSignIns(ctx context.Context) (map[string]time.Time, error) {
	fields, err := g.redis.HGetAll(ctx, g.tallyKey("last")).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the last sign-ins: %w", err)
	}
	last := make(map[string]time.Time)
	for idp, ms := range fields {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
			last[idp] = time.UnixMilli(n).UTC()
		}
	}
	return last, nil
}
