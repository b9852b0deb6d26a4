package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// TestJ25ChangesUpdateTheUser: a later login updates what has changed, and one
// that changes nothing writes the time of the login alone.
func TestJ25ChangesUpdateTheUser(t *testing.T) {
	t.Parallel()
	first := []string{"userName", "ann", "department", "Sales", "roles", "a", "roles", "b", "groups", "eng-b", "groups", "eng-a"}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, idp  string
			later     []string
			unchanged bool
			told      string
		}{
			{"the same", "acme", first, true, "login"},
			{"groups in another order", "acme", []string{"userName", "ann", "department", "Sales", "roles", "a", "roles", "b", "groups", "eng-a", "groups", "eng-b"}, true, "login"},
			{"the name in another case", "acme", append([]string{"userName", "ANN"}, first[2:]...), true, "login"},
			{"less, which is kept", "acme", []string{"userName", "ann", "groups", "eng-b", "groups", "eng-a"}, true, "login"},
			{"a changed attribute", "acme", append(slices.Clone(first[:2]), append([]string{"department", "Legal"}, first[4:]...)...), false, "user_updated department, login"},
			{"a new attribute", "acme", append([]string{"title", "Boss"}, first...), false, "user_updated title, login"},
			{"values in another order", "acme", append([]string{"userName", "ann", "roles", "b", "roles", "a"}, first[8:]...), false, "user_updated roles, login"},
			{"another IdP of the directory", "acme-two", first[:8], false, "group_left eng-a, group_left eng-b, login"},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				clock := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
				w.now = func() time.Time { return clock }
				u := w.login("acme", first...).User
				before := w.dump()
				clock = clock.Add(time.Hour)
				c, _ := w.idps[test.idp].read(sent(test.later...))
				f, err := w.lookup(t.Context(), w.idps[test.idp], c)
				if ch, refusal := w.decide(w.idps[test.idp], c, f, audit.Event{}); err != nil || refusal != nil || (ch.json == "") != test.unchanged {
					t.Errorf("record to write = %q (%v, %v), none: want %v", ch.json, refusal, err, test.unchanged)
				}
				out := w.login(test.idp, test.later...)
				after := w.dump()
				if maps.Equal(before, after) != test.unchanged {
					t.Errorf("store = %q, unchanged from %q: want %v", after, before, test.unchanged)
				}
				if got := tell(out.Events); got != test.told {
					t.Errorf("events = %s, want %s", got, test.told)
				}
				want, stored := clock, func() User { u, _, _ := w.User(t.Context(), "acme", u.ID); return u }()
				if test.unchanged {
					want = clock.Add(-time.Hour)
				}
				if stored.Updated != want || stored.Created != clock.Add(-time.Hour) || stored.LastLogin != clock {
					t.Errorf("created %v, updated %v, last login %v, want %v, %v, %v", stored.Created, stored.Updated,
						stored.LastLogin, clock.Add(-time.Hour), want, clock)
				}
				if !reflect.DeepEqual(out.User, stored) {
					t.Errorf("user of the login = %+v, want the stored one %+v", out.User, stored)
				}
			})
		}
	})
}

// TestJ27WithoutJITNobodyChanges: without jit, users who are known sign in
// unchanged, and others are refused.
func TestJ27WithoutJITNobodyChanges(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why  string
			sent []string
			code string
		}{
			{"known by name", []string{"userName", "ann"}, ""},
			{"known by name in another case", []string{"userName", "ANN"}, ""},
			{"known by ExternalId", []string{"userName", "ann", "ExternalId", "1"}, ""},
			{"known by ExternalId under another name", []string{"userName", "anna", "ExternalId", "1"}, ""},
			{"other attributes are not looked at", []string{"userName", "ann", "department", "x", "title", "\x00", "groups", "staff"}, ""},
			{"not even required ones", []string{"userName", "ann", "badge", ""}, ""},
			{"unknown", []string{"userName", "bob"}, CodeUserUnknown},
			{"unknown ExternalId", []string{"userName", "bob", "ExternalId", "2"}, CodeUserUnknown},
			{"two users in one", []string{"userName", "carl", "ExternalId", "1"}, CodeUserConflict},
			{"another ExternalId", []string{"userName", "ann", "ExternalId", "2"}, CodeUserConflict},
			{"no userName", []string{"ExternalId", "1"}, CodeUserNameMissing},
			{"another domain", []string{"userName", "ann", "domain", "labs.example"}, CodeDomainMismatch},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb, func(c *config.Config) { c.Attributes[3].Required = true }) // badge
				ann := w.login("acme", "userName", "ann", "ExternalId", "1", "badge", "7", "department", "Sales", "groups", "eng-a").User
				w.login("acme", "userName", "carl", "badge", "8")
				if test.code != "" {
					w.refused(test.code, "acme-known", test.sent...)
					return
				}
				before := w.dump()
				out := w.login("acme-known", test.sent...)
				after := maps.Clone(before)
				for key, value := range w.dump() {
					if !strings.Contains(key, ":ignored ") { // of ignored attributes, and nothing of the user
						after[key] = value
					}
				}
				if !maps.Equal(after, before) {
					t.Errorf("store = %q, want %q", after, before)
				}
				if last := out.User.LastLogin; last.Before(ann.LastLogin) {
					t.Errorf("last login = %v, want it after %v", last, ann.LastLogin)
				}
				out.User.LastLogin = ann.LastLogin
				if !reflect.DeepEqual(out.User, ann) {
					t.Errorf("user = %+v, want %+v", out.User, ann)
				}
				if e := out.Events[0]; e.Type != audit.Login || e.UserName != "ann" || e.UserID != ann.ID {
					t.Errorf("event = %s of %q (%s), want login of ann (%s)", e.Type, e.UserName, e.UserID, ann.ID)
				}
			})
		}
		t.Run("known without an ExternalId does not gain one", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("acme", "userName", "ann")
			if u := w.login("acme-known", "userName", "ann", "ExternalId", "1").User; u.ExternalID != "" {
				t.Errorf("ExternalId = %q, want none", u.ExternalID)
			}
		})
	})
}

// TestJ29TrailTellsWhatHappened: the audit trail tells what happened to whom,
// when and through whom, with the names of attributes and never their values.
func TestJ29TrailTellsWhatHappened(t *testing.T) {
	t.Parallel()
	groups := func(c *config.Config) {
		c.Groups = []config.Group{{Name: "sales", Rule: &config.Rule{Attribute: "department", Is: "Sales"}}}
	}
	at := time.Date(2026, 1, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, groups)
		w.now = func() time.Time { return at }
		secret := "10000000"
		ann := w.login("acme", "userName", "ann", "ExternalId", "1", "department", "Sales", "salary", secret, "hat", "7").User
		w.login("acme", "userName", "anna", "ExternalId", "1", "department", "Legal", "salary", secret+"0")
		w.try("acme", "userName", "anna", "ExternalId", "1", "salary", secret+"\x00")
		recorded, err := w.Record(t.Context(), audit.Event{Type: audit.Logout, IdP: "acme", Directory: "acme", UserID: ann.ID, UserName: "anna", RequestID: "req", Client: "192.0.2.1"})
		if err != nil {
			t.Fatal(err)
		}

		event := func(kind string, edit func(*audit.Event)) audit.Event {
			e := audit.Event{Type: kind, Time: at.UTC().Truncate(time.Millisecond), RequestID: "req", IdP: "acme", Directory: "acme",
				Client: "192.0.2.1", UserID: ann.ID, UserName: "anna"}
			edit(&e)
			return e
		}
		asAnn := func(edit func(*audit.Event)) func(*audit.Event) {
			return func(e *audit.Event) { e.UserName = "ann"; edit(e) }
		}
		same := func(*audit.Event) {}
		want := []audit.Event{
			event(audit.UserCreated, asAnn(func(e *audit.Event) {
				e.Attributes = []string{"ExternalId", "department", "domain", "salary", "userName"}
			})),
			event(audit.GroupJoined, asAnn(func(e *audit.Event) { e.Group = "sales" })),
			event(audit.Login, asAnn(same)),
			event(audit.AttributeIgnored, func(e *audit.Event) { e.UserID, e.UserName, e.Attributes = "", "", []string{"hat"} }),
			event(audit.UserRenamed, func(e *audit.Event) { e.From = "ann" }),
			event(audit.UserUpdated, func(e *audit.Event) { e.Attributes = []string{"department", "salary"} }),
			event(audit.GroupLeft, func(e *audit.Event) { e.Group = "sales" }),
			event(audit.Login, same),
			event(audit.LoginFailed, func(e *audit.Event) { e.UserID, e.Code, e.Attributes = "", CodeAttributeInvalid, []string{"salary"} }),
			event(audit.Logout, same),
		}
		got := w.trail("acme")
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("event %d of the trail = %+v, want %+v", i, got, want)
			}
		}
		if last := got[len(got)-1]; !reflect.DeepEqual(recorded, last) {
			t.Errorf("Record = %+v, want %+v", recorded, last)
		}
		if got, want := w.LogName(ann), "ann"; got != want {
			t.Errorf("LogName = %q, want %q", got, want)
		}
		if lines, _ := json.Marshal(got); strings.Contains(string(lines), secret) || strings.Contains(string(lines), "Legal") {
			t.Errorf("the trail has a value of an attribute: %s", lines)
		}

		t.Run("a sensitive userName", func(t *testing.T) {
			w := newWorld(t, rdb, func(c *config.Config) {
				c.Attributes = append(c.Attributes, config.Attribute{Name: "userName", Required: true, Sensitive: true})
			})
			u := w.login("acme", "userName", "p-12345", "ExternalId", "1").User
			w.login("acme", "userName", "p-123456", "ExternalId", "1")
			w.login("acme-known", "userName", "p-123456", "ExternalId", "1")
			w.try("acme", "userName", "p-12345@evil.example")
			w.try("acme", "userName", "p-123456", "ExternalId", "2")
			if e, err := w.Record(t.Context(), audit.Event{Type: audit.Logout, Directory: "acme", UserName: "p-12345"}); err != nil || e.UserName != "" {
				t.Errorf("Record = %+v, %v, want no userName", e, err)
			}
			if got, want := w.LogName(u), u.ID; got != want {
				t.Errorf("LogName = %q, want the ID, %q", got, want)
			}
			if lines, _ := json.Marshal(w.trail("acme")); strings.Contains(string(lines), "p-12345") || !strings.Contains(string(lines), "user_renamed") {
				t.Errorf("the trail tells a sensitive userName, or too little: %s", lines)
			}
		})
		t.Run("a refusal tells the domain that came, unless the name is sensitive", func(t *testing.T) {
			for sensitive, want := range map[bool]string{false: `"evil.example" is none of the directory's domains`, true: "its domain is none of the directory's"} {
				w := newWorld(t, rdb, func(c *config.Config) {
					c.Attributes = append(c.Attributes, config.Attribute{Name: "userName", Sensitive: sensitive})
				})
				if r := w.refused(CodeDomainMismatch, "acme", "userName", "ann@evil.example"); r.Detail != want {
					t.Errorf("sensitive %v: detail = %q, want %q", sensitive, r.Detail, want)
				}
			}
		})
		t.Run("the stream is capped", func(t *testing.T) {
			w := newWorld(t, rdb)
			key := w.keys("acme").audit
			for i := range audit.MaxLen/1000 + 1 { // in one go, a slow machine takes longer than the client waits
				_, err := rdb.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
					for j := range 1000 {
						pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("1-%d", i*1000+j+1), Values: []string{audit.Field, "{}"}})
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			w.login("acme", "userName", "ann")
			if n := rdb.XLen(t.Context(), key).Val(); n > audit.MaxLen+200 || n < audit.MaxLen {
				t.Errorf("%d entries, want about %d", n, audit.MaxLen)
			}
		})
	})
}

// TestJ30UnrecordedIsNotDone: what cannot be recorded in the audit trail is not
// done.
func TestJ30UnrecordedIsNotDone(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why  string
			call func(w *world) error
		}{
			{"a first login", func(w *world) error { _, err := w.try("acme", "userName", "bob", "hat", "7"); return err }},
			{"a login with changes", func(w *world) error { _, err := w.try("acme", "userName", "ann", "title", "x"); return err }},
			{"a login without any", func(w *world) error { _, err := w.try("acme", "userName", "ann"); return err }},
			{"a refusal that cannot be recorded is none", func(w *world) error { _, err := w.try("acme"); return err }},
			{"a logout", func(w *world) error {
				_, err := w.Record(t.Context(), audit.Event{Type: audit.Logout, Directory: "acme"})
				return err
			}},
		} {
			t.Run(test.why, func(t *testing.T) {
				w, ctx := newWorld(t, rdb), t.Context()
				w.login("acme", "userName", "ann")
				k := w.keys("acme")
				rdb.Del(ctx, k.audit)
				rdb.Set(ctx, k.audit, "not a stream", 0)
				before, seen := w.dump(), rdb.HGetAll(ctx, k.seen).Val()
				err := test.call(w)
				var refusal *Refusal
				if err == nil || errors.As(err, &refusal) {
					t.Errorf("error = %v, want one that is not a refusal", err)
				}
				if after := w.dump(); !maps.Equal(after, before) || !maps.Equal(rdb.HGetAll(ctx, k.seen).Val(), seen) {
					t.Errorf("store = %q, want %q", after, before)
				}
			})
		}
	})
	t.Run("the store is full", func(t *testing.T) {
		s := testenv.RedisServer(t, "--maxmemory-policy", "noeviction")
		rdb := testenv.Client(t, s.Addr)
		w := newWorld(t, rdb)
		w.login("acme", "userName", "ann")
		if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
			t.Fatal(err)
		}
		before := w.dump()
		var refusal *Refusal
		for _, name := range []string{"bob", ""} {
			if _, err := w.try("acme", "userName", name); err == nil || errors.As(err, &refusal) {
				t.Errorf("login of %q with a full store: error = %v, want one that is not a refusal", name, err)
			}
		}
		if after := w.dump(); !maps.Equal(after, before) {
			t.Errorf("store = %q, want %q", after, before)
		}
	})
}
