package proxy

import (
	"context"
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
//	GET /users?directory=&after=&limit=   {"users": […], "next": "…"}, each a [provision.User]
//	GET /users?name=&directory=           {"users": […]}, by user ID or userName
//	GET /users?prefix=&directory=&limit=  {"users": […]}, by how the userName begins; limit is of those found
//	POST /users/{id}/block?directory=     {"users": […], "logins": 1}: keeps the user with that ID out, and ends
//	                                      their sessions
//	DELETE /users/{id}/block?directory=   {"users": […]}: lets them in again
//	GET /groups?name=                     {"groups": […]}, each a [provision.Group]: the one of that name, or all
//	                                      that are configured
//	GET /members?group=&directory=&after=&limit=
//	                                      {"members": […], "next": "…"}, each a [provision.Member]
//	GET /counts?directory=&after=&limit=  {"counts": {"group": 2}, "next": "…"}: how many users are in each group
//	GET /directories?directory=           {"directories": […]}, each a [provision.Directory]: that one, or all
//	GET /directories/{name}               the same of one, which may no longer be configured
//	POST /directories/{name}              the same: opens one that was deleted
//	DELETE /directories/{name}?after=&limit=
//	                                      {"directories": […], "next": "…"}: closes it, and deletes it when it is
//	                                      asked without a next left
//	GET /audit?directory=&user=&idp=&event=&since=&after=&limit=
//	                                      a [provision.Trail]; since is in RFC 3339
//	GET /consistency?directory=           a [Consistency] of that directory
//	POST /explain                         an [Explanation], to a [Question]
//	GET /sessions?directory=&user=&after=&limit=
//	                                      {"sessions": […], "next": "…"}, each a [Session]: those of one user, by
//	                                      user ID or userName, or of all
//	DELETE /sessions/{id}                 {"sessions": […], "logins": 1}: ends that session and the others of its login
//	DELETE /sessions?directory=&user=     the same for all of the user with that ID
//	DELETE /sessions?idp=&after=&limit=   the same for all of an identity provider, with "next"
//	DELETE /sessions?all=true&after=&limit=
//	                                      the same for all in the configured directories
//
// A limit is of the users that are looked at. An answer with a next is a part,
// and the next part is what the same question with that after gets; without, it
// was the last.
//
// What cannot be answered gets {"error": "…"}: 404 for a directory, a group, a
// user or a session that is not there, 409 for what its state does not allow, 400
// for an after that is no earlier answer's next and for anything else that makes
// no sense, 503 where the store does not answer.
func (g *Gateway) Socket() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*Gateway, *http.Request) (any, error){
		"GET /users":               (*Gateway).listUsers,
		"POST /users/{id}/block":   (*Gateway).blockUser,
		"DELETE /users/{id}/block": (*Gateway).unblockUser,

		"GET /groups":  (*Gateway).listGroups,
		"GET /members": (*Gateway).listMembers,
		"GET /counts":  (*Gateway).countMembers,

		"GET /directories":           (*Gateway).listDirectories,
		"GET /directories/{name}":    (*Gateway).showDirectory,
		"POST /directories/{name}":   (*Gateway).createDirectory,
		"DELETE /directories/{name}": (*Gateway).deleteDirectory,

		"GET /sessions":         (*Gateway).listSessions,
		"DELETE /sessions":      (*Gateway).endSessions,
		"DELETE /sessions/{id}": (*Gateway).endSession,

		"GET /audit":       (*Gateway).readTrail,
		"GET /consistency": (*Gateway).checkConsistency,
		"POST /explain":    (*Gateway).explainResponse,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { g.newest.Load().reply(w, r, answer) })
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

// notNow is the error of a question that the state of things does not allow.
func notNow(format string, args ...any) error {
	return &askError{http.StatusConflict, fmt.Sprintf(format, args...)}
}

// reply answers a question over the admin socket.
func (g *Gateway) reply(w http.ResponseWriter, r *http.Request, answer func(*Gateway, *http.Request) (any, error)) {
	id := newRequestID()
	r = withOrigin(r, audit.Event{RequestID: id, Client: "admin"})
	w.Header().Set("X-Request-Id", id)
	directory := r.URL.Query().Get("directory")
	var v any
	err := notThere("directory", directory)
	if directory == "" || slices.Contains(g.users.Directories(), directory) {
		v, err = answer(g, r)
	}
	status := http.StatusOK
	if bad, ok := errors.AsType[*askError](err); ok {
		status = bad.status
	} else if errors.Is(err, provision.ErrCursor) {
		status = http.StatusBadRequest
	} else if err != nil {
		g.log.Warn("admin socket", zap.String("id", id), zap.Error(err))
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfter)
	}
	if err != nil {
		v = map[string]string{"error": err.Error()}
	}
	writeJSON(w, status, v)
}

// originKey is what [byAdmin] finds in the context of a question.
type originKey struct{}

// withOrigin returns a question with what the audit trail says of where it came from.
func withOrigin(r *http.Request, e audit.Event) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), originKey{}, e))
}

// byAdmin is what the audit trail says of where a question came from: over the socket,
// or from somebody at the console.
func byAdmin(r *http.Request) audit.Event {
	e, _ := r.Context().Value(originKey{}).(audit.Event)
	return e
}

// limitOf returns how much a question wants listed at once.
func limitOf(r *http.Request) int {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > maxList {
		return maxList
	}
	return limit
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
