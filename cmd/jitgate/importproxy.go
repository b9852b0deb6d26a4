package main

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A proxyReader reads the options of saml-auth-proxy, which has one app.
type proxyReader struct {
	*imported
	app        importedApp
	by, values string // that authorize
}

// importProxy reads the environment of saml-auth-proxy, NAME=value in lines, or its
// options, --name=value or --name value.
func importProxy(data []byte) (*imported, error) {
	p := &proxyReader{imported: new(imported), app: importedApp{name: "app"}}
	p.listen, p.lifetime, p.key, p.cert = ":8080", "2h", "saml-auth-proxy.key", "saml-auth-proxy.cert" // where it says nothing
	options := proxyOptions(string(data))
	texts := map[string]*string{
		"bind": &p.listen, "entity-id": &p.entityID, "sp-key-path": &p.key, "sp-cert-path": &p.cert,
		"cookie-max-age": &p.lifetime, "authorize-attribute": &p.by, "authorize-values": &p.values,
	}
	for _, o := range options {
		if text, ok := texts[o.ours]; ok {
			*text = o.theirs
		} else {
			p.option(o.ours, o.theirs)
		}
	}
	p.authorize(string(data))
	for _, name := range twice(options) {
		p.app.unclear = true
		p.note("%s has several values; write an app for each proxy, and who may use it", name)
	}
	if len(p.idps) == 0 {
		return nil, errors.New("names no metadata of an identity provider (SAML_PROXY_IDP_METADATA_URL)")
	}
	p.apps = []importedApp{p.app}
	p.note("it was the NameID that users were known by; name the attribute that userName is")
	return p.imported, nil
}

// option carries over an option that is not the same text here.
func (p *proxyReader) option(name, value string) {
	switch name {
	case "base-url":
		p.base = strings.TrimSuffix(value, "/")
		if u, err := url.Parse(value); err == nil && u.Host != "" {
			p.base = u.Scheme + "://" + u.Host
		}
	case "backend-url":
		u, err := url.Parse(value)
		if err != nil || u.Host == "" {
			p.note("%s %s is no address; write the app's upstream", name, value)
			return
		}
		p.app.upstream = u.Scheme + "://" + u.Host
		if strings.Trim(u.Path, "/") != "" {
			p.note("%s %s has a path; jitgate forwards paths as they come in", name, value)
		}
	case "idp-metadata-url":
		from := importedIdP{url: value}
		if file, ok := strings.CutPrefix(value, "file://"); ok {
			from = importedIdP{file: file}
		}
		p.idps = append(p.idps, from)
	case "attribute-header-mappings":
		for pair := range strings.SplitSeq(value, ",") {
			if theirs, header, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
				p.app.headers = append(p.app.headers, mapping{header, p.attribute(plainAttribute(theirs), theirs)})
			}
		}
	case "name-id-mapping":
		p.app.headers = append(p.app.headers, mapping{value, "userName"})
		p.note("the header %s had the NameID; here it has the userName", value)
	default:
		p.note("%s=%s", name, value)
	}
}

// authorize has those use the app who have one of the values. Where the text says
// something of that which was not found, it is not clear who may.
func (p *proxyReader) authorize(text string) {
	switch {
	case p.by != "" && p.values != "":
		ours := p.attribute(plainAttribute(p.by), p.by)
		p.groups = []importedGroup{{"authorized", ours, strings.Split(p.values, ",")}}
		p.app.groups = []string{"authorized"}
		p.app.unclear = slices.Contains(p.conflicts, ours)
	case strings.Contains(strings.ToLower(text), "authorize"):
		p.app.unclear = true
		p.note("authorize-attribute and authorize-values were not found both, and there is something of them: write who may use the app")
	}
}

// proxyVariable matches the name of one of its variables, and what is between that and
// its value: in quotes it may be alone, or with the value.
var proxyVariable = regexp.MustCompile(`(?i)(["']?)\bSAML_PROXY_([A-Z0-9_]+)(["']?)\s*([=:])\s*`)

// proxyOption matches the name of one of its options behind a -, of which one is enough.
var proxyOption = regexp.MustCompile(`^-(allow|attribute|auth|authorize|backend|base|cookie|entity|idp|initiate|name-id|new-auth|sp|static)-[a-z-]+(=|$)|^-(bind|debug)(=|$)`)

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
		if len(found) > 0 && !strings.Contains(line, "-") {
			continue
		}
		for _, word := range apacheWords(strings.TrimSuffix(line, "\\")) {
			if proxyVariable.MatchString(word) {
				waiting = "" // for one that is read already
				continue
			}
			if proxyOption.MatchString(word) {
				word = "-" + word
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
