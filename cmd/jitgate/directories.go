package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision"
)

func directoriesCommand(std stdio) *cobra.Command {
	return group("directories", "Look at the directories that users are in",
		directoriesListCommand(std), directoriesShowCommand(std))
}

func directoriesListCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the directories",
		Long:  "list prints the directories of the configuration, with how many users are in each.\nWith -o json it prints one JSON object a line.",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return listDirectories(c.Context(), std.out, f)
		},
	}
	f.add(c)
	return c
}

func directoriesShowCommand(std stdio) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one directory",
		Args:  oneArg("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			f.directory = args[0]
			return showDirectory(c.Context(), std.out, f)
		},
	}
	f.add(c)
	return c
}

// askDirectories asks for the directory that f names, or for all.
func askDirectories(ctx context.Context, f adminFlags) ([]provision.Directory, error) {
	var answer struct {
		Directories []provision.Directory `json:"directories"`
	}
	err := askGateway(ctx, f.config, "GET /directories?"+url.Values{"directory": {f.directory}}.Encode(), &answer)
	return answer.Directories, err
}

func listDirectories(ctx context.Context, out io.Writer, f adminFlags) error {
	all, err := askDirectories(ctx, f)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if f.output == "table" {
		fmt.Fprintln(table, "DIRECTORY\tUSERS\tDOMAINS\tIDENTITY PROVIDERS")
	}
	for _, d := range all {
		if f.output == "json" {
			if err := json.NewEncoder(out).Encode(d); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", d.Name, d.Users, strings.Join(d.Domains, ","), strings.Join(d.IdPs, ","))
	}
	return table.Flush()
}

func showDirectory(ctx context.Context, out io.Writer, f adminFlags) error {
	found, err := askDirectories(ctx, f)
	if err != nil {
		return err
	}
	for _, d := range found {
		if f.output == "json" {
			return json.NewEncoder(out).Encode(d)
		}
		_, err = fmt.Fprintf(out, "directory           %s\nusers               %d\ndomains             %s\nidentity providers  %s\n",
			d.Name, d.Users, strings.Join(d.Domains, ", "), strings.Join(d.IdPs, ", "))
	}
	return err
}
