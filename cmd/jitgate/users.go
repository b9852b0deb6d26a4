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

func usersCommand(std stdio) *cobra.Command {
	return group("users", "Look at the users that the gateway has created, and keep them out",
		usersListCommand(std), usersShowCommand(std), usersBlockCommand(std), usersUnblockCommand(std))
}

func usersListCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the users",
		Long:  "list prints the users that have signed in so far, by directory, domain and name.\nWith -o json it prints one JSON object a line.",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return listUsers(c.Context(), std.out, f)
		},
	}
	f.add(c)
	f.addDirectory(c)
	return c
}

func usersShowCommand(std stdio) *cobra.Command {
	return userCommand(&cobra.Command{
		Use:   "show NAME",
		Short: "Show one user, by userName or user ID",
	}, func(_ context.Context, f adminFlags, u provision.User) error {
		return showUser(std.out, f, u)
	})
}

func usersBlockCommand(std stdio) *cobra.Command {
	return userCommand(&cobra.Command{
		Use:   "block NAME",
		Short: "Keep a user out",
		Long: `block keeps a user out, by userName or user ID, whatever their identity provider
says: their sessions end at once on every host and replica, and sign-ins are
refused (user_blocked) until users unblock.`,
	}, func(ctx context.Context, f adminFlags, u provision.User) error {
		var blocked usersAnswer
		if err := askGateway(ctx, f.config, "POST "+blockPath(u), &blocked); err != nil {
			return err
		}
		if f.output == "json" {
			return printJSON(std.out, blocked.Users...)
		}
		_, err := fmt.Fprintf(std.out, "%s is blocked; sign-ins ended: %d\n", u.UserName, blocked.Logins)
		return err
	})
}

func usersUnblockCommand(std stdio) *cobra.Command {
	return userCommand(&cobra.Command{
		Use:   "unblock NAME",
		Short: "Let a blocked user sign in again",
		Long: `unblock lets a user sign in again, by userName or user ID, who was blocked by
users block, or by inactive_after because of not having signed in for too long.`,
	}, func(ctx context.Context, f adminFlags, u provision.User) error {
		var unblocked usersAnswer
		if err := askGateway(ctx, f.config, "DELETE "+blockPath(u), &unblocked); err != nil {
			return err
		}
		if f.output == "json" {
			return printJSON(std.out, unblocked.Users...)
		}
		_, err := fmt.Fprintf(std.out, "%s may sign in\n", u.UserName)
		return err
	})
}

func blockPath(u provision.User) string {
	return "/users/" + url.PathEscape(u.ID) + "/block?" + url.Values{"directory": {u.Directory}}.Encode()
}

// userCommand makes of c a command about one user, whom do gets.
func userCommand(c *cobra.Command, do func(context.Context, adminFlags, provision.User) error) *cobra.Command {
	var f adminFlags
	c.Args = oneArg("NAME")
	c.RunE = func(c *cobra.Command, args []string) error {
		u, err := oneUser(c.Context(), f, args[0])
		if err != nil {
			return err
		}
		return do(c.Context(), f, u)
	}
	f.add(c)
	c.Flags().StringVar(&f.directory, "directory", "", "the `directory` of the user, where several have one of that name")
	completeWith(c, completeUsers)
	return c
}

// usersAnswer is what the gateway says of users.
type usersAnswer struct {
	Users  []provision.User `json:"users"`
	Next   string           `json:"next"`
	Logins int              `json:"logins"`
}

func listUsers(ctx context.Context, out io.Writer, f adminFlags) error {
	table := newTable(out, "USER", "DOMAIN", "DIRECTORY", "GROUPS", "LAST SIGN-IN", "BLOCKED")
	q := url.Values{"directory": {f.directory}, "limit": {fmt.Sprint(usersPage)}}
	return pages(ctx, f, "GET /users", q, func(part usersAnswer) (string, error) {
		if f.output == "json" {
			return part.Next, printJSON(out, part.Users...)
		}
		for _, u := range part.Users {
			table.row(u.UserName, u.Domain, u.Directory, strings.Join(u.Groups, ","), when(u.LastLogin), blockReason(u))
		}
		return part.Next, table.flush()
	})
}

// blockReason returns why a user is blocked, in a word.
func blockReason(u provision.User) string {
	if u.Blocked == nil {
		return "-"
	}
	return u.Blocked.Reason
}

// oneUser returns the one user that name means.
func oneUser(ctx context.Context, f adminFlags, name string) (provision.User, error) {
	var found usersAnswer
	q := url.Values{"name": {name}, "directory": {f.directory}}
	if err := askGateway(ctx, f.config, "GET /users?"+q.Encode(), &found); err != nil {
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

func showUser(out io.Writer, f adminFlags, u provision.User) error {
	if f.output == "json" {
		return printJSON(out, u)
	}
	table := newTable(out)
	table.row("userName", u.UserName)
	table.row("ID", u.ID)
	table.row("directory", u.Directory)
	table.row("domain", u.Domain)
	table.row("identity provider", u.IdP)
	if u.ExternalID != "" {
		table.row("ExternalId", u.ExternalID)
	}
	table.row("groups", strings.Join(u.Groups, ", "))
	table.row("entitlements", strings.Join(u.Entitlements, ", "))
	table.row("created", when(u.Created))
	table.row("updated", when(u.Updated))
	table.row("last sign-in", when(u.LastLogin))
	if u.Blocked != nil {
		table.row("blocked", u.Blocked.String())
	}
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		table.row("attribute "+name, strings.Join(u.Attributes[name], ", "))
	}
	return table.flush()
}
