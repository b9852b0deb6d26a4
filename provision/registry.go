// Package provision keeps the users: it creates and updates them from what
// identity providers assert at their logins (just-in-time provisioning), works
// out their groups and entitlements, and records all of it in the audit trail.
//
// Nothing but a login creates or changes a user. [Registry.SignIn] does one in three
// steps. It checks the assertion's attributes against the configuration,
// without looking at the store. It reads the users that the assertion may mean,
// by ExternalId and by domain and userName, and works out what has to change.
// And it writes that with its audit events in one script, which first makes sure
// that nothing it was worked out from has changed; if something has, the second
// step is done again. So a login is written and recorded as a whole or not at
// all, and of two at once the second sees the first.
//
// A directory's users live under Redis keys with the directory's name as their
// hash tag, and are never looked for elsewhere: the same userName, e-mail
// address or ExternalId in two directories is two users.
//
// Groups and entitlements are worked out from the stored attributes whenever a
// user is read, so that a changed configuration holds for all users at once.
//
// What administrators do lies beside the users. A block keeps one out
// ([Registry.Block]); a tombstone closes a directory, whose users are then deleted
// all at once ([Registry.CloseDirectory], [Registry.EraseDirectory]). A login looks
// at both, and is not written if they have changed meanwhile.
//
// [Registry.Explain] says what a login would do, by the code that does it, and
// [Registry.Consistency] whether records and indexes agree; neither changes
// anything.
package provision

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision/audit"
)

// A User is somebody who has signed in at least once.
type User struct {
	ID         string `json:"id"`        // 128 random bits in hex; never used twice
	Directory  string `json:"directory"` // name of the one directory that the user is in
	Domain     string `json:"domain"`    // one of the directory's domains
	UserName   string `json:"userName"`  // as first sent; others may write it in another case
	ExternalID string `json:"ExternalId,omitempty"`

	Attributes map[string][]string `json:"attributes,omitempty"` // the other attributes, each with a value at least

	taken []string // asserted groups that are still taken over, those of a configured name included

	Asserted     []string `json:"asserted,omitempty"`     // groups that the identity provider asserted and the configuration does not have
	Groups       []string `json:"groups,omitempty"`       // all groups, the asserted ones included; sorted
	Entitlements []string `json:"entitlements,omitempty"` // that follow from the groups; sorted

	Blocked *Block `json:"blocked,omitempty"` // why the user is kept out; nil for one who may sign in

	IdP       string    `json:"idp"`                 // identity provider that the attributes are from
	Created   time.Time `json:"created"`             // the first login
	Updated   time.Time `json:"updated"`             // the last login that changed something
	LastLogin time.Time `json:"last_login,omitzero"` // the last login
}

// Values returns the user's values of an attribute, by our name for it.
func (u User) Values(name string) []string {
	var value string
	switch name {
	case userName:
		value = u.UserName
	case domain:
		value = u.Domain
	case externalID:
		value = u.ExternalID
	default:
		return u.Attributes[name]
	}
	if value == "" {
		return nil
	}
	return []string{value}
}

// A Registry holds the users of all directories. It is safe for concurrent use.
type Registry struct {
	rdb    redis.UniversalClient
	prefix string
	scripts

	directories []config.Directory
	providers   []string // names of the identity providers, in the configuration's order
	idps        map[string]*idp
	groups      *groupSet
	hideName    bool // userName is sensitive

	inactiveAfter map[string]time.Duration // by directory; 0: nobody is blocked for that

	now func() time.Time
}

// scripts are what is done in Redis as a whole or not at all.
type scripts struct {
	lookupScript, commitScript, markScript, eraseScript *redis.Script
}

// An idp is what the configuration says about one identity provider's users.
type idp struct {
	name        string
	directory   string
	domains     []string // of the directory
	attributes  []attribute
	groupsFrom  string   // the assertion's attribute with groups, "" for none
	groupsAllow []string // globs of the groups taken from there
	jit         bool     // users are created and updated
	anyDomain   bool     // e-mail addresses may be of any domain
}

// New returns the registry of the users whose keys begin with prefix. It reads
// cfg and does not change it; cfg must not change while the registry is used.
func New(rdb redis.UniversalClient, prefix string, cfg *config.Config) (*Registry, error) {
	if strings.ContainsAny(prefix, "{}") {
		return nil, fmt.Errorf("key prefix %q: braces would change the hash tags", prefix)
	}
	r := &Registry{
		rdb: rdb, prefix: prefix, directories: cfg.Directories, idps: make(map[string]*idp),
		inactiveAfter: make(map[string]time.Duration), now: time.Now,
		scripts: scripts{
			lookupScript: redis.NewScript(lookupSource), commitScript: redis.NewScript(commitSource),
			markScript: redis.NewScript(markSource), eraseScript: redis.NewScript(eraseSource),
		},
	}
	for _, d := range cfg.Directories {
		if d.Name == "" || strings.ContainsAny(d.Name, "{}") {
			return nil, fmt.Errorf("directory %q: not a name", d.Name)
		}
		r.inactiveAfter[d.Name] = d.InactiveAfter
	}
	for i := range cfg.IdentityProviders {
		p, err := r.compile(cfg, &cfg.IdentityProviders[i])
		if err != nil {
			return nil, fmt.Errorf("identity provider %q: %w", cfg.IdentityProviders[i].Name, err)
		}
		r.providers = append(r.providers, p.name)
		r.idps[p.name] = p
	}
	for _, a := range cfg.Attributes {
		r.hideName = r.hideName || a.Name == userName && a.Sensitive
	}
	var err error
	r.groups, err = compileGroups(cfg)
	return r, err
}

// compile prepares what the configuration says about one identity provider.
// A directory that is not there is not an error yet: its logins are refused.
func (r *Registry) compile(cfg *config.Config, c *config.IdentityProvider) (*idp, error) {
	p := &idp{
		name: c.Name, directory: c.Directory, groupsFrom: c.Groups.Attribute, groupsAllow: c.Groups.Allow,
		jit: c.JIT, anyDomain: c.EmailDomains == "any",
	}
	for _, d := range cfg.Directories {
		if d.Name == c.Directory {
			p.domains = d.Domains
		}
	}
	for _, glob := range c.Groups.Allow {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("group pattern %q: %w", glob, err)
		}
	}
	defined := slices.Clone(cfg.Attributes)
	for _, name := range []string{externalID, domain, userName} { // userName is looked at first
		a := config.Attribute{Name: name}
		if i := slices.IndexFunc(defined, func(d config.Attribute) bool { return d.Name == name }); i >= 0 {
			a = defined[i]
			defined = slices.Delete(defined, i, i+1)
		}
		defined = slices.Insert(defined, 0, a)
	}
	for _, a := range defined {
		sent, ok := c.Attributes[a.Name]
		if !ok {
			sent = a.Name
		}
		p.attributes = append(p.attributes, attribute{a, sent})
	}
	return p, nil
}

// Directories returns the names of the directories, sorted.
func (r *Registry) Directories() []string {
	names := make([]string, len(r.directories))
	for i, d := range r.directories {
		names[i] = d.Name
	}
	slices.Sort(names)
	return names
}

// IdPs returns the identity providers that users of a domain may sign in at, in
// the configuration's order. The domain is in the form that
// config.NormalizeDomain returns.
func (r *Registry) IdPs(domain string) []string {
	var names []string
	for _, name := range r.providers {
		if slices.Contains(r.idps[name].domains, domain) {
			names = append(names, name)
		}
	}
	return names
}

// User returns the user with an ID, and whether there is one. A directory that
// is closed has none.
func (r *Registry) User(ctx context.Context, directory, id string) (User, bool, error) {
	if !r.has(directory) {
		return User{}, false, nil
	}
	users, err := r.fetch(ctx, directory, id)
	if err != nil || len(users) == 0 {
		return User{}, false, err
	}
	return users[0], true, nil
}

// AskUser is [Registry.User] as a part of pipe: what it returns is to be called when
// pipe was executed.
func (r *Registry) AskUser(ctx context.Context, pipe redis.Pipeliner, directory, id string) func() (User, bool, error) {
	if !r.has(directory) {
		return func() (User, bool, error) { return User{}, false, nil }
	}
	read := r.ask(ctx, pipe, directory, []string{id})
	return func() (User, bool, error) {
		users, err := read()
		if err != nil || len(users) == 0 {
			return User{}, false, err
		}
		return users[0], true, nil
	}
}

// Record writes to the audit trail what happened after a login had been
// verified, like a logout, and returns the event as it stands there: with its
// Time, and without a userName that is sensitive. If it returns an error, the
// caller must not do what the event describes.
func (r *Registry) Record(ctx context.Context, e audit.Event) (audit.Event, error) {
	e.Time, e.UserName = r.time(), r.auditName(e.UserName)
	return e, audit.Append(ctx, r.rdb, audit.Key(r.prefix, e.Directory), e)
}

// LogName returns what logs call a user: the userName or, where that is
// sensitive, the ID.
func (r *Registry) LogName(u User) string {
	if r.hideName {
		return u.ID
	}
	return u.UserName
}

// auditName returns what the audit trail has of a userName: nothing where that
// is sensitive.
func (r *Registry) auditName(name string) string {
	if r.hideName {
		return ""
	}
	return name
}

// view returns a stored user as the configuration has it now.
func (r *Registry) view(rec *record) User {
	u := rec.User
	u.taken = r.assertable(rec)
	m := r.groups.of(&u, u.taken)
	u.Asserted, u.Groups, u.Entitlements = m.own, m.all(), m.entitlements
	return u
}

// assertable returns the asserted groups of a stored user that the identity
// provider may still assert.
func (r *Registry) assertable(rec *record) []string {
	p, ok := r.idps[rec.IdP]
	if !ok || p.groupsFrom == "" || p.directory != rec.Directory {
		return nil
	}
	names := slices.Concat(rec.Asserted, rec.Shadowed)
	return slices.DeleteFunc(names, func(name string) bool { return !p.allows(name) })
}

// has reports whether the configuration has a directory.
func (r *Registry) has(directory string) bool {
	return slices.ContainsFunc(r.directories, func(d config.Directory) bool { return d.Name == directory })
}

// time returns the time in UTC, in milliseconds.
func (r *Registry) time() time.Time {
	return r.now().UTC().Truncate(time.Millisecond)
}
