package samlsp

import (
	"bytes"
	"compress/flate"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// maxInflated is the longest message of the Redirect binding, in bytes of XML.
const maxInflated = 256 << 10

// A Message is a SAML message about a logout as a browser brought it. Nothing of
// it is verified yet. Make one with [ReadQuery] or [ReadForm].
type Message struct {
	// RelayState came with it, and is "" where none did.
	RelayState string

	request   bool   // SAMLRequest, and not SAMLResponse
	text      string // base64
	detached  bool   // it came by the Redirect binding
	signed    string // the octets that the detached signature is over
	method    string // of that signature
	signature string // base64
}

// IsRequest reports whether the message is a request, and not an answer to one.
func (m Message) IsRequest() bool { return m.request }

// ReadQuery reads a message of the HTTP Redirect binding (SAML bindings, 3.4.4)
// from the query of a URL as it was sent. The signature of that binding is over
// the very octets of the query: they are taken as they came, each parameter once
// and under its plain name, so that there is one reading of them.
//
// The error is a *[Refusal].
func ReadQuery(rawQuery string) (Message, error) {
	raw, err := parameters(rawQuery)
	if err != nil {
		return Message{}, err
	}
	m, err := newMessage(raw.has)
	if err != nil {
		return Message{}, err
	}
	m.detached = true
	if encoding := raw.value("SAMLEncoding"); encoding != "" && encoding != encodingDeflate {
		return Message{}, refuse(checkParameters, "SAMLEncoding "+encoding, encodingDeflate)
	}
	for _, name := range []string{m.name(), "RelayState", "SigAlg"} {
		if !raw.has(name) {
			continue
		}
		if m.signed != "" {
			m.signed += "&"
		}
		m.signed += name + "=" + raw[name]
	}
	m.text, m.RelayState = raw.value(m.name()), raw.value("RelayState")
	m.method, m.signature = raw.value("SigAlg"), raw.value("Signature")
	return m, nil
}

const encodingDeflate = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"

// ReadForm reads a message of the HTTP POST binding (SAML bindings, 3.5.4) from
// the form that was posted. The error is a *[Refusal].
func ReadForm(form url.Values) (Message, error) {
	for _, name := range []string{"SAMLRequest", "SAMLResponse", "RelayState"} {
		if n := len(form[name]); n > 1 {
			return Message{}, refuse(checkParameters, fmt.Sprintf("%d times %s", n, name), "one")
		}
	}
	m, err := newMessage(form.Has)
	if err != nil {
		return Message{}, err
	}
	m.text, m.RelayState = form.Get(m.name()), form.Get("RelayState")
	return m, nil
}

// newMessage returns an empty message of the kind that there is a parameter of.
func newMessage(has func(name string) bool) (Message, error) {
	request, response := has("SAMLRequest"), has("SAMLResponse")
	switch {
	case request && response:
		return Message{}, refuse(checkParameters, "SAMLRequest and SAMLResponse", "one of them")
	case has("SAMLart"):
		return Message{}, refuse(checkParameters, "SAMLart", "SAMLRequest or SAMLResponse")
	case !request && !response:
		return Message{}, refuse(checkParameters, "", "SAMLRequest or SAMLResponse")
	}
	return Message{request: request}, nil
}

// name returns the parameter that the message comes in.
func (m *Message) name() string {
	if m.request {
		return "SAMLRequest"
	}
	return "SAMLResponse"
}

// rawParameters are those parameters of a query that mean something in the
// Redirect binding, as they were sent.
type rawParameters map[string]string

// parameters finds them. One that comes twice has two readings, and so has one
// whose name is written in another way: both are refused.
func parameters(rawQuery string) (rawParameters, error) {
	found := make(rawParameters)
	for pair := range strings.SplitSeq(rawQuery, "&") {
		raw, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(raw)
		if err != nil {
			continue
		}
		switch name {
		case "SAMLRequest", "SAMLResponse", "SAMLart", "RelayState", "SigAlg", "Signature", "SAMLEncoding":
		default:
			continue
		}
		if _, twice := found[name]; twice || raw != name {
			return nil, refuse(checkParameters, raw, name+", and once")
		}
		if _, err := url.QueryUnescape(value); err != nil || strings.Contains(value, ";") { // which some take for "&"
			return nil, refuse(checkParameters, name, "a value that can be unescaped")
		}
		found[name] = value
	}
	return found, nil
}

func (p rawParameters) has(name string) bool {
	_, ok := p[name]
	return ok
}

// value returns a parameter unescaped, or "".
func (p rawParameters) value(name string) string {
	value, _ := url.QueryUnescape(p[name]) // looked at in parameters
	return value
}

// xml returns the message's text. The text of one with a detached signature is
// not inflated before that signature has been verified: a stranger can ask for
// no work beyond that.
func (m *Message) xml(certificates []*x509.Certificate, at time.Time) ([]byte, error) {
	if !m.detached {
		return decode(m.text)
	}
	if err := m.verify(certificates, at); err != nil {
		return nil, err
	}
	deflated, err := decode(m.text)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(deflated)), maxInflated+1))
	if err != nil {
		return nil, refuse(checkEncoding, plain(err), "a deflated message")
	}
	if len(text) > maxInflated {
		return nil, refuse(checkTooLarge, "", fmt.Sprintf("at most %d bytes", maxInflated))
	}
	return text, nil
}

// verify checks the detached signature (SAML bindings, 3.4.4.1) with each of the
// certificates in turn. Those out of their time are passed over.
func (m *Message) verify(certificates []*x509.Certificate, at time.Time) error {
	if m.signature == "" {
		return refuse(checkUnsigned, "", "a signed message")
	}
	method, ok := detachedMethods[m.method]
	if !ok {
		return refuse(checkAlgorithm, m.method, "")
	}
	signature, err := base64.StdEncoding.DecodeString(m.signature)
	if err != nil {
		return refuse(checkSignature, "no base64 in it", "")
	}
	last := refuse(checkCertificateExpired, "", "a certificate in its time")
	for _, certificate := range certificates {
		if !inTime(certificate, at) {
			continue
		}
		if err = certificate.CheckSignature(method, []byte(m.signed), signatureFor(certificate, signature)); err == nil {
			return nil
		}
		last = refuse(checkSignature, plain(err), "")
	}
	return last
}

// detachedMethods are the algorithms of detached signatures: those that grammar.go
// allows in messages.
var detachedMethods = map[string]x509.SignatureAlgorithm{
	"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256":   x509.SHA256WithRSA,
	"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384":   x509.SHA384WithRSA,
	"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512":   x509.SHA512WithRSA,
	"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": x509.ECDSAWithSHA256,
	"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": x509.ECDSAWithSHA384,
	"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512": x509.ECDSAWithSHA512,
}
