package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	for p := range maps.Values(r.idps) {
		if p.groupsFrom != "" && p.allows(name) {
			return Group{Name: name}, true
		}
	}
	return Group{}, false
}

// A Directory is a set of users and what belongs to it.
type Directory struct {
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
	IdPs    []string `json:"idps"`  // names of its identity providers, in the configuration's order
	Users   int64    `json:"users"` // how many there are
}

// Directory returns the directory of a name, and whether the configuration has it.
func (r *Registry) Directory(ctx context.Context, name string) (Directory, bool, error) {
	for _, c := range r.directories {
		if c.Name != name {
			continue
		}
		n, err := r.rdb.ZCard(ctx, r.keys(name).list).Result()
		if err != nil {
			return Directory{}, false, fmt.Errorf("counting users: %w", err)
		}
		d := Directory{Name: name, Domains: slices.Clone(c.Domains), IdPs: []string{}, Users: n}
		for _, idp := range r.providers {
			if r.idps[idp].directory == name {
				d.IdPs = append(d.IdPs, idp)
			}
		}
		return d, true, nil
	}
	return Directory{}, false, nil
}
