package main

import (
	"errors"
	"net/url"
	"strings"
)

// importProxy reads the environment of saml-auth-proxy, NAME=value in lines, or its
// options, --name=value or --name value.
func importProxy(data []byte) (*imported, error) {
	m := new(imported)
	app := importedApp{name: "app"}
	attribute, values := "", ""
	for _, o := range proxyOptions(string(data)) {
		switch o.ours {
		case "base-url":
			m.base = strings.TrimSuffix(o.theirs, "/")
			if u, err := url.Parse(o.theirs); err == nil && u.Host != "" {
				m.base = u.Scheme + "://" + u.Host
			}
		case "backend-url":
			u, err := url.Parse(o.theirs)
			if err != nil || u.Host == "" {
				m.note("%s %s is no address; write the app's upstream", o.ours, o.theirs)
				continue
			}
			app.upstream = u.Scheme + "://" + u.Host
			if strings.Trim(u.Path, "/") != "" {
				m.note("%s %s has a path; jitgate forwards paths as they come in", o.ours, o.theirs)
			}
		case "bind":
			m.listen = o.theirs
		case "idp-metadata-path", "idp-metadata-url":
			p := importedIdP{file: o.theirs}
			if strings.Contains(o.theirs, "://") {
				p = importedIdP{url: o.theirs}
			}
			m.idps = append(m.idps, p)
		case "entity-id":
			m.entityID = o.theirs
		case "sp-key-path":
			m.key = o.theirs
		case "sp-cert-path":
			m.cert = o.theirs
		case "cookie-max-age":
			m.lifetime = o.theirs
		case "attribute-header-mappings":
			for pair := range strings.SplitSeq(o.theirs, ",") {
				if name, header, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
					app.headers = append(app.headers, mapping{header, m.attribute(plainAttribute(name), name)})
				}
			}
		case "name-id-mapping", "name-id-header-mapping":
			app.headers = append(app.headers, mapping{o.theirs, "userName"})
			m.note("the header %s had the NameID; here it has the userName", o.theirs)
		case "authorize-attribute":
			attribute = o.theirs
		case "authorize-values":
			values = o.theirs
		default:
			m.note("%s=%s", o.ours, o.theirs)
		}
	}
	if attribute != "" {
		ours := m.attribute(plainAttribute(attribute), attribute)
		m.groups = []importedGroup{{"authorized", ours, strings.Split(values, ",")}}
		app.groups = []string{"authorized"}
	}
	if len(m.idps) == 0 {
		return nil, errors.New("names no metadata of an identity provider (SAML_PROXY_IDP_METADATA_PATH)")
	}
	m.apps = []importedApp{app}
	m.note("it was the NameID that users were known by; name the attribute that userName is")
	return m, nil
}

// proxyOptions returns the options in a text, by their names on the command line.
func proxyOptions(text string) []mapping {
	var all []mapping
	waiting := ""
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if line == "" || line[0] == '#' {
			continue
		}
		if env, ok := strings.CutPrefix(line, "SAML_PROXY_"); ok {
			name, value, _ := strings.Cut(env, "=")
			all = append(all, mapping{strings.ReplaceAll(strings.ToLower(name), "_", "-"), strings.Trim(value, `"'`)})
			continue
		}
		for _, word := range apacheWords(strings.TrimSuffix(line, "\\")) {
			option, isOption := strings.CutPrefix(word, "--")
			name, value, hasValue := strings.Cut(option, "=")
			switch {
			case isOption && hasValue:
				all = append(all, mapping{name, strings.Trim(value, `"'`)})
			case isOption:
				waiting = name
			case waiting != "":
				all = append(all, mapping{waiting, word})
				waiting = ""
			}
		}
	}
	return all
}
