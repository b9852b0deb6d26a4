package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Admin returns the handler of the admin listener. It has no sign-in, and must
// not be on the public listener.
//
// /healthz answers 200 as long as the process does. /readyz answers 200 while
// visitors may be sent here, else 503 with the reason. /metrics is for Prometheus.
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
	mux.Handle("GET /metrics", g.metrics.handler())
	return mux
}

// ready returns why no visitors should be sent here, or nil.
func (g *Gateway) ready(ctx context.Context) error {
	if g.draining.Load() {
		return errors.New("draining")
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := pingAny(ctx, g.redis); err != nil {
		return fmt.Errorf("redis does not answer: %w", err)
	}
	return nil
}

// pingAny returns why Redis does not answer, or nil. Of a cluster, one master is
// enough: those whose directories are on others get 503 wherever they are sent.
func pingAny(ctx context.Context, rdb redis.UniversalClient) error {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return rdb.Ping(ctx).Err()
	}
	var answered atomic.Bool
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		err := master.Ping(ctx).Err()
		if err == nil {
			answered.Store(true)
		}
		return err
	})
	if answered.Load() {
		return nil
	}
	return err
}
