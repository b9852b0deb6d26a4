package samlsp_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// What keeps an honest IdP out is a defect as much as what lets an attacker in.

const (
	nsXS  = "http://www.w3.org/2001/XMLSchema"
	nsXSI = "http://www.w3.org/2001/XMLSchema-instance"
)

// idpStyles write a message as these IdPs do: by their prefixes, and where those
// are declared.
var idpStyles = map[string]func(*samltest.Message){
	"SimpleSAMLphp": func(*samltest.Message) {},
	"Keycloak": func(m *samltest.Message) {
		m.Signature.Prefix = "dsig"
		style(m, func(root *etree.Element) {
			if a := root.SelectElement("Assertion"); a != nil {
				a.CreateAttr("xmlns", samltest.NSAssertion) // and uses the prefix all the same
				typesAtValues(a)
			}
		})
	},
	"LemonLDAP::NG": func(m *samltest.Message) {
		m.Signature.Prefix = ""
		style(m, func(root *etree.Element) {
			if a := root.SelectElement("Assertion"); a != nil {
				withoutTypes(a)
			}
		})
	},
	"Okta": func(m *samltest.Message) {
		m.Signature.PrefixList = "xs"
		style(m, func(root *etree.Element) {
			javaPrefixes(root)
			root.SelectElement("Status").CreateAttr("xmlns:saml2p", samltest.NSProtocol)
			root.SelectElement("Issuer").CreateAttr("Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:entity")
			if a := root.SelectElement("Assertion"); a != nil {
				typesAtValues(a)
				a.CreateAttr("xmlns:xs", nsXS)
			}
		})
	},
	"Google": func(m *samltest.Message) {
		style(m, func(root *etree.Element) {
			javaPrefixes(root)
			if a := root.SelectElement("Assertion"); a != nil {
				typesAtValues(a)
			}
		})
		keyInfo(m, func(info *etree.Element) {
			name := etree.NewElement("ds:X509SubjectName")
			name.SetText("ST=California,C=US,OU=Google For Work,CN=Google,L=Mountain View,O=Google Inc.")
			info.SelectElement("X509Data").InsertChildAt(0, name)
		})
	},
	"Shibboleth": func(m *samltest.Message) {
		m.NameID.NameQualifier, m.NameID.SPNameQualifier = m.Issuer, entityID
		m.Signature.PrefixList = "xsd"
		style(m, func(root *etree.Element) {
			javaPrefixes(root)
			if a := root.SelectElement("Assertion"); a != nil {
				a.RemoveAttr("xmlns:xs")
				a.CreateAttr("xmlns:xsd", nsXS)
				for _, v := range a.FindElements(".//AttributeValue") {
					v.CreateAttr("xsi:type", "xsd:string")
				}
				a.FindElement(".//SubjectConfirmationData").CreateAttr("Address", "192.0.2.7")
			}
		})
	},
	"Entra": entraStyle,
	"AD FS": func(m *samltest.Message) {
		m.Style, m.Signature.Prefix = samltest.DefaultNamespace, "ds"
		m.MutateUnsigned = func(doc *etree.Document) {
			doc.Root().CreateAttr("Consent", "urn:oasis:names:tc:SAML:2.0:consent:unspecified")
		}
		keyInfo(m, func(info *etree.Element) { // not signed: it is written in another way
			info.CreateAttr("xmlns", samltest.NSSignature)
			for _, e := range append(info.FindElements(".//*"), info) {
				e.Space = ""
			}
		})
	},
}

func entraStyle(m *samltest.Message) {
	m.Style, m.Signature.Prefix = samltest.DefaultNamespace, ""
	for i := range m.Attributes {
		m.Attributes[i].NameFormat = ""
	}
}

// style changes a message before it is signed, and once more when its Assertion
// has become an EncryptedAssertion.
func style(m *samltest.Message, f func(root *etree.Element)) {
	m.MutateUnsigned = func(doc *etree.Document) { f(doc.Root()) }
	m.MutateEncrypted = func(doc *etree.Document) {
		if doc.Root().SelectElement("Assertion") == nil {
			f(doc.Root())
		}
	}
}

// keyInfo changes what each signature says of its key, before anything is signed
// around it.
func keyInfo(m *samltest.Message, f func(info *etree.Element)) {
	change := func(path string) func(*etree.Document) {
		return func(doc *etree.Document) {
			for _, info := range doc.FindElements(path) {
				f(info)
			}
		}
	}
	m.MutateAssertionSigned = change("/Response/Assertion/Signature/KeyInfo")
	m.MutateSigned = change("/Response/Signature/KeyInfo")
}

// javaPrefixes are those of OpenSAML: saml2p on the Response, and saml2 declared
// at each element that begins with it.
func javaPrefixes(root *etree.Element) {
	root.RemoveAttr("xmlns:samlp")
	root.RemoveAttr("xmlns:saml")
	root.CreateAttr("xmlns:saml2p", samltest.NSProtocol)
	for _, e := range append(root.FindElements("//*"), root) {
		switch e.Space {
		case "samlp":
			e.Space = "saml2p"
		case "saml":
			e.Space = "saml2"
		}
	}
	for _, e := range root.ChildElements() {
		if e.Space == "saml2" {
			e.CreateAttr("xmlns:saml2", samltest.NSAssertion)
		}
	}
}

// typesAtValues declares xs and xsi at each value, and not above.
func typesAtValues(assertion *etree.Element) {
	assertion.RemoveAttr("xmlns:xs")
	assertion.RemoveAttr("xmlns:xsi")
	for _, v := range assertion.FindElements(".//AttributeValue") {
		v.CreateAttr("xmlns:xs", nsXS)
		v.CreateAttr("xmlns:xsi", nsXSI)
	}
}

func withoutTypes(assertion *etree.Element) {
	assertion.RemoveAttr("xmlns:xs")
	assertion.RemoveAttr("xmlns:xsi")
	for _, v := range assertion.FindElements(".//AttributeValue") {
		v.RemoveAttr("xsi:type")
	}
}

// Every way in which an honest IdP may write its response: what is signed, how
// namespaces are declared, how it is encrypted.
func TestHonestStyles(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) {
		o.AllowEncryption = []string{"aes128-cbc", "aes192-cbc", "aes256-cbc", "unsigned-response"}
	})
	signed := map[string][2]bool{"signed Assertion": {true, false}, "signed Response": {false, true}, "both signed": {true, true}}
	methods := map[string]string{"not encrypted": "", "AES-128-GCM": samltest.AES128GCM, "AES-192-GCM": samltest.AES192GCM,
		"AES-256-GCM": samltest.AES256GCM, "AES-128-CBC": samltest.AES128CBC, "AES-192-CBC": samltest.AES192CBC, "AES-256-CBC": samltest.AES256CBC}
	for idp, write := range idpStyles {
		for signedName, sign := range signed {
			for methodName, method := range methods {
				t.Run(fmt.Sprintf("honest %s, %s, %s", idp, signedName, methodName), func(t *testing.T) {
					m := r.good()
					m.SignAssertion, m.SignResponse = sign[0], sign[1]
					m.Encryption.Method = method
					write(m)
					id, err := r.finish(m)
					if err != nil {
						t.Fatal(err)
					}
					if got, want := value(id, "groups"), []string{"eng", "ops, all"}; id.NameID.Value != "ann" || !slices.Equal(got, want) {
						t.Errorf("%q with the groups %q, want ann with %q", id.NameID.Value, got, want)
					}
				})
			}
		}
	}
}

// What else they send.
func TestHonestForms(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	runAttacks(t, r, []attack{
		{"honest", "Okta: InclusiveNamespaces with xs", nil, signature(func(s *samltest.Signature) { s.PrefixList = "xs" }), accept},
		{"honest", "RSA-SHA384", nil, signature(func(s *samltest.Signature) { s.Method, s.Digest = samltest.RSASHA384, samltest.DigestSHA384 }), accept},
		{"honest", "RSA-SHA512", nil, signature(func(s *samltest.Signature) { s.Method, s.Digest = samltest.RSASHA512, samltest.DigestSHA512 }), accept},
		{"honest", "no KeyInfo", nil, signature(func(s *samltest.Signature) { s.KeyInfo = samltest.KeyInfoNone }), accept},
		{"honest", "Keycloak: KeyName beside the certificate, and a KeyValue", signResponse, signed(func(root *etree.Element) {
			info := root.FindElement(".//KeyInfo")
			name := etree.NewElement("ds:KeyName")
			name.SetText("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE")
			info.InsertChildAt(0, name)
			rsa := info.CreateElement("ds:KeyValue").CreateElement("ds:RSAKeyValue")
			rsa.CreateElement("ds:Modulus").SetText("AQAB")
			rsa.CreateElement("ds:Exponent").SetText("AQAB")
		}), accept},
		{"honest", "PingFederate: a KeyValue alone", nil, signed(func(root *etree.Element) {
			info := root.FindElement(".//KeyInfo")
			info.RemoveChildAt(0)
			rsa := info.CreateElement("ds:KeyValue").CreateElement("ds:RSAKeyValue")
			rsa.CreateElement("ds:Modulus").SetText("AQAB")
			rsa.CreateElement("ds:Exponent").SetText("AQAB")
		}), accept},
		{"honest", "a certificate and a signature in lines", nil, signed(func(root *etree.Element) {
			for _, path := range []string{".//X509Certificate", ".//SignatureValue"} {
				el := root.FindElement(path)
				el.SetText("\n" + lines(el.Text(), 76, "\n  ") + "\n")
			}
		}), accept},
		{"honest", "white space between elements", nil, func(_ *testing.T, m *samltest.Message) {
			m.MutateUnsigned = func(doc *etree.Document) { doc.Indent(2) }
		}, accept},
		{"honest", "Shibboleth: eduPersonTargetedID: a NameID for a value", nil, unsigned(func(root *etree.Element) {
			v := root.FindElement(".//AttributeValue")
			v.SetText("")
			v.CreateElement("saml:NameID").SetText("abc")
		}), accept},
		{"honest", "Shibboleth 2: an attribute of another namespace", nil, unsigned(func(root *etree.Element) {
			a := root.FindElement(".//Attribute")
			a.CreateAttr("xmlns:x500", "urn:oasis:names:tc:SAML:2.0:profiles:attribute:X500")
			a.CreateAttr("x500:Encoding", "LDAP")
		}), accept},
		{"honest", "AuthenticatingAuthority, SubjectLocality and AuthnContextDeclRef", nil, unsigned(func(root *etree.Element) {
			s := root.FindElement(".//AuthnStatement")
			s.InsertChildAt(0, etree.NewElement("saml:SubjectLocality"))
			c := s.SelectElement("AuthnContext")
			c.CreateElement("saml:AuthnContextDeclRef").SetText("urn:x")
			c.CreateElement("saml:AuthenticatingAuthority").SetText("https://up.example")
		}), accept},
		{"honest", "OneTimeUse and ProxyRestriction", nil, unsigned(func(root *etree.Element) {
			c := root.FindElement(".//Conditions")
			c.CreateElement("saml:OneTimeUse")
			c.CreateElement("saml:ProxyRestriction").CreateAttr("Count", "0")
		}), accept},
		{"honest", "no AttributeStatement", nil, set(func(m *samltest.Message) { m.Attributes = nil }), accept},
		{"honest", "a StatusMessage beside Success", nil, set(func(m *samltest.Message) { m.Status.Message = "Success" }), accept},
		{"honest", "Entra: an hour and five minutes of validity", nil, set(func(m *samltest.Message) {
			m.NotBefore = time.Now().Add(-5 * time.Minute)
			m.NotOnOrAfter = time.Now().Add(time.Hour)
			m.Confirmations[0].NotOnOrAfter = time.Now().Add(time.Hour)
		}), accept},
		{"honest", "LemonLDAP::NG: 20 hours of validity", nil, set(func(m *samltest.Message) { m.NotOnOrAfter = time.Now().Add(20 * time.Hour) }), accept},
		{"honest", "Conditions without NotBefore", nil, set(func(m *samltest.Message) { m.NotBefore = time.Time{} }), accept},
		{"honest", "neither SessionIndex nor SessionNotOnOrAfter", nil, set(func(m *samltest.Message) {
			m.SessionIndex, m.SessionNotOnOrAfter = "", time.Time{}
		}), accept},
		{"honest", "an IdP whose clock is two minutes behind", nil, shift(-2 * time.Minute), accept},
		{"honest", "an IdP whose clock is two minutes ahead", nil, shift(2 * time.Minute), accept},
		{"honest", "InclusiveNamespaces with two prefixes", nil, signature(func(s *samltest.Signature) { s.PrefixList = "xs xsi" }), accept},
		{"honest", "InclusiveNamespaces on a Response", signResponse, signature(func(s *samltest.Signature) { s.PrefixList = "xs" }), accept},
		{"honest", "InclusiveNamespaces with prefixes that are in use anyway", nil, signature(func(s *samltest.Signature) { s.PrefixList = "saml samlp ds" }), accept},
		{"honest", "two AuthnStatements and three AttributeStatements, one of them empty", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.AddChild(a.SelectElement("AuthnStatement").Copy())
			second := a.SelectElement("AttributeStatement").Copy()
			a.AddChild(second)
			a.CreateElement("saml:AttributeStatement")
		}), accept},
		{"honest", "attributes before the AuthnStatement", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			s := a.SelectElement("AuthnStatement")
			a.RemoveChild(s)
			a.AddChild(s)
		}), accept},
		{"honest", "an AuthnStatement without a context class", nil, set(func(m *samltest.Message) { m.AuthnContext = "" }), accept},
		{"honest", "OAEP of XML Encryption 1.0, SHA-1", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.KeyTransport, e.Digest = samltest.OAEP, samltest.DigestSHA1
		}), accept},
		{"honest", "OAEP with SHA-256 and MGF1 of SHA-1", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Digest = samltest.DigestSHA256 }), accept},
		{"honest", "OAEP of XML Encryption 1.1, SHA-512", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.KeyTransport, e.Digest = samltest.OAEP11, samltest.DigestSHA512
		}), accept},
		{"honest", "OAEP of XML Encryption 1.1, SHA-1", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.KeyTransport, e.Digest = samltest.OAEP11, samltest.DigestSHA1
		}), accept},
		{"honest", "OAEP of XML Encryption 1.1, SHA-256", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.KeyTransport, e.Digest = samltest.OAEP11, samltest.DigestSHA256
		}), accept},
		{"honest", "OAEP that names no digest", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateElement = func(el *etree.Element) {
				method := el.FindElement(".//EncryptedKey/EncryptionMethod")
				method.RemoveChild(method.SelectElement("DigestMethod"))
			}
		}), accept},
		{"honest", "KeyName in the EncryptedData, a KeySize, and ciphertext in lines", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateElement = func(el *etree.Element) {
				data := el.SelectElement("EncryptedData")
				data.SelectElement("EncryptionMethod").CreateElement("xenc:KeySize").SetText("256")
				name := etree.NewElement("ds:KeyName")
				name.SetText("sp")
				data.SelectElement("KeyInfo").InsertChildAt(0, name)
				for _, v := range el.FindElements(".//CipherValue") {
					v.SetText("\n" + lines(v.Text(), 64, "\n") + "\n")
				}
			}
		}), accept},
		{"honest", "Shibboleth: EncryptedKey names its recipient, and what it is for", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.Sibling = true
			e.MutateElement = func(el *etree.Element) {
				el.SelectElement("EncryptedData").CreateAttr("Id", "_data")
				key := el.SelectElement("EncryptedKey")
				key.CreateAttr("Id", "_key")
				key.CreateAttr("Recipient", entityID)
				key.CreateElement("xenc:ReferenceList").CreateElement("xenc:DataReference").CreateAttr("URI", "#_data")
				key.CreateElement("xenc:CarriedKeyName").SetText("k")
			}
		}), accept},
		{"honest", "a certificate by its issuer and its serial number", nil, signed(func(root *etree.Element) {
			data := root.FindElement(".//X509Data")
			serial := data.CreateElement("ds:X509IssuerSerial")
			serial.CreateElement("ds:X509IssuerName").SetText("CN=acme")
			serial.CreateElement("ds:X509SerialNumber").SetText("1")
			data.CreateElement("ds:X509SKI").SetText("AAAA")
		}), accept},
		{"honest", "an elliptic KeyValue in KeyInfo", nil, signed(func(root *etree.Element) {
			ec := root.FindElement(".//KeyInfo").CreateElement("ds:KeyValue").CreateElement("dsig11:ECKeyValue")
			ec.CreateAttr("xmlns:dsig11", "http://www.w3.org/2009/xmldsig11#")
			ec.CreateElement("dsig11:NamedCurve").CreateAttr("URI", "urn:oid:1.2.840.10045.3.1.7")
			ec.CreateElement("dsig11:PublicKey").SetText("AAAA")
		}), accept},
		{"honest", "a StatusDetail with text", nil, signed(func(root *etree.Element) {
			root.SelectElement("Status").CreateElement("samlp:StatusDetail").SetText("signed in")
		}), accept},
		{"honest", "an e-mail address for a NameID", nil, set(func(m *samltest.Message) {
			m.NameID = samltest.NameID{Value: "Ann.Lee+x@acme.example", Format: samltest.NameIDEmail}
		}), accept},
		{"honest", "a NameID of other letters, and one in lines", nil, set(func(m *samltest.Message) { m.NameID.Value = "\n  \u00e4nn \u8c22\n" }), accept},
		{"honest", "values in all scripts, with markup in them", nil, set(func(m *samltest.Message) {
			m.SetAttribute("displayName", "<b>&amp; \"\u00c4nn\" \u8c22 \U0001f600</b>", "\ttab\r\n", "]]>")
		}), accept},
		{"honest", "times without a fraction, with one of seven digits, and without a zone", nil, unsigned(func(root *etree.Element) {
			now := time.Now().UTC()
			root.CreateAttr("IssueInstant", now.Format("2006-01-02T15:04:05Z"))
			root.SelectElement("Assertion").CreateAttr("IssueInstant", now.Format("2006-01-02T15:04:05.0000000Z"))
			root.FindElement(".//AuthnStatement").CreateAttr("AuthnInstant", now.Format("2006-01-02T15:04:05"))
		}), accept},
	})
	m := r.good()
	for _, test := range []struct{ what, text string }{
		{"base64 in lines of 76", lines(mustBase64(t, m), 76, "\r\n")},
		{"base64 in lines of 64", lines(mustBase64(t, m), 64, "\n") + "\n"},
	} {
		t.Run("honest "+test.what, func(t *testing.T) {
			if _, err := r.post(test.text); err != nil {
				t.Error(err)
			}
		})
	}
}

// crewjam's verdict counts too. This message is right; crewjam cannot read an
// Assertion whose default namespace is declared further up, and no IdP is known
// to write one. Should crewjam learn it, the row may become one of acceptance.
func TestSecondOpinion(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.good()
	m.Style, m.Signature.Prefix = samltest.DefaultNamespace, ""
	m.MutateUnsigned = func(doc *etree.Document) {
		doc.Root().CreateAttr("xmlns", samltest.NSAssertion)
		doc.Root().SelectElement("Assertion").RemoveAttr("xmlns")
	}
	id, err := r.finish(m)
	wantRefusal(t, id, err, "library")
}

// shift moves all times of a message.
func shift(by time.Duration) func(*testing.T, *samltest.Message) {
	return set(func(m *samltest.Message) {
		for _, at := range []*time.Time{&m.IssueInstant, &m.AssertionIssueInstant, &m.NotBefore, &m.NotOnOrAfter,
			&m.AuthnInstant, &m.SessionNotOnOrAfter, &m.Confirmations[0].NotOnOrAfter} {
			*at = at.Add(by)
		}
	})
}

// An identity is what the assertion says, as it says it.
func TestIdentity(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.good()
	m.NameID = samltest.NameID{Value: "x1", Format: samltest.NameIDPersistent, NameQualifier: "nq", SPNameQualifier: "sq"}
	m.AuthnInstant = time.Now().Add(-time.Hour).Truncate(time.Second)
	m.SessionNotOnOrAfter = time.Now().Add(time.Hour).Truncate(time.Second)
	m.Attributes = []samltest.Attribute{
		{Name: "urn:oid:0.9.2342.19200300.100.1.3", NameFormat: samltest.FormatURI, FriendlyName: "mail", Values: []string{"ann@acme.example"}},
		{Name: "empty", Values: []string{""}},
		{Name: "none"},
		{Name: "nil", Values: []string{"gone"}},
		{Name: "named", Values: []string{"x"}},
		{Name: "twice", Values: []string{"a"}},
		{Name: "twice", Values: []string{"b"}},
		{Name: "odd", Values: []string{" a, b\n<c>&\"' \u00e9\u202e"}},
	}
	m.MutateUnsigned = func(doc *etree.Document) {
		doc.FindElement("//Attribute[@Name='nil']/AttributeValue").CreateAttr("xsi:nil", "true")
		v := doc.FindElement("//Attribute[@Name='named']/AttributeValue")
		v.SetText("")
		v.CreateElement("saml:NameID").SetText("abc")
	}
	id, err := r.finish(m)
	if err != nil {
		t.Fatal(err)
	}
	if want := (samlsp.NameID{Value: "x1", Format: samltest.NameIDPersistent, NameQualifier: "nq", SPNameQualifier: "sq"}); id.NameID != want {
		t.Errorf("NameID = %+v, want %+v", id.NameID, want)
	}
	if id.IdP != "acme" || id.Issuer != r.idp.EntityID() || id.SessionIndex != m.SessionIndex || id.AssertionID != m.AssertionID {
		t.Errorf("identity = %+v, want that of %+v", id, m)
	}
	if !id.AuthnInstant.Equal(m.AuthnInstant) || !id.SessionNotOnOrAfter.Equal(m.SessionNotOnOrAfter) || !id.IssuedAt.Equal(m.AssertionIssueInstant.Truncate(time.Millisecond)) {
		t.Errorf("times = %s, %s, %s; want those of the message", id.AuthnInstant, id.SessionNotOnOrAfter, id.IssuedAt)
	}
	got := fmt.Sprintf("%q", id.Attributes)
	want := fmt.Sprintf("%q", []samlsp.Attribute{
		{Name: "urn:oid:0.9.2342.19200300.100.1.3", NameFormat: samltest.FormatURI, FriendlyName: "mail", Values: []string{"ann@acme.example"}},
		{Name: "empty", Values: []string{""}},
		{Name: "none"}, {Name: "nil"}, {Name: "named", Values: []string{"abc"}},
		{Name: "twice", Values: []string{"a"}}, {Name: "twice", Values: []string{"b"}},
		{Name: "odd", Values: []string{" a, b\n<c>&\"' \u00e9\u202e"}},
	})
	if got != want {
		t.Errorf("attributes = %s, want %s", got, want)
	}
}
