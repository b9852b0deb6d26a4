package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/proxy/wire"
)

// upstreams is what all forwarded requests share, whatever the configuration.
type upstreams struct {
	transport *wire.Transport
	special   *transports
	buffers   *bufferPool
	poolLog   *zap.Logger
	ended     context.Context // done when the gateway closes
	end       context.CancelFunc
	sockets   *atomic.Int64 // websockets that are open
	watch     time.Duration // watchEvery, but for tests
}

func newUpstreams(log *zap.Logger) upstreams {
	u := upstreams{
		transport: wire.New(newTransport()),
		special:   &transports{all: make(map[string]*http.Transport)},
		buffers:   new(bufferPool),
		poolLog:   log.Named("upstream"),
		sockets:   new(atomic.Int64),
		watch:     watchEvery,
	}
	u.ended, u.end = context.WithCancel(context.Background())
	return u
}

// newTransport returns how apps are asked.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true, // it is for https alone
		MaxIdleConnsPerHost: 512,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // what the app sends is what the visitor gets

		MaxResponseHeaderBytes: 256 << 10,
	}
}

// transports are those for apps that are asked in another way than most, by what that
// is. They stay when the configuration is read again, with their connections, for as long
// as there is such an app.
type transports struct {
	mu  sync.Mutex
	all map[string]*http.Transport
}

// get returns the transport of a name, which change makes of the ordinary one.
func (t *transports) get(name string, change func(*http.Transport)) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[name] == nil {
		t.all[name] = newTransport()
		change(t.all[name])
	}
	return t.all[name]
}

// keep forgets the transports that no app goes by any more. What is under way goes on,
// and the connections end when nothing has used them for a while.
func (t *transports) keep(apps map[string][]*app) {
	used := make(map[http.RoundTripper]bool)
	for _, onHost := range apps {
		for _, a := range onHost {
			used[a.via] = true
		}
	}
	for _, p := range poolsOf(apps) {
		used[p.via] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, via := range t.all {
		if !used[via] {
			via.CloseIdleConnections()
			delete(t.all, name)
		}
	}
}

// to returns the URL that an app is asked at, and what asks it.
func (u upstreams) to(c config.App) (*url.URL, http.RoundTripper, error) {
	at, via, err := u.one(c)
	if err != nil || len(c.UpstreamHosts) == 0 {
		return at, via, err
	}
	return at, newPool(via, c, at.Scheme, u.poolLog), nil
}

// one is to for an app with one address.
func (u upstreams) one(c config.App) (*url.URL, http.RoundTripper, error) {
	at := c.UpstreamURL
	switch {
	case at.Scheme == "unix":
		via := u.special.get("unix:"+at.Path, func(t *http.Transport) {
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", at.Path)
			}
		})
		return &url.URL{Scheme: "http", Host: "unix"}, via, nil
	case at.Scheme == "h2c":
		via := u.special.get("h2c", func(t *http.Transport) {
			t.Protocols = new(http.Protocols)
			t.Protocols.SetUnencryptedHTTP2(true)
		})
		return &url.URL{Scheme: "http", Host: at.Host}, via, nil
	case c.UpstreamTLS != nil:
		conf, err := c.UpstreamTLS.Config()
		if err != nil {
			return nil, nil, fmt.Errorf("upstream_tls: %w", err)
		}
		via := u.special.get("tls:"+c.UpstreamTLS.Fingerprint(), func(t *http.Transport) { t.TLSClientConfig = conf })
		return at, via, nil
	}
	return at, u.transport, nil
}

// goOn has the apps that take the place of old ones know what those know of their
// addresses. Old may be nil.
func goOn(old *Gateway, apps map[string][]*app) {
	if old == nil {
		return
	}
	known := make(map[string]*pool)
	for _, p := range poolsOf(old.apps) {
		known[p.app] = p
	}
	for _, p := range poolsOf(apps) {
		if before := known[p.app]; before != nil {
			p.inherit(before)
		}
	}
}

// closeIdle closes the connections that are not in use.
func (u upstreams) closeIdle() {
	u.transport.CloseIdleConnections()
	u.special.mu.Lock()
	defer u.special.mu.Unlock()
	for _, t := range u.special.all {
		t.CloseIdleConnections()
	}
}

// A bufferPool holds buffers for copying bodies.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[32 << 10]byte); ok {
		return b[:]
	}
	return make([]byte, 32<<10)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[32 << 10]byte)(b)) }
