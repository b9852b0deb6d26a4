package main

import (
	"cmp"
	"errors"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
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

// A mellonPlace is what a <Location>, or a server outside of them, says of its paths.
type mellonPlace struct {
	path       string
	enable     string // auth, info or off; "" where it says nothing
	rule       string // what Require says: "", valid-user or unclear
	conditions []*mellonCondition
	unclear    bool // who may use it, whatever places inside of it say
	says       bool // anything of who may use it
	foreign    bool // its paths are not known
	inside     bool // it is not for the path itself
	renames    bool // attributes
	idps       []string
	headers    []mapping
}

// A mellonCondition is one of MellonCond or MellonRequire.
type mellonCondition struct {
	attribute string
	values    []string
	literal   bool // the attribute is called so in assertions
	unclear   bool
	place     string // for the name of its group
	group     string // "" where none was made yet
}

// A mellonHost is a <VirtualHost>, or what is outside of all. Its first place is what it
// says outside of locations.
type mellonHost struct {
	name      string
	secure    bool
	places    []*mellonPlace
	upstreams map[string]string // by path
	unclear   bool              // who may use any of it
}

func newMellonHost() *mellonHost {
	return &mellonHost{places: []*mellonPlace{{path: "/"}}, upstreams: make(map[string]string)}
}

// A mellonReader reads directives one after the other.
type mellonReader struct {
	*imported
	hosts  []*mellonHost // the first is around the others
	host   *mellonHost
	at     *mellonPlace
	around []func() // what ends the sections that it is in
	unsure int      // sections around that may not be in force
}

// importMellon reads a configuration of Apache with mod_auth_mellon. Each location that
// asks for a sign-in becomes an app.
func importMellon(data []byte) (*imported, error) {
	outside := newMellonHost()
	m := &mellonReader{imported: new(imported), hosts: []*mellonHost{outside}, host: outside, at: outside.places[0]}
	for _, d := range parseApache(string(data)) {
		if strings.HasPrefix(d.name, "<") {
			m.section(d)
		} else {
			m.directive(d)
		}
	}
	m.compareIdPs()
	for _, h := range m.hosts {
		m.hostApps(h)
	}
	if len(m.idps) == 0 || len(m.apps) == 0 {
		return nil, errors.New("has no MellonIdPMetadataFile, or no location with MellonEnable auth")
	}
	if len(m.names) == 0 || m.names[0].ours != "userName" {
		m.note("no MellonUser: it was the NameID that users were known by; name the attribute that userName is")
	}
	return m.imported, nil
}

// forbidding matches flags of RewriteRule by which nobody gets in.
var forbidding = regexp.MustCompile(`(?i)\b(f|forbidden|g|gone|r=4..)\b`)

// plainPath matches what stands for itself in <Location>.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)

// section begins or ends a section.
func (m *mellonReader) section(d directive) {
	name := strings.TrimPrefix(d.name, "<")
	if strings.HasPrefix(name, "/") {
		if last := len(m.around) - 1; last >= 0 {
			m.around[last]()
			m.around = m.around[:last]
		}
		return
	}
	host, at, unsure := m.host, m.at, m.unsure
	m.around = append(m.around, func() { m.host, m.at, m.unsure = host, at, unsure })
	switch {
	case name == "virtualhost":
		m.host, m.unsure = newMellonHost(), 0
		m.host.secure = strings.HasSuffix(d.word(0), ":443")
		m.hosts, m.at = append(m.hosts, m.host), m.host.places[0]
	case strings.HasPrefix(name, "if") && name != "if":
		if d.word(0) != "mod_auth_mellon.c" && d.word(0) != "auth_mellon_module" {
			m.unsure++
		}
	case strings.HasPrefix(name, "require"), strings.HasPrefix(name, "limit"):
		m.doubt(d)
	case name == "location" && len(d.words) == 1 && plainPath.MatchString(d.word(0)) && !m.at.foreign:
		m.begin(&mellonPlace{path: path.Clean(d.word(0)), inside: d.word(0) != "/" && strings.HasSuffix(d.word(0), "/")})
	default:
		if name == "directory" {
			m.note("line %d: <Directory %s>: there are no files here; an app has an upstream", d.line, d.word(0))
		} else {
			m.note("line %d: %s %s>: its paths are not known; where it says who may use them, that is asked for the whole host", d.line, d.name, strings.Join(d.words, " "))
		}
		m.begin(&mellonPlace{path: "/", foreign: true})
	}
}

func (m *mellonReader) begin(p *mellonPlace) {
	m.at = p
	m.host.places = append(m.host.places, p)
}

// doubt has who may use the place told by somebody, as a directive is not understood.
func (m *mellonReader) doubt(d directive) {
	m.note("line %d: %s %s: who may use %s%s is not clear by it", d.line, d.name, strings.Join(d.words, " "), m.host.name, m.at.path)
	m.at.unclear, m.at.says = true, true
	m.host.unclear = m.host.unclear || m.at.foreign
}

// directive carries over one.
func (m *mellonReader) directive(d directive) {
	m.access(d)
	switch d.name {
	case "servername":
		m.serverName(d.word(0))
	case "sslengine":
		m.host.secure = strings.EqualFold(d.word(0), "on")
	case "proxypass":
		from, to := d.word(0), d.word(1)
		if strings.HasPrefix(from, "http") || strings.HasPrefix(from, "balancer") { // inside of a location
			from, to = m.at.path, from
		}
		if to == "!" {
			m.note("line %d: ProxyPass %s !: jitgate forwards it like what is around it", d.line, from)
		} else {
			m.host.upstreams[path.Clean(from)] = to
		}
	case "requestheader":
		m.header(d)
	case "include", "includeoptional", "use":
		m.note("line %d: %s %s was not read: who may use the apps that it is for is not clear", d.line, d.name, strings.Join(d.words, " "))
		m.host.unclear = true
	default:
		if strings.HasPrefix(d.name, "mellon") && len(d.words) > 0 {
			m.mellon(d)
		}
	}
}

// access reads what says who may use the place.
func (m *mellonReader) access(d directive) {
	open := strings.EqualFold(d.word(0), "valid-user") || strings.EqualFold(d.word(0)+d.word(1), "allgranted")
	switch {
	case doubtful(d):
		m.doubt(d)
		return
	case d.name == "require" && m.at.foreign && open:
		return // what opens a place may be missing
	case d.name == "require":
		m.require(d, open)
	case d.name == "mellonenable":
		m.enable(d)
	case d.name == "mellonrequire" || d.name == "melloncond":
		m.condition(d)
	default:
		return
	}
	m.at.says = true
	if m.at.foreign || m.unsure > 0 && !(d.name == "mellonenable" && m.at.enable == "auth") {
		m.doubt(d)
	}
}

// doubtful reports whether a directive of another module keeps somebody out.
func doubtful(d directive) bool {
	switch d.name {
	case "order", "deny", "allow", "satisfy", "authmerging", "sslrequire", "allowmethods":
		return true
	case "authtype":
		return !strings.EqualFold(d.word(0), "mellon")
	case "sslverifyclient":
		return !strings.EqualFold(d.word(0), "none")
	case "rewriterule":
		return forbidding.MatchString(d.word(2))
	}
	return false
}

// require reads a rule of Apache. Of several one is enough, but those that are not
// understood may be what was meant.
func (m *mellonReader) require(d directive, open bool) {
	switch {
	case !open:
		m.at.rule = "unclear"
		m.note("line %d: Require %s", d.line, strings.Join(d.words, " "))
	case m.at.rule == "":
		m.at.rule = "valid-user"
	}
}

// serverName is the name of the host around, which may be a URL.
func (m *mellonReader) serverName(name string) {
	if u, err := url.Parse(name); err == nil && u.Host != "" {
		name, m.host.secure = u.Host, u.Scheme == "https"
	}
	m.host.name, _, _ = strings.Cut(name, ":")
}

// holds reports whether a path is below p.
func (p *mellonPlace) holds(other string) bool {
	prefix := strings.TrimSuffix(p.path, "/") + "/"
	return strings.HasPrefix(strings.TrimSuffix(other, "/")+"/", prefix)
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

// mellon carries over a directive of Mellon that does not say who may use a place.
func (m *mellonReader) mellon(d directive) {
	value := d.word(0)
	switch d.name {
	case "mellonspprivatekeyfile":
		m.key = value
	case "mellonspcertfile":
		m.cert = value
	case "mellonspentityid":
		m.entityID = value
	case "mellonidpmetadatafile":
		m.at.idps = append(m.at.idps, value)
		if p := (importedIdP{file: value, signer: d.word(1)}); !slices.Contains(m.idps, p) {
			m.idps = append(m.idps, p)
		}
	case "mellonidpmetadataglob":
		m.at.idps = append(m.at.idps, value)
		m.note("line %d: MellonIdPMetadataGlob %s: write an entry of identity_providers for each file", d.line, value)
	case "mellonidpignore":
		m.doubt(d)
		m.hosts[0].unclear = true
	case "mellonuser":
		m.userName(value)
	case "mellonsetenv", "mellonsetenvnoprefix":
		m.attribute(value, d.word(1))
		m.at.renames = true
	case "mellonsessionlength":
		m.lifetime = value + "s"
	case "mellonsessionidletimeout":
		m.idle = value + "s"
	case "mellonenable", "mellonrequire", "melloncond": // were read before
	case "mellonspmetadatafile", "mellonendpointpath": // ours are other ones
	default:
		m.note("line %d: %s %s", d.line, d.name, strings.Join(d.words, " "))
	}
}

// compareIdPs has nobody let in where places have identity providers of their own: here
// those of all are for every app.
func (m *mellonReader) compareIdPs() {
	var first []string
	for _, h := range m.hosts {
		for _, p := range h.places {
			switch {
			case len(p.idps) == 0 || slices.Equal(p.idps, first):
			case first == nil:
				first = p.idps
			default:
				m.hosts[0].unclear = true
				m.note("%s%s has other identity providers than another place: write identity_providers of each app, and then who may use it", h.name, p.path)
			}
		}
	}
}

// enable notes whether one has to sign in at a place.
func (m *mellonReader) enable(d directive) {
	value := strings.ToLower(d.word(0))
	switch {
	case value == "auth":
		m.at.enable = value
	case value != "info" && value != "off":
		m.at.enable = "auth"
		m.doubt(d)
	case !m.at.foreign:
		m.at.enable = value
		m.note("line %d: MellonEnable %s for %s: nobody has to sign in there; write its paths under public of an app", d.line, value, m.at.path)
	}
	if m.base == "" && m.host.name != "" && m.host.secure {
		m.base = "https://" + m.host.name
	}
}

// condition carries over one without flags but MAP, by which the name is one of Mellon's
// own. Mellon puts other values in the place of what % stands for.
func (m *mellonReader) condition(d directive) {
	c := &mellonCondition{attribute: d.word(0), place: plainWord(m.host.name+m.at.path, "main")}
	m.at.conditions = append(m.at.conditions, c)
	c.literal = d.name == "mellonrequire" || len(d.words) == 2
	c.unclear = len(d.words) < 2 || strings.ContainsAny(strings.Join(d.words, ""), "%$")
	if d.name == "melloncond" {
		c.unclear = c.unclear || len(d.words) > 2 && !strings.EqualFold(strings.Join(d.words[2:], " "), "[MAP]")
	}
	if c.unclear {
		m.note("line %d: %s %s: write it as a rule of a group", d.line, d.name, strings.Join(d.words, " "))
		return
	}
	c.values = d.words[1:]
	if d.name == "melloncond" {
		c.values = d.words[1:2]
	}
}

// renaming returns how many places have names of attributes of their own.
func (m *mellonReader) renaming() int {
	n := 0
	for _, h := range m.hosts {
		for _, p := range h.places {
			if p.renames {
				n++
			}
		}
	}
	return n
}

// group returns the group of those who fulfil a condition, and makes it the first time.
func (m *mellonReader) group(c *mellonCondition) (name string, ok bool) {
	if c.group != "" || c.unclear {
		return c.group, !c.unclear
	}
	matching := slices.DeleteFunc(slices.Clone(m.names), func(n mapping) bool {
		return n.theirs != c.attribute && (c.literal || n.ours != c.attribute)
	})
	ours := ""
	if len(matching) == 0 {
		ours = m.attribute(plainAttribute(c.attribute), c.attribute)
	} else {
		ours = matching[0].ours
		c.unclear = !c.literal && m.renaming() > 1 || slices.ContainsFunc(matching, func(n mapping) bool { return n.theirs != matching[0].theirs })
	}
	if c.unclear = c.unclear || slices.Contains(m.conflicts, ours); c.unclear {
		m.note("a condition of %s: it is not clear which attribute is called so; write it as a rule of a group", c.attribute)
		return "", false
	}
	c.group = c.place + "-" + plainWord(ours, "attribute")
	for n := 2; slices.ContainsFunc(m.groups, func(g importedGroup) bool { return g.name == c.group }); n++ {
		c.group = c.place + "-" + plainWord(ours, "attribute") + "-" + strconv.Itoa(n)
	}
	m.groups = append(m.groups, importedGroup{c.group, ours, c.values})
	return c.group, true
}

// plainAttribute makes a name for an attribute of what it is called in assertions.
func plainAttribute(theirs string) string {
	if i := strings.LastIndexAny(theirs, ":/"); i >= 0 && i < len(theirs)-1 {
		return "attribute-" + plainWord(theirs[i+1:], "x")
	}
	return theirs
}

// effective returns what holds for a path of a host. As in Apache, what locations say
// replaces what is said outside of them, and what the later of them say what the others
// do; but where one around another is the later one, it may not be meant so.
func (m *mellonReader) effective(h *mellonHost, at string) mellonPlace {
	outside, places := m.hosts[0], h.places
	if h != outside {
		places = slices.Concat(outside.places[:1], h.places[:1], outside.places[1:], h.places[1:])
	}
	e := mellonPlace{path: at}
	deepest := "/"
	for _, p := range places {
		if !p.holds(at) {
			continue
		}
		for _, header := range p.headers {
			e.headers = slices.DeleteFunc(e.headers, func(h mapping) bool { return strings.EqualFold(h.ours, header.ours) })
			e.headers = append(e.headers, header)
		}
		if !p.says {
			continue
		}
		if len(p.path) < len(deepest) && !p.foreign {
			e.unclear = true
			m.note("%s%s: what is said of %s comes later, and so is for it too", h.name, deepest, p.path)
		}
		deepest = p.path
		if p.inside && at == p.path && (len(p.conditions) > 0 && len(e.conditions) > 0 || p.rule != "" && e.rule == "unclear") {
			e.unclear = true
			m.note("%s%s/: %s without the / has the rule of what is around it, and here that of what is in it", h.name, at, at)
		}
		e.enable, e.rule = cmp.Or(p.enable, e.enable), cmp.Or(p.rule, e.rule)
		if len(p.conditions) > 0 {
			e.conditions = p.conditions
		}
		e.unclear = e.unclear || p.unclear
	}
	e.unclear = e.unclear || e.rule == "unclear"
	return e
}

// hostApps makes an app of each path of a host that asks for a sign-in. Another one below
// such an app is one too if who may use it is not clear, so that it is not used as that.
func (m *mellonReader) hostApps(h *mellonHost) {
	outside := m.hosts[0]
	if h == outside && slices.ContainsFunc(m.hosts[1:], func(other *mellonHost) bool { return other.name == h.name }) {
		return // the <VirtualHost> has it all
	}
	paths := []string{"/"}
	for _, p := range slices.Concat(outside.places, h.places) {
		if p.says && !slices.Contains(paths, p.path) {
			paths = append(paths, p.path)
		}
	}
	var signedIn []mellonPlace
	for _, at := range paths {
		if e := m.effective(h, at); e.enable == "auth" {
			signedIn = append(signedIn, e)
		}
	}
	for _, at := range paths {
		e := m.effective(h, at)
		below := slices.ContainsFunc(signedIn, func(p mellonPlace) bool { return p.holds(at) })
		if e.enable == "auth" || e.unclear && below {
			m.apps = append(m.apps, m.app(h, &e))
		}
	}
}

// allow returns the groups that may use a place, and whether that is all there is to it.
func (m *mellonReader) allow(h *mellonHost, p *mellonPlace) (groups []string, clear bool) {
	clear = !p.unclear && !h.unclear && !m.hosts[0].unclear
	for _, c := range p.conditions {
		group, ok := m.group(c)
		clear = clear && ok
		if ok {
			groups = append(groups, group)
		}
	}
	if len(p.conditions) > 1 {
		clear = false
		m.note("%s%s: Mellon wants all of several conditions, and allow wants one of its groups; write one group with a rule of all", h.name, p.path)
	}
	return groups, clear
}

// app returns the app that a place becomes.
func (m *mellonReader) app(h *mellonHost, p *mellonPlace) importedApp {
	groups, clear := m.allow(h, p)
	a := importedApp{name: plainWord(h.name+p.path, "app"), host: h.name, path: strings.TrimSuffix(p.path, "/"), groups: groups, unclear: !clear, headers: p.headers, preset: "mellon"}
	from, to := p.path, ""
	for {
		if to = cmp.Or(h.upstreams[from], m.hosts[0].upstreams[from]); to != "" || from == "/" || from == "." {
			break
		}
		from = path.Dir(from)
	}
	u, err := url.Parse(to)
	if to == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		m.note("%s%s: no ProxyPass to http:// was found; write where the app is as its upstream", h.name, p.path)
		return a
	}
	a.upstream = u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != strings.Trim(from, "/") {
		m.note("%s%s: ProxyPass led to %s, with another path; jitgate forwards paths as they come in", h.name, p.path, to)
	}
	return a
}
