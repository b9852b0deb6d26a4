package samlsp_test

import (
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// Attacks that are in no catalogue but ours, numbered on from the last of each part.

// once replaces text in the message as it is sent.
func once(old, new string) func(*testing.T, *samltest.Message) {
	return func(t *testing.T, m *samltest.Message) {
		raw(func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("no %q in the message", old)
			}
			return strings.Replace(s, old, new, 1)
		})(t, m)
	}
}

// A: names, and what a signature says of itself.
func TestAttacksOnFormsOfSignatures(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, otherCertificate := idpKeys[1]()
	inStatus := func(attrs string) func(*testing.T, *samltest.Message) {
		return once("<samlp:Status>", "<samlp:Status "+attrs+">")
	}
	method := func(uri string) func(*testing.T, *samltest.Message) {
		return signedInfo(func(info *etree.Element) { info.SelectElement("SignatureMethod").CreateAttr("Algorithm", uri) })
	}
	uri := func(f func(own string) string) func(*testing.T, *samltest.Message) {
		return signedInfo(func(info *etree.Element) {
			reference := info.SelectElement("Reference")
			reference.CreateAttr("URI", f(reference.SelectAttrValue("URI", "")))
		})
	}
	text := func(path string, f func(string) string) func(*testing.T, *samltest.Message) {
		return signed(func(root *etree.Element) {
			el := root.FindElement(path)
			el.SetText(f(el.Text()))
		})
	}
	runAttacks(t, r, []attack{
		{"A45", "xml declared as what it is", nil, inStatus(`xmlns:xml="http://www.w3.org/XML/1998/namespace"`), accept},
		{"A45", "xml declared as something else", nil, inStatus(`xmlns:xml="urn:evil"`), "namespace"},
		{"A45", "xml:id, which some take for an ID", nil, inStatus(`xml:id="_x"`), "structure"},
		{"A46", "the default namespace undeclared", nil, inStatus(`xmlns=""`), "namespace"},
		{"A46", "the default namespace undeclared in a message that has one", entraStyle, once(`<Subject>`, `<Subject xmlns="">`), "namespace"},
		{"A46", "another default namespace inside the Assertion", entraStyle, once(`<Subject>`, `<Subject xmlns="urn:evil">`), "structure"},
		{"A46", "a prefix declared again, as what it is", nil, inStatus(`xmlns:saml="` + samltest.NSAssertion + `"`), accept},
		{"A47", "an element with an empty prefix", nil, once("<samlp:Status>", "<:Status>"), "structure"},
		{"A47", "an element with an empty local name", nil, once("<samlp:Status>", "<samlp:>"), "structure"},
		{"A47", "an element with two colons", nil, once("<samlp:Status>", "<samlp:saml:Status>"), "xml"},
		{"A47", "an attribute with an empty prefix", nil, inStatus(`:x="y"`), "xml"},
		{"A47", "an attribute with an empty local name", nil, inStatus(`saml:="y"`), "xml"},
		{"A47", "a declaration of an empty prefix", nil, inStatus(`xmlns:="urn:x"`), "xml"},
		{"A48", "a prefix of the namespace of declarations", nil, inStatus(`xmlns:x="http://www.w3.org/2000/xmlns/"`), "namespace"},
		{"A48", "the namespace of declarations as the default", nil, inStatus(`xmlns="http://www.w3.org/2000/xmlns/"`), "namespace"},
		{"A48", "the namespace of xml as the default", nil, inStatus(`xmlns="http://www.w3.org/XML/1998/namespace"`), "namespace"},
		{"A48", "xmlns declared", nil, inStatus(`xmlns:xmlns="http://www.w3.org/2000/xmlns/"`), "namespace"},
		{"A48", "xmlns declared as a prefix of its own", nil, inStatus(`xmlns:xmlns="urn:x"`), "namespace"},
		{"A49", "another ID by character references", nil, func(t *testing.T, m *samltest.Message) {
			once(` ID="`+m.AssertionID, ` ID="&#x5F;&#95;`+m.AssertionID[1:])(t, m)
		}, "reference"},
		{"A49", "the Assertion's own ID, its first character by reference", nil, func(t *testing.T, m *samltest.Message) {
			once(` ID="`+m.AssertionID, ` ID="&#x05f;`+m.AssertionID[1:])(t, m)
		}, accept},
		{"A49", "another element's ID by character references", nil, func(t *testing.T, m *samltest.Message) {
			once("<samlp:Status>", `<samlp:Status ID="&#95;`+m.AssertionID[1:]+`">`)(t, m)
		}, "id"},
		{"A49", "an algorithm by character references", nil, once(samltest.RSASHA256, strings.Replace(samltest.RSASHA1, "r", "&#x72;", 1)), "algorithm"},
		{"A50", "a space before the ID, which is none for a validating parser", nil, unsigned(func(root *etree.Element) {
			root.CreateAttr("ID", " _abcdefghijklmnop")
		}), "id"},
		{"A50", "a line end after the ID", nil, unsigned(func(root *etree.Element) { root.CreateAttr("ID", "_abcdefghijklmnop\n") }), "id"},
		{"A50", "an ID with letters beyond ASCII", nil, unsigned(func(root *etree.Element) { root.CreateAttr("ID", "_abcdefghijklmno\u00e9") }), "id"},
		{"A50", "an empty ID", nil, unsigned(func(root *etree.Element) { root.CreateAttr("ID", "") }), "id"},
		{"A50", "an ID of 257 characters", nil, set(func(m *samltest.Message) { m.AssertionID = "_" + strings.Repeat("a", 256) }), "id"},
		{"A50", "an ID of 256 characters", nil, set(func(m *samltest.Message) { m.AssertionID = "_" + strings.Repeat("a", 255) }), accept},
		{"A51", "a DigestValue with something after its end", nil, signedInfo(func(info *etree.Element) {
			v := info.FindElement(".//DigestValue")
			v.SetText(v.Text() + "AAAA")
		}), "signature"},
		{"A51", "a DigestValue that is empty", nil, signedInfo(func(info *etree.Element) { info.FindElement(".//DigestValue").SetText("") }), "signature"},
		{"A51", "a DigestValue cut short", nil, signedInfo(func(info *etree.Element) {
			v := info.FindElement(".//DigestValue")
			v.SetText(v.Text()[:40])
		}), "signature"},
		{"A51", "a SignatureValue with something after its end", nil, text(".//SignatureValue", func(s string) string { return s + "AAAA" }), "signature"},
		{"A51", "a SignatureValue that is no base64", nil, text(".//SignatureValue", func(s string) string { return "*" + s[1:] }), "signature"},
		{"A51", "a SignatureValue of white space", nil, text(".//SignatureValue", func(string) string { return " \n" }), "signature"},
		{"A51", "a SignatureValue of one byte", nil, text(".//SignatureValue", func(string) string { return "AA==" }), "signature"},
		{"A51", "a SignatureValue of zeros", nil, text(".//SignatureValue", func(string) string {
			return base64.StdEncoding.EncodeToString(make([]byte, 256))
		}), "signature"},
		{"A51", "a SignatureValue of the number one", nil, text(".//SignatureValue", func(string) string {
			return base64.StdEncoding.EncodeToString(append(make([]byte, 255), 1))
		}), "signature"},
		{"A52", "a Response whose signature is over its Assertion", signResponse, func(t *testing.T, m *samltest.Message) {
			uri(func(string) string { return "#" + m.AssertionID })(t, m)
		}, "reference"},
		{"A52", "the Assertion's signature moved up to the Response", nil, signed(func(root *etree.Element) {
			s := root.FindElement("./Assertion/Signature")
			root.SelectElement("Assertion").RemoveChild(s)
			root.InsertChildAt(1, s)
		}), "reference"},
		{"A52", "the Response's signature moved down to the Assertion", signResponse, signed(func(root *etree.Element) {
			s := root.SelectElement("Signature")
			root.RemoveChild(s)
			root.SelectElement("Assertion").InsertChildAt(1, s)
		}), "reference"},
		{"A52", "the Assertion renamed as the Response that was signed", signResponse, func(t *testing.T, m *samltest.Message) {
			signed(func(root *etree.Element) {
				root.SelectElement("Assertion").CreateAttr("ID", m.ID)
				root.CreateAttr("ID", samltest.NewID())
			})(t, m)
		}, "reference"},
		{"A53", "two KeyInfo", nil, signed(func(root *etree.Element) {
			info := root.FindElement(".//KeyInfo")
			info.Parent().AddChild(info.Copy())
		}), "structure"},
		{"A53", "a KeyInfo with nothing in it", nil, signed(func(root *etree.Element) {
			info := root.FindElement(".//KeyInfo")
			info.RemoveChildAt(0)
		}), "structure"},
		{"A53", "KeyInfo by reference", nil, signed(func(root *etree.Element) {
			root.FindElement(".//KeyInfo").CreateElement("ds:KeyInfoReference").CreateAttr("URI", "#x")
		}), "structure"},
		{"A54", "another IdP's certificate in KeyInfo, over our IdP's signature", nil, signature(func(s *samltest.Signature) {
			s.Certificate = otherCertificate
		}), accept},
		{"A54", "no certificate in KeyInfo, but text, over our IdP's signature", nil, text(".//X509Certificate", func(string) string { return "none" }), accept},
		{"A55", "a Reference by XPointer", nil, uri(func(own string) string { return "#xpointer(id('" + own[1:] + "'))" }), "reference"},
		{"A55", "a Reference of all by XPointer", nil, uri(func(string) string { return "#xpointer(/)" }), "reference"},
		{"A55", "a Reference with percent-encoding", nil, uri(func(own string) string { return "#%5F" + own[2:] }), "reference"},
		{"A55", "a Reference without #", nil, uri(func(own string) string { return own[1:] }), "reference"},
		{"A55", "a Reference that is another letter and the ID", nil, uri(func(own string) string { return "x" + own[1:] }), "reference"},
		{"A55", "a Reference of a document elsewhere", nil, uri(func(own string) string { return "https://evil.example/" + own }), "reference"},
		{"A55", "a Reference with a space", nil, uri(func(own string) string { return own + " " }), "reference"},
		{"A55", "a Reference in other letters", nil, uri(strings.ToUpper), "reference"},
		{"A55", "a Reference without URI", nil, signedInfo(func(info *etree.Element) { info.SelectElement("Reference").RemoveAttr("URI") }), "reference"},
		{"A55", "an element without an ID, and a Reference of that", nil, func(t *testing.T, m *samltest.Message) {
			unsigned(func(root *etree.Element) { root.SelectElement("Assertion").RemoveAttr("ID") })(t, m)
			uri(func(string) string { return "#" })(t, m)
		}, "reference"},
		{"A56", "a PrefixList added after signing", nil, signed(func(root *etree.Element) {
			in := root.FindElement(".//Transform[2]").CreateElement("ec:InclusiveNamespaces")
			in.CreateAttr("xmlns:ec", samltest.ExclusiveC14N)
			in.CreateAttr("PrefixList", "samlp")
		}), "signature"},
		{"A56", "a PrefixList changed after signing", func(m *samltest.Message) { m.Signature.PrefixList = "xs" }, signed(func(root *etree.Element) {
			root.FindElement(".//InclusiveNamespaces").CreateAttr("PrefixList", "xs samlp")
		}), "signature"},
		{"A56", "a PrefixList for SignedInfo, added after signing", nil, signed(func(root *etree.Element) {
			in := root.FindElement(".//CanonicalizationMethod").CreateElement("ec:InclusiveNamespaces")
			in.CreateAttr("xmlns:ec", samltest.ExclusiveC14N)
			in.CreateAttr("PrefixList", "samlp")
		}), "signature"},
		{"A56", "a namespace that the PrefixList takes in, changed after signing", func(m *samltest.Message) { m.Signature.PrefixList = "xs" }, signed(func(root *etree.Element) {
			root.SelectElement("Assertion").CreateAttr("xmlns:xs", "urn:evil")
		}), "signature"},
		{"A56", "two PrefixLists", func(m *samltest.Message) { m.Signature.PrefixList = "xs" }, signedInfo(func(info *etree.Element) {
			in := info.FindElement(".//InclusiveNamespaces")
			in.Parent().AddChild(in.Copy())
		}), "structure"},
		{"A57", "two signatures of one element", nil, signed(func(root *etree.Element) {
			s := root.FindElement("./Assertion/Signature")
			s.Parent().AddChild(s.Copy())
		}), "structure"},
		{"A57", "a signature in Subject", nil, signed(func(root *etree.Element) {
			root.FindElement(".//Subject").AddChild(root.FindElement(".//Signature").Copy())
		}), "structure"},
		{"A57", "a signature of another namespace beside ours", nil, unsigned(func(root *etree.Element) {
			s := root.SelectElement("Assertion").CreateElement("e:Signature")
			s.CreateAttr("xmlns:e", "urn:evil")
		}), "structure"},
		{"A58", "a SignatureMethod with HMACOutputLength", nil, signedInfo(func(info *etree.Element) {
			info.SelectElement("SignatureMethod").CreateElement("ds:HMACOutputLength").SetText("1")
		}), "structure"},
		{"A58", "no SignatureMethod", nil, signedInfo(func(info *etree.Element) { info.RemoveChild(info.SelectElement("SignatureMethod")) }), "structure"},
		{"A58", "a SignatureMethod without an algorithm", nil, signedInfo(func(info *etree.Element) {
			info.SelectElement("SignatureMethod").RemoveAttr("Algorithm")
		}), "algorithm"},
		{"A58", "no DigestMethod", nil, signedInfo(func(info *etree.Element) {
			reference := info.SelectElement("Reference")
			reference.RemoveChild(reference.SelectElement("DigestMethod"))
		}), "structure"},
		{"A58", "RSA-PSS", nil, method("http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"), "algorithm"},
		{"A58", "RSA with MD5", nil, method("http://www.w3.org/2001/04/xmldsig-more#rsa-md5"), "algorithm"},
		{"A58", "DSA", nil, method("http://www.w3.org/2000/09/xmldsig#dsa-sha1"), "algorithm"},
		{"A58", "ECDSA with SHA-1", nil, method("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"), "algorithm"},
		{"A58", "HMAC with SHA-256", nil, method("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"), "algorithm"},
		{"A58", "an allowed algorithm and a space", nil, method(samltest.RSASHA256 + " "), "algorithm"},
		{"A58", "ECDSA for the key of RSA", nil, method("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"), "signature"},
		{"A58", "another hash than was signed with", nil, method("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"), "signature"},
		{"A58", "the digest of another hash than was digested with", nil, signedInfo(func(info *etree.Element) {
			info.FindElement(".//DigestMethod").CreateAttr("Algorithm", samltest.DigestSHA512)
		}), "signature"},
	})
}

// What an element of another namespace declares around a signed Assertion is not
// read into it, and the certificate of the metadata is found among several.
func TestSignatureIsOfOneOfSeveral(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	key, certificate := idpKeys[0]()
	_, other := idpKeys[1]()
	late, err := samltest.New(samltest.Options{URL: "https://late.example"})
	if err != nil {
		t.Fatal(err)
	}
	m := r.idp.Metadata()
	m.Certificates = []*x509.Certificate{late.Certificates()[0], other, certificate}
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	runAttacks(t, r, []attack{
		{"A59", "signed by a key of none of three certificates", nil, func(t *testing.T, m *samltest.Message) {
			stranger, err := samltest.New(samltest.Options{URL: "https://stranger.example"})
			if err != nil {
				t.Fatal(err)
			}
			m.Signature = stranger.Good(samltest.SPInfo{}, "", samltest.User{}).Signature
		}, "signature"},
		{"A59", "Response and Assertion signed by keys of two certificates", signBoth, func(_ *testing.T, m *samltest.Message) {
			m.MutateAssertionSigned = func(*etree.Document) { m.Signature.Key, m.Signature.Certificate = key, certificate }
		}, accept},
	})
}

// B: what one parser reads and another does not.
func TestAttacksOnFormsOfXML(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nameID := func(s string) func(*testing.T, *samltest.Message) { return once(">ann<", ">"+s+"<") }
	around := func(before, after string) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string { return before + m + after })
	}
	inStatus := func(attrs string) func(*testing.T, *samltest.Message) {
		return once("<samlp:Status>", "<samlp:Status "+attrs+">")
	}
	smile := func(m *samltest.Message) { m.NameID.Value = "\U0001f600" }
	runAttacks(t, r, []attack{
		{"B27", "a byte order mark", nil, around("\ufeff", ""), "xml"},
		{"B27", "two byte order marks", nil, around("\ufeff\ufeff", ""), "xml"},
		{"B27", "a byte order mark after the XML declaration", nil, around("<?xml version=\"1.0\"?>\ufeff", ""), "xml"},
		{"B27", "the mark of UTF-16 before UTF-8", nil, around("\xff\xfe", ""), "xml"},
		{"B27", "the mark of UTF-32 before UTF-8", nil, around("\x00\x00\xfe\xff", ""), "xml"},
		{"B28", "half a character by reference", nil, nameID("ann&#xD83D;"), "xml"},
		{"B28", "half a character after a whole one, both by reference", nil, nameID("&#97;nn&#xD83D;"), "xml"},
		{"B28", "half a character by reference, as U+FFFD was signed", func(m *samltest.Message) { m.NameID.Value = "\ufffd" }, once(">\ufffd<", ">&#xDFFF;<"), "xml"},
		{"B28", "half a character by decimal reference", nil, nameID("ann&#0055296;"), "xml"},
		{"B28", "half a character by reference in an attribute", nil, inStatus(`x="&#xdc00;"`), "xml"},
		{"B28", "a character by two references to its halves", smile, once(">\U0001f600<", ">&#xD83D;&#xDE00;<"), "xml"},
		{"B28", "a character in two halves of three bytes each", smile, once(">\U0001f600<", ">\xed\xa0\xbd\xed\xb8\x80<"), "xml"},
		{"B28", "a character by one reference", smile, once(">\U0001f600<", ">&#x01F600;<"), accept},
		{"B28", "a reference just below the halves and one just above", func(m *samltest.Message) { m.NameID.Value = "\ud7ff\ue000" },
			once("\ud7ff\ue000", "&#xD7FF;&#57344;"), accept},
		{"B29", "U+FFFE", nil, nameID("ann\ufffe"), "xml"},
		{"B29", "U+FFFF by reference", nil, nameID("ann&#xFFFF;"), "xml"},
		{"B29", "a control character", nil, nameID("ann\x01"), "xml"},
		{"B29", "a control character by reference", nil, nameID("ann&#1;"), "xml"},
		{"B29", "NUL", nil, nameID("ann\x00"), "xml"},
		{"B29", "NUL in an attribute", nil, inStatus(`x="&#x0;"`), "xml"},
		{"B30", "a reference beyond all characters", nil, nameID("ann&#x110000;"), "xml"},
		{"B30", "a reference beyond 32 bits, which is an a in 32", nil, nameID("&#4294967393;nn"), "xml"},
		{"B30", "a reference beyond 64 bits", nil, nameID("&#18446744073709551713;nn"), "xml"},
		{"B30", "a negative reference", nil, nameID("&#-97;nn"), "xml"},
		{"B30", "a reference without a number", nil, nameID("ann&#;"), "xml"},
		{"B30", "a reference with a capital X", nil, nameID("&#X61;nn"), "xml"},
		{"B30", "a reference without an end", nil, nameID("&#97nn"), "xml"},
		{"B30", "a character by reference", nil, nameID("&#97;n&#x006E;"), accept},
		{"B31", "an entity in an attribute", nil, inStatus(`x="&y;"`), "xml"},
		{"B31", "an entity of HTML", nil, nameID("ann&nbsp;"), "xml"},
		{"B31", "an ampersand alone", nil, nameID("ann &"), "xml"},
		{"B32", "an attribute without quotes", nil, inStatus(`x=y`), "xml"},
		{"B32", "an attribute without a value", nil, inStatus(`x`), "xml"},
		{"B32", "a less-than in an attribute", nil, inStatus(`x="<"`), "xml"},
		{"B32", "the end of CDATA in text", nil, nameID("ann]]>"), "xml"},
		{"B32", "CDATA in CDATA", nil, nameID("<![CDATA[<![CDATA[ann]]>]]>"), "xml"},
		{"B32", "CDATA without an end", nil, nameID("<![CDATA[ann"), "xml"},
		{"B32", "an end tag with an attribute", nil, once("</samlp:Status>", `</samlp:Status x="y">`), "xml"},
		{"B32", "an end tag of the same namespace by another prefix", nil, func(t *testing.T, m *samltest.Message) {
			raw(func(s string) string {
				s = strings.Replace(s, "<samlp:Status>", `<samlp:Status xmlns:p="`+samltest.NSProtocol+`">`, 1)
				return strings.Replace(s, "</samlp:Status>", "</p:Status>", 1)
			})(t, m)
		}, "xml"},
		{"B33", "a line end in an attribute where a space was signed", func(m *samltest.Message) { m.Attributes[0].FriendlyName = "a b" },
			once(`FriendlyName="a b"`, "FriendlyName=\"a\nb\""), "signature"},
		{"B33", "a line end before Destination", nil, once(`Destination="`, "Destination=\"\n"), "wrong_destination"},
		{"B35", "white space after the root as CDATA", nil, around("", "<![CDATA[ ]]>"), "xml"},
		{"B35", "white space before the root as CDATA", nil, around("<![CDATA[ ]]>", ""), "xml"},
		{"B35", "white space after the root by reference", nil, around("", "&#32;"), "xml"},
		{"B34", "an empty CDATA, which crewjam takes for the end", nil, nameID("ann<![CDATA[]]>"), "library"},
		{"B35", "an empty CDATA after the root", nil, around("", "<![CDATA[]]>"), "xml"},
		{"B36", "an element in full-width letters", nil, once("<samlp:Status>", "<samlp:\uff33tatus>"), "xml"},
		{"B36", "an attribute in full-width letters", nil, inStatus("\uff29\uff24=\"x\""), "xml"},
		{"B36", "a prefix in full-width letters", nil, inStatus("xmlns:\uff53=\"urn:x\""), "xml"},
		{"B36", "a prefix with a letter beyond ASCII", nil, inStatus("xmlns:\u00e9=\"urn:x\""), "namespace"},
		{"B36", "a prefix in other letters", nil, once("<samlp:Status>", "<SAMLP:Status>"), "namespace"},
		{"B36", "an element in other letters", nil, once("<samlp:Status>", "<samlp:status>"), "structure"},
		{"B36", "an attribute in other letters", nil, once(`Destination="`, `destination="`), "wrong_destination"},
		{"B37", "two XML declarations", nil, around(`<?xml version="1.0"?><?xml version="1.0"?>`, ""), "xml"},
		{"B37", "an XML declaration in capitals", nil, around(`<?XML version="1.0"?>`, ""), "xml"},
		{"B37", "an XML declaration without a version", nil, around(`<?xml encoding="UTF-8"?>`, ""), "xml"},
		{"B37", "an XML declaration after the root", nil, around("", `<?xml version="1.0"?>`), "xml"},
		{"B37", "a stylesheet", nil, around(`<?xml-stylesheet href="https://evil.example"?>`, ""), "xml"},
		{"B37", "a comment before the root", nil, around("<!-- x -->", ""), "xml"},
		{"B37", "a comment after the root", nil, around("", "<!-- x -->"), "xml"},
		{"B37", "a comment in a SignatureValue", nil, once("</ds:SignatureValue>", "<!-- x --></ds:SignatureValue>"), "xml"},
		{"B37", "an ENTITY without a DOCTYPE", nil, around(`<!ENTITY x "y">`, ""), "xml"},
		{"B37", "an include", nil, once("<samlp:Status>", `<samlp:Status><x:include xmlns:x="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>`), "structure"},
		{"B37", "an element of HTML", nil, once("<samlp:Status>", `<samlp:Status><script xmlns="http://www.w3.org/1999/xhtml">x</script>`), "structure"},
	})
}

// Text that is written in another way, and read the same.
func TestTextIsAsSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, test := range []struct{ what, signed, old, new string }{
		{"CR LF for a line end", "a\nb", "a\nb", "a\r\nb"},
		{"CR for a line end", "a\nb", "a\nb", "a\rb"},
		{"CR LF in CDATA", "a\nb", "a\nb", "<![CDATA[a\r\nb]]>"},
		{"a line end by reference", "a\nb", "a\nb", "a&#10;b"},
		{"CR by reference, which stays", "a\r\nb", "a&#xD;\nb", "a&#13;&#10;b"},
		{"markup in CDATA", "<b>&amp;", "&lt;b&gt;&amp;amp;", "<![CDATA[<b>&amp;]]>"},
		{"CDATA in pieces", "]]>", "]]&gt;", "<![CDATA[]]]]><![CDATA[>]]>"},
	} {
		t.Run("B34 "+test.what, func(t *testing.T) {
			for _, again := range []bool{false, true} {
				m := r.good()
				m.SetAttribute("groups", test.signed)
				if again {
					once(test.old, test.new)(t, m)
				}
				id, err := r.finish(m)
				if err != nil {
					t.Fatal(err)
				}
				if got := value(id, "groups"); !slices.Equal(got, []string{test.signed}) {
					t.Errorf("groups = %q, want %q", got, test.signed)
				}
			}
		})
	}
}

// C: what an IdP may say, at its edges.
func TestAttacksOnFormsOfMeaning(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ends := func(f func(at time.Time) string) func(*testing.T, *samltest.Message) {
		return unsigned(func(root *etree.Element) {
			root.FindElement(".//Conditions").CreateAttr("NotOnOrAfter", f(time.Now().Add(5*time.Minute).UTC()))
		})
	}
	layout := func(s string) func(*testing.T, *samltest.Message) {
		return ends(func(at time.Time) string { return at.Format(s) })
	}
	zone := func(hours int, s string) func(*testing.T, *samltest.Message) {
		return ends(func(at time.Time) string {
			return at.Add(time.Duration(hours)*time.Hour).Format("2006-01-02T15:04:05") + s
		})
	}
	attribute := func(path, name, value string) func(*testing.T, *samltest.Message) {
		return unsigned(func(root *etree.Element) { root.FindElement(path).CreateAttr(name, value) })
	}
	audiences := func(lists ...[]string) func(*testing.T, *samltest.Message) {
		return set(func(m *samltest.Message) { m.Audiences = lists })
	}
	nameID := func(s string) func(*testing.T, *samltest.Message) {
		return set(func(m *samltest.Message) { m.NameID.Value = s })
	}
	child := func(path, tag string) func(*testing.T, *samltest.Message) {
		return unsigned(func(root *etree.Element) { root.FindElement(path).CreateElement(tag) })
	}
	runAttacks(t, r, []attack{
		{"C51", "an hour of 24", nil, layout("2006-01-02T24:00:00Z"), "expired"},
		{"C51", "a leap second", nil, layout("2006-01-02T15:04:60Z"), "expired"},
		{"C51", "a year of five digits", nil, layout("12026-01-02T15:04:05Z"), "expired"},
		{"C51", "a negative year", nil, layout("-2006-01-02T15:04:05Z"), "expired"},
		{"C51", "the year 0", nil, layout("0000-01-02T15:04:05Z"), "expired"},
		{"C51", "a day of February that there is not", nil, layout("2006-02-30T15:04:05Z"), "expired"},
		{"C51", "a date alone", nil, layout("2006-01-02"), "expired"},
		{"C51", "a space for the T", nil, layout("2006-01-02 15:04:05Z"), "expired"},
		{"C51", "a space around it", nil, layout(" 2006-01-02T15:04:05Z "), "expired"},
		{"C51", "seconds since 1970", nil, layout("1893456000"), "expired"},
		{"C51", "a zone by name", nil, layout("2006-01-02T15:04:05 UTC"), "expired"},
		{"C51", "digits of another script", nil, layout("2006-01-02T15:04:0\u0665Z"), "expired"},
		{"C51", "two times", nil, layout("2006-01-02T15:04:05Z2006-01-02T15:04:05Z"), "expired"},
		{"C51", "a zone of two days", nil, zone(48, "+48:00"), "expired"},
		{"C51", "a zone that makes it past", nil, zone(0, "+14:00"), "expired"},
		{"C51", "a zone far to the east", nil, zone(14, "+14:00"), accept},
		{"C51", "a zone far to the west", nil, zone(-14, "-14:00"), accept},
		{"C51", "no zone", nil, zone(0, ""), accept},
		{"C51", "a fraction of a hundred digits", nil, layout("2006-01-02T15:04:05." + strings.Repeat("9", 100) + "Z"), accept},
		{"C53", "a NameID with a terminal's control sequence", nil, nameID("ann\u009b2J"), "wrong_name_id"},
		{"C53", "a NameID with DEL", nil, nameID("ann\u007f"), "wrong_name_id"},
		{"C53", "a NameID of two lines", nil, nameID("ann\nadmin"), "wrong_name_id"},
		{"C53", "a NameID with a tab", nil, nameID("ann\tadmin"), "wrong_name_id"},
		{"C53", "a NameID between line ends", nil, nameID("\n  ann\n"), accept},
		{"C53", "a NameID of 1,024 bytes", nil, nameID(strings.Repeat("a", 1024)), accept},
		{"C53", "a NameID of 1,025 bytes", nil, nameID(strings.Repeat("a", 1025)), "wrong_name_id"},
		{"C53", "a Format of 2 KiB", nil, set(func(m *samltest.Message) { m.NameID.Format = strings.Repeat("a", 2048) }), "wrong_name_id"},
		{"C53", "a NameQualifier of 2 KiB", nil, set(func(m *samltest.Message) { m.NameID.NameQualifier = strings.Repeat("a", 2048) }), "wrong_name_id"},
		{"C53", "an SPNameQualifier of 2 KiB", nil, set(func(m *samltest.Message) { m.NameID.SPNameQualifier = strings.Repeat("a", 2048) }), "wrong_name_id"},
		{"C53", "a SessionIndex of 2 KiB", nil, set(func(m *samltest.Message) { m.SessionIndex = strings.Repeat("a", 2048) }), "wrong_name_id"},
		{"C53", "a SessionIndex of 1,024 bytes", nil, set(func(m *samltest.Message) { m.SessionIndex = strings.Repeat("a", 1024) }), accept},
		{"C54", "a space before our Audience", nil, audiences([]string{" " + entityID}), "wrong_audience"},
		{"C54", "a line end after our Audience", nil, audiences([]string{entityID + "\n"}), "wrong_audience"},
		{"C54", "our Audience in other letters", nil, audiences([]string{strings.ToUpper(entityID)}), "wrong_audience"},
		{"C54", "our Audience and a slash", nil, audiences([]string{entityID + "/"}), "wrong_audience"},
		{"C54", "two names in one Audience", nil, audiences([]string{entityID + " https://other.example"}), "wrong_audience"},
		{"C54", "an empty Audience", nil, audiences([]string{""}), "wrong_audience"},
		{"C55", "us in two of three restrictions", nil, audiences([]string{entityID}, []string{"https://a.example", entityID}, []string{"https://b.example"}), "wrong_audience"},
		{"C55", "a restriction to nobody", nil, child(".//Conditions", "saml:AudienceRestriction"), "structure"},
		{"C55", "us in a ProxyRestriction alone", nil, unsigned(func(root *etree.Element) {
			c := root.FindElement(".//Conditions")
			c.RemoveChild(c.SelectElement("AudienceRestriction"))
			c.CreateElement("saml:ProxyRestriction").CreateElement("saml:Audience").SetText(entityID)
		}), "wrong_audience"},
		{"C56", "a Condition that nobody knows", nil, child(".//Conditions", "saml:Condition"), "structure"},
		{"C56", "NotBefore is no time", nil, attribute(".//Conditions", "NotBefore", ""), "not_yet_valid"},
		{"C57", "a session until the end of the calendar", nil, attribute(".//AuthnStatement", "SessionNotOnOrAfter", "9999-12-31T23:59:59Z"), accept},
		{"C57", "a sign-in of a year ago", nil, set(func(m *samltest.Message) { m.AuthnInstant = time.Now().AddDate(-1, 0, 0) }), accept},
		{"C57", "a session that ended in the year 1", nil, attribute(".//AuthnStatement", "SessionNotOnOrAfter", "0001-01-01T00:00:00Z"), "session_expired"},
		{"C58", "xsi:nil twice", nil, once(`xsi:type="xs:string"`, `xsi:nil="true" xsi:nil="false"`), "xml"},
		{"C58", "xsi:nil by two prefixes", nil, once(`xsi:type="xs:string"`, `xmlns:i="`+nsXSI+`" xsi:nil="true" i:nil="false"`), "xml"},
		{"C59", "an empty InResponseTo in the Response", nil, attribute(".", "InResponseTo", ""), "wrong_request"},
		{"C59", "a space after our request's ID", nil, attribute(".", "InResponseTo", requestID+" "), "wrong_request"},
		{"C59", "an empty InResponseTo in the Assertion", nil, attribute(".//SubjectConfirmationData", "InResponseTo", ""), "wrong_request"},
		{"C60", "Recipient in other letters", nil, attribute(".//SubjectConfirmationData", "Recipient", strings.ToUpper(acs)), "wrong_recipient"},
		{"C60", "Recipient with a port", nil, attribute(".//SubjectConfirmationData", "Recipient", strings.Replace(acs, ".example", ".example:443", 1)), "wrong_recipient"},
		{"C60", "Recipient with a query", nil, attribute(".//SubjectConfirmationData", "Recipient", acs+"?x"), "wrong_recipient"},
		{"C60", "Destination in other letters", nil, set(func(m *samltest.Message) { m.Destination = strings.ToUpper(acs) }), "wrong_destination"},
		{"C60", "the bearer method in other letters", nil, set(func(m *samltest.Message) {
			m.Confirmations[0].Method = strings.ToUpper(samltest.MethodBearer)
		}), "wrong_confirmation"},
		{"C61", "somebody else who may confirm", nil, child(".//SubjectConfirmation", "saml:NameID"), "structure"},
		{"C61", "a key in the confirmation", nil, unsigned(func(root *etree.Element) {
			root.FindElement(".//SubjectConfirmationData").CreateElement("ds:KeyInfo").CreateAttr("xmlns:ds", samltest.NSSignature)
		}), "structure"},
		{"C61", "a BaseID", nil, child(".//Subject", "saml:BaseID"), "structure"},
		{"C61", "an EncryptedID", nil, child(".//Subject", "saml:EncryptedID"), "structure"},
		{"C61", "an EncryptedAttribute", nil, child(".//AttributeStatement", "saml:EncryptedAttribute"), "structure"},
		{"C61", "an AuthzDecisionStatement", nil, child("./Assertion", "saml:AuthzDecisionStatement"), "structure"},
		{"C61", "a Statement that nobody knows", nil, child("./Assertion", "saml:Statement"), "structure"},
		{"C61", "two NameIDs for a value", nil, unsigned(func(root *etree.Element) {
			v := root.FindElement(".//AttributeValue")
			v.SetText("")
			v.CreateElement("saml:NameID").SetText("a")
			v.CreateElement("saml:NameID").SetText("b")
		}), "structure"},
		{"C62", "an Assertion of a name of 15 characters", nil, set(func(m *samltest.Message) { m.AssertionID = "_" + strings.Repeat("a", 14) }), "wrong_assertion_id"},
		{"C62", "an Assertion of a name of 16 characters", nil, set(func(m *samltest.Message) { m.AssertionID = "_" + strings.Repeat("a", 15) }), accept},
	})
}

// What an attribute says comes through as it was signed, or does not count.
func TestValuesAtTheirEdges(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	long := strings.Repeat("\u00e4", 50<<10)
	for _, test := range []struct {
		what   string
		change func(v *etree.Element)
		want   []string
	}{
		{"C52 a value of 100 KB", func(v *etree.Element) { v.SetText(long) }, []string{long, "second"}},
		{"C52 an empty value", func(v *etree.Element) { v.SetText("") }, []string{"", "second"}},
		{"C58 text in a value that is nil", func(v *etree.Element) { v.CreateAttr("xsi:nil", "true") }, []string{"second"}},
		{"C58 text in a value that is nil by a number", func(v *etree.Element) { v.CreateAttr("xsi:nil", "1") }, []string{"second"}},
		{"C58 a value that is not nil", func(v *etree.Element) { v.CreateAttr("xsi:nil", "false") }, []string{"first", "second"}},
		{"C58 nil without a prefix", func(v *etree.Element) { v.CreateAttr("nil", "true") }, []string{"first", "second"}},
		{"C58 nil of another namespace", func(v *etree.Element) {
			v.CreateAttr("xmlns:e", "urn:e")
			v.CreateAttr("e:nil", "true")
		}, []string{"first", "second"}},
		{"C58 nil by another prefix", func(v *etree.Element) {
			v.CreateAttr("xmlns:i", nsXSI)
			v.CreateAttr("i:nil", "true")
		}, []string{"second"}},
		{"C63 a type that is no string", func(v *etree.Element) { v.CreateAttr("xsi:type", "xs:anyType") }, []string{"first", "second"}},
		{"C63 a type whose prefix is not declared", func(v *etree.Element) { v.CreateAttr("xsi:type", "nobody:string") }, []string{"first", "second"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			m := r.good()
			m.SetAttribute("groups", "first", "second")
			twin, err := r.finish(m)
			if err != nil || !slices.Equal(value(twin, "groups"), []string{"first", "second"}) {
				t.Fatalf("the honest twin: %v, %v", twin, err)
			}
			m.AssertionID = samltest.NewID()
			unsigned(func(root *etree.Element) {
				test.change(root.FindElement(".//Attribute[@Name='groups']/AttributeValue"))
			})(t, m)
			id, err := r.finish(m)
			if err != nil {
				t.Fatal(err)
			}
			if got := value(id, "groups"); !slices.Equal(got, test.want) {
				t.Errorf("groups = %.100q, want %.100q", got, test.want)
			}
		})
	}
}

// D: what is around an encrypted Assertion, and how it is encrypted.
func TestAttacksOnFormsOfEncryption(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	element := func(f func(*etree.Element)) func(*testing.T, *samltest.Message) {
		return encryption(func(e *samltest.Encryption) { e.MutateElement = f })
	}
	algorithm := func(path, uri string) func(*testing.T, *samltest.Message) {
		return element(func(el *etree.Element) { el.FindElement(path).CreateAttr("Algorithm", uri) })
	}
	value := func(path, text string) func(*testing.T, *samltest.Message) {
		return element(func(el *etree.Element) { el.FindElement(path).SetText(text) })
	}
	const key, data = ".//EncryptedKey/CipherData/CipherValue", "./EncryptedData/CipherData/CipherValue"
	prefixes := func(s string) string {
		return strings.Replace(s, ` xmlns:saml="`+samltest.NSAssertion+`"`, "", 1)
	}
	gcmAndBoth := func(m *samltest.Message) {
		gcmInSigned(m)
		m.SignAssertion = true
	}
	runAttacks(t, r, []attack{
		{"D21", "the plaintext has its prefixes from outside", gcmInSigned, plaintext(prefixes), accept},
		{"D21", "a signed plaintext has its prefixes from outside", gcmAndBoth, plaintext(prefixes), accept},
		{"D22", "the plaintext gives a prefix from outside another meaning", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Subject", `<saml:Subject xmlns:samlp="urn:evil"`, 1)
		}), "namespace"},
		{"D22", "a prefix that is declared around the ciphertext alone", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Subject", `<xenc:Subject`, 1)
		}), "namespace"},
		{"D23", "the plaintext has a prefix of nowhere", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Subject", `<nobody:Subject`, 1)
		}), "namespace"},
		{"D25", "the plaintext has the Response's ID", gcmInSigned, set(func(m *samltest.Message) { m.AssertionID = m.ID }), "id"},
		{"D26", "the plaintext has a byte order mark", gcmInSigned, plaintext(func(s string) string { return "\ufeff" + s }), "structure"},
		{"D26", "the plaintext is not UTF-8", gcmInSigned, plaintext(func(s string) string { return strings.Replace(s, ">ann<", ">\xff<", 1) }), "xml"},
		{"D26", "the plaintext is in UTF-16", gcmInSigned, plaintext(func(s string) string {
			return "\x00" + strings.Join(strings.Split(s, ""), "\x00")
		}), "xml"},
		{"D26", "the plaintext ends with NULs", gcmInSigned, plaintext(func(s string) string { return s + "\x00\x00" }), "xml"},
		{"D27", "the plaintext ends what it is in", gcmInSigned, plaintext(func(s string) string { return "</saml:EncryptedAssertion>" + s }), "xml"},
		{"D27", "the plaintext begins what does not end in it", gcmInSigned, plaintext(func(s string) string {
			return strings.TrimSuffix(s, "</saml:Assertion>")
		}), "xml"},
		{"D27", "the plaintext is a comment's beginning", gcmInSigned, plaintext(func(s string) string { return s + "<!--" }), "xml"},
		{"D27", "an Assertion and the Response's Status again", gcmInSigned, plaintext(func(s string) string {
			return s + `<samlp:Status><samlp:StatusCode Value="x"/></samlp:Status>`
		}), "structure"},
		{"D28", "OAEP with parameters", gcmInSigned, element(func(el *etree.Element) {
			el.FindElement(".//EncryptedKey/EncryptionMethod").CreateElement("xenc:OAEPparams").SetText("AAAA")
		}), "structure"},
		{"D28", "OAEP with a mask that nobody knows", func(m *samltest.Message) { gcmInSigned(m); m.Encryption.KeyTransport = samltest.OAEP11 },
			algorithm(".//MGF", "http://www.w3.org/2009/xmlenc11#mgf1md5"), "encryption"},
		{"D28", "OAEP with another hash than was used", gcmInSigned, algorithm(".//DigestMethod", samltest.DigestSHA256), "decryption"},
		{"D28", "OAEP with another mask than was used", func(m *samltest.Message) { gcmInSigned(m); m.Encryption.KeyTransport = samltest.OAEP11 },
			algorithm(".//MGF", "http://www.w3.org/2009/xmlenc11#mgf1sha512"), "decryption"},
		{"D28", "a key wrapped by AES", gcmInSigned, algorithm(".//EncryptedKey/EncryptionMethod", "http://www.w3.org/2001/04/xmlenc#kw-aes256"), "encryption"},
		{"D28", "a key without an algorithm", gcmInSigned, element(func(el *etree.Element) {
			el.FindElement(".//EncryptedKey/EncryptionMethod").RemoveAttr("Algorithm")
		}), "encryption"},
		{"D28", "data without an algorithm", gcmInSigned, element(func(el *etree.Element) {
			el.FindElement("./EncryptedData/EncryptionMethod").RemoveAttr("Algorithm")
		}), "encryption"},
		{"D28", "data by another algorithm than was used", gcmInSigned, algorithm("./EncryptedData/EncryptionMethod", samltest.AES128GCM), "decryption"},
		{"D28", "data by RSA", gcmInSigned, algorithm("./EncryptedData/EncryptionMethod", samltest.OAEP), "encryption"},
		{"D28", "data by ChaCha20", gcmInSigned, algorithm("./EncryptedData/EncryptionMethod", "http://www.w3.org/2021/04/xmldsig-more#chacha20poly1305"), "encryption"},
		{"D29", "a key that is no base64", gcmInSigned, value(key, "*"), "encryption"},
		{"D29", "an empty key", gcmInSigned, value(key, ""), "decryption"},
		{"D29", "a key of zeros", gcmInSigned, value(key, base64.StdEncoding.EncodeToString(make([]byte, 256))), "decryption"},
		{"D29", "a key longer than ours", gcmInSigned, value(key, base64.StdEncoding.EncodeToString(slices.Repeat([]byte{0xff}, 512))), "decryption"},
		{"D29", "a key of nothing, encrypted", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateKey = func([]byte) []byte { return nil }
		}), "decryption"},
		{"D29", "data that is no base64", gcmInSigned, value(data, "*"), "encryption"},
		{"D29", "no key", gcmInSigned, element(func(el *etree.Element) {
			info := el.FindElement("./EncryptedData/KeyInfo")
			info.RemoveChild(info.SelectElement("EncryptedKey"))
		}), "encryption"},
		{"D29", "a key by reference", gcmInSigned, element(func(el *etree.Element) {
			info := el.FindElement("./EncryptedData/KeyInfo")
			info.CreateElement("ds:RetrievalMethod").CreateAttr("URI", "#key")
		}), "structure"},
		{"D29", "a key inside and one beside", gcmInSigned, element(func(el *etree.Element) { el.AddChild(el.FindElement(".//EncryptedKey").Copy()) }), "encryption"},
		{"D30", "two EncryptedAssertions", gcmInSigned, func(_ *testing.T, m *samltest.Message) {
			m.MutateEncrypted = func(doc *etree.Document) {
				doc.Root().AddChild(doc.Root().SelectElement("EncryptedAssertion").Copy())
			}
		}, "structure"},
		{"D30", "a clear Assertion beside the encrypted one, both signed with the Response", gcmInSigned, func(_ *testing.T, m *samltest.Message) {
			var a *etree.Element
			m.MutateAssertionSigned = func(doc *etree.Document) { a = renamed(doc.Root().SelectElement("Assertion").Copy()) }
			m.MutateEncrypted = func(doc *etree.Document) { doc.Root().AddChild(a) }
		}, "structure"},
		{"D30", "two EncryptedData", gcmInSigned, element(func(el *etree.Element) { el.AddChild(el.SelectElement("EncryptedData").Copy()) }), "structure"},
		{"D30", "a signature beside EncryptedData", gcmInSigned, element(func(el *etree.Element) {
			el.CreateElement("ds:Signature").CreateAttr("xmlns:ds", samltest.NSSignature)
		}), "structure"},
	})
}

// Who writes the unsigned Response around an encrypted Assertion that was signed
// writes the namespaces around it too.
func TestAttacksAroundEncryption(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) { o.AllowEncryption = []string{"unsigned-response"} })
	aroundIt := func(f func(root *etree.Element)) func(*testing.T, *samltest.Message) {
		return func(_ *testing.T, m *samltest.Message) { m.MutateSigned = func(doc *etree.Document) { f(doc.Root()) } }
	}
	bare := func(m *samltest.Message) {
		gcmInUnsigned(m)
		m.Encryption.MutatePlaintext = func(b []byte) []byte {
			return []byte(strings.Replace(string(b), ` xmlns:saml="`+samltest.NSAssertion+`"`, "", 1))
		}
	}
	runAttacks(t, r, []attack{
		{"D24", "the Response gives the plaintext's prefix another meaning", bare, aroundIt(func(root *etree.Element) {
			for _, e := range append(root.FindElements("//*"), root) {
				if e.Space == "saml" {
					e.Space = "s"
				}
			}
			root.CreateAttr("xmlns:s", samltest.NSAssertion)
			root.CreateAttr("xmlns:saml", "urn:evil")
		}), "decryption"},
		{"D24", "the Response leaves the plaintext's prefix undeclared", bare, aroundIt(func(root *etree.Element) {
			for _, e := range append(root.FindElements("//*"), root) {
				if e.Space == "saml" {
					e.Space = "s"
				}
			}
			root.CreateAttr("xmlns:s", samltest.NSAssertion)
			root.RemoveAttr("xmlns:saml")
		}), "decryption"},
		{"D24", "the Response declares a prefix that the plaintext declares as something else", gcmInUnsigned, aroundIt(func(root *etree.Element) {
			root.CreateAttr("xmlns:xs", "urn:evil")
		}), "decryption"},
		{"D07", "CBC, where something else is allowed", gcmInUnsigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.AES128CBC }), "encryption"},
		{"D24", "the Response has a default namespace", gcmInUnsigned, aroundIt(func(root *etree.Element) { root.CreateAttr("xmlns", samltest.NSProtocol) }), accept},
		{"D24", "the Response has the ID that the plaintext will have", gcmInUnsigned, func(_ *testing.T, m *samltest.Message) {
			m.MutateSigned = func(doc *etree.Document) { doc.Root().CreateAttr("ID", m.AssertionID) }
		}, "decryption"},
	})
}
