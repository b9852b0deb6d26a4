package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// versions are the oldest and the newest Kubernetes that the manifests are for.
var versions = []string{"v1.25.0", "v1.37.0"}

// schemas are those of a Kubernetes, by which nothing may be there that they do not know.
type schemas struct {
	version  string
	compiler *jsonschema.Compiler
}

func newSchemas(t *testing.T, version string) schemas {
	t.Helper()
	s := schemas{version, jsonschema.NewCompiler()}
	s.add(t, "_definitions.json")
	return s
}

// add reads a file of schemas, and returns what it is called.
func (s schemas) add(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(testenv.Cached("kubernetes", s.version+"-local-strict", file))
	if errors.Is(err, fs.ErrNotExist) {
		testenv.Need(t, "schemas of Kubernetes", "deploy/testenv/install.sh")
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	url := "https://kubernetes.io/api/" + file
	if err := s.compiler.AddResource(url, document); err != nil && !errors.As(err, new(*jsonschema.ResourceExistsError)) {
		t.Fatal(err)
	}
	return url
}

// validate returns what is wrong with an object. Those of operators are none of Kubernetes'.
func (s schemas) validate(t *testing.T, object any) error {
	t.Helper()
	fields := object.(map[string]any)
	kind, group := fields["kind"].(string), fields["apiVersion"].(string)
	if strings.Contains(group, ".coreos.com/") {
		return nil
	}
	group, version, found := strings.Cut(group, "/")
	if !found { // it is one of the core, which has no name
		group, version = "", group
	}
	group, _, _ = strings.Cut(group, ".")
	parts := slices.DeleteFunc([]string{kind, group, version}, func(p string) bool { return p == "" })
	schema, err := s.compiler.Compile(s.add(t, strings.ToLower(strings.Join(parts, "-"))+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(object); err != nil {
		return fmt.Errorf("%s of Kubernetes %s: %w", kind, s.version, err)
	}
	return nil
}

// checkSchemas has the schemas look at each object of a text.
func checkSchemas(t *testing.T, name, text string) {
	t.Helper()
	for _, version := range versions {
		s := newSchemas(t, version)
		for document := range strings.SplitSeq(text, "\n---\n") {
			data, err := yaml.YAMLToJSON([]byte(document))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			object, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := s.validate(t, object); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestSchemas has the schemas look at the plain manifests, and see what is wrong.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"gateway.yaml", "sidecar.yaml"} {
		checkSchemas(t, file, read(t, "kubernetes/"+file))
	}
	s := newSchemas(t, versions[0])
	for _, wrong := range []string{`{"apiVersion": "v1", "kind": "Service", "spec": {"prots": []}}`, `{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}}`} {
		object, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		if err != nil {
			t.Fatal(err)
		}
		if s.validate(t, object) == nil {
			t.Errorf("the schemas take %s", wrong)
		}
	}
}
