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

const (
	patience   = 10 * time.Minute // of Sentinels with a server that does not answer
	impatience = time.Second      // when they are to act
)

// A Replicated is a Redis master with two replicas, watched by three Sentinels, two of
// which have to agree. Unless they are told to, they declare nobody dead: on a busy
// machine a server that is not may seem so.
type Replicated struct {
	Name      string // that the Sentinels know it by
	Nodes     []*Node
	Sentinels []*Node

	t testing.TB
}

// NewReplicated starts them all, and waits until each knows of the others.
func NewReplicated(t testing.TB, name string) *Replicated {
	t.Helper()
	r := &Replicated{Name: name, t: t}
	for i := range 3 {
		var args []string
		if i > 0 {
			host, port, _ := net.SplitHostPort(r.Nodes[0].Addr)
			args = []string{"--replicaof", host, port}
		}
		r.Nodes = append(r.Nodes, dataNode(t, args...))
	}
	r.Settle()
	for range 3 {
		r.Sentinels = append(r.Sentinels, r.sentinel())
		r.hurry(r.Sentinels[len(r.Sentinels)-1])
	}
	until(t, r.complete)
	return r
}

// sentinel starts one Sentinel.
func (r *Replicated) sentinel() *Node {
	r.t.Helper()
	host, port, err := net.SplitHostPort(r.Nodes[0].Addr)
	if err != nil {
		r.t.Fatal(err)
	}
	own, dir := FreePort(r.t), r.t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf") // to which it writes what it learns
	text := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %q
sentinel monitor %s %s %s 2
sentinel down-after-milliseconds %[3]s %[6]d
sentinel failover-timeout %[3]s 2000
`, own, dir, r.Name, host, port, patience.Milliseconds())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return newNode(r.t, own, conf, "--sentinel")
}

// StartSentinel starts one that was stopped.
func (r *Replicated) StartSentinel(i int) {
	r.t.Helper()
	r.Sentinels[i].Start()
	r.hurry(r.Sentinels[i])
}

// hurry has a Sentinel look often. By default it would take more than ten seconds to
// make a replica of a master that comes back.
func (r *Replicated) hurry(sentinel *Node) {
	r.t.Helper()
	until(r.t, func(ctx context.Context) error {
		return ask(ctx, sentinel, func(ctx context.Context, c *redis.SentinelClient) error {
			cmd := redis.NewStatusCmd(ctx, "sentinel", "debug", "publish-period", "1000", "info-period", "500")
			_ = c.Process(ctx, cmd)
			return cmd.Err()
		})
	})
}

// Addrs returns where the Sentinels are.
func (r *Replicated) Addrs() []string {
	var all []string
	for _, s := range r.Sentinels {
		all = append(all, s.Addr)
	}
	return all
}

// complete reports, as an error, that a Sentinel does not know all others and both
// replicas.
func (r *Replicated) complete(ctx context.Context) error {
	for _, s := range r.Sentinels {
		err := ask(ctx, s, func(ctx context.Context, c *redis.SentinelClient) error {
			m, err := c.Master(ctx, r.Name).Result()
			if err == nil && (m["num-slaves"] != "2" || m["num-other-sentinels"] != "2") {
				err = fmt.Errorf("%s knows %s replicas and %s other Sentinels", s.Addr, m["num-slaves"], m["num-other-sentinels"])
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ask asks a Sentinel something.
func ask(ctx context.Context, sentinel *Node, f func(context.Context, *redis.SentinelClient) error) error {
	c := redis.NewSentinelClient(clientOptions(sentinel.Addr))
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return f(ctx, c)
}

// Master returns the node that all Sentinels say is the master. It is an error where
// they do not agree, or one of them does not answer.
func (r *Replicated) Master(ctx context.Context) (*Node, error) {
	var named string
	for _, s := range r.Sentinels {
		err := ask(ctx, s, func(ctx context.Context, c *redis.SentinelClient) error {
			addr, err := c.GetMasterAddrByName(ctx, r.Name).Result()
			if err != nil {
				return err
			}
			got := net.JoinHostPort(addr[0], addr[1])
			if named != "" && got != named {
				return fmt.Errorf("the master is %s and %s", named, got)
			}
			named = got
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, n := range r.Nodes {
		if n.Addr == named {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the master is said to be %s, which is none of ours", named)
}

// Failover asks a Sentinel to make another node the master, until all Sentinels say that
// it is. It returns that one.
func (r *Replicated) Failover(old *Node) *Node {
	r.t.Helper()
	until(r.t, func(ctx context.Context) error {
		return ask(ctx, r.Sentinels[0], func(ctx context.Context, c *redis.SentinelClient) error {
			addr, err := c.GetMasterAddrByName(ctx, r.Name).Result()
			if err != nil || net.JoinHostPort(addr[0], addr[1]) != old.Addr {
				return err
			}
			// It refuses while one is under way, and gives up one that takes too long.
			err = c.Failover(ctx, r.Name).Err()
			return fmt.Errorf("the master is still %s; asked for another one: %v", old.Addr, err)
		})
	})
	return r.another(old)
}

// AwaitMaster has the Sentinels notice that old is down, waits until all of them name
// another master and leave it at that, and returns that one.
func (r *Replicated) AwaitMaster(old *Node) *Node {
	r.t.Helper()
	r.bear(impatience)
	r.another(old)
	r.bear(patience)
	until(r.t, r.calm) // on a busy machine they may have found the new one dead as well
	return r.another(old)
}

// calm reports, as an error, that a Sentinel is about to replace the master.
func (r *Replicated) calm(ctx context.Context) error {
	for _, s := range r.Sentinels {
		err := ask(ctx, s, func(ctx context.Context, c *redis.SentinelClient) error {
			m, err := c.Master(ctx, r.Name).Result()
			if err == nil && m["flags"] != "master" {
				err = fmt.Errorf("%s says of the master: %s", s.Addr, m["flags"])
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// bear sets for how long a server may not answer.
func (r *Replicated) bear(limit time.Duration) {
	r.t.Helper()
	for _, s := range r.Sentinels {
		until(r.t, func(ctx context.Context) error {
			return ask(ctx, s, func(ctx context.Context, c *redis.SentinelClient) error {
				return c.Set(ctx, r.Name, "down-after-milliseconds", fmt.Sprint(limit.Milliseconds())).Err()
			})
		})
	}
}

// another waits until all Sentinels name a master that is not old, and returns it.
func (r *Replicated) another(old *Node) *Node {
	r.t.Helper()
	var found *Node
	until(r.t, func(ctx context.Context) (err error) {
		if found, err = r.Master(ctx); err == nil && found == old {
			err = fmt.Errorf("the master is still %s", old.Addr)
		}
		return err
	})
	return found
}

// Settle waits until one node is the master, and the others are its replicas and have
// all that it has.
func (r *Replicated) Settle() {
	r.t.Helper()
	until(r.t, func(ctx context.Context) error {
		master := r.Nodes[0]
		if len(r.Sentinels) > 0 {
			var err error
			if master, err = r.Master(ctx); err != nil {
				return err
			}
		}
		return r.Confirm(ctx, master)
	})
}

// Confirm returns when both replicas have all that the master had when it was called.
// It is an error where there is a replica too few, or one is too slow.
func (r *Replicated) Confirm(ctx context.Context, master *Node) error {
	rdb := newClient(master.Addr)
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn := rdb.Conn()
	defer conn.Close()
	// WAIT is about what its own connection has written, and replicas get all in order.
	if err := conn.Set(ctx, "testenv:confirmed", time.Now().UnixNano(), time.Minute).Err(); err != nil {
		return err
	}
	n, err := conn.Wait(ctx, 2, 2*time.Second).Result()
	if err == nil && n < 2 {
		err = fmt.Errorf("%s has %d replicas that keep up", master.Addr, n)
	}
	return err
}
