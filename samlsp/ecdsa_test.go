package samlsp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// An IdP with an elliptic curve key signs with r and s side by side, of the
// curve's size each, leading zeros and all (RFC 6931, 2.3.6).
func TestECDSA(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, method string
		curve        elliptic.Curve
		hash         crypto.Hash
	}{
		{"P-256", dsig.ECDSASHA256SignatureMethod, elliptic.P256(), crypto.SHA256},
		{"P-384", dsig.ECDSASHA384SignatureMethod, elliptic.P384(), crypto.SHA384},
		{"P-521", dsig.ECDSASHA512SignatureMethod, elliptic.P521(), crypto.SHA512},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(test.curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, nil)
			metadata := r.idp.Metadata()
			metadata.Certificates = append(metadata.Certificates, ecCertificate(t, test.curve, key))
			r.writeMetadata(metadata)
			if _, err := r.sp.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			m := r.good()
			// samltest makes an RSA signature of this method; its value is then
			// replaced by that of the curve over the same SignedInfo.
			m.Signature.KeyInfo = samltest.KeyInfoNone
			m.Signature.MutateSignedInfo = func(info *etree.Element) {
				info.SelectElement("SignatureMethod").CreateAttr("Algorithm", test.method)
			}
			change := 0
			m.MutateSigned = func(doc *etree.Document) {
				signature := doc.FindElement("//Signature")
				size := (test.curve.Params().BitSize + 7) / 8
				value := signEC(t, key, test.hash, size, signature)
				value[0] ^= byte(change)
				signature.SelectElement("SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
			}
			if _, err := r.finish(m); err != nil {
				t.Error(err)
			}
			change = 1
			id, err := r.finish(m)
			wantRefusal(t, id, err, "signature")
		})
	}
}

// signEC signs the SignedInfo of a Signature that is in its document.
func signEC(t *testing.T, key *ecdsa.PrivateKey, hash crypto.Hash, size int, signature *etree.Element) []byte {
	t.Helper()
	info := signature.SelectElement("SignedInfo").Copy()
	info.CreateAttr("xmlns:ds", dsig.Namespace)
	canonical, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(info)
	if err != nil {
		t.Fatal(err)
	}
	h := hash.New()
	h.Write(canonical)
	r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}
