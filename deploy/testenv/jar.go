package testenv

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

// laxPost is how long a cookie without a SameSite attribute also goes along with
// a POST from another site: what browsers grant single sign-on.
const laxPost = 2 * time.Minute

// A jar keeps cookies as a browser does (RFC 6265bis), of which net/http/cookiejar
// leaves out SameSite, the __Host- and __Secure- prefixes, and that loopback is
// as good as https. Domain attributes are not supported: jitgate sets none, and
// a cookie that has one is refused.
type jar struct {
	mu      sync.Mutex
	cookies []*jarCookie // oldest first
}

type jarCookie struct {
	http.Cookie
	host    string
	created time.Time
	expires time.Time // zero: with the browser
}

// navigation says what a request is to the cookies.
type navigation struct {
	method   string
	sameSite bool // the page that caused it, if any, is of the same site
}

// set takes in the cookies of a response from u.
func (j *jar) set(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for _, c := range cookies {
		if !acceptable(u, c) {
			continue
		}
		n := &jarCookie{Cookie: *c, host: u.Hostname(), created: now, expires: c.Expires}
		if !strings.HasPrefix(n.Path, "/") {
			n.Path = defaultPath(u)
		}
		if c.MaxAge != 0 {
			n.expires = now.Add(time.Duration(c.MaxAge) * time.Second)
		}
		i := slices.IndexFunc(j.cookies, func(o *jarCookie) bool {
			return o.host == n.host && o.Name == n.Name && o.Path == n.Path
		})
		if i >= 0 {
			n.created = j.cookies[i].created
			j.cookies[i] = n
		} else {
			j.cookies = append(j.cookies, n)
		}
	}
	j.cookies = slices.DeleteFunc(j.cookies, func(c *jarCookie) bool { return c.ended(now) })
}

// forRequest returns the cookies that go along with a request for u.
func (j *jar) forRequest(u *url.URL, n navigation) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	var found []*jarCookie
	for _, c := range j.cookies {
		if c.host == u.Hostname() && !c.ended(now) && pathMatch(c.Path, u.Path) && (!c.Secure || trustworthy(u)) && c.crosses(n, now) {
			found = append(found, c)
		}
	}
	// Longer paths first, then older cookies: they are sorted by age already.
	slices.SortStableFunc(found, func(a, b *jarCookie) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	var out []*http.Cookie
	for _, c := range found {
		sent := c.Cookie
		out = append(out, &sent)
	}
	return out
}

// remove forgets the cookies of a host, or only those called name.
func (j *jar) remove(host, name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = slices.DeleteFunc(j.cookies, func(c *jarCookie) bool {
		return c.host == host && (name == "" || c.Name == name)
	})
}

func (c *jarCookie) ended(now time.Time) bool {
	return !c.expires.IsZero() && !now.Before(c.expires)
}

// crosses reports whether the cookie's SameSite attribute lets it go along.
func (c *jarCookie) crosses(n navigation, now time.Time) bool {
	if n.sameSite {
		return true
	}
	safe := n.method == http.MethodGet || n.method == http.MethodHead
	switch c.SameSite {
	case http.SameSiteNoneMode:
		return true
	case http.SameSiteStrictMode:
		return false
	case http.SameSiteLaxMode:
		return safe
	}
	return safe || now.Sub(c.created) < laxPost
}

// acceptable reports whether a browser would keep a cookie that u sets.
func acceptable(u *url.URL, c *http.Cookie) bool {
	name := strings.ToLower(c.Name)
	switch {
	case c.Domain != "":
		return false
	case c.Secure && !trustworthy(u):
		return false
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		return false
	case strings.HasPrefix(name, "__secure-"):
		return c.Secure
	case strings.HasPrefix(name, "__host-"):
		return c.Secure && c.Path == "/"
	}
	return true
}

// trustworthy reports whether u is https, or on this machine.
func trustworthy(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// sameSite reports whether two URLs have the scheme and the registrable domain
// in common. Ports do not count.
func sameSite(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && site(a.Hostname()) == site(b.Hostname())
}

func site(host string) string {
	if net.ParseIP(host) != nil {
		return host
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}

func defaultPath(u *url.URL) string {
	i := strings.LastIndexByte(u.Path, '/')
	if i <= 0 {
		return "/"
	}
	return u.Path[:i]
}

func pathMatch(cookie, request string) bool {
	request = cmp.Or(request, "/")
	rest, ok := strings.CutPrefix(request, cookie)
	return ok && (rest == "" || strings.HasSuffix(cookie, "/") || rest[0] == '/')
}
