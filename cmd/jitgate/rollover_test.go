package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// The keys of sessions and of SAML are replaced while the gateway runs, and nobody is
// signed out; nor does a sign-in that is under way come to nothing.
func TestRollover(t *testing.T) {
	t.Parallel()
	idp, site := localIdP(t), newSite(t)
	second := t.TempDir()
	output(t, "keygen", "--dir", second)
	for _, name := range []string{"sp.key", "sp.crt", "session.key"} {
		data, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(site.dir, "second-"+name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := site.start("127.0.0.1", 0, fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL))
	introduceSP(t, idp, g.file)
	text, err := os.ReadFile(g.file)
	if err != nil {
		t.Fatal(err)
	}
	const keys, saml = `keys: ["file:session.key"]`, `saml: {key_file: sp.key, cert_file: sp.crt}`
	use := func(newKeys, newSAML string) {
		t.Helper()
		next := strings.ReplaceAll(strings.ReplaceAll(string(text), keys, newKeys), saml, newSAML)
		if err := os.WriteFile(g.file, []byte(next), 0o600); err != nil {
			t.Fatal(err)
		}
		output(t, "reload", "-c", g.file)
	}
	signIn := func(b *testenv.Browser) {
		t.Helper()
		page, err := b.Login(g.base+"/page", "", "ann", "ann")
		if err != nil {
			t.Fatal(err)
		}
		reached(t, page)
	}
	early := testenv.NewBrowser(t, nil)
	signIn(early)
	stays := func() {
		t.Helper()
		page, err := early.Open(g.base + "/page")
		if err != nil || page.Status != http.StatusOK {
			t.Fatalf("who was signed in: %v, %v, want her to stay", page, err)
		}
		reached(t, page)
	}
	underWay := testenv.NewBrowser(t, nil)
	form, err := underWay.Open(g.base + "/page") // the IdP's page, with the answer to come to us
	if err != nil {
		t.Fatal(err)
	}

	use(`keys: ["file:second-session.key", "file:session.key"]`, `saml: {key_file: sp.key, cert_file: sp.crt, rollover: [{key_file: second-sp.key, cert_file: second-sp.crt}]}`)
	stays()
	page, err := underWay.Login(form.URL.String(), "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	reached(t, page)
	introduceSP(t, idp, g.file)
	signIn(testenv.NewBrowser(t, nil))

	use(`keys: ["file:second-session.key", "file:session.key"]`, `saml: {key_file: second-sp.key, cert_file: second-sp.crt, rollover: [{key_file: sp.key, cert_file: sp.crt}]}`)
	stays()
	signIn(testenv.NewBrowser(t, nil)) // the identity provider takes the new signature

	late := testenv.NewBrowser(t, nil)
	signIn(late)
	use(`keys: ["file:second-session.key"]`, `saml: {key_file: second-sp.key, cert_file: second-sp.crt}`)
	if page, err := late.Open(g.base + "/page"); err != nil || page.Status != http.StatusOK {
		t.Errorf("who signed in with the new key: %v, %v, want them to stay", page, err)
	}
}
