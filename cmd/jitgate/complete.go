package main

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision/audit"
)

// completePage is how much the shell is offered at a time.
const completePage = "200"

// completeTimeout is how long somebody who pressed the tab key waits at most.
const completeTimeout = time.Second

// A completer returns what a word on the command line may be that begins as it was
// typed, and perhaps other words, according to the running gateway. Where none
// answers, it returns nothing.
type completer func(ctx context.Context, f adminFlags, typed string) []string

// completeWith completes the argument of a command about one thing.
func completeWith(c *cobra.Command, complete completer) {
	c.ValidArgsFunction = func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete.offer(c, args, typed)
	}
}

// completeFlags completes the flags of c and of all commands below it.
func completeFlags(c *cobra.Command) {
	for name, complete := range map[string]completer{
		"directory": completeDirectories, "idp": completeIdPs, "user": completeUsers, "event": completeEvents, "output": completeOutputs,
	} {
		if c.Flags().Lookup(name) != nil {
			_ = c.RegisterFlagCompletionFunc(name, complete.offer) // an error would mean that the flag is not there
		}
	}
	for _, sub := range c.Commands() {
		completeFlags(sub)
	}
}

// offer returns what the word that was begun may become.
func (complete completer) offer(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
	defer cancel()
	var f adminFlags
	f.config, _ = c.Flags().GetString("config") // without such a flag there is no gateway to ask
	f.directory, _ = c.Flags().GetString("directory")
	words := complete(ctx, f, typed)
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, typed) }), cobra.ShellCompDirectiveNoFileComp
}

func completeUsers(ctx context.Context, f adminFlags, typed string) []string {
	var answer usersAnswer
	q := url.Values{"prefix": {typed}, "directory": {f.directory}, "limit": {completePage}}
	_ = askGateway(ctx, f.config, "GET /users?"+q.Encode(), &answer)
	var names []string
	for _, u := range answer.Users {
		names = append(names, u.UserName)
	}
	return names
}

func completeGroups(ctx context.Context, f adminFlags, _ string) []string {
	groups, _ := askGroups(ctx, f, "")
	var names []string
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names
}

func completeDirectories(ctx context.Context, f adminFlags, _ string) []string {
	directories, _ := askDirectories(ctx, f)
	var names []string
	for _, d := range directories {
		names = append(names, d.Name)
	}
	return names
}

func completeIdPs(ctx context.Context, f adminFlags, _ string) []string {
	directories, _ := askDirectories(ctx, f)
	var names []string
	for _, d := range directories {
		names = append(names, d.IdPs...)
	}
	return names
}

func completeEvents(context.Context, adminFlags, string) []string { return audit.Types() }

func completeOutputs(context.Context, adminFlags, string) []string { return []string{"table", "json"} }
