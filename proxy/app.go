package proxy

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
)

// An app is what forwarding to one application takes.
type app struct {
	name     string
	prefix   string   // of its paths, without a slash at the end
	upstream *url.URL // nil: another proxy forwards to it
	via      http.RoundTripper
	allow    config.Allow
	idps     []string        // whose users may use it; none: all
	public   []string        // exact paths, or with a slash at the end all below
	handler  string          // URL of its endpoint, "" if it has none
	preset   string          // of headers
	encodes  bool            // values are percent-encoded
	lines    []namedValue    // what tells the app who the visitor is
	names    []string        // of all headers that can tell who a visitor is
	squashed map[string]bool // the same, as squash has them
	reserved nameSet         // headers that a client may not send to it
	body     int64           // the most bytes of a request's

	forwards prometheus.Counter
	seconds  prometheus.Observer // that forwarded requests take
}

// newApps returns the apps of each host, those with the longest paths first.
func newApps(cfg *config.Config, up upstreams) (map[string][]*app, error) {
	hosts := map[string][]*app{cfg.Base().Hostname(): nil}
	for _, c := range cfg.Apps {
		if c.UpstreamURL == nil && !c.ForwardAuth {
			return nil, fmt.Errorf("app %q: no upstream", c.Name)
		}
		a := &app{
			name: c.Name, prefix: strings.TrimSuffix(c.Path, "/"),
			allow: c.Allow, idps: c.IdentityProviders, public: c.Public,
			preset: c.Headers.Preset, encodes: c.Headers.Encode == "percent", lines: namedValues(c.Headers, cfg.Attributes),
			body: int64(c.Body),
		}
		if c.UpstreamURL != nil {
			var err error
			if a.upstream, a.via, err = up.to(c); err != nil {
				return nil, fmt.Errorf("app %q: %w", c.Name, err)
			}
		}
		for _, line := range a.lines {
			a.names = append(a.names, line.name)
		}
		a.reserved = newNameSet(a.names...)
		a.squashed = make(map[string]bool)
		for _, name := range a.names {
			a.squashed[string(squash(nil, name))] = true
		}
		if c.Endpoint != "" {
			a.handler = originOf(cfg.Base(), c.Host) + c.Endpoint
		}
		hosts[c.Host] = append(hosts[c.Host], a)
	}
	for host, apps := range hosts {
		slices.SortStableFunc(apps, func(a, b *app) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
		for i, a := range apps {
			if i > 0 && strings.EqualFold(a.prefix, apps[i-1].prefix) {
				return nil, fmt.Errorf("apps %q and %q: on %s their paths differ in case alone, and case does not count", apps[i-1].name, a.name, host)
			}
		}
	}
	return hosts, nil
}

// find returns the app that a decoded path belongs to: the one with the longest
// prefix, in whole segments.
func find(apps []*app, path string) (*app, bool) {
	for _, a := range apps {
		if hasPathPrefix(path, a.prefix) {
			return a, true
		}
	}
	return nil, false
}

// isPublic reports whether a path needs no sign-in.
func (a *app) isPublic(path string) bool {
	return slices.ContainsFunc(a.public, func(p string) bool {
		return path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p)
	})
}

// takes reports whether the app is for those who sign in at an identity provider. A nil
// app, where there is none, is for all.
func (a *app) takes(idp string) bool {
	return a == nil || len(a.idps) == 0 || slices.Contains(a.idps, idp)
}

// allows reports whether the user, signed in at an identity provider, may use the app.
// The zero Allow allows nobody.
func (a *app) allows(u provision.User, idp string) bool {
	if !a.takes(idp) {
		return false
	}
	if a.allow.AnyUser {
		return true
	}
	for _, g := range a.allow.Groups {
		if slices.Contains(u.Groups, g) {
			return true
		}
	}
	for _, e := range a.allow.Entitlements {
		if slices.Contains(u.Entitlements, e) {
			return true
		}
	}
	return false
}
