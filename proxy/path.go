package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// ownPrefix is where the gateway's own routes live, on every host.
const ownPrefix = "/.jitgate"

// A route is where a request goes: canonical, so that what was authorised and
// what is forwarded cannot differ.
type route struct {
	host string // lower case, no port, no trailing dot
	path string // decoded, for comparing
	raw  string // encoded, for the upstream
}

// again returns what to ask for to come here again with a GET, as safeReturn has it.
func (to route) again(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return safeReturn(to.raw)
	}
	return safeReturn(to.raw + "?" + r.URL.RawQuery)
}

// originOf returns the origin under which visitors reach a host: that of base with
// another host.
func originOf(base *url.URL, host string) string {
	return base.Scheme + "://" + hostportOf(base, host)
}

// hostportOf returns host with the port of base.
func hostportOf(base *url.URL, host string) string {
	if port := base.Port(); port != "" {
		return bracket(host) + ":" + port
	}
	return bracket(host)
}

// bracket returns host as it stands in a URL: an IPv6 address in brackets.
func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// canonicalHost returns the host of a Host header in lower case and without its
// trailing dot. Whether we serve that host is for the caller to find out, by
// looking it up whole. Letters that are not ASCII are not in a host: lower case
// makes ASCII of some.
func canonicalHost(hostport string) (host string, ok bool) {
	if strings.IndexFunc(hostport, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		return "", false
	}
	host, port := hostport, ""
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		host, port = hostport[:i], hostport[i+1:]
	}
	if len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return "", false
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		host, found = strings.CutSuffix(inner, "]")
		if !found || !strings.Contains(host, ":") {
			return "", false
		}
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host, host != ""
}

// canonicalPath returns the one spelling of u's path: raw is its encoded form
// (unreserved characters plain, everything else that is not a path character
// as %XX in capitals; RFC 3986, section 6.2.2) and path is that decoded.
//
// It refuses every path that an upstream might read as another one: encoded
// dots, slashes, backslashes, semicolons, number and per cent signs, NUL and
// other control bytes, the same characters plain where they do not belong,
// empty and dot segments, and what is not UTF-8.
func canonicalPath(u *url.URL) (path, raw string, ok bool) {
	sent := u.RawPath
	if sent == "" {
		sent = u.EscapedPath()
	}
	if isPlain(sent) {
		return sent, sent, true
	}
	var decoded, encoded strings.Builder
	for i := 0; i < len(sent); i++ {
		c, escaped := sent[i], sent[i] == '%'
		if escaped {
			if i+2 >= len(sent) || !isHex(sent[i+1]) || !isHex(sent[i+2]) {
				return "", "", false
			}
			c = unhex(sent[i+1])<<4 | unhex(sent[i+2])
			i += 2
		}
		if c < ' ' || c == 0x7f || strings.IndexByte(`%\;#`, c) >= 0 || escaped && (c == '.' || c == '/') {
			return "", "", false
		}
		decoded.WriteByte(c)
		if isUnreserved(c) || !escaped && strings.IndexByte("/!$&'()*+,=:@", c) >= 0 {
			encoded.WriteByte(c)
			continue
		}
		writeEscaped(&encoded, c)
	}
	path = decoded.String()
	if !utf8.ValidString(path) || !cleanSegments(path) {
		return "", "", false
	}
	return path, encoded.String(), true
}

// isPlain reports whether a path is canonical and has nothing to decode, as
// nearly all have.
func isPlain(path string) bool {
	for i := range len(path) {
		if c := path[i]; !isUnreserved(c) && c != '/' {
			return false
		}
	}
	return cleanSegments(path)
}

// cleanSegments reports whether path begins with a slash and has no empty
// segment but the last, and no "." or "..".
func cleanSegments(path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	for ok {
		var segment string
		segment, rest, ok = strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && ok {
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// isOwn reports whether a decoded path belongs to the gateway. Case does not
// count: an upstream that ignores case must not be reachable below ours.
func isOwn(path string) bool {
	return hasPathPrefix(path, ownPrefix)
}

// hasPathPrefix reports whether path is prefix or lies below it, ignoring
// case: there are upstreams which do, and a rule for /admin must hold for
// /Admin there. The prefix has no slash at its end; "" is above everything.
//
// It compares as many segments as the prefix has, not bytes: the Kelvin sign is a
// k in another case, and longer.
func hasPathPrefix(path, prefix string) bool {
	end := 0
	for range strings.Count(prefix, "/") {
		if end == len(path) {
			return false
		}
		n := strings.IndexByte(path[end+1:], '/')
		if n < 0 {
			n = len(path) - end - 1
		}
		end += 1 + n
	}
	return strings.EqualFold(path[:end], prefix)
}

// maxReturn is the longest return target that is kept, in bytes: it travels in
// cookies.
const maxReturn = 1024

// safeReturn returns rd, the path and query that a visitor wants to come back
// to, in a form that is safe behind our own origin, or "/" where it is anything
// but a path of an app: another site in any spelling, a path of the gateway's
// own (a loop) but for those of endsHere, a control character, or too long.
func safeReturn(rd string) string {
	sent, query, hasQuery := strings.Cut(rd, "?")
	path, raw, ok := canonicalPath(&url.URL{RawPath: sent})
	if !ok || isOwn(path) && !endsHere(path) {
		return "/"
	}
	if hasQuery {
		if query, ok = cleanQuery(query); !ok {
			return "/"
		}
		raw += "?" + query
	}
	if len(raw) > maxReturn {
		raw, _, _ = strings.Cut(raw, "?")
	}
	if len(raw) > maxReturn {
		return "/"
	}
	return raw
}

// endsHere reports whether a login may end at a path of our own: what it is for is there.
func endsHere(path string) bool {
	page := strings.TrimPrefix(path, ownPrefix)
	return page == "/resend" || page == "/session" || page == "/admin" || strings.HasPrefix(page, "/admin/")
}

// cleanQuery returns query with everything encoded that a URL must not have
// plain. It refuses control characters and a fragment.
func cleanQuery(query string) (string, bool) {
	var b strings.Builder
	for i := range len(query) {
		switch c := query[i]; {
		case c < ' ' || c == 0x7f || c == '#':
			return "", false
		case c > 0x7f || strings.IndexByte(" \"<>\\^`{|}", c) >= 0:
			writeEscaped(&b, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// writeEscaped writes c as %XX.
func writeEscaped(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.Write([]byte{'%', digits[c>>4], digits[c&15]})
}
