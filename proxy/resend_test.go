package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/proxy/session"
)

// A post is what an app got of a form.
type post struct{ uri, kind, user, body string }

// formApp has the upstream show a form below /form, and returns what is posted.
func formApp(s *site, form string) (posts func() []post) {
	var mu sync.Mutex
	var got []post
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<!doctype html><title>form</title><h1>The form</h1>%s", form)
			return
		}
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, post{r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("X-Forwarded-User"), string(body)})
		mu.Unlock()
		http.Redirect(w, r, "/thanks", http.StatusSeeOther)
	})
	return func() []post {
		mu.Lock()
		defer mu.Unlock()
		return append([]post(nil), got...)
	}
}

// twenty are twenty fields with all that forms have: line breaks, the same name twice,
// no name, no value, markup, all kinds of characters.
const twenty = `<input name=a value="plain"><input name=a value="twice"><input name=empty><input name="sp ace" value="  leading and trailing  ">
<textarea name=text>

one
two &lt;/script&gt; three</textarea><input type=hidden name=hidden value="a&#13;b&#10;c&#13;&#10;d"><input name=markup value="&lt;script&gt;alert(1)&lt;/script&gt;&lt;!--">
<input name=uni value="Ünï ☃ 😀 &#x2028;"><input name="&#x444;" value="name"><input name=quote value="&quot;'\\&amp;=+%20;"><input name=star value="*-._~!()">
<input type=checkbox name=box value=1 checked><input type=checkbox name=box value=2 checked><input type=checkbox name=off><input type=radio name=r value=x checked>
<select name=s multiple><option selected>one<option selected>two</select><input type=number name=n value=007><input type=password name=p value="pass word">
<input name=long value="` + "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" + `"><input type=date name=d value=2026-01-31><input name="[x][y]" value="%00"><input name=last value=end>`

// A form that is sent after the session has ended arrives as it would have before,
// once its sender is signed in again and has said so.
func TestResend(t *testing.T) {
	for _, test := range []struct{ kind, form string }{
		{"urlencoded", "<form method=post action='/save?a=1&b=%2F'>" + twenty + "<button name=go value=yes>Save</button></form>"},
		{"multipart", "<form method=post enctype=multipart/form-data action='/save?a=1&b=%2F'>" + twenty + "<input type=file name=nothing><button name=go value=yes>Save</button></form>"},
	} {
		t.Run(test.kind, func(t *testing.T) {
			s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{http: true})
			posts := formApp(s, test.form)
			tab := testenv.NewTab(t)
			tab.Open(s.url("wiki", "/form"))
			signIn(tab, "ann")
			tab.At(s.url("wiki", "/form"))
			tab.Click("button")
			tab.At(s.url("wiki", "/thanks"))

			tab.Open(s.url("wiki", "/form"))
			s.clock.Add(2 * time.Hour) // longer than a session that nobody uses
			tab.Click("button")
			tab.See("#kept a")
			if got := tab.Text("main"); !strings.Contains(got, "has not been sent to the app yet") || strings.Contains(got, "new tab") {
				t.Errorf("the page says %q", got)
			}
			tab.Picture("kept-" + test.kind)
			tab.Click("#kept a")
			tab.See("#ask") // the identity provider still knows who it is
			if got := tab.Text("main"); !strings.Contains(got, "You are signed in as ann.") || !strings.Contains(got, "/save?a=1&b=%2F") || strings.Contains(got, "once already") {
				t.Errorf("the page says %q", got)
			}
			tab.Picture("resend-" + test.kind)
			if n := len(posts()); n != 1 {
				t.Fatalf("sent without asking: the app got %d forms", n)
			}
			tab.Click("#send button")
			tab.At(s.url("wiki", "/thanks"))

			got := posts()
			if len(got) != 2 {
				t.Fatalf("the app got %d forms, want 2", len(got))
			}
			if boundary := regexp.MustCompile(`----WebKitFormBoundary\w{16}`); test.kind == "multipart" {
				for i := range got {
					got[i].body, got[i].kind = boundary.ReplaceAllString(got[i].body, "B"), boundary.ReplaceAllString(got[i].kind, "B")
				}
			}
			if got[0] != got[1] || strings.Count(got[0].body, "name")+strings.Count(got[0].body, "=") < 20 {
				t.Errorf("the app got\n%q, want what it got before:\n%q", got[1], got[0])
			}

			// Back again, it does not look as if it had not been sent.
			tab.Back()
			tab.See("#sent")

			// Elsewhere there is nothing, and after an hour neither.
			address := testenv.Eval[string](tab, "location.href")
			other := tab.Beside()
			other.Open(address)
			other.See("#gone")
			testenv.Eval[bool](tab, `(() => { const name = Object.keys(sessionStorage)[0], kept = JSON.parse(sessionStorage.getItem(name)); kept.until -= 3600001; sessionStorage.setItem(name, JSON.stringify(kept)); return true })()`)
			tab.Open(address)
			tab.See("#gone")
			if n := testenv.Eval[int](tab, "sessionStorage.length"); n != 0 {
				t.Errorf("%d forms are kept for longer than an hour", n)
			}
		})
	}
}

// What one user has filled in, another who signs in in the same tab neither sees nor sends.
func TestResendOthers(t *testing.T) {
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{http: true})
	posts := formApp(s, `<form method=post action=/save><input name=password value=hunter2><button>Save</button></form>`)
	tab := testenv.NewTab(t)
	tab.Open(s.url("wiki", "/form"))
	signIn(tab, "ann")
	tab.At(s.url("wiki", "/form"))
	s.clock.Add(2 * time.Hour)
	tab.Click("button")
	tab.See("#kept a")
	address := testenv.Eval[string](tab, `decodeURIComponent(document.querySelector("#kept a").href.split("rd=")[1])`)
	// Ann signs out, and bob signs in, who may use the app too.
	s.idp.SetAttribute("bob", "department", "Engineering")
	tab.Open(s.url("wiki", "/form"))
	tab.At(s.url("wiki", "/form"))
	tab.Open(s.url("wiki", "/.jitgate/logout"))
	tab.Click("button")
	tab.At(s.url("wiki", "/.jitgate/logout?idp=everywhere"))
	tab.Open(s.url("wiki", "/form"))
	signIn(tab, "bob")
	tab.At(s.url("wiki", "/form"))
	tab.Open(s.url("wiki", address))
	tab.See("#gone")
	if n := testenv.Eval[int](tab, "sessionStorage.length"); n != 0 || len(posts()) != 0 {
		t.Errorf("%d forms are still kept, and %d were sent", n, len(posts()))
	}
}

// So many forms are kept at once, and in a minute for one address, that nobody can have
// the gateway hold them all in memory.
func TestKeptLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	send := func(body string) string {
		req, err := http.NewRequest(http.MethodPost, s.url("wiki", "/save"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "Origin": s.url("wiki", ""), "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate",
		} {
			req.Header.Set(name, value)
		}
		_, text := s.do(s.browser(), req)
		return text
	}
	large, small := "a="+strings.Repeat("b", smallForm), "a=b"
	isKept := func(body string) bool { return strings.Contains(send(body), `id="form"`) }
	for range maxKeeping {
		s.Gateway.keeping <- struct{}{}
	}
	if isKept(large) || !isKept(small) {
		t.Error("with all places taken a large form is kept, or a small one is not")
	}
	<-s.Gateway.keeping
	for range 2 { // the place is given back
		if !isKept(large) {
			t.Error("with a place free a large form is not kept")
		}
	}
	for range s.cfg.Limits.LoginsPerMinute {
		_ = s.attempt(&event{client: "127.0.0.1"})
	}
	if isKept(large) || !isKept(small) {
		t.Error("of an address with too many attempts a large form is kept, or a small one is not")
	}
}

// A form that an app for some identity providers alone gets is sent after a sign-in there.
func TestResendIdP(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{
			idps: "  - {name: second, directory: acme, metadata: {file: idp.xml}}\n",
			apps: "  - {name: inner, path: /inner, upstream: UPSTREAM, allow: {any_user: true}, identity_providers: [second]}\n  - {name: root, upstream: UPSTREAM, allow: {any_user: true}, identity_providers: [acme]}\n",
		})
		for path, want := range map[string]string{"/inner/save": "second", "/save": "acme", "/tools/": ""} {
			app := s.appAt(target{Host: "sso.example.com", Return: resendAt("KEY", path)})
			for _, idp := range []string{"acme", "second"} {
				if got := app.takes(idp); got != (want == "" || idp == want) {
					t.Errorf("a form for %s is sent after a sign-in at %s: %v", path, idp, got)
				}
			}
		}
	})
}

// Where a form cannot be kept, the page says so while it is one step back.
func TestResendWithout(t *testing.T) {
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{http: true})
	posts := formApp(s, `<form method=post action=/save><textarea name=text></textarea><button>Save</button></form>`)
	tab := testenv.NewTab(t)
	tab.Open(s.url("wiki", "/form"))
	signIn(tab, "ann")
	tab.At(s.url("wiki", "/form"))
	tab.Type("textarea", "something dear")

	// Without scripts: in a new tab one signs in, and the form is still there.
	s.clock.Add(2 * time.Hour)
	tab.WithoutScripts()
	tab.Click("button")
	tab.See("#lost a")
	if got := tab.Text("main"); !strings.Contains(got, "sign in in a new tab") || strings.Contains(got, "Files") || strings.Contains(got, "kept in this tab") {
		t.Errorf("the page says %q", got)
	}
	beside := tab.Beside()
	beside.Open(s.url("wiki", "/.jitgate/login"))
	beside.See("h1")
	eventually(t, "signed in", func() bool { return s.logged("request")["app"] == "wiki" && s.logged("request")["user"] == "ann" })
	tab.Back()
	tab.See("textarea")
	if got := testenv.Eval[string](tab, "document.querySelector('textarea').value"); got != "something dear" {
		t.Errorf("the form has %q, want what was typed", got)
	}
	tab.Click("button")
	tab.At(s.url("wiki", "/thanks"))
	if got := posts(); len(got) != 1 || got[0].body != "text=something+dear" {
		t.Errorf("the app got %q", got)
	}
}

// What is kept is a form of a page of our own that the browser will send again as it
// was, and nothing else: not what another site sends, not files, not a megabyte.
func TestKept(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		part := func(lines ...string) string { return "--B\r\n" + strings.Join(lines, "\r\n") + "\r\n--B--\r\n" }
		const urlencoded, multipart = "application/x-www-form-urlencoded", "multipart/form-data; boundary=B"
		own := []string{"Origin", s.url("wiki", ""), "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}
		with := func(changes ...string) []string { return append(append([]string{}, own...), changes...) }
		for _, test := range []struct {
			why, kind, body string
			headers         []string
			kept            string // in the page
			lost            bool   // the page says how to keep it
		}{
			{"a form", urlencoded, "a=b&a=&c+d=%C3%BC%0D%0A", own, `{"to":"/save?x=1","type":"application/x-www-form-urlencoded","fields":[{"name":"a","value":"b"},{"name":"a","value":""},{"name":"c d","value":"ü\r\n"}]}`, false},
			{"a form of nothing", urlencoded, "", own, `"fields":[]`, false},
			{"with a charset", urlencoded + "; charset=UTF-8", "a=b", own, `"name":"a"`, false},
			{"the end of a script", urlencoded, "a=%3C%2Fscript%3E%3Cscript%3Ealert%281%29%E2%80%A8%3C%21--", own, `\u003c/script\u003e\u003cscript\u003ealert(1)\u2028\u003c!--`, false},
			{"an older browser", urlencoded, "a=b", []string{"Origin", s.url("wiki", ""), "Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, `"name":"a"`, false},
			{"parts", multipart, part(`Content-Disposition: form-data; name="a"`, "", "b\r\nc"), own, `"type":"multipart/form-data","fields":[{"name":"a","value":"b\r\nc"}]`, false},
			{"a file that nobody chose", multipart, part(`Content-Disposition: form-data; name="f"; filename=""`, "Content-Type: application/octet-stream", "", ""), own, `{"name":"f","value":"","file":true}`, false},
			{"a file", multipart, part(`Content-Disposition: form-data; name="f"; filename="a.txt"`, "Content-Type: text/plain", "", "x"), own, "", true},
			{"a file without a name", multipart, part(`Content-Disposition: form-data; name="f"; filename=""`, "", "x"), own, "", true},
			{"a part with a type", multipart, part(`Content-Disposition: form-data; name="f"`, "Content-Type: text/plain", "", "x"), own, "", true},
			{"half of the parts", multipart, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb", own, "", true},
			{"more than a megabyte", urlencoded, "a=" + strings.Repeat("b", maxKept), own, "", true},
			{"a megabyte", urlencoded, "a=" + strings.Repeat("b", maxKept-2), own, `"name":"a"`, false},
			{"text", "text/plain", "a=b", own, "", true},
			{"JSON", "application/json", "{}", own, "", true},
			{"another charset", urlencoded, "a=%FC", own, "", true},
			{"another spelling", urlencoded, "a=%c3%bc", own, "", true},
			{"no value", urlencoded, "a", own, "", true},
			{"a semicolon", urlencoded, "a=b;c=d", own, "", true},
			{"half a line break", urlencoded, "a=%0A", own, "", true},
			{"compressed", urlencoded, "a=b", with("Content-Encoding", "gzip"), "", true},
			{"another site", urlencoded, "a=b", with("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), "", false},
			{"another host of ours", urlencoded, "a=b", with("Origin", s.origin, "Sec-Fetch-Site", "same-site"), "", false},
			{"a page that wants no referrer", urlencoded, "a=b", with("Origin", "null"), `"name":"a"`, false},
			{"from nowhere", urlencoded, "a=b", with("Origin", "null", "Sec-Fetch-Site", "cross-site"), "", false},
			{"from nowhere, an older browser", urlencoded, "a=b", []string{"Origin", "null", "Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, "", false},
			{"too many fields", urlencoded, strings.Repeat("a=b&", maxFields) + "a=b", own, "", true},
			{"a backslash in a name", multipart, part(`Content-Disposition: form-data; name="a\[b]"`, "", "b"), own, "", true},
			{"who knows from where", urlencoded, "a=b", []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, "", false},
			{"a lie about the origin", urlencoded, "a=b", with("Sec-Fetch-Site", "cross-site"), "", false},
			{"a script", urlencoded, "a=b", with("Sec-Fetch-Mode", "cors"), "", false},
			{"in a frame", urlencoded, "a=b", with("Sec-Fetch-Dest", "iframe"), "", false},
		} {
			b := s.browser()
			req, err := http.NewRequest(http.MethodPost, s.url("wiki", "/save?x=1"), strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", test.kind)
			for i := 0; i < len(test.headers); i += 2 {
				req.Header.Set(test.headers[i], test.headers[i+1])
			}
			res, body := s.do(b, req)
			if res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) != 0 {
				t.Errorf("%s: %d with the cookies %v", test.why, res.StatusCode, res.Cookies())
			}
			kept := regexp.MustCompile(`(?s)<script type="application/json" id="form" data-key="([A-Z2-7]+)">(.*?)</script>`).FindStringSubmatch(body)
			if (kept != nil) != (test.kept != "") || kept != nil && !strings.Contains(kept[2], test.kept) {
				t.Errorf("%s: the page keeps %.300q, want %q", test.why, kept, test.kept)
			}
			if kept != nil && !strings.Contains(body, `href="`+s.url("wiki", "/.jitgate/login?rd=%2F.jitgate%2Fresend%3Fkey%3D"+kept[1]+"%26for%3D%252Fsave")+`"`) {
				t.Errorf("%s: no way to sign in and come back:\n%.3000s", test.why, body)
			}
			if got := strings.Contains(body, "Files, and forms of more than 1 MB"); got != test.lost {
				t.Errorf("%s: the page says how to keep it: %v, want %v", test.why, got, test.lost)
			}
			if got := s.logged("request")["code"]; got != "login_required" {
				t.Errorf("%s: logged as %v", test.why, got)
			}
		}
		if n := s.upstream.requests(); n != 0 {
			t.Errorf("the app was asked %d times", n)
		}
		// Nothing of it is in the store.
		keys, err := rdb.Keys(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if strings.Contains(key, s.cfg.Redis.KeyPrefix) && strings.Contains(key, "kept") {
				t.Errorf("the store has %s", key)
			}
		}
	})
}

// Whose a form is stays known when the cookie of their session is too old to open it.
func TestKeptOwner(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	b := s.signedIn("ann", s.url("wiki", "/"))
	owner := markOf(ownerOf(s.ann()))
	var err error
	if s.jar.sessions, err = session.NewKeyring(s.cfg.Session.KeyBytes(), "session", -time.Minute); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.url("wiki", "/save"), strings.NewReader("a=b"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Origin": s.url("wiki", ""), "Sec-Fetch-Site": "same-origin",
		"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html",
	} {
		req.Header.Set(name, value)
	}
	if res, body := s.do(b, req); res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `"owner":"`+owner+`"`) {
		t.Errorf("%d, and the form is not ann's: %.3000s", res.StatusCode, body)
	}
}

// The page that sends a kept form is for those who are signed in, and takes no key
// that we did not make.
func TestResendPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	const key = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	page, err := s.browser().Login(s.url("wiki", "/.jitgate/resend?key="+key), "", "ann", "secret")
	if err != nil || page.Status != http.StatusOK || page.URL.String() != s.url("wiki", "/.jitgate/resend?key="+key) || !strings.Contains(page.Body, `data-key="`+key+`"`) {
		t.Errorf("signed in on the way: %d at %v, %v", page.Status, page.URL, err)
	}
	b := s.signedIn("ann", s.url("wiki", "/"))
	for _, bad := range []string{"", "x", key + `"><script>`, strings.ToLower(key), strings.Repeat("A", 65)} {
		page, err := b.Open(s.url("wiki", "/.jitgate/resend?key="+url.QueryEscape(bad)))
		if err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("key %q: %d, %v", bad, page.Status, err)
		}
	}
	if res, _ := s.get(b, s.url("wiki", "/.jitgate/resend?key="+key), "Accept: application/json"); res.StatusCode != http.StatusOK {
		t.Errorf("as JSON: %d", res.StatusCode)
	}
}

// What is kept of a body is what a browser makes the same body of.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b&c=", "=", "&", "a=%C3%BC+%7E*", "a=%0D%0A", "%F0%9F%98%80=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		fields, err := urlencodedFields(body)
		if err != nil {
			return
		}
		var again bytes.Buffer
		for i, field := range fields {
			if i > 0 {
				again.WriteByte('&')
			}
			escape := func(s string) string { // by the specification of URLs, section 5.2, with the standard library's
				return strings.NewReplacer("~", "%7E", "%2A", "*").Replace(url.QueryEscape(s))
			}
			again.WriteString(escape(field.Name) + "=" + escape(field.Value))
		}
		if again.String() != body {
			t.Errorf("%q is kept as %+v, which browsers send as %q", body, fields, again.String())
		}
	})
}
