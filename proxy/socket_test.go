package proxy

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
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
