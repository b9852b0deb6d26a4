package proxy

import (
	"context"
	"net/http"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/session"
)

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
	if after == "" { // a later part closes nothing: it may be another directory by now
		events, err := g.users.CloseDirectory(ctx, d.Name, byAdmin(r))
		if err != nil {
			return nil, err
		}
		g.memory.changed(d.Name, "")
		g.audit(events...)
	}
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
