package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A forwardProxy is one of the programs that deploy/forwardauth has a configuration for.
type forwardProxy struct {
	name, program, install string
	argv                   func(dir string) []string // dir has that folder, with the addresses of the test
}

var forwardProxies = []forwardProxy{
	{"nginx", "nginx", "apt-get install nginx-light", func(dir string) []string {
		return []string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr", "-g", "daemon off; master_process off; pid nginx.pid; error_log stderr;"}
	}},
	{"Caddy", "caddy", "apt-get install caddy", func(dir string) []string {
		return []string{"run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile"}
	}},
	{"HAProxy", "haproxy", "apt-get install haproxy", func(dir string) []string {
		return []string{"-db", "-C", dir, "-f", filepath.Join(dir, "haproxy.cfg")}
	}},
	{"Apache", "apache2", "apt-get install apache2 lua-socket", func(dir string) []string {
		return []string{"-X", "-d", dir, "-f", filepath.Join(dir, "apache.conf"),
			"-C", "PidFile " + filepath.Join(dir, "apache.pid"), "-C", "DefaultRuntimeDir " + dir, "-C", "Mutex file:" + dir, "-E", "/dev/stderr", "-c", "ErrorLog /dev/stderr"}
	}},
	envoy("Envoy", "envoy.yaml"),
	envoy("Envoy over HTTP", "envoy-http.yaml"),
}

// envoy returns Envoy with one of its configurations.
func envoy(name, file string) forwardProxy {
	return forwardProxy{name, testenv.Cached("envoy", "_bin", "envoy"), "deploy/testenv/install.sh", func(dir string) []string {
		return []string{"-c", filepath.Join(dir, file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"}
	}}
}

// forwarded are the headers that the app gets.
var forwarded = []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Jitgate-Directory", "X-Jitgate-Domain", "X-Jitgate-Entitlements"}

// traefik does what Traefik's ForwardAuth does: it asks with the visitor's headers and its
// own X-Forwarded-*, takes 2xx for a yes and the headers that are named over, and hands on
// any other answer. What Connection names is gone before.
func traefik(gateway string, app *url.URL) http.Handler {
	own, to := toUpstream(gateway), toUpstream(app.String())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/.jitgate/auth"):
			http.NotFound(w, r)
			return
		case strings.HasPrefix(r.URL.Path, "/.jitgate/"):
			own.ServeHTTP(w, r)
			return
		}
		for name := range strings.SplitSeq(r.Header.Get("Connection"), ",") {
			r.Header.Del(strings.TrimSpace(name))
		}
		r.Header.Del("Connection")
		ask, _ := http.NewRequest(http.MethodGet, gateway+"/.jitgate/auth?redirect=1", nil)
		ask.Header = r.Header.Clone()
		ask.Header.Set("X-Forwarded-Method", r.Method)
		ask.Header.Set("X-Forwarded-Host", r.Host)
		ask.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
		answer, err := http.DefaultTransport.RoundTrip(ask)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer answer.Body.Close()
		if answer.StatusCode/100 != 2 {
			maps.Copy(w.Header(), answer.Header)
			w.WriteHeader(answer.StatusCode)
			io.Copy(w, answer.Body)
			return
		}
		for _, name := range append([]string{"Cookie"}, forwarded...) {
			r.Header.Del(name)
			if values := answer.Header[name]; len(values) > 0 {
				r.Header[name] = values
			}
		}
		to.ServeHTTP(w, r)
	})
}

// toUpstream forwards to an address.
func toUpstream(address string) http.Handler {
	target, _ := url.Parse(address)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
}

// TestForwardAuth has each proxy that there is ask about requests, with its configuration
// of deploy/forwardauth.
func TestForwardAuth(t *testing.T) {
	t.Parallel()
	for _, p := range forwardProxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newForwardSite(t)
			s.start(p)
			s.keepsWatch(t)
		})
	}
	// There is no package of it.
	t.Run("Traefik", func(t *testing.T) {
		t.Parallel()
		s := newForwardSite(t)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: traefik(fmt.Sprintf("http://127.0.0.1:%d", s.gateway.listen), s.app)}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		s.keepsWatch(t)
	})
}

// A forwardSite is a gateway that another proxy is to ask.
type forwardSite struct {
	t       *testing.T
	port    int // of the proxy
	grpc    int // port, of the gateway
	gateway *replica
	app     *url.URL
}

func newForwardSite(t *testing.T) *forwardSite {
	t.Helper()
	idp := localIdP(t)
	idp.SetAttribute("ann", "groups", "engineers")
	app, err := url.Parse(echoUpstream(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &forwardSite{t: t, port: testenv.FreePort(t), grpc: testenv.FreePort(t), app: app}
	s.gateway = newSite(t).start("wiki.localhost", s.port, fmt.Sprintf(`
trusted_proxies: [127.0.0.1]
ext_authz: {listen: "127.0.0.1:%d"}
redis: {embedded: true}
attributes: [{name: userName}, {name: email}]
directories: [{name: acme, domains: [acme.example]}]
identity_providers:
  - {name: acme, directory: acme, metadata: {url: %q}, groups: {attribute: groups, allow: ["*"]}}
apps:
  - {name: wiki, forward_auth: true, allow: {groups: [engineers]}, public: [/healthz]}
  - {name: staff, path: /staff, forward_auth: true, allow: {groups: [staff]}}
  - {name: moved, path: /moved, forward_auth: true, headers: {preset: mellon}, allow: {any_user: true}}
`, s.grpc, idp.EntityID()))
	introduceSP(t, idp, s.gateway.file)
	return s
}

// start starts a proxy, and waits until it listens.
func (s *forwardSite) start(p forwardProxy) {
	s.t.Helper()
	if _, err := exec.LookPath(p.program); err != nil {
		testenv.Need(s.t, p.name, p.install)
	}
	if _, err := os.Stat("/usr/share/lua/5.3/socket/http.lua"); p.program == "apache2" && err != nil {
		testenv.Need(s.t, "LuaSocket", p.install)
	}
	dir := s.proxyFiles()
	server := testenv.Program(s.t, s.port, append([]string{"env", "HOME=" + dir, p.program}, p.argv(dir)...)...)
	s.t.Cleanup(func() {
		server.Stop()
		if s.t.Failed() {
			s.t.Logf("%s: %s", p.name, server.Log())
		}
	})
	testenv.Eventually(s.t, func() error {
		conn, err := net.Dial("tcp", server.Addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// proxyFiles returns a folder with the files of deploy/forwardauth, with the addresses of
// the test.
func (s *forwardSite) proxyFiles() string {
	s.t.Helper()
	const from = "../../deploy/forwardauth"
	dir := s.t.TempDir()
	files, err := os.ReadDir(from)
	if err != nil {
		s.t.Fatal(err)
	}
	here, inYAML := fmt.Sprintf("127.0.0.1:%d", s.port), "address: %s, port_value: %d"
	place := strings.NewReplacer(
		"127.0.0.1:8080", fmt.Sprintf("127.0.0.1:%d", s.gateway.listen), "127.0.0.1:9000", s.app.Host,
		fmt.Sprintf(inYAML, "0.0.0.0", 8000), fmt.Sprintf(inYAML, "127.0.0.1", s.port),
		fmt.Sprintf(inYAML, "127.0.0.1", 8080), fmt.Sprintf(inYAML, "127.0.0.1", s.gateway.listen),
		fmt.Sprintf(inYAML, "127.0.0.1", 9191), fmt.Sprintf(inYAML, "127.0.0.1", s.grpc),
		"address: 127.0.0.1, port_value: 9000", "address: 127.0.0.1, port_value: "+s.app.Port(),
		"listen 8000", "listen "+here, "Listen 8000", "Listen "+here, "/etc/apache2/jitgate", dir, "bind :8000", "bind "+here, "*:8000", here,
		"\nwiki.example.com {", fmt.Sprintf("\nhttp://wiki.localhost:%d {\n\tbind 127.0.0.1", s.port), "wiki.example.com", "wiki.localhost",
	)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			s.t.Fatal(err)
		}
		text := place.Replace(string(data))
		if f.Name() == "Caddyfile" {
			text = "{\n\tadmin off\n\tauto_https off\n}\n" + text
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return dir
}

// signedIn returns the browser of ann, who has signed in through the proxy.
func (s *forwardSite) signedIn(t *testing.T) *testenv.Browser {
	t.Helper()
	b := testenv.NewBrowser(t, nil)
	page, err := b.Login(s.gateway.base+"/page?a=1&b=%2F", "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	if got := reached(t, page); got.URL != "/page?a=1&b=%2F" {
		t.Errorf("the app was asked for %s", got.URL)
	}
	return b
}

// do sends a request through the proxy, with lines of headers, and returns the status and
// what the app saw, nil where it did not see it.
func (s *forwardSite) do(t *testing.T, b *testenv.Browser, method, path, body string, lines ...string) (int, *http.Response, *seen) {
	t.Helper()
	req, err := http.NewRequest(method, s.gateway.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header[name] = append(req.Header[name], value) // in whatever spelling
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), `{"URL":`) {
		return res.StatusCode, res, nil
	}
	got := reached(t, &testenv.Page{Status: res.StatusCode, Body: string(text)})
	return res.StatusCode, res, &got
}

// keepsWatch looks at all that a proxy has to see to.
func (s *forwardSite) keepsWatch(t *testing.T) {
	s.signsIn(t)
	s.refuses(t)
	s.isNotFooled(t)
	s.staysShut(t)
	s.hidesCookies(t)
}

// signsIn looks at who is let pass, and what the app gets.
func (s *forwardSite) signsIn(t *testing.T) {
	b := s.signedIn(t)
	if err := b.SetCookie(s.gateway.base, &http.Cookie{Name: "theme", Value: "dark"}); err != nil {
		t.Fatal(err)
	}
	status, _, got := s.do(t, b, http.MethodPost, "/page", "a=1")
	if got == nil {
		t.Fatalf("ann's form: %d", status)
	}
	got.wantHeaders(t, map[string]string{
		"X-Forwarded-User": "ann@acme.example", "X-Forwarded-Email": "ann@acme.example", "X-Forwarded-Groups": "engineers",
		"X-Jitgate-Directory": "acme", "X-Jitgate-Domain": "acme.example",
	})
	if cookie := got.Header.Get("Cookie"); strings.Contains(cookie, "jitgate") || cookie != "" && !strings.Contains(cookie, "theme=dark") {
		t.Errorf("the app gets the cookies %q, want theme alone", cookie)
	}
	if status, _, got := s.do(t, testenv.NewBrowser(t, nil), http.MethodGet, "/healthz", ""); got == nil || got.Header.Get("X-Forwarded-User") != "" {
		t.Errorf("a public path: %d %+v", status, got)
	}
	page, err := b.Open(s.gateway.base + "/.jitgate/logout")
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Forms) != 1 {
		t.Fatalf("the logout page has %d forms: %s", len(page.Forms), page.Text())
	}
	if _, err := page.Forms[0].Submit(); err != nil {
		t.Fatal(err)
	}
	if status, _, got := s.do(t, b, http.MethodGet, "/page", ""); status != http.StatusUnauthorized || got != nil {
		t.Errorf("after the sign-out: %d, want 401", status)
	}
}

// refuses looks at who is not let pass, and what they are told.
func (s *forwardSite) refuses(t *testing.T) {
	nobody, ann := testenv.NewBrowser(t, nil), s.signedIn(t)
	const html = "Accept: text/html"
	status, res, got := s.do(t, nobody, http.MethodGet, "/page?a=1", "", html, "Sec-Fetch-Mode: navigate")
	if want := s.gateway.base + "/.jitgate/login?rd=%2Fpage%3Fa%3D1"; status != http.StatusFound || res.Header.Get("Location") != want || got != nil {
		t.Errorf("a visitor: %d to %q, want 302 to %q", status, res.Header.Get("Location"), want)
	}
	status, res, got = s.do(t, nobody, http.MethodGet, "/page", "")
	if kind := res.Header.Get("Content-Type"); status != http.StatusUnauthorized || !strings.HasPrefix(kind, "application/json") || got != nil {
		t.Errorf("a visitor's script: %d of %s, want 401 of application/json", status, kind)
	}
	if status, _, got := s.do(t, nobody, http.MethodPost, "/page", "a=1"); status != http.StatusUnauthorized || got != nil {
		t.Errorf("a visitor's script that sends something: %d, want 401", status)
	}
	status, res, got = s.do(t, ann, http.MethodGet, "/mellon/login?ReturnTo=%2Fpage%3Fa%3D1", "", html)
	if want := s.gateway.base + "/.jitgate/login?rd=%2Fpage%3Fa%3D1"; status != http.StatusFound || res.Header.Get("Location") != want || got != nil {
		t.Errorf("an app's link from before: %d to %q, want 302 to %q", status, res.Header.Get("Location"), want)
	}
	page, err := ann.Open(s.gateway.base + "/staff/x")
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusForbidden || !strings.Contains(page.Text(), "may not use this app") {
		t.Errorf("who is not in the group: %d %s", page.Status, page.Text())
	}
}

// isNotFooled claims to be somebody else, and to want something else.
func (s *forwardSite) isNotFooled(t *testing.T) {
	nobody, ann := testenv.NewBrowser(t, nil), s.signedIn(t)
	for _, name := range append(slices.Clone(forwarded), "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User", "X-Jitgate_Directory") {
		for path, b := range map[string]*testenv.Browser{"/page": ann, "/healthz": nobody, "/page?": nobody} {
			_, _, got := s.do(t, b, http.MethodGet, path, "", name+": root")
			if got == nil {
				continue
			}
			for there, values := range got.Header {
				if strings.Contains(strings.Join(values, " "), "root") {
					t.Errorf("%s: root reaches %s as %s", name, path, there)
				}
			}
			if b == nobody && path != "/healthz" {
				t.Errorf("%s: root lets nobody pass to %s", name, path)
			}
		}
	}
	for _, line := range []string{
		"X-Forwarded-Uri: /healthz", "X-Forwarded-URI: /healthz", "x-forwarded-uri: /healthz", "X-Original-Url: " + s.gateway.base + "/healthz", "X-Original-URL: " + s.gateway.base + "/healthz",
		"X-Original-Uri: /healthz", "X-Rewrite-Url: /healthz", "X-Forwarded-Prefix: /healthz", "X-Forwarded-Method: OPTIONS", "X-Forwarded-Host: other.localhost", "X-Forwarded-For: 10.0.0.1",
	} {
		if status, _, got := s.do(t, nobody, http.MethodGet, "/page", "", line); got != nil {
			t.Errorf("%s: %d, and the app is reached", line, status)
		}
	}
	// Nobody gets to see what the proxy is told, or has it asked about something else.
	for _, path := range []string{"/.jitgate/auth", "/.jitgate/auth?app=wiki", "/.jitgate/auth/page", "/.ask", "/.JITGATE/auth"} {
		status, res, got := s.do(t, ann, http.MethodGet, path, "", "X-Forwarded-Uri: /page")
		if user := res.Header.Get("X-Forwarded-User"); user != "" || status == http.StatusAccepted || got != nil && path != "/.ask" {
			t.Errorf("%s: %d, and says that it is %q", path, status, user)
		}
	}
	host := fmt.Sprintf("Host: wiki.localhost:%d", s.port)
	var asking sync.WaitGroup // Envoy takes a second to hang up after an error
	for _, path := range []string{
		"/healthz/../page", "/healthz/%2e%2e/page", "/healthz%2f..%2fpage", "//healthz", "/healthz/", "/healthz;/../page", "/page?/healthz", "/page#/healthz",
		"/.jitgate/../page", "/.jitgate/%2e%2e/page", "/.jitgate/auth/../../page", "/.jitgate", "/.jitgate//page", "/.jitgate/auth", "/.JITGATE/../page",
	} {
		asking.Go(func() {
			if answer := s.raw(t, path, host); strings.Contains(answer, `{"URL":`) {
				t.Errorf("%s reaches the app: %s", path, answer)
			}
		})
	}
	asking.Wait()
}

// staysShut sends what may break the filter of a proxy.
func (s *forwardSite) staysShut(t *testing.T) {
	host := fmt.Sprintf("Host: wiki.localhost:%d", s.port)
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("A%d: x", i))
	}
	var asking sync.WaitGroup
	for why, lines := range map[string][]string{
		"a long host":      {"Host: " + strings.Repeat("a", 9000)},
		"a host of zeros":  {"Host: wiki.localhost:" + strings.Repeat("0", 9000) + "80"},
		"a long line":      {host, "X-A: " + strings.Repeat("a", 14000)},
		"a long cookie":    {host, "Cookie: a=" + strings.Repeat("a", 14000)},
		"two hosts":        {host, "Host: other.localhost"},
		"no host":          nil,
		"95 headers":       append(many[:92:92], host),
		"96 headers":       append(many[:93:93], host),
		"97 headers":       append(many[:94:94], host),
		"98 headers":       append(many[:95:95], host),
		"99 headers":       append(many[:96:96], host),
		"100 headers":      append(many[:97:97], host),
		"too many headers": append(many[:120:120], host),
	} {
		asking.Go(func() {
			if answer := s.raw(t, "/page", append(lines, "X-Forwarded-User: root")...); strings.Contains(answer, `{"URL":`) {
				t.Errorf("%s reaches the app: %.300s", why, answer)
			}
		})
	}
	asking.Wait()
	if answer := s.raw(t, "/healthz", host); !strings.Contains(answer, `{"URL":`) {
		t.Errorf("afterwards: %.300s", answer)
	}
}

// hidesCookies looks at what of jitgate's cookies, and of headers that are none of the
// app's business, gets to the app.
func (s *forwardSite) hidesCookies(t *testing.T) {
	var session string
	for _, c := range s.signedIn(t).Cookies(s.gateway.base) {
		if c.Name == "jitgate" {
			session = c.Name + "=" + c.Value
		}
	}
	host := fmt.Sprintf("Host: wiki.localhost:%d", s.port)
	if answer := s.raw(t, "/page", host, "Cookie: theme=dark; "+session+"; lang=de"); !strings.Contains(answer, "theme=dark") || !strings.Contains(answer, "lang=de") {
		t.Errorf("the app's own cookies: %s", answer)
	}
	for _, lines := range [][]string{
		{"Cookie: " + session},
		{"Cookie: a=b;" + session + ";c=d"},
		{"Cookie: a=b;\t" + session + "\t; c=d"},
		{"Cookie: a=\"; " + session + "; b=\"x"},
		{"Cookie: a=b", "Cookie: " + session, "Cookie: c=d"},
		{"Cookie: " + session + "; " + session},
		{"Cookie: " + session + "; __Host-jitgate=x"},
		{"Cookie: jitgate-return=n; " + session},
		{"Connection: cookie", "Cookie: " + session},
		{"Connection: X-Forwarded-User, x-jitgate-directory", "Cookie: " + session},
		{"X-Original-Url: " + s.gateway.base + "/evil", "X-Rewrite-Url: /evil", "Forwarded: host=evil", "X-Forwarded-Host: evil"},
	} {
		for _, path := range []string{"/page", "/healthz"} {
			answer := s.raw(t, path, append(lines, host)...)
			if strings.Contains(answer, session[len("jitgate=")+8:]) {
				t.Errorf("%s %.40q: the app gets the session", path, lines)
			}
			if reached := strings.Contains(answer, `{"URL":`); reached && strings.Contains(answer, "evil") || reached && path == "/page" && !strings.Contains(answer, `"X-Forwarded-User":["ann@acme.example"]`) {
				t.Errorf("%s %.40q: the app gets %s", path, lines, answer)
			}
		}
	}
}

// raw asks for a path as it is, with lines of headers, and returns the whole answer.
func (s *forwardSite) raw(t *testing.T, path string, lines ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Error(err)
	}
	// A proxy may hang up before it has read all.
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n", path, strings.Join(lines, "\r\n"))
	data, _ := io.ReadAll(bufio.NewReader(conn))
	return string(data)
}
