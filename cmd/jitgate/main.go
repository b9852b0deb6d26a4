// Command jitgate is a reverse-proxy authentication gateway: it signs visitors
// in at the SAML identity provider of their domain, keeps the users that come
// back in Redis, and forwards requests with identity headers.
//
// Each subcommand has a file of its own. Everything is wired by hand in
// [assemble]; there is no registry.
//
// What goes to standard error begins with "jitgate: ", one line for what went
// wrong and, where there is one, a line "hint: " for what to do about it. Errors
// begin in lower case and have no period. The exit status is 0 when done, 1 when
// it went wrong, 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// stdio is where a command reads and writes, so that tests run commands whole.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default is back: a second one ends a drain that hangs.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is main without the process: it runs one command line and returns the
// exit status.
func run(ctx context.Context, args []string, std stdio) int {
	root := rootCommand(std)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(std.err, "jitgate: %s\n", err)
	if usage, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(std.err, "hint: see %s --help\n", usage.command)
		return 2
	}
	if hinted, ok := errors.AsType[hintError](err); ok {
		fmt.Fprintf(std.err, "hint: %s\n", hinted.hint)
	}
	return 1
}

func rootCommand(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "jitgate",
		Short: "A SAML gateway in front of web apps that know nothing of SAML",
		Long: `jitgate stands in front of web apps that know nothing of SAML. A visitor
without a session is sent to the identity provider of their domain; the user
that comes back is created or updated in Redis, and requests go on to the app
with identity and group headers.

Begin with: jitgate demo`,
		Args:          noCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{c.CommandPath(), err}
	})
	root.AddCommand(
		demoCommand(std),
		serveCommand(std),
		reloadCommand(std),
		checkCommand(std),
		importCommand(std),
		healthcheckCommand(),
		keygenCommand(std),
		metadataCommand(std),
		explainCommand(std),
		usersCommand(std),
		groupsCommand(std),
		directoriesCommand(std),
		sessionsCommand(std),
		auditCommand(std),
	)
	completeFlags(root)
	return root
}

// configFlag adds -c, which every command that reads the configuration has.
func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "jitgate.yaml", "the configuration `file`")
}

// A hintError is an error with a line that says what to do about it.
type hintError struct {
	error
	hint string
}

func (e hintError) Unwrap() error { return e.error }

// A usageError is a command line that could not be understood.
type usageError struct {
	command string
	error
}

func (e usageError) Unwrap() error { return e.error }

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{c.CommandPath(), fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// noCommand is noArgs for commands that have subcommands.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{c.CommandPath(), fmt.Errorf("unknown command %q", args[0])}
	}
	return nil
}

// oneArg accepts exactly one argument, called name in the error.
func oneArg(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) != 1:
			return usageError{c.CommandPath(), fmt.Errorf("want one %s, got %d arguments", name, len(args))}
		case args[0] == "":
			return usageError{c.CommandPath(), fmt.Errorf("want a %s, got an empty one", name)}
		}
		return nil
	}
}

// group returns a command that only holds subcommands.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			return usageError{c.CommandPath(), errors.New("want a command")}
		},
	}
	c.AddCommand(sub...)
	return c
}
