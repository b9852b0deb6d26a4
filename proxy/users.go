package proxy

import (
	"context"
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
	if name := q.Get("name"); name != "" {
		users, err := g.users.Find(r.Context(), q.Get("directory"), name)
		return usersAnswer{Users: append([]provision.User{}, users...)}, err
	}
	if q.Has("prefix") {
		users, err := g.users.Beginning(r.Context(), q.Get("directory"), q.Get("prefix"), limitOf(r))
		return usersAnswer{Users: append([]provision.User{}, users...)}, err
	}
	users, next, err := g.users.List(r.Context(), q.Get("directory"), q.Get("after"), limitOf(r))
	return usersAnswer{Users: append([]provision.User{}, users...), Next: next}, err
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

// unblockUser lets a user in again. A session that was made as they were blocked,
// too late to be found, must not come back to life.
func (g *Gateway) unblockUser(r *http.Request) (any, error) {
	owner := session.Owner{Directory: r.URL.Query().Get("directory"), UserID: r.PathValue("id")}
	u, err := g.user(r.Context(), owner.Directory, owner.UserID)
	if err != nil {
		return nil, err
	}
	if u.Blocked != nil {
		if err := g.sessions.Drop(r.Context(), owner); err != nil {
			return nil, err
		}
	}
	u, err = g.mark(r, g.users.Unblock)
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
	g.memory.changed(directory, id)
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
