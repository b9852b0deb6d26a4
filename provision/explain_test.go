package provision

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// TestExplainIsSignIn: what Explain says is what SignIn then does, and Explain
// itself changes nothing.
func TestExplainIsSignIn(t *testing.T) {
	t.Parallel()
	groups := func(c *config.Config) {
		c.Attributes[0].Required = true // email
		c.Groups = []config.Group{
			{Name: "sales", Rule: &config.Rule{Attribute: "department", Is: "Sales"}, Entitlements: []string{"crm"}},
			{Name: "legal", Rule: &config.Rule{Attribute: "department", Is: "Legal"}},
		}
	}
	ann := []string{"userName", "ann", "email", "ann@acme.example", "ExternalId", "1", "department", "Sales", "groups", "eng-a"}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, idp string
			sent     []string
			changes  string // of Before
			codes    string // of all refusals
		}{
			{"the same again", "acme", ann, "+[] -[]", ""},
			{"a change", "acme", []string{"userName", "ann", "email", "ann@acme.example", "ExternalId", "1", "department", "Legal"}, "department:[Sales]>[Legal] +[legal] -[eng-a sales]", ""},
			{"a rename", "acme", []string{"userName", "anna", "email", "ann@acme.example", "ExternalId", "1", "title", "Boss", "groups", "eng-a"}, "title:[]>[Boss] userName:[ann]>[anna] +[] -[]", ""},
			{"a new user", "acme", []string{"userName", "carl", "email", "carl@acme.example", "department", "Legal"}, "", ""},
			{"known at an IdP without jit", "acme-known", []string{"userName", "ann"}, "+[] -[]", ""},
			{"unknown there", "acme-known", []string{"userName", "carl"}, "", "user_unknown"},
			{"all that is wrong", "acme", []string{"userName", "ann@evil.example", "domain", "evil.example", "department", "a", "department", "b", "groups", "eng-\x00"}, "",
				"domain_mismatch domain_mismatch attribute_missing attribute_invalid attribute_invalid"},
			{"nothing at all", "labs", nil, "", "username_missing attribute_missing domain_missing"},
			{"the name of another user", "acme", []string{"userName", "bob", "email", "ann@acme.example", "ExternalId", "1"}, "", "user_conflict"},
			{"a blocked user", "acme", []string{"userName", "bob", "email", "bob@acme.example"}, "", "user_blocked"},
			{"a directory that is not configured", "closed", []string{"userName", "ann", "email", "ann@x.example"}, "", "directory_deleted"},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb, groups)
				w.login("acme", ann...)
				bob := w.login("acme", "userName", "bob", "email", "bob@acme.example").User
				if _, _, err := w.Block(t.Context(), "acme", bob.ID, byAdmin); err != nil {
					t.Fatal(err)
				}
				in := SignIn{IdP: test.idp, Attributes: sent(test.sent...)}
				before, told := w.dump(), len(w.trail("acme"))
				ex, err := w.Explain(t.Context(), in, true)
				if err != nil {
					t.Fatal(err)
				}
				if !maps.Equal(before, w.dump()) || len(w.trail("acme")) != told {
					t.Error("Explain changed the store")
				}
				var codes []string
				for _, r := range ex.Refusals {
					codes = append(codes, r.Code)
				}
				if got := strings.Join(codes, " "); got != test.codes {
					t.Errorf("refusals = %s, want %s", got, test.codes)
				}
				changes := ""
				if ex.Before != nil && ex.After != nil {
					for _, c := range ex.Changes {
						changes += fmt.Sprintf("%s:%v>%v ", c.Attribute, c.Before, c.After)
					}
					changes += fmt.Sprintf("+%v -%v", ex.Joined, ex.Left)
				}
				if changes != test.changes {
					t.Errorf("changes = %q, want %q", changes, test.changes)
				}

				out, err := w.signIn(in)
				var refusal *Refusal
				if errors.As(err, &refusal) {
					if ex.After != nil || len(codes) == 0 || !reflect.DeepEqual(ex.Refusals[0], refusal) {
						t.Errorf("SignIn refuses with %+v, want the first of %v", refusal, ex.Refusals)
					}
					return
				}
				if err != nil || ex.After == nil {
					t.Fatalf("SignIn = %v, explained as %+v", err, ex)
				}
				want := out.User
				want.LastLogin, want.Updated = ex.After.LastLogin, ex.After.Updated
				if ex.Before == nil {
					want.ID, want.Created = "", ex.After.Created
				}
				if !reflect.DeepEqual(*ex.After, want) {
					t.Errorf("SignIn makes %+v, want what was explained: %+v", want, *ex.After)
				}
			})
		}
	})
}

// TestExplainAttributes says what becomes of each attribute and asserted group.
func TestExplainAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, func(c *config.Config) {
		c.Attributes[0].Required = true // email
		c.Groups = []config.Group{{Name: "staff", Asserted: true}, {Name: "eng-core", Users: []string{"ann@acme.example"}}}
	})
	explain := func(idp string, pairs ...string) *Explanation {
		t.Helper()
		in := SignIn{IdP: idp, Attributes: sent(pairs...)}
		in.Attributes["badge"] = []string{} // there, with no value
		ex, err := w.Explain(t.Context(), in, false)
		if err != nil {
			t.Fatal(err)
		}
		return ex
	}
	ex := explain("acme", "userName", "ann", "department", " ", "roles", "a", "roles", "b", "roles", "a", "salary", "x", "salary", "y",
		"groups", "staff", "groups", "sales", "groups", "eng-core", "groups", "ENG-core", "groups", "eng-Core", "groups", " ", "shoe", "42", "Title", "Boss")
	var got []string
	for _, a := range ex.Attributes {
		code := ""
		if a.Refusal != nil {
			code = " " + a.Refusal.Code
		}
		got = append(got, fmt.Sprintf("%s %q %s%s", a.Name, a.Values, a.Note, code))
	}
	for _, a := range ex.Asserted {
		got = append(got, fmt.Sprintf("group %s %v %s", a.Name, a.Taken, a.Note))
	}
	for _, a := range ex.Ignored {
		got = append(got, fmt.Sprintf("ignored %s %q", a.Name, a.Values))
	}
	want := []string{
		`userName ["ann"] `,
		`domain [] not sent; the directory has one domain`,
		`ExternalId [] not sent`,
		`email [] not sent attribute_missing`,
		`department [" "] sent empty; a stored value would be kept`,
		`title [] not sent; a stored value would be cleared`,
		`badge [] sent without a value; refused for a user who has a value`,
		`roles ["a" "b"] `,
		`salary ["x" "y"]  attribute_invalid`,
		`group staff true `,
		`group sales false no pattern of groups.allow lets it through`,
		`group eng-core false a configured group has that name, and does not say asserted: true`,
		`group ENG-core false no pattern of groups.allow lets it through`,
		`group eng-Core false differs from the configured group "eng-core" in case alone`,
		`group  false blank`,
		`ignored Title ["Boss"]`,
		`ignored shoe ["42"]`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("attributes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	ex = explain("acme-known", "userName", "ann", "department", "Sales")
	if ex.After != nil || len(ex.Refusals) != 0 {
		t.Errorf("without jit and without the store: %+v, want neither a user nor a refusal", ex)
	}
	if a := ex.Attributes[4]; a.Name != "department" || a.Note != "not looked at, since jit is false" {
		t.Errorf("an attribute without jit: %+v", a)
	}
	if _, err := w.Explain(t.Context(), SignIn{IdP: "nobody"}, false); err == nil {
		t.Error("an identity provider that is not configured: no error")
	}
}
