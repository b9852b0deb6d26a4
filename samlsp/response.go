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
// says that it could not be checked: ErrNoMetadata, ErrBusy, a store that does
// not answer, or ctx at its end.
func (sp *SP) Finish(ctx context.Context, samlResponse, requestID string) (*Identity, error) {
	r := &response{sp: sp, requestID: requestID}
	if err := r.checkAsked(); err != nil {
		return nil, err
	}
	var identity *Identity
	err := r.work(ctx, len(samlResponse), func() (err error) {
		identity, err = r.verify(samlResponse)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = sp.o.Replay.claim(ctx, sp.o.Name, requestID, identity.AssertionID, r.until.Sub(r.now))
	if err != nil {
		return nil, err
	}
	return identity, nil
}

// work has f verify r, a message of that length, as one of the few that are verified
// at once. A panic of f is a refusal: libraries have panicked on messages before.
func (r *response) work(ctx context.Context, length int, f func() error) (err error) {
	if r.idp, err = r.sp.current(time.Now()); err != nil {
		return err
	}
	leave, err := r.sp.o.Slots.take(ctx, length)
	if err != nil {
		return err
	}
	defer func() {
		leave()
		if p := recover(); p != nil {
			err = refuse(checkPanic, fmt.Sprint(p), "")
		}
	}()
	r.now = time.Now()
	return f()
}

// Unsolicited reports whether the response, base64 as posted, answers no request.
// Nothing of it is verified: it may be used to begin a login, and for nothing else.
// The error says that it could not be looked at: ErrBusy, or ctx at its end.
func (sp *SP) Unsolicited(ctx context.Context, samlResponse string) (bool, error) {
	leave, err := sp.o.Slots.take(ctx, len(samlResponse))
	if err != nil {
		return false, err
	}
	defer leave()
	text, err := decode(samlResponse)
	if err != nil {
		return false, nil
	}
	o, err := preflight(text)
	return err == nil && o.hasAssertion && !o.answers, nil
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

// A response is one response being verified, for [SP.Finish] or for [SP.Explain].
type response struct {
	sp        *SP
	idp       *idp
	requestID string // "" for an unsolicited one
	now       time.Time
	part      string // the element that is being looked at

	responseVerified bool
	verified         []*etree.Element // with a signature that is good
	sealed           bool             // decrypted, and not known yet to come from the IdP
	until            time.Time        // when it will have expired, whatever happens
	refusal          *Refusal         // of the first check that failed
	trail            *trail           // nil: nobody asked for an explanation
}

// verify takes the response through all the gates but the last, the replay
// memory, and returns who signed in.
//
// A response that is being explained goes on past a check that it fails, and is
// read past a signature that is none. It ends here all the same, since what was
// refused once stays refused: no identity comes out, whatever judge has made of
// the rest.
func (r *response) verify(samlResponse string) (*Identity, error) {
	said, err := r.judge(samlResponse)
	if err != nil {
		err = r.fail(err)
	}
	if r.refusal != nil {
		return nil, r.refusal
	}
	if err != nil {
		return nil, err
	}
	return said, nil
}

// judge takes the response through the gates in their order, and returns what it
// says. The libraries under it have panicked on messages before, so a panic of
// theirs is one more refusal.
func (r *response) judge(samlResponse string) (said *Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.sealed = false // a bug is for the log, wherever it is
			said, err = nil, refuse(checkPanic, fmt.Sprint(p), "")
		}
	}()
	text, err := decode(samlResponse)
	r.trail.decoded(samlResponse, err)
	if err != nil {
		return nil, err
	}
	m, err := r.open(text)
	if err != nil {
		return nil, err
	}
	envelope, err := r.envelope(m)
	if err != nil {
		return nil, r.responseAlone(envelope, err)
	}
	if m, err = r.decrypted(m); err != nil {
		return nil, r.responseAlone(envelope, err)
	}
	assertion, err := r.assertion(m, envelope)
	if err != nil {
		return nil, r.responseAlone(envelope, err)
	}
	if err := r.meaning(envelope, assertion); err != nil {
		return nil, err
	}
	if err := r.secondOpinion(m.text, assertion.ID); err != nil {
		return nil, err
	}
	said, err = r.read(assertion)
	r.trail.says(said)
	return said, err
}

// check is what every check comes down to: it returns nil where ok, else what
// fail makes of a refusal. It allocates nothing for a check that is passed.
func (r *response) check(name string, ok bool, got, want string) error {
	if !ok {
		return r.fail(refuse(name, got, want))
	}
	r.trail.pass(name, r.part, got, want)
	return nil
}

// fail remembers a refusal, if it is the first one, and returns that. While the
// response is being explained it writes it down instead, and returns nil, so that
// the next checks are made too; see verify. An error that is no refusal comes back
// as it is.
func (r *response) fail(err error) error {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		return err
	}
	if refusal != r.refusal {
		r.remember(refusal)
	}
	if r.trail != nil {
		return nil
	}
	return r.refusal
}

// remember takes down a refusal.
//
// As long as the response is sealed, there is one refusal for everything: how far
// a plaintext got that somebody else than the IdP may have encrypted is nobody's
// business. Only an explanation has the rest of it.
func (r *response) remember(refusal *Refusal) {
	sealed := r.sealed && r.refusal == nil
	switch {
	case sealed:
		r.refusal = refuse(checkDecryption, "", "")
	case r.refusal == nil:
		r.refusal = refusal
	}
	if r.trail == nil {
		return
	}
	if sealed {
		r.trail.sealed()
	}
	r.sealed = false
	r.trail.fail(r.part, refusal)
}

// stop is fail for a refusal behind which there is nothing to go on with.
func (r *response) stop(refusal *Refusal) error {
	if err := r.fail(refusal); err != nil {
		return err
	}
	return r.refusal
}

// signed names the elements that have a signature.
func (o *outline) signed() string {
	switch {
	case o.rootSigned && o.assertSigned:
		return "Response and Assertion"
	case o.rootSigned:
		return "Response"
	case o.assertSigned:
		return "Assertion"
	}
	return ""
}

// A message is one that has passed the preflight.
type message struct {
	text    []byte
	outline outline
	root    *etree.Element
}

// open takes a Response through the preflight and builds its tree.
func (r *response) open(text []byte) (*message, error) { return r.openAs("samlp:Response", text) }

// openAs is open for a message with that root element.
func (r *response) openAs(root string, text []byte) (*message, error) {
	o, err := preflightAs(root, text)
	if err != nil {
		return nil, err
	}
	r.trail.scanned(r.part, o)
	if o.hasAssertion && !o.encrypted {
		err := r.check(checkUnsigned, o.rootSigned || o.assertSigned, o.signed(), "a signed Response or Assertion")
		if err != nil {
			return nil, err
		}
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
// sign that: nothing is done with what it says but to end the login. Beside a
// refusal it returns what it has read, for an explanation.
func (r *response) envelope(m *message) (*responseXML, error) {
	r.part = "Response"
	text := m.text
	if m.outline.rootSigned {
		var err error
		if text, r.responseVerified, err = r.signed(m.root); err != nil {
			return nil, err
		}
	} else {
		r.trail.skip(checkSignature, r.part, "not signed, so that nothing is relied on that it says outside of the assertion")
	}
	envelope, err := readResponse(text)
	if err != nil {
		return nil, err
	}
	codes := envelope.Status.codes()
	if codes != saml.StatusSuccess {
		refusal := &Refusal{Code: CodeRefused, Check: checkStatus, Got: clip(codes + " " + envelope.Status.Message), Want: saml.StatusSuccess}
		if !m.outline.hasAssertion {
			return envelope, r.stop(refusal)
		}
		return envelope, r.fail(refusal)
	}
	r.trail.pass(checkStatus, r.part, codes, saml.StatusSuccess)
	if !m.outline.hasAssertion {
		return envelope, refuse(checkStructure, "Response without an assertion", "")
	}
	return envelope, nil
}

// signed returns the text of el, an element with a signature, as it was signed,
// and true. While the response is being explained it may be as it came, and false.
func (r *response) signed(el *etree.Element) (text []byte, verified bool, err error) {
	signed, by, err := verify(el, r.idp.certificates, r.now)
	if err != nil {
		refused := r.fail(err)
		r.explainRefusedSignature(el, err)
		if refused != nil {
			return nil, false, refused
		}
		text, err = asItCame(el)
		return text, false, err
	}
	r.verified = append(r.verified, el)
	r.sealed = false // whoever encrypted it, this comes from the IdP
	r.explainSignature(el, by)
	text, err = canonical(signed)
	if err != nil {
		return nil, false, refuse(checkXML, "", "a document")
	}
	return text, true, nil
}

// assertion returns the Assertion as it was signed. One that is signed itself is
// read from what its own signature covers; otherwise the Response's covers it:
// its text, or its ciphertext.
func (r *response) assertion(m *message, envelope *responseXML) (*assertionXML, error) {
	r.part = "Assertion"
	if m.outline.assertSigned {
		text, _, err := r.signed(m.root.SelectElement("Assertion"))
		if err != nil {
			return nil, err
		}
		return readAssertion(text)
	}
	if !r.responseVerified && r.refusal == nil { // with one, an explanation has the reason already
		return nil, refuse(checkUnsigned, "", "a signed Response or Assertion")
	}
	r.trail.skip(checkSignature, r.part, "not signed itself")
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

// secondOpinion has crewjam/saml verify the whole message too. It gets what we
// have decrypted, never a ciphertext, and no key.
//
// Its clock is a package variable, which is left alone: it has no opinion of
// another time than now. It is not asked either about what is refused already.
func (r *response) secondOpinion(text []byte, assertionID string) error {
	r.part = ""
	if r.trail != nil && (r.refusal != nil || !r.trail.live) {
		r.explainNoOpinion()
		return nil
	}
	sp := saml.ServiceProvider{
		EntityID:          r.sp.o.EntityID,
		MetadataURL:       r.sp.acs,
		AcsURL:            r.sp.acs,
		IDPMetadata:       r.idp.descriptor,
		AllowIDPInitiated: r.requestID == "",
		SignatureVerifier: &verifier{certificates: r.idp.certificates, now: r.now, responseVerified: r.responseVerified, verified: r.verified},
		// It reads the last Audience of several alone, and takes none for all.
		// checkAssertion has read them as the specification says.
		ValidateAudienceRestriction: func(*saml.Assertion) error { return nil },
	}
	assertion, err := sp.ParseXMLResponse(text, []string{r.requestID}, r.sp.acs)
	if invalid := (*saml.InvalidResponseError)(nil); errors.As(err, &invalid) {
		return r.fail(refuse(checkLibrary, plain(invalid.PrivateErr), ""))
	}
	if err != nil {
		return r.fail(refuse(checkLibrary, plain(err), ""))
	}
	return r.check(checkLibrary, assertion.ID == assertionID, assertion.ID, assertionID)
}

// A verifier verifies for crewjam, which would try several certificates only
// when the message says which of them it means.
type verifier struct {
	certificates     []*x509.Certificate
	now              time.Time
	responseVerified bool
	verified         []*etree.Element // with a signature that is good
}

// VerifySignature is crewjam's question whether el is signed. That of a Response
// was answered on the message as it came: in the one that crewjam sees, a
// decrypted assertion may stand where the ciphertext was signed.
func (v *verifier) VerifySignature(_ *dsig.ValidationContext, el *etree.Element) error {
	if el.Tag == "Response" && v.responseVerified {
		return nil
	}
	// The same text, read by the same library: the answer is the same too.
	if asked, err := detach(el); err == nil {
		for _, el := range v.verified {
			if known, err := detach(el); err == nil && sameElements(asked, known) {
				return nil
			}
		}
	}
	_, _, err := verify(el, v.certificates, v.now)
	return err
}
