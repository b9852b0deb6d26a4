package samlsp

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// maxResponse is the longest SAMLResponse that is looked at, in base64 characters.
const maxResponse = 512 << 10

// Finish verifies the IdP's response, base64 as the browser posted it, which has
// to answer the request with that ID. It returns who signed in. With an empty
// request ID it takes a response that answers none, where Options.Unsolicited
// allows that.
//
// A response is accepted once: Finish claims the request and the assertion in
// Redis, and is the last to know both.
//
// The error is a *[Refusal] when the response is not believed. Any other error
// says that it could not be checked: ErrNoMetadata, a store that does not
// answer, or ctx at its end.
func (sp *SP) Finish(ctx context.Context, samlResponse, requestID string) (*Identity, error) {
	if requestID == "" && !sp.o.Unsolicited {
		return nil, refuse(checkUnsolicited, "", "an answer to a request")
	}
	p, err := sp.current(time.Now())
	if err != nil {
		return nil, err
	}
	slots := shared().slots
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to verify a response: %w", context.Cause(ctx))
	}
	r := &response{sp: sp, idp: p, requestID: requestID, now: time.Now()}
	err = r.verify(samlResponse)
	<-slots
	if err != nil {
		return nil, err
	}
	err = sp.o.Replay.claim(ctx, sp.o.Name, requestID, r.identity.AssertionID, r.until.Sub(r.now))
	if err != nil {
		return nil, err
	}
	return r.identity, nil
}

// Unsolicited reports whether the response, base64 as posted, answers no request.
// Nothing of it is verified: it may be used to begin a login, and for nothing else.
func Unsolicited(samlResponse string) bool {
	text, err := decode(samlResponse)
	if err != nil {
		return false
	}
	o, err := preflight(text)
	return err == nil && o.hasAssertion && !o.answers
}

// decode reads the base64 of a SAMLResponse parameter. It has to be strict: the
// alphabet of RFC 4648, 4, padded, no bits left over. The binding is specified in
// terms of RFC 2045 (SAML bindings, 3.5.4), so that some IdPs break the text into
// lines, and browsers make CR LF of the breaks in a form: line ends are allowed
// where an encoder of RFC 2045 sets them, which is after lines of one even length
// of 76 characters at most. Anything else between the characters is refused.
func decode(samlResponse string) ([]byte, error) {
	if len(samlResponse) > maxResponse {
		return nil, refuse(checkTooLarge, fmt.Sprintf("%d bytes", len(samlResponse)), fmt.Sprintf("at most %d", maxResponse))
	}
	text := strings.TrimSuffix(strings.ReplaceAll(samlResponse, "\r\n", "\n"), "\n")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		last := i == len(lines)-1
		even := len(line) == len(lines[0]) && len(line)%4 == 0 && len(line) <= 76
		short := len(line) > 0 && len(line) <= len(lines[0])
		if len(lines) > 1 && !even && (!last || !short) {
			return nil, refuse(checkEncoding, fmt.Sprintf("line %d of %d characters", i+1, len(line)), "strict base64")
		}
	}
	text = strings.Join(lines, "")
	message, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.Contains(text, "\r") { // the decoder ignores CR
		return nil, refuse(checkEncoding, "", "strict base64")
	}
	if len(message) == 0 {
		return nil, refuse(checkEncoding, "nothing", "a response")
	}
	return message, nil
}

// A response is one response being verified.
type response struct {
	sp        *SP
	idp       *idp
	requestID string // "" for an unsolicited one
	now       time.Time

	responseVerified bool
	identity         *Identity
	until            time.Time // when it will have expired, whatever happens
}

// verify takes the response through all the gates but the last, the replay
// memory. The libraries under it have panicked on messages before, so a panic of
// theirs is one more refusal.
func (r *response) verify(samlResponse string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.identity = nil
			err = refuse(checkPanic, fmt.Sprint(p), "")
		}
	}()
	text, err := decode(samlResponse)
	if err != nil {
		return err
	}
	m, err := open(text)
	if err != nil {
		return err
	}
	envelope, err := r.envelope(m)
	if err != nil {
		return err
	}
	if m.outline.encrypted {
		if m, err = r.decrypt(m); err != nil {
			return err
		}
	}
	assertion, err := r.assertion(m, envelope)
	if err != nil {
		return err
	}
	if err := r.check(envelope, assertion); err != nil {
		return err
	}
	if err := r.secondOpinion(m.text, assertion.ID); err != nil {
		return err
	}
	r.identity, err = r.read(assertion)
	return err
}

// A message is one that has passed the preflight.
type message struct {
	text    []byte
	outline outline
	root    *etree.Element
}

// open takes a message through the preflight and builds its tree.
func open(text []byte) (*message, error) {
	o, err := preflight(text)
	if err != nil {
		return nil, err
	}
	if o.hasAssertion && !o.encrypted && !o.responseSigned && !o.assertSigned {
		return nil, refuse(checkUnsigned, "", "a signed Response or Assertion")
	}
	doc := etree.NewDocument()
	doc.ReadSettings.MaxDepth = maxDepth + 1
	if err := doc.ReadFromBytes(text); err != nil || doc.Root() == nil {
		return nil, refuse(checkXML, "", "a document")
	}
	return &message{text: text, outline: o, root: doc.Root()}, nil
}

// envelope returns the Response: as it was signed where it was, else as it came.
// It refuses one by which the IdP reports an error. An IdP that refuses need not
// sign that: nothing is done with what it says but to end the login.
func (r *response) envelope(m *message) (*responseXML, error) {
	text := m.text
	if m.outline.responseSigned {
		signed, _, err := verify(m.root, r.idp.certificates, r.now)
		if err != nil {
			return nil, err
		}
		if text, err = canonical(signed); err != nil {
			return nil, refuse(checkXML, "", "a document")
		}
		r.responseVerified = true
	}
	envelope, err := readResponse(text)
	if err != nil {
		return nil, err
	}
	if codes := envelope.Status.codes(); codes != saml.StatusSuccess {
		return nil, &Refusal{Code: CodeRefused, Check: checkStatus, Got: clip(codes + " " + envelope.Status.Message), Want: saml.StatusSuccess}
	}
	if !m.outline.hasAssertion {
		return nil, refuse(checkStructure, "Response without an assertion", "")
	}
	return envelope, nil
}

// assertion returns the Assertion as it was signed. One that is signed itself is
// read from what its own signature covers; otherwise the Response's covers it:
// its text, or its ciphertext.
func (r *response) assertion(m *message, envelope *responseXML) (*assertionXML, error) {
	if m.outline.assertSigned {
		signed, _, err := verify(m.root.SelectElement("Assertion"), r.idp.certificates, r.now)
		if err != nil {
			return nil, r.sealed(m.outline, err)
		}
		text, err := canonical(signed)
		if err != nil {
			return nil, refuse(checkXML, "", "a document")
		}
		return readAssertion(text)
	}
	if !r.responseVerified {
		return nil, r.sealed(m.outline, refuse(checkUnsigned, "", "a signed Response or Assertion"))
	}
	if m.outline.encrypted {
		var err error
		if envelope, err = readResponse(m.text); err != nil {
			return nil, err
		}
	}
	if envelope.Assertion == nil {
		return nil, refuse(checkStructure, "Response whose signed part has no assertion", "")
	}
	return envelope.Assertion, nil
}

// sealed returns err, or for an assertion that somebody else than the IdP may
// have encrypted the one refusal that all failures of decryption share, since how
// far a plaintext got would tell of it.
func (r *response) sealed(outline outline, err error) error {
	if outline.encrypted && !r.responseVerified {
		return refuse(checkDecryption, "", "")
	}
	return err
}

// secondOpinion has crewjam/saml verify the whole message too. It gets what we
// have decrypted, never a ciphertext, and no key.
func (r *response) secondOpinion(text []byte, assertionID string) error {
	sp := saml.ServiceProvider{
		EntityID:          r.sp.o.EntityID,
		MetadataURL:       r.sp.acs,
		AcsURL:            r.sp.acs,
		IDPMetadata:       r.idp.descriptor,
		AllowIDPInitiated: r.requestID == "",
		SignatureVerifier: &verifier{certificates: r.idp.certificates, now: r.now, responseVerified: r.responseVerified},
		// It reads the last Audience of several alone, and takes none for all.
		// checkAssertion has read them as the specification says.
		ValidateAudienceRestriction: func(*saml.Assertion) error { return nil },
	}
	assertion, err := sp.ParseXMLResponse(text, []string{r.requestID}, r.sp.acs)
	if invalid := (*saml.InvalidResponseError)(nil); errors.As(err, &invalid) {
		return refuse(checkLibrary, plain(invalid.PrivateErr), "")
	}
	if err != nil {
		return refuse(checkLibrary, plain(err), "")
	}
	if assertion.ID != assertionID {
		return refuse(checkLibrary, assertion.ID, assertionID)
	}
	return nil
}

// A verifier verifies for crewjam, which would try several certificates only
// when the message says which of them it means.
type verifier struct {
	certificates     []*x509.Certificate
	now              time.Time
	responseVerified bool
}

// VerifySignature is crewjam's question whether el is signed. That of a Response
// was answered on the message as it came: in the one that crewjam sees, a
// decrypted assertion may stand where the ciphertext was signed.
func (v *verifier) VerifySignature(_ *dsig.ValidationContext, el *etree.Element) error {
	if el.Tag == "Response" && v.responseVerified {
		return nil
	}
	_, _, err := verify(el, v.certificates, v.now)
	return err
}
