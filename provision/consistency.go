package provision

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// scanCount is about how many users or entries are read at a time.
const scanCount = 500

// The keys that have to agree, as an [Inconsistency] calls them.
const (
	inUsers    = "users"
	inNames    = "names"
	inExternal = "external"
	inList     = "list"
	inSeen     = "seen"
	inBlocks   = "blocks"
)

// An Inconsistency is something stored that does not agree with the rest. Its
// text has names of users, even where the userName is sensitive.
type Inconsistency struct {
	Directory string `json:"directory"`
	UserID    string `json:"user_id"` // whom it is about; for an entry without a user, whom that leads to
	Where     string `json:"where"`   // users, names, external, list, seen or blocks: how the name of the Redis key ends
	Text      string `json:"text"`    // what is wrong there
}

// String returns all of it in one line.
func (i Inconsistency) String() string {
	return fmt.Sprintf("directory %q: user %q: %s: %s", i.Directory, i.UserID, i.Where, i.Text)
}

// Consistency reads all users of a directory and the indexes that lead to them,
// and calls report for each record and entry that does not agree with the rest,
// once. It calls progress, if that is not nil, with the number of users looked
// at so far, and returns that number; one whom the store returns twice
// meanwhile counts twice. An error means that it could not look at everything.
//
// It changes nothing and may run while users sign in: what looks wrong is read
// again, all at one moment, and reported only if it is wrong then. It reads some
// hundred users at a time, and keeps nothing but the places that it reported.
//
// A record may have fields that this release does not know, or be written in
// another way: the next login that changes the user writes it anew.
func (r *Registry) Consistency(ctx context.Context, directory string, report func(Inconsistency), progress func(users int)) (int, error) {
	c := &checker{rdb: r.rdb, keys: r.keys(directory), directory: directory, report: report, reported: make(map[spot]bool)}
	users := 0
	err := c.scan(ctx, index{key: c.users}, func(batch []entry) error {
		err := c.checkUsers(ctx, batch)
		if users += len(batch); progress != nil {
			progress(users)
		}
		return err
	})
	for _, ix := range c.indexes() {
		if err != nil {
			break
		}
		err = c.scan(ctx, ix, func(batch []entry) error { return c.checkEntries(ctx, ix, batch) })
	}
	return users, err
}

// A checker is one run of [Registry.Consistency].
type checker struct {
	rdb redis.UniversalClient
	keys
	directory string
	report    func(Inconsistency)
	reported  map[spot]bool
}

// A spot is a field of a hash or a member of a sorted set.
type spot struct{ where, field string }

// A flaw is what is wrong at a spot.
type flaw struct {
	spot
	text string
}

// tell reports what is wrong with a user and the user's entries.
func (c *checker) tell(userID string, flaws ...flaw) {
	for _, f := range flaws {
		c.reported[f.spot], c.reported[spot{inUsers, userID}] = true, true
		c.report(Inconsistency{Directory: c.directory, UserID: userID, Where: f.where, Text: f.text})
	}
}

// An index is a key whose entries lead to users.
type index struct {
	where, key string
	scored     bool                                // a sorted set: the value of an entry is its score
	leadsTo    func(e entry) string                // ID of the user
	entryOf    func(id string, rec *record) string // field of the entry that the user has; nil: of any user
}

// An entry is a field of a hash with its value, or a member of a sorted set
// with its score.
type entry struct{ field, value string }

// indexes returns the directory's indexes.
func (c *checker) indexes() []index {
	byValue := func(e entry) string { return e.value }
	return []index{
		{where: inNames, key: c.names, leadsTo: byValue, entryOf: func(_ string, rec *record) string {
			return nameField(rec.Domain, rec.UserName)
		}},
		{where: inExternal, key: c.external, leadsTo: byValue, entryOf: func(_ string, rec *record) string {
			return externalField(rec.ExternalID)
		}},
		{where: inList, key: c.list, scored: true, leadsTo: func(e entry) string { return idOf(e.field) }, entryOf: placeOf},
		{where: inSeen, key: c.seen, leadsTo: func(e entry) string { return e.field }},
		{where: inBlocks, key: c.blocks, leadsTo: func(e entry) string { return e.field }},
	}
}

// placeOf is the place of the user whose record lies under id.
func placeOf(id string, rec *record) string {
	under := *rec
	under.ID = id
	return under.place()
}

// scan calls check with all that is in a key, a batch at a time.
func (c *checker) scan(ctx context.Context, ix index, check func(batch []entry) error) error {
	scan := c.rdb.HScan
	if ix.scored {
		scan = c.rdb.ZScan
	}
	for cursor := uint64(0); ; {
		page, next, err := scan(ctx, ix.key, cursor, "", scanCount).Result()
		if err != nil {
			return fmt.Errorf("reading %q: %w", ix.key, err)
		}
		for part := range slices.Chunk(page, 2*scanCount) { // the embedded store returns everything at once
			var batch []entry
			for pair := range slices.Chunk(part, 2) {
				batch = append(batch, entry{pair[0], pair[1]})
			}
			if err := check(batch); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// A look is what was found of a user.
type look struct {
	id, text   string
	rec        *record // nil where the text is none
	err        error   // why it is none
	byName     string  // ID that the user's name leads to
	byExternal string  // ID that the user's ExternalId leads to
	placed     bool    // the user is in the list
	seen       string

	namesake, twin *record // the users that byName and byExternal are of, where they were read
}

func newLook(id, text string) look {
	rec, err := decode(text)
	return look{id: id, text: text, rec: rec, err: err}
}

// named reports whether a record was read that says where the user has to be in
// the indexes.
func named(rec *record) bool {
	return rec != nil && rec.Domain != "" && rec.UserName != ""
}

// fields returns the user's fields in the indexes, "" for none.
func (l *look) fields() (name, external, place string) {
	if !named(l.rec) {
		return "", "", ""
	}
	return nameField(l.rec.Domain, l.rec.UserName), externalField(l.rec.ExternalID), placeOf(l.id, l.rec)
}

// A trip is the client's Pipelined or, for what is to be read at one moment, its
// TxPipelined.
type trip func(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error)

// locate reads where the users of looks are in the indexes and, along with that,
// the records under ids, which it returns.
func (c *checker) locate(ctx context.Context, read trip, looks []look, ids ...string) ([]any, error) {
	var names, externals, all []string
	places := []any{"zmscore", c.list} // go-redis' ZMScore has 0 for none
	for i := range looks {
		name, external, place := looks[i].fields()
		names, externals, places = append(names, name), append(externals, external), append(places, place)
		all = append(all, looks[i].id)
	}
	var users, byName, byExternal, seen *redis.SliceCmd
	var scores *redis.Cmd
	_, err := read(ctx, func(pipe redis.Pipeliner) error {
		users = pipe.HMGet(ctx, c.users, append(ids, "")...) // never without any
		byName, byExternal = pipe.HMGet(ctx, c.names, names...), pipe.HMGet(ctx, c.external, externals...)
		seen, scores = pipe.HMGet(ctx, c.seen, all...), pipe.Do(ctx, places...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading indexes: %w", err)
	}
	placed, err := scores.Slice()
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", c.list, err)
	}
	for i := range looks {
		l := &looks[i]
		l.byName, _ = byName.Val()[i].(string)
		l.byExternal, _ = byExternal.Val()[i].(string)
		l.seen, _ = seen.Val()[i].(string)
		l.placed = placed[i] != nil
	}
	return users.Val(), nil
}

// checkUsers looks at records, and at whether the indexes have their users.
func (c *checker) checkUsers(ctx context.Context, records []entry) error {
	looks := make([]look, len(records))
	for i, e := range records {
		looks[i] = newLook(e.field, e.value)
	}
	if _, err := c.locate(ctx, c.rdb.Pipelined, looks); err != nil {
		return err
	}
	for _, l := range looks {
		if len(c.flaws(&l)) == 0 || c.reported[spot{inUsers, l.id}] {
			continue
		}
		if err := c.confirmUser(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// confirmUser reports what is wrong with a user at one moment: when all was read
// at once that the record and the indexes say is to be read.
func (c *checker) confirmUser(ctx context.Context, l look) error {
	for {
		next := []look{newLook(l.id, l.text)}
		users, err := c.locate(ctx, c.rdb.TxPipelined, next, l.id, l.byName, l.byExternal)
		if err != nil {
			return err
		}
		text, there := users[0].(string)
		if !there {
			return nil
		}
		now := &next[0]
		if text == l.text {
			now.namesake, now.twin = recordOf(users[1]), recordOf(users[2])
			flaws := c.flaws(now)
			if len(flaws) == 0 || now.byName == l.byName && now.byExternal == l.byExternal {
				c.tell(l.id, flaws...)
				return nil
			}
		}
		l = *now
		l.text = text
	}
}

// recordOf returns the record that a reply has, nil for none.
func recordOf(reply any) *record {
	text, _ := reply.(string)
	rec, err := decode(text)
	if err != nil {
		return nil
	}
	return rec
}

// flaws returns what is wrong with a user, in the record and in the indexes.
func (c *checker) flaws(l *look) []flaw {
	var all []flaw
	if text := c.recordFlaw(l); text != "" {
		all = append(all, flaw{spot{inUsers, l.id}, text})
	}
	name, external, place := l.fields()
	if name != "" && l.byName != l.id {
		same := named(l.namesake) && nameField(l.namesake.Domain, l.namesake.UserName) == name
		all = append(all, flaw{spot{inNames, name}, astray("name", name, l.byName, same)})
	}
	if external != "" && l.byExternal != l.id {
		same := l.twin != nil && externalField(l.twin.ExternalID) == external
		all = append(all, flaw{spot{inExternal, external}, astray("ExternalId", external, l.byExternal, same)})
	}
	if place != "" && !l.placed {
		all = append(all, flaw{spot{inList, place}, fmt.Sprintf("entry %q is missing, the user's place", place)})
	}
	if !validSeen(l.seen) {
		text := fmt.Sprintf("entry %q is %q, not a time in ms and a nonce", l.id, l.seen)
		if l.seen == "" {
			text = fmt.Sprintf("entry %q is missing, the user's last login", l.id)
		}
		all = append(all, flaw{spot{inSeen, l.id}, text})
	}
	return all
}

// astray says that the entry of a user's name or ExternalId leads elsewhere.
func astray(what, field, to string, same bool) string {
	switch {
	case to == "":
		return fmt.Sprintf("entry %q is missing, the user's %s", field, what)
	case same:
		return fmt.Sprintf("entry %q leads to user %q, who has the same %s", field, to, what)
	}
	return fmt.Sprintf("entry %q leads to user %q, although it is this user's %s", field, to, what)
}

// validSeen reports whether value is a time in milliseconds, a space and a nonce.
func validSeen(value string) bool {
	ms, nonce, _ := strings.Cut(value, " ")
	n, err := strconv.ParseInt(ms, 10, 64)
	return err == nil && n > 0 && nonce != ""
}

// recordFlaw says what is wrong with a user's record itself, or returns "".
func (c *checker) recordFlaw(l *look) string {
	switch rec := l.rec; {
	case l.err != nil:
		return l.err.Error()
	case len(l.text) > maxRecord:
		return fmt.Sprintf("the record has %d bytes, more than %d", len(l.text), maxRecord)
	case rec.ID != l.id:
		return fmt.Sprintf("the record has the ID %q", rec.ID)
	case rec.Directory != c.directory:
		return fmt.Sprintf("the record is of directory %q", rec.Directory)
	case rec.Domain == "":
		return "the record has no domain"
	case rec.UserName == "":
		return "the record has no userName"
	}
	for _, list := range []struct {
		name   string
		groups []string
	}{{"groups", l.rec.Groups}, {"asserted", l.rec.Asserted}, {"asserted_shadowed", l.rec.Shadowed}} {
		for i := 1; i < len(list.groups); i++ {
			if before, group := list.groups[i-1], list.groups[i]; before >= group {
				return fmt.Sprintf("%s of the record are not sorted, each once: %q comes after %q", list.name, group, before)
			}
		}
	}
	return ""
}

// checkEntries looks at whether the users have the entries that lead to them.
func (c *checker) checkEntries(ctx context.Context, ix index, entries []entry) error {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = ix.leadsTo(e)
	}
	users, err := c.rdb.HMGet(ctx, c.users, ids...).Result()
	if err != nil {
		return fmt.Errorf("reading %q: %w", c.users, err)
	}
	for i, e := range entries {
		if ix.flaw(e, users[i]) == "" || c.reported[spot{ix.where, e.field}] {
			continue
		}
		if err := c.confirmEntry(ctx, ix, e); err != nil {
			return err
		}
	}
	return nil
}

// confirmEntry reports what is wrong with an entry at one moment: when it was
// read at once with the user that it leads to.
func (c *checker) confirmEntry(ctx context.Context, ix index, e entry) error {
	read := "hmget"
	if ix.scored {
		read = "zmscore"
	}
	for {
		var values *redis.Cmd
		var users *redis.SliceCmd
		_, err := c.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			values = pipe.Do(ctx, read, ix.key, e.field)
			users = pipe.HMGet(ctx, c.users, ix.leadsTo(e))
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading entry %q of %q: %w", e.field, ix.key, err)
		}
		got, err := values.Slice()
		if err != nil {
			return fmt.Errorf("reading entry %q of %q: %w", e.field, ix.key, err)
		}
		if got[0] == nil {
			return nil
		}
		if value := fmt.Sprint(got[0]); value != e.value {
			e.value = value
			continue
		}
		if text := ix.flaw(e, users.Val()[0]); text != "" {
			c.tell(ix.leadsTo(e), flaw{spot{ix.where, e.field}, text})
		}
		return nil
	}
}

// flaw says what is wrong with an entry, given the reply that has the record of
// the user it leads to, or returns "". An entry of a user without a name is as
// good as any.
func (ix *index) flaw(e entry, user any) string {
	id := ix.leadsTo(e)
	if user == nil {
		return fmt.Sprintf("entry %q leads to user %q, who is not there", e.field, id)
	}
	if ix.entryOf == nil {
		return ""
	}
	rec := recordOf(user)
	if !named(rec) {
		return ""
	}
	switch own := ix.entryOf(id, rec); {
	case own == "":
		return fmt.Sprintf("entry %q leads to user %q, who has no entry here", e.field, id)
	case own != e.field:
		return fmt.Sprintf("entry %q leads to user %q, whose entry is %q", e.field, id, own)
	case ix.scored && e.value != "0":
		return fmt.Sprintf("entry %q has the score %s, not 0", e.field, e.value)
	}
	return ""
}
