package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/session"
)

//go:embed cookies.lua
var cookiesScript string

const (
	sessionsPerUser = 20      // at most: a user can't have more
	maxCookies      = 200_000 // that requests choose from
	fillers         = 16      // connections by which sessions are written
)

// sessions has more sessions in Redis: first one visitor asks, then all do, one
// after the other.
func (g growth) sessions(ctx context.Context, a axis) ([]scene, error) {
	var everybody []candidate
	sc, err := g.each(a, func(n int) (candidate, error) {
		one, err := g.gateway(ctx, gatewayConfig{prefix: fmt.Sprintf("s%d:", n)}, sessionGroups)
		if err != nil {
			return candidate{}, err
		}
		all, err := g.crowd(ctx, one, n)
		all.name = fmt.Sprintf("%s: %d", a.name, n)
		everybody = append(everybody, all)
		return one, err
	})
	sc.title += ", one of which is used"
	all := sc
	all.title, all.candidates = "More "+a.name+", all of which are used", everybody
	return []scene{sc, all}, err
}

// crowd has n visitors ask for what one of them asks for in c.
func (s *stage) crowd(ctx context.Context, c candidate, n int) (candidate, error) {
	cookies, err := s.fill(ctx, c.process.config, n)
	if err != nil {
		return candidate{}, err
	}
	if c.request.script, err = s.write("cookies.lua", cookiesScript); err != nil {
		return candidate{}, err
	}
	c.request.cookie = cookies[0]
	c.request.cookies, err = s.write(fmt.Sprintf("cookies-%d", n), strings.Join(cookies, "\n")+"\n")
	return c, err
}

// fill writes n sessions as a gateway with the configuration in file would, and
// returns the cookies for some of them, evenly spread.
func (s *stage) fill(ctx context.Context, file string, n int) ([]string, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	rdb := s.client()
	defer rdb.Close()
	users, err := provision.New(rdb, cfg.Redis.KeyPrefix, cfg)
	if err != nil {
		return nil, err
	}
	ring, err := session.NewKeyring(cfg.Session.KeyBytes(), "session", cfg.Session.Lifetime)
	if err != nil {
		return nil, err
	}
	f := &filler{
		users: users, ring: ring, n: n, each: (n + maxCookies - 1) / maxCookies,
		store: &session.Store{
			Redis: rdb, Prefix: cfg.Redis.KeyPrefix, Now: time.Now,
			Idle: cfg.Session.Idle, Lifetime: cfg.Session.Lifetime,
		},
	}
	before, err := usedMemory(ctx, rdb)
	if err != nil {
		return nil, err
	}
	cookies, err := f.fill(ctx)
	if err != nil {
		return nil, err
	}
	after, err := usedMemory(ctx, rdb)
	if n >= 1000 { // else it is what Redis takes for connections
		fmt.Fprintf(os.Stderr, "%d sessions take %d bytes each in Redis, users included\n", n, (after-before)/n)
	}
	return cookies, err
}

// A filler writes n sessions, and keeps the cookies of each so-manieth.
type filler struct {
	users   *provision.Registry
	store   *session.Store
	ring    session.Keyring
	n, each int

	mu      sync.Mutex
	written int
	cookies []string
	failed  error
}

// fill writes all, user by user.
func (f *filler) fill(ctx context.Context) ([]string, error) {
	perUser := min(sessionsPerUser, max(1, f.n/10))
	todo := make(chan int)
	var filling sync.WaitGroup
	for range fillers {
		filling.Go(func() {
			for user := range todo {
				f.note(f.user(ctx, user, min(perUser, f.n-user*perUser)))
			}
		})
	}
	for user := 0; user*perUser < f.n && ctx.Err() == nil; user++ {
		todo <- user
	}
	close(todo)
	filling.Wait()
	if f.failed == nil {
		f.failed = ctx.Err()
	}
	return f.cookies, f.failed
}

func (f *filler) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = err
	}
}

// user signs a user up and writes their sessions.
func (f *filler) user(ctx context.Context, user, sessions int) error {
	name := fmt.Sprintf("user-%d", user)
	out, err := f.users.SignIn(ctx, provision.SignIn{IdP: "acme", Attributes: newUser(name, sessionGroups).Attributes})
	if err != nil {
		return err
	}
	for range sessions {
		_, id, err := f.store.Create(ctx, session.Record{
			Host: "localhost", Directory: "acme", UserID: out.User.ID, IdP: "acme", NameID: name, SessionIndex: "_" + name,
		})
		if err != nil {
			return err
		}
		if err := f.keep(id); err != nil {
			return err
		}
	}
	return nil
}

// keep keeps the cookie for a session, if it is its turn.
func (f *filler) keep(id []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written++
	if f.written%f.each != 0 {
		return nil
	}
	value, err := f.ring.Seal(sessionCookie, id)
	f.cookies = append(f.cookies, sessionCookie+"="+value)
	return err
}

// sessionCookie is the name of jitgate's cookie over http.
const sessionCookie = "jitgate"

// usedMemory returns the bytes that Redis has taken.
func usedMemory(ctx context.Context, rdb *redis.Client) (int, error) {
	text, err := rdb.InfoMap(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis: %w", err)
	}
	var n int
	_, err = fmt.Sscan(text["Memory"]["used_memory"], &n)
	return n, err
}
