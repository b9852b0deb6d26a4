package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// Told to read its configuration again, a gateway has the others on its Redis read
// theirs, each its own file; one whose file is not right stays as it is, and one that is
// told by itself keeps that to itself.
func TestReloadOthers(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	site := newSite(t)
	config := fmt.Sprintf(`redis: {addresses: [%q]}
attributes: [{name: userName}]
directories: [{name: acme, domains: [acme.example]}]
identity_providers: [{name: acme, directory: acme, metadata: {url: %q}}]
apps:
  - {name: any, path: /, upstream: %q, allow: {any_user: true}, public: [/never]}
`, redis.Addr, localIdP(t).EntityID(), echoUpstream(t).URL)
	var all []*replica
	for range 3 {
		all = append(all, site.start("127.0.0.1", 0, config))
	}
	// edit puts another path in the place of the public one, in a file.
	edit := func(r *replica, from, to string) {
		t.Helper()
		text, err := os.ReadFile(r.file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), from) {
			t.Fatalf("no %q in %s", from, text)
		}
		if err := os.WriteFile(r.file, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	is := func(r *replica, path string, want int) {
		t.Helper()
		testenv.Eventually(t, func() error { return answers(r.base+path, want) })
	}
	// Pub/sub forgets what nobody hears yet.
	for _, r := range all {
		testenv.Eventually(t, func() error { return hearsOfChanges(r) })
	}

	edit(all[0], "/never", "/one")
	edit(all[1], "/never", "/two")
	edit(all[2], "public", "publik")
	if got := output(t, "reload", "-c", all[0].file); !strings.Contains(got, "2 other replicas told to read theirs") {
		t.Errorf("reload: %q, want two told", got)
	}
	is(all[0], "/one", http.StatusOK)
	is(all[1], "/two", http.StatusOK)
	is(all[1], "/one", http.StatusUnauthorized)
	testenv.Eventually(t, func() error {
		if text := all[2].stderr.String(); !strings.Contains(text, "configuration not reloaded") {
			return fmt.Errorf("the third has not tried: %s", text)
		}
		return nil
	})
	is(all[2], "/never", http.StatusOK)
	if n := strings.Count(all[0].stderr.String(), "configuration reloaded"); n != 1 {
		t.Errorf("the one that was told has reloaded %d times, want once", n)
	}

	edit(all[0], "/one", "/three")
	edit(all[1], "/two", "/four")
	if got := output(t, "reload", "--local", "-c", all[0].file); strings.Contains(got, "told") {
		t.Errorf("reload --local: %q, want nobody told", got)
	}
	is(all[0], "/three", http.StatusOK)
	is(all[1], "/two", http.StatusOK)

	redis.Stop()
	if got := fails(t, 1, "", "reload", "-c", all[0].file); !strings.Contains(got, "in use here alone: telling other replicas: ") {
		t.Errorf("reload without Redis: %q, want that nobody could be told", got)
	}
}

// hearsOfChanges reports, as an error, that a gateway does not hear of what others change.
func hearsOfChanges(r *replica) error {
	res, err := http.Get(r.admin + "/metrics")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && !strings.Contains(string(text), "\njitgate_redis_up 1\n") {
		err = fmt.Errorf("%s does not hear of changes", r.base)
	}
	return err
}
