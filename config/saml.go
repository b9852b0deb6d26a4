package config

import (
	"crypto/rsa"
	"crypto/x509"
	"net/url"
	"strings"
	"time"
)

// SAML is what identity providers know the gateway by.
type SAML struct {
	// KeyFile holds the RSA private key (PEM, at least 2048 bits) that signs
	// sign-in requests and decrypts assertions; jitgate keygen makes one.
	// Required.
	KeyFile string `yaml:"key_file"`

	// CertFile holds the key's certificate (PEM), which identity providers read
	// in the gateway's metadata. It may be self-signed, and must not have
	// expired. Required.
	CertFile string `yaml:"cert_file"`

	// EntityID is the URI that identity providers know the gateway by; changing
	// it means telling all of them. Default: base_url + /.jitgate/saml.
	EntityID string `yaml:"entity_id"`

	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

// KeyPair returns the key of KeyFile and the certificate of CertFile as Load
// read them.
func (s SAML) KeyPair() (*rsa.PrivateKey, *x509.Certificate) {
	return s.key, s.certificate
}

func (r *report) checkSAML(c *Config) {
	if !r.has("saml.entity_id") {
		c.SAML.EntityID = c.BaseURL + "/.jitgate/saml"
	} else if !validEntityID(c.SAML.EntityID) {
		r.add("saml.entity_id", "%q is not a URI of at most 1024 characters; write one like https://sso.example.com/.jitgate/saml", c.SAML.EntityID)
	}
	if !r.has("saml") {
		r.add("saml", "is missing; write saml: {key_file: sp.key, cert_file: sp.crt}, and make the two with: jitgate keygen")
		return
	}
	pair := r.keyPair("saml", &c.SAML.CertFile, &c.SAML.KeyFile)
	if pair == nil {
		return
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < 2048 {
		r.add("saml.key_file", "%q is not an RSA key of 2048 bits or more; make one with: jitgate keygen", c.SAML.KeyFile)
		return
	}
	const day = "2006-01-02"
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		r.add("saml.cert_file", "%q expired on %s; make another with: jitgate keygen, and send the new metadata to your identity providers", c.SAML.CertFile, pair.Leaf.NotAfter.Format(day))
	case now.Before(pair.Leaf.NotBefore):
		r.add("saml.cert_file", "%q is not valid before %s; wait, or set the clock of this machine", c.SAML.CertFile, pair.Leaf.NotBefore.Format(day))
	}
	c.SAML.key, c.SAML.certificate = key, pair.Leaf
}

// validEntityID reports whether s can be an entity ID (SAML core, section 8.3.6).
func validEntityID(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && len(s) <= 1024 && !strings.ContainsAny(s, " \t\r\n")
}
