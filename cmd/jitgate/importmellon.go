package main

import (
	"cmp"
	"errors"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A directive is a line of Apache's configuration: its name in lower case, and its words.
type directive struct {
	line  int
	name  string
	words []string
}

// word returns one of the words, "" where there are fewer.
func (d directive) word(i int) string {
	if i < len(d.words) {
		return d.words[i]
	}
	return ""
}

// parseApache returns the directives of a configuration of Apache. A section begins with
// one called "<name" and ends with one called "</name".
func parseApache(text string) []directive {
	var all []directive
	joined := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for i, line := range strings.Split(joined, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '<' {
			line = strings.TrimSuffix(line, ">")
		}
		words := apacheWords(line)
		all = append(all, directive{i + 1, strings.ToLower(words[0]), words[1:]})
	}
	return all
}

// apacheWords splits a line at spaces that are not quoted.
func apacheWords(line string) []string {
	var words []string
	for _, found := range apacheWord.FindAllString(line, -1) {
		if quote := found[0]; (quote == '"' || quote == '\'') && len(found) > 1 {
			found = strings.ReplaceAll(found[1:len(found)-1], `\`+string(quote), string(quote))
		}
		words = append(words, found)
	}
	return words
}

var (
	apacheWord = regexp.MustCompile(`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\S+`)

	// mellonVariable matches what stands for a variable of Mellon in another directive.
	mellonVariable = regexp.MustCompile(`^%\{(?:MELLON_)?([A-Za-z0-9_.:-]+)\}[es]$`)
)

// A mellonPlace is what holds for a <Location> or a <VirtualHost>.
type mellonPlace struct {
	host, path string
	enabled    bool
	groups     []string
	unclear    bool // who may use it
	headers    []mapping
}

// A mellonReader reads directives one after the other.
type mellonReader struct {
	*imported
	host      string // of the <VirtualHost> that it is in
	secure    bool
	places    []*mellonPlace
	at        *mellonPlace      // of places
	around    []*mellonPlace    // at
	upstreams map[string]string // by host and path
}

// importMellon reads a configuration of Apache with mod_auth_mellon. Each location that
// asks for a sign-in becomes an app.
func importMellon(data []byte) (*imported, error) {
	everywhere := &mellonPlace{path: "/"}
	m := &mellonReader{imported: new(imported), places: []*mellonPlace{everywhere}, at: everywhere, upstreams: make(map[string]string)}
	for _, d := range parseApache(string(data)) {
		if strings.HasPrefix(d.name, "<") {
			m.section(d)
		} else {
			m.directive(d)
		}
	}
	for _, p := range m.places {
		if !p.enabled {
			continue
		}
		for _, around := range m.places { // the last one is the closest
			if around != p && len(p.groups) == 0 && !p.unclear && around.holds(p) {
				p.groups, p.unclear = around.groups, around.unclear
			}
		}
		m.apps = append(m.apps, m.app(p))
	}
	if len(m.idps) == 0 || len(m.apps) == 0 {
		return nil, errors.New("has no MellonIdPMetadataFile, or no location with MellonEnable auth")
	}
	if len(m.names) == 0 || m.names[0].ours != "userName" {
		m.note("no MellonUser: it was the NameID that users were known by; name the attribute that userName is")
	}
	return m.imported, nil
}

// section begins or ends a section.
func (m *mellonReader) section(d directive) {
	begin := func(p mellonPlace) {
		m.around = append(m.around, m.at)
		m.at = &p
		m.places = append(m.places, m.at)
	}
	name := strings.TrimPrefix(d.name, "<")
	if module := strings.TrimPrefix(name, "/"); strings.HasPrefix(module, "if") && module != "if" {
		return // <IfModule> and the like: what is in them is read
	}
	switch {
	case name == "virtualhost":
		m.host, m.secure = "", strings.HasSuffix(d.word(0), ":443")
		begin(mellonPlace{path: "/"})
	case strings.HasPrefix(name, "/"):
		if name == "/virtualhost" {
			m.host = ""
		}
		if last := len(m.around) - 1; last >= 0 {
			m.at, m.around = m.around[last], m.around[:last]
		}
	case name == "location":
		begin(mellonPlace{host: m.host, path: d.word(0)})
	case name == "directory":
		m.note("line %d: <Directory %s>: there are no files here; an app has an upstream", d.line, d.word(0))
		begin(mellonPlace{host: m.host, path: "/"})
	default:
		m.note("line %d: %s %s>: paths are not matched by expressions; what is in it was read as for /", d.line, d.name, strings.Join(d.words, " "))
		begin(mellonPlace{host: m.host, path: "/", unclear: true})
	}
}

// directive carries over one.
func (m *mellonReader) directive(d directive) {
	switch d.name {
	case "servername":
		m.serverName(d.word(0))
	case "sslengine":
		m.secure = strings.EqualFold(d.word(0), "on")
	case "proxypass":
		from, to := d.word(0), d.word(1)
		if strings.HasPrefix(from, "http") || strings.HasPrefix(from, "balancer") { // inside of a location
			from, to = m.at.path, from
		}
		m.upstreams[m.host+" "+path.Clean(from)] = to
	case "requestheader":
		m.header(d)
	case "require":
		if !strings.EqualFold(d.word(0), "valid-user") {
			m.at.unclear = true
			m.note("line %d: Require %s", d.line, strings.Join(d.words, " "))
		}
	default:
		if strings.HasPrefix(d.name, "mellon") && len(d.words) > 0 {
			m.mellon(d)
		}
	}
}

// serverName is the name of the host around, which may be a URL.
func (m *mellonReader) serverName(name string) {
	if u, err := url.Parse(name); err == nil && u.Host != "" {
		name, m.secure = u.Host, u.Scheme == "https"
	}
	m.host, _, _ = strings.Cut(name, ":")
	if m.at != m.places[0] {
		m.at.host = m.host
	}
}

// holds reports whether other is below p.
func (p *mellonPlace) holds(other *mellonPlace) bool {
	prefix := strings.TrimSuffix(p.path, "/") + "/"
	return (p.host == "" || p.host == other.host) && strings.HasPrefix(strings.TrimSuffix(other.path, "/")+"/", prefix)
}

// header carries over a header that is made of one of Mellon's variables.
func (m *mellonReader) header(d directive) {
	found := mellonVariable.FindStringSubmatch(d.word(2))
	if found == nil || !strings.EqualFold(d.word(0), "set") {
		return
	}
	name, variable, ours := d.word(1), found[1], found[1]
	switch variable {
	case "REMOTE_USER":
		ours = "userName"
	case "NAME_ID", "IDP":
		ours = "userName"
		m.note("line %d: the header %s had MELLON_%s; here it has the userName", d.line, name, variable)
	default:
		if !slices.ContainsFunc(m.names, func(n mapping) bool { return n.ours == variable }) {
			ours = m.attribute(plainAttribute(variable), variable)
		}
	}
	m.at.headers = append(m.at.headers, mapping{name, ours})
}

// mellon carries over a directive of Mellon.
func (m *mellonReader) mellon(d directive) {
	value := d.word(0)
	switch d.name {
	case "mellonenable":
		m.enable(d)
	case "mellonspprivatekeyfile":
		m.key = value
	case "mellonspcertfile":
		m.cert = value
	case "mellonspentityid":
		m.entityID = value
	case "mellonidpmetadatafile":
		m.idps = append(m.idps, importedIdP{file: value, signer: d.word(1)})
	case "mellonidpmetadataglob":
		m.note("line %d: MellonIdPMetadataGlob %s: write an entry of identity_providers for each file", d.line, value)
	case "mellonuser":
		m.userName(value)
	case "mellonsetenv", "mellonsetenvnoprefix":
		m.attribute(value, d.word(1))
	case "mellonsessionlength":
		m.lifetime = value + "s"
	case "mellonsessionidletimeout":
		m.idle = value + "s"
	case "mellonrequire":
		m.group(value, d.words[1:])
	case "melloncond":
		m.condition(d)
	case "mellonspmetadatafile", "mellonendpointpath": // ours are other ones
	default:
		m.note("line %d: %s %s", d.line, d.name, strings.Join(d.words, " "))
	}
}

// enable notes whether one has to sign in at a place.
func (m *mellonReader) enable(d directive) {
	value := strings.ToLower(d.word(0))
	m.at.enabled = value == "auth"
	if !m.at.enabled {
		m.note("line %d: MellonEnable %s for %s: nobody has to sign in there; write its paths under public of an app", d.line, value, m.at.path)
	}
	if m.base == "" && m.host != "" && m.secure {
		m.base = "https://" + m.host
	}
}

// condition carries over one without flags but MAP, by which the name is one of Mellon's
// own.
func (m *mellonReader) condition(d directive) {
	if len(d.words) < 2 || len(d.words) > 2 && !strings.EqualFold(d.words[2], "[MAP]") {
		m.note("line %d: MellonCond %s: write it as a rule of a group", d.line, strings.Join(d.words, " "))
		m.at.unclear = true
		return
	}
	m.group(d.words[0], d.words[1:2])
}

// group has those who have one of the values use the place.
func (m *mellonReader) group(attribute string, values []string) {
	var ours string
	if i := slices.IndexFunc(m.names, func(n mapping) bool { return n.theirs == attribute || n.ours == attribute }); i >= 0 {
		ours = m.names[i].ours
	} else {
		ours = m.attribute(plainAttribute(attribute), attribute)
	}
	if len(m.at.groups) > 0 {
		m.at.unclear = true
		m.note("%s%s: Mellon wants all of several conditions, and allow wants one of its groups; write one group with a rule of all", m.at.host, m.at.path)
	}
	name := plainWord(m.at.host+m.at.path, "main") + "-" + plainWord(ours, "attribute")
	m.groups = append(m.groups, importedGroup{name, ours, values})
	m.at.groups = append(m.at.groups, name)
}

// plainAttribute makes a name for an attribute of what it is called in assertions.
func plainAttribute(theirs string) string {
	if i := strings.LastIndexAny(theirs, ":/"); i >= 0 && i < len(theirs)-1 {
		return "attribute-" + plainWord(theirs[i+1:], "x")
	}
	return theirs
}

// app returns the app that a place becomes.
func (m *mellonReader) app(p *mellonPlace) importedApp {
	a := importedApp{name: plainWord(p.host+p.path, "app"), host: p.host, path: strings.TrimSuffix(p.path, "/"), groups: p.groups, unclear: p.unclear, headers: p.headers, preset: "mellon"}
	from, to := path.Clean(p.path), ""
	for {
		if to = cmp.Or(m.upstreams[p.host+" "+from], m.upstreams[" "+from]); to != "" || from == "/" || from == "." {
			break
		}
		from = path.Dir(from)
	}
	u, err := url.Parse(to)
	if to == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		m.note("%s%s: no ProxyPass to http:// was found; write where the app is as its upstream", p.host, p.path)
		return a
	}
	a.upstream = u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != strings.Trim(from, "/") {
		m.note("%s%s: ProxyPass led to %s, with another path; jitgate forwards paths as they come in", p.host, p.path, to)
	}
	return a
}
