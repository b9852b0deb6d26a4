package provision

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/provision/audit"
)

const (
	// trailChunk is about how many entries of the audit trail are read at a time.
	trailChunk = 1000

	// trailSlack is how much the clock that events are timed by may be ahead of
	// the one that the store numbers them by.
	trailSlack = 5 * time.Minute
)

// A TrailQuery says which events of the audit trail are wanted. An empty field
// leaves none out.
type TrailQuery struct {
	Directory string
	User      string // user ID or userName, now or before
	IdP       string
	Type      string
	Since     time.Time
	After     string // an earlier answer's Next
	Limit     int    // of the events in the answer; at least 1
	Newest    bool   // the newest first; a Next is then for questions that say so too
}

// A Trail is a part of the audit trail.
type Trail struct {
	Events []audit.Event `json:"events"` // in the order that the store got them in
	Next   string        `json:"next"`   // where the next part begins, even if there is nothing yet
	More   bool          `json:"more"`   // there may be something already
}

// Trail returns the events that q asks for, those of several directories merged
// with each other and with those of no directory. It reads a bounded number of
// entries, so that there may be few events in a part, or none, and more after
// it. The error is [ErrCursor] where q.After is nobody's next.
func (r *Registry) Trail(ctx context.Context, q TrailQuery) (Trail, error) {
	read, err := decodePositions(q.After)
	if err != nil {
		return Trail{}, err
	}
	wanted, err := r.wanted(ctx, q)
	if err != nil {
		return Trail{}, err
	}
	names := []string{q.Directory}
	if q.Directory == "" {
		names = append(names, r.Directories()...)
	}
	tails, err := r.tails(ctx, names, read, q)
	if err != nil {
		return Trail{}, err
	}
	t := Trail{Events: []audit.Event{}}
	for len(t.Events) < max(q.Limit, 1) {
		next := foremost(tails, q.Newest)
		if next == nil {
			break
		}
		entry := next.entries[0]
		next.entries = next.entries[1:]
		read[next.directory] = entry.ID
		if wanted(entry.Event) {
			t.Events = append(t.Events, entry.Event)
		}
		// What comes next there may be earlier than all that is left elsewhere.
		if next.full && len(next.entries) == 0 {
			break
		}
	}
	t.More = slices.ContainsFunc(tails, func(t tail) bool { return t.full || len(t.entries) > 0 })
	t.Next, err = encodePositions(read)
	return t, err
}

// wanted returns what tells the events that q asks for from others.
func (r *Registry) wanted(ctx context.Context, q TrailQuery) (func(audit.Event) bool, error) {
	var ids []string
	if q.User != "" { // where the userName is sensitive, the trail has the ID alone
		users, err := r.Find(ctx, q.Directory, q.User)
		if err != nil {
			return nil, err
		}
		ids = append(ids, q.User)
		for _, u := range users {
			ids = append(ids, u.ID)
		}
	}
	name := lower(q.User)
	return func(e audit.Event) bool {
		switch {
		case q.IdP != "" && e.IdP != q.IdP, q.Type != "" && e.Type != q.Type, e.Time.Before(q.Since):
			return false
		case q.User == "":
			return true
		}
		return slices.Contains(ids, e.UserID) || lower(e.UserName) == name || lower(e.From) == name
	}, nil
}

// A tail is what was read of a directory's trail and not yet used.
type tail struct {
	directory string
	entries   []audit.Entry
	full      bool // there may be more after it
}

// tails reads on in the trails of directories from where each was read up to, in one
// trip; what is older than q.Since is left out.
func (r *Registry) tails(ctx context.Context, directories []string, read map[string]string, q TrailQuery) ([]tail, error) {
	chunk := max(trailChunk/len(directories), 10)
	oldest := ""
	if from := q.Since.Add(-trailSlack).UnixMilli(); from > 0 {
		oldest = fmt.Sprintf("%d-0", from)
	}
	pipe := r.rdb.Pipeline()
	asked := make([]*redis.XMessageSliceCmd, len(directories))
	for i, name := range directories {
		key := audit.Key(r.prefix, name)
		if q.Newest {
			asked[i] = audit.AskBefore(ctx, pipe, key, read[name], oldest, chunk)
		} else {
			asked[i] = audit.Ask(ctx, pipe, key, cmp.Or(read[name], oldest), chunk)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	tails := make([]tail, len(directories))
	for i, name := range directories {
		entries, err := audit.Entries(asked[i])
		if err != nil {
			return nil, err
		}
		tails[i] = tail{name, entries, len(entries) == chunk}
	}
	return tails, nil
}

// foremost returns the tail that the next entry is of, the earliest or the newest one,
// or nil if there is none.
func foremost(tails []tail, newest bool) *tail {
	var first *tail
	for i := range tails {
		t := &tails[i]
		if len(t.entries) == 0 {
			continue
		}
		if first == nil || compareIDs(t.entries[0].ID, first.entries[0].ID) < 0 != newest {
			first = t
		}
	}
	return first
}

// compareIDs compares the IDs of two entries: milliseconds, a hyphen, and a
// number within the millisecond.
func compareIDs(a, b string) int {
	aTime, aSeq, _ := parseID(a)
	bTime, bSeq, _ := parseID(b)
	return cmp.Or(cmp.Compare(aTime, bTime), cmp.Compare(aSeq, bSeq))
}

func parseID(id string) (ms, seq uint64, ok bool) {
	before, after, ok := strings.Cut(id, "-")
	ms, err1 := strconv.ParseUint(before, 10, 64)
	seq, err2 := strconv.ParseUint(after, 10, 64)
	return ms, seq, ok && err1 == nil && err2 == nil
}

// encodePositions returns up to which entry each directory's trail was read.
// One position for all would not do: an entry may come later than another one
// of the same or an earlier time elsewhere.
func encodePositions(read map[string]string) (string, error) {
	data, err := json.Marshal(read)
	if err != nil {
		return "", fmt.Errorf("encoding a place in the audit trail: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(data), nil
}

// decodePositions is the reverse of encodePositions. The empty text is before everything.
func decodePositions(text string) (map[string]string, error) {
	read := make(map[string]string)
	if text == "" {
		return read, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &read)
	}
	for _, id := range read {
		if _, _, ok := parseID(id); !ok {
			return nil, fmt.Errorf("%q is %w", text, ErrCursor)
		}
	}
	if err != nil || read == nil { // JSON has null
		return nil, fmt.Errorf("%q is %w", text, ErrCursor)
	}
	return read, nil
}
