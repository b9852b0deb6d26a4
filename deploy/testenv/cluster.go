package testenv

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// ClusterOfSix starts a Redis Cluster of three masters, with a third of the slots each,
// and a replica of each. A master that is gone for a second is replaced. It returns the
// masters and the replicas, in the same order.
func ClusterOfSix(t testing.TB) (masters, replicas []*Server) {
	t.Helper()
	var nodes []*Server
	for range 6 {
		nodes = append(nodes, RedisServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-require-full-coverage", "no", // or all are down when one is
			"--cluster-config-file", filepath.Join(t.TempDir(), "nodes.conf"), "--dir", t.TempDir()))
	}
	masters, replicas = nodes[:3], nodes[3:]
	clients, ids := make([]*redis.Client, 6), make([]string, 6)
	for i, node := range nodes {
		clients[i] = newClient(node.Addr)
		defer clients[i].Close()
		host, port, _ := strings.Cut(nodes[0].Addr, ":")
		if err := clients[i].ClusterMeet(t.Context(), host, port).Err(); err != nil {
			t.Fatal(err)
		}
		var err error
		if ids[i], err = clients[i].Do(t.Context(), "cluster", "myid").Text(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range masters {
		if err := clients[i].ClusterAddSlotsRange(t.Context(), i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range replicas {
		Eventually(t, func() error { return clients[3+i].ClusterReplicate(t.Context(), ids[i]).Err() }) // it has to have met its master
	}
	for _, c := range clients {
		Eventually(t, func() error { return whole(t.Context(), c) })
	}
	return masters, replicas
}

// whole returns an error unless a node sees the whole cluster, each master with its
// replica.
func whole(ctx context.Context, c *redis.Client) error {
	info, err := c.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:6") {
		return fmt.Errorf("cluster of %s: %q", c.Options().Addr, info)
	}
	role, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if strings.Contains(role, "role:slave") && !strings.Contains(role, "master_link_status:up") {
		return fmt.Errorf("replica %s has not yet what its master has", c.Options().Addr)
	}
	shards, err := c.ClusterShards(ctx).Result()
	if err != nil {
		return err
	}
	for _, s := range shards {
		if len(s.Nodes) != 2 {
			return fmt.Errorf("slots %v have %d nodes", s.Slots, len(s.Nodes))
		}
	}
	return nil
}
