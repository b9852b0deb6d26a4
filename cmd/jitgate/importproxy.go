package main

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// importProxy reads the environment of saml-auth-proxy, NAME=value in lines, or its
// options, --name=value or --name value.
func importProxy(data []byte) (*imported, error) {
	m := new(imported)
	app := importedApp{name: "app"}
	attribute, values := "", ""
	options := proxyOptions(string(data))
	for _, o := range options {
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
	switch {
	case attribute != "" && values != "":
		ours := m.attribute(plainAttribute(attribute), attribute)
		m.groups = []importedGroup{{"authorized", ours, strings.Split(values, ",")}}
		app.groups = []string{"authorized"}
		app.unclear = slices.Contains(m.conflicts, ours)
	case strings.Contains(strings.ToLower(string(data)), "authorize"):
		app.unclear = true
		m.note("authorize-attribute and authorize-values were not found both, and there is something of them: write who may use the app")
	}
	for _, name := range twice(options) {
		app.unclear = true
		m.note("%s has several values; write an app for each proxy, and who may use it", name)
	}
	if len(m.idps) == 0 {
		return nil, errors.New("names no metadata of an identity provider (SAML_PROXY_IDP_METADATA_PATH)")
	}
	m.apps = []importedApp{app}
	m.note("it was the NameID that users were known by; name the attribute that userName is")
	return m, nil
}

// proxyVariable matches the name of one of its variables, and what is between that and
// its value: in quotes it may be alone, or with the value.
var proxyVariable = regexp.MustCompile(`(?i)(["']?)\bSAML_PROXY_([A-Z0-9_]+)(["']?)\s*([=:])\s*`)

// proxyOptions returns the options in a text, by their names on the command line.
func proxyOptions(text string) []mapping {
	var all []mapping
	waiting := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		found := proxyVariables(line)
		all = append(all, found...)
		if len(found) > 0 && !strings.Contains(line, "--") {
			continue
		}
		for _, word := range apacheWords(strings.TrimSuffix(line, "\\")) {
			if proxyVariable.MatchString(word) {
				waiting = "" // for one that is read already
				continue
			}
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

// proxyVariables returns the variables in a line, as options: of a file for --env-file or
// a shell, a list or map of Docker Compose, or a command.
func proxyVariables(line string) []mapping {
	var all []mapping
	found := proxyVariable.FindAllStringSubmatchIndex(line, -1)
	for i, at := range found {
		end := len(line)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		part := func(n int) string { return line[at[2*n]:at[2*n+1]] }
		value := strings.TrimSpace(strings.TrimSuffix(line[at[1]:end], "\\"))
		quote := ""
		if part(3) == "" {
			quote = part(1) // the value is in it too
		}
		if quote == "" && value != "" && (value[0] == '"' || value[0] == '\'') {
			quote, value = value[:1], value[1:]
		}
		before := strings.TrimSpace(line[:at[0]])
		switch {
		case quote != "":
			value, _, _ = strings.Cut(value, quote)
		case part(4) == ":":
			value, _, _ = strings.Cut(value, " #")
		case len(found) > 1 || before != "" && before != "-" && before != "export":
			value, _, _ = strings.Cut(value, " ")
		}
		all = append(all, mapping{strings.ReplaceAll(strings.ToLower(part(2)), "_", "-"), strings.TrimSpace(value)})
	}
	return all
}

// twice returns the options that are there with several values.
func twice(options []mapping) []string {
	var names []string
	values := make(map[string]string)
	for _, o := range options {
		if before, ok := values[o.ours]; ok && before != o.theirs && !slices.Contains(names, o.ours) {
			names = append(names, o.ours)
		}
		values[o.ours] = o.theirs
	}
	return names
}
