package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/changes"
	"github.com/jitgate/jitgate/proxy"
)

// checkTimeout is how long check --online waits for each of its answers.
const checkTimeout = 5 * time.Second

func checkCommand(std stdio) *cobra.Command {
	var file string
	var online, schema bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and say everything that is wrong with it",
		Long: `check reads the configuration and the files it names, and prints every problem
at once: those of the configuration itself as file:line:column: key: what is
wrong and what to write instead. Certificates that end within 30 days are warned
of on standard error.

With --online it also asks Redis, loads metadata from its URLs, connects to each
upstream, and looks whether all that is stored of users agrees: records, indexes
and blocks, of every directory. People may sign in meanwhile. The embedded store
is looked at by the running gateway, if there is one.

With --schema it prints the JSON Schema of the file instead, for editors, and reads
none.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if schema {
				_, err := io.WriteString(std.out, config.Schema)
				return err
			}
			cfg, err := config.Load(file)
			if err != nil {
				return problemsError(std, err)
			}
			errs := checkParts(c.Context(), std, cfg, file, online)
			if len(errs) > 0 {
				for _, err := range errs {
					fmt.Fprintln(std.out, err)
				}
				return fmt.Errorf("%s: %s", file, count(len(errs), "problem"))
			}
			fmt.Fprintf(std.out, "%s: good: %s, %s, %s\n", file,
				count(len(cfg.Directories), "directory"), count(len(cfg.IdentityProviders), "identity provider"), count(len(cfg.Apps), "app"))
			return nil
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&online, "online", false, "also ask Redis, metadata URLs and upstreams")
	c.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the file, for editors")
	return c
}

// problemsError prints the problems of a configuration a line each, as editors
// and pipes like them, and returns what is left to say.
func problemsError(std stdio, err error) error {
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		return configError(err)
	}
	for _, p := range problems {
		fmt.Fprintln(std.out, p)
	}
	return errors.New(count(len(problems), "problem"))
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y") && !strings.HasSuffix(what, "ay"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// checkParts builds what serve would build, and finds what a configuration file
// alone does not tell: metadata that does not parse and, online, what does not
// answer.
func checkParts(ctx context.Context, std stdio, cfg *config.Config, file string, online bool) []error {
	g, err := assemble(cfg, zap.NewNop())
	if err != nil {
		return []error{err}
	}
	defer g.close()
	errs := checkMetadata(ctx, g, online)
	for _, c := range g.proxy.Certificates() {
		if now := time.Now(); endsSoon(c, now) {
			fmt.Fprintln(std.err, "jitgate: warning:", endWarning(c, now))
		}
	}
	if !online {
		return errs
	}
	if err := bounded(ctx, func(ctx context.Context) error {
		// Not a ping: somebody may have to be allowed the channels.
		return g.rdb.Publish(ctx, changes.Channel(g.cfg.Redis.KeyPrefix, ""), "").Err()
	}); err != nil {
		errs = append(errs, fmt.Errorf("redis: %s", redisCause(err)))
	} else {
		errs = append(errs, checkUsers(ctx, std, g, file)...)
	}
	for _, app := range cfg.Apps {
		if app.ForwardAuth {
			continue
		}
		for _, u := range addresses(app) {
			if err := bounded(ctx, func(ctx context.Context) error { return dialUpstream(ctx, u) }); err != nil {
				errs = append(errs, fmt.Errorf("app %q: upstream %s: %w", app.Name, u, err))
			}
		}
	}
	return errs
}

// checkMetadata loads the metadata that is in files and, online, at URLs.
func checkMetadata(ctx context.Context, g *gateway, online bool) []error {
	var errs []error
	for _, idp := range g.cfg.IdentityProviders {
		if idp.Metadata.File == "" && !online {
			continue
		}
		if err := bounded(ctx, func(ctx context.Context) error { _, err := g.idps[idp.Name].Refresh(ctx); return err }); err != nil {
			errs = append(errs, fmt.Errorf("identity provider %q: %w", idp.Name, err))
		}
	}
	return errs
}

// checkUsers looks whether what is stored of users agrees: in Redis itself or, of
// the embedded store, by asking the running gateway, if there is one.
func checkUsers(ctx context.Context, std stdio, g *gateway, file string) []error {
	if g.cfg.Redis.Embedded {
		if _, err := adminSocket(file); err != nil {
			return nil // nobody can be asked
		}
		return checkDirectories(g.cfg, func(directory string) (found proxy.Consistency, err error) {
			err = askGateway(ctx, file, "GET /consistency?"+url.Values{"directory": {directory}}.Encode(), &found)
			return found, err
		})
	}
	users, err := provision.New(g.rdb, g.cfg.Redis.KeyPrefix, g.cfg)
	if err != nil {
		return []error{err}
	}
	show := newProgress(std.err)
	defer show.end()
	return checkDirectories(g.cfg, func(directory string) (proxy.Consistency, error) {
		return proxy.CheckConsistency(ctx, users, directory, func(n int) { show.at("%d users of %s looked at", n, directory) })
	})
}

// checkDirectories returns what look finds wrong with each directory.
func checkDirectories(cfg *config.Config, look func(directory string) (proxy.Consistency, error)) []error {
	var errs []error
	for _, d := range cfg.Directories {
		found, err := look(d.Name)
		if errors.Is(err, errNoGateway) {
			return errs // then there is no embedded store either
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("directory %q: %w", d.Name, err))
			continue
		}
		for _, i := range found.Inconsistencies {
			errs = append(errs, errors.New(i.String()))
		}
		if found.More > 0 {
			errs = append(errs, fmt.Errorf("directory %q: %d more", d.Name, found.More))
		}
	}
	return errs
}

func bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return f(ctx)
}

// addresses returns where an app is.
func addresses(app config.App) []*url.URL {
	var all []*url.URL
	for _, host := range app.UpstreamHosts {
		all = append(all, &url.URL{Scheme: app.UpstreamURL.Scheme, Host: host})
	}
	if len(all) == 0 {
		all = append(all, app.UpstreamURL)
	}
	return all
}

func dialUpstream(ctx context.Context, u *url.URL) error {
	network, address := "tcp", u.Host
	switch {
	case u.Scheme == "unix":
		network, address = "unix", u.Path
	case u.Port() == "" && u.Scheme == "https":
		address = net.JoinHostPort(u.Hostname(), "443")
	case u.Port() == "":
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}
