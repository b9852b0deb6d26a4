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
		if u, err := url.Parse(n.attr("homeURL")); err == nil && u.Host != "" {
			m.base = u.Scheme + "://" + u.Host
		}
	}, "ApplicationDefaults")
	if u, err := url.Parse(m.entityID); m.base == "" && err == nil && u.Scheme == "https" {
		m.base = u.Scheme + "://" + u.Host
	}
	root.all(func(n *node) {
		if s := n.attr("lifetime"); s != "" {
			m.lifetime = s + "s"
		}
		if s := n.attr("timeout"); s != "" {
			m.idle = s + "s"
		}
	}, "Sessions")
	root.all(func(n *node) {
		if s := n.attr("discoveryURL"); s != "" {
			m.note("the discovery service %s: write it as discovery: {service: …}", s)
		}
	}, "SSO")
	root.all(func(n *node) {
		m.key, m.cert = cmp.Or(m.key, n.attr("key")), cmp.Or(m.cert, n.attr("certificate"))
	}, "CredentialResolver")
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
	if len(m.idps) == 0 {
		return nil, errors.New("names no metadata of an identity provider")
	}
	return m, nil
}

// shibbolethMetadata carries over the sources of metadata.
func (m *imported) shibbolethMetadata(root *node) {
	var only string
	root.all(func(n *node) { only = cmp.Or(only, n.attr("entityID")) }, "SSO")
	root.all(func(n *node) {
		p := importedIdP{file: cmp.Or(n.attr("path"), n.attr("file")), url: cmp.Or(n.attr("url"), n.attr("uri")), entityID: only}
		if p.file == "" && p.url == "" {
			return // one that holds others
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

// shibbolethApps makes an app of each host, or path, that asks for a session.
func (m *imported) shibbolethApps(root *node) {
	root.all(func(host *node) {
		name := host.attr("name")
		if name == "" {
			return
		}
		if host.attr("requireSession") == "true" {
			m.apps = append(m.apps, m.shibbolethApp(host, name, ""))
		}
		host.all(func(path *node) {
			if path.attr("requireSession") == "true" {
				m.apps = append(m.apps, m.shibbolethApp(path, name, "/"+strings.Trim(path.attr("name"), "/")))
			}
		}, "Path")
	}, "Host")
	root.all(func(n *node) {
		m.note("<%s regex=%q>: paths are not matched by expressions", n.XMLName.Local, n.attr("regex"))
	}, "PathRegex", "HostRegex")
	if len(m.apps) == 0 {
		m.note("no <Host> or <Path> has requireSession: write the app's host and path; Apache's own rules (Require …) are not read")
		m.apps = []importedApp{{name: "app", preset: "shibboleth"}}
	}
	m.note("no application's address is in shibboleth2.xml: write each app's upstream")
}

func (m *imported) shibbolethApp(n *node, host, path string) importedApp {
	a := importedApp{name: plainWord(host+path, "app"), host: host, path: path, preset: "shibboleth"}
	for i := range n.Children {
		control := &n.Children[i]
		if control.XMLName.Local != "AccessControl" {
			continue
		}
		control.all(func(not *node) {
			a.unclear = true
			m.note("%s%s: <%s> in <AccessControl>: write it as a rule of a group", host, path, not.XMLName.Local)
		}, "AND", "NOT", "RuleRegex", "AccessControlProvider")
		control.all(func(rule *node) {
			require := rule.attr("require")
			values := strings.Fields(rule.Text)
			switch {
			case require == "valid-user" || require == "shibboleth":
			case a.unclear:
			case require == "user":
				require = "userName"
				fallthrough
			default:
				if rule.attr("list") == "false" {
					values = []string{strings.TrimSpace(rule.Text)}
				}
				name := a.name + "-" + plainWord(require, "rule")
				if require != "userName" && !slices.ContainsFunc(m.names, func(n mapping) bool { return n.ours == require }) {
					a.unclear = true
					m.note("%s%s: <Rule require=%q>: no attribute of the map has that name", host, path, require)
					return
				}
				m.groups = append(m.groups, importedGroup{name, require, values})
				a.groups = append(a.groups, name)
			}
		}, "Rule")
	}
	return a
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
