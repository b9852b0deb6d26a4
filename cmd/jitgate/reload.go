package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/samlsp"
)

// firstMetadata is how long a reload waits for metadata from a new URL.
const firstMetadata = 5 * time.Second

func reloadCommand(std stdio) *cobra.Command {
	var f adminFlags
	var local bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running gateway read its configuration again",
		Long: `reload has the running gateway read its configuration file again, as SIGHUP
does, and says what came of it. All of the file takes effect at once or, where
anything is wrong with it, nothing: the problems are printed as check prints
them, and the gateway goes on as before. Sessions and open connections stay;
groups and the rules of apps hold from the next request on.

Other replicas on the same Redis are told to read their own files, within a
second; --local leaves them alone, as SIGHUP does. The addresses of listen, admin and redis,
whether there is tls, and header, header_time and idle of limits take a restart.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var answer reloadAnswer
			if err := askGateway(c.Context(), f.config, fmt.Sprintf("POST /reload?local=%t", local), &answer); err != nil {
				return err
			}
			if err := printReload(std.out, f, answer); err != nil {
				return err
			}
			if answer.Error != "" {
				return fmt.Errorf("nothing was changed: %s", answer.Error)
			}
			if answer.Untold != "" {
				return fmt.Errorf("in use here alone: %s", answer.Untold)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().BoolVar(&local, "local", false, "leave other replicas alone")
	return c
}

func printReload(out io.Writer, f adminFlags, answer reloadAnswer) error {
	if f.output == "json" {
		return printJSON(out, answer)
	}
	for _, p := range answer.Problems {
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	if answer.Error != "" {
		return nil
	}
	if _, err := fmt.Fprintf(out, "%s: in use\n", answer.File); err != nil || answer.Others == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "%s told to read theirs\n", count(answer.Others, "other replica"))
	return err
}

// A reloadAnswer says what came of a reload.
type reloadAnswer struct {
	File     string   `json:"file"` // as the gateway calls it
	Error    string   `json:"error,omitempty"`
	Problems []string `json:"problems,omitempty"` // a line each
	Others   int      `json:"others,omitempty"`   // replicas that were told
	Untold   string   `json:"untold,omitempty"`   // why none could be
}

// socket returns the handler of the admin socket: the proxy's, and besides
//
//	POST /reload?local=    a [reloadAnswer]; other replicas are told unless local is true
func (g *gateway) socket() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", g.proxy.Socket())
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		answer := reloadAnswer{File: g.file}
		if whole, err := filepath.Abs(g.file); err == nil { // who asks may be elsewhere
			answer.File = whole
		}
		err := g.askReload(r.Context())
		if problems, ok := errors.AsType[config.Problems](err); ok {
			for _, p := range problems {
				answer.Problems = append(answer.Problems, p.String())
			}
			err = errors.New(count(len(problems), "problem"))
		}
		if err != nil {
			answer.Error = err.Error()
		}
		if err == nil && r.URL.Query().Get("local") != "true" {
			if answer.Others, err = g.proxy.TellReload(r.Context()); err != nil {
				answer.Untold = err.Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the client may be gone
	})
	return mux
}

// askReload has run reload, and returns what came of it.
func (g *gateway) askReload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case g.reloads <- answer:
		return <-answer
	case <-g.ending:
		return errors.New("the gateway is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reload puts what the file says now in the place of the configuration in use,
// all of it or nothing, and logs what came of it.
func (g *gateway) reload(ctx context.Context) error {
	err := g.replace(ctx)
	if err != nil {
		g.log.Error("configuration not reloaded; the one before stays", zap.String("file", g.file), zap.Error(err))
		return err
	}
	g.log.Info("configuration reloaded", zap.String("file", g.file),
		zap.Int("identity_providers", len(g.cfg.IdentityProviders)), zap.Int("groups", len(g.cfg.Groups)), zap.Int("apps", len(g.cfg.Apps)))
	return nil
}

func (g *gateway) replace(ctx context.Context) error {
	cfg, err := config.Load(g.file)
	if err != nil {
		return err
	}
	if key := needsRestart(g.cfg, cfg); key != "" {
		return fmt.Errorf("%s is another one, which takes a restart", key)
	}
	if cfg.TLS != nil && cfg.TLS.ACME == nil {
		pair := certificate{certFile: cfg.TLS.CertFile, keyFile: cfg.TLS.KeyFile, log: g.log}
		if _, err := pair.get(time.Now()); err != nil {
			return err
		}
	}
	o, err := g.options(cfg)
	if err != nil {
		return err
	}
	for name, sp := range o.IdPs {
		if old, ok := g.idps[name]; ok {
			sp.Inherit(old)
		}
	}
	if err := readMetadataFiles(ctx, cfg, o.IdPs, g.log); err != nil {
		return err
	}
	awaitMetadata(ctx, o.IdPs, g.log)
	if err := g.proxy.Replace(o); err != nil {
		return err
	}
	if g.tls != nil {
		g.tls.use(cfg.TLS.CertFile, cfg.TLS.KeyFile)
	}
	if g.acme != nil {
		g.acme.use(cfg)
	}
	g.cfg, g.idps = cfg, o.IdPs
	return nil
}

// needsRestart returns the first key that a running process cannot change, ""
// where there is none.
func needsRestart(old, next *config.Config) string {
	switch {
	case old.Listen != next.Listen:
		return "listen"
	case old.Admin.Socket != next.Admin.Socket || old.Admin.Listen != next.Admin.Listen:
		return "admin"
	case old.ExtAuthz != next.ExtAuthz:
		return "ext_authz"
	case !reflect.DeepEqual(old.Tracing, next.Tracing):
		return "tracing"
	case !reflect.DeepEqual(old.Redis, next.Redis):
		return "redis"
	case (old.TLS == nil) != (next.TLS == nil) || old.TLS != nil && !reflect.DeepEqual(old.TLS.ACME, next.TLS.ACME):
		return "tls"
	case old.Limits.Header != next.Limits.Header:
		return "limits.header"
	case old.Limits.HeaderTime != next.Limits.HeaderTime:
		return "limits.header_time"
	case old.Limits.Idle != next.Limits.Idle:
		return "limits.idle"
	}
	return ""
}

// awaitMetadata gives the IdPs of new URLs a moment to send their metadata, so
// that nobody is turned away in between. keepFresh goes on to ask those that do
// not.
func awaitMetadata(ctx context.Context, idps map[string]*samlsp.SP, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, firstMetadata)
	defer cancel()
	var all sync.WaitGroup
	for name, sp := range idps {
		if sp.Ready() == nil {
			continue
		}
		all.Go(func() {
			if change, err := sp.Refresh(ctx); err == nil {
				logMetadata(log, name, change)
			}
		})
	}
	all.Wait()
}
