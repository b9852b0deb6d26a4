package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision"
)

// usersPage is how many users the gateway is asked for at a time.
const usersPage = 500

func usersCommand(std stdio) *cobra.Command {
	return group("users", "Look at the users that the gateway has created",
		usersListCommand(std), usersShowCommand(std))
}

// adminFlags are those of the commands that ask the running gateway.
type adminFlags struct {
	config, directory, output string
}

func (f *adminFlags) add(c *cobra.Command) {
	configFlag(c, &f.config)
	c.Flags().StringVar(&f.directory, "directory", "", "only users of this `directory`")
	c.Flags().StringVarP(&f.output, "output", "o", "table", "`table` or json")
}

func (f *adminFlags) check(c *cobra.Command) error {
	if f.output != "table" && f.output != "json" {
		return usageError{c.CommandPath(), fmt.Errorf("--output %q: want table or json", f.output)}
	}
	return nil
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
			return listUsers(c.Context(), std.out, f)
		},
	}
	f.add(c)
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
	return c
}

// usersAnswer is what the gateway says to both questions.
type usersAnswer struct {
	Users []provision.User `json:"users"`
	Next  string           `json:"next"`
}

func listUsers(ctx context.Context, out io.Writer, f adminFlags) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if f.output == "table" {
		fmt.Fprintln(table, "USER\tDOMAIN\tDIRECTORY\tGROUPS\tLAST SIGN-IN")
	}
	for after := ""; ; {
		var page usersAnswer
		q := url.Values{"directory": {f.directory}, "after": {after}, "limit": {fmt.Sprint(usersPage)}}
		if err := askGateway(ctx, f.config, "/users?"+q.Encode(), &page); err != nil {
			return err
		}
		for _, u := range page.Users {
			if f.output == "json" {
				if err := json.NewEncoder(out).Encode(u); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.UserName, u.Domain, u.Directory, strings.Join(u.Groups, ","), when(u.LastLogin))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		after = page.Next
	}
}

func showUser(ctx context.Context, out io.Writer, f adminFlags, name string) error {
	var found usersAnswer
	q := url.Values{"directory": {f.directory}}
	if err := askGateway(ctx, f.config, "/users/"+url.PathEscape(name)+"?"+q.Encode(), &found); err != nil {
		return err
	}
	switch len(found.Users) {
	case 0:
		return hintError{fmt.Errorf("no user %q", name), "users exist from their first sign-in on; see jitgate users list"}
	case 1:
	default:
		var where []string
		for _, u := range found.Users {
			where = append(where, fmt.Sprintf("%s (%s, ID %s)", u.Directory, u.Domain, u.ID))
		}
		return hintError{fmt.Errorf("%d users have the name %q", len(found.Users), name), "name a directory or an ID: " + strings.Join(where, "; ")}
	}
	u := found.Users[0]
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

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// askGateway asks the running gateway over the admin socket that file names,
// and decodes its JSON answer into answer.
func askGateway(ctx context.Context, file, path string, answer any) error {
	socket, err := adminSocket(file)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
			DisableKeepAlives: true,
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://jitgate"+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return hintError{fmt.Errorf("no gateway answers at %q", socket), "is it running, with the same configuration file?"}
	case errors.Is(err, fs.ErrPermission):
		return hintError{fmt.Errorf("no permission to use %q", socket), "run this as the user that runs the gateway"}
	case err != nil:
		return fmt.Errorf("asking the gateway at %q: %w", socket, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var problem struct {
			Error string `json:"error"`
		}
		if json.NewDecoder(res.Body).Decode(&problem) != nil || problem.Error == "" {
			problem.Error = res.Status
		}
		return fmt.Errorf("the gateway answers: %s", problem.Error)
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return nil
}

// adminSocket finds the socket that a configuration file names. The rest of the
// file is left alone: whoever asks the gateway may not have its secrets.
func adminSocket(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", hintError{err, "name the configuration file with -c"}
	}
	var c struct {
		Admin struct {
			Socket string `yaml:"socket"`
		} `yaml:"admin"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if c.Admin.Socket == "" {
		return "", hintError{fmt.Errorf("%q names no admin socket", file), "add one, such as admin: {socket: /run/jitgate/admin.sock}, and restart the gateway"}
	}
	if !filepath.IsAbs(c.Admin.Socket) {
		return filepath.Join(filepath.Dir(file), c.Admin.Socket), nil
	}
	return c.Admin.Socket, nil
}
