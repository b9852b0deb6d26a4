package testenv

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// simpleSAMLFiles is what a SimpleSAMLphp directory holds from the beginning.
//
//go:embed simplesaml
var simpleSAMLFiles embed.FS

const (
	simpleSAMLRoot    = "/usr/share/simplesamlphp"
	simpleSAMLInstall = "apt-get install simplesamlphp php-cli php-xml php-mbstring"
)

// SimpleSAMLOptions says what an identity provider sends. The zero value signs
// the assertion alone, with SHA-256, and encrypts nothing.
type SimpleSAMLOptions struct {
	Users map[string]User // by login name; nil: those of [SimpleSAMLUsers]

	Sign            string // what is signed: "assertion" (default), "response", "both" or "none"
	SignatureMethod string // URI of the XML signature algorithm; default RSA with SHA-256
	Encrypt         string // cipher for the assertion, such as "aes128-gcm" or "aes256-cbc"; "": none
	NameID          string // format: "persistent" (default), "transient", "emailAddress" or "unspecified"
	AttributeFormat string // URI of the attributes' NameFormat; default basic
	PostOnly        bool   // offers the POST binding alone, for sign-on and logout

	Lifetime time.Duration // of an assertion, whole seconds; default 5 min; below 0 it is born expired
	Session  time.Duration // until SessionNotOnOrAfter, whole seconds; default 8 h
}

// A User is somebody who can sign in at an identity provider.
type User struct {
	Password   string              `json:"password"`
	Attributes map[string][]string `json:"attributes"`
}

// SimpleSAMLUsers returns the users of an identity provider of the domain:
// alice, bob and josé, with the attributes userName, email, firstName, lastName,
// department, domain, ExternalId and groups. Everybody's password is "secret".
func SimpleSAMLUsers(domain string) map[string]User {
	user := func(login, first, last, department string, groups ...string) User {
		return User{Password: "secret", Attributes: map[string][]string{
			"userName":   {login + "@" + domain},
			"email":      {login + "@" + domain},
			"firstName":  {first},
			"lastName":   {last},
			"department": {department},
			"domain":     {domain},
			"ExternalId": {"ext-" + login},
			"groups":     groups,
		}}
	}
	return map[string]User{
		"alice": user("alice", "Alice", "Adams", "Engineering", "eng-core", "staff"),
		"bob":   user("bob", "Bob", "Brown", "Sales", "staff"),
		"jose":  user("jose", "José", "Núñez", "Diseño", "diseño", "staff"),
	}
}

// A SimpleSAMLIdP is a running SimpleSAMLphp, which knows nothing of the code
// under test. Its methods end the test where they cannot do what they are for.
type SimpleSAMLIdP struct {
	URL         string // ends in a slash
	EntityID    string
	MetadataURL string

	t      testing.TB
	dir    string
	users  map[string]User
	sps    int
	secret string
}

// SimpleSAML starts an identity provider of SimpleSAMLphp, from Debian's package,
// which ends with the test. It is at 127.0.0.1, another site than localhost.
func SimpleSAML(t testing.TB, o SimpleSAMLOptions) *SimpleSAMLIdP {
	t.Helper()
	needSimpleSAML(t)
	p := &SimpleSAMLIdP{t: t, dir: t.TempDir(), secret: rand.Text(), users: maps.Clone(o.Users)}
	if p.users == nil {
		p.users = SimpleSAMLUsers("acme.example")
	}
	files, err := fs.Sub(simpleSAMLFiles, "simplesaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(p.dir, files); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"cert", "data", "log", "sessions", "sp", "tmp"} {
		if err := os.Mkdir(filepath.Join(p.dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.writeKey("idp")
	p.writeJSON("users.json", p.users)
	p.start(o)
	return p
}

// Configure changes what the identity provider sends from now on. Its users stay.
func (p *SimpleSAMLIdP) Configure(o SimpleSAMLOptions) {
	p.t.Helper()
	p.writeJSON("settings.json", p.settings(o))
}

// AddSP takes in the metadata of a service provider, in place of what was known
// of the same entity ID.
func (p *SimpleSAMLIdP) AddSP(metadata []byte) {
	p.t.Helper()
	p.sps++
	p.write(fmt.Sprintf("sp/%04d.xml", p.sps), metadata)
}

// SetUser adds or changes a user. The next login sees it, but not a browser that
// is still signed in at the identity provider.
func (p *SimpleSAMLIdP) SetUser(login string, u User) {
	p.t.Helper()
	p.users[login] = u
	p.writeJSON("users.json", p.users)
}

// SetAttribute changes one attribute of a user, as [SimpleSAMLIdP.SetUser] does.
// Without a value it takes the attribute away.
func (p *SimpleSAMLIdP) SetAttribute(login, name string, values ...string) {
	p.t.Helper()
	u, ok := p.users[login]
	if !ok {
		p.t.Fatalf("no user %q", login)
	}
	u.Attributes = maps.Clone(u.Attributes)
	delete(u.Attributes, name)
	if len(values) > 0 {
		u.Attributes[name] = values
	}
	p.SetUser(login, u)
}

// StageKey makes a new signing key and publishes its certificate beside the one
// that is in use.
func (p *SimpleSAMLIdP) StageKey() {
	p.t.Helper()
	p.writeKey("new_idp")
}

// SwitchKey signs with the key that was staged, and publishes it alone.
func (p *SimpleSAMLIdP) SwitchKey() {
	p.t.Helper()
	for _, ext := range []string{".key", ".crt"} {
		if err := os.Rename(p.path("cert/new_idp"+ext), p.path("cert/idp"+ext)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// StartURL is where a sign-on begins at the identity provider, without a request
// of the service provider.
func (p *SimpleSAMLIdP) StartURL(spEntityID, relayState string) string {
	q := url.Values{"spentityid": {spEntityID}}
	if relayState != "" {
		q.Set("RelayState", relayState)
	}
	return p.URL + "saml2/idp/SSOService.php?" + q.Encode()
}

// LogoutURL is where a browser signs out at the identity provider, and by it at
// all service providers.
func (p *SimpleSAMLIdP) LogoutURL() string {
	return p.URL + "saml2/idp/SingleLogoutService.php?ReturnTo=" + url.QueryEscape(p.URL+"logout.php")
}

// Metadata returns the identity provider's metadata as it is published now.
func (p *SimpleSAMLIdP) Metadata() []byte {
	p.t.Helper()
	metadata, err := p.fetchMetadata()
	if err != nil {
		p.t.Fatal(err)
	}
	return metadata
}

func needSimpleSAML(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("php")
	if err == nil {
		_, err = os.Stat(filepath.Join(simpleSAMLRoot, "lib/_autoload.php"))
	}
	if err != nil {
		Need(t, "SimpleSAMLphp", simpleSAMLInstall)
	}
}

// start runs the server on a free port, and again on another where something
// else took that in between.
func (p *SimpleSAMLIdP) start(o SimpleSAMLOptions) {
	p.t.Helper()
	var failed error
	for range 3 {
		port := FreePort(p.t)
		p.URL = fmt.Sprintf("http://127.0.0.1:%d/", port)
		p.EntityID = p.URL + "saml2/idp/metadata.php"
		p.MetadataURL = p.EntityID
		p.Configure(o)
		s, err := launch(port, []string{"env", "SIMPLESAMLPHP_CONFIG_DIR=" + p.path("config"), "php",
			"-d", "auto_prepend_file=" + p.path("prepend.php"),
			"-d", "opcache.enable_cli=1", "-d", "opcache.revalidate_freq=0", "-d", "display_errors=0",
			"-S", fmt.Sprintf("127.0.0.1:%d", port), "-t", filepath.Join(simpleSAMLRoot, "www")})
		if err != nil {
			p.t.Fatal(err)
		}
		if failed = p.awaitReady(s); failed == nil {
			p.t.Cleanup(func() {
				s.Stop()
				p.showLog()
			})
			return
		}
		s.Stop()
		failed = fmt.Errorf("starting SimpleSAMLphp: %w\n%s", failed, s.log.String())
	}
	p.showLog()
	p.t.Fatal(failed)
}

func (p *SimpleSAMLIdP) awaitReady(s *Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := p.fetchMetadata()
		select {
		case <-s.ended:
			return errors.New("it ended at once")
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (p *SimpleSAMLIdP) fetchMetadata() ([]byte, error) {
	client := http.Client{Timeout: startTimeout}
	resp, err := client.Get(p.MetadataURL)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("EntityDescriptor"))) {
		err = fmt.Errorf("%s answered %s: %s", p.MetadataURL, resp.Status, body)
	}
	return body, err
}

// settings is what the PHP files in the directory read.
func (p *SimpleSAMLIdP) settings(o SimpleSAMLOptions) map[string]any {
	const bindings = "urn:oasis:names:tc:SAML:2.0:bindings:"
	sso := []string{bindings + "HTTP-Redirect", bindings + "HTTP-POST"}
	if o.PostOnly {
		sso = sso[1:]
	}
	cipher := ""
	switch {
	case strings.HasSuffix(o.Encrypt, "-gcm"):
		cipher = "http://www.w3.org/2009/xmlenc11#" + o.Encrypt
	case o.Encrypt != "":
		cipher = "http://www.w3.org/2001/04/xmlenc#" + o.Encrypt
	}
	return map[string]any{
		"url":      p.URL,
		"entityid": p.EntityID,
		"secret":   p.secret,
		"session":  seconds(o.Session, 8*time.Hour),
		"cipher":   cipher,
		"idp": map[string]any{
			"host":                       "__DEFAULT__",
			"auth":                       "users",
			"privatekey":                 "idp.key",
			"certificate":                "idp.crt",
			"SingleSignOnServiceBinding": sso,
			"SingleLogoutServiceBinding": sso,
			"sign.logout":                true,
			"validate.logout":            true,
			"saml20.sign.assertion":      o.Sign == "" || o.Sign == "assertion" || o.Sign == "both",
			"saml20.sign.response":       o.Sign == "response" || o.Sign == "both",
			"signature.algorithm":        cmp.Or(o.SignatureMethod, "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
			"assertion.encryption":       o.Encrypt != "",
			"assertion.lifetime":         seconds(o.Lifetime, 5*time.Minute),
			"attributes.NameFormat":      cmp.Or(o.AttributeFormat, "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"),
			"NameIDFormat":               nameIDFormat(o.NameID),
			"authproc":                   nameIDFilters(o.NameID),
		},
	}
}

func nameIDFormat(name string) string {
	switch name {
	case "emailAddress", "unspecified":
		return "urn:oasis:names:tc:SAML:1.1:nameid-format:" + name
	}
	return "urn:oasis:names:tc:SAML:2.0:nameid-format:" + cmp.Or(name, "persistent")
}

// nameIDFilters makes the NameID, from the login name, and then takes that away.
func nameIDFilters(name string) map[string]any {
	var filter map[string]string
	switch name {
	case "transient":
		filter = map[string]string{"class": "saml:TransientNameID"}
	case "emailAddress":
		filter = map[string]string{"class": "saml:AttributeNameID", "attribute": "email", "Format": nameIDFormat(name)}
	case "unspecified":
		filter = map[string]string{"class": "saml:AttributeNameID", "attribute": "loginName", "Format": nameIDFormat(name)}
	default:
		filter = map[string]string{"class": "saml:PersistentNameID", "attribute": "loginName"}
	}
	return map[string]any{
		"10": filter,
		"20": map[string]string{"class": "core:PHP", "code": `unset($attributes["loginName"]);`},
	}
}

// writeKey makes a key and its self-signed certificate, in cert/.
func (p *SimpleSAMLIdP) writeKey(name string) {
	p.t.Helper()
	c := SelfSigned()
	p.write("cert/"+name+".key", c.KeyPEM())
	p.write("cert/"+name+".crt", c.CertPEM())
}

func (p *SimpleSAMLIdP) writeJSON(name string, v any) {
	p.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name, data)
}

// write replaces a file at once, so that no request sees half of it.
func (p *SimpleSAMLIdP) write(name string, data []byte) {
	p.t.Helper()
	err := os.WriteFile(p.path("tmp/new"), data, 0o600)
	if err == nil {
		err = os.Rename(p.path("tmp/new"), p.path(name))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *SimpleSAMLIdP) path(name string) string { return filepath.Join(p.dir, name) }

// showLog adds the end of SimpleSAMLphp's log to a test that failed.
func (p *SimpleSAMLIdP) showLog() {
	if !p.t.Failed() {
		return
	}
	log, err := os.ReadFile(p.path("log/simplesamlphp.log"))
	if err != nil {
		return
	}
	p.t.Logf("end of SimpleSAMLphp's log:\n%s", log[max(0, len(log)-2000):])
}

// seconds returns d in whole seconds, or def where it is 0.
func seconds(d, def time.Duration) int { return int(cmp.Or(d, def) / time.Second) }
