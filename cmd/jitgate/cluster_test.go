package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// On a Redis Cluster of six nodes, of which one master is killed: users whose directory
// lies on another one notice nothing, and the others go on when its replica has taken
// over.
func TestClusterOfSix(t *testing.T) {
	t.Parallel()
	masters, _ := testenv.ClusterOfSix(t)
	site, acme, labs := newSite(t), localIdP(t), localIdP(t)
	labs.SetAttribute("ann", "userName", "ann@labs.example")
	labs.SetAttribute("ann", "email", "ann@labs.example")
	first, second := directoriesApart(t, masters)
	store := fmt.Sprintf(`{addresses: [%q, %q, %q], cluster: true}`, masters[0].Addr, masters[1].Addr, masters[2].Addr)
	config := func() string {
		return fmt.Sprintf(`redis: %s
attributes: [{name: userName}, {name: email}, {name: department}]
directories: [{name: %[2]s, domains: [acme.example]}, {name: %[3]s, domains: [labs.example]}]
identity_providers:
  - {name: acme, directory: %[2]s, metadata: {url: %[4]q}}
  - {name: labs, directory: %[3]s, metadata: {url: %[5]q}}
apps:
  - {name: any, path: /, upstream: %[6]q, allow: {any_user: true}, headers: {preset: forwarded}}
`, store, first.name, second.name, acme.EntityID(), labs.EntityID(), echoUpstream(t).URL)
	}
	here := site.start("127.0.0.1", 0, config())
	there := site.start("127.0.0.1", here.listen, config())
	for name, idp := range map[string]interface{ AddSP([]byte) error }{"acme": acme, "labs": labs} {
		if err := idp.AddSP([]byte(output(t, "metadata", "-c", here.file, "--idp", name))); err != nil {
			t.Fatal(err)
		}
	}
	signIn := func(idp string) *testenv.Browser {
		t.Helper()
		b := testenv.NewBrowser(t, nil)
		page, err := b.Login(here.base+"/.jitgate/login?rd=/page&idp="+idp, "", "ann", "ann")
		if err != nil {
			t.Fatal(err)
		}
		reached(t, page)
		return b
	}
	status := func(g *replica, b *testenv.Browser) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/page", g.listen), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = strings.TrimPrefix(here.base, "http://")
		for _, c := range b.Cookies(here.base) {
			req.AddCookie(c)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	becomes := func(g *replica, b *testenv.Browser, want int) {
		t.Helper()
		testenv.Eventually(t, func() error {
			if got := status(g, b); got != want {
				return fmt.Errorf("%d, want %d", got, want)
			}
			return nil
		})
	}
	ofFirst, ofSecond := signIn("acme"), signIn("labs")
	for _, g := range []*replica{here, there} {
		becomes(g, ofFirst, http.StatusOK)
		becomes(g, ofSecond, http.StatusOK)
	}

	masters[first.master].Stop()
	for range 20 { // while the replica takes over
		if got := status(here, ofSecond); got != http.StatusOK {
			t.Errorf("who is on another master: %d, want 200", got)
		}
		switch got := status(there, ofFirst); got {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
		default:
			t.Errorf("who is on the master that was killed: %d, want 503 until the replica has taken over", got)
		}
	}
	becomes(there, ofFirst, http.StatusOK)
	becomes(here, ofFirst, http.StatusOK)
	// A client learns slot by slot, and for a moment all at once, where things lie now.
	again := testenv.NewBrowser(t, nil)
	testenv.Eventually(t, func() error {
		page, err := again.Login(here.base+"/.jitgate/login?rd=/page&idp=acme", "", "ann", "ann")
		if err == nil && page.Status != http.StatusOK {
			err = fmt.Errorf("%d: %s", page.Status, page.Text())
		}
		return err
	})
	becomes(there, again, http.StatusOK)

	output(t, "sessions", "revoke", "-c", here.file, "--user", "ann@acme.example", "--directory", first.name)
	for _, g := range []*replica{here, there} {
		becomes(g, ofFirst, http.StatusUnauthorized)
		becomes(g, again, http.StatusUnauthorized)
		becomes(g, ofSecond, http.StatusOK)
	}
	output(t, "users", "block", "-c", there.file, "--directory", second.name, "ann@labs.example")
	becomes(here, ofSecond, http.StatusUnauthorized)
}

// A placed directory is one that lies on a master.
type placed struct {
	name   string
	master int
}

// directoriesApart returns two directories that lie on different masters.
func directoriesApart(t *testing.T, masters []*testenv.Server) (first, second placed) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: masters[0].Addr})
	defer rdb.Close()
	place := func(name string) placed {
		slot, err := rdb.ClusterKeySlot(t.Context(), "{"+name+"}").Result()
		if err != nil {
			t.Fatal(err)
		}
		return placed{name, min(int(slot)*3/16384, 2)}
	}
	first = place("a")
	for c := 'b'; c <= 'z'; c++ {
		if second = place(string(c)); second.master != first.master {
			return first, second
		}
	}
	t.Fatal("all directories lie on one master")
	return first, second
}
