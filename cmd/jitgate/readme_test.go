package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// A snippet is a block of YAML in README: a whole configuration, more sections of one,
// or one entry of identity_providers.
type snippet struct {
	line int // of its first line
	text string
}

// entry reports whether it is an entry of identity_providers.
func (s snippet) entry() bool { return strings.HasPrefix(s.text, "- name:") }

// whole reports whether it is a whole configuration.
func (s snippet) whole() bool { return strings.HasPrefix(s.text, "base_url:") }

// readme returns the snippets of README, and the one of them that the others are
// written for: the last whole configuration.
func readme(t *testing.T) (snippets []snippet, base snippet) {
	t.Helper()
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := 0
	for _, at := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatchIndex(data, -1) {
		line := bytes.Count(data[:at[2]], []byte("\n")) + 1
		s := snippet{line, string(data[at[2]:at[3]])}
		snippets = append(snippets, s)
		switch {
		case s.whole():
			base = s
		case s.entry():
			entries++
		}
	}
	if base.text == "" || entries < 6 {
		t.Fatalf("found %d snippets with %d entries, want a configuration and at least 6 entries", len(snippets), entries)
	}
	return snippets, base
}

// in returns the configuration that the snippet is, or that base becomes with it,
// for each line to have the number that it has in README.
func (s snippet) in(base snippet) string {
	switch {
	case s.whole():
		return strings.Repeat("\n", s.line-1) + s.text
	case !s.entry():
		return strings.Repeat("\n", s.line-1) + s.text + base.text
	}
	rest := regexp.MustCompile(`(?m)^identity_providers:\n(?: .*\n)+`).ReplaceAllString(base.text, "")
	return strings.Repeat("\n", s.line-2) + "identity_providers:\n" + s.text + rest
}

// readmeFiles returns a folder with the files that the snippets name: keygen's,
// a certificate of the gateway, and metadata.
func readmeFiles(t *testing.T, snippets []snippet) string {
	t.Helper()
	dir := newSite(t).dir
	writePair(t, dir, "sso.example.com")
	for _, s := range snippets {
		for _, name := range regexp.MustCompile(`metadata: {file: ([^,}]+)`).FindAllStringSubmatch(s.text, -1) {
			if err := os.WriteFile(filepath.Join(dir, name[1]), []byte("<EntityDescriptor/>\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestReadme has each snippet of README checked as `jitgate check` does.
func TestReadme(t *testing.T) {
	t.Parallel()
	snippets, base := readme(t)
	dir := readmeFiles(t, snippets)
	for _, s := range snippets {
		if _, err := config.Parse("README.md", []byte(s.in(base)), dir); err != nil {
			t.Error(err)
		}
	}

	// A wrong one is told by its line in README, so that it was really looked at.
	for _, s := range snippets {
		indent, path := "", "nonsense"
		if s.entry() {
			indent, path = "  ", "identity_providers[0].nonsense"
		}
		wrong := snippet{s.line, s.text + indent + "nonsense: 1\n"}
		want := fmt.Sprintf("README.md:%d:%d: %s: is not a key here", s.line+strings.Count(s.text, "\n"), len(indent)+1, path)
		_, err := config.Parse("README.md", []byte(wrong.in(base)), dir)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with a key that nobody knows: %v, want %s", err, want)
		}
	}
}

// A sender is an IdP of README with what it sends of ann, and what the app gets.
type sender struct {
	idp, encrypt  string // a word of its entry; the cipher that it uses
	attributes    map[string][]string
	email, groups string
}

// senders are the IdPs of README.
func senders() []sender {
	return []sender{
		{"login.microsoftonline.com", "", map[string][]string{
			"http://schemas.microsoft.com/identity/claims/tenantid":              {"9188040d-6c67-4c5b-b112-36a304b66dad"},
			"http://schemas.microsoft.com/identity/claims/objectidentifier":      {"id-1"},
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name":         {"ann@acme.example"},
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": {"ann.adams@acme.example"},
			"http://schemas.microsoft.com/ws/2008/06/identity/claims/groups":     {"07dd8a60-bf6d-4e17-8844-230b77145381"},
			"department": {"Engineering"},
		}, "ann.adams@acme.example", "07dd8a60-bf6d-4e17-8844-230b77145381,engineers"},
		{"okta.com", "", map[string][]string{
			"userName": {"ann@acme.example"}, "email": {"ann.adams@acme.example"}, "ExternalId": {"id-1"},
			"department": {"Engineering"}, "groups": {"eng-core"},
		}, "ann.adams@acme.example", "eng-core,engineers"},
		{"acme-idp.xml", "", map[string][]string{
			"email": {"ann@acme.example"}, "ExternalId": {"id-1"}, "department": {"Engineering"}, "groups": {"eng-core", "staff"},
		}, "ann@acme.example", "eng-core,engineers"},
		{"keycloak", "aes128-cbc", map[string][]string{
			"userName": {"ann@acme.example"}, "email": {"ann.adams@acme.example"}, "ExternalId": {"id-1"},
			"department": {"Engineering"}, "groups": {"eng-core", "staff"}, "Role": {"offline_access", "uma_authorization"},
		}, "ann.adams@acme.example", "eng-core,engineers"},
		{"adfs", "aes256-cbc", map[string][]string{
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":          {"ann@acme.example"},
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": {"ann.adams@acme.example"},
			"http://schemas.xmlsoap.org/claims/Group":                            {"Domain Users", "eng-core"},
			"department": {"Engineering"}, "ExternalId": {"id-1"},
		}, "ann.adams@acme.example", "eng-core,engineers"},
		{"simplesaml", "", map[string][]string{
			"urn:oid:1.3.6.1.4.1.5923.1.1.1.6":  {"ann@acme.example"},
			"urn:oid:0.9.2342.19200300.100.1.3": {"ann.adams@acme.example"},
			"urn:oid:1.3.6.1.4.1.5923.1.1.1.13": {"id-1"},
			"urn:oid:2.5.4.11":                  {"Engineering"},
			"urn:oid:1.3.6.1.4.1.5923.1.5.1.1":  {"eng-core", "staff"},
		}, "ann.adams@acme.example", "eng-core,engineers"},
	}
}

// TestReadmeIdPs signs ann in by each entry of README, at a real IdP that sends
// what the one of the entry does, encrypted as that encrypts.
func TestReadmeIdPs(t *testing.T) {
	t.Parallel()
	idp := testenv.SimpleSAML(t, testenv.SimpleSAMLOptions{Users: map[string]testenv.User{"ann": {Password: "secret"}}})
	snippets, _ := readme(t)
	site := newSite(t)
	for _, s := range senders() {
		i := slices.IndexFunc(snippets, func(entry snippet) bool { return entry.entry() && strings.Contains(entry.text, s.idp) })
		if i < 0 {
			t.Errorf("README has no entry for %s", s.idp)
			continue
		}
		idp.Configure(testenv.SimpleSAMLOptions{Sign: "both", Encrypt: s.encrypt})
		idp.SetUser("ann", testenv.User{Password: "secret", Attributes: s.attributes})
		s.signIn(t, site, idp, snippets[i])
	}
}

// signIn signs ann in at idp, as if that were the IdP of the entry.
func (s sender) signIn(t *testing.T, site *site, idp *testenv.SimpleSAMLIdP, entry snippet) {
	t.Helper()
	text := regexp.MustCompile(`metadata: {.*}`).ReplaceAllString(entry.text, fmt.Sprintf("metadata: {url: %q}", idp.MetadataURL))
	g := site.start("gateway.localhost", 0, `redis: {embedded: true}
attributes: [{name: userName}, {name: email, required: true}, {name: department}]
directories: [{name: acme, domains: [acme.example]}]
groups: [{name: engineers, rule: {attribute: department, is: Engineering}}]
apps: [{name: any, upstream: "`+echoUpstream(t).URL+`", allow: {any_user: true}}]
identity_providers:
`+text)
	defer g.stop()
	idp.AddSP([]byte(output(t, "metadata", "-c", g.file, "--idp", "acme")))
	page, err := testenv.NewBrowser(t, nil).Login(g.base+"/", "acme.example", "ann", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusOK {
		t.Errorf("README.md:%d: status %d: %s", entry.line, page.Status, page.Text())
		return
	}
	reached(t, page).wantHeaders(t, map[string]string{
		"X-Forwarded-User": "ann@acme.example", "X-Forwarded-Email": s.email, "X-Forwarded-Groups": s.groups,
	})
	if id := g.user(t, "ann@acme.example")["ExternalId"]; id != "id-1" {
		t.Errorf("README.md:%d: ExternalId %v, want id-1", entry.line, id)
	}
}
