package proxy

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
)

func TestNameSet(t *testing.T) {
	t.Parallel()
	names := newNameSet("X-Department", "Remote-User")
	for _, test := range []struct {
		name string
		want bool
	}{
		{"X-Department", true}, {"X-Departments", false}, {"XDEPARTMENT", true},
		{"X-Forwarded-Anything", true}, {"X-Forward", false}, {"Xforwarded", true},
		{"X-Jitgate-New", true}, {"Remoteuser", true}, {"Remote-Users", true}, {"Remotely", false},
		{"With_Underscore", true}, {"With.Dot", true},
		{"Accept", false}, {"Authorization", false}, {"Cookie", false}, {"X-Requested-With", false}, {"X-Csrf-Token", false},
		{"Content-Type", false}, {"Host", false}, {"Proxy", true}, {"Proxy-Foo", false}, {"Sec-Websocket-Key", false},
		{strings.Repeat("X-Long-", 30), false}, {"X-Forwarded-" + strings.Repeat("Long", 30), true},
	} {
		if got := names.has(test.name); got != test.want {
			t.Errorf("has(%q) = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestJoinList(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   []string
		want string
	}{
		{nil, ""},
		{[]string{"a"}, "a"},
		{[]string{"b", "a"}, "b,a"},
		{[]string{"a,admin"}, "a%2Cadmin"},
		{[]string{"a%2Cadmin", "100%"}, "a%252Cadmin,100%25"},
		{[]string{"Ä b"}, "Ä b"},
	} {
		if got := joinList(test.in); got != test.want {
			t.Errorf("joinList(%q) = %q, want %q", test.in, got, test.want)
		}
	}
	// What is joined can be taken apart again.
	in := []string{"a,b", "%2C", "", "c"}
	var out []string
	for part := range strings.SplitSeq(joinList(in), ",") {
		out = append(out, strings.NewReplacer("%2C", ",", "%25", "%").Replace(part))
	}
	if strings.Join(out, "|") != strings.Join(in, "|") {
		t.Errorf("taken apart again: %q, want %q", out, in)
	}
}

// What a user does not have is not sent, not even empty.
func TestSetIdentityAbsent(t *testing.T) {
	t.Parallel()
	a := &app{lines: []namedValue{
		{name: "X-Forwarded-User", attribute: "userName"}, {name: "X-Forwarded-Email", attribute: "email"}, {name: "X-Forwarded-Groups", attribute: "groups", multiple: true}, {name: "X-Jitgate-Directory", attribute: "directory"},
		{name: "X-Jitgate-Domain", attribute: "domain"}, {name: "X-Jitgate-Entitlements", attribute: "entitlements", multiple: true},
		{name: "X-Dept", attribute: "department"}, {name: "X-Titles", attribute: "title", multiple: true}, {name: "X-Id", attribute: "id"}, {name: "X-Dir", attribute: "directory"}, {name: "X-Groups", attribute: "groups", multiple: true}, {name: "X-Ents", attribute: "entitlements", multiple: true},
	}}
	h := make(http.Header)
	set(h, a.identity(person{User: provision.User{ID: "i", Directory: "d", Domain: "x.example", UserName: "u", Groups: []string{"b", "a"}}}))
	want := http.Header{"X-Forwarded-User": {"u"}, "X-Forwarded-Groups": {"a,b"}, "X-Jitgate-Directory": {"d"}, "X-Jitgate-Domain": {"x.example"}, "X-Id": {"i"}, "X-Dir": {"d"}, "X-Groups": {"a,b"}}
	if len(h) != len(want) {
		t.Errorf("headers = %v, want %v", h, want)
	}
	for name := range want {
		if got := h.Get(name); got != want.Get(name) {
			t.Errorf("%s = %q, want %q", name, got, want.Get(name))
		}
	}
}

// No client's header survives under a name that some app might read as one of
// ours: letters and digits are all that it may look at.
func FuzzStrip(f *testing.F) {
	for _, name := range []string{"X-Forwarded-User", "X_Forwarded_User", "x-FORWARDED.user", "X-Dept", "X~Dept", "Accept", "X\u212Aey", "Remote-User"} {
		f.Add(name)
	}
	names := newNameSet("X-Dept", "X-Key")
	f.Fuzz(func(t *testing.T, name string) {
		if !httpguts.ValidHeaderFieldName(name) {
			return // the server refuses it
		}
		h := http.Header{http.CanonicalHeaderKey(name): {"evil"}, "Accept": {"*/*"}}
		h = passage{app: &app{reserved: names}}.header(h)
		for left := range h {
			// As CGI and WSGI have it, and as programs have it that map all else to "_" too.
			cgi := strings.ToUpper(strings.ReplaceAll(left, "-", "_"))
			loose := strings.Map(func(c rune) rune {
				if 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
					return c
				}
				return '_'
			}, strings.ToUpper(left))
			bare := strings.ReplaceAll(loose, "_", "")
			for _, ours := range []string{"X_DEPT", "X_KEY", "X_REAL_IP", "X_REQUEST_ID", "PROXY", "FORWARDED", "X_ORIGINAL_URL", "X_HTTP_METHOD_OVERRIDE"} {
				if cgi == ours || loose == ours || bare == strings.ReplaceAll(ours, "_", "") {
					t.Errorf("%q is left, which reads as %s", left, ours)
				}
			}
			for _, family := range []string{"XFORWARDED", "XJITGATE", "XREMOTE", "REMOTEUSER", "SHIB", "MELLON", "XWEBAUTH"} {
				if strings.HasPrefix(bare, family) {
					t.Errorf("%q is left, which reads as one of %s", left, family)
				}
			}
			if strings.ContainsAny(left, "_.") {
				t.Errorf("%q is left", left)
			}
		}
		if h.Get("Accept") == "" && !strings.EqualFold(name, "Accept") {
			t.Error("another header is gone")
		}
	})
}

// No cookie of ours reaches an app, and every other one does.
func FuzzCookies(f *testing.F) {
	for _, line := range []string{"a=1; __Host-jitgate=x", "__Host-jitgate", ";;a=1;;", "jitgate=x;a", "=jitgate", "==jitgate=x", "a=\"__Host-jitgate=x\"", " __HOST-jitgate-login-x = y", "jitgate\r", "\r=jitgate\r=x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		withoutOurCookies(h)
		left := strings.Join(h["Cookie"], ";")
		// Nor as net/http and browsers read it.
		for _, c := range (&http.Request{Header: h}).Cookies() {
			if isOurCookie(c.Name) {
				t.Errorf("%q: %q is left", line, c.Name)
			}
		}
		set := http.Header{"Set-Cookie": {line}}
		dropOurCookies(set)
		for _, c := range (&http.Response{Header: set}).Cookies() {
			if isOurCookie(c.Name) {
				t.Errorf("%q: sets %q", line, c.Name)
			}
		}
		for pair := range strings.SplitSeq(left, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if isOurCookie(strings.Trim(name, " \t\r\n")) {
				t.Errorf("%q: %q is left", line, pair)
			}
		}
		for pair := range strings.SplitSeq(line, ";") {
			// One without a name may be read as one without a value.
			name, _, _ := strings.Cut(strings.TrimLeft(pair, " \t\r\n="), "=")
			if trimmed := strings.Trim(pair, " "); trimmed != "" && !isOurCookie(strings.Trim(name, " \t\r\n")) && !strings.Contains(left, trimmed) {
				t.Errorf("%q: %q is gone", line, pair)
			}
		}
	})
}

func BenchmarkStrip(b *testing.B) {
	names := newNameSet("X-Department")
	h := http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"x"}, "Cookie": {"x"}, "Accept-Language": {"en"}, "Referer": {"x"}, "Sec-Fetch-Mode": {"x"}, "Sec-Fetch-Site": {"x"}, "Content-Type": {"x"}, "X-Requested-With": {"x"}}
	b.ReportAllocs()
	for b.Loop() {
		h = passage{app: &app{reserved: names}}.header(h)
	}
}

// Each preset sends what the program of its name sends, and nothing of what a client
// sends under those names reaches the app.
func TestPresets(t *testing.T) {
	t.Parallel()
	const name, encoded = "Doe, Änn 100%", "Doe%2C%20%C3%84nn%20100%25"
	const password = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	for preset, want := range map[string]map[string]string{
		"forwarded": {
			"X-Forwarded-User": "ann", "X-Forwarded-Email": "ann@acme.example", "X-Forwarded-Groups": "a%2Cb,engineers", "X-Jitgate-Directory": "acme",
			"X-Jitgate-Domain": "acme.example", "X-Jitgate-Entitlements": "wiki", "X-Title": "a%2Cb%25,c",
		},
		"remote-user": {"Remote-User": "ann", "Remote-Email": "ann@acme.example", "Remote-Name": name, "Remote-Groups": "a%2Cb,engineers", "X-Title": "a%2Cb%25,c"},
		"grafana":     {"X-Webauth-User": "ann", "X-Webauth-Email": "ann@acme.example", "X-Webauth-Name": name, "X-Webauth-Groups": `["a,b","engineers"]`, "X-Title": `["a,b%","c"]`},
		"grafana, encode: percent": {
			"X-Webauth-User": "ann", "X-Webauth-Email": "ann%40acme.example", "X-Webauth-Name": encoded, "X-Webauth-Groups": "a%2Cb,engineers", "X-Title": "a%2Cb%25,c",
		},
		"shibboleth": {
			"Username": "ann", "Domain": "acme.example", "Email": "ann@acme.example", "Department": "Engineering", "Displayname": name, "Title": "a,b%;c",
			"Ismemberof": "a,b;engineers", "Entitlement": "wiki", "Remote-User": "ann", "Shib-Identity-Provider": "IDP", "Shib-Session-Id": "*", "Shib-Authentication-Instant": "*", "Shib-Session-Index": "*",
			"Shib-Application-Id": "default", "X-Title": "a,b%;c", "Shib-Authentication-Method": password, "Shib-Authncontext-Class": password,
			"Shib-Session-Expires": "*", "Shib-Handler": "HANDLER", "Externalid": "",
		},
		"shibboleth, encode: percent": {
			"Username": "ann", "Domain": "acme.example", "Email": "ann%40acme.example", "Department": "Engineering", "Displayname": encoded, "Title": "a%2Cb%25;c",
			"Ismemberof": "a%2Cb;engineers", "Entitlement": "wiki", "Remote-User": "ann", "Shib-Identity-Provider": "IDP", "Shib-Session-Id": "*", "Shib-Authentication-Instant": "*", "Shib-Session-Index": "*",
			"Shib-Application-Id": "default", "X-Title": "a%2Cb%25;c", "Shib-Authentication-Method": password, "Shib-Authncontext-Class": password,
			"Shib-Session-Expires": "*", "Shib-Handler": "HANDLER", "Externalid": "",
		},
		"mellon": {
			"Mellon-Username": "ann", "Mellon-Username-0": "ann", "Mellon-Domain": "acme.example", "Mellon-Domain-0": "acme.example", "Mellon-Email": "ann@acme.example", "Mellon-Email-0": "ann@acme.example",
			"Mellon-Department": "Engineering", "Mellon-Department-0": "Engineering", "Mellon-Displayname": name, "Mellon-Displayname-0": name, "Mellon-Title": "a,b%", "Mellon-Title-0": "a,b%", "Mellon-Title-1": "c",
			"Mellon-Name-Id": "*", "Mellon-Idp": "IDP", "X-Title": "a%2Cb%25,c",
		},
	} {
		t.Run(preset, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{app: "allow: {any_user: true}\n    headers: {preset: " + preset + ", X-Title: title}"})
			ann := s.signedIn("ann", s.url("wiki", "/"))
			seen := func(path string) http.Header {
				t.Helper()
				var forged []string
				for name := range want {
					forged = append(forged, name+": forged", strings.ReplaceAll(name, "-", "_")+": forged", strings.ToLower(name)+": forged")
				}
				_, body := s.get(ann, s.url("wiki", path), append(forged, "Mellon-Title-7: forged", "Shib-Handler: forged", "Shib_Handler: forged")...)
				if strings.Contains(body, "forged") {
					t.Errorf("%s: what the client sent is left: %s", path, body)
				}
				var got struct{ Header http.Header }
				if err := json.Unmarshal([]byte(body), &got); err != nil {
					t.Fatal(err)
				}
				return got.Header
			}
			before := seen("/public/x")
			for name, values := range seen("/x") {
				value, ok := want[name]
				switch {
				case !ok && before[name] == nil:
					t.Errorf("%s: %q is sent too", name, values)
				case !ok:
				case value == "IDP" && values[0] == s.idp.EntityID(), value == "HANDLER" && values[0] == s.url("wiki", "/Shibboleth.sso"),
					value == "*" && values[0] != "", len(values) == 1 && values[0] == value:
					delete(want, name)
				}
			}
			for name, value := range want {
				t.Errorf("%s is not %q", name, value)
			}
		})
	}
}

// What Grafana makes of the header are the groups, whatever is in their names: it reads
// what begins with [ as JSON, and else splits at spaces and commas but within quotes,
// which it takes away.
func TestGroupsForGrafana(t *testing.T) {
	t.Parallel()
	item := regexp.MustCompile(`"[^"]+"|[^,\t\n\v\f\r ]+`)
	read := func(header string) (groups []string) {
		if strings.HasPrefix(header, "[") {
			if err := json.Unmarshal([]byte(header), &groups); err != nil {
				t.Errorf("%s: %v", header, err)
			}
			return groups
		}
		for _, group := range item.FindAllString(header, -1) {
			groups = append(groups, strings.Trim(group, `"`))
		}
		return groups
	}
	for _, groups := range [][]string{
		{"admins"}, {"a", "b"}, {"a b"}, {"a,b", "c"}, {"[a"}, {"[]"}, {`"admins"`}, {`a"`, `b"`}, {"100%"}, {"a%2Cb"}, {`a\`, "b"}, {"Ä<&>"},
	} {
		header := (&app{preset: "grafana"}).join(groups)
		if got := read(header); !slices.Equal(got, groups) {
			t.Errorf("of %q, sent as %s, Grafana makes %q", groups, header, got)
		}
	}
}
