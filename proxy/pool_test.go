package proxy

import (
	"context"
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
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// A member is one of the servers of an app, which answers with its number.
type member struct {
	*httptest.Server
	asked    atomic.Int64
	examined atomic.Int64
	sick     atomic.Bool
}

// newMembers starts n servers.
func newMembers(t *testing.T, n int) []*member {
	t.Helper()
	var all []*member
	for i := range n {
		m := new(member)
		m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/well" {
				m.examined.Add(1)
				if m.sick.Load() || !strings.HasPrefix(r.Host, "wiki.example.com:") || r.Header.Get("X-Forwarded-Proto") != "https" {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return
			}
			m.asked.Add(1)
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%d %s", i, body)
		}))
		t.Cleanup(m.Close)
		all = append(all, m)
	}
	return all
}

// poolSite returns a site whose app /pool is at the addresses, and its pool, whose clock
// is the site's.
func poolSite(t *testing.T, health string, addresses ...string) (*site, *pool) {
	t.Helper()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{
		apps: publicApp("pool", `host: wiki.example.com, upstreams: ["`+strings.Join(addresses, `", "`)+`"]`+health),
	})
	for _, a := range s.apps["wiki.example.com"] {
		if p, ok := a.via.(*pool); ok {
			p.now = s.clock.Now
			return s, p
		}
	}
	t.Fatal("the app has no pool")
	return nil, nil
}

// sendPool sends something to the app of poolSite.
func (s *site) sendPool(body string) (int, string) {
	s.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, s.url("wiki", "/pool/x"), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, answer := s.do(s.browser(), req)
	return res.StatusCode, answer
}

// An app's servers are asked in turn, and one that is gone not before it is time to look.
func TestPool(t *testing.T) {
	t.Parallel()
	members := newMembers(t, 3)
	s, _ := poolSite(t, "", members[0].URL, members[1].URL, members[2].URL)
	for i := range 9 {
		body := strings.Repeat("x", i*10_000) // some of which are no GET
		if status, answer := s.sendPool(body); status != http.StatusOK || !strings.HasSuffix(answer, " "+body) {
			t.Fatalf("%d: %d %.80s", i, status, answer)
		}
	}
	for i, m := range members {
		if n := m.asked.Load(); n != 3 {
			t.Errorf("server %d was asked %d times, want 3", i, n)
		}
	}

	up := func(i int) string {
		return fmt.Sprintf(`jitgate_upstream_up{app="pool",upstream=%q}`, strings.TrimPrefix(members[i].URL, "http://"))
	}
	address := members[1].Listener.Addr().String()
	members[1].Close()
	for i := range 9 {
		if i < 6 {
			s.clock.Add(leftOut)
		}
		body := strings.Repeat("y", i*10_000)
		if status, answer := s.sendPool(body); status != http.StatusOK || !strings.HasSuffix(answer, " "+body) {
			t.Errorf("without one of them, %d: %d %.80s", i, status, answer)
		}
	}
	s.wantMetric(up(0), 1)
	s.wantMetric(up(1), 0)

	// It is there again, and gets requests when it is time.
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := &http.Server{Handler: members[1].Config.Handler}
	go back.Serve(l)
	t.Cleanup(func() { back.Close() })
	before := members[1].asked.Load()
	for range 3 {
		s.sendPool("")
	}
	if n := members[1].asked.Load() - before; n != 0 {
		t.Errorf("it was asked %d times too early", n)
	}
	s.clock.Add(leftOut)
	s.wantMetric(up(1), 1)
	for range 3 {
		s.sendPool("")
	}
	if n := members[1].asked.Load() - before; n != 1 {
		t.Errorf("it was asked %d times of 3, want 1", n)
	}
	if status, _ := s.sendPool("z"); status != http.StatusOK {
		t.Errorf("in the end: %d", status)
	}
	back.Close()
	members[0].Close()
	members[2].Close()
	for _, body := range []string{"", "z"} {
		if status, answer := s.sendPool(body); status != http.StatusBadGateway || !strings.Contains(answer, codeUpstream) {
			t.Errorf("without any: %d %s", status, answer)
		}
	}
}

// What an app may have received is not sent to another of its servers.
func TestPoolNeverTwice(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		certificate := testenv.SelfSigned("app.internal")
		ca := filepath.Join(t.TempDir(), "ca.crt")
		if err := os.WriteFile(ca, certificate.CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		rude := func() string {
			hangUp := func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				io.Copy(io.Discard, r.Body)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			}
			if scheme == "https" {
				return tlsServer(t, certificate, false, hangUp)
			}
			server := httptest.NewServer(http.HandlerFunc(hangUp))
			t.Cleanup(server.Close)
			return server.URL
		}
		more := map[string]string{"https": ", upstream_tls: {server_name: app.internal, ca_file: " + ca + "}"}[scheme]
		s, _ := poolSite(t, more, rude(), rude(), rude())
		for _, body := range []string{"a payment", ""} { // without one, there is nothing but the connection to tell by
			before := asked.Load()
			if status, _ := s.sendPool(body); status != http.StatusBadGateway || asked.Load()-before != 1 {
				t.Errorf("%s, %q: %d, and %d servers got it, want one", scheme, body, status, asked.Load()-before)
			}
		}
	}
}

// halfRead is a transport that finds out that there is no connection when it has begun to
// read the body, which those of today do not.
type halfRead struct{ asked int }

func (h *halfRead) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked++
	_, _ = r.Body.Read(make([]byte, 1))
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

// A body that was begun goes to nobody else, whatever the transport says.
func TestPoolBodyBegun(t *testing.T) {
	t.Parallel()
	via := new(halfRead)
	p := newPool(via, config.App{UpstreamHosts: []string{"a", "b"}}, "http", zap.NewNop())
	r := mustRequest(t, "http://app/x")
	r.Body = io.NopCloser(strings.NewReader("a body"))
	if _, err := p.RoundTrip(r); err == nil || via.asked != 1 {
		t.Errorf("%v, and %d servers got it, want one", err, via.asked)
	}
}

// A server that says it is not well gets nothing until it is, unless no other is.
func TestPoolHealth(t *testing.T) {
	t.Parallel()
	members := newMembers(t, 2)
	s, p := poolSite(t, ", health: /well", members[0].URL, members[1].URL)
	examined := func(want ...bool) {
		t.Helper()
		s.examine(t.Context())
		if p.addresses[0].sick.Load() != want[0] || p.addresses[1].sick.Load() != want[1] {
			t.Fatalf("not found: the servers are sick: %v", want)
		}
	}
	members[0].sick.Store(true)
	examined(true, false)
	for range 10 {
		s.sendPool("")
	}
	if n := members[0].asked.Load(); n != 0 {
		t.Errorf("the sick one was asked %d times", n)
	}
	s.wantMetric(fmt.Sprintf(`jitgate_upstream_up{app="pool",upstream=%q}`, p.addresses[0].host), 0)
	members[1].sick.Store(true)
	examined(true, true)
	for range 4 {
		if status, _ := s.sendPool("z"); status != http.StatusOK {
			t.Errorf("where all are sick: %d", status)
		}
	}
	if n := members[0].asked.Load(); n != 2 {
		t.Errorf("where all are sick, one of two was asked %d times of 4", n)
	}
	members[0].sick.Store(false)
	examined(false, true)
	before := members[0].asked.Load()
	for range 4 {
		s.sendPool("")
	}
	if n := members[0].asked.Load() - before; n != 4 {
		t.Errorf("the one that is well was asked %d times of 4", n)
	}
	// One that is well is not left out for what was before, whatever the clock says.
	members[1].sick.Store(false)
	p.addresses[0].refused.Store(s.clock.Now().UnixNano())
	examined(false, false)
	if !p.addresses[0].isUp(s.clock.Now()) {
		t.Error("one that is well is left out")
	}
	// A clock that is set back leaves nothing out for longer.
	p.addresses[0].refused.Store(s.clock.Now().UnixNano())
	s.clock.Add(-time.Hour)
	if !p.addresses[0].isUp(s.clock.Now()) {
		t.Error("one is left out after the clock was set back")
	}
	if n := s.logs.FilterMessage("upstream is not well").Len(); n != 2 {
		t.Errorf("%d lines say that a server is not well, want 2", n)
	}
}

// Health is asked for while nobody comes, until the context ends, and of what the
// configuration has at the time.
func TestPoolExamine(t *testing.T) {
	t.Parallel()
	members := newMembers(t, 2)
	s, p := poolSite(t, ", health: /well", members[0].URL, members[1].URL)
	members[0].sick.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	var examine sync.WaitGroup
	examine.Go(func() { s.Examine(ctx) })
	eventually(t, "the sick server was not found", func() bool { return p.addresses[0].sick.Load() && members[1].examined.Load() > 0 })
	cancel()
	examine.Wait()

	// What is known of an address stays when the configuration is read again.
	p.addresses[1].refused.Store(s.clock.Now().UnixNano())
	s.replace()
	next := poolsOf(s.newest.Load().apps)[0]
	next.now = s.clock.Now
	for i, a := range next.addresses {
		if next == p || a.isUp(s.clock.Now()) {
			t.Errorf("server %d is no longer left out", i)
		}
	}
	// But not where it may have been the configuration that was wrong.
	other := *s.cfg
	other.Apps = slices.Clone(other.Apps)
	other.Apps[len(other.Apps)-1].Health = "/else"
	s.cfg = &other
	s.replace()
	if next = poolsOf(s.newest.Load().apps)[0]; next.health != "/else" || !next.addresses[0].isUp(s.clock.Now()) {
		t.Error("a server is left out for what another page said")
	}

	other.Apps = other.Apps[:len(other.Apps)-1]
	s.replace()
	before := members[0].examined.Load() + members[1].examined.Load()
	s.newest.Load().examine(t.Context())
	if n := members[0].examined.Load() + members[1].examined.Load(); n != before {
		t.Error("the servers of an app that is gone are asked for their health")
	}
}

// A server whose answer does not end, or does not come, is not well; a long one is.
func TestPoolHealthAnswers(t *testing.T) {
	t.Parallel()
	app := func(h http.HandlerFunc) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	s, p := poolSite(t, ", health: /well",
		app(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		app(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}),
		app(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}),
		app(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }),
		"http://"+gone(t),
		app(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}),
		app(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	begin := time.Now()
	s.examine(t.Context())
	if took := time.Since(begin); took > 2*examineTime {
		t.Errorf("it took %v", took)
	}
	for i, a := range p.addresses {
		if sick := a.sick.Load(); sick != (i < 5) {
			t.Errorf("server %d is sick: %t", i, sick)
		}
	}
}
