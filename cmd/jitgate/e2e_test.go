package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// waitLimit is how long a test polls for what must come true.
const waitLimit = 20 * time.Second

// A running is a jitgate command line that runs in this process.
type running struct {
	stdout, stderr *syncBuffer
	stop           func() int // ends it as SIGTERM would, and returns the exit status
}

// start runs a command until the test ends.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stdout: new(syncBuffer), stderr: new(syncBuffer)}
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, stdio{strings.NewReader(""), r.stdout, r.stderr}) }()
	r.stop = sync.OnceValue(func() int {
		cancel()
		select {
		case code := <-done:
			return code
		case <-time.After(waitLimit):
			t.Errorf("jitgate %s did not end", strings.Join(args, " "))
			return -1
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("jitgate %s:\n%s%s", strings.Join(args, " "), r.stdout, r.stderr)
		}
	})
	return r
}

// output runs a command to its end, which must be a good one.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, stdio{strings.NewReader(""), &stdout, &stderr}); code != 0 {
		t.Fatalf("jitgate %s: exit status %d: %s", strings.Join(args, " "), code, stderr.String())
	}
	return stdout.String()
}

// A syncBuffer may be read while it is written to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// answers reports, as an error, that url does not answer with status.
func answers(url string, status int) error {
	res, err := http.Get(url)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != status {
		return fmt.Errorf("%s: status %d, want %d", url, res.StatusCode, status)
	}
	return nil
}

// seen is what an upstream tells about the request that reached it.
type seen struct {
	URL    string
	Header http.Header
}

// echoUpstream answers each request with the seen of it.
func echoUpstream(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(seen{r.URL.RequestURI(), r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}

// reached decodes what the upstream saw of the request that page answers.
func reached(t *testing.T, page *testenv.Page) seen {
	t.Helper()
	var s seen
	if page.Status != http.StatusOK || json.Unmarshal([]byte(page.Body), &s) != nil {
		t.Fatalf("%s did not reach the app: status %d: %s", page.URL, page.Status, page.Text())
	}
	return s
}

// wantHeaders compares single headers that the upstream got; "" is for absent.
func (s seen) wantHeaders(t *testing.T, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := strings.Join(s.Header.Values(name), " | "); got != value {
			t.Errorf("%s = %q, want %q", name, got, value)
		}
	}
}

// introduceSP gives an IdP the metadata that the gateway of a configuration file
// has for it, there called acme.
func introduceSP(t *testing.T, idp *samltest.IdP, file string) {
	t.Helper()
	if err := idp.AddSP([]byte(output(t, "metadata", "-c", file, "--idp", "acme"))); err != nil {
		t.Fatal(err)
	}
}

// A replica is one running gateway of a site.
type replica struct {
	*running
	base   string // what base_url says
	admin  string // origin of the admin listener
	listen int    // port
	file   string // configuration
}

// A site is the files that all its gateways share.
type site struct {
	t   *testing.T
	dir string
}

// newSite makes keys for gateways that are to run side by side.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	output(t, "keygen", "--dir", s.dir)
	return s
}

// start runs a gateway with the given end of a configuration, which begins with
// its addresses and keys, until it has the metadata of each identity provider.
// The base URL is of the host, and of this gateway's port if port is 0.
func (s *site) start(host string, port int, rest string) *replica {
	s.t.Helper()
	r := s.prepare(host, port, rest)
	r.running = start(s.t, "serve", "-c", r.file)
	testenv.Eventually(s.t, func() error { return answers(r.admin+"/readyz", http.StatusOK) })
	testenv.Eventually(s.t, func() error {
		if got, want := strings.Count(r.stderr.String(), "metadata loaded"), strings.Count(rest, "metadata: {"); got < want {
			return fmt.Errorf("metadata of %d identity providers, want %d", got, want)
		}
		return nil
	})
	return r
}

// prepare writes the configuration of a gateway that start would run.
func (s *site) prepare(host string, port int, rest string) *replica {
	s.t.Helper()
	listen, admin := testenv.FreePort(s.t), testenv.FreePort(s.t)
	if port == 0 {
		port = listen
	}
	r := &replica{
		base:   fmt.Sprintf("http://%s:%d", host, port),
		admin:  fmt.Sprintf("http://127.0.0.1:%d", admin),
		listen: listen,
		file:   filepath.Join(s.dir, fmt.Sprintf("jitgate-%d.yaml", listen)),
	}
	drain := "drain: 0s\n"
	if strings.Contains(rest, "drain:") {
		drain = ""
	}
	text := fmt.Sprintf(`base_url: %s
listen: 127.0.0.1:%d
admin: {socket: %d.sock, listen: "127.0.0.1:%d"}
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
%s`, r.base, listen, listen, admin, drain+rest)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// user is what `users show` prints of a user, as JSON.
func (r *replica) user(t *testing.T, name string) map[string]any {
	t.Helper()
	var u map[string]any
	if err := json.Unmarshal([]byte(output(t, "users", "show", name, "-c", r.file, "-o", "json")), &u); err != nil {
		t.Fatal(err)
	}
	return u
}
