package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

const (
	chaosTime   = 40 * time.Second
	chaosPeople = 200

	// chaosPause is about what a visitor waits between two things.
	chaosPause = 1500 * time.Millisecond

	// chaosSpread is for how long after it was acknowledged a change may not yet be
	// known everywhere, and a busy machine's answers late.
	chaosSpread = 2 * time.Second

	// chaosRecovery is within what time after the end of a fault all works again.
	chaosRecovery = 5 * time.Second
)

// slower returns how much longer things take in this test program.
func slower() time.Duration {
	if raced {
		return 4
	}
	return 1
}

const chaosConfig = `
base_url: %[1]s
listen: 127.0.0.1:%[2]d
admin: {socket: gate-%[2]d.sock, listen: "127.0.0.1:%[3]d"}
drain: 500ms
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
redis: %[4]s
limits: {logins_per_minute: 1000000}
attributes: [{name: userName}, {name: department}]
directories: [{name: acme, domains: [acme.example]}]
identity_providers:
  - {name: acme, directory: acme, metadata: {file: idp.xml}}
groups:
  - {name: red, rule: {attribute: department, is: red}}
  - {name: blue, rule: {attribute: department, is: blue}}
apps:
  - {name: any, path: /, upstream: %[5]q, allow: {any_user: true}, headers: {preset: forwarded}}
`

// A chaosSite is three gateways, each a process, and a balancer before them.
type chaosSite struct {
	t     *testing.T
	base  string // of the balancer, and what visitors see
	gates []*chaosGate
	idp   *samltest.IdP
	began time.Time
	stop  chan struct{} // closed when it is over

	transport *http.Transport

	mu     sync.Mutex
	faults []string  // the time line
	until  time.Time // up to when what is asked may find no answer
	unsure []span    // in which what was acknowledged may get lost
	wrong  []string
	done   map[string]int // how often each thing was done and acknowledged
}

type chaosGate struct {
	number         int
	address, admin string
	port           int
	file, socket   string
	process        *testenv.Server
}

// A span is a time from one moment to another; to is zero while it lasts.
type span struct{ from, to time.Time }

// newChaosSite starts the gateways. Redis returns what their configurations say of it.
func newChaosSite(t *testing.T, redis func(gate int) string) *chaosSite {
	t.Helper()
	first, err := testenv.FreePorts(7)
	if err != nil {
		t.Fatal(err)
	}
	dir := newSite(t).dir
	s := &chaosSite{
		t: t, base: fmt.Sprintf("http://127.0.0.1:%d", first), began: time.Now(), stop: make(chan struct{}),
		transport: &http.Transport{MaxIdleConnsPerHost: 100, ResponseHeaderTimeout: waitLimit}, done: make(map[string]int),
	}
	t.Cleanup(s.transport.CloseIdleConnections)
	if s.idp, err = samltest.New(samltest.Options{URL: "https://idp.acme.example"}); err != nil {
		t.Fatal(err)
	}
	metadata, err := s.idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "idp.xml"), metadata, 0o600); err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(upstream.Close)
	for i := range 3 {
		port := first + 1 + 2*i
		g := &chaosGate{
			number: i, port: port, address: fmt.Sprintf("127.0.0.1:%d", port), admin: fmt.Sprintf("http://127.0.0.1:%d", port+1),
			file: filepath.Join(dir, fmt.Sprintf("jitgate-%d.yaml", i)), socket: filepath.Join(dir, fmt.Sprintf("gate-%d.sock", port)),
		}
		text := fmt.Sprintf(chaosConfig, s.base, port, port+1, redis(i), upstream.URL)
		if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.gates = append(s.gates, g)
		s.start(g)
	}
	s.balance(first)
	return s
}

// told is who the upstream is told that asks.
type told struct{ User, Groups string }

// serve is the upstream. The query says who asks, and whether the session is over: so
// that it is seen here too, if the answer does not arrive.
func (s *chaosSite) serve(w http.ResponseWriter, r *http.Request) {
	got := told{r.Header.Get("X-Forwarded-User"), r.Header.Get("X-Forwarded-Groups")}
	if as := r.FormValue("as"); got.User != as || r.FormValue("over") != "" {
		s.report("%s reached the upstream as %q; %s", as, got.User, r.URL.RawQuery)
	}
	json.NewEncoder(w).Encode(got)
}

func (s *chaosSite) start(g *chaosGate) {
	g.process = testenv.Program(s.t, g.port, "jitgate", "serve", "-c", g.file)
}

// balance starts the balancer.
func (s *chaosSite) balance(port int) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		s.t.Fatal(err)
	}
	b := new(balancer)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, g := range s.gates {
		to := &balanced{admin: g.admin, proxy: &httputil.ReverseProxy{
			Transport: s.transport,
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "http", Host: g.address})
				r.Out.Host = r.In.Host
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				http.Error(w, "no answer", http.StatusBadGateway)
			},
		}}
		b.gates = append(b.gates, to)
		watching.Go(func() { to.watch(ctx) })
	}
	server := &http.Server{Handler: b}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	s.t.Cleanup(func() {
		cancel()
		watching.Wait()
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	})
}

// report notes something that must not be.
func (s *chaosSite) report(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf("%8.3fs ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

// count notes something that was done and acknowledged.
func (s *chaosSite) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[what]++
}

// excused reports whether something asked at a time may have no answer.
func (s *chaosSite) excused(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return at.Before(s.until)
}

// fault notes that something breaks, or is mended.
func (s *chaosSite) fault(what string, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf("%8.3fs %s", time.Since(s.began).Seconds(), what))
	s.until = time.Now().Add(time.Hour)
	if over {
		s.until = time.Now().Add(chaosRecovery)
	}
}

// confirmed reports whether what was acknowledged at a time is not lost, whatever
// happens to Redis.
func (s *chaosSite) confirmed(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.unsure {
		if !at.Before(u.from) && (u.to.IsZero() || at.Before(u.to)) {
			return false
		}
	}
	return true
}

// A question is a request to the balancer or, with gate >= 0, to that gateway itself.
type question struct {
	gate         int
	method, path string
	cookies      string
	navigating   bool // as a browser that goes to a page
	form         url.Values
}

// An answer is what came back.
type answer struct {
	status  int
	code    string // of the error
	told    told
	cookie  string // the session that it sets
	cleared bool   // or takes away
	to      string
	retry   string
}

// ask sends a request.
func (s *chaosSite) ask(q question) (answer, error) {
	target := s.base
	if q.gate >= 0 {
		target = "http://" + s.gates[q.gate].address
	}
	req, err := http.NewRequest(q.method, target+q.path, strings.NewReader(q.form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Host = strings.TrimPrefix(s.base, "http://")
	req.Header.Set("Accept", "application/json")
	if q.navigating {
		req.Header.Set("Accept", "text/html")
	}
	if q.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Cookie", q.cookies)
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, to: res.Header.Get("Location"), retry: res.Header.Get("Retry-After")}
	for _, c := range res.Cookies() {
		if c.Name == "jitgate" {
			a.cookie, a.cleared = c.Value, c.MaxAge < 0
		}
	}
	if res.StatusCode == http.StatusOK && strings.HasPrefix(q.path, "/page") {
		return a, json.Unmarshal(body, &a.told)
	}
	var failed struct{ Error string }
	if json.Unmarshal(body, &failed) == nil {
		a.code = failed.Error
	}
	return a, nil
}

// signIn signs somebody in and returns the value of their cookie. Old is that of the
// session that the browser has. An error says that it was not acknowledged.
func (s *chaosSite) signIn(name, department, old string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, s.base+"/.jitgate/login?idp=acme", nil)
	if err != nil {
		return "", err
	}
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("beginning: %w", refusal{status: res.StatusCode})
	}
	cookies := []string{"jitgate=" + old}
	for _, c := range res.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	idp := crashSite{base: s.base, idp: s.idp}
	form, err := idp.respond(res.Header.Get("Location"), person{userName: name, domain: "acme.example", department: department})
	if err != nil {
		return "", err
	}
	a, err := s.ask(question{gate: -1, method: http.MethodPost, path: "/.jitgate/saml/acme/acs", cookies: strings.Join(cookies, "; "), form: form})
	if err == nil && (a.status != http.StatusSeeOther || a.cookie == "") {
		err = fmt.Errorf("finishing: %w", refusal{a.status, a.code})
	}
	return a.cookie, err
}

// A refusal is an answer that does not say yes.
type refusal struct {
	status int
	code   string
}

func (r refusal) Error() string { return fmt.Sprintf("%s: %d", r.code, r.status) }

// admin asks a gateway over its socket.
func (s *chaosSite) admin(gate int, method, path string, into any) error {
	client := http.Client{Timeout: waitLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.gates[gate].socket)
		},
	}}
	req, err := http.NewRequest(method, "http://jitgate"+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %d", method, path, res.StatusCode)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// pause waits, unless all is over.
func (s *chaosSite) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.stop:
	}
}

// A fault happens from its beginning to its end.
type fault func(r *rand.Rand)

// some returns how long something is to last.
func some(r *rand.Rand) time.Duration {
	return 500*time.Millisecond + time.Duration(r.Int64N(int64(1500*time.Millisecond)))
}

// kill kills a gateway and starts it again.
func (s *chaosSite) kill(r *rand.Rand) {
	g := s.gates[r.IntN(len(s.gates))]
	s.fault(fmt.Sprintf("gateway %d is killed", g.number), false)
	g.process.Stop()
	s.pause(some(r))
	s.start(g)
	s.fault(fmt.Sprintf("gateway %d is back", g.number), true)
}

// restart has a gateway end by itself, and starts it again.
func (s *chaosSite) restart(r *rand.Rand) {
	g := s.gates[r.IntN(len(s.gates))]
	s.fault(fmt.Sprintf("gateway %d is told to end", g.number), false)
	syscall.Kill(g.process.PID, syscall.SIGTERM)
	testenv.Eventually(s.t, func() error {
		if c, err := net.Dial("tcp", strings.TrimPrefix(g.admin, "http://")); err == nil {
			c.Close()
			return errors.New("it runs on")
		}
		return nil
	})
	g.process.Stop()
	s.start(g)
	s.fault(fmt.Sprintf("gateway %d is back", g.number), true)
}

// recover waits until every gateway lets the probe through again.
func (s *chaosSite) recover(cookie string) {
	limit := chaosRecovery * slower()
	began := time.Now()
	for _, g := range s.gates {
		testenv.Eventually(s.t, func() error {
			a, err := s.ask(question{gate: g.number, method: http.MethodGet, path: "/page?as=probe", cookies: "jitgate=" + cookie})
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("gateway %d: %d", g.number, a.status)
			}
			return err
		})
	}
	if took := time.Since(began); took > limit {
		s.report("recovery took %v", took)
	}
}

// Whatever happens to the gateways and to Redis, nobody is let through who should not
// be, or as somebody else, and nobody loses a session or what they are.
func TestChaos(t *testing.T) {
	t.Parallel()
	store := testenv.RedisServer(t)
	var relays []*testenv.Relay
	for range 3 {
		relays = append(relays, testenv.NewRelay(t, store.Addr))
	}
	s := newChaosSite(t, func(gate int) string { return fmt.Sprintf("{addresses: [%q]}", relays[gate].Addr) })
	s.run(s.kill, s.restart, func(r *rand.Rand) {
		i := r.IntN(len(relays))
		s.fault(fmt.Sprintf("gateway %d is cut off from Redis", i), false)
		relays[i].Cut()
		s.pause(2 * some(r))
		relays[i].Mend()
		s.fault(fmt.Sprintf("gateway %d reaches Redis again", i), true)
	}, func(*rand.Rand) {
		s.fault("Redis is paused", false)
		store.Pause()
		s.pause(3 * time.Second)
		store.Resume()
		s.fault("Redis goes on", true)
	})
}

// chaosPlan returns for how long there is to be chaos, and what it follows from.
func chaosPlan(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, seed = chaosTime, uint64(time.Now().UnixNano())
	var err error
	if text := os.Getenv("JITGATE_CHAOS"); text != "" {
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("JITGATE_CHAOS_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("JITGATE_CHAOS_SEED=%d", seed)
	return length, seed
}

// run lets people come and go while one fault after the other happens, each kind of
// them once in a round, and says what was wrong.
func (s *chaosSite) run(faults ...fault) {
	s.t.Helper()
	length, seed := chaosPlan(s.t)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("what happened:\n%s", strings.Join(s.faults, "\n"))
		}
	})
	var probe string
	testenv.Eventually(s.t, func() (err error) {
		probe, err = s.signIn("probe", "red", "")
		return err
	})
	var busy sync.WaitGroup
	visitors := make([]*chaosVisitor, chaosPeople)
	for i := range visitors {
		v := &chaosVisitor{s: s, name: fmt.Sprintf("u%d", i), r: rand.New(rand.NewPCG(seed, uint64(i)))}
		visitors[i] = v
		busy.Go(func() { v.live(s.stop) })
	}
	end := sync.OnceFunc(func() { close(s.stop); busy.Wait() })
	defer end()
	r := rand.New(rand.NewPCG(seed, 1<<32))
	for over := time.Now().Add(length); time.Now().Before(over); {
		for _, i := range r.Perm(len(faults)) {
			if time.Now().After(over) {
				break
			}
			s.pause(time.Duration(r.Int64N(int64(time.Second))))
			faults[i](r)
			s.recover(probe)
		}
	}
	end()
	for _, v := range visitors {
		v.last()
	}
	s.verdict()
}

// verdict fails the test if something was wrong.
func (s *chaosSite) verdict() {
	s.t.Helper()
	s.t.Log(s.done)
	for _, what := range []string{"passed", "kept out", "signed in", "signed out", "revoked", "blocked"} {
		if s.done[what] == 0 {
			s.t.Errorf("nobody has %s", what)
		}
	}
	if len(s.wrong) > 0 {
		s.t.Errorf("%d things went wrong:\n%s", len(s.wrong), strings.Join(s.wrong[:min(len(s.wrong), 20)], "\n"))
	}
}
