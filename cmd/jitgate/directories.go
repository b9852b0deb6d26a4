package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision"
)

func directoriesCommand(std stdio) *cobra.Command {
	return group("directories", "Look at the directories that users are in, and delete them",
		directoriesListCommand(std), directoriesShowCommand(std), directoriesDeleteCommand(std), directoriesCreateCommand(std))
}

func directoriesListCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the directories",
		Long:  "list prints the directories of the configuration, with how many users are in each.\nWith -o json it prints one JSON object a line.",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return listDirectories(c.Context(), std.out, f)
		},
	}
	f.add(c)
	return c
}

func directoriesShowCommand(std stdio) *cobra.Command {
	return directoryCommand(&cobra.Command{
		Use:   "show NAME",
		Short: "Show one directory",
	}, func(ctx context.Context, f adminFlags, name string) error {
		return showDirectory(ctx, std.out, f, "GET "+directoryPath(name))
	})
}

func directoriesCreateCommand(std stdio) *cobra.Command {
	return directoryCommand(&cobra.Command{
		Use:   "create NAME",
		Short: "Open a directory again that was deleted",
		Long: `create opens a directory again that directories delete has closed: the identity
providers of the configuration create its users anew, as they sign in. A directory
that was never deleted need not be created; the configuration does that.`,
	}, func(ctx context.Context, f adminFlags, name string) error {
		return showDirectory(ctx, std.out, f, "POST "+directoryPath(name))
	})
}

func directoriesDeleteCommand(std stdio) *cobra.Command {
	var yes bool
	c := directoryCommand(&cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a directory with all its users",
		Long: `delete closes a directory, which ends the sessions of its users at once, and
deletes all of them with what is kept beside them, blocks too; the audit trail
stays. Sign-ins there are refused (directory_deleted) until directories create.

It asks for the name again. When it was interrupted, run it again: the directory
stays closed, and the deletion goes on.`,
	}, func(ctx context.Context, f adminFlags, name string) error {
		d, err := oneDirectory(ctx, f, "GET "+directoryPath(name))
		if err != nil {
			return err
		}
		if d.State == provision.StateDeleted {
			return fmt.Errorf("directory %q is deleted already", d.Name)
		}
		if !yes {
			if err := confirmDirectory(std, d); err != nil {
				return err
			}
		}
		return deleteDirectory(ctx, std, f, d)
	})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// directoryCommand makes of c a command about one directory, whose name do gets.
func directoryCommand(c *cobra.Command, do func(context.Context, adminFlags, string) error) *cobra.Command {
	var f adminFlags
	c.Args = oneArg("NAME")
	c.RunE = func(c *cobra.Command, args []string) error {
		return do(c.Context(), f, args[0])
	}
	f.add(c)
	completeWith(c, completeDirectories)
	return c
}

func directoryPath(name string) string { return "/directories/" + url.PathEscape(name) }

// directoriesAnswer is what the gateway says of directories.
type directoriesAnswer struct {
	Directories []provision.Directory `json:"directories"`
	Next        string                `json:"next"`
}

// askDirectories asks for the directories of the configuration.
func askDirectories(ctx context.Context, f adminFlags) ([]provision.Directory, error) {
	var answer directoriesAnswer
	err := askGateway(ctx, f.config, "GET /directories", &answer)
	return answer.Directories, err
}

// oneDirectory asks a question whose answer is one directory.
func oneDirectory(ctx context.Context, f adminFlags, question string) (provision.Directory, error) {
	var answer directoriesAnswer
	if err := askGateway(ctx, f.config, question, &answer); err != nil {
		return provision.Directory{}, err
	}
	if len(answer.Directories) != 1 {
		return provision.Directory{}, fmt.Errorf("the gateway answers with %d directories, want 1", len(answer.Directories))
	}
	return answer.Directories[0], nil
}

// confirmDirectory has the operator type the directory's name.
func confirmDirectory(std stdio, d provision.Directory) error {
	fmt.Fprintf(std.err, "This deletes the directory %q and its %s, and ends their sessions.\nType its name to go on: ", d.Name, count(int(d.Users), "user"))
	typed, err := bufio.NewReader(std.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(typed) != d.Name {
		return hintError{fmt.Errorf("%q is not %q; nothing was deleted", strings.TrimSpace(typed), d.Name), "where nobody can type, say --yes"}
	}
	return nil
}

func deleteDirectory(ctx context.Context, std stdio, f adminFlags, d provision.Directory) error {
	users, seen := d.Users, int64(0)
	show := newProgress(std.err)
	q := url.Values{"limit": {fmt.Sprint(usersPage)}}
	err := pages(ctx, f, "DELETE "+directoryPath(d.Name), q, func(part directoriesAnswer) (string, error) {
		if len(part.Directories) == 1 {
			d = part.Directories[0]
		}
		seen = min(seen+usersPage, users)
		show.at("%d of %d users", seen, users)
		return part.Next, nil
	})
	show.end()
	if err != nil {
		return hintError{err, "what is not done yet is done when you run this again"}
	}
	if f.output == "json" {
		return printJSON(std.out, d)
	}
	_, err = fmt.Fprintf(std.out, "directory %s is deleted; users deleted: %d\n", d.Name, users)
	return err
}

func listDirectories(ctx context.Context, out io.Writer, f adminFlags) error {
	all, err := askDirectories(ctx, f)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return printJSON(out, all...)
	}
	table := newTable(out, "DIRECTORY", "STATE", "USERS", "DOMAINS", "IDENTITY PROVIDERS")
	for _, d := range all {
		table.row(d.Name, d.State, d.Users, strings.Join(d.Domains, ","), strings.Join(d.IdPs, ","))
	}
	return table.flush()
}

// showDirectory prints the directory that is the answer to a question.
func showDirectory(ctx context.Context, out io.Writer, f adminFlags, question string) error {
	d, err := oneDirectory(ctx, f, question)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return printJSON(out, d)
	}
	state := d.State
	if !d.Since.IsZero() {
		state += " since " + when(d.Since)
	}
	_, err = fmt.Fprintf(out, "directory           %s\nstate               %s\nusers               %d\ndomains             %s\nidentity providers  %s\n",
		d.Name, state, d.Users, strings.Join(d.Domains, ", "), strings.Join(d.IdPs, ", "))
	return err
}
