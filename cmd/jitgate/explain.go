package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/proxy"
	"github.com/jitgate/jitgate/samlsp"
)

// explainFlags say what is explained, and how.
type explainFlags struct {
	adminFlags
	idp, at, request, metadata string
	online                     bool
}

func explainCommand(std stdio) *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain --idp NAME FILE",
		Short: "Say what would become of a captured SAMLResponse, and why",
		Long: `explain judges a response of an identity provider as the gateway would take it:
each check in order, with the value found and the value wanted; the attributes that
are used, mapped or ignored; the user that it would create or change, with groups
and what gave each; and for each app whether it lets the user in, and the headers
that it would get. It changes nothing, and signs nobody in.

FILE is what was captured, - for standard input: the SAMLResponse parameter, the
whole form, or the XML. In a browser: open the developer tools, the network tab,
keep the log, sign in, and copy the body of the POST to /.jitgate/saml/NAME/acs.

A response is good for some minutes. --at judges an old one as of when it came.
Without --online nothing is asked but the metadata's URL, where the configuration
has one, and the user is taken for a new one. With it, the running gateway judges,
by what it has loaded and by who is in its store.

The exit status is 1 where the response would be refused.`,
		Example: `  jitgate explain -c jitgate.yaml --idp acme response.txt
  jitgate explain -c jitgate.yaml --idp acme --at 2026-03-01T12:00:00Z --online - < response.xml`,
		Args: oneArg("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := f.question()
			if err != nil {
				return usageError{c.CommandPath(), err}
			}
			return explain(c.Context(), std, f, q, args[0])
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.idp, "idp", "", "the `name` of the identity provider that sent it")
	c.Flags().StringVar(&f.at, "at", "", "judge it as of this `time`, like 2026-03-01T12:00:00Z, or 24h for a day ago; default: now")
	c.Flags().StringVar(&f.request, "request-id", "", "the `ID` of the request that it has to answer; default: the one that it names")
	c.Flags().StringVar(&f.metadata, "metadata", "", "a `file` with the identity provider's metadata, in the place of the configured one")
	c.Flags().BoolVar(&f.online, "online", false, "have the running gateway judge, which knows its users")
	return c
}

// question returns what the flags ask.
func (f explainFlags) question() (proxy.Question, error) {
	q := proxy.Question{IdP: f.idp, RequestID: f.request}
	switch {
	case f.idp == "":
		return q, errors.New("want --idp NAME")
	case f.online && f.metadata != "":
		return q, errors.New("--metadata does not go with --online: the gateway has its own")
	case f.at == "":
		return q, nil
	}
	text, err := parseSince(f.at, time.Now())
	if err != nil {
		return q, fmt.Errorf("--at %q: want a time like 2026-03-01T12:00:00Z, or how long ago, like 24h", f.at)
	}
	q.At, err = time.Parse(time.RFC3339Nano, text)
	return q, err
}

func explain(ctx context.Context, std stdio, f explainFlags, q proxy.Question, file string) error {
	captured, err := readCaptured(std.in, file)
	if err != nil {
		return err
	}
	if q.Response, err = samlsp.Captured(captured); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var x proxy.Explanation
	if f.online {
		err = askGatewayWith(ctx, f.config, "POST /explain", q, &x)
	} else {
		x, err = explainOffline(ctx, f, q)
	}
	if err != nil {
		return err
	}
	if f.output == "json" {
		err = printJSON(std.out, x)
	} else {
		err = printExplanation(std.out, x, f)
	}
	if err != nil || x.Code == "" {
		return err
	}
	err = fmt.Errorf("the response would be refused: %s", verdict(x))
	id, refusal := x.Response.Identity, x.Response.Refusal
	if f.at == "" && id != nil && refusal != nil && (refusal.Check == "wrong_issue_instant" || refusal.Check == "expired") {
		return hintError{err, "judge it as of when it was made: --at " + id.IssuedAt.UTC().Format(time.RFC3339)}
	}
	return err
}

// readCaptured reads a file, or standard input for "-".
func readCaptured(in io.Reader, file string) ([]byte, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	const most = 4 << 20 // more than any response that is looked at
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("%s: longer than %d bytes, which is no response", file, most)
	}
	return data, err
}

// explainOffline judges by the configuration file alone.
func explainOffline(ctx context.Context, f explainFlags, q proxy.Question) (proxy.Explanation, error) {
	cfg, err := config.Load(f.config)
	if err != nil {
		return proxy.Explanation{}, configError(err)
	}
	for i := range cfg.IdentityProviders {
		if m := &cfg.IdentityProviders[i].Metadata; cfg.IdentityProviders[i].Name == q.IdP && f.metadata != "" {
			m.File, m.URL, m.SignerFile = f.metadata, "", ""
		}
	}
	g, err := assemble(cfg, zap.NewNop())
	if err != nil {
		return proxy.Explanation{}, err
	}
	defer g.close()
	sp, ok := g.idps[q.IdP]
	if !ok {
		return proxy.Explanation{}, noIdP(q.IdP, f.config, g.idps)
	}
	err = bounded(ctx, func(ctx context.Context) error { _, err := sp.Refresh(ctx); return err })
	if err != nil {
		return proxy.Explanation{}, hintError{err, "name a copy of it with --metadata FILE, or ask the running gateway with --online"}
	}
	return g.proxy.Explain(ctx, q)
}
