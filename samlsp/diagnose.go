package samlsp

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// What an explanation says of signatures and encryption, in words. Nothing here
// decides anything: it is called when that is done, and only where there is a
// trail to write to.

// digestMismatch is how goxmldsig says that a signature is of the certificate's
// key, but not over this text.
const digestMismatch = "Signature could not be verified"

// explainSignature writes down whose signature of el is good.
func (r *response) explainSignature(el *etree.Element, by *x509.Certificate) {
	if r.trail == nil {
		return
	}
	note := "by " + algorithmOf(el)
	if named := certificateIn(el.FindElement("./Signature")); named != nil && !named.Equal(by) {
		note += "; the message names another certificate, " + fingerprint(named) + ", which is not believed"
	}
	r.trail.pass(checkSignature, r.part, fingerprint(by), "")
	last := r.trail.last()
	last.Want, last.Note = r.certificates(), note
	r.trail.pass(checkCertificateExpired, r.part, "good until "+by.NotAfter.UTC().Format(time.RFC3339), r.clock())
	r.trail.last().Note = r.distance(by.NotAfter)
}

// explainRefusedSignature says more of the signature that was refused last.
func (r *response) explainRefusedSignature(el *etree.Element, err error) {
	if r.trail == nil {
		return
	}
	last := r.trail.last()
	said := last.Got
	last.Got, last.Want = "", r.certificates()
	if named := certificateIn(el.FindElement("./Signature")); named != nil {
		last.Got = fingerprint(named)
	}
	last.Note = r.whyNotSigned(el)
	if said != "" {
		last.Note = said + ": " + last.Note
	}
	if isRefusal(err, checkCertificateExpired) {
		r.trail.skip(checkSignature, r.part, "no certificate is in its time to verify it with")
		return
	}
	good := 0
	for _, certificate := range r.idp.certificates {
		if inTime(certificate, r.now) {
			good++
		}
	}
	r.trail.pass(checkCertificateExpired, r.part, fmt.Sprintf("%d of %d in their time", good, len(r.idp.certificates)), r.clock())
}

// whyNotSigned says what is wrong with a signature of el. For that it tries
// certificates that are out of their time, and the one that the message itself
// brings along: that they fit is worth this sentence, and nothing else.
func (r *response) whyNotSigned(el *etree.Element) string {
	const changed = ", and the text was changed after that; indenting XML is enough to break a signature, so that a message " +
		"has to be captured as it was posted"
	for _, certificate := range r.idp.certificates {
		switch whose(el, certificate) {
		case signedThis:
			return fmt.Sprintf("signed with the certificate %s of the metadata, which is good from %s to %s alone",
				fingerprint(certificate), certificate.NotBefore.UTC().Format(time.RFC3339), certificate.NotAfter.UTC().Format(time.RFC3339))
		case signedOther:
			return "signed with the certificate " + fingerprint(certificate) + " of the metadata" + changed
		}
	}
	named := certificateIn(el.FindElement("./Signature"))
	if named == nil {
		return "not signed with a key of the metadata, and the message does not say with which; or changed since it was signed, as indenting XML does"
	}
	switch whose(el, named) {
	case signedThis:
		return "signed with the certificate that the message names, which is not in the metadata: the identity provider signs " +
			"with another key than it has published there, or this is of another identity provider"
	case signedOther:
		return "signed with the certificate that the message names, which is not in the metadata" + changed
	}
	if slices.ContainsFunc(r.idp.certificates, named.Equal) {
		return "names a certificate of the metadata, and was signed with another key, or changed since then; indenting XML is enough to break a signature"
	}
	return "names a certificate that is not in the metadata, and was not signed with that one either, or changed since then, as indenting XML does"
}

// A signer is what a certificate has to do with a signature.
type signer int

const (
	signedNothing signer = iota
	signedThis           // the signature is good
	signedOther          // it is by this key, but of another text
)

// whose says what the certificate has to do with the signature of el. A key that
// would keep us busy for minutes is nobody's.
func whose(el *etree.Element, certificate *x509.Certificate) signer {
	if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > 16<<10 {
		return signedNothing
	}
	_, _, err := verify(el, []*x509.Certificate{certificate}, certificate.NotBefore)
	switch refusal, _ := errors.AsType[*Refusal](err); {
	case err == nil:
		return signedThis
	case refusal != nil && strings.HasSuffix(refusal.Got, digestMismatch):
		return signedOther
	}
	return signedNothing
}

// certificates are the fingerprints of those in the metadata.
func (r *response) certificates() string {
	var list []string
	for _, certificate := range r.idp.certificates {
		text := fingerprint(certificate)
		switch {
		case r.now.After(certificate.NotAfter):
			text += " (expired at " + certificate.NotAfter.UTC().Format(time.RFC3339) + ")"
		case r.now.Before(certificate.NotBefore):
			text += " (not valid before " + certificate.NotBefore.UTC().Format(time.RFC3339) + ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// clock is the time of judging, for checks that allow for no skew.
func (r *response) clock() string {
	return r.now.UTC().Format(time.RFC3339)
}

// explainEncryption says how the assertion is encrypted, and what to write into
// the configuration where that is not allowed.
func (r *response) explainEncryption(encrypted *etree.Element, b *box) {
	if r.trail == nil {
		return
	}
	how := fmt.Sprintf("%s, its key by %s with %s", short(encrypted.FindElement("./EncryptedData/EncryptionMethod")),
		short(encrypted.FindElement(".//EncryptedKey/EncryptionMethod")), b.oaep.Hash)
	var refused []*Step
	allow := slices.Collect(maps.Keys(r.sp.allow))
	for i := range r.trail.steps {
		s := &r.trail.steps[i]
		if s.Check == checkEncryption {
			refused = append(refused, s)
			if _, word, ok := strings.Cut(s.Want, "allow: "); ok {
				allow = append(allow, word)
			}
		}
	}
	if len(refused) == 0 {
		r.trail.pass(checkEncryption, r.part, how, "")
	}
	slices.Sort(allow)
	for _, s := range refused {
		s.Note = how
		if strings.Contains(s.Want, "allow: ") {
			s.Note += "; where the identity provider cannot do better, jitgate.yaml has to have encryption: {allow: [" + strings.Join(allow, ", ") + "]} for it"
		}
	}
}

// explainDecryption says whose certificate the key is encrypted for, and what it
// was that went wrong, which the refusal does not say: see decrypt.go.
func (r *response) explainDecryption(encrypted *etree.Element, b *box) {
	if r.trail == nil {
		return
	}
	last := r.trail.last()
	ours := r.sp.keyPairs()
	last.Want = fingerprint(ours[0].Certificate)
	if named := certificateIn(encrypted.FindElement(".//EncryptedKey")); named != nil {
		last.Got = fingerprint(named)
		if slices.ContainsFunc(ours, func(pair KeyPair) bool { return named.Equal(pair.Certificate) }) {
			last.Want = last.Got
		}
	}
	if last.Result == Failed {
		last.Note = b.whyNot(ours)
	}
}

// whyNot says why a box does not open with our keys.
func (b *box) whyNot(ours []KeyPair) string {
	key, err := []byte(nil), error(errDecrypt)
	for _, pair := range ours {
		if err != nil {
			key, err = pair.Key.Decrypt(nil, b.key, &b.oaep)
		}
	}
	switch {
	case err != nil:
		return "its key cannot be decrypted with ours: it was encrypted for another certificate, or with another digest than it says"
	case len(key) != b.cipher.keySize:
		return fmt.Sprintf("its key is of %d bits, and the algorithm takes %d", 8*len(key), 8*b.cipher.keySize)
	}
	return "its key is decrypted, but the text is damaged: it does not open with that"
}

// algorithmOf names the algorithms of the signature of el.
func algorithmOf(el *etree.Element) string {
	return short(el.FindElement("./Signature/SignedInfo/SignatureMethod")) + ", digest " +
		short(el.FindElement("./Signature/SignedInfo/Reference/DigestMethod"))
}

// short is the end of the Algorithm of el, which tells it from others.
func short(el *etree.Element) string {
	if el == nil {
		return "nothing"
	}
	algorithm := el.SelectAttrValue("Algorithm", "")
	return algorithm[strings.LastIndexByte(algorithm, '#')+1:]
}

// certificateIn returns the first certificate in the KeyInfo of el, if any.
func certificateIn(el *etree.Element) *x509.Certificate {
	if el == nil {
		return nil
	}
	text := el.FindElement("./KeyInfo/X509Data/X509Certificate")
	if text == nil {
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(stripSpace(text.Text()))
	if err != nil {
		return nil
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return certificate
}

// asItCame returns the text of el, which nobody vouches for.
func asItCame(el *etree.Element) ([]byte, error) {
	detached, err := detach(el)
	if err != nil {
		return nil, refuse(checkXML, "", "a document")
	}
	text, err := canonical(detached)
	if err != nil {
		return nil, refuse(checkXML, "", "a document")
	}
	return text, nil
}

// isRefusal reports whether err is a refusal by that check.
func isRefusal(err error, check string) bool {
	refusal, ok := errors.AsType[*Refusal](err)
	return ok && refusal.Check == check
}
