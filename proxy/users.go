package proxy

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/session"
)

// usersAnswer is the answer to questions about users.
type usersAnswer struct {
	Users  []provision.User `json:"users"`
	Next   string           `json:"next,omitempty"`
	Logins int              `json:"logins,omitempty"` // how many were ended
}

func (g *Gateway) listUsers(r *http.Request) (any, error) {
	q := r.URL.Query()
	users, next, err := g.users.List(r.Context(), q.Get("directory"), q.Get("after"), limitOf(r))
	return usersAnswer{Users: append([]provision.User{}, users...), Next: next}, err
}

func (g *Gateway) findUsers(r *http.Request) (any, error) {
	users, err := g.users.Find(r.Context(), r.URL.Query().Get("directory"), r.PathValue("name"))
	return usersAnswer{Users: append([]provision.User{}, users...)}, err
}

// user returns the user with an ID.
func (g *Gateway) user(ctx context.Context, directory, id string) (provision.User, error) {
	u, ok, err := g.users.User(ctx, directory, id)
	if err == nil && !ok {
		err = notThere("user", id)
	}
	return u, err
}

// blockUser keeps a user out: the block first, which holds at the next request of
// each session, then the sessions.
func (g *Gateway) blockUser(r *http.Request) (any, error) {
	u, err := g.mark(r, g.users.Block)
	if err != nil {
		return nil, err
	}
	ended, err := g.revokeAll(r, u)
	return usersAnswer{Users: []provision.User{u}, Logins: ended.Logins}, err
}

func (g *Gateway) unblockUser(r *http.Request) (any, error) {
	u, err := g.mark(r, g.users.Unblock)
	return usersAnswer{Users: []provision.User{u}}, err
}

// mark blocks or unblocks the user whom a question is about, and returns them as
// they are from then on.
func (g *Gateway) mark(r *http.Request, do func(context.Context, string, string, audit.Event) ([]audit.Event, bool, error)) (provision.User, error) {
	directory, id := r.URL.Query().Get("directory"), r.PathValue("id")
	events, ok, err := do(r.Context(), directory, id, byAdmin(r))
	if err != nil {
		return provision.User{}, err
	}
	if !ok {
		return provision.User{}, notThere("user", id)
	}
	g.audit(events...)
	return g.user(r.Context(), directory, id)
}

func (g *Gateway) listGroups(r *http.Request) (any, error) {
	groups := g.users.Groups()
	if name := r.URL.Query().Get("name"); name != "" {
		one, ok := g.users.Group(name)
		if !ok {
			return nil, notThere("group", name)
		}
		groups = []provision.Group{one}
	}
	return map[string][]provision.Group{"groups": groups}, nil
}

func (g *Gateway) listMembers(r *http.Request) (any, error) {
	q := r.URL.Query()
	group := q.Get("group")
	if _, ok := g.users.Group(group); !ok {
		return nil, notThere("group", group)
	}
	members, next, err := g.users.Members(r.Context(), group, q.Get("directory"), q.Get("after"), limitOf(r))
	return map[string]any{"members": append([]provision.Member{}, members...), "next": next}, err
}

// countMembers counts a part of the users, so that a million of them need not
// all be sent to be counted.
func (g *Gateway) countMembers(r *http.Request) (any, error) {
	q := r.URL.Query()
	users, next, err := g.users.List(r.Context(), q.Get("directory"), q.Get("after"), limitOf(r))
	counts := make(map[string]int)
	for _, u := range users {
		for _, group := range u.Groups {
			counts[group]++
		}
	}
	return map[string]any{"counts": counts, "next": next}, err
}

// directoriesAnswer is the answer to questions about directories.
type directoriesAnswer struct {
	Directories []provision.Directory `json:"directories"`
	Next        string                `json:"next,omitempty"`
}

func (g *Gateway) listDirectories(r *http.Request) (any, error) {
	names := g.users.Directories()
	if one := r.URL.Query().Get("directory"); one != "" {
		names = []string{one}
	}
	a := directoriesAnswer{Directories: make([]provision.Directory, 0, len(names))}
	for _, name := range names {
		d, err := g.directory(r.Context(), name)
		if err != nil {
			return nil, err
		}
		a.Directories = append(a.Directories, d)
	}
	return a, nil
}

func (g *Gateway) showDirectory(r *http.Request) (any, error) {
	d, err := g.directory(r.Context(), r.PathValue("name"))
	return directoriesAnswer{Directories: []provision.Directory{d}}, err
}

func (g *Gateway) directory(ctx context.Context, name string) (provision.Directory, error) {
	d, ok, err := g.users.Directory(ctx, name)
	if err == nil && !ok {
		err = notThere("directory", name)
	}
	return d, err
}

// createDirectory opens a directory that was deleted.
func (g *Gateway) createDirectory(r *http.Request) (any, error) {
	d, err := g.directory(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	switch {
	case !d.Configured:
		return nil, notNow("directory %q is not in the configuration; add it there, and reload", d.Name)
	case d.State == provision.StateOpen:
		return nil, notNow("directory %q is there already", d.Name)
	case d.State == provision.StateDeleting:
		return nil, notNow("the deletion of directory %q is not finished; delete it again first", d.Name)
	}
	events, err := g.users.CreateDirectory(r.Context(), d.Name, byAdmin(r))
	if err != nil {
		return nil, err
	}
	g.audit(events...)
	return g.showDirectory(r)
}

// deleteDirectory does a part of the deletion of a directory: first it closes the
// directory, which ends all sessions of its users at their next request; then it
// deletes the sessions of some users with each part; after those of the last, all
// that there is of the users.
func (g *Gateway) deleteDirectory(r *http.Request) (any, error) {
	ctx, after := r.Context(), r.URL.Query().Get("after")
	d, err := g.directory(ctx, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	switch {
	case d.State == provision.StateDeleted:
		return nil, notNow("directory %q is deleted already", d.Name)
	case after != "" && d.State != provision.StateDeleting: // somebody has finished it, and created it again
		return nil, notNow("directory %q is not being deleted", d.Name)
	}
	events, err := g.users.CloseDirectory(ctx, d.Name, byAdmin(r))
	if err != nil {
		return nil, err
	}
	g.audit(events...)
	ids, next, err := g.users.Remains(ctx, d.Name, after, limitOf(r))
	if err != nil {
		return nil, err
	}
	owners := make([]session.Owner, len(ids))
	for i, id := range ids {
		owners[i] = session.Owner{Directory: d.Name, UserID: id}
	}
	if err := g.sessions.Drop(ctx, owners...); err != nil {
		return nil, err
	}
	if next == "" {
		if err := g.users.EraseDirectory(ctx, d.Name); err != nil {
			return nil, err
		}
	}
	d, err = g.directory(ctx, d.Name)
	return directoriesAnswer{Directories: []provision.Directory{d}, Next: next}, err
}

// notNow is the error of a question that the state of things does not allow.
func notNow(format string, args ...any) error {
	return &askError{http.StatusConflict, fmt.Sprintf(format, args...)}
}

// maxInconsistencies is how many of them are told.
const maxInconsistencies = 100

// A Consistency says whether what is stored of a directory agrees.
type Consistency struct {
	Users           int                       `json:"users"`           // how many were looked at
	Inconsistencies []provision.Inconsistency `json:"inconsistencies"` // the first hundred
	More            int                       `json:"more,omitempty"`  // how many there are besides
}

// CheckConsistency looks at all users of a directory. It calls progress, if that
// is not nil, with the number of those looked at so far.
func CheckConsistency(ctx context.Context, users *provision.Registry, directory string, progress func(int)) (Consistency, error) {
	c := Consistency{Inconsistencies: []provision.Inconsistency{}}
	var err error
	c.Users, err = users.Consistency(ctx, directory, func(i provision.Inconsistency) {
		if len(c.Inconsistencies) == maxInconsistencies {
			c.More++
			return
		}
		c.Inconsistencies = append(c.Inconsistencies, i)
	}, progress)
	return c, err
}

func (g *Gateway) checkConsistency(r *http.Request) (any, error) {
	return CheckConsistency(r.Context(), g.users, r.URL.Query().Get("directory"), nil)
}
