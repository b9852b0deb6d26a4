package proxy

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// keys are made once for all tests: that is what takes long.
var keys = sync.OnceValue(func() (k struct{ gateway, idp testenv.Certificate }) {
	k.gateway, k.idp = testenv.SelfSigned("*.example.com"), testenv.SelfSigned()
	return k
})

// A site is a gateway with all that belongs to it: an identity provider, an
// upstream, and a clock.
type site struct {
	*Gateway
	t         testing.TB
	origin    string // https://sso.example.com:PORT
	port      string
	rdb       redis.UniversalClient
	cfg       *config.Config
	idps      map[string]*samlsp.SP
	idp       *samltest.IdP // acme
	idpURL    string
	asked     atomic.Int64  // how many requests the identity providers got
	second    *samltest.IdP // whatever else the configuration has
	secondURL string
	upstream  *upstream
	logs      *observer.ObservedLogs
	clock     *clock
}

// setup is what a test wants different from most.
type setup struct {
	apps       string // more of them, as lines of the configuration
	app        string // who may use the app "wiki", and more of it
	idp        string // more of the identity provider
	idps       string // more of them, as lines of the configuration
	top        string // more sections
	session    string // more of the section "session"
	attributes string // more of them, as lines of the configuration
	http       bool   // not https, and hosts below localhost
	idpSetup   func(*samltest.Options)
}

// ann and bob are the users of the identity provider.
func people() []samltest.User {
	return []samltest.User{
		{Name: "ann", Password: "secret", Attributes: map[string][]string{
			"userName": {"ann"}, "email": {"ann@acme.example"}, "domain": {"acme.example"}, "department": {"Engineering"}, "title": {"a,b%", "c"}, "displayName": {"Doe, Änn 100%"},
		}},
		{Name: "bob", Password: "secret", Attributes: map[string][]string{
			"userName": {"bob"}, "email": {"bob@acme.example"}, "domain": {"acme.example"}, "department": {"Sales"},
		}},
	}
}

// row runs a row of the catalogue of attacks against both stores.
func row(t *testing.T, name string, run func(t *testing.T, rdb redis.UniversalClient)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { testenv.Stores(t, run) })
}

// newSite starts a gateway with an app on a host of its own (wiki), one on the
// gateway's own host below /tools, and one identity provider.
func newSite(t testing.TB, rdb redis.UniversalClient, o setup) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := &site{t: t, port: port, rdb: rdb, clock: &clock{now: time.Now()}, upstream: newUpstream(t)}
	s.origin = s.url("sso", "", o.http)

	s.idp, s.idpURL = newIdP(t, &s.asked, o.idpSetup)
	s.second, s.secondURL = newIdP(t, &s.asked, o.idpSetup)

	s.cfg = s.parse(o)
	s.idps = s.serviceProviders(s.cfg)
	s.Gateway = s.gateway()
	server := httptest.NewUnstartedServer(s.Gateway)
	server.Listener.Close()
	server.Listener = s.Gateway.Limit(l)
	server.Config.DisableGeneralOptionsHandler = true
	if o.http {
		server.Start()
	} else {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{keys().gateway.TLS()}, NextProtos: []string{"h2", "http/1.1"}}
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	t.Cleanup(s.Gateway.Close) // before the server, which waits for websockets' upstreams
	return s
}

// newIdP starts an identity provider, which counts in asked what it is asked.
func newIdP(t testing.TB, asked *atomic.Int64, change func(*samltest.Options)) (*samltest.IdP, string) {
	t.Helper()
	var idp *samltest.IdP
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		idp.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	options := samltest.Options{URL: server.URL, Domain: "acme.example", Users: people(), Key: keys().idp.Key.(*rsa.PrivateKey), Certificate: keys().idp.Certificate}
	if change != nil {
		change(&options)
	}
	idp, err := samltest.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return idp, server.URL
}

// url returns an address on one of the site's hosts.
func (s *site) url(host, path string, plain ...bool) string {
	if len(plain) > 0 && plain[0] || strings.HasPrefix(s.origin, "http://") {
		if host == "sso" {
			return "http://localhost:" + s.port + path
		}
		return "http://" + host + ".localhost:" + s.port + path
	}
	return "https://" + host + ".example.com:" + s.port + path
}

// parse writes the configuration and its files, and reads them.
func (s *site) parse(o setup) *config.Config {
	s.t.Helper()
	dir := s.t.TempDir()
	m := s.idp.Metadata()
	m.MutateUnsigned = func(doc *etree.Document) { // where crewjam/saml would ask for artifacts
		service := doc.FindElement("//IDPSSODescriptor").CreateElement("md:ArtifactResolutionService")
		service.CreateAttr("Binding", "urn:oasis:names:tc:SAML:2.0:bindings:SOAP")
		service.CreateAttr("Location", s.idpURL+"/artifact")
		service.CreateAttr("index", "0")
	}
	metadata, err := m.XML()
	if err != nil {
		s.t.Fatal(err)
	}
	second, err := s.second.Metadata().XML()
	if err != nil {
		s.t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"idp.xml":     metadata,
		"second.xml":  second,
		"sp.key":      keys().gateway.KeyPEM(),
		"sp.crt":      keys().gateway.CertPEM(),
		"session.key": []byte(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 64)))),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	host := func(name string) string {
		return strings.TrimSuffix(strings.Split(s.url(name, "", o.http), "//")[1], ":"+s.port)
	}
	if !strings.Contains(o.top, "limits:") { // all visitors are of one address, and time stands still
		o.top += "\nlimits: {logins_per_minute: 1000000}"
	}
	text := fmt.Sprintf(`
base_url: %s
listen: 127.0.0.1:0
redis: {embedded: true, key_prefix: %q}
session: {keys: ["file:session.key"]%s}
saml: {key_file: sp.key, cert_file: sp.crt}
attributes:
  - {name: email, required: true}
  - {name: department}
  - {name: displayName}
  - {name: title, multiple: true}
%s
directories: [{name: acme, domains: [acme.example, acme-labs.example]}, {name: other, domains: [other.example]}]
identity_providers:
  - {name: acme, directory: acme, metadata: {file: idp.xml}%s}
%s
groups:
  - {name: engineers, rule: {attribute: department, is: Engineering}, entitlements: [wiki]}
  - {name: "a,b", rule: {attribute: department, is: Engineering}}
  - {name: nobody, users: [nobody@other.example]}
apps:
  - name: wiki
    host: %s
    upstream: %s
    public: [/public/, /healthz]
    %s
  - {name: tools, path: /tools, upstream: %s, allow: {any_user: true}}
%s
%s`, s.origin, testenv.Prefix(s.t), more(o.session), o.attributes, o.idp, o.idps, host("wiki"), s.upstream.URL, or(o.app, "allow: {groups: [engineers]}"), s.upstream.URL, o.apps, o.top)
	cfg, err := config.Parse("jitgate.yaml", []byte(strings.ReplaceAll(text, "UPSTREAM", s.upstream.URL)), dir)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, text)
	}
	return cfg
}

// more returns what goes on a line of the configuration, behind a comma.
func more(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// serviceProviders makes what the command would make of the configuration.
func (s *site) serviceProviders(cfg *config.Config) map[string]*samlsp.SP {
	s.t.Helper()
	idps := make(map[string]*samlsp.SP)
	pair := cfg.SAML.KeyPairs()[0]
	for _, c := range cfg.IdentityProviders {
		slo := ""
		if c.SingleLogout {
			slo = cfg.BaseURL + "/.jitgate/saml/" + c.Name + "/slo"
		}
		sp, err := samlsp.New(samlsp.Options{
			Name: c.Name, EntityID: cfg.SAML.EntityID, ACS: cfg.BaseURL + "/.jitgate/saml/" + c.Name + "/acs", SLO: slo, Key: pair.Key, Certificate: pair.Certificate,
			Metadata: samlsp.MetadataSource{File: c.Metadata.File}, Unsolicited: c.IDPInitiated == "accept",
			Replay:      samlsp.NewReplay(s.rdb, cfg.Redis.KeyPrefix),
			HintSubject: slices.Contains(c.LoginHint, "subject"), HintQuery: slices.Contains(c.LoginHint, "query"),
		})
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := sp.Refresh(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		metadata, err := sp.Metadata()
		if err != nil {
			s.t.Fatal(err)
		}
		idp := s.second
		if c.Name == "acme" {
			idp = s.idp
		}
		if err := idp.AddSP(metadata); err != nil {
			s.t.Fatal(err)
		}
		idps[c.Name] = sp
	}
	return idps
}

// gateway makes one more gateway of the same configuration, on the same store
// and with the same clock.
func (s *site) gateway() *Gateway {
	s.t.Helper()
	users, err := provision.New(s.rdb, s.cfg.Redis.KeyPrefix, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	s.logs = logs
	g, err := New(Options{Config: s.cfg, Redis: s.rdb, IdPs: s.idps, Users: users, Log: zap.New(core)})
	if err != nil {
		s.t.Fatal(err)
	}
	g.now = s.clock.Now
	return g
}

// browser returns a new visitor's browser.
func (s *site) browser() *testenv.Browser {
	return testenv.NewBrowser(s.t, keys().gateway.Pool())
}

// signedIn returns the browser of somebody who signed in at an address.
func (s *site) signedIn(user, address string) *testenv.Browser {
	s.t.Helper()
	b := s.browser()
	page, err := b.Login(address, "acme.example", user, "secret")
	if err != nil {
		s.t.Fatal(err)
	}
	if page.Status != http.StatusOK {
		s.t.Fatalf("signing in as %s: %d at %s: %s", user, page.Status, page.URL, page.Text())
	}
	return b
}

// do sends one request as a script would and returns the answer with its body.
func (s *site) do(b *testenv.Browser, req *http.Request) (*http.Response, string) {
	s.t.Helper()
	res, err := b.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// get is do for a GET, with headers given as "Name: value".
func (s *site) get(b *testenv.Browser, address string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header[name] = append(req.Header[name], value)
	}
	return s.do(b, req)
}

// logged returns the last line that a logger wrote, or nil.
func (s *site) logged(logger string) map[string]any {
	entries := s.logs.Filter(func(e observer.LoggedEntry) bool { return e.LoggerName == logger }).All()
	if len(entries) == 0 {
		return nil
	}
	return entries[len(entries)-1].ContextMap()
}

// An upstream is an app that tells what it was asked.
type upstream struct {
	*httptest.Server
	mu      sync.Mutex
	handler http.HandlerFunc // instead of the echo
	asked   int
}

// An echo is what the upstream saw of a request.
type echo struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Body              string
}

func newUpstream(t testing.TB) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		h := u.handler
		u.asked++
		u.mu.Unlock()
		if h != nil {
			h(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(echo{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, string(body)})
	}))
	t.Cleanup(u.Close)
	return u
}

// answer lets the upstream answer with h from now on.
func (u *upstream) answer(h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handler = h
}

// requests returns how many requests reached the upstream.
func (u *upstream) requests() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

// parseEcho reads what the upstream saw out of its answer.
func parseEcho(t testing.TB, body string) echo {
	t.Helper()
	var e echo
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("not the upstream's answer: %v\n%s", err, body)
	}
	return e
}

// A clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// storeHook counts the commands that go to a store, and can make them fail. It does not
// count those that count sign-ins, which come whenever a second is over.
type storeHook struct {
	mu   sync.Mutex
	n    int
	down bool
}

func hookStore(rdb redis.UniversalClient) *storeHook {
	h := new(storeHook)
	rdb.AddHook(h)
	return h
}

// setDown lets all commands fail, or work again.
func (h *storeHook) setDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// reset returns the number of commands since the last reset.
func (h *storeHook) reset() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.n
	h.n = 0
	return n
}

func (h *storeHook) note(n int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n += n
	if h.down {
		return errors.New("connection refused")
	}
	return nil
}

func (h *storeHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *storeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := h.note(1); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (h *storeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		n := len(cmds)
		if strings.Contains(fmt.Sprint(cmds[0].Args()), "{.sign-ins}") {
			n = 0
		}
		if err := h.note(n); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

// eventually waits until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testenv.Eventually(t, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
}

// toString returns a value of a log line as text.
func toString(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
