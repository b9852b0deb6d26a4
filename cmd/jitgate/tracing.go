package main

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
)

const (
	// flushTime is how long the last spans may take to be sent when the process ends.
	flushTime = 3 * time.Second

	// complainEvery is how often the log has that no spans can be sent.
	complainEvery = time.Minute

	// maxAttribute is the length of the longest attribute of a span, in bytes: a path can
	// be as long as the head of a request.
	maxAttribute = 2048
)

// newTracing returns where spans go by a configuration, nil for nowhere. What it records
// is sent every few seconds; what cannot be sent is dropped, and never in the way.
func newTracing(c *config.Tracing, log *zap.Logger) (*sdk.TracerProvider, error) {
	if c == nil {
		return nil, nil
	}
	headers := make(map[string]string)
	for name, value := range c.Headers {
		headers[name] = value.Reveal()
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(c.Endpoint), otlptracehttp.WithHeaders(headers)}
	if c.CAFile != "" {
		conf, err := (&config.ClientTLS{CAFile: c.CAFile}).Config()
		if err != nil {
			return nil, err
		}
		options = append(options, otlptracehttp.WithTLSClientConfig(conf))
	}
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	from, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(attribute.String("service.name", c.Service)))
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(complaints(log))
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxAttribute
	return sdk.NewTracerProvider(
		sdk.WithBatcher(exporter), sdk.WithResource(from), sdk.WithRawSpanLimits(limits),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
	), nil
}

// complaints logs what goes wrong in sending spans, now and then.
func complaints(log *zap.Logger) otel.ErrorHandlerFunc {
	var last atomic.Int64
	return func(err error) {
		now, before := time.Now().UnixNano(), last.Load()
		if now-before >= int64(complainEvery) && last.CompareAndSwap(before, now) {
			log.Warn("spans not sent", zap.Error(err))
		}
	}
}

// flush sends what is recorded yet, and ends the tracing.
func flush(p *sdk.TracerProvider) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	_ = p.Shutdown(ctx) // complaints has logged it
}
