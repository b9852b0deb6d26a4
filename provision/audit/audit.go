// Package audit is the trail of what happened to users: who was created,
// changed, let in or refused, when, and through which identity provider.
//
// The trail of a directory is a Redis stream, capped at about [MaxLen] entries.
// Each entry has one field, [Field], which holds an [Event] as JSON. Entries
// are only ever added. Those that go with a change are added by the script that
// makes the change, so that neither is there without the other.
package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Types of events.
const (
	UserCreated      = "user_created"      // a first login made a user; Attributes names what it has
	UserUpdated      = "user_updated"      // Attributes names what changed
	UserRenamed      = "user_renamed"      // UserName is the new name, From the old one
	GroupJoined      = "group_joined"      // the user is in Group from now on
	GroupLeft        = "group_left"        // the user is no longer in Group
	Login            = "login"             // the user may have a session
	LoginFailed      = "login_failed"      // Code says why
	Logout           = "logout"            // the user ended the session, here or at the identity provider (Reason says so)
	SessionRevoked   = "session_revoked"   // an administrator ended one login's sessions
	UserBlocked      = "user_blocked"      // the user is kept out; Reason says why
	UserUnblocked    = "user_unblocked"    // the user may sign in again
	DirectoryDeleted = "directory_deleted" // nobody can sign in there, and its users are being deleted
	DirectoryCreated = "directory_created" // a deleted directory takes users again
	Reloaded         = "reloaded"          // an administrator had the configuration read again; Reason says why that did nothing
	AttributeIgnored = "attribute_ignored" // Attributes names one that the identity provider sends and the configuration does not define
)

// Types returns the types of events that there are.
func Types() []string {
	return []string{
		UserCreated, UserUpdated, UserRenamed, GroupJoined, GroupLeft,
		Login, LoginFailed, Logout, SessionRevoked, UserBlocked, UserUnblocked,
		DirectoryDeleted, DirectoryCreated, Reloaded, AttributeIgnored,
	}
}

// Field is the name of the one field of an entry in the stream.
const Field = "event"

// MaxLen is about how many events of a directory are kept. Redis drops the
// oldest ones in blocks, so that there may be some more.
const MaxLen = 100_000

// An Event is one thing that happened. It never holds the value of an
// attribute but userName, and that only where userName is not sensitive.
type Event struct {
	Time      time.Time `json:"time"`                 // UTC, in milliseconds
	Type      string    `json:"type"`                 // one of the constants above
	Code      string    `json:"code,omitempty"`       // login_failed: the error code, as on the visitor's page
	Directory string    `json:"directory,omitempty"`  // the directory's name
	IdP       string    `json:"idp,omitempty"`        // name of the identity provider
	UserID    string    `json:"user_id,omitempty"`    // where the user is known
	UserName  string    `json:"user_name,omitempty"`  // as the user is called after the event
	From      string    `json:"from,omitempty"`       // user_renamed: what the user was called before
	Group     string    `json:"group,omitempty"`      // group_joined, group_left: the group's name
	Reason    string    `json:"reason,omitempty"`     // user_blocked: administrator, or inactive; logout: identity_provider where it came from there
	Client    string    `json:"client,omitempty"`     // address of the visitor; "admin" for what came over the admin socket
	By        string    `json:"by,omitempty"`         // who did it to somebody else, over the console: domain, slash, userName, or the ID where that is sensitive
	RequestID string    `json:"request_id,omitempty"` // of the request that it happened in

	// Attributes are names: those set (user_created), changed (user_updated),
	// at fault (login_failed) or ignored (attribute_ignored).
	Attributes []string `json:"attributes,omitempty"`

	// The attributes that came without a usable value, by their names: Absent
	// ones were not in the assertion; Empty ones had an empty or blank value;
	// NoValue ones were there with no value at all. A login lists those that
	// the user had a value of before, a login_failed the one at fault.
	Absent  []string `json:"absent,omitempty"`
	Empty   []string `json:"empty,omitempty"`
	NoValue []string `json:"no_value,omitempty"`
}

// An Entry is an event with its place in the trail.
type Entry struct {
	ID    string `json:"id"` // of the stream's entry, like 1700000000000-0
	Event Event  `json:"event"`
}

// Key returns the Redis key of a directory's trail. That of the empty
// directory holds what cannot be said to have happened in any.
func Key(prefix, directory string) string {
	return prefix + "{" + directory + "}:audit"
}

// Encode returns e as one line of JSON, as it stands in the stream.
func (e Event) Encode() (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return "", fmt.Errorf("encoding event %q: %w", e.Type, err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// Append adds e to the trail at key. If it returns an error, the caller must
// not do what e describes.
func Append(ctx context.Context, rdb redis.UniversalClient, key string, e Event) error {
	line, err := e.Encode()
	if err != nil {
		return err
	}
	err = rdb.XAdd(ctx, &redis.XAddArgs{
		Stream: key, MaxLen: MaxLen, Approx: true, Values: []string{Field, line},
	}).Err()
	if err != nil {
		return fmt.Errorf("writing audit trail: %w", err)
	}
	return nil
}

// Ask asks for up to limit entries of the trail at key, oldest first: those after the
// entry with ID after, or from the beginning where after is empty. [Entries] has them.
func Ask(ctx context.Context, rdb redis.Cmdable, key, after string, limit int) *redis.XMessageSliceCmd {
	return rdb.XRangeN(ctx, key, beyond(after, "-"), "+", int64(limit))
}

// AskBefore is Ask, newest first: entries before the one with ID before, or from the end
// where that is empty, down to oldest, or to the beginning where that is empty.
func AskBefore(ctx context.Context, rdb redis.Cmdable, key, before, oldest string, limit int) *redis.XMessageSliceCmd {
	return rdb.XRevRangeN(ctx, key, beyond(before, "+"), cmp.Or(oldest, "-"), int64(limit))
}

// beyond returns the end of a range that leaves id out or, without one, otherwise.
func beyond(id, otherwise string) string {
	if id == "" {
		return otherwise
	}
	return "(" + id
}

// Entries returns what [Ask] or [AskBefore] has asked for. In a pipeline, that has to be
// executed before.
func Entries(asked *redis.XMessageSliceCmd) ([]Entry, error) {
	messages, err := asked.Result()
	if err != nil {
		return nil, fmt.Errorf("reading audit trail: %w", err)
	}
	entries := make([]Entry, len(messages))
	for i, m := range messages {
		entries[i].ID = m.ID
		line, _ := m.Values[Field].(string)
		if err := json.Unmarshal([]byte(line), &entries[i].Event); err != nil {
			return nil, fmt.Errorf("reading audit trail: entry %q: %w", m.ID, err)
		}
	}
	return entries, nil
}
