package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/proxy"
)

// sessionFlags say which sessions are meant.
type sessionFlags struct {
	adminFlags
	user, id, idp string
	all           bool
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
		Use:   "revoke (--id ID | --user NAME | --idp NAME | --all)",
		Short: "End sessions at once",
		Long: `revoke ends sessions on all hosts: those of one sign-in, which any of its
sessions may stand for, of all sign-ins of one user, of all at one identity
provider, or of everybody in the configured directories. Users may sign in again. With -o json it prints the
sessions that were ended, one JSON object a line.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := 0
			for _, is := range []bool{f.id != "", f.user != "", f.idp != "", f.all} {
				if is {
					given++
				}
			}
			if given != 1 {
				return usageError{c.CommandPath(), errors.New("want one of --id ID, --user NAME, --idp NAME and --all")}
			}
			if f.user == "" && f.directory != "" {
				return usageError{c.CommandPath(), errors.New("--directory goes with --user")}
			}
			return revokeSessions(c.Context(), std.out, f)
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.directory, "directory", "", "the `directory` of the user, where several have one of that name")
	c.Flags().StringVar(&f.id, "id", "", "the sign-in of the session with this `ID`; sessions list has it")
	c.Flags().StringVar(&f.user, "user", "", "all sign-ins of the user of this `name` or ID")
	c.Flags().StringVar(&f.idp, "idp", "", "all sign-ins at this identity `provider`")
	c.Flags().BoolVar(&f.all, "all", false, "all sign-ins of everybody")
	return c
}

// sessionsAnswer is what the gateway says about sessions.
type sessionsAnswer struct {
	Sessions []proxy.Session `json:"sessions"`
	Next     string          `json:"next"`
	Logins   int             `json:"logins"`
}

func listSessions(ctx context.Context, out io.Writer, f sessionFlags) error {
	table := newTable(out, "ID", "USER", "DIRECTORY", "HOST", "IDP", "CREATED", "SEEN", "ENDS")
	q := url.Values{"directory": {f.directory}, "user": {f.user}, "limit": {fmt.Sprint(usersPage)}}
	return pages(ctx, f.adminFlags, "GET /sessions", q, func(part sessionsAnswer) (string, error) {
		if f.output == "json" {
			return part.Next, printJSON(out, part.Sessions...)
		}
		for _, s := range part.Sessions {
			table.row(s.ID, s.User, s.Directory, s.Host, s.IdP, when(s.Created), when(s.Seen), when(s.Ends))
		}
		return part.Next, table.flush()
	})
}

// revokePage is how many users' sessions are ended at a time, one after the
// other.
const revokePage = 20

func revokeSessions(ctx context.Context, out io.Writer, f sessionFlags) error {
	question, q := "DELETE /sessions", url.Values{"limit": {fmt.Sprint(revokePage)}}
	switch {
	case f.id != "":
		question += "/" + url.PathEscape(f.id)
	case f.user != "":
		u, err := oneUser(ctx, f.adminFlags, f.user)
		if err != nil {
			return err
		}
		q.Set("directory", u.Directory)
		q.Set("user", u.ID)
	case f.idp != "":
		q.Set("idp", f.idp)
	default:
		q.Set("all", "true")
	}
	sessions, logins := 0, 0
	err := pages(ctx, f.adminFlags, question, q, func(part sessionsAnswer) (string, error) {
		sessions, logins = sessions+len(part.Sessions), logins+part.Logins
		if f.output == "json" {
			return part.Next, printJSON(out, part.Sessions...)
		}
		return part.Next, nil
	})
	if f.output == "table" && (err == nil || logins > 0) {
		if _, err := fmt.Fprintf(out, "sessions ended: %d, sign-ins: %d\n", sessions, logins); err != nil {
			return err
		}
	}
	if err != nil && logins > 0 {
		return hintError{err, "what is not done yet is done when you run this again"}
	}
	return err
}
