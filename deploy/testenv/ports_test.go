package testenv

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// A port that a test has got is nobody else's, in this program and in another one, which
// this test starts as itself.
func TestFreePort(t *testing.T) {
	t.Parallel()
	if taken := os.Getenv("TEST_TAKEN"); taken != "" {
		port, err := strconv.Atoi(taken)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := ours.take(port); ok || err != nil {
			t.Errorf("another program's port: %v, %v", ok, err)
		}
		return
	}
	port := FreePort(t)
	if ok, err := ours.take(port); ok || err != nil {
		t.Errorf("a port that is taken: %v, %v", ok, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run=^TestFreePort$")
	c.Env = append(os.Environ(), "TEST_TAKEN="+strconv.Itoa(port))
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
