package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// JWT is the signed token (RFC 7519) that tells apps who a visitor is, and that they can
// verify: who reaches an app directly cannot make one. It is in X-Jitgate-Assertion.
type JWT struct {
	// Keys sign the tokens: each names a secret (env:NAME or file:PATH) that is a private
	// key on the curve P-256 in PEM, as jitgate keygen makes it. The first signs, and
	// apps read the public keys of all at /.jitgate/jwks.json. To replace it, put the new
	// one behind it, let the two change places after five minutes, when apps have read
	// it, and take the old one away a minute later. Default: none, and no token is sent.
	Keys []Secret `yaml:"keys"`

	decoded []*ecdsa.PrivateKey
}

// PrivateKeys returns the Keys as Load read them.
func (j JWT) PrivateKeys() []*ecdsa.PrivateKey { return j.decoded }

func (r *report) checkJWT(c *JWT) {
	for i, secret := range c.Keys {
		path := fmt.Sprintf("jwt.keys[%d]", i)
		if secret.Reveal() == "" {
			continue // it is named in a wrong way, and that was said
		}
		key, ok := parseECKey(secret.Reveal())
		if !ok {
			r.add(path, "the key named here is not a private key on P-256 in PEM; make one with: jitgate keygen")
			continue
		}
		for j, other := range c.decoded {
			if other.Equal(key) {
				r.add(path, "the key named here is that of jwt.keys[%d] too; make another with: jitgate keygen", j)
			}
		}
		c.decoded = append(c.decoded, key)
	}
}

// parseECKey reads a private key on P-256 in PKCS #8 or as RFC 5915 has it.
func parseECKey(text string) (*ecdsa.PrivateKey, bool) {
	block, _ := pem.Decode([]byte(text + "\n"))
	if block == nil {
		return nil, false
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	return key, err == nil && ok && key.Curve == elliptic.P256()
}
