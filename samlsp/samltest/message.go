package samltest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/beevik/etree"
)

// The namespaces, name formats, confirmation methods and status codes that
// messages are made of (SAML 2.0 core, sections 1.1, 3.2.2.2 and 8).
const (
	NSProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	NSAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	NSSignature = "http://www.w3.org/2000/09/xmldsig#"
	NSMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"

	NameIDUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	NameIDEmail       = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	NameIDPersistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	NameIDTransient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

	FormatBasic       = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"
	FormatURI         = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
	FormatUnspecified = "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"

	MethodBearer        = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	MethodHolderOfKey   = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
	MethodSenderVouches = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"

	ContextPassword = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"

	StatusSuccess       = "urn:oasis:names:tc:SAML:2.0:status:Success"
	StatusRequester     = "urn:oasis:names:tc:SAML:2.0:status:Requester"
	StatusResponder     = "urn:oasis:names:tc:SAML:2.0:status:Responder"
	StatusAuthnFailed   = "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"
	StatusNoPassive     = "urn:oasis:names:tc:SAML:2.0:status:NoPassive"
	StatusInvalidNameID = "urn:oasis:names:tc:SAML:2.0:status:InvalidNameIDPolicy"
)

// A Style is the way in which a message declares its namespaces.
type Style int

const (
	// Prefixed writes samlp:, saml: and ds:, and types attribute values as
	// xs:string, as SimpleSAMLphp and Okta do.
	Prefixed Style = iota
	// DefaultNamespace writes the assertion and its signature without
	// prefixes, each declaring its own default namespace, as Entra ID and
	// AD FS do.
	DefaultNamespace
)

// An Omit says which elements of a message are left out, although its fields
// have values for them.
type Omit uint

// The elements that can be left out.
const (
	OmitStatus Omit = 1 << iota
	OmitAssertion
	OmitSubject
	OmitNameID
	OmitConditions
	OmitAuthnStatement
	OmitAttributeStatement
)

// A NameID names the subject of an assertion. An empty Format or qualifier is
// left out; an empty Value is sent as an empty element.
type NameID struct {
	Value, Format, NameQualifier, SPNameQualifier string
}

// A Confirmation is one SubjectConfirmation. Empty strings and zero times are
// left out of its SubjectConfirmationData, and NoData leaves out that element.
type Confirmation struct {
	Method                  string
	Recipient, InResponseTo string
	NotBefore, NotOnOrAfter time.Time
	NoData                  bool
}

// An Attribute is one attribute of the AttributeStatement. Empty NameFormat and
// FriendlyName are left out. No Values: an Attribute without AttributeValue.
type Attribute struct {
	Name, NameFormat, FriendlyName string
	Values                         []string
}

// A Status is the outcome in a Response: Code, a second-level Nested code
// within it, and a Message, each left out when empty.
type Status struct {
	Code, Nested, Message string
}

// A Message is everything about one Response. [IdP.Good] fills it so that a
// service provider accepts it; a test then changes what it wants to be wrong.
//
// An empty string or a zero time leaves out the attribute or element that it
// stands for, except where a field says otherwise.
type Message struct {
	// The Response.
	ID, Version, Destination, InResponseTo string
	Issuer                                 string
	IssueInstant                           time.Time
	Status                                 Status

	// The Assertion.
	AssertionID, AssertionVersion, AssertionIssuer string
	AssertionIssueInstant                          time.Time
	NameID                                         NameID
	Confirmations                                  []Confirmation
	NotBefore, NotOnOrAfter                        time.Time  // of Conditions
	Audiences                                      [][]string // one AudienceRestriction for each list
	AuthnInstant, SessionNotOnOrAfter              time.Time
	SessionIndex, AuthnContext                     string
	Attributes                                     []Attribute

	Omit  Omit
	Style Style

	// Signature is how the Assertion and the Response are signed, where they are.
	Signature                   Signature
	SignAssertion, SignResponse bool

	// Encryption is how the Assertion is encrypted. An empty Method leaves it
	// readable.
	Encryption Encryption

	// The hooks change the document, whose root is the Response, between the
	// steps of [Message.XML]. They may be nil.
	MutateUnsigned        func(*etree.Document)       // before anything is signed
	MutateAssertionSigned func(*etree.Document)       // the Assertion is signed, nothing encrypted
	MutateEncrypted       func(*etree.Document)       // encrypted; the Response is not signed yet
	MutateSigned          func(*etree.Document)       // after everything
	MutateBytes           func(message []byte) []byte // the serialised message
}

// XML returns the message: it builds the document, signs the Assertion, encrypts
// it and signs the Response, calling the hooks between these steps.
//
// The Assertion that is signed and encrypted is the first one below the
// Response; where a hook has removed it, nothing is.
func (m *Message) XML() ([]byte, error) {
	doc := m.document()
	call(m.MutateUnsigned, doc)
	if a := assertionOf(doc); a != nil && m.SignAssertion {
		if err := m.Signature.Sign(a); err != nil {
			return nil, err
		}
	}
	call(m.MutateAssertionSigned, doc)
	if a := assertionOf(doc); a != nil && m.Encryption.Method != "" {
		if err := m.Encryption.Replace(a); err != nil {
			return nil, err
		}
	}
	call(m.MutateEncrypted, doc)
	if m.SignResponse {
		if doc.Root() == nil {
			return nil, errors.New("signing the response: a hook has removed it")
		}
		if err := m.Signature.Sign(doc.Root()); err != nil {
			return nil, err
		}
	}
	call(m.MutateSigned, doc)
	out, err := serialise(doc)
	if err != nil {
		return nil, err
	}
	if m.MutateBytes != nil {
		out = m.MutateBytes(out)
	}
	return out, nil
}

// Base64 returns the message as the value of the form field SAMLResponse
// (SAML 2.0 bindings, section 3.5.4).
func (m *Message) Base64() (string, error) {
	out, err := m.XML()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(out), nil
}

// SetAttribute gives the attribute these values, in place of those it has. With
// no values, the attribute is sent without AttributeValue.
func (m *Message) SetAttribute(name string, values ...string) {
	for i := range m.Attributes {
		if m.Attributes[i].Name == name {
			m.Attributes[i].Values = values
			return
		}
	}
	format := FormatBasic
	if len(m.Attributes) > 0 {
		format = m.Attributes[0].NameFormat
	}
	m.Attributes = append(m.Attributes, Attribute{Name: name, NameFormat: format, Values: values})
}

// RemoveAttribute leaves out the attribute.
func (m *Message) RemoveAttribute(name string) {
	m.Attributes = slices.DeleteFunc(m.Attributes, func(a Attribute) bool { return a.Name == name })
}

// Good returns a message that sp accepts as the sign-in of user in answer to its
// request. An empty requestID makes it a message that nobody asked for
// (IdP-initiated). The attributes are the user's, in the order of their names.
//
// It is signed as [Options] says with the key that the IdP signs with now,
// valid for five minutes, and encrypted only where [Options] says so.
func (idp *IdP) Good(sp SPInfo, requestID string, user User) *Message {
	now := time.Now().UTC()
	m := &Message{
		ID: NewID(), Version: "2.0", Destination: sp.ACS, InResponseTo: requestID,
		Issuer: idp.options.EntityID, IssueInstant: now, Status: Status{Code: StatusSuccess},
		AssertionID: NewID(), AssertionVersion: "2.0", AssertionIssuer: idp.options.EntityID,
		AssertionIssueInstant: now,
		NameID:                NameID{Value: user.Name, Format: NameIDUnspecified},
		Confirmations: []Confirmation{{
			Method: MethodBearer, Recipient: sp.ACS, InResponseTo: requestID,
			NotOnOrAfter: now.Add(5 * time.Minute),
		}},
		NotBefore: now.Add(-30 * time.Second), NotOnOrAfter: now.Add(5 * time.Minute),
		Audiences:    [][]string{{sp.EntityID}},
		AuthnInstant: now, SessionNotOnOrAfter: now.Add(8 * time.Hour),
		SessionIndex: NewID(), AuthnContext: ContextPassword,
		Style:         idp.options.Style,
		Signature:     idp.signature(),
		SignAssertion: !idp.options.SignResponseOnly,
		SignResponse:  idp.options.SignResponse || idp.options.SignResponseOnly,
	}
	for _, name := range slices.Sorted(maps.Keys(user.Attributes)) {
		m.Attributes = append(m.Attributes, Attribute{
			Name: name, NameFormat: idp.options.NameFormat, Values: slices.Clone(user.Attributes[name]),
		})
	}
	if m.Style == DefaultNamespace {
		m.Signature.Prefix = ""
	}
	m.Encryption = Encryption{Method: idp.options.Encryption, Certificate: sp.Certificate}
	return m
}

// Refusal returns a message that tells sp, in answer to its request, that nobody
// signed in and why. It has no Assertion, so the Response is signed.
func (idp *IdP) Refusal(sp SPInfo, requestID string, status Status) *Message {
	m := idp.Good(sp, requestID, User{})
	m.Status = status
	m.Omit = OmitAssertion
	m.SignResponse = true
	return m
}

// NewID returns a fresh ID for an element: an NCName with 160 random bits
// (SAML 2.0 core, section 1.3.4).
func NewID() string {
	b := make([]byte, 20)
	rand.Read(b) // never fails
	return "_" + hex.EncodeToString(b)
}

func call(hook func(*etree.Document), doc *etree.Document) {
	if hook != nil {
		hook(doc)
	}
}

// assertionOf returns the first Assertion below the root, or nil.
func assertionOf(doc *etree.Document) *etree.Element {
	if doc.Root() == nil {
		return nil
	}
	return doc.Root().SelectElement("Assertion")
}

// serialise writes the document with line breaks and tabs in values escaped, as
// canonical XML does: written raw, a parser would read them as something else
// than what was signed.
func serialise(doc *etree.Document) ([]byte, error) {
	doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	return doc.WriteToBytes()
}
