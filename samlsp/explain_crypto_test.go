package samlsp_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

func fingerprintOf(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// Why a signature is refused, in words that tell one cause from another.
func TestExplainSignatures(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	otherKey, otherCertificate := idpKeys[1]()
	none := samlsp.ExplainOptions{}
	bad := "failed signature/Assertion" + clearAnd
	runExplained(t, r, []explained{
		{"tampered", signed(func(root *etree.Element) { root.FindElement(".//NameID").SetText("admin") }), none, bad, "of the metadata, and the text was changed after that; indenting XML"},
		{"indented", func(_ *testing.T, m *samltest.Message) {
			m.MutateSigned = func(doc *etree.Document) { doc.Indent(2) }
		}, none, bad, "names a certificate of the metadata, and was signed with another key, or changed since then; indenting"},
		{"another key", signature(func(s *samltest.Signature) { s.Key, s.KeyInfo = otherKey, samltest.KeyInfoNone }), none, bad, "does not say with which"},
		{"another key, with its certificate", signature(func(s *samltest.Signature) { s.Key, s.Certificate = otherKey, otherCertificate }), none, bad,
			"Assertion: crypto/rsa: verification error: signed with the certificate that the message names, which is not in the metadata"},
		{"another key, tampered", func(t *testing.T, m *samltest.Message) {
			m.Signature.Key, m.Signature.Certificate = otherKey, otherCertificate
			signed(func(root *etree.Element) { root.FindElement(".//NameID").SetText("admin") })(t, m)
		}, none, bad, "which is not in the metadata, and the text was changed after that"},
		{"another key, with the certificate of ours", signature(func(s *samltest.Signature) { s.Key = otherKey }), none, bad, "was signed with another key"},
		{"a certificate of neither", signature(func(s *samltest.Signature) { s.Certificate = otherCertificate; s.Key, _ = spKey() }), none, bad, "was not signed with that one either"},
		{"no value", signed(func(root *etree.Element) { root.FindElement(".//SignatureValue").SetText("") }), none, bad, "no base64 in its value"},
		{"the Response's", func(t *testing.T, m *samltest.Message) {
			signResponse(m)
			signed(func(root *etree.Element) { root.FindElement(".//NameID").SetText("admin") })(t, m)
		}, none, "failed signature/Response, skipped encryption decryption signature/Assertion library", "changed after that"},
		{"of both, the inner one", func(t *testing.T, m *samltest.Message) {
			signBoth(m)
			m.MutateAssertionSigned = func(doc *etree.Document) { evil(doc.Root().SelectElement("Assertion")) }
		}, none, "failed signature/Assertion, skipped encryption decryption library", "changed after that"},
		{"good, and another certificate is named", signature(func(s *samltest.Signature) { s.Certificate = otherCertificate }), none, inClear, ""},
	})

	m := r.good()
	m.Signature.Key, m.Signature.Certificate = otherKey, otherCertificate
	m.NameID.Value = "mallory"
	x := r.explain(m, none)
	wantStep(t, x, samlsp.Step{Check: "signature", Got: fingerprintOf(otherCertificate), Want: fingerprintOf(r.idp.Certificates()[0])})
	if x.Identity == nil || x.Identity.NameID.Value != "mallory" || x.Trusted {
		t.Errorf("Identity = %+v, trusted %t; want what it says, and not trusted", x.Identity, x.Trusted)
	}
	m = r.good()
	m.Signature.Certificate = otherCertificate
	if note := noteOf(r.explain(m, none), "signature", samlsp.Passed); !strings.Contains(note, fingerprintOf(otherCertificate)+", which is not believed") {
		t.Errorf("note = %q, want the certificate that is not believed", note)
	}
}

func (r *rig) explain(m *samltest.Message, o samlsp.ExplainOptions) samlsp.Explanation {
	r.t.Helper()
	text, err := m.Base64()
	if err != nil {
		r.t.Fatal(err)
	}
	x, err := r.sp.Explain(text, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// Certificates are good or not as of the time of judging, wherever their time is
// looked at.
func TestExplainCertificateTimes(t *testing.T) {
	t.Parallel()
	r, certificate := newExpiredRig(t)
	set := func(m *samltest.Message) *samltest.Message { shift(-90*time.Minute)(t, m); return m }
	then := samlsp.ExplainOptions{At: time.Now().Add(-90 * time.Minute)}
	if x := r.explain(set(r.good()), then); !x.Trusted || outcome(x) != inClear+" library" {
		t.Errorf("as of then: %s, %v", outcome(x), x.Refusal)
	}
	x := r.explain(r.good(), samlsp.ExplainOptions{})
	if got, want := outcome(x), "failed certificate_expired/Assertion, skipped signature/Response encryption decryption signature/Assertion library"; got != want {
		t.Errorf("now: %s, want %s", got, want)
	}
	if note := noteOf(x, "certificate_expired", samlsp.Failed); !strings.Contains(note, "signed with the certificate "+fingerprintOf(certificate)) {
		t.Errorf("note = %q, want the certificate that signed", note)
	}
	wantStep(t, x, samlsp.Step{Check: "certificate_expired", Got: fingerprintOf(certificate),
		Want: fingerprintOf(certificate) + " (expired at " + certificate.NotAfter.Format(time.RFC3339) + ")"})
	x = r.explain(r.good(), samlsp.ExplainOptions{At: time.Now().Add(-3 * time.Hour)})
	wantStep(t, x, samlsp.Step{Check: "certificate_expired", Got: fingerprintOf(certificate),
		Want: fingerprintOf(certificate) + " (not valid before " + certificate.NotBefore.Format(time.RFC3339) + ")"})

	// Of two certificates the one that signed is out of its time.
	m := r.idp.Metadata()
	_, other := idpKeys[1]()
	m.Certificates = append(m.Certificates, other)
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	x = r.explain(r.good(), samlsp.ExplainOptions{})
	if note := noteOf(x, "signature", samlsp.Failed); !strings.Contains(note, "signed with the certificate "+fingerprintOf(certificate)+" of the metadata, which is good from") {
		t.Errorf("note = %q, want the certificate that signed", note)
	}
	wantStep(t, x, samlsp.Step{Check: "certificate_expired", Got: "1 of 2 in their time", Want: x.At.UTC().Format(time.RFC3339)})
}

func TestExplainEncryption(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, otherCertificate := idpKeys[1]()
	none := samlsp.ExplainOptions{}
	then := func(base func(*samltest.Message), change func(*testing.T, *samltest.Message)) func(*testing.T, *samltest.Message) {
		return func(t *testing.T, m *samltest.Message) { base(m); change(t, m) }
	}
	inSigned := ", skipped signature/Assertion library"
	runExplained(t, r, []explained{
		{"CBC", set(cbcInSigned), none, "failed encryption/EncryptedAssertion" + inSigned, "jitgate.yaml has to have encryption: {allow: [aes128-cbc]} for it"},
		{"in an unsigned Response", set(gcmInUnsigned), none, "failed encryption/EncryptedAssertion, skipped reference algorithm signature/Response library",
			"{allow: [unsigned-response]}"},
		{"CBC in an unsigned Response", set(cbcInUnsigned), none,
			"failed encryption/EncryptedAssertion encryption/EncryptedAssertion, skipped reference algorithm signature/Response library", "{allow: [aes256-cbc, unsigned-response]}"},
		{"in a Response with a broken signature", then(gcmInSigned, signed(func(root *etree.Element) { root.CreateAttr("Destination", acs+"?") })), none,
			"failed signature/Response encryption/EncryptedAssertion wrong_destination/Response" + inSigned, "changed after that"},
		{"for another key", then(gcmInSigned, encryption(func(e *samltest.Encryption) { e.Certificate = otherCertificate })), none,
			"failed decryption/EncryptedAssertion, stopped", "its key cannot be decrypted with ours"},
		{"for another key, to another place", func(_ *testing.T, m *samltest.Message) {
			gcmInSigned(m)
			m.Encryption.Certificate, m.Destination = otherCertificate, ""
		}, none, "failed decryption/EncryptedAssertion wrong_destination/Response, stopped", "its key cannot be decrypted with ours"},
		{"a short key", then(gcmInSigned, encryption(func(e *samltest.Encryption) { e.MutateKey = func(k []byte) []byte { return k[:16] } })), none,
			"failed decryption/EncryptedAssertion, stopped", "its key is of 128 bits, and the algorithm takes 256"},
		{"a damaged text", then(gcmInSigned, ciphertext(func(b []byte) []byte { b[20] ^= 1; return b })), none,
			"failed decryption/EncryptedAssertion, stopped", "the text is damaged"},
		{"triple DES", then(gcmInSigned, encryption(func(e *samltest.Encryption) { e.Method = samltest.TripleDES })), none,
			"failed encryption/EncryptedAssertion, stopped", ""},
		{"no assertion in it", then(gcmInSigned, plaintext(func(string) string { return "<x/>" })), none,
			"failed structure/EncryptedAssertion, stopped", ""},
		{"tampered in it", func(_ *testing.T, m *samltest.Message) {
			signBoth(m)
			m.Encryption.Method = samltest.AES128GCM
			m.Encryption.MutatePlaintext = func(b []byte) []byte { return []byte(strings.Replace(string(b), ">ann<", ">admin<", 1)) }
		}, none, "failed signature/Assertion, skipped library", "changed after that"},
	})
	m := r.good()
	gcmInSigned(m)
	m.Encryption.Certificate = otherCertificate
	wantStep(t, r.explain(m, none), samlsp.Step{Check: "decryption", Got: fingerprintOf(otherCertificate), Want: fingerprintOf(r.o.Certificate)})
	m = r.good()
	cbcInSigned(m)
	if x := r.explain(m, none); x.Identity == nil || x.Identity.NameID.Value != "ann" {
		t.Errorf("Identity = %+v, want it decrypted though that is not allowed", x.Identity)
	} else if note := noteOf(x, "encryption", samlsp.Passed); note != "no such step" {
		t.Errorf("encryption is refused, and passed: %s", note)
	}
}

// Where Finish has one word for all that goes wrong behind a ciphertext, so has
// the Refusal. The steps have the rest.
func TestExplainSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) { o.AllowEncryption = []string{"aes256-cbc", "unsigned-response"} })
	sealed := func(change func(*testing.T, *samltest.Message)) func(*testing.T, *samltest.Message) {
		return func(t *testing.T, m *samltest.Message) { cbcInUnsigned(m); change(t, m) }
	}
	none := samlsp.ExplainOptions{}
	const note = "decrypted, but what was in it is refused below"
	const outside = ", skipped reference algorithm signature/Response"
	runExplained(t, r, []explained{
		{"good", set(cbcInUnsigned), none, "skipped reference algorithm signature/Response", ""},
		{"the padding", sealed(ciphertext(func(b []byte) []byte { b[len(b)-17] ^= 0xff; return b })), none,
			"failed decryption/EncryptedAssertion" + outside + ", stopped", "the text is damaged"},
		{"no XML", sealed(plaintext(func(string) string { return "x" })), none,
			"failed decryption/EncryptedAssertion structure/EncryptedAssertion" + outside + ", stopped", note},
		{"two assertions", sealed(plaintext(func(s string) string { return "<!--x-->" + s })), none,
			"failed decryption/EncryptedAssertion xml/EncryptedAssertion" + outside + ", stopped", note},
		{"the signature", sealed(plaintext(func(s string) string { return strings.Replace(s, ">ann<", ">admin<", 1) })), none,
			"failed decryption/EncryptedAssertion signature/Assertion" + outside + " library", note},
		{"no signature", sealed(set(func(m *samltest.Message) { m.SignAssertion = false })), none,
			"failed decryption/EncryptedAssertion unsigned/EncryptedAssertion, skipped reference algorithm signature/Response reference/EncryptedAssertion algorithm/EncryptedAssertion signature/Assertion library certificate_expired", note},
		{"the audience, behind a good signature", sealed(set(func(m *samltest.Message) { m.Audiences = nil })), none,
			"failed wrong_audience/Conditions" + outside + " library", ""},
	})
}
