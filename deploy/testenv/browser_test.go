package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// cookieSite sets cookies of every kind, and shows what comes back: at /set,
// /show, and at /from a form and a link to another address.
func cookieSite(t *testing.T) *httptest.Server {
	cookies := []string{
		"lax=1; Path=/; SameSite=Lax",
		"strict=1; Path=/; SameSite=Strict",
		"none=1; Path=/; SameSite=None",
		"none-secure=1; Path=/; SameSite=None; Secure",
		"unset=1; Path=/",
		"secure=1; Path=/; Secure",
		"__Host-good=1; Path=/; Secure; SameSite=Lax",
		"__Host-path=1; Path=/show; Secure",
		"__Host-open=1; Path=/",
		"__Secure-good=1; Path=/; Secure",
		"below=1; Path=/show",
		"beside=1; Path=/sho",
		"default-path=1",
		"gone=1; Path=/; Max-Age=0",
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/set", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range cookies {
			w.Header().Add("Set-Cookie", c)
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<p>set</p>")
	})
	mux.HandleFunc("/show", func(w http.ResponseWriter, r *http.Request) {
		seen := map[string]any{"method": r.Method, "cookies": names(r.Cookies())}
		for _, h := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
			seen[h] = r.Header.Get(h)
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<pre>")
		json.NewEncoder(w).Encode(seen)
		fmt.Fprint(w, "</pre>")
	})
	mux.HandleFunc("/from", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		to := r.URL.Query().Get("to")
		fmt.Fprintf(w, `<a id="link" href="%[1]s">go</a>
			<form method="post" action="%[1]s"><button id="button">send</button></form>`, to)
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func names(cookies []*http.Cookie) []string {
	var out []string
	for _, c := range cookies {
		out = append(out, c.Name)
	}
	slices.Sort(out)
	return out
}

// TestBrowserIsLikeChromium visits the same pages with both.
func TestBrowserIsLikeChromium(t *testing.T) {
	t.Parallel()
	site := cookieSite(t)
	_, port, _ := strings.Cut(site.Listener.Addr().String(), ":")
	at := func(host, path string) string { return "http://" + host + ":" + port + path }
	from := func(host, path, to string) string { return at(host, path) + "?to=" + url.QueryEscape(to) }
	show := at("app.localhost", "/show")

	ctx := Chromium(t)
	b := NewBrowser(t, nil)
	if err := chromedp.Do(ctx, chromedp.Navigate(at("app.localhost", "/set"))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(at("app.localhost", "/set")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, page string
		click      string // "" means that the page itself shows the cookies
	}{
		{"typed in", show, ""},
		{"typed in, then redirected by another site", from("idp.localhost", "/redirect", show), ""},
		{"link on the same origin", from("app.localhost", "/from", show), "link"},
		{"form on the same origin", from("app.localhost", "/from", show), "button"},
		{"link on a host below, which is the same site", from("x.app.localhost", "/from", show), "link"},
		{"form on a host below", from("x.app.localhost", "/from", show), "button"},
		{"link on another name below localhost, another site", from("idp.localhost", "/from", show), "link"},
		{"form there, as an identity provider posts", from("idp.localhost", "/from", show), "button"},
		{"form on an address", from("127.0.0.1", "/from", show), "button"},
		{"form that another site redirects back", from("app.localhost", "/from", from("idp.localhost", "/redirect", show)), "button"},
		{"form to another name that is not local", from("app.localhost", "/from", at("wiki.example.com", "/show")), "button"},
	}
	for _, test := range tests {
		real, err := inChromium(ctx, test.page, test.click)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		page, err := inBrowser(b, test.page, test.click)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got, want := page.Text(), strings.TrimSpace(real); got != want {
			t.Errorf("%s: Browser sent %s, Chromium %s", test.name, got, want)
		}
	}
}

// TestBrowserCookies takes a cookie from one browser to another.
func TestBrowserCookies(t *testing.T) {
	t.Parallel()
	site := cookieSite(t)
	one, two := NewBrowser(t, nil), NewBrowser(t, nil)
	if _, err := one.Open(site.URL + "/set"); err != nil {
		t.Fatal(err)
	}
	for _, c := range one.Cookies(site.URL + "/show") {
		if err := two.SetCookie(site.URL+"/show", c); err != nil {
			t.Fatal(err)
		}
	}
	host := "127.0.0.1"
	two.Forget(host, "lax")
	page, err := two.Post(site.URL+"/show", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `"cookies":["__Secure-good","below","default-path","none-secure","secure","unset"]`
	if !strings.Contains(page.Body, want) {
		t.Errorf("from another site: %s, want %s", page.Body, want)
	}
	if got := names(two.Cookies(site.URL)); slices.Contains(got, "lax") || !slices.Contains(got, "strict") {
		t.Errorf("cookies = %q, want strict and not lax", got)
	}
	two.Forget(host, "")
	if got := two.Cookies(site.URL); got != nil {
		t.Errorf("cookies = %q, want none", names(got))
	}
}

func inChromium(ctx context.Context, address, click string) (string, error) {
	steps := []chromedp.Action[chromedp.Void]{chromedp.Navigate(address)}
	if click != "" {
		steps = append(steps, chromedp.Click("#"+click))
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		return "", err
	}
	return chromedp.Run(ctx, chromedp.Text("pre"))
}

func inBrowser(b *Browser, address, click string) (*Page, error) {
	page, err := b.Open(address)
	switch {
	case err != nil || click == "":
		return page, err
	case click == "link":
		return page.Follow("go")
	}
	return page.Forms[0].Submit("send")
}

// signInPages is a sign-in without the cryptography: a discovery page, a login
// page and a form that submits itself.
func signInPages(t *testing.T) (address string) {
	page := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "<!doctype html><title>Sign&#32;in</title><body>"+body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page(`<script>not()</script><p>Who are <b>you</b>?<p>Say so.
		<form action="/remembered" method="post"><button name="domain" value="1">Continue</button></form>
		<form action="/discover?x=1" method="post"><input name="rd" type="hidden" value="/a&amp;b">
			<input name="domain"><input type="checkbox" name="keep" checked><input type="checkbox" name="not">
			<select name="lang"><option>en<option selected value="fr">French</select>
			<button>Go on</button><button name="other" value="1">Another way</button></form>`))
	mux.HandleFunc("POST /discover", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		if r.PostForm.Get("domain") != "acme.example" {
			page(`<p>unknown<form method="post"><input name="domain"></form>`)(w, r)
			return
		}
		if got, want := r.PostForm.Encode(), "domain=acme.example&keep=on&lang=fr&rd=%2Fa%26b"; got != want {
			t.Errorf("form = %q, want %q", got, want)
		}
		http.Redirect(w, r, "/idp", http.StatusSeeOther)
	})
	mux.HandleFunc("/idp", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("user") == "alice" && r.FormValue("pw") == "secret" {
			page(`<form method="post" action="/acs"><input type="hidden" name="SAMLResponse" value="r">
				<noscript><button>Continue</button></noscript></form>`)(w, r)
			return
		}
		page(`<p>Name and password<form method="post"><input name="user"><input name="pw" type="password"></form>`)(w, r)
	})
	mux.HandleFunc("POST /acs", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "in with %s", r.FormValue("SAMLResponse"))
	})
	mux.HandleFunc("POST /remembered", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "button %s", r.FormValue("domain"))
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	return "http://sso.example.com:" + port
}

func TestBrowserLogin(t *testing.T) {
	t.Parallel()
	address := signInPages(t)
	b := NewBrowser(t, nil)
	page, err := b.Login(address+"/", "acme.example", "alice", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := page.Body, "in with r"; got != want {
		t.Errorf("page = %q, want %q", got, want)
	}
	want := []string{"GET / 200", "POST /discover 303", "GET /idp 200", "POST /idp 200", "POST /acs 200"}
	for i, got := range b.Trail {
		if got = strings.Replace(got, address, "", 1); got != want[i] {
			t.Errorf("request %d = %q, want %q", i, got, want[i])
		}
	}

	b.Hold = true
	if page, err = b.Login(address+"/idp", "", "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	f, ok := page.FormWith("SAMLResponse")
	if !ok {
		t.Fatalf("held page = %q, want the form", page.Body)
	}
	if page, err = f.Set("SAMLResponse", "changed").Submit(); err != nil {
		t.Fatal(err)
	}
	if got, want := page.Body, "in with changed"; got != want {
		t.Errorf("page = %q, want %q", got, want)
	}

	if page, err = b.Post(address+"/acs", url.Values{"SAMLResponse": {"stolen"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := page.Body, "in with stolen"; got != want {
		t.Errorf("page = %q, want %q", got, want)
	}

	for _, wrong := range [][3]string{{"nowhere.example", "alice", "secret"}, {"acme.example", "alice", "wrong"}} {
		if page, err := b.Login(address+"/", wrong[0], wrong[1], wrong[2]); err == nil {
			t.Errorf("login with %q ended at %q, want an error", wrong, page.Text())
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	address := signInPages(t)
	b := NewBrowser(t, nil)
	page, err := b.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := page.Title(), "Sign in"; got != want {
		t.Errorf("title = %q, want %q", got, want)
	}
	if got, want := page.Text(), "Who are you? Say so."; !strings.HasPrefix(got, want) {
		t.Errorf("text = %q, want it to begin with %q", got, want)
	}
	if next, err := page.Forms[0].Submit("Continue"); err != nil || next.Body != "button 1" {
		t.Errorf("button = %v, %v, want its value to be sent", next, err)
	}
	if _, err := page.Forms[0].Submit("Stop"); err == nil {
		t.Error("a button that is not there was pressed")
	}
	if _, err := page.Follow("Elsewhere"); err == nil {
		t.Error("a link that is not there was followed")
	}
	if _, err := b.Open(address + "/loop"); err == nil {
		t.Error("redirects went on for ever")
	}
	if _, err := b.Open("http://192.0.2.1/"); err == nil || !strings.Contains(err.Error(), "not on this machine") {
		t.Errorf("address elsewhere: %v, want a refusal", err)
	}
}
