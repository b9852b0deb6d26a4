package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/config"
)

// imports are configurations of other programs, below testdata/import.
var imports = [][]string{{"mellon", "mellon.conf"}, {"shibboleth", "shibboleth2.xml"}, {"saml-auth-proxy", "proxy.env"}}

// TestImport compares what is made of configurations of other programs with the files
// beside them, and has it checked: nothing may be wrong with it but files that are not
// here, and who may use an app where that could not be carried over.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, c := range imports {
		dir := "testdata/import"
		got := output(t, "import", c[0], filepath.Join(dir, c[1]))
		golden := filepath.Join(dir, c[0]+".yaml")
		if *updateGolden {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is made of %s; with -update that becomes %s", got, c[1], golden)
		}
		_, err = config.Parse("jitgate.yaml", []byte(got), t.TempDir())
		problems, ok := errors.AsType[config.Problems](err)
		if !ok {
			t.Errorf("%s: %v, want problems with files", c[0], err)
		}
		unclear := 0
		for _, p := range problems {
			switch {
			case strings.HasPrefix(p.Text, "cannot read"):
			case strings.HasSuffix(p.Key, ".allow") && strings.HasPrefix(p.Text, "is missing"):
				unclear++
			default:
				t.Errorf("%s: %s", c[0], p)
			}
		}
		if want := strings.Count(got, "# allow:"); unclear != want {
			t.Errorf("%s: %d apps without allow, want %d", c[0], unclear, want)
		}
	}
}

// TestImportFailsClosed has conditions that are not understood keep everybody out until
// somebody has looked at them.
func TestImportFailsClosed(t *testing.T) {
	t.Parallel()
	const head = "ServerName a.example\nMellonIdPMetadataFile idp.xml\nMellonUser uid\nProxyPass / http://127.0.0.1:9000/\n"
	for why, c := range map[string]struct {
		conf  string
		allow string // "" for none
	}{
		"anybody who is signed in":       {"<Location />\nMellonEnable auth\nRequire valid-user\n</Location>", `allow: {any_user: true}`},
		"a condition":                    {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n</Location>", `allow: {groups: ["a-example-mail"]}`},
		"a condition of the place above": {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n</Location>\n<Location /x>\nMellonEnable auth\n</Location>", `allow: {groups: ["a-example-mail"]}`},
		"two conditions":                 {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\nMellonCond role x\n</Location>", ""},
		"a condition with flags":         {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example [NOT]\n</Location>", ""},
		"an expression":                  {"<LocationMatch ^/x>\nMellonEnable auth\n</LocationMatch>", ""},
		"another module's rule":          {"<Location />\nMellonEnable auth\nRequire ldap-group cn=x\n</Location>", ""},
		"inside of <IfModule>":           {"<Location />\n<IfModule mod_x.c>\nMellonEnable auth\n</IfModule>\nMellonCond mail a@a.example\n</Location>", `allow: {groups: ["a-example-mail"]}`},
		"after another place":            {"<VirtualHost *:443>\nServerName a.example\n<Location /x>\nMellonEnable off\n</Location>\nMellonEnable auth\nRequire ip ::1\n</VirtualHost>", ""},
		"a rule of the place above":      {"<Location />\nMellonEnable auth\nRequire ip 10.0.0.0/8\n</Location>\n<Location /x>\nMellonEnable auth\n</Location>", ""},
	} {
		m, err := importMellon([]byte(head + c.conf))
		if err != nil {
			t.Errorf("%s: %v", why, err)
			continue
		}
		text := m.yaml("x")
		allowed := regexp.MustCompile(`(?m)^    allow: .*$`).FindAllString(text, -1)
		if c.allow == "" && len(allowed) > 0 || c.allow != "" && (len(allowed) != len(m.apps) || strings.TrimSpace(allowed[len(allowed)-1]) != c.allow) {
			t.Errorf("%s: %q, want %q of each app", why, allowed, c.allow)
		}
		if c.allow == "" && !strings.Contains(text, "# - ") {
			t.Errorf("%s: nothing is said of it", why)
		}
	}
	for why, data := range map[string]string{"nothing": "", "no place": "MellonIdPMetadataFile x\n", "no identity provider": "<Location />\nMellonEnable auth\n</Location>"} {
		if _, err := importMellon([]byte(data)); err == nil {
			t.Errorf("%s: is imported", why)
		}
	}
	for why, data := range map[string]string{"no XML": "x", "another file": "<Attributes/>", "no metadata": "<SPConfig/>"} {
		if _, err := importShibboleth([]byte(data), "testdata/import", ""); err == nil {
			t.Errorf("%s: is imported", why)
		}
	}
	if _, err := importProxy([]byte("SAML_PROXY_BIND=:1\n")); err == nil {
		t.Error("a proxy without an identity provider is imported")
	}
}

// Options on a command line are read as those in the environment.
func TestImportOptions(t *testing.T) {
	t.Parallel()
	m, err := importProxy([]byte("./saml-auth-proxy \\\n  --base-url https://a.example/x \\\n  --backend-url=http://b:1/y \\\n  --idp-metadata-url 'https://idp.example/m' \\\n  --attribute-header-mappings UserID=x-webauth-user\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m.base != "https://a.example" || m.apps[0].upstream != "http://b:1" || m.idps[0].url != "https://idp.example/m" || len(m.apps[0].headers) != 1 || m.apps[0].headers[0] != (mapping{"x-webauth-user", "UserID"}) {
		t.Errorf("imported %+v", m)
	}
}
