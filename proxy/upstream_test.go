package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// public lets nobody have to sign in: what is tested is how apps are asked.
func publicApp(name, rest string) string {
	return fmt.Sprintf("  - {name: %s, path: /%s, allow: {any_user: true}, public: [/%s/x], %s}\n", name, name, name, rest)
}

// An app at a Unix socket is asked as any other is, with and without a body.
func TestUnixUpstream(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			conn, buf, _ := http.NewResponseController(w).Hijack()
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			line, _ := buf.ReadString('\n')
			io.WriteString(conn, "echo "+line)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, body)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })

	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{apps: publicApp("sock", "host: wiki.example.com, upstream: unix:"+socket)})
	host := strings.TrimPrefix(s.url("wiki", ""), "https://")
	if _, body := s.get(s.browser(), s.url("wiki", "/sock/x?a=1")); body != "GET "+host+" /sock/x?a=1 " {
		t.Errorf("the app was asked %q", body)
	}
	req, err := http.NewRequest(http.MethodPost, s.url("wiki", "/sock/x"), strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	if _, body := s.do(s.browser(), req); body != "POST "+host+" /sock/x a body" {
		t.Errorf("the app was asked %q", body)
	}
	conn, in, res := s.upgrade("/sock/x", "", "Connection: Upgrade\nUpgrade: websocket")
	fmt.Fprintln(conn, "hello")
	if line, err := in.ReadString('\n'); res.StatusCode != http.StatusSwitchingProtocols || line != "echo hello\n" {
		t.Errorf("a websocket: %d %q, %v", res.StatusCode, line, err)
	}

	// When it is gone, that is told as of any other.
	server.Close()
	if res, body := s.get(s.browser(), s.url("wiki", "/sock/x")); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "upstream_unavailable") {
		t.Errorf("without the app: %d %s", res.StatusCode, body)
	}
}

// An app with a certificate of its own authority, which wants one of us, gets it; and is
// not asked where its certificate is not what was expected.
func TestTLSUpstream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, client, other := testenv.SelfSigned("app.internal"), testenv.SelfSigned("gateway"), testenv.SelfSigned("app.internal")
	for name, data := range map[string][]byte{"ca.crt": server.CertPEM(), "us.crt": client.CertPEM(), "us.key": client.KeyPEM(), "other.crt": other.CertPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clients := x509.NewCertPool()
	clients.AddCert(client.Certificate)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d %d", r.ProtoMajor, len(r.TLS.PeerCertificates))
	}))
	app.EnableHTTP2 = true
	app.TLS = &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	app.Config.ErrorLog = log.New(io.Discard, "", 0) // connections without our certificate
	app.StartTLS()
	t.Cleanup(app.Close)

	at := "upstream: \"" + app.URL + "\", upstream_tls: {server_name: app.internal, ca_file: " + dir + "/%s, cert_file: " + dir + "/us.crt, key_file: " + dir + "/us.key}"
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{apps: publicApp("good", fmt.Sprintf(at, "ca.crt")) +
		publicApp("other", fmt.Sprintf(at, "other.crt")) +
		publicApp("named", strings.Replace(fmt.Sprintf(at, "ca.crt"), "app.internal", "else.internal", 1)) +
		publicApp("nameless", strings.Replace(fmt.Sprintf(at, "ca.crt"), "cert_file: "+dir+"/us.crt, key_file: "+dir+"/us.key", "", 1)) +
		publicApp("system", "upstream: \""+app.URL+"\"")})
	if _, body := s.get(s.browser(), s.url("sso", "/good/x")); body != "2 1" {
		t.Errorf("the app says %q, want that it was asked over HTTP/2 with our certificate", body)
	}
	for _, name := range []string{"other", "named", "nameless", "system"} {
		if res, body := s.get(s.browser(), s.url("sso", "/"+name+"/x")); res.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %d %s, want 502", name, res.StatusCode, body)
		}
	}
}

// h2cServer starts an app that speaks HTTP/2 without TLS.
func h2cServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// What gRPC needs reaches an app that speaks HTTP/2 without TLS: streams both ways at
// once, and trailers.
func TestStreamingUpstream(t *testing.T) {
	t.Parallel()
	app := h2cServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(http.StatusOK)
		flush := http.NewResponseController(w)
		flush.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			fmt.Fprintf(w, "%d %s %s\n", r.ProtoMajor, r.Header.Get("Te"), lines.Text())
			flush.Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "done")
	})
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{apps: publicApp("rpc", fmt.Sprintf("upstream: \"h2c://%s\"", app.Listener.Addr()))})
	client := http2Client(s.http2())
	body, say := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, s.url("sso", "/rpc/x"), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Te", "trailers")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	heard := bufio.NewReader(res.Body)
	for _, word := range []string{"one", "two", "three"} { // each is answered before the next is said
		fmt.Fprintln(say, word)
		if line, err := heard.ReadString('\n'); line != "2 trailers "+word+"\n" {
			t.Fatalf("heard %q: %v", line, err)
		}
	}
	say.Close()
	if rest, err := io.ReadAll(heard); err != nil || len(rest) != 0 {
		t.Errorf("at the end: %q, %v", rest, err)
	}
	if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "done" {
		t.Errorf("trailers %v", res.Trailer)
	}
}

// Transports are kept when the configuration is read again, and no longer used when what
// is in their files has changed.
func TestTransportsStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	write := func() {
		t.Helper()
		if err := os.WriteFile(ca, testenv.SelfSigned("app.internal").CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{apps: publicApp("a", "upstream: \"https://127.0.0.1:1\", upstream_tls: {ca_file: "+ca+"}") + publicApp("b", "upstream: unix:"+dir+"/b.sock") +
		publicApp("c", "upstreams: [\"h2c://127.0.0.1:1\"]")})
	via := func(name string) http.RoundTripper {
		t.Helper()
		a, ok := named(s.newest.Load().apps["sso.example.com"], name)
		if !ok {
			t.Fatalf("no app %s", name)
		}
		return a.via
	}
	a, b, c := via("a"), via("b"), via("c").(*pool).via
	s.replace()
	if via("a") != a || via("b") != b || via("c").(*pool).via != c || a == b {
		t.Error("the same configuration has other transports")
	}
	write()
	s.replace()
	if via("a") == a {
		t.Error("another authority has the transport of the one before")
	}
	if n := len(s.special.all); n != 3 {
		t.Errorf("there are %d transports, want 3: that of the authority before is forgotten", n)
	}
	if (&config.ClientTLS{}).Fingerprint() == (&config.ClientTLS{ServerName: "x"}).Fingerprint() {
		t.Error("another name has the same fingerprint")
	}
}
