package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// TestMiniflux signs in, with a real browser, to a real application that believes a header:
// a user that neither jitgate nor the application has seen before.
func TestMiniflux(t *testing.T) {
	t.Parallel()
	program := testenv.Cached("bin", "miniflux.app")
	if _, err := os.Stat(program); err != nil {
		testenv.Need(t, "Miniflux", "deploy/testenv/install.sh")
	}
	tab, idp, port, database := testenv.NewTab(t), localIdP(t), testenv.FreePort(t), testenv.Postgres(t)
	app := fmt.Sprintf("http://127.0.0.1:%d", port)
	// Its service worker is a module, which browsers fetch without cookies.
	config := strings.Replace(oneIdP, "allow: {any_user: true}", "allow: {any_user: true}, public: [/js/]", 1)
	g := newSite(t).start("127.0.0.1", 0, fmt.Sprintf(config, "{embedded: true}", idp.EntityID(), app))
	introduceSP(t, idp, g.file)
	testenv.Program(t, port, "env", "DATABASE_URL="+database, "RUN_MIGRATIONS=1", "DISABLE_SCHEDULER_SERVICE=1", "BASE_URL="+g.base,
		fmt.Sprintf("LISTEN_ADDR=127.0.0.1:%d", port), "AUTH_PROXY_HEADER=X-Forwarded-User", "AUTH_PROXY_USER_CREATION=1", "TRUSTED_REVERSE_PROXY_NETWORKS=127.0.0.1/32",
		program)
	testenv.Eventually(t, func() error { return answers(app+"/healthcheck", http.StatusOK) })
	// users returns those that jitgate, and that the application knows.
	users := func() (ours, theirs string) {
		t.Helper()
		out, err := exec.Command("psql", "-At", "-d", database, "-c", "SELECT username FROM users").CombinedOutput()
		if err != nil {
			t.Fatalf("psql: %v: %s", err, out)
		}
		return output(t, "users", "list", "-c", g.file, "-o", "json"), strings.TrimSpace(string(out))
	}
	if ours, theirs := users(); ours != "" || theirs != "" {
		t.Fatalf("there are users: %s%s", ours, theirs)
	}

	tabSignsIn(tab, g.base+"/categories")
	tab.At(g.base + "/unread") // where the application sends whom it sees for the first time
	if ours, theirs := users(); !strings.Contains(ours, `"ann@acme.example"`) || theirs != "ann@acme.example" {
		t.Errorf("jitgate knows %s, and the application %q", ours, theirs)
	}
	// What she does there is done: a form of the application's is posted.
	tab.Open(g.base + "/category/create")
	tab.Type("#form-title", "Travel\r")
	tab.At(g.base + "/categories")
	if got := tab.Text("main"); !strings.Contains(got, "Travel") {
		t.Errorf("there is no category: %s", got)
	}
	tab.Picture("miniflux")
	// Signed out, she is asked again.
	tabSignsOut(tab, g.base)
	tab.Open(g.base + "/categories")
	tab.See("input[type=password]")
}
