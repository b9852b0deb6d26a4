package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/provision/audit"
)

// An Explanation says what a login would do, without doing it.
type Explanation struct {
	Directory string `json:"directory"`
	Domain    string `json:"domain,omitempty"` // "": none that fits
	JIT       bool   `json:"jit"`
	Online    bool   `json:"online"` // the store was asked

	Attributes []AttributeUse `json:"attributes"`        // the defined ones, userName, domain and ExternalId first
	Ignored    []Sent         `json:"ignored,omitempty"` // what nothing uses
	Asserted   []AssertedUse  `json:"asserted,omitempty"`

	// Refusals is all that is wrong, in the order in which it is met; the first
	// one is what the login would be refused for. None: it would be taken.
	Refusals []*Refusal `json:"refusals,omitempty"`

	// Before is the user as stored, nil where there is none or the store was not
	// asked; After is the user as the login would leave it, nil where it would be
	// refused, or where that depends on a store that was not asked.
	Before  *User    `json:"before,omitempty"`
	After   *User    `json:"after,omitempty"`
	Changes []Change `json:"changes,omitempty"` // of Before
	Joined  []string `json:"joined,omitempty"`  // groups that are new
	Left    []string `json:"left,omitempty"`    // groups that go

	Why map[string]string `json:"why,omitempty"` // what makes After a member of each group
}

// Sent is an attribute as it came.
type Sent struct {
	Name   string   `json:"name"` // in the assertion
	Values []string `json:"values"`
}

// An AttributeUse is what becomes of an attribute that the configuration defines.
type AttributeUse struct {
	Name     string   `json:"name"` // ours
	Sent     string   `json:"sent"` // in the assertion
	Values   []string `json:"values,omitempty"`
	Required bool     `json:"required,omitempty"`
	Note     string   `json:"note,omitempty"` // why there is no value, or what becomes of the attribute
	Refusal  *Refusal `json:"refusal,omitempty"`
}

// An AssertedUse is what becomes of a group that the identity provider asserts.
type AssertedUse struct {
	Name  string `json:"name"`
	Taken bool   `json:"taken"`
	Note  string `json:"note,omitempty"` // why not, or what it means
}

// A Change is an attribute that a login changes.
type Change struct {
	Attribute string   `json:"attribute"`
	Before    []string `json:"before,omitempty"`
	After     []string `json:"after,omitempty"`
}

// Explain says what a login with an assertion would do. It works that out as
// [Registry.SignIn] does, and changes and records nothing. The stored user is
// looked for if online says so; otherwise the store is not asked, and the user is
// taken for a new one. The error is about the store, or an identity provider that
// is not configured.
func (r *Registry) Explain(ctx context.Context, in SignIn, online bool) (*Explanation, error) {
	p, ok := r.idps[in.IdP]
	if !ok {
		return nil, fmt.Errorf("identity provider %q is not configured", in.IdP)
	}
	c, refusals := p.readAll(in.Attributes)
	ex := &Explanation{
		Directory: p.directory, Domain: c.domain, JIT: p.jit, Online: online, Refusals: refusals,
		Attributes: p.uses(in.Attributes), Asserted: r.assertedUses(p, in.Attributes),
	}
	for _, name := range slices.Sorted(maps.Keys(in.Attributes)) {
		if !p.usesName(name) {
			ex.Ignored = append(ex.Ignored, Sent{name, in.Attributes[name]})
		}
	}
	if !r.has(p.directory) {
		ex.Refusals = []*Refusal{{Code: CodeDirectoryDeleted, Detail: "the directory is not configured"}}
	}
	if len(ex.Refusals) > 0 || !online && !p.jit {
		return ex, nil
	}
	var f found
	if online {
		var err error
		if f, err = r.lookup(ctx, p, c); err != nil {
			return nil, err
		}
	}
	ch, refusal := r.decide(p, c, f, audit.Event{Time: r.time()})
	if before := ch.before; before.record != nil {
		u := r.view(before.record)
		u.LastLogin, u.Blocked = before.lastLogin, before.blocked
		ex.Before = &u
	}
	if refusal != nil {
		ex.Refusals = append(ex.Refusals, refusal)
		return ex, nil
	}
	ex.compare(r, r.view(ch.after))
	return ex, nil
}

// compare fills in what the login makes of the user.
func (ex *Explanation) compare(r *Registry, after User) {
	ex.After, ex.Why = &after, r.Why(after)
	before := ex.Before
	if before == nil {
		before = new(User)
		ex.After.ID = "" // it would get one at random
	} else {
		for _, name := range changesOf(before, &after) {
			ex.Changes = append(ex.Changes, Change{name, before.Values(name), after.Values(name)})
		}
	}
	ex.Joined, ex.Left = without(after.Groups, before.Groups), without(before.Groups, after.Groups)
}

// uses returns what becomes of the defined attributes.
func (p *idp) uses(sent map[string][]string) []AttributeUse {
	all := make([]AttributeUse, len(p.attributes))
	for i, a := range p.attributes {
		c := claims{values: make(map[string][]string), missing: make(map[string]lack)}
		refusal := p.readAttribute(&c, a, sent)
		values, why, _ := a.read(sent)
		if len(values) == 0 {
			values = sent[a.sent]
		}
		all[i] = AttributeUse{
			Name: a.Name, Sent: a.sent, Values: values, Refusal: refusal, Required: a.Name == userName || a.Required, Note: p.note(a, why),
		}
	}
	return all
}

// note says in words why an attribute has no value, and what that means.
func (p *idp) note(a attribute, why lack) string {
	switch {
	case !p.looksAt(a):
		return "not looked at, since jit is false"
	case why == 0:
		return ""
	}
	text := map[lack]string{absent: "not sent", empty: "sent empty", noValue: "sent without a value"}[why]
	switch {
	case a.Name == userName || a.Required:
		return text
	case a.Name == domain && len(p.domains) == 1:
		return text + "; the directory has one domain"
	case a.Name == domain, a.identity() && a.Absent == "":
		return text
	}
	switch a.Absent {
	case "clear":
		return text + "; a stored value would be cleared"
	case "deny":
		return text + "; refused for a user who has a value"
	}
	return text + "; a stored value would be kept"
}

// assertedUses returns what becomes of the groups that an assertion has.
func (r *Registry) assertedUses(p *idp, sent map[string][]string) []AssertedUse {
	var all []AssertedUse
	if p.groupsFrom == "" {
		return nil
	}
	for _, v := range sent[p.groupsFrom] {
		name := strings.TrimSpace(v)
		use := AssertedUse{Name: name}
		i := slices.IndexFunc(r.groups.groups, func(g group) bool { return lower(g.name) == lower(name) })
		switch {
		case !p.jit:
			use.Note = "not looked at, since jit is false"
		case name == "":
			use.Note = "blank"
		case !p.allows(name):
			use.Note = "no pattern of groups.allow lets it through"
		case i >= 0 && r.groups.groups[i].name != name:
			use.Note = fmt.Sprintf("differs from the configured group %q in case alone", r.groups.groups[i].name)
		case i >= 0 && !r.groups.groups[i].asserted:
			use.Note = "a configured group has that name, and does not say asserted: true"
		default:
			use.Taken = true
		}
		all = append(all, use)
	}
	return all
}
