package provision

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// The rows of the catalogue of attacks on who somebody is: what a verified
// assertion says, and should not get. Each has an honest twin that is accepted.
func TestAttacksOnIdentity(t *testing.T) {
	t.Parallel()
	type login struct {
		idp   string
		pairs []string
	}
	at := func(idp string, pairs ...string) login { return login{idp, pairs} }
	ann := at("other", "userName", "ann@other.example")
	mail := at("other", "userName", "ann", "email", "ann@other.example")
	grouped := at("acme", "userName", "ann", "groups", "eng-a")
	domain := at("labs", "userName", "ann", "domain", "labs.example")
	for _, test := range []struct {
		row    string
		twin   login
		attack login
		code   string // "": it is accepted, as the twin's user
	}{
		{"C31 zero-width space in userName", ann, at("other", "userName", "ann\u200b@other.example"), CodeAttributeInvalid},
		{"C31 no-break space in userName", ann, at("other", "userName", "ann\u00a0@other.example"), CodeAttributeInvalid},
		{"C31 right-to-left override in userName", ann, at("other", "userName", "\u202eann@other.example"), CodeAttributeInvalid},
		{"C31 right-to-left mark in userName", ann, at("other", "userName", "ann\u200f@other.example"), CodeAttributeInvalid},
		{"C31 Kelvin sign in userName", at("other", "userName", "kim"), at("other", "userName", "\u212aim"), CodeAttributeInvalid},
		{"C31 long s in userName", at("other", "userName", "sam"), at("other", "userName", "\u017fam"), CodeAttributeInvalid},
		{"C31 full-width @ in userName", ann, at("other", "userName", "ann\uff20acme.example"), CodeAttributeInvalid},
		{"C31 small @ in userName", ann, at("other", "userName", "ann\ufe6bacme.example"), CodeAttributeInvalid},
		{"C31 byte order mark in userName", ann, at("other", "userName", "\ufeffann@other.example"), CodeAttributeInvalid},
		{"C31 zero-width space in e-mail", mail, at("other", "userName", "ann", "email", "ann\u200b@other.example"), CodeAttributeInvalid},
		{"C31 full-width @ in e-mail", mail, at("other", "userName", "ann", "email", "ann\uff20acme.example"), CodeAttributeInvalid},
		{"C31 Kelvin sign in the domain", domain, at("labs", "userName", "ann", "domain", "labs.e\u212aample"), CodeAttributeInvalid},
		{"C31 zero-width space in ExternalId", at("acme", "userName", "ann", "ExternalId", "1"), at("acme", "userName", "bob", "ExternalId", "1\u200b"), CodeAttributeInvalid},
		{"C31 a space after userName", ann, at("other", "userName", "ann@other.example "), CodeAttributeInvalid},

		{"C33 userName twice", ann, at("other", "userName", "ann@other.example", "userName", "admin@other.example"), CodeAttributeInvalid},
		{"C33 userName twice, in two cases", ann, at("other", "userName", "ann@other.example", "userName", "ANN@other.example"), CodeAttributeInvalid},
		{"C33 userName twice, the same", ann, at("other", "userName", "ann@other.example", "userName", "ann@other.example"), ""},
		{"C33 userName twice, one of them blank", ann, at("other", "userName", "", "userName", "ann@other.example"), ""},
		{"C33 ExternalId twice", at("acme", "userName", "ann", "ExternalId", "1"), at("acme", "userName", "ann", "ExternalId", "1", "ExternalId", "2"), CodeAttributeInvalid},
		{"C33 domain twice", domain, at("labs", "userName", "ann", "domain", "labs.example", "domain", "xn--bcher-kva.example"), CodeAttributeInvalid},
		{"C33 e-mail twice", mail, at("other", "userName", "ann", "email", "ann@other.example", "email", "bob@other.example"), CodeAttributeInvalid},

		{"C34 userName by its name in other letters", ann, at("other", "username", "admin", "userName", "ann@other.example", "UserName", "admin"), ""},
		{"C34 no userName but by other letters", ann, at("other", "username", "ann@other.example"), CodeUserNameMissing},
		{"C34 no userName but with a space", ann, at("other", "userName ", "ann@other.example"), CodeUserNameMissing},

		{"C35 two @ in userName, the last with the domain", ann, at("other", "userName", "a@evil@other.example"), CodeDomainMismatch},
		{"C35 two @ in userName, the first with the domain", ann, at("other", "userName", "a@other.example@evil"), CodeDomainMismatch},
		{"C35 two @ in e-mail, the last with the domain", mail, at("other", "userName", "ann", "email", "a@evil@other.example"), CodeDomainMismatch},
		{"C35 two @ in e-mail, the first with the domain", mail, at("other", "userName", "ann", "email", "a@other.example@evil"), CodeDomainMismatch},
		{"C35 two @ in the domain", domain, at("labs", "userName", "ann", "domain", "evil@labs.example"), CodeDomainMismatch},
		{"C35 a quoted @ in e-mail", mail, at("other", "userName", "ann", "email", `"a@evil"@other.example`), CodeDomainMismatch},

		{"C36 a domain of nobody in userName", ann, at("other", "userName", "ann@evil.example"), CodeDomainMismatch},
		{"C36 a domain of another directory in userName", ann, at("other", "userName", "ann@acme.example"), CodeDomainMismatch},
		{"C36 a domain of another directory in e-mail", mail, at("other", "userName", "ann", "email", "ann@acme.example"), CodeDomainMismatch},
		{"C36 a domain of another directory", domain, at("labs", "userName", "ann", "domain", "acme.example"), CodeDomainMismatch},
		{"C36 no domain where there are two", domain, at("labs", "userName", "ann"), CodeDomainMissing},

		{"C37 ours as the beginning of a domain", domain, at("labs", "userName", "ann", "domain", "labs.example.evil"), CodeDomainMismatch},
		{"C37 ours as the end of a domain", domain, at("labs", "userName", "ann", "domain", "evillabs.example"), CodeDomainMismatch},
		{"C37 a domain below ours", domain, at("labs", "userName", "ann", "domain", "evil.labs.example"), CodeDomainMismatch},
		{"C37 ours in upper case", domain, at("labs", "userName", "ann", "domain", "LABS.example"), ""},
		{"C37 ours with a dot at its end", domain, at("labs", "userName", "ann", "domain", "labs.example."), ""},
		{"C37 ours with two dots at its end", domain, at("labs", "userName", "ann", "domain", "labs.example.."), CodeDomainMismatch},
		{"C37 ours as the beginning of a userName's domain", ann, at("other", "userName", "ann@other.example.evil"), CodeDomainMismatch},
		{"C37 a userName in upper case", ann, at("other", "userName", "ANN@OTHER.example"), ""},

		{"C43 a carriage return in a group", grouped, at("acme", "userName", "ann", "groups", "eng-a\rX-Admin: 1"), CodeAttributeInvalid},
		{"C43 a line feed in a group", grouped, at("acme", "userName", "ann", "groups", "eng-a\nX-Admin: 1"), CodeAttributeInvalid},
		{"C43 a NUL in a group", grouped, at("acme", "userName", "ann", "groups", "eng-a\x00"), CodeAttributeInvalid},
		{"C43 an override of direction in a group", grouped, at("acme", "userName", "ann", "groups", "eng-\u202ea"), CodeAttributeInvalid},
		{"C43 a group that is not UTF-8", grouped, at("acme", "userName", "ann", "groups", "eng-\xff"), CodeAttributeInvalid},
		{"C43 a carriage return in an attribute", grouped, at("acme", "userName", "ann", "department", "a\rb"), CodeAttributeInvalid},

		{"C64 a value of 100 KB", grouped, at("acme", "userName", "ann", "department", strings.Repeat("a", 100<<10)), CodeAttributeInvalid},
		{"C64 a userName of 2 KiB", ann, at("other", "userName", strings.Repeat("a", 2<<10)), CodeAttributeInvalid},
	} {
		t.Run(test.row, func(t *testing.T) {
			testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
				w := newWorld(t, rdb)
				first := w.login(test.twin.idp, test.twin.pairs...).User
				if test.code != "" {
					w.refused(test.code, test.attack.idp, test.attack.pairs...)
					return
				}
				if u := w.login(test.attack.idp, test.attack.pairs...).User; u.ID != first.ID || u.UserName != first.UserName {
					t.Errorf("user = %s %q, want that of the twin: %s %q", u.ID, u.UserName, first.ID, first.UserName)
				}
			})
		})
	}
}

// Two identity providers of two directories: whatever the second says, it is of
// users of its own.
func TestAttacksAcrossDirectories(t *testing.T) {
	t.Parallel()
	anybody := func(c *config.Config) { c.IdentityProviders[0].EmailDomains = "any" }
	for _, test := range []struct {
		row   string
		pairs []string // at both
	}{
		{"C38 the same userName by another IdP is another user", []string{"userName", "ann"}},
		{"C38 the same ExternalId by another IdP is another user", []string{"userName", "ann", "ExternalId", "1"}},
		{"C38 the same address for a userName by another IdP is another user", []string{"userName", "ann@acme.example"}},
		{"C39 the same e-mail by another IdP links nothing", []string{"userName", "ann", "email", "ann@acme.example"}},
		{"C39 the same e-mail in other letters by another IdP links nothing", []string{"userName", "ann", "email", "ANN@acme.example"}},
	} {
		t.Run(test.row, func(t *testing.T) {
			testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
				w := newWorld(t, rdb, anybody)
				first := w.login("acme", test.pairs...).User
				second := w.login("other-any", test.pairs...).User
				if first.ID == second.ID || second.Directory != "other" {
					t.Errorf("users %s of %s and %s of %s, want two", first.ID, first.Directory, second.ID, second.Directory)
				}
				again := w.login("acme", test.pairs...).User
				if again.ID != first.ID {
					t.Errorf("the first user is %s, and was %s", again.ID, first.ID)
				}
			})
		})
	}
	t.Run("C39 the same e-mail of another name in one directory links nothing", func(t *testing.T) {
		testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
			w := newWorld(t, rdb)
			first := w.login("acme", "userName", "ann", "email", "ann@acme.example").User
			second := w.login("acme-two", "userName", "bob", "email", "ann@acme.example").User
			if first.ID == second.ID {
				t.Errorf("one user %s by the same e-mail, want two", first.ID)
			}
		})
	})
}

// A group is one name, whatever separates names elsewhere.
func TestGroupIsOneName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		row, group string
		want       []string
	}{
		{"C43 a comma in a group", "eng-a,staff", []string{"eng-a,staff"}},
		{"C43 a semicolon and a space in a group", "eng-a; staff", []string{"eng-a; staff"}},
		{"C43 a group beyond ASCII", "eng-\u00e4\u8c22", []string{"eng-\u00e4\u8c22"}},
		{"C43 a group in percent-encoding", "eng-%2Cstaff", []string{"eng-%2Cstaff"}},
		{"C43 a comma before an allowed group", "admin,eng-a", nil},
	} {
		t.Run(test.row, func(t *testing.T) {
			testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
				w := newWorld(t, rdb)
				if u := w.login("acme", "userName", "ann", "groups", "eng-a").User; !slices.Equal(u.Groups, []string{"eng-a"}) {
					t.Fatalf("the honest twin's groups = %q, want eng-a", u.Groups)
				}
				if u := w.login("acme", "userName", "ann", "groups", test.group).User; !slices.Equal(u.Groups, test.want) {
					t.Errorf("groups = %q, want %q", u.Groups, test.want)
				}
			})
		})
	}
}
