package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
)

const (
	// sendTime is how long spans may take to be sent.
	sendTime = 10 * time.Second

	// flushTime is how long the last spans may take to be sent when the process ends.
	flushTime = 3 * time.Second

	// complainEvery is how often the log has that no spans can be sent.
	complainEvery = time.Minute

	// maxAttribute is the length of the longest attribute of a span, in characters: a path can
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
	client, err := newSender(c.CAFile)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	// All of what the environment (OTEL_EXPORTER_OTLP_…) could say otherwise is said.
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(c.Endpoint), otlptracehttp.WithHeaders(headers), otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithTLSClientConfig(nil), // the client's is another
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf), otlptracehttp.WithCompression(otlptracehttp.NoCompression),
	)
	if err != nil {
		return nil, err
	}
	from, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(attribute.String("service.name", c.Service)))
	if errors.Is(err, resource.ErrPartialResource) { // OTEL_RESOURCE_ATTRIBUTES has more that cannot be read
		log.Warn("not all of what the environment says of traces can be read", zap.Error(err))
	} else if err != nil {
		return nil, err
	}
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxAttribute
	return sdk.NewTracerProvider(
		sdk.WithBatcher(&complainer{SpanExporter: exporter, log: log}), sdk.WithResource(from), sdk.WithRawSpanLimits(limits),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
	), nil
}

// newSender returns what spans are posted by, to servers whose certificates come from those
// in a file, or from those that the system trusts. It follows no redirect: what goes along
// to the endpoint is for nobody else.
func newSender(caFile string) (*http.Client, error) {
	conf, err := (&config.ClientTLS{CAFile: caFile}).Config()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       sendTime,
	}, nil
}

// A complainer logs, now and then, that spans cannot be sent, and drops them.
type complainer struct {
	sdk.SpanExporter
	log  *zap.Logger
	last atomic.Int64 // when it did, in nanoseconds
}

// ExportSpans never returns an error, which would be written where all of the process
// writes such.
func (c *complainer) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := c.SpanExporter.ExportSpans(ctx, spans); err != nil {
		now, before := time.Now().UnixNano(), c.last.Load()
		if now-before >= int64(complainEvery) && c.last.CompareAndSwap(before, now) {
			logUnsent(c.log, err)
		}
	}
	return nil
}

// logUnsent logs why spans are lost. What the endpoint answered may be long.
func logUnsent(log *zap.Logger, err error) {
	log.Warn("spans not sent", zap.String("error", fmt.Sprintf("%.500s", err)))
}

// flush sends what is recorded yet, and ends the tracing.
func flush(p *sdk.TracerProvider, log *zap.Logger) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		logUnsent(log, err)
	}
}
