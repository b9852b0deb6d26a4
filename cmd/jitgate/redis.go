package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
)

// How long a Redis that does not answer may hold up a request. A slow store
// must turn into a 503 within a second, retry included, and not into a queue.
const (
	redisDialTimeout = 500 * time.Millisecond
	redisTimeout     = 400 * time.Millisecond
	redisRetries     = 1
)

// openRedis returns a client for the store that c names, and what closes it. It
// does not wait for a Redis elsewhere: one that is down now may come back.
func openRedis(c config.Redis, log *zap.Logger) (redis.UniversalClient, func(), error) {
	redis.SetLogger(redisLog{log}) // go-redis has one for the whole process
	if c.Embedded {
		return openEmbedded()
	}
	var tlsConfig *tls.Config
	if c.TLS != nil {
		var err error
		if tlsConfig, err = c.TLS.Config(); err != nil {
			return nil, nil, fmt.Errorf("redis.tls: %w", err)
		}
	}
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:            c.Addresses,
		MasterName:       c.MasterName,
		IsClusterMode:    c.Cluster,
		DB:               c.DB,
		Username:         c.Username,
		Password:         c.Password.Reveal(),
		SentinelUsername: c.SentinelUsername,
		SentinelPassword: c.SentinelPassword.Reveal(),
		TLSConfig:        tlsConfig,

		// Off by default, and then a context's deadline means nothing.
		ContextTimeoutEnabled: true,
		DialTimeout:           redisDialTimeout,
		DialerRetries:         1,
		ReadTimeout:           redisTimeout,
		WriteTimeout:          redisTimeout,
		PoolTimeout:           redisTimeout,
		MaxRetries:            redisRetries,
		// It belongs to a hosted product; elsewhere it is an error on each connection.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return rdb, func() { rdb.Close() }, nil
}

// openEmbedded starts the store that lives in this process.
func openEmbedded() (redis.UniversalClient, func(), error) {
	store := miniredis.NewMiniRedis()
	// Left to itself its keys would never expire.
	store.ClockTTL(true)
	// It listens on a port, which other users of this machine reach as well.
	password := rand.Text()
	store.RequireAuth(password)
	if err := store.Start(); err != nil {
		return nil, nil, fmt.Errorf("starting the embedded store: %w", err)
	}
	rdb := redis.NewClient(&redis.Options{
		Addr:                     store.Addr(),
		Password:                 password,
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return rdb, func() {
		rdb.Close()
		store.Close()
	}, nil
}

// watchRedis logs when Redis stops and starts to answer, until ctx ends. The
// line is for the operator; requests find out for themselves.
func watchRedis(ctx context.Context, rdb redis.UniversalClient, where config.Redis, log *zap.Logger) {
	var failing, known bool
	for {
		pingCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := rdb.Ping(pingCtx).Err()
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && (!failing || !known):
			log.Error("redis does not answer; trying on", zap.Strings("addresses", where.Addresses), zap.String("error", redisCause(err)))
		case err == nil && (failing || !known):
			log.Info("redis answers", zap.Strings("addresses", where.Addresses))
		}
		failing, known = err != nil, true
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// redisCause puts the errors that operators meet first into plain words.
func redisCause(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case strings.HasPrefix(err.Error(), "NOAUTH"), strings.HasPrefix(err.Error(), "WRONGPASS"):
		return err.Error() + " (redis.username and redis.password)"
	}
	return err.Error()
}
