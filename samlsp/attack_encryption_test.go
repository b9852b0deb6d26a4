package samlsp_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

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
func TestAttacksOnEncryption(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	runAttacks(t, r, []attack{
		{"D01", "the plaintext is a comment", gcmInSigned, plaintext(func(string) string { return "<!--x-->" }), "xml"},
		{"D02", "the plaintext is empty", gcmInSigned, plaintext(func(string) string { return "" }), "structure"},
		{"D04a", "GCM shorter than its nonce", gcmInSigned, ciphertext(func(b []byte) []byte { return b[:5] }), "decryption"},
		{"D04b", "GCM without a tag", gcmInSigned, ciphertext(func(b []byte) []byte { return b[:12] }), "decryption"},
		{"D04c", "no ciphertext", gcmInSigned, ciphertext(func([]byte) []byte { return nil }), "decryption"},
		{"D05", "triple DES", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.TripleDES }), "encryption"},
		{"D06", "RSA 1.5", gcmInSigned, encryption(func(e *samltest.Encryption) { e.KeyTransport = samltest.RSA15 }), "encryption"},
		{"D07", "CBC, which is not allowed", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.AES128CBC }), "encryption"},
		{"D08a", "an unsigned Assertion in an unsigned Response", gcmInSigned, set(func(m *samltest.Message) { m.SignResponse = false }), "encryption"},
		{"D08b-D13", "a signed Assertion in an unsigned Response, and nothing configured", gcmInSigned, set(func(m *samltest.Message) {
			m.SignAssertion, m.SignResponse = true, false
		}), "encryption"},
		{"D09", "an evil encrypted Assertion beside the signed clear one", nil, evilBeside, "structure"},
		{"D10a", "the plaintext is a Response", gcmInSigned, plaintext(func(s string) string {
			return `<samlp:Response xmlns:samlp="` + samltest.NSProtocol + `">` + s + `</samlp:Response>`
		}), "structure"},
		{"D10b", "the plaintext is two Assertions", gcmInSigned, plaintext(func(s string) string {
			return s + strings.Replace(s, ` ID="_`, ` ID="_b`, 1)
		}), "structure"},
		{"D10c", "the plaintext ends the Response and begins another", gcmInSigned, plaintext(func(s string) string {
			return s + `</samlp:Response><samlp:Response>`
		}), "xml"},
		{"D10d", "the plaintext is an Assertion after a Status", gcmInSigned, plaintext(func(s string) string {
			return `<samlp:Status><samlp:StatusCode Value="x"/></samlp:Status>` + s
		}), "structure"},
		{"D10e", "the plaintext is encrypted again", gcmInSigned, func(t *testing.T, m *samltest.Message) {
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
		{"D10f", "the plaintext is an Assertion after white space", gcmInSigned, plaintext(func(s string) string { return " " + s }), "structure"},
		{"D11a", "the plaintext has 1,500 elements", gcmInSigned, set(func(m *samltest.Message) {
			m.SetAttribute("groups", slices.Repeat([]string{"g"}, 1500)...)
		}), "limits"},
		{"D11b", "the plaintext is deep", gcmInSigned, plaintext(func(s string) string {
			return strings.Replace(s, "<saml:Subject>", strings.Repeat("<saml:Subject>", 10_000), 1)
		}), "structure"},
		{"D11c", "the plaintext has a DOCTYPE", gcmInSigned, plaintext(func(s string) string { return "<!DOCTYPE r>" + s }), "xml"},
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

		{"OAEP-SHA-256", "OAEP with SHA-256 and MGF1 of SHA-1", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.Digest = samltest.DigestSHA256
		}), accept},
		{"OAEP-1.1", "OAEP of XML Encryption 1.1, all SHA-512", gcmInSigned, encryption(func(e *samltest.Encryption) {
			e.KeyTransport, e.Digest = samltest.OAEP11, samltest.DigestSHA512
		}), accept},
		{"sibling", "EncryptedKey beside EncryptedData", gcmInSigned, encryption(func(e *samltest.Encryption) { e.Sibling = true }), accept},
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
	unaligned := func(b []byte) []byte { return b[:len(b)-1] }
	padding := func(b []byte) []byte { b[len(b)-17] ^= 0xff; return b }
	runAttacks(t, r, []attack{
		{"D03a", "CBC that is no multiple of a block", cbcInSigned, ciphertext(unaligned), "decryption"},
		{"D03b", "CBC of an IV alone", cbcInSigned, ciphertext(func(b []byte) []byte { return b[:16] }), "decryption"},
		{"D05", "triple DES", cbcInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.TripleDES }), "encryption"},
		{"D06", "RSA 1.5", cbcInSigned, encryption(func(e *samltest.Encryption) { e.KeyTransport = samltest.RSA15 }), "encryption"},
		{"D08", "an unsigned Assertion in an unsigned Response", cbcInUnsigned, set(func(m *samltest.Message) { m.SignAssertion = false }), "decryption"},

		// D12: who encrypts something of their own in an unsigned Response learns
		// nothing of how far it got.
		{"D12a", "wrong padding", cbcInUnsigned, ciphertext(padding), "decryption"},
		{"D12b", "wrong tag", gcmInUnsigned, ciphertext(func(b []byte) []byte { b[20] ^= 1; return b }), "decryption"},
		{"D12c", "wrong key", gcmInUnsigned, encryption(func(e *samltest.Encryption) { _, e.Certificate = idpKeys[1]() }), "decryption"},
		{"D12d", "unaligned", cbcInUnsigned, ciphertext(unaligned), "decryption"},
		{"D12e", "right padding, no XML", cbcInUnsigned, plaintext(func(string) string { return "not XML" }), "decryption"},
		{"D12f", "XML, not SAML", cbcInUnsigned, plaintext(func(string) string { return "<x/>" }), "decryption"},
		{"D12g", "an Assertion whose signature is wrong", cbcInUnsigned, plaintext(func(s string) string {
			return strings.Replace(s, ">ann<", ">admin<", 1)
		}), "decryption"},
		{"D12h", "an Assertion signed by somebody else", cbcInUnsigned, signature(func(s *samltest.Signature) { s.Key, _ = idpKeys[1]() }), "decryption"},
		{"D12i", "nothing in it", gcmInUnsigned, plaintext(func(string) string { return "" }), "decryption"},
	})
}

// D12: the refusals above are the same to the letter, since their text is what
// a log, and whoever reads it, can tell them apart by.
func TestDecryptionSaysNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) { o.AllowEncryption = []string{"aes256-cbc", "unsigned-response"} })
	for name, change := range map[string]func(*testing.T, *samltest.Message){
		"padding":   ciphertext(func(b []byte) []byte { b[len(b)-17] ^= 0xff; return b }),
		"plaintext": plaintext(func(string) string { return "x" }),
		"signature": plaintext(func(s string) string { return strings.Replace(s, ">ann<", ">admin<", 1) }),
	} {
		m := r.good()
		cbcInUnsigned(m)
		change(t, m)
		_, err := r.finish(m)
		var got *samlsp.Refusal
		if want := (samlsp.Refusal{Code: "saml_invalid", Check: "decryption"}); !errors.As(err, &got) || *got != want {
			t.Errorf("%s: %+v, want %+v", name, err, want)
		}
	}
}
