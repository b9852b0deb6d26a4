package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// base returns what New builds on, as the gateway has it.
func base() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// newTransport returns a transport whose connections are closed when the test ends.
func newTransport(t testing.TB) *Transport {
	tr := New(base())
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// A peer is a server that says what a test has it say.
type peer struct {
	net.Listener
	connections atomic.Int64
	serving     sync.WaitGroup
}

// newPeer has serve answer on each connection, the n-th from 1 on.
func newPeer(t testing.TB, serve func(n int64, c net.Conn, in *bufio.Reader)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l}
	p.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := p.connections.Add(1)
			p.serving.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.serving.Wait()
	})
	return p
}

// says returns what serves each request on a connection with the same bytes.
func says(answer string) func(int64, net.Conn, *bufio.Reader) {
	return func(_ int64, c net.Conn, in *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

func (p *peer) url() string { return "http://" + p.Addr().String() + "/" }

func get(t testing.TB, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An answer is all that a caller gets to see of one.
type answer struct {
	status  string
	header  http.Header
	length  int64
	body    string
	trailer http.Header
	interim []string
	failed  bool // before or within the body
}

func (a answer) String() string {
	return fmt.Sprintf("%q %v %d %q %v %v failed=%v", a.status, a.header, a.length, a.body, a.trailer, a.interim, a.failed)
}

// ask returns what a transport makes of a request.
func ask(rt http.RoundTripper, r *http.Request) (a answer, err error) {
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		a.interim = append(a.interim, fmt.Sprint(code, h))
		return nil
	}}
	res, err := rt.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		a.failed = true
		return a, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	a.status, a.header, a.length, a.body, a.trailer, a.failed = res.Status, res.Header, res.ContentLength, string(body), res.Trailer, err != nil
	return a, err
}

// Whatever an app says, it means the same to a caller as with http.Transport.
func TestAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for name, said := range map[string]string{
		"empty":                     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"short":                     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello",
		"long":                      "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long,
		"chunked":                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n",
		"trailer":                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\nX-Other: 6\r\n\r\n",
		"to the end":                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
		"to the end, unsaid":        "HTTP/1.1 200 OK\r\n\r\nhello",
		"HTTP/1.0":                  "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.0 kept":             "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
		"204":                       "HTTP/1.1 204 No Content\r\n\r\n",
		"304":                       "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 7\r\n\r\n",
		"304 with a body":           "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
		"early hints":               "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"continue":                  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"processing":                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
		"cut in the head":           "HTTP/1.1 200 OK\r\nContent-Len",
		"cut in the body":           "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"cut in a chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
		"cut before the last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"cut after interim":         "HTTP/1.1 103 Early Hints\r\n\r\n",
		"nothing":                   "",
		"not HTTP":                  "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"bad length":                "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
		"negative length":           "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
		"two lengths":               "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"the same length twice":     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"length and chunks":         "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"bad chunk":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
		"unknown coding":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"folded":                    "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok",
		"space in a name":           "HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok",
		"no colon":                  "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 2\r\n\r\nok",
		"bare line feeds":           "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"status 99":                 "HTTP/1.1 099 Early\r\nContent-Length: 2\r\n\r\nok",
		"no reason":                 "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/2.0":                  "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
			t.Run(name+"/"+method, func(t *testing.T) {
				t.Parallel()
				p := newPeer(t, func(_ int64, c net.Conn, in *bufio.Reader) {
					if _, err := http.ReadRequest(in); err == nil {
						io.WriteString(c, said)
					}
				})
				ours, ourErr := ask(newTransport(t), get(t, method, p.url()))
				std := base()
				std.DisableKeepAlives = true // it logs what it does not expect
				theirs, theirErr := ask(std, get(t, method, p.url()))
				if ours.String() != theirs.String() {
					t.Errorf("wire: %v, %v\nhttp: %v, %v", ours, ourErr, theirs, theirErr)
				}
			})
		}
	}
}

// FuzzAnswers finds bytes by which an app would mean something else to us than to
// http.Transport.
func FuzzAnswers(f *testing.F) {
	for _, said := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
	} {
		f.Add([]byte(said))
	}
	var said atomic.Pointer[[]byte]
	p := newPeer(f, func(_ int64, c net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			c.Write(*said.Load())
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte(" 101")) {
			t.Skip() // told apart below
		}
		said.Store(&b)
		ours, ourErr := ask(newTransport(t), get(t, http.MethodGet, p.url()))
		std := base()
		std.DisableKeepAlives = true // it logs what it does not expect
		theirs, theirErr := ask(std, get(t, http.MethodGet, p.url()))
		if ours.String() != theirs.String() {
			t.Errorf("%q\nwire: %v, %v\nhttp: %v, %v", b, ours, ourErr, theirs, theirErr)
		}
	})
}

// An app gets the same request, line by line but for the order of the headers.
func TestRequests(t *testing.T) {
	t.Parallel()
	heads := make(chan string, 1)
	p := newPeer(t, func(_ int64, c net.Conn, in *bufio.Reader) {
		for {
			var head strings.Builder
			for !strings.HasSuffix(head.String(), "\r\n\r\n") {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				head.WriteString(line)
			}
			heads <- head.String()
			io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	for name, change := range map[string]func(*http.Request){
		"plain":        func(r *http.Request) {},
		"query":        func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/a b/ü", "x=1&&y=%zz;z" },
		"raw path":     func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a'b", "/a%27b" },
		"empty path":   func(r *http.Request) { r.URL.Path = "" },
		"only a query": func(r *http.Request) { r.URL.Path, r.URL.ForceQuery = "", true },
		"host":         func(r *http.Request) { r.Host = "wiki.example.com:8443" },
		"IPv6 host":    func(r *http.Request) { r.Host = "[::1]:8443" },
		"head":         func(r *http.Request) { r.Method = http.MethodHead },
		"options":      func(r *http.Request) { r.Method = http.MethodOptions },
		"headers": func(r *http.Request) {
			r.Header = http.Header{"User-Agent": {"test"}, "X-Many": {"a", "b", ""}, "x-lower": {"c"}, "X-None": nil, "Cookie": {"a=b; c=d"}, "X-Utf8": {"Jürgen"}, "X-Tab": {"a\tb"}}
		},
		"no agent":         func(r *http.Request) { r.Header["User-Agent"] = []string{""} },
		"agent":            func(r *http.Request) { r.Header["User-Agent"] = []string{"Mozilla/5.0"} },
		"what is not sent": func(r *http.Request) { r.Header["Host"], r.Header["Content-Length"] = []string{"x"}, []string{"5"} },
		"empty body":       func(r *http.Request) { r.Body = http.NoBody },
	} {
		t.Run(name, func(t *testing.T) {
			request := func() *http.Request {
				r := get(t, http.MethodGet, p.url())
				r.Header["User-Agent"] = []string{"test"}
				change(r)
				return r
			}
			if !isOurs(request()) {
				t.Fatal("left to http.Transport")
			}
			std := base()
			defer std.CloseIdleConnections()
			var got [2][]string
			for i, rt := range []http.RoundTripper{newTransport(t), std} {
				if _, err := ask(rt, request()); err != nil {
					t.Fatal(err)
				}
				lines := strings.Split(<-heads, "\r\n")
				slices.Sort(lines[1:])
				got[i] = lines
			}
			if !slices.Equal(got[0], got[1]) {
				t.Errorf("wire: %q\nhttp: %q", got[0], got[1])
			}
		})
	}
}

// Nothing that is not a header gets among the headers.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(_ int64, _ net.Conn, in *bufio.Reader) {
		if b, _ := io.ReadAll(in); len(b) > 0 {
			t.Errorf("sent %q", b)
		}
	})
	for name, change := range map[string]func(*http.Request){
		"line end in a value": func(r *http.Request) { r.Header["X-A"] = []string{"a\r\nX-Forwarded-User: root"} },
		"line feed":           func(r *http.Request) { r.Header["X-A"] = []string{"a\nX-Forwarded-User: root"} },
		"NUL":                 func(r *http.Request) { r.Header["X-A"] = []string{"a\x00"} },
		"DEL":                 func(r *http.Request) { r.Header["X-A"] = []string{"a\x7f"} },
		"line end in a name":  func(r *http.Request) { r.Header["X-A: b\r\nX-B"] = []string{"a"} },
		"space in a name":     func(r *http.Request) { r.Header["X A"] = []string{"a"} },
		"colon in a name":     func(r *http.Request) { r.Header["X-A:"] = []string{"a"} },
		"empty name":          func(r *http.Request) { r.Header[""] = []string{"a"} },
		"no ASCII in a name":  func(r *http.Request) { r.Header["X-Ä"] = []string{"a"} },
		"space in the query":  func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX: y" },
		"NUL in the query":    func(r *http.Request) { r.URL.RawQuery = "a\x00" },
	} {
		t.Run(name, func(t *testing.T) {
			r := get(t, http.MethodGet, p.url())
			change(r)
			if _, err := ask(newTransport(t), r); err == nil {
				t.Error("sent")
			}
		})
	}
}

// What it does not send itself is sent all the same.
func TestOthers(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Method, r.TLS != nil, string(body))
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	std := base()
	std.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	tr := New(std)
	t.Cleanup(tr.CloseIdleConnections)
	for _, test := range []struct{ method, url, body, want string }{
		{"GET", plain.URL, "", "GETfalse"},
		{"GET", plain.URL, "body", "GETfalsebody"},
		{"POST", plain.URL, "body", "POSTfalsebody"},
		{"POST", plain.URL, "", "POSTfalse"},
		{"DELETE", plain.URL, "", "DELETEfalse"},
		{"GET", secure.URL, "", "GETtrue"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, test.url, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := ask(tr, r); err != nil || a.body != test.want {
			t.Errorf("%s %s %q: %q, %v, want %q", test.method, test.url, test.body, a.body, err, test.want)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"websocket": func(r *http.Request) {
			r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		},
		"close":    func(r *http.Request) { r.Close = true },
		"trailer":  func(r *http.Request) { r.Trailer = http.Header{"X": nil} },
		"chunked":  func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"IDN":      func(r *http.Request) { r.Host = "bücher.example" },
		"zone":     func(r *http.Request) { r.URL.Host = "[fe80::1%25lo]:80" },
		"no host":  func(r *http.Request) { r.Host = "a b" },
		"line end": func(r *http.Request) { r.Host = "a\r\nX: y" },
		"opaque":   func(r *http.Request) { r.URL.Opaque = "//x/y" },
	} {
		r := get(t, http.MethodGet, plain.URL)
		if change(r); isOurs(r) {
			t.Errorf("%s: not left to http.Transport", name)
		}
	}
}

// One connection serves one request after the other, where what it says can be told
// apart, and no other does.
func TestReuse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, said  string
		connections int64 // for three requests
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1},
		{"trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", 1},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 1},
		{"HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", 1},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 3},
		{"close without a body", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", 3},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 3},
		{"more than it said", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 3},
		{"more than nothing", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 3},
		{"a byte more", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\n", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, tr := newPeer(t, says(test.said)), newTransport(t)
			for range 3 {
				if a, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil || a.body == "evil" {
					t.Fatal(a, err)
				}
			}
			if got := p.connections.Load(); got != test.connections {
				t.Errorf("%d connections, want %d", got, test.connections)
			}
		})
	}
}

// What an app says while nobody has asked is no answer to the next request.
func TestUnasked(t *testing.T) {
	t.Parallel()
	said := make(chan struct{})
	p := newPeer(t, func(n int64, c net.Conn, in *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+strconv.FormatInt(n, 10))
			if n == 1 {
				<-said
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				said <- struct{}{}
			}
		}
	})
	tr := newTransport(t)
	if a, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil || a.body != "1" {
		t.Fatal(a, err)
	}
	said <- struct{}{}
	<-said // on loopback, what was written can be read
	if a, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil || a.body != "2" {
		t.Error(a, err)
	}
}

// A connection that the app has closed meanwhile costs nobody an answer, whether it
// shows before the next request or on it.
func TestStale(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		resets  bool
		byFirst bool // reads the next request before it closes
	}{{name: "closed"}, {name: "reset", resets: true}, {name: "closed on the request", byFirst: true}, {name: "reset on the request", resets: true, byFirst: true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan struct{})
			p := newPeer(t, func(n int64, c net.Conn, in *bufio.Reader) {
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
					if n > 1 {
						continue
					}
					if test.byFirst {
						if _, err := http.ReadRequest(in); err != nil {
							t.Error(err)
						}
					}
					if test.resets {
						c.(*net.TCPConn).SetLinger(0)
					}
					c.Close()
					close(closed)
					return
				}
			})
			tr := newTransport(t)
			if a, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil || a.body != "1" {
				t.Fatal(a, err)
			}
			if !test.byFirst {
				<-closed
			}
			if a, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil || a.body != "2" {
				t.Error(a, err)
			}
		})
	}
}

// A request is sent twice only if a connection was used again and said nothing.
func TestRepeats(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		good int64 // requests on the first connection that are answered
		half string
		want int64 // requests that the app gets in all
	}{
		{"never answered", 0, "", 1},
		{"half an answer at first", 0, "HTTP/1.1 2", 1},
		{"half an answer later", 1, "HTTP/1.1 2", 2},
		{"no answer later", 1, "", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			p := newPeer(t, func(_ int64, c net.Conn, in *bufio.Reader) {
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if requests.Add(1) > test.good {
						io.WriteString(c, test.half)
						return
					}
					io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
			tr := newTransport(t)
			for range test.good {
				if _, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil {
					t.Fatal(err)
				}
			}
			if a, err := ask(tr, get(t, http.MethodGet, p.url())); err == nil {
				t.Error(a)
			}
			if got := requests.Load(); got != test.want {
				t.Errorf("%d requests, want %d", got, test.want)
			}
		})
	}
}

// Whoever gives up gets the reason, at once, and the app sees the connection end.
func TestCancel(t *testing.T) {
	t.Parallel()
	reason := errors.New("the reason")
	for _, test := range []struct{ name, said string }{
		{"before the answer", ""},
		{"in the head", "HTTP/1.1 200 OK\r\nX-A: "},
		{"after an interim answer", "HTTP/1.1 103 Early Hints\r\n\r\n"},
		{"in the body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
		{"in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"},
		{"in a body without end", "HTTP/1.1 200 OK\r\n\r\nhello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			ended := make(chan struct{})
			p := newPeer(t, func(_ int64, c net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err != nil {
					t.Error(err)
				}
				io.WriteString(c, test.said)
				cancel(reason)
				io.Copy(io.Discard, c)
				close(ended)
			})
			tr := newTransport(t)
			if a, err := ask(tr, get(t, http.MethodGet, p.url()).WithContext(ctx)); !errors.Is(err, reason) {
				t.Errorf("%v, %v, want %v", a, err, reason)
			}
			<-ended
			if _, err := ask(tr, get(t, http.MethodGet, p.url()).WithContext(ctx)); !errors.Is(err, reason) || p.connections.Load() != 1 {
				t.Errorf("afterwards: %v, %d connections", err, p.connections.Load())
			}
		})
	}
}

// A context that is done after the answer does not close what serves others by then.
func TestCancelLater(t *testing.T) {
	t.Parallel()
	p, tr := newPeer(t, says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")), newTransport(t)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		a, err := ask(tr, get(t, http.MethodGet, p.url()).WithContext(ctx))
		cancel()
		if err != nil || a.body != "hello" {
			t.Fatal(a, err)
		}
	}
	if got := p.connections.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

// What was not read to the end is not left for the next request.
func TestCloseEarly(t *testing.T) {
	t.Parallel()
	p, tr := newPeer(t, says("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000))), newTransport(t)
	for range 3 {
		res, err := tr.RoundTrip(get(t, http.MethodGet, p.url()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if n, err := res.Body.Read(make([]byte, 10)); n > 0 && err == nil {
			if _, err = io.Copy(io.Discard, res.Body); err == nil {
				t.Error("read to the end after Close")
			}
		}
		res.Body.Close()
	}
	if got := p.connections.Load(); got != 3 {
		t.Errorf("%d connections, want 3", got)
	}
}

// An app cannot fill the memory with heads, one or many.
func TestLongHeads(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"one line":   "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"many lines": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: x\r\n", 1<<17) + "\r\n",
		"interim":    strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1<<16) + "HTTP/1.1 204 No Content\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, tr := newPeer(t, says(said)), newTransport(t)
			if a, err := ask(tr, get(t, http.MethodGet, p.url())); err == nil {
				t.Error(a.status)
			}
		})
	}
	p, tr := newPeer(t, says("HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("x", 60<<10)+"\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 200_000))), newTransport(t)
	for range 2 { // each has all of the room
		if a, err := ask(tr, get(t, http.MethodGet, p.url())); err != nil || len(a.body) != 200_000 {
			t.Error(len(a.body), err)
		}
	}
}

// Nobody asked for another protocol, so that what follows is not HTTP is not believed.
func TestSwitch(t *testing.T) {
	t.Parallel()
	p, tr := newPeer(t, says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")), newTransport(t)
	if a, err := ask(tr, get(t, http.MethodGet, p.url())); err == nil {
		t.Error(a)
	}
}

// Many at once each get their own answer.
func TestMany(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		switch n % 5 {
		case 0:
			w.Header().Set("Connection", "close")
		case 1:
			w.(http.Flusher).Flush()
		case 2:
			w.Header().Set("Link", "</x>")
			w.WriteHeader(http.StatusEarlyHints)
		}
		io.WriteString(w, strings.Repeat(r.URL.Query().Get("n")+";", 1+n%500))
	}))
	t.Cleanup(server.Close)
	tr := newTransport(t)
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := range 100 {
				n := worker*1000 + i
				r := get(t, http.MethodGet, server.URL+"/?n="+strconv.Itoa(n))
				if n%7 == 0 { // some give up
					ctx, cancel := context.WithCancel(r.Context())
					time.AfterFunc(time.Duration(n%3)*100*time.Microsecond, cancel)
					ask(tr, r.WithContext(ctx))
					continue
				}
				if a, err := ask(tr, r); err != nil || a.body != strings.Repeat(strconv.Itoa(n)+";", 1+n%500) {
					t.Errorf("%d: %.40q, %v", n, a.body, err)
				}
			}
		})
	}
	all.Wait()
}

// No more connections wait for requests than there may be, and none for longer.
func TestIdle(t *testing.T) {
	t.Parallel()
	std := base()
	std.MaxIdleConnsPerHost = 2
	tr := New(std)
	t.Cleanup(tr.CloseIdleConnections)
	var ended atomic.Int64
	p := newPeer(t, func(_ int64, c net.Conn, in *bufio.Reader) {
		says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")(0, c, in)
		ended.Add(1)
	})
	var open []*http.Response
	for range 5 {
		res, err := tr.RoundTrip(get(t, http.MethodGet, p.url()))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, res)
	}
	for _, res := range open {
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	eventually(t, "3 of 5 are closed", func() bool { return ended.Load() == 3 })
	tr.CloseIdleConnections()
	eventually(t, "all are closed", func() bool { return ended.Load() == 5 })
}

// The sweep is tested without a network, since its time is not ours to wait.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := New(base())
		var ours []net.Conn
		keep := func(address string) {
			near, far := net.Pipe()
			ours = append(ours, far)
			tr.keep(&conn{Conn: near, address: address})
		}
		left := func() map[string]int {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			n := make(map[string]int)
			for address, list := range tr.idle {
				n[address] = len(list)
			}
			return n
		}
		keep("a:80")
		time.Sleep(60 * time.Second)
		keep("a:80")
		keep("b:80")
		for _, test := range []struct {
			after time.Duration
			want  map[string]int
		}{
			{29 * time.Second, map[string]int{"a:80": 2, "b:80": 1}},
			{2 * time.Second, map[string]int{"a:80": 1, "b:80": 1}},
			{58 * time.Second, map[string]int{"a:80": 1, "b:80": 1}},
			{2 * time.Second, map[string]int{}},
		} {
			time.Sleep(test.after)
			synctest.Wait()
			if got := left(); !maps.Equal(got, test.want) {
				t.Errorf("%v later: %v, want %v", test.after, got, test.want)
			}
		}
		keep("a:80") // it begins again
		time.Sleep(91 * time.Second)
		if got := left(); len(got) > 0 {
			t.Errorf("left: %v", got)
		}
		for _, c := range ours {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("not closed: %v", err)
			}
		}
	})
}

// An address where nobody listens is told as http.Transport tells it.
func TestRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	_, ours := ask(newTransport(t), get(t, http.MethodGet, url))
	_, theirs := ask(base(), get(t, http.MethodGet, url))
	if ours == nil || theirs == nil || ours.Error() != theirs.Error() {
		t.Errorf("wire: %v, http: %v", ours, theirs)
	}
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not so in 10 s: %s", what)
		}
	}
}

// BenchmarkRoundTrip compares the two.
func BenchmarkRoundTrip(b *testing.B) {
	p := newPeer(b, says("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nContent-Type: text/plain\r\n\r\n"+strings.Repeat("x", 1024)))
	std := base()
	defer std.CloseIdleConnections()
	for name, rt := range map[string]http.RoundTripper{"http": std, "wire": newTransport(b)} {
		b.Run(name, func(b *testing.B) {
			r := get(b, http.MethodGet, p.url())
			b.ReportAllocs()
			for b.Loop() {
				res, err := rt.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}
