package provision

import (
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, func(c *config.Config) {
		c.Groups = []config.Group{
			{Name: "staff", Rule: &config.Rule{Group: "engineers"}},
			{Name: "engineers", Rule: &config.Rule{Directory: "acme"}, Entitlements: []string{"wiki"}},
		}
	})
	engineers, staff := Group{"engineers", true, []string{"wiki"}}, Group{"staff", true, nil}
	if got, want := w.Groups(), []Group{engineers, staff}; !reflect.DeepEqual(got, want) {
		t.Errorf("Groups() = %+v, want %+v", got, want)
	}
	for _, test := range []struct {
		why, name string
		want      Group
		ok        bool
	}{
		{"configured", "engineers", engineers, true},
		{"configured, though it may be asserted as well", "staff", staff, true},
		{"an identity provider may assert it", "eng-7", Group{Name: "eng-7"}, true},
		{"a configured one in another case is nobody's", "Staff", Group{}, false},
		{"nobody may assert it", "sales", Group{}, false},
	} {
		if got, ok := w.Group(test.name); !reflect.DeepEqual(got, test.want) || ok != test.ok {
			t.Errorf("%s: Group(%q) = %+v, %v, want %+v, %v", test.why, test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		w.login("other", "userName", "ann")
		w.login("other-any", "userName", "bob")
		w.login("acme", "userName", "ann")
		want := Directory{Name: "other", Domains: []string{"other.example"}, IdPs: []string{"other", "other-any"}, Users: 2, State: StateOpen, Configured: true}
		if got, ok, err := w.Directory(t.Context(), "other"); !reflect.DeepEqual(got, want) || !ok || err != nil {
			t.Errorf("Directory = %+v, %v, %v, want %+v", got, ok, err, want)
		}
		if got, ok, err := w.Directory(t.Context(), "gone"); ok || err != nil {
			t.Errorf("Directory of one that is not configured = %+v, %v", got, err)
		}
	})
}

// TestMembers looks at who is in groups, and what made them members.
func TestMembers(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	rule := func(attribute string, edit func(*config.Rule)) config.Rule {
		r := config.Rule{Attribute: attribute}
		edit(&r)
		return r
	}
	department := func(edit func(*config.Rule)) config.Rule { return rule("department", edit) }
	sales := department(func(r *config.Rule) { r.Is = "Sales" })
	legal := department(func(r *config.Rule) { r.Is = "Legal" })
	titled := rule("title", func(r *config.Rule) { r.Exists = &yes })
	for _, test := range []struct {
		group config.Group
		want  string // "" where ann is not in it
	}{
		{config.Group{Rule: &sales}, `rule: department is "Sales"`},
		{config.Group{Rule: &legal}, ""},
		{config.Group{Rule: new(department(func(r *config.Rule) { r.IsNot = "Legal" }))}, `rule: department is not "Legal"`},
		{config.Group{Rule: new(department(func(r *config.Rule) { r.StartsWith = "S" }))}, `rule: department starts with "S"`},
		{config.Group{Rule: new(department(func(r *config.Rule) { r.EndsWith = "s" }))}, `rule: department ends with "s"`},
		{config.Group{Rule: new(department(func(r *config.Rule) { r.Contains = "ale" }))}, `rule: department contains "ale"`},
		{config.Group{Rule: new(department(func(r *config.Rule) { r.Matches = "S.*" }))}, `rule: department matches "S.*"`},
		{config.Group{Rule: new(rule("badge", func(r *config.Rule) { r.Exists = &no }))}, "rule: badge does not exist"},
		{config.Group{Rule: &config.Rule{Directory: "acme"}}, "rule: directory acme"},
		{config.Group{Rule: &config.Rule{Domain: "acme.example"}}, "rule: domain acme.example"},
		{config.Group{Rule: &config.Rule{Group: "base"}}, "rule: group base"},
		{config.Group{Rule: &config.Rule{Any: []config.Rule{legal, titled, sales}}}, "rule: title exists"},
		{config.Group{Rule: &config.Rule{All: []config.Rule{titled, {Any: []config.Rule{legal, sales}}}}}, `rule: title exists and department is "Sales"`},
		{config.Group{Rule: &config.Rule{Not: &config.Rule{All: []config.Rule{sales, {Any: []config.Rule{legal, {Domain: "labs.example"}}}}}}},
			`rule: not (department is "Sales" and (department is "Legal" or domain labs.example))`},
		{config.Group{Users: []string{"Ann@acme.example"}, Rule: &sales}, "users: Ann@acme.example"},
		{config.Group{Users: []string{"ann@acme.example"}, Except: []string{"ann@acme.example"}}, ""},
		{config.Group{Name: "staff", Asserted: true}, "asserted by acme"},
		{config.Group{Name: "eng-1"}, ""}, // asserted, and not said to be the same
	} {
		w := newWorld(t, testenv.Client(t, testenv.Embedded(t).Addr()), func(c *config.Config) {
			g := test.group
			if g.Name == "" {
				g.Name = "tested"
			}
			c.Groups = []config.Group{{Name: "base", Rule: &config.Rule{Directory: "acme"}}, g}
		})
		name := w.groups.groups[len(w.groups.groups)-1].name
		w.login("acme", "userName", "ann", "department", "Sales", "title", "Boss", "groups", "staff", "groups", "eng-1", "groups", "eng-2")
		w.login("other", "userName", "bob")
		members, next, err := w.Members(t.Context(), name, "acme", "", 10)
		switch {
		case err != nil || next != "":
			t.Errorf("Members: %q, %v", next, err)
		case test.want == "" && len(members) != 0:
			t.Errorf("%+v: members = %+v, want none", test.group, members)
		case test.want != "" && (len(members) != 1 || members[0].UserName != "ann" || members[0].Why != test.want):
			t.Errorf("%+v: members = %+v, want ann with %q", test.group, members, test.want)
		}
		if members, _, err := w.Members(t.Context(), "eng-2", "", "", 10); err != nil || len(members) != 1 || members[0].Why != "asserted by acme" {
			t.Errorf("members of an asserted group = %+v, %v, want ann", members, err)
		}
	}
}
