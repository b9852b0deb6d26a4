package samlsp_test

import (
	"encoding/json"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// With older ones than these, which crewjam/saml asks for, one request can end
// the process: goxmldsig recursed into SignedInfo without a bound
// (GHSA-qhrp-hfff-vphr), and etree built trees of any depth.
func TestDependencies(t *testing.T) {
	t.Parallel()
	for module, least := range map[string]string{
		"github.com/russellhaering/goxmldsig": "v1.6.1",
		"github.com/beevik/etree":             "v1.8.1",
	} {
		got := moduleVersion(t, module)
		if older(t, got, least) {
			t.Errorf("%s %s, want %s or newer", module, got, least)
		}
	}
	for _, pair := range [][2]string{{"v1.6.0", "v1.6.1"}, {"v1.5.9", "v1.6.1"}, {"v0.9.0", "v1.0.0"}, {"v1.9.0", "v1.10.0"}} {
		if !older(t, pair[0], pair[1]) || older(t, pair[1], pair[0]) || older(t, pair[0], pair[0]) {
			t.Errorf("%s is older than %s, and this test does not see it", pair[0], pair[1])
		}
	}
}

// moduleVersion returns the version that is built in, or where the test binary
// does not say, the one that the module graph has.
func moduleVersion(t *testing.T, module string) string {
	t.Helper()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == module && dep.Replace == nil {
				return dep.Version
			}
		}
	}
	out, err := exec.Command("go", "list", "-m", "-json", module).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", module, err)
	}
	var m struct {
		Version string
		Replace *struct{ Version string }
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	if m.Replace != nil {
		return m.Replace.Version
	}
	return m.Version
}

// older reports whether version a, such as v1.6.1, comes before b.
func older(t *testing.T, a, b string) bool {
	t.Helper()
	x, y := numbers(t, a), numbers(t, b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

func numbers(t *testing.T, version string) (n [3]int) {
	t.Helper()
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(version, ".")
	if len(parts) != 3 {
		t.Fatalf("version %q has no three numbers", version)
	}
	for i, part := range parts {
		var err error
		if n[i], err = strconv.Atoi(part); err != nil {
			t.Fatalf("version %q: %v", version, err)
		}
	}
	return n
}
