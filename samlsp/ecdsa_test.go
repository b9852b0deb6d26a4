package samlsp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"math/big"
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
			n := test.curve.Params().N
			for _, row := range []struct {
				what   string
				change func(r, s *big.Int)
				check  string
			}{
				{"A60 r and s as they are", func(_, _ *big.Int) {}, accept},
				{"A60 the other s, which is as good", func(_, s *big.Int) { s.Sub(n, s) }, accept},
				{"A60 another r", func(r, _ *big.Int) { r.Xor(r, big.NewInt(1)) }, "signature"},
				{"A60 another s", func(_, s *big.Int) { s.Xor(s, big.NewInt(1)) }, "signature"},
				{"A60 r is zero", func(r, _ *big.Int) { r.SetInt64(0) }, "signature"},
				{"A60 s is zero", func(_, s *big.Int) { s.SetInt64(0) }, "signature"},
				{"A60 both are zero", func(r, s *big.Int) { r.SetInt64(0); s.SetInt64(0) }, "signature"},
				{"A60 r is the order of the curve", func(r, _ *big.Int) { r.Set(n) }, "signature"},
				{"A60 s is the order of the curve", func(_, s *big.Int) { s.Set(n) }, "signature"},
				{"A60 both are the order of the curve", func(r, s *big.Int) { r.Set(n); s.Set(n) }, "signature"},
				{"A60 s is more than the order of the curve", func(_, s *big.Int) { s.Add(n, big.NewInt(1)) }, "signature"},
				{"A60 r and s exchanged", func(r, s *big.Int) { x := new(big.Int).Set(r); r.Set(s); s.Set(x) }, "signature"},
			} {
				t.Run(row.what, func(t *testing.T) {
					if _, err := r.finish(ecMessage(t, r, test.method, test.hash, key, func(_, _ *big.Int) {})); err != nil {
						t.Fatalf("the honest twin: %v", err)
					}
					id, err := r.finish(ecMessage(t, r, test.method, test.hash, key, row.change))
					if row.check != accept {
						wantRefusal(t, id, err, row.check)
					} else if err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// ecMessage returns a message that an elliptic curve key has signed. Its r and s
// are changed after that.
func ecMessage(t *testing.T, rig *rig, method string, hash crypto.Hash, key *ecdsa.PrivateKey, change func(r, s *big.Int)) *samltest.Message {
	t.Helper()
	m := rig.good()
	// samltest makes an RSA signature of this method; its value is then replaced
	// by that of the curve over the same SignedInfo.
	m.Signature.KeyInfo = samltest.KeyInfoNone
	m.Signature.MutateSignedInfo = func(info *etree.Element) {
		info.SelectElement("SignatureMethod").CreateAttr("Algorithm", method)
	}
	m.MutateSigned = func(doc *etree.Document) {
		signature := doc.FindElement("//Signature")
		r, s := signEC(t, key, hash, signature)
		change(r, s)
		size := (key.Curve.Params().BitSize + 7) / 8
		value := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		signature.SelectElement("SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
	}
	return m
}

// signEC signs the SignedInfo of a Signature that is in its document.
func signEC(t *testing.T, key *ecdsa.PrivateKey, hash crypto.Hash, signature *etree.Element) (r, s *big.Int) {
	t.Helper()
	info := signature.SelectElement("SignedInfo").Copy()
	info.CreateAttr("xmlns:ds", dsig.Namespace)
	canonical, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(info)
	if err != nil {
		t.Fatal(err)
	}
	h := hash.New()
	h.Write(canonical)
	r, s, err = ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}
