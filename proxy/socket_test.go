package proxy

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
)

// ask puts a question like "GET /users" to the admin socket and decodes the
// answer, which must be of the given status. It returns the error in it.
func (s *site) ask(question string, status int, answer any) string {
	s.t.Helper()
	method, path, _ := strings.Cut(question, " ")
	w := httptest.NewRecorder()
	s.Socket().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	if w.Code != status {
		s.t.Fatalf("%s: %d %s, want %d", question, w.Code, w.Body, status)
	}
	var problem struct{ Error string }
	if status == 200 {
		if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
			s.t.Fatalf("%s: %v: %s", question, err, w.Body)
		}
	} else if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Error == "" {
		s.t.Errorf("%s: %d without an error: %s", question, w.Code, w.Body)
	}
	return problem.Error
}

// events returns the types of events that a question about the audit trail finds.
func (s *site) events(query string) string {
	s.t.Helper()
	var trail provision.Trail
	s.ask("GET /audit?"+query, 200, &trail)
	var types []string
	for _, e := range trail.Events {
		types = append(types, e.Type)
	}
	return strings.Join(types, " ")
}

func TestSocketAudit(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.signedIn("ann", s.url("sso", "/tools/"))
		s.signedIn("bob", s.url("sso", "/tools/"))
		for query, want := range map[string]string{
			"user=bob":                   "user_created login",
			"user=ann&event=login":       "login",
			"directory=other":            "",
			"idp=other":                  "",
			"since=2999-01-01T00:00:00Z": "",
			"user=bob&since=2020-01-01T00:00:00%2B01:00&directory=acme&idp=acme": "user_created login",
		} {
			if got := s.events(query); got != want {
				t.Errorf("audit?%s = %q, want %q", query, got, want)
			}
		}
		var first, second provision.Trail
		s.ask("GET /audit?event=login&limit=1", 200, &first)
		s.ask("GET /audit?event=login&after="+url.QueryEscape(first.Next), 200, &second)
		if len(first.Events) != 1 || len(second.Events) != 1 || !first.More || second.More {
			t.Errorf("in parts: %+v, then %+v, want ann's login and then bob's", first, second)
		}
		for query, want := range map[string]struct {
			status int
			text   string
		}{
			"directory=typo": {404, `no directory "typo"`},
			"after=typo":     {400, `"typo" is not a place in a listing`},
			"since=typo":     {400, `since "typo" is not a time in RFC 3339`},
			"event=typo":     {400, `no event "typo"`},
		} {
			if got := s.ask("GET /audit?"+query, want.status, nil); !strings.HasPrefix(got, want.text) {
				t.Errorf("audit?%s: error %q, want %q", query, got, want.text)
			}
		}
		hookStore(rdb).setDown(true)
		s.ask("GET /audit", 503, nil)
	})
}

// sessions returns the sessions that a question finds or ends, as "user@host" and
// sorted, and the ID of one.
func (s *site) sessions(question string) (list, id string) {
	s.t.Helper()
	var a sessionsAnswer
	var names []string
	s.ask(question, 200, &a)
	if a.Sessions == nil {
		s.t.Errorf("%s: null, want a list", question)
	}
	for _, o := range a.Sessions {
		host, _, _ := strings.Cut(o.Host, ".")
		names = append(names, o.User+"@"+host)
		if o.Directory != "acme" || o.IdP != "acme" || o.UserID == "" || o.ID == "" || o.Created.IsZero() || !o.Seen.Equal(o.Created) ||
			!o.Ends.Equal(o.Created.Add(s.cfg.Session.Idle)) {
			s.t.Errorf("%s: %+v", question, o)
		}
	}
	if len(a.Sessions) > 0 {
		id = a.Sessions[0].ID
	}
	slices.Sort(names)
	return strings.Join(names, " "), id
}

func TestSocketSessions(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		want := func(question, want string) string {
			t.Helper()
			got, id := s.sessions(question)
			if got != want {
				t.Errorf("%s = %q, want %q", question, got, want)
			}
			return id
		}
		status := func(b *testenv.Browser, host, path string, want int) {
			t.Helper()
			if res, _ := s.get(b, s.url(host, path)); res.StatusCode != want {
				t.Errorf("%s%s answers %d, want %d", host, path, res.StatusCode, want)
			}
		}
		want("GET /sessions", "")
		desk := s.signedIn("ann", s.url("wiki", "/")) // on two hosts: the gateway's own is the first
		id := want("GET /sessions", "ann@sso ann@wiki")
		phone := s.signedIn("ann", s.url("sso", "/tools/"))
		bob := s.signedIn("bob", s.url("sso", "/tools/"))
		want("GET /sessions", "ann@sso ann@sso ann@wiki bob@sso")
		want("GET /sessions?user=ANN&directory=acme", "ann@sso ann@sso ann@wiki")
		want("GET /sessions?directory=other", "")
		var first, second sessionsAnswer
		s.ask("GET /sessions?limit=1", 200, &first) // ann
		s.ask("GET /sessions?limit=1&after="+url.QueryEscape(first.Next), 200, &second)
		if len(first.Sessions) != 3 || len(second.Sessions) != 1 || second.Next != "" {
			t.Errorf("a user at a time: %+v, then %+v", first, second)
		}

		// One host's session ends the others of its login, and no other login.
		want("DELETE /sessions/"+id, "ann@sso ann@wiki")
		status(desk, "wiki", "/", 401)
		status(desk, "sso", "/tools/", 401)
		status(phone, "sso", "/tools/", 200)
		want("GET /sessions", "ann@sso bob@sso")
		if got := s.ask("DELETE /sessions/"+id, 404, nil); got != `no session "`+id+`"` {
			t.Errorf("a second time: error %q", got)
		}
		if got := s.events("event=session_revoked&user=ann"); got != "session_revoked" {
			t.Errorf("audit trail of one login = %q, want one event", got)
		}
		if got := s.logged("audit"); got == nil {
			t.Error("the log has no audit line")
		}

		// All of a user, and nobody else's.
		s.signedIn("ann", s.url("wiki", "/"))
		ann := first.Sessions[0]
		var ended sessionsAnswer
		s.ask("DELETE /sessions?directory=acme&user="+ann.UserID, 200, &ended)
		if len(ended.Sessions) != 3 || ended.Logins != 2 {
			t.Errorf("ended %d sessions of %d logins, want 3 of 2", len(ended.Sessions), ended.Logins)
		}
		status(phone, "sso", "/tools/", 401)
		status(bob, "sso", "/tools/", 200)
		want("DELETE /sessions?directory=acme&user="+ann.UserID, "")
		if got := s.events("event=session_revoked"); got != "session_revoked session_revoked session_revoked" {
			t.Errorf("audit trail = %q, want one event a login", got)
		}

		for question, text := range map[string]string{
			"GET /sessions?user=nobody":                `no user "nobody"`,
			"GET /sessions?directory=typo":             `no directory "typo"`,
			"DELETE /sessions?directory=acme&user=bob": `no user "bob"`, // a name, not an ID
			"DELETE /sessions?user=" + ann.UserID:      `no user "` + ann.UserID + `"`,
			"DELETE /sessions?idp=typo":                `no identity provider "typo"`,
			"DELETE /sessions/typo":                    `no session "typo"`,
		} {
			if got := s.ask(question, 404, nil); got != text {
				t.Errorf("%s: error %q, want %q", question, got, text)
			}
		}
		if got := s.ask("DELETE /sessions?directory=acme", 400, nil); got != "want user, idp or all=true" {
			t.Errorf("of nobody: error %q", got)
		}
		hookStore(rdb).setDown(true)
		s.ask("GET /sessions", 503, nil)
		s.ask("DELETE /sessions/typo", 503, nil)
	})
}

func TestSocketOverview(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idp: `, groups: {attribute: groups, allow: ["project-*"]}`})
		s.idp.SetAttribute("bob", "groups", "project-x")
		s.signedIn("ann", s.url("sso", "/tools/"))
		s.signedIn("bob", s.url("sso", "/tools/"))
		for query, want := range map[string]string{
			"group=engineers":                `ann, rule: department is "Engineering"`,
			"group=engineers&directory=acme": `ann, rule: department is "Engineering"`,
			"group=project-x":                "bob, asserted by acme",
			"group=project-y":                "", // it may come
			"group=nobody":                   "",
			"group=a%2Cb":                    `ann, rule: department is "Engineering"`,
		} {
			var a membersAnswer
			s.ask("GET /members?"+query, 200, &a)
			names := ""
			for _, m := range a.Members {
				names += m.UserName + ", " + m.Why
			}
			if names != want || a.Members == nil {
				t.Errorf("members?%s = %q, want %q", query, names, want)
			}
		}
		// A page may have no member, and members after it.
		var first, second membersAnswer
		s.ask("GET /members?group=project-x&limit=1", 200, &first)
		s.ask("GET /members?group=project-x&limit=1&after="+url.QueryEscape(first.Next), 200, &second)
		if len(first.Members) != 0 || len(second.Members) != 1 || second.Next != "" {
			t.Errorf("a user at a time: %+v, then %+v", first, second)
		}

		acme := `{"name":"acme","state":"open","domains":["acme.example","acme-labs.example"],"idps":["acme"],"users":2,"configured":true}`
		other := `{"name":"other","state":"open","domains":["other.example"],"idps":[],"users":0,"configured":true}`
		for question, want := range map[string]string{
			"GET /groups?name=engineers":       `{"groups":[{"name":"engineers","configured":true,"entitlements":["wiki"]}]}`,
			"GET /groups?name=project-x":       `{"groups":[{"name":"project-x","configured":false}]}`,
			"GET /groups":                      `{"groups":[{"name":"a,b","configured":true},{"name":"engineers","configured":true,"entitlements":["wiki"]},{"name":"nobody","configured":true}]}`,
			"GET /counts":                      `{"counts":{"a,b":1,"engineers":1,"project-x":1},"next":""}`,
			"GET /counts?directory=other":      `{"counts":{},"next":""}`,
			"GET /directories":                 `{"directories":[` + acme + `,` + other + `]}`,
			"GET /directories?directory=other": `{"directories":[` + other + `]}`,
			"GET /directories/other":           `{"directories":[` + other + `]}`,
		} {
			var got json.RawMessage
			if s.ask(question, 200, &got); string(got) != want {
				t.Errorf("%s = %s, want %s", question, got, want)
			}
		}
		for question, want := range map[string]string{
			"GET /groups?name=typo":           `no group "typo"`,
			"GET /members?group=typo":         `no group "typo"`,
			"GET /directories/typo":           `no directory "typo"`,
			"GET /directories?directory=typo": `no directory "typo"`,
		} {
			if got := s.ask(question, 404, nil); got != want {
				t.Errorf("%s: error %q, want %q", question, got, want)
			}
		}
		hookStore(rdb).setDown(true)
		s.ask("GET /directories", 503, nil)
	})
}

// membersAnswer is the answer to questions about who is in a group.
type membersAnswer struct {
	Members []provision.Member
	Next    string
}
