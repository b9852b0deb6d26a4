package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
)

// finishTime is how long requests under way may take once visitors are no longer let in.
const finishTime = 30 * time.Second

// arrivalTime is how long the first request may take of a connection that was accepted
// just before visitors are no longer let in.
const arrivalTime = 200 * time.Millisecond

func serveCommand(std stdio) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `serve runs the gateway until SIGTERM or Ctrl-C. Then /readyz answers 503 and
all else goes on for as long as the configuration says by drain; after that,
requests under way finish (for at most 30 seconds) and websockets are closed. A
second signal ends it at once. SIGHUP reads the configuration again, like
jitgate reload.

It starts without Redis and without metadata that comes from a URL, says so, and
keeps trying. /readyz on the admin listener tells whether Redis answers.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log := newLogger(std.err)
			defer log.Sync()
			return serve(c.Context(), file, log)
		},
	}
	configFlag(c, &file)
	return c
}

// configError adds what to do to a configuration that was not accepted.
func configError(err error) error {
	if _, ok := errors.AsType[config.Problems](err); ok {
		return err
	}
	return hintError{err, "name the configuration file with -c"}
}

// serve runs the gateway of a configuration file until ctx ends.
func serve(ctx context.Context, file string, log *zap.Logger) error {
	// From the first moment: without a handler, SIGHUP ends the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	cfg, err := config.Load(file)
	if err != nil {
		return configError(err)
	}
	g, err := assemble(cfg, log)
	if err != nil {
		return err
	}
	defer g.close()
	g.file = file
	if err := readMetadataFiles(ctx, cfg, g.idps, log); err != nil {
		return err
	}
	return g.run(ctx, hup, func() {})
}

// run listens, calls ready, serves until ctx ends, and drains. It reloads when
// it gets a signal from hup, which may be nil, or is asked over the socket.
func (g *gateway) run(ctx context.Context, hup <-chan os.Signal, ready func()) error {
	listeners, err := g.listen()
	if err != nil {
		return err
	}
	background, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	store := g.cfg.Redis // a reload replaces g.cfg
	tasks.Go(func() { watchRedis(background, g.rdb, store, g.log) })
	tasks.Go(func() { g.proxy.Follow(background) })
	tasks.Go(func() { g.proxy.Examine(background) })
	tasks.Go(func() { tuneCollector(background) })
	defer tasks.Wait()
	defer stop()
	stopFresh := g.keepFresh(background)
	defer func() { stopFresh() }()

	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		g.log.Info("listening", zap.String("what", l.what), zap.String("address", l.Addr().String()))
		go func() { failed <- l.serve() }()
	}
	ready()
	for {
		var answer chan error
		select {
		case err := <-failed:
			g.drain(listeners)
			return err
		case <-ctx.Done():
			g.drain(listeners)
			return nil
		case <-hup:
			answer = make(chan error, 1)
		case answer = <-g.reloads:
		}
		err := g.reload(background)
		if err == nil {
			stopFresh()
			stopFresh = g.keepFresh(background)
		}
		answer <- err
	}
}

// drain lets requests finish and ends what would not end by itself.
func (g *gateway) drain(listeners []*listener) {
	g.log.Info("draining", zap.Duration("for", g.cfg.Drain), zap.Duration("then_at_most", finishTime))
	defer func() {
		_ = g.log.Sync() // what waits to be written is of before
		g.log.Info("stopped")
	}()
	close(g.ending)
	g.proxy.Drain()
	time.Sleep(g.cfg.Drain)
	// A server that is being shut down drops what it reads from then on. So that nothing is
	// lost of what was accepted, nothing more is accepted first. Where a service manager
	// holds the socket, that waits for the next process.
	listeners[0].Close()
	time.Sleep(arrivalTime)
	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	// Websockets are not requests that finish; the server does not count them.
	g.proxy.Close()
	// The public listener is first and the admin ones are after it, so that
	// probes see "draining" for as long as there is something to drain.
	for _, l := range listeners {
		if err := l.server.Shutdown(ctx); err != nil {
			g.log.Warn("connections cut off", zap.String("what", l.what), zap.Error(err))
			l.server.Close()
		}
	}
}

// A listener is a bound address and the server for it.
type listener struct {
	net.Listener
	what   string
	server *http.Server
	tls    bool
}

func (l *listener) serve() error {
	var err error
	if l.tls {
		err = l.server.ServeTLS(l.Listener, "", "")
	} else {
		err = l.server.Serve(l.Listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s listener: %w", l.what, err)
}

// listen binds everything, or nothing.
func (g *gateway) listen() (_ []*listener, err error) {
	var all []*listener
	defer func() {
		if err != nil {
			for _, l := range all {
				l.Close()
			}
		}
	}()
	passed, err := inherited()
	if err != nil {
		return nil, err
	}
	defer passed.close()
	add := func(what, network, address string, h http.Handler) error {
		l, err := passed.open(what, network, address)
		if err != nil {
			return fmt.Errorf("%s listener: %w", what, err)
		}
		all = append(all, &listener{Listener: l, what: what, server: g.server(h)})
		return nil
	}

	if err := add("public", "tcp", g.cfg.Listen, g.proxy); err != nil {
		return nil, err
	}
	if g.tls != nil {
		all[0].tls, all[0].server.TLSConfig = true, g.tls.config()
	}
	if g.acme != nil {
		all[0].tls, all[0].server.TLSConfig = true, g.acme.config()
	}
	all[0].Listener = g.proxy.Limit(all[0].Listener)
	if g.cfg.ExtAuthz.Listen != "" {
		if err := add("ext_authz", "tcp", g.cfg.ExtAuthz.Listen, g.proxy.ExtAuthz()); err != nil {
			return nil, err
		}
		all[1].server.Protocols = new(http.Protocols)
		all[1].server.Protocols.SetUnencryptedHTTP2(true)
	}
	if g.cfg.Admin.Listen != "" {
		if err := add("admin", "tcp", g.cfg.Admin.Listen, g.proxy.Admin()); err != nil {
			return nil, err
		}
	}
	if g.cfg.Admin.Socket != "" {
		if err := add("socket", "unix", g.cfg.Admin.Socket, g.socket()); err != nil {
			return nil, err
		}
	}
	for name := range passed {
		return nil, fmt.Errorf("the service manager passes a socket called %q, which is for none of %s", name, names(all))
	}
	return all, nil
}

func (g *gateway) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: g.cfg.Limits.HeaderTime,
		IdleTimeout:       g.cfg.Limits.Idle,
		MaxHeaderBytes:    int(g.cfg.Limits.Header),
		ErrorLog:          connectionLog(g.log),
		// Else it answers "OPTIONS *" itself, whatever host that is for.
		DisableGeneralOptionsHandler: true,
	}
}
