package page

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// nasty is what somebody might have as a name, or send as a value.
const nasty = `"><script>alert(1)</script>'&{{.}}`

// plain are the pages as they are without a brand.
var plain = func() *Set {
	s, err := New(Brand{}, nil)
	if err != nil {
		panic(err)
	}
	return s
}()

// pages are all pages, with hostile values everywhere.
func pages() map[string]Page {
	target := Target{To: nasty}
	return map[string]Page{
		"login":      Login{Site: nasty, Target: target, Domain: nasty, Unknown: true, Remembered: nasty},
		"login rd":   Login{Target: Target{Return: nasty}},
		"login list": Login{Target: target, Domains: []string{nasty, "acme.example"}},
		"choose":     Choose{Site: nasty, Target: target, Domain: nasty, Hint: nasty, IdPs: []IdP{{nasty, nasty}, {"b", "B"}}},
		"post":       Post{Site: nasty, Say: nasty, Action: "https://idp.example/sso?a=1&b=2", Parameter: nasty, Message: nasty, RelayState: nasty},
		"error":      Error{Site: nasty, Say: "attribute_missing", Args: []any{nasty}, Code: nasty, RequestID: nasty, App: nasty, User: nasty, Attribute: nasty, Domain: nasty, Link: &Link{URL: nasty, Text: nasty}},
		"logout":     Logout{Site: nasty, User: nasty},
		"signed out": SignedOut{Site: nasty, IdP: nasty, Again: nasty},
		"session":    Session{Site: nasty, User: nasty, Email: nasty, Groups: []string{nasty}, Expires: time.Now(), Apps: []Link{{URL: nasty, Text: nasty}}},
		"kept":       Kept{Site: nasty, SignIn: nasty, Again: nasty, Key: nasty, Form: &Form{To: nasty, Type: nasty, Fields: []Field{{Name: nasty, Value: nasty + "</SCRIPT>\u2028<!--"}}}},
		"lost":       Kept{Site: nasty, Again: nasty},
		"resend":     Resend{Site: nasty, Key: nasty, User: nasty, App: nasty},
		"frame":      Frame{Site: nasty, SignIn: nasty, Continue: nasty},
	}
}

// scripts are the scripts of those pages that have one.
var scripts = map[string]string{"post": submit, "login list": narrow, "kept": keep, "resend": resend}

// visit is a request of somebody who reads these languages.
func visit(languages string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Language", languages)
	return r
}

func TestPages(t *testing.T) {
	t.Parallel()
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	script := regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	for name, p := range pages() {
		w := httptest.NewRecorder()
		plain.Write(w, visit(""), 418, p)
		body, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
		if w.Code != 418 {
			t.Errorf("%s: status = %d, want %d", name, w.Code, 418)
		}
		if strings.Contains(body, "alert(1)</script>") || strings.Contains(body, `"><`+"script>alert") || strings.Contains(body, "ZgotmplZ") && name != "error" && name != "session" && name != "frame" && name != "kept" && name != "lost" && name != "resend" {
			t.Errorf("%s: a value broke out:\n%s", name, body)
		}
		css := style.FindStringSubmatch(body)
		if css == nil || !strings.Contains(policy, "style-src "+Source(css[1])+";") {
			t.Errorf("%s: policy %q does not name the stylesheet of the page", name, policy)
		}
		found := script.FindAllStringSubmatch(body, -1)
		if want := scripts[name]; want == "" && (len(found) != 0 || strings.Contains(policy, "script-src")) {
			t.Errorf("%s: has a script", name)
		} else if want != "" && (len(found) != 1 || found[0][1] != want || !strings.HasSuffix(policy, "; script-src "+Source(want))) {
			t.Errorf("%s: policy %q does not name the script of the page", name, policy)
		}
		for _, want := range []string{`<html lang="en">`, `name="viewport"`, "<main", "<h1>", "<title>"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: lacks %s", name, want)
			}
		}
		if strings.Contains(body, "style=") || regexp.MustCompile(`\son\w+=`).MatchString(body) || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: needs more than the policy allows", name)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for name, p := range pages() {
		w := httptest.NewRecorder()
		plain.Write(w, visit(""), 200, p)
		for header, want := range map[string]string{
			"Cache-Control":          "no-store",
			"X-Content-Type-Options": "nosniff",
			"Content-Type":           "text/html; charset=utf-8",
		} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s = %q, want %q", name, header, got, want)
			}
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors ", "base-uri 'none'", "form-action "} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %s", name, policy, want)
			}
		}
		// What is for frames may be framed, and nothing else.
		if strings.Contains(policy, "frame-ancestors 'none';") == (name == "frame") {
			t.Errorf("%s: policy %q", name, policy)
		}
		want := "same-origin"
		if name == "post" {
			want = "strict-origin"
		}
		if got := w.Header().Get("Referrer-Policy"); got != want {
			t.Errorf("%s: Referrer-Policy = %q, want %q", name, got, want)
		}
	}
}

// A target goes through the pages unchanged, and a sealed one hides a path.
func TestTarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		target             Target
		wantForm, wantLink string
	}{
		{Target{}, `autofocus`, `?domain=acme.example"`},
		{Target{Return: "/p?a=1&b=2"}, `name="rd" value="/p?a=1&amp;b=2"`, `?domain=acme.example&amp;rd=%2fp%3fa%3d1%26b%3d2"`},
		{Target{To: "MTIz==", Return: "/p"}, `name="to" value="MTIz=="`, `?domain=acme.example&amp;to=MTIz%3d%3d"`},
	} {
		w := httptest.NewRecorder()
		plain.Write(w, visit(""), 200, Login{Target: test.target, Remembered: "acme.example"})
		body := w.Body.String()
		if !strings.Contains(body, test.wantForm) || !strings.Contains(body, test.wantLink) {
			t.Errorf("%+v: page lacks %s or %s:\n%s", test.target, test.wantForm, test.wantLink, body)
		}
		if strings.Contains(body, `name="rd"`) && test.target.To != "" {
			t.Errorf("%+v: both targets", test.target)
		}
	}
}

// An operator's name, logo, colors, links and help are on the pages, and break nothing.
func TestBrand(t *testing.T) {
	t.Parallel()
	s, err := New(Brand{
		Name: "Acme <Portal>", Logo: "data:image/png;base64,AAAA", Style: ":root {--accent: #123456;}",
		Links: []Link{{URL: "https://help.example.com/?a=1&b", Text: "Help & more"}, {URL: "tel:+15550100", Text: "Call"}},
		Help:  map[string]string{"user_blocked": "Call <us>."},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range pages() {
		w := httptest.NewRecorder()
		s.Write(w, visit(""), 200, p)
		body := w.Body.String()
		for _, want := range []string{"Acme &lt;Portal&gt;", `src="data:image/png;base64,AAAA"`, "--accent: #123456;", `href="https://help.example.com/?a=1&amp;b">Help &amp; more<`, `href="tel:+15550100"`} {
			if !strings.Contains(body, want) && !(strings.HasPrefix(want, `href="tel`) && strings.Contains(body, `href="tel:&#43;15550100"`)) {
				t.Errorf("%s: lacks %s:\n%s", name, want, body)
			}
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, Source(s.style)) || s.style == plain.style {
			t.Errorf("%s: policy %q does not name the stylesheet with the colors", name, policy)
		}
	}
	for code, want := range map[string]bool{"user_blocked": true, "forbidden": false} {
		w := httptest.NewRecorder()
		s.Write(w, visit(""), 200, Error{Say: code, Code: code})
		if got := strings.Contains(w.Body.String(), "Call &lt;us&gt;."); got != want {
			t.Errorf("%s: help is %v, want %v", code, got, want)
		}
	}
}

// Templates of an operator come in place of ours, and each mistake in them is told
// with the file that it is in.
func TestFolder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		why   string
		files map[string]string
		want  string // in the error, or on the sign-in page
		ok    bool
	}{
		{"none", nil, "<h1>Sign in</h1>", true},
		{"a stylesheet", map[string]string{"style.css": "body { color: teal }"}, "<style>body { color: teal }</style>", true},
		{"a page", map[string]string{"login.html": strings.ReplaceAll(mustRead("login.html"), "<form", "<p>Welcome, {{name}}</p><form")}, "<p>Welcome, Acme</p><form", true},
		{"a layout", map[string]string{"layout.html": strings.ReplaceAll(mustRead("layout.html"), "</body>", "<p>end</p></body>")}, "<p>end</p></body>", true},
		{"hidden files", map[string]string{".keep": "x"}, "<h1>", true},
		{"a file that there is not", map[string]string{"logon.html": ""}, "logon.html: there is no such file to replace; want style.css, or one of choose, error,", false},
		{"a script", map[string]string{"narrow.js": ""}, "narrow.js: there is no such file", false},
		{"no template", map[string]string{"error.html": "{{define \"main\"}}\n{{if}}{{end}}"}, "error.html:2: missing value for if", false},
		{"an unknown field", map[string]string{"session.html": "{{define \"title\"}}{{end}}{{define \"main\"}}{{.Groups}}{{.Nickname}}{{end}}"}, "Nickname", false},
		{"an unknown function", map[string]string{"session.html": "{{define \"main\"}}{{exec \"ls\"}}{{end}}"}, "session.html:1: function \"exec\" not defined", false},
		{"a value where none is safe", map[string]string{"logout.html": "{{define \"title\"}}{{end}}{{define \"main\"}}<a onclick={{.User}} b='{{end}}"}, "logout.html", false},
		{"a form that leads nowhere", map[string]string{"login.html": strings.ReplaceAll(mustRead("login.html"), "/.jitgate/login\"", "/login\"")}, `login.html: the page lacks action="/.jitgate/login"`, false},
		{"a page that forgets where one was going", map[string]string{"login.html": strings.ReplaceAll(mustRead("login.html"), "{{template \"fields\" .Target}}", "")}, `login.html: the page lacks name="to"`, false},
		{"a message that is not sent", map[string]string{"post.html": strings.ReplaceAll(mustRead("post.html"), "{{.Message}}", "")}, "post.html: the page lacks some-message", false},
		{"a stylesheet of Windows", map[string]string{"style.css": "a{}\r\nb{}\r"}, "<style>a{}\nb{}\n</style>", true},
		{"a stylesheet that is none", map[string]string{"style.css": "a{}\x00"}, "style.css: is not a text in UTF-8", false},
		{"a stylesheet in another encoding", map[string]string{"style.css": "a{content: '\xfc'}"}, "style.css: is not a text in UTF-8", false},
		{"space around the style", map[string]string{"layout.html": strings.ReplaceAll(mustRead("layout.html"), "<style>{{style}}</style>", "<style>\n{{style}}\n</style>")}, "browsers would block what is in <style>", false},
		{"space around a script", map[string]string{"kept.html": strings.ReplaceAll(mustRead("kept.html"), "<script>{{keep}}</script>", "<script>\n{{keep}}\n</script>")}, "kept.html: browsers would block what is in <script>", false},
		{"a script of one's own", map[string]string{"logout.html": strings.ReplaceAll(mustRead("logout.html"), "{{define \"main\"}}", "{{define \"main\"}}<script>alert(1)</script>")}, "logout.html: browsers would block what is in <script>", false},
		{"a page that takes for granted what is not always there", map[string]string{"error.html": "{{define \"title\"}}{{end}}{{define \"main\"}}{{.Code}} {{.RequestID}} {{.Link.URL}}{{end}}"}, "error.html", false},
		{"a page that loses the way on", map[string]string{"frame.html": "{{define \"title\"}}{{end}}{{define \"main\"}}{{if not .Lost}}{{.SignIn}} {{.Continue}}{{end}}{{end}}"}, "frame.html: the page lacks /some-sign-in", false},
		{"the end of the style", map[string]string{"style.css": "a{} </Style><script>"}, "style.css: has </style in it", false},
	} {
		dir := t.TempDir()
		for name, text := range test.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := New(Brand{Name: "Acme", Folder: dir}, nil)
		if !test.ok {
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("%s: %v, want %s in %s", test.why, err, test.want, dir)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.why, err)
			continue
		}
		w := httptest.NewRecorder()
		s.Write(w, visit(""), 200, Login{})
		if !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: the page lacks %s:\n%s", test.why, test.want, w.Body)
		}
		if !strings.Contains(w.Header().Get("Content-Security-Policy"), Source(s.style)) {
			t.Errorf("%s: the policy does not name the stylesheet", test.why)
		}
	}
	if _, err := New(Brand{Folder: filepath.Join(t.TempDir(), "none")}, nil); err == nil {
		t.Error("a folder that there is not is taken")
	}
}

// What cannot be shown is told, and answered with the status that it has.
func TestFailed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "{{define \"title\"}}{{end}}{{define \"main\"}}{{.Code}} {{.RequestID}} {{if eq .Code \"forbidden\"}}{{index .User 9}}{{end}}{{with .Link}}{{.URL}}{{end}}{{end}}"
	if err := os.WriteFile(filepath.Join(dir, "error.html"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var told error
	s, err := New(Brand{Folder: dir}, func(err error) { told = err })
	if err != nil {
		t.Fatal(err)
	}
	for want, status := range map[int]int{500: 403, 503: 503} {
		w := httptest.NewRecorder()
		s.Write(w, visit(""), status, Error{Say: "forbidden", Code: "forbidden", User: "ann"})
		if w.Code != want || told == nil || !strings.Contains(told.Error(), "error.html") || w.Body.Len() == 0 {
			t.Errorf("%d: %d %q, told of %v, want %d", status, w.Code, w.Body, told, want)
		}
		told = nil
	}
}

// The grounds that colors are checked against by the configuration are those of the
// stylesheet.
func TestGround(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"--card: #ffffff;", "--card: #1b2129;", "--accent: #1f5fbf;", "--accent: #8ab8ff;"} {
		if !strings.Contains(plain.style, want) {
			t.Errorf("the stylesheet lacks %s", want)
		}
	}
}
