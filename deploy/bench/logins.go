package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

const (
	loginGroups = 50  // of each user who signs in
	knownUsers  = 500 // who have signed in before
	browsers    = 4   // at once
)

// A loginServer is something that visitors can sign in at.
type loginServer struct {
	name  string
	at    func(*process) loginAt
	start func() (*process, error)
}

// loginServers returns all of them. The first is the bare ACS, and the last is
// jitgate.
func (s *stage) loginServers(ctx context.Context, set settings) ([]loginServer, error) {
	binary, err := s.gatewayBinary(ctx, set)
	if err != nil {
		return nil, err
	}
	env, err := s.withoutBundle()
	if err != nil {
		return nil, err
	}
	all := []loginServer{{"bare crewjam/saml", acsLogin, func() (*process, error) {
		return s.start(ctx, func(port int) (*exec.Cmd, error) { return self("acs", fmt.Sprintf("127.0.0.1:%d", port), s.dir) })
	}}}
	if !set.quick {
		all = append(all,
			loginServer{"mod_auth_mellon", apacheLogin, func() (*process, error) { return s.startApache(ctx) }},
			loginServer{"mod_auth_mellon without the CA bundle", apacheLogin, func() (*process, error) { return s.startApache(ctx, env...) }})
	}
	if set.against != "" {
		all = append(all, loginServer{set.against, gatewayLogin, func() (*process, error) { return s.startGateway(ctx, set.against, gatewayConfig{}) }})
	}
	return append(all, loginServer{"jitgate", gatewayLogin, func() (*process, error) { return s.startGateway(ctx, binary, gatewayConfig{}) }}), nil
}

// loginScene starts whatever visitors can sign in at, each fresh, and returns the
// scene in which they do.
func (s *stage) loginScene(ctx context.Context, set settings) (scene, error) {
	sc := scene{title: fmt.Sprintf("Logins, %d attributes and %d groups", len(userAttributes)+1, loginGroups), ask: s.signIns}
	servers, err := s.loginServers(ctx, set)
	if err != nil {
		return sc, err
	}
	for _, server := range servers {
		p, err := server.start()
		if err != nil {
			return sc, err
		}
		sc.candidates = append(sc.candidates, candidate{name: server.name, process: p, at: server.at(p)})
	}
	known := sc.candidates[len(sc.candidates)-1]
	newcomers := known
	newcomers.name, newcomers.newcomers = "jitgate, new users", true
	sc.candidates = append(sc.candidates, newcomers)
	return sc, s.introduce(ctx, known)
}

// introduce has each of the known users sign in once.
func (s *stage) introduce(ctx context.Context, c candidate) error {
	for i := range knownUsers {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := newVisitor(c.at, s.idp).signIn(newUser(knownUser(i), loginGroups)); err != nil {
			return fmt.Errorf("signing in at %s: %w", c.name, err)
		}
	}
	return nil
}

func knownUser(n int) string { return fmt.Sprintf("known-%d", n%knownUsers) }

// signedUp counts logins, so that each has another user.
var signedUp atomic.Int64

// signIns has visitors sign in at c, one after the other in each of a few
// browsers. Each begins without cookies.
func (s *stage) signIns(ctx context.Context, c candidate, d time.Duration) (load, error) {
	begin := time.Now()
	var done, failed atomic.Int64
	var signing sync.WaitGroup
	for range browsers {
		signing.Go(func() {
			for {
				if err := s.oneSignIn(c); err != nil && failed.Add(1) == 1 {
					fmt.Fprintf(os.Stderr, "%s: %v\n", c.name, err)
				}
				done.Add(1)
				if ctx.Err() != nil || time.Since(begin) >= d {
					return
				}
			}
		})
	}
	signing.Wait()
	return load{Requests: int(done.Load()), Failed: int(failed.Load()), Seconds: time.Since(begin).Seconds()}, ctx.Err()
}

// oneSignIn has the next visitor sign in at c.
func (s *stage) oneSignIn(c candidate) error {
	n := int(signedUp.Add(1))
	name := knownUser(n)
	if c.newcomers {
		name = fmt.Sprintf("new-%d", n)
	}
	return newVisitor(c.at, s.idp).signIn(newUser(name, loginGroups))
}
