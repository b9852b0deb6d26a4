package main

import (
	"context"
	"fmt"
	"io"
	stdlog "log"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger logs to w: lines for people on a terminal, JSON elsewhere.
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
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zap.InfoLevel))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

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
