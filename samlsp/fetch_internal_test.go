package samlsp

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for want, list := range map[reach]string{
		public: "1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.167.0.1 198.17.0.1 " +
			"2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 64:ff9b::101:101 2002:101:101::1 ::ffff:1.1.1.1",
		private: "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 127.0.0.1 127.255.255.254 ::1 100.64.0.1 100.127.255.255 198.18.0.1 " +
			"fc00::1 fd12:3456::1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::7f00:1 2002:a00:1::1 2002:7f00:1::1",
		nowhere: "0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.1 224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255 192.0.0.192 192.0.2.1 198.51.100.1 203.0.113.1 " +
			"100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254 :: fe80::1 fec0::1 ff02::1 2001:db8::1 2001::1 64:ff9b:1::a9fe:a9fe " +
			"::ffff:169.254.169.254 64:ff9b::169.254.169.254 2002:a9fe:a9fe::1 ::10.0.0.1 ::169.254.169.254 4000::1",
	} {
		for s := range strings.FieldsSeq(list) {
			if got := reachOf(netip.MustParseAddr(s)); got != want {
				t.Errorf("reachOf(%s) = %d, want %d", s, got, want)
			}
		}
	}
}

// names are what a DNS server answers: the address of each host.
type names map[string]string

// resolver returns one that asks a server which knows the names and no others.
func (n names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			size, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			if answer, err := n.answer(packet[:size]); err == nil {
				server.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func (n names) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, errors.New("no question")
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}
	m.Additionals = nil
	addr, err := netip.ParseAddr(n[strings.TrimSuffix(q.Name.String(), ".")])
	if err != nil {
		m.RCode = dnsmessage.RCodeNameError
		return m.Pack()
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	switch {
	case addr.Is4() && q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}}}
	case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}}}
	}
	return m.Pack()
}

// TestMetadataAddress has a URL lead to places where no IdP is. The twin of each
// row leads to a server of metadata on this machine, where that is allowed.
func TestMetadataAddress(t *testing.T) {
	t.Parallel()
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Write(text)
	})
	certificate := testenv.SelfSigned("idp.acme.example")
	secure := httptest.NewUnstartedServer(answer)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.TLS()}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(answer)
	t.Cleanup(plain.Close)
	port := func(s *httptest.Server) string { u, _ := url.Parse(s.URL); return u.Port() }
	byName, onLoopback := "https://idp.acme.example:"+port(secure), "http://idp.localhost:"+port(plain)

	for _, row := range []struct {
		name    string
		url     string
		at      string // what its host resolves to
		allowed bool   // allow_private
		text    string // in the error
	}{
		{"F13 target at 10.0.0.1", "https://10.0.0.1/", "", false, "10.0.0.1 is a private address"},
		{"F13 target at 169.254.169.254", "https://169.254.169.254/latest/meta-data/", "", false, "no address of an identity provider"},
		{"F13 target at 169.254.169.254, where private ones are allowed", "https://169.254.169.254/", "", true, "no address of an identity provider"},
		{"F13 target at an IPv6 address", "https://[fd12::1]/", "", false, "fd12::1 is a private address"},
		{"F13 target at an IPv6 link-local address", "https://[fe80::1]/", "", true, "no address of an identity provider"},
		{"F13 target at a mapped address", "https://[::ffff:10.0.0.1]/", "", false, "10.0.0.1 is a private address"},
		{"F13 target at a translated address", "https://[64:ff9b::a9fe:a9fe]/", "", true, "no address of an identity provider"},
		{"F13 target at 0.0.0.0", "https://0.0.0.0/", "", true, "no address of an identity provider"},
		{"F13 name that resolves to 127.0.0.1", byName, "127.0.0.1", false, "127.0.0.1 is a private address"},
		{"F13 name that resolves to 10.0.0.1", byName, "10.0.0.1", false, "10.0.0.1 is a private address"},
		{"F13 name that resolves to 169.254.169.254", byName, "169.254.169.254", false, "no address of an identity provider"},
		{"F13 name that resolves to 169.254.169.254, where private ones are allowed", byName, "169.254.169.254", true, "no address of an identity provider"},
		{"F13 name that resolves to ::1", byName, "::1", false, "::1 is a private address"},
		{"F13 name that resolves to fe80::1", byName, "fe80::1", true, "no address of an identity provider"},
		{"F13 name that resolves to a mapped address", byName, "::ffff:169.254.169.254", true, "no address of an identity provider"},
		{"F13 name that resolves to a translated address", byName, "64:ff9b::a00:1", false, "is a private address"},
		{"F13 loopback name that resolves to 10.0.0.1", onLoopback, "10.0.0.1", true, "not this machine"},
		{"F13 loopback name that resolves to a public address", onLoopback, "9.9.9.9", false, "not this machine"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u, _ := url.Parse(row.url)
			load := func(url, at string, private bool) error {
				sp := urlSP(t, url, private)
				sp.resolver, sp.roots = names{u.Hostname(): at, "idp.acme.example": at}.resolver(t), certificate.Pool()
				_, err := sp.Refresh(t.Context())
				return err
			}
			before := asked.Load()
			if err := load(row.url, row.at, row.allowed); err == nil || !strings.Contains(err.Error(), row.text) {
				t.Errorf("Refresh: %v; want an error with %q", err, row.text)
			}
			if n := asked.Load() - before; n != 0 {
				t.Errorf("the server was asked %d times", n)
			}
			honest := byName
			if row.url == onLoopback {
				honest = onLoopback
			}
			if err := load(honest, "127.0.0.1", honest == byName); err != nil {
				t.Errorf("the honest one: %v", err)
			}
		})
	}
}

func TestMetadataURLs(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, attack, honest string }{
		{"F13 http URL", "http://idp.acme.example/md", "https://idp.acme.example/md"},
		{"F13 http URL of a private address", "http://10.0.0.1/md", "https://10.0.0.1/md"},
		{"F13 http URL of a host that begins as loopback", "http://127.0.0.1.evil.example/md", "http://127.0.0.1/md"},
		{"F13 http URL of a host that ends nearly as loopback", "http://notlocalhost/md", "http://idp.localhost/md"},
		{"F13 file: URL", "file:///etc/passwd", "https://idp.acme.example/etc/passwd"},
		{"F13 URL with a password", "https://ann:secret@idp.acme.example/", "https://idp.acme.example/"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := New(withURL(t, row.attack)); err == nil {
				t.Errorf("%s is accepted", row.attack)
			}
			if _, err := New(withURL(t, row.honest)); err != nil {
				t.Errorf("the honest one: %v", err)
			}
		})
	}
}

// TestMetadataCertificate holds that a server has to show a certificate that the
// system trusts, for its name.
func TestMetadataCertificate(t *testing.T) {
	t.Parallel()
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	certificate := testenv.SelfSigned("idp.acme.example")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(text) }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.TLS()}}
	server.StartTLS()
	t.Cleanup(server.Close)
	u, _ := url.Parse(server.URL)
	resolver := names{"idp.acme.example": "127.0.0.1", "other.example": "127.0.0.1"}.resolver(t)
	load := func(host string, roots *x509.CertPool) error {
		sp := urlSP(t, "https://"+host+":"+u.Port(), true)
		sp.resolver, sp.roots = resolver, roots
		_, err := sp.Refresh(t.Context())
		return err
	}
	for _, row := range []struct {
		name, host string
		roots      *x509.CertPool
	}{
		{"F13 certificate that nobody knows", "idp.acme.example", nil},
		{"F13 certificate of another name", "other.example", certificate.Pool()},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := load(row.host, row.roots); err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("Refresh: %v; want an error of its certificate", err)
			}
			if err := load("idp.acme.example", certificate.Pool()); err != nil {
				t.Errorf("the honest one: %v", err)
			}
		})
	}
}

// TestMetadataWithoutProxy holds that a proxy of the environment is not asked.
func TestMetadataWithoutProxy(t *testing.T) {
	sp := urlSP(t, "https://idp.acme.example", false)
	if transport := sp.client("idp.acme.example").Transport.(*http.Transport); transport.Proxy != nil {
		t.Error("the client has a proxy")
	}
}

// ownKey is our key, made once: it takes a while.
var ownKey = sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) {
	key, certificate, err := samltest.SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		panic(err)
	}
	return key, certificate
})

func withURL(t testing.TB, url string) Options {
	t.Helper()
	o := Options{Name: "acme", EntityID: "sp", ACS: "https://sp.example/acs", Metadata: MetadataSource{URL: url}, Replay: NewReplay(nil, "")}
	o.Key, o.Certificate = ownKey()
	return o
}

func urlSP(t testing.TB, url string, private bool) *SP {
	t.Helper()
	o := withURL(t, url)
	o.Metadata.AllowPrivate = private
	sp, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}
