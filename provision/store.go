package provision

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/provision/changes"
)

var (
	//go:embed lookup.lua
	lookupSource string
	//go:embed commit.lua
	commitSource string
	//go:embed mark.lua
	markSource string
	//go:embed erase.lua
	eraseSource string
)

// maxIgnored is how many ignored attributes are noted for each directory.
const maxIgnored = 1000

// maxIgnoredName is how much of such an attribute's name is noted, in bytes.
const maxIgnoredName = 256

// keys are the Redis keys of a directory. They share a hash tag, so that one
// script may use them all in a Redis Cluster.
type keys struct {
	users    string // hash: user ID -> record
	names    string // hash: domain/userName, lower-case -> user ID
	external string // hash: SHA-256 of the ExternalId -> user ID
	list     string // sorted set, in order of the names: name, NUL, user ID
	seen     string // hash: user ID -> time of the last login in ms, space, its nonce
	blocks   string // hash: user ID -> why the user is kept out, or that the user no longer is; see blockMark
	state    string // hash: "closed" -> the tombstone of a deleted directory
	audit    string // stream, see package audit
	ignored  string // set: identity provider, space, name of an ignored attribute
	changed  string // no key, but the channel of package changes
}

// keys returns the keys of a directory.
func (r *Registry) keys(directory string) keys {
	tag := r.prefix + "{" + directory + "}:"
	return keys{
		users: tag + "users", names: tag + "names", external: tag + "external", list: tag + "list",
		seen: tag + "seen", blocks: tag + "blocks", state: tag + "state", audit: audit.Key(r.prefix, directory), ignored: tag + "ignored",
		changed: changes.Channel(r.prefix, directory),
	}
}

// A record is a user as it is stored. Groups are the configured ones alone,
// and what follows from them is left out: they are worked out anew whenever a
// user is read, and kept to tell who joined and who left.
type record struct {
	User
	Shadowed []string `json:"asserted_shadowed,omitempty"` // asserted groups of a name that the configuration has
}

// encode returns the record as it is stored; the same for the same record.
func (rec record) encode() (string, error) {
	rec.LastLogin, rec.Entitlements, rec.Blocked = time.Time{}, nil, nil
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		return "", fmt.Errorf("encoding user %q: %w", rec.ID, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// decode reads a record as it is stored.
func decode(stored string) (*record, error) {
	rec := new(record)
	if err := json.Unmarshal([]byte(stored), rec); err != nil {
		return nil, fmt.Errorf("decoding user: %w", err)
	}
	return rec, nil
}

// nameField is the user's field in keys.names: a userName is one in each domain,
// whatever the case of its ASCII letters.
func nameField(domain, userName string) string {
	return domain + "/" + lower(userName)
}

// externalField is the user's field in keys.external, "" without an ExternalId.
func externalField(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// place is the user's member of keys.list.
func (rec *record) place() string {
	return nameField(rec.Domain, rec.UserName) + "\x00" + rec.ID
}

// ignoredMember is the member of keys.ignored for an ignored attribute.
func ignoredMember(p *idp, name string) string {
	return p.name + " " + name
}

// stored is a record with its encoding as it was read, and what lies beside it.
type stored struct {
	*record
	json      string
	lastLogin time.Time
	mark      string // in keys.blocks
	blocked   *Block // what that means
}

// found is what lookup finds.
type found struct {
	closed             bool     // the directory is deleted
	byExternal, byName stored   // their record is nil where there is none
	unnoted            []string // ignored attributes that the audit trail does not have yet
}

// lookup finds the users that c may mean, in one trip.
func (r *Registry) lookup(ctx context.Context, p *idp, c claims) (found, error) {
	k := r.keys(p.directory)
	args := []any{nameField(c.domain, c.userName), externalField(c.externalID), maxIgnored}
	for _, name := range c.ignored[:min(len(c.ignored), maxIgnored)] {
		args = append(args, ignoredMember(p, name))
	}
	all := []string{k.users, k.names, k.external, k.ignored, k.seen, k.blocks, k.state}
	reply, err := r.lookupScript.Run(ctx, r.rdb, all, args...).StringSlice()
	if err != nil {
		return found{}, fmt.Errorf("looking up user: %w", err)
	}
	if len(reply) < 7 {
		return found{}, fmt.Errorf("looking up user: reply has %d parts", len(reply))
	}
	f := found{closed: reply[0] != ""}
	for _, member := range reply[7:] {
		_, name, _ := strings.Cut(member, " ")
		f.unnoted = append(f.unnoted, name)
	}
	for i, to := range []*stored{&f.byExternal, &f.byName} {
		part := reply[1+3*i:]
		if part[0] == "" {
			continue
		}
		if to.record, err = decode(part[0]); err != nil {
			return found{}, err
		}
		to.json, to.lastLogin, to.mark = part[0], decodeSeen(part[1]), part[2]
		if to.blocked, err = r.blockOf(p.directory, to.mark, to.lastLogin); err != nil {
			return found{}, err
		}
	}
	return f, nil
}

// decodeSeen reads the time of a last login as it is stored, the zero time where
// there is none.
func decodeSeen(seen string) time.Time {
	ms, _, _ := strings.Cut(seen, " ")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// A change is what a login writes.
type change struct {
	before  stored // its record is nil for a new user
	after   *record
	json    string // of after; "" if the record stays as it is
	time    time.Time
	events  []audit.Event
	ignored []audit.Event // each told only if nobody has noted the attribute yet
	base    audit.Event   // what the events have in common
}

// commit writes ch, in one trip. It reports whether it did: not where somebody
// else has changed the user since, or has taken the name or ExternalId.
func (r *Registry) commit(ctx context.Context, p *idp, ch change, nonce string) (bool, error) {
	k := r.keys(p.directory)
	after := ch.after
	var name, ext, place string
	if before := ch.before.record; before != nil {
		name, ext, place = nameField(before.Domain, before.UserName), externalField(before.ExternalID), before.place()
	}
	args := []any{
		after.ID, strconv.FormatInt(ch.time.UnixMilli(), 10) + " " + nonce, ch.before.json, ch.json,
		nameField(after.Domain, after.UserName), name, externalField(after.ExternalID), ext, after.place(), place,
		ch.before.mark, k.changed, audit.Field, audit.MaxLen, len(ch.events),
	}
	for i, e := range slices.Concat(ch.events, ch.ignored) {
		line, err := e.Encode()
		if err != nil {
			return false, err
		}
		if i >= len(ch.events) {
			args = append(args, ignoredMember(p, e.Attributes[0]))
		}
		args = append(args, line)
	}
	all := []string{k.users, k.names, k.external, k.list, k.seen, k.audit, k.ignored, k.blocks, k.state}
	reply, err := r.commitScript.Run(ctx, r.rdb, all, args...).Text()
	if err != nil {
		return false, fmt.Errorf("writing user: %w", err)
	}
	return reply == "ok", nil
}

// A marking is a change of a mark beside the users.
type marking struct {
	key, field string // of the hash
	old        string // the mark as it was read, "" for none
	mark       any    // the new one, nil for none
	user       string // ID of the user whose mark it is, "" for one of the directory
}

// mark does m and records events, as a whole or not at all. It reports whether it
// did: not where the mark is no longer as it was read, or the user is gone.
func (r *Registry) mark(ctx context.Context, k keys, m marking, events ...audit.Event) (bool, error) {
	text := ""
	if m.mark != nil {
		data, err := json.Marshal(m.mark)
		if err != nil {
			return false, fmt.Errorf("encoding a mark: %w", err)
		}
		text = string(data)
	}
	args := []any{m.field, m.old, text, m.user, k.changed, audit.Field, audit.MaxLen}
	for _, e := range events {
		line, err := e.Encode()
		if err != nil {
			return false, err
		}
		args = append(args, line)
	}
	reply, err := r.markScript.Run(ctx, r.rdb, []string{m.key, k.audit, k.users, k.state}, args...).Text()
	if err != nil {
		return false, fmt.Errorf("writing a mark: %w", err)
	}
	return reply == "ok", nil
}

// hget returns a field of a hash, "" where it is not there.
func (r *Registry) hget(ctx context.Context, key, field string) (string, error) {
	text, err := r.rdb.HGet(ctx, key, field).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", key, err)
	}
	return text, nil
}

// fetch reads the users with these IDs of one directory, as far as there are
// any, in one trip.
func (r *Registry) fetch(ctx context.Context, directory string, ids ...string) ([]User, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := r.rdb.Pipeline()
	read := r.ask(ctx, pipe, directory, ids)
	_, _ = pipe.Exec(ctx) // each command has its own error
	return read()
}

// ask is fetch as a part of pipe: what it returns is to be called when pipe was
// executed.
func (r *Registry) ask(ctx context.Context, pipe redis.Pipeliner, directory string, ids []string) func() ([]User, error) {
	k := r.keys(directory)
	closed := pipe.HExists(ctx, k.state, closedField)
	records, seen, blocks := pipe.HMGet(ctx, k.users, ids...), pipe.HMGet(ctx, k.seen, ids...), pipe.HMGet(ctx, k.blocks, ids...)
	return func() ([]User, error) {
		if err := cmp.Or(closed.Err(), records.Err(), seen.Err(), blocks.Err()); err != nil {
			return nil, fmt.Errorf("reading users: %w", err)
		}
		if closed.Val() {
			return nil, nil
		}
		return r.usersOf(directory, ids, records.Val(), seen.Val(), blocks.Val())
	}
}

// usersOf returns the users that there are of those with ids, made of what is stored.
func (r *Registry) usersOf(directory string, ids []string, records, seen, blocks []any) ([]User, error) {
	var users []User
	for i, value := range records {
		text, ok := value.(string)
		if !ok {
			continue
		}
		rec, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("user %q of directory %q: %w", ids[i], directory, err)
		}
		u := r.view(rec)
		login, _ := seen[i].(string)
		block, _ := blocks[i].(string)
		u.LastLogin = decodeSeen(login)
		if u.Blocked, err = r.blockOf(directory, block, u.LastLogin); err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}
