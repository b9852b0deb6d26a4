package proxy

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/samlsp"
)

// What a [Certificate] is for.
const (
	UseIdP    = "idp_signing"     // an identity provider signs responses with it
	UseSigner = "metadata_signer" // an identity provider's metadata has to be signed with it
	UseSP     = "sp"              // identity providers know us by it
	UseTLS    = "tls"             // visitors' browsers know us by it
	UseACME   = "acme"            // they do too, and an authority renews it
)

// A Certificate is one that sign-ins rely on.
type Certificate struct {
	*x509.Certificate
	Use string // one of those above
	IdP string // the name of the identity provider; "" for our own
}

// Certificates returns those of the configuration in use, and of the metadata
// that is loaded.
func (g *Gateway) Certificates() []Certificate {
	g = g.newest.Load()
	var list []Certificate
	add := func(use, idp string, certificates ...*x509.Certificate) {
		for _, c := range certificates {
			if c != nil {
				list = append(list, Certificate{c, use, idp})
			}
		}
	}
	for _, pair := range g.pairs {
		add(UseSP, "", pair.Certificate)
	}
	if g.tls != nil {
		list = append(list, g.tls()...)
	}
	for name, idp := range g.idps {
		s := idp.Status()
		add(UseIdP, name, s.Certificates...)
		add(UseSigner, name, s.Signers...)
	}
	slices.SortStableFunc(list, func(a, b Certificate) int {
		return cmp.Or(cmp.Compare(a.IdP, b.IdP), cmp.Compare(a.Use, b.Use), a.NotAfter.Compare(b.NotAfter))
	})
	return list
}

// metrics are what the monitoring is told. Every label has a closed set of
// values: names of the configuration, and words of our own. Nothing that a
// client sends is a label, or each could make new series without end.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec // of those that were forwarded
	logins   *prometheus.CounterVec
	failures *prometheus.CounterVec // of logins
	users    *prometheus.CounterVec // that were created and updated
	offset   *prometheus.GaugeVec   // of identity providers' clocks
	redis    prometheus.Histogram
	redisErr prometheus.Counter
}

// newMetrics returns metrics of the gateway that is newest at each time.
func newMetrics(newest *atomic.Pointer[Gateway]) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jitgate_http_requests_total",
			Help: "Requests of visitors, by app and by what became of them: forwarded, allowed (another proxy forwards it), own (a page of the gateway), sign_in (sent to sign in), or an error code.",
		}, []string{"app", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "jitgate_http_request_duration_seconds",
			Help:    "Time from the head of a request to the end of the app's answer, without websockets.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"app"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jitgate_logins_total",
			Help: "Responses of an identity provider that signed somebody in.",
		}, []string{"idp"}),
		users: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jitgate_provisioned_users_total",
			Help: "Users that a login created, or whose attributes it changed.",
		}, []string{"idp", "change"}),
		offset: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "jitgate_idp_clock_offset_seconds",
			Help: "How far the identity provider's clock was ahead of ours at its last login, less the time that its response took.",
		}, []string{"idp"}),
		redis: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "jitgate_redis_duration_seconds",
			Help:    "Time that commands, and pipelines of them, took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
		redisErr: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "jitgate_redis_errors_total",
			Help: "Commands, and pipelines of them, that came to nothing.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jitgate_login_failures_total",
			Help: "Responses of an identity provider that signed nobody in, by error code and, of saml_invalid and saml_replayed, by the check that failed.",
		}, []string{"idp", "code", "check"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.logins, m.failures, m.users, m.offset, m.redis, m.redisErr, collector{newest},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

// measure has an app's requests counted without looking for their series each time.
func (m *metrics) measure(a *app) {
	a.forwards, a.seconds = m.requests.WithLabelValues(a.name, outcomeForwarded), m.seconds.WithLabelValues(a.name)
}

// What becomes of requests, besides error codes.
const (
	outcomeForwarded = "forwarded"
	outcomeAllowed   = "allowed"
	outcomeOwn       = "own"
	outcomeSignIn    = "sign_in"
)

// count counts a request that is over.
func (m *metrics) count(ev *event, status int, end time.Time) {
	if ev.forwarding != nil && ev.code == "" {
		ev.forwarding.forwards.Inc()
		if status != http.StatusSwitchingProtocols {
			ev.forwarding.seconds.Observe(end.Sub(ev.start).Seconds())
		}
		return
	}
	m.requests.WithLabelValues(ev.app, ev.result()).Inc()
}

// signedIn counts a login, and what it changed.
func (m *metrics) signedIn(idp string, outcome provision.Outcome) {
	m.logins.WithLabelValues(idp).Inc()
	for _, e := range outcome.Events {
		switch e.Type {
		case audit.UserCreated:
			m.users.WithLabelValues(idp, "created").Inc()
		case audit.UserUpdated:
			m.users.WithLabelValues(idp, "updated").Inc()
		}
	}
}

// A redisMeter measures what Redis is asked, and has it in the traces of requests: the
// names of commands, not the keys.
type redisMeter struct{ *metrics }

// DialHook, ProcessHook and ProcessPipelineHook are what makes it a [redis.Hook].
func (m redisMeter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m redisMeter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, span := beginCommand(ctx, cmd.Name())
		begin := time.Now()
		err := next(ctx, cmd)
		m.done(span, begin, err)
		return err
	}
}

func (m redisMeter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, span := beginCommand(ctx, "pipeline")
		begin := time.Now()
		err := next(ctx, cmds)
		m.done(span, begin, err)
		return err
	}
}

// done notes what came of a question. That there is nothing is an answer; so is that a
// script has to be sent whole, and that a server does not know what it is told when a
// connection begins.
func (m redisMeter) done(span trace.Span, begin time.Time, err error) {
	m.redis.Observe(time.Since(begin).Seconds())
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, context.Canceled), redis.HasErrorPrefix(err, "NOSCRIPT"), redis.HasErrorPrefix(err, "unknown"):
		err = nil
	default:
		m.redisErr.Inc()
	}
	endSpan(span, err != nil)
}

// failed counts a login that came to nothing.
func (m *metrics) failed(idp, code string, refusal *samlsp.Refusal) {
	check := ""
	if refusal != nil {
		check = refusal.Check
	}
	m.failures.WithLabelValues(idp, code, check).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// A collector tells what certificates and metadata are in use when it is asked.
type collector struct{ newest *atomic.Pointer[Gateway] }

var (
	certificateEnds = prometheus.NewDesc("jitgate_certificate_expiry_timestamp_seconds",
		"End of the certificate that ends first, or last, of those for one use.", []string{"use", "idp", "which"}, nil)
	metadataUsable = prometheus.NewDesc("jitgate_metadata_usable",
		"1 while there is metadata of the identity provider that is not past its validUntil, else 0 and nobody can sign in.", []string{"idp"}, nil)
	metadataLoaded = prometheus.NewDesc("jitgate_metadata_last_success_timestamp_seconds",
		"When the identity provider's metadata was last read and found good.", []string{"idp"}, nil)
	metadataEnds = prometheus.NewDesc("jitgate_metadata_valid_until_timestamp_seconds",
		"The validUntil of the identity provider's metadata, if it has one.", []string{"idp"}, nil)
	metadataFailures = prometheus.NewDesc("jitgate_metadata_refresh_failures_total",
		"Times that the identity provider's metadata could not be read, or was refused.", []string{"idp"}, nil)
	redisUp = prometheus.NewDesc("jitgate_redis_up",
		"1 while Redis answers and changes that other replicas make are heard of, else 0 and each request asks Redis.", nil, nil)
	upstreamUp = prometheus.NewDesc("jitgate_upstream_up",
		"1 while one of an app's several upstreams gets requests, else 0: no connection could be made to it, or its health is not good.", []string{"app", "upstream"}, nil)
	sessionsRemembered = prometheus.NewDesc("jitgate_remembered_sessions",
		"Sessions that this process remembers.", nil, nil)
	sessionsBytes = prometheus.NewDesc("jitgate_remembered_sessions_bytes",
		"About what they take in memory.", nil, nil)
	sessionLookups = prometheus.NewDesc("jitgate_session_lookups_total",
		"Requests with a session cookie, by where it was looked up: remembered, asked of Redis, or grace while Redis did not answer.", []string{"from"}, nil)
)

// collect tells what this process remembers, and whether it may.
func (m *memory) collect(to chan<- prometheus.Metric) {
	up := 0.0
	if _, current := m.feed.Current(); current {
		up = 1
	}
	entries, bytes := m.guests.Size()
	for desc, value := range map[*prometheus.Desc]float64{redisUp: up, sessionsRemembered: float64(entries), sessionsBytes: float64(bytes)} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	for from, n := range map[string]uint64{"memory": m.hits.Load(), "redis": m.misses.Load(), "grace": m.graces.Load()} {
		to <- prometheus.MustNewConstMetric(sessionLookups, prometheus.CounterValue, float64(n), from)
	}
}

// collectUpstreams tells which addresses of apps with several of them are up.
func (g *Gateway) collectUpstreams(to chan<- prometheus.Metric) {
	for _, p := range poolsOf(g.apps) {
		for _, a := range p.addresses {
			up := 0.0
			if a.isUp(p.now()) {
				up = 1
			}
			to <- prometheus.MustNewConstMetric(upstreamUp, prometheus.GaugeValue, up, p.app, a.host)
		}
	}
}

// Describe and Collect are what makes it a [prometheus.Collector].
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{certificateEnds, metadataUsable, metadataLoaded, metadataEnds, metadataFailures, redisUp, upstreamUp, sessionsRemembered, sessionsBytes, sessionLookups} {
		to <- d
	}
}

func (c collector) Collect(to chan<- prometheus.Metric) {
	g := c.newest.Load()
	g.memory.collect(to)
	g.collectUpstreams(to)
	for name, idp := range g.idps {
		s := idp.Status()
		usable := 0.0
		if idp.Ready() == nil {
			usable = 1
		}
		to <- prometheus.MustNewConstMetric(metadataUsable, prometheus.GaugeValue, usable, name)
		to <- prometheus.MustNewConstMetric(metadataFailures, prometheus.CounterValue, float64(s.Failed), name)
		if !s.Loaded.IsZero() {
			to <- prometheus.MustNewConstMetric(metadataLoaded, prometheus.GaugeValue, unix(s.Loaded), name)
		}
		if !s.ValidUntil.IsZero() {
			to <- prometheus.MustNewConstMetric(metadataEnds, prometheus.GaugeValue, unix(s.ValidUntil), name)
		}
	}
	// Those for one use are side by side, in the order of their ends.
	list := g.Certificates()
	same := func(a, b Certificate) bool { return a.Use == b.Use && a.IdP == b.IdP }
	for i, certificate := range list {
		if i == 0 || !same(list[i-1], certificate) {
			to <- certificateEnd(certificate, "first")
		}
		if i == len(list)-1 || !same(certificate, list[i+1]) {
			to <- certificateEnd(certificate, "last")
		}
	}
}

func certificateEnd(c Certificate, which string) prometheus.Metric {
	return prometheus.MustNewConstMetric(certificateEnds, prometheus.GaugeValue, unix(c.NotAfter), c.Use, c.IdP, which)
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
