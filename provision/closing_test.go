package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// byAdmin is where the tests' administrator comes from.
var byAdmin = audit.Event{RequestID: "admin-req", Client: "admin"}

// delete deletes a directory as far as it can be done at once.
func (w *world) delete(directory string) {
	w.t.Helper()
	if _, err := w.CloseDirectory(w.t.Context(), directory, byAdmin); err != nil {
		w.t.Fatal(err)
	}
	if err := w.EraseDirectory(w.t.Context(), directory); err != nil {
		w.t.Fatal(err)
	}
}

// begun works out a login, and stops before it is written.
func (w *world) begun(idp string, pairs ...string) change {
	w.t.Helper()
	p := w.idps[idp]
	c, _ := p.read(sent(pairs...))
	f, err := w.lookup(w.t.Context(), p, c)
	if err != nil {
		w.t.Fatal(err)
	}
	ch, refusal := w.decide(p, c, f, audit.Event{Time: time.Now()})
	if refusal != nil {
		w.t.Fatal(refusal)
	}
	return ch
}

// state returns the state of a directory, and how many users it has.
func (w *world) state(directory string) string {
	w.t.Helper()
	d, ok, err := w.Directory(w.t.Context(), directory)
	if err != nil || !ok {
		w.t.Fatalf("Directory(%q) = %v, %v", directory, ok, err)
	}
	return fmt.Sprintf("%s %d", d.State, d.Users)
}

// TestJ26DirectoriesAreDeletedWhole: a directory goes with all its users and what
// lies beside them, and stays closed until it is created again.
func TestJ26DirectoriesAreDeletedWhole(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ctx := t.Context()
		ann := w.login("acme", "userName", "ann", "ExternalId", "1", "unknown", "x").User
		w.login("acme-two", "userName", "bob")
		other := w.login("other", "userName", "ann").User
		if _, _, err := w.Block(ctx, "acme", ann.ID, byAdmin); err != nil {
			t.Fatal(err)
		}

		events, err := w.CloseDirectory(ctx, "acme", byAdmin)
		if err != nil || tell(events) != "directory_deleted" || events[0].RequestID != "admin-req" || events[0].Client != "admin" {
			t.Errorf("CloseDirectory = %+v, %v, want one directory_deleted by the administrator", events, err)
		}
		if got := w.state("acme"); got != "deleting 2" {
			t.Errorf("state = %s, want deleting 2", got)
		}
		if _, ok, err := w.User(ctx, "acme", ann.ID); ok || err != nil {
			t.Errorf("User in a closed directory: %v, %v, want none", ok, err)
		}
		if users, _, err := w.List(ctx, "acme", "", 10); len(users) != 0 || err != nil {
			t.Errorf("List of a closed directory = %v, %v, want nobody", users, err)
		}
		for _, idp := range []string{"acme", "acme-two", "acme-known"} {
			w.refused(CodeDirectoryDeleted, idp, "userName", "ann", "ExternalId", "1")
			w.refused(CodeDirectoryDeleted, idp, "userName", "new")
		}
		if _, ok, err := w.Block(ctx, "acme", ann.ID, byAdmin); ok || err != nil {
			t.Errorf("Block in a closed directory: %v, %v, want no user", ok, err)
		}
		if events, err := w.CreateDirectory(ctx, "acme", byAdmin); events != nil || err != nil || w.state("acme") != "deleting 2" {
			t.Errorf("CreateDirectory before the end of the deletion = %v, %v, state %s, want nothing done", events, err, w.state("acme"))
		}

		// Whoever was to finish it is gone; another one takes it up.
		if events, err := w.CloseDirectory(ctx, "acme", byAdmin); events != nil || err != nil {
			t.Errorf("CloseDirectory a second time = %v, %v, want nothing new", events, err)
		}
		for range 2 { // the second time there is nothing left to do
			if err := w.EraseDirectory(ctx, "acme"); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.state("acme"); got != "deleted 0" {
			t.Errorf("state = %s, want deleted 0", got)
		}
		left, err := rdb.Keys(ctx, w.prefix+"{acme}:*").Result()
		slices.Sort(left)
		if want := []string{w.keys("acme").audit, w.keys("acme").state}; err != nil || !slices.Equal(left, want) {
			t.Errorf("keys left = %q, %v, want %q", left, err, want)
		}
		w.refused(CodeDirectoryDeleted, "acme", "userName", "ann")

		events, err = w.CreateDirectory(ctx, "acme", byAdmin)
		if err != nil || tell(events) != "directory_created" {
			t.Errorf("CreateDirectory = %+v, %v, want directory_created", events, err)
		}
		if events, err := w.CreateDirectory(ctx, "acme", byAdmin); events != nil || err != nil {
			t.Errorf("CreateDirectory of an open one = %v, %v, want nothing done", events, err)
		}
		if err := w.EraseDirectory(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		again := w.login("acme", "userName", "ann", "ExternalId", "1")
		if !again.Created || again.User.ID == ann.ID {
			t.Errorf("ann after the deletion: created %v, ID %s, want a new user and not %s", again.Created, again.User.ID, ann.ID)
		}
		if u, ok, err := w.User(ctx, "other", other.ID); !ok || err != nil || u.UserName != "ann" {
			t.Errorf("ann of another directory = %+v, %v, %v, want her as she was", u, ok, err)
		}
	})
}

// TestJ26RemainsInPages goes through the users of a closed directory.
func TestJ26RemainsInPages(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		var want []string
		for i := range 5 {
			want = append(want, w.login("acme", "userName", fmt.Sprintf("user%d", i)).User.ID)
		}
		if _, err := w.CloseDirectory(t.Context(), "acme", byAdmin); err != nil {
			t.Fatal(err)
		}
		var got []string
		after := ""
		for pages := 0; pages == 0 || after != ""; pages++ {
			ids, next, err := w.Remains(t.Context(), "acme", after, 2)
			if err != nil || pages > 3 {
				t.Fatalf("page %d: %v", pages, err)
			}
			got, after = append(got, ids...), next
		}
		if !slices.Equal(got, want) {
			t.Errorf("Remains = %q, want %q", got, want)
		}
		for _, after := range []string{"?", encodeCursor("other", "x")} {
			if _, _, err := w.Remains(t.Context(), "acme", after, 2); !errors.Is(err, ErrCursor) {
				t.Errorf("Remains after %q: %v, want ErrCursor", after, err)
			}
		}
	})
}

// TestJ26LateDeletion: a deletion that somebody else has finished takes nothing of
// the directory that was created since, and a login that was on its way when the
// directory was closed is not written.
func TestJ26LateDeletion(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ctx := t.Context()
		if _, err := w.CloseDirectory(ctx, "acme", byAdmin); err != nil {
			t.Fatal(err)
		}
		_, late, err := w.tombstone(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.EraseDirectory(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateDirectory(ctx, "acme", byAdmin); err != nil {
			t.Fatal(err)
		}
		ann := w.login("acme", "userName", "ann").User
		k := w.keys("acme")
		reply, err := w.eraseScript.Run(ctx, rdb, []string{k.state, k.users}, late, "x", k.changed).Text()
		if err != nil || reply != "stale" {
			t.Errorf("the late deletion: %q, %v, want stale", reply, err)
		}
		if _, ok, err := w.User(ctx, "acme", ann.ID); !ok || err != nil {
			t.Errorf("the user after it: %v, %v, want her there", ok, err)
		}

		login := w.begun("acme", "userName", "bob")
		w.delete("acme")
		if done, err := w.commit(ctx, w.idps["acme"], login, "nonce"); done || err != nil {
			t.Errorf("commit into a closed directory: %v, %v, want it not done", done, err)
		}
		if got := w.state("acme"); got != "deleted 0" {
			t.Errorf("state = %s, want deleted 0", got)
		}
	})
}

// TestJ28BlockedUsersStayOut: a block holds whatever the identity provider says,
// survives logins, and ends when it is lifted.
func TestJ28BlockedUsersStayOut(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ctx := t.Context()
		ann := w.login("acme", "userName", "ann", "ExternalId", "1", "department", "Sales").User
		bob := w.login("acme", "userName", "bob").User

		events, ok, err := w.Block(ctx, "acme", ann.ID, byAdmin)
		if err != nil || !ok || tell(events) != "user_blocked" {
			t.Fatalf("Block = %+v, %v, %v, want user_blocked", events, ok, err)
		}
		if e := events[0]; e.UserID != ann.ID || e.UserName != "ann" || e.Reason != ReasonAdministrator || e.RequestID != "admin-req" || e.Directory != "acme" {
			t.Errorf("event = %+v, want ann's with where it came from", e)
		}
		trail := w.trail("acme")
		if last := trail[len(trail)-1]; last.Type != audit.UserBlocked {
			t.Errorf("last event in the trail = %s, want user_blocked", last.Type)
		}
		u, _, err := w.User(ctx, "acme", ann.ID)
		if err != nil || u.Blocked == nil || u.Blocked.Reason != ReasonAdministrator || !u.Blocked.Since.Equal(events[0].Time) {
			t.Errorf("user = %+v, %v, want her blocked by an administrator", u, err)
		}
		if events, ok, err := w.Block(ctx, "acme", ann.ID, byAdmin); len(events) != 0 || !ok || err != nil {
			t.Errorf("Block again = %v, %v, %v, want no event", events, ok, err)
		}

		for why, pairs := range map[string][]string{
			"as she was":         {"userName", "ann", "ExternalId", "1", "department", "Sales"},
			"with other values":  {"userName", "ann", "ExternalId", "1", "department", "Legal"},
			"under another name": {"userName", "anna", "ExternalId", "1"},
			"by name alone":      {"userName", "ann"},
		} {
			if r := w.refused(CodeUserBlocked, "acme", pairs...); r.Code == "" {
				t.Errorf("%s: not refused", why)
			}
		}
		w.refused(CodeUserBlocked, "acme-known", "userName", "ann")
		w.refused(CodeUserBlocked, "acme-two", "userName", "ann")
		w.login("acme", "userName", "bob") // nobody else is

		if events, ok, err := w.Unblock(ctx, "acme", ann.ID, byAdmin); tell(events) != "user_unblocked" || !ok || err != nil {
			t.Errorf("Unblock = %v, %v, %v, want user_unblocked", events, ok, err)
		}
		if events, ok, err := w.Unblock(ctx, "acme", bob.ID, byAdmin); len(events) != 0 || !ok || err != nil {
			t.Errorf("Unblock of somebody who is not blocked = %v, %v, %v, want no event", events, ok, err)
		}
		if u := w.login("acme", "userName", "ann", "ExternalId", "1").User; u.ID != ann.ID || u.Blocked != nil {
			t.Errorf("login after that = %+v, want ann as she was", u)
		}
		if n := rdb.HLen(ctx, w.keys("acme").blocks).Val(); n != 0 {
			t.Errorf("%d marks are left, want none after the login", n)
		}
		for _, f := range []func(context.Context, string, string, audit.Event) ([]audit.Event, bool, error){w.Block, w.Unblock} {
			if _, ok, err := f(ctx, "acme", "nobody", byAdmin); ok || err != nil {
				t.Errorf("of a user who is not there: %v, %v, want none", ok, err)
			}
		}
	})
}

// TestJ28BlockDuringLogin: a login that was on its way when the user was blocked
// is not written. Of many who block at once, one does.
func TestJ28BlockDuringLogin(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ctx := t.Context()
		ann := w.login("acme", "userName", "ann").User
		login := w.begun("acme", "userName", "ann")
		if _, _, err := w.Block(ctx, "acme", ann.ID, byAdmin); err != nil {
			t.Fatal(err)
		}
		if done, err := w.commit(ctx, w.idps["acme"], login, "nonce"); done || err != nil {
			t.Errorf("commit = %v, %v, want it not done", done, err)
		}

		if _, _, err := w.Unblock(ctx, "acme", ann.ID, byAdmin); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var ticks, told atomic.Int64
		w.now = func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Second) }
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				events, _, err := w.Block(ctx, "acme", ann.ID, byAdmin)
				if err != nil {
					t.Error(err)
				}
				told.Add(int64(len(events)))
			})
		}
		all.Wait()
		blocked := 0
		for _, e := range w.trail("acme") {
			if e.Type == audit.UserBlocked {
				blocked++
			}
		}
		if blocked != 2 || told.Load() != 1 {
			t.Errorf("%d events user_blocked in the trail, %d returned, want one more than the first", blocked, told.Load())
		}
	})
}

// TestJ28MarksAreOfUsers: a user who has gone meanwhile gets no mark.
func TestJ28MarksAreOfUsers(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ctx := t.Context()
		ann := w.login("acme", "userName", "ann").User
		k := w.keys("acme")
		m := marking{k.blocks, ann.ID, "", blockMark{Since: time.Now(), Reason: ReasonAdministrator}, ann.ID}
		if _, err := w.CloseDirectory(ctx, "acme", byAdmin); err != nil {
			t.Fatal(err)
		}
		if done, err := w.mark(ctx, k, m, byAdmin); done || err != nil {
			t.Errorf("in a closed directory: %v, %v, want it not done", done, err)
		}
		w.delete("acme")
		if _, err := w.CreateDirectory(ctx, "acme", byAdmin); err != nil {
			t.Fatal(err)
		}
		if done, err := w.mark(ctx, k, m, byAdmin); done || err != nil {
			t.Errorf("in a directory that was created anew: %v, %v, want it not done", done, err)
		}
	})
}

// TestJ28InactiveUsersAreBlocked: a directory's inactive_after blocks who has not
// signed in for that long, until somebody lets them in again.
func TestJ28InactiveUsersAreBlocked(t *testing.T) {
	t.Parallel()
	const limit = 90 * 24 * time.Hour
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, func(c *config.Config) { c.Directories[0].InactiveAfter = limit })
		ctx := t.Context()
		start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		clock := start
		w.now = func() time.Time { return clock }
		ann := w.login("acme", "userName", "ann").User
		labs := w.login("labs", "userName", "ann", "domain", "labs.example").User
		blocked := func(directory, id string) *Block {
			t.Helper()
			u, ok, err := w.User(ctx, directory, id)
			if err != nil || !ok {
				t.Fatalf("User = %v, %v", ok, err)
			}
			return u.Blocked
		}

		clock = start.Add(limit - time.Millisecond)
		if b := blocked("acme", ann.ID); b != nil {
			t.Errorf("just before the limit: blocked %v, want not", b)
		}
		clock = start.Add(limit)
		if b := blocked("acme", ann.ID); b == nil || b.Reason != ReasonInactive || !b.Since.Equal(start.Add(limit)) {
			t.Errorf("at the limit: blocked %v, want it, since then", b)
		}
		if b := blocked("labs", labs.ID); b != nil {
			t.Errorf("in a directory without inactive_after: blocked %v, want not", b)
		}

		out, err := w.try("acme", "userName", "ann")
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Code != CodeUserBlocked || tell(out.Events) != "user_blocked, login_failed user_blocked" {
			t.Fatalf("login = %s, %v, want her blocked and refused", tell(out.Events), err)
		}
		if e := out.Events[0]; e.Reason != ReasonInactive || e.UserID != ann.ID {
			t.Errorf("event = %+v, want ann's for being inactive", e)
		}
		w.refused(CodeUserBlocked, "acme", "userName", "ann") // told once
		if got := tell(w.trail("acme")); got != "user_created domain+userName, login, user_blocked, login_failed user_blocked, login_failed user_blocked" {
			t.Errorf("trail = %s", got)
		}
		bob := w.login("acme", "userName", "bob").User
		clock = clock.Add(limit)
		var all sync.WaitGroup
		for range 8 { // at once, each is recorded
			all.Go(func() {
				if _, err := w.try("acme", "userName", "bob"); err == nil {
					t.Error("an inactive user has signed in")
				}
			})
		}
		all.Wait()
		kinds := make(map[string]int)
		for _, e := range w.trail("acme") {
			if e.UserID == bob.ID {
				kinds[e.Type]++
			}
		}
		if kinds[audit.UserBlocked] != 1 || kinds[audit.LoginFailed] != 8 {
			t.Errorf("events of 8 logins at once = %v, want one user_blocked and 8 login_failed", kinds)
		}
		clock = clock.Add(-limit)

		relaxed := w.reload(func(c *config.Config) { c.Directories[0].InactiveAfter = 2 * limit })
		relaxed.now = w.now
		relaxed.refused(CodeUserBlocked, "acme", "userName", "ann") // it is a block now, like any other

		if events, _, err := w.Unblock(ctx, "acme", ann.ID, byAdmin); tell(events) != "user_unblocked" || err != nil {
			t.Errorf("Unblock = %v, %v, want user_unblocked", events, err)
		}
		clock = clock.Add(limit - time.Millisecond)
		if b := blocked("acme", ann.ID); b != nil {
			t.Errorf("unblocked, and before the limit anew: blocked %v, want not", b)
		}
		clock = clock.Add(time.Millisecond)
		if b := blocked("acme", ann.ID); b == nil || b.Reason != ReasonInactive {
			t.Errorf("unblocked and not used: blocked %v, want it", b)
		}
		// Not marked yet, it can be lifted all the same; an administrator's block
		// takes its place.
		if events, _, err := w.Unblock(ctx, "acme", ann.ID, byAdmin); tell(events) != "user_unblocked" || err != nil {
			t.Errorf("Unblock = %v, %v, want user_unblocked", events, err)
		}
		w.login("acme", "userName", "ann")
		clock = clock.Add(limit)
		if events, _, err := w.Block(ctx, "acme", ann.ID, byAdmin); tell(events) != "user_blocked" || err != nil {
			t.Errorf("Block of an inactive user = %v, %v, want user_blocked", events, err)
		}
		if b := blocked("acme", ann.ID); b == nil || b.Reason != ReasonAdministrator {
			t.Errorf("blocked %v, want it by an administrator", b)
		}
	})
}

// TestJ30MarksAreRecorded: where the trail cannot be written, nobody is blocked
// and no directory is closed.
func TestJ30MarksAreRecorded(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ctx := t.Context()
		ann := w.login("acme", "userName", "ann").User
		key := w.keys("acme").audit
		if err := rdb.Rename(ctx, key, key+"-kept").Err(); err != nil {
			t.Fatal(err)
		}
		rdb.Set(ctx, key, "not a stream", 0)
		before := w.dump()
		if _, _, err := w.Block(ctx, "acme", ann.ID, byAdmin); err == nil {
			t.Error("Block without a trail: no error")
		}
		if _, err := w.CloseDirectory(ctx, "acme", byAdmin); err == nil {
			t.Error("CloseDirectory without a trail: no error")
		}
		if after := w.dump(); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("store = %q, want %q", after, before)
		}
	})
}
