package main

import (
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// serveBare is what everything is measured by: net/http's own proxy, with as many
// idle connections as it needs, and pooled buffers. Its arguments are the address
// to listen on and the upstream's URL.
func serveBare(args []string) error {
	if len(args) != 2 {
		return errors.New("want an address and a URL")
	}
	upstream, err := url.Parse(args[1])
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 512},
		BufferPool: new(buffers),
	}
	return http.ListenAndServe(args[0], proxy)
}

// Buffers is a pool of them, as big as those that ReverseProxy makes by itself.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return p[:]
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
