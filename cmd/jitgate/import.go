package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/config"
)

func importCommand(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "import",
		Short: "Make a configuration of that of another program",
		Long: `import reads the configuration of another SAML service provider and prints one
for jitgate. What could not be carried over is in its comments, each with the
place where it was: read them before you use it.`,
		Args: noArgs,
	}
	var attributeMap string
	shibboleth := &cobra.Command{
		Use:   "shibboleth FILE",
		Short: "Read shibboleth2.xml, and the attribute map that it names",
		Args:  oneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return printImported(std.out, args[0], func(data []byte) (*imported, error) {
				return importShibboleth(data, filepath.Dir(args[0]), attributeMap)
			})
		},
	}
	shibboleth.Flags().StringVar(&attributeMap, "attribute-map", "", "the attribute map, where it is not the `file` that shibboleth2.xml names")
	c.AddCommand(shibboleth, &cobra.Command{
		Use:   "mellon FILE",
		Short: "Read a configuration of Apache with mod_auth_mellon",
		Args:  oneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return printImported(std.out, args[0], importMellon)
		},
	}, &cobra.Command{
		Use:   "saml-auth-proxy FILE",
		Short: "Read a file of saml-auth-proxy's environment variables, or of its options",
		Args:  oneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return printImported(std.out, args[0], importProxy)
		},
	})
	return c
}

func printImported(out io.Writer, file string, read func([]byte) (*imported, error)) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	found, err := read(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	_, err = io.WriteString(out, found.yaml(filepath.Base(file)))
	return err
}

// An imported is what was found in the configuration of another program.
type imported struct {
	base      string // origin, or ""
	listen    string
	entityID  string
	key, cert string
	idle      string
	lifetime  string
	idps      []importedIdP
	names     []mapping // of attributes
	groups    []importedGroup
	apps      []importedApp
	conflicts []string // our names that stand for several attributes
	notes     []string // what could not be carried over
}

// A mapping is the name of an attribute here and in assertions.
type mapping struct{ ours, theirs string }

type importedIdP struct{ entityID, file, url, signer string }

// An importedGroup is of those who have one of the values of an attribute.
type importedGroup struct {
	name, attribute string
	values          []string
}

type importedApp struct {
	name, host, path, upstream string
	groups                     []string
	unclear                    bool // who may use it
	preset                     string
	endpoint                   string    // "" where it is as usual
	headers                    []mapping // name of the header and our attribute
}

// note records what could not be carried over.
func (m *imported) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(m.notes, text) {
		m.notes = append(m.notes, text)
	}
}

// attribute returns our name of an attribute in assertions, and remembers it.
func (m *imported) attribute(ours, theirs string) string {
	if ours == "groups" || ours == "id" || ours == "directory" || ours == "entitlements" {
		ours += "-attribute" // the name is taken
	}
	for _, n := range m.names {
		if n.ours == ours {
			if n.theirs != theirs {
				m.conflicts = append(m.conflicts, ours)
				m.note("the attribute %s is called %s too; here it is %s alone", ours, theirs, n.theirs)
			}
			return ours
		}
	}
	m.names = append(m.names, mapping{ours, theirs})
	return ours
}

// idleSeconds has sessions end that are not used for so long.
func (m *imported) idleSeconds(seconds string) {
	if seconds == "0" || strings.HasPrefix(seconds, "-") {
		m.note("sessions ended by their lifetime alone; here an idle one ends after an hour, or what session.idle says")
		return
	}
	m.idle = seconds + "s"
}

// userName has the attribute that users are known by, which is called theirs.
func (m *imported) userName(theirs string) {
	if slices.ContainsFunc(m.names, func(n mapping) bool { return n.ours == "userName" && n.theirs != theirs }) {
		m.note("there are several attributes that users are known by; here it is %s alone", theirs)
	}
	m.names = slices.DeleteFunc(m.names, func(n mapping) bool { return n.ours == "userName" })
	m.names = append([]mapping{{"userName", theirs}}, m.names...)
}

// hasUserName reports whether userName was called, which puts that name first.
func (m *imported) hasUserName() bool { return len(m.names) > 0 && m.names[0].ours == "userName" }

// notWord matches what may not be in the names that are made up here.
var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// plainWord makes a name of a text.
func plainWord(text, otherwise string) string {
	return cmp.Or(strings.Trim(notWord.ReplaceAllString(strings.ToLower(text), "-"), "-"), otherwise)
}

// yaml returns it as a configuration file.
func (m *imported) yaml(from string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	q := strconv.Quote
	line("# Made by jitgate import of %s. Look at each line; jitgate check -c says what is", from)
	line("# missing, and the comments at the end what could not be carried over.")
	line("base_url: %s", q(cmp.Or(m.base, "https://sso.example.com")))
	line("listen: %s", q(cmp.Or(m.listen, ":8443")))
	line("redis: {embedded: true}   # in this process, gone when it ends; for more: addresses: [\"127.0.0.1:6379\"]")
	line("session:")
	line("  keys: [\"file:session.key\"]   # jitgate keygen makes it")
	if m.idle != "" {
		line("  idle: %s", m.idle)
	}
	if m.lifetime != "" {
		line("  lifetime: %s", m.lifetime)
	}
	line("saml:")
	line("  key_file: %s", q(cmp.Or(m.key, "sp.key")))
	line("  cert_file: %s", q(cmp.Or(m.cert, "sp.crt")))
	if m.entityID != "" {
		line("  entity_id: %s", q(m.entityID))
	}
	line("attributes:")
	line("  - {name: userName}")
	for _, n := range m.names {
		if n.ours != "userName" && n.ours != "domain" && n.ours != "ExternalId" {
			line("  - {name: %s, multiple: true}", q(n.ours))
		}
	}
	line("directories:")
	line("  - {name: main, domains: [example.com]}   # the domains of your users' addresses")
	m.writeIdPs(line)
	m.writeGroups(line)
	m.writeApps(line)
	line("\n# Identity providers send responses to another address now: give them what")
	line("# jitgate metadata --idp NAME prints.")
	if len(m.notes) > 0 {
		line("#")
		line("# Not carried over:")
	}
	for _, n := range m.notes {
		line("# - %s", strings.ReplaceAll(n, "\n", " "))
	}
	return b.String()
}

// links has an app's links for signing in and out go on working, by the path or URL that
// they begin with, where it is not that of the app's preset.
func (m *imported) links(a *importedApp, at string) {
	usual := config.Endpoints[a.preset]
	u, err := url.Parse(at)
	switch {
	case at == "" || at == usual:
	case err == nil && plainPath.MatchString(u.Path) && u.Path != "/":
		if path := strings.TrimSuffix(u.Path, "/"); path != usual {
			a.endpoint = path
		}
	default:
		m.note("links for signing in and out began with %s; write a path as the app's endpoint", at)
	}
}

func (m *imported) writeGroups(line func(string, ...any)) {
	q := strconv.Quote
	if len(m.groups) > 0 {
		line("groups:")
	}
	for _, g := range m.groups {
		line("  - name: %s", q(g.name))
		line("    rule:")
		line("      any:")
		for _, v := range g.values {
			line("        - {attribute: %s, is: %s}", q(g.attribute), q(v))
		}
	}
}

func (m *imported) writeApps(line func(string, ...any)) {
	q := strconv.Quote
	line("apps:")
	for i, a := range m.apps {
		line("  - name: %s", q(cmp.Or(a.name, "app"+strconv.Itoa(i))))
		if a.host != "" {
			line("    host: %s", q(a.host))
		}
		if a.path != "" && a.path != "/" {
			line("    path: %s", q(a.path))
		}
		line("    upstream: %s", q(cmp.Or(a.upstream, "http://127.0.0.1:9000")))
		if a.endpoint != "" {
			line("    endpoint: %s", q(a.endpoint))
		}
		switch {
		case a.unclear:
			line("    # allow: who may use it could not be carried over; jitgate wants to be told")
		case len(a.groups) > 0:
			line("    allow: {groups: [%s]}", quoteAll(a.groups))
		default:
			line("    allow: {any_user: true}")
		}
		m.writeHeaders(line, a)
	}
}

func (m *imported) writeIdPs(line func(string, ...any)) {
	q := strconv.Quote
	line("identity_providers:")
	for i, p := range m.idps {
		name := "idp"
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		line("  - name: %s", name)
		line("    directory: main")
		line("    metadata:")
		if p.url != "" {
			line("      url: %s", q(p.url))
		} else {
			line("      file: %s", q(p.file))
		}
		if p.entityID != "" {
			line("      entity_id: %s", q(p.entityID))
		}
		if p.signer != "" {
			line("      signer_file: %s", q(p.signer))
		}
		if len(m.names) > 0 {
			line("    attributes:")
		}
		for _, n := range m.names {
			line("      %s: %s", q(n.ours), q(n.theirs))
		}
	}
}

func (m *imported) writeHeaders(line func(string, ...any), a importedApp) {
	if a.preset == "" && len(a.headers) == 0 {
		return
	}
	line("    headers:")
	if a.preset != "" {
		line("      preset: %s", a.preset)
	}
	for _, h := range a.headers {
		line("      %s: %s", strconv.Quote(h.ours), strconv.Quote(h.theirs))
	}
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}
