package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// verifiers are the apps of deploy/jwt, which verify tokens.
var verifiers = []struct {
	name, program, install string
	needs                  string // a file, or ""
	argv                   []string
}{
	{"Go", "go", "", "", nil},
	{"Python", "/usr/bin/python3", "apt-get install python3-jwt python3-cryptography", "/usr/lib/python3/dist-packages/jwt/__init__.py", []string{"/usr/bin/python3", "../../deploy/jwt/app.py"}},
	{"Node", "node", "apt-get install nodejs", "", []string{"node", "../../deploy/jwt/app.mjs"}},
	{"Java", "java", "apt-get install default-jdk-headless", "", []string{"java", "-XX:TieredStopAtLevel=1", "../../deploy/jwt/App.java"}},
	{"nginx", "nginx", "apt-get install nginx-light libnginx-mod-http-js", "/usr/lib/nginx/modules/ngx_http_js_module.so", nil},
}

// TestVerifiers has each of the apps verify tokens: those of the gateway and no others.
func TestVerifiers(t *testing.T) {
	t.Parallel()
	testenv.Reads(t, "../../deploy/jwt")
	for _, v := range verifiers {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			_, err := exec.LookPath(v.program)
			if _, missing := os.Stat(v.needs); err != nil || v.needs != "" && missing != nil {
				testenv.Need(t, v.name, v.install)
			}
			port := testenv.FreePort(t)
			idp, s := localIdP(t), newSite(t)
			g := s.start("127.0.0.1", 0, strings.NewReplacer("PORT", fmt.Sprint(port), "IDP", idp.EntityID(), "ECHO", echoUpstream(t).URL).Replace(`
jwt: {keys: ["file:jwt.key"]}
redis: {embedded: true}
attributes: [{name: userName}, {name: email}]
directories: [{name: acme, domains: [acme.example]}]
identity_providers: [{name: acme, directory: acme, metadata: {url: "IDP"}}]
apps:
  - {name: wiki, upstream: "http://127.0.0.1:PORT", allow: {any_user: true}}
  - {name: other, path: /other, upstream: "ECHO", allow: {any_user: true}}
`))
			introduceSP(t, idp, g.file)
			env := []string{"env", "ISSUER=" + g.base, "APP=wiki", fmt.Sprintf("PORT=%d", port)}
			switch v.name {
			case "Go":
				testenv.Program(t, port, append(env, built(t, "../../deploy/jwt/go"))...)
			case "nginx":
				dir := jwtNginx(t, g, port)
				testenv.Program(t, port, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr", "-g", "daemon off; master_process off; pid nginx.pid; error_log stderr;")
			default:
				testenv.Program(t, port, append(env, v.argv...)...)
			}
			direct := fmt.Sprintf("http://127.0.0.1:%d/", port)
			testenv.Eventually(t, func() error { return answers(direct, http.StatusUnauthorized) })

			b := testenv.NewBrowser(t, nil)
			page, err := b.Login(g.base+"/page", "", "ann", "ann")
			if err != nil {
				t.Fatal(err)
			}
			if page.Status != http.StatusOK || !strings.Contains(page.Body, "ann@acme.example") {
				t.Fatalf("ann at the app: %d %s", page.Status, page.Body)
			}
			if page, err = b.Open(g.base + "/other/"); err != nil {
				t.Fatal(err)
			}
			key := readECKey(t, filepath.Join(s.dir, "jwt.key"))
			now := time.Now().Unix()
			claims := func(change map[string]any) map[string]any {
				all := map[string]any{"iss": g.base, "aud": "wiki", "sub": "1", "preferred_username": "ann", "iat": now, "exp": now + 60}
				for name, value := range change {
					all[name] = value
				}
				return all
			}
			kid := keyID(t, g)
			good := mint(t, key, kid, claims(nil))
			head, rest, _ := strings.Cut(good, ".")
			stranger := readECKey(t, filepath.Join(newSite(t).dir, "jwt.key"))
			const signs = `a"n & n\b<`
			for _, c := range []struct {
				why, token string
				status     int
			}{
				{"a good one", good, 200},
				{"a name of signs", mint(t, key, kid, claims(map[string]any{"preferred_username": signs})), 200},
				{"groups", mint(t, key, kid, claims(map[string]any{"email": "ann@acme.example", "groups": []string{"a,b", "c%"}})), 200},
				{"none", "", 401},
				{"that of another app", reached(t, page).Header.Get("X-Jitgate-Assertion"), 401},
				{"an old one", mint(t, key, kid, claims(map[string]any{"iat": now - 120, "exp": now - 60})), 401},
				{"of another gateway", mint(t, key, kid, claims(map[string]any{"iss": "https://evil.example"})), 401},
				{"signed by somebody else", mint(t, stranger, kid, claims(nil)), 401},
				{"by a key that there is not", mint(t, stranger, "nobody", claims(nil)), 401},
				{"changed", head + "." + "x" + rest, 401},
				{"not signed", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+kid+`"}`)) + "." + strings.Split(good, ".")[1] + ".", 401},
				{"nonsense", "a.b.c", 401},
			} {
				req, err := http.NewRequest(http.MethodGet, direct, nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.token != "" {
					req.Header.Set("X-Jitgate-Assertion", c.token)
				}
				for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Jitgate-Entitlements", "X-Jitgate-Directory", "X-Jitgate-Domain"} {
					req.Header.Set(name, "made-up")
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if strings.Contains(string(body), "made-up") {
					t.Errorf("%s: what the token does not say reaches the app: %s", c.why, body)
				}
				if res.StatusCode != c.status {
					t.Errorf("%s: %d %s, want %d", c.why, res.StatusCode, body, c.status)
				}
				if c.why == "groups" && v.name == "nginx" && (!strings.Contains(string(body), `"a%2Cb,c%25"`) || !strings.Contains(string(body), "ann@acme.example")) {
					t.Errorf("%s: the app gets %s", c.why, body)
				}
				// nginx is not the app, which prints what it gets in JSON.
				if c.why == "a name of signs" && v.name != "nginx" && string(body) != signs {
					t.Errorf("%s: %s, want %s", c.why, body, signs)
				}
			}
		})
	}
}

// jwtNginx returns a folder with the configuration of nginx for a gateway and port.
func jwtNginx(t *testing.T, g *replica, port int) string {
	t.Helper()
	dir := t.TempDir()
	base, err := url.Parse(g.base)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nginx.conf", "jwt.js"} {
		data, err := os.ReadFile(filepath.Join("../../deploy/jwt", name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("https://sso.example.com", g.base, "sso.example.com", base.Host, "127.0.0.1:8080", fmt.Sprintf("127.0.0.1:%d", g.listen),
			"127.0.0.1:8000", fmt.Sprintf("127.0.0.1:%d", port), "http://127.0.0.1:9000", echoUpstream(t).URL).Replace(string(data))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readECKey(t *testing.T, file string) *ecdsa.PrivateKey {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

// keyID returns the ID of the key that the gateway publishes.
func keyID(t *testing.T, g *replica) string {
	t.Helper()
	res, err := http.Get(g.base + "/.jitgate/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var set struct{ Keys []struct{ Kid string } }
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("keys %+v: %v", set, err)
	}
	return set.Keys[0].Kid
}

// mint signs claims.
func mint(t *testing.T, key *ecdsa.PrivateKey, kid string, claims map[string]any) string {
	t.Helper()
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	said := encode(map[string]string{"alg": "ES256", "typ": "JWT", "kid": kid}) + "." + encode(claims)
	sum := sha256.Sum256([]byte(said))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var both [64]byte
	r.FillBytes(both[:32])
	s.FillBytes(both[32:])
	return said + "." + base64.RawURLEncoding.EncodeToString(both[:])
}
