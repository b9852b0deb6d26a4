package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/proxy/session"
)

// FuzzState holds that of what a browser brings back nothing opens but what was
// sealed for it, under its own name, and that nothing breaks down on the rest.
func FuzzState(f *testing.F) {
	j := &jar{secure: true, prefix: "__Host-", now: time.Now}
	for purpose, ring := range map[string]*session.Keyring{"session": &j.sessions, "login": &j.logins, "return": &j.targets, "logout": &j.logouts} {
		var err error
		if *ring, err = session.NewKeyring([][]byte{[]byte(strings.Repeat("k", 64))}, purpose, time.Hour); err != nil {
			f.Fatal(err)
		}
	}
	sealed := func(ring session.Keyring, name string, v any) string {
		text, err := seal(ring, name, v)
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	login := sealed(j.logins, j.loginPrefix()+"T", pending{IdP: "acme", RequestID: "id-1", Time: time.Now()})
	logout := sealed(j.logouts, j.logoutName(), leaving{IdP: "acme", Token: "T", Time: time.Now()})
	to := sealed(j.targets, "to", target{Host: "wiki.example.com", Return: "/"})
	for _, value := range []string{login, logout, to, "", "x", login[:40] + "A" + login[41:]} {
		f.Add("T", value)
		f.Add("", value)
		f.Add("T; a=b", value)
	}
	f.Fuzz(func(t *testing.T, token, value string) {
		h := http.Header{"Cookie": {j.loginPrefix() + token + "=" + value + "; " + j.logoutName() + "=" + value + "; " + j.sessionName() + "=" + value}}
		if p, ok := j.pending(h, token); ok && (p.RequestID != "id-1" || p.IdP != "acme" || token != "T") {
			t.Errorf("token %q, %q: a login %+v under way", token, value, p)
		}
		if p, ok := j.leaving(h, token); ok && (p.IdP != "acme" || token != "T") {
			t.Errorf("token %q, %q: a logout %+v under way", token, value, p)
		}
		if end, ok := j.openTarget(value); ok && end.Host != "wiki.example.com" {
			t.Errorf("%q: a target %+v", value, end)
		}
		if id, ok := j.session(h); ok {
			t.Errorf("%q: a session %q", value, id)
		}
	})
}
