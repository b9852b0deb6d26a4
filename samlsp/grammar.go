package samlsp

import (
	"strings"
)

// schema is what a message may consist of, one element a line: its name, then
// its children. "?" may be absent, "*" and "+" may be many, "{2}" are two, "a|b"
// is one or the other; "text" is character data. White space between elements is
// allowed everywhere. "parent/element" is that element in that parent alone.
//
// Children are counted and not put in order: signatures say what is signed, and
// no reader here depends on the order.
//
// It is narrower than the OASIS schema where that leaves doors open: no
// Extensions, Advice, Object, Manifest, RetrievalMethod, CipherReference, XPath,
// BaseID, EncryptedID, EncryptedAttribute or AuthzDecisionStatement, and no
// element of another namespace. It lets through what SimpleSAMLphp, Keycloak,
// LemonLDAP::NG, Shibboleth, AD FS, Entra and Okta send:
//
//   - A Response without any Assertion is an error report (its Status decides).
//     StatusDetail may hold text, nothing else.
//   - KeyInfo of a signature needs a certificate or a key beside a mere name. We
//     use neither: the keys are those of the metadata.
//   - An AttributeValue is text, or one NameID (eduPersonTargetedID).
//   - One SubjectConfirmation, since each one is a way in.
//   - InclusiveNamespaces, which the Java IdPs and Okta add.
const schema = `
samlp:Response                    saml:Issuer? ds:Signature? samlp:Status saml:Assertion|saml:EncryptedAssertion?
samlp:LogoutRequest               saml:Issuer ds:Signature? saml:NameID samlp:SessionIndex*
samlp:SessionIndex                text
samlp:LogoutResponse              saml:Issuer ds:Signature? samlp:Status
samlp:Status                      samlp:StatusCode samlp:StatusMessage? samlp:StatusDetail?
samlp:StatusCode                  samlp:StatusCode?
samlp:StatusMessage               text
samlp:StatusDetail                text

saml:Assertion                    saml:Issuer ds:Signature? saml:Subject saml:Conditions saml:AuthnStatement* saml:AttributeStatement*
saml:Issuer                       text
saml:Subject                      saml:NameID saml:SubjectConfirmation
saml:NameID                       text
saml:SubjectConfirmation          saml:SubjectConfirmationData
saml:SubjectConfirmationData
saml:Conditions                   saml:AudienceRestriction* saml:OneTimeUse? saml:ProxyRestriction?
saml:AudienceRestriction          saml:Audience+
saml:Audience                     text
saml:OneTimeUse
saml:ProxyRestriction             saml:Audience*
saml:AuthnStatement               saml:SubjectLocality? saml:AuthnContext
saml:SubjectLocality
saml:AuthnContext                 saml:AuthnContextClassRef? saml:AuthnContextDeclRef? saml:AuthenticatingAuthority*
saml:AuthnContextClassRef         text
saml:AuthnContextDeclRef          text
saml:AuthenticatingAuthority      text
saml:AttributeStatement           saml:Attribute*
saml:Attribute                    saml:AttributeValue*
saml:AttributeValue               text saml:NameID?

saml:EncryptedAssertion           xenc:EncryptedData xenc:EncryptedKey?
xenc:EncryptedData                xenc:EncryptionMethod ds:KeyInfo? xenc:CipherData
xenc:EncryptedData/ds:KeyInfo     ds:KeyName* xenc:EncryptedKey?
xenc:EncryptedKey                 xenc:EncryptionMethod ds:KeyInfo? xenc:CipherData xenc:ReferenceList? xenc:CarriedKeyName?
xenc:EncryptedKey/ds:KeyInfo      ds:KeyName|ds:X509Data|ds:KeyValue*
xenc:EncryptionMethod             xenc:KeySize? ds:DigestMethod? xenc11:MGF?
xenc:KeySize                      text
xenc11:MGF
xenc:CipherData                   xenc:CipherValue
xenc:CipherValue                  text
xenc:ReferenceList                xenc:DataReference*
xenc:DataReference
xenc:CarriedKeyName               text

ds:Signature                      ds:SignedInfo ds:SignatureValue ds:KeyInfo?
ds:SignedInfo                     ds:CanonicalizationMethod ds:SignatureMethod ds:Reference
ds:CanonicalizationMethod         ec:InclusiveNamespaces?
ds:SignatureMethod
ds:Reference                      ds:Transforms ds:DigestMethod ds:DigestValue
ds:Transforms                     ds:Transform{2}
ds:Transform                      ec:InclusiveNamespaces?
ec:InclusiveNamespaces
ds:DigestMethod
ds:DigestValue                    text
ds:SignatureValue                 text
ds:Signature/ds:KeyInfo           ds:KeyName* ds:X509Data|ds:KeyValue+
ds:KeyName                        text
ds:X509Data                       ds:X509Certificate|ds:X509IssuerSerial|ds:X509SubjectName|ds:X509SKI+
ds:X509Certificate                text
ds:X509IssuerSerial               ds:X509IssuerName ds:X509SerialNumber
ds:X509IssuerName                 text
ds:X509SerialNumber               text
ds:X509SubjectName                text
ds:X509SKI                        text
ds:KeyValue                       ds:RSAKeyValue|dsig11:ECKeyValue
ds:RSAKeyValue                    ds:Modulus ds:Exponent
ds:Modulus                        text
ds:Exponent                       text
dsig11:ECKeyValue                 dsig11:NamedCurve dsig11:PublicKey
dsig11:NamedCurve
dsig11:PublicKey                  text
`

// algorithms is what the Algorithm attribute of an element may be. The two
// Transforms have to be these two, in this order. The methods of encryption
// depend on the IdP's configuration: decrypt.go.
const algorithms = `
ds:CanonicalizationMethod              http://www.w3.org/2001/10/xml-exc-c14n#
ds:SignatureMethod                     http://www.w3.org/2001/04/xmldsig-more#rsa-sha256
ds:SignatureMethod                     http://www.w3.org/2001/04/xmldsig-more#rsa-sha384
ds:SignatureMethod                     http://www.w3.org/2001/04/xmldsig-more#rsa-sha512
ds:SignatureMethod                     http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256
ds:SignatureMethod                     http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384
ds:SignatureMethod                     http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512
ds:Reference/ds:DigestMethod           http://www.w3.org/2001/04/xmlenc#sha256
ds:Reference/ds:DigestMethod           http://www.w3.org/2001/04/xmldsig-more#sha384
ds:Reference/ds:DigestMethod           http://www.w3.org/2001/04/xmlenc#sha512
ds:Transform                           http://www.w3.org/2000/09/xmldsig#enveloped-signature
ds:Transform                           http://www.w3.org/2001/10/xml-exc-c14n#
`

// prefixes are the prefixes of the two tables above. A message may use others.
const prefixes = `
samlp   urn:oasis:names:tc:SAML:2.0:protocol
saml    urn:oasis:names:tc:SAML:2.0:assertion
ds      http://www.w3.org/2000/09/xmldsig#
dsig11  http://www.w3.org/2009/xmldsig11#
ec      http://www.w3.org/2001/10/xml-exc-c14n#
xenc    http://www.w3.org/2001/04/xmlenc#
xenc11  http://www.w3.org/2009/xmlenc11#
xsi     http://www.w3.org/2001/XMLSchema-instance
xml     http://www.w3.org/XML/1998/namespace
`

const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsDiscovery = "urn:oasis:names:tc:SAML:profiles:SSO:idp-discovery-protocol"
	nsXML       = "http://www.w3.org/XML/1998/namespace"
)

// A grammar is the tables above, made ready for looking up. It is never changed
// once it is made.
type grammar struct {
	elements   map[string]*element // by name, or parent/name
	algorithms map[string][]string // by name, or parent/name
	prefixes   map[string]string   // by namespace
}

// An element is one line of the schema.
type element struct {
	text  bool
	slots []slot
}

// A slot is one word of the line: how many of these names there have to be.
type slot struct {
	names     []string
	low, high int
}

// slot returns the index of the slot that name goes into, or -1.
func (e *element) slot(name string) int {
	for i, s := range e.slots {
		for _, n := range s.names {
			if n == name {
				return i
			}
		}
	}
	return -1
}

// element returns the line for name in parent.
func (g *grammar) element(parent, name string) (*element, bool) {
	if e, ok := g.elements[parent+"/"+name]; ok {
		return e, true
	}
	e, ok := g.elements[name]
	return e, ok
}

// algorithm returns what the Algorithm of name in parent may be; nil: anything.
func (g *grammar) algorithm(parent, name string) []string {
	if list, ok := g.algorithms[parent+"/"+name]; ok {
		return list
	}
	return g.algorithms[name]
}

func parseGrammar(schema, algorithms string) *grammar {
	g := &grammar{elements: map[string]*element{}, algorithms: map[string][]string{}, prefixes: map[string]string{}}
	for line := range strings.Lines(prefixes) {
		if f := strings.Fields(line); len(f) == 2 {
			g.prefixes[f[1]] = f[0]
		}
	}
	for line := range strings.Lines(algorithms) {
		if f := strings.Fields(line); len(f) == 2 {
			g.algorithms[f[0]] = append(g.algorithms[f[0]], f[1])
		}
	}
	for line := range strings.Lines(schema) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		e := &element{}
		for _, word := range f[1:] {
			if word == "text" {
				e.text = true
				continue
			}
			e.slots = append(e.slots, parseSlot(word))
		}
		g.elements[f[0]] = e
	}
	return g
}

func parseSlot(word string) slot {
	const many = maxElements
	low, high := 1, 1
	for _, mark := range []struct {
		suffix    string
		low, high int
	}{{"?", 0, 1}, {"*", 0, many}, {"+", 1, many}, {"{2}", 2, 2}} {
		if names, ok := strings.CutSuffix(word, mark.suffix); ok {
			word, low, high = names, mark.low, mark.high
		}
	}
	return slot{names: strings.Split(word, "|"), low: low, high: high}
}
