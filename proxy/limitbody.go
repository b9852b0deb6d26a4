package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// formTime is how long a form may take that is for the gateway itself.
const formTime = 10 * time.Second

// A requestBody is the body of a request. It may take for ever, as long as something
// comes, or something of the answer is taken: an app may well answer while it is
// sent.
type requestBody struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	http2   bool

	mu      sync.Mutex
	until   time.Time // by when all of it has to be there; zero: there is no such time
	reading bool
	ended   bool
	stalled bool  // nobody waits for the rest of it
	over    bool  // nor for any of it: the request may not go on
	left    bool  // whoever called endWith is done with it
	broken  error // of the first Close: where the body ends is not known
}

// newBody puts a body in the place of that of r.
func newBody(w http.ResponseWriter, r *http.Request, stall time.Duration) *requestBody {
	b := &requestBody{ReadCloser: r.Body, control: http.NewResponseController(w), stall: stall, http2: r.ProtoMajor > 1}
	r.Body = b
	b.progress()
	return b
}

// progress has the time begin anew within which something has to come. In HTTP/1
// it runs all the time, since the server reads by itself what nobody else has
// read; but nobody notices unless something is read. In HTTP/2 the end of it ends
// the body, so that it may run while it is read alone.
func (b *requestBody) progress() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || b.stalled || b.over || b.http2 && !b.reading {
		return
	}
	deadline := time.Now().Add(b.stall)
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.control.SetReadDeadline(deadline) // not every ResponseWriter can do it
}

// limit has the whole body come within a time.
func (b *requestBody) limit(whole time.Duration) {
	b.mu.Lock()
	b.until = time.Now().Add(whole)
	b.mu.Unlock()
	b.progress()
}

// begin and end are called around whatever reads.
func (b *requestBody) begin() {
	b.mu.Lock()
	b.reading = true
	b.mu.Unlock()
	b.progress()
}

func (b *requestBody) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.stalled = b.stalled || errors.Is(err, os.ErrDeadlineExceeded) && !b.over
	b.ended = b.ended || err == io.EOF
	if b.ended || b.http2 {
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.begin()
	n, err := b.ReadCloser.Read(p)
	b.end(err)
	return n, err
}

// endWith has nobody wait for more of a body when ctx is done, until left is called.
// [http.Transport] does not see to it: over HTTP/2 it looks at its context again when
// something has come. A nil body has no end.
func (b *requestBody) endWith(ctx context.Context) (left func()) {
	if b == nil {
		return func() {}
	}
	stop := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == context.Canceled {
			return // by the server, which could not read on: that says more
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.left && !b.ended {
			b.over = true
			_ = b.control.SetReadDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.left = true
	}
}

// hasStalled reports whether nothing has come of a body for too long.
func (b *requestBody) hasStalled() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stalled
}

// Close reads what is left, if that is little: the server wants the next request
// after it. Every call returns what the first one did.
func (b *requestBody) Close() error {
	b.begin()
	err := b.ReadCloser.Close()
	b.mu.Lock()
	if b.broken == nil {
		b.broken = err
	}
	err = b.broken
	b.mu.Unlock()
	b.end(io.EOF)
	return err
}

// sent has whoever sends a body go on for as long as the answer is taken.
func (w *recorder) sent() {
	if w.body != nil {
		w.body.progress()
	}
}

// stalls has f, which sends something, give up when the client takes too long for
// it. In HTTP/1 that is up to the connection; in HTTP/2 a client can leave one
// answer where it is and take others. There the deadline ends the answer even if
// nothing is sent, so that it must not stay.
func (w *recorder) stalls(f func()) {
	if w.stall == 0 {
		f()
		return
	}
	control := http.NewResponseController(w.ResponseWriter)
	_ = control.SetWriteDeadline(time.Now().Add(w.stall))
	f()
	_ = control.SetWriteDeadline(time.Time{})
}

// last has the server send what is left of an answer in HTTP/2, or give up.
func (w *recorder) last() {
	if w.stall != 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.stall))
	}
}
