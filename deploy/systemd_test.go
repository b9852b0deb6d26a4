package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// TestSystemdUnit asks systemd itself, which needs no running systemd.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		testenv.Need(t, "systemd-analyze", "apt-get install systemd")
	}
	text := read(t, "systemd/jitgate.service")
	const program = "/usr/local/bin/jitgate"
	if !strings.Contains(text, "\nExecStart="+program+" serve -c /etc/jitgate/jitgate.yaml\n") {
		t.Error("the unit does not start jitgate serve")
	}
	// verify wants to find the program.
	unit := filepath.Join(t.TempDir(), "jitgate.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, program, "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(filepath.Dir(unit), "jitgate.socket")
	if err := os.WriteFile(socket, []byte(read(t, "systemd/jitgate.socket")), 0o644); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("systemd-analyze", "verify", unit, socket).CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("verify: %v\n%s", err, output)
	}
	// 10 is a service with no sandbox at all; 2.0 is the threshold.
	output, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=20", unit).CombinedOutput()
	if strings.Contains(string(output), "unrecognized option") {
		t.Skip("this systemd is too old to tell how safe a unit is")
	}
	if err != nil {
		t.Errorf("security: %v\n%s", err, output)
	}
}
