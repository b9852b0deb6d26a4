package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// frame returns a frame of a server, or masked that of a client.
func frame(opcode byte, masked bool, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	key := []byte{1, 2, 3, 4}
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// Wherever a stream of frames is cut, their ends are found.
func TestFrames(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{false, true} {
		var stream []byte
		ends := map[int]bool{0: true}
		for _, n := range []int{0, 1, 125, 126, 127, 1000, 1<<16 - 1, 1 << 16, 3} {
			stream = append(stream, frame(2, masked, make([]byte, n))...)
			ends[len(stream)] = true
			stream = append(stream, frame(9, masked, []byte("ping"))...)
			ends[len(stream)] = true
		}
		for _, size := range []int{1, 2, 3, 7, 100, 4096, len(stream)} {
			f := frames{masked: masked}
			at := 0
			for chunk := range chunks(stream, size) {
				f.follow(chunk, false)
				at += len(chunk)
				if f.isBetween() != ends[at] {
					t.Fatalf("masked %v, in pieces of %d: at %d between frames: %v, want %v", masked, size, at, f.isBetween(), ends[at])
				}
			}
		}
		f := frames{masked: masked}
		for at := 0; at < len(stream); {
			n := f.follow(stream[at:], true)
			at += n
			if n == 0 || !ends[at] {
				t.Fatalf("masked %v: one frame goes to %d, which is no end", masked, at)
			}
		}
	}
}

// chunks yields the pieces of a stream.
func chunks(stream []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(stream) > 0 {
			n := min(size, len(stream))
			if !yield(stream[:n]) {
				return
			}
			stream = stream[n:]
		}
	}
}

// What is no websocket is never between two frames.
func TestNoFrames(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string][]byte{
		"text":                      []byte("hello\n"),
		"masked by a server":        frame(1, true, []byte("x")),
		"an unknown opcode":         frame(3, false, nil),
		"an unknown control frame":  frame(11, false, nil),
		"a long control frame":      frame(9, false, make([]byte, 126)),
		"a control frame in pieces": {0x09, 0},
		"a length without end":      {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0},
	} {
		f := frames{}
		f.follow(stream, false)
		f.follow(frame(1, false, []byte("good")), false)
		if f.isBetween() {
			t.Errorf("%s: taken for a websocket", name)
		}
	}
}

// However a stream is cut, what is found of it is the same, and nothing is found beyond
// its end.
func FuzzFrames(f *testing.F) {
	f.Add(frame(1, false, []byte("hello")), 3, false)
	f.Add(frame(2, true, make([]byte, 300)), 1, true)
	f.Add([]byte("hello\n"), 2, false)
	f.Add([]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1}, 4, false)
	f.Fuzz(func(t *testing.T, stream []byte, size int, masked bool) {
		whole, cut := frames{masked: masked}, frames{masked: masked}
		whole.follow(stream, false)
		for chunk := range chunks(stream, max(size, 1)) {
			cut.follow(chunk, false)
		}
		if whole != cut {
			t.Fatalf("whole %+v, cut %+v", whole, cut)
		}
		one := frames{masked: masked}
		for rest := stream; len(rest) > 0; {
			n := one.follow(rest, true)
			if n > len(rest) || n == 0 && !one.broken {
				t.Fatalf("took %d of %d", n, len(rest))
			}
			if n == 0 {
				break
			}
			rest = rest[n:]
		}
		if one.isBetween() != whole.isBetween() {
			t.Fatalf("frame by frame %+v, whole %+v", one, whole)
		}
	})
}

// pushing is an upstream with a websocket: it sends what it is given, and tells what it
// gets.
func pushing(t *testing.T) (h http.HandlerFunc, push chan []byte, got chan []byte) {
	push, got = make(chan []byte), make(chan []byte, 1000)
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		rw.Flush()
		ended := make(chan bool)
		go func() {
			defer close(ended)
			defer close(got)
			for {
				buf := make([]byte, 4096)
				n, err := rw.Read(buf)
				if n > 0 {
					got <- buf[:n]
				}
				if err != nil {
					return
				}
			}
		}()
		for {
			select {
			case data := <-push:
				if _, err := conn.Write(data); err != nil {
					return
				}
			case <-ended:
				return
			}
		}
	}, push, got
}

// A websocket that we end is told why on both sides, between two frames.
func TestWebsocketIsTold(t *testing.T) {
	t.Parallel()
	going, over := closeFrame(closeGoing, "going away"), closeFrame(closePolicy, "session over")
	closes := func(s *site, _ *testenv.Browser) { go s.Gateway.Close() }
	large := frame(2, false, bytes.Repeat([]byte("x"), 300<<10))
	for name, test := range map[string]struct {
		end         func(s *site, b *testenv.Browser)
		first, rest []byte // what the upstream sends before and after
		down, up    []byte // close frames
	}{
		"the gateway goes away":     {closes, frame(1, false, []byte("hi")), nil, going, going},
		"signed out":                {func(s *site, b *testenv.Browser) { s.signOut(b) }, frame(1, false, []byte("hi")), nil, over, over},
		"within a frame":            {closes, large[:1<<10], large[1<<10:], going, going},
		"a frame that does not end": {closes, large[:1<<10], nil, nil, going},
		"no websocket":              {closes, []byte("hello\n"), nil, nil, going},
		"closed already":            {closes, frame(8, false, nil), nil, nil, going},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
			b := s.signedIn("ann", s.url("wiki", "/"))
			h, push, got := pushing(t)
			s.upstream.answer(h)
			conn, in, res := s.upgrade("/ws", s.cookie(b), "Connection: Upgrade\nUpgrade: websocket")
			if res.StatusCode != 101 {
				t.Fatal(res.StatusCode)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			push <- test.first
			if _, err := io.ReadFull(in, make([]byte, len(test.first))); err != nil {
				t.Fatal(err)
			}
			test.end(s, b)
			if test.rest != nil {
				push <- test.rest
			}
			all, _ := io.ReadAll(in) // the end may be a reset
			if want := append(bytes.Clone(test.rest), test.down...); !bytes.Equal(all, want) {
				t.Errorf("the visitor got %.60q… (%d bytes), want %.60q… (%d)", all, len(all), want, len(want))
			}
			var told []byte
			for data := range got {
				told = append(told, data...)
			}
			if !bytes.Equal(unmasked(told), test.up) {
				t.Errorf("the upstream got %q, want %q", unmasked(told), test.up)
			}
		})
	}
}

// unmasked returns the short frame that a client has sent as a server would send it.
func unmasked(sent []byte) []byte {
	if len(sent) < 6 || sent[1]&0x80 == 0 {
		return sent
	}
	plain := []byte{sent[0], sent[1] &^ 0x80}
	for i, c := range sent[6:] {
		plain = append(plain, c^sent[2+i%4])
	}
	return plain
}
