package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/samlsp"
)

// statusGone is what the log has for a visitor who left before the answer.
const statusGone = 499

// An event is what the log will say about one request. It is filled in on the
// way and logged once, at the end.
type event struct {
	id        string // ours, whatever the client sent
	trace     string // ID, "" where nothing is traced
	start     time.Time
	host      string
	path      string // that a proxy asks about; "": that of the request
	app       string
	user      string
	code      string
	outcome   string // for the metrics, where there is no code
	client    string // address
	forwarded string // for X-Forwarded-For
	status    int    // what to log where it is not the status that was sent
	err       error
	body      *requestBody // of the request; nil: it has none
	duplex    bool         // an answer may begin before the end of the body

	forwarding *app // that the request went to
}

// newEvent begins the event of a request.
func (g *Gateway) newEvent(r *http.Request) *event {
	ev := &event{id: newRequestID(), start: g.now(), host: r.Host}
	ev.client, ev.forwarded = g.clientOf(r)
	return ev
}

// result returns what became of a request: a code, or a word of the metrics.
func (ev *event) result() string {
	if ev.forwarding != nil {
		return cmp.Or(ev.code, outcomeForwarded)
	}
	return cmp.Or(ev.code, ev.outcome, outcomeOwn)
}

// newRequestID returns 128 random bits in hex.
func newRequestID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// finish logs the request. It is to be deferred: it catches a panic, which
// http.Server would log in its own way.
func (g *Gateway) finish(ev *event, w *recorder, r *http.Request) {
	panicked := recover()
	if panicked != nil && panicked != http.ErrAbortHandler {
		g.log.Error("panic", zap.String("id", ev.id), zap.Any("panic", panicked), zap.ByteString("stack", debug.Stack()))
		ev.code = codeInternal
		if w.status == 0 {
			panicked = nil
			g.answer(w, r, ev, &problem{status: http.StatusInternalServerError, code: codeInternal})
		}
	}
	if panicked == http.ErrAbortHandler && r.Context().Err() == nil {
		ev.code = codeUpstream // it broke off in the middle of its answer
	} else if panicked == http.ErrAbortHandler {
		ev.status = statusGone
	}
	status := w.status
	switch {
	case ev.status != 0:
		status = ev.status
	case status == 0:
		status = http.StatusOK
	}
	end := g.now()
	g.metrics.count(ev, status, end)
	g.endTrace(r, ev, status)
	g.requests.Info("request", zap.Inline(&line{ev, r, status, w.bytes, end}))
	if panicked != nil {
		panic(http.ErrAbortHandler)
	}
}

// A line is what the log says of a request. As one field it costs less than as many.
type line struct {
	*event
	request *http.Request
	status  int
	bytes   int64
	end     time.Time
}

// MarshalLogObject is what makes it a [zapcore.ObjectMarshaler].
func (l *line) MarshalLogObject(to zapcore.ObjectEncoder) error {
	to.AddString("id", l.id)
	to.AddString("method", l.request.Method)
	to.AddString("host", l.host)
	to.AddString("path", cmp.Or(l.path, l.request.URL.EscapedPath()))
	to.AddString("app", l.app)
	to.AddInt64("status", int64(l.status))
	to.AddInt64("bytes", l.bytes)
	to.AddFloat64("duration_ms", float64(l.end.Sub(l.start).Microseconds())/1000)
	to.AddString("user", l.user)
	to.AddString("code", l.code)
	to.AddString("client", l.client)
	if l.trace != "" {
		to.AddString("trace_id", l.trace)
	}
	if l.err != nil {
		to.AddString("error", l.err.Error())
	}
	return nil
}

// logLogin logs, and counts, what came of a response from an identity provider.
func (g *Gateway) logLogin(ev *event, idp string, outcome provision.Outcome, err error) {
	g.audit(outcome.Events...)
	fields := []zap.Field{
		zap.String("id", ev.id), zap.String("idp", idp), zap.String("directory", outcome.User.Directory),
		zap.String("user", ev.user), zap.Bool("created", outcome.Created), zap.String("client", ev.client),
	}
	if err == nil {
		g.count(idp, "")
		g.metrics.signedIn(idp, outcome)
		g.logins.Info("login", fields...)
		return
	}
	if errors.Is(err, context.Canceled) {
		g.logins.Info("login left", fields...) // nobody is there any more
		return
	}
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = unavailable(err)
	}
	refusal, ok := errors.AsType[*samlsp.Refusal](err)
	g.metrics.failed(idp, p.code, refusal)
	g.count(idp, p.code)
	if ok {
		fields = append(fields, zap.String("check", refusal.Check), zap.String("got", refusal.Got), zap.String("want", refusal.Want))
	}
	if refusal, ok := errors.AsType[*provision.Refusal](err); ok {
		fields = append(fields, zap.String("attribute", refusal.Attribute), zap.String("detail", refusal.Detail))
	}
	g.logins.Warn("login failed", append(fields, zap.String("code", p.code), zap.Error(err))...)
}

// audit writes events of the audit trail to the log.
func (g *Gateway) audit(events ...audit.Event) {
	for _, e := range events {
		g.audits.Info(e.Type, zap.Any("event", e))
	}
}

// trusts reports whether an address is that of a trusted proxy.
func (g *Gateway) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(g.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientOf returns the address of the visitor, and the list for the upstream's
// X-Forwarded-For. Only what trusted proxies say is believed: from the right,
// up to the first address that is not one of theirs.
func (g *Gateway) clientOf(r *http.Request) (client, forwarded string) {
	peer, ok := parseAddr(r.RemoteAddr)
	if !ok {
		return "", ""
	}
	if client = peer.String(); !g.trusts(peer) {
		return client, client
	}
	hops := []string{client}
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(list) {
		if !g.trusts(peer) {
			break
		}
		if peer, ok = parseAddr(strings.TrimSpace(hop)); !ok {
			break
		}
		hops = append(hops, peer.String())
	}
	slices.Reverse(hops)
	return hops[0], strings.Join(hops, ", ")
}

// parseAddr parses an IP address, with or without a port.
func parseAddr(s string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}

// maxHints is how many interim answers of an app go on to the visitor.
const maxHints = 16

// A recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	body   *requestBody  // of the request; nil: it has none
	stall  time.Duration // that a write may take; 0: that is up to the connection
	hints  int           // interim answers
}

func (w *recorder) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols { // an app's, which nobody has looked at yet
		if w.hints++; w.hints > maxHints {
			return
		}
		dropOurCookies(w.Header())
	}
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	var n int
	var err error
	w.stalls(func() { n, err = w.ResponseWriter.Write(p) })
	w.bytes += int64(n)
	w.sent()
	return n, err
}

// FlushError is what http.ResponseController flushes by.
func (w *recorder) FlushError() (err error) {
	w.stalls(func() { err = http.NewResponseController(w.ResponseWriter).Flush() })
	w.sent()
	return err
}

// Unwrap is what http.ResponseController finds Hijack and the like by.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
