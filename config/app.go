package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	// plainPath matches the paths that have one spelling: the characters that
	// no client, proxy or upstream encodes (RFC 3986, section 3.3) but for ;
	// which some upstreams cut off.
	plainPath = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,=:@/-]*$`)

	// headerName matches the names of HTTP headers (RFC 9110, section 5.1) with
	// a letter in them.
	headerName = regexp.MustCompile("^[0-9!#$%&'*+.^_`|~-]*[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*$")
)

// App is a web application behind the gateway.
type App struct {
	// Name is what pages and logs call it: a-z, 0-9 and -, up to 64 characters.
	// Required.
	Name string `yaml:"name"`

	// Host is the host that its visitors ask for, without a port. Default: that
	// of base_url.
	Host string `yaml:"host"`

	// Path is where it begins on that host. Of several apps the longest path
	// wins, in whole segments: /wiki is for /wiki and /wiki/x, not for /wikis.
	// Those of one host may not differ in case alone. Default: /.
	Path string `yaml:"path"`

	// Upstream is the application's own address: scheme, host and port, like
	// http://127.0.0.1:9000, or unix:PATH for a Unix socket. The scheme is http, https,
	// which speaks HTTP/2 where the app does, or h2c, which is HTTP/2 without TLS. Paths
	// are forwarded as they came in. Required, unless upstreams or forward_auth.
	Upstream string `yaml:"upstream"`

	// Upstreams are its addresses where it has several, all of one scheme and none of
	// them a Unix socket. They are asked in turn. One to which no connection can be made,
	// or whose certificate is not right, gets no requests for five seconds, and the next
	// one is asked, since nothing was sent. Default: none.
	Upstreams []string `yaml:"upstreams"`

	// Health is a path that each of upstreams answers with 2xx, within two seconds, while
	// it can be sent requests. It is asked for every five seconds. Default: none.
	Health string `yaml:"health"`

	// UpstreamTLS says what the gateway wants to see of an app at https, and shows it.
	// Default: a certificate for its host that the system trusts.
	UpstreamTLS *ClientTLS `yaml:"upstream_tls"`

	// ForwardAuth says that another proxy forwards to the app, which asks
	// /.jitgate/auth about each request, and sends here what is below /.jitgate/. That
	// proxy has to be of trusted_proxies. Default: false.
	ForwardAuth bool `yaml:"forward_auth"`

	// Allow says who may use it. There is no default. Required.
	Allow Allow `yaml:"allow"`

	// IdentityProviders are the IdPs whose users may use it, and which are offered to
	// those who come here to sign in. Default: all.
	IdentityProviders []string `yaml:"identity_providers"`

	// Public are paths that need no sign-in and get no identity headers: one
	// path each, or with / at its end all below it. They are whole paths, and
	// begin with the app's. Default: none.
	Public []string `yaml:"public"`

	// Headers say who the visitor is. Default: {preset: forwarded}.
	Headers Headers `yaml:"headers"`

	// Endpoint is the path below which the app has links for signing in and out, from when
	// it was behind Shibboleth or Mellon: Login and Logout with the preset shibboleth,
	// login and logout with mellon. There the gateway leads visitors of all apps on the
	// host to its own pages. Default: /Shibboleth.sso or /mellon, none with other presets.
	Endpoint string `yaml:"endpoint"`

	// Body is the longest body of a request to it, or unlimited. Default: that of
	// limits.body.
	Body Size `yaml:"body"`

	// UpstreamURL is Upstream, or the first of Upstreams, parsed by Load; nil with
	// ForwardAuth. Of a Unix socket it has the scheme unix and the absolute path.
	UpstreamURL *url.URL `yaml:"-"`

	// UpstreamHosts are the hosts of Upstreams, each with its port if it has one; the
	// first is that of UpstreamURL.
	UpstreamHosts []string `yaml:"-"`
}

// Allow says who may use an app: it has exactly one of its keys.
type Allow struct {
	// Groups allows the members of any of these, configured or asserted.
	Groups []string `yaml:"groups"`

	// Entitlements allows those who have any of these.
	Entitlements []string `yaml:"entitlements"`

	// AnyUser allows everybody who has signed in, of whatever directory.
	AnyUser bool `yaml:"any_user"`
}

func (r *report) checkApps(c *Config, n names) {
	seen, routes := make(map[string]string), make(map[string]*App)
	for i := range c.Apps {
		a, key := &c.Apps[i], fmt.Sprintf("apps[%d]", i)
		r.checkName(key+".name", a.Name, "wiki", seen)
		r.checkRoute(key, a, c.Base().Hostname())
		route := a.Host + strings.ToLower(a.Path)
		switch other, ok := routes[route]; {
		case !ok:
			routes[route] = a
		case a.Path == other.Path:
			r.add(key, "is at %q, where app %q is already; write another host or path", a.Host+a.Path, other.Name)
		default:
			r.add(key+".path", "%q and %q of app %q differ in case alone, which does not count; write another path", a.Path, other.Path, other.Name)
		}
		switch {
		case r.has(key + ".upstreams"):
			r.checkUpstreams(key, a)
		case a.ForwardAuth && a.Upstream != "":
			r.add(key+".upstream", "is given, but with forward_auth another proxy forwards to the app; remove one of the two")
		case a.ForwardAuth && len(c.TrustedProxies) == 0:
			r.add(key+".forward_auth", "is true, but trusted_proxies is empty, so that no proxy may ask; write its network there, like [127.0.0.1]")
		case a.ForwardAuth:
		case a.Upstream == "":
			r.add(key+".upstream", "is missing; write the application's address, like http://127.0.0.1:9000")
		default:
			a.UpstreamURL = r.upstream(key+".upstream", a.Upstream)
		}
		r.checkUpstreamTLS(key+".upstream_tls", a)
		r.checkHealth(key+".health", a)
		r.checkAllow(key+".allow", a.Allow, n)
		if r.has(key+".identity_providers") && len(a.IdentityProviders) == 0 {
			r.add(key+".identity_providers", "is empty, so that nobody may use the app; write the identity providers whose users may, or remove it")
		}
		for j, p := range a.IdentityProviders {
			r.known(fmt.Sprintf("%s.identity_providers[%d]", key, j), "identity provider", p, n.idps)
		}
		for j, p := range a.Public {
			r.checkPublic(fmt.Sprintf("%s.public[%d]", key, j), p, a.Path)
			if slices.Contains(a.Public[:j], p) {
				r.add(fmt.Sprintf("%s.public[%d]", key, j), "%q is there already; remove one", p)
			}
		}
		r.checkHeaders(key+".headers", &a.Headers, c.Attributes, n)
		r.checkLinks(key+".endpoint", a)
		r.size(key+".body", &a.Body, c.Limits.Body, 1<<10, Unlimited)
	}
}

// upstream parses the address of an app. It returns nil after recording why not.
func (r *report) upstream(key, address string) *url.URL {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		r.resolve(&path)
		if path == "" || strings.HasPrefix(path, "//") || len(path) > 107 { // what a socket's address has room for
			r.add(key, "%q names no socket; write unix: and a path of at most 107 bytes, like unix:/run/app.sock", address)
			return nil
		}
		return &url.URL{Scheme: "unix", Path: path}
	}
	rest, h2c := strings.CutPrefix(address, "h2c://")
	if h2c {
		address = "http://" + rest
	}
	u := r.origin(key, address, "http://127.0.0.1:9000")
	if u != nil && h2c {
		u.Scheme = "h2c"
	}
	return u
}

// checkUpstreams parses the addresses of an app that has several.
func (r *report) checkUpstreams(key string, a *App) {
	switch {
	case a.ForwardAuth:
		r.add(key+".upstreams", "are given, but with forward_auth another proxy forwards to the app; remove one of the two")
	case a.Upstream != "":
		r.add(key+".upstreams", "are given beside upstream; write all addresses here, and remove that")
	case len(a.Upstreams) == 0:
		r.add(key+".upstreams", "is empty; write the application's addresses, like [http://10.0.0.1:9000, http://10.0.0.2:9000]")
	}
	for j, raw := range a.Upstreams {
		at := fmt.Sprintf("%s.upstreams[%d]", key, j)
		u := r.upstream(at, raw)
		switch {
		case u == nil:
		case u.Scheme == "unix":
			r.add(at, "%q is a Unix socket, of which there can be but one; write it as upstream", raw)
		case a.UpstreamURL != nil && u.Scheme != a.UpstreamURL.Scheme:
			r.add(at, "%q is not of the scheme %q, as the others are; write addresses of one scheme", raw, a.UpstreamURL.Scheme)
		case slices.Contains(a.UpstreamHosts, u.Host):
			r.add(at, "%q is there already; remove one", raw)
		default:
			if a.UpstreamURL == nil {
				a.UpstreamURL = u
			}
			a.UpstreamHosts = append(a.UpstreamHosts, u.Host)
		}
	}
}

func (r *report) checkHealth(key string, a *App) {
	switch {
	case !r.has(key):
	case !r.has(parent(key) + ".upstreams"):
		r.add(key, "is for an app with several upstreams; write those, or remove this")
	case !canonical(a.Health):
		r.add(key, "%q is not a path with one spelling; write one like /healthz", a.Health)
	}
}

// Endpoints are the defaults of endpoint, by preset.
var Endpoints = map[string]string{"shibboleth": "/Shibboleth.sso", "mellon": "/mellon"}

// checkLinks checks the endpoint of an app, and fills in its default.
func (r *report) checkLinks(key string, a *App) {
	usual := Endpoints[a.Headers.Preset]
	switch {
	case !r.has(key):
		a.Endpoint = usual
	case usual == "":
		r.add(key, "is for the presets shibboleth and mellon; write one of them in headers, or remove this")
	case !canonical(a.Endpoint) || strings.HasSuffix(a.Endpoint, "/"):
		r.add(key, "%q is not a path with one spelling; write one like %s, without / at its end", a.Endpoint, usual)
	case ours(a.Endpoint):
		r.add(key, "%q is the gateway's own; write another, like %s", a.Endpoint, usual)
	}
}

func (r *report) checkUpstreamTLS(key string, a *App) {
	if a.UpstreamTLS == nil {
		return
	}
	if a.UpstreamURL != nil && a.UpstreamURL.Scheme != "https" {
		r.add(key, "is for an upstream at https; write that, or remove this")
	}
	r.checkClientTLS(key, a.UpstreamTLS)
}

// checkRoute checks a's host and path, and fills in their defaults.
func (r *report) checkRoute(key string, a *App, baseHost string) {
	if !r.has(key + ".host") {
		a.Host = baseHost
	} else if host, ok := normalHost(a.Host); ok {
		a.Host = host
	} else {
		r.add(key+".host", "%q is not a host name; write one without scheme, port and path, like wiki.example.com", a.Host)
	}
	switch {
	case !r.has(key + ".path"):
		a.Path = "/"
	case !canonical(a.Path) || a.Path != "/" && strings.HasSuffix(a.Path, "/"):
		r.add(key+".path", "%q is not a path with one spelling; write one like /wiki, without / at its end, //, dot segments, %%, ; and \\", a.Path)
	case ours(a.Path):
		r.add(key+".path", "%q is the gateway's own; write another", a.Path)
	}
}

// canonical reports whether p is a path that has one spelling, with or without a
// / at its end.
func canonical(p string) bool {
	clean := path.Clean(p)
	return plainPath.MatchString(p) && (p == clean || p == clean+"/")
}

// ours reports whether p is the gateway's own, like /.jitgate/login.
func ours(p string) bool {
	return strings.HasPrefix(strings.ToLower(p)+"/", "/.jitgate/")
}

func (r *report) checkAllow(key string, a Allow, n names) {
	switch kinds := r.given(key, "groups", "entitlements", "any_user"); {
	case len(kinds) == 0:
		r.add(key, "is missing, and there is no default; write {groups: [...]}, {entitlements: [...]} or {any_user: true}")
	case len(kinds) > 1:
		r.add(key, "has %s; keep one", strings.Join(kinds, " and "))
	case kinds[0] == "groups" && len(a.Groups) == 0:
		r.add(key+".groups", "is empty, so that nobody may use the app; write the groups that may")
	case kinds[0] == "entitlements" && len(a.Entitlements) == 0:
		r.add(key+".entitlements", "is empty, so that nobody may use the app; write the entitlements that let one")
	case kinds[0] == "any_user" && !a.AnyUser:
		r.add(key+".any_user", "is false, so that nobody may use the app; write true, groups or entitlements")
	}
	r.checkAllowed(key+".groups", a.Groups, n)
	for i, e := range a.Entitlements {
		r.known(fmt.Sprintf("%s.entitlements[%d]", key, i), "entitlement", e, n.entitlements)
	}
}

// checkAllowed checks the names of groups that may do something: each is configured,
// or asserted by some IdP.
func (r *report) checkAllowed(key string, groups []string, n names) {
	for i, g := range groups {
		if !slices.ContainsFunc(n.asserted, func(glob string) bool { return globMatches(glob, g) }) {
			r.known(fmt.Sprintf("%s[%d]", key, i), "group", g, n.groups)
		}
	}
}

func globMatches(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return err == nil && ok
}

// checkPublic checks one public path of the app at appPath.
func (r *report) checkPublic(key, p, appPath string) {
	below := strings.TrimSuffix(appPath, "/") + "/"
	switch {
	case !canonical(p):
		r.add(key, "%q is not a path with one spelling; write one like /healthz or /static/, without //, dot segments, %%, ; and \\", p)
	case ours(p):
		r.add(key, "%q is the gateway's own, and needs no sign-in anyway; remove it", p)
	case p == below:
		r.add(key, "%q makes the whole app public; write the paths that are meant", p)
	case p != appPath && !strings.HasPrefix(p, below):
		r.add(key, "%q is not of this app, whose path is %q; write a path that begins with it", p, appPath)
	}
}

// reserved reports whether a header, given as squash returns it, is not for a
// user's attributes: it frames the message, belongs to the connection, carries
// credentials, or says where the request came from.
func reserved(s string) bool {
	switch s {
	case "connection", "keepalive", "proxyconnection", "proxyauthenticate", "proxyauthorization", "te", "trailer",
		"transferencoding", "upgrade", "host", "contentlength", "contenttype", "contentencoding", "expect", "range",
		"cookie", "setcookie", "authorization", "origin", "referer", "accept", "acceptencoding", "useragent",
		"forwarded", "xforwardedfor", "xforwardedproto", "xforwardedhost", "xrequestid":
		return true
	}
	return strings.HasPrefix(s, "xjitgate")
}

// squash returns the form in which applications may take header names for the
// same: lower-case, letters and digits alone.
func squash(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			return c
		}
		return -1
	}, name)
}
