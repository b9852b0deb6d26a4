package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Postgres starts a PostgreSQL server with an empty database, and returns the database's
// URL. It ends with the test.
func Postgres(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // never fails
	if len(found) == 0 {
		Need(t, "PostgreSQL", "apt-get install postgresql")
	}
	programs := filepath.Dir(found[len(found)-1])
	// It refuses to run as root, and as anybody else nothing below t.TempDir is to be had.
	dir, err := os.MkdirTemp("", "postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var as []string
	if os.Getuid() == 0 {
		as = []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"}
		if out, err := exec.Command("chown", "postgres", dir).CombinedOutput(); err != nil {
			t.Fatalf("chown: %v: %s", err, out)
		}
	}
	data := filepath.Join(dir, "data")
	init := append(as, filepath.Join(programs, "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync")
	if out, err := exec.Command(init[0], init[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	port := FreePort(t)
	Program(t, port, append(as, filepath.Join(programs, "postgres"), "-D", data, "-p", fmt.Sprint(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")...)
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	Eventually(t, func() error {
		out, err := exec.Command(filepath.Join(programs, "pg_isready"), "-d", url).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return url
}
