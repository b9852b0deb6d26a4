// Package config reads jitgate's configuration file and checks it.
//
// [Load] turns the file into a [Config] that the rest of the program may use
// as it is: defaults are filled in, domains and hosts are in their normal form,
// relative paths are resolved against the directory of the file, secrets are
// read, and the SAML key is loaded. Every field is documented for the operator
// on its struct.
//
// A file that is not right in every point is refused, with all of its problems
// at once: each a [Problem] with line, column and key, what is wrong and what to
// write instead. Keys that nobody knows are refused, and so are keys that come
// twice, a second document, anchors, aliases and tags. A secret is never
// written in the file, only named there, and neither a problem nor printing the
// Config shows it.
//
// Reading has no side effects beyond reading the files and the environment
// variables that the configuration names.
package config

import (
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// maxSize is the size past which a file is not taken for a configuration.
const maxSize = 1 << 20

// Config is a checked configuration file.
type Config struct {
	// BaseURL is the origin of the gateway's own pages and SAML endpoints, like
	// https://sso.example.com: scheme, host and port, nothing after them. http
	// is accepted on a loopback host alone (localhost, names below it,
	// 127.0.0.0/8, [::1]). Required.
	BaseURL string `yaml:"base_url"`

	// Listen is the address that visitors' connections come in on, like :8443
	// or 10.0.0.5:8443. A socket called public that systemd listens on is used in its
	// place (FileDescriptorName=, as in deploy/systemd/jitgate.socket). Required.
	Listen string `yaml:"listen"`

	// TLS is the certificate of listen. Without it the gateway speaks plain
	// HTTP there, and something in front of it has to speak TLS where base_url
	// is https. Default: none.
	TLS *TLS `yaml:"tls"`

	// TrustedProxies are the networks (CIDRs, or single addresses) of proxies in front,
	// whose X-Forwarded-For is believed, who may ask about requests (forward_auth of an
	// app, ext_authz), and whose traces go on here. Default: none.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// Limits are how much of the gateway visitors may use.
	Limits Limits `yaml:"limits"`

	// Admin is where the command line and the monitoring reach the gateway.
	Admin Admin `yaml:"admin"`

	// ExtAuthz is where Envoy asks over gRPC. Over HTTP it asks at /.jitgate/auth.
	ExtAuthz ExtAuthz `yaml:"ext_authz"`

	// Tracing is where traces of requests go. Default: nowhere, and the headers of a trace
	// pass as they come.
	Tracing *Tracing `yaml:"tracing"`

	// Drain is how long the gateway goes on as before once it is to end, with /readyz
	// answering 503, so that whatever sends visitors here can stop doing so; then it
	// finishes what is under way. At most 5m. Default: 5s, or 0 without admin.listen,
	// where nobody could tell.
	Drain time.Duration `yaml:"drain"`

	// Redis is the store of users and sessions. Required.
	Redis Redis `yaml:"redis"`

	// Session is how long a visitor stays signed in, and the keys of their cookie.
	// Required.
	Session Session `yaml:"session"`

	// JWT is the signed token that tells apps who a visitor is.
	JWT JWT `yaml:"jwt"`

	// SAML is what identity providers know the gateway by. Required.
	SAML SAML `yaml:"saml"`

	// Attributes are the user attributes that this service defines; whatever
	// else an assertion carries is ignored. userName, domain and ExternalId are
	// always defined, and need not be listed. Default: those three.
	Attributes []Attribute `yaml:"attributes"`

	// Directories are the groups of users that belong together, usually one a
	// customer or company. At least one is required.
	Directories []Directory `yaml:"directories"`

	// IdentityProviders are the IdPs that users sign in at. At least one is
	// required.
	IdentityProviders []IdentityProvider `yaml:"identity_providers"`

	// Discovery is how the gateway finds out where a visitor signs in.
	Discovery Discovery `yaml:"discovery"`

	// Branding is what the gateway's own pages look like.
	Branding Branding `yaml:"branding"`

	// Groups are sets of users, worked out from their attributes whenever a user is read.
	// Default: none.
	Groups []Group `yaml:"groups"`

	// Apps are the web applications behind the gateway. A request that is for
	// none of them gets 404. Default: none.
	Apps []App `yaml:"apps"`
}

// TLS is the certificate that the gateway shows to visitors: two files in PEM, which are
// read again when they change, or what an authority gives.
type TLS struct {
	// CertFile holds the certificate, followed by its intermediates. Required, unless
	// acme.
	CertFile string `yaml:"cert_file"`

	// KeyFile holds the certificate's private key. Required, unless acme.
	KeyFile string `yaml:"key_file"`

	// ACME gets certificates for the hosts of base_url and of all apps, and renews them.
	// Default: none.
	ACME *ACME `yaml:"acme"`
}

// ACME is an authority that gives certificates by itself (RFC 8555) to whoever is reached
// at port 443 of a host (RFC 8737). Whoever writes this accepts its terms.
type ACME struct {
	// Cache is the folder that keeps the certificates and their keys, readable for the
	// gateway alone. Replicas share it. Required.
	Cache string `yaml:"cache"`

	// Email is where the authority writes to when something is wrong. Default: none.
	Email string `yaml:"email"`

	// Directory is the authority's URL. Default: that of Let's Encrypt.
	Directory string `yaml:"directory"`

	// CAFile holds the certificates (PEM) that the authority's own must come from.
	// Default: those that the system trusts.
	CAFile string `yaml:"ca_file"`
}

// Admin is where the command line and the monitoring reach the gateway.
type Admin struct {
	// Socket is the Unix socket that jitgate users and the like talk to,
	// created with mode 0600. At most 103 bytes, since systems limit the length
	// of a socket's path. Default: none, and those commands do not work.
	Socket string `yaml:"socket"`

	// Listen is the address of /healthz, /readyz and /metrics, like
	// 127.0.0.1:9090. It has no sign-in, so keep it from visitors. Default: none.
	Listen string `yaml:"listen"`

	// Groups are those whose members may use the console, /.jitgate/admin on the host
	// of base_url: see all users and sessions, end sessions, block users, and reload.
	// Default: nobody, and there is no console.
	Groups []string `yaml:"groups"`
}

// ExtAuthz is where Envoy asks about requests, by its ext_authz filter over gRPC.
type ExtAuthz struct {
	// Listen is the address of that, like 127.0.0.1:9191: HTTP/2 without TLS. Who asks
	// has to be of trusted_proxies. Default: none.
	Listen string `yaml:"listen"`
}

// Base returns the parsed BaseURL, a new one at each call.
func (c *Config) Base() *url.URL {
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		return new(url.URL)
	}
	return u
}

// Secure reports whether visitors reach the gateway over https.
func (c *Config) Secure() bool {
	return c.Base().Scheme == "https"
}

// Load reads the configuration file at path. Relative paths in it are resolved
// against its directory. If the file could be read but not accepted, the error
// is a [Problems].
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, filepath.Dir(path))
}

// Parse is [Load] of data that has been read already. Problems are shown as
// being in the file called name, and relative paths are resolved against dir.
func Parse(name string, data []byte, dir string) (*Config, error) {
	r := newReport(name, dir)
	c := new(Config)
	if r.decode(data, c) {
		r.check(c)
	}
	if len(r.problems) > 0 {
		return nil, r.sorted()
	}
	return c, nil
}

// check looks for everything in c that has the right type and is wrong all the
// same, and fills in the defaults.
func (r *report) check(c *Config) {
	r.checkBaseURL(c)
	r.checkListeners(c)
	r.checkTLS(c)
	r.checkTrustedProxies(c)
	r.checkTracing(c.Tracing)
	r.checkLimits(&c.Limits)
	r.checkRedis(&c.Redis)
	r.checkSession(&c.Session)
	r.checkJWT(&c.JWT)
	r.checkSAML(c)
	r.checkAttributes(c)
	r.checkDirectories(c)
	names := namesOf(c)
	r.checkIdentityProviders(c, names)
	r.checkDiscovery(&c.Discovery)
	r.checkBranding(&c.Branding)
	r.checkGroups(c, names)
	r.checkApps(c, names)
	r.checkAllowed("admin.groups", c.Admin.Groups, names)
}

// names are what one section of the file may call in another.
type names struct {
	attributes, directories, domains, idps, groups, entitlements map[string]bool
	asserted                                                     []string // globs of group names that some IdP may assert
}

// namesOf collects the names that c defines.
func namesOf(c *Config) names {
	n := names{
		attributes:   make(map[string]bool),
		directories:  make(map[string]bool),
		groups:       make(map[string]bool),
		entitlements: make(map[string]bool),
		domains:      make(map[string]bool),
		idps:         make(map[string]bool),
	}
	for _, a := range c.Attributes {
		n.attributes[a.Name] = true
	}
	for _, d := range c.Directories {
		n.directories[d.Name] = true
		for _, domain := range d.Domains {
			n.domains[domain] = true
		}
	}
	for _, p := range c.IdentityProviders {
		n.idps[p.Name] = true
		n.asserted = append(n.asserted, p.Groups.Allow...)
	}
	for _, g := range c.Groups {
		n.groups[g.Name] = true
		for _, e := range g.Entitlements {
			n.entitlements[e] = true
		}
	}
	return n
}
