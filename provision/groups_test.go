package provision

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// groupsByDepartment makes a group in-X of each of the departments d0 to d4.
func groupsByDepartment(c *config.Config) {
	for i := range 5 {
		d := fmt.Sprint("d", i)
		c.Groups = append(c.Groups, config.Group{Name: "in-" + d, Rule: &config.Rule{Attribute: "department", Is: d}})
	}
}

// policy is an access table: who is in the group that rules make.
type policy struct {
	t   *testing.T
	set *groupSet
}

// newPolicy compiles groups beside the test configuration.
func newPolicy(t *testing.T, groups ...config.Group) policy {
	t.Helper()
	cfg := testConfig()
	cfg.Groups = groups
	set, err := compileGroups(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return policy{t, set}
}

// in checks the configured groups that a user is in.
func (p policy) in(why string, u User, asserted []string, want ...string) {
	p.t.Helper()
	if got := p.set.of(&u, asserted).configured; !slices.Equal(got, want) {
		p.t.Errorf("%s: groups = %q, want %q", why, got, want)
	}
}

// someone returns a user of acme with these attributes.
func someone(pairs ...string) User {
	return User{Directory: "acme", Domain: "acme.example", UserName: "ann", Attributes: sent(pairs...)}
}

func ptr(b bool) *bool { return &b }

// TestJ21RulesMakeGroups: groups follow from rules, from users listed and left
// out, and from one another, without cycles.
func TestJ21RulesMakeGroups(t *testing.T) {
	t.Parallel()
	leaf := func(is string) config.Rule { return config.Rule{Attribute: "department", Is: is} }
	sales, none := someone("department", "Sales"), someone()
	several := someone("department", "x", "department", "Sales")
	for _, test := range []struct {
		why  string
		rule config.Rule
		user User
		want bool
	}{
		{"is: the value", leaf("Sales"), sales, true},
		{"is: case matters", leaf("sales"), sales, false},
		{"is: a part is not the value", leaf("Sale"), sales, false},
		{"is: any of the values", leaf("Sales"), several, true},
		{"is: no value", leaf("Sales"), none, false},
		{"is_not: the value", config.Rule{Attribute: "department", IsNot: "Sales"}, sales, false},
		{"is_not: another", config.Rule{Attribute: "department", IsNot: "Legal"}, sales, true},
		{"is_not: any of the values", config.Rule{Attribute: "department", IsNot: "Sales"}, several, true},
		{"is_not: no value is no other one either", config.Rule{Attribute: "department", IsNot: "Sales"}, none, false},
		{"starts_with", config.Rule{Attribute: "department", StartsWith: "Sa"}, sales, true},
		{"starts_with: not in the middle", config.Rule{Attribute: "department", StartsWith: "al"}, sales, false},
		{"ends_with", config.Rule{Attribute: "department", EndsWith: "les"}, sales, true},
		{"ends_with: not in the middle", config.Rule{Attribute: "department", EndsWith: "al"}, sales, false},
		{"contains", config.Rule{Attribute: "department", Contains: "al"}, several, true},
		{"contains: not", config.Rule{Attribute: "department", Contains: "la"}, several, false},
		{"matches", config.Rule{Attribute: "department", Matches: "S.*s|Legal"}, sales, true},
		{"matches: the whole value, at the beginning", config.Rule{Attribute: "department", Matches: "ales"}, sales, false},
		{"matches: and at the end", config.Rule{Attribute: "department", Matches: "Sale"}, sales, false},
		{"matches: each branch is anchored", config.Rule{Attribute: "department", Matches: "Legal|Sale"}, sales, false},
		{"matches: (?m) does not unanchor", config.Rule{Attribute: "department", Matches: "(?m)^Sale$"}, sales, false},
		{"exists", config.Rule{Attribute: "department", Exists: ptr(true)}, sales, true},
		{"exists: not", config.Rule{Attribute: "department", Exists: ptr(true)}, none, false},
		{"exists: false", config.Rule{Attribute: "department", Exists: ptr(false)}, none, true},
		{"exists: false, but it does", config.Rule{Attribute: "department", Exists: ptr(false)}, sales, false},
		{"userName is an attribute too", config.Rule{Attribute: "userName", Is: "ann"}, none, true},
		{"ExternalId may be absent", config.Rule{Attribute: "ExternalId", Exists: ptr(true)}, none, false},
		{"directory", config.Rule{Directory: "acme"}, none, true},
		{"directory: another", config.Rule{Directory: "labs"}, none, false},
		{"domain", config.Rule{Domain: "ACME.example."}, none, true},
		{"domain: another", config.Rule{Domain: "labs.example"}, none, false},
		{"any: the first", config.Rule{Any: []config.Rule{leaf("Sales"), leaf("Legal")}}, sales, true},
		{"any: the last", config.Rule{Any: []config.Rule{leaf("Legal"), leaf("Sales")}}, sales, true},
		{"any: none", config.Rule{Any: []config.Rule{leaf("Legal"), leaf("IT")}}, sales, false},
		{"all", config.Rule{All: []config.Rule{leaf("Sales"), {Directory: "acme"}}}, sales, true},
		{"all: but one", config.Rule{All: []config.Rule{leaf("Sales"), {Directory: "labs"}}}, sales, false},
		{"not", config.Rule{Not: &config.Rule{Attribute: "department", Is: "Legal"}}, sales, true},
		{"not: holds for those without the attribute", config.Rule{Not: &config.Rule{Attribute: "department", Is: "Legal"}}, none, true},
		{"nested", config.Rule{All: []config.Rule{{Any: []config.Rule{leaf("IT"), {Not: &config.Rule{Any: []config.Rule{leaf("Legal")}}}}}, {Domain: "acme.example"}}}, sales, true},
	} {
		want := []string{"g"}[:map[bool]int{true: 1}[test.want]]
		newPolicy(t, config.Group{Name: "g", Rule: &test.rule}).in(test.why, test.user, nil, want...)
	}

	t.Run("group", func(t *testing.T) {
		p := newPolicy(t, // asked for before they are there
			config.Group{Name: "top", Rule: &config.Rule{All: []config.Rule{{Group: "mid"}, {Not: &config.Rule{Group: "out"}}}}},
			config.Group{Name: "mid", Rule: &config.Rule{Any: []config.Rule{{Group: "low"}}}},
			config.Group{Name: "low", Rule: &config.Rule{Attribute: "department", Is: "Sales"}, Users: []string{"bob@acme.example"}},
			config.Group{Name: "out", Rule: &config.Rule{Attribute: "title", Exists: ptr(true)}},
		)
		p.in("through two groups", sales, nil, "low", "mid", "top")
		p.in("not the group left out", someone("department", "Sales", "title", "x"), nil, "low", "mid", "out")
		p.in("by being listed", User{Directory: "acme", Domain: "acme.example", UserName: "bob"}, nil, "low", "mid", "top")
		p.in("none", none, nil)
	})
	t.Run("users and except", testListed)
	t.Run("refused", testBadGroups)
	t.Run("the zero group has nobody", func(t *testing.T) {
		newPolicy(t, config.Group{Name: "g"}).in("no rule", sales, []string{"g"})
		newPolicy(t).in("no groups", sales, []string{"g"})
	})
}

func testListed(t *testing.T) {
	user := func(directory, domain, name string) User {
		return User{Directory: directory, Domain: domain, UserName: name, Attributes: sent("department", "Sales")}
	}
	for _, test := range []struct {
		why   string
		entry string
		user  User
		want  bool
	}{
		{"userName in the domain", "ann@acme.example", user("acme", "acme.example", "ann"), true},
		{"userName that is the address", "ann@acme.example", user("acme", "acme.example", "ann@acme.example"), true},
		{"case of ASCII does not matter", "Ann@ACME.example", user("acme", "acme.example", "aNN"), true},
		{"a trailing dot does not hide anybody", "ann@acme.example", user("acme", "acme.example", "ann@acme.example."), true},
		{"another name", "ann@acme.example", user("acme", "acme.example", "anna"), false},
		{"the name in another domain", "ann@labs.example", user("labs", "xn--bcher-kva.example", "ann"), false},
		{"the address as name in another directory", "ann@acme.example", user("other", "other.example", "ann@acme.example"), false},
		{"a foreign address as name", "a@mail.example@other.example", user("other", "other.example", "a@mail.example"), true},
		{"a userName that is a foreign address and our domain", "a@mail.example@acme.example", user("acme", "acme.example", "a@mail.example@acme.example"), true},
		{"which another directory's user has too", "a@mail.example@other.example", user("acme", "acme.example", "a@mail.example"), false},
	} {
		listed := newPolicy(t, config.Group{Name: "g", Users: []string{"zoe@labs.example", test.entry}})
		left := newPolicy(t, config.Group{Name: "g", Rule: &config.Rule{Attribute: "department", Is: "Sales"}, Except: []string{test.entry}})
		if test.want {
			listed.in(test.why+" (users)", test.user, nil, "g")
			left.in(test.why+" (except)", test.user, nil)
		} else {
			listed.in(test.why+" (users)", test.user, nil)
			left.in(test.why+" (except)", test.user, nil, "g")
		}
	}
	ann := user("acme", "acme.example", "ann")
	newPolicy(t, config.Group{Name: "g", Asserted: true, Users: []string{"ann@acme.example"}, Except: []string{"ann@acme.example"}}).
		in("except wins over users and asserted", ann, []string{"g"})

	cfg := testConfig()
	cfg.Directories, cfg.Groups = cfg.Directories[:1], []config.Group{{Name: "g", Users: []string{"Ann"}}}
	set, err := compileGroups(cfg)
	if err != nil {
		t.Fatal(err)
	}
	policy{t, set}.in("a name alone, where there is one domain", ann, nil, "g")
}

func testBadGroups(t *testing.T) {
	rule := func(r config.Rule) []config.Group { return []config.Group{{Name: "a", Rule: &r}} }
	for _, test := range []struct {
		why    string
		groups []config.Group
		text   string
	}{
		{"a circle of one", rule(config.Rule{Group: "a"}), "depends on itself"},
		{"a circle of two, below not", []config.Group{
			{Name: "a", Rule: &config.Rule{Group: "b"}}, {Name: "b", Rule: &config.Rule{Any: []config.Rule{{Not: &config.Rule{Group: "a"}}}}},
		}, "depends on itself"},
		{"a group that is not there", rule(config.Rule{Group: "b"}), "not there"},
		{"a rule that says nothing", rule(config.Rule{}), "says nothing"},
		{"the same below not, which would be everybody", rule(config.Rule{Not: &config.Rule{}}), "says nothing"},
		{"the same below any", rule(config.Rule{Any: []config.Rule{{}}}), "says nothing"},
		{"the same below all", rule(config.Rule{All: []config.Rule{{}}}), "says nothing"},
		{"an attribute compared with nothing", rule(config.Rule{Attribute: "email"}), "nothing"},
		{"a broken expression", rule(config.Rule{Attribute: "email", Matches: "("}), "missing"},
		{"an expression that gets out of its parentheses", rule(config.Rule{Attribute: "email", Matches: "a)|(b"}), "unexpected"},
		{"a domain that is none", rule(config.Rule{Domain: "x y"}), "not a domain"},
		{"a user of no domain, where there are several", []config.Group{{Name: "a", Users: []string{"ann"}}}, "no domain"},
		{"a user left out by a domain with a slip", []config.Group{{Name: "a", Except: []string{"ann@acme.exmaple"}}}, "no directory"},
	} {
		cfg := testConfig()
		cfg.Groups = test.groups
		if _, err := New(nil, "", cfg); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: error = %v, want one that says %q", test.why, err, test.text)
		}
	}
	problem(t, `groups: [{name: a, rule: {group: b}}, {name: b, rule: {group: a}}]`, "groups[1].rule", "circle")
}

// TestJ22AssertedGroupsAreFiltered: asserted groups are taken where the
// identity provider may assert them, and are a configured one of the same name
// only where that says so.
func TestJ22AssertedGroupsAreFiltered(t *testing.T) {
	t.Parallel()
	groups := func(c *config.Config) {
		c.Groups = []config.Group{
			{Name: "eng-core", Rule: &config.Rule{Attribute: "department", Is: "Core"}},
			{Name: "staff", Asserted: true, Entitlements: []string{"canteen"}},
		}
	}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, idp               string
			sent                   []string
			groups, asserted, ents []string
		}{
			{"allowed by a glob", "acme", []string{"groups", "eng-web", "groups", "eng-app"}, []string{"eng-app", "eng-web"}, []string{"eng-app", "eng-web"}, nil},
			{"not allowed", "acme", []string{"groups", "admins", "groups", "eng", "groups", "xeng-a"}, nil, nil, nil},
			{"a glob's * ends at a slash", "acme", []string{"groups", "eng-a/b"}, nil, nil, nil},
			{"case matters to globs", "acme", []string{"groups", "ENG-web"}, nil, nil, nil},
			{"blank ones and duplicates", "acme", []string{"groups", "", "groups", "eng-web", "groups", " eng-web "}, []string{"eng-web"}, []string{"eng-web"}, nil},
			{"the name of a configured group is not that group", "acme", []string{"groups", "eng-core"}, nil, nil, nil},
			{"nor one that differs in case", "acme", []string{"groups", "eng-Core"}, nil, nil, nil},
			{"unless that says asserted", "acme", []string{"groups", "staff"}, []string{"staff"}, nil, []string{"canteen"}},
			{"the configured group by its rule", "acme", []string{"groups", "eng-core", "department", "Core"}, []string{"eng-core"}, nil, nil},
			{"an IdP without groups asserts none", "acme-two", []string{"groups", "staff", "groups", "eng-web"}, nil, nil, nil},
			{"another attribute is not asked", "acme", []string{"memberOf", "eng-web"}, nil, nil, nil},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb, groups)
				out := w.login(test.idp, append(test.sent, "userName", "ann")...)
				u := out.User
				var joined []string
				for _, e := range out.Events {
					if e.Type == audit.GroupJoined {
						joined = append(joined, e.Group)
					}
				}
				if slices.Sort(joined); !slices.Equal(joined, test.groups) {
					t.Errorf("joined %q, want %q", joined, test.groups)
				}
				stored, ok, err := w.User(t.Context(), "acme", u.ID)
				if !ok || err != nil {
					t.Fatal(ok, err)
				}
				for _, u := range []User{u, stored} {
					if !slices.Equal(u.Groups, test.groups) || !slices.Equal(u.Asserted, test.asserted) || !slices.Equal(u.Entitlements, test.ents) {
						t.Errorf("groups %q, asserted %q, entitlements %q, want %q, %q, %q",
							u.Groups, u.Asserted, u.Entitlements, test.groups, test.asserted, test.ents)
					}
				}
			})
		}
	})
}

// TestJ23MembershipIsWorkedOutAnew: who is in which group is worked out at each
// login and whenever a user is read, by the configuration as it is now.
func TestJ23MembershipIsWorkedOutAnew(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, groupsByDepartment)
		for _, test := range []struct {
			why, idp, told string
			sent, groups   []string
		}{
			{"a first login", "acme", "user_created department+domain+userName, group_joined in-d1, group_joined eng-a, login", []string{"department", "d1", "groups", "eng-a"}, []string{"eng-a", "in-d1"}},
			{"the same again", "acme", "login", []string{"department", "d1", "groups", "eng-a"}, []string{"eng-a", "in-d1"}},
			{"the attribute no longer matches", "acme", "user_updated department, group_left in-d1, login", []string{"department", "x", "groups", "eng-a"}, []string{"eng-a"}},
			{"matches another group", "acme", "user_updated department, group_joined in-d2, login", []string{"department", "d2", "groups", "eng-a"}, []string{"eng-a", "in-d2"}},
			{"asserted groups change", "acme", "group_joined eng-b, group_left eng-a, login", []string{"department", "d2", "groups", "eng-b"}, []string{"eng-b", "in-d2"}},
			{"no groups are asserted", "acme", "group_left eng-b, login", []string{"department", "d2"}, []string{"in-d2"}},
			{"groups with the attribute kept", "acme", "login", nil, []string{"in-d2"}},
		} {
			out := w.login(test.idp, append(test.sent, "userName", "ann")...)
			if got := tell(out.Events); got != test.told {
				t.Errorf("%s: events = %s, want %s", test.why, got, test.told)
			}
			if !slices.Equal(out.User.Groups, test.groups) {
				t.Errorf("%s: groups = %q, want %q", test.why, out.User.Groups, test.groups)
			}
		}

		t.Run("after a reload, without a login", func(t *testing.T) {
			w := newWorld(t, rdb, groupsByDepartment)
			id := w.login("acme", "userName", "ann", "department", "d1", "groups", "eng-a", "groups", "staff").User.ID
			for _, test := range []struct {
				why  string
				edit func(*config.Config)
				want []string
			}{
				{"the same configuration", groupsByDepartment, []string{"eng-a", "in-d1", "staff"}},
				{"no groups any more", func(*config.Config) {}, []string{"eng-a", "staff"}},
				{"a new group", func(c *config.Config) {
					c.Groups = []config.Group{{Name: "new", Rule: &config.Rule{Attribute: "department", StartsWith: "d"}}}
				}, []string{"eng-a", "new", "staff"}},
				{"the allow list is shorter", func(c *config.Config) { c.IdentityProviders[0].Groups.Allow = []string{"staff"} }, []string{"staff"}},
				{"a configured group takes an asserted one's name", func(c *config.Config) { c.Groups = []config.Group{{Name: "staff"}} }, []string{"eng-a"}},
				{"and gives it back", func(*config.Config) {}, []string{"eng-a", "staff"}},
				{"groups are no longer taken over", func(c *config.Config) { c.IdentityProviders[0].Groups = config.AssertedGroups{} }, nil},
				{"the IdP is gone", func(c *config.Config) { c.IdentityProviders = c.IdentityProviders[1:] }, nil},
			} {
				u, ok, err := w.reload(test.edit).User(t.Context(), "acme", id)
				if !ok || err != nil || !slices.Equal(u.Groups, test.want) {
					t.Errorf("%s: groups = %q (%v, %v), want %q", test.why, u.Groups, ok, err, test.want)
				}
			}
		})
		t.Run("the next login after a reload tells", func(t *testing.T) {
			w := newWorld(t, rdb, groupsByDepartment)
			w.login("acme", "userName", "ann", "department", "d1")
			out := w.reload().login("acme", "userName", "ann", "department", "d1")
			if got, want := tell(out.Events), "group_left in-d1, login"; got != want {
				t.Errorf("events = %s, want %s", got, want)
			}
		})
	})
}

// TestJ24EntitlementsFollowGroups: a user has the entitlements of all of their
// groups.
func TestJ24EntitlementsFollowGroups(t *testing.T) {
	t.Parallel()
	groups := func(c *config.Config) {
		c.Groups = []config.Group{
			{Name: "a", Rule: &config.Rule{Attribute: "roles", Is: "a"}, Entitlements: []string{"wiki", "builds"}},
			{Name: "b", Rule: &config.Rule{Attribute: "roles", Is: "b"}, Entitlements: []string{"wiki", "admin"}},
		}
	}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, groups)
		for _, test := range []struct {
			why   string
			roles []string
			want  []string
		}{
			{"no group", nil, nil},
			{"one group", []string{"a"}, []string{"builds", "wiki"}},
			{"two groups with one in common", []string{"a", "b"}, []string{"admin", "builds", "wiki"}},
			{"out of one again", []string{"b"}, []string{"admin", "wiki"}},
			{"an asserted group of the name has none", []string{"x"}, nil},
		} {
			out, err := w.signIn(SignIn{IdP: "acme", Attributes: map[string][]string{
				"userName": {"ann"}, "roles": append(test.roles, "other"), "groups": {"a", "b"},
			}})
			if err != nil || !slices.Equal(out.User.Entitlements, test.want) {
				t.Errorf("%s: entitlements = %q, %v, want %q", test.why, out.User.Entitlements, err, test.want)
			}
			if u, _, _ := w.User(t.Context(), "acme", out.User.ID); !slices.Equal(u.Entitlements, test.want) {
				t.Errorf("%s: stored entitlements = %q, want %q", test.why, u.Entitlements, test.want)
			}
		}
		// They follow the configuration, not the store.
		u, err := w.reload(groups, func(c *config.Config) { c.Groups[1].Entitlements = []string{"other"} }).Find(t.Context(), "", "ann")
		if err != nil || len(u) != 1 || u[0].Entitlements != nil {
			t.Errorf("users = %+v, %v, want ann without entitlements", u, err)
		}
	})
}
