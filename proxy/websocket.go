package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
)

// closeTime is how long a websocket that we end may take to get to the end of a frame,
// and for our own close frame.
const closeTime = time.Second

// Why we end a websocket.
var (
	errGoing = errors.New("the gateway goes away")
	errOver  = errors.New("the session is over, or may no longer do this")
)

// Close codes (RFC 6455, section 7.4.1).
const (
	closeGoing  = 1001
	closePolicy = 1008
)

// A websocket is the upstream's side of one, as [httputil.ReverseProxy] copies from and
// to it. When we end it, both sides are told why by a close frame, as soon as no frame
// is half sent. To that end it follows where frames begin and end; what they hold goes
// through as it is.
type websocket struct {
	io.ReadWriteCloser
	ctx  context.Context // its cause says why it ends
	once sync.Once

	mu      sync.Mutex // of what comes down, from the upstream
	down    frames
	ending  bool
	last    []byte // the close frame for the visitor, as far as it is not yet read
	between chan struct{}

	sending sync.Mutex // of what goes up
	up      frames
	ended   bool
}

func newWebsocket(ctx context.Context, upstream io.ReadWriteCloser) *websocket {
	return &websocket{ReadWriteCloser: upstream, ctx: ctx, up: frames{masked: true}, between: make(chan struct{})}
}

// Read returns what comes from the upstream; when we end the websocket, no more than to
// the end of a frame, then the close frame, and then io.EOF.
func (s *websocket) Read(p []byte) (int, error) {
	if n, done := s.readLast(p); done {
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n, err := s.ReadWriteCloser.Read(p)
	s.mu.Lock()
	if !s.ending {
		s.down.follow(p[:n], false)
		s.mu.Unlock()
		return n, err
	}
	if s.last == nil {
		n = s.down.follow(p[:n], true)
		if s.down.isBetween() {
			s.finish()
		}
	} else {
		n = 0 // it is a frame that comes too late
	}
	last := s.last != nil
	s.mu.Unlock()
	if n == 0 && last {
		return s.Read(p)
	}
	return n, err
}

// readLast reads the close frame, where that is what comes next.
func (s *websocket) readLast(p []byte) (n int, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return 0, false
	}
	n = copy(p, s.last)
	s.last = s.last[n:]
	return n, true
}

// finish has the close frame come next. It is called with mu held, between two frames.
func (s *websocket) finish() {
	s.last = []byte{}
	if code, reason := s.why(); code != 0 && !s.down.closed {
		s.last = closeFrame(code, reason)
	}
	close(s.between)
}

// Write sends what comes from the visitor; nothing more once we end the websocket.
func (s *websocket) Write(p []byte) (int, error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.ended {
		return len(p), nil
	}
	s.up.follow(p, false)
	return s.ReadWriteCloser.Write(p)
}

// CloseWrite passes on that the visitor sends no more.
func (s *websocket) CloseWrite() error {
	if half, ok := s.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// why returns what to say of the end: nothing where it is not we who want it.
func (s *websocket) why() (code uint16, reason string) {
	switch cause := context.Cause(s.ctx); {
	case errors.Is(cause, errGoing):
		return closeGoing, "going away"
	case errors.Is(cause, errOver):
		return closePolicy, "session over"
	}
	return 0, ""
}

// Close ends the websocket.
func (s *websocket) Close() error {
	err := error(nil)
	s.once.Do(func() {
		if code, reason := s.why(); code != 0 {
			s.endDown()
			s.endUp(code, reason)
		}
		err = s.ReadWriteCloser.Close()
	})
	return err
}

// endDown waits for the end of a frame that comes from the upstream.
func (s *websocket) endDown() {
	s.mu.Lock()
	s.ending = true
	if s.down.isBetween() {
		s.finish()
	}
	s.mu.Unlock()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-s.between:
	case <-timer.C:
	}
}

// endUp tells the upstream.
func (s *websocket) endUp(code uint16, reason string) {
	told := make(chan struct{})
	go func() { // a write may hang
		defer close(told)
		s.sending.Lock()
		defer s.sending.Unlock()
		s.ended = true
		if s.up.isBetween() && !s.up.closed {
			_, _ = s.ReadWriteCloser.Write(maskFrame(closeFrame(code, reason)))
		}
	}()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-told:
	case <-timer.C:
	}
}

// closeFrame returns a close frame (RFC 6455, section 5.5.1) of a server.
func closeFrame(code uint16, reason string) []byte {
	frame := []byte{0x88, byte(2 + len(reason))}
	return append(binary.BigEndian.AppendUint16(frame, code), reason...)
}

// maskFrame returns a short frame as a client sends it (section 5.3).
func maskFrame(frame []byte) []byte {
	var key [4]byte
	_, _ = rand.Read(key[:]) // never fails
	masked := append([]byte{frame[0], frame[1] | 0x80}, key[:]...)
	for i, c := range frame[2:] {
		masked = append(masked, c^key[i%4])
	}
	return masked
}

// frames follows one direction of a websocket from frame to frame (RFC 6455, section
// 5.2). What is no such thing is not followed any further.
type frames struct {
	masked bool // as those of clients are
	head   [14]byte
	n      int    // of head that is there
	left   uint64 // of the frame's payload
	closed bool   // a close frame has begun
	broken bool
}

// isBetween reports whether the next byte begins a frame.
func (f *frames) isBetween() bool { return !f.broken && f.n == 0 && f.left == 0 }

// follow takes the next bytes, all of them or no more than to the end of the frame, and
// returns how many.
func (f *frames) follow(p []byte, one bool) int {
	for at := 0; at < len(p); {
		switch {
		case f.broken, one && at > 0 && f.isBetween():
			return at
		case f.left > 0:
			n := min(f.left, uint64(len(p)-at))
			f.left -= n
			at += int(n)
		default:
			f.head[f.n] = p[at]
			f.n++
			at++
			f.begin()
		}
	}
	return len(p)
}

// begin reads the head of a frame, if it is all there.
func (f *frames) begin() {
	if f.n < 2 {
		return
	}
	size, short := 2, f.head[1]&0x7f
	switch short {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	masked := f.head[1]&0x80 != 0
	if masked {
		size += 4
	}
	if f.n < size {
		return
	}
	switch short {
	case 126:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		f.left = binary.BigEndian.Uint64(f.head[2:])
	default:
		f.left = uint64(short)
	}
	f.n = 0
	opcode, final := f.head[0]&0xf, f.head[0]&0x80 != 0
	control := opcode >= 8
	f.closed = f.closed || opcode == 8
	f.broken = masked != f.masked || opcode&7 > 2 || control && (short > 125 || !final) || f.left>>63 != 0
}
