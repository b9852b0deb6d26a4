package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/provision"
)

// maxList is how many users the admin socket lists at once.
const maxList = 1000

// Admin returns the handler of the admin listener. It has no sign-in, and must
// not be on the public listener.
//
// /healthz answers 200 as long as the process does. /readyz answers 200 while
// visitors may be sent here, else 503 with the reason.
func (g *Gateway) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := g.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// ready returns why no visitors should be sent here, or nil.
func (g *Gateway) ready(ctx context.Context) error {
	if g.draining.Load() {
		return errors.New("draining")
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := g.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis does not answer: %w", err)
	}
	return nil
}

// Socket returns the handler of the admin socket, which the command line talks
// to. Who can open the socket may ask everything.
//
//	GET /users?directory=&after=&limit=   {"users": […], "next": "…"}
//	GET /users/{name}?directory=          {"users": […]}, by user ID or userName
//
// What cannot be answered gets {"error": "…"}: 404 for a directory that is not
// configured, 400 for an after that is no earlier answer's next, 503 where the
// store does not answer.
func (g *Gateway) Socket() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users", g.inDirectory(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		limit, err := strconv.Atoi(q.Get("limit"))
		if err != nil || limit < 1 || limit > maxList {
			limit = maxList
		}
		users, next, err := g.users.List(r.Context(), q.Get("directory"), q.Get("after"), limit)
		g.reply(w, users, next, err)
	}))
	mux.HandleFunc("GET /users/{name}", g.inDirectory(func(w http.ResponseWriter, r *http.Request) {
		users, err := g.users.Find(r.Context(), r.URL.Query().Get("directory"), r.PathValue("name"))
		g.reply(w, users, "", err)
	}))
	return mux
}

// inDirectory answers a question about a directory that is not configured.
func (g *Gateway) inDirectory(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("directory")
		if name != "" && !slices.Contains(g.users.Directories(), name) {
			writeJSON(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("no directory %q", name)})
			return
		}
		next(w, r)
	}
}

// reply answers a question over the admin socket.
func (g *Gateway) reply(w http.ResponseWriter, users []provision.User, next string, err error) {
	if errors.Is(err, provision.ErrCursor) {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	if err != nil {
		g.log.Warn("admin socket", zap.Error(err))
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	if users == nil {
		users = []provision.User{}
	}
	writeJSON(w, http.StatusOK, struct {
		Users []provision.User `json:"users"`
		Next  string           `json:"next"`
	}{users, next})
}
