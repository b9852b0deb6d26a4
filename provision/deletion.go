package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jitgate/jitgate/provision/audit"
)

// States of a [Directory].
const (
	StateOpen     = "open"     // users sign in
	StateDeleting = "deleting" // nobody signs in, and the users are not all deleted yet
	StateDeleted  = "deleted"  // nobody signs in, and there are no users
)

// closedField is where the tombstone stands in keys.state.
const closedField = "closed"

// A tombstone closes a directory: nobody signs in there, and it has no users for
// anybody who asks, although their records may still be there.
type tombstone struct {
	Since time.Time `json:"since"`
	Done  bool      `json:"done,omitempty"` // the records are gone
}

// tombstone returns the tombstone of a directory and its text, "" where there is
// none.
func (r *Registry) tombstone(ctx context.Context, directory string) (tombstone, string, error) {
	var t tombstone
	text, err := r.hget(ctx, r.keys(directory).state, closedField)
	if err != nil || text == "" {
		return t, "", err
	}
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return t, "", fmt.Errorf("decoding the tombstone of %q: %w", directory, err)
	}
	return t, text, nil
}

// CloseDirectory begins the deletion of a directory, and records that as by says
// where it came from (RequestID, Client). From then on nobody is a user of it. It
// returns the events, none where the directory is closed already.
//
// The deletion ends with [Registry.EraseDirectory]; a process that ends before
// that leaves a directory that is closed, and can be deleted again.
func (r *Registry) CloseDirectory(ctx context.Context, directory string, by audit.Event) ([]audit.Event, error) {
	_, old, err := r.tombstone(ctx, directory)
	if err != nil || old != "" {
		return nil, err
	}
	e := by
	e.Type, e.Time, e.Directory = audit.DirectoryDeleted, r.time(), directory
	k := r.keys(directory)
	done, err := r.mark(ctx, k, marking{k.state, closedField, "", tombstone{Since: e.Time}, ""}, e)
	if err != nil || !done { // closed by somebody else
		return nil, err
	}
	return []audit.Event{e}, nil
}

// Remains returns up to limit IDs of users whose records are still there in a
// directory that is closed or open, after those of an earlier call whose next is
// after; next is empty where there are no more.
func (r *Registry) Remains(ctx context.Context, directory, after string, limit int) (ids []string, next string, err error) {
	limit = max(limit, 1)
	from, member, err := decodeCursor(after)
	if err == nil && after != "" && from != directory {
		err = fmt.Errorf("%q is %w", after, ErrCursor)
	}
	if err != nil {
		return nil, "", err
	}
	members, err := r.members(ctx, directory, member, limit)
	if err != nil {
		return nil, "", err
	}
	if len(members) == limit {
		next = encodeCursor(directory, members[len(members)-1])
	}
	return idsOf(members), next, nil
}

// EraseDirectory deletes all users of a directory that was closed, and what lies
// beside them; the audit trail stays. Redis does not wait for their memory to be
// freed. An open directory is left as it is.
func (r *Registry) EraseDirectory(ctx context.Context, directory string) error {
	t, old, err := r.tombstone(ctx, directory)
	if err != nil || old == "" || t.Done {
		return err
	}
	t.Done = true
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encoding a tombstone: %w", err)
	}
	k := r.keys(directory)
	all := []string{k.state, k.users, k.names, k.external, k.list, k.seen, k.blocks, k.ignored}
	// "stale": it was finished by somebody else.
	if err := r.eraseScript.Run(ctx, r.rdb, all, old, text, k.changed).Err(); err != nil {
		return fmt.Errorf("deleting users: %w", err)
	}
	return nil
}

// CreateDirectory opens a directory again whose deletion has come to its end, and
// records that as by says where it came from (RequestID, Client). It returns the
// events, none where there is nothing to open.
func (r *Registry) CreateDirectory(ctx context.Context, directory string, by audit.Event) ([]audit.Event, error) {
	t, old, err := r.tombstone(ctx, directory)
	if err != nil || !t.Done {
		return nil, err
	}
	e := by
	e.Type, e.Time, e.Directory = audit.DirectoryCreated, r.time(), directory
	k := r.keys(directory)
	done, err := r.mark(ctx, k, marking{k.state, closedField, old, nil, ""}, e)
	if err != nil || !done {
		return nil, err
	}
	return []audit.Event{e}, nil
}
