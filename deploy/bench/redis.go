package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// client returns a client of the Redis server.
func (s *stage) client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     s.redis.addr,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// A traffic is what a Redis server has been asked.
type traffic struct {
	commands int // those in scripts included
	trips    int // reads of its connections, which is about one a pipeline or script
}

// traffic returns what the Redis server has been asked so far.
func (s *stage) traffic(ctx context.Context) (traffic, error) {
	rdb := s.client()
	defer rdb.Close()
	info, err := rdb.Info(ctx, "commandstats", "stats").Result()
	if err != nil {
		return traffic{}, fmt.Errorf("asking Redis: %w", err)
	}
	return parseTraffic(info)
}

var (
	commandCalls = regexp.MustCompile(`(?m)^cmdstat_(\S+):calls=(\d+),`)
	totalReads   = regexp.MustCompile(`(?m)^total_reads_processed:(\d+)\s*$`)
)

// ownCommands are those that asking for the traffic takes.
var ownCommands = map[string]bool{"info": true, "hello": true, "client|setinfo": true}

// parseTraffic reads the sections commandstats and stats of INFO.
func parseTraffic(info string) (traffic, error) {
	var t traffic
	for _, m := range commandCalls.FindAllStringSubmatch(info, -1) {
		if ownCommands[m[1]] {
			continue
		}
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return t, err
		}
		t.commands += n
	}
	reads := totalReads.FindStringSubmatch(info)
	if reads == nil {
		return t, fmt.Errorf("INFO of Redis has no total_reads_processed:\n%s", info)
	}
	var err error
	t.trips, err = strconv.Atoi(reads[1])
	return t, err
}
