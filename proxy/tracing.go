package proxy

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is what makes our spans.
const tracerName = "github.com/jitgate/jitgate/proxy"

// inHeaders reads and writes the headers of a trace (W3C Trace Context).
var inHeaders propagation.TraceContext

// beginTrace begins the span of a request, within the trace that a trusted proxy sends it
// as a part of. That of anybody else is linked to: it must decide neither what is recorded
// nor under what ID the apps find it.
func (g *Gateway) beginTrace(r *http.Request, ev *event) *http.Request {
	if g.tracer == nil {
		return r
	}
	ctx := r.Context()
	sent := extract(ctx, r.Header)
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(ev.start)}
	if peer, ok := parseAddr(r.RemoteAddr); ok && g.trusts(peer) {
		ctx = sent
	} else if theirs := trace.SpanContextFromContext(sent); theirs.IsValid() {
		// Their tracestate can be any text of theirs.
		options = append(options, trace.WithLinks(trace.Link{SpanContext: theirs.WithTraceState(trace.TraceState{})}))
	}
	ctx, span := g.tracer.Start(ctx, knownMethod(r.Method), options...)
	ev.trace = span.SpanContext().TraceID().String()
	return r.WithContext(ctx)
}

// extract returns ctx with the trace that headers name. Several traceparent lines name
// none, as nobody can tell whose is whose; several of tracestate are one list.
func extract(ctx context.Context, h http.Header) context.Context {
	if len(h["Traceparent"]) != 1 {
		return ctx
	}
	return inHeaders.Extract(ctx, propagation.MapCarrier{
		"traceparent": h["Traceparent"][0], "tracestate": strings.Join(h["Tracestate"], ","),
	})
}

// endTrace ends the span of a request that is over, by OpenTelemetry's conventions for
// HTTP servers. Neither it nor any other span says who the visitor is, or what came in the query.
func (g *Gateway) endTrace(r *http.Request, ev *event, status int) {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return
	}
	method := knownMethod(r.Method)
	if ev.app != "" {
		span.SetName(method + " " + ev.app)
	}
	span.SetAttributes(
		attribute.String("http.request.method", method),
		attribute.Int("http.response.status_code", status),
		attribute.String("url.scheme", g.base.Scheme),
		// One attribute that is not UTF-8, as HTTP/2 lets a host be, would have all the
		// spans refused that are sent along with it.
		attribute.String("server.address", strings.ToValidUTF8(ev.host, "\uFFFD")),
		attribute.String("url.path", cmp.Or(ev.path, r.URL.EscapedPath())),
		attribute.String("jitgate.app", ev.app),
		attribute.String("jitgate.outcome", ev.result()),
		attribute.String("jitgate.request_id", ev.id),
	)
	if ev.code != "" {
		span.SetAttributes(attribute.String("error.type", ev.code))
	}
	if status >= http.StatusInternalServerError || status < http.StatusBadRequest && ev.code != "" { // it broke off
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// knownMethod returns a method as spans have it: one that a client made up could make
// names without end.
func knownMethod(method string) string {
	known := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
	if slices.Contains(known, method) {
		return method
	}
	return "_OTHER"
}

// child begins a span within that of ctx. Where that is not recorded, nothing is.
func child(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, parent // to which nothing is added, nor its end
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, name, trace.WithSpanKind(kind))
}

// endSpan ends a span of [child], of what may have failed.
func endSpan(span trace.Span, failed bool) {
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// beginCommand begins the span of a command of Redis, by OpenTelemetry's conventions for
// clients of databases. What is asked for is not in it, as keys are of sessions.
func beginCommand(ctx context.Context, name string) (context.Context, trace.Span) {
	ctx, span := child(ctx, name, trace.SpanKindClient)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("db.system.name", "redis"), attribute.String("db.operation.name", name))
	}
	return ctx, span
}

// beginAsking begins the span of asking an app, within that of a request.
func beginAsking(ctx context.Context, p passage, method string) (context.Context, trace.Span) {
	method = knownMethod(method)
	ctx, span := child(ctx, method, trace.SpanKindClient)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", method),
			attribute.String("server.address", p.app.upstream.Hostname()),
			attribute.String("jitgate.app", p.app.name),
		)
	}
	return ctx, span
}

// tellStatus notes the status of an app's answer, which for those who ask is an error from
// 400 on.
func tellStatus(ctx context.Context, status int) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusBadRequest {
		span.SetStatus(codes.Error, "")
	}
}

// passOn puts the trace of ctx into what an app is asked with, in the place of what the
// visitor sent.
func (g *Gateway) passOn(ctx context.Context, h http.Header) {
	if g.tracer == nil {
		return
	}
	delete(h, "Traceparent")
	delete(h, "Tracestate")
	inHeaders.Inject(ctx, propagation.HeaderCarrier(h))
}
