package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// inconsistencies returns what a check of a directory reports, sorted.
func (w *world) inconsistencies(directory string) []string {
	w.t.Helper()
	var all []string
	_, err := w.Consistency(w.t.Context(), directory, func(i Inconsistency) { all = append(all, i.String()) }, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// put adds to pipe what writes a user in all places.
func put(ctx context.Context, pipe redis.Pipeliner, k keys, rec *record) error {
	text, err := rec.encode()
	if err != nil {
		return err
	}
	pipe.HSet(ctx, k.users, rec.ID, text)
	pipe.HSet(ctx, k.names, nameField(rec.Domain, rec.UserName), rec.ID)
	if rec.ExternalID != "" {
		pipe.HSet(ctx, k.external, externalField(rec.ExternalID), rec.ID)
	}
	pipe.ZAdd(ctx, k.list, redis.Z{Member: rec.place()})
	pipe.HSet(ctx, k.seen, rec.ID, "1767225600000 NONCE")
	return nil
}

// fill writes n users of directory acme.
func fill(t testing.TB, r *Registry, n int) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	for part := range slices.Chunk(numbers, 1000) {
		_, err := r.rdb.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
			for _, i := range part {
				err := put(t.Context(), pipe, r.keys("acme"), &record{User: User{
					ID: fmt.Sprintf("%032x", i), Directory: "acme", Domain: "acme.example", UserName: fmt.Sprint("user-", i),
					ExternalID: fmt.Sprint("external-", i), Groups: []string{"engineers", "staff"}, IdP: "acme", Created: now, Updated: now,
					Attributes: map[string][]string{"email": {fmt.Sprintf("user-%d@acme.example", i)}, "department": {"Engineering"}},
				}})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A wreck is a directory with three users, to be damaged.
type wreck struct {
	*world
	keys
	ctx            context.Context
	ann, bob, carl string // IDs
}

func newWreck(t *testing.T, rdb redis.UniversalClient) *wreck {
	w := newWorld(t, rdb)
	d := &wreck{world: w, keys: w.keys("acme"), ctx: t.Context()}
	d.ann = w.login("acme", "userName", "Ann", "ExternalId", "1", "groups", "eng-a", "groups", "eng-b").User.ID
	d.bob = w.login("acme", "userName", "bob").User.ID
	d.carl = w.login("acme", "userName", "carl", "ExternalId", "3").User.ID
	w.login("other", "userName", "ann", "ExternalId", "1")
	return d
}

// edit replaces old, which must be there once, in the record of a user.
func (d *wreck) edit(id, old, new string) {
	d.t.Helper()
	text := d.rdb.HGet(d.ctx, d.users, id).Val()
	if strings.Count(text, old) != 1 {
		d.t.Fatalf("%q is not there once in %s", old, text)
	}
	d.rdb.HSet(d.ctx, d.users, id, strings.Replace(text, old, new, 1))
}

// pad makes the record of a user n bytes long.
func (d *wreck) pad(id string, n int) {
	d.t.Helper()
	text := d.rdb.HGet(d.ctx, d.users, id).Val()
	n -= len(text) + len(`,"later":""`)
	d.edit(id, `"idp":`, `"later":"`+strings.Repeat("x", n)+`","idp":`)
}

// newcomer writes a user whose entries in the indexes belong to others.
func (d *wreck) newcomer(id, name, external string) {
	d.t.Helper()
	rec := &record{User: User{ID: id, Directory: "acme", Domain: "acme.example", UserName: name, ExternalID: external, IdP: "acme"}}
	text, err := rec.encode()
	if err != nil {
		d.t.Fatal(err)
	}
	d.rdb.HSet(d.ctx, d.users, id, text)
	d.rdb.HSetNX(d.ctx, d.names, nameField(rec.Domain, rec.UserName), id)
	d.rdb.HSetNX(d.ctx, d.external, externalField(external), id)
	d.rdb.ZAdd(d.ctx, d.list, redis.Z{Member: rec.place()})
	d.rdb.HSet(d.ctx, d.seen, id, "1767225600000 NONCE")
}

// reports checks what is reported of the directory. In want ANN, BOB and CARL
// stand for the IDs, X1 and X3 for the ExternalIds of the indexes.
func (d *wreck) reports(want ...string) {
	d.t.Helper()
	names := strings.NewReplacer("ANN", d.ann, "BOB", d.bob, "CARL", d.carl, "X1", externalField("1"), "X3", externalField("3"))
	for i := range want {
		id, text, _ := strings.Cut(want[i], ": ")
		want[i] = names.Replace(fmt.Sprintf("directory %q: user %q: %s", "acme", id, text))
	}
	slices.Sort(want)
	if got := d.inconsistencies("acme"); !slices.Equal(got, want) {
		d.t.Errorf("reported:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// damaged checks what is reported after each kind of damage, on its own.
func damaged(t *testing.T, tests []damageTest) {
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range tests {
			t.Run(test.why, func(t *testing.T) {
				d := newWreck(t, rdb)
				test.damage(d)
				before := d.dump()
				d.reports(slices.Clone(test.want)...)
				if after := d.dump(); !maps.Equal(before, after) {
					t.Errorf("the check changed the store: %q, want %q", after, before)
				}
				if got := d.inconsistencies("other"); len(got) > 0 {
					t.Errorf("reported of another directory: %q", got)
				}
			})
		}
	})
}

type damageTest struct {
	why    string
	damage func(d *wreck)
	want   []string
}

func TestConsistencyOfRecords(t *testing.T) {
	t.Parallel()
	damaged(t, []damageTest{
		{"nothing", func(d *wreck) {}, nil},
		{"a field that a later release may have", func(d *wreck) { d.edit(d.ann, `"idp":`, `"later":[1],"idp":`) }, nil},
		{"written another way", func(d *wreck) { d.edit(d.ann, `"idp":`, "\n  \"idp\" : ") }, nil},
		{"as long as it may be", func(d *wreck) { d.pad(d.ann, 64<<10) }, nil},
		{"a domain that is no longer configured", func(d *wreck) {
			rec := &record{User: User{ID: "d0", Directory: "acme", Domain: "former.example", UserName: "dora", IdP: "acme"}}
			d.rdb.Pipelined(d.ctx, func(pipe redis.Pipeliner) error { return put(d.ctx, pipe, d.keys, rec) })
		}, nil},

		{"not JSON", func(d *wreck) { d.rdb.HSet(d.ctx, d.users, d.ann, `{"id":`) },
			[]string{`ANN: users: decoding user: unexpected end of JSON input`}},
		{"empty", func(d *wreck) { d.rdb.HSet(d.ctx, d.users, d.ann, "") },
			[]string{`ANN: users: decoding user: unexpected end of JSON input`}},
		{"JSON of something else", func(d *wreck) { d.rdb.HSet(d.ctx, d.users, d.ann, "null") },
			[]string{`ANN: users: the record has the ID ""`}},
		{"under another user's ID", func(d *wreck) { d.edit(d.ann, d.ann, d.bob) },
			[]string{`ANN: users: the record has the ID "BOB"`}},
		{"of another directory", func(d *wreck) { d.edit(d.ann, `"directory":"acme"`, `"directory":"other"`) },
			[]string{`ANN: users: the record is of directory "other"`}},
		{"without a domain", func(d *wreck) { d.edit(d.ann, `"domain":"acme.example"`, `"domain":""`) },
			[]string{`ANN: users: the record has no domain`}},
		{"without a userName", func(d *wreck) { d.edit(d.ann, `"userName":"Ann",`, ``) },
			[]string{`ANN: users: the record has no userName`}},
		{"longer than it may be", func(d *wreck) { d.pad(d.ann, 64<<10+1) },
			[]string{`ANN: users: the record has 65537 bytes, more than 65536`}},
		{"groups out of order", func(d *wreck) { d.edit(d.ann, `"idp":`, `"groups":["a","c","b"],"idp":`) },
			[]string{`ANN: users: groups of the record are not sorted, each once: "b" comes after "c"`}},
		{"a group twice", func(d *wreck) { d.edit(d.ann, `"idp":`, `"groups":["a","b","b"],"idp":`) },
			[]string{`ANN: users: groups of the record are not sorted, each once: "b" comes after "b"`}},
		{"an asserted group twice", func(d *wreck) { d.edit(d.ann, `["eng-a","eng-b"]`, `["eng-a","eng-a"]`) },
			[]string{`ANN: users: asserted of the record are not sorted, each once: "eng-a" comes after "eng-a"`}},
		{"shadowed groups out of order", func(d *wreck) { d.edit(d.ann, `"idp":`, `"asserted_shadowed":["b","a"],"idp":`) },
			[]string{`ANN: users: asserted_shadowed of the record are not sorted, each once: "a" comes after "b"`}},

		{"gone, and the entries left behind", func(d *wreck) { d.rdb.HDel(d.ctx, d.users, d.ann) }, []string{
			`ANN: names: entry "acme.example/ann" leads to user "ANN", who is not there`,
			`ANN: external: entry "X1" leads to user "ANN", who is not there`,
			`ANN: list: entry "acme.example/ann\x00ANN" leads to user "ANN", who is not there`,
			`ANN: seen: entry "ANN" leads to user "ANN", who is not there`,
		}},
		{"another name, and the entries left behind", func(d *wreck) { d.edit(d.ann, `"userName":"Ann"`, `"userName":"Zoe"`) }, []string{
			`ANN: names: entry "acme.example/zoe" is missing, the user's name`,
			`ANN: names: entry "acme.example/ann" leads to user "ANN", whose entry is "acme.example/zoe"`,
			`ANN: list: entry "acme.example/zoe\x00ANN" is missing, the user's place`,
			`ANN: list: entry "acme.example/ann\x00ANN" leads to user "ANN", whose entry is "acme.example/zoe\x00ANN"`,
		}},
	})
}

func TestConsistencyOfIndexes(t *testing.T) {
	t.Parallel()
	damaged(t, []damageTest{
		{"no entry for the name", func(d *wreck) { d.rdb.HDel(d.ctx, d.names, "acme.example/ann") },
			[]string{`ANN: names: entry "acme.example/ann" is missing, the user's name`}},
		{"the name leads to another user", func(d *wreck) { d.rdb.HSet(d.ctx, d.names, "acme.example/ann", d.bob) },
			[]string{`ANN: names: entry "acme.example/ann" leads to user "BOB", although it is this user's name`}},
		{"the name leads to nobody", func(d *wreck) { d.rdb.HSet(d.ctx, d.names, "acme.example/ann", "nobody") },
			[]string{`ANN: names: entry "acme.example/ann" leads to user "nobody", although it is this user's name`}},
		{"two names of a user", func(d *wreck) { d.rdb.HSet(d.ctx, d.names, "acme.example/zoe", d.ann) },
			[]string{`ANN: names: entry "acme.example/zoe" leads to user "ANN", whose entry is "acme.example/ann"`}},
		{"the name in another case", func(d *wreck) { d.rdb.HSet(d.ctx, d.names, "acme.example/Ann", d.ann) },
			[]string{`ANN: names: entry "acme.example/Ann" leads to user "ANN", whose entry is "acme.example/ann"`}},
		{"a name of nobody", func(d *wreck) { d.rdb.HSet(d.ctx, d.names, "acme.example/zoe", "nobody") },
			[]string{`nobody: names: entry "acme.example/zoe" leads to user "nobody", who is not there`}},
		{"one name of three users", func(d *wreck) { d.newcomer("d1", "ANN", "4"); d.newcomer("d2", "ann", "5") }, []string{
			`d1: names: entry "acme.example/ann" leads to user "ANN", who has the same name`,
			`d2: names: entry "acme.example/ann" leads to user "ANN", who has the same name`,
		}},

		{"no entry for the ExternalId", func(d *wreck) { d.rdb.HDel(d.ctx, d.external, externalField("1")) },
			[]string{`ANN: external: entry "X1" is missing, the user's ExternalId`}},
		{"the ExternalId leads to another user", func(d *wreck) { d.rdb.HSet(d.ctx, d.external, externalField("1"), d.carl) },
			[]string{`ANN: external: entry "X1" leads to user "CARL", although it is this user's ExternalId`}},
		{"two ExternalIds of a user", func(d *wreck) { d.rdb.HSet(d.ctx, d.external, "abc", d.ann) },
			[]string{`ANN: external: entry "abc" leads to user "ANN", whose entry is "X1"`}},
		{"an ExternalId of a user without one", func(d *wreck) { d.rdb.HSet(d.ctx, d.external, "abc", d.bob) },
			[]string{`BOB: external: entry "abc" leads to user "BOB", who has no entry here`}},
		{"the ExternalId that no user has", func(d *wreck) { d.rdb.HSet(d.ctx, d.external, "", d.bob) },
			[]string{`BOB: external: entry "" leads to user "BOB", who has no entry here`}},
		{"an ExternalId of nobody", func(d *wreck) { d.rdb.HSet(d.ctx, d.external, "abc", "nobody") },
			[]string{`nobody: external: entry "abc" leads to user "nobody", who is not there`}},
		{"one ExternalId of two users", func(d *wreck) { d.newcomer("d1", "dora", "3") },
			[]string{`d1: external: entry "X3" leads to user "CARL", who has the same ExternalId`}},

		{"no place in the list", func(d *wreck) { d.rdb.ZRem(d.ctx, d.list, "acme.example/ann\x00"+d.ann) },
			[]string{`ANN: list: entry "acme.example/ann\x00ANN" is missing, the user's place`}},
		{"two places", func(d *wreck) { d.rdb.ZAdd(d.ctx, d.list, redis.Z{Member: "acme.example/zoe\x00" + d.ann}) },
			[]string{`ANN: list: entry "acme.example/zoe\x00ANN" leads to user "ANN", whose entry is "acme.example/ann\x00ANN"`}},
		{"a place of nobody", func(d *wreck) { d.rdb.ZAdd(d.ctx, d.list, redis.Z{Member: "acme.example/ann\x00nobody"}) },
			[]string{`nobody: list: entry "acme.example/ann\x00nobody" leads to user "nobody", who is not there`}},
		{"a place that is none", func(d *wreck) { d.rdb.ZAdd(d.ctx, d.list, redis.Z{Member: "acme.example/ann"}) },
			[]string{`: list: entry "acme.example/ann" leads to user "", who is not there`}},
		{"a place out of order", func(d *wreck) {
			d.rdb.ZAdd(d.ctx, d.list, redis.Z{Member: "acme.example/ann\x00" + d.ann, Score: 1e8})
		}, []string{`ANN: list: entry "acme.example/ann\x00ANN" has the score 1e+08, not 0`}},

		{"no last login", func(d *wreck) { d.rdb.HDel(d.ctx, d.seen, d.ann) },
			[]string{`ANN: seen: entry "ANN" is missing, the user's last login`}},
		{"a last login that is no time", func(d *wreck) { d.rdb.HSet(d.ctx, d.seen, d.ann, "today NONCE") },
			[]string{`ANN: seen: entry "ANN" is "today NONCE", not a time in ms and a nonce`}},
		{"a last login before there were any", func(d *wreck) { d.rdb.HSet(d.ctx, d.seen, d.ann, "0 NONCE") },
			[]string{`ANN: seen: entry "ANN" is "0 NONCE", not a time in ms and a nonce`}},
		{"a last login without its nonce", func(d *wreck) { d.rdb.HSet(d.ctx, d.seen, d.ann, "1767225600000") },
			[]string{`ANN: seen: entry "ANN" is "1767225600000", not a time in ms and a nonce`}},
		{"a block of nobody", func(d *wreck) { d.rdb.HSet(d.ctx, d.blocks, "nobody", "{}") },
			[]string{`nobody: blocks: entry "nobody" leads to user "nobody", who is not there`}},
		{"a last login of nobody", func(d *wreck) { d.rdb.HSet(d.ctx, d.seen, "nobody", "1767225600000 NONCE") },
			[]string{`nobody: seen: entry "nobody" leads to user "nobody", who is not there`}},
	})
}

// TestConsistencyOfNothing: a directory that is not there agrees with itself.
func TestConsistencyOfNothing(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		w.login("acme", "userName", "ann")
		if got := w.inconsistencies("nowhere"); len(got) > 0 {
			t.Errorf("reported %q, want nothing", got)
		}
		w.delete("acme")
		if got := w.inconsistencies("acme"); len(got) > 0 {
			t.Errorf("reported of a deleted directory: %q, want nothing", got)
		}
	})
}

// TestConsistencyOfMany: more users than are read at a time are all looked at,
// each once.
func TestConsistencyOfMany(t *testing.T) {
	t.Parallel()
	const users = 2300
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		fill(t, w.Registry, users)
		k := w.keys("acme")
		rdb.AddHook(hook{after: nothing, before: func(cmds []redis.Cmder) {
			for _, cmd := range cmds {
				args := cmd.Args()
				if _, ok := cmd.(*redis.ScanCmd); ok && !slices.Contains(args, any(int64(scanCount))) || len(args) > scanCount+10 {
					t.Errorf("%s asks for too much at a time", cmd.Name())
				}
			}
		}})
		var want []string
		for i := 0; i < users; i += 100 {
			id := fmt.Sprintf("%032x", i)
			rdb.HDel(t.Context(), k.seen, id)
			rdb.HSet(t.Context(), k.names, fmt.Sprint("x", i), "nobody")
			want = append(want, "seen "+id, "names nobody")
		}
		var got []string
		var progress []int
		n, err := w.Consistency(t.Context(), "acme",
			func(i Inconsistency) { got = append(got, i.Where+" "+i.UserID) },
			func(users int) { progress = append(progress, users) })
		if n != users || err != nil {
			t.Errorf("Consistency = %d, %v, want %d", n, err, users)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("reported %q, want %q", got, want)
		}
		if len(progress) < users/2/scanCount || !slices.IsSorted(progress) || progress[len(progress)-1] != users {
			t.Errorf("progress = %d, want steps up to %d", progress, users)
		}
	})
}

// hook lets a test do something before and after each trip of a client.
type hook struct {
	before, after func(cmds []redis.Cmder)
}

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.before([]redis.Cmder{cmd})
		err := next(ctx, cmd)
		h.after([]redis.Cmder{cmd})
		return err
	}
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.before(cmds)
		err := next(ctx, cmds)
		h.after(cmds)
		return err
	}
}

func nothing([]redis.Cmder) {}

// clearExternalID makes a login without an ExternalId take away the user's.
func clearExternalID(c *config.Config) {
	i := slices.IndexFunc(c.Attributes, func(a config.Attribute) bool { return a.Name == externalID })
	c.Attributes[i].Absent = "clear"
}

// TestConsistencyOfRepeatedScans: what the store returns twice, as a SCAN may, is
// reported once.
func TestConsistencyOfRepeatedScans(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := newWreck(t, rdb)
		rdb.HDel(d.ctx, d.names, "acme.example/bob")
		for _, key := range []string{d.names, d.external, d.seen} {
			rdb.HSet(d.ctx, key, "stray", "nobody")
		}
		rdb.ZAdd(d.ctx, d.list, redis.Z{Member: "stray\x00nobody"})
		scans := 0
		rdb.AddHook(hook{before: nothing, after: func(cmds []redis.Cmder) {
			if scan, ok := cmds[0].(*redis.ScanCmd); ok {
				page, cursor := scan.Val()
				scan.SetVal(slices.Concat(page, page), cursor)
				scans++
			}
		}})
		d.reports(
			`BOB: names: entry "acme.example/bob" is missing, the user's name`,
			`nobody: names: entry "stray" leads to user "nobody", who is not there`,
			`nobody: external: entry "stray" leads to user "nobody", who is not there`,
			`nobody: list: entry "stray\x00nobody" leads to user "nobody", who is not there`,
			`stray: seen: entry "stray" leads to user "stray", who is not there`,
		)
		if scans != 6 {
			t.Errorf("%d pages were doubled, want 6", scans)
		}
	})
}

// TestConsistencyBetweenReads: users who change between any two reads, and a
// few times before what is read at one moment, are not reported.
func TestConsistencyBetweenReads(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why    string
			change func(w *world, i int)
		}{
			{"another name", func(w *world, i int) { w.login("acme", "userName", fmt.Sprint("ann", i), "ExternalId", "1") }},
			{"names that pass between two users", func(w *world, i int) {
				names := []string{"ann", "bob"}
				w.login("acme", "userName", "nobody", "ExternalId", "1")
				w.login("acme", "userName", names[i%2], "ExternalId", "2")
				w.login("acme", "userName", names[1-i%2], "ExternalId", "1")
			}},
			{"ExternalIds that pass between two users", func(w *world, i int) {
				ids := []string{"1", "2"}
				w.login("other", "userName", "ann")
				w.login("other", "userName", "bob")
				w.login("other", "userName", "ann", "ExternalId", ids[i%2])
				w.login("other", "userName", "bob", "ExternalId", ids[1-i%2])
			}},
			{"users who are deleted and come back", func(w *world, i int) {
				w.delete("acme")
				w.CreateDirectory(t.Context(), "acme", byAdmin)
				w.login("acme", "userName", "ann", "ExternalId", "1")
			}},
		} {
			t.Run(test.why, func(t *testing.T) {
				addr := rdb.(*redis.Client).Options().Addr
				direct := newWorld(t, testenv.Client(t, addr), clearExternalID)
				w := direct.reload()
				w.rdb = testenv.Client(t, addr)
				test.change(direct, 0)
				changes, moments := 0, 0
				w.rdb.AddHook(hook{after: nothing, before: func(cmds []redis.Cmder) {
					switch name := cmds[0].Name(); {
					case name == "hello", name == "client", changes == 500:
						return
					case name == "multi":
						if moments++; moments%3 == 0 {
							return
						}
					}
					changes++
					test.change(direct, changes)
				}})
				for _, directory := range []string{"acme", "other"} {
					if got := w.inconsistencies(directory); len(got) > 0 {
						t.Errorf("reported %q, want nothing", got)
					}
				}
				if moments == 0 || changes == 500 {
					t.Errorf("%d of %d reads at one moment, want some", moments, changes)
				}
			})
		}
	})
}

// TestConsistencyHolder: who has the same name is told of the moment, too.
func TestConsistencyHolder(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := newWreck(t, rdb)
		d.newcomer("d1", "ann", "4")
		rdb.HSet(d.ctx, d.names, "acme.example/ann", d.bob)
		moments := 0
		rdb.AddHook(hook{after: nothing, before: func(cmds []redis.Cmder) {
			if cmds[0].Name() == "multi" && moments == 0 {
				moments++
				rdb.HSet(d.ctx, d.names, "acme.example/ann", "d1")
			}
		}})
		d.reports(`ANN: names: entry "acme.example/ann" leads to user "d1", who has the same name`)
		if moments == 0 {
			t.Error("nothing looked wrong")
		}
	})
}

// TestConsistencyDuringLogins: nothing is reported while users are created,
// renamed, updated and deleted.
func TestConsistencyDuringLogins(t *testing.T) {
	t.Parallel()
	const workers, logins = 4, 500
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, clearExternalID)
		var working sync.WaitGroup
		var done, refused atomic.Int64
		login := func(worker, i int) {
			pairs := []string{"userName", fmt.Sprint("u", (i*7+worker)%31), "department", fmt.Sprint(i % 3)}
			if i%4 > 0 {
				pairs = append(pairs, "ExternalId", fmt.Sprint(i%23))
			}
			_, err := w.try("acme", pairs...)
			var refusal *Refusal
			if errors.As(err, &refusal) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		}
		for worker := range workers {
			working.Go(func() {
				defer done.Add(1)
				for i := range logins {
					login(worker, i)
					if worker == 0 && i%100 == 99 {
						_, err1 := w.CloseDirectory(t.Context(), "acme", byAdmin)
						err2 := w.EraseDirectory(t.Context(), "acme")
						_, err3 := w.CreateDirectory(t.Context(), "acme", byAdmin)
						if err := errors.Join(err1, err2, err3); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		users := 0
		for done.Load() < workers {
			n, err := w.Consistency(t.Context(), "acme", func(i Inconsistency) { t.Error(i) }, nil)
			if err != nil {
				t.Error(err)
			}
			users += n
		}
		working.Wait()
		if n := refused.Load(); users == 0 || n == 0 || n == workers*logins {
			t.Errorf("%d users looked at, %d of %d logins refused", users, n, workers*logins)
		}
		if got := w.inconsistencies("acme"); len(got) > 0 {
			t.Errorf("reported afterwards: %q", got)
		}
	})
}

// TestConsistencyNotKnown: what cannot be read is an error, and nothing is said
// about it.
func TestConsistencyNotKnown(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		other := func(key func(d *wreck) string) func(d *wreck) {
			return func(d *wreck) { rdb.Del(d.ctx, key(d)); rdb.Set(d.ctx, key(d), "x", 0) }
		}
		for _, test := range []struct {
			why    string
			ctx    context.Context
			damage func(d *wreck)
			want   string
		}{
			{"nobody waits for it", canceled, func(d *wreck) {}, "context canceled"},
			{"users of another type", t.Context(), other(func(d *wreck) string { return d.users }), "WRONGTYPE"},
			{"names of another type", t.Context(), other(func(d *wreck) string { return d.names }), "WRONGTYPE"},
			{"external of another type", t.Context(), other(func(d *wreck) string { return d.external }), "WRONGTYPE"},
			{"list of another type", t.Context(), other(func(d *wreck) string { return d.list }), "WRONGTYPE"},
			{"seen of another type", t.Context(), other(func(d *wreck) string { return d.seen }), "WRONGTYPE"},
		} {
			t.Run(test.why, func(t *testing.T) {
				d := newWreck(t, rdb)
				test.damage(d)
				_, err := d.Consistency(test.ctx, "acme", func(i Inconsistency) { t.Errorf("reported %s", i) }, nil)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error = %v, want one that says %q", err, test.want)
				}
			})
		}
	})
}

// TestConsistencyInCluster: what is read at one moment is of one slot, and every
// command is sent to the server that has its key.
func TestConsistencyInCluster(t *testing.T) {
	t.Parallel()
	s := testenv.RedisServer(t, "--cluster-enabled", "yes", "--dir", t.TempDir())
	one := testenv.Client(t, s.Addr)
	if err := one.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.Addr}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	testenv.Eventually(t, func() error {
		if info := one.ClusterInfo(t.Context()).Val(); !strings.Contains(info, "cluster_state:ok") {
			return fmt.Errorf("the cluster is not up: %s", info)
		}
		return nil
	})
	d := newWreck(t, rdb)
	d.reports()
	rdb.HDel(d.ctx, d.names, "acme.example/ann")
	rdb.ZAdd(d.ctx, d.list, redis.Z{Member: "acme.example/zoe\x00" + d.ann})
	d.reports(
		`ANN: names: entry "acme.example/ann" is missing, the user's name`,
		`ANN: list: entry "acme.example/zoe\x00ANN" leads to user "ANN", whose entry is "acme.example/ann\x00ANN"`,
	)
}

// BenchmarkConsistency checks 10,000 users.
func BenchmarkConsistency(b *testing.B) {
	stores := map[string]func() string{
		"embedded": func() string { return testenv.Embedded(b).Addr() },
		"redis":    func() string { return testenv.RedisServer(b).Addr },
	}
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		b.Run(name, func(b *testing.B) {
			r, err := New(testenv.Client(b, stores[name]()), "b:", testConfig())
			if err != nil {
				b.Fatal(err)
			}
			fill(b, r, 10_000)
			b.ReportAllocs()
			for b.Loop() {
				n, err := r.Consistency(b.Context(), "acme", func(i Inconsistency) { b.Error(i) }, nil)
				if n != 10_000 || err != nil {
					b.Fatalf("Consistency = %d, %v", n, err)
				}
			}
		})
	}
}
