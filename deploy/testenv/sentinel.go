package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel starts a Redis Sentinel that watches master, under that name and with
// a quorum of one. It declares a master dead after half a second.
func Sentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	own := FreePort(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf") // Sentinel writes to it
	text := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %q
sentinel monitor %s %s %s 1
sentinel down-after-milliseconds %[3]s 500
sentinel failover-timeout %[3]s 3000
`, own, dir, name, host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	needRedis(t)
	s, err := launch(own, []string{"redis-server", conf, "--sentinel"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if err := s.awaitReady(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Cluster starts a Redis Cluster of one node, which has all slots. It refuses
// commands over several slots, as every cluster does.
func Cluster(t testing.TB) *Server {
	t.Helper()
	s := RedisServer(t, "--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(t.TempDir(), "nodes.conf"))
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	rdb := newClient(s.Addr)
	defer rdb.Close()
	if err := rdb.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// A cluster that is not yet one answers no data command.
		err := rdb.Get(ctx, "any").Err()
		if err == redis.Nil {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("cluster at %s: %v", s.Addr, err)
		case <-tick.C:
		}
	}
}
