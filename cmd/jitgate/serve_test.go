package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// writePair writes a new certificate for the names as tls.crt and tls.key in dir.
func writePair(t *testing.T, dir string, names ...string) testenv.Certificate {
	t.Helper()
	c := testenv.SelfSigned(names...)
	for name, data := range map[string][]byte{"tls.crt": c.CertPEM(), "tls.key": c.KeyPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// TestHTTPS signs in over https, with an app on a host of its own: cookies are
// bound to their hosts, and the login is handed over from one to the other.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	idp, site := localIdP(t), newSite(t)
	cert := writePair(t, site.dir, "sso.example.com", "wiki.example.com")
	listen := testenv.FreePort(t)
	base := fmt.Sprintf("https://sso.example.com:%d", listen)
	wiki := fmt.Sprintf("https://wiki.example.com:%d", listen)
	file := filepath.Join(site.dir, "jitgate.yaml")
	text := fmt.Sprintf(`base_url: %s
listen: 127.0.0.1:%d
tls: {cert_file: tls.crt, key_file: tls.key}
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
%s  - {name: wiki, host: wiki.example.com, upstream: %q, allow: {any_user: true}}
`, base, listen, fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL), echoUpstream(t).URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	introduceSP(t, idp, file)
	start(t, "serve", "-c", file)
	b := testenv.NewBrowser(t, cert.Pool())
	testenv.Eventually(t, func() error { _, err := b.Open(base + "/.jitgate/login"); return err })

	var page *testenv.Page
	testenv.Eventually(t, func() (err error) { // until the metadata has been loaded
		if page, err = b.Login(wiki+"/page?x=1", "", "ann", "ann"); err == nil && page.Status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", page.Status, page.Text())
		}
		return err
	})
	got := reached(t, page)
	if page.URL.Host != strings.TrimPrefix(wiki, "https://") || got.URL != "/page?x=1" {
		t.Errorf("landed on %s, want %s/page?x=1", page.URL, wiki)
	}
	got.wantHeaders(t, map[string]string{"X-Forwarded-User": "ann@acme.example", "X-Forwarded-Proto": "https", "Cookie": ""})

	// Each host has a session of its own, in a cookie that no other host sets.
	values := make(map[string]bool)
	for _, origin := range []string{base, wiki} {
		for _, c := range b.Cookies(origin + "/") {
			if !strings.HasPrefix(c.Name, "__Host-jitgate") || !c.Secure || !c.HttpOnly {
				t.Errorf("%s has the cookie %s", origin, c)
			}
			if c.Name == "__Host-jitgate" {
				values[c.Value] = true
			}
		}
	}
	if len(values) != 2 {
		t.Errorf("%d different sessions, want one a host", len(values))
	}

	// Signed out of one, signed out of all.
	page, err := b.Open(wiki + "/.jitgate/logout")
	if err != nil || len(page.Forms) != 1 {
		t.Fatalf("logout page: %v, %d forms", err, len(page.Forms))
	}
	if _, err := page.Forms[0].Submit(); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodGet, base+"/page", nil)
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after signing out at %s, %s answers %d, want 401", wiki, base, res.StatusCode)
	}
}

// TestCertificate renews a certificate under a server that runs. Time is what
// the test says it is.
func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := writePair(t, dir, "example.com")
	core, logs := observer.New(zap.InfoLevel)
	c := &certificate{certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"), log: zap.New(core)}
	check := func(at time.Time, want testenv.Certificate, when string) {
		t.Helper()
		pair, err := c.get(at)
		if err != nil {
			t.Fatal(err)
		}
		if !pair.Leaf.Equal(want.Certificate) {
			t.Errorf("serial %d %s, want %d", pair.Leaf.SerialNumber, when, want.SerialNumber)
		}
		if leaf := c.leaves()[0]; !leaf.Equal(want.Certificate) {
			t.Errorf("the monitoring is told of serial %d %s, want %d", leaf.SerialNumber, when, want.SerialNumber)
		}
	}
	now := time.Now()
	check(now, first, "at first")
	second := writePair(t, dir, "example.com")
	touch(t, c, now.Add(time.Minute))
	check(now.Add(certificateAge/2), first, "before the files are looked at again")
	check(now.Add(certificateAge), second, "after renewal")
	// Half written: the one before goes on.
	if err := os.WriteFile(c.certFile, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, c, now.Add(2*time.Minute))
	check(now.Add(2*certificateAge), second, "with a broken file")
	if logs.FilterMessageSnippet("not read").Len() != 1 {
		t.Errorf("a broken file is logged %d times, want once", logs.FilterMessageSnippet("not read").Len())
	}
}

// touch sets when the files of a certificate were changed: two writes within a
// tick of the file system's clock would look like one.
func touch(t *testing.T, c *certificate, at time.Time) {
	t.Helper()
	for _, file := range []string{c.certFile, c.keyFile} {
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// activatedConfig is most of a configuration, but for the URL of metadata.
const activatedConfig = `
redis: {embedded: true}
attributes: [{name: userName}]
directories: [{name: acme, domains: [acme.example]}]
identity_providers: [{name: acme, directory: acme, metadata: {url: %q}}]
apps: [{name: wiki, upstream: "http://127.0.0.1:1", allow: {any_user: true}}]
`

// TestSocketActivation starts the program as systemd does, with sockets that are open
// already: connections from before it is there are answered by it.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	rest := fmt.Sprintf(activatedConfig, localIdP(t).EntityID())
	for _, test := range []struct {
		names string
		kind  string // of the sockets
		want  string // of what it says where it does not start
	}{
		{"public", "tcp", ""},
		{"jitgate.socket", "tcp", `socket called "jitgate.socket"`},
		{"public:public", "tcp", `several sockets called "public"`},
		{"public:ext_authz", "tcp", `socket called "ext_authz", which is for none of public, admin`},
		// Anybody who reaches it would be an administrator.
		{"socket", "tcp", `socket called "socket", which is for none of public, admin`},
		{"socket", "unix", `called "socket": it is of unix at`},
		{"public", "unix", `called "public": it is of unix at`},
		{"public", "udp", `called "public": nobody listens on it`},
		{"public", "connected", `called "public": nobody listens on it`},
		{"public", "file", `called "public": socket operation on non-socket`},
	} {
		t.Run(test.kind+" "+test.names, func(t *testing.T) {
			t.Parallel()
			r := newSite(t).prepare("127.0.0.1", 0, rest)
			address, files := passable(t, test.kind, strings.Count(test.names, ":")+1)
			log := new(syncBuffer)
			cmd := activated(r.file, test.names, log, files...)
			early := make(chan error, 1)
			if test.want == "" {
				go func() { early <- answers("http://"+address+"/.jitgate/logout", http.StatusOK) }()
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			if test.want == "" {
				if err := <-early; err != nil {
					t.Error(err)
				}
				if err := answers(fmt.Sprintf("http://127.0.0.1:%d/", r.listen), http.StatusOK); err == nil {
					t.Error("it listens at its own address too")
				}
				cmd.Process.Signal(syscall.SIGTERM)
			}
			select {
			case err := <-ended:
				if (err == nil) != (test.want == "") || !strings.Contains(log.String(), test.want) {
					t.Errorf("%v, and it says %s; want %q", err, log, test.want)
				}
			case <-time.After(time.Minute):
				cmd.Process.Kill()
				t.Errorf("it runs, and says %s; want %q", log, test.want)
			}
		})
	}
}

// activated returns the program as systemd starts it, with files of these names.
func activated(config, names string, log io.Writer, files ...*os.File) *exec.Cmd {
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec jitgate serve -c "$0"`, config)
	cmd.Env = append(os.Environ(), "LISTEN_FDNAMES="+names, fmt.Sprintf("LISTEN_FDS=%d", len(files)))
	cmd.ExtraFiles, cmd.Stderr = files, log
	return cmd
}

// passable returns n files of a kind, as they are passed to a process, and the address of
// the last one.
func passable(t *testing.T, kind string, n int) (address string, files []*os.File) {
	t.Helper()
	for range n {
		var c interface{ File() (*os.File, error) }
		switch kind {
		case "file":
			f, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
			continue
		case "udp":
			l, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c = l.(*net.UDPConn)
		case "unix":
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			c = l.(*net.UnixListener)
		default:
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			address, c = l.Addr().String(), l.(*net.TCPListener)
			if kind == "connected" {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				c = conn.(*net.TCPConn)
			}
		}
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	return address, files
}

// TestSocketActivationRestart takes one process after the other to the same socket: no
// connection is refused in between, and a reload changes nothing about it.
func TestSocketActivationRestart(t *testing.T) {
	t.Parallel()
	r := newSite(t).prepare("127.0.0.1", 0, fmt.Sprintf(activatedConfig, localIdP(t).EntityID())+"drain: 0s\n")
	address, files := passable(t, "tcp", 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	ask := func() error {
		res, err := client.Get("http://" + address + "/.jitgate/logout")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	}
	done, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		for n := 0; ; n++ {
			if err := ask(); err != nil {
				t.Errorf("request %d: %v", n, err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	for range 3 {
		log := new(syncBuffer)
		cmd := activated(r.file, "public", log, files...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, func() error { return said(log, `"listening"`) })
		cmd.Process.Signal(syscall.SIGHUP)
		testenv.Eventually(t, func() error { return said(log, "configuration reloaded") })
		if err := ask(); err != nil {
			t.Error(err)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, log)
		}
	}
	close(done)
	last := activated(r.file, "public", io.Discard, files...) // for the request that waits
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	last.Process.Signal(syscall.SIGTERM)
	if err := last.Wait(); err != nil {
		t.Error(err)
	}
}

// said returns an error unless a log has a text.
func said(log fmt.Stringer, text string) error {
	if !strings.Contains(log.String(), text) {
		return fmt.Errorf("no %s in %s", text, log)
	}
	return nil
}

// TestDrain stops a gateway while a request is under way: that one is finished,
// and new ones are not taken.
func TestDrain(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		io.WriteString(w, "first half, ")
		w.(http.Flusher).Flush()
		close(arrived)
		<-release
		io.WriteString(w, "second half")
	}))
	t.Cleanup(upstream.Close)
	idp, site := localIdP(t), newSite(t)
	rest := fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), upstream.URL)
	g := site.start("127.0.0.1", 0, strings.Replace(rest, "allow: {any_user: true}", "allow: {any_user: true}, public: [/slow, /quick]", 1))

	body := make(chan string, 1)
	go func() {
		res, err := http.Get(g.base + "/slow")
		if err != nil {
			body <- err.Error()
			return
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		body <- fmt.Sprint(string(data), err)
	}()
	select {
	case <-arrived:
	case <-time.After(waitLimit):
		t.Fatal("the request did not reach the upstream")
	}
	stopped := make(chan int, 1)
	go func() { stopped <- g.stop() }()
	testenv.Eventually(t, func() error {
		if err := answers(g.base+"/quick", http.StatusOK); err == nil {
			return fmt.Errorf("the gateway still takes requests")
		}
		return nil
	})
	// Probes learn why for as long as it drains.
	if err := answers(g.admin+"/readyz", http.StatusServiceUnavailable); err != nil {
		t.Error(err)
	}
	close(release)
	if got := <-body; got != "first half, second half<nil>" {
		t.Errorf("the request under way got %q", got)
	}
	if code := <-stopped; code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
}

// TestArrival ends a gateway when a connection was accepted on which nothing was asked yet:
// what comes soon is answered.
func TestArrival(t *testing.T) {
	t.Parallel()
	idp, site := localIdP(t), newSite(t)
	for range 3 {
		g := site.start("127.0.0.1", 0, fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), "http://127.0.0.1:1"))
		address := strings.TrimPrefix(g.base, "http://")
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := answers(g.base+"/.jitgate/logout", http.StatusOK); err != nil { // which was accepted later
			t.Fatal(err)
		}
		stopped := make(chan int, 1)
		began := time.Now()
		go func() { stopped <- g.stop() }()
		for refused := 0; refused < 100; { // not once: more than the listener may have to close
			if c, err := net.Dial("tcp", address); err == nil {
				c.Close()
			} else {
				refused++
			}
			if time.Since(began) > waitLimit {
				t.Fatal("the gateway still lets visitors in")
			}
		}
		if _, err := io.WriteString(conn, "GET /.jitgate/logout HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"); err != nil {
			t.Error(err)
		}
		inTime := time.Since(began) < arrivalTime/2 // as it may not be on a busy machine
		answer, err := io.ReadAll(conn)
		if inTime && (err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ")) {
			t.Errorf("%v: %.100q, want an answer", err, answer)
		}
		if code := <-stopped; code != 0 {
			t.Errorf("exit status %d, want 0", code)
		}
	}
}
