package testenv

import "testing"

// What was confirmed survives a failover that was asked for, a master that is killed,
// and one that stands still; and each old master comes back as a replica.
func TestReplicated(t *testing.T) {
	t.Parallel()
	r := NewReplicated(t, "gate")
	for what, fail := range map[string]func(*Node) (*Node, func()){
		"asked":  func(n *Node) (*Node, func()) { return r.Failover(n), func() {} },
		"killed": func(n *Node) (*Node, func()) { n.Stop(); return r.AwaitMaster(n), n.Start },
		"paused": func(n *Node) (*Node, func()) { n.Pause(); return r.AwaitMaster(n), n.Resume },
	} {
		old, err := r.Master(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := Client(t, old.Addr).Set(t.Context(), "key", what, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.Confirm(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		master, mend := fail(old)
		if got := Client(t, master.Addr).Get(t.Context(), "key").Val(); got != what {
			t.Errorf("%s: the new master has %q", what, got)
		}
		mend()
		r.Settle()
	}
}
