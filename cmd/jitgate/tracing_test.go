package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A spanStore takes spans as OpenTelemetry's protocol has them, over HTTP.
type spanStore struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*trace.Span
	raw     bytes.Buffer
	service string
	secret  string // Authorization
}

func newSpanStore(t *testing.T) *spanStore {
	s := new(spanStore)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			t.Errorf("%s: %v, want spans", r.URL, err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.raw.Write(body)
		s.secret = r.Header.Get("Authorization")
		for _, from := range sent.ResourceSpans {
			s.service = valueOf(from.Resource.Attributes, "service.name")
			for _, scope := range from.ScopeSpans {
				s.spans = append(s.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// valueOf returns one of a span's, or of where it is from, as text.
func valueOf(all []*common.KeyValue, key string) string {
	for _, a := range all {
		if a.Key == key && a.Value.GetStringValue() != "" {
			return a.Value.GetStringValue()
		} else if a.Key == key {
			return fmt.Sprint(a.Value.GetIntValue())
		}
	}
	return ""
}

// find returns the span for which ok holds.
func (s *spanStore) find(t *testing.T, what string, ok func(*trace.Span) bool) *trace.Span {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.spans, ok); i >= 0 {
		return s.spans[i]
	}
	t.Fatalf("no span of %s among %v", what, s.spans)
	return nil
}

// server finds the span of a request for a path.
func (s *spanStore) server(t *testing.T, path string) *trace.Span {
	t.Helper()
	return s.find(t, "the request for "+path, func(s *trace.Span) bool {
		return s.Kind == trace.Span_SPAN_KIND_SERVER && valueOf(s.Attributes, "url.path") == path
	})
}

// within finds the span of a name below another.
func (s *spanStore) within(t *testing.T, parent *trace.Span, name string) *trace.Span {
	t.Helper()
	return s.find(t, name, func(s *trace.Span) bool {
		return s.Name == name && bytes.Equal(s.ParentSpanId, parent.SpanId) && bytes.Equal(s.TraceId, parent.TraceId)
	})
}

// Another's trace, of which the request is a part.
const (
	theirTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	theirSpan  = "00f067aa0ba902b7"
)

// askFrom asks for a page from an address of this machine, as a part of another's trace.
func askFrom(t *testing.T, from, page, flags string) seen {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext, DisableKeepAlives: true,
	}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Traceparent", "00-"+theirTrace+"-"+theirSpan+"-"+flags)
	r.Header.Set("Tracestate", "theirs=1")
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var s seen
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		t.Fatalf("%s: status %d: %v", page, res.StatusCode, err)
	}
	return s
}

// TestTracing signs in and looks at the spans that come of it, and at what the app gets of
// the traces that a trusted proxy and anybody else send.
func TestTracing(t *testing.T) {
	t.Setenv("TEST_OTLP", "Bearer S3CRET")
	store, idp := newSpanStore(t), localIdP(t)
	const tracing = `
trusted_proxies: [127.0.0.2]
tracing: {endpoint: "%s/v1/traces", headers: {Authorization: "env:TEST_OTLP"}, service: sso}
`
	config := fmt.Sprintf(tracing, store.URL) + strings.Replace(oneIdP, "allow: {any_user: true}", "allow: {any_user: true}, public: [/open/]", 1)
	g := newSite(t).start("127.0.0.1", 0, fmt.Sprintf(config, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL))
	introduceSP(t, idp, g.file)
	page, err := testenv.NewBrowser(t, nil).Login(g.base+"/page?q=private", "", "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	app := reached(t, page)
	byProxy, unrecorded := askFrom(t, "127.0.0.2", g.base+"/open/proxy", "01"), askFrom(t, "127.0.0.2", g.base+"/open/unrecorded", "00")
	byStranger := askFrom(t, "127.0.0.1", g.base+"/open/stranger", "01")
	g.stop()

	if store.service != "sso" || store.secret != "Bearer S3CRET" {
		t.Errorf("spans came from %q with %q", store.service, store.secret)
	}
	request := store.find(t, "the request for /page that was forwarded", func(s *trace.Span) bool {
		return valueOf(s.Attributes, "url.path") == "/page" && valueOf(s.Attributes, "jitgate.outcome") == "forwarded"
	})
	asked := store.within(t, request, "GET")
	if got, want := app.Header.Get("Traceparent"), parent(asked); got != want {
		t.Errorf("the app got traceparent %q, want %q", got, want)
	}
	if request.Name != "GET any" || valueOf(request.Attributes, "http.response.status_code") != "200" || valueOf(asked.Attributes, "http.response.status_code") != "200" || request.ParentSpanId != nil {
		t.Errorf("the request is %v, and asking the app %v", request, asked)
	}
	if !strings.Contains(g.stderr.String(), `"trace_id":"`+hex.EncodeToString(request.TraceId)+`"`) {
		t.Errorf("the log has no trace %x", request.TraceId)
	}
	session := store.within(t, request, "pipeline") // by which Redis is asked for it
	if system, operation := valueOf(session.Attributes, "db.system.name"), valueOf(session.Attributes, "db.operation.name"); system != "redis" || operation != "pipeline" {
		t.Errorf("the span of a command has the system %q and the operation %q", system, operation)
	}
	acs := store.server(t, "/.jitgate/saml/acme/acs")
	store.within(t, acs, "verify response")
	provisioned := store.within(t, acs, "provision user")
	store.find(t, "Redis within provisioning", func(s *trace.Span) bool { return bytes.Equal(s.ParentSpanId, provisioned.SpanId) })

	span := store.server(t, "/open/proxy")
	if hex.EncodeToString(span.TraceId) != theirTrace || hex.EncodeToString(span.ParentSpanId) != theirSpan {
		t.Errorf("from a trusted proxy, the span is %v", span)
	}
	if got := byProxy.Header; got.Get("Traceparent") != parent(store.within(t, span, "GET")) || got.Get("Tracestate") != "theirs=1" {
		t.Errorf("from a trusted proxy, the app got %v", got)
	}
	if got := unrecorded.Header.Get("Traceparent"); !strings.HasPrefix(got, "00-"+theirTrace+"-") || !strings.HasSuffix(got, "-00") || strings.Contains(got, theirSpan) {
		t.Errorf("of what a trusted proxy does not record, the app got %q", got)
	}
	span = store.server(t, "/open/stranger")
	if span.ParentSpanId != nil || hex.EncodeToString(span.TraceId) == theirTrace || len(span.Links) != 1 || hex.EncodeToString(span.Links[0].TraceId) != theirTrace {
		t.Errorf("from a stranger, the span is %v", span)
	}
	if got := byStranger.Header; got.Get("Traceparent") != parent(store.within(t, span, "GET")) || got.Get("Tracestate") != "" {
		t.Errorf("from a stranger, the app got %v", got)
	}
	for _, private := range []string{"ann", "private", "S3CRET", "unrecorded", "127.0.0.2"} {
		if strings.Contains(store.raw.String(), private) {
			t.Errorf("the spans have %q", private)
		}
	}
}

// parent returns the traceparent for what is below a span that is recorded (W3C Trace Context, section 3.2).
func parent(s *trace.Span) string {
	return fmt.Sprintf("00-%x-%x-01", s.TraceId, s.SpanId)
}

// losesSpans signs in at a gateway with such tracing, whose log then has to say that spans
// are lost, and returns how long it took to end.
func losesSpans(t *testing.T, tracing string) time.Duration {
	t.Helper()
	idp := localIdP(t)
	g := newSite(t).start("127.0.0.1", 0, fmt.Sprintf("tracing: {"+tracing+"}\n"+oneIdP, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL))
	introduceSP(t, idp, g.file)
	g.signIn(t)
	begin := time.Now()
	code := g.stop()
	took := time.Since(begin)
	if code != 0 || !strings.Contains(g.stderr.String(), "spans not sent") {
		t.Errorf("exit status %d after %v, and the log is\n%s", code, took, g.stderr.String())
	}
	return took
}

// Without anybody to take spans, requests are answered as ever, the log says so, and the
// gateway ends in time.
func TestTracingNowhere(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	losesSpans(t, fmt.Sprintf("endpoint: %q", closed.URL+"/v1/traces"))
}

// Spans, and the secret that goes along, are sent where the configuration says and nowhere
// else, whatever the environment says and whatever is answered there.
func TestTracingNowhereElse(t *testing.T) {
	t.Setenv("TEST_OTLP", "S3CRET")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked elsewhere, with %q", r.URL, r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	var sent atomic.Pointer[http.Header]
	redirecting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Store(&r.Header)
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(redirecting.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, testenv.SelfSigned("localhost").CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"ENDPOINT": elsewhere.URL, "TRACES_ENDPOINT": elsewhere.URL, "HEADERS": "x=1", "PROTOCOL": "http/json", "COMPRESSION": "gzip",
		"CERTIFICATE": authority, "TIMEOUT": "1",
	} {
		t.Setenv("OTEL_EXPORTER_OTLP_"+name, value)
	}
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "a=b,")
	losesSpans(t, fmt.Sprintf("endpoint: %q, headers: {X-Api-Key: \"env:TEST_OTLP\"}", redirecting.URL+"/v1/traces"))
	if h := sent.Load(); h == nil || h.Get("X-Api-Key") != "S3CRET" || h.Get("X") != "" || h.Get("Content-Type") != "application/x-protobuf" || h.Get("Content-Encoding") != "" {
		t.Errorf("sent was %v", h)
	}
}

// Where whoever takes spans never answers, the gateway ends in time, and says what was lost.
func TestTracingHangs(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(done) })
	if took := losesSpans(t, fmt.Sprintf("endpoint: %q", hanging.URL+"/v1/traces")); took > flushTime+2*time.Second {
		t.Errorf("it ended after %v", took)
	}
}
