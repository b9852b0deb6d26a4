package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// requestsEvery is how long lines about requests wait for others, to be written at
// once: each by itself would cost as much as sending the answer. Whoever kills the
// process loses so much of them, and nothing of other lines.
const requestsEvery = 200 * time.Millisecond

// newLogger logs to w: lines for people on a terminal, JSON elsewhere. Those about
// requests follow a moment later; Sync writes them.
func newLogger(w io.Writer) *zap.Logger {
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.EncodeDuration = zapcore.StringDurationEncoder
	cfg.TimeKey = "time"
	encoder := zapcore.NewJSONEncoder(cfg)
	if isTerminal(w) {
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	at := zapcore.Lock(zapcore.AddSync(w))
	gathered := &zapcore.BufferedWriteSyncer{WS: at, Size: 64 << 10, FlushInterval: requestsEvery}
	return zap.New(logCore{
		Core:     zapcore.NewCore(encoder, at, zap.InfoLevel),
		requests: zapcore.NewCore(encoder, gathered, zap.InfoLevel),
	})
}

// A logCore writes lines about requests apart from all others.
type logCore struct {
	zapcore.Core
	requests zapcore.Core
}

// Check is what makes it a [zapcore.Core].
func (c logCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.LoggerName == "request" {
		return c.requests.Check(e, to)
	}
	return c.Core.Check(e, to)
}

// With is what makes it a [zapcore.Core].
func (c logCore) With(fields []zapcore.Field) zapcore.Core {
	return logCore{Core: c.Core.With(fields), requests: c.requests.With(fields)}
}

// Sync writes what waits.
func (c logCore) Sync() error { return errors.Join(c.requests.Sync(), c.Core.Sync()) }

// connectionLog takes what net/http says of single connections: a scanner's
// noise on any public port, so it is kept below what is worth waking for.
func connectionLog(log *zap.Logger) *stdlog.Logger {
	l, err := zap.NewStdLogAt(log.Named("http"), zapcore.InfoLevel)
	if err != nil {
		// NewStdLogAt refuses unknown levels alone.
		panic(err)
	}
	return l
}

// redisLog is go-redis' own chatter about connections. watchRedis tells what an
// operator needs; the rest is there at the debug level.
type redisLog struct{ log *zap.Logger }

func (l redisLog) Printf(_ context.Context, format string, v ...any) {
	l.log.Named("redis").Debug(fmt.Sprintf(format, v...))
}
