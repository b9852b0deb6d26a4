package main

import (
	"errors"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// apacheVariable matches what stands for a variable in RequestHeader.
var apacheVariable = regexp.MustCompile(`^%\{([A-Za-z0-9_.:-]+)\}[es]$`)

// oneOfSeveral matches what Mellon puts behind the name of a variable, for one value.
var oneOfSeveral = regexp.MustCompile(`_[0-9]+$`)

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
	endpoint   string // "" where it does not say
}

// A mellonCondition is one of MellonCond or MellonRequire.
type mellonCondition struct {
	attribute string
	values    []string
	literal   bool // the attribute is called so in assertions
	require   bool // it is of MellonRequire
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
	prefix string   // of variables
	issuer string   // the variable with the identity provider
}

// importMellon reads a configuration of Apache with mod_auth_mellon. Each location that
// asks for a sign-in becomes an app.
func importMellon(data []byte) (*imported, error) {
	outside := newMellonHost()
	m := &mellonReader{imported: new(imported), hosts: []*mellonHost{outside}, host: outside, at: outside.places[0], prefix: "MELLON_", issuer: "IDP"}
	for _, d := range parseApache(string(data)) {
		if strings.HasPrefix(d.name, "<") {
			m.section(d)
		} else {
			m.directive(d)
		}
	}
	m.compareIdPs()
	m.renamedUser()
	for _, h := range m.hosts {
		m.hostApps(h)
	}
	if len(m.idps) == 0 || len(m.apps) == 0 {
		return nil, errors.New("has no MellonIdPMetadataFile, or no location with MellonEnable auth")
	}
	m.note("Mellon has variables of all that is in an assertion; the preset sends what is under attributes, and the attribute of MellonUser as Mellon-userName")
	if !m.hasUserName() {
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
	found := apacheVariable.FindStringSubmatch(d.word(2))
	if found == nil || !strings.EqualFold(d.word(0), "set") {
		return
	}
	name := d.word(1)
	variable, prefixed := strings.CutPrefix(found[1], m.prefix)
	known := slices.ContainsFunc(m.names, func(n mapping) bool { return n.ours == variable })
	ours := variable
	switch {
	case variable == "REMOTE_USER":
		ours = "userName"
	case prefixed && variable == "NAME_ID":
		ours = "userName"
		m.note("line %d: the header %s had the NameID; here it has the userName", d.line, name)
	case prefixed && variable == m.issuer:
		m.note("line %d: the header %s had the identity provider; the preset sends that as Mellon-IDP alone", d.line, name)
		return
	case !known && (!prefixed || variable == "SESSION" || variable == "SAML_RESPONSE"):
		m.note("line %d: the header %s had %s, which is no attribute", d.line, name, found[1])
		return
	case !known:
		theirs := oneOfSeveral.ReplaceAllString(variable, "")
		ours = m.attribute(plainAttribute(theirs), theirs)
	}
	if ours != "userName" {
		m.note("a header that is named had one value, or with MellonMergeEnvVars all; here it has all, joined with commas")
	}
	m.at.headers = append(m.at.headers, mapping{name, ours})
}

// renamedUser has the userName be an attribute by what it is called in assertions, where
// MellonUser has the name of MellonSetEnv.
func (m *mellonReader) renamedUser() {
	if !m.hasUserName() {
		return
	}
	for _, n := range m.names[1:] {
		if strings.EqualFold(n.ours, m.names[0].theirs) {
			m.names[0].theirs = n.theirs
			return
		}
	}
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
		if d.word(1) != "" {
			m.note("line %d: %s is a chain of authorities; signer_file wants the certificate that signs itself", d.line, d.word(1))
		}
	case "mellonidpmetadataglob":
		m.at.idps = append(m.at.idps, value)
		m.note("line %d: MellonIdPMetadataGlob %s: write an entry of identity_providers for each file", d.line, value)
	case "mellonidpignore":
		m.doubt(d)
		m.hosts[0].unclear = true
	case "mellonuser":
		if value != "NAME_ID" { // as it is without
			m.userName(value)
		}
	case "mellonidp":
		m.issuer = value
	case "mellonenvprefix":
		m.prefix = value
	case "mellonsetenv", "mellonsetenvnoprefix":
		m.attribute(value, d.word(1))
		m.at.renames = true
	case "mellonsessionlength":
		m.lifetime = value + "s"
	case "mellonsessionidletimeout":
		m.idleSeconds(value)
	case "mellonenable", "mellonrequire", "melloncond": // were read before
	case "mellonspmetadatafile":
		m.note("line %d: Mellon's entity ID is that in %s, whatever MellonSPentityId says; saml.entity_id has to be the same", d.line, value)
	case "mellonendpointpath":
		m.at.endpoint = value
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
	c := &mellonCondition{attribute: d.word(0), place: plainWord(m.host.name+m.at.path, "main"), require: d.name == "mellonrequire"}
	if c.require { // the last of one attribute holds
		m.at.conditions = slices.DeleteFunc(m.at.conditions, func(before *mellonCondition) bool {
			return before.require && before.attribute == c.attribute
		})
	}
	m.at.conditions = append(m.at.conditions, c)
	c.literal = c.require || len(d.words) == 2
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
