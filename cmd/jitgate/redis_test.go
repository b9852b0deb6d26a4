package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// oneIdP is a configuration with one identity provider. Its verbs are the value
// of redis, the metadata URL, and the upstream.
const oneIdP = `
redis: %s
attributes: [{name: userName}, {name: email}]
directories: [{name: acme, domains: [acme.example]}]
identity_providers:
  - {name: acme, directory: acme, metadata: {url: %q}}
apps:
  - {name: any, path: /, upstream: %q, allow: {any_user: true}}
`

// localIdP serves the project's own identity provider, with the user ann.
func localIdP(t *testing.T) *samltest.IdP {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	idp, err := samltest.New(samltest.Options{
		URL: "http://" + server.Listener.Addr().String(), Domain: "acme.example",
		Users: []samltest.User{{Name: "ann", Password: "ann", Attributes: map[string][]string{
			"userName": {"ann@acme.example"}, "email": {"ann@acme.example"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = idp
	server.Start()
	t.Cleanup(server.Close)
	return idp
}

// TestRedis signs in and out over each kind of Redis that there is.
func TestRedis(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(t *testing.T) string{
		"embedded": func(*testing.T) string { return `{embedded: true}` },
		"alone": func(t *testing.T) string {
			return fmt.Sprintf(`{addresses: [%q]}`, testenv.RedisServer(t).Addr)
		},
		"Unix socket": func(t *testing.T) string {
			socket := filepath.Join(t.TempDir(), "redis.sock")
			testenv.RedisServer(t, "--unixsocket", socket)
			return fmt.Sprintf(`{addresses: [%q]}`, socket)
		},
		// The user may do nothing but what the gateway needs, below its prefix.
		"ACL user": func(t *testing.T) string {
			s := testenv.RedisServer(t, "--user", "gate", "on", ">opensesame", "~corp:*", "resetchannels", "&corp:*",
				"+@read", "+@write", "+@connection", "+@scripting", "+@transaction", "+@pubsub", "-@dangerous")
			return fmt.Sprintf(`{addresses: [%q], username: gate, password: "file:redis.password", key_prefix: "corp:"}`, s.Addr)
		},
		"TLS": func(t *testing.T) string {
			dir := t.TempDir()
			writePair(t, dir)
			port := testenv.FreePort(t)
			testenv.RedisServer(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", dir+"/tls.crt",
				"--tls-key-file", dir+"/tls.key", "--tls-ca-cert-file", dir+"/tls.crt", "--tls-auth-clients", "yes")
			return fmt.Sprintf(`{addresses: ["127.0.0.1:%d"], tls: {ca_file: %[2]s/tls.crt, cert_file: %[2]s/tls.crt, key_file: %[2]s/tls.key}}`, port, dir)
		},
		"Sentinel": func(t *testing.T) string {
			sentinel := testenv.Sentinel(t, "gate", testenv.RedisServer(t))
			return fmt.Sprintf(`{addresses: [%q], master_name: gate}`, sentinel.Addr)
		},
		"Cluster": func(t *testing.T) string {
			return fmt.Sprintf(`{addresses: [%q], cluster: true}`, testenv.Cluster(t).Addr)
		},
	}
	for name, redis := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp, site := localIdP(t), newSite(t)
			if err := os.WriteFile(filepath.Join(site.dir, "redis.password"), []byte("opensesame\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			g := site.start("127.0.0.1", 0, fmt.Sprintf(oneIdP, redis(t), idp.EntityID(), echoUpstream(t).URL))
			introduceSP(t, idp, g.file)
			signInAndOut(t, g)
		})
	}
}

// signInAndOut goes through what writes to the store and what reads from it.
func signInAndOut(t *testing.T, g *replica) {
	t.Helper()
	b := testenv.NewBrowser(t, nil)
	for range 2 { // a first login, and one of a user who is known
		page, err := b.Login(g.base+"/page", "", "ann", "ann")
		if err != nil {
			t.Fatal(err)
		}
		reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-User": "ann@acme.example"})
		if got := output(t, "sessions", "list", "-c", g.file); strings.Count(got, "ann@acme.example") != 1 {
			t.Errorf("signed in, sessions list prints:\n%s", got)
		}
		if page, err = b.Open(g.base + "/.jitgate/logout"); err != nil || len(page.Forms) != 1 {
			t.Fatalf("logout page: %v, %d forms", err, len(page.Forms))
		}
		if page, err = page.Forms[0].Submit(); err != nil || page.Status != http.StatusOK {
			t.Fatalf("signing out: %v, status %d", err, page.Status)
		}
	}
	if got := g.user(t, "ann@acme.example")["userName"]; got != "ann@acme.example" {
		t.Errorf("users show: userName %v, want ann@acme.example", got)
	}
	if got := output(t, "sessions", "list", "-c", g.file, "-o", "json"); got != "" {
		t.Errorf("signed out, sessions list prints %s", got)
	}
	var types []string
	for _, e := range jsonLines[audit.Event](t, output(t, "audit", "-c", g.file, "-o", "json")) {
		types = append(types, e.Type)
	}
	if got, want := strings.Join(types, " "), "user_created login logout login logout"; got != want {
		t.Errorf("audit has %q, want %q", got, want)
	}
}

// TestRedisGoesAway stops Redis from answering, and lets it go on: visitors are
// told to wait, and nobody is signed out. (serve.txtar starts without Redis.)
func TestRedisGoesAway(t *testing.T) {
	t.Parallel()
	idp, site := localIdP(t), newSite(t)
	store := testenv.RedisServer(t)
	g := site.start("127.0.0.1", 0, fmt.Sprintf(oneIdP, fmt.Sprintf(`{addresses: [%q]}`, store.Addr), idp.EntityID(), echoUpstream(t).URL))
	introduceSP(t, idp, g.file)
	b := testenv.NewBrowser(t, nil)
	page, err := b.Login(g.base+"/page", "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	reached(t, page)

	store.Pause()
	testenv.Eventually(t, func() error { // within a second: for so long what is remembered is believed
		if page, err = b.Open(g.base + "/page"); err != nil {
			return err
		}
		if page.Status == http.StatusOK {
			return errors.New("answered without Redis")
		}
		return nil
	})
	if page.Status != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" || len(page.Header.Values("Set-Cookie")) > 0 {
		t.Errorf("without Redis: status %d, Retry-After %q, cookies %q; want 503, a time, and none", page.Status, page.Header.Get("Retry-After"), page.Header.Values("Set-Cookie"))
	}
	testenv.Eventually(t, func() error { return answers(g.admin+"/readyz", http.StatusServiceUnavailable) })
	if err := answers(g.admin+"/healthz", http.StatusOK); err != nil {
		t.Error(err)
	}

	store.Resume()
	testenv.Eventually(t, func() error { return answers(g.admin+"/readyz", http.StatusOK) })
	if page, err = b.Open(g.base + "/page"); err != nil {
		t.Fatal(err)
	}
	reached(t, page).wantHeaders(t, map[string]string{"X-Forwarded-User": "ann@acme.example"})
}
