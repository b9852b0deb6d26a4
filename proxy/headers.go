package proxy

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/session"
)

// A nameSet knows the header names that no client may send to an app. Names are
// compared as CGI, WSGI and the like read them: letters and digits alone, in
// lower case, so that X_Forwarded_User is X-Forwarded-User.
type nameSet struct {
	names    map[string]struct{}
	families []string // beginnings of names
	harmless map[string]bool
}

// newNameSet returns the names that are reserved for every app, and extra.
//
// Under the families, gateways and apps pass identity. Whatever a client sends
// below them is dropped, whether this gateway sets that very name or not.
func newNameSet(extra ...string) nameSet {
	reserved := []string{
		"Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "X-Request-Id",
		"X-Original-URL", "X-Original-URI", "X-Original-Host", "X-Original-Method", "X-Rewrite-URL", "X-Host",
		"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-HTTP-Host-Override",
		"X-User", "X-Auth-User",
		"X-Scheme", "X-Url-Scheme", "Front-End-Https",
		"Proxy",                              // a CGI program would take it for $HTTP_PROXY
		"X-Sendfile-Type", "X-Accel-Mapping", // CVE-2025-61780: Rack would send other files
	}
	s := nameSet{names: make(map[string]struct{}), families: []string{
		"xforwarded", "xjitgate", "xauthrequest", "xauthenticated", "xwebauth", "xremote",
		"remoteuser", "remotegroup", "remoteemail", "remotename",
		"sslclient", "xsslclient", "xclientcert", // what TLS terminators say of client certificates
		"shib", "mellon",
	}}
	for _, name := range append(reserved, extra...) {
		s.names[string(squash(nil, name))] = struct{}{}
	}
	s.harmless = harmless
	for name := range harmless {
		if s.has(name) { // the app has a header of ours under it
			s.harmless = maps.Clone(s.harmless)
			delete(s.harmless, name)
		}
	}
	return s
}

// harmless are the names of nearly all that browsers send, in canonical form, and of
// none that identity could be passed under: they need not be looked at.
var harmless = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Cache-Control": true, "Content-Length": true, "Content-Type": true,
	"Cookie": true, "If-Modified-Since": true, "If-None-Match": true, "Origin": true, "Pragma": true, "Range": true, "Referer": true,
	"Sec-Ch-Ua": true, "Sec-Ch-Ua-Mobile": true, "Sec-Ch-Ua-Platform": true, "Sec-Fetch-Dest": true, "Sec-Fetch-Mode": true,
	"Sec-Fetch-Site": true, "Sec-Fetch-User": true, "Upgrade-Insecure-Requests": true, "User-Agent": true, "Priority": true,
}

// squash appends name to dst in lower case without anything that is neither a
// letter nor a digit.
func squash(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			dst = append(dst, c)
		}
	}
	return dst
}

// has reports whether a client's header of that name must not reach an app.
// Names with "_" or "." never do: what an app reads them as is anybody's guess.
func (s nameSet) has(name string) bool {
	if strings.ContainsAny(name, "_.") {
		return true
	}
	var buf [64]byte
	return s.reserves(squash(buf[:0], name))
}

// reserves reports whether a name, as squash has it, is one of the set.
func (s nameSet) reserves(squashed []byte) bool {
	if _, ok := s.names[string(squashed)]; ok {
		return true
	}
	for _, family := range s.families {
		if len(squashed) >= len(family) && string(squashed[:len(family)]) == family {
			return true
		}
	}
	return false
}

// mayPass reports whether a client's header of that name goes to an app. Those of one
// connection do not (RFC 9110, section 7.6.1), and Expect has been answered.
func (s nameSet) mayPass(name string) bool {
	if s.harmless[name] {
		return true
	}
	switch name {
	case "Connection", "Expect", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return false
	}
	return !s.has(name)
}

// A namedValue is one `Name: attribute` line of an app.
type namedValue struct {
	name, attribute string
	multiple        bool
	always          bool // it is sent where there is no value too, empty
	encodes         bool // values are percent-encoded
	numbers         bool // it has the first value, and each is in a header with its number besides
}

// namedValues returns the lines of an app in a fixed order.
func namedValues(h config.Headers, attributes []config.Attribute) []namedValue {
	multiple := map[string]bool{"groups": true, "entitlements": true}
	for _, a := range attributes {
		multiple[a.Name] = a.Multiple
	}
	var lines []namedValue
	for name, attribute := range h.Lines {
		_, own := h.Set[name]
		l := namedValue{
			name: http.CanonicalHeaderKey(name), attribute: attribute, multiple: multiple[attribute],
			always: h.Preset == "shibboleth" && !own, encodes: h.Encode == "percent",
		}
		ofLogin := strings.HasPrefix(attribute, "@")
		switch {
		case h.Preset == "shibboleth" && ofLogin:
			l.encodes = false // Shibboleth encodes attributes alone
		case h.Preset == "mellon" && strings.HasPrefix(l.name, "Mellon-") && !ofLogin:
			l.numbers = true
		}
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b namedValue) int { return strings.Compare(a.name, b.name) })
	return lines
}

// A person is a user, with what a login says besides.
type person struct {
	provision.User
	session session.Record
	issuer  string // entity ID of the identity provider
	handler string // URL of the app's endpoint
}

// identity returns the headers that tell the app who the visitor is. What a user does
// not have is not sent, not even empty, unless the preset has it so.
func (a *app) identity(p person) []header {
	var headers []header
	add := func(name, value string) {
		if value != "" {
			headers = append(headers, header{name, []string{value}})
		}
	}
	p.handler = a.handler
	for _, line := range a.lines {
		values := p.values(line.attribute)
		if line.encodes {
			values = slices.Clone(values)
			for i, v := range values {
				values[i] = percentEncode(v)
			}
		}
		switch {
		case len(values) == 0 && line.always:
			headers = append(headers, header{line.name, []string{""}})
		case len(values) == 0:
		case line.numbers:
			add(line.name, values[0])
			for i, v := range values {
				add(line.name+"-"+strconv.Itoa(i), v)
			}
		case !line.multiple:
			add(line.name, values[0])
		default:
			add(line.name, a.join(values))
		}
	}
	if a.preset == "shibboleth" {
		add("Shib-Application-Id", "default")
	}
	return headers
}

// values returns what there is under a name of the configuration, be it an attribute or
// one of the names that the service fills in.
func (p person) values(name string) []string {
	one := func(value string) []string {
		if value == "" {
			return nil
		}
		return []string{value}
	}
	switch name {
	case "id":
		return one(p.ID)
	case "directory":
		return one(p.Directory)
	case "groups":
		return slices.Sorted(slices.Values(p.Groups))
	case "entitlements":
		return slices.Sorted(slices.Values(p.Entitlements))
	case config.FromIdP:
		return one(p.issuer)
	case config.FromNameID:
		return one(p.session.NameID)
	case config.FromSession:
		return one(p.session.Login)
	case config.FromIndex:
		return one(headerValue(p.session.SessionIndex))
	case config.FromContext:
		return one(p.session.AuthnContext)
	case config.FromHandler:
		return one(p.handler)
	case config.FromEnd:
		if p.session.Expires.IsZero() { // nobody has signed in: it is explained
			return nil
		}
		return one(strconv.FormatInt(p.session.Expires.Unix(), 10))
	case config.FromInstant:
		if p.session.AuthnInstant.IsZero() {
			return nil
		}
		return one(p.session.AuthnInstant.Format("2006-01-02T15:04:05.000Z"))
	}
	return p.Values(name)
}

// maxHeaderValue is the length of the longest value that is taken over from an identity
// provider as it is, in bytes.
const maxHeaderValue = 1 << 10

// headerValue returns what an identity provider wrote where it can be sent as a header,
// else "".
func headerValue(s string) string {
	if len(s) > maxHeaderValue || !httpguts.ValidHeaderFieldValue(s) {
		return ""
	}
	return s
}

// percentEncode encodes all but the unreserved characters (RFC 3986, section 2.3).
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isUnreserved(c) {
			b.WriteByte(c)
		} else {
			writeEscaped(&b, c)
		}
	}
	return b.String()
}

// join makes one value of several, as the app's preset has it: such that none can look
// like two.
func (a *app) join(values []string) string {
	switch {
	case a.preset == "shibboleth" && a.encodes:
		return strings.Join(values, ";")
	case a.preset == "shibboleth":
		escaped := make([]string, len(values))
		for i, v := range values {
			escaped[i] = strings.ReplaceAll(v, ";", `\;`)
		}
		return strings.Join(escaped, ";")
	case a.encodes:
		return strings.Join(values, ",")
	case a.preset == "grafana" && slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, ", []\"%") }):
		// Grafana would split these at spaces too, takes quotes away, and decodes nothing;
		// what begins with [ it reads as JSON.
		list, _ := json.Marshal(values) // texts always can be
		return string(list)
	}
	return joinList(values)
}

// set puts headers into h. The values are shared with other requests: they must not be
// written to.
func set(h http.Header, headers []header) {
	for _, line := range headers {
		h[line.name] = line.value
	}
}

// joinList joins values with commas. A comma within a value is sent as %2C, and
// a per cent sign as %25, so that no value can look like two.
func joinList(values []string) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		if strings.ContainsAny(v, ",%") {
			v = strings.NewReplacer("%", "%25", ",", "%2C").Replace(v)
		}
		b.WriteString(v)
	}
	return b.String()
}
