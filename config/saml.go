package config

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
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

	// Rollover are further pairs of a key and its certificate, at most 3, each
	// {key_file: …, cert_file: …}: identity providers read their certificates in the
	// metadata too, and may encrypt to them; but the first pair signs. To replace it,
	// put the new one here until all identity providers know it, then let the two
	// change places, and take the old one away when none encrypts to it any more. A
	// certificate here may have expired. Default: none.
	Rollover []KeyFiles `yaml:"rollover"`

	// EntityID is the URI that identity providers know the gateway by; changing
	// it means telling all of them. Default: base_url + /.jitgate/saml.
	EntityID string `yaml:"entity_id"`

	pairs []KeyPair
}

// maxRollover is how many further pairs there may be: each costs a decryption of what
// is encrypted to nobody.
const maxRollover = 3

// KeyFiles are a private key and its certificate, like key_file and cert_file of saml.
type KeyFiles struct {
	// KeyFile holds an RSA private key (PEM, at least 2048 bits). Required.
	KeyFile string `yaml:"key_file"`

	// CertFile holds the key's certificate (PEM). Required.
	CertFile string `yaml:"cert_file"`
}

// A KeyPair is a private key and its certificate.
type KeyPair struct {
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate
}

// KeyPairs returns the keys and certificates as Load read them: the pair of KeyFile
// and CertFile first, then those of Rollover.
func (s SAML) KeyPairs() []KeyPair { return s.pairs }

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
	first := r.samlPair("saml", &c.SAML.KeyFile, &c.SAML.CertFile)
	if first.Key == nil {
		return
	}
	const day = "2006-01-02"
	switch now := time.Now(); {
	case now.After(first.Certificate.NotAfter):
		r.add("saml.cert_file", "%q expired on %s; make another with: jitgate keygen, and send the new metadata to your identity providers", c.SAML.CertFile, first.Certificate.NotAfter.Format(day))
	case now.Before(first.Certificate.NotBefore):
		r.add("saml.cert_file", "%q is not valid before %s; wait, or set the clock of this machine", c.SAML.CertFile, first.Certificate.NotBefore.Format(day))
	}
	c.SAML.pairs = []KeyPair{first}
	r.checkRollover(&c.SAML)
}

// checkRollover reads the further pairs.
func (r *report) checkRollover(c *SAML) {
	if len(c.Rollover) > maxRollover {
		r.add("saml.rollover", "has %d pairs; keep the %d at most that identity providers still use", len(c.Rollover), maxRollover)
		return
	}
	for i := range c.Rollover {
		section := fmt.Sprintf("saml.rollover[%d]", i)
		files := &c.Rollover[i]
		pair := r.samlPair(section, &files.KeyFile, &files.CertFile)
		if pair.Key == nil {
			continue
		}
		if slices.ContainsFunc(c.pairs, func(p KeyPair) bool { return p.Key.Equal(pair.Key) }) {
			r.add(section+".key_file", "%q is a key that is named before; name each once", files.KeyFile)
			continue
		}
		c.pairs = append(c.pairs, pair)
	}
}

// samlPair reads the key and the certificate of a section. It returns no key after
// recording why not.
func (r *report) samlPair(section string, keyFile, certFile *string) KeyPair {
	pair := r.keyPair(section, certFile, keyFile)
	if pair == nil {
		return KeyPair{}
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < 2048 {
		r.add(section+".key_file", "%q is not an RSA key of 2048 bits or more; make one with: jitgate keygen", *keyFile)
		return KeyPair{}
	}
	return KeyPair{key, pair.Leaf}
}

// validEntityID reports whether s can be an entity ID (SAML core, section 8.3.6).
func validEntityID(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && len(s) <= 1024 && !strings.ContainsAny(s, " \t\r\n")
}
