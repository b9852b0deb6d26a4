package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Group is a set of users, worked out anew at each login. A user belongs to it
// by its rule, by its users, or by asserted, and does not where except says so.
type Group struct {
	// Name is what apps, upstreams and other groups call it. Required.
	Name string `yaml:"name"`

	// Rule says by attributes who belongs to it. Default: nobody.
	Rule *Rule `yaml:"rule"`

	// Users belong to it besides, each as userName@domain; userName alone where
	// the configuration has no more than one domain. Default: none.
	Users []string `yaml:"users"`

	// Except leaves users out, whatever the rest says; written like users.
	// Default: none.
	Except []string `yaml:"except"`

	// Asserted takes in those whose IdP asserts a group of this name and may
	// (its groups.allow). Otherwise, the two have nothing to do with each other.
	// Default: false.
	Asserted bool `yaml:"asserted"`

	// Entitlements are what its members may do; apps can ask for them. Default:
	// none.
	Entitlements []string `yaml:"entitlements"`
}

// Rule is a condition on a user. It is exactly one of: any, all or not with
// rules inside; an attribute with one comparison (is, is_not, starts_with, ends_with,
// contains, matches or exists); a directory; a domain; a group.
type Rule struct {
	// Any holds if one of these rules does.
	Any []Rule `yaml:"any"`

	// All holds if each of these rules does.
	All []Rule `yaml:"all"`

	// Not holds if this rule does not.
	Not *Rule `yaml:"not"`

	// Attribute is the name of the attribute that the comparison looks at. Of several
	// values one suffices. Case matters.
	Attribute string `yaml:"attribute"`

	// Is holds for this very value.
	Is string `yaml:"is"`

	// IsNot holds for any other value than this.
	IsNot string `yaml:"is_not"`

	// StartsWith holds for a value that begins with this text.
	StartsWith string `yaml:"starts_with"`

	// EndsWith holds for a value that ends with this text.
	EndsWith string `yaml:"ends_with"`

	// Contains holds for a value with this text in it.
	Contains string `yaml:"contains"`

	// Matches is a regular expression (RE2) for the whole value.
	Matches string `yaml:"matches"`

	// Exists holds, with true, if the user has the attribute, and with false if not.
	Exists *bool `yaml:"exists"`

	// Directory holds for the users of that directory.
	Directory string `yaml:"directory"`

	// Domain holds for the users of that domain.
	Domain string `yaml:"domain"`

	// Group holds for the members of that group.
	Group string `yaml:"group"`
}

// String says in words whom the rule holds for.
func (r *Rule) String() string {
	inner := func(rules []Rule, with string) string {
		parts := make([]string, len(rules))
		for i := range rules {
			parts[i] = rules[i].String()
			if len(rules[i].Any) > 1 || len(rules[i].All) > 1 {
				parts[i] = "(" + parts[i] + ")"
			}
		}
		return strings.Join(parts, with)
	}
	switch {
	case len(r.Any) > 0:
		return inner(r.Any, " or ")
	case len(r.All) > 0:
		return inner(r.All, " and ")
	case r.Not != nil:
		return "not (" + r.Not.String() + ")"
	case r.Directory != "":
		return "directory is " + r.Directory
	case r.Domain != "":
		return "domain is " + r.Domain
	case r.Group != "":
		return "in group " + r.Group
	case r.Exists != nil && *r.Exists:
		return r.Attribute + " is there"
	case r.Exists != nil:
		return r.Attribute + " is not there"
	}
	for _, c := range []struct{ verb, value string }{
		{"is", r.Is}, {"is not", r.IsNot}, {"starts with", r.StartsWith}, {"ends with", r.EndsWith}, {"contains", r.Contains}, {"matches", r.Matches},
	} {
		if c.value != "" {
			return fmt.Sprintf("%s %s %q", r.Attribute, c.verb, c.value)
		}
	}
	return "nobody"
}

// Groups returns the groups that the rule and those inside it ask for, none for
// a nil rule.
func (r *Rule) Groups() []string {
	if r == nil {
		return nil
	}
	names := r.Not.Groups()
	for _, inner := range [][]Rule{r.Any, r.All} {
		for i := range inner {
			names = append(names, inner[i].Groups()...)
		}
	}
	if r.Group != "" {
		names = append(names, r.Group)
	}
	return names
}

func (r *report) checkGroups(c *Config, n names) {
	seen := make(map[string]string)
	for i := range c.Groups {
		g, key := &c.Groups[i], fmt.Sprintf("groups[%d]", i)
		r.checkLabel(key+".name", g.Name)
		if g.Name != "" {
			r.unique(key+".name", g.Name, seen)
		}
		if g.Rule != nil {
			r.checkRule(key+".rule", g.Rule, n)
		} else if len(g.Users) == 0 && !g.Asserted {
			r.add(key, "has no members; write a rule, users, or asserted: true")
		}
		for j := range g.Users {
			r.checkUser(fmt.Sprintf("%s.users[%d]", key, j), &g.Users[j], n)
		}
		for j := range g.Except {
			r.checkUser(fmt.Sprintf("%s.except[%d]", key, j), &g.Except[j], n)
		}
		for j, e := range g.Entitlements {
			r.checkLabel(fmt.Sprintf("%s.entitlements[%d]", key, j), e)
		}
	}
	r.checkCycles(c.Groups)
}

// checkLabel checks the name of a group or an entitlement, which upstreams get
// in a header.
func (r *report) checkLabel(key, name string) {
	switch {
	case name == "":
		r.add(key, "is missing; write a name like engineers")
	case name != strings.TrimSpace(name) || len(name) > 256 || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.add(key, "%q is not a name: it has space around it, invisible characters, or more than 256 bytes; write it without", name)
	}
}

// SplitUser splits a user as groups list them, userName@domain, at the last @:
// the userName may be an address itself. It reports whether there is one; all of
// user is the userName where there is none.
func SplitUser(user string) (name, domain string, found bool) {
	at := strings.LastIndexByte(user, '@')
	if at < 0 {
		return user, "", false
	}
	return user[:at], user[at+1:], true
}

// checkUser checks one of a group's users and puts the domain in its normal form.
func (r *report) checkUser(key string, user *string, n names) {
	name, domain, found := SplitUser(*user)
	if name == "" || name != strings.TrimSpace(name) {
		r.add(key, "%q is not a user; write userName@domain, like ann@acme.example", *user)
		return
	}
	if !found {
		if len(n.domains) > 1 {
			r.add(key, "%q does not say of which domain, and there are %d; write userName@domain", *user, len(n.domains))
		}
		return
	}
	normal, _ := NormalizeDomain(domain)
	if !n.domains[normal] {
		r.add(key, "%q is of a domain, %q, that no directory has; write one that is there", *user, domain)
		return
	}
	*user = name + "@" + normal
}

// checkRule checks rule, the value of key, and the rules inside it.
func (r *report) checkRule(key string, rule *Rule, n names) {
	if !r.checkKind(key) {
		return
	}
	for i := range rule.Any {
		r.checkRule(fmt.Sprintf("%s.any[%d]", key, i), &rule.Any[i], n)
	}
	for i := range rule.All {
		r.checkRule(fmt.Sprintf("%s.all[%d]", key, i), &rule.All[i], n)
	}
	if len(rule.Any) == 0 && r.has(key+".any") {
		r.add(key+".any", "is empty; write the rules of which one has to hold")
	}
	if len(rule.All) == 0 && r.has(key+".all") {
		r.add(key+".all", "is empty, which everybody would fulfil; write the rules that all have to hold")
	}
	switch {
	case rule.Not != nil:
		r.checkRule(key+".not", rule.Not, n)
	case r.has(key + ".attribute"):
		r.known(key+".attribute", "attribute", rule.Attribute, n.attributes)
		r.checkComparison(key, rule)
	case r.has(key + ".directory"):
		r.known(key+".directory", "directory", rule.Directory, n.directories)
	case r.has(key + ".domain"):
		given := rule.Domain
		if rule.Domain, _ = NormalizeDomain(given); !n.domains[rule.Domain] {
			r.add(key+".domain", "%q is not a domain of any directory; write one that is", given)
		}
	case r.has(key + ".group"):
		r.known(key+".group", "group", rule.Group, n.groups)
	}
}

// given returns which of keys the section at path has.
func (r *report) given(path string, keys ...string) []string {
	var found []string
	for _, k := range keys {
		if r.has(path + "." + k) {
			found = append(found, k)
		}
	}
	return found
}

// checkKind checks that the rule at key is of one kind, and reports whether it is.
func (r *report) checkKind(key string) bool {
	kinds := r.given(key, "any", "all", "not", "attribute", "directory", "domain", "group")
	comparisons := r.given(key, "is", "is_not", "starts_with", "ends_with", "contains", "matches", "exists")
	switch {
	case len(kinds) == 0 && len(comparisons) > 0:
		r.add(key+"."+comparisons[0], "compares, but not with what; write attribute: NAME beside it")
	case len(kinds) == 0:
		r.add(key, "says nothing; write any, all, not, attribute, directory, domain or group")
	case len(kinds) > 1:
		r.add(key, "has %s together; put each in its own rule, in a list below any or all", strings.Join(kinds, " and "))
	case kinds[0] == "attribute" && len(comparisons) == 0:
		r.add(key, "does not say what the attribute has to be; write is, is_not, starts_with, ends_with, contains, matches or exists")
	case kinds[0] == "attribute" && len(comparisons) > 1:
		r.add(key, "has %s together; put each in its own rule, in a list below any or all", strings.Join(comparisons, " and "))
	case kinds[0] != "attribute" && len(comparisons) > 0:
		r.add(key+"."+comparisons[0], "compares an attribute, but this rule has %s; write attribute: NAME in its stead", kinds[0])
	default:
		return true
	}
	return false
}

// checkComparison checks the comparison of a rule on an attribute.
func (r *report) checkComparison(key string, rule *Rule) {
	for name, text := range map[string]string{
		"is": rule.Is, "is_not": rule.IsNot, "starts_with": rule.StartsWith, "ends_with": rule.EndsWith,
		"contains": rule.Contains, "matches": rule.Matches,
	} {
		if text == "" && r.has(key+"."+name) {
			r.add(key+"."+name, "is empty; write a text, or exists: false for those without the attribute")
		}
	}
	if _, err := regexp.Compile(rule.Matches); err != nil {
		r.add(key+".matches", "%q is not a regular expression (RE2): %s", rule.Matches, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// checkCycles looks for groups that depend on themselves.
func (r *report) checkCycles(groups []Group) {
	index := make(map[string]int)
	for i, g := range groups {
		index[g.Name] = i
	}
	const unseen, open, done = 0, 1, 2
	state := make([]int, len(groups))
	var trail []string
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		trail = append(trail, groups[i].Name)
		for _, name := range groups[i].Rule.Groups() {
			j, ok := index[name]
			switch {
			case !ok || state[j] == done:
			case state[j] == open:
				r.add(fmt.Sprintf("groups[%d].rule", i), "goes round in a circle: %s; a group cannot depend on itself", circle(trail, name))
			default:
				visit(j)
			}
		}
		trail = trail[:len(trail)-1]
		state[i] = done
	}
	for i := range groups {
		if state[i] == unseen {
			visit(i)
		}
	}
}

// circle shows the end of trail from name on, and name again.
func circle(trail []string, name string) string {
	start := len(trail) - 1
	for trail[start] != name {
		start--
	}
	return fmt.Sprintf("%q", strings.Join(append(trail[start:len(trail):len(trail)], name), " -> "))
}
