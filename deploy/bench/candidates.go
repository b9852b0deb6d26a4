package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
)

// candidates starts every proxy and signs in where that has to be. The first one
// is the bare ReverseProxy.
func (s *stage) candidates(ctx context.Context, set settings) ([]candidate, error) {
	bare, err := s.start(ctx, func(port int) (*exec.Cmd, error) {
		return self("bare", fmt.Sprintf("127.0.0.1:%d", port), "http://"+s.upstream.addr)
	})
	if err != nil {
		return nil, err
	}
	all := []candidate{{name: "bare ReverseProxy", process: bare, request: plain(bare)}}
	if !set.quick {
		peers, err := s.peers(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, peers...)
	}
	gateways, err := s.gateways(ctx, set)
	return append(all, gateways...), err
}

// peers starts what Debian has of the kind.
func (s *stage) peers(ctx context.Context) ([]candidate, error) {
	nginx, err := s.startNginxProxy(ctx)
	if err != nil {
		return nil, err
	}
	apache, err := s.startApache(ctx)
	if err != nil {
		return nil, err
	}
	mellon, err := s.signedIn("Apache mod_auth_mellon", apache, apacheLogin(apache), sessionGroups)
	return []candidate{{name: "nginx proxy_pass", process: nginx, request: plain(nginx)}, mellon}, err
}

// gateways starts jitgate, and another one where there is one to compare.
func (s *stage) gateways(ctx context.Context, set settings) ([]candidate, error) {
	var all []candidate
	if set.against != "" {
		p, err := s.startGateway(ctx, set.against, gatewayConfig{})
		if err != nil {
			return nil, err
		}
		other, err := s.signedIn(set.against, p, gatewayLogin(p), sessionGroups)
		if err != nil {
			return nil, err
		}
		all = append(all, other)
	}
	binary, err := s.gatewayBinary(ctx, set)
	if err != nil {
		return nil, err
	}
	p, err := s.startGateway(ctx, binary, gatewayConfig{})
	if err != nil {
		return nil, err
	}
	c, err := s.signedIn("jitgate", p, gatewayLogin(p), sessionGroups)
	if err != nil || set.quick {
		return append(all, c), err
	}
	public, stranger := c, c
	public.name, public.request.path, public.request.cookie = "jitgate, public path", "/public/", ""
	stranger.name = "jitgate, no session"
	stranger.request.cookie, stranger.request.status, stranger.request.body = "", http.StatusFound, 0
	crowd, err := s.crowd(ctx, c, maxCookies)
	crowd.name = "jitgate, session from Redis"
	return append(all, c, crowd, public, stranger), err
}

// gatewayBinary returns the jitgate to measure.
func (s *stage) gatewayBinary(ctx context.Context, set settings) (string, error) {
	if set.gateway != "" {
		return filepath.Abs(set.gateway)
	}
	return s.build(ctx, "jitgate")
}

// signedIn signs in at p as a user in so many groups. All that are in as many
// are the same user.
func (s *stage) signedIn(name string, p *process, at loginAt, groups int) (candidate, error) {
	v := newVisitor(at, s.idp)
	if err := v.signIn(newUser(fmt.Sprintf("ann-%d", groups), groups)); err != nil {
		return candidate{}, fmt.Errorf("signing in at %s: %w", name, err)
	}
	r := plain(p)
	r.host = localhost(p)
	var err error
	r.cookie, err = v.cookie("http://" + r.host + "/")
	return candidate{name: name, process: p, request: r, at: at}, err
}

// sessionGroups is how many groups the visitor has whose requests are measured.
const sessionGroups = 20

// plain is a request for the small body.
func plain(p *process) request {
	return request{addr: p.addr, host: p.addr, path: "/", status: http.StatusOK, body: 1 << 10}
}

// scenes returns what is asked of the candidates.
func scenes(set settings, all []candidate) []scene {
	var list []scene
	for _, n := range set.connections {
		list = append(list, scene{fmt.Sprintf("1 KiB, %d connections", n), asFastAs(n), all})
	}
	// A crowd is asked for by wrk alone.
	all = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.request.script != "" })
	list = append(list, scene{fmt.Sprintf("1 KiB, %d requests/s", fixedRate), atRate(fixedRate), all})
	if set.quick {
		return list
	}
	for _, file := range []struct {
		title, name string
		size        int
	}{{"100 KiB", "100k", kib100}, {"10 MiB", "10m", mib10}} {
		sc := scene{title: file.title + ", 32 connections", ask: asFastAs(32)}
		for _, c := range all {
			if c.request.path != "/" || c.request.status != http.StatusOK {
				continue // a public path, or a redirect: as with a small body
			}
			c.request.path, c.request.body = "/files/"+file.name, file.size
			sc.candidates = append(sc.candidates, c)
		}
		list = append(list, sc)
	}
	return list
}
