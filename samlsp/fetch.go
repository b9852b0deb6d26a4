package samlsp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	maxMetadata  = 1 << 20          // bytes of a metadata document
	fetchTimeout = 10 * time.Second // of asking a URL for it
)

// fetch asks the URL for the metadata.
func (sp *SP) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, sp.o.Metadata.URL, nil)
	if err != nil {
		return nil, err
	}
	client := sp.client(request.URL.Hostname())
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", request.URL.Redacted(), answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.URL.Redacted(), err)
	}
	if len(data) == 0 {
		return nil, errors.New("empty")
	}
	return data, nil
}

// client returns what asks for metadata at a host. It is not http.DefaultClient,
// of which others in the process could change something, and differs from it in
// three ways.
//
// First, it looks at the address that it is about to connect to, after the name
// was resolved: whoever has the name of the host under control could lead us to a
// machine of our own network. Second, it goes there itself and never through a
// proxy that the environment names, which would connect for us where we do not
// see it. Third, a redirect is an error: where the metadata is comes from the
// configuration, and not from who answers there.
func (sp *SP) client(host string) *http.Client {
	dialer := &net.Dialer{Resolver: sp.resolver, Control: func(_, address string, _ syscall.RawConn) error {
		return sp.o.Metadata.checkAddress(host, address)
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: sp.roots},
			MaxResponseHeaderBytes: 64 << 10,
			// What counts as too long is what was sent, not what it unfolds to.
			DisableCompression: true,
			ForceAttemptHTTP2:  true,
		},
		CheckRedirect: func(to *http.Request, _ []*http.Request) error {
			return fmt.Errorf("it redirects to %q: configure that, if it is right", to.URL.Redacted())
		},
	}
}

// checkAddress returns why the metadata at host may not be asked for at the
// address to which that was resolved, or nil.
//
// A loopback host in the URL says that the metadata is on this machine, which
// nobody but the operator can have written: it may be there, and must be.
func (m *MetadataSource) checkAddress(host, address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address", address)
	}
	addr := to.Addr().WithZone("").Unmap()
	switch reach := reachOf(addr); {
	case loopback(host):
		if !addr.IsLoopback() {
			return fmt.Errorf("%q is at %s, which is not this machine", host, addr)
		}
	case reach == nowhere:
		return fmt.Errorf("%s is no address of an identity provider", addr)
	case reach == private && !m.AllowPrivate:
		return fmt.Errorf("%s is a private address, which takes allow_private: true", addr)
	}
	return nil
}

// A reach is who can be behind an address.
type reach int

const (
	nowhere reach = iota // no server, or one that hands out secrets of this machine
	private              // whoever is in a network of our own
	public
)

// Networks that are not of the public Internet, or not as they seem (IANA's
// registries of special-purpose addresses).
var (
	privateNetworks = networks(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8",
		"100.64.0.0/10", // shared by the customers of a carrier
		"198.18.0.0/15", // benchmarks
		"::1/128", "fc00::/7")
	noNetworks = networks(
		"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
		// Where clouds hand out the credentials of a machine, besides 169.254.169.254.
		"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32", "fd20:ce::254/128")
	publicIPv6 = networks("2000::/3")

	// In these an IPv4 address is written within an IPv6 one, at that byte.
	embedding = map[netip.Prefix]int{
		netip.MustParsePrefix("64:ff9b::/96"): 12, // NAT64
		netip.MustParsePrefix("2002::/16"):    2,  // 6to4
	}
)

func networks(list ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(list))
	for i, s := range list {
		parsed[i] = netip.MustParsePrefix(s)
	}
	return parsed
}

// reachOf returns who can be behind an address. An IPv6 address that stands for
// an IPv4 one is taken for that; in the other forms of such addresses there is
// nobody.
func reachOf(addr netip.Addr) reach {
	addr = addr.Unmap()
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	for p, at := range embedding {
		if in(p) {
			b := addr.As16()
			return reachOf(netip.AddrFrom4([4]byte(b[at : at+4])))
		}
	}
	switch {
	case slices.ContainsFunc(noNetworks, in):
		return nowhere
	case slices.ContainsFunc(privateNetworks, in):
		return private
	case addr.Is4(), slices.ContainsFunc(publicIPv6, in):
		return public
	}
	return nowhere
}
