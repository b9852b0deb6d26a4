package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// settleTime is how long after all Sentinels have named a new master the old one may
// still acknowledge something to a request that is under way.
const settleTime = 2 * time.Second

// TestChaosFailover is TestChaos on a Redis that Sentinels watch.
//
// A master acknowledges what its replicas do not have yet, so that a failover may lose
// it: Redis promises no more. Hence each failover begins when both replicas have all
// that was acknowledged before. Whatever is acknowledged from then on until all
// gateways know the new master, people count on neither way.
//
// On a machine that is as busy as with all tests at once, Sentinels do not always agree
// within its times, so that it runs where JITGATE_CHAOS says for how long.
func TestChaosFailover(t *testing.T) {
	if os.Getenv("JITGATE_CHAOS") == "" {
		t.Skip("takes a quiet machine: set JITGATE_CHAOS=1m")
	}
	t.Parallel()
	store := testenv.NewReplicated(t, "gate")
	s := newChaosSite(t, func(int) string {
		return fmt.Sprintf(`{addresses: ["%s"], master_name: gate}`, strings.Join(store.Addrs(), `", "`))
	})
	failover := func(what string, fail func(old *testenv.Node) *testenv.Node, mend func(old *testenv.Node)) fault {
		return func(*rand.Rand) {
			old := s.secure(store)
			s.fault(what, false)
			begun := time.Now()
			master := fail(old)
			s.settled()
			s.fault("the master is "+master.Addr, false)
			s.pause(time.Until(begun.Add(3 * time.Second)))
			mend(old)
			s.fault(what+": over", true)
		}
	}
	s.run(s.kill, s.restart,
		failover("another master is asked for", store.Failover, func(*testenv.Node) {}),
		failover("the master is killed",
			func(old *testenv.Node) *testenv.Node { old.Stop(); return store.AwaitMaster(old) },
			func(old *testenv.Node) { old.Start() }),
		failover("the master is paused",
			func(old *testenv.Node) *testenv.Node { old.Pause(); return store.AwaitMaster(old) },
			func(old *testenv.Node) { old.Resume() }),
		func(r *rand.Rand) {
			i := r.IntN(len(store.Sentinels))
			s.fault(fmt.Sprintf("Sentinel %d is killed", i), false)
			store.Sentinels[i].Stop()
			s.pause(some(r))
			store.StartSentinel(i)
			s.fault(fmt.Sprintf("Sentinel %d is back", i), true)
		})
}

// secure returns the master when its replicas have all that was acknowledged until now.
// What is acknowledged from now on may get lost.
func (s *chaosSite) secure(store *testenv.Replicated) *testenv.Node {
	s.t.Helper()
	store.Settle()
	master, err := store.Master(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.unsure = append(s.unsure, span{from: time.Now()})
	s.mu.Unlock()
	testenv.Eventually(s.t, func() error { return store.Confirm(s.t.Context(), master) })
	return master
}

// settled ends what secure has begun.
func (s *chaosSite) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsure[len(s.unsure)-1].to = time.Now().Add(settleTime)
}
