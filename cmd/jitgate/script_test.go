package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"jitgate": main})
}

// TestScripts runs testdata/*.txtar: the commands as a user types them, each a
// real process.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport":    freePort,
			"demoports":   demoPorts,
			"waitfor":     waitFor,
			"status":      exitStatus,
			"replace":     replaceInFile,
			"idpmetadata": writeIdPMetadata,
			"sigterm":     func(ts *testscript.TestScript, _ bool, _ []string) { signalAll(ts, syscall.SIGTERM) },
			"sighup":      func(ts *testscript.TestScript, _ bool, _ []string) { signalAll(ts, syscall.SIGHUP) },
		},
	})
}

// freePort NAME... sets each variable to a port that nobody listens on.
func freePort(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		port, err := testenv.FreePorts(1)
		ts.Check(err)
		ts.Setenv(name, fmt.Sprint(port))
	}
}

// demoPorts NAME sets the variable to the first of three ports that are free.
func demoPorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: demoports NAME")
	}
	first, err := testenv.FreePorts(3)
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprint(first))
}

// waitFor URL STATUS [TEXT] asks until the answer has the status, and TEXT in
// its body.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: waitfor URL STATUS [TEXT]")
	}
	want := strings.Join(args[2:], "")
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		res, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
		} else {
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			last = fmt.Sprint(res.StatusCode) + " " + string(body)
			if fmt.Sprint(res.StatusCode) == args[1] && strings.Contains(string(body), want) {
				return
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	ts.Fatalf("%s: %s, want %s %q", args[0], last, args[1], want)
}

// exitStatus CODE COMMAND... runs a command and checks its exit status.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE jitgate ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s: exit status %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// replaceInFile FILE OLD NEW writes FILE anew with every OLD made NEW.
func replaceInFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// writeIdPMetadata FILE [DAYS] writes the metadata of a new identity provider, whose
// certificate ends in so many days.
func writeIdPMetadata(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: idpmetadata FILE [DAYS]")
	}
	o := samltest.Options{URL: "https://idp.acme.example"}
	if len(args) == 2 {
		days, err := strconv.Atoi(args[1])
		ts.Check(err)
		now := time.Now()
		o.Key, o.Certificate, err = samltest.SelfSigned("idp", 2048, now.AddDate(-1, 0, 0), now.AddDate(0, 0, days).Add(time.Hour))
		ts.Check(err)
	}
	idp, err := samltest.New(o)
	ts.Check(err)
	metadata, err := idp.Metadata().XML()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), metadata, 0o600))
}

// signalAll sends a signal to the commands in the background.
func signalAll(ts *testscript.TestScript, sig os.Signal) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(sig))
	}
}
