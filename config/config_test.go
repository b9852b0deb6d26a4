package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

var update = flag.Bool("update", false, "write the expected problems of testdata/broken anew")

// The session keys that the tests' files hold: newest first.
var (
	sessionKey = bytes.Repeat([]byte("new key "), 8)
	olderKey   = bytes.Repeat([]byte("old key "), 8)
)

// files is a directory with everything that the configurations of the tests
// name, good and bad. It is made once, since RSA keys are slow to make.
var files string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "jitgate-config-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		files = dir
		writeFiles(dir)
		return m.Run()
	}())
}

func writeFiles(dir string) {
	now, day := time.Now(), 24*time.Hour
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	good := testenv.SelfSigned()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	weak, ec := testenv.SelfSign(short, now.Add(-day), now.Add(day)), testenv.SelfSign(elliptic, now.Add(-day), now.Add(day))
	goodKey, goodCert := string(good.KeyPEM()), string(good.CertPEM())
	for name, content := range map[string]string{
		"sp.key":            goodKey,
		"sp.crt":            goodCert,
		"expired.crt":       string(testenv.SelfSign(good.Key, at(2020), at(2021)).CertPEM()),
		"future.crt":        string(testenv.SelfSign(good.Key, at(2090), at(2091)).CertPEM()),
		"short.key":         string(weak.KeyPEM()),
		"short.crt":         string(weak.CertPEM()),
		"ec.key":            string(ec.KeyPEM()),
		"ec.crt":            string(ec.CertPEM()),
		"jwt.key":           string(ec.KeyPEM()),
		"tls.key":           goodKey,
		"tls.crt":           goodCert,
		"redis.key":         goodKey,
		"redis.crt":         goodCert,
		"redis-ca.crt":      goodCert,
		"otel-ca.crt":       goodCert,
		"globex-signer.crt": goodCert + string(ec.CertPEM()),
		"trusted.crt":       strings.ReplaceAll(goodCert, " CERTIFICATE", " TRUSTED CERTIFICATE"),
		"acme-idp.xml":      "<EntityDescriptor/>\n",
		"session.key":       base64.StdEncoding.EncodeToString(sessionKey) + "\n",
		"older.key":         base64.StdEncoding.EncodeToString(olderKey) + "\r\n",
		"short-session.key": base64.StdEncoding.EncodeToString(sessionKey[:32]),
		"logo.svg":          "<svg/>",
		"large.svg":         strings.Repeat(" ", maxLogo+1),
		"junk":              "S3CRET junk!",
		"empty":             "",
		"newline":           "\n",
	} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	must(os.Mkdir(filepath.Join(dir, "templates"), 0o700))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// minimal is a configuration with nothing but what is required, and an app.
const minimal = `base_url: https://sso.example.com
listen: :8443
redis: {embedded: true}
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
directories:
  - {name: acme, domains: [acme.example]}
identity_providers:
  - {name: acme, directory: acme, metadata: {file: acme-idp.xml}}
apps:
  - {name: wiki, upstream: "http://127.0.0.1:9000", allow: {any_user: true}}
`

// parse returns the configuration in data, which must be a good one.
func parse(t *testing.T, data string) *Config {
	t.Helper()
	c, err := Parse("jitgate.yaml", []byte(data), files)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got := parse(t, minimal)
	key, cert := got.SAML.KeyPairs()[0].Key, got.SAML.KeyPairs()[0].Certificate
	if key == nil || cert == nil || !key.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("SAML.KeyPairs()[0] = %v, %v, want a key and its certificate", key != nil, cert)
	}
	if keys := got.Session.KeyBytes(); len(keys) != 1 || !bytes.Equal(keys[0], sessionKey) {
		t.Errorf("Session.KeyBytes() has %d keys, want the one of session.key", len(keys))
	}
	want := &Config{
		BaseURL: "https://sso.example.com",
		Listen:  ":8443",
		Redis:   Redis{Embedded: true, KeyPrefix: "jitgate:"},
		Limits:  limits(0),
		Session: Session{Keys: got.Session.Keys, Idle: time.Hour, Lifetime: 8 * time.Hour, decoded: got.Session.decoded},
		SAML: SAML{
			KeyFile: filepath.Join(files, "sp.key"), CertFile: filepath.Join(files, "sp.crt"),
			EntityID: "https://sso.example.com/.jitgate/saml", pairs: []KeyPair{{key, cert}},
		},
		Attributes: []Attribute{
			{Name: "userName", Required: true, Absent: "deny"},
			{Name: "domain", Absent: "keep"},
			{Name: "ExternalId", Absent: "keep"},
		},
		Directories: []Directory{{Name: "acme", Domains: []string{"acme.example"}}},
		IdentityProviders: []IdentityProvider{{
			Name: "acme", Title: "acme", Directory: "acme", JIT: true, SingleLogout: true, IDPInitiated: "restart",
			Metadata: Metadata{File: filepath.Join(files, "acme-idp.xml"), Refresh: time.Minute},
		}},
		Apps: []App{{
			Name: "wiki", Host: "sso.example.com", Path: "/", Upstream: "http://127.0.0.1:9000",
			UpstreamURL: got.Apps[0].UpstreamURL, Body: 1 << 30,
			Allow: Allow{AnyUser: true}, Headers: Headers{Preset: "forwarded", Lines: presets["forwarded"]},
		}},
	}
	equal(t, "configuration", got, want)
	if u := got.Apps[0].UpstreamURL; u == nil || u.String() != "http://127.0.0.1:9000" {
		t.Errorf("UpstreamURL = %v, want http://127.0.0.1:9000", u)
	}
}

// limits are the default ones, but for the number of SAML messages.
func limits(saml int) Limits {
	return Limits{
		Header: 32 << 10, HeaderTime: 10 * time.Second, Idle: 2 * time.Minute, Stall: time.Minute, Body: 1 << 30,
		Connections: 10000, ConnectionsPerAddress: 1000, LoginsPerMinute: 300, SAML: saml, SAMLWaiting: 100,
		Sessions: 20000, SessionMemory: 32 << 20,
	}
}

// equal compares field by field, so that a failure names the field.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	g, w := reflect.Indirect(reflect.ValueOf(got)), reflect.Indirect(reflect.ValueOf(want))
	for i := range g.NumField() {
		if field := g.Type().Field(i); field.IsExported() && !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s: %s = %+v, want %+v", what, field.Name, g.Field(i), w.Field(i))
		}
	}
}

// TestExample decodes the example that users start from, field by field.
func TestExample(t *testing.T) {
	t.Setenv("JITGATE_OTLP_AUTHORIZATION", "Bearer S3CRET")
	t.Setenv("JITGATE_REDIS_PASSWORD", "redis password")
	t.Setenv("JITGATE_SESSION_KEY", base64.StdEncoding.EncodeToString(olderKey))
	data, err := os.ReadFile("../deploy/jitgate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, string(data))
	if keys := got.Session.KeyBytes(); len(keys) != 2 || !bytes.Equal(keys[0], olderKey) || !bytes.Equal(keys[1], sessionKey) {
		t.Errorf("Session.KeyBytes() has %d keys, want those of the environment and of session.key, in this order", len(keys))
	}
	if keys := got.JWT.PrivateKeys(); len(keys) != 1 || keys[0].Curve != elliptic.P256() {
		t.Errorf("JWT.PrivateKeys() has %d keys, want that of jwt.key", len(keys))
	}
	if p := got.Redis.Password.Reveal(); p != "redis password" {
		t.Errorf("Redis.Password = %q, want that of the environment", p)
	}
	in := func(name string) string { return filepath.Join(files, name) }
	yes := true
	equal(t, "configuration", got, &Config{
		Drain:             5 * time.Second,
		BaseURL:           "https://sso.example.com",
		Listen:            ":8443",
		TLS:               &TLS{CertFile: in("tls.crt"), KeyFile: in("tls.key")},
		TrustedProxies:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("192.0.2.7/32")},
		Admin:             Admin{Socket: "/run/jitgate/admin.sock", Listen: "127.0.0.1:9090", Groups: []string{"admins"}},
		Limits:            limits(8),
		ExtAuthz:          ExtAuthz{Listen: "127.0.0.1:9191"},
		Tracing:           &Tracing{Endpoint: "https://otel.example.com/v1/traces", Headers: got.Tracing.Headers, CAFile: in("otel-ca.crt"), Service: "sso", Sample: 0.05},
		Redis:             got.Redis,
		Session:           Session{Keys: got.Session.Keys, Idle: time.Hour, Lifetime: 8 * time.Hour, decoded: got.Session.decoded},
		SAML:              got.SAML,
		JWT:               got.JWT,
		IdentityProviders: got.IdentityProviders,
		Discovery:         Discovery{Service: "https://ds.example.com/"},
		Branding: Branding{
			Name: "Acme Portal", Logo: in("logo.svg"), LogoURL: "data:image/svg+xml;base64,PHN2Zy8+",
			Colors: Colors{Accent: "#1f5fbf", AccentDark: "#8ab8ff"}, Links: []BrandLink{{Text: "Help", URL: "https://help.example.com"}},
			Help: map[string]string{"user_blocked": "Call the service desk at 555-0100."}, Templates: in("templates"),
		},
		Groups: got.Groups,
		Apps:   got.Apps,
		Attributes: []Attribute{
			{Name: "userName", Required: true, Absent: "deny"},
			{Name: "email", Required: true, Absent: "deny"},
			{Name: "department", Absent: "keep"},
			{Name: "title", Absent: "clear"},
			{Name: "roles", Absent: "keep", Multiple: true},
			{Name: "phone", Absent: "keep"},
			{Name: "domain", Absent: "keep"},
			{Name: "ExternalId", Absent: "keep"},
		},
		Directories: []Directory{
			{Name: "acme", Domains: []string{"acme.example", "acme-labs.example"}},
			{Name: "globex", Domains: []string{"globex.example"}, InactiveAfter: 90 * 24 * time.Hour},
		},
	})
	equal(t, "redis", &got.Redis, &Redis{
		Addresses: []string{"127.0.0.1:6379"}, Username: "jitgate", Password: got.Redis.Password, KeyPrefix: "jitgate:",
		TLS: &ClientTLS{CAFile: in("redis-ca.crt"), CertFile: in("redis.crt"), KeyFile: in("redis.key"), ServerName: "redis.example.com"},
	})
	equal(t, "identity provider", &got.IdentityProviders[0], &IdentityProvider{
		Name: "acme", Title: "Acme Corporation", LoginHint: []string{"subject", "query"}, Directory: "acme", Metadata: Metadata{File: in("acme-idp.xml"), Refresh: time.Minute},
		Attributes: map[string]string{"email": "urn:oid:0.9.2342.19200300.100.1.3"},
		Groups:     AssertedGroups{Attribute: "groups", Allow: []string{"eng-*"}}, JIT: true, SingleLogout: true, IDPInitiated: "restart",
	})
	equal(t, "identity provider", &got.IdentityProviders[1], &IdentityProvider{
		Name: "globex", Title: "globex", Directory: "globex", JIT: true, IDPInitiated: "restart", EmailDomains: "any",
		Metadata:   Metadata{URL: "https://idp.globex.example/metadata", EntityID: "https://idp.globex.example/saml", Refresh: time.Hour, SignerFile: in("globex-signer.crt")},
		Encryption: Encryption{Allow: []string{"aes128-cbc", "aes192-cbc", "aes256-cbc", "unsigned-response"}},
	})
	equal(t, "group", &got.Groups[0], &Group{
		Name: "engineers", Except: []string{"bob@acme-labs.example"}, Entitlements: []string{"wiki", "builds"},
		Rule: &Rule{Any: []Rule{
			{Attribute: "department", Is: "Engineering"},
			{Attribute: "title", StartsWith: "Engineer"},
			{Attribute: "title", EndsWith: "engineer"},
			{Attribute: "roles", Contains: "engineer"},
			{Attribute: "roles", Matches: "eng-[0-9]+"},
		}},
	})
	equal(t, "group", &got.Groups[1], &Group{Name: "staff", Rule: &Rule{All: []Rule{
		{Directory: "acme"},
		{Not: &Rule{Domain: "acme-labs.example"}},
		{Attribute: "department", IsNot: "Guests"},
		{Attribute: "phone", Exists: &yes},
	}}})
	equal(t, "group", &got.Groups[2], &Group{Name: "admins", Users: []string{"ann@acme.example"}, Rule: &Rule{Group: "eng-admins"}})
	equal(t, "group", &got.Groups[3], &Group{Name: "eng-admins", Asserted: true})
	equal(t, "app", &got.Apps[0], &App{
		Name: "wiki", Host: "wiki.example.com", Path: "/", Upstream: "https://app.internal:9443", UpstreamURL: got.Apps[0].UpstreamURL, UpstreamTLS: &ClientTLS{CAFile: in("redis-ca.crt"), CertFile: in("redis.crt"), KeyFile: in("redis.key"), ServerName: "wiki.internal"},
		Allow: Allow{Groups: []string{"engineers", "eng-guests"}}, Public: []string{"/healthz", "/static/"}, Body: 20 << 30, IdentityProviders: []string{"acme"},
		Headers: Headers{Preset: "forwarded", Set: map[string]string{"X-Department": "department"}, Lines: got.Apps[0].Headers.Lines},
	})
	if lines := got.Apps[0].Headers.Lines; len(lines) != 7 || lines["X-Department"] != "department" || lines["X-Forwarded-Groups"] != "groups" {
		t.Errorf("the lines of the preset and X-Department are %v", lines)
	}
	equal(t, "headers", &got.Apps[1].Headers, &Headers{Preset: "grafana", Encode: "percent", Set: map[string]string{}, Lines: presets["grafana"]})
	equal(t, "allow", &got.Apps[1].Allow, &Allow{Entitlements: []string{"builds"}})
}

// TestExampleIsComplete looks for every key of the structs in the example.
func TestExampleIsComplete(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../deploy/jitgate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	collectKeys(reflect.TypeFor[Config](), make(map[reflect.Type]bool), keys)
	for key := range keys {
		if !regexp.MustCompile(`(?m)(?:^|[ {])` + regexp.QuoteMeta(key) + `:(?: |$)`).Match(data) {
			t.Errorf("the example does not show the key %s", key)
		}
	}
	if len(keys) < 70 {
		t.Errorf("found %d keys in the structs, want at least 70", len(keys))
	}
}

func collectKeys(typ reflect.Type, seen map[reflect.Type]bool, keys map[string]bool) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice:
		collectKeys(typ.Elem(), seen, keys)
	case reflect.Struct:
		for i := 0; i < typ.NumField() && !seen[typ]; i++ {
			if tag := typ.Field(i).Tag.Get("yaml"); tag != "" && tag[0] != '-' && tag[0] != ',' {
				keys[tag] = true
				defer collectKeys(typ.Field(i).Type, seen, keys)
			}
		}
		seen[typ] = true
	}
}

// TestBroken compares the problems of each file in testdata/broken with those
// in the text beside it.
func TestBroken(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(paths) < 30 {
		t.Fatalf("found %d broken configurations, %v; want at least 30", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(filepath.Base(path), data, files)
			problems, ok := errors.AsType[Problems](err)
			if !ok || len(problems) == 0 || c != nil {
				t.Fatalf("Parse = %v, %v, want problems", c, err)
			}
			got := strings.ReplaceAll(problems.Error(), files, "DIR") + "\n"
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				must(os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("problems:\n%s\nwant:\n%s", got, want)
			}
			if strings.Contains(got, "S3CRET") {
				t.Errorf("the problems show a secret:\n%s", got)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(dir)
	path := filepath.Join(dir, "jitgate.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of a missing file: %v, want %v", err, os.ErrNotExist)
	}
	must(os.WriteFile(path, []byte(minimal), 0o600))
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "sp.key"); c.SAML.KeyFile != want {
		t.Errorf("SAML.KeyFile = %q, want %q: relative to the file", c.SAML.KeyFile, want)
	}
	must(os.WriteFile(path, []byte("nonsense: 1\n"+minimal), 0o600))
	_, err = Load(path)
	want := path + ":1:1: nonsense: is not a key here; the keys are"
	if problems, ok := errors.AsType[Problems](err); !ok || len(problems) != 1 || !strings.HasPrefix(problems[0].String(), want) {
		t.Errorf("Load = %v, want one problem that begins %q", err, want)
	}
}

// TestSorted reports the problems of several sections in the order of the file,
// whatever the order of the checks.
func TestSorted(t *testing.T) {
	t.Parallel()
	_, err := Parse("x", []byte("apps: [{}]\nsaml: 1\nredis: []\nlisten: x\nbase_url: y\n"), files)
	problems, _ := errors.AsType[Problems](err)
	if len(problems) < 8 {
		t.Fatalf("%d problems, want at least 8: %v", len(problems), err)
	}
	for i := 1; i < len(problems); i++ {
		a, b := problems[i-1], problems[i]
		if a.Line > b.Line || a.Line == b.Line && a.Col > b.Col {
			t.Errorf("%v is before %v", a, b)
		}
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	for base, secure := range map[string]bool{"https://sso.example.com:8443": true, "http://localhost:8080": false} {
		c := parse(t, strings.Replace(minimal, "https://sso.example.com", base, 1))
		if got := c.Base().String(); got != base {
			t.Errorf("Base() = %q, want %q", got, base)
		}
		if got := c.Secure(); got != secure {
			t.Errorf("Secure() of %q = %v, want %v", base, got, secure)
		}
	}
	if got := new(Config).Base(); got == nil {
		t.Errorf("Base() of an empty Config = nil, want an empty URL")
	}
	if got := fmt.Sprint((&Config{BaseURL: "::"}).Base()); got != "" {
		t.Errorf("Base() of a broken BaseURL = %q, want an empty URL", got)
	}
}
