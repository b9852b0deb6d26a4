package config

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func (r *report) checkBaseURL(c *Config) {
	const example = "https://sso.example.com"
	if c.BaseURL == "" {
		r.add("base_url", "is missing; write where visitors reach the gateway, like %s", example)
		return
	}
	u := r.origin("base_url", c.BaseURL, example)
	if u == nil {
		return
	}
	host, ok := normalHost(u.Hostname())
	port := u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	want := u.Scheme + "://" + bracket(host)
	if port != "" {
		want += ":" + port
	}
	switch {
	case !ok:
		r.add("base_url", "%q has no valid host name; write one like %s", c.BaseURL, example)
	case u.Scheme == "http" && !loopback(host):
		r.add("base_url", "%q is not safe: cookies and sign-ins would travel unencrypted; write %q (http is for localhost alone)", c.BaseURL, "https://"+u.Host)
	case c.BaseURL != want:
		r.add("base_url", "%q is not in its usual form, in which browsers send it; write %q", c.BaseURL, want)
	}
}

// origin parses raw, which must be scheme://host or scheme://host:port, the
// scheme http or https, and nothing more. It returns nil after recording why not.
func (r *report) origin(key, raw, example string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || !validPort(u.Port()) {
		r.add(key, "%q is not the address of a web server; write one like %s", show(raw), example)
		return nil
	}
	want := u.Scheme + "://" + u.Host
	switch {
	case u.User != nil:
		r.add(key, "%q has a user name or password in it; write %q", show(raw), want)
	case u.Path != "":
		r.add(key, "%q has the path %q, and only scheme, host and port belong here; write %q", raw, u.Path, want)
	case raw != want && !strings.EqualFold(raw, want):
		r.add(key, "%q has a query or a fragment; write %q", raw, want)
	default:
		return u
	}
	return nil
}

// show returns an address without the password that may be in it.
func show(address string) string {
	at := strings.LastIndex(address, "@")
	if at < 0 {
		return address
	}
	scheme, _, found := strings.Cut(address[:at], "//")
	if found {
		scheme += "//"
	} else {
		scheme = ""
	}
	return scheme + "..." + address[at:]
}

// validPort reports whether port is empty or a port to connect to.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// normalHost returns the form in which hosts are compared: an IP address, or a
// domain as in [NormalizeDomain]. It reports whether host is either.
func normalHost(host string) (string, bool) {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return addr.String(), true
	}
	return NormalizeDomain(host)
}

// bracket returns host as it is written in a URL.
func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// loopback reports whether browsers and this machine take host for this machine
// (RFC 6761, section 6.3). It expects the form of normalHost.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}

func (r *report) checkListeners(c *Config) {
	if c.Listen == "" {
		r.add("listen", `is missing; write the address to listen on, like ":8443"`)
	}
	r.checkAddress("listen", c.Listen)
	r.checkAddress("admin.listen", c.Admin.Listen)
	if sameListener(c.Listen, c.Admin.Listen) {
		r.add("admin.listen", "%q is where visitors come in, by listen: %q; write another port, like 127.0.0.1:9090", c.Admin.Listen, c.Listen)
	}
	r.checkAddress("ext_authz.listen", c.ExtAuthz.Listen)
	switch {
	case c.ExtAuthz.Listen == "":
	case sameListener(c.Listen, c.ExtAuthz.Listen) || sameListener(c.Admin.Listen, c.ExtAuthz.Listen):
		r.add("ext_authz.listen", "%q is where another part listens; write another port, like 127.0.0.1:9191", c.ExtAuthz.Listen)
	case len(c.TrustedProxies) == 0:
		r.add("ext_authz.listen", "is given, but trusted_proxies is empty, so that nobody may ask; write Envoy's network there, like [127.0.0.1]")
	}
	if !r.has("drain") && c.Admin.Listen != "" {
		c.Drain = 5 * time.Second
	}
	if c.Drain < 0 || c.Drain > 5*time.Minute {
		r.add("drain", "%q is out of bounds; write at most 5m, like 5s, or 0s", c.Drain)
	}
	r.resolve(&c.Admin.Socket)
	if len(c.Admin.Socket) > 103 {
		r.add("admin.socket", "%q is longer than the 103 bytes that the path of a socket may have; write a shorter one", c.Admin.Socket)
	}
}

// checkAddress checks an address to listen on, unless it is empty.
func (r *report) checkAddress(key, address string) {
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	_, portErr := strconv.ParseUint(port, 10, 16)
	_, hostOK := normalHost(host)
	if err != nil || portErr != nil || host != "" && !hostOK {
		r.add(key, "%q is not an address to listen on; write one like :8443 or 127.0.0.1:8443", address)
	}
}

// sameListener reports whether a and b cannot both be listened on.
func sameListener(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	everywhere := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return hostA == hostB || everywhere(hostA) || everywhere(hostB)
}

func (r *report) checkTLS(c *Config) {
	if c.TLS == nil {
		return
	}
	if strings.HasPrefix(c.BaseURL, "http://") {
		r.add("tls", "is given, but base_url is %q; write https there, or remove this", show(c.BaseURL))
	}
	if c.TLS.ACME == nil {
		r.keyPair("tls", &c.TLS.CertFile, &c.TLS.KeyFile)
		return
	}
	for _, key := range []string{"tls.cert_file", "tls.key_file"} {
		if r.has(key) {
			r.add(key, "is given, and acme gets a certificate; remove one of the two")
		}
	}
	r.checkACME(c)
}

func (r *report) checkACME(c *Config) {
	a := c.TLS.ACME
	if a.Cache == "" {
		r.add("tls.acme.cache", "is missing; write the folder that keeps the certificates, like /var/lib/jitgate/acme")
	}
	r.resolve(&a.Cache)
	if !strings.Contains(c.Base().Hostname(), ".") {
		r.add("tls.acme", "gets no certificate for %q, which is no name on the internet; write cert_file and key_file", c.Base().Hostname())
	}
	if !r.has("tls.acme.directory") {
		a.Directory = "https://acme-v02.api.letsencrypt.org/directory"
	}
	if u := r.url("tls.acme.directory", a.Directory); u != nil && u.Scheme != "https" {
		r.add("tls.acme.directory", "%q is not safe; write https", a.Directory)
	}
	r.checkCA("tls.acme.ca_file", &a.CAFile)
}

// url parses the address of a service. It returns nil after recording why not.
func (r *report) url(key, address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || !validPort(u.Port()) {
		r.add(key, "%q is not an https URL; write one", show(address))
		return nil
	}
	return u
}

// keyPair reads section's cert_file and key_file, which must fit together. It
// returns nil after recording why not.
func (r *report) keyPair(section string, certFile, keyFile *string) *tls.Certificate {
	cert, certOK := r.read(section+".cert_file", certFile)
	key, keyOK := r.read(section+".key_file", keyFile)
	if !certOK || !keyOK {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		r.add(section+".key_file", "%q and cert_file %q are not a key and its certificate in PEM: %s; write two files that fit", *keyFile, *certFile, text)
		return nil
	}
	return &pair
}

// reason returns err without the operation and the path that it is about.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (r *report) checkTrustedProxies(c *Config) {
	for i, p := range c.TrustedProxies {
		if p.IsValid() && p.Bits() == 0 {
			r.add("trusted_proxies["+strconv.Itoa(i)+"]", "%q is everybody, and everybody could claim any client address; write the networks of your own proxies", p)
		}
	}
}
