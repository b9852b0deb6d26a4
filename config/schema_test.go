package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is the Schema as a validator reads it.
var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("jitgate.schema.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("jitgate.schema.json")
})

// bySchema returns the paths of what the Schema finds wrong with data.
func bySchema(t *testing.T, data []byte) []string {
	t.Helper()
	schema, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var paths []string
	var collect func(e *jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			paths = append(paths, strings.Join(e.InstanceLocation, "."))
		}
		for _, cause := range e.Causes {
			collect(cause)
		}
	}
	if e, ok := errors.AsType[*jsonschema.ValidationError](schema.Validate(doc)); ok {
		collect(e)
	}
	return paths
}

func TestSchemaExample(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../deploy/jitgate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"the example": example, "the minimal configuration": []byte(minimal)} {
		if wrong := bySchema(t, data); len(wrong) > 0 {
			t.Errorf("the schema refuses %s at %q", name, wrong)
		}
	}
}

// TestSchemaMistakes is what an editor underlines.
func TestSchemaMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, where string }{
		{"base_url: https://sso.example.com\n", "", ""},
		{"listen: :8443", "listen: :8443\nlisten_on: :8443", ""},
		{"listen: :8443", "listen: [\":8443\"]", "listen"},
		{"listen: :8443", "listen: :8443\ndrain: 5 minutes", "drain"},
		{"listen: :8443", "listen: :8443\ndrain: 5", "drain"},
		{"listen: :8443", "listen: :8443\nlimits: {body: 10MB}", "limits.body"},
		{"listen: :8443", "listen: :8443\nlimits: {saml: many}", "limits.saml"},
		{"listen: :8443", "listen: :8443\nlimits: {saml: 1.5}", "limits.saml"},
		{"{embedded: true}", "{embedded: 1}", "redis.embedded"},
		{"{embedded: true}", "{embedded: true, tls: {ca: x}}", "redis.tls"},
		{"[\"file:session.key\"]", "[]", "session.keys"},
		{"[\"file:session.key\"]", "[\"s3cret\"]", "session.keys.0"},
		{"sp.crt}", "sp.crt, rollover: [{key_file: x}]}", "saml.rollover.0"},
		{"domains: [acme.example]", "domains: acme.example", "directories.0.domains"},
		{"directory: acme, ", "", "identity_providers.0"},
		{"directory: acme, ", "directory: acme, idp_initiated: never, ", "identity_providers.0.idp_initiated"},
		{"directory: acme, ", "directory: acme, login_hint: [body], ", "identity_providers.0.login_hint.0"},
		{"apps:", "groups: [{name: g, rule: {any: [{attribute: a, equals: b}]}}]\napps:", "groups.0.rule.any.0"},
		{"apps:", "groups: [{name: g, rule: {not: [{group: b}]}}]\napps:", "groups.0.rule.not"},
		{"apps:", "branding: {help: [x]}\napps:", "branding.help"},
		{"allow: {any_user: true}", "allow: {any_user: true}, headers: {X-A: {b: c}}", "apps.0.headers.X-A"},
		{", allow: {any_user: true}", "", "apps.0"},
	} {
		data := strings.Replace(minimal, c.old, c.new, 1)
		if data == minimal {
			t.Errorf("%q is not in the minimal configuration", c.old)
		}
		if wrong := bySchema(t, []byte(data)); !slices.Contains(wrong, c.where) {
			t.Errorf("%s: the schema refuses %q, want %q", c.new, wrong, c.where)
		}
	}
}
