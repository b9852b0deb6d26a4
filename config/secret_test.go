package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// withSecrets is a configuration whose secrets contain S3CRET.
func withSecrets(t *testing.T) *Config {
	t.Helper()
	t.Setenv("JITGATE_TEST_PASSWORD", "S3CRET of the environment")
	return parse(t, strings.Replace(minimal, "{embedded: true}",
		`{addresses: ["a:1"], master_name: m, password: env:JITGATE_TEST_PASSWORD, sentinel_password: file:junk}`, 1))
}

func TestSecretIsRead(t *testing.T) {
	c := withSecrets(t)
	if got, want := c.Redis.Password.Reveal(), "S3CRET of the environment"; got != want {
		t.Errorf("Password.Reveal() = %q, want %q", got, want)
	}
	if got, want := c.Redis.SentinelPassword.Reveal(), "S3CRET junk!"; got != want {
		t.Errorf("SentinelPassword.Reveal() = %q, want %q", got, want)
	}
	if got := (Secret{}).Reveal(); got != "" {
		t.Errorf("Reveal of the zero Secret = %q, want nothing", got)
	}
}

// TestSecretFile trims the line break at the end of a file, and nothing else.
func TestSecretFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(dir)
	for content, want := range map[string]string{"a\n": "a", "a\r\n": "a", " a b \n": " a b ", "a": "a"} {
		must(os.WriteFile(filepath.Join(dir, "pass"), []byte(content), 0o600))
		data := strings.Replace(minimal, "{embedded: true}", `{addresses: ["a:1"], password: "file:pass"}`, 1)
		c, err := Parse("x", []byte(data), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Redis.Password.Reveal(); got != want {
			t.Errorf("the secret in a file of %q = %q, want %q", content, got, want)
		}
	}
}

// TestSecretNeverPrints prints and encodes a configuration in every way that a
// log could.
func TestSecretNeverPrints(t *testing.T) {
	c := withSecrets(t)
	secret := c.Redis.Password
	printed := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		printed["Config "+verb] = fmt.Sprintf(verb, *c)
		printed["Redis "+verb] = fmt.Sprintf(verb, c.Redis)
		printed["Session "+verb] = fmt.Sprintf(verb, c.Session)
		printed["Secret "+verb] = fmt.Sprintf(verb, secret)
		printed["pointer "+verb] = fmt.Sprintf(verb, &secret)
		// fmt cannot call the methods of a value in an unexported field.
		printed["unexported field "+verb] = fmt.Sprintf(verb, struct{ s Secret }{secret})
	}
	for name, encode := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "YAML": yaml.Marshal} {
		for of, v := range map[string]any{"Redis": c.Redis, "Session": c.Session, "Secret": secret} {
			data, err := encode(v)
			if err != nil {
				t.Errorf("%s of %s: %v", name, of, err)
			}
			printed[name+" of "+of] = string(data)
			if !strings.Contains(string(data), hidden) {
				t.Errorf("%s of %s = %s, want %s in it", name, of, data, hidden)
			}
		}
	}
	printed["String"] = secret.String()
	var shown []string
	for _, s := range []string{"S3CRET", c.Session.Keys[0].Reveal(), string(sessionKey)} {
		shown = append(shown, s, fmt.Sprintf("%x", s), fmt.Sprintf("%X", s), strings.Trim(fmt.Sprint([]byte(s)), "[]"))
	}
	for how, got := range printed {
		for _, s := range shown {
			if strings.Contains(got, s) {
				t.Errorf("%s shows a secret: %s", how, got)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := printed["Secret "+verb]; got != hidden {
			t.Errorf("%s = %q, want %q", verb, got, hidden)
		}
	}
}
