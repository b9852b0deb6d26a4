package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// everyName serves DNS in which every name is this machine, and returns the address.
func everyName(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // which is how pebble asks
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		w.WriteMsg(a)
	})}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return l.Addr().String()
}

// built returns the program that a package makes, without C and paths, as that of the
// Dockerfile is: what it takes is compiled once for all.
func built(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	c := exec.Command("go", "build", "-trimpath", "-o", program, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", pkg, err, out)
	}
	return program
}

// pebble starts a real ACME authority that asks hosts at a port, and returns the URL of
// its directory, that of its root, and the file with what its own certificate comes from.
func pebble(t *testing.T, port int) (directory, root, ca string) {
	t.Helper()
	dir := t.TempDir()
	program := built(t, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	pair := testenv.SelfSigned("localhost")
	listen, manage := testenv.FreePort(t), testenv.FreePort(t)
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", listen), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", manage),
		"certificate": filepath.Join(dir, "pebble.crt"), "privateKey": filepath.Join(dir, "pebble.key"), "httpPort": 1, "tlsPort": port,
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "x", "validityPeriod": 7776000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"pebble.crt": pair.CertPEM(), "pebble.key": pair.KeyPEM(), "pebble.json": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := testenv.Program(t, listen, "env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", program, "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", everyName(t))
	t.Cleanup(func() {
		server.Stop()
		if t.Failed() {
			t.Logf("pebble: %s", server.Log())
		}
	})
	return fmt.Sprintf("https://127.0.0.1:%d/dir", listen), fmt.Sprintf("https://127.0.0.1:%d/roots/0", manage), filepath.Join(dir, "pebble.crt")
}

// TestACME has the gateway get certificates of a real authority for the hosts of its
// apps, and for no others.
func TestACME(t *testing.T) {
	t.Parallel()
	s, port, admin := newSite(t), testenv.FreePort(t), testenv.FreePort(t)
	directory, root, ca := pebble(t, port)
	trusted := x509.NewCertPool()
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	trusted.AppendCertsFromPEM(data)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	roots := x509.NewCertPool()
	testenv.Eventually(t, func() error {
		res, err := client.Get(root)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		if err == nil && !roots.AppendCertsFromPEM(data) {
			err = fmt.Errorf("%s: %q is no certificate", root, data)
		}
		return err
	})

	file := filepath.Join(s.dir, "jitgate.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(`base_url: https://sso.example.com:%[1]d
listen: 127.0.0.1:%[1]d
admin: {listen: "127.0.0.1:%[5]d"}
tls: {acme: {cache: %[2]s/acme, directory: %[3]q, ca_file: %[4]q, email: ops@example.com}}
drain: 0s
redis: {embedded: true}
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
directories: [{name: acme, domains: [acme.example]}]
identity_providers: [{name: acme, directory: acme, metadata: {url: "http://localhost:1/"}}]
apps: [{name: wiki, host: wiki.example.com, upstream: "http://127.0.0.1:1", allow: {any_user: true}}]
`, port, s.dir, directory, ca, admin)), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "serve", "-c", file)
	shake := func(host string) (*tls.Conn, error) {
		return tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: roots, ServerName: host})
	}
	for _, host := range []string{"sso.example.com", "wiki.example.com"} {
		testenv.Eventually(t, func() error {
			conn, err := shake(host)
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.VerifyHostname(host)
		})
	}
	testenv.Eventually(t, func() error {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", admin))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		exposed, err := io.ReadAll(res.Body)
		if want := `jitgate_certificate_expiry_timestamp_seconds{idp="",use="acme",which="first"}`; err == nil && !bytes.Contains(exposed, []byte(want)) {
			err = fmt.Errorf("the metrics have no %s", want)
		}
		return err
	})
	if conn, err := shake("evil.example.com"); err == nil {
		conn.Close()
		t.Error("there is a certificate for a host that no app is at")
	}
	// What it has got it keeps, where nobody else may read.
	kept, err := os.ReadDir(filepath.Join(s.dir, "acme"))
	if err != nil || len(kept) < 3 {
		t.Errorf("%d files are kept: %v", len(kept), err)
	}
	for _, f := range kept {
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}
