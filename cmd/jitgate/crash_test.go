package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

const (
	crashKills   = 10
	crashPeople  = 200
	crashWorkers = 8

	// crashPause is from the beginning of a worker's login to that of its next
	// one. It keeps the audit trail below what Redis holds of it.
	crashPause = 40 * time.Millisecond
)

// crashConfig is the configuration of a gateway that is killed. Its verbs are
// the base URL, the ports of the two listeners, and Redis' address. Each visitor
// says from where: the audit trail then tells which login an event is of.
const crashConfig = `
base_url: %s
listen: 127.0.0.1:%d
trusted_proxies: [127.0.0.1/32]
admin: {socket: gate.sock, listen: "127.0.0.1:%d"}
drain: 0s
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
redis: {addresses: [%q]}
attributes: [{name: userName}, {name: department, absent: keep}]
directories: [{name: acme, domains: [acme.example, labs.example]}]
identity_providers:
  - {name: acme, directory: acme, metadata: {file: idp.xml}, groups: {attribute: groups, allow: ["project-*"]}}
groups:
  - {name: engineers, rule: {attribute: department, is: Engineering}}
  - {name: labs, rule: {domain: labs.example}}
  - {name: sales, rule: {attribute: department, is: Sales}}
  - {name: spare, rule: {attribute: userName, starts_with: spare}}
apps:
  - {name: any, path: /, upstream: "http://127.0.0.1:9", allow: {any_user: true}}
`

// A crashSite is a gateway that runs as a process of its own, on a real Redis.
type crashSite struct {
	t           *testing.T
	base, admin string // origins of its two listeners
	listen      int    // port of the first
	file        string // configuration
	process     *testenv.Server
	store       *testenv.Server
	rdb         redis.UniversalClient
	idp         *samltest.IdP

	transport *http.Transport
	visitors  atomic.Uint32 // how many there were
	changes   atomic.Int64  // how many times the gateway came up or went down; odd while it is down
	successes atomic.Int64  // logins that the gateway has acknowledged
	refusals  atomic.Int64  // and those that it has refused
}

// newCrashSite starts the gateway.
func newCrashSite(t *testing.T) *crashSite {
	t.Helper()
	first, err := testenv.FreePorts(2) // which nothing else gets while the gateway is down
	if err != nil {
		t.Fatal(err)
	}
	store, dir := testenv.RedisServer(t), newSite(t).dir
	s := &crashSite{
		t: t, base: fmt.Sprintf("http://127.0.0.1:%d", first), admin: fmt.Sprintf("http://127.0.0.1:%d", first+1),
		listen: first, file: filepath.Join(dir, "jitgate.yaml"),
		store: store, rdb: testenv.Client(t, store.Addr), transport: &http.Transport{MaxIdleConnsPerHost: 32},
	}
	t.Cleanup(s.transport.CloseIdleConnections)
	if s.idp, err = samltest.New(samltest.Options{URL: "https://idp.acme.example"}); err != nil {
		t.Fatal(err)
	}
	metadata, err := s.idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{
		s.file:                        fmt.Appendf(nil, crashConfig, s.base, first, first+1, store.Addr),
		filepath.Join(dir, "idp.xml"): metadata,
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // when all processes have ended
		if s.process != nil && t.Failed() {
			log := s.process.Log()
			t.Logf("the gateway's last words:\n%s", log[max(0, len(log)-4000):])
		}
	})
	s.changes.Store(1)
	s.start()
	return s
}

// start starts the gateway and waits until it is ready.
func (s *crashSite) start() {
	s.t.Helper()
	s.process = testenv.Program(s.t, s.listen, "jitgate", "serve", "-c", s.file)
	testenv.Eventually(s.t, func() error { return answers(s.admin+"/readyz", http.StatusOK) })
	s.changes.Add(1)
}

// kill ends the gateway by SIGKILL, at once or as soon as Redis has done so many
// more commands, and looks at what it has logged. Most of the gateway's time goes
// into signatures: at any other moment hardly a login would be half written.
func (s *crashSite) kill(commands int) {
	s.t.Helper()
	s.changes.Add(1)
	if commands > 0 {
		s.await(commands)
		syscall.Kill(s.process.PID, syscall.SIGKILL)
	}
	s.process.Stop()
	log := s.process.Log()
	for _, bad := range []string{"DATA RACE", `"panic"`, "index has an ID without a user"} {
		if at := strings.Index(log, bad); at >= 0 {
			s.t.Errorf("the gateway logged %s:\n%.4000s", bad, log[at:])
		}
	}
}

// await returns when Redis has done so many more commands, those of scripts
// included.
func (s *crashSite) await(commands int) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.store.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waitLimit))
	fmt.Fprint(conn, "MONITOR\r\n")
	lines := bufio.NewScanner(conn)
	for range commands + 1 { // the first line is OK
		if !lines.Scan() {
			s.t.Fatalf("watching Redis: %v", lines.Err())
		}
	}
}

// A person is a user as an identity provider knows them.
type person struct {
	externalID, userName, domain, department string // "" is not sent

	groups []string
}

func (p person) attributes() map[string][]string {
	all := map[string][]string{"groups": p.groups}
	for name, value := range map[string]string{
		"ExternalId": p.externalID, "userName": p.userName, "domain": p.domain, "department": p.department,
	} {
		if value != "" {
			all[name] = []string{value}
		}
	}
	return all
}

// A login is a person signing in once, from an address that no other login has.
type login struct {
	claim   person
	from    string
	status  int      // of the answer; 0 where there was none
	code    string   // of the error in it
	err     error    // why there was no answer
	changes [2]int64 // those of the site when it began, and when it ended

	signedIn, refused int // what the audit trail has of it
}

// outage reports whether the login got no verdict.
func (l *login) outage() bool { return l.err != nil || l.status == http.StatusServiceUnavailable }

// problem says what is wrong with how a login ended, or returns "".
func (l *login) problem() string {
	switch {
	case l.err != nil && l.changes[0] == l.changes[1] && l.changes[0]%2 == 0:
		return fmt.Sprintf("no answer from a gateway that runs: %v", l.err)
	case l.err != nil, l.status == http.StatusSeeOther, l.status == http.StatusServiceUnavailable:
		return ""
	case l.status == http.StatusForbidden && l.code == "user_conflict":
		return ""
	}
	return fmt.Sprintf("status %d with the code %q", l.status, l.code)
}

// An opening is a login that was begun: who wants to sign in, with the response
// of the identity provider in hand.
type opening struct {
	*login
	client *http.Client
	form   url.Values // what the browser is to post
}

// begin begins a login up to the identity provider's response. Without an
// answer, or with one that is no redirect, the login ends here.
func (s *crashSite) begin(claim person) (opening, bool) {
	n := s.visitors.Add(1)
	l := &login{claim: claim, from: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()}
	jar, err := cookiejar.New(nil)
	if err != nil {
		l.err = err
		return opening{login: l}, false
	}
	o := opening{login: l, client: &http.Client{
		Transport: s.transport, Jar: jar, Timeout: waitLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	l.changes[0] = s.changes.Load()
	to := o.ask(s, http.MethodGet, "/.jitgate/login?idp=acme", nil)
	if l.status != http.StatusSeeOther {
		return o, false
	}
	l.status = 0
	if o.form, l.err = s.respond(to, claim); l.err != nil {
		return o, false
	}
	return o, true
}

// finish posts the response.
func (s *crashSite) finish(o opening) {
	o.ask(s, http.MethodPost, "/.jitgate/saml/acme/acs", o.form)
	switch o.status {
	case http.StatusSeeOther:
		s.successes.Add(1)
	case http.StatusForbidden:
		s.refusals.Add(1)
	}
}

// ask sends a request, notes what came of it, and returns where the answer leads.
func (o opening) ask(s *crashSite, method, path string, form url.Values) string {
	defer func() { o.changes[1] = s.changes.Load() }()
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		o.err = err
		return ""
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Forwarded-For", o.from)
	res, err := o.client.Do(req)
	if err != nil {
		o.err = err
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		o.err = err
		return ""
	}
	o.status = res.StatusCode
	var answer struct{ Error string }
	if json.Unmarshal(body, &answer) == nil {
		o.code = answer.Error
	}
	return res.Header.Get("Location")
}

// respond answers the AuthnRequest in a redirect, as the identity provider of
// the person would.
func (s *crashSite) respond(redirect string, p person) (url.Values, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return nil, err
	}
	deflated, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
	if err != nil {
		return nil, err
	}
	var request struct {
		ID string `xml:"ID,attr"`
	}
	if err := xml.Unmarshal(text, &request); err != nil {
		return nil, err
	}
	sp := samltest.SPInfo{EntityID: s.base + "/.jitgate/saml", ACS: s.base + "/.jitgate/saml/acme/acs"}
	response, err := s.idp.Good(sp, request.ID, samltest.User{Name: p.userName, Attributes: p.attributes()}).Base64()
	return url.Values{"SAMLResponse": {response}, "RelayState": {u.Query().Get("RelayState")}}, err
}

// trail returns the audit trail, from its beginning.
func (s *crashSite) trail() []audit.Event {
	s.t.Helper()
	var all []audit.Event
	for after := ""; ; {
		entries, err := audit.Entries(audit.Ask(s.t.Context(), s.rdb, audit.Key("jitgate:", "acme"), after, 1000))
		if err != nil {
			s.t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			all = append(all, e.Event)
		}
		after = entries[len(entries)-1].ID
	}
	if len(all) >= audit.MaxLen {
		s.t.Fatalf("the audit trail has %d events, and may have lost its beginning", len(all))
	}
	return all
}

// A crowd is the people who sign in, as the identity provider knows them now.
type crowd [crashPeople]atomic.Pointer[person]

// newCrowd returns people of both domains, half of them with an ExternalId.
func newCrowd() *crowd {
	all := new(crowd)
	for i := range all {
		p := &person{userName: fmt.Sprint("user-", i), domain: []string{"acme.example", "labs.example"}[i/2%2]}
		if i%2 == 0 {
			p.externalID = fmt.Sprint("ext-", i)
		}
		all[i].Store(p)
	}
	return all
}

// next chooses what somebody's next login says of them, and whether the identity
// provider goes on saying so once they have signed in.
func (all *crowd) next(r *rand.Rand) (who int, claim person, stays bool) {
	some := func() int { return r.IntN(1 + r.IntN(1+r.IntN(len(all)))) } // the first ones come most often, and meet
	who = some()
	claim = *all[who].Load()
	other := all[some()].Load()
	switch r.IntN(10) {
	case 0, 1: // the same again
	case 2, 3: // changes the department, and with it the groups
		claim.department = []string{"Engineering", "Sales", "Legal"}[r.IntN(3)]
		claim.groups = [][]string{nil, {"project-x"}, {"project-y", "project-x", "admins"}}[r.IntN(3)]
		stays = true
	case 4: // takes a name that is free, or was
		claim.userName, stays = fmt.Sprint("spare-", r.IntN(2*crashPeople)), true
	case 5: // takes the name of somebody else
		claim.userName, claim.domain = other.userName, other.domain
	case 6: // comes without ExternalId
		claim.externalID = ""
	case 7: // gets an ExternalId, or another one
		claim.externalID, stays = fmt.Sprint("new-", r.IntN(2*crashPeople)), claim.externalID == ""
	case 8: // comes with somebody else's
		claim.externalID = other.externalID
	case 9: // writes the name in another case
		claim.userName = strings.ToUpper(claim.userName)
	}
	return who, claim, stays
}

// signIn lets people sign in, one after the other, until stop is closed.
func (s *crashSite) signIn(people *crowd, r *rand.Rand, stop <-chan struct{}) []*login {
	var all []*login
	tick := time.NewTicker(crashPause)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return all
		case <-tick.C:
		}
		who, claim, stays := people.next(r)
		o, ok := s.begin(claim)
		if ok {
			s.finish(o)
		}
		if ok && stays && o.status == http.StatusSeeOther {
			people[who].Store(&claim)
		}
		all = append(all, o.login)
	}
}

// seed returns what the test's choices follow from, and tells it. With that in
// the environment a test makes the same ones again; what comes of them depends
// on who is faster as well.
func seed(t *testing.T) uint64 {
	t.Helper()
	const name = "JITGATE_TEST_SEED"
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		n = rand.Uint64()
	}
	t.Logf("%s=%d", name, n)
	return n
}

// TestCrashes kills the gateway again and again while people sign in who get in
// each other's way: every login is in the store and the audit trail as a whole
// or not at all, and those that were acknowledged are there.
func TestCrashes(t *testing.T) {
	t.Parallel()
	s, seed := newCrashSite(t), seed(t)
	length := 30 * time.Second
	if testing.Short() {
		length = 10 * time.Second
	}
	stop, people := make(chan struct{}), newCrowd()
	var logs [crashWorkers][]*login
	var workers sync.WaitGroup
	for i := range logs {
		workers.Go(func() { logs[i] = s.signIn(people, rand.New(rand.NewPCG(seed, uint64(i))), stop) })
	}
	end := sync.OnceFunc(func() { close(stop); workers.Wait() })
	defer end()

	r, begun := rand.New(rand.NewPCG(seed, crashWorkers)), time.Now()
	more := func(count *atomic.Int64, what string) {
		t.Helper()
		before := count.Load()
		testenv.Eventually(t, func() error {
			if count.Load() == before {
				return fmt.Errorf("nobody was %s since the gateway came up", what)
			}
			return nil
		})
	}
	for i := range crashKills {
		more(&s.successes, "signed in")
		share := (float64(i) + r.Float64()) / (crashKills + 1)
		<-time.After(time.Until(begun.Add(time.Duration(share * float64(length)))))
		s.kill(1 + r.IntN(100))
		s.start()
	}
	more(&s.successes, "signed in")
	more(&s.refusals, "refused")
	<-time.After(time.Until(begun.Add(length)))
	end()
	s.kill(0)

	var all []*login
	for _, log := range logs {
		all = append(all, log...)
	}
	s.checkAnswers(all)
	s.checkStore(s.replay(all))
}

// checkAnswers checks how logins ended, and that there were some of each kind.
func (s *crashSite) checkAnswers(all []*login) {
	s.t.Helper()
	successes, conflicts, outages := 0, 0, 0
	for _, l := range all {
		switch {
		case l.problem() != "":
			s.t.Errorf("login of %+v: %s", l.claim, l.problem())
		case l.outage():
			outages++
		case l.status == http.StatusSeeOther:
			successes++
		default:
			conflicts++
		}
	}
	s.t.Logf("%d logins: %d succeeded, %d conflicts, %d outages", len(all), successes, conflicts, outages)
	if successes <= crashKills || conflicts == 0 || outages == 0 {
		s.t.Errorf("too few logins of a kind for the test to say anything")
	}
}

// TestFirstLoginsAtOnce lets one user sign in a thousand times at once, who has
// never been there.
func TestFirstLoginsAtOnce(t *testing.T) {
	t.Parallel()
	const logins, atOnce = 1000, 32
	s := newCrashSite(t)
	ann := person{userName: "ann", externalID: "1", domain: "acme.example"}
	each := func(do func(i int)) {
		next := make(chan int)
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				for i := range next {
					do(i)
				}
			})
		}
		for i := range logins {
			next <- i
		}
		close(next)
		all.Wait()
	}
	// All responses are there before the first one is posted.
	begun := make([]opening, logins)
	each(func(i int) { begun[i], _ = s.begin(ann) })
	var again atomic.Int64
	each(func(i int) {
		for o, deadline := begun[i], time.Now().Add(2*time.Minute); ; o, _ = s.begin(ann) {
			if o.form != nil {
				s.finish(o)
			}
			switch {
			case o.status == http.StatusSeeOther:
				return
			case o.status == http.StatusServiceUnavailable && time.Now().Before(deadline):
				again.Add(1) // a machine that is busy elsewhere may be too slow for one of them
			default:
				t.Errorf("login %d: status %d with the code %q, %v", i, o.status, o.code, o.err)
				return
			}
		}
	})
	s.kill(0)
	t.Logf("%d logins were begun again", again.Load())
	types, ids := make(map[string]int), make(map[string]bool)
	for _, e := range s.trail() {
		types[e.Type]++
		ids[e.UserID] = true
	}
	if len(ids) != 1 || types[audit.UserCreated] != 1 || types[audit.Login] < logins || len(types) != 2 {
		t.Errorf("%d user IDs and the events %v, want one user_created and %d logins of one user", len(ids), types, logins)
	}
}
