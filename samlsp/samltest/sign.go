package samltest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// The algorithms of XML signatures that [Signature] knows.
const (
	RSASHA1   = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
	RSASHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	RSASHA384 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
	RSASHA512 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
	HMACSHA1  = "http://www.w3.org/2000/09/xmldsig#hmac-sha1" // keyed with the public key, as an attacker would

	DigestSHA1   = "http://www.w3.org/2000/09/xmldsig#sha1"
	DigestSHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
	DigestSHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
	DigestSHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"

	Enveloped            = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	ExclusiveC14N        = "http://www.w3.org/2001/10/xml-exc-c14n#"
	ExclusiveC14NComment = "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"
	InclusiveC14N        = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
	InclusiveC14N11      = "http://www.w3.org/2006/12/xml-c14n11"
	TransformXSLT        = "http://www.w3.org/TR/1999/REC-xslt-19991116"
	TransformXPath       = "http://www.w3.org/TR/1999/REC-xpath-19991116"
)

// A KeyInfo says what a signature tells of its key.
type KeyInfo int

const (
	KeyInfoCertificate KeyInfo = iota // X509Data with the certificate
	KeyInfoNone                       // no KeyInfo at all
	KeyInfoName                       // KeyName alone
	KeyInfoRetrieval                  // RetrievalMethod, which points elsewhere
)

// A Signature is how an element is signed. With Key and Certificate alone it is
// what honest identity providers send: RSA-SHA256, exclusive canonicalisation,
// one Reference to the element's ID, the certificate in KeyInfo.
type Signature struct {
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate // goes into KeyInfo; need not fit Key

	Method           string   // default RSASHA256
	Digest           string   // default DigestSHA256
	Canonicalization string   // of SignedInfo; default ExclusiveC14N
	Transforms       []string // default Enveloped, ExclusiveC14N
	PrefixList       string   // InclusiveNamespaces of the exclusive transforms, such as "xs"
	KeyInfo          KeyInfo
	Prefix           string // of the signature's elements, such as "ds"; "" declares a default namespace

	// MutateSignedInfo changes SignedInfo before it is signed, so that the
	// signature is right for something wrong.
	MutateSignedInfo func(signedInfo *etree.Element)
}

// Sign signs el, in place, with an enveloped signature (SAML 2.0 core, section
// 5.4). The Signature comes right after el's Issuer, or first where it has none.
//
// The digest is that of el as it is, in the place where it is: namespaces that
// are declared further up count where the canonicalisation says so.
func (s Signature) Sign(el *etree.Element) error {
	sig, err := s.element(el)
	if err != nil {
		return fmt.Errorf("signing %q: %w", el.Tag, err)
	}
	at := 0
	if issuer := el.SelectElement("Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	el.InsertChildAt(at, sig)
	info := sig.SelectElement("SignedInfo")
	canonical, err := canonicalise(info, s.method(), "")
	if err != nil {
		return fmt.Errorf("signing %q: %w", el.Tag, err)
	}
	value, err := s.value(canonical)
	if err != nil {
		return fmt.Errorf("signing %q: %w", el.Tag, err)
	}
	sig.SelectElement("SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
	return nil
}

// method returns the canonicalisation of SignedInfo.
func (s Signature) method() string {
	return or(s.Canonicalization, ExclusiveC14N)
}

// element returns the Signature for el, with an empty SignatureValue.
func (s Signature) element(el *etree.Element) (*etree.Element, error) {
	transforms := s.Transforms
	if transforms == nil {
		transforms = []string{Enveloped, ExclusiveC14N}
	}
	digest, err := s.digest(el, transforms)
	if err != nil {
		return nil, err
	}
	add := func(parent *etree.Element, tag string) *etree.Element {
		child := parent.CreateElement(tag)
		child.Space = s.Prefix
		return child
	}
	algorithm := func(parent *etree.Element, tag, uri string) *etree.Element {
		e := add(parent, tag)
		e.CreateAttr("Algorithm", uri)
		if s.PrefixList != "" && tag == "Transform" && (uri == ExclusiveC14N || uri == ExclusiveC14NComment) {
			in := e.CreateElement("ec:InclusiveNamespaces")
			in.CreateAttr("xmlns:ec", ExclusiveC14N)
			in.CreateAttr("PrefixList", s.PrefixList)
		}
		return e
	}
	sig := etree.NewElement("Signature")
	sig.Space = s.Prefix
	if s.Prefix == "" {
		sig.CreateAttr("xmlns", NSSignature)
	} else {
		sig.CreateAttr("xmlns:"+s.Prefix, NSSignature)
	}
	info := add(sig, "SignedInfo")
	algorithm(info, "CanonicalizationMethod", s.method())
	algorithm(info, "SignatureMethod", or(s.Method, RSASHA256))
	reference := add(info, "Reference")
	reference.CreateAttr("URI", "#"+el.SelectAttrValue("ID", ""))
	list := add(reference, "Transforms")
	for _, uri := range transforms {
		algorithm(list, "Transform", uri)
	}
	algorithm(reference, "DigestMethod", or(s.Digest, DigestSHA256))
	add(reference, "DigestValue").SetText(base64.StdEncoding.EncodeToString(digest))
	if s.MutateSignedInfo != nil {
		s.MutateSignedInfo(info)
	}
	add(sig, "SignatureValue")
	s.keyInfo(sig, add)
	return sig, nil
}

func (s Signature) keyInfo(sig *etree.Element, add func(*etree.Element, string) *etree.Element) {
	if s.KeyInfo == KeyInfoNone {
		return
	}
	info := add(sig, "KeyInfo")
	switch s.KeyInfo {
	case KeyInfoName:
		add(info, "KeyName").SetText("signing")
	case KeyInfoRetrieval:
		add(info, "RetrievalMethod").CreateAttr("URI", "#key")
	default:
		raw := base64.StdEncoding.EncodeToString(s.Certificate.Raw)
		add(add(info, "X509Data"), "X509Certificate").SetText(raw)
	}
}

// digest returns the digest of el after the last canonicalisation among
// transforms; where there is none, after inclusive canonicalisation, which is
// what XML signatures then imply.
func (s Signature) digest(el *etree.Element, transforms []string) ([]byte, error) {
	method := InclusiveC14N
	for _, uri := range transforms {
		if _, ok := canonicalizer(uri, ""); ok {
			method = uri
		}
	}
	canonical, err := canonicalise(el, method, s.PrefixList)
	if err != nil {
		return nil, err
	}
	hash, ok := digestHash(or(s.Digest, DigestSHA256))
	if !ok {
		return nil, fmt.Errorf("unknown digest %q", s.Digest)
	}
	h := hash.New()
	h.Write(canonical)
	return h.Sum(nil), nil
}

// value returns the SignatureValue for the canonical SignedInfo.
func (s Signature) value(signedInfo []byte) ([]byte, error) {
	var hash crypto.Hash
	switch or(s.Method, RSASHA256) {
	case HMACSHA1:
		h := hmac.New(sha1.New, x509.MarshalPKCS1PublicKey(&s.Key.PublicKey))
		h.Write(signedInfo)
		return h.Sum(nil), nil
	case RSASHA1:
		hash = crypto.SHA1
	case RSASHA256:
		hash = crypto.SHA256
	case RSASHA384:
		hash = crypto.SHA384
	case RSASHA512:
		hash = crypto.SHA512
	default:
		return nil, fmt.Errorf("unknown signature method %q", s.Method)
	}
	h := hash.New()
	h.Write(signedInfo)
	return rsa.SignPKCS1v15(rand.Reader, s.Key, hash, h.Sum(nil))
}

func digestHash(uri string) (crypto.Hash, bool) {
	switch uri {
	case DigestSHA1:
		return crypto.SHA1, true
	case DigestSHA256:
		return crypto.SHA256, true
	case DigestSHA384:
		return crypto.SHA384, true
	case DigestSHA512:
		return crypto.SHA512, true
	}
	return 0, false
}

func canonicalizer(uri, prefixes string) (dsig.Canonicalizer, bool) {
	switch uri {
	case ExclusiveC14N:
		return dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(prefixes), true
	case ExclusiveC14NComment:
		return dsig.MakeC14N10ExclusiveWithCommentsCanonicalizerWithPrefixList(prefixes), true
	case InclusiveC14N:
		return dsig.MakeC14N10RecCanonicalizer(), true
	case InclusiveC14N11:
		return dsig.MakeC14N11Canonicalizer(), true
	}
	return nil, false
}

// canonicalise returns the canonical form of el where it stands. It works on a
// copy that declares what its ancestors do: goxmldsig changes what it is given,
// and its own way to detach an element refuses those with a thousand descendants,
// which tests need.
func canonicalise(el *etree.Element, method, prefixes string) ([]byte, error) {
	c, ok := canonicalizer(method, prefixes)
	if !ok {
		return nil, fmt.Errorf("unknown canonicalisation %q", method)
	}
	detached := el.Copy()
	for p := el.Parent(); p != nil; p = p.Parent() {
		for _, a := range p.Attr {
			declares := a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns"
			if declares && detached.SelectAttr(a.FullKey()) == nil {
				detached.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return c.Canonicalize(detached)
}

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
