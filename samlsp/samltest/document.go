package samltest

import (
	"time"

	"github.com/beevik/etree"
)

// A writer makes the elements of a message in one style.
type writer struct {
	style Style
}

// protocol adds an element of the protocol namespace below parent.
func (w writer) protocol(parent *etree.Element, tag string) *etree.Element {
	return parent.CreateElement("samlp:" + tag)
}

// assertion adds an element of the assertion namespace below parent.
func (w writer) assertion(parent *etree.Element, tag string) *etree.Element {
	if w.style == DefaultNamespace {
		return parent.CreateElement(tag)
	}
	return parent.CreateElement("saml:" + tag)
}

// outer is assertion for an element right below a protocol element, which in the
// default-namespace style has to declare its namespace.
func (w writer) outer(parent *etree.Element, tag string) *etree.Element {
	e := w.assertion(parent, tag)
	if w.style == DefaultNamespace {
		e.CreateAttr("xmlns", NSAssertion)
	}
	return e
}

func (m *Message) document() *etree.Document {
	w := writer{m.Style}
	doc := etree.NewDocument()
	r := doc.CreateElement("samlp:Response")
	r.CreateAttr("xmlns:samlp", NSProtocol)
	if m.Style == Prefixed {
		r.CreateAttr("xmlns:saml", NSAssertion)
	}
	attr(r, "ID", m.ID)
	attr(r, "Version", m.Version)
	attr(r, "IssueInstant", timestamp(m.IssueInstant))
	attr(r, "Destination", m.Destination)
	attr(r, "InResponseTo", m.InResponseTo)
	if m.Issuer != "" {
		w.outer(r, "Issuer").SetText(m.Issuer)
	}
	if m.Omit&OmitStatus == 0 {
		m.Status.add(w, r)
	}
	if m.Omit&OmitAssertion == 0 {
		m.assertion(w, r)
	}
	return doc
}

func (s Status) add(w writer, response *etree.Element) {
	status := w.protocol(response, "Status")
	code := w.protocol(status, "StatusCode")
	attr(code, "Value", s.Code)
	if s.Nested != "" {
		w.protocol(code, "StatusCode").CreateAttr("Value", s.Nested)
	}
	if s.Message != "" {
		w.protocol(status, "StatusMessage").SetText(s.Message)
	}
}

func (n NameID) add(w writer, parent *etree.Element) {
	e := w.assertion(parent, "NameID")
	attr(e, "Format", n.Format)
	attr(e, "NameQualifier", n.NameQualifier)
	attr(e, "SPNameQualifier", n.SPNameQualifier)
	e.SetText(n.Value)
}

func (m *Message) assertion(w writer, response *etree.Element) {
	a := w.outer(response, "Assertion")
	if m.Style == Prefixed {
		a.CreateAttr("xmlns:xs", "http://www.w3.org/2001/XMLSchema")
		a.CreateAttr("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
	}
	attr(a, "ID", m.AssertionID)
	attr(a, "Version", m.AssertionVersion)
	attr(a, "IssueInstant", timestamp(m.AssertionIssueInstant))
	if m.AssertionIssuer != "" {
		w.assertion(a, "Issuer").SetText(m.AssertionIssuer)
	}
	if m.Omit&OmitSubject == 0 {
		m.subject(w, a)
	}
	if m.Omit&OmitConditions == 0 {
		m.conditions(w, a)
	}
	if m.Omit&OmitAuthnStatement == 0 {
		m.authnStatement(w, a)
	}
	if m.Omit&OmitAttributeStatement == 0 && len(m.Attributes) > 0 {
		m.attributeStatement(w, a)
	}
}

func (m *Message) subject(w writer, assertion *etree.Element) {
	s := w.assertion(assertion, "Subject")
	if m.Omit&OmitNameID == 0 {
		m.NameID.add(w, s)
	}
	for _, c := range m.Confirmations {
		sc := w.assertion(s, "SubjectConfirmation")
		attr(sc, "Method", c.Method)
		if c.NoData {
			continue
		}
		data := w.assertion(sc, "SubjectConfirmationData")
		attr(data, "InResponseTo", c.InResponseTo)
		attr(data, "NotBefore", timestamp(c.NotBefore))
		attr(data, "NotOnOrAfter", timestamp(c.NotOnOrAfter))
		attr(data, "Recipient", c.Recipient)
	}
}

func (m *Message) conditions(w writer, assertion *etree.Element) {
	c := w.assertion(assertion, "Conditions")
	attr(c, "NotBefore", timestamp(m.NotBefore))
	attr(c, "NotOnOrAfter", timestamp(m.NotOnOrAfter))
	for _, audiences := range m.Audiences {
		restriction := w.assertion(c, "AudienceRestriction")
		for _, audience := range audiences {
			w.assertion(restriction, "Audience").SetText(audience)
		}
	}
}

func (m *Message) authnStatement(w writer, assertion *etree.Element) {
	s := w.assertion(assertion, "AuthnStatement")
	attr(s, "AuthnInstant", timestamp(m.AuthnInstant))
	attr(s, "SessionIndex", m.SessionIndex)
	attr(s, "SessionNotOnOrAfter", timestamp(m.SessionNotOnOrAfter))
	context := w.assertion(s, "AuthnContext")
	if m.AuthnContext != "" {
		w.assertion(context, "AuthnContextClassRef").SetText(m.AuthnContext)
	}
}

func (m *Message) attributeStatement(w writer, assertion *etree.Element) {
	s := w.assertion(assertion, "AttributeStatement")
	for _, a := range m.Attributes {
		e := w.assertion(s, "Attribute")
		e.CreateAttr("Name", a.Name)
		attr(e, "NameFormat", a.NameFormat)
		attr(e, "FriendlyName", a.FriendlyName)
		for _, value := range a.Values {
			v := w.assertion(e, "AttributeValue")
			if m.Style == Prefixed {
				v.CreateAttr("xsi:type", "xs:string")
			}
			v.SetText(value)
		}
	}
}

// attr sets the attribute unless value is empty.
func attr(e *etree.Element, name, value string) {
	if value != "" {
		e.CreateAttr(name, value)
	}
}

// timestamp returns t as the UTC time that SAML wants, and "" for the zero time.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
