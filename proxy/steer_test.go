package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/session"
)

// asks checks that a script's request to an app gets a status.
func (s *site) asks(b *testenv.Browser, host, path string, want int) {
	s.t.Helper()
	if res, _ := s.get(b, s.url(host, path)); res.StatusCode != want {
		s.t.Errorf("%s%s: status %d, want %d", host, path, res.StatusCode, want)
	}
}

// on sends a request to another gateway on the same store, with the browser's
// cookies.
func (s *site) on(g *Gateway, b *testenv.Browser, host, path string) int {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.url(host, path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range b.Cookies(s.url(host, path)) {
		req.AddCookie(c)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, req)
	return w.Code
}

// replica makes one more gateway, and leaves the site's log where it is.
func (s *site) replica() *Gateway {
	logs := s.logs
	defer func() { s.logs = logs }()
	return s.gateway()
}

// TestJ28BlockedSessionsEnd: the open sessions of a user who is blocked end at
// the next request, on every gateway of the store; unblocked, the user may sign in.
func TestJ28BlockedSessionsEnd(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		replica := s.replica()
		ann, bob := s.signedIn("ann", s.url("wiki", "/")), s.signedIn("bob", s.url("sso", "/tools/"))
		s.asks(ann, "wiki", "/", 200)
		if got := s.on(replica, ann, "wiki", "/"); got != 200 {
			t.Fatalf("on another gateway: status %d, want 200", got)
		}
		var found usersAnswer
		s.ask("GET /users?name=ann", 200, &found)
		path := "/users/" + found.Users[0].ID + "/block?directory=acme"

		// The block alone ends sessions, whatever becomes of their records.
		if _, _, err := s.users.Block(t.Context(), "acme", found.Users[0].ID, audit.Event{}); err != nil {
			t.Fatal(err)
		}
		if got := s.on(replica, ann, "wiki", "/"); got != 401 {
			t.Errorf("blocked, on another gateway: status %d, want 401", got)
		}
		s.asks(ann, "wiki", "/", 401)
		s.asks(bob, "sso", "/tools/", 200)
		page, err := ann.Login(s.url("wiki", "/"), "acme.example", "ann", "secret")
		if err != nil || page.Status != 403 || !strings.Contains(page.Text(), "user_blocked") || !strings.Contains(page.Text(), "administrator") {
			t.Errorf("signing in: %d %s, %v, want user_blocked and whom to ask", page.Status, page.Text(), err)
		}

		s.ask("DELETE "+path, 200, &found)
		if found.Users[0].Blocked != nil {
			t.Errorf("unblocked user = %+v", found.Users[0])
		}
		if page, err := ann.Login(s.url("wiki", "/"), "acme.example", "ann", "secret"); err != nil || page.Status != 200 {
			t.Errorf("signing in, unblocked: %d %s, %v, want 200", page.Status, page.Text(), err)
		}

		// Over the socket, the records go as well, each with an event.
		s.ask("POST "+path, 200, &found)
		if found.Users[0].Blocked == nil || found.Logins != 1 {
			t.Errorf("block = %+v, want her blocked and one login ended", found)
		}
		if open, err := s.Gateway.sessions.Open(t.Context(), ownerOf(found.Users[0])); err != nil || len(open) != 0 {
			t.Errorf("sessions left = %+v, %v, want none", open, err)
		}
		s.asks(ann, "wiki", "/", 401)
		if got, want := s.events("event=user_blocked"), "user_blocked user_blocked"; got != want {
			t.Errorf("trail = %q, want %q", got, want)
		}
		e := s.logged("audit")["event"].(audit.Event)
		if e.Type != audit.SessionRevoked || e.Client != "admin" || len(e.RequestID) != 32 {
			t.Errorf("last event in the log = %+v, want session_revoked by the administrator with a request ID", e)
		}
		for question, want := range map[string]string{
			"POST /users/typo/block?directory=acme":   `no user "typo"`,
			"DELETE /users/typo/block?directory=acme": `no user "typo"`,
			"POST /users/typo/block?directory=typo":   `no directory "typo"`,
		} {
			if got := s.ask(question, 404, nil); got != want {
				t.Errorf("%s: error %q, want %q", question, got, want)
			}
		}
	})
}

// TestSocketEndsSessions ends all sessions of an identity provider, and of
// everybody, user by user.
func TestSocketEndsSessions(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{idps: "  - {name: second, directory: acme, metadata: {file: second.xml}}"})
		ann, bob := s.browser(), s.browser()
		for b, idp := range map[*testenv.Browser]string{ann: "acme", bob: "second"} {
			name := map[string]string{"acme": "ann", "second": "bob"}[idp]
			if page, err := b.Login(s.url("sso", "/.jitgate/login?rd=/tools/&idp="+idp), "", name, "secret"); err != nil || page.Status != 200 {
				t.Fatalf("signing in at %s: %v, %v", idp, page, err)
			}
		}
		end := func(query string) (users string, logins int) {
			t.Helper()
			after := ""
			for {
				var part sessionsAnswer
				s.ask("DELETE /sessions?limit=1&"+query+"&after="+url.QueryEscape(after), 200, &part)
				for _, e := range part.Sessions {
					users += e.User
				}
				if logins += part.Logins; part.Next == "" {
					return users, logins
				}
				after = part.Next
			}
		}
		if users, logins := end("idp=second"); users != "bob" || logins != 1 {
			t.Errorf("of an identity provider: ended %q, %d logins, want bob's one", users, logins)
		}
		s.asks(bob, "sso", "/tools/", 401)
		s.asks(ann, "sso", "/tools/", 200)
		if users, logins := end("all=true"); users != "ann" || logins != 1 {
			t.Errorf("of everybody: ended %q, %d logins, want ann's one", users, logins)
		}
		s.asks(ann, "sso", "/tools/", 401)
	})
}

// TestJ26DeletedDirectoryEndsSessions deletes a directory over the socket in
// parts of one user, interrupted after the first.
func TestJ26DeletedDirectoryEndsSessions(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		replica := s.replica()
		ann, bob := s.signedIn("ann", s.url("wiki", "/")), s.signedIn("bob", s.url("sso", "/tools/"))
		s.signedIn("bob", s.url("sso", "/tools/")) // and never seen again
		if got := s.ask("POST /directories/acme", 409, nil); got != `directory "acme" is there already` {
			t.Errorf("creating an open one: error %q", got)
		}
		if got := s.ask("DELETE /directories/acme?after=x", 409, nil); got != `directory "acme" is not being deleted` {
			t.Errorf("going on with a deletion that is none: error %q", got)
		}

		var part directoriesAnswer
		s.ask("DELETE /directories/acme?limit=1", 200, &part)
		if d := part.Directories[0]; d.State != provision.StateDeleting || d.Users != 2 || part.Next == "" {
			t.Errorf("after the first part: %+v", part)
		}
		for _, b := range []*testenv.Browser{ann, bob} { // bob's sessions were not come to yet
			s.asks(b, "sso", "/tools/", 401)
			if got := s.on(replica, b, "sso", "/tools/"); got != 401 {
				t.Errorf("on another gateway: status %d, want 401", got)
			}
		}
		page, err := ann.Login(s.url("wiki", "/"), "acme.example", "ann", "secret")
		if err != nil || page.Status != 403 || !strings.Contains(page.Text(), "directory_deleted") {
			t.Errorf("signing in: %d %s, %v, want directory_deleted", page.Status, page.Text(), err)
		}
		if got := s.ask("POST /directories/acme", 409, nil); !strings.Contains(got, "not finished") {
			t.Errorf("creating one that is being deleted: error %q", got)
		}

		// Begun anew, it goes to the end.
		for after, parts := "", 0; ; parts++ {
			s.ask("DELETE /directories/acme?limit=1&after="+url.QueryEscape(after), 200, &part)
			if after = part.Next; after == "" || parts > 5 {
				break
			}
			part = directoriesAnswer{}
		}
		if d := part.Directories[0]; d.State != provision.StateDeleted || d.Users != 0 || d.Since.IsZero() {
			t.Errorf("at the end: %+v", d)
		}
		if left := rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:us:*").Val(); len(left) != 0 {
			t.Errorf("keys left = %q, want none of sessions", left)
		}
		if left := rdb.Keys(t.Context(), s.cfg.Redis.KeyPrefix+"{acme}:s:*").Val(); len(left) != 0 {
			t.Errorf("sessions left = %q, want none", left)
		}
		if got := s.ask("DELETE /directories/acme", 409, nil); got != `directory "acme" is deleted already` {
			t.Errorf("deleting it again: error %q", got)
		}
		if got := s.events("event=directory_deleted"); got != "directory_deleted" {
			t.Errorf("trail = %q, want one event", got)
		}

		part = directoriesAnswer{} // JSON leaves what it does not name
		s.ask("POST /directories/acme", 200, &part)
		if d := part.Directories[0]; d.State != provision.StateOpen || !d.Since.IsZero() {
			t.Errorf("created again: %+v", d)
		}
		if page, err := ann.Login(s.url("wiki", "/"), "acme.example", "ann", "secret"); err != nil || page.Status != 200 {
			t.Errorf("signing in there: %d %s, %v, want 200", page.Status, page.Text(), err)
		}
	})
}

// TestDeletedDirectoryOutOfConfiguration: what was left by a directory that is no
// longer configured can be deleted, and not opened.
func TestDeletedDirectoryOutOfConfiguration(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.signedIn("ann", s.url("wiki", "/"))
		old := *s.cfg
		s.cfg = &old
		s.cfg.Directories = s.cfg.Directories[1:]
		s.cfg.IdentityProviders = nil
		s.replace()
		s.ask("GET /users?directory=acme", 404, nil)
		var a directoriesAnswer
		s.ask("GET /directories/acme", 200, &a)
		if d := a.Directories[0]; d.Users != 1 || d.Configured {
			t.Errorf("directory = %+v, want one user and not configured", d)
		}
		s.ask("DELETE /directories/acme", 200, &a)
		if d := a.Directories[0]; d.State != provision.StateDeleted {
			t.Errorf("directory = %+v, want it deleted", d)
		}
		if got := s.ask("POST /directories/acme", 409, nil); !strings.Contains(got, "not in the configuration") {
			t.Errorf("creating it: error %q", got)
		}
	})
}

// replace puts the site's configuration in the place of the one in use.
func (s *site) replace() {
	s.t.Helper()
	users, err := provision.New(s.rdb, s.cfg.Redis.KeyPrefix, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.Replace(Options{Config: s.cfg, Redis: s.rdb, IdPs: s.idps, Users: users, Log: s.log}); err != nil {
		s.t.Fatal(err)
	}
}

// TestJ23ReplaceHoldsAtOnce: another configuration holds at the next request of
// each open session, and one that is not right changes nothing.
func TestJ23ReplaceHoldsAtOnce(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		ann := s.signedIn("ann", s.url("wiki", "/"))
		s.asks(ann, "wiki", "/", 200)

		old := *s.cfg
		next := old
		next.Groups = []config.Group{{Name: "engineers", Rule: &config.Rule{Attribute: "department", Is: "Research"}}}
		s.cfg = &next
		s.replace()
		s.asks(ann, "wiki", "/", 403)
		var members membersAnswer
		if s.ask("GET /members?group=engineers", 200, &members); len(members.Members) != 0 {
			t.Errorf("members over the socket = %+v, want none", members)
		}

		next = old
		next.Apps = append([]config.App{}, old.Apps...)
		next.Apps[0].Allow = config.Allow{AnyUser: true}
		s.replace()
		s.asks(ann, "wiki", "/", 200)

		next.IdentityProviders = append([]config.IdentityProvider{}, old.IdentityProviders...)
		next.IdentityProviders[0].Name = "nobody"
		if err := s.Replace(Options{Config: &next, Redis: rdb, IdPs: s.idps, Users: s.users, Log: s.log}); err == nil {
			t.Error("Replace with an identity provider without service provider: no error")
		}
		s.asks(ann, "wiki", "/", 200)
	})
}

// TestReplaceEndsStreams: an open stream goes on where the new configuration lets
// the visitor, and ends where it does not.
func TestReplaceEndsStreams(t *testing.T) {
	t.Parallel()
	rdb := testenv.Client(t, testenv.Embedded(t).Addr())
	s := newSite(t, rdb, setup{})
	s.watch = 10 * time.Millisecond
	ann := s.signedIn("ann", s.url("wiki", "/"))
	served := make(chan struct{}, 1)
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "first")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		served <- struct{}{}
	})
	req, err := http.NewRequest(http.MethodGet, s.url("wiki", "/stream"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := ann.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	hook, looked := hookStore(rdb), 0
	s.replace() // the same again
	testenv.Eventually(t, func() error {
		if looked += hook.reset(); looked < 8 {
			return fmt.Errorf("%d commands", looked)
		}
		return nil
	})
	select {
	case <-served:
		t.Fatal("the stream ended with a configuration that lets it go on")
	default:
	}
	next := *s.cfg
	next.Apps = append([]config.App{}, next.Apps...)
	next.Apps[0].Allow = config.Allow{Groups: []string{"a,b"}}
	next.Groups = []config.Group{{Name: "a,b", Users: []string{"bob@acme.example"}}} // not ann
	s.cfg = &next
	s.replace()
	testenv.Eventually(t, func() error {
		select {
		case <-served:
			return nil
		default:
			return fmt.Errorf("the stream goes on")
		}
	})
}

// TestDrop deletes what there is of users' sessions, and of nobody else's.
func TestDrop(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		var open []session.Owner
		for i := range 3 {
			o := session.Owner{Directory: "acme", UserID: fmt.Sprint(i)}
			for range 2 {
				if _, _, err := s.Gateway.sessions.Create(t.Context(), session.Record{Directory: o.Directory, UserID: o.UserID, Host: "h"}); err != nil {
					t.Fatal(err)
				}
			}
			open = append(open, o)
		}
		if err := s.Gateway.sessions.Drop(t.Context(), open[0], open[2], session.Owner{Directory: "acme", UserID: "nobody"}); err != nil {
			t.Fatal(err)
		}
		left, err := s.Gateway.sessions.Open(t.Context(), open...)
		if err != nil || len(left) != 2 || left[0].Owner() != open[1] || left[1].Owner() != open[1] {
			t.Errorf("sessions left = %+v, %v, want the two of the second user", left, err)
		}
	})
}

// TestReplaceEndsPublicStreams: a stream that nobody signed in for ends when its
// path is no longer public.
func TestReplaceEndsPublicStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	s.watch = 10 * time.Millisecond
	ended := make(chan struct{})
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "first")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(ended)
	})
	req, err := http.NewRequest(http.MethodGet, s.url("wiki", "/public/stream"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.browser().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	next := *s.cfg
	next.Apps = append([]config.App{}, next.Apps...)
	next.Apps[0].Public = nil
	s.cfg = &next
	s.replace()
	testenv.Eventually(t, func() error {
		select {
		case <-ended:
			return nil
		default:
			return fmt.Errorf("the stream goes on")
		}
	})
}

// TestReplaceRemovesHost: a login that was begun for an app on another host ends
// on our own when that host is no longer served.
func TestReplaceRemovesHost(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	b := s.browser()
	page, err := b.Open(s.url("wiki", "/deep"))
	if err != nil {
		t.Fatal(err)
	}
	next := *s.cfg
	next.Apps = next.Apps[1:] // without wiki
	s.cfg = &next
	s.replace()
	form, ok := page.FormWith("username", "password")
	if !ok {
		t.Fatalf("at %s: %s, want the identity provider's sign-in page", page.URL, page.Text())
	}
	form.Set("username", "ann")
	form.Set("password", "secret")
	page, err = form.Submit()
	if err != nil || page.Status != http.StatusOK || page.URL.String() != s.url("sso", "/.jitgate/session") {
		t.Errorf("the login ends with %d at %s, %v, want it on our own host", page.Status, page.URL, err)
	}
}

// TestJ26LatePartClosesNothing: a late part of a deletion does not close the
// directory that was created since, whenever that was.
func TestJ26LatePartClosesNothing(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		s.signedIn("ann", s.url("wiki", "/"))
		s.signedIn("bob", s.url("sso", "/tools/"))
		var part directoriesAnswer
		s.ask("DELETE /directories/acme?limit=1", 200, &part)
		between := &onceBefore{command: "hget", skip: 1, do: func() { // the first is that which sees it being deleted
			if err := s.users.EraseDirectory(t.Context(), "acme"); err != nil {
				t.Error(err)
			}
			if _, err := s.users.CreateDirectory(t.Context(), "acme", audit.Event{}); err != nil {
				t.Error(err)
			}
		}}
		rdb.AddHook(between)
		s.ask("DELETE /directories/acme?limit=1&after="+url.QueryEscape(part.Next), 200, &part)
		if !between.done || part.Directories[0].State != provision.StateOpen {
			t.Errorf("the directory is %s, want it open", part.Directories[0].State)
		}
		if got := s.events("event=directory_deleted"); got != "directory_deleted" {
			t.Errorf("trail = %q, want one event", got)
		}
	})
}

// onceBefore does something once, before a command of a name.
type onceBefore struct {
	command string
	skip    int // so many of that name
	do      func()
	done    bool
}

func (h *onceBefore) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *onceBefore) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == h.command && !h.done {
			if h.skip--; h.skip < 0 {
				h.done = true
				h.do()
			}
		}
		return next(ctx, cmd)
	}
}

func (h *onceBefore) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestJ28UnblockBringsNothingBack: a session that was made too late to be found
// when the user was blocked does not come back with the user.
func TestJ28UnblockBringsNothingBack(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		ann := s.signedIn("ann", s.url("sso", "/tools/"))
		var found usersAnswer
		s.ask("GET /users?name=ann", 200, &found)
		// The block alone, as if her session had come after the look for it.
		if _, _, err := s.users.Block(t.Context(), "acme", found.Users[0].ID, audit.Event{}); err != nil {
			t.Fatal(err)
		}
		s.ask("DELETE /users/"+found.Users[0].ID+"/block?directory=acme", 200, &found)
		s.asks(ann, "sso", "/tools/", 401)
	})
}
