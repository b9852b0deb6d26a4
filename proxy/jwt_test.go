package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A claimSet is what a token says.
type claimSet struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	Subject      string   `json:"sub"`
	UserName     string   `json:"preferred_username"`
	Email        string   `json:"email"`
	Directory    string   `json:"directory"`
	Domain       string   `json:"domain"`
	Groups       []string `json:"groups"`
	Entitlements []string `json:"entitlements"`
	Issued       int64    `json:"iat"`
	Expires      int64    `json:"exp"`
}

// verify verifies a token by the keys that the gateway publishes, as RFC 7515 has it.
func (s *site) verify(token string) (claimSet, string) {
	s.t.Helper()
	res, body := s.get(s.browser(), s.url("wiki", "/.jitgate/jwks.json"))
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/jwk-set+json" || res.Header.Get("Cache-Control") != "public, max-age=300" {
		s.t.Fatalf("the keys: %d %v", res.StatusCode, res.Header)
	}
	var set struct {
		Keys []struct{ Kty, Crv, X, Y, Use, Alg, Kid string }
	}
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		s.t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		s.t.Fatalf("token %q", token)
	}
	decode := func(part string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			s.t.Fatal(err)
		}
		return data
	}
	var header struct{ Alg, Typ, Kid string }
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil || header.Alg != "ES256" || header.Typ != "JWT" {
		s.t.Fatalf("header %s: %v", decode(parts[0]), err)
	}
	for _, key := range set.Keys {
		if key.Kid != header.Kid {
			continue
		}
		if key.Kty != "EC" || key.Crv != "P-256" || key.Use != "sig" || key.Alg != "ES256" {
			s.t.Errorf("key %+v", key)
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, decode(key.X), decode(key.Y)))
		if err != nil {
			s.t.Fatal(err)
		}
		sum, sig := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decode(parts[2])
		if len(sig) != 64 || !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
			s.t.Errorf("token %s is not signed by key %s", token, key.Kid)
		}
		var claims claimSet
		if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
			s.t.Fatal(err)
		}
		return claims, header.Kid
	}
	s.t.Fatalf("no key %s in %s", header.Kid, body)
	return claimSet{}, ""
}

// jwtSite is a site whose apps get tokens, signed by the first of two keys.
func jwtSite(t *testing.T, rdb redis.UniversalClient, change func(o *setup)) *site {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"one.key", "two.key"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), nil)
		if err != nil {
			t.Fatal(err)
		}
		pem := testenv.SelfSign(key, time.Now(), time.Now().Add(time.Hour)).KeyPEM()
		if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := setup{top: "jwt: {keys: [\"file:" + dir + "/one.key\", \"file:" + dir + "/two.key\"]}\ntrusted_proxies: [192.0.2.0/24]", apps: "  - {name: fwd, host: wiki.example.com, path: /fwd, forward_auth: true, allow: {any_user: true}, public: [/fwd/public/]}\n"}
	if change != nil {
		change(&o)
	}
	return newSite(t, rdb, o)
}

func TestJWT(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := jwtSite(t, rdb, nil)
		followed(t, s.Gateway) // so that sessions are remembered, with their tokens
		ann := s.signedIn("ann", s.url("wiki", "/"))
		token := func() string {
			t.Helper()
			_, body := s.get(ann, s.url("wiki", "/x"), "X-Jitgate-Assertion: forged", "X_Jitgate_Assertion: forged")
			var seen struct{ Header http.Header }
			if err := json.Unmarshal([]byte(body), &seen); err != nil {
				t.Fatal(err)
			}
			values := seen.Header.Values("X-Jitgate-Assertion")
			if len(values) != 1 || strings.Contains(body, "forged") {
				t.Fatalf("tokens %q in %s", values, body)
			}
			return values[0]
		}
		first := token()
		got, _ := s.verify(first)
		now := s.clock.Now().Unix()
		if got.Issuer != s.origin || got.Audience != "wiki" || got.Subject != s.userID("ann") || got.UserName != "ann" || got.Email != "ann@acme.example" ||
			got.Directory != "acme" || got.Domain != "acme.example" || !slices.Equal(got.Groups, []string{"a,b", "engineers"}) || !slices.Equal(got.Entitlements, []string{"wiki"}) {
			t.Errorf("the token says %+v", got)
		}
		if got.Issued > now || got.Issued < now-5 || got.Expires-got.Issued != 60 {
			t.Errorf("issued at %d, good until %d; it is %d", got.Issued, got.Expires, now)
		}

		// One is sent for half of its life, and no longer.
		read := s.memory.misses.Load()
		s.clock.Add(20 * time.Second)
		if token() != first && s.memory.misses.Load() == read { // else it was not remembered, on a machine that is busy
			t.Error("a new token after 20 s")
		}
		s.clock.Add(15 * time.Second)
		second := token()
		if again, _ := s.verify(second); second == first || again.Expires < s.clock.Now().Unix()+25 {
			t.Errorf("after 35 s the token is good until %d, and it is %d", again.Expires, s.clock.Now().Unix())
		}

		// Each app has its own, and none is sent for public paths.
		if _, err := ann.Open(s.url("sso", "/tools/")); err != nil {
			t.Fatal(err)
		}
		_, body := s.get(ann, s.url("sso", "/tools/x"))
		var seen struct{ Header http.Header }
		if err := json.Unmarshal([]byte(body), &seen); err != nil {
			t.Fatal(err)
		}
		if tools, _ := s.verify(seen.Header.Get("X-Jitgate-Assertion")); tools.Audience != "tools" {
			t.Errorf("the token of tools is for %q", tools.Audience)
		}
		if _, body := s.get(ann, s.url("wiki", "/public/x"), "X-Jitgate-Assertion: forged"); strings.Contains(body, "Assertion") {
			t.Errorf("a public path gets a token: %s", body)
		}

		// Who asks for another proxy gets one too.
		res := s.asksAbout("192.0.2.7", "/.jitgate/auth", cookieHeader(ann, s), "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /fwd/x")
		if asked, _ := s.verify(res.Header.Get("X-Jitgate-Assertion")); asked.Audience != "fwd" {
			t.Errorf("the token over forward-auth is for %q", asked.Audience)
		}
		res = s.asksAbout("192.0.2.7", "/.jitgate/auth", "", "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /fwd/public/x")
		if values, ok := res.Header["X-Jitgate-Assertion"]; !ok || len(values) != 1 || values[0] != "" {
			t.Errorf("the token over forward-auth for a public path is %q, want an empty one", values)
		}
	})
}

// A key is published before it signs and after it did, so that at no time is there a
// token that somebody with older keys could not verify.
func TestJWTRotation(t *testing.T) {
	t.Parallel()
	s := jwtSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), nil)
	ann := s.signedIn("ann", s.url("wiki", "/"))
	sign := func() string {
		_, body := s.get(ann, s.url("wiki", "/x"))
		var seen struct{ Header http.Header }
		if err := json.Unmarshal([]byte(body), &seen); err != nil {
			t.Fatal(err)
		}
		return seen.Header.Get("X-Jitgate-Assertion")
	}
	before := sign()
	_, one := s.verify(before)
	next := *s.cfg
	next.JWT.Keys = nil
	slices.Reverse(next.JWT.PrivateKeys()) // what a file with the two in the other order has
	s.cfg = &next
	s.replace()
	_, two := s.verify(sign())
	if _, again := s.verify(before); again != one || two == one {
		t.Errorf("signed by %s and then by %s; the first is verified by %s", one, two, again)
	}
}

// How old a token is, apps tell by the wall clock. One that was made before that was set
// must not go on as if it had not been, which the monotonic clock would say.
func TestJWTByTheWall(t *testing.T) {
	t.Parallel()
	s := jwtSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), nil)
	b := &badge{claims: "{\"x\":1"}
	if _, err := s.signer.token(b, time.Now()); err != nil {
		t.Fatal(err)
	}
	if made := b.now.Load().made; made != made.Round(0) {
		t.Errorf("the token was made at %v", made)
	}
}

// Without keys there are no tokens.
func TestNoJWT(t *testing.T) {
	t.Parallel()
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{})
	ann := s.signedIn("ann", s.url("wiki", "/"))
	if _, body := s.get(ann, s.url("wiki", "/x")); strings.Contains(body, "Assertion") {
		t.Errorf("the app gets a token: %s", body)
	}
	if res, _ := s.get(ann, s.url("wiki", "/.jitgate/jwks.json")); res.StatusCode != http.StatusNotFound {
		t.Errorf("the keys: %d, want 404", res.StatusCode)
	}
}
