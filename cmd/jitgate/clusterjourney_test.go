package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// journeyConfig is of two directories and two hosts. Its verbs are the nodes of the
// cluster, the directories, their identity providers, and the upstream.
const journeyConfig = `
redis: {addresses: [%[1]s], cluster: true}
attributes: [{name: userName}, {name: email}]
directories: [{name: %[2]s, domains: [acme.example]}, {name: %[3]s, domains: [labs.example]}]
identity_providers:
  - {name: acme, directory: %[2]s, metadata: {url: %[4]q}, groups: {attribute: groups, allow: [red, blue]}}
  - {name: labs, directory: %[3]s, metadata: {url: %[5]q}, groups: {attribute: groups, allow: [red, blue]}}
apps:
  - {name: any, path: /, upstream: %[6]q, allow: {any_user: true}, headers: {preset: forwarded}}
  - {name: wiki, host: wiki.localhost, path: /, upstream: %[6]q, allow: {any_user: true}, headers: {preset: forwarded}}
`

// A journey is two gateways on a Redis Cluster, which take turns in answering for two
// hosts.
type journey struct {
	t      *testing.T
	file   string   // the configuration of one of them
	admins []string // where each says whether it is ready
	hosts  []string
}

// A traveller is a user of one directory, and their browser.
type traveller struct {
	*journey
	idp       *samltest.IdP
	provider  string // its name in the configuration
	user      string
	directory string
	browser   *testenv.Browser
}

// newJourney starts the gateways.
func newJourney(t *testing.T, config string) *journey {
	t.Helper()
	site := newSite(t)
	var proxies []*httputil.ReverseProxy
	var turn atomic.Uint64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxies[turn.Add(1)%2].ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(front.URL, "http://"), ":")
	j := &journey{t: t, hosts: []string{"http://localhost:" + port, "http://wiki.localhost:" + port}}
	for range 2 {
		var number int
		if _, err := fmt.Sscan(port, &number); err != nil {
			t.Fatal(err)
		}
		g := site.start("localhost", number, config)
		j.file, j.admins = g.file, append(j.admins, g.admin)
		proxies = append(proxies, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", fmt.Sprintf("127.0.0.1:%d", g.listen)
			r.Out.Host = r.In.Host
		}})
	}
	return j
}

// status asks for a page of a host as a script would, and returns the answer's status;
// 503 has to be one after which all goes on.
func (v *traveller) status(host string) int {
	v.t.Helper()
	req, err := http.NewRequest(http.MethodGet, host+"/page", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	res, err := v.browser.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode == http.StatusServiceUnavailable && (res.Header.Get("Retry-After") == "" || len(res.Cookies()) > 0) {
		v.t.Errorf("%s: 503 with the headers %v, want Retry-After, and no cookie", v.user, res.Header)
	}
	return res.StatusCode
}

// becomes waits until the user gets a status on each host, from each gateway.
func (v *traveller) becomes(what string, want int) {
	v.t.Helper()
	for _, host := range v.hosts {
		testenv.Eventually(v.t, func() error {
			for range 4 {
				if got := v.status(host); got != want {
					return fmt.Errorf("%s %s, on %s: %d, want %d", v.user, what, host, got, want)
				}
			}
			return nil
		})
	}
}

// signIn signs in, and goes on to the other host.
func (v *traveller) signIn(groups string) {
	v.t.Helper()
	v.idp.SetAttribute("ann", "groups", groups)
	// Just after a failover a client has yet to learn where things lie.
	testenv.Eventually(v.t, func() error {
		page, err := v.browser.Login(v.hosts[0]+"/.jitgate/login?rd=/page&idp="+v.provider, "", "ann", "ann")
		if err == nil && page.Status != http.StatusOK {
			err = fmt.Errorf("%d: %s", page.Status, page.Text())
		}
		return err
	})
	for _, host := range v.hosts {
		testenv.Eventually(v.t, func() error { return v.arrives(host, groups) })
	}
}

// arrives goes to a host in person, and reports, as an error, that the upstream was not
// told who that is.
func (v *traveller) arrives(host, groups string) error {
	page, err := v.browser.Open(host + "/page")
	if err != nil {
		return err
	}
	if page.Status != http.StatusOK {
		return fmt.Errorf("%s on %s: %d: %s", v.user, host, page.Status, page.Text())
	}
	got := reached(v.t, page).Header
	if user, in := got.Get("X-Forwarded-User"), got.Get("X-Forwarded-Groups"); user != v.user || in != groups {
		return fmt.Errorf("%s in %q on %s: the upstream was told %q in %q", v.user, groups, host, user, in)
	}
	return nil
}

// signOut signs out on the first host.
func (v *traveller) signOut() {
	v.t.Helper()
	page, err := v.browser.Open(v.hosts[0] + "/.jitgate/logout")
	if err != nil || len(page.Forms) != 1 {
		v.t.Fatalf("logout page: %v, %v", page, err)
	}
	if page, err = page.Forms[0].Submit(); err != nil || page.Status != http.StatusOK {
		v.t.Fatalf("signing out: %v, %v", page, err)
	}
}

// rest is the journey from where one has signed in.
func (v *traveller) rest() {
	v.t.Helper()
	v.signIn("blue")
	of := []string{"-c", v.file, "--directory", v.directory}
	output(v.t, append([]string{"sessions", "revoke", "--user", v.user}, of...)...)
	v.becomes("whose sessions were ended", http.StatusUnauthorized)
	v.signIn("red")
	output(v.t, append([]string{"users", "block", v.user}, of...)...)
	v.becomes("who is blocked", http.StatusUnauthorized)
	output(v.t, append([]string{"users", "unblock", v.user}, of...)...)
	v.signIn("red")
	v.signOut()
	v.becomes("who has signed out", http.StatusUnauthorized)
}

// Users go from host to host while a master of a Redis Cluster is killed. Those whose
// directory lies on another one go on; the others wait, and go on without signing in
// again when its replica has taken over. After that all is as it was.
func TestClusterJourney(t *testing.T) {
	t.Parallel()
	masters, replicas := testenv.ClusterOfSix(t)
	first, second := directoriesApart(t, masters)
	acme, labs := localIdP(t), localIdP(t)
	labs.SetAttribute("ann", "userName", "ann@labs.example")
	labs.SetAttribute("ann", "email", "ann@labs.example")
	var nodes []string
	for _, m := range masters {
		nodes = append(nodes, fmt.Sprintf("%q", m.Addr))
	}
	j := newJourney(t, fmt.Sprintf(journeyConfig, strings.Join(nodes, ", "), first.name, second.name, acme.EntityID(), labs.EntityID(), echoUpstream(t).URL))
	hit := &traveller{j, acme, "acme", "ann@acme.example", first.name, testenv.NewBrowser(t, nil)}
	spared := &traveller{j, labs, "labs", "ann@labs.example", second.name, testenv.NewBrowser(t, nil)}
	for _, v := range []*traveller{hit, spared} {
		if err := v.idp.AddSP([]byte(output(t, "metadata", "-c", j.file, "--idp", v.provider))); err != nil {
			t.Fatal(err)
		}
		v.signIn("red")
	}

	replica := redis.NewClient(&redis.Options{Addr: replicas[first.master].Addr})
	t.Cleanup(func() { replica.Close() })
	const hold = "cluster-replica-no-failover"
	if err := replica.ConfigSet(t.Context(), hold, "yes").Err(); err != nil {
		t.Fatal(err)
	}
	masters[first.master].Stop()
	hit.becomes("whose master is gone", http.StatusServiceUnavailable)
	for range 10 { // whichever node it asks first
		for _, admin := range j.admins {
			if err := answers(admin+"/readyz", http.StatusOK); err != nil {
				t.Error("with two masters of three:", err)
			}
		}
	}
	for range 4 {
		for _, host := range j.hosts {
			if err := spared.arrives(host, "red"); err != nil {
				t.Error(err)
			}
		}
	}
	if err := replica.ConfigSet(t.Context(), hold, "no").Err(); err != nil {
		t.Fatal(err)
	}
	hit.becomes("whose master was replaced", http.StatusOK)
	for _, host := range j.hosts {
		if err := hit.arrives(host, "red"); err != nil {
			t.Error(err)
		}
	}
	hit.rest()
	spared.rest()
}
