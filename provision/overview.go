package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Group is one that users may be in.
type Group struct {
	Name         string   `json:"name"`
	Configured   bool     `json:"configured"` // or else only asserted by identity providers
	Entitlements []string `json:"entitlements,omitempty"`
}

// Groups returns the groups of the configuration, sorted by name. Identity
// providers may assert others.
func (r *Registry) Groups() []Group {
	groups := make([]Group, len(r.groups.groups))
	for i, g := range r.groups.groups {
		groups[i] = Group{Name: g.name, Configured: true, Entitlements: g.entitlements}
	}
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return groups
}

// Group returns the group of a name, and whether users may be in one: it is
// configured, or some identity provider may assert it.
func (r *Registry) Group(name string) (Group, bool) {
	groups := r.Groups()
	if i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == name }); i >= 0 {
		return groups[i], true
	}
	if r.groups.folded[lower(name)] { // see groupSet.of
		return Group{}, false
	}
	for _, p := range r.idps {
		if p.groupsFrom != "" && p.allows(name) {
			return Group{Name: name}, true
		}
	}
	return Group{}, false
}

// A Member is a user in a group, and what made them one.
type Member struct {
	User
	Why string `json:"why"` // like "rule: department is \"Engineering\""
}

// Members looks at up to limit users as [Registry.List] does, and returns those
// who are in a group.
func (r *Registry) Members(ctx context.Context, group, directory, after string, limit int) (members []Member, next string, err error) {
	users, next, err := r.List(ctx, directory, after, limit)
	for _, u := range users {
		if slices.Contains(u.Groups, group) {
			members = append(members, Member{u, r.Why(u)[group]})
		}
	}
	return members, next, err
}

// Why says of each of a user's groups what made them a member.
func (r *Registry) Why(u User) map[string]string {
	return r.groups.because(&u, u.taken)
}

// A Directory is a set of users and what belongs to it.
type Directory struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`          // StateOpen, StateDeleting or StateDeleted
	Since   time.Time `json:"since,omitzero"` // when it was deleted, if it was
	Domains []string  `json:"domains"`        // none of one that is not configured
	IdPs    []string  `json:"idps"`           // names of its identity providers, in the configuration's order
	Users   int64     `json:"users"`          // how many there are; of a directory that is being deleted, how many are left

	Configured bool `json:"configured"`
}

// Directory returns the directory of a name, and whether there is one: the
// configuration has it, or it has had it and there is something of it in the
// store.
func (r *Registry) Directory(ctx context.Context, name string) (Directory, bool, error) {
	if strings.ContainsAny(name, "{}") { // would be another directory's keys
		return Directory{}, false, nil
	}
	n, err := r.rdb.ZCard(ctx, r.keys(name).list).Result()
	if err != nil {
		return Directory{}, false, fmt.Errorf("counting users: %w", err)
	}
	t, text, err := r.tombstone(ctx, name)
	if err != nil {
		return Directory{}, false, err
	}
	d := Directory{Name: name, State: StateOpen, Since: t.Since, Domains: []string{}, IdPs: []string{}, Users: n, Configured: r.has(name)}
	switch {
	case t.Done:
		d.State = StateDeleted
	case text != "":
		d.State = StateDeleting
	}
	for _, c := range r.directories {
		if c.Name == name {
			d.Domains = slices.Clone(c.Domains)
		}
	}
	for _, idp := range r.providers {
		if r.idps[idp].directory == name {
			d.IdPs = append(d.IdPs, idp)
		}
	}
	return d, d.Configured || n > 0 || text != "", nil
}
