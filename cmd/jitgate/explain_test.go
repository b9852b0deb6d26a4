package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/proxy"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

var updateGolden = flag.Bool("update", false, "write the expected explanations and configurations of testdata anew")

// explainConfig is what the captured responses are judged by.
const explainConfig = `
base_url: https://sso.example.com
listen: 127.0.0.1:0
redis: {embedded: true}
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
attributes:
  - {name: userName}
  - {name: email, required: true}
  - {name: department}
  - {name: title, absent: clear}
  - {name: roles, multiple: true}
directories:
  - {name: acme, domains: [acme.example, acme-labs.example]}
identity_providers:
  - name: acme
    directory: acme
    metadata: {file: idp.xml}
    attributes: {email: "urn:oid:0.9.2342.19200300.100.1.3"}
    groups: {attribute: groups, allow: ["eng-*"]}
  - {name: known, directory: acme, jit: false, metadata: {file: idp.xml}}
groups:
  - {name: engineers, rule: {any: [{attribute: department, is: Engineering}, {attribute: title, starts_with: Engineer}]}, entitlements: [wiki, builds]}
  - {name: leads, users: [ann@acme.example], except: [bob@acme.example]}
  - {name: eng-core, rule: {group: leads}}
apps:
  - {name: wiki, host: wiki.example.com, upstream: "http://127.0.0.1:1", allow: {entitlements: [wiki]}}
  - {name: admin, path: /admin, upstream: "http://127.0.0.1:1", allow: {groups: [eng-ops, eng-admin]}}
  - {name: intranet, upstream: "http://127.0.0.1:1", allow: {any_user: true}, headers: {Remote-User: userName, X-Roles: roles}}
`

// A captureSite is a configuration with what mints responses for it.
type captureSite struct {
	t       *testing.T
	file    string // the configuration
	idp     *samltest.IdP
	sp, spK samltest.SPInfo // as "acme" and as "known" have it
	names   *strings.Replacer
}

func newCaptureSite(t *testing.T) *captureSite {
	t.Helper()
	dir := t.TempDir()
	output(t, "keygen", "--dir", dir)
	key, certificate, err := samltest.SelfSigned("idp", 2048, time.Now().Add(-30*24*time.Hour), time.Now().Add(30*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example", Key: key, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	s := &captureSite{t: t, file: filepath.Join(dir, "jitgate.yaml"), idp: idp}
	for name, data := range map[string][]byte{"idp.xml": metadata, "jitgate.yaml": []byte(explainConfig)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(s.file)
	if err != nil {
		t.Fatal(err)
	}
	ours := cfg.SAML.KeyPairs()[0].Certificate
	acs := func(name string) string { return "https://sso.example.com/.jitgate/saml/" + name + "/acs" }
	s.sp = samltest.SPInfo{EntityID: cfg.SAML.EntityID, ACS: acs("acme"), Certificate: ours}
	s.spK = samltest.SPInfo{EntityID: cfg.SAML.EntityID, ACS: acs("known"), Certificate: ours}
	s.names = strings.NewReplacer(
		fingerprint(ours.Raw), "<fingerprint of sp.crt>",
		fingerprint(certificate.Raw), "<fingerprint of the IdP's certificate>",
		fingerprint(stranger().Certificate.Raw), "<fingerprint of another certificate>",
		dir+"/", "",
	)
	return s
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// ann is the user of the captured responses.
func (s *captureSite) ann() samltest.User {
	return samltest.User{Name: "ann", Attributes: map[string][]string{
		"userName": {"ann"}, "domain": {"acme.example"}, "urn:oid:0.9.2342.19200300.100.1.3": {"ann@acme.example"},
		"department": {"Engineering"}, "roles": {"reader", "writer, too"}, "groups": {"eng-tools", "eng-core", "all staff"},
		"displayName": {"Ann Adams"},
	}}
}

// readable makes an output the same for each run: times, IDs and fingerprints have
// names.
func (s *captureSite) readable(text string) string {
	text = s.names.Replace(text)
	for _, r := range []struct{ expr, name string }{
		{`_[0-9a-f]{40}`, "<id>"},
		{`\b[0-9a-f]{64}\b`, "<fingerprint>"},
		{`\b[0-9a-f]{32}\b`, "<user id>"},
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z`, "<time>"},
		{`\b\d+ bytes`, "N bytes"},
	} {
		text = regexp.MustCompile(r.expr).ReplaceAllString(text, r.name)
	}
	// However long the test has taken.
	return regexp.MustCompile(`\b(in )?(\d+h)?(\d+m)?(\d+s)?( ago)?\b`).ReplaceAllStringFunc(text, func(span string) string {
		before, after := strings.CutPrefix(span, "in ")
		d, err := time.ParseDuration(strings.TrimSuffix(before, " ago"))
		if err != nil || !after && !strings.HasSuffix(span, " ago") {
			return span
		}
		return strings.Replace(span, strings.TrimSuffix(before, " ago"), d.Round(5*time.Minute).String(), 1)
	})
}

// stranger is somebody else's key.
var stranger = sync.OnceValue(func() testenv.Certificate { return testenv.SelfSigned("stranger") })

// TestExplain explains captured responses. What is printed is in testdata/explain,
// to be read: it has to tell a newcomer what is wrong and what to do.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := newCaptureSite(t)
	for _, test := range []struct {
		name   string // of the file in testdata/explain
		args   string
		change func(*samltest.Message)
		code   int
	}{
		{"good", "", nil, 0},
		{"good-signed-response", "", func(m *samltest.Message) { m.SignAssertion, m.SignResponse = false, true }, 0},
		{"good-encrypted", "", func(m *samltest.Message) {
			m.SignResponse, m.Encryption = true, samltest.Encryption{Method: samltest.AES256GCM, Certificate: s.sp.Certificate}
		}, 0},
		{"expired", "", func(m *samltest.Message) { s.age(m, -2*time.Hour) }, 1},
		{"expired-at-its-time", "--at 2h", func(m *samltest.Message) { s.age(m, -2*time.Hour) }, 0},
		{"not-yet-valid", "", func(m *samltest.Message) { s.age(m, time.Hour) }, 1},
		{"wrong-audience", "", func(m *samltest.Message) { m.Audiences = [][]string{{"https://old.example.com/saml"}} }, 1},
		{"wrong-destination", "", func(m *samltest.Message) {
			m.Destination, m.Confirmations[0].Recipient = "https://old.example.com/acs", "https://old.example.com/acs"
		}, 1},
		{"wrong-issuer", "", func(m *samltest.Message) {
			m.Issuer, m.AssertionIssuer = "https://idp.globex.example", "https://idp.globex.example"
		}, 1},
		{"wrong-request", "--request-id id-0000000000000000000000000000000000000000", nil, 1},
		{"unsolicited", "", func(m *samltest.Message) { m.InResponseTo, m.Confirmations[0].InResponseTo = "", "" }, 1},
		{"unsigned", "", func(m *samltest.Message) { m.SignAssertion = false }, 1},
		{"wrong-key", "", func(m *samltest.Message) {
			m.Signature.Key, m.Signature.Certificate = stranger().Key.(*rsa.PrivateKey), stranger().Certificate
		}, 1},
		{"tampered", "", func(m *samltest.Message) {
			m.MutateBytes = func(b []byte) []byte { return bytes.Replace(b, []byte(">ann<"), []byte(">eve<"), 1) }
		}, 1},
		{"sha1", "", func(m *samltest.Message) {
			m.Signature.Method, m.Signature.Digest = samltest.RSASHA1, samltest.DigestSHA1
		}, 1},
		{"encrypted-for-another-key", "", func(m *samltest.Message) {
			m.SignResponse, m.Encryption = true, samltest.Encryption{Method: samltest.AES256GCM, Certificate: stranger().Certificate}
		}, 1},
		{"encrypted-in-cbc", "", func(m *samltest.Message) {
			m.SignResponse, m.Encryption = true, samltest.Encryption{Method: samltest.AES256CBC, Certificate: s.sp.Certificate}
		}, 1},
		{"encrypted-in-an-unsigned-response", "", func(m *samltest.Message) {
			m.Encryption = samltest.Encryption{Method: samltest.AES256GCM, Certificate: s.sp.Certificate}
		}, 1},
		{"doctype", "", func(m *samltest.Message) {
			m.MutateBytes = func(b []byte) []byte { return append([]byte("<!DOCTYPE x>"), b...) }
		}, 1},
		{"two-assertions", "", func(m *samltest.Message) {
			m.MutateSigned = func(d *etree.Document) { d.Root().AddChild(d.Root().SelectElement("Assertion").Copy()) }
		}, 1},
		{"idp-refused", "", func(m *samltest.Message) {
			*m = *s.idp.Refusal(s.sp, m.InResponseTo, samltest.Status{Code: samltest.StatusResponder, Nested: samltest.StatusAuthnFailed, Message: "Wrong password"})
		}, 1},
		{"missing-attribute", "", func(m *samltest.Message) {
			m.RemoveAttribute("urn:oid:0.9.2342.19200300.100.1.3")
			m.SetAttribute("mail", "ann@acme.example")
		}, 1},
		{"missing-username", "", func(m *samltest.Message) { m.SetAttribute("userName", " ") }, 1},
		{"foreign-domain", "", func(m *samltest.Message) {
			m.SetAttribute("domain", "globex.example")
			m.SetAttribute("urn:oid:0.9.2342.19200300.100.1.3", "ann@globex.example")
		}, 1},
		{"missing-domain", "", func(m *samltest.Message) { m.RemoveAttribute("domain") }, 1},
		{"several-values", "", func(m *samltest.Message) { m.SetAttribute("department", "Engineering", "Sales") }, 1},
		{"no-group", "", func(m *samltest.Message) {
			m.RemoveAttribute("department")
			m.RemoveAttribute("groups")
			m.SetAttribute("userName", "bob")
			m.SetAttribute("urn:oid:0.9.2342.19200300.100.1.3", "bob@acme.example")
		}, 0},
		{"jit-false", "known", nil, 0},
		{"all-at-once", "", func(m *samltest.Message) {
			s.age(m, -26*time.Hour)
			m.Audiences = [][]string{{"https://old.example.com/saml"}}
			m.Signature.Key, m.Signature.Certificate = stranger().Key.(*rsa.PrivateKey), stranger().Certificate
			m.SetAttribute("userName", "ann\x07")
			m.SetAttribute("domain", "globex.example")
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			idp, sp, args := "acme", s.sp, strings.Fields(test.args)
			if test.args == "known" {
				idp, sp, args = "known", s.spK, nil
			}
			m := s.idp.Good(sp, samltest.NewID(), s.ann())
			if test.change != nil {
				test.change(m)
			}
			response, err := m.Base64()
			if err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			args = append([]string{"explain", "-c", s.file, "--idp", idp, "-"}, args...)
			if code := run(t.Context(), args, stdio{strings.NewReader(response), &stdout, &stderr}); code != test.code {
				t.Errorf("exit status %d, want %d: %s", code, test.code, stderr.String())
			}
			golden(t, filepath.Join("testdata", "explain", test.name+".txt"), s.readable(stdout.String()+stderr.String()))
		})
	}
}

// age moves all times of a message.
func (s *captureSite) age(m *samltest.Message, by time.Duration) {
	for _, at := range []*time.Time{
		&m.IssueInstant, &m.AssertionIssueInstant, &m.NotBefore, &m.NotOnOrAfter, &m.AuthnInstant, &m.SessionNotOnOrAfter, &m.Confirmations[0].NotOnOrAfter,
	} {
		*at = at.Add(by)
	}
}

// golden compares a text with that of a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// TestExplainInputs explains one response in the forms in which people capture it.
func TestExplainInputs(t *testing.T) {
	t.Parallel()
	s := newCaptureSite(t)
	response, err := s.idp.Good(s.sp, samltest.NewID(), s.ann()).Base64()
	if err != nil {
		t.Fatal(err)
	}
	xml, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"base64":             response,
		"base64, a line end": response + "\n",
		"the whole form":     "SAMLResponse=" + url.QueryEscape(response) + "&RelayState=x",
		"XML":                string(xml),
	} {
		file := filepath.Join(t.TempDir(), "captured")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := output(t, "explain", "-c", s.file, "--idp", "acme", file); !strings.Contains(got, ": accepted\n") {
			t.Errorf("%s: printed %s", name, got)
		}
	}
	var x proxy.Explanation
	if err := json.Unmarshal([]byte(fromStdin(t, response, "explain", "-c", s.file, "--idp", "acme", "-o", "json", "-")), &x); err != nil || !x.Accepted || len(x.Apps) != 3 || len(x.Response.Steps) < 30 {
		t.Errorf("-o json: %+v, %v", x, err)
	}
	for _, test := range []struct{ in, args, want string }{
		{"", "--idp acme -", "-: "},
		{"<html>", "--idp acme -", "-: "},
		{response, "--idp typo -", `no identity provider "typo"`},
		{response, "--idp acme nothing.txt", "open nothing.txt: no such file"},
		{response, "--idp acme --metadata nothing.xml -", "open nothing.xml: no such file"},
	} {
		if got := fails(t, 1, test.in, append([]string{"explain", "-c", s.file}, strings.Fields(test.args)...)...); !strings.HasPrefix(got, "jitgate: ") || !strings.Contains(got, test.want) {
			t.Errorf("explain %s: %q, want %q", test.args, got, test.want)
		}
	}
	for _, args := range []string{"-", "--idp acme", "--idp acme --at yesterday -", "--idp acme --online --metadata x.xml -"} {
		if got := fails(t, 2, response, append([]string{"explain", "-c", s.file}, strings.Fields(args)...)...); !strings.Contains(got, "hint: see jitgate explain --help") {
			t.Errorf("explain %s: %q, want wrong usage", args, got)
		}
	}
}

// TestExplainForgery: what is in a response cannot look like what explain says.
func TestExplainForgery(t *testing.T) {
	t.Parallel()
	s := newCaptureSite(t)
	m := s.idp.Good(s.sp, samltest.NewID(), s.ann())
	m.NameID.Value = "x\n\nUser\n  known  ceo\x1b[2J"
	m.SetAttribute("a\nb\n  ok      signature", "c\td")
	response, err := m.Base64()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"explain", "-c", s.file, "--idp", "acme", "-"}, stdio{strings.NewReader(response), &stdout, &stderr}); code != 1 {
		t.Errorf("exit status %d: %s, want 1: the NameID is refused", code, &stderr)
	}
	got := stdout.String() + stderr.String()
	for _, line := range []string{`(?m)^  NameID .*User.*ceo`, `(?m)^  ignored .*ok      signature`} {
		if !regexp.MustCompile(line).MatchString(got) || strings.Contains(got, "\x1b") {
			t.Errorf("printed\n%s\nwant all of it in the line %s", got, line)
		}
	}
}

// fromStdin is output of a command that reads standard input.
func fromStdin(t *testing.T, in string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, stdio{strings.NewReader(in), &stdout, &stderr}); code != 0 {
		t.Fatalf("jitgate %s: exit status %d: %s", strings.Join(args, " "), code, stderr.String())
	}
	return stdout.String()
}

// TestExplainOnline has the running gateway judge: it knows the user, and what was
// used before. It changes nothing.
func TestExplainOnline(t *testing.T) {
	t.Parallel()
	idp := localIdP(t)
	text := fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL)
	text = strings.Replace(text, "{name: email}", "{name: email}, {name: department}", 1) +
		"groups: [{name: sales, rule: {attribute: department, is: Sales}}]\n"
	g := newSite(t).start("127.0.0.1", 0, text)
	introduceSP(t, idp, g.file)
	g.signIn(t)
	trail := output(t, "audit", "-c", g.file, "-o", "json")

	user, _ := idp.User("ann")
	user.Attributes["department"] = []string{"Sales"}
	m := idp.Good(samltest.SPInfo{EntityID: g.base + "/.jitgate/saml", ACS: g.base + "/.jitgate/saml/acme/acs"}, samltest.NewID(), user)
	response, err := m.Base64()
	if err != nil {
		t.Fatal(err)
	}
	explained := func(args ...string) string {
		return fromStdin(t, response, append([]string{"explain", "-c", g.file, "--idp", "acme", "--online", "-"}, args...)...)
	}
	got := explained()
	for _, want := range []string{
		": accepted ", "ok assertion not used before", "known ", `department -> "Sales"`, `sales rule: department is "Sales" (joins)`,
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("explain --online lacks %q:\n%s", want, got)
		}
	}
	var x proxy.Explanation
	if err := json.Unmarshal([]byte(explained("-o", "json")), &x); err != nil || x.Login.Before == nil || len(x.Login.Changes) != 1 {
		t.Errorf("explain --online -o json: %+v, %v", x.Login, err)
	}
	if got := output(t, "audit", "-c", g.file, "-o", "json"); got != trail {
		t.Errorf("explain was recorded: %s, want %s", got, trail)
	}
	if u := g.user(t, "ann@acme.example"); fmt.Sprint(u["groups"]) != "<nil>" {
		t.Errorf("explain changed the user: %v", u)
	}

	output(t, "users", "block", "ann@acme.example", "-c", g.file)
	if got := fails(t, 1, response, "explain", "-c", g.file, "--idp", "acme", "--online", "-"); !strings.Contains(got, "refused: user_blocked") {
		t.Errorf("of a blocked user: %q", got)
	}
}
