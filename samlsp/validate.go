package samlsp

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/crewjam/saml"
)

// What is read of a message. It is read from the bytes that a signature was
// verified over, by full names; the preflight has seen to it that each element
// here that is not a list is there once.

type responseXML struct {
	XMLName      xml.Name      `xml:"urn:oasis:names:tc:SAML:2.0:protocol Response"`
	Version      string        `xml:"Version,attr"`
	IssueInstant string        `xml:"IssueInstant,attr"`
	Destination  string        `xml:"Destination,attr"`
	InResponseTo *string       `xml:"InResponseTo,attr"`
	Issuer       string        `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Status       statusXML     `xml:"urn:oasis:names:tc:SAML:2.0:protocol Status"`
	Assertion    *assertionXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion Assertion"`
}

type statusXML struct {
	Code    statusCodeXML `xml:"urn:oasis:names:tc:SAML:2.0:protocol StatusCode"`
	Message string        `xml:"urn:oasis:names:tc:SAML:2.0:protocol StatusMessage"`
}

type statusCodeXML struct {
	Value string         `xml:"Value,attr"`
	Code  *statusCodeXML `xml:"urn:oasis:names:tc:SAML:2.0:protocol StatusCode"`
}

// codes returns the status code with the ones inside it.
func (s *statusXML) codes() string {
	text := s.Code.Value
	for c := s.Code.Code; c != nil; c = c.Code {
		text += " " + c.Value
	}
	return text
}

type assertionXML struct {
	XMLName      xml.Name            `xml:"urn:oasis:names:tc:SAML:2.0:assertion Assertion"`
	ID           string              `xml:"ID,attr"`
	Version      string              `xml:"Version,attr"`
	IssueInstant string              `xml:"IssueInstant,attr"`
	Issuer       string              `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Subject      subjectXML          `xml:"urn:oasis:names:tc:SAML:2.0:assertion Subject"`
	Conditions   conditionsXML       `xml:"urn:oasis:names:tc:SAML:2.0:assertion Conditions"`
	Authn        []authnStatementXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnStatement"`
	Statements   []statementXML      `xml:"urn:oasis:names:tc:SAML:2.0:assertion AttributeStatement"`
}

type subjectXML struct {
	NameID       nameIDXML       `xml:"urn:oasis:names:tc:SAML:2.0:assertion NameID"`
	Confirmation confirmationXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion SubjectConfirmation"`
}

type nameIDXML struct {
	Format          string `xml:"Format,attr"`
	NameQualifier   string `xml:"NameQualifier,attr"`
	SPNameQualifier string `xml:"SPNameQualifier,attr"`
	Value           string `xml:",chardata"`
}

type confirmationXML struct {
	Method string              `xml:"Method,attr"`
	Data   confirmationDataXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion SubjectConfirmationData"`
}

type confirmationDataXML struct {
	InResponseTo *string `xml:"InResponseTo,attr"`
	Recipient    string  `xml:"Recipient,attr"`
	NotBefore    *string `xml:"NotBefore,attr"`
	NotOnOrAfter string  `xml:"NotOnOrAfter,attr"`
}

type conditionsXML struct {
	NotBefore    *string          `xml:"NotBefore,attr"`
	NotOnOrAfter string           `xml:"NotOnOrAfter,attr"`
	Restrictions []restrictionXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion AudienceRestriction"`
}

type restrictionXML struct {
	Audiences []string `xml:"urn:oasis:names:tc:SAML:2.0:assertion Audience"`
}

type authnStatementXML struct {
	AuthnInstant        string  `xml:"AuthnInstant,attr"`
	SessionIndex        string  `xml:"SessionIndex,attr"`
	SessionNotOnOrAfter *string `xml:"SessionNotOnOrAfter,attr"`
	ClassRef            string  `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnContext>AuthnContextClassRef"`
}

type statementXML struct {
	Attributes []attributeXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion Attribute"`
}

type attributeXML struct {
	Name         string     `xml:"Name,attr"`
	NameFormat   string     `xml:"NameFormat,attr"`
	FriendlyName string     `xml:"FriendlyName,attr"`
	Values       []valueXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion AttributeValue"`
}

type valueXML struct {
	Nil    string     `xml:"http://www.w3.org/2001/XMLSchema-instance nil,attr"`
	Text   string     `xml:",chardata"`
	NameID *nameIDXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion NameID"`
}

func (n *nameIDXML) read() NameID {
	return NameID{Value: n.Value, Format: n.Format, NameQualifier: n.NameQualifier, SPNameQualifier: n.SPNameQualifier}
}

func readResponse(message []byte) (*responseXML, error) {
	var r responseXML
	if err := xml.Unmarshal(message, &r); err != nil {
		return nil, refuse(checkXML, "", "a Response")
	}
	return &r, nil
}

func readAssertion(message []byte) (*assertionXML, error) {
	var a assertionXML
	if err := xml.Unmarshal(message, &a); err != nil {
		return nil, refuse(checkXML, "", "an Assertion")
	}
	return &a, nil
}

// meaning checks what the message says.
func (r *response) meaning(envelope *responseXML, assertion *assertionXML) error {
	if err := r.checkResponse(envelope); err != nil {
		return err
	}
	return r.checkAssertion(assertion)
}

// checkAsked checks that the response is to answer a request, or need not.
func (r *response) checkAsked() error {
	return r.check(checkUnsolicited, r.requestID != "" || r.sp.o.Unsolicited, r.requestID, "an answer to a request")
}

// checkResponse checks the Response. Where only the Assertion is signed, anybody
// may have written it, so that none of this is relied upon; it still has to be
// right, as each honest IdP's is.
func (r *response) checkResponse(m *responseXML) error {
	r.part = "Response"
	if err := r.check(checkVersion, m.Version == "2.0", m.Version, "2.0"); err != nil {
		return err
	}
	acs := r.sp.o.ACS
	if err := r.check(checkDestination, m.Destination == acs, m.Destination, acs); err != nil {
		return err
	}
	if err := r.checkIssuer(m.Issuer); err != nil {
		return err
	}
	if err := r.checkAnswers(m.InResponseTo); err != nil {
		return err
	}
	return r.checkIssueInstant(m.IssueInstant)
}

// checkAssertion checks the Assertion against SAML core and the web browser
// profile (SAML profiles, 4.1.4.2 and 4.1.4.3), and sets r.until.
func (r *response) checkAssertion(a *assertionXML) error {
	r.part = "Assertion"
	if err := r.check(checkVersion, a.Version == "2.0", a.Version, "2.0"); err != nil {
		return err
	}
	named := len(a.ID) >= 16 && reID.MatchString(a.ID)
	if err := r.check(checkAssertionID, named, a.ID, "16 to 256 characters"); err != nil {
		return err
	}
	if err := r.checkIssuer(a.Issuer); err != nil {
		return err
	}
	if err := r.checkIssueInstant(a.IssueInstant); err != nil {
		return err
	}
	if err := r.checkName(&a.Subject.NameID); err != nil {
		return err
	}
	if err := r.checkConfirmation(&a.Subject.Confirmation); err != nil {
		return err
	}
	if err := r.checkConditions(&a.Conditions); err != nil {
		return err
	}
	if err := r.checkAudience(a.Conditions.Restrictions); err != nil {
		return err
	}
	return r.checkAuthn(a.Authn)
}

// checkName checks that a NameID names somebody, and is one to be kept and shown.
// White space around it is left to the IdP.
func (r *response) checkName(n *nameIDXML) error {
	name := strings.TrimSpace(n.Value)
	longest := max(len(n.Value), len(n.Format), len(n.NameQualifier), len(n.SPNameQualifier))
	ok := name != "" && longest <= maxName && !strings.ContainsFunc(name, unicode.IsControl)
	return r.check(checkNameID, ok, n.Value, "1 to 1024 bytes, without control characters")
}

func (r *response) checkIssuer(issuer string) error {
	return r.check(checkIssuer, issuer == r.idp.entityID, issuer, r.idp.entityID)
}

// checkAnswers checks an InResponseTo: the one that the browser has begun, or
// none at all in an unsolicited response.
func (r *response) checkAnswers(to *string) error {
	if to == nil {
		return r.check(checkInResponseTo, r.requestID == "", "", r.requestID)
	}
	return r.check(checkInResponseTo, r.requestID != "" && *to == r.requestID, *to, r.requestID)
}

func (r *response) checkIssueInstant(s string) error {
	at, ok := parseTime(s)
	ok = ok && !at.After(r.now.Add(maxSkew)) && !r.now.After(at.Add(maxAge+maxSkew))
	if err := r.checkTime(checkIssueInstant, ok, s); err != nil {
		return err
	}
	r.expireAt(at.Add(maxAge + maxSkew))
	return nil
}

func (r *response) checkConfirmation(c *confirmationXML) error {
	const bearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	r.part = "SubjectConfirmation"
	if err := r.check(checkConfirmation, c.Method == bearer, c.Method, bearer); err != nil {
		return err
	}
	if c.Data.NotBefore != nil {
		if err := r.fail(refuse(checkConfirmation, "NotBefore "+*c.Data.NotBefore, "no NotBefore")); err != nil {
			return err
		}
	}
	acs := r.sp.o.ACS
	if err := r.check(checkRecipient, c.Data.Recipient == acs, c.Data.Recipient, acs); err != nil {
		return err
	}
	if err := r.checkAnswers(c.Data.InResponseTo); err != nil {
		return err
	}
	return r.checkNotOnOrAfter(c.Data.NotOnOrAfter)
}

func (r *response) checkConditions(c *conditionsXML) error {
	r.part = "Conditions"
	if err := r.checkNotOnOrAfter(c.NotOnOrAfter); err != nil {
		return err
	}
	if c.NotBefore == nil {
		r.trail.skip(checkNotYetValid, r.part, "no NotBefore")
		// Then it is good from its IssueInstant, which is not long ago.
		return r.checkLifetime(r.now, c.NotOnOrAfter)
	}
	begins, ok := parseTime(*c.NotBefore)
	if err := r.checkTime(checkNotYetValid, ok && !begins.After(r.now.Add(maxSkew)), *c.NotBefore); err != nil {
		return err
	}
	return r.checkLifetime(begins, c.NotOnOrAfter)
}

func (r *response) checkLifetime(begins time.Time, notOnOrAfter string) error {
	ends, ok := parseTime(notOnOrAfter)
	if !ok || ends.Sub(begins) > maxLifetime || ends.Before(begins.Add(-maxSkew)) {
		return r.fail(refuse(checkLifetime, notOnOrAfter, "at most "+maxLifetime.String()))
	}
	r.explainLifetime(begins, ends)
	return nil
}

func (r *response) checkNotOnOrAfter(s string) error {
	ends, ok := parseTime(s)
	if err := r.checkTime(checkExpired, ok && r.now.Before(ends.Add(maxSkew)), s); err != nil {
		return err
	}
	r.expireAt(ends.Add(maxSkew))
	return nil
}

// checkAudience wants us in each AudienceRestriction, and one at least (SAML
// core, 2.5.1.4).
func (r *response) checkAudience(restrictions []restrictionXML) error {
	us := r.sp.o.EntityID
	if len(restrictions) == 0 {
		return r.fail(refuse(checkAudience, "", us))
	}
	for _, restriction := range restrictions {
		ok := slices.Contains(restriction.Audiences, us)
		if err := r.check(checkAudience, ok, strings.Join(restriction.Audiences, " "), us); err != nil {
			return err
		}
	}
	return nil
}

func (r *response) checkAuthn(statements []authnStatementXML) error {
	r.part = "AuthnStatement"
	if err := r.check(checkAuthnStatement, len(statements) > 0, "", "an AuthnStatement"); err != nil {
		return err
	}
	for _, s := range statements {
		at, ok := parseTime(s.AuthnInstant)
		if err := r.checkTime(checkAuthnInstant, ok && !at.After(r.now.Add(maxSkew)), s.AuthnInstant); err != nil {
			return err
		}
		if len(s.SessionIndex) > maxName {
			if err := r.fail(refuse(checkNameID, "SessionIndex "+s.SessionIndex, "at most 1024 bytes")); err != nil {
				return err
			}
		}
		if s.SessionNotOnOrAfter == nil {
			r.trail.skip(checkSessionExpired, r.part, "no SessionNotOnOrAfter")
			continue
		}
		ends, ok := parseTime(*s.SessionNotOnOrAfter)
		if err := r.checkTime(checkSessionExpired, ok && r.now.Before(ends), *s.SessionNotOnOrAfter); err != nil {
			return err
		}
	}
	return nil
}

// checkTime is check of a time that the message gives. Our clock is written out
// for those alone who will read it.
func (r *response) checkTime(name string, ok bool, s string) error {
	if ok && r.trail == nil {
		return nil
	}
	err := r.check(name, ok, s, r.stamp())
	r.explainTime(name, s)
	return err
}

// read makes the Identity of an assertion that has passed checkAssertion.
func (r *response) read(a *assertionXML) (*Identity, error) {
	id := &Identity{
		IdP:         r.sp.o.Name,
		Issuer:      a.Issuer,
		NameID:      a.Subject.NameID.read(),
		AssertionID: a.ID,
	}
	id.IssuedAt, _ = parseTime(a.IssueInstant)
	for i, s := range a.Authn {
		at, _ := parseTime(s.AuthnInstant)
		if i == 0 {
			id.SessionIndex, id.AuthnInstant, id.AuthnContext = s.SessionIndex, at, strings.TrimSpace(s.ClassRef)
		}
		if s.SessionNotOnOrAfter == nil {
			continue
		}
		ends, _ := parseTime(*s.SessionNotOnOrAfter)
		if id.SessionNotOnOrAfter.IsZero() || ends.Before(id.SessionNotOnOrAfter) {
			id.SessionNotOnOrAfter = ends
		}
	}
	r.part = "AttributeStatement"
	for _, statement := range a.Statements {
		for _, attribute := range statement.Attributes {
			if attribute.Name == "" {
				if err := r.fail(refuse(checkAttribute, attribute.FriendlyName, "a Name")); err != nil {
					return nil, err
				}
			}
			id.Attributes = append(id.Attributes, attribute.read())
		}
	}
	r.explainAttributes(id)
	return id, nil
}

// read returns the attribute with its values. One that is xsi:nil is none.
func (a *attributeXML) read() Attribute {
	out := Attribute{Name: a.Name, NameFormat: a.NameFormat, FriendlyName: a.FriendlyName}
	for _, v := range a.Values {
		switch {
		case v.Nil == "true" || v.Nil == "1":
		case v.NameID != nil:
			out.Values = append(out.Values, v.NameID.Value)
		default:
			out.Values = append(out.Values, v.Text)
		}
	}
	return out
}

// expireAt notes one of the times from which the response is good for nothing.
func (r *response) expireAt(at time.Time) {
	if r.until.IsZero() || at.Before(r.until) {
		r.until = at
	}
}

// stamp is our clock, for the log.
func (r *response) stamp() string {
	return fmt.Sprintf("%s, give or take %s", r.now.UTC().Format(time.RFC3339), maxSkew)
}

// parseTime reads an xs:dateTime. One that names no zone is in UTC, as all of
// SAML is (SAML core, 1.3.3).
func parseTime(s string) (time.Time, bool) {
	var t saml.RelaxedTime
	err := t.UnmarshalText([]byte(s))
	return time.Time(t), err == nil && s != ""
}
