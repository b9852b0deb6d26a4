package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
)

// followEvery is how often --follow asks for more.
const followEvery = time.Second

// auditFlags say which events are wanted.
type auditFlags struct {
	adminFlags
	user, idp, event, since string
	follow                  bool
}

func auditCommand(std stdio) *cobra.Command {
	var f auditFlags
	c := &cobra.Command{
		Use:   "audit",
		Short: "Read the audit trail",
		Long: `audit prints what happened to users, oldest first: who was created or changed,
who signed in, was refused or signed out, and who joined or left a group. The
flags narrow it down; an event has to fit all of them.
With -o json it prints one JSON object a line.`,
		Example: `  jitgate audit -c jitgate.yaml --user ann@acme.example --since 24h
  jitgate audit -c jitgate.yaml --event login_failed --since 1h --follow`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			since, err := parseSince(f.since, time.Now())
			if err != nil {
				return usageError{c.CommandPath(), err}
			}
			f.since = since
			return readAudit(c.Context(), std.out, f)
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.directory, "directory", "", "only what happened in this `directory`")
	c.Flags().StringVar(&f.user, "user", "", "only what happened to the user of this `name` or ID")
	c.Flags().StringVar(&f.idp, "idp", "", "only what came of this identity `provider`")
	c.Flags().StringVar(&f.event, "event", "", "only events of this `type`, like login_failed")
	c.Flags().StringVar(&f.since, "since", "", "only what happened since this `time`, as 2026-03-01T12:00:00Z, or 24h for a day ago")
	c.Flags().BoolVar(&f.follow, "follow", false, "go on with what happens from now on, until Ctrl-C")
	return c
}

// parseSince returns the time that --since means, in RFC 3339, "" for none.
func parseSince(since string, now time.Time) (string, error) {
	if since == "" {
		return "", nil
	}
	if ago, err := time.ParseDuration(since); err == nil && ago >= 0 {
		return now.Add(-ago).UTC().Format(time.RFC3339Nano), nil
	}
	if _, err := time.Parse(time.RFC3339, since); err != nil {
		return "", fmt.Errorf("--since %q: want a duration like 24h or 90m, or a time like 2026-03-01T12:00:00Z", since)
	}
	return since, nil
}

// eventRow is a line of the table, and narrowRow the beginning of one. Their widths are
// fixed, since nobody knows what comes later; longer values push the rest aside.
const (
	narrowRow = "%-20s  %-17s  %-24s"
	eventRow  = narrowRow + "  %-12s  %-18s  %s"
)

func readAudit(ctx context.Context, out io.Writer, f auditFlags) error {
	if f.output == "table" {
		header := fmt.Sprintf(eventRow, "TIME", "EVENT", "USER", "IDP", "CODE", "DETAILS")
		if columns := columnsOf(out); columns > 0 {
			header = cutText(header, columns)
		}
		if _, err := fmt.Fprintln(out, bold(out, header)); err != nil {
			return err
		}
	}
	q := url.Values{"directory": {f.directory}, "user": {f.user}, "idp": {f.idp}, "event": {f.event}, "since": {f.since}}
	for {
		var part provision.Trail
		err := askGateway(ctx, f.config, "GET /audit?"+q.Encode(), &part)
		if f.follow && errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range part.Events {
			if err := printEvent(out, e, f.output); err != nil {
				return err
			}
		}
		q.Set("after", part.Next)
		switch {
		case part.More:
			continue
		case !f.follow:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// printEvent prints one event as a line.
func printEvent(out io.Writer, e audit.Event, output string) error {
	if output == "json" {
		line, err := e.Encode()
		if err != nil {
			return err
		}
		return printJSONLine(out, line)
	}
	user := cmp.Or(e.UserName, e.UserID, "-")
	line := fmt.Sprintf(eventRow, when(e.Time), e.Type, user, cmp.Or(e.IdP, "-"), cmp.Or(e.Code, "-"), details(e))
	columns := columnsOf(out)
	if columns == 0 || textWidth(strings.TrimRight(line, " ")) <= columns {
		return printLine(out, line)
	}
	// The terminal is too narrow for the table: the rest comes below.
	if err := printLine(out, fmt.Sprintf(narrowRow, when(e.Time), e.Type, user)); err != nil {
		return err
	}
	const indent = "    "
	for _, line := range wrapText(joinFacts([]fact{{"idp", e.IdP}, {"code", e.Code}})+" "+details(e), columns-len(indent)) {
		if err := printLine(out, indent+line); err != nil {
			return err
		}
	}
	return nil
}

// printLine prints a line, without blanks at its end.
func printLine(out io.Writer, line string) error {
	_, err := fmt.Fprintln(out, strings.TrimRight(printable(line), " "))
	return err
}

// details returns what an event has besides the columns of the table.
func details(e audit.Event) string {
	return joinFacts([]fact{
		{"by", e.By},
		{"reason", e.Reason},
		{"group", e.Group},
		{"from", e.From},
		{"attributes", strings.Join(e.Attributes, ",")},
		{"absent", strings.Join(e.Absent, ",")},
		{"empty", strings.Join(e.Empty, ",")},
		{"no_value", strings.Join(e.NoValue, ",")},
		{"directory", e.Directory},
		{"client", e.Client},
		{"request", e.RequestID},
	})
}

// A fact of an event is printed as name=value.
type fact struct{ name, value string }

// joinFacts returns the facts that have values.
func joinFacts(facts []fact) string {
	var all []string
	for _, f := range facts {
		if f.value != "" {
			all = append(all, f.name+"="+f.value)
		}
	}
	return strings.Join(all, " ")
}
