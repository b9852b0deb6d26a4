package proxy

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/session"
)

// A Session is one that is open, as the admin socket tells it.
type Session struct {
	ID        string    `json:"id"` // names it, and opens nothing: the cookie holds another value
	User      string    `json:"user"`
	UserID    string    `json:"user_id"`
	Directory string    `json:"directory"`
	Host      string    `json:"host"` // the only one that it is good for
	IdP       string    `json:"idp"`
	Created   time.Time `json:"created"`
	Seen      time.Time `json:"seen"` // of use, to within a minute
	Ends      time.Time `json:"ends"` // if it is not used again
}

// sessionsAnswer is the answer to questions about sessions.
type sessionsAnswer struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"`
	Logins   int       `json:"logins,omitempty"` // how many were ended
}

// describe adds what the admin socket tells of sessions of users.
func (g *Gateway) describe(a *sessionsAnswer, records []session.Record, users ...provision.User) {
	names := make(map[session.Owner]string)
	for _, u := range users {
		names[ownerOf(u)] = u.UserName
	}
	for _, r := range records {
		a.Sessions = append(a.Sessions, Session{
			ID: r.Key, User: names[r.Owner()], UserID: r.UserID, Directory: r.Directory, Host: r.Host, IdP: r.IdP,
			Created: r.Created, Seen: r.Seen, Ends: g.sessions.End(r).UTC(),
		})
	}
}

func ownerOf(u provision.User) session.Owner {
	return session.Owner{Directory: u.Directory, UserID: u.ID}
}

// openSessions returns the sessions of users that are open.
func (g *Gateway) openSessions(ctx context.Context, users ...provision.User) ([]session.Record, error) {
	owners := make([]session.Owner, len(users))
	for i, u := range users {
		owners[i] = ownerOf(u)
	}
	return g.sessions.Open(ctx, owners...)
}

func (g *Gateway) listSessions(r *http.Request) (any, error) {
	q := r.URL.Query()
	var users []provision.User
	var err error
	a := sessionsAnswer{Sessions: []Session{}}
	if name := q.Get("user"); name == "" {
		users, a.Next, err = g.users.List(r.Context(), q.Get("directory"), q.Get("after"), limitOf(r))
	} else if users, err = g.users.Find(r.Context(), q.Get("directory"), name); err == nil && len(users) == 0 {
		err = notThere("user", name)
	}
	if err != nil {
		return nil, err
	}
	records, err := g.openSessions(r.Context(), users...)
	g.describe(&a, records, users...)
	return a, err
}

// endSessions ends all logins of a user, of an identity provider's users, or of
// everybody.
func (g *Gateway) endSessions(r *http.Request) (any, error) {
	q := r.URL.Query()
	idp := q.Get("idp")
	switch _, ok := g.idps[idp]; {
	case q.Get("user") != "":
		return g.endUser(r)
	case idp != "" && !ok:
		return nil, notThere("identity provider", idp)
	case idp == "" && q.Get("all") != "true":
		return nil, &askError{http.StatusBadRequest, "want user, idp or all=true"}
	}
	users, next, err := g.users.List(r.Context(), g.idps[idp].directory, q.Get("after"), limitOf(r))
	if err != nil {
		return nil, err
	}
	records, err := g.openSessions(r.Context(), users...)
	if err != nil {
		return nil, err
	}
	theirs := make(map[session.Owner][]session.Record)
	for _, s := range records {
		if idp == "" || s.IdP == idp {
			theirs[s.Owner()] = append(theirs[s.Owner()], s)
		}
	}
	all := sessionsAnswer{Sessions: []Session{}, Next: next}
	for _, u := range users {
		ended, err := g.revoke(r.Context(), revokedBy(r), u, theirs[ownerOf(u)])
		if err != nil {
			return nil, err
		}
		all.Sessions, all.Logins = append(all.Sessions, ended.Sessions...), all.Logins+ended.Logins
	}
	return all, nil
}

// endUser ends all logins of a user. The name will not do: it may be somebody
// else's by the time that this is asked.
func (g *Gateway) endUser(r *http.Request) (any, error) {
	q := r.URL.Query()
	u, err := g.user(r.Context(), q.Get("directory"), q.Get("user"))
	if err != nil {
		return nil, err
	}
	return g.revokeAll(r, u)
}

// endSession ends the login that a session is of.
func (g *Gateway) endSession(r *http.Request) (any, error) {
	id := r.PathValue("id")
	found, ok, err := g.sessions.Lookup(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notThere("session", id)
	}
	u, err := g.userOf(r.Context(), found.Owner())
	if err != nil {
		return nil, err
	}
	records, err := g.sessions.Open(r.Context(), found.Owner())
	if err != nil {
		return nil, err
	}
	same := []session.Record{found}
	for _, r := range records {
		if r.Login == found.Login && r.Key != found.Key {
			same = append(same, r)
		}
	}
	return g.revoke(r.Context(), revokedBy(r), u, same)
}

// userOf returns the user that a session is of: no more than who that is where
// the directory is no longer configured.
func (g *Gateway) userOf(ctx context.Context, o session.Owner) (provision.User, error) {
	u, ok, err := g.users.User(ctx, o.Directory, o.UserID)
	if err == nil && !ok {
		u = provision.User{ID: o.UserID, Directory: o.Directory}
	}
	return u, err
}

// revokeAll ends all logins of a user.
func (g *Gateway) revokeAll(r *http.Request, u provision.User) (sessionsAnswer, error) {
	records, err := g.openSessions(r.Context(), u)
	if err != nil {
		return sessionsAnswer{}, err
	}
	return g.revoke(r.Context(), revokedBy(r), u, records)
}

// revokedBy is what the audit trail says of logins that an administrator ends.
func revokedBy(r *http.Request) audit.Event {
	e := byAdmin(r)
	e.Type = audit.SessionRevoked
	return e
}

// revoke ends the logins that sessions of u are of, on all hosts, and records
// each as e with what it was.
func (g *Gateway) revoke(ctx context.Context, e audit.Event, u provision.User, records []session.Record) (sessionsAnswer, error) {
	a := sessionsAnswer{Sessions: []Session{}}
	g.describe(&a, records, u)
	ended := make(map[string]bool)
	for _, s := range records {
		if ended[s.Login] {
			continue
		}
		ended[s.Login] = true
		if err := g.sessions.Revoke(ctx, s); err != nil {
			return a, fmt.Errorf("after %d logins were ended: %w", len(ended)-1, err)
		}
		e.Directory, e.IdP, e.UserID, e.UserName = u.Directory, s.IdP, u.ID, u.UserName
		recorded, err := g.users.Record(ctx, e)
		if err != nil {
			// As in signOut: a store that is full must not keep anybody in.
			g.log.Error(e.Type+" not recorded", zap.String("directory", u.Directory), zap.String("user_id", u.ID), zap.Error(err))
			continue
		}
		g.audit(recorded)
	}
	a.Logins = len(ended)
	return a, nil
}
