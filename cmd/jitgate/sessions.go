package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/proxy"
)

// sessionFlags say which sessions are meant.
type sessionFlags struct {
	adminFlags
	user, id string
}

func sessionsCommand(std stdio) *cobra.Command {
	return group("sessions", "Look at the sessions that are open, and end them",
		sessionsListCommand(std), sessionsRevokeCommand(std))
}

func sessionsListCommand(std stdio) *cobra.Command {
	var f sessionFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the sessions",
		Long: `list prints the sessions that are open now. A sign-in has one for each host that
was visited. With -o json it prints one JSON object a line.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return listSessions(c.Context(), std.out, f)
		},
	}
	f.add(c)
	f.addDirectory(c)
	c.Flags().StringVar(&f.user, "user", "", "only those of the user of this `name` or ID")
	return c
}

func sessionsRevokeCommand(std stdio) *cobra.Command {
	var f sessionFlags
	c := &cobra.Command{
		Use:   "revoke (--id ID | --user NAME)",
		Short: "End sessions at once",
		Long: `revoke ends sessions on all hosts: those of one sign-in, which any of its
sessions may stand for, or of all sign-ins of one user. The user may sign in
again.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			if (f.id == "") == (f.user == "") {
				return usageError{c.CommandPath(), errors.New("want either --id ID or --user NAME")}
			}
			if f.id != "" && f.directory != "" {
				return usageError{c.CommandPath(), errors.New("--directory goes with --user")}
			}
			return revokeSessions(c.Context(), std.out, f)
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.directory, "directory", "", "the `directory` of the user, where several have one of that name")
	c.Flags().StringVar(&f.id, "id", "", "the sign-in of the session with this `ID`; sessions list has it")
	c.Flags().StringVar(&f.user, "user", "", "all sign-ins of the user of this `name` or ID")
	return c
}

// sessionsAnswer is what the gateway says about sessions.
type sessionsAnswer struct {
	Sessions []proxy.Session `json:"sessions"`
	Next     string          `json:"next"`
	Logins   int             `json:"logins"`
}

func listSessions(ctx context.Context, out io.Writer, f sessionFlags) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if f.output == "table" {
		fmt.Fprintln(table, "ID\tUSER\tDIRECTORY\tHOST\tIDP\tCREATED\tSEEN\tENDS")
	}
	q := url.Values{"directory": {f.directory}, "user": {f.user}, "limit": {fmt.Sprint(usersPage)}}
	for {
		var page sessionsAnswer
		if err := askGateway(ctx, f.config, "GET /sessions?"+q.Encode(), &page); err != nil {
			return err
		}
		if f.output == "json" {
			if err := printSessions(out, page.Sessions); err != nil {
				return err
			}
		} else {
			for _, s := range page.Sessions {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.User, s.Directory, s.Host, s.IdP, when(s.Created), when(s.Seen), when(s.Ends))
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		q.Set("after", page.Next)
	}
}

// printSessions prints one JSON object a line.
func printSessions(out io.Writer, sessions []proxy.Session) error {
	for _, s := range sessions {
		if err := json.NewEncoder(out).Encode(s); err != nil {
			return err
		}
	}
	return nil
}

func revokeSessions(ctx context.Context, out io.Writer, f sessionFlags) error {
	question := "DELETE /sessions/" + url.PathEscape(f.id)
	if f.user != "" {
		u, err := oneUser(ctx, f.adminFlags, f.user)
		if err != nil {
			return err
		}
		question = "DELETE /sessions?" + url.Values{"directory": {u.Directory}, "user": {u.ID}}.Encode()
	}
	var ended sessionsAnswer
	if err := askGateway(ctx, f.config, question, &ended); err != nil {
		return err
	}
	if f.output == "json" {
		return printSessions(out, ended.Sessions)
	}
	_, err := fmt.Fprintf(out, "sessions ended: %d, sign-ins: %d\n", len(ended.Sessions), ended.Logins)
	return err
}
