package provision

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// testConfig is the configuration that the tests begin with. Directory acme
// has one domain, labs two, and other is somebody else's.
func testConfig() *config.Config {
	return &config.Config{
		Attributes: []config.Attribute{
			{Name: "email"},
			{Name: "department", Absent: "keep"},
			{Name: "title", Absent: "clear"},
			{Name: "badge", Absent: "deny"},
			{Name: "roles", Multiple: true},
			{Name: "salary"},
			{Name: "domain"},
			{Name: "ExternalId"},
		},
		Directories: []config.Directory{
			{Name: "acme", Domains: []string{"acme.example"}},
			{Name: "labs", Domains: []string{"labs.example", "xn--bcher-kva.example"}},
			{Name: "other", Domains: []string{"other.example"}},
		},
		IdentityProviders: []config.IdentityProvider{
			{Name: "acme", Directory: "acme", JIT: true, Groups: config.AssertedGroups{Attribute: "groups", Allow: []string{"eng-*", "staff"}}},
			{Name: "acme-two", Directory: "acme", JIT: true},
			{Name: "acme-known", Directory: "acme"},
			{Name: "labs", Directory: "labs", JIT: true, Attributes: map[string]string{"email": "urn:oid:0.9.2342.19200300.100.1.3"}},
			{Name: "other", Directory: "other", JIT: true},
			{Name: "other-any", Directory: "other", JIT: true, EmailDomains: "any"},
			{Name: "closed", Directory: "gone", JIT: true},
		},
	}
}

// world is a registry under test with a store of its own.
type world struct {
	*Registry
	t *testing.T
}

// newWorld returns a registry with the test configuration, edited.
func newWorld(t *testing.T, rdb redis.UniversalClient, edit ...func(*config.Config)) *world {
	t.Helper()
	return (&world{&Registry{rdb: rdb, prefix: testenv.Prefix(t)}, t}).reload(edit...)
}

// reload returns a registry over the same store with the test configuration,
// edited in another way.
func (w *world) reload(edit ...func(*config.Config)) *world {
	w.t.Helper()
	cfg := testConfig()
	for _, e := range edit {
		e(cfg)
	}
	r, err := New(w.rdb, w.prefix, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return &world{r, w.t}
}

// with returns a shallow world for a subtest.
func (w *world) with(t *testing.T) *world { return &world{w.Registry, t} }

// sent makes an assertion's attributes of names and values in turn; a name
// that comes again gets another value.
func sent(pairs ...string) map[string][]string {
	attributes := make(map[string][]string)
	for i := 0; i < len(pairs); i += 2 {
		attributes[pairs[i]] = append(attributes[pairs[i]], pairs[i+1])
	}
	return attributes
}

// try signs in with what pairs say.
func (w *world) try(idp string, pairs ...string) (Outcome, error) {
	return w.signIn(SignIn{IdP: idp, Attributes: sent(pairs...), RequestID: "req", Client: "192.0.2.1"})
}

// signIn is SignIn, but ends when the store never is as it was read.
func (w *world) signIn(in SignIn) (Outcome, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute) // a thousand at once may take their time
	defer cancel()
	return w.SignIn(ctx, in)
}

// login signs in, which must succeed.
func (w *world) login(idp string, pairs ...string) Outcome {
	w.t.Helper()
	out, err := w.try(idp, pairs...)
	if err != nil {
		w.t.Fatalf("login at %s with %q: %v", idp, pairs, err)
	}
	return out
}

// refused signs in, which must be refused with code: nothing but the audit
// trail may change, and there the code must stand.
func (w *world) refused(code, idp string, pairs ...string) *Refusal {
	w.t.Helper()
	return w.refusedSignIn(code, SignIn{IdP: idp, Attributes: sent(pairs...), RequestID: "req"})
}

func (w *world) refusedSignIn(code string, in SignIn) *Refusal {
	w.t.Helper()
	before := w.dump()
	out, err := w.signIn(in)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		w.t.Errorf("login at %s with %q: error = %v, want %s", in.IdP, in.Attributes, err, code)
		return &Refusal{}
	}
	if out.User.ID != "" || len(out.Events) != 1 {
		w.t.Errorf("refused login at %s: outcome = %+v, want one event alone", in.IdP, out)
	}
	if after := w.dump(); !maps.Equal(before, after) {
		w.t.Errorf("refused login at %s changed the store: %q, want %q", in.IdP, after, before)
	}
	directory := ""
	if p := w.idps[in.IdP]; p != nil {
		directory = p.directory
	}
	trail := w.trail(directory)
	if len(trail) == 0 {
		w.t.Fatalf("refused login at %s: audit trail is empty", in.IdP)
	}
	if last := trail[len(trail)-1]; last.Type != audit.LoginFailed || last.Code != code {
		w.t.Errorf("refused login at %s: last event = %s %s, want login_failed %s", in.IdP, last.Type, last.Code, code)
	}
	return refusal
}

// dump returns everything in the store but the audit trail and the times of
// login, as text by key and field.
func (w *world) dump() map[string]string {
	w.t.Helper()
	ctx, all := w.t.Context(), make(map[string]string)
	for _, d := range w.directories {
		k := w.keys(d.Name)
		for _, key := range []string{k.users, k.names, k.external, k.blocks, k.state} {
			fields, err := w.rdb.HGetAll(ctx, key).Result()
			if err != nil {
				w.t.Fatal(err)
			}
			for field, value := range fields {
				all[key+" "+field] = value
			}
		}
		members, err := w.rdb.ZRange(ctx, k.list, 0, -1).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range members {
			all[k.list+" "+m] = ""
		}
		for _, m := range w.rdb.SMembers(ctx, k.ignored).Val() {
			all[k.ignored+" "+m] = ""
		}
	}
	return all
}

// trail returns a directory's audit trail.
func (w *world) trail(directory string) []audit.Event {
	w.t.Helper()
	entries, err := audit.Entries(audit.Ask(w.t.Context(), w.rdb, audit.Key(w.prefix, directory), "", 100_000))
	if err != nil {
		w.t.Fatal(err)
	}
	events := make([]audit.Event, len(entries))
	for i, e := range entries {
		events[i] = e.Event
	}
	return events
}

// tell returns events in short: the type, and what it is about.
func tell(events []audit.Event) string {
	var lines []string
	for _, e := range events {
		line := e.Type
		for _, s := range []string{e.Code, e.Group, strings.Join(e.Attributes, "+")} {
			if s != "" {
				line += " " + s
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

// count returns how many users a directory has.
func (w *world) count(directory string) int {
	w.t.Helper()
	users, _, err := w.List(w.t.Context(), directory, "", 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(users)
}

// is checks one value of a user's attribute, or that there is none.
func (w *world) is(u User, name string, want ...string) {
	w.t.Helper()
	if got := u.Values(name); !slices.Equal(got, want) {
		w.t.Errorf("%s of %s = %q, want %q", name, u.UserName, got, want)
	}
}

// problem checks that a configuration has a problem at key that says text.
func problem(t *testing.T, yaml, key, text string) {
	t.Helper()
	_, err := config.Parse("jitgate.yaml", []byte(yaml), t.TempDir())
	var problems config.Problems
	errors.As(err, &problems)
	for _, p := range problems {
		if strings.HasPrefix(p.Key, key) && strings.Contains(p.Text, text) {
			return
		}
	}
	t.Errorf("problems = %v, want one at %s that says %q", err, key, text)
}
