package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision"
)

func groupsCommand(std stdio) *cobra.Command {
	return group("groups", "Look at the groups and who is in them",
		groupsListCommand(std), groupsShowCommand(std))
}

func groupsListCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the groups",
		Long: `list prints the groups of the configuration, and those that identity providers
have asserted of users, with how many users are in each now. It goes through all
users. With -o json it prints one JSON object a line.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return listGroups(c.Context(), std.out, f)
		},
	}
	f.add(c)
	f.addDirectory(c)
	return c
}

func groupsShowCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one group and its members",
		Long: `show prints what is known of a group, and the users that are in it now with what
made them members: the part of the rule that holds, the entry of users, or the
identity provider that asserts it. It goes through all users. With -o json it
prints the members alone, one JSON object a line.`,
		Args: oneArg("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return showGroup(c.Context(), std.out, f, args[0])
		},
	}
	f.add(c)
	f.addDirectory(c)
	completeWith(c, completeGroups)
	return c
}

// askGroups asks for the group of a name or, where that is empty, for those of
// the configuration.
func askGroups(ctx context.Context, f adminFlags, name string) ([]provision.Group, error) {
	var answer struct {
		Groups []provision.Group `json:"groups"`
	}
	err := askGateway(ctx, f.config, "GET /groups?"+url.Values{"name": {name}}.Encode(), &answer)
	return answer.Groups, err
}

// A countedGroup is a group with how many users are in it.
type countedGroup struct {
	provision.Group
	Users int `json:"users"`
}

func listGroups(ctx context.Context, out io.Writer, f adminFlags) error {
	configured, err := askGroups(ctx, f, "")
	if err != nil {
		return err
	}
	groups := make(map[string]*countedGroup)
	for _, g := range configured {
		groups[g.Name] = &countedGroup{Group: g}
	}
	q := url.Values{"directory": {f.directory}, "limit": {fmt.Sprint(usersPage)}}
	err = pages(ctx, f, "GET /counts", q, func(part countsAnswer) (string, error) {
		for name, n := range part.Counts {
			if groups[name] == nil {
				groups[name] = &countedGroup{Group: provision.Group{Name: name}}
			}
			groups[name].Users += n
		}
		return part.Next, nil
	})
	if err != nil {
		return err
	}
	table := newTable(out, "GROUP", "USERS", "FROM", "ENTITLEMENTS")
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		if f.output == "json" {
			if err := printJSON(out, g); err != nil {
				return err
			}
			continue
		}
		table.row(g.Name, g.Users, from(g.Group), strings.Join(g.Entitlements, ","))
	}
	if f.output == "json" {
		return nil
	}
	return table.flush()
}

// countsAnswer is what the gateway says of how many users are in groups.
type countsAnswer struct {
	Counts map[string]int `json:"counts"`
	Next   string         `json:"next"`
}

// from tells where a group comes from.
func from(g provision.Group) string {
	if g.Configured {
		return "configuration"
	}
	return "assertions"
}

func showGroup(ctx context.Context, out io.Writer, f adminFlags, name string) error {
	groups, err := askGroups(ctx, f, name)
	if err != nil {
		return err
	}
	if f.output == "table" {
		for _, g := range groups {
			fmt.Fprintf(out, "group         %s\nfrom          %s\nentitlements  %s\n\n", g.Name, from(g), strings.Join(g.Entitlements, ", "))
		}
	}
	table := newTable(out, "USER", "DOMAIN", "DIRECTORY", "LAST SIGN-IN", "BY")
	q := url.Values{"group": {name}, "directory": {f.directory}, "limit": {fmt.Sprint(usersPage)}}
	return pages(ctx, f, "GET /members", q, func(part membersAnswer) (string, error) {
		if f.output == "json" {
			return part.Next, printJSON(out, part.Members...)
		}
		for _, m := range part.Members {
			table.row(m.UserName, m.Domain, m.Directory, when(m.LastLogin), m.Why)
		}
		return part.Next, table.flush()
	})
}

// membersAnswer is what the gateway says of who is in a group.
type membersAnswer struct {
	Members []provision.Member `json:"members"`
	Next    string             `json:"next"`
}
