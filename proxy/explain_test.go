package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// TestExplain explains responses over the socket. What it says of the user and of
// the apps is what a sign-in with the very same response then does.
func TestExplain(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		sp := samltest.SPInfo{EntityID: s.cfg.SAML.EntityID, ACS: s.cfg.BaseURL + "/.jitgate/saml/acme/acs"}
		response := func(user, requestID string) string {
			t.Helper()
			u, _ := s.idp.User(user)
			text, err := s.idp.Good(sp, requestID, u).Base64()
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		explain := func(q Question, status int) (x Explanation) {
			t.Helper()
			body, err := json.Marshal(q)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			s.Socket().ServeHTTP(w, httptest.NewRequest("POST", "/explain", bytes.NewReader(body)))
			if w.Code != status {
				t.Fatalf("explain: %d %s, want %d", w.Code, w.Body, status)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &x); err != nil {
				t.Fatal(err)
			}
			return x
		}
		access := func(x Explanation) string {
			var all []string
			for _, a := range x.Apps {
				all = append(all, fmt.Sprintf("%s %v (%s)", a.App, a.Allowed, a.Why))
			}
			return strings.Join(all, ", ")
		}

		id := samltest.NewID()
		captured := response("ann", id)
		x := explain(Question{IdP: "acme", Response: captured}, 200)
		if !x.Accepted || x.Code != "" || x.Login.Before != nil || x.Login.After.UserName != "ann" {
			t.Errorf("explanation = %+v, want ann accepted as a new user", x)
		}
		if got, want := access(x), "tools true (any user), wiki true (group engineers)"; got != want {
			t.Errorf("apps = %s, want %s", got, want)
		}
		if x := explain(Question{IdP: "acme", Response: response("bob", id)}, 200); access(x) != "tools true (any user), wiki false (wants a group: engineers)" {
			t.Errorf("apps of bob = %s", access(x))
		}

		// It was not used up: the same response signs in, and then it is.
		identity, err := s.Gateway.idps["acme"].Finish(t.Context(), captured, id)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.users.SignIn(t.Context(), provision.SignIn{IdP: "acme", Attributes: sentAttributes(identity)})
		if err != nil || strings.Join(out.User.Groups, " ") != strings.Join(x.Login.After.Groups, " ") {
			t.Errorf("signed in as %+v, %v, explained as %+v", out.User, err, x.Login.After)
		}
		echoed := parseEcho(t, body(s.get(s.signedIn("ann", s.url("wiki", "/")), s.url("wiki", "/"))))
		for _, h := range x.Apps[1].Headers {
			if name, value, _ := strings.Cut(h, ": "); echoed.Header.Get(name) != value {
				t.Errorf("the app got %s: %q, explained as %q", name, echoed.Header.Get(name), value)
			}
		}
		x = explain(Question{IdP: "acme", Response: captured}, 200)
		if x.Accepted || x.Code != "saml_replayed" || x.Response.Refusal.Check != "replayed_assertion" || x.Login.Before == nil {
			t.Errorf("explanation after the sign-in: %v, code %s, refusal %v, want it used before, by a user who is known", x.Accepted, x.Code, x.Response.Refusal)
		}

		if x := explain(Question{IdP: "acme", Response: "?"}, 200); x.Code != "saml_invalid" || x.Login != nil || x.Apps != nil {
			t.Errorf("explanation of no response = %+v", x)
		}
		explain(Question{IdP: "typo", Response: captured}, 404)
		w := httptest.NewRecorder()
		s.Socket().ServeHTTP(w, httptest.NewRequest("POST", "/explain", strings.NewReader("{")))
		if w.Code != 400 {
			t.Errorf("a question that is none: %d, want 400", w.Code)
		}
		hookStore(rdb).setDown(true)
		explain(Question{IdP: "acme", Response: captured}, 503)
	})
}

// What a session alone says is not known of a response that nobody has signed in with.
func TestExplainWithoutSession(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{app: "allow: {any_user: true}\n    headers: {preset: shibboleth}"})
	for _, x := range s.accessOf(provision.User{ID: "i", UserName: "ann"}, "acme") {
		if x.App != "wiki" {
			continue
		}
		for _, want := range []string{"Remote-User: ann", "Shib-Handler: " + s.url("wiki", "/Shibboleth.sso"), "Shib-Session-Expires: ", "Shib-Session-Id: ", "Shib-Authentication-Instant: "} {
			if !slices.Contains(x.Headers, want) {
				t.Errorf("there is no %q in %q", want, x.Headers)
			}
		}
	}
}

// body is the second of what get returns.
func body(_ any, text string) string { return text }
