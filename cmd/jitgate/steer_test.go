package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/proxy"
)

// get returns the status that a browser's script gets for a page of a gateway's
// host, from another gateway if its port says so.
func (r *replica) get(t *testing.T, b *testenv.Browser, path string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// fails runs a command that has to end with an exit status, and returns what it
// printed to standard error.
func fails(t *testing.T, code int, in string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), args, stdio{strings.NewReader(in), &stdout, &stderr}); got != code {
		t.Fatalf("jitgate %s: exit status %d, want %d: %s%s", strings.Join(args, " "), got, code, stdout.String(), stderr.String())
	}
	return stderr.String()
}

// TestBlock keeps a user out and lets them in again, by the command line.
func TestBlock(t *testing.T) {
	t.Parallel()
	g := adminSite(t)
	ann := g.signIn(t)
	for typed, want := range map[string]string{"ann@": "ann@acme.example\n:4\n", "bob": ":4\n"} {
		if got := output(t, "__complete", "users", "show", "-c", g.file, typed); got != want {
			t.Errorf("%q completes to %q, want %q", typed, got, want)
		}
	}
	if got := output(t, "users", "block", "ANN@acme.example", "-c", g.file); got != "ann@acme.example is blocked; sign-ins ended: 1\n" {
		t.Errorf("block printed %q", got)
	}
	if got := g.get(t, ann, "/page"); got != http.StatusUnauthorized {
		t.Errorf("blocked: status %d, want 401", got)
	}
	if got := output(t, "users", "list", "-c", g.file); !strings.Contains(got, "  administrator\n") {
		t.Errorf("users list printed %q, want it to say who blocked", got)
	}
	if got := output(t, "users", "show", "ann@acme.example", "-c", g.file); !strings.Contains(got, "\nblocked            administrator since 2") {
		t.Errorf("users show printed %q, want it to say who blocked", got)
	}
	page, err := testenv.NewBrowser(t, nil).Login(g.base+"/page", "", "ann", "ann")
	if err != nil || page.Status != http.StatusForbidden || !strings.Contains(page.Text(), "user_blocked") {
		t.Errorf("signing in: %v, %v, want user_blocked", page, err)
	}
	if got := output(t, "users", "unblock", "ann@acme.example", "-c", g.file); got != "ann@acme.example may sign in\n" {
		t.Errorf("unblock printed %q", got)
	}
	g.signIn(t)
	for _, name := range []string{".", ".."} { // which are directions in a path
		if got := fails(t, 1, "", "users", "block", name, "-c", g.file); !strings.HasPrefix(got, "jitgate: no user ") {
			t.Errorf("block of %q: %q", name, got)
		}
		if got := fails(t, 1, "", "directories", "delete", name, "--yes", "-c", g.file); !strings.HasPrefix(got, "jitgate: the gateway knows no ") {
			t.Errorf("delete of %q: %q", name, got)
		}
		if got := fails(t, 1, "", "sessions", "revoke", "--id", name, "-c", g.file); !strings.HasPrefix(got, "jitgate: the gateway knows no ") {
			t.Errorf("revoke of %q: %q", name, got)
		}
	}
	g.signIn(t)
	if got := fails(t, 1, "", "users", "block", "typo", "-c", g.file); !strings.HasPrefix(got, "jitgate: no user \"typo\"\nhint: ") {
		t.Errorf("block of nobody: %q", got)
	}
	trail := output(t, "audit", "-c", g.file, "--user", "ann@acme.example", "-o", "json")
	for _, want := range []string{`"type":"user_blocked"`, `"reason":"administrator"`, `"type":"user_unblocked"`, `"client":"admin"`} {
		if !strings.Contains(trail, want) {
			t.Errorf("trail lacks %s: %s", want, trail)
		}
	}
}

// TestDeleteDirectory deletes a directory and creates it again, by the command
// line.
func TestDeleteDirectory(t *testing.T) {
	t.Parallel()
	g := adminSite(t)
	ann := g.signIn(t)
	const asked = "This deletes the directory \"acme\" and its 1 user, and ends their sessions.\nType its name to go on: "
	for _, typed := range []string{"", "\n", "ACME\n", "empty\n"} {
		if got := fails(t, 1, typed, "directories", "delete", "acme", "-c", g.file); !strings.HasPrefix(got, asked+"jitgate: ") || !strings.Contains(got, "nothing was deleted") {
			t.Errorf("having typed %q: %q", typed, got)
		}
	}
	if got := g.get(t, ann, "/page"); got != http.StatusOK {
		t.Errorf("before: status %d, want 200", got)
	}
	if got := fails(t, 0, "acme\n", "directories", "delete", "acme", "-c", g.file); got != asked {
		t.Errorf("having typed the name: %q", got)
	}
	if got := g.get(t, ann, "/page"); got != http.StatusUnauthorized {
		t.Errorf("after: status %d, want 401", got)
	}
	if got := output(t, "directories", "show", "acme", "-c", g.file); !strings.Contains(got, "\nstate               deleted since 2") || !strings.Contains(got, "\nusers               0\n") {
		t.Errorf("show printed %q", got)
	}
	if got := fails(t, 1, "", "directories", "delete", "acme", "--yes", "-c", g.file); !strings.Contains(got, "deleted already") {
		t.Errorf("deleting it again: %q", got)
	}
	if got := output(t, "directories", "create", "acme", "-c", g.file); !strings.Contains(got, "\nstate               open\n") {
		t.Errorf("create printed %q", got)
	}
	g.signIn(t)
	if got := output(t, "directories", "delete", "acme", "--yes", "-c", g.file); got != "directory acme is deleted; users deleted: 1\n" {
		t.Errorf("delete --yes printed %q", got)
	}
}

// TestRevokeAll ends the sessions of an identity provider, and all.
func TestRevokeAll(t *testing.T) {
	t.Parallel()
	g := adminSite(t)
	for _, flag := range []string{"--idp=acme", "--all"} {
		ann := g.signIn(t)
		if got := output(t, "sessions", "revoke", flag, "-c", g.file); got != "sessions ended: 1, sign-ins: 1\n" {
			t.Errorf("revoke %s printed %q", flag, got)
		}
		if got := g.get(t, ann, "/page"); got != http.StatusUnauthorized {
			t.Errorf("after revoke %s: status %d, want 401", flag, got)
		}
	}
	ann := g.signIn(t)
	if got := fails(t, 1, "", "sessions", "revoke", "--idp", "typo", "-c", g.file); !strings.Contains(got, `no identity provider "typo"`) {
		t.Errorf("revoke of nobody: %q", got)
	}
	if ended := jsonLines[proxy.Session](t, output(t, "sessions", "revoke", "--all", "-o", "json", "-c", g.file)); len(ended) != 1 || ended[0].User != "ann@acme.example" {
		t.Errorf("revoke --all -o json printed %+v, want ann's session", ended)
	}
	if got := g.get(t, ann, "/page"); got != http.StatusUnauthorized {
		t.Errorf("after revoke --all: status %d, want 401", got)
	}
}

// TestReloadReplicas changes a group's rule in the files of two gateways on one
// Redis: an open session loses access at its next request on both. The identity
// provider is not asked for anything in between.
func TestReloadReplicas(t *testing.T) {
	t.Parallel()
	idp := localIdP(t)
	text := fmt.Sprintf(oneIdP, fmt.Sprintf("{addresses: [%q], key_prefix: %q}", testenv.RedisServer(t).Addr, testenv.Prefix(t)), idp.EntityID(), echoUpstream(t).URL)
	text = strings.Replace(text, "any_user: true", "groups: [members]", 1) + "groups: [{name: members, rule: {attribute: userName, starts_with: ann}}]\n"
	s := newSite(t)
	first := s.start("127.0.0.1", 0, text)
	second := s.start("127.0.0.1", first.listen, text)
	introduceSP(t, idp, first.file)
	ann := first.signIn(t)
	other := *second // the same session, at the other gateway's own port
	other.base = fmt.Sprintf("http://127.0.0.1:%d", second.listen)
	want := func(what string, status int) {
		t.Helper()
		for name, r := range map[string]*replica{"first": first, "second": &other} {
			if got := r.get(t, ann, "/page"); got != status {
				t.Errorf("%s, at the %s gateway: status %d, want %d", what, name, got, status)
			}
		}
	}
	want("before", http.StatusOK)
	for _, change := range []struct {
		old, new string
		status   int
	}{
		{"starts_with: ann", "starts_with: bob", http.StatusForbidden},
		{"starts_with: bob", "ends_with: example", http.StatusOK},
	} {
		for _, r := range []*replica{first, second} {
			data, err := os.ReadFile(r.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(r.file, bytes.Replace(data, []byte(change.old), []byte(change.new), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := output(t, "reload", "--local", "-c", r.file); got != r.file+": in use\n" {
				t.Errorf("reload printed %q", got)
			}
		}
		want(change.new, change.status)
	}

	// The other way round: a user who is blocked at one loses access at both.
	output(t, "users", "block", "ann@acme.example", "-c", second.file)
	want("blocked at the second", http.StatusUnauthorized)
	output(t, "users", "unblock", "ann@acme.example", "-c", first.file)
	ann = first.signIn(t)
	want("unblocked at the first", http.StatusOK)
}

// TestCheckConsistency: check --online looks at what is stored of users, in Redis
// itself and in the embedded store over the socket.
func TestCheckConsistency(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	for name, store := range map[string]string{
		"redis":    fmt.Sprintf("{addresses: [%q]}", server.Addr),
		"embedded": "{embedded: true}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp := localIdP(t)
			g := newSite(t).start("127.0.0.1", 0, fmt.Sprintf(oneIdP, store, idp.EntityID(), echoUpstream(t).URL))
			introduceSP(t, idp, g.file)
			g.signIn(t)
			if got := output(t, "check", "--online", "-c", g.file); !strings.Contains(got, ": good: ") {
				t.Errorf("check --online printed %q", got)
			}
			if name == "embedded" {
				g.stop()
				if got := output(t, "check", "--online", "-c", g.file); !strings.Contains(got, ": good: ") {
					t.Errorf("check --online without a gateway printed %q", got)
				}
				return
			}
			testenv.Client(t, server.Addr).Del(t.Context(), "jitgate:{acme}:names")
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"check", "--online", "-c", g.file}, stdio{strings.NewReader(""), &stdout, &stderr})
			if want := `names: entry "acme.example/ann@acme.example" is missing, the user's name`; code != 1 || !strings.Contains(stdout.String(), want) {
				t.Errorf("check --online of a damaged store: exit status %d, printed %q, want %s", code, stdout.String(), want)
			}
			if got := output(t, "check", "-c", g.file); !strings.Contains(got, ": good: ") {
				t.Errorf("check without --online printed %q", got)
			}
		})
	}
}

// TestReloadKeys puts a new session key before the old one, another TLS
// certificate and another app into the file: the session stays, until the old key
// is taken out, and so does the connection.
func TestReloadKeys(t *testing.T) {
	t.Parallel()
	idp, site := localIdP(t), newSite(t)
	old := writePair(t, site.dir, "sso.example.com")
	listen := testenv.FreePort(t)
	base := fmt.Sprintf("https://sso.example.com:%d", listen)
	file := filepath.Join(site.dir, "jitgate.yaml")
	write := func(keys, tls, app string) {
		t.Helper()
		text := fmt.Sprintf("base_url: %s\nlisten: 127.0.0.1:%d\nadmin: {socket: admin.sock}\nsession: {keys: [%s]}\ntls: %s\nsaml: {key_file: sp.key, cert_file: sp.crt}\n%s%s",
			base, listen, keys, tls, fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL), app)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const firstTLS, firstKey = "{cert_file: tls.crt, key_file: tls.key}", `"file:session.key"`
	write(firstKey, firstTLS, "")
	introduceSP(t, idp, file)
	g := start(t, "serve", "-c", file)
	testenv.Eventually(t, func() error {
		if !strings.Contains(g.stderr.String(), "metadata loaded") {
			return fmt.Errorf("no metadata: %s", g.stderr)
		}
		return nil
	})

	next := filepath.Join(site.dir, "next")
	if err := os.Mkdir(next, 0o700); err != nil {
		t.Fatal(err)
	}
	output(t, "keygen", "--dir", next)
	pool := old.Pool()
	fresh := writePair(t, next, "sso.example.com")
	pool.AddCert(fresh.Certificate)
	ann := testenv.NewBrowser(t, pool)
	page, err := ann.Login(base+"/page", "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	reached(t, page)
	r := &replica{base: base}
	serves := func(want testenv.Certificate) {
		t.Helper()
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", listen), &tls.Config{RootCAs: pool, ServerName: "sso.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if !conn.ConnectionState().PeerCertificates[0].Equal(want.Certificate) {
			t.Error("another certificate is served")
		}
	}
	serves(old)
	kept, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", listen), &tls.Config{RootCAs: pool, ServerName: "sso.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()

	const nextTLS, nextKey = "{cert_file: next/tls.crt, key_file: next/tls.key}", `"file:next/session.key"`
	write(nextKey+", "+firstKey, nextTLS, "  - {name: closed, path: /closed, upstream: \"http://127.0.0.1:1\", allow: {groups: [nobody]}}\ngroups: [{name: nobody, users: [bob@acme.example]}]\n")
	output(t, "reload", "-c", file)
	serves(fresh)
	for path, want := range map[string]int{"/page": http.StatusOK, "/closed": http.StatusForbidden} {
		if got := r.get(t, ann, path); got != want {
			t.Errorf("%s after the reload: status %d, want %d", path, got, want)
		}
	}
	fmt.Fprintf(kept, "GET /page HTTP/1.1\r\nHost: sso.example.com\r\n\r\n")
	if answer, err := bufio.NewReader(kept).ReadString('\n'); err != nil || !strings.Contains(answer, " 401 ") {
		t.Errorf("on the connection from before: %q, %v, want 401", answer, err)
	}

	write(nextKey, nextTLS, "")
	output(t, "reload", "-c", file)
	if got := r.get(t, ann, "/page"); got != http.StatusUnauthorized {
		t.Errorf("without the key of the session: status %d, want 401", got)
	}

	// A certificate that is none changes nothing.
	if err := os.WriteFile(filepath.Join(next, "tls.crt"), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fails(t, 1, "", "reload", "-c", file); !strings.Contains(got, "nothing was changed") {
		t.Errorf("reload with a broken certificate: %q", got)
	}
	serves(fresh)
}
