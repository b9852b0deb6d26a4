package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// traced has the spans of a site kept.
func traced(t *testing.T, s *site) *tracetest.InMemoryExporter {
	t.Helper()
	kept := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(kept))
	t.Cleanup(func() { _ = provider.Shutdown(t.Context()) })
	s.Gateway.tracer = provider.Tracer(tracerName)
	return kept
}

// spanOf returns the one span of a kind, once it has ended.
func spanOf(t *testing.T, kept *tracetest.InMemoryExporter, kind trace.SpanKind) (found tracetest.SpanStub) {
	t.Helper()
	eventually(t, "a span of kind "+kind.String(), func() bool {
		for _, s := range kept.GetSpans() {
			if s.SpanKind == kind {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

// What a visitor sends neither makes spans that nobody takes, nor gets into them as it is.
func TestTracesOfStrangers(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "trusted_proxies: [192.0.2.7]"})
		kept := traced(t, s)
		const a, b = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
		ask := func(from, host string, headers ...string) tracetest.SpanStub {
			kept.Reset()
			r := httptest.NewRequest(http.MethodGet, "https://sso.example.com/nowhere", nil)
			r.RemoteAddr, r.Host = from+":1", host
			for _, h := range headers {
				name, value, _ := strings.Cut(h, ": ")
				r.Header[name] = append(r.Header[name], value)
			}
			s.ServeHTTP(httptest.NewRecorder(), r)
			return spanOf(t, kept, trace.SpanKindServer)
		}
		for _, a := range ask("192.0.2.1", "a\xff\xfe.example").Attributes {
			if v := a.Value.AsString(); !utf8.ValidString(v) {
				t.Errorf("%s is %q, with which no span of a batch is taken", a.Key, v)
			}
		}
		span := ask("192.0.2.1", "sso.example.com", "Traceparent: "+a, "Tracestate: private=ann")
		if len(span.Links) != 1 || span.Links[0].SpanContext.TraceState().Len() != 0 {
			t.Errorf("from a stranger, links are %v", span.Links)
		}
		for name, headers := range map[string][]string{
			"two lines":         {"Traceparent: " + a, "Traceparent: " + b},
			"in upper case":     {"Traceparent: " + strings.ToUpper(a)},
			"tracestate alone":  {"Tracestate: a=1"},
			"without a parent":  {"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"},
			"longer than it is": {"Traceparent: " + a + strings.Repeat("-01", 1000)},
		} {
			for _, from := range []string{"192.0.2.1", "192.0.2.7"} {
				if span := ask(from, "sso.example.com", headers...); span.Parent.IsValid() || len(span.Links) != 0 {
					t.Errorf("%s, from %s: parent %v, links %v", name, from, span.Parent, span.Links)
				}
			}
		}
		span = ask("192.0.2.7", "sso.example.com", "Traceparent: "+a, "Tracestate: a=1", "Tracestate: b=2")
		if got := span.SpanContext.TraceState().String(); got != "a=1,b=2" {
			t.Errorf("of two lines of tracestate came %q", got)
		}
	})
}

// Spans say what went wrong, also where the status had been sent before.
func TestTracesOfFailures(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{})
		kept := traced(t, s)
		for name, c := range map[string]struct {
			answer      http.HandlerFunc
			asked, ours codes.Code
		}{
			"good":       {func(w http.ResponseWriter, _ *http.Request) {}, codes.Unset, codes.Unset},
			"not found":  {http.NotFound, codes.Error, codes.Unset},
			"broken":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, codes.Error, codes.Error},
			"no answer":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, codes.Error, codes.Error},
			"broken off": {breakOff, codes.Error, codes.Error},
		} {
			kept.Reset()
			s.upstream.answer(c.answer)
			if res, err := s.browser().Do(mustRequest(t, s.url("wiki", "/public/x"))); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			ours, asked := spanOf(t, kept, trace.SpanKindServer), spanOf(t, kept, trace.SpanKindClient)
			if ours.Status.Code != c.ours || asked.Status.Code != c.asked || asked.Parent.SpanID() != ours.SpanContext.SpanID() {
				t.Errorf("%s: the request is %v, want %v; asking the app is %v, want %v", name, ours.Status.Code, c.ours, asked.Status.Code, c.asked)
			}
		}
	})
}

// breakOff is an app that does not send all of its answer.
func breakOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, "ten bytes.")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
