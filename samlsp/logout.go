package samlsp

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
)

// Single logout (SAML core, 3.7; SAML profiles, 4.4). Either side may begin: a
// logout here goes on to the IdP with [SP.BeginLogout] and comes back to
// [SP.FinishLogout]; one that the IdP wants is [SP.EndLogout]'s to verify and
// [SP.AnswerLogout]'s to answer.
//
// Every message has to be signed: by a signature on its root element, or in the
// Redirect binding by one over the query. None of it goes to crewjam/saml, which
// knows no LogoutRequest and takes no detached signature.

// The checks that messages about a logout meet beside those of checks.go.
const (
	checkParameters     = "wrong_parameters" // not one request or answer, or one with two readings
	checkMessageID      = "wrong_message_id" // a LogoutRequest whose ID is no name
	checkReplayedLogout = "replayed_logout"  // the LogoutRequest was used already; code saml_replayed
)

const (
	statusPartial = "urn:oasis:names:tc:SAML:2.0:status:PartialLogout"
	reasonUser    = "urn:oasis:names:tc:SAML:2.0:logout:user"
)

// maxAnswerState is the longest RelayState that comes back with an answer. The
// specification has 80 bytes; IdPs send URLs.
const maxAnswerState = 2 << 10

// A LogoutRequest says whose sessions an IdP wants ended.
type LogoutRequest struct {
	ID     string
	NameID NameID
	// SessionIndexes are the sessions at the IdP that have ended. None: all of
	// this subject have.
	SessionIndexes []string
}

// Matches reports whether the request is about the login of that NameID and
// SessionIndex. A format or qualifier that one side leaves out is no difference:
// not every IdP sends with a logout what it sent with the login.
func (r *LogoutRequest) Matches(name NameID, sessionIndex string) bool {
	same := func(a, b string) bool { return a == b || a == "" || b == "" }
	format := func(s string) string { return strings.TrimSuffix(s, string(saml.UnspecifiedNameIDFormat)) }
	about := r.NameID.Value == name.Value && same(format(r.NameID.Format), format(name.Format)) &&
		same(r.NameID.NameQualifier, name.NameQualifier) && same(r.NameID.SPNameQualifier, name.SPNameQualifier)
	return about && (len(r.SessionIndexes) == 0 || slices.Contains(r.SessionIndexes, sessionIndex))
}

// BeginLogout makes a signed LogoutRequest for a login at the IdP, which will
// send relayState, 80 bytes at most, back with its answer. ok is false where the
// IdP offers no single logout, or Options.SLO is empty: then ending our own
// sessions is all that there is.
func (sp *SP) BeginLogout(name NameID, sessionIndex, relayState string) (b Begun, ok bool, err error) {
	p, err := sp.current(time.Now())
	if err != nil {
		return Begun{}, false, err
	}
	if sp.o.SLO == "" || !p.logout.offered() {
		return Begun{}, false, nil
	}
	if len(relayState) > maxRelayState {
		return Begun{}, false, fmt.Errorf("relay state of %d bytes; want %d at most", len(relayState), maxRelayState)
	}
	id := newID()
	request := sp.newMessage("samlp:LogoutRequest", id, p.logout.best())
	request.CreateAttr("NotOnOrAfter", time.Now().Add(maxAge).UTC().Format(timeFormat))
	request.CreateAttr("Reason", reasonUser)
	request.AddChild(name.element())
	if sessionIndex != "" {
		request.CreateElement("samlp:SessionIndex").SetText(sessionIndex)
	}
	b, err = sp.send("SAMLRequest", request, p.logout, relayState)
	b.RequestID = id
	return b, err == nil, err
}

// element returns the NameID as XML.
func (n NameID) element() *etree.Element {
	el := etree.NewElement("saml:NameID")
	for _, a := range []struct{ name, value string }{
		{"Format", n.Format}, {"NameQualifier", n.NameQualifier}, {"SPNameQualifier", n.SPNameQualifier},
	} {
		if a.value != "" {
			el.CreateAttr(a.name, a.value)
		}
	}
	el.SetText(n.Value)
	return el
}

// FinishLogout verifies the IdP's answer to the LogoutRequest with that ID. It
// reports whether the IdP has signed the visitor out everywhere, by what it says.
//
// The error is a *[Refusal] when the answer is not believed. Any other error says
// that it could not be checked.
func (sp *SP) FinishLogout(ctx context.Context, m Message, requestID string) (everywhere bool, err error) {
	r := &response{sp: sp, requestID: requestID, part: "LogoutResponse"}
	if err := r.check(checkUnsolicited, requestID != "", "", "an answer to a request"); err != nil {
		return false, err
	}
	err = r.work(ctx, len(m.text), func() error {
		text, err := r.openLogout(m, "samlp:LogoutResponse")
		if err != nil {
			return err
		}
		everywhere, err = r.readLogoutResponse(text)
		return err
	})
	return everywhere && err == nil, err
}

// EndLogout verifies the IdP's LogoutRequest and has end do what it asks for. It
// is good for one time: when end has returned nil, Redis knows that it was used.
// When end returns an error, that is returned, and the same request may come
// again.
//
// The error is a *[Refusal] when the request is not believed. Any other error
// says that it could not be checked or done.
func (sp *SP) EndLogout(ctx context.Context, m Message, end func(context.Context, *LogoutRequest) error) (*LogoutRequest, error) {
	r := &response{sp: sp, part: "LogoutRequest"}
	var request *LogoutRequest
	err := r.work(ctx, len(m.text), func() error {
		text, err := r.openLogout(m, "samlp:LogoutRequest")
		if err != nil {
			return err
		}
		request, err = r.readLogoutRequest(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = sp.o.Replay.once(ctx, sp.o.Name, request.ID, r.until.Sub(r.now), func() error { return end(ctx, request) })
	if err != nil {
		return nil, err
	}
	return request, nil
}

// AnswerLogout makes the signed LogoutResponse that says of the request with that
// ID, which came with relayState, that it was done. ok is false where the IdP takes
// no answers, or has sent a RelayState that no URL can carry.
func (sp *SP) AnswerLogout(requestID, relayState string) (b Begun, ok bool, err error) {
	p, err := sp.current(time.Now())
	if err != nil {
		return Begun{}, false, err
	}
	if !p.logoutAnswers.offered() || len(relayState) > maxAnswerState {
		return Begun{}, false, nil
	}
	answer := sp.newMessage("samlp:LogoutResponse", newID(), p.logoutAnswers.best())
	answer.CreateAttr("InResponseTo", requestID)
	answer.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").CreateAttr("Value", saml.StatusSuccess)
	b, err = sp.send("SAMLResponse", answer, p.logoutAnswers, relayState)
	return b, err == nil, err
}

// What is read of the two messages, as in validate.go.

type logoutRequestXML struct {
	XMLName        xml.Name  `xml:"urn:oasis:names:tc:SAML:2.0:protocol LogoutRequest"`
	ID             string    `xml:"ID,attr"`
	Version        string    `xml:"Version,attr"`
	IssueInstant   string    `xml:"IssueInstant,attr"`
	Destination    string    `xml:"Destination,attr"`
	NotOnOrAfter   *string   `xml:"NotOnOrAfter,attr"`
	Issuer         string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	NameID         nameIDXML `xml:"urn:oasis:names:tc:SAML:2.0:assertion NameID"`
	SessionIndexes []string  `xml:"urn:oasis:names:tc:SAML:2.0:protocol SessionIndex"`
}

type logoutResponseXML struct {
	XMLName      xml.Name  `xml:"urn:oasis:names:tc:SAML:2.0:protocol LogoutResponse"`
	Version      string    `xml:"Version,attr"`
	IssueInstant string    `xml:"IssueInstant,attr"`
	Destination  string    `xml:"Destination,attr"`
	InResponseTo *string   `xml:"InResponseTo,attr"`
	Issuer       string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Status       statusXML `xml:"urn:oasis:names:tc:SAML:2.0:protocol Status"`
}

// openLogout takes a message through the gates up to its signature, and returns
// the text that was signed, which the schema says has this root.
func (r *response) openLogout(m Message, root string) ([]byte, error) {
	if m.request != (root == "samlp:LogoutRequest") {
		return nil, refuse(checkParameters, m.name(), root)
	}
	if r.sp.o.SLO == "" {
		return nil, refuse(checkDestination, "", "no message of a logout")
	}
	text, err := m.xml(r.idp.certificates, r.now)
	if err != nil {
		return nil, err
	}
	opened, err := r.openAs(root, text)
	if err != nil {
		return nil, err
	}
	if !opened.outline.rootSigned && m.detached {
		return text, nil
	}
	// By POST there has to be one; beside a detached one it has to be right too.
	text, _, err = r.signed(opened.root)
	return text, err
}

func (r *response) readLogoutRequest(text []byte) (*LogoutRequest, error) {
	var m logoutRequestXML
	if err := xml.Unmarshal(text, &m); err != nil {
		return nil, refuse(checkXML, "", "a LogoutRequest")
	}
	if err := r.checkLogout(m.Version, m.Destination, m.Issuer, m.IssueInstant); err != nil {
		return nil, err
	}
	if err := r.check(checkMessageID, reID.MatchString(m.ID), m.ID, "an ID"); err != nil {
		return nil, err
	}
	if m.NotOnOrAfter != nil {
		if err := r.checkNotOnOrAfter(*m.NotOnOrAfter); err != nil {
			return nil, err
		}
	}
	if err := r.checkName(&m.NameID); err != nil {
		return nil, err
	}
	return &LogoutRequest{ID: m.ID, NameID: m.NameID.read(), SessionIndexes: m.SessionIndexes}, nil
}

func (r *response) readLogoutResponse(text []byte) (everywhere bool, err error) {
	var m logoutResponseXML
	if err := xml.Unmarshal(text, &m); err != nil {
		return false, refuse(checkXML, "", "a LogoutResponse")
	}
	if err := r.checkLogout(m.Version, m.Destination, m.Issuer, m.IssueInstant); err != nil {
		return false, err
	}
	if err := r.checkAnswers(m.InResponseTo); err != nil {
		return false, err
	}
	codes := m.Status.codes()
	return strings.HasPrefix(codes, saml.StatusSuccess) && !strings.Contains(codes, statusPartial), nil
}

// checkLogout checks what both messages have to say.
func (r *response) checkLogout(version, destination, issuer, issueInstant string) error {
	if err := r.check(checkVersion, version == "2.0", version, "2.0"); err != nil {
		return err
	}
	slo := r.sp.o.SLO
	if err := r.check(checkDestination, destination == slo, destination, slo); err != nil {
		return err
	}
	if err := r.checkIssuer(issuer); err != nil {
		return err
	}
	return r.checkIssueInstant(issueInstant)
}
