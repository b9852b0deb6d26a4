package samltest

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// A Logout is everything about one LogoutRequest or LogoutResponse (SAML 2.0
// core, section 3.7). [IdP.GoodLogout] and [IdP.GoodLogoutAnswer] fill it so that
// a service provider accepts it; a test then changes what it wants to be wrong.
//
// An empty string or a zero time leaves out the attribute or element that it
// stands for.
type Logout struct {
	Answer                   bool // a LogoutResponse
	ID, Version, Destination string
	Issuer                   string
	IssueInstant             time.Time

	// Of a LogoutRequest.
	NotOnOrAfter   time.Time
	NameID         NameID
	SessionIndexes []string

	// Of a LogoutResponse.
	InResponseTo string
	Status       Status

	// Signature is how the message is signed: in the POST binding with an
	// enveloped signature, in the Redirect binding over the query.
	Signature Signature

	MutateUnsigned func(*etree.Document)       // before it is signed
	MutateSigned   func(*etree.Document)       // after an enveloped signature
	MutateBytes    func(message []byte) []byte // the serialised message
}

// GoodLogout returns the request of the IdP that a service provider with this
// single logout service ends the login of name and these sessions.
func (idp *IdP) GoodLogout(slo string, name NameID, sessionIndexes ...string) *Logout {
	now := time.Now().UTC()
	return &Logout{
		ID: NewID(), Version: "2.0", Destination: slo, Issuer: idp.options.EntityID, IssueInstant: now,
		NotOnOrAfter: now.Add(5 * time.Minute), NameID: name, SessionIndexes: sessionIndexes, Signature: idp.signature(),
	}
}

// GoodLogoutAnswer returns the IdP's answer to a service provider's LogoutRequest
// with that ID.
func (idp *IdP) GoodLogoutAnswer(slo, inResponseTo string) *Logout {
	l := idp.GoodLogout(slo, NameID{})
	l.Answer, l.InResponseTo, l.Status, l.NotOnOrAfter = true, inResponseTo, Status{Code: StatusSuccess}, time.Time{}
	return l
}

// Parameter returns the name of the parameter that carries the message.
func (l *Logout) Parameter() string {
	if l.Answer {
		return "SAMLResponse"
	}
	return "SAMLRequest"
}

func (l *Logout) document() *etree.Document {
	w := writer{Prefixed}
	doc := etree.NewDocument()
	root := doc.CreateElement("samlp:LogoutRequest")
	if l.Answer {
		root.Tag = "LogoutResponse"
	}
	root.CreateAttr("xmlns:samlp", NSProtocol)
	root.CreateAttr("xmlns:saml", NSAssertion)
	attr(root, "ID", l.ID)
	attr(root, "Version", l.Version)
	attr(root, "IssueInstant", timestamp(l.IssueInstant))
	attr(root, "Destination", l.Destination)
	attr(root, "InResponseTo", l.InResponseTo)
	attr(root, "NotOnOrAfter", timestamp(l.NotOnOrAfter))
	if l.Issuer != "" {
		w.assertion(root, "Issuer").SetText(l.Issuer)
	}
	if l.Answer {
		l.Status.add(w, root)
		return doc
	}
	l.NameID.add(w, root)
	for _, index := range l.SessionIndexes {
		w.protocol(root, "SessionIndex").SetText(index)
	}
	return doc
}

// XML returns the message, with an enveloped signature if sign is set.
func (l *Logout) XML(sign bool) ([]byte, error) {
	doc := l.document()
	call(l.MutateUnsigned, doc)
	if sign {
		if err := l.Signature.Sign(doc.Root()); err != nil {
			return nil, err
		}
	}
	call(l.MutateSigned, doc)
	out, err := serialise(doc)
	if err == nil && l.MutateBytes != nil {
		out = l.MutateBytes(out)
	}
	return out, err
}

// Form returns the message as the form of the POST binding, signed (SAML 2.0
// bindings, section 3.5.4).
func (l *Logout) Form(relayState string) (url.Values, error) {
	text, err := l.XML(true)
	if err != nil {
		return nil, err
	}
	form := url.Values{l.Parameter(): {base64.StdEncoding.EncodeToString(text)}}
	if relayState != "" {
		form.Set("RelayState", relayState)
	}
	return form, nil
}

// Query returns the message as the query of the Redirect binding, with a detached
// signature (SAML 2.0 bindings, section 3.4.4).
func (l *Logout) Query(relayState string) (string, error) {
	text, err := l.XML(false)
	if err != nil {
		return "", err
	}
	return l.Signature.Query(l.Parameter(), Deflate(text), relayState)
}

// Query returns a query of the Redirect binding with a detached signature over
// its other parameters. The message is in base64.
func (s Signature) Query(parameter, message, relayState string) (string, error) {
	query := parameter + "=" + url.QueryEscape(message)
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	return s.Octets(query + "&SigAlg=" + url.QueryEscape(or(s.Method, RSASHA256)))
}

// Octets returns the query with a signature over it, as it stands, added.
func (s Signature) Octets(query string) (string, error) {
	value, err := s.value([]byte(query))
	if err != nil {
		return "", fmt.Errorf("signing a query: %w", err)
	}
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(value)), nil
}

// Deflate returns data compressed and in base64, as the Redirect binding has it.
func Deflate(data []byte) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = w.Write(data)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// redirect returns location with the message in its query.
func (l *Logout) redirect(location, relayState string) (string, error) {
	query, err := l.Query(relayState)
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	return location + separator + query, err
}
