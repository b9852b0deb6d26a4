package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy"
)

// adminSite starts a gateway with one identity provider, two groups and two
// directories, of which one stays empty.
func adminSite(t *testing.T) *replica {
	t.Helper()
	idp := localIdP(t)
	idp.SetAttribute("ann", "groups", "project-x")
	text := fmt.Sprintf(oneIdP, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL)
	text = strings.NewReplacer(
		"directories: [", "directories: [{name: empty, domains: [a.test, b.test]}, ",
		"directory: acme,", `directory: acme, groups: {attribute: groups, allow: ["project-*"]},`,
	).Replace(text) + "groups: [{name: acme-all, rule: {directory: acme}, entitlements: [wiki, builds]}]\n"
	g := newSite(t).start("127.0.0.1", 0, text)
	introduceSP(t, idp, g.file)
	return g
}

// signIn returns the browser of ann, who has just signed in.
func (r *replica) signIn(t *testing.T) *testenv.Browser {
	t.Helper()
	b := testenv.NewBrowser(t, nil)
	page, err := b.Login(r.base+"/page", "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	reached(t, page)
	return b
}

// jsonLines decodes what a command printed with -o json.
func jsonLines[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, v)
	}
	return all
}

// TestGroupsAndDirectories looks at them before there is a user and after.
func TestGroupsAndDirectories(t *testing.T) {
	t.Parallel()
	g := adminSite(t)
	print := func(args ...string) string {
		t.Helper()
		return output(t, append(args, "-c", g.file)...)
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("printed\n%s\nwant\n%s", got, want)
		}
	}
	want(print("groups", "list"), "GROUP     USERS  FROM           ENTITLEMENTS\nacme-all  0      configuration  wiki,builds\n")
	g.signIn(t)
	want(print("groups", "list"), "GROUP      USERS  FROM           ENTITLEMENTS\nacme-all   1      configuration  wiki,builds\nproject-x  1      assertions\n")
	want(print("groups", "list", "-o", "json", "--directory", "empty"), `{"name":"acme-all","configured":true,"entitlements":["wiki","builds"],"users":0}`+"\n")
	shown := print("groups", "show", "acme-all")
	want(shown[:strings.Index(shown, "\n\n")], "group         acme-all\nfrom          configuration\nentitlements  wiki, builds")
	if _, members, _ := strings.Cut(shown, "  BY\n"); strings.Count(members, "\n") != 1 || !strings.HasPrefix(members, "ann@acme.example  ") || !strings.HasSuffix(members, "  rule: directory acme\n") {
		t.Errorf("members are printed as %q, want ann alone", members)
	}
	if users := jsonLines[provision.User](t, print("groups", "show", "project-x", "-o", "json")); len(users) != 1 || users[0].UserName != "ann@acme.example" {
		t.Errorf("members as JSON are %+v, want ann alone", users)
	}
	want(print("directories", "list"), "DIRECTORY  STATE  USERS  DOMAINS        IDENTITY PROVIDERS\nacme       open   1      acme.example   acme\nempty      open   0      a.test,b.test\n")
	want(print("directories", "show", "acme"), "directory           acme\nstate               open\nusers               1\ndomains             acme.example\nidentity providers  acme\n")
	want(print("directories", "show", "empty", "-o", "json"), `{"name":"empty","state":"open","domains":["a.test","b.test"],"idps":[],"users":0,"configured":true}`+"\n")
}

// TestAudit reads the trail of two sign-ins, of which the second comes while
// somebody follows.
func TestAudit(t *testing.T) {
	t.Parallel()
	g := adminSite(t)
	g.signIn(t)
	follower := start(t, "audit", "-c", g.file, "--event", "login", "--follow", "-o", "json")
	logins := func(want int) {
		t.Helper()
		testenv.Eventually(t, func() error {
			if got := strings.Count(follower.stdout.String(), "\n"); got != want {
				return fmt.Errorf("--follow printed %d logins, want %d", got, want)
			}
			return nil
		})
	}
	logins(1)
	g.signIn(t)
	logins(2)
	for _, e := range jsonLines[audit.Event](t, follower.stdout.String()) {
		if e.Type != audit.Login || e.UserName != "ann@acme.example" || e.IdP != "acme" || e.Client != "127.0.0.1" || e.RequestID == "" {
			t.Errorf("--follow printed %+v", e)
		}
	}
	if code := follower.stop(); code != 0 {
		t.Errorf("--follow ends with status %d, want 0", code)
	}

	id := g.user(t, "ann@acme.example")["id"].(string)
	for _, test := range []struct {
		why, flags, want string
	}{
		{"all", "", "user_created group_joined group_joined login login"},
		{"one type", "--event user_created", "user_created"},
		{"by name", "--user ANN@acme.example --directory acme --idp acme --since 1h", "user_created group_joined group_joined login login"},
		{"by ID", "--event login --user " + id, "login login"},
		{"another user", "--user bob", ""},
		{"another identity provider", "--idp other", ""},
		{"later", "--since " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339), ""},
	} {
		args := append([]string{"audit", "-c", g.file}, strings.Fields(test.flags)...)
		var types, rows []string
		for _, e := range jsonLines[audit.Event](t, output(t, append(args, "-o", "json")...)) {
			types = append(types, e.Type)
		}
		if got := strings.Join(types, " "); got != test.want {
			t.Errorf("%s: audit %s -o json has %q, want %q", test.why, test.flags, got, test.want)
		}
		for line := range strings.Lines(output(t, args...)) {
			rows = append(rows, strings.Fields(line[len("2026-03-01 12:00:00Z"):])[0])
		}
		if got, want := strings.Join(rows, " "), strings.TrimSpace("EVENT "+test.want); got != want {
			t.Errorf("%s: audit %s has the rows %q, want %q", test.why, test.flags, got, want)
		}
	}
	table := output(t, "audit", "-c", g.file, "--event", "user_created")
	for _, want := range []string{"ann@acme.example  ", "attributes=domain,email,userName", "client=127.0.0.1", "request="} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}

// TestSessions lists sessions and ends them: the next request is not let in.
func TestSessions(t *testing.T) {
	t.Parallel()
	g := adminSite(t)
	list := func() []proxy.Session {
		t.Helper()
		return jsonLines[proxy.Session](t, output(t, "sessions", "list", "-c", g.file, "-o", "json"))
	}
	status := func(b *testenv.Browser) int {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, g.base+"/page", nil)
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	first := g.signIn(t)
	all := list()
	if len(all) != 1 || all[0].User != "ann@acme.example" || all[0].Host != "127.0.0.1" {
		t.Fatalf("sessions list has %+v, want one of ann", all)
	}
	second := g.signIn(t)
	if got := strings.Count(output(t, "sessions", "list", "-c", g.file, "--user", "ann@acme.example", "--directory", "acme"), all[0].Host); got != 2 {
		t.Errorf("the table has %d sessions, want 2", got)
	}

	if got := output(t, "sessions", "revoke", "-c", g.file, "--id", all[0].ID); got != "sessions ended: 1, sign-ins: 1\n" {
		t.Errorf("revoke --id printed %q", got)
	}
	if got := []int{status(first), status(second)}; got[0] != http.StatusUnauthorized || got[1] != http.StatusOK {
		t.Errorf("after the first one's end: status %d, want 401 and 200", got)
	}
	left := list()
	ended := jsonLines[proxy.Session](t, output(t, "sessions", "revoke", "-c", g.file, "--user", "ann@acme.example", "-o", "json"))
	if len(ended) != 1 || len(left) != 1 || ended[0].ID != left[0].ID {
		t.Errorf("revoke --user ended %+v, want %+v", ended, left)
	}
	if got := status(second); got != http.StatusUnauthorized {
		t.Errorf("after the second one's end: status %d, want 401", got)
	}
	if got := strings.Count(output(t, "audit", "-c", g.file, "--event", "session_revoked"), "ann@acme.example"); got != 2 {
		t.Errorf("the audit trail has %d sessions revoked, want 2", got)
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct{ why, since, want string }{
		{"not given", "", ""},
		{"a duration", "90m", "2026-03-01T10:30:00Z"},
		{"a time", "2026-02-01T00:00:00+01:00", "2026-02-01T00:00:00+01:00"},
		{"a duration that lies ahead", "-1h", "error"},
		{"a day is no unit", "1d", "error"},
		{"a date alone", "2026-02-01", "error"},
	} {
		got, err := parseSince(test.since, now)
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%s: parseSince(%q) = %q, %v, want %q", test.why, test.since, got, err, test.want)
		}
	}
}

// TestPrintJSON: values come out as they are, and print nothing but themselves.
func TestPrintJSON(t *testing.T) {
	t.Parallel()
	const value = "ä<\u009b2J\u202e\x1b\x7f\n\U000e0001"
	var b strings.Builder
	if err := printJSON(&b, value); err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSuffix(b.String(), "\n")
	if strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }) {
		t.Errorf("printed %q", line)
	}
	var got string
	if err := json.Unmarshal([]byte(line), &got); err != nil || got != value {
		t.Errorf("%s is %q, %v, want %q", line, got, err, value)
	}
}

// A name from an assertion may hold what moves a terminal's cursor.
func TestPrintEvent(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := printEvent(&b, audit.Event{Type: audit.AttributeIgnored, Attributes: []string{"a\x1b[2Jb\nc"}}, "table"); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") || !strings.Contains(got, "attributes=a\ufffd[2Jb\ufffdc") {
		t.Errorf("printed %q", got)
	}
}
