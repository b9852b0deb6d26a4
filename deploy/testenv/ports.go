package testenv

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// FreePort returns a TCP port that was free on 127.0.0.1 a moment ago, and that no other
// test gets, be it of another package.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// FreePorts returns the first of n such ports in a row. They are none that the system hands
// out by itself: such a one would soon be somebody else's.
func FreePorts(n int) (int, error) {
	for range 1000 {
		first := 10000 + rand.IntN(10000-n)
		free := true
		for port := first; port < first+n && free; port++ {
			ok, err := ours.take(port)
			if err != nil {
				return 0, err
			}
			free = ok && isFree(port)
		}
		if free {
			return first, nil
		}
	}
	return 0, fmt.Errorf("there are no %d free ports in a row from 10000 to 19999", n)
}

// isFree reports whether nobody listens at a port.
func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// ports are those that tests of this program have got. Each is a byte of one file for all
// programs that is locked until this one ends: several packages are tested at once, and
// what is to listen at a port may take seconds to begin.
type ports struct {
	mu    sync.Mutex
	taken map[int]bool
	file  *os.File
}

var ours = ports{taken: make(map[int]bool)}

// take reports whether a port is for this program from now on.
func (p *ports) take(port int) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		file, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("jitgate-test-ports-%d", os.Getuid())), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return false, err
		}
		p.file = file // which stays open: to close it would unlock all
	}
	if p.taken[port] {
		return false, nil
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: int64(port), Len: 1}
	switch err := syscall.FcntlFlock(p.file.Fd(), syscall.F_SETLK, &lock); {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES): // another program's
		return false, nil
	case err != nil:
		return false, fmt.Errorf("locking port %d: %w", port, err)
	}
	p.taken[port] = true
	return true, nil
}
