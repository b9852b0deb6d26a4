package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

// manifests returns the objects of a text, decoded strictly: a key that Kubernetes does not
// know, or a value of another type, fails the test. Objects of operators are left out.
func manifests(t *testing.T, name, text string) (objects []runtime.Object) {
	t.Helper()
	for text := range strings.SplitSeq(text, "\n---\n") {
		var kind struct{ Kind, APIVersion string }
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if kind.Kind == "PodMonitor" {
			continue
		}
		object := map[string]runtime.Object{
			"v1/ConfigMap": new(core.ConfigMap), "v1/ServiceAccount": new(core.ServiceAccount), "v1/Service": new(core.Service),
			"apps/v1/Deployment": new(apps.Deployment), "policy/v1/PodDisruptionBudget": new(policy.PodDisruptionBudget),
			"autoscaling/v2/HorizontalPodAutoscaler": new(autoscaling.HorizontalPodAutoscaler),
			"networking.k8s.io/v1/NetworkPolicy":     new(networking.NetworkPolicy), "networking.k8s.io/v1/Ingress": new(networking.Ingress),
		}[kind.APIVersion+"/"+kind.Kind]
		if object == nil {
			t.Fatalf("%s: a %s of %s is not known here", name, kind.Kind, kind.APIVersion)
		}
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Errorf("%s: %s: %v", name, kind.Kind, err)
		}
		objects = append(objects, object)
	}
	return objects
}

// TestKubernetes looks whether the manifests are what Kubernetes takes, fit together, and
// have a configuration that jitgate takes.
func TestKubernetes(t *testing.T) {
	t.Setenv("JITGATE_REDIS_PASSWORD", "x")
	for file, want := range map[string]int{"gateway.yaml": 8, "sidecar.yaml": 4} {
		objects := manifests(t, file, read(t, "kubernetes/"+file))
		if len(objects) != want {
			t.Errorf("%s has %d objects, want %d", file, len(objects), want)
		}
		checkManifests(t, file, objects)
	}
}

// checkManifests looks whether objects fit together.
func checkManifests(t *testing.T, file string, objects []runtime.Object) {
	t.Helper()
	i := slices.IndexFunc(objects, func(o runtime.Object) bool { _, ok := o.(*apps.Deployment); return ok })
	deployment := objects[i].(*apps.Deployment)
	pod := deployment.Spec.Template
	checkPod(t, file, pod.Spec)
	var ports []string
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			ports = append(ports, p.Name)
		}
	}
	selects := func(what string, labels map[string]string) {
		for name, value := range labels {
			if pod.Labels[name] != value {
				t.Errorf("%s: the %s does not select the pods", file, what)
			}
		}
	}
	selects("deployment", deployment.Spec.Selector.MatchLabels)
	for _, object := range objects {
		switch o := object.(type) {
		case *core.ConfigMap:
			checkConfiguration(t, file, o.Data)
		case *core.Service:
			selects("service", o.Spec.Selector)
			for _, p := range o.Spec.Ports {
				if !slices.Contains(ports, p.TargetPort.StrVal) {
					t.Errorf("%s: the service leads to port %q, which there is not", file, p.TargetPort.StrVal)
				}
			}
		case *policy.PodDisruptionBudget:
			selects("disruption budget", o.Spec.Selector.MatchLabels)
		case *autoscaling.HorizontalPodAutoscaler:
			if o.Spec.ScaleTargetRef.Name != deployment.Name {
				t.Errorf("%s: %q is scaled", file, o.Spec.ScaleTargetRef.Name)
			}
		case *networking.NetworkPolicy:
			if o.Namespace == deployment.Namespace {
				selects("network policy", o.Spec.PodSelector.MatchLabels)
			}
			for _, rule := range o.Spec.Ingress {
				for _, p := range rule.Ports {
					if !slices.Contains(ports, p.Port.StrVal) {
						t.Errorf("%s: a network policy is about port %q, which there is not", file, p.Port.StrVal)
					}
				}
			}
		}
	}
}

// checkPod looks whether the containers may do no more than they have to, and whether
// what they name is there.
func checkPod(t *testing.T, file string, pod core.PodSpec) {
	t.Helper()
	if pod.SecurityContext == nil || !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: the pod may do too much", file)
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if s == nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
			t.Errorf("%s: the container %s may do too much", file, c.Name)
		}
		for _, m := range c.VolumeMounts {
			if !slices.ContainsFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
				t.Errorf("%s: %s mounts %q, which there is not", file, c.Name, m.Name)
			}
		}
		if c.Name != "jitgate" {
			continue
		}
		if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: jitgate is not watched, or not bounded", file)
		}
		if c.ReadinessProbe.HTTPGet.Port.StrVal != "admin" || *pod.TerminationGracePeriodSeconds < 45 {
			t.Errorf("%s: the probe asks port %s, and the pod has %d s to end", file, c.ReadinessProbe.HTTPGet.Port.StrVal, *pod.TerminationGracePeriodSeconds)
		}
	}
}

// checkConfiguration has jitgate's own check look at a configuration, with the files that
// are beside it.
func checkConfiguration(t *testing.T, file string, data map[string]string) {
	t.Helper()
	dir := t.TempDir()
	pair := testenv.SelfSigned()
	files := map[string]string{"sp.key": string(pair.KeyPEM()), "sp.crt": string(pair.CertPEM()), "session.key": strings.Repeat("A", 86) + "=="}
	maps.Copy(files, data)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := data["jitgate.yaml"]
	if _, err := config.Parse(file, []byte(strings.ReplaceAll(text, "/etc/jitgate-keys", dir)), dir); err != nil {
		t.Error(err)
	}
}
