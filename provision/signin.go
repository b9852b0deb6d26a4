package provision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/jitgate/jitgate/provision/audit"
)

// Codes of refusals. They are stable: pages, logs and the audit trail use them.
const (
	CodeUserNameMissing  = "username_missing"
	CodeAttributeMissing = "attribute_missing"
	CodeAttributeInvalid = "attribute_invalid"
	CodeDomainMissing    = "domain_missing"
	CodeDomainMismatch   = "domain_mismatch"
	CodeUserConflict     = "user_conflict"
	CodeUserUnknown      = "user_unknown"
	CodeDirectoryDeleted = "directory_deleted"
	CodeUserBlocked      = "user_blocked"
)

// maxRecord is the most bytes that a stored user may have.
const maxRecord = 64 << 10

// A Refusal says why a login was refused, in terms of what the identity
// provider has to send. Any other error from [Registry.SignIn] means that the
// login could not be decided or recorded: the store is not available.
type Refusal struct {
	Code      string `json:"code"`                // one of the codes above
	Attribute string `json:"attribute,omitempty"` // our name of the attribute at fault; "groups" for the asserted groups
	Sent      string `json:"sent,omitempty"`      // the name that the assertion has for it
	Domain    string `json:"domain,omitempty"`    // that came and does not fit, if the attribute is not sensitive
	Detail    string `json:"detail,omitempty"`    // more, for the log; has no value but the domain that came; may be empty

	lack lack // how the attribute was missing
}

// Error returns the code and what there is besides.
func (r *Refusal) Error() string {
	text := "login refused: " + r.Code
	if r.Attribute != "" {
		text += fmt.Sprintf(": attribute %q", r.Attribute)
	}
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	return text
}

// A SignIn is a verified assertion.
type SignIn struct {
	IdP string // name of the identity provider that made it

	// Attributes by the names that they have in the assertion, with their
	// values in its order; one without any value is there with none.
	Attributes map[string][]string

	RequestID string // of the request that brought it
	Client    string // address of the visitor
}

// An Outcome is what came of a login.
type Outcome struct {
	User    User          // zero if the login was refused
	Created bool          // it was the user's first login
	Events  []audit.Event // what the audit trail has of it
}

// SignIn creates or updates the user that an assertion describes, and records
// the login. A refused login is recorded too, and returns a [Refusal] as the
// error along with the event; it changes no user.
func (r *Registry) SignIn(ctx context.Context, in SignIn) (Outcome, error) {
	base := audit.Event{Time: r.time(), IdP: in.IdP, RequestID: in.RequestID, Client: in.Client}
	p, ok := r.idps[in.IdP]
	if !ok {
		return r.refuse(ctx, base, &Refusal{Code: CodeDirectoryDeleted, Detail: "the identity provider is not configured"})
	}
	base.Directory = p.directory
	if !r.has(p.directory) {
		return r.refuse(ctx, base, &Refusal{Code: CodeDirectoryDeleted, Detail: "the directory is not configured"})
	}
	c, refusal := p.read(in.Attributes)
	base.UserName = r.auditName(c.userName)
	if refusal != nil {
		return r.refuse(ctx, base, refusal)
	}
	nonce := rand.Text()
	for try := 0; ; try++ {
		out, done, err := r.attempt(ctx, p, c, base, nonce)
		if done || err != nil {
			return out, err
		}
		if err := pause(ctx, try); err != nil {
			return Outcome{}, err
		}
	}
}

// attempt does a login with what the store has now. It reports whether it is
// done: not where somebody else was faster.
func (r *Registry) attempt(ctx context.Context, p *idp, c claims, base audit.Event, nonce string) (Outcome, bool, error) {
	f, err := r.lookup(ctx, p, c)
	if err != nil {
		return Outcome{}, false, err
	}
	ch, refusal := r.decide(p, c, f, base)
	if refusal != nil {
		base.UserID = ch.base.UserID
		if refusal.Code == CodeUserBlocked {
			return r.refuseBlocked(ctx, base, ch.before, refusal)
		}
		out, err := r.refuse(ctx, base, refusal)
		return out, true, err
	}
	done, err := r.commit(ctx, p, ch, nonce)
	if err != nil || !done {
		return Outcome{}, false, err
	}
	u := r.view(ch.after)
	u.LastLogin = ch.time
	return Outcome{User: u, Created: ch.before.record == nil, Events: slices.Concat(ch.events, ch.ignored)}, true, nil
}

// refuse records a refused login. If that cannot be recorded, it is not a
// refusal: the store is not available.
func (r *Registry) refuse(ctx context.Context, e audit.Event, refusal *Refusal) (Outcome, error) {
	e = failed(e, refusal)
	if err := audit.Append(ctx, r.rdb, audit.Key(r.prefix, e.Directory), e); err != nil {
		return Outcome{}, err
	}
	return Outcome{Events: []audit.Event{e}}, refusal
}

// failed returns the event of a refused login.
func failed(e audit.Event, refusal *Refusal) audit.Event {
	e.Type, e.Code = audit.LoginFailed, refusal.Code
	if refusal.Attribute != "" {
		e.Attributes = []string{refusal.Attribute}
		note(&e, refusal.Attribute, refusal.lack)
	}
	return e
}

// identify returns the user that c means among those found, with a nil record
// for one who is new.
func identify(c claims, f found) (stored, *Refusal) {
	named, external := f.byName, f.byExternal
	switch {
	case external.record != nil && named.record != nil && named.ID != external.ID:
		return external, &Refusal{Code: CodeUserConflict, Attribute: userName, Detail: "another user has this userName"}
	case external.record != nil:
		return external, nil
	case named.record != nil && c.externalID != "" && named.ExternalID != "":
		return named, &Refusal{Code: CodeUserConflict, Attribute: externalID, Detail: "the user has another ExternalId"}
	}
	return named, nil
}

// decide works out what a login changes.
func (r *Registry) decide(p *idp, c claims, f found, base audit.Event) (change, *Refusal) {
	if f.closed {
		return change{base: base}, &Refusal{Code: CodeDirectoryDeleted, Detail: "the directory is deleted"}
	}
	before, refusal := identify(c, f)
	ch := change{before: before, time: base.Time, base: base}
	if before.record != nil {
		ch.base.UserID = before.ID
	}
	if refusal == nil && before.blocked != nil {
		refusal = &Refusal{Code: CodeUserBlocked, Detail: before.blocked.String()}
	}
	if refusal == nil && before.record == nil && !p.jit {
		refusal = &Refusal{Code: CodeUserUnknown, Detail: "this identity provider does not create users"}
	}
	if refusal == nil && !p.jit {
		ch.after = before.record
		ch.base.UserName = r.auditName(ch.after.UserName)
	} else if refusal == nil {
		refusal = r.update(p, c, &ch)
	}
	if refusal != nil {
		if a := refusal.Attribute; a != "" {
			refusal.Sent = p.sentName(a)
		}
		return ch, refusal
	}
	r.tell(p, c, &ch)
	for _, name := range f.unnoted {
		e := base
		e.Type, e.UserName, e.Attributes = audit.AttributeIgnored, "", []string{name}
		ch.ignored = append(ch.ignored, e)
	}
	return ch, nil
}

// update works out the user after a login, and whether anything has changed.
func (r *Registry) update(p *idp, c claims, ch *change) *Refusal {
	next := new(record)
	if before := ch.before.record; before != nil {
		*next = *before
	} else {
		next.User = User{ID: newID(), Directory: p.directory, UserName: c.userName, Created: ch.time, Updated: ch.time}
	}
	var refusal *Refusal
	if next.Attributes, refusal = p.merge(next.Attributes, c); refusal != nil {
		return refusal
	}
	if next.ExternalID, refusal = p.mergeExternalID(next.ExternalID, c); refusal != nil {
		return refusal
	}
	if lower(next.UserName) != lower(c.userName) {
		next.UserName = c.userName
	}
	next.Domain, next.IdP = c.domain, p.name
	m := r.groups.of(&next.User, c.groups)
	next.Groups, next.Asserted, next.Shadowed = m.configured, m.own, m.shadowed

	ch.after, ch.base.UserID, ch.base.UserName = next, next.ID, r.auditName(next.UserName)
	var err error
	if ch.json, err = next.encode(); err == nil && ch.json != ch.before.json {
		next.Updated = ch.time
		ch.json, err = next.encode()
	} else {
		ch.json = ""
	}
	if err != nil || len(ch.json) > maxRecord {
		return &Refusal{Code: CodeAttributeInvalid, Attribute: largest(next), Detail: "the user's record would be larger than 64 KiB"}
	}
	return nil
}

// tell adds the events of a login to ch.
func (r *Registry) tell(p *idp, c claims, ch *change) {
	add := func(kind string, fill func(*audit.Event)) {
		e := ch.base
		e.Type = kind
		fill(&e)
		ch.events = append(ch.events, e)
	}
	before, after := ch.before.record, ch.after
	if before == nil {
		before = new(record)
	}
	changed := changesOf(&before.User, &after.User)
	switch {
	case before.ID == "":
		add(audit.UserCreated, func(e *audit.Event) { e.Attributes = changed })
	default:
		if lower(before.UserName) != lower(after.UserName) {
			add(audit.UserRenamed, func(e *audit.Event) { e.From = r.auditName(before.UserName) })
		}
		if changed = slices.DeleteFunc(changed, func(name string) bool { return name == userName }); len(changed) > 0 {
			add(audit.UserUpdated, func(e *audit.Event) { e.Attributes = changed })
		}
	}
	was, is := slices.Concat(before.Groups, before.Asserted), slices.Concat(after.Groups, after.Asserted)
	for _, g := range without(is, was) {
		add(audit.GroupJoined, func(e *audit.Event) { e.Group = g })
	}
	for _, g := range without(was, is) {
		add(audit.GroupLeft, func(e *audit.Event) { e.Group = g })
	}
	add(audit.Login, func(e *audit.Event) {
		for _, name := range slices.Sorted(maps.Keys(c.missing)) {
			if p.jit && name != domain && len(before.Values(name)) > 0 {
				note(e, name, c.missing[name])
			}
		}
	})
}

// changesOf returns the names of the attributes that differ, sorted.
func changesOf(before, after *User) []string {
	names := map[string]bool{userName: true, domain: true, externalID: true}
	for _, u := range []*User{before, after} {
		for name := range u.Attributes {
			names[name] = true
		}
	}
	return slices.DeleteFunc(sorted(names), func(name string) bool {
		return slices.Equal(before.Values(name), after.Values(name))
	})
}

// note adds an attribute to those that e lists as missing.
func note(e *audit.Event, name string, why lack) {
	switch why {
	case absent:
		e.Absent = append(e.Absent, name)
	case empty:
		e.Empty = append(e.Empty, name)
	case noValue:
		e.NoValue = append(e.NoValue, name)
	}
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// largest returns the name of what takes the most room in a user's record.
func largest(rec *record) string {
	size := func(values []string) int {
		n := 0
		for _, v := range values {
			n += len(v)
		}
		return n
	}
	name, most := groupsName, size(rec.Asserted)+size(rec.Shadowed)
	for _, a := range slices.Sorted(maps.Keys(rec.Attributes)) {
		if n := size(rec.Attributes[a]); n > most {
			name, most = a, n
		}
	}
	return name
}

// newID returns a new user's ID: 128 random bits.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// pause waits before the next try of what somebody else got in the way of: about a
// millisecond at first, longer with each try up to 64.
func pause(ctx context.Context, try int) error {
	d := time.Millisecond << min(try, 6)
	timer := time.NewTimer(d/2 + mathrand.N(d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
