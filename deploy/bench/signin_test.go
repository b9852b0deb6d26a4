package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// TestSignIn has visitors sign in at the bare ACS: in the end there are figures
// for those alone who were let in.
func TestSignIn(t *testing.T) {
	t.Parallel()
	s := &stage{dir: t.TempDir()}
	if err := s.writeKeys(); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	a, err := newACS("http://"+server.Listener.Addr().String(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("POST /acs", a.accept)
	server.Start()
	defer server.Close()

	at := acsLogin(&process{addr: server.Listener.Addr().String()})
	v := newVisitor(at, s.idp)
	if err := v.signIn(newUser("ann", loginGroups)); err != nil {
		t.Error(err)
	}
	if cookie, err := v.cookie(server.URL + "/"); err != nil || !strings.HasPrefix(cookie, requestCookie+"=") {
		t.Errorf("cookie %q, %v", cookie, err)
	}
	l, err := s.signIns(t.Context(), candidate{at: at}, time.Second/2)
	if err != nil || l.Requests == 0 || l.Failed > 0 {
		t.Errorf("%+v, %v, want logins, none failed", l, err)
	}

	at.entityID = "https://somebody.example"
	l, err = s.signIns(t.Context(), candidate{name: "refused on purpose", at: at}, time.Second/10)
	if err != nil || l.Requests == 0 || l.Failed != l.Requests {
		t.Errorf("responses for somebody else: %+v, %v, want all refused", l, err)
	}
}

// TestTree holds that a process is measured with its children, and no others.
func TestTree(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The shell ends its child when it is told to.
	cmd := exec.CommandContext(ctx, "sh", "-c", `trap 'kill $!' TERM; sleep 60 & wait`)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	testenv.Eventually(t, func() error {
		stats, err := tree(cmd.Process.Pid)
		if err == nil && (len(stats) != 2 || stats[1].parent != cmd.Process.Pid) {
			err = fmt.Errorf("%+v, want the shell and its child", stats)
		}
		return err
	})
	p := &process{cmd: cmd}
	if n, err := p.memory(); err != nil || n < 2*100<<10 {
		t.Errorf("memory of %d bytes, %v, want that of two processes", n, err)
	}
	before, err := p.cpu()
	if err != nil || before > 10*time.Second {
		t.Errorf("%v of CPU time, %v, want next to none", before, err)
	}
}
