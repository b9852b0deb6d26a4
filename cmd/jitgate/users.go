package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision"
)

// usersPage is how many users the gateway is asked for at a time.
const usersPage = 500

func usersCommand(std stdio) *cobra.Command {
	return group("users", "Look at the users that the gateway has created",
		usersListCommand(std), usersShowCommand(std))
}

func usersListCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the users",
		Long:  "list prints the users that have signed in so far, by directory, domain and name.\nWith -o json it prints one JSON object a line.",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return listUsers(c.Context(), std.out, f, "")
		},
	}
	f.add(c)
	f.addDirectory(c)
	return c
}

func usersShowCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one user, by userName or user ID",
		Args:  oneArg("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return showUser(c.Context(), std.out, f, args[0])
		},
	}
	f.add(c)
	f.addDirectory(c)
	return c
}

// usersAnswer is what the gateway says to both questions.
type usersAnswer struct {
	Users []provision.User `json:"users"`
	Next  string           `json:"next"`
}

// eachUser calls use with the users of a directory and a group, page by page.
// Where one of them is empty, it leaves nobody out.
func eachUser(ctx context.Context, f adminFlags, group string, use func([]provision.User) error) error {
	q := url.Values{"directory": {f.directory}, "group": {group}, "limit": {fmt.Sprint(usersPage)}}
	for {
		var page usersAnswer
		if err := askGateway(ctx, f.config, "GET /users?"+q.Encode(), &page); err != nil {
			return err
		}
		if err := use(page.Users); err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		q.Set("after", page.Next)
	}
}

// listUsers prints the users of a group, or all where group is empty.
func listUsers(ctx context.Context, out io.Writer, f adminFlags, group string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if f.output == "table" {
		fmt.Fprintln(table, "USER\tDOMAIN\tDIRECTORY\tGROUPS\tLAST SIGN-IN")
	}
	return eachUser(ctx, f, group, func(users []provision.User) error {
		for _, u := range users {
			if f.output == "json" {
				if err := json.NewEncoder(out).Encode(u); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.UserName, u.Domain, u.Directory, strings.Join(u.Groups, ","), when(u.LastLogin))
		}
		return table.Flush()
	})
}

// oneUser returns the one user that name means.
func oneUser(ctx context.Context, f adminFlags, name string) (provision.User, error) {
	var found usersAnswer
	q := url.Values{"directory": {f.directory}}
	if err := askGateway(ctx, f.config, "GET /users/"+url.PathEscape(name)+"?"+q.Encode(), &found); err != nil {
		return provision.User{}, err
	}
	switch len(found.Users) {
	case 0:
		return provision.User{}, hintError{fmt.Errorf("no user %q", name), "users exist from their first sign-in on; see jitgate users list"}
	case 1:
		return found.Users[0], nil
	}
	var where []string
	for _, u := range found.Users {
		where = append(where, fmt.Sprintf("%s (%s, ID %s)", u.Directory, u.Domain, u.ID))
	}
	return provision.User{}, hintError{fmt.Errorf("%d users have the name %q", len(found.Users), name), "name a directory or an ID: " + strings.Join(where, "; ")}
}

func showUser(ctx context.Context, out io.Writer, f adminFlags, name string) error {
	u, err := oneUser(ctx, f, name)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return json.NewEncoder(out).Encode(u)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, value) }
	row("userName", u.UserName)
	row("ID", u.ID)
	row("directory", u.Directory)
	row("domain", u.Domain)
	row("identity provider", u.IdP)
	if u.ExternalID != "" {
		row("ExternalId", u.ExternalID)
	}
	row("groups", strings.Join(u.Groups, ", "))
	row("entitlements", strings.Join(u.Entitlements, ", "))
	row("created", when(u.Created))
	row("updated", when(u.Updated))
	row("last sign-in", when(u.LastLogin))
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		row("attribute "+name, strings.Join(u.Attributes[name], ", "))
	}
	return table.Flush()
}
