package samlsp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// An attack is a row of the catalogue of attacks, or one form of it: a message
// that is honest but for one thing. Its honest twin, the same without that thing,
// has to be accepted, so that the refusal is for the attack and nothing else.
type attack struct {
	number, what string                              // what the subtest is called
	base         func(*samltest.Message)             // makes the twin what the attack starts from
	change       func(*testing.T, *samltest.Message) // makes it the attack
	check        string                              // by which it is refused
}

// accept is a check for the rows that are no attack: they must come through.
const accept = "accept"

func runAttacks(t *testing.T, r *rig, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.number+" "+a.what, func(t *testing.T) {
			twin := r.good()
			if a.base != nil {
				a.base(twin)
			}
			if _, err := r.finish(twin); err != nil {
				t.Fatalf("the honest twin: %v", err)
			}
			m := r.good()
			if a.base != nil {
				a.base(m)
			}
			a.change(t, m)
			began := time.Now()
			id, err := r.finish(m)
			if took := time.Since(began); took > 20*time.Second { // it is milliseconds, but on a machine that is busy
				t.Errorf("took %s", took)
			}
			if a.check == accept {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantRefusal(t, id, err, a.check)
		})
	}
}

// The bases of the attacks.

func signResponse(m *samltest.Message) { m.SignAssertion, m.SignResponse = false, true }
func signBoth(m *samltest.Message)     { m.SignAssertion, m.SignResponse = true, true }

// signed, unsigned and raw make changes of a message's stages.

func signed(f func(root *etree.Element)) func(*testing.T, *samltest.Message) {
	return func(_ *testing.T, m *samltest.Message) {
		m.MutateSigned = func(doc *etree.Document) { f(doc.Root()) }
	}
}

func unsigned(f func(root *etree.Element)) func(*testing.T, *samltest.Message) {
	return func(_ *testing.T, m *samltest.Message) {
		m.MutateUnsigned = func(doc *etree.Document) { f(doc.Root()) }
	}
}

func raw(f func(string) string) func(*testing.T, *samltest.Message) {
	return func(_ *testing.T, m *samltest.Message) {
		m.MutateBytes = func(b []byte) []byte { return []byte(f(string(b))) }
	}
}

func set(f func(*samltest.Message)) func(*testing.T, *samltest.Message) {
	return func(_ *testing.T, m *samltest.Message) { f(m) }
}

func signature(f func(*samltest.Signature)) func(*testing.T, *samltest.Message) {
	return func(_ *testing.T, m *samltest.Message) { f(&m.Signature) }
}

func signedInfo(f func(*etree.Element)) func(*testing.T, *samltest.Message) {
	return func(_ *testing.T, m *samltest.Message) { m.Signature.MutateSignedInfo = f }
}

// evil makes of an element what the attacker would like to be read.
func evil(el *etree.Element) *etree.Element {
	for _, name := range el.FindElements(".//NameID") {
		name.SetText("admin")
	}
	for _, v := range el.FindElements(".//AttributeValue") {
		v.SetText("admin")
	}
	return el
}

// clean returns a copy of the element without its signature.
func clean(el *etree.Element) *etree.Element {
	c := el.Copy()
	if s := c.SelectElement("Signature"); s != nil {
		c.RemoveChild(s)
	}
	return c
}

// renamed gives the element another ID.
func renamed(el *etree.Element) *etree.Element {
	el.CreateAttr("ID", samltest.NewID())
	return el
}

// A: signature and structure.
func TestAttacksOnSignatures(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	otherKey, otherCertificate := idpKeys[1]()
	runAttacks(t, r, []attack{
		{"A01", "nothing is signed", nil, set(func(m *samltest.Message) { m.SignAssertion = false }), "unsigned"},
		{"A02", "the signature is taken off", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.RemoveChild(a.SelectElement("Signature"))
		}), "unsigned"},
		{"A03", "SignatureValue is empty", nil, signed(func(root *etree.Element) {
			root.FindElement(".//SignatureValue").SetText("")
		}), "signature"},
		{"A04", "NameID changed after signing", nil, signed(func(root *etree.Element) {
			root.FindElement(".//NameID").SetText("admin")
		}), "signature"},
		{"A05", "signed by a key whose certificate is in KeyInfo alone", nil, signature(func(s *samltest.Signature) {
			s.Key, s.Certificate = otherKey, otherCertificate
		}), "signature"},
		{"A06", "the same without KeyInfo", nil, signature(func(s *samltest.Signature) {
			s.Key, s.KeyInfo = otherKey, samltest.KeyInfoNone
		}), "signature"},
		{"A07", "signed by another IdP's key, with our IdP's certificate in KeyInfo", nil, signature(func(s *samltest.Signature) {
			s.Key = otherKey
		}), "signature"},
		{"A07", "a Response signed by another IdP's key, with that IdP's certificate", signResponse, signature(func(s *samltest.Signature) {
			s.Key, s.Certificate = otherKey, otherCertificate
		}), "signature"},
		{"A08", "RSA-SHA1", nil, signature(func(s *samltest.Signature) { s.Method = samltest.RSASHA1 }), "algorithm"},
		{"A09", "SHA-1 digest under an RSA-SHA256 signature", nil, signature(func(s *samltest.Signature) {
			s.Digest = samltest.DigestSHA1
		}), "algorithm"},
		{"A10", "HMAC keyed with the public key", nil, signature(func(s *samltest.Signature) { s.Method = samltest.HMACSHA1 }), "algorithm"},
		{"A11", "XSLT transform", nil, transforms(samltest.Enveloped, samltest.TransformXSLT), "algorithm"},
		{"A12", "XPath transform", nil, transforms(samltest.Enveloped, samltest.TransformXPath), "algorithm"},
		{"A13", "inclusive canonicalisation of the element", nil, transforms(samltest.Enveloped, samltest.InclusiveC14N), "algorithm"},
		{"A13", "inclusive canonicalisation of SignedInfo", nil, signature(func(s *samltest.Signature) {
			s.Canonicalization = samltest.InclusiveC14N
		}), "algorithm"},
		{"A13", "canonicalisation that keeps comments", nil, transforms(samltest.Enveloped, samltest.ExclusiveC14NComment), "algorithm"},
		{"A13", "inclusive canonicalisation 1.1 of the element", nil, transforms(samltest.Enveloped, samltest.InclusiveC14N11), "algorithm"},
		{"A13", "inclusive canonicalisation 1.1 of SignedInfo", nil, signature(func(s *samltest.Signature) {
			s.Canonicalization = samltest.InclusiveC14N11
		}), "algorithm"},
		{"A14", "no canonicalisation", nil, transforms(samltest.Enveloped), "structure"},
		{"A14", "no Transforms", nil, signedInfo(func(info *etree.Element) {
			reference := info.SelectElement("Reference")
			reference.RemoveChild(reference.SelectElement("Transforms"))
		}), "structure"},
		{"A14", "canonicalisation without the enveloped signature taken out", nil, transforms(samltest.ExclusiveC14N), "algorithm"},
		{"A15", "three transforms", nil, transforms(samltest.Enveloped, samltest.ExclusiveC14N, samltest.ExclusiveC14N), "structure"},
		{"A15", "the two transforms in the other order", nil, transforms(samltest.ExclusiveC14N, samltest.Enveloped), "algorithm"},
		{"A16", "Reference of the whole document", nil, signedInfo(func(info *etree.Element) {
			info.SelectElement("Reference").CreateAttr("URI", "")
		}), "reference"},
		{"A17", "Reference of another element", nil, signedInfo(func(info *etree.Element) {
			info.SelectElement("Reference").CreateAttr("URI", "#other")
		}), "reference"},
		{"A18", "two References", nil, signedInfo(func(info *etree.Element) {
			info.AddChild(info.SelectElement("Reference").Copy())
		}), "structure"},
		{"A18", "CVE-2026-33487: a Reference of another element, and its digest, beside a broken one of ours", nil, signedInfo(func(info *etree.Element) {
			second := info.SelectElement("Reference").Copy()
			second.CreateAttr("URI", "#other")
			info.SelectElement("Reference").SelectElement("DigestValue").SetText("AAAA")
			info.AddChild(second)
		}), "structure"},
		{"A19", "no Reference", nil, signedInfo(func(info *etree.Element) {
			info.RemoveChild(info.SelectElement("Reference"))
		}), "structure"},
		{"A20", "Object in the signature", nil, signed(func(root *etree.Element) {
			root.FindElement(".//Signature").CreateElement("ds:Object")
		}), "structure"},
		{"A20", "Object with a Manifest", nil, signed(func(root *etree.Element) {
			object := root.FindElement(".//Signature").CreateElement("ds:Object")
			object.CreateElement("ds:Manifest").AddChild(root.FindElement(".//Reference").Copy())
		}), "structure"},
		{"A20", "Object with SignatureProperties", nil, signed(func(root *etree.Element) {
			root.FindElement(".//Signature").CreateElement("ds:Object").CreateElement("ds:SignatureProperties")
		}), "structure"},
		{"A21", "RetrievalMethod", nil, signature(func(s *samltest.Signature) { s.KeyInfo = samltest.KeyInfoRetrieval }), "structure"},
		{"A21", "KeyName alone", nil, signature(func(s *samltest.Signature) { s.KeyInfo = samltest.KeyInfoName }), "structure"},
		{"A22", "valid signature of the Response around a broken one of the Assertion", signBoth, func(_ *testing.T, m *samltest.Message) {
			m.MutateAssertionSigned = func(doc *etree.Document) { evil(doc.Root().SelectElement("Assertion")) }
		}, "signature"},
		{"A22", "valid signature of the Assertion in a Response with a broken one", signBoth, signed(func(root *etree.Element) {
			root.CreateAttr("Destination", acs+"?x")
		}), "signature"},
		{"A32", "two Assertions, both validly signed", nil, func(t *testing.T, m *samltest.Message) {
			m.MutateAssertionSigned = func(doc *etree.Document) {
				second := evil(renamed(clean(doc.Root().SelectElement("Assertion"))))
				doc.Root().AddChild(second)
				if err := m.Signature.Sign(second); err != nil {
					t.Fatal(err)
				}
			}
		}, "structure"},
	})
}

func transforms(list ...string) func(*testing.T, *samltest.Message) {
	return signature(func(s *samltest.Signature) { s.Transforms = list })
}

// A23 to A31, A33, A43, A44: the genuine element is there, and another one where
// it will be read.
func TestAttacksByWrapping(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	runAttacks(t, r, []attack{
		{"A23", "XSW1: the signed Response inside its own signature, an evil one around it", signResponse, signed(func(root *etree.Element) {
			genuine := clean(root)
			evil(renamed(root)).SelectElement("Signature").AddChild(genuine)
		}), "reference"},
		{"A24", "XSW2: the signed Response before the signature, an evil one around it", signResponse, signed(func(root *etree.Element) {
			genuine := clean(root)
			evil(renamed(root)).InsertChildAt(root.SelectElement("Signature").Index(), genuine)
		}), "structure"},
		{"A25", "XSW3: an evil Assertion before the signed one", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			root.InsertChildAt(a.Index(), evil(renamed(clean(a))))
		}), "structure"},
		{"A26", "XSW4: an evil Assertion around the signed one", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			around := evil(renamed(clean(a)))
			root.RemoveChild(a)
			around.AddChild(a)
			root.AddChild(around)
		}), "structure"},
		{"A27", "XSW5: the signed Assertion changed, a clean copy after it", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			root.AddChild(clean(a))
			evil(renamed(a))
		}), "reference"},
		{"A28", "XSW6: the signed Assertion changed, a clean copy in its signature", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			genuine := clean(a)
			evil(renamed(a)).SelectElement("Signature").AddChild(genuine)
		}), "reference"},
		{"A29", "XSW7: an evil copy with the same ID in Extensions", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			extensions := etree.NewElement("samlp:Extensions")
			extensions.AddChild(evil(clean(a)))
			root.InsertChildAt(a.Index(), extensions)
		}), "structure"},
		{"A30", "XSW8: the signed Assertion changed, a clean copy in an Object of its signature", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			genuine := clean(a)
			evil(renamed(a)).SelectElement("Signature").CreateElement("ds:Object").AddChild(genuine)
		}), "reference"},
		{"A30", "XSW8 with the changed one's ID left as it was", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			genuine := clean(a)
			evil(a).SelectElement("Signature").CreateElement("ds:Object").AddChild(genuine)
		}), "structure"},
		{"A31", "CVE-2022-41912: an unsigned Assertion after the signed one", nil, signed(func(root *etree.Element) {
			root.AddChild(evil(renamed(clean(root.SelectElement("Assertion")))))
		}), "structure"},
		{"A33", "an Assertion in Extensions", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			extensions := etree.NewElement("samlp:Extensions")
			extensions.AddChild(evil(renamed(clean(a))))
			root.InsertChildAt(a.Index(), extensions)
		}), "structure"},
		{"A33", "an Assertion in an Object", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			copied := evil(renamed(clean(a)))
			a.SelectElement("Signature").CreateElement("ds:Object").AddChild(copied)
		}), "structure"},
		{"A33", "an Assertion in StatusDetail", nil, signed(func(root *etree.Element) {
			genuine := clean(root.SelectElement("Assertion"))
			root.SelectElement("Status").CreateElement("samlp:StatusDetail").AddChild(evil(renamed(genuine)))
		}), "structure"},
		{"A33", "an Assertion in Advice", nil, signed(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			genuine := clean(a)
			a.CreateElement("saml:Advice").AddChild(evil(renamed(genuine)))
		}), "structure"},
		{"A33", "an Assertion in an Advice that is signed", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			genuine := clean(a)
			a.CreateElement("saml:Advice").AddChild(evil(renamed(genuine)))
		}), "structure"},
		{"A33", "an Assertion in an AttributeValue", nil, signed(func(root *etree.Element) {
			genuine := clean(root.SelectElement("Assertion"))
			root.FindElement(".//AttributeValue").AddChild(evil(renamed(genuine)))
		}), "structure"},
		{"A43", "samlify#634: a captured Assertion in a LogoutRequest", nil, signed(func(root *etree.Element) {
			root.Tag = "LogoutRequest"
		}), "structure"},
		{"A44", "a Response in a SOAP envelope", nil, raw(func(s string) string {
			return `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>` + s + `</e:Body></e:Envelope>`
		}), "structure"},
		{"A44", "a Response in an ArtifactResponse", nil, raw(func(s string) string {
			return `<samlp:ArtifactResponse xmlns:samlp="` + samltest.NSProtocol + `">` + s + `</samlp:ArtifactResponse>`
		}), "structure"},
		{"A44", "the signed Assertion alone", nil, func(_ *testing.T, m *samltest.Message) {
			m.MutateSigned = func(doc *etree.Document) {
				a := doc.Root().SelectElement("Assertion").Copy()
				a.CreateAttr("xmlns:saml", samltest.NSAssertion)
				doc.SetRoot(a)
			}
		}, "structure"},
	})
}

// A34 to A42: IDs, attributes and namespaces that two parsers may see otherwise.
func TestAttacksOnNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	once := func(old, new string) func(*testing.T, *samltest.Message) {
		return raw(func(s string) string { return strings.Replace(s, old, new, 1) })
	}
	runAttacks(t, r, []attack{
		{"A34", "Response and Assertion have one ID", nil, set(func(m *samltest.Message) { m.ID = m.AssertionID }), "id"},
		{"A34", "an Id in other letters that is the Assertion's", nil, func(_ *testing.T, m *samltest.Message) {
			m.MutateSigned = func(doc *etree.Document) { doc.Root().SelectElement("Status").CreateAttr("id", m.AssertionID) }
		}, "id"},
		{"A35", "an ID with a prefix beside the ID", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.CreateAttr("xmlns:x", "urn:x")
			a.CreateAttr("x:ID", samltest.NewID())
		}), "structure"},
		{"A35", "a Name with a prefix, which encoding/xml reads as Name", nil, unsigned(func(root *etree.Element) {
			a := root.FindElement(".//Attribute")
			a.CreateAttr("xmlns:x", "urn:x")
			a.CreateAttr("x:Name", "userName")
		}), "structure"},
		{"A36", "an attribute twice", nil, once(`Version="2.0"`, `Version="2.0" Version="1.1"`), "xml"},
		{"A36", "an attribute twice by two prefixes of one namespace", nil, once(`Version="2.0"`,
			`Version="2.0" xmlns:p="urn:x" xmlns:q="urn:x" p:y="1" q:y="2"`), "xml"},
		{"A37", "an unsigned sibling gives a prefix another meaning", nil, signed(func(root *etree.Element) {
			root.SelectElement("Status").CreateAttr("xmlns:saml", "urn:evil")
		}), "namespace"},
		{"A37", "a prefix used where it is not declared any more", nil, func(_ *testing.T, m *samltest.Message) {
			m.MutateBytes = func(b []byte) []byte {
				s := strings.Replace(string(b), "<samlp:Status>", `<samlp:Status xmlns:late="urn:x">`, 1)
				return []byte(strings.Replace(s, "<saml:Conditions", `<saml:Conditions late:y="1"`, 1))
			}
		}, "namespace"},
		{"A38", "Conditions of a foreign namespace", nil, unsigned(func(root *etree.Element) {
			c := root.FindElement(".//Conditions")
			c.CreateAttr("xmlns:e", "urn:evil")
			c.Space = "e"
		}), "structure"},
		{"A38", "a NameID of a foreign namespace beside ours", nil, unsigned(func(root *etree.Element) {
			n := root.FindElement(".//Subject").CreateElement("e:NameID")
			n.CreateAttr("xmlns:e", "urn:evil")
			n.SetText("admin")
		}), "structure"},
		{"A39", "CVE-2025-25291: a DOCTYPE that hides a document", nil, raw(func(s string) string {
			return `<!DOCTYPE r SYSTEM 'x"><!--'>` + s + `<!-- -->`
		}), "xml"},
		{"A39", "CVE-2025-25291: a document in an entity behind CDATA", nil, raw(func(s string) string {
			return `<!DOCTYPE r [<!ENTITY a '"><![CDATA[' >]>` + s + `<!-- ]]>` + strings.ReplaceAll(s, ">ann<", ">admin<") + `<![CDATA[ -->`
		}), "xml"},
		{"A40", "CVE-2025-25292: a digest in StatusDetail", nil, signed(func(root *etree.Element) {
			d := root.SelectElement("Status").CreateElement("samlp:StatusDetail").CreateElement("ds:DigestValue")
			d.CreateAttr("xmlns:ds", samltest.NSSignature)
			d.SetText("AAAA")
		}), "structure"},
		{"A41", "CVE-2025-23369: an ID from an entity", nil, func(_ *testing.T, m *samltest.Message) {
			m.MutateBytes = func(b []byte) []byte {
				s := strings.Replace(string(b), `ID="`+m.AssertionID+`"`, `ID="&id;"`, 1)
				return []byte(`<!DOCTYPE r [<!ENTITY id "` + m.AssertionID + `">]>` + s)
			}
		}, "xml"},
		{"A42", "a relative namespace name", nil, once("<samlp:Status>", `<samlp:Status xmlns:x="rel">`), "namespace"},
		{"A42", "a relative default namespace", nil, once("<samlp:Status>", `<samlp:Status xmlns="rel">`), "namespace"},
		{"A34", "a signature over the element by another attribute than ID", nil, func(_ *testing.T, m *samltest.Message) {
			m.MutateUnsigned = func(doc *etree.Document) { doc.Root().SelectElement("Assertion").CreateAttr("Id", "other") }
			m.Signature.MutateSignedInfo = func(info *etree.Element) { info.SelectElement("Reference").CreateAttr("URI", "#other") }
		}, "reference"},
		{"A42", "a namespace name that is no URI", nil, once("<samlp:Status>", "<samlp:Status xmlns:x=\"http://e\u0080\">"), "namespace"},
		{"A42", "an empty namespace name of a prefix", nil, once("<samlp:Status>", `<samlp:Status xmlns:x="">`), "namespace"},
		{"A42", "xml as another prefix", nil, once("<samlp:Status>", `<samlp:Status xmlns:x="http://www.w3.org/XML/1998/namespace">`), "namespace"},
	})
}
