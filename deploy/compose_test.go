package deploy

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// A composeFile is what the tests want to know of compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Build       any               `yaml:"build"`
		Image       string            `yaml:"image"`
		Command     []string          `yaml:"command"`
		Ports       []string          `yaml:"ports"`
		NetworkMode string            `yaml:"network_mode"`
		Networks    []string          `yaml:"networks"`
		Environment map[string]string `yaml:"environment"`
		Volumes     []string          `yaml:"volumes"`
		ReadOnly    bool              `yaml:"read_only"`
		CapDrop     []string          `yaml:"cap_drop"`
	} `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]any `yaml:"volumes"`
}

func TestCompose(t *testing.T) {
	t.Parallel()
	var c composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateway", "redis", "app", "prometheus"} {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("no service %q", name)
		}
	}
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: read_only = %v, cap_drop = %q, want a read-only root and no capabilities", name, s.ReadOnly, s.CapDrop)
		}
		switch name {
		case "gateway":
			continue
		case "prometheus":
			if !slices.Equal(s.Ports, []string{"127.0.0.1:9091:9090"}) || !slices.Equal(s.Networks, []string{"monitoring"}) {
				t.Errorf("%s: ports = %q, networks = %q, want it for this machine alone, and away from the apps", name, s.Ports, s.Networks)
			}
			for _, v := range s.Volumes {
				if from, _, _ := strings.Cut(v, ":"); strings.HasPrefix(from, ".") {
					read(t, "compose/"+from)
				}
			}
			continue
		}
		if s.Ports != nil || s.NetworkMode != "" {
			t.Errorf("%s: ports = %q, network_mode = %q, want it reachable through the gateway alone", name, s.Ports, s.NetworkMode)
		}
		for _, n := range s.Networks {
			if !c.Networks[n].Internal {
				t.Errorf("%s is on network %q, want internal ones alone", name, n)
			}
		}
		if len(s.Networks) == 0 {
			t.Errorf("%s is on the default network, want an internal one", name)
		}
	}
	if got, want := c.Services["gateway"].Ports, []string{"443:8443"}; !slices.Equal(got, want) {
		t.Errorf("gateway: ports = %q, want %q", got, want)
	}
	redis := c.Services["redis"]
	command := strings.Join(redis.Command, " ")
	for _, want := range []string{"--requirepass ${JITGATE_REDIS_PASSWORD}", "--maxmemory-policy noeviction", "--appendonly yes"} {
		if !strings.Contains(command, want) {
			t.Errorf("redis: command = %q, want %q in it", command, want)
		}
	}
	volume, _, _ := strings.Cut(redis.Volumes[0], ":")
	if _, ok := c.Volumes[volume]; !ok {
		t.Errorf("redis: data in %q, want a named volume", redis.Volumes[0])
	}
	if !strings.Contains(read(t, "compose/.env.example"), "\nJITGATE_REDIS_PASSWORD=\n") {
		t.Error(".env.example has no empty JITGATE_REDIS_PASSWORD: an example password would be used")
	}
}

// TestComposeConfig reads the gateway's configuration with stand-ins for what
// README.md tells people to put beside it.
func TestComposeConfig(t *testing.T) {
	t.Setenv("JITGATE_REDIS_PASSWORD", "secret")
	dir := t.TempDir()
	c := testenv.SelfSigned()
	for name, data := range map[string][]byte{
		"sp.key":       c.KeyPEM(),
		"sp.crt":       c.CertPEM(),
		"tls.key":      c.KeyPEM(),
		"tls.crt":      c.CertPEM(),
		"session.key":  []byte(base64.StdEncoding.EncodeToString(make([]byte, 64)) + "\n"),
		"acme-idp.xml": []byte("<EntityDescriptor/>"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const file = "compose/jitgate/jitgate.yaml"
	cfg, err := config.Parse(file, []byte(read(t, file)), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Redis.Password.Reveal(), "secret"; got != want {
		t.Errorf("password = %q, want the one that compose.yaml gives to both", got)
	}
	if got := cfg.Admin.Listen; !strings.Contains(read(t, "compose/prometheus.yml"), `["gateway`+got+`"]`) {
		t.Errorf("admin.listen = %q, want what Prometheus asks", got)
	}
	if got, want := cfg.Listen, ":8443"; got != want {
		t.Errorf("listen = %q, want %q, which compose.yaml publishes", got, want)
	}
	for _, app := range cfg.Apps {
		if got, want := app.Upstream, "http://app:8000"; got != want {
			t.Errorf("upstream = %q, want %q, the service of compose.yaml", got, want)
		}
	}
}
