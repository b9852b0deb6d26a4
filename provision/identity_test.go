package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// TestJ15ExternalIdFindsAndRenames: a user with an ExternalId is found by it
// alone, and another userName renames them.
func TestJ15ExternalIdFindsAndRenames(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why                        string
			name, id, domain           string // the later login of ann, ExternalId Id-1, domain labs.example
			same                       bool   // it is the same user
			wantName, wantDomain, told string
		}{
			{"the same name", "ann", "Id-1", "labs.example", true, "ann", "labs.example", "login"},
			{"another name", "anna", "Id-1", "labs.example", true, "anna", "labs.example", "user_renamed, login"},
			{"another domain", "ann", "Id-1", "xn--bcher-kva.example", true, "ann", "xn--bcher-kva.example", "user_updated domain, login"},
			{"both", "anna", "Id-1", "xn--bcher-kva.example", true, "anna", "xn--bcher-kva.example", "user_renamed, user_updated domain, login"},
			{"another case is the same name, as first written", "ANN", "Id-1", "labs.example", true, "ann", "labs.example", "login"},
			{"an ExternalId in another case is another one", "anna", "id-1", "labs.example", false, "anna", "labs.example", "user_created ExternalId+domain+userName, login"},
			{"another ExternalId", "anna", "Id-2", "labs.example", false, "anna", "labs.example", "user_created ExternalId+domain+userName, login"},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				first := w.login("labs", "userName", "ann", "ExternalId", "Id-1", "domain", "labs.example").User
				out := w.login("labs", "userName", test.name, "ExternalId", test.id, "domain", test.domain)
				u := out.User
				if (u.ID == first.ID) != test.same || out.Created == test.same {
					t.Errorf("user = %s, created %v, want the one of the first login (%s): %v", u.ID, out.Created, first.ID, test.same)
				}
				if u.UserName != test.wantName || u.Domain != test.wantDomain {
					t.Errorf("user = %s of %s, want %s of %s", u.UserName, u.Domain, test.wantName, test.wantDomain)
				}
				if got := tell(out.Events); got != test.told {
					t.Errorf("events = %s, want %s", got, test.told)
				}
				if e := out.Events[0]; e.Type == audit.UserRenamed && (e.From != "ann" || e.UserName != "anna") {
					t.Errorf("renamed from %q to %q, want from ann to anna", e.From, e.UserName)
				}
			})
		}
		t.Run("the old name is free", func(t *testing.T) {
			w := newWorld(t, rdb)
			ann := w.login("acme", "userName", "ann", "ExternalId", "1").User
			w.login("acme", "userName", "anna", "ExternalId", "1")
			if u := w.login("acme", "userName", "ann").User; u.ID == ann.ID {
				t.Error("the old name still finds the renamed user")
			}
			if u := w.login("acme", "userName", "anna").User; u.ID != ann.ID {
				t.Error("the new name does not find the renamed user")
			}
			if n := w.count("acme"); n != 2 {
				t.Errorf("%d users in the list, want 2", n)
			}
		})
	})
}

// TestJ16NameFindsInItsDomain: a user without an ExternalId is found by domain
// and userName, whose ASCII letters may be in any case.
func TestJ16NameFindsInItsDomain(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, name, domain string // the later login, after one of Ann.Lee, labs.example
			same              bool
		}{
			{"the same", "Ann.Lee", "labs.example", true},
			{"another case", "aNN.lEE", "labs.example", true},
			{"the domain in another case", "ann.lee", "LABS.EXAMPLE.", true},
			{"another domain of the directory", "Ann.Lee", "xn--bcher-kva.example", false},
			{"another name", "ann_lee", "labs.example", false},
			{"as an address", "ann.lee@labs.example", "labs.example", false},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				first := w.login("labs", "userName", "Ann.Lee", "domain", "labs.example").User
				u := w.login("labs", "userName", test.name, "domain", test.domain).User
				if (u.ID == first.ID) != test.same {
					t.Errorf("%s is user %s, want that of the first login (%s): %v", test.name, u.ID, first.ID, test.same)
				}
				if test.same && u.UserName != "Ann.Lee" {
					t.Errorf("userName = %q, want %q as first written", u.UserName, "Ann.Lee")
				}
			})
		}
		t.Run("letters beyond ASCII keep their case", func(t *testing.T) {
			w := newWorld(t, rdb)
			a, b := w.login("acme", "userName", "\u00c4nne").User, w.login("acme", "userName", "\u00e4nne").User
			if a.ID == b.ID {
				t.Error("\u00c4nne and \u00e4nne are one user, want two")
			}
		})
	})
}

// TestJ17TakenNameIsAConflict: a rename to a userName that another user of the
// domain has changes neither of them.
func TestJ17TakenNameIsAConflict(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, bobID, newName string
			conflict            bool
		}{
			{"a name of a user with an ExternalId", "2", "bob", true},
			{"a name of a user without one", "", "bob", true},
			{"in another case", "2", "BOB", true},
			{"a free name", "2", "bobby", false},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				ann := w.login("acme", "userName", "ann", "ExternalId", "1").User
				w.login("acme", "userName", "bob", "ExternalId", test.bobID, "department", "x")
				if !test.conflict {
					w.login("acme", "userName", test.newName, "ExternalId", "1")
					return
				}
				w.refused(CodeUserConflict, "acme", "userName", test.newName, "ExternalId", "1", "department", "y")
				trail := w.trail("acme")
				if e := trail[len(trail)-1]; e.UserID != ann.ID {
					t.Errorf("login_failed is about user %q, want %q", e.UserID, ann.ID)
				}
			})
		}
		t.Run("a name in another domain is free", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("labs", "userName", "bob", "domain", "xn--bcher-kva.example")
			w.login("labs", "userName", "ann", "domain", "labs.example", "ExternalId", "1")
			w.login("labs", "userName", "bob", "domain", "labs.example", "ExternalId", "1")
			w.refused(CodeUserConflict, "labs", "userName", "bob", "domain", "xn--bcher-kva.example", "ExternalId", "1")
		})
	})
}

// TestJ18ExternalIdIsGainedOnce: a user without an ExternalId gains the first
// that comes, unless another user has it, and never changes it.
func TestJ18ExternalIdIsGainedOnce(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Run("gains an ExternalId", func(t *testing.T) {
			w := newWorld(t, rdb)
			first := w.login("acme", "userName", "ann").User
			out := w.login("acme", "userName", "ann", "ExternalId", "1")
			if out.User.ID != first.ID || out.User.ExternalID != "1" {
				t.Errorf("user = %s with ExternalId %q, want %s with 1", out.User.ID, out.User.ExternalID, first.ID)
			}
			if got, want := tell(out.Events), "user_updated ExternalId, login"; got != want {
				t.Errorf("events = %s, want %s", got, want)
			}
			if u := w.login("acme", "userName", "anna", "ExternalId", "1").User; u.ID != first.ID {
				t.Errorf("the ExternalId finds user %s, want %s", u.ID, first.ID)
			}
		})
		t.Run("one that another user has", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("acme", "userName", "ann")
			w.login("acme", "userName", "bob", "ExternalId", "1")
			w.refused(CodeUserConflict, "acme", "userName", "ann", "ExternalId", "1")
		})
		t.Run("a different one", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("acme", "userName", "ann", "ExternalId", "1")
			w.refused(CodeUserConflict, "acme", "userName", "ann", "ExternalId", "2")
		})
		t.Run("none keeps it", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("acme", "userName", "ann", "ExternalId", "1")
			if u := w.login("acme", "userName", "ann").User; u.ExternalID != "1" {
				t.Errorf("ExternalId = %q, want %q", u.ExternalID, "1")
			}
		})
	})
}

// atOnce runs n logins at once and returns their outcomes by user ID, and how
// many were refused with a conflict.
func (w *world) atOnce(n int, attributes func(i int) []string) (ids map[string]int, created, conflicts int) {
	w.t.Helper()
	ids = make(map[string]int)
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			out, err := w.try("acme", attributes(i)...)
			mu.Lock()
			defer mu.Unlock()
			var refusal *Refusal
			switch {
			case errors.As(err, &refusal) && refusal.Code == CodeUserConflict:
				conflicts++
			case err != nil:
				w.t.Errorf("login %d: %v", i, err)
			default:
				ids[out.User.ID]++
				if out.Created {
					created++
				}
			}
		})
	}
	group.Wait()
	return ids, created, conflicts
}

// TestJ19LoginsAtOnce: of first logins of one user at once one makes the user;
// of several users who claim one name at once one gets it.
func TestJ19LoginsAtOnce(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why              string
			n                int
			attributes       func(i int) []string
			users, conflicts int
		}{
			{"1,000 first logins of one user", 1000, func(int) []string { return []string{"userName", "ann"} }, 1, 0},
			{"with an ExternalId", 200, func(int) []string { return []string{"userName", "ann", "ExternalId", "1"} }, 1, 0},
			{"in different cases", 200, func(i int) []string { return []string{"userName", []string{"ann", "ANN"}[i%2]} }, 1, 0},
			{"two users claim one name", 2, func(i int) []string { return []string{"userName", "ann", "ExternalId", fmt.Sprint(i)} }, 1, 1},
			{"twenty users claim one name", 20, func(i int) []string { return []string{"userName", "ann", "ExternalId", fmt.Sprint(i)} }, 1, 19},
			{"twenty names of one user", 20, func(i int) []string { return []string{"userName", fmt.Sprint("ann", i), "ExternalId", "1"} }, 1, 0},
			{"twenty users", 20, func(i int) []string { return []string{"userName", fmt.Sprint("ann", i)} }, 20, 0},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				ids, created, conflicts := w.atOnce(test.n, test.attributes)
				if len(ids) != test.users || created != test.users || conflicts != test.conflicts {
					t.Errorf("%d users, %d times created, %d conflicts, want %d, %d, %d",
						len(ids), created, conflicts, test.users, test.users, test.conflicts)
				}
				if n := w.count("acme"); n != test.users {
					t.Errorf("%d users in the list, want %d", n, test.users)
				}
				kinds := make(map[string]int)
				for _, e := range w.trail("acme") {
					kinds[e.Type]++
				}
				delete(kinds, audit.UserRenamed)
				want := map[string]int{audit.UserCreated: test.users, audit.Login: test.n - test.conflicts}
				if test.conflicts > 0 {
					want[audit.LoginFailed] = test.conflicts
				}
				if !maps.Equal(kinds, want) {
					t.Errorf("events = %v, want %v", kinds, want)
				}
			})
		}
		t.Run("updates at once: none is lost halfway", func(t *testing.T) {
			w := newWorld(t, rdb, groupsByDepartment)
			w.login("acme", "userName", "ann", "department", "d0")
			w.atOnce(50, func(i int) []string { return []string{"userName", "ann", "department", fmt.Sprint("d", i%5)} })
			u := w.login("acme-known", "userName", "ann").User
			if want := "in-" + u.Attributes["department"][0]; len(u.Groups) != 1 || u.Groups[0] != want {
				t.Errorf("groups = %q, want %q", u.Groups, want)
			}
			// The trail leads from one group to the next and to the last.
			in := ""
			for _, e := range w.trail("acme") {
				switch {
				case e.Type == audit.GroupJoined && in == "":
					in = e.Group
				case e.Type == audit.GroupJoined && e.Group != in: // joined before left, within one login
					in = in + " " + e.Group
				case e.Type == audit.GroupLeft:
					var left, joined string
					fmt.Sscan(in, &left, &joined)
					if e.Group != left {
						t.Fatalf("left %s while in %q", e.Group, in)
					}
					in = joined
				}
			}
			if in != u.Groups[0] {
				t.Errorf("the trail ends in group %q, the user is in %q", in, u.Groups)
			}
		})
	})
}

// TestJ20CommitIsAllOrNothing: a login writes everything or nothing. The test
// runs the commit script as a login that something came in between would.
func TestJ20CommitIsAllOrNothing(t *testing.T) {
	t.Parallel()
	const all = "user_renamed, user_updated ExternalId+department, group_joined staff, login"
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		for _, test := range []struct {
			why     string
			between func(w *world) // what happens between reading and writing
			told    string         // "": nothing is done
		}{
			{"nothing in between", func(*world) {}, all + ", attribute_ignored hat"},
			{"the ignored attribute was noted", func(w *world) { w.login("acme", "userName", "zoe", "hat", "7") }, all},
			{"an unchanged login of the same user", func(w *world) { w.login("acme", "userName", "ann") }, all + ", attribute_ignored hat"},
			{"the user was changed", func(w *world) { w.login("acme", "userName", "ann", "title", "x") }, ""},
			{"the user is gone", func(w *world) { w.rdb.Del(ctx, w.keys("acme").users) }, ""},
			{"the new name was taken", func(w *world) { w.login("acme", "userName", "ANNA") }, ""},
			{"the ExternalId was taken", func(w *world) { w.login("acme", "userName", "bob", "ExternalId", "1") }, ""},
			{"the audit trail cannot be written", func(w *world) {
				w.rdb.Del(ctx, w.keys("acme").audit)
				w.rdb.Set(ctx, w.keys("acme").audit, "not a stream", 0)
			}, ""},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				k := w.keys("acme")
				ann := w.login("acme", "userName", "ann").User
				ch := renameOf(w, ann)
				test.between(w)

				before, seen := w.dump(), rdb.HGetAll(ctx, k.seen).Val()
				length := rdb.XLen(ctx, k.audit).Val()
				done, err := w.commit(ctx, w.idps["acme"], ch, "nonce")
				after := w.dump()
				if done != (test.told != "") {
					t.Fatalf("commit = %v, %v, want %v", done, err, !done)
				}
				if !done {
					if !maps.Equal(before, after) || rdb.XLen(ctx, k.audit).Val() != length || !maps.Equal(seen, rdb.HGetAll(ctx, k.seen).Val()) {
						t.Errorf("a commit that was not done left %q, want %q", after, before)
					}
					return
				}
				want := maps.Clone(before)
				delete(want, k.names+" acme.example/ann")
				delete(want, k.list+" acme.example/ann\x00"+ann.ID)
				maps.Copy(want, map[string]string{
					k.users + " " + ann.ID:                     ch.json,
					k.names + " acme.example/anna":             ann.ID,
					k.external + " " + externalField("1"):      ann.ID,
					k.list + " acme.example/anna\x00" + ann.ID: "",
					k.ignored + " acme hat":                    "",
				})
				if !maps.Equal(after, want) {
					t.Errorf("store = %q, want %q", after, want)
				}
				if got := tell(w.trail("acme")[length:]); got != test.told {
					t.Errorf("events = %s, want %s", got, test.told)
				}
				// Sent again, as after a lost reply.
				length = rdb.XLen(ctx, k.audit).Val()
				if done, err := w.commit(ctx, w.idps["acme"], ch, "nonce"); !done || err != nil {
					t.Errorf("the same commit again = %v, %v, want true", done, err)
				}
				if n := rdb.XLen(ctx, k.audit).Val() - length; n != 0 {
					t.Errorf("the same commit again wrote %d events, want none", n)
				}
			})
		}
	})
}

// renameOf works out a login of ann that changes everything there is, and
// stops before it is written.
func renameOf(w *world, ann User) change {
	w.t.Helper()
	p := w.idps["acme"]
	c, refusal := p.read(sent("userName", "anna", "ExternalId", "1", "department", "Sales", "groups", "staff", "hat", "7"))
	if refusal != nil {
		w.t.Fatal(refusal)
	}
	f, err := w.lookup(w.t.Context(), p, c)
	if err != nil {
		w.t.Fatal(err)
	}
	// The ExternalId is new, so that ann would not be found by it, nor by the
	// new name: as if it had been hers when the login was worked out.
	old, err := w.lookup(w.t.Context(), p, claims{userName: "ann", domain: "acme.example"})
	if err != nil {
		w.t.Fatal(err)
	}
	f.byExternal = old.byName
	ch, refusal := w.decide(p, c, f, audit.Event{Time: w.time(), IdP: "acme", Directory: "acme"})
	if refusal != nil || ch.after.ID != ann.ID {
		w.t.Fatal(refusal, ch.after)
	}
	return ch
}
