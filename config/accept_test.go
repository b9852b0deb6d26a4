package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAccepted is what must not be refused: the near sides of the limits that
// testdata/broken is beyond.
func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, why string }{
		{"https://sso.example.com", "http://localhost:8080", "http on localhost"},
		{"https://sso.example.com", "http://sso.localhost", "and on a name below it"},
		{"https://sso.example.com", "http://127.1.2.3:8080", "and on all of 127.0.0.0/8"},
		{"https://sso.example.com", "http://[::1]:8080", "and on the loopback address of IPv6"},
		{"https://sso.example.com", "https://192.0.2.1", "an address for a host"},
		{"https://sso.example.com", "https://sso:8443", "a host of one label"},
		{"listen: :8443", "listen: \"[::]:8443\"\nadmin: {listen: \":9090\"}", "two ports everywhere"},
		{"listen: :8443", "listen: 10.0.0.1:8443\nadmin: {listen: \"127.0.0.1:8443\"}", "one port on two addresses"},
		{"listen: :8443", "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\"}", "any free port, twice"},
		{"listen: :8443", "listen: :8443\ntls: {acme: {cache: acme, email: a@b.example}}", "certificates of an authority"},
		{"listen: :8443", "listen: :8443\ntrusted_proxies: [127.0.0.1]\next_authz: {listen: \":9191\"}", "where Envoy asks"},
		{"listen: :8443", "listen: :8443\ntracing: {endpoint: \"http://127.0.0.1:4318/v1/traces\", sample: 0}", "traces of nothing but what proxies trace"},
		{"listen: :8443", "listen: :8443\ntracing: {endpoint: \"http://otel:4318/otlp/v1/traces\", sample: 1}", "an endpoint without secrets, in a network of our own"},
		{"listen: :8443", "listen: :8443\ntrusted_proxies: [10.0.0.0/8, \"fd00::/8\", \"::1\"]", "networks of both kinds"},
		{"listen: :8443", "listen: :8443\nlimits: {header: 4096, header_time: 5m, idle: 1h, stall: 1s, body: 1KiB, saml: 1, saml_waiting: 0}", "limits at their bounds"},
		{"listen: :8443", "listen: :8443\nlimits: {header: 1MiB, body: unlimited, connections: 10, logins_per_minute: 2}", "no limit of bodies, and fewer connections than an address has by default"},
		{"{embedded: true}", "{embedded: true, key_prefix: \"a/b.c_d-1:\"}", "a prefix for the embedded store"},
		{"{embedded: true}", "{addresses: [/run/redis.sock], db: 3}", "a Unix socket"},
		{"{embedded: true}", "{addresses: [\"[::1]:6379\"], embedded: false}", "an IPv6 address"},
		{"{embedded: true}", "{addresses: [\"a:1\", \"b:1\"], cluster: true}", "a Cluster"},
		{"{embedded: true}", "{addresses: [\"a:1\", \"b:1\"], master_name: m, sentinel_username: s, db: 1}", "Sentinels"},
		{"{embedded: true}", "{addresses: [\"a:1\"], tls: {}}", "TLS as the system trusts it"},
		{"[\"file:session.key\"]", "[\"file:session.key\", \"file:older.key\"], idle: 1m, lifetime: 24h", "two keys, and the limits of time"},
		{"sp.crt}", "sp.crt, entity_id: \"urn:example:jitgate\"}", "a URN for an entity ID"},
		{"file: acme-idp.xml", "url: \"http://localhost:8081/metadata\", refresh: 1s", "metadata over http on localhost"},
		{"file: acme-idp.xml", "url: \"https://10.0.0.5/metadata\", allow_private: true, entity_id: \"urn:example:idp\"", "metadata in a network of our own"},
		{"apps:", "groups: [{name: g, users: [Ann@ACME.example., \"bob b\", \"a@mail.example@acme.example\"], rule: {domain: ACME.example}}]\napps:", "users, and domains in any form"},
		{"apps:", "groups: [{name: \"Größe, 100 %\", rule: {all: [{attribute: ExternalId, exists: false}]}}]\napps:", "any visible name for a group"},
		{"apps:", "groups: [{name: g, rule: {not: {any: [{attribute: userName, matches: \"a|b\"}]}}}]\napps:", "an expression of two branches"},
		{"apps:", "groups: [{name: a, rule: {group: b}}, {name: c, rule: {any: [{group: a}, {group: b}]}}, {name: b, users: [ann]}]\napps:", "two ways to one group are no circle"},
		{"upstream: \"http://127.0.0.1:9000\"", "upstream: \"https://My_App.internal:8443\"", "an upstream of containers' naming"},
		{"upstream: \"http://127.0.0.1:9000\"", "upstream: \"h2c://app:50051\"", "an upstream of HTTP/2 without TLS"},
		{"upstream: \"http://127.0.0.1:9000\"", "upstream: \"unix:app.sock\"", "an upstream at a socket beside the file"},
		{"upstream: \"http://127.0.0.1:9000\"", "upstream: \"https://app\", upstream_tls: {ca_file: sp.crt}", "an upstream of an authority of our own"},
		{"allow:", "path: \"/a.b/c~d/@e/(f)\", public: [/a.b/c~d/@e/(f)], allow:", "all that a path may have, and itself public"},
		{"apps:\n  - {", "attributes: [{name: email}]\napps:\n  - {headers: {X-Forwarded-User: email, Remote-Groups: groups, X_ID: id}, ", "a preset's header without the preset, and what is no attribute"},
		{"domains: [acme.example]", "domains: [acme.example], inactive_after: 1d", "days, and the shortest time to be inactive"},
		{"apps:", "discovery: {list: true, service: \"http://localhost:8081/disco?a=b\"}\napps:", "a discovery service on this machine"},
		{"apps:", "branding: {colors: {accent: \"#767676\", accent_dark: \"#8a8a8a\"}, links: [{text: a, url: \"mailto:a@b.example\"}, {text: b, url: \"tel:+15550100\"}]}\napps:", "the palest and the darkest that one can read"},
		{"apps:", "attributes: [{name: userName, sensitive: true}, {name: phone, sensitive: false}]\napps:", "a userName that is not logged"},
		{"apps:", "attributes: [{name: \"urn:oid:0.9.2342.19200300.100.1.3\"}, {name: Groups}]\napps:", "a name as in assertions, and one that differs from a reserved one"},
	} {
		data := strings.Replace(minimal, c.old, c.new, 1)
		if data == minimal {
			t.Errorf("%q is not in the minimal configuration", c.old)
		}
		if _, err := Parse("x", []byte(data), files); err != nil {
			t.Errorf("%s: Parse of %s: %v, want no problem", c.why, c.new, err)
		}
		if wrong := bySchema(t, []byte(data)); len(wrong) > 0 {
			t.Errorf("%s: the schema refuses %s at %q", c.why, c.new, wrong)
		}
	}
}

// TestNormalForms looks at what Load changes.
func TestNormalForms(t *testing.T) {
	t.Parallel()
	c := parse(t, `base_url: http://localhost:8080
listen: :8080
admin: {socket: run/admin.sock}
redis: {embedded: true}
session: {keys: ["file:session.key"], lifetime: 30m}
saml: {key_file: sp.key, cert_file: sp.crt}
attributes: [{name: userName, sensitive: true}]
directories:
  - {name: acme, domains: [ACME.example.]}
identity_providers:
  - {name: acme, directory: acme, jit: false, metadata: {url: "https://idp.acme.example/m"}}
groups:
  - {name: g, users: [Ann@ACME.example], except: [bob@acme.example.], rule: {domain: Acme.Example}}
apps:
  - {name: base, upstream: "http://127.0.0.1:1", allow: {any_user: true}}
  - {name: wiki, host: WIKI.Example.com., upstream: "http://127.0.0.1:1", allow: {any_user: true}, headers: {X-User: userName}}
`)
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"admin.socket", c.Admin.Socket, filepath.Join(files, "run/admin.sock")},
		{"session.idle, which is longer by default than the lifetime", c.Session.Idle, 30 * time.Minute},
		{"userName", c.Attributes[0], Attribute{Name: "userName", Required: true, Absent: "deny", Sensitive: true}},
		{"domain of a directory", c.Directories[0].Domains[0], "acme.example"},
		{"refresh of a URL", c.IdentityProviders[0].Metadata.Refresh, time.Hour},
		{"jit: false", c.IdentityProviders[0].JIT, false},
		{"user of a group", c.Groups[0].Users[0], "Ann@acme.example"},
		{"exception of a group", c.Groups[0].Except[0], "bob@acme.example"},
		{"domain of a rule", c.Groups[0].Rule.Domain, "acme.example"},
		{"app's default host", c.Apps[0].Host, "localhost"},
		{"app's host", c.Apps[1].Host, "wiki.example.com"},
		{"no preset where headers are named", c.Apps[1].Headers, Headers{Set: map[string]string{"X-User": "userName"}, Lines: map[string]string{"X-User": "userName"}}},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s = %v, want %v", check.what, check.got, check.want)
		}
	}
}

func TestRuleGroups(t *testing.T) {
	t.Parallel()
	c := parse(t, strings.Replace(minimal, "apps:", `groups:
  - {name: a, users: [ann]}
  - {name: b, users: [bob]}
  - {name: c, users: [cid]}
  - {name: deep, rule: {all: [{any: [{group: a}, {not: {group: b}}]}, {group: c}, {directory: acme}]}}
apps:`, 1))
	for i, want := range [][]string{nil, nil, nil, {"a", "b", "c"}} {
		if got := c.Groups[i].Rule.Groups(); !slices.Equal(got, want) {
			t.Errorf("groups that %s asks for = %q, want %q", c.Groups[i].Name, got, want)
		}
	}
}
