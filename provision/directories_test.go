package provision

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// TestJ1OnlySignInChangesUsers: nothing but SignIn creates or edits a user. The
// table is every exported method, so that a new one has to be looked at.
func TestJ1OnlySignInChangesUsers(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		u := w.login("acme", "userName", "ann").User
		ctx := t.Context()
		calls := map[string]func(){
			"SignIn":      func() {}, // the one that may
			"User":        func() { w.User(ctx, "acme", u.ID); w.User(ctx, "acme", "nobody") },
			"Find":        func() { w.Find(ctx, "", "ann"); w.Find(ctx, "", "bob") },
			"Beginning":   func() { w.Beginning(ctx, "", "a", 10) },
			"List":        func() { w.List(ctx, "", "", 10) },
			"Record":      func() { w.Record(ctx, audit.Event{Type: audit.UserCreated, Directory: "acme", UserName: "bob"}) },
			"Trail":       func() { w.Trail(ctx, TrailQuery{Limit: 10}) },
			"LogName":     func() { w.LogName(u) },
			"Groups":      func() { w.Groups() },
			"Why":         func() { w.Why(u) },
			"Group":       func() { w.Group("staff") },
			"Directory":   func() { w.Directory(ctx, "acme") },
			"Directories": func() { w.Directories() },
			"IdPs":        func() { w.IdPs("acme.example") },
			"Members":     func() { w.Members(ctx, "staff", "", "", 10) },
			"Explain": func() {
				w.Explain(ctx, SignIn{IdP: "acme", Attributes: sent("userName", "ann", "department", "Legal")}, true)
				w.Explain(ctx, SignIn{IdP: "acme", Attributes: sent("userName", "bob")}, true)
			},
			"AskUser": func() {
				w.AskUser(ctx, w.Registry.rdb.Pipeline(), "acme", u.ID)
			},
			"Consistency": func() { w.Consistency(ctx, "acme", func(Inconsistency) {}, nil) },

			// What these write lies beside the users: no record and no index changes.
			"Block":           func() { w.Block(ctx, "acme", u.ID, byAdmin) },
			"Unblock":         func() { w.Unblock(ctx, "acme", u.ID, byAdmin) },
			"Remains":         func() { w.Remains(ctx, "acme", "", 10) },
			"CloseDirectory":  func() { w.CloseDirectory(ctx, "labs", byAdmin) },
			"CreateDirectory": func() { w.CreateDirectory(ctx, "labs", byAdmin) },
			"EraseDirectory":  func() { w.EraseDirectory(ctx, "acme"); w.EraseDirectory(ctx, "labs") },
		}
		beside := func(key, _ string) bool {
			return strings.Contains(key, "}:blocks ") || strings.Contains(key, "}:state ")
		}
		methods := reflect.TypeFor[*Registry]()
		for i := range methods.NumMethod() {
			name := methods.Method(i).Name
			call, ok := calls[name]
			if !ok {
				t.Errorf("method %s is not in the table", name)
				continue
			}
			before := w.dump()
			call()
			after := w.dump()
			maps.DeleteFunc(before, beside)
			maps.DeleteFunc(after, beside)
			if !reflect.DeepEqual(before, after) {
				t.Errorf("%s changed the store: %q, want %q", name, after, before)
			}
		}
	})
}

// TestJ2IdPHasOneDirectory: an identity provider has one directory, which has
// one domain or more, each in that directory alone. Of several identity
// providers of one directory the visitor chooses.
func TestJ2IdPHasOneDirectory(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ why, yaml, key, text string }{
		{"an IdP without a directory", "identity_providers: [{name: acme}]", "identity_providers[0].directory", "missing"},
		{"an IdP of a directory that is not there", "identity_providers: [{name: acme, directory: nowhere}]", "identity_providers[0].directory", "nowhere"},
		{"an IdP of two directories", "identity_providers: [{name: acme, directory: [acme, labs]}]", "identity_providers[0].directory", ""},
		{"a directory without a domain", "directories: [{name: acme}]", "directories[0].domains", "missing"},
		{"a domain of two directories", "directories: [{name: a, domains: [x.example]}, {name: b, domains: [X.example.]}]", "directories[1].domains[0]", ""},
	} {
		t.Run(test.why, func(t *testing.T) { problem(t, test.yaml, test.key, test.text) })
	}

	r, err := New(nil, "", testConfig())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Directories(), []string{"acme", "labs", "other"}; !slices.Equal(got, want) {
		t.Errorf("Directories() = %q, want %q", got, want)
	}
	for _, test := range []struct {
		why, domain string
		want        []string
	}{
		{"two IdPs of a directory: the visitor chooses", "other.example", []string{"other", "other-any"}},
		{"one IdP", "labs.example", []string{"labs"}},
		{"the same one for its other domain", "xn--bcher-kva.example", []string{"labs"}},
		{"a subdomain that is not listed", "sub.acme.example", nil},
		{"no domain", "", nil},
	} {
		if got := r.IdPs(test.domain); !slices.Equal(got, test.want) {
			t.Errorf("%s: IdPs(%q) = %q, want %q", test.why, test.domain, got, test.want)
		}
	}

	for _, test := range []struct {
		why  string
		edit func(*config.Config)
	}{
		{"a brace ends the hash tag", func(c *config.Config) { c.Directories[0].Name = "a}b" }},
		{"a directory needs a name", func(c *config.Config) { c.Directories[0].Name = "" }},
		{"a broken glob allows nobody knows what", func(c *config.Config) { c.IdentityProviders[0].Groups.Allow = []string{"[a"} }},
	} {
		cfg := testConfig()
		test.edit(cfg)
		if _, err := New(nil, "", cfg); err == nil {
			t.Errorf("%s: New took the configuration", test.why)
		}
	}
	if _, err := New(nil, "a{b}", testConfig()); err == nil {
		t.Error("New took a key prefix with a hash tag")
	}

	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		w.refused(CodeDirectoryDeleted, "closed", "userName", "ann") // its directory is no longer configured
		w.refused(CodeDirectoryDeleted, "nowhere", "userName", "ann")
		if a, b := w.login("acme", "userName", "ann").User, w.login("acme-two", "userName", "ann").User; a.ID != b.ID {
			t.Errorf("user of the directory's second IdP = %s, want %s", b.ID, a.ID)
		}
	})
}

// domainCase is a login with a domain attribute.
type domainCase struct {
	why, domain string // "-" for no attribute
	code, want  string // either
}

func runDomains(t *testing.T, idp string, tests []domainCase) {
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		for _, test := range tests {
			t.Run(test.why, func(t *testing.T) {
				w, pairs := w.with(t), []string{"userName", "ann"}
				if test.domain != "-" {
					pairs = append(pairs, "domain", test.domain)
				}
				if test.code != "" {
					w.refused(test.code, idp, pairs...)
					return
				}
				if got := w.login(idp, pairs...).User.Domain; got != test.want {
					t.Errorf("domain = %q, want %q", got, test.want)
				}
			})
		}
	})
}

// TestJ3OneDomainMayBeAbsent: where a directory has one domain, the attribute
// may be absent, and must match where it is there.
func TestJ3OneDomainMayBeAbsent(t *testing.T) {
	t.Parallel()
	runDomains(t, "acme", []domainCase{
		{"absent: there is but one", "-", "", "acme.example"},
		{"blank is absent", " ", "", "acme.example"},
		{"the one", "acme.example", "", "acme.example"},
		{"not the one", "labs.example", CodeDomainMismatch, ""},
		{"not a domain", "acme", CodeDomainMismatch, ""},
	})
}

// TestJ4SeveralDomainsMustBeSent: where a directory has several domains, the
// attribute must be there and be one of them.
func TestJ4SeveralDomainsMustBeSent(t *testing.T) {
	t.Parallel()
	runDomains(t, "labs", []domainCase{
		{"absent", "-", CodeDomainMissing, ""},
		{"blank", "", CodeDomainMissing, ""},
		{"the first", "labs.example", "", "labs.example"},
		{"the second", "xn--bcher-kva.example", "", "xn--bcher-kva.example"},
		{"another directory's", "acme.example", CodeDomainMismatch, ""},
		{"nobody's", "nobody.example", CodeDomainMismatch, ""},
	})
}

// TestJ5DomainsCompareNormalised: domains compare as IDNA A-labels in lower
// case without a trailing dot; what only begins or ends like one of ours does
// not match.
func TestJ5DomainsCompareNormalised(t *testing.T) {
	t.Parallel()
	runDomains(t, "labs", []domainCase{
		{"upper case", "LABS.Example", "", "labs.example"},
		{"trailing dot", "labs.example.", "", "labs.example"},
		{"A-label in upper case", "XN--BCHER-KVA.example", "", "xn--bcher-kva.example"},
		{"two trailing dots", "labs.example..", CodeDomainMismatch, ""},
		{"ours as the beginning", "labs.example.evil", CodeDomainMismatch, ""},
		{"ours as the end", "evillabs.example", CodeDomainMismatch, ""},
		{"subdomain that is not listed", "sub.labs.example", CodeDomainMismatch, ""},
		{"address", "ann@labs.example", CodeDomainMismatch, ""},
		{"two at signs", "a@evil@labs.example", CodeDomainMismatch, ""},
		{"NUL", "labs.example\x00.evil", CodeAttributeInvalid, ""},
		{"long s, which folds to s", "lab\u017f.example", CodeAttributeInvalid, ""},
		{"full-width letters, which IDNA maps to ASCII", "\uff4c\uff41\uff42\uff53.example", CodeAttributeInvalid, ""},
		{"ideographic full stop, which IDNA maps to a dot", "labs\u3002example", CodeDomainMismatch, ""},
	})
}

// TestJ6AddressesAreOfTheDirectory: a userName or email that is an address is
// of one of the directory's domains, at every login, unless the identity
// provider may send any.
func TestJ6AddressesAreOfTheDirectory(t *testing.T) {
	t.Parallel()
	tests := []struct {
		why, idp, attribute, value string
		code                       string
	}{
		{"plain userName", "other", "userName", "ann", ""},
		{"userName of the domain", "other", "userName", "ann@other.example", ""},
		{"userName of the domain in upper case", "other", "userName", "ann@OTHER.example", ""},
		{"userName of another directory", "other", "userName", "ann@acme.example", CodeDomainMismatch},
		{"userName of a subdomain", "other", "userName", "ann@sub.other.example", CodeDomainMismatch},
		{"userName with the domain as its beginning", "other", "userName", "ann@other.example.evil", CodeDomainMismatch},
		{"two at signs, the last with the domain", "other", "userName", "a@evil@other.example", CodeDomainMismatch},
		{"two at signs, the first with the domain", "other", "userName", "a@other.example@evil", CodeDomainMismatch},
		{"nothing before the at sign", "other", "userName", "@other.example", CodeDomainMismatch},
		{"nothing after the at sign", "other", "userName", "ann@", CodeDomainMismatch},
		{"full-width at sign", "other", "userName", "ann\uff20acme.example", CodeAttributeInvalid},
		{"small at sign", "other", "userName", "ann\ufe6bacme.example", CodeAttributeInvalid},
		{"e-mail of the domain", "other", "email", "ann@other.example", ""},
		{"e-mail of another directory", "other", "email", "ann@acme.example", CodeDomainMismatch},
		{"e-mail with two at signs", "other", "email", "a@evil@other.example", CodeDomainMismatch},
		{"e-mail with a domain literal", "other", "email", "ann@[192.0.2.1]", CodeDomainMismatch},
		{"e-mail with a space", "other", "email", "a nn@other.example", CodeAttributeInvalid},
		{"e-mail with a letter that is not ASCII", "other", "email", "\u00e4nn@other.example", CodeAttributeInvalid},
		{"e-mail that is none", "other", "email", "none", ""},
		{"any: userName of another directory", "other-any", "userName", "ann@acme.example", ""},
		{"any: userName with two at signs", "other-any", "userName", "a@mail.example@other.example", ""},
		{"any: e-mail with two at signs", "other-any", "email", "a@mail.example@other.example", CodeAttributeInvalid},
		{"any: e-mail of another directory", "other-any", "email", "ann@acme.example", ""},
		{"another attribute may hold any address", "other", "department", "ann@acme.example", ""},
		{"email by another name in the assertion", "labs", "urn:oid:0.9.2342.19200300.100.1.3", "ann@acme.example", CodeDomainMismatch},
		{"an unused attribute of that name", "labs", "email", "ann@acme.example", ""},
		{"an IdP that changes nobody says who it is all the same", "acme-known", "email", "ann@other.example", CodeDomainMismatch},
	}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range tests {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				pairs := []string{"domain", map[string]string{"labs": "labs.example"}[test.idp], test.attribute, test.value}
				if test.attribute != "userName" {
					pairs = append(pairs, "userName", "ann")
				}
				if test.code == "" {
					w.login(test.idp, pairs...)
					return
				}
				r := w.refused(test.code, test.idp, pairs...)
				if r.Sent != test.attribute {
					t.Errorf("refusal names %q, want %q", r.Sent, test.attribute)
				}
			})
		}
		t.Run("at every login", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("other", "userName", "ann", "email", "ann@other.example")
			w.refused(CodeDomainMismatch, "other", "userName", "ann", "email", "ann@acme.example")
		})
		t.Run("every value", func(t *testing.T) {
			w := newWorld(t, rdb, func(c *config.Config) { c.Attributes[0].Multiple = true })
			w.refused(CodeDomainMismatch, "other", "userName", "ann", "email", "ann@other.example", "email", "ann@acme.example")
		})
	})
}

// TestJ7UsersStayInTheirDirectory: a user is never found in another directory,
// nor linked to one there.
func TestJ7UsersStayInTheirDirectory(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		acme := w.login("acme", "userName", "ann", "ExternalId", "1", "email", "ann@acme.example").User
		for _, test := range []struct {
			why   string
			pairs []string
		}{
			{"the same userName", []string{"userName", "ann"}},
			{"the same ExternalId", []string{"userName", "bob", "ExternalId", "1"}},
			{"the same e-mail address", []string{"userName", "carl", "email", "ann@acme.example"}},
			{"all the same", []string{"userName", "ann", "ExternalId", "2", "email", "ann@acme.example"}},
		} {
			out := w.login("other-any", test.pairs...)
			if out.User.ID == acme.ID || out.User.Directory != "other" {
				t.Errorf("%s in another directory is user %s of %s, want another one", test.why, out.User.ID, out.User.Directory)
			}
		}
		if got, ok, err := w.User(t.Context(), "acme", acme.ID); !ok || err != nil || got.Updated != acme.Updated {
			t.Errorf("user of the first directory = %+v, %v, %v, want it unchanged", got, ok, err)
		}
		if _, ok, _ := w.User(t.Context(), "other", acme.ID); ok {
			t.Error("the user is found in another directory")
		}
	})
}
