package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// BenchmarkForward compares the gateway with a bare ReverseProxy, both asked in
// the process, with a body of 1 KiB or more from a real upstream: a public path, a session
// that is remembered, and one that the store is asked for each time.
func BenchmarkForward(b *testing.B) {
	address := testenv.Embedded(b).Addr()
	s := newSite(b, testenv.Client(b, address), setup{})
	small, large := strings.Repeat("x", 1<<10), strings.Repeat("x", 100<<10)
	s.upstream.answer(func(w http.ResponseWriter, r *http.Request) {
		body := small
		if strings.HasSuffix(r.URL.Path, "/large") {
			body = large
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		io.WriteString(w, body)
	})
	cookie := s.cookie(s.signedIn("ann", s.url("wiki", "/")))
	upstream, err := url.Parse(s.upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	bare := &httputil.ReverseProxy{
		Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(upstream); pr.SetXForwarded() },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 512},
		BufferPool: s.buffers,
	}
	for _, bench := range []struct {
		name, path string
		handler    http.Handler
	}{
		{"bare", "/x", bare},
		{"public", "/public/x", s.Gateway},
		{"bare, 100 KiB", "/large", bare},
		{"public, 100 KiB", "/public/large", s.Gateway},
		{"session", "/x", s.remembering(address).Gateway},
		{"session from the store", "/x", s.Gateway},
	} {
		b.Run(bench.name, func(b *testing.B) {
			server := httptest.NewServer(bench.handler)
			defer server.Close()
			req, err := http.NewRequest("GET", server.URL+bench.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Host = "wiki.example.com"
			req.Header.Set("Cookie", cookie)
			b.ReportAllocs()
			for b.Loop() {
				res, err := http.DefaultTransport.RoundTrip(req)
				if err != nil || res.StatusCode != 200 {
					b.Fatal(res, err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}

// BenchmarkSession is what it costs to find out who sent a request.
func BenchmarkSession(b *testing.B) {
	s := newSite(b, testenv.Client(b, testenv.Embedded(b).Addr()), setup{})
	r := httptest.NewRequest("GET", "/x", nil)
	r.Header.Set("Cookie", s.cookie(s.signedIn("ann", s.url("wiki", "/"))))
	wiki, _ := find(s.apps["wiki.example.com"], "/x")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := s.guest(r, "wiki.example.com", wiki); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
