package provision

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// ask reads the audit trail in parts of the limit that q has, and returns the
// events as "type user".
func (w *world) ask(q TrailQuery) (events []string, next string) {
	w.t.Helper()
	for range 1000 {
		part, err := w.Trail(w.t.Context(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(part.Events) > q.Limit {
			w.t.Errorf("%d events in a part, want at most %d", len(part.Events), q.Limit)
		}
		for _, e := range part.Events {
			events = append(events, strings.TrimSpace(e.Type+" "+e.UserName))
		}
		q.After = part.Next
		if !part.More {
			return events, part.Next
		}
	}
	w.t.Fatal("the trail has no end")
	return nil, ""
}

// tick waits for the next millisecond: within one, the entries of two trails
// have no order.
func (w *world) tick() {
	w.t.Helper()
	now := time.Now().UnixMilli()
	testenv.Eventually(w.t, func() error {
		if time.Now().UnixMilli() <= now+1 {
			return errors.New("time stands still")
		}
		return nil
	})
}

func TestTrail(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ann := w.login("acme", "userName", "ann", "ExternalId", "1").User
		w.tick()
		w.login("other", "userName", "ann")
		w.tick()
		w.refused(CodeDirectoryDeleted, "unheard-of", "userName", "ann")
		w.tick()
		w.login("acme", "userName", "annie", "ExternalId", "1")
		for _, test := range []struct {
			why  string
			q    TrailQuery
			want string
		}{
			{"directories and what is of none, merged", TrailQuery{},
				"user_created ann, login ann, user_created ann, login ann, login_failed, user_renamed annie, login annie"},
			{"one directory", TrailQuery{Directory: "other"}, "user_created ann, login ann"},
			{"by ID: under all names", TrailQuery{User: ann.ID}, "user_created ann, login ann, user_renamed annie, login annie"},
			{"by the name now: under all names", TrailQuery{User: "ANNIE"}, "user_created ann, login ann, user_renamed annie, login annie"},
			{"by a name that was: nobody has it in acme now", TrailQuery{User: "ann", Directory: "acme"}, "user_created ann, login ann, user_renamed annie"},
			{"nobody", TrailQuery{User: "bob"}, ""},
			{"one identity provider", TrailQuery{IdP: "unheard-of"}, "login_failed"},
			{"one type", TrailQuery{Type: audit.Login}, "login ann, login ann, login annie"},
			{"since before", TrailQuery{Since: ann.Created.Add(-time.Minute), Type: audit.LoginFailed}, "login_failed"},
			{"since later, though the store has entries so late", TrailQuery{Since: ann.Created.Add(time.Minute)}, ""},
		} {
			for _, limit := range []int{1, 2, 100} {
				test.q.Limit = limit
				events, next := w.ask(test.q)
				if got := strings.Join(events, ", "); got != test.want {
					t.Errorf("%s, %d at a time: %q, want %q", test.why, limit, got, test.want)
				}
				test.q.After = next
				if again, _ := w.ask(test.q); len(again) > 0 {
					t.Errorf("%s: after the end came %q", test.why, again)
				}
				test.q.After, test.q.Newest = "", true
				back, _ := w.ask(test.q)
				slices.Reverse(back)
				if got := strings.Join(back, ", "); got != test.want {
					t.Errorf("%s, %d at a time, from the newest on: %q, want %q turned round", test.why, limit, got, test.want)
				}
				test.q.Newest = false
			}
		}

		_, next := w.ask(TrailQuery{Limit: 100})
		w.login("labs", "userName", "bob", "domain", "labs.example") // a directory that had nothing yet
		if got, _ := w.ask(TrailQuery{Limit: 100, After: next}); len(got) != 2 {
			t.Errorf("after the end came %q, want two events", got)
		}
		for _, cursor := range []string{"typo", "bnVsbA", "eyJhY21lIjoiJCJ9"} { // null, {"acme":"$"}
			if _, err := w.Trail(t.Context(), TrailQuery{After: cursor}); !errors.Is(err, ErrCursor) {
				t.Errorf("Trail after %q: error %v, want %v", cursor, err, ErrCursor)
			}
		}
	})
}

// More entries than are read at a time, in more directories than one: nothing
// is left out or told twice, and all is in order.
func TestTrailOrder(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		pipe := rdb.Pipeline()
		var want []string
		for n := range 3 * trailChunk {
			directory := "acme"
			switch {
			case n > 2*trailChunk && n%2 == 0:
				directory = "other" // which lay still until then
			case n%500 == 7:
				directory = "labs"
			}
			name := fmt.Sprint("u", n)
			line, err := audit.Event{Type: audit.Login, UserName: name, Time: time.Now()}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			pipe.XAdd(t.Context(), &redis.XAddArgs{
				Stream: audit.Key(w.prefix, directory), ID: fmt.Sprintf("%d-%d", 1+n/20, n%20), Values: []string{audit.Field, line},
			})
			want = append(want, "login "+name)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		events, _ := w.ask(TrailQuery{Limit: 300})
		if !slices.Equal(events, want) {
			t.Errorf("%d events, want %d in the order of their IDs", len(events), len(want))
		}
		back, _ := w.ask(TrailQuery{Limit: 300, Newest: true})
		slices.Reverse(back)
		if !slices.Equal(back, want) {
			t.Errorf("%d events from the newest on, want %d in the order of their IDs", len(back), len(want))
		}
		last := len(want) - 1
		if rare, _ := w.ask(TrailQuery{Limit: 300, User: strings.TrimPrefix(want[last], "login ")}); !slices.Equal(rare, want[last:]) {
			t.Errorf("the last one alone = %q, want %q", rare, want[last:])
		}
	})
}

// A trail that has no names can still be searched by one.
func TestTrailSensitive(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, func(c *config.Config) {
			c.Attributes = append(c.Attributes, config.Attribute{Name: "userName", Sensitive: true})
		})
		w.login("acme", "userName", "ann")
		w.login("acme", "userName", "bob")
		if got, _ := w.ask(TrailQuery{User: "ann", Limit: 10}); strings.Join(got, ", ") != "user_created, login" {
			t.Errorf("ann's events = %q", got)
		}
	})
}
