package main

import (
	"context"
	"crypto/x509"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jitgate/jitgate/proxy"
)

// TestWatchCertificates goes through two months by a clock of its own, with
// certificates that come and go.
func TestWatchCertificates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		start := time.Now()
		certificate := func(name string, after time.Duration) proxy.Certificate {
			return proxy.Certificate{
				Certificate: &x509.Certificate{Raw: []byte(name), NotAfter: start.Add(after)},
				Use:         proxy.UseIdP, IdP: name,
			}
		}
		soonest, later := certificate("soon", 10*day-time.Hour), certificate("later", 42*day)
		var list atomic.Pointer[[]proxy.Certificate]
		use := func(now ...proxy.Certificate) { list.Store(&now) }
		use(soonest, later, certificate("never", 400*day))
		core, logs := observer.New(zap.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watchCertificates(ctx, func() []proxy.Certificate { return *list.Load() }, zap.New(core))
		}()
		// want looks at the warnings since it was asked last: of whom, and how many.
		want := func(when, text string, want map[string]int) {
			t.Helper()
			synctest.Wait()
			got := make(map[string]int)
			for _, e := range logs.TakeAll() {
				if e.Message != text || e.Level != zap.WarnLevel {
					t.Errorf("%s: %s %q, want %q", when, e.Level, e.Message, text)
				}
				got[e.ContextMap()["idp"].(string)]++
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: warned of %v, want %v", when, got, want)
			}
		}
		const soon, ended = "certificate ends soon", "certificate has ended"
		time.Sleep(time.Second)
		want("at the start", soon, map[string]int{"soon": 1})
		use(soonest, later, certificate("new", 20*day))
		time.Sleep(time.Minute)
		want("when one is new", soon, map[string]int{"new": 1})
		time.Sleep(5*day - time.Hour)
		want("after five days", soon, map[string]int{"soon": 4, "new": 4})
		use(later, soonest)
		time.Sleep(4*day + 2*time.Hour)
		want("without the new one", soon, map[string]int{"soon": 5})
		time.Sleep(day)
		want("after its end", ended, map[string]int{"soon": 1})
		use(later)
		time.Sleep(5 * day)
		want("when nothing ends soon", soon, map[string]int{"later": 4})
		cancel()
		<-done
	})
}

// What an authority renews by itself is late when it has not been renewed.
func TestEndsSoon(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Now()
	for _, c := range []struct {
		use         string
		whole, left time.Duration
		want        bool
	}{
		{proxy.UseTLS, 90 * day, 29 * day, true},
		{proxy.UseTLS, 90 * day, 31 * day, false},
		{proxy.UseACME, 90 * day, 23 * day, false},
		{proxy.UseACME, 90 * day, 22 * day, true},
		{proxy.UseACME, 6 * day, 2 * day, false},
		{proxy.UseACME, 6 * day, day, true},
	} {
		end := now.Add(c.left)
		of := proxy.Certificate{Certificate: &x509.Certificate{NotBefore: end.Add(-c.whole), NotAfter: end}, Use: c.use}
		if got := endsSoon(of, now); got != c.want {
			t.Errorf("%s of %v with %v left ends soon: %v, want %v", c.use, c.whole, c.left, got, c.want)
		}
	}
}
