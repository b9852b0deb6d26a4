package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
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
	testenv.Reads(t, "helm")
	c := exec.Command(program, args...)
	home := t.TempDir()
	c.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := c.CombinedOutput()
	return string(out), err
}

// template returns what the chart makes of the values of the tests and further ones, or
// what Helm says of them with an error.
func template(t *testing.T, release, namespace string, set ...string) (string, error) {
	t.Helper()
	args := []string{"template", release, "helm", "--namespace", namespace, "-f", "helm/ci/all-values.yaml"}
	for _, s := range set {
		args = append(args, "--set-json", s)
	}
	out, err := helm(t, args...)
	if err == nil {
		_, out, _ = strings.Cut(out, "---\n")
	}
	return out, err
}

// render is template where the values are good.
func render(t *testing.T, set ...string) string {
	t.Helper()
	out, err := template(t, "jitgate", "sso", set...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", set, err, out)
	}
	return out
}

// least are values that take away all that the chart can go without.
var least = []string{
	"autoscaling.enabled=false", "disruptionBudget.enabled=false", "ingress.enabled=false", "networkPolicy.enabled=false",
	"podMonitor.enabled=false", "protect=[]", "env=[]", `config.redis={"embedded": true}`,
}

// beside are values that have jitgate be the sidecar of an app.
var beside = []string{
	`sidecarOf=[{"name": "wiki", "image": "wiki:1", "volumeMounts": [{"name": "app", "mountPath": "/run/app"}], "resources": {"requests": {"cpu": "1"}},
		"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]`,
	`config.apps=[{"name": "wiki", "upstream": "unix:/run/app/app.sock", "allow": {"any_user": true}}]`,
	`volumes=[{"name": "acme", "persistentVolumeClaim": {"claimName": "acme"}}]`, `volumeMounts=[{"name": "acme", "mountPath": "/var/lib/jitgate"}]`,
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
		"all":     {nil, 10},
		"least":   {least, 4},
		"sidecar": {append([]string{"protect=[]"}, beside...), 8},
		"sidecar, with more": {append([]string{
			`sidecarOf=[{"name": "wiki", "image": "a", "ports": [{"name": "metrics", "containerPort": 3000}], "resources": {"limits": {"cpu": 1}},
				"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]`,
			`initContainers=[{"name": "migrate", "image": "a", "args": ["{{ .x }}", "a: b\n- c"], "volumeMounts": [{"name": "app", "mountPath": "/run/app/"}]}]`,
			"volumes=null", `volumeMounts=[{"name": "config", "mountPath": "/etc/jitgate/more", "subPath": "a"}]`,
		}, "protect=[]"), 8},
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
	refused := func(want string, set ...string) {
		t.Helper()
		if out, err := template(t, "jitgate", "sso", set...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, want %q\n%s", set, err, want, out)
		}
	}
	for _, set := range []string{
		`config.base_url=null`, `config.base_url="http://sso.example.com"`, `config.admin.listen=null`, `replica=3`, `protect=[{"name": "a"}]`, `image.tag=1`,
		// Where neither the service nor the kubelet reaches it.
		`config.listen="127.0.0.1:8080"`, `config.admin.listen="127.0.0.1:9090"`, `config.admin.listen="[::1]:9090"`, `config.ext_authz={"listen": "localhost:9191"}`,
		`files={"a/b": "x"}`, `files={"jitgate.yaml": "x"}`,
		`image.repository="jitgate@sha256:0"`, `image.digest="latest"`,
		`env=[{"name": "A", "value": 1}]`, `podAnnotations={"a": 1}`, `ingress.annotations={"a": true}`,
		`protect=[{"name": "My App", "namespace": "a", "podSelector": {"matchLabels": {"a": "b"}}}]`,
		`sidecarOf=[{"name": "wiki"}]`, `sidecarOf=[{"name": "jitgate", "image": "a"}]`, `volumes=[{"name": "keys", "emptyDir": {}}]`,
		`sidecarOf=[{"name": "Wiki", "image": "a"}]`, `initContainers=[{"name": "a b", "image": "a"}]`, `volumes=[{"name": "a.b", "emptyDir": {}}]`,
		`sidecarOf=[{"name": "wiki", "image": "a", "ports": [{"containerPort": 0}]}]`, `sidecarOf=[{"name": "wiki", "image": "a", "ports": [{"containerPort": 1, "name": "A"}]}]`,
		`sidecarOf=[{"name": "wiki", "image": "a", "volumeMounts": [{"name": "app"}]}]`, `volumeMounts=[{"name": "keys", "mountPath": "/a:b"}]`,
		`disruptionBudget.minAvailable="most"`, `disruptionBudget.minAvailable=-1`,
	} {
		refused("values don't meet the specifications of the schema", set)
	}
	refused("autoscaling.max: 2 is less than min, which is 3", "autoscaling.min=3", "autoscaling.max=2")
	for _, set := range [][]string{
		{"autoscaling.enabled=false", "replicas=1"}, {"autoscaling.min=1"}, {"disruptionBudget.minAvailable=2"}, {`disruptionBudget.minAvailable="100%"`},
	} {
		refused("which no node could be drained of", set...)
	}
	for _, host := range []string{`base_url="https://[::1]:8443"`, `base_url="https://192.0.2.1"`, `apps=[{"name": "a", "host": "192.0.2.1"}]`, `apps=[{"name": "a", "host": "::1"}]`} {
		refused("is an address, which no ingress can have", "config."+host)
	}
	refused("have the ports 9090, 9090", `config.listen=":9090"`)
	refused("have the ports 8080, 9090, 8080", `config.ext_authz={"listen": ":8080"}`)
	refused("service.port: 9191 is that of ext_authz.listen", `config.ext_authz={"listen": ":9191"}`, "service.port=9191")
	const alone = "autoscaling.enabled=false"
	for _, resources := range []string{`null`, `{}`, `{"requests": null}`, `{"limits": {"memory": "1Gi"}}`} {
		refused("sidecarOf: wiki has no resources.requests.cpu", `sidecarOf=[{"name": "wiki", "image": "a", "resources": `+resources+`}]`)
	}
	// The network policy would let visitors reach the app by the port's name, and two
	// programs cannot listen at one.
	for _, port := range []string{`{"name": "http", "containerPort": 3000}`, `{"name": "admin", "containerPort": 3000}`, `{"containerPort": 8080}`, `{"name": "web", "containerPort": 9090}`} {
		refused("and jitgate has that number or name in the pod", alone, `sidecarOf=[{"name": "wiki", "image": "a", "ports": [`+port+`]}]`)
	}
	refused("and jitgate has that number or name in the pod", alone, `sidecarOf=[{"name": "wiki", "image": "a", "ports": [{"containerPort": 9191}]}]`, `config.ext_authz={"listen": ":9191"}`)
	refused("and jitgate has that number or name in the pod", `initContainers=[{"name": "log", "image": "a", "restartPolicy": "Always", "ports": [{"containerPort": 3000, "name": "http"}]}]`)
	refused("one name of a container comes twice", alone, `sidecarOf=[{"name": "a", "image": "a"}, {"name": "a", "image": "b"}]`)
	refused("one name of a container comes twice", alone, `sidecarOf=[{"name": "a", "image": "a"}]`, `initContainers=[{"name": "a", "image": "b"}]`)
	refused("volumes: config, keys, run, a, a: one name comes twice", `volumes=[{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]`)
	for _, path := range []string{"/etc/jitgate", "/etc/jitgate-keys/", "/run/jitgate", "/run/app", "/a"} {
		refused("volumeMounts of jitgate: there are two at", alone, `sidecarOf=[{"name": "a", "image": "a"}]`, `volumes=[{"name": "a", "emptyDir": {}}]`,
			`volumeMounts=[{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "`+path+`"}]`)
	}
	refused(`volumeMounts of jitgate: there is no volume "app"`, `volumeMounts=[{"name": "app", "mountPath": "/run/app"}]`)
	refused(`volumeMounts of wiki: there is no volume "data"`, alone, `sidecarOf=[{"name": "wiki", "image": "a", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]`)
	refused(`volumeMounts of migrate: there is no volume "data"`, `initContainers=[{"name": "migrate", "image": "a", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]`)
	refused("one name comes twice", `protect=[{"name": "a", "namespace": "a", "podSelector": {"b": {}}}, {"name": "a", "namespace": "a", "podSelector": {"c": {}}}]`)
}

// Names and values that are odd make objects that are good, and say the same.
func TestChartOddValues(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"sso", "123", "1e5", "true", "a.b", "jitgate.2", strings.Repeat("long-", 10) + "abc"} {
		out, err := template(t, release, "456")
		if err != nil {
			t.Fatalf("%s: %v\n%s", release, err, out)
		}
		for _, o := range documents(t, out) {
			name := o.Metadata.Name
			if o.Kind == "Service" && !regexp.MustCompile("^[a-z][-a-z0-9]{0,61}[a-z0-9]$").MatchString(name) {
				t.Errorf("release %s: a service called %q", release, name)
			}
			if o.Metadata.Labels["app.kubernetes.io/instance"] != any(release) {
				t.Errorf("release %s: %s %s is labelled %v", release, o.Kind, name, o.Metadata.Labels)
			}
		}
		checkSchemas(t, "release "+release, out)
	}
	digest := "sha256:" + strings.Repeat("0a", 32)
	tag := "v1_" + strings.Repeat("x", 59) + "-" + strings.Repeat("y", 60)
	text := render(t, `image.digest="`+digest+`"`, `image.tag="`+tag+`"`, `config.drain="1m30s"`, `podAnnotations={"prometheus.io/scrape": "false", "a": "{{ .x }}\"\n"}`,
		`config.apps=[{"name": "a", "host": "Wiki.Example.com", "upstream": "http://a"}, {"name": "b", "upstream": "http://{{ b }}"}]`, `config.base_url="https://sso.example.com:8443"`,
		`files={"a": "{{ .x }} \"'\n\t: é"}`, `config.listen="[::]:8443"`, `config.admin.listen="0.0.0.0:9091"`)
	checkSchemas(t, "odd values", text)
	for _, want := range []string{
		`image: "jitgate@` + digest + `"`, "terminationGracePeriodSeconds: 130", `prometheus.io/scrape: "false"`, `- host: "sso.example.com"`, `- host: "wiki.example.com"`,
		`version: "v1_` + strings.Repeat("x", 59) + `"`, "containerPort: 8443", "containerPort: 9091", `http://{{ b }}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `prometheus.io/scrape: "true"`) {
		t.Error("one annotation comes twice")
	}
}

// Envoy reaches what answers it, where there is something.
func TestChartExtAuthz(t *testing.T) {
	t.Parallel()
	text := render(t, `config.ext_authz={"listen": ":9191"}`)
	checkSchemas(t, "ext_authz", text)
	for _, want := range []string{"{name: ext-authz, containerPort: 9191}", "{name: ext-authz, port: 9191, ", "- ports: [{port: http}, {port: ext-authz}]"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	if text := render(t); strings.Contains(text, "ext-authz") {
		t.Errorf("without it, there is\n%s", text)
	}
}

// A document is an object of Kubernetes: its names, and what a deployment runs.
type document struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]any
	}
	Spec struct {
		Template struct {
			Spec struct{ Containers []map[string]any }
		}
	}
}

func documents(t *testing.T, text string) (all []document) {
	t.Helper()
	for one := range strings.SplitSeq(text, "\n---\n") {
		var d document
		if err := yaml.Unmarshal([]byte(one), &d); err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
		all = append(all, d)
	}
	return all
}

// The chart and the plain manifest give jitgate the same.
func TestChartLikeManifest(t *testing.T) {
	t.Parallel()
	containers := func(text string) []map[string]any {
		for _, d := range documents(t, text) {
			if d.Kind == "Deployment" {
				return d.Spec.Template.Spec.Containers
			}
		}
		t.Fatal("no deployment")
		return nil
	}
	same := func(chart, plain map[string]any, keys ...string) {
		t.Helper()
		for _, key := range keys {
			if !reflect.DeepEqual(chart[key], plain[key]) {
				t.Errorf("%s: the chart has %v, and the manifest %v", key, chart[key], plain[key])
			}
		}
	}
	alone := containers(render(t))
	if len(alone) != 1 {
		t.Fatalf("%d containers, want jitgate alone", len(alone))
	}
	same(alone[0], containers(read(t, "kubernetes/gateway.yaml"))[0],
		"args", "env", "ports", "readinessProbe", "livenessProbe", "startupProbe", "resources", "securityContext", "volumeMounts")

	// As a sidecar, it has the app beside it, and a folder with it.
	plain := containers(read(t, "kubernetes/sidecar.yaml"))
	app := maps.Clone(plain[0])
	app["volumeMounts"] = []any{map[string]any{"name": "app", "mountPath": "/run/app"}}
	given, err := json.Marshal([]any{app})
	if err != nil {
		t.Fatal(err)
	}
	chart := containers(render(t, "sidecarOf="+string(given), "autoscaling.enabled=false"))
	if len(chart) != 2 {
		t.Fatalf("%d containers, want jitgate and the app", len(chart))
	}
	same(chart[0], plain[1], "args", "env", "ports", "readinessProbe", "livenessProbe", "securityContext")
	if mounts, _ := chart[0]["volumeMounts"].([]any); !slices.ContainsFunc(mounts, func(m any) bool { return reflect.DeepEqual(m, app["volumeMounts"].([]any)[0]) }) {
		t.Errorf("jitgate has %v mounted, not the folder that it shares with the app", mounts)
	}
	for key := range app {
		same(chart[1], app, key)
	}
}
