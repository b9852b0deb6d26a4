package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// While Sentinel has a replica take over, and the old master is one of it, sign-ins
// succeed or get 503, and leave a whole user or none.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := testenv.RedisServer(t)
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica := testenv.RedisServer(t, "--replicaof", host, port)
	sentinel := testenv.Sentinel(t, "gate", master)
	idp, site := localIdP(t), newSite(t)
	g := site.start("127.0.0.1", 0, "limits: {logins_per_minute: 1000000}\n"+fmt.Sprintf(oneIdP, fmt.Sprintf(`{addresses: [%q], master_name: gate}`, sentinel.Addr), idp.EntityID(), echoUpstream(t).URL))
	introduceSP(t, idp, g.file)
	s := &chaosSite{t: t, base: g.base, idp: idp, transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	t.Cleanup(s.transport.CloseIdleConnections)

	asks := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
	t.Cleanup(func() { asks.Close() })
	masterIs := func(want string) error {
		addr, err := asks.GetMasterAddrByName(t.Context(), "gate").Result()
		if err == nil && strings.Join(addr, ":") != want {
			err = fmt.Errorf("the master is %v, want %s", addr, want)
		}
		return err
	}
	stop := make(chan struct{})
	var signing sync.WaitGroup
	var signedIn, refused atomic.Int64
	for worker := range 4 {
		signing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := s.signIn(fmt.Sprintf("u%d-%d@acme.example", worker, i%20), "red", "")
				switch {
				case err == nil:
					signedIn.Add(1)
				case strings.HasSuffix(err.Error(), ": 503"):
					refused.Add(1)
				default:
					t.Errorf("signing in: %v, want it done or 503", err)
				}
			}
		})
	}
	end := sync.OnceFunc(func() { close(stop); signing.Wait() })
	defer end()
	for _, next := range []string{replica.Addr, master.Addr} {
		before := signedIn.Load()
		testenv.Eventually(t, func() error { return asks.Failover(t.Context(), "gate").Err() }) // it has to have seen the replica
		testenv.Eventually(t, func() error { return masterIs(next) })
		testenv.Eventually(t, func() error {
			if signedIn.Load() < before+5 {
				return errors.New("nobody signs in after it")
			}
			return nil
		})
	}
	end()
	t.Logf("%d signed in, %d got 503", signedIn.Load(), refused.Load())
	output(t, "check", "-c", g.file, "--online") // records and indexes agree
}
