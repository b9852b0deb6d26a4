package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

const (
	kib100 = 100 << 10
	mib10  = 10 << 20
)

// A stage is everything that candidates need, started and ready: a Redis server,
// an upstream, an identity provider that mints responses, and keys.
type stage struct {
	root        string // of the module
	commit      string // of it, as the run begins
	dir         string // temporary; others may read it
	idp         *samltest.IdP
	certificate *x509.Certificate // of service providers
	redis       *process
	upstream    *process
	started     []*process
}

// newStage starts it. What it returned has to be closed.
func newStage(ctx context.Context) (s *stage, err error) {
	s = new(stage)
	if s.root, err = moduleRoot(); err != nil {
		return nil, err
	}
	s.commit = commitOf(ctx, s.root)
	if s.dir, err = os.MkdirTemp("", "jitgate-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	// Apache's and nginx' workers are other users.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.writeKeys(); err != nil {
		return nil, err
	}
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	if s.upstream, err = s.startUpstream(ctx); err != nil {
		return nil, err
	}
	s.redis, err = s.start(ctx, func(port int) (*exec.Cmd, error) {
		return exec.Command("redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", s.dir), nil
	})
	return s, err
}

// close ends everything, the last first.
func (s *stage) close() {
	s.stopSince(0)
	os.RemoveAll(s.dir)
}

// stopSince ends all processes but the first n that were started.
func (s *stage) stopSince(n int) {
	for i := len(s.started) - 1; i >= n; i-- {
		s.started[i].stop()
	}
	s.started = s.started[:n]
}

// start starts what command returns for a free port.
func (s *stage) start(ctx context.Context, command func(port int) (*exec.Cmd, error)) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd, err := command(port)
	if err != nil {
		return nil, err
	}
	p, err := launch(ctx, s.dir, fmt.Sprintf("127.0.0.1:%d", port), cmd)
	if err != nil {
		return nil, err
	}
	s.started = append(s.started, p)
	return p, nil
}

// self returns the command that runs this program with arguments of its own.
func self(args ...string) (*exec.Cmd, error) {
	file, err := os.Executable()
	return exec.Command(file, args...), err
}

// write writes a file and returns its path.
func (s *stage) write(name, text string) (string, error) {
	file := filepath.Join(s.dir, name)
	return file, os.WriteFile(file, []byte(text), 0o644)
}

// install installs what candidates need and is not here.
func (s *stage) install(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.root, "deploy/testenv/install.sh"), "bench")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// writeKeys makes the identity provider, and keys and certificates of service
// providers.
func (s *stage) writeKeys() (err error) {
	if s.idp, err = samltest.New(samltest.Options{URL: "https://idp.example", Domain: "acme.example", RedirectOnly: true}); err != nil {
		return err
	}
	metadata, err := s.idp.Metadata().XML()
	if err != nil {
		return err
	}
	now := time.Now()
	var key *rsa.PrivateKey
	key, s.certificate, err = samltest.SelfSigned("bench", 2048, now.Add(-time.Hour), now.AddDate(1, 0, 0))
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	session := make([]byte, 64)
	rand.Read(session) // never fails
	for name, text := range map[string]string{
		"idp.xml":     string(metadata),
		"sp.key":      string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"sp.crt":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw})),
		"session.key": base64.StdEncoding.EncodeToString(session),
	} {
		if _, err := s.write(name, text); err != nil {
			return err
		}
	}
	return nil
}

// moduleRoot returns the directory of the module.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build builds jitgate as make build does, with further arguments, and returns
// the path of the binary.
func (s *stage) build(ctx context.Context, name string, args ...string) (string, error) {
	file := filepath.Join(s.dir, name)
	args = append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", file}, args...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/jitgate")...)
	cmd.Dir, cmd.Env = s.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building jitgate: %w\n%s", err, out)
	}
	return file, nil
}
