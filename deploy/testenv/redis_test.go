package testenv

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestStores(t *testing.T) {
	t.Parallel()
	Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, key := t.Context(), Prefix(t)+"k"
		if err := rdb.Set(ctx, key, "v", 50*time.Millisecond).Err(); err != nil {
			t.Fatal(err)
		}
		if got := rdb.Get(ctx, key).Val(); got != "v" {
			t.Errorf("value = %q, want %q", got, "v")
		}
		// The embedded store's own default is a clock that stands still.
		deadline := time.Now().Add(5 * time.Second)
		for rdb.Exists(ctx, key).Val() != 0 {
			if time.Now().After(deadline) {
				t.Fatal("key did not expire")
			}
		}
	})
}

func TestStoresShareOneServer(t *testing.T) {
	needRedis(t)
	one, err := sharedServer()
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := sharedServer(); one.PID != two.PID {
		t.Errorf("PID = %d, want %d", two.PID, one.PID)
	}
}

func TestRedisServer(t *testing.T) {
	t.Parallel()
	s := RedisServer(t)
	rdb := Client(t, s.Addr)
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err == nil {
		t.Error("a paused server answered")
	}
	s.Resume()
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	s.Pause() // a frozen server has to stop too
	s.Stop()
	if err := syscall.Kill(s.PID, 0); err != syscall.ESRCH {
		t.Errorf("process after Stop: %v, want %v", err, syscall.ESRCH)
	}
}

func TestRedisServerBadArgument(t *testing.T) {
	t.Parallel()
	needRedis(t)
	start := time.Now()
	if _, err := startServer([]string{"--no-such-directive", "1"}); err == nil {
		t.Error("a server with a bad argument started")
	}
	if took := time.Since(start); took > startTimeout {
		t.Errorf("telling took %v", took)
	}
}
