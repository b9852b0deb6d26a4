package main

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A node is an element of XML, by its local name, with what is in it.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []node     `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (n *node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all calls f with n and everything in it that has one of the names.
func (n *node) all(f func(*node), names ...string) {
	for _, name := range names {
		if n.XMLName.Local == name {
			f(n)
		}
	}
	for i := range n.Children {
		n.Children[i].all(f, names...)
	}
}

// importShibboleth reads shibboleth2.xml and its attribute map, with paths below folder.
func importShibboleth(data []byte, folder, attributeMap string) (*imported, error) {
	var root node
	if err := xml.Unmarshal(data, &root); err != nil {
		return nil, err
	}
	m := new(imported)
	if root.XMLName.Local != "SPConfig" {
		return nil, fmt.Errorf("is <%s> and not <SPConfig>", root.XMLName.Local)
	}
	remoteUser := ""
	root.all(func(n *node) {
		m.entityID = cmp.Or(m.entityID, n.attr("entityID"))
		remoteUser = cmp.Or(remoteUser, n.attr("REMOTE_USER"))
		if prefix := n.attr("attributePrefix"); prefix != "" {
			m.note("attributePrefix %s: the headers of attributes began with it; write those that the app wants", prefix)
		}
		if u, err := url.Parse(n.attr("homeURL")); err == nil && u.Host != "" {
			m.base = u.Scheme + "://" + u.Host
		}
	}, "ApplicationDefaults")
	if u, err := url.Parse(m.entityID); m.base == "" && err == nil && u.Scheme == "https" {
		m.base = u.Scheme + "://" + u.Host
	}
	handler := m.shibbolethSessions(&root)
	root.all(func(n *node) {
		if s := n.attr("discoveryURL"); s != "" {
			m.note("the discovery service %s: write it as discovery: {service: …}", s)
		}
		if class := n.attr("authnContextClassRef"); class != "" {
			m.note("authnContextClassRef %s was not carried over: how users sign in is not looked at", class)
		}
	}, "SSO")
	m.shibbolethKeys(&root)
	m.shibbolethMetadata(&root)
	root.all(func(n *node) { attributeMap = cmp.Or(attributeMap, filepath.Join(folder, n.attr("path"))) }, "AttributeExtractor")
	root.all(func(n *node) {
		m.note("<ApplicationOverride id=%q>: each application has an entry of its own in apps", n.attr("id"))
	}, "ApplicationOverride")
	root.all(func(n *node) {
		m.note("<AttributeFilter path=%q>: values are not filtered but for groups, by their allow", n.attr("path"))
	}, "AttributeFilter")
	if err := m.shibbolethAttributes(cmp.Or(attributeMap, filepath.Join(folder, "attribute-map.xml"))); err != nil {
		return nil, err
	}
	m.shibbolethUser(remoteUser)
	m.shibbolethApps(&root)
	for i := range m.apps {
		m.links(&m.apps[i], handler)
	}
	if len(m.idps) == 0 {
		return nil, errors.New("names no metadata of an identity provider")
	}
	return m, nil
}

// shibbolethSessions carries over how long sessions are, and returns what links for signing
// in and out begin with.
func (m *imported) shibbolethSessions(root *node) (handler string) {
	root.all(func(n *node) {
		for i := range n.Children { // not those of an <ApplicationOverride> in it
			if sessions := &n.Children[i]; sessions.XMLName.Local == "Sessions" {
				handler = sessions.attr("handlerURL")
				if s := sessions.attr("lifetime"); s != "" {
					m.lifetime = s + "s"
				}
				if s := sessions.attr("timeout"); s != "" {
					m.idleSeconds(s)
				}
			}
		}
	}, "ApplicationDefaults")
	return handler
}

// shibbolethKeys carries over the key that signs.
func (m *imported) shibbolethKeys(root *node) {
	root.all(func(n *node) {
		switch key := n.attr("key"); {
		case key == "": // one that holds others, or the certificate of somebody else
		case m.key == "":
			m.key, m.cert = key, n.attr("certificate")
		default:
			m.note("the key %s: one signs and decrypts; where this one decrypted, put it under saml.rollover", key)
		}
	}, "CredentialResolver")
}

// shibbolethMetadata carries over the sources of metadata.
func (m *imported) shibbolethMetadata(root *node) {
	var only string
	root.all(func(n *node) { only = cmp.Or(only, n.attr("entityID")) }, "SSO")
	root.all(func(n *node) {
		p := importedIdP{file: cmp.Or(n.attr("path"), n.attr("file")), url: cmp.Or(n.attr("url"), n.attr("uri")), entityID: only}
		if from := n.attr("baseUrl"); from != "" && only != "" { // metadata are asked for one by one
			p.url = strings.TrimSuffix(from, "/") + "/entities/" + url.QueryEscape(only)
		}
		if p.file == "" && p.url == "" {
			if from := cmp.Or(n.attr("baseUrl"), n.attr("sourceDirectory")); from != "" {
				m.note("the metadata from %s: write an entry of identity_providers for each", from)
			}
			return // or one that holds others
		}
		n.all(func(f *node) {
			if f.attr("type") == "Signature" {
				p.signer = f.attr("certificate")
			}
		}, "MetadataFilter")
		if p.url != "" && n.attr("backingFilePath") != "" {
			m.note("the backup %s of %s: what was good last is kept in memory alone", n.attr("backingFilePath"), p.url)
		}
		if only == "" {
			m.note("%s may be of many identity providers: write an entry of identity_providers for each, with its entity_id", cmp.Or(p.url, p.file))
		}
		m.idps = append(m.idps, p)
	}, "MetadataProvider")
}

// A shibbolethPlace is what holds for a <Host>, or a <Path> in it.
type shibbolethPlace struct {
	host, path string
	session    bool     // one has to sign in
	control    bool     // there is an <AccessControl>
	groups     []string // one of which that wants
	odd        bool     // that is not understood
	unclear    bool     // who may use it, whatever that says
}

// shibbolethApps makes an app of each host, or path, that asks for a session or has rules
// of its own. What is not said of a place is what is said of the one around it.
func (m *imported) shibbolethApps(root *node) {
	var maps []*node
	root.all(func(n *node) { maps = append(maps, n) }, "RequestMap")
	for _, n := range maps {
		m.shibbolethMap(n)
	}
	if len(m.apps) == 0 {
		m.note("no <Host> or <Path> has requireSession: write the app's host and path")
		m.apps = []importedApp{{name: "app", preset: "shibboleth", unclear: true}}
	}
	m.note("no application's address is in shibboleth2.xml: write each app's upstream")
	m.note("Apache's own rules (Require …, ShibRequestSetting) are not read: where there are some, write them as rules of groups")
	doubt := func(format string, args ...any) {
		m.note(format+": write who may use each app", args...)
		for i := range m.apps {
			m.apps[i].unclear = true
		}
	}
	if len(maps) > 1 {
		doubt("there are %d of <RequestMap>", len(maps))
	}
	root.all(func(n *node) { doubt("<HostRegex regex=%q>: hosts are not matched by expressions", n.attr("regex")) }, "HostRegex")
	root.all(func(override *node) {
		override.all(func(n *node) {
			doubt("<%s> of the application %s: here identity providers are for every app", n.XMLName.Local, override.attr("id"))
		}, "MetadataProvider", "SSO", "SessionInitiator")
	}, "ApplicationOverride")
}

// shibbolethMap reads the hosts of a <RequestMap>.
func (m *imported) shibbolethMap(n *node) {
	around := m.shibbolethPlace(n, shibbolethPlace{}, "Host", "HostRegex")
	for i := range n.Children {
		if host := &n.Children[i]; host.XMLName.Local == "Host" && host.attr("name") != "" {
			place := around
			place.host = host.attr("name")
			host.all(func(*node) {
				place.unclear = true
				m.note("%s: <PathRegex>: paths are not matched by expressions; who may use any of it is not clear", place.host)
			}, "PathRegex")
			m.shibbolethPaths(host, place)
		}
	}
}

// shibbolethPaths makes an app of a host or path, and of the paths in it. Of two paths
// that begin alike Shibboleth knows the first alone.
func (m *imported) shibbolethPaths(n *node, around shibbolethPlace) {
	place := m.shibbolethPlace(n, around, "Path", "PathRegex")
	if place.session || place.control || place.unclear {
		m.apps = append(m.apps, place.app())
	}
	var seen []string
	for i := range n.Children {
		path := &n.Children[i]
		name := strings.Trim(path.attr("name"), "/")
		if path.XMLName.Local != "Path" || name == "" {
			continue
		}
		inner := place
		inner.path += "/" + name
		first, _, _ := strings.Cut(strings.ToLower(name), "/")
		if slices.Contains(seen, first) {
			inner.unclear = true
			m.note("%s%s: another <Path> beside it begins with %s, and Shibboleth may not know this one", inner.host, inner.path, first)
		}
		seen = append(seen, first)
		m.shibbolethPaths(path, inner)
	}
}

// shibbolethPlace returns what holds for a place, with other places inside of it, where
// around holds for the one around it.
func (m *imported) shibbolethPlace(n *node, around shibbolethPlace, inside ...string) shibbolethPlace {
	place := around
	doubt := func(format string, args ...any) {
		place.unclear = true
		m.note("%s%s: "+format+": write who may use it", append([]any{place.host, place.path}, args...)...)
	}
	switch need := n.attr("requireSession"); need {
	case "":
	case "true", "1":
		place.session = true
	case "false", "0":
		place.session = false
	default:
		doubt("requireSession=%q", need)
	}
	place.session = place.session || n.attr("requireSessionWith") != ""
	if id := n.attr("applicationId"); id != "" && id != "default" {
		doubt("applicationId=%q is another application", id)
	}
	if class := n.attr("authnContextClassRef"); class != "" {
		m.note("%s%s: authnContextClassRef %s was not carried over: how users sign in is not looked at", place.host, place.path, class)
	}
	for i := range n.Children {
		switch c := &n.Children[i]; {
		case c.XMLName.Local == "AccessControl":
			m.shibbolethControl(c, &place)
		case !slices.Contains(inside, c.XMLName.Local):
			doubt("<%s>", c.XMLName.Local)
		}
	}
	return place
}

// app returns the app that a place becomes. Without <AccessControl> it is Apache that
// knows who may use it.
func (p shibbolethPlace) app() importedApp {
	return importedApp{name: plainWord(p.host+p.path, "app"), host: p.host, path: p.path, preset: "shibboleth", groups: p.groups, unclear: p.unclear || p.odd || !p.control}
}

// shibbolethControl has those use a place who fulfil its rule, and not that of the place
// around it.
func (m *imported) shibbolethControl(n *node, place *shibbolethPlace) {
	place.control, place.groups, place.odd = true, nil, false
	if len(n.Children) != 1 || len(n.Attrs) > 0 {
		place.odd = true
		m.note("%s%s: <AccessControl> is not of one rule: write who may use it", place.host, place.path)
		return
	}
	m.shibbolethRule(&n.Children[0], place)
}

func (m *imported) shibbolethRule(n *node, place *shibbolethPlace) {
	require, values := n.attr("require"), strings.Fields(n.Text)
	if n.attr("list") == "false" || n.attr("list") == "0" {
		values = []string{n.Text}
	}
	ours := require
	if require == "user" {
		ours = "userName"
	}
	known := slices.ContainsFunc(m.names, func(n mapping) bool { return n.ours == ours })
	switch {
	case n.XMLName.Local == "OR" && len(n.Children) > 0:
		for i := range n.Children {
			m.shibbolethRule(&n.Children[i], place)
		}
	case n.XMLName.Local != "Rule":
		place.odd = true
		m.note("%s%s: <%s> in <AccessControl>: write it as a rule of a group", place.host, place.path, n.XMLName.Local)
	case require == "valid-user":
	case !known || require == "userName":
		place.odd = true
		m.note("%s%s: <Rule require=%q>: no attribute of the map has that name", place.host, place.path, require)
	case len(values) == 0:
		place.odd = true
		m.note("%s%s: <Rule require=%q>: any value will do; write it as a rule of a group", place.host, place.path, require)
	default:
		place.groups = append(place.groups, m.shibbolethGroup(place, ours, values))
	}
}

// shibbolethGroup makes a group of those who have one of the values, and returns its name.
func (m *imported) shibbolethGroup(place *shibbolethPlace, ours string, values []string) string {
	plain := plainWord(place.host+place.path, "app") + "-" + plainWord(ours, "rule")
	name := plain
	for n := 2; slices.ContainsFunc(m.groups, func(g importedGroup) bool { return g.name == name }); n++ {
		name = plain + "-" + strconv.Itoa(n)
	}
	m.groups = append(m.groups, importedGroup{name, ours, values})
	return name
}

// shibbolethAttributes reads an attribute map.
func (m *imported) shibbolethAttributes(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the attribute map: %w", err)
	}
	var root node
	if err := xml.Unmarshal(data, &root); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	root.all(func(n *node) {
		name, id := n.attr("name"), n.attr("id")
		switch {
		case name == "" || id == "":
		case strings.Contains(name, "nameid-format"):
			m.note("%s is the NameID %s: attributes alone are read; have the identity provider send one", id, name)
		case strings.HasPrefix(name, "urn:mace:dir:") || strings.HasPrefix(name, "urn:mace:shibboleth"):
			// what SAML 1 called it
		default:
			m.attribute(id, name)
			n.all(func(d *node) {
				if t := d.attr("type"); t != "" && !strings.HasPrefix(t, "String") {
					m.note("%s was decoded by %s; here it is as it is sent", id, t)
				}
				if insensitive := d.attr("caseSensitive"); insensitive == "false" || insensitive == "0" {
					m.note("%s was compared without regard to case, which matters in rules of groups", id)
				}
			}, "AttributeDecoder")
		}
	}, "Attribute")
	return nil
}

// shibbolethUser makes the userName of the first of the attributes that REMOTE_USER was.
func (m *imported) shibbolethUser(remoteUser string) {
	for _, id := range strings.Fields(remoteUser) {
		for _, n := range m.names {
			if n.ours == id {
				m.userName(n.theirs)
				m.note("REMOTE_USER was the first of %q; userName is %s", remoteUser, id)
				return
			}
		}
	}
	m.note("REMOTE_USER was %q; name the attribute that userName is", remoteUser)
}
