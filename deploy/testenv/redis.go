// Package testenv gives tests the real parts that jitgate works with: Redis
// servers, identity providers and browsers. Everything that it starts listens
// on the loopback interface and ends with the test.
package testenv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// startTimeout is how long a server that a test starts may take to answer.
const startTimeout = 15 * time.Second

// runServer starts "$@", tells its process ID and ends it when standard input
// closes. The test binary holds the other end, so that a server never outlives
// it, not even when it is killed or panics. The shell gives up standard error,
// so that it closes when the server ends.
const runServer = `"$@" >&2 & pid=$!; exec 2>/dev/null; echo $pid; read -r _; kill -9 $pid; wait $pid`

// Need skips the test because what is missing, unless the environment variable
// CI is set: there it fails the test. Install says how to get it.
func Need(t testing.TB, what, install string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing; install it with: %s", what, install)
	}
	t.Skipf("%s is missing; install it with: %s", what, install)
}

// Reads has go test run a test again when something in a folder has changed that another
// program reads: by itself it knows of what the test reads.
func Reads(t testing.TB, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Cached returns the path of what install.sh puts into the user's cache, whether or not
// it is there.
func Cached(path ...string) string {
	cache, _ := os.UserCacheDir() // without one there is nothing in it
	return filepath.Join(append([]string{cache, "jitgate-testenv"}, path...)...)
}

// Eventually calls f until it returns no error, and fails the test with the last
// one when that takes longer than 20 s.
func Eventually(t testing.TB, f func() error) {
	t.Helper()
	const limit = 20 * time.Second
	deadline, tick := time.After(limit), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not within %v: %v", limit, err)
		case <-tick.C:
		}
	}
}

// Prefix returns a key prefix that no other test uses.
func Prefix(t testing.TB) string {
	t.Helper()
	return "test-" + rand.Text() + ":"
}

// Stores runs a test twice: as subtest "embedded" against an in-process store
// of its own, and as subtest "redis" against a real redis-server, which all
// tests of the binary share. A test must keep to the keys below its [Prefix].
func Stores(t *testing.T, run func(t *testing.T, rdb redis.UniversalClient)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		run(t, Client(t, Embedded(t).Addr()))
	})
	t.Run("redis", func(t *testing.T) {
		needRedis(t)
		s, err := sharedServer()
		if err != nil {
			t.Fatal(err)
		}
		run(t, Client(t, s.Addr))
	})
}

// Embedded starts an in-process store whose keys expire by the clock, as those
// of a real one do. Its SetTime moves that clock.
func Embedded(t testing.TB) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// Client returns a client of the store at addr, closed when the test ends.
func Client(t testing.TB, addr string) redis.UniversalClient {
	t.Helper()
	rdb := newClient(addr)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// A Server is a process that listens on the loopback interface.
type Server struct {
	Addr string // host:port on the loopback interface
	PID  int

	shell *exec.Cmd
	stdin io.Closer
	stop  sync.Once
	ended chan struct{} // closed when the server is gone
	log   bytes.Buffer  // what it wrote; to be read when it is gone
}

// RedisServer starts a redis-server for one test, with further arguments such
// as "--requirepass", "secret". It ends with the test.
func RedisServer(t testing.TB, args ...string) *Server {
	t.Helper()
	needRedis(t)
	s, err := startServer(args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Stop kills the server, as a crash would, and waits until it is gone.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.stdin.Close()
		<-s.ended
		s.shell.Wait()
	})
}

// Pause freezes the server: connections stay open and nothing is answered.
func (s *Server) Pause() { syscall.Kill(s.PID, syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { syscall.Kill(s.PID, syscall.SIGCONT) }

// Log returns what the server wrote. It must have ended.
func (s *Server) Log() string { return s.log.String() }

// Program starts a program that is to listen on a port of the loopback
// interface, and returns before it does. It ends with the test.
func Program(t testing.TB, port int, argv ...string) *Server {
	t.Helper()
	s, err := launch(port, argv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// sharedServer is the server that all tests of the binary share. It ends when
// the binary does.
var sharedServer = sync.OnceValues(func() (*Server, error) { return startServer(nil) })

// needRedis skips the test where redis-server is missing.
func needRedis(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		Need(t, "redis-server", "apt-get install redis-server")
	}
}

// startServer starts a redis-server on a free port. It tries again where
// something else took the port in between.
func startServer(args []string) (*Server, error) {
	var failed error
	for range 3 {
		port, err := FreePorts(1)
		if err != nil {
			return nil, err
		}
		argv := []string{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port),
			"--save", "", "--appendonly", "no", "--dir", os.TempDir(),
			// What one writes when it is replicated, the next one must not read at its start.
			"--dbfilename", rand.Text() + ".rdb", "--rdb-del-sync-files", "yes",
			"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db"}
		s, err := launch(port, append(argv, args...))
		if err != nil {
			return nil, err
		}
		if failed = s.awaitReady(); failed == nil {
			return s, nil
		}
		s.Stop()
		failed = fmt.Errorf("starting redis-server: %w\n%s", failed, s.log.String())
	}
	return nil, failed
}

// launch starts a process that is to listen on port, and returns before it does.
func launch(port int, argv []string) (*Server, error) {
	s := &Server{
		Addr:  net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		shell: exec.Command("sh", append([]string{"-c", runServer, "sh"}, argv...)...),
		ended: make(chan struct{}),
	}
	stdin, err := s.shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := s.shell.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := s.shell.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.shell.Start(); err != nil {
		return nil, err
	}
	s.stdin = stdin
	go func() {
		defer close(s.ended)
		io.Copy(&s.log, stderr)
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		s.PID, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return s, nil
}

// awaitReady waits until the server answers, and is the one that was started.
func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	want := fmt.Sprintf("process_id:%d\r\n", s.PID)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := s.info(ctx)
		switch {
		case err == nil && strings.Contains(info, want):
			return nil
		case err == nil:
			return fmt.Errorf("another server has %s", s.Addr)
		}
		select {
		case <-s.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("no answer from %s: %w", s.Addr, err)
		case <-tick.C:
		}
	}
}

// info returns the server section of INFO.
func (s *Server) info(ctx context.Context) (string, error) {
	// The client would dial five times, and log that.
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return "", err
	}
	conn.Close()
	rdb := newClient(s.Addr)
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return rdb.Info(ctx, "server").Result()
}

func newClient(addr string) *redis.Client { return redis.NewClient(clientOptions(addr)) }

func clientOptions(addr string) *redis.Options {
	return &redis.Options{
		Addr:                     addr,
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}
