package samlsp_test

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// The bases of D.

func gcmInSigned(m *samltest.Message) {
	signResponse(m)
	m.Encryption.Method = samltest.AES256GCM
}

func cbcInSigned(m *samltest.Message) {
	signResponse(m)
	m.Encryption.Method = samltest.AES128CBC
}

func gcmInUnsigned(m *samltest.Message) { m.Encryption.Method = samltest.AES256GCM }
func cbcInUnsigned(m *samltest.Message) { m.Encryption.Method = samltest.AES256CBC }

func encryption(f func(*samltest.Encryption)) func(*testing.T, *samltest.Message) {
	return set(func(m *samltest.Message) { f(&m.Encryption) })
}

func plaintext(f func(string) string) func(*testing.T, *samltest.Message) {
	return encryption(func(e *samltest.Encryption) {
		e.MutatePlaintext = func(b []byte) []byte { return []byte(f(string(b))) }
	})
}

func ciphertext(f func([]byte) []byte) func(*testing.T, *samltest.Message) {
	return encryption(func(e *samltest.Encryption) { e.MutateCiphertext = f })
}

// D, by default: AES-GCM in a signed Response, nothing else.
// While our key is replaced, the identity provider may encrypt to any of our
// certificates, and to no other; it is told all of them, and the first one signs.
func TestRolloverOfOurs(t *testing.T) {
	t.Parallel()
	pair := func() samlsp.KeyPair {
		key, certificate, err := samltest.SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return samlsp.KeyPair{Key: key, Certificate: certificate}
	}
	second, third, none := pair(), pair(), pair()
	r := newRig(t, func(o *samlsp.Options) { o.Rollover = []samlsp.KeyPair{second, third} })
	for name, test := range map[string]struct {
		to *x509.Certificate
		ok bool
	}{"the first": {r.o.Certificate, true}, "the second": {second.Certificate, true}, "the third": {third.Certificate, true}, "none of ours": {none.Certificate, false}} {
		m := r.good()
		gcmInSigned(m)
		m.Encryption.Certificate = test.to
		text, err := m.Base64()
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.sp.Finish(t.Context(), text, requestID)
		r.rdb.FlushAll(t.Context())
		if test.ok && err != nil {
			t.Errorf("encrypted to %s: %v, want it accepted", name, err)
		}
		if refusal, ok := errors.AsType[*samlsp.Refusal](err); !test.ok && (!ok || refusal.Check != "decryption") {
			t.Errorf("encrypted to %s: %v, want it refused for decryption", name, err)
		}
	}
	metadata, err := r.sp.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []string{"signing", "encryption"} {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(metadata); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, el := range doc.FindElements("//KeyDescriptor[@use='" + use + "']//X509Certificate") {
			got = append(got, el.Text())
		}
		var want []string
		for _, c := range []*x509.Certificate{r.o.Certificate, second.Certificate, third.Certificate} {
			want = append(want, base64.StdEncoding.EncodeToString(c.Raw))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d certificates for %s, want the three of ours in order", len(got), use)
		}
	}
}

func TestAttacksOnEncryption(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	runAttacks(t, r, []attack{
		{"D01", "the plaintext is a comment", gcmInSigned, plaintext(func(string) string { return "<!--x-->" }), "xml"},
		{"D01", "the plaintext is an instruction", gcmInSigned, plaintext(func(string) string { return "<?x y?>" }), "xml"},
		{"D02", "the plaintext is empty", gcmInSigned, plaintext(func(string) string { return "" }), "structure"},
		{"D02", "the plaintext is white space", gcmInSigned, plaintext(func(string) string { return " \n" }), "structure"},
		{"D02", "the plaintext is text", gcmInSigned, plaintext(func(string) string { return "ann" }), "structure"},
		{"D04", "GCM shorter than its nonce", gcmInSigned, ciphertext(func(b []byte) []byte { return b[:5] }), "decryption"},
		{"D04", "GCM without a tag", gcmInSigned, ciphertext(func(b []byte) []byte { return b[:12] }), "decryption"},
		{"D04", "no ciphertext", gcmInSigned, ciphertext(func([]byte) []byte { return nil }), "decryption"},
		{"D05", "triple DES", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.TripleDES }), "encryption"},
		{"D06", "RSA 1.5", gcmInSigned, encryption(func(e *samltest.Encryption) { e.KeyTransport = samltest.RSA15 }), "encryption"},
		{"D07", "CBC, which is not allowed", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.AES128CBC }), "encryption"},
		{"D08", "an unsigned Assertion in an unsigned Response", gcmInSigned, set(func(m *samltest.Message) { m.SignResponse = false }), "encryption"},
		{"D13", "a signed Assertion in an unsigned Response, and nothing configured", gcmInSigned, set(func(m *samltest.Message) {
			m.SignAssertion, m.SignResponse = true, false
		}), "encryption"},
		{"D13", "CBC of 256 bits, and nothing configured", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.AES256CBC }), "encryption"},
		{"D09", "an evil encrypted Assertion beside the signed clear one", nil, evilBeside, "structure"},
		{"D10", "the plaintext is a Response", gcmInSigned, plaintext(func(s string) string {
			return `<samlp:Response xmlns:samlp="` + samltest.NSProtocol + `">` + s + `</samlp:Response>`
		}), "structure"},
		{"D10", "the plaintext is a NameID", gcmInSigned, plaintext(func(string) string {
			return `<saml:NameID>admin</saml:NameID>`
		}), "structure"},
		{"D10", "the plaintext is of no namespace of SAML", gcmInSigned, plaintext(func(string) string { return `<x xmlns="urn:x"/>` }), "structure"},
		{"D10", "the plaintext is an Assertion of SAML 1.1", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, `xmlns:saml="`+samltest.NSAssertion, `xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion`, 1)
		}), "namespace"},
		{"D10", "the plaintext has an XML declaration", gcmInSigned, plaintext(func(s string) string { return `<?xml version="1.0"?>` + s }), "xml"},
		{"D10", "the plaintext is two Assertions", gcmInSigned, plaintext(func(s string) string {
			return s + strings.Replace(s, ` ID="_`, ` ID="_b`, 1)
		}), "structure"},
		{"D10", "the plaintext ends the Response and begins another", gcmInSigned, plaintext(func(s string) string {
			return s + `</samlp:Response><samlp:Response>`
		}), "xml"},
		{"D10", "the plaintext is an Assertion after a Status", gcmInSigned, plaintext(func(s string) string {
			return `<samlp:Status><samlp:StatusCode Value="x"/></samlp:Status>` + s
		}), "structure"},
		{"D10", "the plaintext is encrypted again", gcmInSigned, func(t *testing.T, m *samltest.Message) {
			inner := r.good()
			gcmInSigned(inner)
			text, err := inner.XML()
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(text), "<saml:EncryptedAssertion>")
			before, _, _ := strings.Cut(after, "</saml:EncryptedAssertion>")
			plaintext(func(string) string { return "<saml:EncryptedAssertion>" + before + "</saml:EncryptedAssertion>" })(t, m)
		}, "structure"},
		{"D10", "the plaintext is an Assertion before white space", gcmInSigned, plaintext(func(s string) string { return s + "\n" }), "structure"},
		{"D10", "the plaintext is an Assertion after white space", gcmInSigned, plaintext(func(s string) string { return " " + s }), "structure"},
		{"D11", "the plaintext has 1,500 elements", gcmInSigned, set(func(m *samltest.Message) {
			m.SetAttribute("groups", slices.Repeat([]string{"g"}, 1500)...)
		}), "limits"},
		{"D11", "the plaintext has 5,000 elements", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Attribute ", strings.Repeat(`<saml:Attribute Name="x"/>`, 5000)+"<saml:Attribute ", 1)
		}), "limits"},
		{"D11", "the plaintext is deep", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Subject>", strings.Repeat("<saml:Subject>", 10_000), 1)
		}), "structure"},
		{"D11", "the plaintext has a DOCTYPE", gcmInSigned, plaintext(func(s string) string { return "<!DOCTYPE r>" + s }), "xml"},
		{"D14", "a key of another length than the algorithm's", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateKey = func(k []byte) []byte { return k[:16] }
		}), "decryption"},
		{"D15", "ciphertext exchanged in a Response that was signed", gcmInSigned, signed(func(root *etree.Element) {
			root.FindElement(".//EncryptedData/CipherData/CipherValue").SetText("AAAA")
		}), "signature"},
		{"D16", "two EncryptedKeys", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateElement = func(el *etree.Element) { el.AddChild(el.FindElement(".//EncryptedKey").Copy()) }
		}), "encryption"},
		{"D17", "CipherReference", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateElement = func(el *etree.Element) {
				el.FindElement("./EncryptedData/CipherData").CreateElement("xenc:CipherReference").CreateAttr("URI", "https://evil.example")
			}
		}), "structure"},
		{"D18", "a broken signature inside a signed Response", gcmInSigned, func(_ *testing.T, m *samltest.Message) {
			m.SignAssertion = true
			m.MutateAssertionSigned = func(doc *etree.Document) { evil(doc.Root()) }
		}, "signature"},
		{"D19", "an encrypted Assertion for somebody else", gcmInSigned, encryption(func(e *samltest.Encryption) {
			_, e.Certificate = idpKeys[1]()
		}), "decryption"},

		{"D20", "OAEP with a digest that nobody knows", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.MutateElement = func(el *etree.Element) {
				el.FindElement(".//DigestMethod").CreateAttr("Algorithm", "http://www.w3.org/2001/04/xmldsig-more#md5")
			}
		}), "encryption"},
	})
}

// evilBeside puts an encrypted Assertion of the attacker's beside the signed one.
func evilBeside(t *testing.T, m *samltest.Message) {
	_, certificate := spKey()
	m.MutateSigned = func(doc *etree.Document) {
		second := evil(renamed(clean(doc.Root().SelectElement("Assertion"))))
		doc.Root().AddChild(second)
		e := samltest.Encryption{Method: samltest.AES256GCM, Certificate: certificate}
		if err := e.Replace(second); err != nil {
			t.Fatal(err)
		}
	}
}

// D, where the configuration allows all that it can.
func TestAttacksOnAllowedEncryption(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) {
		o.AllowEncryption = []string{"aes128-cbc", "aes192-cbc", "aes256-cbc", "unsigned-response"}
	})
	runAttacks(t, r, []attack{
		{"D03", "CBC that is no multiple of a block", cbcInSigned, ciphertext(unaligned), "decryption"},
		{"D03", "CBC of an IV alone", cbcInSigned, ciphertext(func(b []byte) []byte { return b[:16] }), "decryption"},
		{"D03", "padding of another length", cbcInSigned, ciphertext(padding), "decryption"},
		{"D03", "padding of no length", cbcInSigned, noPadding, "decryption"},
		{"D03", "nothing", cbcInSigned, ciphertext(func([]byte) []byte { return nil }), "decryption"},
		{"D03", "CBC shorter than its IV", cbcInSigned, ciphertext(func(b []byte) []byte { return b[:15] }), "decryption"},
		{"D03", "CBC of an IV and half a block", cbcInSigned, ciphertext(func(b []byte) []byte { return b[:24] }), "decryption"},
		{"D05", "triple DES", cbcInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.TripleDES }), "encryption"},
		{"D06", "RSA 1.5", cbcInSigned, encryption(func(e *samltest.Encryption) { e.KeyTransport = samltest.RSA15 }), "encryption"},
		{"D08", "an unsigned Assertion in an unsigned Response", cbcInUnsigned, set(func(m *samltest.Message) { m.SignAssertion = false }), "decryption"},
	})
}

func unaligned(b []byte) []byte { return b[:len(b)-1] }
func padding(b []byte) []byte   { b[len(b)-17] ^= 0xff; return b }

// noPadding makes zero of the last byte of the plaintext, which says how long the
// padding is.
func noPadding(_ *testing.T, m *samltest.Message) {
	length := 0
	m.Encryption.MutatePlaintext = func(b []byte) []byte { length = len(b); return b }
	m.Encryption.MutateCiphertext = func(b []byte) []byte {
		b[len(b)-17] ^= byte(16 - length%16)
		return b
	}
}

// Who encrypts something of their own in an unsigned Response learns nothing of
// how far it got: the refusals are the same to the letter, since their text is
// what a log, and whoever reads it, can tell them apart by.
func TestDecryptionSaysNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) { o.AllowEncryption = []string{"aes256-cbc", "unsigned-response"} })
	for _, test := range []struct {
		what   string
		base   func(*samltest.Message)
		change func(*testing.T, *samltest.Message)
	}{
		{"wrong padding", cbcInUnsigned, ciphertext(padding)},
		{"wrong tag", gcmInUnsigned, ciphertext(func(b []byte) []byte { b[20] ^= 1; return b })},
		{"GCM without a tag", gcmInUnsigned, ciphertext(func(b []byte) []byte { return b[:12] })},
		{"a key that is encrypted for somebody else", gcmInUnsigned, encryption(func(e *samltest.Encryption) { _, e.Certificate = idpKeys[1]() })},
		{"a key of another length", gcmInUnsigned, encryption(func(e *samltest.Encryption) {
			e.MutateKey = func(k []byte) []byte { return k[:16] }
		})},
		{"unaligned", cbcInUnsigned, ciphertext(unaligned)},
		{"no ciphertext", cbcInUnsigned, ciphertext(func([]byte) []byte { return nil })},
		{"right padding, no XML", cbcInUnsigned, plaintext(func(string) string { return "not XML" })},
		{"XML, not SAML", cbcInUnsigned, plaintext(func(string) string { return "<x/>" })},
		{"a prefix of nowhere", cbcInUnsigned, plaintext(func(string) string { return "<x:y/>" })},
		{"a comment", cbcInUnsigned, plaintext(func(string) string { return "<!--x-->" })},
		{"5,000 elements", gcmInUnsigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Attribute ", strings.Repeat(`<saml:Attribute Name="x"/>`, 5000)+"<saml:Attribute ", 1)
		})},
		{"nothing in it", gcmInUnsigned, plaintext(func(string) string { return "" })},
		{"an unsigned Assertion", gcmInUnsigned, set(func(m *samltest.Message) { m.SignAssertion = false })},
		{"an Assertion whose signature is wrong", cbcInUnsigned, plaintext(func(s string) string {
			return strings.Replace(s, ">ann<", ">admin<", 1)
		})},
		{"an Assertion signed by somebody else", cbcInUnsigned, signature(func(s *samltest.Signature) { s.Key, _ = idpKeys[1]() })},
		{"an Assertion signed by an algorithm that is not allowed", cbcInUnsigned, signature(func(s *samltest.Signature) { s.Method = samltest.RSASHA1 })},
		{"an Assertion with a Reference elsewhere", cbcInUnsigned, signedInfo(func(info *etree.Element) {
			info.SelectElement("Reference").CreateAttr("URI", "#other")
		})},
	} {
		t.Run("D12 "+test.what, func(t *testing.T) {
			twin := r.good()
			test.base(twin)
			if _, err := r.finish(twin); err != nil {
				t.Fatalf("the honest twin: %v", err)
			}
			m := r.good()
			test.base(m)
			test.change(t, m)
			id, err := r.finish(m)
			var got *samlsp.Refusal
			if want := (samlsp.Refusal{Code: "saml_invalid", Check: "decryption"}); id != nil || !errors.As(err, &got) || *got != want {
				t.Errorf("%+v, %+v; want %+v", id, err, want)
			}
		})
	}
}
