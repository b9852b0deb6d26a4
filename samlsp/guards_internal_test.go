package samlsp

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// What follows the root and cannot be read is an error like any other.
func TestAfterRoot(t *testing.T) {
	t.Parallel()
	text := wholeMessages()["clear"]
	if _, err := preflight([]byte(text + "\n")); err != nil {
		t.Fatal(err)
	}
	for _, after := range []string{"<", "<!", "</", "<x", "&#0;"} {
		if _, err := preflight([]byte(text + after)); !isRefusal(err, checkXML) {
			t.Errorf("%q after the root: %v, want it refused", after, err)
		}
	}
}

// Base64 may end with one line end, and not with an empty line.
func TestEmptyLine(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{"QUJD": true, "QUJD\n": true, "QUJD\r\n": true, "QUJD\n\n": false, "QUJD\r\n\r\n": false, "\nQUJD": false} {
		if _, err := decode(text); (err == nil) != ok {
			t.Errorf("%q: %v, want it accepted: %v", text, err, ok)
		}
	}
}

// Metadata is good until the earliest of the ends that its elements name.
func TestEarliestEnd(t *testing.T) {
	t.Parallel()
	const first, second = "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"
	for _, ends := range [][]string{{first, second}, {second, first}} {
		var v validity
		for _, end := range ends {
			var err error
			if v, err = v.narrow(validityXML{ValidUntil: end}); err != nil {
				t.Fatal(err)
			}
		}
		if got := v.validUntil.UTC().Format(time.RFC3339); got != first {
			t.Errorf("of %q: until %s, want %s", ends, got, first)
		}
	}
}

// Signers are strong keys of the two kinds that we verify with.
func TestStrong(t *testing.T) {
	t.Parallel()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if strong(&x509.Certificate{PublicKey: public}) {
		t.Error("a key of Ed25519 is strong, want RSA and ECDSA alone")
	}
	if !strong(testenv.SelfSigned().Certificate) {
		t.Error("a good key is not strong")
	}
}

func TestTwoSignatures(t *testing.T) {
	t.Parallel()
	const text = `<EntityDescriptor xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Signature/><ds:Signature/></EntityDescriptor>`
	_, err := signedMetadata([]byte(text), nil, time.Now())
	if err == nil || !strings.Contains(err.Error(), "2 signatures") {
		t.Errorf("%v, want the two signatures refused", err)
	}
}

func TestSignerFiles(t *testing.T) {
	t.Parallel()
	good := testenv.SelfSigned()
	other := pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: good.Certificate.Raw})
	for name, test := range map[string]struct {
		data []byte
		ok   bool
	}{
		"a certificate":             {good.CertPEM(), true},
		"two":                       {append(good.CertPEM(), testenv.SelfSigned().CertPEM()...), true},
		"nothing":                   {nil, false},
		"a block of another type":   {other, false},
		"a certificate and another": {append(good.CertPEM(), other...), false},
		"a certificate and text":    {append(good.CertPEM(), "text"...), false},
		"a certificate and spaces":  {append(good.CertPEM(), " \n"...), true},
	} {
		if _, err := parsePEMCertificates(test.data); (err == nil) != test.ok {
			t.Errorf("%s: %v, want it accepted: %v", name, err, test.ok)
		}
	}
}

// Metadata that other signers vouched for is not taken over.
func TestInheritSigners(t *testing.T) {
	t.Parallel()
	one, two := testenv.SelfSigned().Certificate, testenv.SelfSigned().Certificate
	old := &SP{signers: []*x509.Certificate{one}}
	old.idp.Store(&idp{})
	for name, test := range map[string]struct {
		signers []*x509.Certificate
		want    bool
	}{"the same": {[]*x509.Certificate{one}, true}, "another": {[]*x509.Certificate{two}, false}, "one more": {[]*x509.Certificate{one, two}, false}, "none": {nil, false}} {
		sp := &SP{signers: test.signers}
		if got := sp.Inherit(old); got != test.want {
			t.Errorf("%s: taken over: %v, want %v", name, got, test.want)
		}
	}
}
