package config

import (
	"encoding/base64"
	"os"
	"reflect"
	"strings"
	"testing"
)

// What is shown of a configuration is the configuration, but for its secrets.
func TestConfigText(t *testing.T) {
	t.Setenv("JITGATE_OTLP_AUTHORIZATION", "Bearer S3CRET")
	t.Setenv("JITGATE_REDIS_PASSWORD", "S3CRET redis password")
	t.Setenv("JITGATE_SESSION_KEY", base64.StdEncoding.EncodeToString(olderKey))
	example, err := os.ReadFile("../deploy/jitgate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"example": string(example), "minimal": minimal} {
		want := parse(t, data)
		text := want.Text()
		for _, secret := range []string{"S3CRET", base64.StdEncoding.EncodeToString(olderKey), base64.StdEncoding.EncodeToString(sessionKey), "PRIVATE"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the text shows a secret:\n%s", name, text)
			}
		}
		// With the secrets named again, it is read as it was.
		again := strings.Replace(text, `password: "[secret]"`, "password: env:JITGATE_REDIS_PASSWORD", 1)
		again = strings.Replace(again, `Authorization: "[secret]"`, "Authorization: env:JITGATE_OTLP_AUTHORIZATION", 1)
		again = strings.Replace(again, `keys: ["[secret]", "[secret]"]`, `keys: ["env:JITGATE_SESSION_KEY", "file:session.key"]`, 1)
		again = strings.Replace(again, "jwt:\n  keys: [\"[secret]\"]", "jwt:\n  keys: [\"file:jwt.key\"]", 1)
		again = strings.Replace(again, `keys: ["[secret]"]`, `keys: ["file:session.key"]`, 1)
		again = strings.Replace(again, "  saml: 0\n", "", 1) // which must not be written
		if name == "minimal" {
			again = strings.Replace(again, "  db: 0\n", "", 1)
		}
		got := parse(t, again)
		for _, c := range []*Config{got, want} {
			for i := range c.Apps {
				if len(c.Apps[i].Headers.Set) == 0 {
					c.Apps[i].Headers.Set = nil // an empty one is written as none
				}
			}
		}
		for i := range reflect.TypeFor[Config]().NumField() {
			field := reflect.TypeFor[Config]().Field(i).Name
			if field == "SAML" || field == "JWT" || field == "Session" || field == "Redis" { // with what no comparison understands
				continue
			}
			g, w := reflect.ValueOf(got).Elem().Field(i).Interface(), reflect.ValueOf(want).Elem().Field(i).Interface()
			if !reflect.DeepEqual(g, w) {
				t.Errorf("%s: %s is read as %+v, want %+v, from\n%s", name, field, g, w, text)
			}
		}
	}
}

func TestRuleText(t *testing.T) {
	t.Parallel()
	c := parse(t, minimal+`
attributes: [{name: a}]
groups:
  - {name: g, rule: {all: [{any: [{attribute: a, is: "x"}, {domain: acme.example}]}, {not: {group: h}}, {attribute: a, exists: true}]}}
  - {name: h, rule: {any: [{attribute: a, is_not: y}, {attribute: a, exists: false}, {directory: acme}, {attribute: a, matches: "z+"}]}}
`)
	for i, want := range []string{
		`(a is "x" or domain is acme.example) and not (in group h) and a is there`,
		`a is not "y" or a is not there or directory is acme or a matches "z+"`,
	} {
		if got := c.Groups[i].Rule.String(); got != want {
			t.Errorf("rule %d: %s, want %s", i, got, want)
		}
	}
}

func TestDurationText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1h30m": "1h30m", "1h10m": "1h10m", "90s": "1m30s", "70s": "1m10s", "1h0m30s": "1h0m30s", "8h": "8h", "1h": "1h", "15m": "15m", "20m": "20m",
		"10s": "10s", "0s": "0s", "1500ms": "1.5s", "90d": "2160h",
	} {
		d, err := duration(text)
		if err != nil {
			t.Fatal(err)
		}
		got := durationText(d)
		if again, err := duration(got); got != want || err != nil || again != d {
			t.Errorf("%s is written as %s, want %s", text, got, want)
		}
	}
}
