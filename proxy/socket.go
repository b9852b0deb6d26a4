package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
)

// maxList is how much the admin socket lists at once.
const maxList = 1000

// Socket returns the handler of the admin socket, which the command line talks
// to. Who can open the socket may ask everything.
//
//	GET /users?directory=&group=&after=&limit=
//	                                      {"users": […], "next": "…"}; limit is of the users that are looked at
//	GET /users/{name}?directory=          {"users": […]}, by user ID or userName
//	GET /groups?name=                     {"groups": […]}, each a [provision.Group]: the one of that name, or all
//	                                      that are configured
//	GET /directories?directory=           {"directories": […]}, each a [provision.Directory]: that one, or all
//	GET /audit?directory=&user=&idp=&event=&since=&after=&limit=
//	                                      a [provision.Trail]; since is in RFC 3339
//	GET /sessions?directory=&user=&after=&limit=
//	                                      {"sessions": […], "next": "…"}, each a [Session]: those of one user, by
//	                                      user ID or userName, or of all; limit is of the users that are looked at
//	DELETE /sessions/{id}                 {"sessions": […], "logins": 1}: ends that session and the others of its login
//	DELETE /sessions?directory=&user=     the same for all of the user with that ID
//
// What cannot be answered gets {"error": "…"}: 404 for a directory, a
// group, a user or a session that is not there, 400 for an after that is no earlier answer's next and for anything
// else that makes no sense, 503 where the store does not answer.
func (g *Gateway) Socket() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /users":        g.listUsers,
		"GET /users/{name}": g.findUsers,
		"GET /groups":       g.listGroups,
		"GET /directories":  g.listDirectories,
		"GET /audit":        g.readTrail,

		"GET /sessions":         g.listSessions,
		"DELETE /sessions":      g.endUser,
		"DELETE /sessions/{id}": g.endSession,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { g.reply(w, r, answer) })
	}
	return mux
}

// An askError is a question over the admin socket that has no answer.
type askError struct {
	status int
	text   string
}

func (e *askError) Error() string { return e.text }

// notThere is the error of a question about something that does not exist.
func notThere(what, name string) error {
	return &askError{http.StatusNotFound, fmt.Sprintf("no %s %q", what, name)}
}

// reply answers a question over the admin socket.
func (g *Gateway) reply(w http.ResponseWriter, r *http.Request, answer func(*http.Request) (any, error)) {
	directory := r.URL.Query().Get("directory")
	var v any
	err := notThere("directory", directory)
	if directory == "" || slices.Contains(g.users.Directories(), directory) {
		v, err = answer(r)
	}
	status := http.StatusOK
	if bad, ok := errors.AsType[*askError](err); ok {
		status = bad.status
	} else if errors.Is(err, provision.ErrCursor) {
		status = http.StatusBadRequest
	} else if err != nil {
		g.log.Warn("admin socket", zap.Error(err))
		status = http.StatusServiceUnavailable
	}
	if err != nil {
		v = map[string]string{"error": err.Error()}
	}
	writeJSON(w, status, v)
}

// limitOf returns how much a question wants listed at once.
func limitOf(r *http.Request) int {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > maxList {
		return maxList
	}
	return limit
}

// usersAnswer is the answer to questions about users.
type usersAnswer struct {
	Users []provision.User `json:"users"`
	Next  string           `json:"next"`
}

func (g *Gateway) listUsers(r *http.Request) (any, error) {
	q := r.URL.Query()
	group := q.Get("group")
	if _, ok := g.users.Group(group); group != "" && !ok {
		return nil, notThere("group", group)
	}
	users, next, err := g.users.List(r.Context(), q.Get("directory"), q.Get("after"), limitOf(r))
	if group != "" {
		users = slices.DeleteFunc(users, func(u provision.User) bool { return !slices.Contains(u.Groups, group) })
	}
	return usersAnswer{append([]provision.User{}, users...), next}, err
}

func (g *Gateway) findUsers(r *http.Request) (any, error) {
	users, err := g.users.Find(r.Context(), r.URL.Query().Get("directory"), r.PathValue("name"))
	return usersAnswer{append([]provision.User{}, users...), ""}, err
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

func (g *Gateway) listDirectories(r *http.Request) (any, error) {
	names := g.users.Directories()
	if one := r.URL.Query().Get("directory"); one != "" {
		names = []string{one}
	}
	all := make([]provision.Directory, 0, len(names))
	for _, name := range names {
		d, ok, err := g.users.Directory(r.Context(), name)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, d)
		}
	}
	return map[string][]provision.Directory{"directories": all}, nil
}

func (g *Gateway) readTrail(r *http.Request) (any, error) {
	q := r.URL.Query()
	query := provision.TrailQuery{
		Directory: q.Get("directory"), User: q.Get("user"), IdP: q.Get("idp"), Type: q.Get("event"),
		After: q.Get("after"), Limit: limitOf(r),
	}
	if query.Type != "" && !slices.Contains(audit.Types(), query.Type) {
		return nil, &askError{http.StatusBadRequest, fmt.Sprintf("no event %q; there are %s", query.Type, strings.Join(audit.Types(), ", "))}
	}
	if since := q.Get("since"); since != "" {
		var err error
		if query.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return nil, &askError{http.StatusBadRequest, fmt.Sprintf("since %q is not a time in RFC 3339", since)}
		}
	}
	return g.users.Trail(r.Context(), query)
}
