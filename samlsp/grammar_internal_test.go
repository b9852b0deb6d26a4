package samlsp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// Two messages in which each element of the schema stands that can.
const (
	declared = `xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"
 xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"
 xmlns:xenc11="http://www.w3.org/2009/xmlenc11#" xmlns:dsig11="http://www.w3.org/2009/xmldsig11#"`

	wholeSignature = `<ds:Signature><ds:SignedInfo>
<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"><ec:InclusiveNamespaces PrefixList="xs"/></ds:CanonicalizationMethod>
<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>
<ds:Reference URI="#_ID"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"><ec:InclusiveNamespaces PrefixList="xs"/></ds:Transform></ds:Transforms>
<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>
</ds:SignedInfo><ds:SignatureValue>AAAA</ds:SignatureValue>
<ds:KeyInfo><ds:KeyName>k</ds:KeyName><ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate>
<ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial>
<ds:X509SubjectName>CN=x</ds:X509SubjectName><ds:X509SKI>AAAA</ds:X509SKI></ds:X509Data>
<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AAAA</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>
<ds:KeyValue><dsig11:ECKeyValue><dsig11:NamedCurve URI="urn:x"/><dsig11:PublicKey>AAAA</dsig11:PublicKey></dsig11:ECKeyValue></ds:KeyValue></ds:KeyInfo></ds:Signature>`

	wholeStatus = `<samlp:Status><samlp:StatusCode Value="urn:x"><samlp:StatusCode Value="urn:y"/></samlp:StatusCode>
<samlp:StatusMessage>m</samlp:StatusMessage><samlp:StatusDetail>d</samlp:StatusDetail></samlp:Status>`

	wholeAssertion = `<saml:Assertion ID="_assertion"><saml:Issuer>i</saml:Issuer>SIGNATURE
<saml:Subject><saml:NameID>ann</saml:NameID><saml:SubjectConfirmation><saml:SubjectConfirmationData/></saml:SubjectConfirmation></saml:Subject>
<saml:Conditions><saml:AudienceRestriction><saml:Audience>a</saml:Audience></saml:AudienceRestriction><saml:OneTimeUse/>
<saml:ProxyRestriction><saml:Audience>a</saml:Audience></saml:ProxyRestriction></saml:Conditions>
<saml:AuthnStatement><saml:SubjectLocality/><saml:AuthnContext><saml:AuthnContextClassRef>c</saml:AuthnContextClassRef>
<saml:AuthnContextDeclRef>d</saml:AuthnContextDeclRef><saml:AuthenticatingAuthority>a</saml:AuthenticatingAuthority></saml:AuthnContext></saml:AuthnStatement>
<saml:AttributeStatement><saml:Attribute Name="n"><saml:AttributeValue>v</saml:AttributeValue></saml:Attribute>
<saml:Attribute Name="m"><saml:AttributeValue><saml:NameID>v</saml:NameID></saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>`

	wholeKey = `<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="urn:x"><xenc:KeySize>2048</xenc:KeySize>
<ds:DigestMethod Algorithm="urn:x"/><xenc11:MGF Algorithm="urn:x"/></xenc:EncryptionMethod>
<ds:KeyInfo><ds:KeyName>k</ds:KeyName></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>AAAA</xenc:CipherValue></xenc:CipherData>
<xenc:ReferenceList><xenc:DataReference URI="#x"/></xenc:ReferenceList><xenc:CarriedKeyName>n</xenc:CarriedKeyName></xenc:EncryptedKey>`

	wholeEncrypted = `<saml:EncryptedAssertion><xenc:EncryptedData><xenc:EncryptionMethod Algorithm="urn:x"/>
<ds:KeyInfo><ds:KeyName>k</ds:KeyName>` + wholeKey + `</ds:KeyInfo><xenc:CipherData><xenc:CipherValue>AAAA</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>` +
		wholeKey + `</saml:EncryptedAssertion>`
)

func wholeMessages() map[string]string {
	response := func(s string) string {
		return `<samlp:Response ID="_response" ` + declared + `><saml:Issuer>i</saml:Issuer>` +
			strings.ReplaceAll(wholeSignature, "_ID", "_response") + wholeStatus + s + `</samlp:Response>`
	}
	clear := strings.Replace(wholeAssertion, "SIGNATURE", strings.ReplaceAll(wholeSignature, "_ID", "_assertion"), 1)
	return map[string]string{"clear": response(clear), "encrypted": response(wholeEncrypted)}
}

// What may be left out, what may be there twice, and what is text: said here a
// second time, so that nobody loosens the schema by a slip. An element alone
// stands for it in all of its parents.
var (
	mayBeAbsent = strings.Fields(`
Response/Issuer Response/Signature Response/Assertion Response/EncryptedAssertion StatusCode/StatusCode StatusMessage StatusDetail
Assertion/Signature AudienceRestriction OneTimeUse ProxyRestriction ProxyRestriction/Audience AuthnStatement SubjectLocality
AuthnContextClassRef AuthnContextDeclRef AuthenticatingAuthority AttributeStatement Attribute AttributeValue AttributeValue/NameID
EncryptedAssertion/EncryptedKey EncryptedData/KeyInfo KeyInfo/EncryptedKey EncryptedKey/KeyInfo ReferenceList DataReference CarriedKeyName
KeySize EncryptionMethod/DigestMethod MGF InclusiveNamespaces Signature/KeyInfo KeyName X509Certificate X509IssuerSerial X509SubjectName X509SKI X509Data KeyValue`)

	mayBeTwice = strings.Fields(`
AudienceRestriction Audience AuthnStatement AuthenticatingAuthority AttributeStatement Attribute AttributeValue
KeyName X509Data X509Certificate X509IssuerSerial X509SubjectName X509SKI KeyValue DataReference`)

	isText = strings.Fields(`
Issuer StatusMessage StatusDetail NameID Audience AuthnContextClassRef AuthnContextDeclRef AuthenticatingAuthority AttributeValue
KeySize CipherValue CarriedKeyName DigestValue SignatureValue KeyName X509Certificate X509IssuerName X509SerialNumber X509SubjectName X509SKI
Modulus Exponent PublicKey`)

	// hasNoPlace are elements that are known somewhere, and put into each other one.
	hasNoPlace = strings.Fields(`
samlp:Response samlp:Extensions samlp:LogoutRequest saml:Assertion saml:Subject saml:NameID saml:BaseID saml:EncryptedID saml:Advice
saml:Statement saml:Condition saml:Evidence ds:Signature ds:SignedInfo ds:Reference ds:Object ds:Manifest ds:RetrievalMethod ds:XPath
xenc:CipherReference xenc:EncryptedData`)
)

func listed(list []string, e *etree.Element) bool {
	return slices.Contains(list, e.Tag) || e.Parent() != nil && slices.Contains(list, e.Parent().Tag+"/"+e.Tag)
}

// Each element of the two messages with something done to it that the schema
// allows, or refuses.
func TestSchema(t *testing.T) {
	t.Parallel()
	for name, text := range wholeMessages() {
		t.Run(name, func(t *testing.T) {
			edited := func(i int, f func(e *etree.Element)) error {
				doc := etree.NewDocument()
				if err := doc.ReadFromString(text); err != nil {
					t.Fatal(err)
				}
				f(doc.FindElements("//*")[i])
				out, err := doc.WriteToBytes()
				if err != nil {
					t.Fatal(err)
				}
				_, err = preflight(out)
				return err
			}
			if err := edited(0, func(*etree.Element) {}); err != nil {
				t.Fatalf("as it is: %v", err)
			}
			doc := etree.NewDocument()
			if err := doc.ReadFromString(text); err != nil {
				t.Fatal(err)
			}
			for i, e := range doc.FindElements("//*") {
				want := func(what string, ok bool, f func(e *etree.Element)) {
					t.Helper()
					if err := edited(i, f); (err == nil) != ok {
						t.Errorf("%s %s: %v; want it accepted: %t", e.GetPath(), what, err, ok)
					}
				}
				leaf := listed(isText, e) && len(e.ChildElements()) == 0
				want("with text", leaf, func(e *etree.Element) { e.CreateText("x") })
				want("with an element of another namespace", false, func(e *etree.Element) { e.CreateElement("x:y").CreateAttr("xmlns:x", "urn:x") })
				if leaf {
					for _, tag := range []string{"saml:NameID", "ds:Reference"} {
						want("with nothing but "+tag, tag == "saml:NameID" && e.Tag == "AttributeValue", func(e *etree.Element) {
							e.Child = nil
							e.AddChild(whole(t, tag))
						})
					}
				}
				for _, tag := range hasNoPlace {
					want("with "+tag, false, func(e *etree.Element) { e.AddChild(whole(t, tag)) })
				}
				if e.Parent() == nil || e.Parent().Parent() == nil {
					continue // the root
				}
				want("left out", listed(mayBeAbsent, e) && !needed(e), func(e *etree.Element) { e.Parent().RemoveChild(e) })
				want("twice", listed(mayBeTwice, e), func(e *etree.Element) {
					second := e.Copy()
					second.RemoveAttr("ID")
					e.Parent().InsertChildAt(e.Index(), second)
				})
				want("of another namespace", false, func(e *etree.Element) {
					e.CreateAttr("xmlns:x", "urn:x")
					e.Space = "x"
				})
				want("by another name", false, func(e *etree.Element) { e.Tag += "s" })
			}
		})
	}
}

// whole returns an element with what the schema wants in it, so that it is refused
// for its place alone.
func whole(t *testing.T, tag string) *etree.Element {
	t.Helper()
	content := map[string]string{
		"samlp:Response":     `<samlp:Status><samlp:StatusCode/></samlp:Status>`,
		"saml:Assertion":     `<saml:Issuer/><saml:Subject>` + wholeSubject + `</saml:Subject><saml:Conditions/>`,
		"saml:Subject":       wholeSubject,
		"ds:Reference":       `<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/>`,
		"xenc:EncryptedData": `<xenc:EncryptionMethod/><xenc:CipherData><xenc:CipherValue/></xenc:CipherData>`,
	}[tag]
	doc := etree.NewDocument()
	if err := doc.ReadFromString("<" + tag + ">" + content + "</" + tag + ">"); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

const wholeSubject = `<saml:NameID/><saml:SubjectConfirmation><saml:SubjectConfirmationData/></saml:SubjectConfirmation>`

// needed reports whether e is the last of those of which its parent has to have one.
func needed(e *etree.Element) bool {
	parent := e.Parent().Tag
	switch {
	case e.Tag == "Audience":
		return parent == "AudienceRestriction"
	case parent == "KeyValue":
		return true
	}
	return false
}

// A name is looked up in its parent before it is looked up alone, and one that
// has a line in its parent alone is nowhere else.
func TestSchemaIsOfParents(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ what, old, new string }{
		{"EncryptedKey in the KeyInfo of a signature", "<ds:KeyName>k</ds:KeyName><ds:X509Data>", "<ds:KeyName>k</ds:KeyName>" + wholeKey + "<ds:X509Data>"},
		{"a KeyInfo of a name alone in a signature", wholeSignature[strings.Index(wholeSignature, "<ds:X509Data>"):strings.Index(wholeSignature, "</ds:KeyInfo>")], ""},
		{"an X509Data with nothing in it", wholeSignature[strings.Index(wholeSignature, "<ds:X509Certificate>"):strings.Index(wholeSignature, "</ds:X509Data>")], ""},
		{"both an Assertion and an EncryptedAssertion", "</samlp:Response>", wholeEncrypted + "</samlp:Response>"},
		{"both an EncryptedAssertion and an Assertion", "</samlp:Status>", "</samlp:Status>" + wholeEncrypted},
		{"three levels of an Assertion", "<saml:Issuer>i</saml:Issuer>", "<saml:Issuer>i</saml:Issuer><saml:Assertion/>"},
	} {
		text := wholeMessages()["clear"]
		if !strings.Contains(text, row.old) {
			t.Fatalf("%s: no %q", row.what, row.old)
		}
		if _, err := preflight([]byte(strings.ReplaceAll(text, row.old, row.new))); err == nil {
			t.Errorf("%s passes", row.what)
		}
	}
}

// The limits, to the last level, element and attribute.
func TestLimits(t *testing.T) {
	t.Parallel()
	nested := func(n int) string {
		return strings.Repeat(`<samlp:StatusCode Value="x">`, n) + strings.Repeat(`</samlp:StatusCode>`, n)
	}
	message := func(attrs, in, after string) string {
		return `<samlp:Response ` + declared + attrs + `><samlp:Status>` + in + `</samlp:Status>` + after + `</samlp:Response>`
	}
	attrs := func(n int) string {
		var b strings.Builder
		for i := range n - strings.Count(declared, "xmlns:") {
			fmt.Fprintf(&b, ` a%d=""`, i)
		}
		return b.String()
	}
	keys := func(n int) string {
		return strings.Replace(wholeEncrypted, "<xenc:DataReference URI=\"#x\"/>", strings.Repeat("<xenc:DataReference/>", n), 1)
	}
	least := strings.Count(message("", nested(1), keys(0)), "<") - strings.Count(message("", nested(1), keys(0)), "</")
	for _, row := range []struct {
		what, text, check string
	}{
		{"24 levels", message("", nested(22), ""), ""},
		{"25 levels", message("", nested(23), ""), checkLimits},
		{"24 attributes", message(attrs(24), nested(1), ""), ""},
		{"25 attributes", message(attrs(25), nested(1), ""), checkLimits},
		{"900 elements", message("", nested(1), keys(900-least)), ""},
		{"901 elements", message("", nested(1), keys(901-least)), checkLimits},
	} {
		_, err := preflight([]byte(row.text))
		r, _ := err.(*Refusal)
		if (err == nil) != (row.check == "") || r != nil && r.Check != row.check {
			t.Errorf("%s: %v, want %q", row.what, err, row.check)
		}
	}
}
