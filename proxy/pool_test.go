package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A member is one of the servers of an app, which answers with its number.
type member struct {
	*httptest.Server
	asked atomic.Int64
	sick  atomic.Bool
}

// newMembers starts n servers.
func newMembers(t *testing.T, n int) []*member {
	t.Helper()
	var all []*member
	for i := range n {
		m := new(member)
		m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/well" {
				if m.sick.Load() || r.Host != "wiki.example.com" {
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
	var asked atomic.Int64
	rude := func() string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			io.Copy(io.Discard, r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	s, _ := poolSite(t, "", rude(), rude(), rude())
	if status, _ := s.sendPool("a payment"); status != http.StatusBadGateway || asked.Load() != 1 {
		t.Errorf("%d, and %d servers got it, want one", status, asked.Load())
	}
}

// A server that says it is not well gets nothing until it is, unless no other is.
func TestPoolHealth(t *testing.T) {
	t.Parallel()
	members := newMembers(t, 2)
	s, p := poolSite(t, ", health: /well", members[0].URL, members[1].URL)
	examined := func(want ...bool) {
		t.Helper()
		s.clock.Add(examineEvery)
		s.sendPool("")
		eventually(t, fmt.Sprint("the servers are sick: ", want), func() bool {
			return p.addresses[0].sick.Load() == want[0] && p.addresses[1].sick.Load() == want[1]
		})
	}
	members[0].sick.Store(true)
	examined(true, false)
	before := members[0].asked.Load()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { s.sendPool("") })
	}
	all.Wait()
	if n := members[0].asked.Load() - before; n != 0 {
		t.Errorf("the sick one was asked %d times", n)
	}
	s.wantMetric(fmt.Sprintf(`jitgate_upstream_up{app="pool",upstream=%q}`, p.addresses[0].host), 0)
	members[1].sick.Store(true)
	examined(true, true)
	if status, _ := s.sendPool("z"); status != http.StatusOK {
		t.Errorf("where all are sick: %d", status)
	}
	members[0].sick.Store(false)
	examined(false, true)
	before = members[0].asked.Load()
	for range 4 {
		s.sendPool("")
	}
	if n := members[0].asked.Load() - before; n != 4 {
		t.Errorf("the one that is well was asked %d times of 4", n)
	}
	// A clock that is set back delays nothing.
	s.clock.Add(-time.Hour)
	members[1].sick.Store(false)
	examined(false, false)
}
