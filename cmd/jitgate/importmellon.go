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
	host, path, upstream string
	enabled              bool
	groups               []string
	unclear              bool
	headers              []mapping
}

// importMellon reads a configuration of Apache with mod_auth_mellon. Each location that
// asks for a sign-in becomes an app.
func importMellon(data []byte) (*imported, error) {
	m := new(imported)
	host, inHost := "", false
	at := &mellonPlace{path: "/"}
	places := []*mellonPlace{at}
	upstreams := make(map[string]string) // by host and path
	secure := false
	for _, d := range parseApache(string(data)) {
		arg := func(i int) string {
			if i < len(d.words) {
				return d.words[i]
			}
			return ""
		}
		switch d.name {
		case "<virtualhost":
			host, inHost = "", true
			at = &mellonPlace{path: "/"}
			places = append(places, at)
			secure = strings.HasSuffix(arg(0), ":443")
		case "servername":
			host = arg(0)
			if u, err := url.Parse(host); err == nil && u.Host != "" {
				host, secure = u.Host, u.Scheme == "https"
			}
			host, _, _ = strings.Cut(host, ":")
			if inHost {
				at.host = host
			}
		case "sslengine":
			secure = strings.EqualFold(arg(0), "on")
		case "<location", "<directory":
			at = &mellonPlace{host: host, path: arg(0)}
			if d.name == "<directory" {
				m.note("line %d: <Directory %s>: there are no files here; an app has an upstream", d.line, arg(0))
				at.path = "/"
			}
			places = append(places, at)
		case "<locationmatch", "<if", "<files", "<filesmatch", "<directorymatch":
			m.note("line %d: %s %s>: paths are not matched by expressions; what is in it was read as for /", d.line, d.name, strings.Join(d.words, " "))
			at = &mellonPlace{host: host, path: "/", unclear: true}
			places = append(places, at)
		case "</virtualhost":
			host, inHost = "", false
			at = places[0]
		case "</location", "</directory", "</locationmatch", "</if", "</files", "</filesmatch", "</directorymatch":
			at = places[0]
		case "proxypass":
			from, to := arg(0), arg(1)
			if strings.HasPrefix(from, "http") || strings.HasPrefix(from, "balancer") { // inside of a location
				from, to = at.path, from
			}
			upstreams[host+" "+path.Clean(from)] = to
		case "requestheader":
			m.mellonHeader(at, d)
		case "require":
			if !strings.EqualFold(arg(0), "valid-user") && !strings.EqualFold(arg(0), "mellon") {
				at.unclear = true
				m.note("line %d: Require %s", d.line, strings.Join(d.words, " "))
			}
		default:
			m.mellonDirective(at, d, secure, host)
		}
	}
	for _, p := range places {
		if !p.enabled {
			continue
		}
		for _, around := range places { // the last one is the closest
			if around != p && len(p.groups) == 0 && !p.unclear && around.holds(p) {
				p.groups, p.unclear = around.groups, around.unclear
			}
		}
		m.apps = append(m.apps, m.mellonApp(p, upstreams))
	}
	if len(m.idps) == 0 || len(m.apps) == 0 {
		return nil, errors.New("has no MellonIdPMetadataFile, or no location with MellonEnable auth")
	}
	if len(m.names) == 0 || m.names[0].ours != "userName" {
		m.note("no MellonUser: it was the NameID that users were known by; name the attribute that userName is")
	}
	return m, nil
}

// holds reports whether other is below p.
func (p *mellonPlace) holds(other *mellonPlace) bool {
	prefix := strings.TrimSuffix(p.path, "/") + "/"
	return (p.host == "" || p.host == other.host) && strings.HasPrefix(strings.TrimSuffix(other.path, "/")+"/", prefix)
}

// mellonHeader carries over a header that is made of one of Mellon's variables.
func (m *imported) mellonHeader(at *mellonPlace, d directive) {
	if len(d.words) < 3 || !strings.EqualFold(d.words[0], "set") {
		return
	}
	found := mellonVariable.FindStringSubmatch(d.words[2])
	if found == nil {
		return
	}
	variable := found[1]
	switch variable {
	case "NAME_ID", "IDP", "REMOTE_USER":
		at.headers = append(at.headers, mapping{d.words[1], "userName"})
		if variable != "REMOTE_USER" {
			m.note("line %d: the header %s had MELLON_%s; here it has the userName", d.line, d.words[1], variable)
		}
	default:
		ours := variable
		if !slices.ContainsFunc(m.names, func(n mapping) bool { return n.ours == variable }) {
			ours = m.attribute(plainAttribute(variable), variable)
		}
		at.headers = append(at.headers, mapping{d.words[1], ours})
	}
}

// mellonDirective carries over a directive of Mellon.
func (m *imported) mellonDirective(at *mellonPlace, d directive, secure bool, host string) {
	if !strings.HasPrefix(d.name, "mellon") || len(d.words) == 0 {
		return
	}
	value := d.words[0]
	switch d.name {
	case "mellonenable":
		at.enabled = strings.EqualFold(value, "auth")
		if strings.EqualFold(value, "info") {
			m.note("line %d: MellonEnable info for %s: nobody has to sign in there; write its paths under public of an app", d.line, at.path)
		}
		if strings.EqualFold(value, "off") {
			m.note("line %d: MellonEnable off for %s: write it under public of the app around it", d.line, at.path)
		}
		if m.base == "" && host != "" && secure {
			m.base = "https://" + host
		}
	case "mellonspprivatekeyfile":
		m.key = value
	case "mellonspcertfile":
		m.cert = value
	case "mellonspentityid":
		m.entityID = value
	case "mellonspmetadatafile":
		m.note("line %d: MellonSPMetadataFile %s: jitgate makes its own metadata; send that to the identity provider, whose responses go to another address now", d.line, value)
	case "mellonidpmetadatafile":
		m.idps = append(m.idps, importedIdP{file: value})
		if len(d.words) > 1 {
			m.idps[len(m.idps)-1].signer = d.words[1]
		}
	case "mellonidpmetadataglob":
		m.note("line %d: MellonIdPMetadataGlob %s: write an entry of identity_providers for each file", d.line, value)
	case "mellonuser":
		m.userName(value)
	case "mellonsetenv", "mellonsetenvnoprefix":
		if len(d.words) > 1 {
			m.attribute(value, d.words[1])
		}
	case "mellonsessionlength":
		m.lifetime = value + "s"
	case "mellonsessionidletimeout":
		m.idle = value + "s"
	case "mellonrequire":
		if len(d.words) > 1 {
			m.mellonGroup(at, value, d.words[1:])
		}
	case "melloncond":
		m.mellonCond(at, d)
	default:
		m.note("line %d: %s %s", d.line, d.name, strings.Join(d.words, " "))
	}
}

// mellonCond carries over a condition without flags but MAP, which is one of Mellon's own
// names.
func (m *imported) mellonCond(at *mellonPlace, d directive) {
	if len(d.words) < 2 || len(d.words) > 2 && !strings.EqualFold(d.words[2], "[MAP]") {
		m.note("line %d: MellonCond %s: write it as a rule of a group", d.line, strings.Join(d.words, " "))
		at.unclear = true
		return
	}
	m.mellonGroup(at, d.words[0], d.words[1:2])
}

// mellonGroup has those who have one of the values use a place.
func (m *imported) mellonGroup(at *mellonPlace, attribute string, values []string) {
	ours := attribute
	i := slices.IndexFunc(m.names, func(n mapping) bool { return n.theirs == attribute || n.ours == attribute })
	if i >= 0 {
		ours = m.names[i].ours
	} else {
		ours = m.attribute(plainAttribute(attribute), attribute)
	}
	if len(at.groups) > 0 {
		at.unclear = true
		m.note("%s%s: Mellon wants all of several conditions, and allow wants one of its groups; write one group with a rule of all", at.host, at.path)
	}
	name := plainWord(at.host+at.path, "main") + "-" + plainWord(ours, "attribute")
	m.groups = append(m.groups, importedGroup{name, ours, values})
	at.groups = append(at.groups, name)
}

// plainAttribute makes a name for an attribute of what it is called in assertions.
func plainAttribute(theirs string) string {
	if i := strings.LastIndexAny(theirs, ":/"); i >= 0 && i < len(theirs)-1 {
		return "attribute-" + plainWord(theirs[i+1:], "x")
	}
	return theirs
}

func (m *imported) mellonApp(p *mellonPlace, upstreams map[string]string) importedApp {
	a := importedApp{name: plainWord(p.host+p.path, "app"), host: p.host, path: strings.TrimSuffix(p.path, "/"), groups: p.groups, unclear: p.unclear, headers: p.headers, preset: "mellon"}
	from, to := path.Clean(p.path), ""
	for {
		if to = cmp.Or(upstreams[p.host+" "+from], upstreams[" "+from]); to != "" || from == "/" || from == "." {
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
