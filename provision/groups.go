package provision

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/config"
)

// groupSet works out who is in which of the configured groups.
type groupSet struct {
	groups  []group           // each after those that its rule asks for
	domains map[string]string // domain -> directory
	folded  map[string]bool   // the groups' names in lower case
}

// A group is a configured group with its rule compiled.
type group struct {
	name          string
	rule          *rule // nil: nobody by rule
	users, except []listed
	asserted      bool
	entitlements  []string
}

// listed is an entry of a group's users or except.
type listed struct {
	name   string // lower-case userName, or what comes before the @ of one
	domain string // "": the only one that there is
	entry  string // as the configuration has it
}

// membership is what a user belongs to.
type membership struct {
	configured   []string // groups of the configuration
	own          []string // asserted groups that the configuration does not have
	shadowed     []string // asserted groups of a name that the configuration has
	entitlements []string // of the configured ones
}

// compileGroups prepares the configuration's groups.
func compileGroups(cfg *config.Config) (*groupSet, error) {
	set := &groupSet{domains: make(map[string]string), folded: make(map[string]bool)}
	for _, d := range cfg.Directories {
		for _, name := range d.Domains {
			set.domains[name] = d.Name
		}
	}
	order, err := dependencyOrder(cfg.Groups)
	if err != nil {
		return nil, err
	}
	for _, i := range order {
		g, err := set.compile(&cfg.Groups[i])
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", cfg.Groups[i].Name, err)
		}
		set.groups = append(set.groups, g)
		set.folded[lower(g.name)] = true
	}
	return set, nil
}

// compile prepares one group.
func (set *groupSet) compile(c *config.Group) (group, error) {
	g := group{name: c.Name, asserted: c.Asserted, entitlements: c.Entitlements}
	var err error
	if c.Rule != nil {
		compiled, err := compileRule(c.Rule)
		if err != nil {
			return g, err
		}
		g.rule = &compiled
	}
	if g.users, err = set.list(c.Users); err != nil {
		return g, err
	}
	g.except, err = set.list(c.Except)
	return g, err
}

// list reads the entries of users or except. A userName alone would mean
// somebody else in each domain, so it is accepted only where there is one.
func (set *groupSet) list(entries []string) ([]listed, error) {
	var users []listed
	for _, entry := range entries {
		name, of, ok := config.SplitUser(entry)
		if !ok {
			if len(set.domains) > 1 {
				return nil, fmt.Errorf("user %q has no domain", entry)
			}
			users = append(users, listed{name: lower(name), entry: entry})
			continue
		}
		d, ok := config.NormalizeDomain(of)
		if !ok || set.domains[d] == "" {
			return nil, fmt.Errorf("user %q is of a domain that no directory has", entry)
		}
		users = append(users, listed{name: lower(name), domain: d, entry: entry})
	}
	return users, nil
}

// lists returns the entry of users that u is: as x@d where the userName is x@d
// and d a domain of the user's directory, or where it is x and the user's domain
// d. It is "" where there is none.
func (set *groupSet) lists(users []listed, u *User) string {
	if len(users) == 0 {
		return ""
	}
	name := lower(u.UserName)
	local, rest, _ := config.SplitUser(name)
	addressDomain, _ := config.NormalizeDomain(rest)
	i := slices.IndexFunc(users, func(l listed) bool {
		switch {
		case l.domain == "":
			return l.name == name
		case set.domains[l.domain] != u.Directory:
			return false
		case l.domain == addressDomain && l.name == local:
			return true
		}
		return l.domain == u.Domain && l.name == name
	})
	if i < 0 {
		return ""
	}
	return users[i].entry
}

// of works out what u belongs to, given the groups asserted of u. All lists
// are sorted.
func (set *groupSet) of(u *User, asserted []string) membership {
	m, _ := set.workOut(u, asserted)
	return m
}

// because says for each group that u is in, given the groups asserted of u, what
// made u a member.
func (set *groupSet) because(u *User, asserted []string) map[string]string {
	m, s := set.workOut(u, asserted)
	why := make(map[string]string)
	for i := range set.groups {
		if g := &set.groups[i]; s.member[g.name] {
			why[g.name] = set.why(g, s)
		}
	}
	for _, name := range m.own {
		why[name] = "asserted by " + u.IdP
	}
	return why
}

// workOut is of, and returns with it what why asks for.
func (set *groupSet) workOut(u *User, asserted []string) (membership, *subject) {
	s := &subject{user: u, asserted: make(map[string]bool), member: make(map[string]bool)}
	for _, name := range asserted {
		s.asserted[name] = true
	}
	entitlements := make(map[string]bool)
	for i := range set.groups {
		g := &set.groups[i]
		if !set.has(g, s) {
			continue
		}
		s.member[g.name] = true
		for _, e := range g.entitlements {
			entitlements[e] = true
		}
	}
	m := membership{configured: sorted(s.member), entitlements: sorted(entitlements)}
	for _, name := range sorted(s.asserted) {
		// Applications may not mind case, so a name in another case is not one
		// of its own either.
		if set.folded[lower(name)] {
			m.shadowed = append(m.shadowed, name)
		} else {
			m.own = append(m.own, name)
		}
	}
	return m, s
}

// has reports whether s is in g: not left out, and listed, asserted or by rule.
func (set *groupSet) has(g *group, s *subject) bool {
	if set.lists(g.except, s.user) != "" {
		return false
	}
	return set.lists(g.users, s.user) != "" || g.asserted && s.asserted[g.name] || g.rule != nil && g.rule.holds(s)
}

// why says what made s a member of g, which it is.
func (set *groupSet) why(g *group, s *subject) string {
	switch entry := set.lists(g.users, s.user); {
	case entry != "":
		return "users: " + entry
	case g.asserted && s.asserted[g.name]:
		return "asserted by " + s.user.IdP
	}
	return "rule: " + g.rule.why(s)
}

// dependencyOrder returns the indexes of groups, each after those of the
// groups that its rule asks for.
func dependencyOrder(groups []config.Group) ([]int, error) {
	index := make(map[string]int)
	for i, g := range groups {
		index[g.Name] = i
	}
	var order []int
	open, done := make(map[int]bool), make(map[int]bool)
	var visit func(i int) error
	visit = func(i int) error {
		if done[i] {
			return nil
		}
		if open[i] {
			return fmt.Errorf("group %q depends on itself", groups[i].Name)
		}
		open[i] = true
		for _, name := range groups[i].Rule.Groups() {
			j, ok := index[name]
			if !ok {
				return fmt.Errorf("group %q asks for group %q, which is not there", groups[i].Name, name)
			}
			if err := visit(j); err != nil {
				return err
			}
		}
		done[i] = true
		order = append(order, i)
		return nil
	}
	for i := range groups {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// groups returns the asserted groups that the identity provider may assert,
// sorted. What its allow list does not let through is not looked at.
func (p *idp) groups(sent map[string][]string) ([]string, *Refusal) {
	if p.groupsFrom == "" || !p.jit {
		return nil, nil
	}
	taken := make(map[string]bool)
	for _, v := range sent[p.groupsFrom] {
		name := strings.TrimSpace(v)
		if name == "" || !p.allows(name) {
			continue
		}
		if problem := fault(v); problem != "" {
			return nil, &Refusal{Code: CodeAttributeInvalid, Attribute: groupsName, Sent: p.groupsFrom, Detail: problem}
		}
		taken[name] = true
	}
	return sorted(taken), nil
}

// allows reports whether the allow list has a glob for name.
func (p *idp) allows(name string) bool {
	return slices.ContainsFunc(p.groupsAllow, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return err == nil && ok
	})
}

// sorted returns the members of a set in order, nil if there are none.
func sorted(set map[string]bool) []string {
	return slices.Sorted(maps.Keys(set))
}

// all returns every group of m, sorted.
func (m membership) all() []string {
	names := slices.Concat(m.configured, m.own)
	slices.Sort(names)
	return names
}
