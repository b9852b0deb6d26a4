package samltest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
)

// TestAttacksCanBeMinted holds that the messages of an attacker, or of a broken
// identity provider, can be made with the hooks: each shows its path, and what
// it keeps of the honest signature still verifies, so that it is refused for the
// reason that a test means.
func TestAttacksCanBeMinted(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{})
	_, certificate, err := SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	evil := func(a *etree.Element) *etree.Element {
		clone := a.Copy()
		clone.RemoveChild(clone.SelectElement("Signature"))
		clone.CreateAttr("ID", "_evil")
		clone.FindElement(".//NameID").SetText("evil")
		return clone
	}
	tests := []struct {
		name  string
		set   func(*Message)
		path  string
		valid string // path of a signed element whose signature verifies
	}{
		{"two references", func(m *Message) {
			m.Signature.MutateSignedInfo = func(s *etree.Element) { s.AddChild(s.SelectElement("Reference").Copy()) }
		}, "//SignedInfo/Reference[2]", ""},
		{"no reference", func(m *Message) {
			m.Signature.MutateSignedInfo = func(s *etree.Element) { s.RemoveChild(s.SelectElement("Reference")) }
		}, "//SignedInfo", ""},
		{"reference to the document", func(m *Message) {
			m.Signature.MutateSignedInfo = func(s *etree.Element) { s.SelectElement("Reference").CreateAttr("URI", "") }
		}, "//Reference[@URI='']", "//Assertion"},
		{"HMAC with the public key", func(m *Message) { m.Signature.Method = HMACSHA1 }, "//SignatureMethod[@Algorithm='" + HMACSHA1 + "']", ""},
		{"XSLT", func(m *Message) { m.Signature.Transforms = []string{Enveloped, TransformXSLT, ExclusiveC14N} }, "//Transform[@Algorithm='" + TransformXSLT + "']", ""},
		{"no canonicalisation", func(m *Message) { m.Signature.Transforms = []string{Enveloped} }, "//Transform", ""},
		{"good response, bad assertion", func(m *Message) {
			m.SignResponse = true
			m.MutateAssertionSigned = func(d *etree.Document) { d.FindElement("//NameID").SetText("evil") }
		}, "//NameID[text()='evil']", "/Response"},
		{"wrapping: evil before good", func(m *Message) {
			m.MutateSigned = func(d *etree.Document) {
				a := assertionOf(d)
				d.Root().InsertChildAt(a.Index(), evil(a))
			}
		}, "/Response/Assertion[@ID='_evil']", "/Response/Assertion[2]"},
		{"wrapping: good within evil", func(m *Message) {
			m.MutateSigned = func(d *etree.Document) {
				a := assertionOf(d)
				outer := evil(a)
				outer.AddChild(a)
				d.Root().AddChild(outer)
			}
		}, "//Assertion[@ID='_evil']/Assertion", "//Assertion/Assertion"},
		{"wrapping: good in Extensions", func(m *Message) {
			m.MutateSigned = func(d *etree.Document) {
				a := assertionOf(d)
				d.Root().AddChild(evil(a))
				d.Root().CreateElement("samlp:Extensions").AddChild(a)
			}
		}, "//Extensions/Assertion", "//Extensions/Assertion"},
		{"two signed assertions", func(m *Message) {
			m.MutateAssertionSigned = func(d *etree.Document) {
				second := evil(assertionOf(d))
				d.Root().AddChild(second)
				if err := m.Signature.Sign(second); err != nil {
					t.Error(err)
				}
			}
		}, "/Response/Assertion[2]/Signature", "/Response/Assertion[2]"},
		{"logout request around a captured assertion", func(m *Message) {
			m.MutateSigned = func(d *etree.Document) { d.Root().Tag = "LogoutRequest" }
		}, "/LogoutRequest/Assertion", "//Assertion"},
		{"envelope", func(m *Message) {
			m.MutateSigned = func(d *etree.Document) {
				response := d.Root()
				envelope := etree.NewElement("soap:Envelope")
				envelope.CreateAttr("xmlns:soap", "http://schemas.xmlsoap.org/soap/envelope/")
				envelope.CreateElement("soap:Body").AddChild(response)
				d.SetRoot(envelope)
			}
		}, "/Envelope/Body/Response", "//Assertion"},
		{"foreign namespace, signed", func(m *Message) {
			m.MutateUnsigned = func(d *etree.Document) {
				c := d.FindElement("//Conditions")
				c.Space = "e"
				c.CreateAttr("xmlns:e", "urn:evil")
			}
		}, "//e:Conditions", "//Assertion"},
		{"comment in the name", func(m *Message) {
			m.MutateSigned = func(d *etree.Document) { d.FindElement("//NameID").CreateComment("x") }
		}, "//NameID", "//Assertion"}, // exclusive canonicalisation drops comments
		{"two names, signed", func(m *Message) {
			m.MutateUnsigned = func(d *etree.Document) {
				s := d.FindElement("//Subject")
				s.AddChild(s.SelectElement("NameID").Copy())
			}
		}, "//Subject/NameID[2]", "//Assertion"},
		{"CDATA", func(m *Message) {
			m.MutateBytes = func(b []byte) []byte {
				return bytes.Replace(b, []byte(">ann<"), []byte("><![CDATA[ann]]><"), 1)
			}
		}, "//NameID", "//Assertion"},
		{"evil encrypted beside good", func(m *Message) {
			var good *etree.Element
			m.Encryption = Encryption{Method: AES256GCM, Certificate: certificate}
			m.MutateAssertionSigned = func(d *etree.Document) {
				a := assertionOf(d)
				good = a.Copy()
				a.FindElement(".//NameID").SetText("evil")
			}
			m.MutateEncrypted = func(d *etree.Document) { d.Root().AddChild(good) }
		}, "/Response/EncryptedAssertion", "/Response/Assertion"},
		{"deep", func(m *Message) {
			m.MutateBytes = func(b []byte) []byte {
				deep := strings.Repeat("<x>", 500) + strings.Repeat("</x>", 500)
				return bytes.Replace(b, []byte("</samlp:Response>"), []byte(deep+"</samlp:Response>"), 1)
			}
		}, "//x/x/x", "//Assertion"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := idp.Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann())
			tt.set(m)
			raw, err := m.XML()
			if err != nil {
				t.Fatal(err)
			}
			doc := parse(t, raw)
			if doc.FindElement(tt.path) == nil {
				t.Errorf("nothing at %s:\n%s", tt.path, raw)
			}
			if tt.valid == "" {
				return
			}
			signed := doc.FindElement(tt.valid)
			if signed == nil {
				t.Fatalf("nothing at %s:\n%s", tt.valid, raw)
			}
			verify(t, signed, idp.Certificates()[0])
		})
	}
}
