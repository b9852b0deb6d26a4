// Package session keeps who is signed in: records in Redis, found by a cookie
// that holds a random ID and nothing else.
//
// There is one session for each host and browser. All sessions that came of one
// login share its Login value and its end; ending one of them ends all. Redis
// holds an ID only as its SHA-256, so that a copy of the store opens no session,
// and each record names the key that it lies under, so that a mixed-up reply is
// not taken for somebody's session.
//
// A record ends when it was idle for too long, at the end of its lifetime, or
// when it is deleted. Redis' clock and ours both decide: a record is gone when
// either says so.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxPerUser is how many sessions one user may have open; the oldest goes
	// when there are more.
	maxPerUser = 20

	// touchEvery is how often, at most, using a session writes to Redis. Where
	// sessions end after minutes of idleness, it is a quarter of that.
	touchEvery = time.Minute

	idBytes = 32
)

// A Record is one session as it stands in Redis.
type Record struct {
	Key       string // its own key: base64url of the SHA-256 of its ID
	Host      string // the only host that it is good for
	Directory string
	UserID    string
	IdP       string
	Login     string // random, the same in all sessions of one login

	// What the identity provider calls this login.
	NameID          string `json:",omitempty"`
	NameFormat      string `json:",omitempty"`
	NameQualifier   string `json:",omitempty"`
	SPNameQualifier string `json:",omitempty"`
	SessionIndex    string `json:",omitempty"`

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
}

// Create stores a new session for what r says and returns it with its ID, the
// bytes that the cookie is to hold. A zero Expires becomes now + Lifetime; a
// later one is brought forward to that.
func (s *Store) Create(ctx context.Context, r Record) (Record, []byte, error) {
	id := make([]byte, idBytes)
	_, _ = rand.Read(id) // never fails
	now := s.Now().UTC()
	r.Key, r.Created, r.Seen = Key(id), now, now
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
	// The index comes first: a record that is not in it could not be revoked.
	index := s.index(r)
	pipe := s.Redis.Pipeline()
	pipe.ZRemRangeByScore(ctx, index, "-inf", strconv.FormatInt(now.Add(-s.Lifetime).UnixMilli(), 10))
	pipe.ZAdd(ctx, index, redis.Z{Score: float64(now.UnixMilli()), Member: r.Key})
	pipe.Expire(ctx, index, s.Lifetime+time.Hour)
	surplus := pipe.ZRange(ctx, index, 0, -maxPerUser-1)
	pipe.Set(ctx, s.key(r.Key), data, s.ttl(r))
	if _, err := pipe.Exec(ctx); err != nil {
		return Record{}, nil, fmt.Errorf("storing a session: %w", err)
	}
	if err := s.remove(ctx, index, surplus.Val()); err != nil {
		return Record{}, nil, err
	}
	return r, id, nil
}

// Get returns the session that an ID from a cookie stands for.
func (s *Store) Get(ctx context.Context, id []byte) (Record, bool, error) {
	if len(id) != idBytes {
		return Record{}, false, nil
	}
	return s.Lookup(ctx, Key(id))
}

// Lookup returns the session under a key, as it stands in Record.Key.
func (s *Store) Lookup(ctx context.Context, key string) (Record, bool, error) {
	data, err := s.Redis.Get(ctx, s.key(key)).Bytes()
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
	if r.Key != key || !s.End(r).After(s.Now()) {
		return Record{}, false, nil
	}
	return r, true, nil
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

// Touch notes that r is in use. It writes at most once a minute, and never
// brings back a session that was ended meanwhile.
func (s *Store) Touch(ctx context.Context, r Record) error {
	now := s.Now().UTC()
	if now.Sub(r.Seen) < min(touchEvery, s.Idle/4) {
		return nil
	}
	r.Seen = now
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a session: %w", err)
	}
	if err := s.Redis.SetXX(ctx, s.key(r.Key), data, s.ttl(r)).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("touching a session: %w", err)
	}
	return nil
}

// Revoke ends every session of r's login, on all hosts. r is over even where it
// is not in its user's index any more.
func (s *Store) Revoke(ctx context.Context, r Record) error {
	keys, err := s.Redis.ZRange(ctx, s.index(r), 0, -1).Result()
	if err != nil {
		return fmt.Errorf("listing a user's sessions: %w", err)
	}
	gone := []string{r.Key}
	for _, key := range keys {
		other, ok, err := s.Lookup(ctx, key)
		if err != nil {
			return err
		}
		if ok && other.Login == r.Login && key != r.Key {
			gone = append(gone, key)
		}
	}
	return s.remove(ctx, s.index(r), gone)
}

// remove deletes sessions of one user, each with a command of its own: in a
// cluster they lie on different nodes.
func (s *Store) remove(ctx context.Context, index string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	pipe := s.Redis.Pipeline()
	for _, key := range keys {
		pipe.Del(ctx, s.key(key))
		pipe.ZRem(ctx, index, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("deleting sessions: %w", err)
	}
	return nil
}

// ttl returns how long Redis keeps r. It is at least a second: Redis refuses 0,
// which would mean for ever.
func (s *Store) ttl(r Record) time.Duration {
	return max(s.End(r).Sub(s.Now()), time.Second)
}

func (s *Store) key(hashed string) string { return s.Prefix + "s:" + hashed }

// index is the sorted set of a user's sessions, by when they were created. It
// lies in the directory's slot of a cluster, like all else of the user.
func (s *Store) index(r Record) string {
	return s.Prefix + "{" + r.Directory + "}:us:" + r.UserID
}

// Key returns how an ID, or another secret, is named in Redis.
func Key(secret []byte) string {
	sum := sha256.Sum256(secret)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
