package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A process is a gateway that runs as one, seen from outside.
type process int

// files returns how many files the process has open, connections included.
func (p process) files() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p))
	return len(open), err
}

// memory returns a line of the process's status in MiB: VmRSS or VmHWM, its peak.
func (p process) memory(t testing.TB, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// slowLimits are short, for the end of them to be seen.
const slowLimits = `
limits: {header_time: 25s, idle: 25s, stall: 25s, connections: 15000, connections_per_address: 500}
`

// slow are the ways in which a client can take its time. Each connects from an
// address of its own choice, sends the beginning, and then a byte a second.
var slow = []struct{ why, begin, more string }{
	{"nothing", "", ""},
	{"half a header", "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", "x"},
	{"half a body", "POST /public/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx", ""},
	{"half a form", "POST /.jitgate/saml/acme/acs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\nSAMLResponse=", "x"},
	{"half a body that nobody wants", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx", ""},
}

// TestSlowClients has 10,000 connections open at once that do not get on, among
// them some that never read what they asked for, and lets ann sign in meanwhile.
func TestSlowClients(t *testing.T) {
	number := 10000
	if raced { // everything takes many times as long
		number = 3000
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(min(files.Cur, 1<<20))*6/10 - 1000; most < number {
		t.Logf("%d connections and not %d: the system lets a process have %d files", most, number, files.Cur)
		number = most
	}
	const deaf = 200 // those that never read: the system keeps megabytes for each
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/public/big" {
			for range 1 << 10 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
			return
		}
		io.WriteString(w, "the app")
	}))
	t.Cleanup(upstream.Close)
	idp, site := localIdP(t), newSite(t)
	rest := strings.Replace(fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), upstream.URL), "allow:", "public: [/public/], allow:", 1)
	r := site.prepare("localhost", 0, rest+slowLimits)
	introduceSP(t, idp, r.file)
	server := testenv.Program(t, r.listen, "jitgate", "serve", "-c", r.file)
	testenv.Eventually(t, func() error { return answers(r.admin+"/readyz", http.StatusOK) })
	// The identity provider is asked for its metadata after the start.
	testenv.Eventually(t, func() error { return answers(r.base+"/.jitgate/login?idp=acme", http.StatusOK) })
	signIn(t, r.base)
	gateway := process(server.PID)
	before, err := gateway.files()
	if err != nil {
		t.Fatal(err)
	}
	rss := gateway.memory(t, "VmRSS")

	var closed atomic.Int64
	var all sync.WaitGroup
	stop, began := make(chan struct{}), time.Now()
	t.Cleanup(func() { close(stop); all.Wait() })
	opened := connect(t, r.listen, number, func(i int, c net.Conn) {
		s := slow[i%len(slow)]
		if i < deaf {
			s.begin, s.more = "GET /public/big HTTP/1.1\r\nHost: localhost\r\n\r\n", ""
		}
		all.Go(func() {
			defer c.Close()
			io.WriteString(c, s.begin)
			if i < deaf {
				<-stop // the other end has to see that nothing is read
				return
			}
			trickle(c, s.more, stop)
			closed.Add(1)
		})
	})
	if opened < number*99/100 {
		t.Errorf("%d connections are open at once, want %d", opened, number)
	}
	during, _ := gateway.files()
	if took := time.Since(began); took > 20*time.Second {
		t.Logf("connecting took %v: the first ones are gone", took)
	} else if during < opened*9/10 {
		t.Errorf("the gateway has %d files open, want one for each of %d connections", during, opened)
	}

	// Everybody else is served.
	began = time.Now()
	if err := answers(r.base+"/public/x", http.StatusOK); err != nil {
		t.Error(err)
	}
	asked := time.Since(began)
	began = time.Now()
	signIn(t, r.base)
	t.Logf("with %d connections of %d files: a request took %v, a sign-in %v, memory %d MiB after %d MiB",
		opened, during, asked, time.Since(began), gateway.memory(t, "VmRSS"), rss)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a sign-in took %v", took)
	}

	// And they are got rid of.
	for gone := time.Now(); ; { // longer than Eventually waits: the limits have to be over
		now, err := gateway.files()
		if err == nil && now <= before+100 {
			t.Logf("all are gone after %v", time.Since(gone))
			break
		}
		if time.Since(gone) > 3*waitLimit {
			t.Fatalf("%d files open after %d, %v", now, before, err)
		}
		<-time.After(100 * time.Millisecond)
	}
	signIn(t, r.base)
	if peak := gateway.memory(t, "VmHWM"); peak > 1024 && !raced {
		t.Errorf("the gateway took %d MiB of memory", peak)
	}
	t.Logf("%d connections were closed; memory %d MiB, at its peak %d MiB", closed.Load(), gateway.memory(t, "VmRSS"), gateway.memory(t, "VmHWM"))
}

// signIn signs ann in, to a page of the app.
func signIn(t *testing.T, base string) {
	t.Helper()
	page, err := testenv.NewBrowser(t, nil).Login(base+"/page", "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusOK || page.Body != "the app" {
		t.Fatalf("signing in: status %d: %s", page.Status, page.Text())
	}
}

// connect opens connections to a port of this machine, 200 from each of the
// addresses that it has, and returns how many it was given.
func connect(t *testing.T, port, number int, use func(int, net.Conn)) int {
	t.Helper()
	var opened atomic.Int64
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; i < number; i += 64 {
				from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/200), 1)}
				d := net.Dialer{LocalAddr: from, Timeout: waitLimit}
				c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Error(err)
					return
				}
				c.(*net.TCPConn).SetReadBuffer(4 << 10)
				opened.Add(1)
				use(i, c)
			}
		})
	}
	all.Wait()
	return int(opened.Load())
}

// trickle sends more every second, and returns when the other end has closed.
func trickle(c net.Conn, more string, stop <-chan struct{}) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		io.Copy(io.Discard, c)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-stop:
			c.Close()
			<-gone
			return
		case <-tick.C:
			if _, err := io.WriteString(c, more); err != nil {
				c.Close()
			}
		}
	}
}

// TestFloods has responses come 30 at a time that cost as much as any can, from an
// address of its own each, and ten times a second, and lets others sign in meanwhile.
func TestFloods(t *testing.T) {
	const attackers = 30
	logins := 20
	if raced {
		logins = 10
	}
	deep := "<samlp:Response xmlns:samlp=\"" + samltest.NSProtocol + "\"><ds:Signature xmlns:ds=\"" + samltest.NSSignature + "\"><ds:SignedInfo>" +
		strings.Repeat("<a>", 500_000) + strings.Repeat("</a>", 500_000) + "</ds:SignedInfo></ds:Signature></samlp:Response>"
	for _, test := range []struct {
		name   string
		attack func(*crashSite, url.Values) io.Reader // the form of a login that is under way
		status int
	}{
		{"B13 half a million nested elements in SignedInfo, in 5 MB", func(_ *crashSite, form url.Values) io.Reader {
			form.Set("SAMLResponse", base64.StdEncoding.EncodeToString([]byte(deep)))
			return strings.NewReader(form.Encode())
		}, http.StatusRequestEntityTooLarge},
		{"B13 the same without a length", func(_ *crashSite, form url.Values) io.Reader {
			form.Set("SAMLResponse", base64.StdEncoding.EncodeToString([]byte(deep)))
			return struct{ io.Reader }{strings.NewReader(form.Encode())}
		}, http.StatusRequestEntityTooLarge},
		{"B13 as many as fit into the size that is read", func(_ *crashSite, form url.Values) io.Reader {
			nested := strings.Replace(deep, strings.Repeat("<a>", 500_000), strings.Repeat("<a>", 100_000), 1)
			form.Set("SAMLResponse", base64.StdEncoding.EncodeToString([]byte(nested[:384<<10])))
			return strings.NewReader(form.Encode())
		}, http.StatusForbidden},
		{"B19 30 parallel worst-case documents", forgery, http.StatusForbidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newCrashSite(t)
			gateway := process(s.process.PID)
			victim, ok := s.begin(person{userName: "mallory", domain: "acme.example"})
			if !ok {
				t.Fatalf("login not begun: %d %v", victim.status, victim.err)
			}
			_, chunked := test.attack(s, copyOf(victim.form)).(struct{ io.Reader })
			form, err := io.ReadAll(test.attack(s, copyOf(victim.form)))
			if err != nil {
				t.Fatal(err)
			}
			u, _ := url.Parse(s.base)
			cookies := victim.client.Jar.Cookies(u)

			var posts, wrong atomic.Int64
			var all sync.WaitGroup
			stop := make(chan struct{})
			for range attackers {
				all.Go(func() {
					tick := time.NewTicker(100 * time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-stop:
							return
						case <-tick.C:
						}
						var body io.Reader = strings.NewReader(string(form))
						if chunked {
							body = struct{ io.Reader }{body}
						}
						n := posts.Add(1)
						status, err := flood(s, cookies, body, n)
						// A body that is not read to its end breaks the connection, maybe before the answer.
						if err == nil && status != test.status && status != http.StatusServiceUnavailable || err != nil && test.status != http.StatusRequestEntityTooLarge {
							wrong.Add(1)
							t.Errorf("status %d, %v, want %d", status, err, test.status)
							return
						}
					}
				})
			}
			var times []time.Duration
			start := time.Now()
			for i := range logins {
				if time.Since(start) > waitLimit { // a machine that is busy with something else
					break
				}
				began := time.Now()
				o := s.once(person{userName: fmt.Sprintf("user-%d", i), domain: "acme.example"})
				for tries := 1; o.status == http.StatusServiceUnavailable && tries < 5; tries++ { // as its page says
					t.Logf("a login beside it: %s", o.code)
					o = s.once(person{userName: fmt.Sprintf("user-%d", i), domain: "acme.example"})
				}
				times = append(times, time.Since(began))
				if o.status != http.StatusSeeOther {
					t.Errorf("a login beside it: status %d, %s, %v", o.status, o.code, o.err)
					break
				}
			}
			close(stop)
			all.Wait()
			slices.Sort(times)
			longest, peak := times[len(times)-1], gateway.memory(t, "VmHWM")
			t.Logf("%d posts; a login took %v (median), %v (most); memory %d MiB at its peak", posts.Load(), times[len(times)/2], longest, peak)
			if longest > 5*time.Second && !raced { // against hanging: other tests run beside
				t.Errorf("a login took %v", longest)
			}
			if peak >= 256 && !raced {
				t.Errorf("memory of %d MiB, want less than 256", peak)
			}
			if err := answers(s.admin+"/readyz", http.StatusOK); err != nil {
				t.Error(err)
			}
		})
	}
}

// once signs somebody in.
func (s *crashSite) once(claim person) opening {
	o, ok := s.begin(claim)
	if ok {
		s.finish(o)
	}
	return o
}

func copyOf(form url.Values) url.Values { return url.Values{"RelayState": form["RelayState"]} }

// forgery is a message as large and of as many elements as are let through to the
// signature, which is by somebody else's key.
func forgery(s *crashSite, form url.Values) io.Reader {
	sp := samltest.SPInfo{EntityID: s.base + "/.jitgate/saml", ACS: s.base + "/.jitgate/saml/acme/acs"}
	m := s.idp.Good(sp, "_x", samltest.User{Name: "mallory@acme.example"})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	m.Signature.Key, m.SignResponse, m.SignAssertion = key, true, true
	m.SetAttribute("groups", slices.Repeat([]string{strings.Repeat("g", 400)}, 820)...)
	text, err := m.Base64()
	if err != nil {
		s.t.Fatal(err)
	}
	if len(text) < 400<<10 || len(text) > 512<<10 {
		s.t.Fatalf("the forgery has %d bytes", len(text))
	}
	form.Set("SAMLResponse", text)
	return strings.NewReader(form.Encode())
}

// flood posts a form to the ACS from the nth address, and returns the status.
func flood(s *crashSite, cookies []*http.Cookie, form io.Reader, n int64) (int, error) {
	req, err := http.NewRequest(http.MethodPost, s.base+"/.jitgate/saml/acme/acs", form)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.200.%d.%d", byte(n>>8), byte(n)))
	for _, c := range cookies {
		req.AddCookie(c)
	}
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}
