package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

//go:embed demo.yaml.tmpl
var demoConfigText string

var demoConfig = template.Must(template.New("demo.yaml").Parse(demoConfigText))

// A demoIdP is one organisation of the demo. Each user's password is the name
// before the @.
type demoIdP struct {
	Name, Title, Domain, URL string
	users                    []demoUser
}

type demoUser struct {
	name, first, last, department, title, groups string
	about                                        string
}

func demoIdPs(port int) []demoIdP {
	at := func(n int) string { return fmt.Sprintf("http://localhost:%d", port+n) }
	return []demoIdP{
		{Name: "acme", Title: "Acme Corp", Domain: "acme.example", URL: at(1), users: []demoUser{
			{"alice", "Alice", "Adams", "Engineering", "Staff Engineer", "project-apollo project-gemini", "an engineer: sees everything"},
			{"bob", "Bob", "Brown", "Sales", "Account Manager", "project-apollo", "in sales: the intranet, but not /builds"},
			{"carol", "Carol", "Clark", "", "Visitor", "", "in no group: no app lets her in"},
		}},
		{Name: "globex", Title: "Globex", Domain: "globex.example", URL: at(2), users: []demoUser{
			{"dana", "Dana", "Diaz", "Engineering", "Build Engineer", "project-hammock", "an engineer: sees everything"},
			{"erik", "Erik", "Ek", "Sales", "Sales Lead", "project-hammock", "in sales: the intranet, but not /builds"},
			{"frida", "Frida", "Falk", "Sales", "Sales Trainee", "", "in sales: the intranet, but not /builds"},
		}},
	}
}

func demoCommand(std stdio) *cobra.Command {
	var port int
	var verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a gateway, two identity providers and an app, to try it all out",
		Long: `demo runs everything in one process and on this machine alone: the gateway, two
identity providers of two domains, a legacy app behind the gateway, and the
embedded store. Nothing is kept when it ends.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if port < 1 || port > 65533 {
				return usageError{c.CommandPath(), fmt.Errorf("--port %d: want 1 to 65533", port)}
			}
			level := zap.WarnLevel
			if verbose {
				level = zap.InfoLevel
			}
			log := newLogger(std.err).WithOptions(zap.IncreaseLevel(level))
			defer log.Sync()
			// Its files must go when its terminal does, too.
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP)
			defer stop()
			if err := demo(ctx, std, port, log); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		},
	}
	c.Flags().IntVar(&port, "port", 8080, "the gateway's `port`; the identity providers take the two after it")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each request and each sign-in")
	return c
}

// demo runs until ctx ends.
func demo(ctx context.Context, std stdio, port int, log *zap.Logger) error {
	dir, err := os.MkdirTemp("", "jitgate-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeKeys(dir, "jitgate demo", 2048); err != nil {
		return err
	}

	app, err := serveLoopback(0, legacyApp())
	if err != nil {
		return err
	}
	defer app.Close()
	idps := demoIdPs(port)
	running := make([]*samltest.IdP, len(idps))
	for i, idp := range idps {
		if running[i], err = startDemoIdP(idp); err != nil {
			return err
		}
		server, err := serveLoopback(port+1+i, running[i])
		if err != nil {
			return portError(err, port+1+i)
		}
		defer server.Close()
	}

	file := filepath.Join(dir, "jitgate.yaml")
	g, err := demoGateway(file, port, "http://"+app.Addr, idps, log)
	if err != nil {
		return err
	}
	defer g.close()
	for i, idp := range idps {
		if err := introduce(ctx, g, idp.Name, running[i]); err != nil {
			return err
		}
	}
	err = g.run(ctx, nil, func() { printBanner(std, port, file, idps) })
	if errors.Is(err, syscall.EADDRINUSE) {
		return portError(err, port)
	}
	return err
}

// demoGateway writes the demo's configuration to file and assembles what it says.
func demoGateway(file string, port int, upstream string, idps []demoIdP, log *zap.Logger) (*gateway, error) {
	var text bytes.Buffer
	err := demoConfig.Execute(&text, map[string]any{
		"BaseURL":  fmt.Sprintf("http://localhost:%d", port),
		"Listen":   fmt.Sprintf("127.0.0.1:%d", port),
		"Upstream": upstream,
		"IdPs":     idps,
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		return nil, err
	}
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	g, err := assemble(cfg, log)
	if err != nil {
		return nil, err
	}
	g.file = file
	return g, nil
}

func startDemoIdP(d demoIdP) (*samltest.IdP, error) {
	users := make([]samltest.User, 0, len(d.users))
	for _, u := range d.users {
		attributes := map[string][]string{
			"userName": {u.name + "@" + d.Domain},
			"email":    {u.name + "@" + d.Domain},
			"title":    {u.title},
			// Sent by the IdP, and not defined in the configuration: ignored.
			"displayName": {u.first + " " + u.last},
		}
		if u.department != "" {
			attributes["department"] = []string{u.department}
		}
		if u.groups != "" {
			attributes["groups"] = strings.Fields(u.groups)
		}
		users = append(users, samltest.User{Name: u.name, Password: u.name, Attributes: attributes})
	}
	return samltest.New(samltest.Options{URL: d.URL, Title: d.Title, Domain: d.Domain, Users: users})
}

// introduce makes an IdP and the gateway's service provider for it known to each
// other, as an administrator does by exchanging metadata.
func introduce(ctx context.Context, g *gateway, name string, idp *samltest.IdP) error {
	metadata, err := g.idps[name].Metadata()
	if err != nil {
		return err
	}
	if err := idp.AddSP(metadata); err != nil {
		return err
	}
	_, err = g.idps[name].Refresh(ctx)
	return err
}

// serveLoopback serves h on a port of this machine, 0 for any.
func serveLoopback(port int, h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(l)
	return s, nil
}

func portError(err error, port int) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return hintError{fmt.Errorf("port %d is taken", port), "choose another with --port N; the demo uses N and the two ports after it"}
}

func printBanner(std stdio, port int, file string, idps []demoIdP) {
	base := fmt.Sprintf("http://localhost:%d", port)
	fmt.Fprintf(std.out, "\njitgate demo is ready:  %s\n\nUsers, each with the password that follows:\n", bold(std.out, base))
	table := newTable(std.out)
	for _, idp := range idps {
		for _, u := range idp.users {
			table.row("  "+u.name+"@"+idp.Domain, u.name, u.about)
		}
	}
	_ = table.flush() // as the lines around it
	fmt.Fprintf(std.out, `
Try:
  1. Open %[1]s/reports?week=47 and type alice@acme.example. After signing in
     you land on the page you asked for; it shows the headers that reached it.
  2. A second domain: sign out at %[1]s/.jitgate/logout, which signs
     you out at the identity provider too, then sign in as dana@globex.example.
     Another identity provider, another directory.
  3. A changed group: sign out, and sign in as bob@acme.example.
     %[1]s/builds refuses him. Make him one of Engineering at
     %[2]s, sign out and in again: now it lets him in.
  4. Begin at the identity provider: open %[2]s, sign in and start the
     gateway from there. Sign out there, and you are signed out here.
  5. The console: sign in as alice and open %[1]s/.jitgate/admin.
     Who signs in, why somebody could not, who is in which group.
  6. The same from the command line: look at the users, and keep one out:
     %[3]s users list -c %[4]s
     %[3]s users block bob@acme.example -c %[4]s
  7. Change a group's rule in that file, and have it hold at the next request:
     %[3]s reload -c %[4]s

Ctrl-C ends it, and nothing is kept.
`, base, idps[0].URL, self(), file)
}

// self is how to call this program again: by its own path, or by go run when
// that built it somewhere temporary.
func self() string {
	if strings.Contains(os.Args[0], string(filepath.Separator)+"go-build") {
		return "go run ./cmd/jitgate"
	}
	return os.Args[0]
}
