// Package session keeps who is signed in: records in Redis, found by a cookie
// that holds a random ID and whose it is.
//
// There is one session for each host and browser. All sessions that came of one
// login share its Login value and its end; ending one of them ends all. Redis
// holds an ID only as its SHA-256, so that a copy of the store opens no session,
// and each record names the key that it lies under, so that a mixed-up reply is
// not taken for somebody's session.
//
// All of a user's sessions lie in the slot of a cluster that their directory is in,
// and what changes them says so there, in one step with the change: see package
// changes. What the cookie holds names the directory and the user besides the ID, so
// that session and user can be asked for at once.
//
// A session ends when it was idle for too long, at the end of its lifetime, or
// when its record is deleted. Redis drops records at the end of their lifetime;
// that one was idle for too long is for us to see, and such a record still tells
// which login it was of.
package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/provision/changes"
)

const (
	// maxLogins is how many logins one user may have open, on however many
	// hosts each; the oldest goes when there are more.
	maxLogins = 20

	// touchEvery is how often, at most, using a session writes to Redis. Where
	// sessions end after minutes of idleness, it is a quarter of that.
	touchEvery = time.Minute

	idBytes = 32
)

// A Record is one session as it stands in Redis.
type Record struct {
	Key       string // its own key, see [KeyOf]
	Host      string // the only host that it is good for
	Directory string
	UserID    string
	IdP       string
	Login     string // random, the same in all sessions of one login
	Base      string `json:",omitempty"` // Key of the session that it was continued from

	// What the identity provider calls this login.
	NameID          string `json:",omitempty"`
	NameFormat      string `json:",omitempty"`
	NameQualifier   string `json:",omitempty"`
	SPNameQualifier string `json:",omitempty"`
	SessionIndex    string `json:",omitempty"`

	// How and when the visitor proved to it who they are.
	AuthnContext string    `json:",omitempty"`
	AuthnInstant time.Time `json:",omitzero"`

	Created time.Time
	Seen    time.Time // of use, to within a minute
	Expires time.Time // whatever happens
}

// A Store reads and writes sessions.
type Store struct {
	Redis    redis.UniversalClient
	Prefix   string           // of every key
	Idle     time.Duration    // unused for that long, a session ends
	Lifetime time.Duration    // it ends in any case
	Now      func() time.Time // the clock

	// Ended is called for each user of whom sessions have ended, or may have. It may
	// be nil.
	Ended func(Owner)
}

// Create stores a new session for what r says and returns it with its token, the
// bytes that the cookie is to hold. A zero Expires becomes now + Lifetime; a
// later one is brought forward to that.
func (s *Store) Create(ctx context.Context, r Record) (Record, []byte, error) {
	token := newToken(r.Owner())
	now := s.Now().UTC()
	r.Key, r.Created, r.Seen = KeyOf(token), now, now
	if end := now.Add(s.Lifetime); r.Expires.IsZero() || r.Expires.After(end) {
		r.Expires = end
	}
	if r.Login == "" {
		r.Login = rand.Text()
	}
	data, err := json.Marshal(r)
	if err != nil {
		return Record{}, nil, fmt.Errorf("encoding a session: %w", err)
	}
	members, err := createScript.Run(ctx, s.Redis, []string{s.key(r.Key), s.index(r.Owner()), s.subject(r.Directory, r.IdP, r.NameID)},
		data, s.ttl(r).Milliseconds(), r.member(), now.UnixMilli(), now.Add(-s.Lifetime).UnixMilli(),
		(s.Lifetime + time.Hour).Milliseconds(), r.UserID, r.NameID).StringSlice()
	if err != nil {
		return Record{}, nil, fmt.Errorf("storing a session: %w", err)
	}
	if err := s.remove(ctx, r.Owner(), surplus(members)); err != nil {
		return Record{}, nil, err
	}
	return r, token, nil
}

// createScript stores a session, with its place in the indexes, and returns the
// sessions of its user. What can fail comes first: a full store refuses the first
// write alone. The client sends the script again when the reply got lost.
//
// KEYS are the record, the user's index and that of the subject. ARGV are the record,
// its time to live in ms, its member of the index, the time in ms, the time of the
// oldest that can be alive, the time to live of the indexes, the ID of the user, and
// what the identity provider calls them.
var createScript = redis.NewScript(`
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
if ARGV[8] ~= '' then
  redis.call('SADD', KEYS[3], ARGV[7])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
return redis.call('ZRANGE', KEYS[2], 0, -1)`)

// Continue opens a session on another host for the login of from. ok is false
// where from is over by the time that there is one: somebody signed out meanwhile.
func (s *Store) Continue(ctx context.Context, from Record, host string) (token []byte, ok bool, err error) {
	r := from
	r.Host, r.Base = host, from.Key
	r, token, err = s.Create(ctx, r)
	if err != nil {
		return nil, false, err
	}
	// Revoke looks for new sessions after it has deleted the old ones, so that
	// either it finds this one or we find from gone.
	if _, ok, err = s.Lookup(ctx, from.Key); err == nil && ok {
		return token, true, nil
	}
	return nil, false, errors.Join(err, s.Revoke(ctx, r))
}

// Lookup returns the session under a key, as it stands in Record.Key.
func (s *Store) Lookup(ctx context.Context, key string) (Record, bool, error) {
	r, ok, err := s.Stored(ctx, key)
	if err != nil || !ok || !s.End(r).After(s.Now()) {
		return Record{}, false, err
	}
	return r, true, nil
}

// Stored returns the record under a key, be its session over or not: a browser
// that signs in anew may have sessions of the old login on other hosts.
func (s *Store) Stored(ctx context.Context, key string) (Record, bool, error) {
	return decode(key, s.Redis.Get(ctx, s.key(key)))
}

// Ask is [Store.Lookup] as a part of pipe: what it returns is to be called when
// pipe was executed.
func (s *Store) Ask(ctx context.Context, pipe redis.Pipeliner, key string) func() (Record, bool, error) {
	reply := pipe.Get(ctx, s.key(key))
	return func() (Record, bool, error) {
		r, ok, err := decode(key, reply)
		if err != nil || !ok || !s.End(r).After(s.Now()) {
			return Record{}, false, err
		}
		return r, true, nil
	}
}

// decode returns the record that is stored under a key.
func decode(key string, reply *redis.StringCmd) (Record, bool, error) {
	data, err := reply.Bytes()
	if errors.Is(err, redis.Nil) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("reading a session: %w", err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, false, fmt.Errorf("decoding a session: %w", err)
	}
	return r, r.Key == key, nil
}

// An Owner is a user as sessions know it.
type Owner struct {
	Directory string
	UserID    string
}

// Owner returns the user that the session is of.
func (r Record) Owner() Owner { return Owner{r.Directory, r.UserID} }

// Open returns the sessions of users that are open now: user by user, each
// one's in the order that they were created in.
func (s *Store) Open(ctx context.Context, owners ...Owner) ([]Record, error) {
	members, err := s.members(ctx, owners)
	if err != nil {
		return nil, err
	}
	type read struct {
		owner Owner
		key   string
		*redis.StringCmd
	}
	var reads []read
	records := s.Redis.Pipeline()
	for i, o := range owners {
		for _, m := range members[i] {
			_, key := splitMember(m)
			reads = append(reads, read{o, key, records.Get(ctx, s.key(key))})
		}
	}
	_, _ = records.Exec(ctx) // each command has its own error: many may just not be there
	var open []Record
	for _, read := range reads {
		r, ok, err := decode(read.key, read.StringCmd)
		if err != nil {
			return nil, err
		}
		if ok && r.Owner() == read.owner && s.End(r).After(s.Now()) {
			open = append(open, r)
		}
	}
	return open, nil
}

// OfSubject returns the sessions that are open of the users of a directory whom an
// identity provider has lately called by that NameID: all that came of it, under
// whatever NameID.
func (s *Store) OfSubject(ctx context.Context, directory, idp, nameID string) ([]Record, error) {
	users, err := s.Redis.SMembers(ctx, s.subject(directory, idp, nameID)).Result()
	if err != nil {
		return nil, fmt.Errorf("finding a subject's sessions: %w", err)
	}
	owners := make([]Owner, len(users))
	for i, id := range users {
		owners[i] = Owner{directory, id}
	}
	open, err := s.Open(ctx, owners...)
	return slices.DeleteFunc(open, func(r Record) bool { return r.IdP != idp }), err
}

// members returns what stands in the index of each user.
func (s *Store) members(ctx context.Context, owners []Owner) ([][]string, error) {
	pipe := s.Redis.Pipeline()
	indexes := make([]*redis.StringSliceCmd, len(owners))
	for i, o := range owners {
		indexes[i] = pipe.ZRange(ctx, s.index(o), 0, -1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("listing users' sessions: %w", err)
	}
	members := make([][]string, len(owners))
	for i, index := range indexes {
		members[i] = index.Val()
	}
	return members, nil
}

// End returns when r ends if it is not used again. A lifetime that was made
// shorter counts for sessions that are open already.
func (s *Store) End(r Record) time.Time {
	end := r.Expires
	for _, t := range []time.Time{r.Seen.Add(s.Idle), r.Created.Add(s.Lifetime)} {
		if t.Before(end) {
			end = t
		}
	}
	return end
}

// Due reports whether a session that was last seen at a time has to be touched.
func (s *Store) Due(seen, now time.Time) bool {
	return now.Sub(seen) >= min(touchEvery, s.Idle/4)
}

// Touch notes that sessions are in use, all in one trip. It writes at most once a
// minute for each, and never brings back one that was ended meanwhile.
func (s *Store) Touch(ctx context.Context, used ...Record) error {
	now := s.Now().UTC()
	pipe := s.Redis.Pipeline()
	for _, r := range used {
		if !s.Due(r.Seen, now) {
			continue
		}
		r.Seen = now
		data, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encoding a session: %w", err)
		}
		pipe.SetXX(ctx, s.key(r.Key), data, s.ttl(r))
	}
	replies, _ := pipe.Exec(ctx) // each command has its own error
	for _, reply := range replies {
		if err := reply.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("touching a session: %w", err)
		}
	}
	return nil
}

// Revoke ends every session of r's login, on all hosts. r is over even where it
// is not in its user's index any more. It is the last one that is deleted: as long
// as any other is left, r can be revoked again.
func (s *Store) Revoke(ctx context.Context, r Record) error {
	others, err := s.ofLogin(ctx, r)
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(m string) bool { return m == r.member() })
	if err := s.remove(ctx, r.Owner(), others); err != nil {
		return err
	}
	for gone := []string{r.member()}; len(gone) > 0; {
		if err := s.remove(ctx, r.Owner(), gone); err != nil {
			return err
		}
		// Listed after the deletion, so that a session which Continue has just
		// made of a deleted one is seen here.
		if gone, err = s.ofLogin(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// ofLogin returns those of a user's index that are of r's login.
func (s *Store) ofLogin(ctx context.Context, r Record) ([]string, error) {
	members, err := s.Redis.ZRange(ctx, s.index(r.Owner()), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing a user's sessions: %w", err)
	}
	return slices.DeleteFunc(members, func(m string) bool { login, _ := splitMember(m); return login != r.Login }), nil
}

// Drop ends all sessions of users that there are, and deletes what there is of
// them. One that is made meanwhile stays in its index, so that it can be revoked.
func (s *Store) Drop(ctx context.Context, owners ...Owner) error {
	members, err := s.members(ctx, owners)
	if err != nil {
		return err
	}
	for i, o := range owners {
		if err := s.remove(ctx, o, members[i]); err != nil {
			return err
		}
	}
	return nil
}

// endScript deletes sessions of one user, and tells that with it. It writes nothing
// that a full store would refuse.
//
// KEYS are the user's index and the records. ARGV are the channel, the ID of the user,
// and the members of the index.
var endScript = redis.NewScript(`
redis.call('PUBLISH', ARGV[1], ARGV[2])
for i = 3, #ARGV do
  redis.call('DEL', KEYS[i - 1])
  redis.call('ZREM', KEYS[1], ARGV[i])
end
return 'ok'`)

// remove deletes sessions of one user, as a whole or not at all.
func (s *Store) remove(ctx context.Context, o Owner, members []string) error {
	if len(members) == 0 {
		return nil
	}
	keys, args := []string{s.index(o)}, []any{changes.Channel(s.Prefix, o.Directory), o.UserID}
	for _, m := range members {
		_, key := splitMember(m)
		keys, args = append(keys, s.key(key)), append(args, m)
	}
	err := endScript.Run(ctx, s.Redis, keys, args...).Err()
	if s.Ended != nil {
		s.Ended(o) // be it done or not
	}
	if err != nil {
		return fmt.Errorf("deleting sessions: %w", err)
	}
	return nil
}

// surplus returns those of a user's sessions, oldest first, which are of logins
// that are too many.
func surplus(members []string) []string {
	var logins []string
	for _, m := range members {
		if login, _ := splitMember(m); !slices.Contains(logins, login) {
			logins = append(logins, login)
		}
	}
	over := logins[:max(len(logins)-maxLogins, 0)]
	var gone []string
	for _, m := range members {
		if login, _ := splitMember(m); slices.Contains(over, login) {
			gone = append(gone, m)
		}
	}
	return gone
}

// member is how r stands in its user's index: by its login and its key.
func (r Record) member() string { return r.Login + " " + r.Key }

func splitMember(m string) (login, key string) {
	login, key, _ = strings.Cut(m, " ")
	return login, key
}

// ttl returns how long Redis keeps r. It is at least a second: Redis refuses 0,
// which would mean for ever.
func (s *Store) ttl(r Record) time.Duration {
	end := r.Expires
	if t := r.Created.Add(s.Lifetime); t.Before(end) {
		end = t
	}
	return max(end.Sub(s.Now()), time.Second)
}

// tag begins what lies in the slot of a directory, like all else of its users.
func (s *Store) tag(directory string) string { return s.Prefix + "{" + directory + "}:" }

func (s *Store) key(key string) string {
	directory, hashed, _ := strings.Cut(key, ".")
	return s.tag(directory) + "s:" + hashed
}

// index is the sorted set of a user's sessions, by when they were created.
func (s *Store) index(o Owner) string { return s.tag(o.Directory) + "us:" + o.UserID }

// subject is the set of the IDs of the users whom an identity provider has called by
// a NameID. It is left to expire: who it names is looked at when it is read.
func (s *Store) subject(directory, idp, nameID string) string {
	return s.tag(directory) + "si:" + Hash([]byte(idp+"\x00"+nameID))
}
