package config

import (
	"maps"
	"slices"
	"strings"
)

// Headers are the request headers that tell an app who the visitor is: a
// preset, lines of "Name: attribute", or both.
type Headers struct {
	// Preset is a set of headers, as other programs send them. forwarded:
	// X-Forwarded-User, -Email and -Groups, X-Jitgate-Directory, -Domain and
	// -Entitlements. remote-user: Remote-User, -Email, -Name and -Groups. grafana:
	// X-WEBAUTH-USER, -EMAIL, -NAME and -GROUPS. shibboleth: each attribute under its own
	// name, with isMemberOf, entitlement, Remote-User and Shib-Identity-Provider, as with
	// ShibUseHeaders: empty where there is no value. mellon: each attribute as
	// Mellon-NAME, and its values as Mellon-NAME-0 and so on, with Mellon-NAME-ID and
	// Mellon-IDP. A name is the attribute displayName. Default: forwarded where no other
	// header is named, else none.
	Preset string `yaml:"preset" oneof:"forwarded remote-user grafana shibboleth mellon"`

	// Encode has each value percent-encoded as in a URL (RFC 3986, section 2.1), for
	// apps that decode them and for names that are not ASCII. Default: values are sent
	// as they are, in UTF-8.
	Encode string `yaml:"encode" oneof:"percent"`

	// Set are further headers: the name of one, and the attribute whose value it
	// carries. Besides the attributes of users, these are values: id, directory,
	// groups and entitlements. Several values are joined with commas, with a semicolon
	// under shibboleth. Default: none.
	Set map[string]string `yaml:",inline"`

	// Lines are those of the preset and Set, made by Load. Besides what Set has, the
	// attribute can be one of those below.
	Lines map[string]string `yaml:"-"`
}

// What the lines of presets carry besides attributes.
const (
	FromIdP     = "@idp"     // the entity ID of the identity provider
	FromNameID  = "@name_id" // the NameID that it calls the user
	FromSession = "@session" // an ID of the session
	FromInstant = "@instant" // when the user proved who they are
	FromContext = "@context" // how they did
	FromIndex   = "@index"   // what the identity provider calls the session
	FromEnd     = "@end"     // when the session ends at the latest
	FromHandler = "@handler" // the URL of the app's endpoint
)

// presets are the lines of those that are always the same.
var presets = map[string]map[string]string{
	"forwarded": {
		"X-Forwarded-User": "userName", "X-Forwarded-Email": "email", "X-Forwarded-Groups": "groups",
		"X-Jitgate-Directory": "directory", "X-Jitgate-Domain": "domain", "X-Jitgate-Entitlements": "entitlements",
	},
	"remote-user": {"Remote-User": "userName", "Remote-Email": "email", "Remote-Name": "displayName", "Remote-Groups": "groups"},
	"grafana":     {"X-WEBAUTH-USER": "userName", "X-WEBAUTH-EMAIL": "email", "X-WEBAUTH-NAME": "displayName", "X-WEBAUTH-GROUPS": "groups"},
	"shibboleth": {
		"Remote-User": "userName", "isMemberOf": "groups", "entitlement": "entitlements",
		"Shib-Identity-Provider": FromIdP, "Shib-Session-ID": FromSession, "Shib-Session-Index": FromIndex, "Shib-Authentication-Instant": FromInstant,
		"Shib-Authentication-Method": FromContext, "Shib-AuthnContext-Class": FromContext, "Shib-Session-Expires": FromEnd, "Shib-Handler": FromHandler,
	},
	"mellon": {"Mellon-NAME-ID": FromNameID, "Mellon-IDP": FromIdP},
}

// linesInstead is what to do about a preset that does not fit.
const linesInstead = `write the headers that the app wants as lines of "Name: attribute" instead`

// linesOf returns the lines of a preset, with those for each attribute.
func (r *report) linesOf(key, preset string, attributes []Attribute) map[string]string {
	lines := maps.Clone(presets[preset])
	prefix, perAttribute := map[string]string{"shibboleth": "", "mellon": "Mellon-"}[preset]
	if lines == nil || !perAttribute {
		return lines
	}
	inPreset := make(map[string]string)
	for name := range lines {
		inPreset[squash(name)] = name
	}
	ofAttribute := make(map[string]string)
	for _, a := range attributes {
		name := prefix + a.Name
		s := squash(name)
		if other, ok := ofAttribute[s]; ok {
			r.add(key, "has a header for each attribute, and those of %q and %q are the same to some applications; "+linesInstead, other, a.Name)
			continue
		}
		ofAttribute[s] = a.Name
		if !headerName.MatchString(name) || hasMeaning(name) {
			r.add(key, "has a header for each attribute, and %q cannot be one; "+linesInstead, name)
			continue
		}
		delete(lines, inPreset[s]) // the attribute is what was meant
		lines[name] = a.Name
	}
	return lines
}

func (r *report) checkHeaders(key string, h *Headers, attributes []Attribute, n names) {
	if !r.has(key+".preset") && len(h.Set) == 0 {
		h.Preset = "forwarded"
	}
	h.Lines = r.linesOf(key+".preset", h.Preset, attributes)
	if h.Lines == nil {
		h.Lines = make(map[string]string)
	}
	inPreset := make(map[string]bool)
	for name := range h.Lines {
		inPreset[squash(name)] = true
	}
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(h.Set)) {
		r.checkHeader(join(key, name), name, inPreset)
		if other, ok := seen[squash(name)]; ok {
			r.add(join(key, name), "%q and %q are the same header to some applications; remove one", name, other)
		}
		seen[squash(name)] = name
		switch value := h.Set[name]; value {
		case "id", "directory", "groups", "entitlements":
		default:
			r.known(join(key, name), "attribute", value, n.attributes)
		}
		h.Lines[name] = h.Set[name]
	}
	if h.Preset == "mellon" {
		r.checkNumbered(key, h)
	}
}

// checkNumbered checks that no header is one of those that mellon numbers: what an app
// takes for a value of one attribute would be another attribute's.
func (r *report) checkNumbered(key string, h *Headers) {
	numbered := make(map[string]string) // their beginning, and the header that they are of
	for name, attribute := range h.Lines {
		if strings.HasPrefix(strings.ToLower(name), "mellon-") && !strings.HasPrefix(attribute, "@") {
			numbered[variable(name)+"_"] = name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Lines)) {
		v := variable(name)
		beginning := strings.TrimRight(v, "0123456789")
		other, ok := numbered[beginning]
		if !ok || beginning == v {
			continue
		}
		at := key + ".preset"
		if _, ok := h.Set[name]; ok {
			at = join(key, name)
		}
		r.add(at, "%q is also the name of one of the values of %q, which mellon numbers; write the headers that the app wants as lines of \"Name: attribute\" without the preset", name, other)
	}
}

// variable returns what a header is called where it is a variable, as with CGI.
func variable(header string) string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(header))
}

// hasMeaning reports whether a header means something in HTTP, or to the gateway.
func hasMeaning(name string) bool {
	return reserved(squash(name)) || strings.HasPrefix(strings.ToLower(name), "sec-")
}

// checkHeader checks that the gateway may set the header called name.
func (r *report) checkHeader(key, name string, inPreset map[string]bool) {
	switch {
	case !headerName.MatchString(name):
		r.add(key, "%q cannot be the name of a header; write letters, digits and -, like X-Department", name)
	case hasMeaning(name):
		r.add(key, "%q has a meaning of its own in HTTP or for the gateway; write another name, like X-Department", name)
	case inPreset[squash(name)]:
		r.add(key, "%q is in the preset already; remove the preset, or this", name)
	}
}
