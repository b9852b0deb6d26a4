package deploy

import (
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// helm runs Helm, which says yes or no to a chart and its values.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program := testenv.Cached("helm", "helm")
	if _, err := os.Stat(program); err != nil {
		testenv.Need(t, "Helm", "deploy/testenv/install.sh")
	}
	c := exec.Command(program, args...)
	home := t.TempDir()
	c.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := c.CombinedOutput()
	return string(out), err
}

// render returns what the chart makes of the values of the tests and further ones.
func render(t *testing.T, set ...string) string {
	t.Helper()
	args := []string{"template", "jitgate", "helm", "--namespace", "sso", "-f", "helm/ci/all-values.yaml"}
	for _, s := range set {
		args = append(args, "--set-json", s)
	}
	out, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm %q: %v\n%s", args, err, out)
	}
	_, out, _ = strings.Cut(out, "---\n")
	return out
}

// least are values that take away all that the chart can go without.
var least = []string{
	"autoscaling.enabled=false", "disruptionBudget.enabled=false", "ingress.enabled=false", "networkPolicy.enabled=false",
	"podMonitor.enabled=false", "protect=[]", "env=[]", `config.redis={"embedded": true}`,
}

// TestChart has the chart be good for Helm, and what it makes for Kubernetes.
func TestChart(t *testing.T) {
	t.Setenv("JITGATE_REDIS_PASSWORD", "x")
	if out, err := helm(t, "lint", "--strict", "-f", "helm/ci/all-values.yaml", "helm"); err != nil {
		t.Errorf("lint: %v\n%s", err, out)
	}
	for name, c := range map[string]struct {
		set  []string
		want int // objects
	}{
		"all":   {nil, 10},
		"least": {least, 4},
	} {
		text := render(t, c.set...)
		objects := manifests(t, "chart: "+name, text)
		if len(objects) != c.want {
			t.Errorf("%s: %d objects, want %d", name, len(objects), c.want)
		}
		checkManifests(t, "chart: "+name, objects)
		checkSchemas(t, "chart: "+name, text)
	}
	// All hosts lead to it, each once.
	if text := render(t); strings.Count(text, `- host: "wiki.example.com"`) != 1 || strings.Count(text, `- host: "sso.example.com"`) != 1 {
		t.Errorf("the ingress is not for the hosts of base_url and the apps:\n%s", text)
	}
	// Another configuration is put in use.
	if before, after := render(t), render(t, `config.base_url="https://other.example.com"`); checksum(before) == "" || checksum(before) == checksum(after) {
		t.Errorf("the checksum of the configuration was %q and is %q", checksum(before), checksum(after))
	}
}

// checksum returns the line by which pods are replaced when the configuration changes.
func checksum(text string) string {
	_, rest, _ := strings.Cut(text, "checksum/config: ")
	sum, _, _ := strings.Cut(rest, "\n")
	return sum
}

// What cannot be right is refused before anything is installed.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for _, set := range []string{`config.base_url=null`, `config.base_url="http://sso.example.com"`, `config.admin.listen=null`, `replica=3`, `protect=[{"name": "a"}]`, `image.tag=1`} {
		if out, err := helm(t, "template", "jitgate", "helm", "-f", "helm/ci/all-values.yaml", "--set-json", set); err == nil || !strings.Contains(out, "values don't meet the specifications of the schema") {
			t.Errorf("%s: %v\n%s", set, err, out)
		}
	}
}

// The chart and the plain manifest give jitgate the same.
func TestChartLikeManifest(t *testing.T) {
	t.Parallel()
	container := func(text string) (c map[string]any) {
		for document := range strings.SplitSeq(text, "\n---\n") {
			var d struct {
				Kind string
				Spec struct {
					Template struct {
						Spec struct{ Containers []map[string]any }
					}
				}
			}
			if err := yaml.Unmarshal([]byte(document), &d); err == nil && d.Kind == "Deployment" {
				return d.Spec.Template.Spec.Containers[0]
			}
		}
		t.Fatal("no deployment")
		return nil
	}
	chart, plain := container(render(t)), container(read(t, "kubernetes/gateway.yaml"))
	for _, key := range []string{"args", "env", "ports", "readinessProbe", "livenessProbe", "startupProbe", "resources", "securityContext", "volumeMounts"} {
		if !reflect.DeepEqual(chart[key], plain[key]) {
			t.Errorf("%s: the chart has %v, and the manifest %v", key, chart[key], plain[key])
		}
	}
}
