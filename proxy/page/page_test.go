package page

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// nasty is what somebody might have as a name, or send as a value.
const nasty = `"><script>alert(1)</script>'&{{.}}`

type writer interface {
	Write(http.ResponseWriter, *http.Request, int)
}

// pages are all pages, with hostile values everywhere.
func pages() map[string]writer {
	target := Target{To: nasty}
	return map[string]writer{
		"login":      Login{Site: nasty, Target: target, Domain: nasty, Unknown: true, Remembered: nasty},
		"login rd":   Login{Target: Target{Return: nasty}},
		"choose":     Choose{Site: nasty, Target: target, Domain: nasty, IdPs: []string{nasty, "b"}},
		"post":       Post{Site: nasty, Say: nasty, Action: "https://idp.example/sso?a=1&b=2", Parameter: nasty, Message: nasty, RelayState: nasty},
		"error":      Error{Site: nasty, Say: "attribute_missing", Args: []any{nasty}, Code: nasty, RequestID: nasty, App: nasty, User: nasty, Attribute: nasty, Domain: nasty, Link: &Link{URL: nasty, Text: nasty}},
		"logout":     Logout{Site: nasty, User: nasty},
		"signed out": SignedOut{Site: nasty, IdP: nasty, Again: nasty},
		"session":    Session{Site: nasty, User: nasty, Email: nasty, Groups: []string{nasty}, Expires: time.Now(), Apps: []Link{{URL: nasty, Text: nasty}}},
	}
}

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
		p.Write(w, visit(""), 418)
		body, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
		if w.Code != 418 {
			t.Errorf("%s: status = %d, want %d", name, w.Code, 418)
		}
		if strings.Contains(body, "alert(1)</script>") || strings.Contains(body, `"><`+"script>alert") || strings.Contains(body, "ZgotmplZ") && name != "error" && name != "session" {
			t.Errorf("%s: a value broke out:\n%s", name, body)
		}
		css := style.FindStringSubmatch(body)
		if css == nil || !strings.Contains(policy, "style-src "+source(css[1])+";") {
			t.Errorf("%s: policy %q does not name the stylesheet of the page", name, policy)
		}
		scripts := script.FindAllStringSubmatch(body, -1)
		if name == "post" && (len(scripts) != 1 || !strings.Contains(policy, "script-src "+source(scripts[0][1]))) {
			t.Errorf("%s: policy %q does not name the script of the page", name, policy)
		}
		if name != "post" && (len(scripts) != 0 || strings.Contains(policy, "script-src")) {
			t.Errorf("%s: has a script", name)
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
		p.Write(w, visit(""), 200)
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
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action "} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %s", name, policy, want)
			}
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
		Login{Target: test.target, Remembered: "acme.example"}.Write(w, visit(""), 200)
		body := w.Body.String()
		if !strings.Contains(body, test.wantForm) || !strings.Contains(body, test.wantLink) {
			t.Errorf("%+v: page lacks %s or %s:\n%s", test.target, test.wantForm, test.wantLink, body)
		}
		if strings.Contains(body, `name="rd"`) && test.target.To != "" {
			t.Errorf("%+v: both targets", test.target)
		}
	}
}
