package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jitgate/jitgate/provision/audit"
)

// Reasons of a [Block].
const (
	ReasonAdministrator = "administrator" // somebody has blocked the user
	ReasonInactive      = "inactive"      // the user has not signed in for the directory's inactive_after
)

// A Block keeps a user out, whatever the identity provider says, until it is
// lifted. It lies beside the user, so that no login touches it.
type Block struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"` // one of the constants above
}

// String returns why and since when.
func (b *Block) String() string {
	return b.Reason + " since " + b.Since.Format(time.RFC3339)
}

// A blockMark is what lies beside a user in keys.blocks: a block, or for a user
// whose block was lifted when that was, until the next login. From then on
// inactivity counts anew.
type blockMark struct {
	Since  time.Time `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"`
	Lifted time.Time `json:"lifted,omitzero"`
}

func decodeMark(mark string) (blockMark, error) {
	var m blockMark
	if mark == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(mark), &m); err != nil {
		return m, fmt.Errorf("decoding a block: %w", err)
	}
	return m, nil
}

// blockOf returns what keeps a user out, nil for nothing: the mark beside the
// user, or the time since the last login.
func (r *Registry) blockOf(directory, mark string, lastLogin time.Time) (*Block, error) {
	m, err := decodeMark(mark)
	if err != nil {
		return nil, err
	}
	if !m.Since.IsZero() {
		return &Block{Since: m.Since, Reason: m.Reason}, nil
	}
	limit, from := r.inactiveAfter[directory], lastLogin
	if m.Lifted.After(from) {
		from = m.Lifted
	}
	if until := from.Add(limit); limit > 0 && !r.now().Before(until) {
		return &Block{Since: until, Reason: ReasonInactive}, nil
	}
	return nil, nil
}

// Block keeps a user out from now on, and records that as by says where it came
// from (RequestID, Client). It returns the events, none where the user was
// blocked by an administrator already. ok is false where there is no such user.
func (r *Registry) Block(ctx context.Context, directory, id string, by audit.Event) (events []audit.Event, ok bool, err error) {
	return r.remark(ctx, directory, id, by, func(u User, e *audit.Event) *blockMark {
		if u.Blocked != nil && u.Blocked.Reason == ReasonAdministrator {
			return nil
		}
		e.Type, e.Reason = audit.UserBlocked, ReasonAdministrator
		return &blockMark{Since: e.Time, Reason: ReasonAdministrator}
	})
}

// Unblock is the reverse of [Registry.Block]: it lifts any block.
func (r *Registry) Unblock(ctx context.Context, directory, id string, by audit.Event) (events []audit.Event, ok bool, err error) {
	return r.remark(ctx, directory, id, by, func(u User, e *audit.Event) *blockMark {
		if u.Blocked == nil {
			return nil
		}
		e.Type = audit.UserUnblocked
		return &blockMark{Lifted: e.Time}
	})
}

// remark puts the mark beside a user that change returns, nil for no change, and
// records the event that change has filled in.
func (r *Registry) remark(ctx context.Context, directory, id string, by audit.Event, change func(User, *audit.Event) *blockMark) ([]audit.Event, bool, error) {
	for try := 0; ; try++ {
		old, err := r.hget(ctx, r.keys(directory).blocks, id)
		if err != nil {
			return nil, false, err
		}
		u, ok, err := r.User(ctx, directory, id)
		if err != nil || !ok {
			return nil, false, err
		}
		e := by
		e.Time, e.Directory, e.IdP, e.UserID, e.UserName = r.time(), directory, u.IdP, u.ID, r.auditName(u.UserName)
		mark := change(u, &e)
		if mark == nil {
			return nil, true, nil
		}
		done, err := r.mark(ctx, r.keys(directory), marking{r.keys(directory).blocks, id, old, mark, id}, e)
		if done || err != nil {
			return []audit.Event{e}, true, err
		}
		if err := pause(ctx, try); err != nil {
			return nil, false, err
		}
	}
}

// refuseBlocked records the refused login of a blocked user. One who is found to
// have been inactive for too long is blocked from now on. It reports whether it
// is done, like attempt.
func (r *Registry) refuseBlocked(ctx context.Context, e audit.Event, u stored, refusal *Refusal) (Outcome, bool, error) {
	if m, err := decodeMark(u.mark); err != nil || !m.Since.IsZero() {
		out, err := r.refuse(ctx, e, refusal)
		return out, true, err
	}
	blocked := e
	blocked.Type, blocked.UserName, blocked.Reason = audit.UserBlocked, r.auditName(u.UserName), u.blocked.Reason
	events := []audit.Event{blocked, failed(e, refusal)}
	k := r.keys(e.Directory)
	done, err := r.mark(ctx, k, marking{k.blocks, u.ID, u.mark, u.blocked, u.ID}, events...)
	if err != nil || !done {
		return Outcome{}, false, err
	}
	return Outcome{Events: events}, true, refusal
}
