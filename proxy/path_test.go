package proxy

import (
	"net/url"
	gopath "path"
	"strings"
	"testing"
)

func TestCanonicalHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		why, in, host string
		ok            bool
	}{
		{"as it is", "wiki.example.com", "wiki.example.com", true},
		{"with a port", "wiki.example.com:8443", "wiki.example.com", true},
		{"CVE-2026-48794: upper case is the same host", "WIKI.Example.COM", "wiki.example.com", true},
		{"trailing dot is the same host", "wiki.example.com.", "wiki.example.com", true},
		{"trailing dot and port", "wiki.example.com.:443", "wiki.example.com", true},
		{"empty port", "wiki.example.com:", "wiki.example.com", true},
		{"IPv6", "[::1]:8080", "::1", true},
		{"IPv6 without port", "[::1]", "::1", true},
		{"two trailing dots are another name", "wiki.example.com..", "wiki.example.com.", true},
		{"port that is none", "wiki.example.com:80x", "", false},
		{"port with something after it", "wiki.example.com:80@evil", "", false},
		{"port too long", "wiki.example.com:123456", "", false},
		{"bracket open", "[::1", "", false},
		{"empty", "", "", false},
		{"only a port", ":80", "", false},
		{"only a dot", ".", "", false},
		{"the Kelvin sign, which lower case makes a k", "wi\u212Ai.example.com", "", false},
	} {
		host, ok := canonicalHost(test.in)
		if ok != test.ok || ok && host != test.host {
			t.Errorf("%s: canonicalHost(%q) = %q, %v, want %q, %v", test.why, test.in, host, ok, test.host, test.ok)
		}
	}
}

// requestURL parses s as the server parses a request line.
func requestURL(s string) (*url.URL, bool) {
	u, err := url.ParseRequestURI(s)
	return u, err == nil
}

func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ why, in, path, raw string }{
		{"root", "/", "/", "/"},
		{"plain", "/a/b.html", "/a/b.html", "/a/b.html"},
		{"trailing slash stays", "/a/", "/a/", "/a/"},
		{"dots within a segment", "/a/..b/c../...", "/a/..b/c../...", "/a/..b/c../..."},
		{"CVE-2026-48020: a segment that ends in dots", "/api../x", "/api../x", "/api../x"},
		{"unreserved characters are decoded", "/%61dmin/%7Ex", "/admin/~x", "/admin/~x"},
		{"reserved ones stay as they are sent", "/a%40b@c%2Bd+e", "/a@b@c+d+e", "/a%40b@c%2Bd+e"},
		{"space", "/a%20b", "/a b", "/a%20b"},
		{"hexadecimal in capitals", "/%c3%bc", "/ü", "/%C3%BC"},
		{"plain UTF-8 is encoded", "/ü", "/ü", "/%C3%BC"},
		{"question mark, as wikis have it", "/What%3f", "/What?", "/What%3F"},
		{"characters that URLs should not have plain", "/a|b{c}\"<>^`[]", "/a|b{c}\"<>^`[]", "/a%7Cb%7Bc%7D%22%3C%3E%5E%60%5B%5D"},
		{"fullwidth dots are letters", "/．．/x", "/．．/x", "/%EF%BC%8E%EF%BC%8E/x"},
	} {
		u, ok := requestURL(test.in)
		if !ok {
			t.Fatalf("%s: %q does not parse", test.why, test.in)
		}
		path, raw, ok := canonicalPath(u)
		if !ok || path != test.path || raw != test.raw {
			t.Errorf("%s: canonicalPath(%q) = %q, %q, %v, want %q, %q", test.why, test.in, path, raw, ok, test.path, test.raw)
		}
	}
}

func TestCanonicalPathRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ why, in string }{
		{"encoded dot segment: net/http does not clean it", "/public/%2e%2e/admin"},
		{"half encoded", "/public/.%2E/admin"},
		{"single encoded dot", "/%2e/admin"},
		{"encoded dot in a name", "/a%2eb"},
		{"encoded slash", "/public/..%2fadmin"},
		{"encoded slash, capitals", "/public/x%2Fy"},
		{"encoded backslash", "/public/..%5cadmin"},
		{"backslash", `/public\..\admin`},
		{"path parameter: servlet containers drop it", "/public/..;/admin"},
		{"path parameter after a name", "/admin;x=1"},
		{"encoded semicolon", "/public/..%3b/admin"},
		{"NUL", "/public/x%00.png"},
		{"encoded per cent sign: decoded twice upstream", "/%252e%252e/admin"},
		{"CVE-2026-41059: number sign", "/admin#/public"},
		{"encoded number sign", "/admin%23/public"},
		{"line break", "/a%0d%0aX: y"},
		{"tab", "/a%09b"},
		{"DEL", "/a%7f"},
		{"dot segment", "/public/../admin"},
		{"dot segment at the end", "/public/.."},
		{"single dot", "/./admin"},
		{"empty segment", "//evil/x"},
		{"empty segment within", "/a//b"},
		{"three slashes", "///evil"},
		{"empty segment at the end", "/a//"},
		{"overlong dot", "/public/%c0%ae%c0%ae/admin"},
		{"overlong slash", "/public/..%c0%afadmin"},
		{"not UTF-8", "/%ff"},
		{"asterisk form", "*"},
	} {
		u, ok := requestURL(test.in)
		if !ok {
			continue // refused before us
		}
		if path, raw, ok := canonicalPath(u); ok {
			t.Errorf("%s: canonicalPath(%q) = %q, %q, want it refused", test.why, test.in, path, raw)
		}
	}
	if _, _, ok := canonicalPath(&url.URL{}); ok {
		t.Error("an empty path is accepted")
	}
}

func TestHasPathPrefix(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path, prefix string
		want         bool
	}{
		{"/api", "/api", true},
		{"/api/", "/api", true},
		{"/api/x", "/api", true},
		{"/apis", "/api", false},
		{"/api../x", "/api", false},
		{"/API/x", "/api", true},
		{"/ap", "/api", false},
		{"/", "", true},
		{"/.jitgate", ownPrefix, true},
		{"/.JitGate/login", ownPrefix, true},
		{"/.jitgatex", ownPrefix, false},
	} {
		if got := hasPathPrefix(test.path, test.prefix); got != test.want {
			t.Errorf("hasPathPrefix(%q, %q) = %v, want %v", test.path, test.prefix, got, test.want)
		}
	}
}

func TestSafeReturn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"/", "/"},
		{"/page?a=1&b=%2F..%2F", "/page?a=1&b=%2F..%2F"},
		{"/page?", "/page?"},
		{"/wiki/Ü?q=ä b", "/wiki/%C3%9C?q=%C3%A4%20b"},
		{`/x?path=C:\dir`, "/x?path=C:%5Cdir"},
		{"/x?u=https://evil.example", "/x?u=https://evil.example"},
		{"/x:y@z", "/x:y@z"},
		{"/" + strings.Repeat("a", maxReturn-1), "/" + strings.Repeat("a", maxReturn-1)},
	} {
		if got := safeReturn(test.in); got != test.want {
			t.Errorf("safeReturn(%q) = %q, want %q", test.in, got, test.want)
		}
	}
	for _, in := range openRedirects() {
		if got := safeReturn(in); got != "/" {
			t.Errorf("safeReturn(%q) = %q, want %q", in, got, "/")
		}
	}
}

// openRedirects are spellings of "somewhere else", as browsers have read them
// at one time or another, and of paths that we never send anybody to.
func openRedirects() []string {
	list := []string{
		"", " ", "evil.example", "//evil.example", "///evil.example", "////evil.example",
		"https://evil.example", "http:evil.example", "https:evil.example", "https:/evil.example", "https:///evil.example",
		"HTTPS://evil.example", "javascript:alert(1)", "\tjavascript:alert(1)", "java\nscript:alert(1)", "JaVaScRiPt://x/%0aalert(1)",
		"data:text/html,x", "vbscript:x", "file:///etc/passwd", "ftp://evil.example", "mailto:x@evil.example", "blob:x",
		`\\evil.example`, `\/evil.example`, `/\evil.example`, `/\/evil.example`, `//\evil.example`, `/\\evil.example`, `\evil.example`,
		"/%5cevil.example", "/%5c%5cevil.example", "/%2fevil.example", "/%2f%2fevil.example", "%2f%2fevil.example", "%2Fevil.example",
		"/%09/evil.example", "/%0a/evil.example", "/%0d/evil.example", "/%00/evil.example", "/%20//evil.example", "/%7f",
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example", "/\x00/evil.example", "/\x0b/evil.example",
		" /evil.example", "\t/evil.example", "\n//evil.example", "\x00/x", " //evil.example", "\u00a0//evil.example", "\ufeff//evil.example",
		"/ok\r\nLocation: https://evil.example", "/ok%0d%0aLocation:%20https://evil.example", "/ok?x\r\nSet-Cookie: a=b", "/ok?x\ty", "/ok?\x7f",
		"/..//evil.example", "/.//evil.example", "/./evil.example", "/../evil.example", "/a/..//evil.example", "/a//evil.example", "/a//",
		"/%2e%2e//evil.example", "/%2e/evil.example", "/.%2e/evil.example", "/a/%2e%2e/%2fevil.example", "/..%2fevil.example",
		"/;/evil.example", "/;//evil.example", "/a;b", "/%3b//evil.example", "/a;@evil.example",
		"@evil.example", "?x", "#x", "/#//evil.example", "/x#frag", "/x?y#z", "/%23/evil.example", ".evil.example", "./x", "../x", "x/y",
		"://evil.example", ":evil.example", ":80", "〱evil.example", "。evil.example", "／／evil.example", "＼evil.example",
		"/%25%32%66evil.example", "/%252fevil.example", "/%255cevil.example", "/%c0%afevil.example", "/%ff", "/%", "/%2", "/%zz", "/%u2215evil.example",
		"wiki.example.com", "wiki.example.com/x", "//wiki.example.com/x", "https://wiki.example.com/x", "//wiki.example.com@evil.example", "//evil.example\\@wiki.example.com",
		"/.jitgate", "/.jitgate/", "/.jitgate/login", "/.jitgate/logout", "/.JITGATE/login?rd=/.jitgate/login", "/.j%69tgate/login", "/%2ejitgate/login",
		"/" + strings.Repeat("a", maxReturn), "/?" + strings.Repeat("a", maxReturn),
	}
	for c := range byte(' ') {
		list = append(list, "/"+string(rune(c))+"/evil.example", string(rune(c))+"//evil.example", "/?"+string(rune(c)))
	}
	return list
}

// A canonical path is its own canonical form, decodes to what was authorised,
// and is sent as it is.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/%61", "/%41%40", "/a/../b", "//x", "/ü|", "/%c3%bc", "/a;b", "/%2e", "/x?y", "/[::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := requestURL(s)
		if !ok {
			return
		}
		path, raw, ok := canonicalPath(u)
		if !ok {
			return
		}
		again, ok := requestURL(raw)
		if !ok {
			t.Fatalf("%q: canonical %q does not parse", s, raw)
		}
		if p, r, ok := canonicalPath(again); !ok || p != path || r != raw {
			t.Errorf("%q: canonicalPath(%q) = %q, %q, %v, want itself", s, raw, p, r, ok)
		}
		if again.Path != path || again.EscapedPath() != raw || again.RawQuery != "" || again.Host != "" {
			t.Errorf("%q: %q is sent as %q and read as %q, want %q", s, raw, again.EscapedPath(), again.Path, path)
		}
		if strings.Contains(path, "//") || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") || strings.ContainsAny(path, "\\;#%\x00") {
			t.Errorf("%q: canonical path %q", s, path)
		}
		// However an upstream cleans it, decodes it or takes it as a reference, it stays there.
		if cleaned := gopath.Clean(path); cleaned != strings.TrimSuffix(path, "/") && path != "/" {
			t.Errorf("%q: %q is cleaned to %q", s, path, cleaned)
		}
		if twice, err := url.PathUnescape(path); err != nil || twice != path {
			t.Errorf("%q: %q is decoded once more to %q, %v", s, path, twice, err)
		}
		base := &url.URL{Scheme: "https", Host: "wiki.example.com", Path: "/a/b"}
		if at, err := base.Parse(raw); err != nil || at.Host != base.Host || at.Path != path {
			t.Errorf("%q: %q as a reference is %v, %v", s, raw, at, err)
		}
		for i := range len(raw) {
			if raw[i] <= ' ' || raw[i] >= 0x7f {
				t.Errorf("%q: %q is sent with byte %x", s, raw, raw[i])
			}
		}
	})
}

// Behind our origin, a return target is read by any parser as a path on it.
func FuzzSafeReturn(f *testing.F) {
	for _, s := range openRedirects() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rd := safeReturn(s)
		u, err := url.Parse("https://wiki.example.com" + rd)
		if err != nil || u.Host != "wiki.example.com" || u.User != nil || u.Fragment != "" {
			t.Fatalf("safeReturn(%q) = %q", s, rd)
		}
		if again := safeReturn(rd); again != rd && len(rd) <= maxReturn {
			t.Errorf("safeReturn(%q) = %q, and of that %q", s, rd, again)
		}
		if !strings.HasPrefix(rd, "/") || strings.HasPrefix(rd, "//") || strings.ContainsAny(rd, "\\#") || isOwn(u.Path) && u.Path != ownPrefix+"/resend" {
			t.Errorf("safeReturn(%q) = %q", s, rd)
		}
	})
}

// BenchmarkCanonicalPath is what each request passes: a path as most are, and one
// with something to decode.
func BenchmarkCanonicalPath(b *testing.B) {
	for name, path := range map[string]string{
		"plain":   "/reports/2026/week-47/index.html?page=2",
		"escaped": "/reports/%7Eann/a%20b/index.html?page=2",
	} {
		b.Run(name, func(b *testing.B) {
			u, err := url.ParseRequestURI(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, ok := canonicalPath(u); !ok {
					b.Fatalf("%q is refused", path)
				}
			}
		})
	}
}
