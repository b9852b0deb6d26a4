package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A balancer sends visitors to gateways in turn, to those alone whose /readyz is good.
type balancer struct {
	gates []*balanced
	next  atomic.Uint64
}

type balanced struct {
	admin string
	proxy *httputil.ReverseProxy
	ready atomic.Bool
}

// newBalancer makes one that looks every 100 ms.
func newBalancer(t *testing.T, gates ...*replica) *balancer {
	t.Helper()
	b := new(balancer)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, g := range gates {
		target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", g.listen)}
		to := &balanced{admin: g.admin, proxy: &httputil.ReverseProxy{
			Transport: &http.Transport{MaxIdleConnsPerHost: 100},
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.Out.Host = r.In.Host
			},
		}}
		b.gates = append(b.gates, to)
		watching.Go(func() { to.watch(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	return b
}

// watch asks whether the gateway is ready until ctx ends.
func (g *balanced) watch(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		g.ready.Store(answers(g.admin+"/readyz", http.StatusOK) == nil)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for range b.gates {
		g := b.gates[b.next.Add(1)%uint64(len(b.gates))]
		if g.ready.Load() {
			g.proxy.ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "no gateway is ready", http.StatusBadGateway)
}

// Gateways that are restarted one after the other, behind a balancer that watches
// /readyz, fail no request and sign nobody out.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	idp, site, store := localIdP(t), newSite(t), testenv.RedisServer(t)
	front := testenv.FreePort(t)
	var gates []*replica
	for range 3 {
		rest := "drain: 1s\n" + fmt.Sprintf(oneIdP, fmt.Sprintf(`{addresses: [%q]}`, store.Addr), idp.EntityID(), echoUpstream(t).URL)
		gates = append(gates, site.start("127.0.0.1", front, rest))
	}
	introduceSP(t, idp, gates[0].file)
	server := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", front), Handler: newBalancer(t, gates...)}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	base := fmt.Sprintf("http://127.0.0.1:%d", front)
	b := testenv.NewBrowser(t, nil)
	testenv.Eventually(t, func() error {
		page, err := b.Login(base+"/page", "", "ann", "ann")
		if err == nil && page.Status != http.StatusOK {
			err = fmt.Errorf("signing in: %d", page.Status)
		}
		return err
	})
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var asked atomic.Int64
	for range 4 {
		asking.Go(func() { askAgain(ctx, t, base, b, &asked) })
	}
	for _, g := range gates {
		before := asked.Load()
		if code := g.stop(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		g.running = start(t, "serve", "-c", g.file)
		testenv.Eventually(t, func() error { return answers(g.admin+"/readyz", http.StatusOK) })
		if asked.Load() < before+10 {
			t.Error("hardly anything was asked meanwhile")
		}
	}
	cancel()
	asking.Wait()
}

// askAgain asks for a page as a signed-in visitor until ctx ends.
func askAgain(ctx context.Context, t *testing.T, base string, b *testenv.Browser, asked *atomic.Int64) {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/page", nil)
		if err != nil {
			t.Error(err)
			return
		}
		for _, c := range b.Cookies(base) {
			req.AddCookie(c)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || err != nil {
			t.Errorf("%d, %v: %.200s", res.StatusCode, err, body)
			return
		}
		asked.Add(1)
	}
}
