package samlsp

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

// verify checks the enveloped signature of el with each of the certificates in
// turn, and returns what was signed, which is el as the canonical form has it,
// without the signature; and the certificate. It is only for elements that passed
// the preflight, which is what says that the signature is a child of el, over el
// and by allowed algorithms.
//
// The key is that of a certificate in the metadata or none. Certificates out of their time at that time are passed over.
func verify(el *etree.Element, certificates []*x509.Certificate, at time.Time) (*etree.Element, *x509.Certificate, error) {
	detached, err := detach(el)
	if err != nil {
		return nil, nil, refuse(checkSignature, plain(err), "")
	}
	signature := detached.SelectElement("Signature")
	if signature == nil {
		return nil, nil, refuse(checkUnsigned, el.Tag, "")
	}
	value := signature.SelectElement("SignatureValue")
	if value == nil {
		return nil, nil, refuse(checkSignature, "no value", "")
	}
	raw, err := base64.StdEncoding.DecodeString(stripSpace(value.Text()))
	if err != nil || len(raw) == 0 {
		return nil, nil, refuse(checkSignature, "no base64 in its value", "")
	}
	var last error = refuse(checkCertificateExpired, "", "a certificate in its time")
	for _, certificate := range certificates {
		if !inTime(certificate, at) {
			continue
		}
		value.SetText(base64.StdEncoding.EncodeToString(signatureFor(certificate, raw)))
		signed, err := verifyWith(detached, certificate, at)
		if err != nil {
			last = refuse(checkSignature, el.Tag+": "+plain(err), "")
			continue
		}
		return signed, certificate, nil
	}
	return nil, nil, last
}

// detach returns a copy of el that stands alone, with the namespaces around it, and
// without what its signature says of the key.
func detach(el *etree.Element) (*etree.Element, error) {
	ctx, err := etreeutils.NSBuildParentContext(el)
	if err != nil {
		return nil, err
	}
	if el, err = etreeutils.NSDetatch(ctx, el); err != nil {
		return nil, err
	}
	if signature := el.SelectElement("Signature"); signature != nil {
		if info := signature.SelectElement("KeyInfo"); info != nil {
			signature.RemoveChild(info)
		}
	}
	return el, nil
}

// sameElements reports whether two elements that stand alone are the same to the last
// character, so that what was found of the signature of one holds for the other.
func sameElements(a, b *etree.Element) bool {
	sameAttr := func(a, b etree.Attr) bool { return a.Space == b.Space && a.Key == b.Key && a.Value == b.Value }
	return a.Space == b.Space && a.Tag == b.Tag && slices.EqualFunc(a.Attr, b.Attr, sameAttr) && slices.EqualFunc(a.Child, b.Child, sameTokens)
}

// sameTokens is sameElements for what is in an element.
func sameTokens(a, b etree.Token) bool {
	switch a := a.(type) {
	case *etree.Element:
		b, ok := b.(*etree.Element)
		return ok && sameElements(a, b)
	case *etree.CharData:
		b, ok := b.(*etree.CharData)
		return ok && a.Data == b.Data && a.IsCData() == b.IsCData()
	}
	return false // the preflight lets no comments and the like in
}

// verifyWith checks the signature of el with that certificate's key. The library
// looks at the certificate's time too.
func verifyWith(el *etree.Element, certificate *x509.Certificate, at time.Time) (*etree.Element, error) {
	v := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{certificate}})
	v.IdAttribute = "ID"
	v.Clock = dsig.NewFakeClockAt(at)
	signed, err := v.Validate(el)
	if err != nil {
		return nil, err
	}
	if id := signed.SelectAttrValue("ID", ""); signed.Tag != el.Tag || id == "" || id != el.SelectAttrValue("ID", "") {
		return nil, errors.New("another element was signed")
	}
	return signed, nil
}

// signatureFor returns the signature as crypto/x509 reads it. XML Signature has
// an ECDSA signature as r and s side by side (RFC 6931, 2.3.6), x509 as ASN.1.
func signatureFor(certificate *x509.Certificate, raw []byte) []byte {
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return raw
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(raw) != 2*size {
		return raw
	}
	r, s := new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		return raw
	}
	return der
}

// inTime reports whether the certificate is good at that time.
func inTime(certificate *x509.Certificate, at time.Time) bool {
	return !at.Before(certificate.NotBefore) && !at.After(certificate.NotAfter)
}

// stripSpace removes the white space that base64 in XML may have (xs:base64Binary).
func stripSpace(s string) string {
	return strings.Join(strings.Fields(s), "")
}

// canonical returns the bytes of an element that verify returned. White space
// and line ends in it come out of the writer as they went into the digest.
func canonical(el *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.WriteSettings = etree.WriteSettings{CanonicalEndTags: true, CanonicalText: true, CanonicalAttrVal: true}
	doc.SetRoot(el.Copy())
	return doc.WriteToBytes()
}
