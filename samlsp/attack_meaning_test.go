package samlsp_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// maxSkew is the difference between clocks that is allowed.
const maxSkew = 3 * time.Minute

// C: messages that the IdP has signed, for somebody else or for another time.
func TestAttacksOnMeaning(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	confirmation := func(f func(*samltest.Confirmation)) func(*testing.T, *samltest.Message) {
		return set(func(m *samltest.Message) { f(&m.Confirmations[0]) })
	}
	ends := func(d time.Duration) func(*testing.T, *samltest.Message) {
		return set(func(m *samltest.Message) {
			m.IssueInstant = time.Now().Add(-5 * time.Minute)
			m.AssertionIssueInstant = m.IssueInstant
			m.NotBefore = m.IssueInstant
			m.NotOnOrAfter = time.Now().Add(d)
			m.Confirmations[0].NotOnOrAfter = time.Now().Add(time.Minute)
		})
	}
	issued := func(d time.Duration) func(*testing.T, *samltest.Message) {
		return set(func(m *samltest.Message) { m.AssertionIssueInstant = time.Now().Add(d) })
	}
	runAttacks(t, r, []attack{
		{"C04a", "both InResponseTo are of another browser's request", nil, set(func(m *samltest.Message) {
			m.InResponseTo, m.Confirmations[0].InResponseTo = "id-other", "id-other"
		}), "wrong_request"},
		{"C07", "the Response is for our request, the Assertion for another", nil, confirmation(func(c *samltest.Confirmation) {
			c.InResponseTo = "id-other"
		}), "wrong_request"},
		{"C07b", "the other way round", nil, set(func(m *samltest.Message) { m.InResponseTo = "id-other" }), "wrong_request"},
		{"C07c", "no InResponseTo in the Assertion", nil, confirmation(func(c *samltest.Confirmation) { c.InResponseTo = "" }), "wrong_request"},
		{"C07d", "no InResponseTo in the Response", nil, set(func(m *samltest.Message) { m.InResponseTo = "" }), "wrong_request"},
		{"C08", "no AudienceRestriction", nil, set(func(m *samltest.Message) { m.Audiences = nil }), "wrong_audience"},
		{"C09", "another audience", nil, set(func(m *samltest.Message) { m.Audiences = [][]string{{"https://other.example"}} }), "wrong_audience"},
		{"C10a", "ours and another", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{entityID, "https://other.example"}}
		}), accept},
		{"C10b", "another and ours", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{"https://other.example", entityID}}
		}), accept},
		{"C10c", "two restrictions, one without us", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{entityID}, {"https://other.example"}}
		}), "wrong_audience"},
		{"C11", "a service provider whose entity ID begins as ours", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{entityID + "/globex"}}
		}), "wrong_audience"},
		{"C12", "no SubjectConfirmation", nil, set(func(m *samltest.Message) { m.Confirmations = nil }), "structure"},
		{"C12b", "two, the second of another service provider", nil, set(func(m *samltest.Message) {
			m.Confirmations = append(m.Confirmations, m.Confirmations[0])
		}), "structure"},
		{"C13", "SubjectConfirmation without data", nil, confirmation(func(c *samltest.Confirmation) { c.NoData = true }), "structure"},
		{"C14", "holder-of-key", nil, confirmation(func(c *samltest.Confirmation) { c.Method = samltest.MethodHolderOfKey }), "wrong_confirmation"},
		{"C15", "sender-vouches", nil, confirmation(func(c *samltest.Confirmation) { c.Method = samltest.MethodSenderVouches }), "wrong_confirmation"},
		{"C15b", "a bearer confirmation with NotBefore", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotBefore = time.Now().Add(-time.Minute)
		}), "wrong_confirmation"},
		{"C16", "Recipient is the ACS of another of our IdPs", nil, confirmation(func(c *samltest.Confirmation) {
			c.Recipient = strings.Replace(acs, "acme/acs", "globex/acs", 1)
		}), "wrong_recipient"},
		{"C16b", "no Recipient", nil, confirmation(func(c *samltest.Confirmation) { c.Recipient = "" }), "wrong_recipient"},
		{"C17a", "no Destination", nil, set(func(m *samltest.Message) { m.Destination = "" }), "wrong_destination"},
		{"C17b", "Destination elsewhere", nil, set(func(m *samltest.Message) { m.Destination = "https://other.example/acs" }), "wrong_destination"},
		{"C18a", "Conditions expired, by more than the skew", nil, ends(-maxSkew - 2*time.Second), "expired"},
		{"C18b", "the confirmation expired, by more than the skew", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotOnOrAfter = time.Now().Add(-maxSkew - 2*time.Second)
		}), "expired"},
		{"C18c", "no NotOnOrAfter in Conditions", nil, set(func(m *samltest.Message) { m.NotOnOrAfter = time.Time{} }), "expired"},
		{"C18d", "no NotOnOrAfter in the confirmation", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotOnOrAfter = time.Time{}
		}), "expired"},
		{"C19a", "Conditions expired, by less than the skew", nil, ends(-maxSkew + 30*time.Second), accept},
		{"C19b", "the confirmation expired, by less than the skew", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotOnOrAfter = time.Now().Add(-maxSkew + 30*time.Second)
		}), accept},
		{"C20", "NotBefore in the future", nil, set(func(m *samltest.Message) {
			m.NotBefore = time.Now().Add(maxSkew + 30*time.Second)
		}), "not_yet_valid"},
		{"C21a", "issued in the future", nil, issued(maxSkew + 30*time.Second), "wrong_issue_instant"},
		{"C21b", "a Response issued in the future around an Assertion of now", nil, set(func(m *samltest.Message) {
			m.IssueInstant = time.Now().AddDate(10, 0, 0)
		}), "wrong_issue_instant"},
		{"C21c", "issued too long ago, and still valid by its own account", nil, func(_ *testing.T, m *samltest.Message) {
			m.AssertionIssueInstant = time.Now().Add(-9 * time.Minute)
			m.NotBefore, m.NotOnOrAfter = m.AssertionIssueInstant, time.Now().Add(time.Hour)
		}, "wrong_issue_instant"},
		{"C22", "valid for ten years", nil, set(func(m *samltest.Message) { m.NotOnOrAfter = time.Now().AddDate(10, 0, 0) }), "wrong_lifetime"},
		{"C22b", "ends before it begins", nil, set(func(m *samltest.Message) {
			m.NotBefore, m.NotOnOrAfter = time.Now().Add(2*time.Minute), time.Now().Add(-2*time.Minute)
		}), "wrong_lifetime"},
		{"C23", "no Conditions", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitConditions }), "structure"},
		{"C24", "no Subject", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitSubject }), "structure"},
		{"C25a", "Assertion of version 1.1", nil, set(func(m *samltest.Message) { m.AssertionVersion = "1.1" }), "wrong_version"},
		{"C25b", "Response of version 1.1", nil, set(func(m *samltest.Message) { m.Version = "1.1" }), "wrong_version"},
		{"C27", "no AuthnStatement", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitAuthnStatement }), "no_authn_statement"},
		{"C27b", "signed in in the future", nil, set(func(m *samltest.Message) { m.AuthnInstant = time.Now().Add(maxSkew + 30*time.Second) }), "wrong_authn_instant"},
		{"C28", "the session is over", nil, set(func(m *samltest.Message) {
			m.SessionNotOnOrAfter = time.Now().Add(-time.Second)
		}), "session_expired"},
		{"C29a", "a space after the Issuer", nil, set(func(m *samltest.Message) { m.AssertionIssuer += " " }), "wrong_issuer"},
		{"C29b", "no Issuer in the Assertion", nil, set(func(m *samltest.Message) { m.AssertionIssuer = "" }), "structure"},
		{"C29c", "no Issuer in the Response", nil, set(func(m *samltest.Message) { m.Issuer = "" }), "wrong_issuer"},
		{"C29d", "another Issuer in the Response", nil, set(func(m *samltest.Message) { m.Issuer = "https://idp.globex.example" }), "wrong_issuer"},
		{"C30", "an empty NameID", nil, set(func(m *samltest.Message) { m.NameID.Value = "" }), "wrong_name_id"},
		{"C30b", "a NameID of white space", nil, set(func(m *samltest.Message) { m.NameID.Value = " \u00a0 " }), "wrong_name_id"},
		{"C30c", "a NameID of 2 KiB", nil, set(func(m *samltest.Message) { m.NameID.Value = strings.Repeat("a", 2048) }), "wrong_name_id"},
		{"C30d", "no NameID", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitNameID }), "structure"},
		{"C32a", "two NameIDs", nil, unsigned(func(root *etree.Element) {
			s := root.FindElement(".//Subject")
			s.InsertChildAt(1, evil(s.SelectElement("NameID").Copy()))
		}), "structure"},
		{"C32b", "two Subjects", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.AddChild(a.SelectElement("Subject").Copy())
		}), "structure"},
		{"C32c", "two Conditions", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.AddChild(a.SelectElement("Conditions").Copy())
		}), "structure"},
		{"C34", "an Attribute that has a FriendlyName alone", nil, set(func(m *samltest.Message) {
			m.Attributes[0].Name, m.Attributes[0].FriendlyName = "", "userName"
		}), "wrong_attribute"},
		{"C48", "an ID short enough to guess", nil, set(func(m *samltest.Message) { m.AssertionID = "_1" }), "wrong_assertion_id"},
		{"C49", "a time that is none", nil, unsigned(func(root *etree.Element) {
			root.FindElement(".//Conditions").CreateAttr("NotOnOrAfter", "tomorrow")
		}), "expired"},
	})
}

// C26: the IdP itself says no. That is no attack, and has its own code.
func TestStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	tests := []struct {
		name string
		m    func() *samltest.Message
		got  string
	}{
		{"an error report", func() *samltest.Message {
			return r.idp.Refusal(samltest.SPInfo{EntityID: entityID, ACS: acs}, requestID,
				samltest.Status{Code: samltest.StatusResponder, Nested: samltest.StatusAuthnFailed, Message: "AADSTS50105"})
		}, samltest.StatusResponder + " " + samltest.StatusAuthnFailed + " AADSTS50105"},
		{"an unsigned one", func() *samltest.Message {
			m := r.good()
			m.Omit, m.Status = samltest.OmitAssertion, samltest.Status{Code: samltest.StatusRequester}
			return m
		}, samltest.StatusRequester + " "},
		{"with an assertion all the same", func() *samltest.Message {
			m := r.good()
			m.Status.Code = samltest.StatusResponder
			return m
		}, samltest.StatusResponder + " "},
		{"Success with another code inside", func() *samltest.Message {
			m := r.good()
			m.Status.Nested = samltest.StatusNoPassive
			return m
		}, samltest.StatusSuccess + " " + samltest.StatusNoPassive + " "},
		{"Success inside another code", func() *samltest.Message {
			m := r.good()
			m.Status = samltest.Status{Code: samltest.StatusResponder, Nested: samltest.StatusSuccess}
			return m
		}, samltest.StatusResponder + " " + samltest.StatusSuccess + " "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := r.finish(test.m())
			wantRefusal(t, id, err, "status")
			var refusal *samlsp.Refusal
			if errors.As(err, &refusal) && (refusal.Code != "idp_refused" || refusal.Got != test.got) {
				t.Errorf("refusal %s with %q, want idp_refused with %q", refusal.Code, refusal.Got, test.got)
			}
		})
	}
	m := r.good()
	m.Omit = samltest.OmitAssertion
	id, err := r.finish(m)
	wantRefusal(t, id, err, "structure") // Success, of nobody
}

// C05 and what is around it: a response that answers nothing.
func TestUnsolicited(t *testing.T) {
	t.Parallel()
	off := newRig(t, nil)
	on := newRig(t, func(o *samlsp.Options) { o.Unsolicited = true })
	nobodyAsked := func(r *rig) *samltest.Message {
		m := r.good()
		m.InResponseTo, m.Confirmations[0].InResponseTo = "", ""
		return m
	}
	tests := []struct {
		number, what string
		r            *rig
		asked        string
		m            *samltest.Message
		check        string
	}{
		{"C05a", "unsolicited, which is off", off, "", nobodyAsked(off), "unsolicited"},
		{"C05b", "unsolicited, as the answer to a request", off, requestID, nobodyAsked(off), "wrong_request"},
		{"C05c", "unsolicited, which is on", on, "", nobodyAsked(on), accept},
		{"C05d", "an answer to somebody's request as an unsolicited one", on, "", on.good(), "wrong_request"},
		{"C05e", "the same with InResponseTo in the Assertion alone", on, "", func() *samltest.Message {
			m := on.good()
			m.InResponseTo = ""
			return m
		}(), "wrong_request"},
		{"C05g", "an InResponseTo that is empty", on, "", func() *samltest.Message {
			m := nobodyAsked(on)
			m.MutateUnsigned = func(doc *etree.Document) { doc.Root().CreateAttr("InResponseTo", "") }
			return m
		}(), "wrong_request"},
		{"C05f", "an answer to our request where unsolicited is on", on, requestID, on.good(), accept},
	}
	for _, test := range tests {
		t.Run(test.number, func(t *testing.T) {
			text, err := test.m.Base64()
			if err != nil {
				t.Fatal(err)
			}
			id, err := test.r.sp.Finish(t.Context(), text, test.asked)
			if test.check != accept {
				wantRefusal(t, id, err, test.check)
			} else if err != nil {
				t.Errorf("%s: %v", test.what, err)
			}
			if got, want := samlsp.Unsolicited(text), test.m.InResponseTo == "" && test.number != "C05g"; got != want {
				t.Errorf("Unsolicited = %t, want %t", got, want)
			}
		})
	}
	for name, text := range map[string]string{
		"nothing": "", "no base64": "<", "no XML": "AAAA",
		"an error report": func() string {
			m := nobodyAsked(on)
			m.Omit = samltest.OmitAssertion
			text, err := m.Base64()
			if err != nil {
				t.Fatal(err)
			}
			return text
		}(),
	} {
		if samlsp.Unsolicited(text) {
			t.Errorf("Unsolicited of %s = true, want false", name)
		}
	}
}

// C40, C41: two IdPs, and what each says at the other's ACS.
func TestTwoIdPs(t *testing.T) {
	t.Parallel()
	acme := newRig(t, nil)
	key, certificate := idpKeys[1]()
	other, err := samltest.New(samltest.Options{URL: "https://idp.globex.example", Key: key, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	globexACS := strings.Replace(acs, "acme", "globex", 1)
	globex := newRigOf(t, other, func(o *samlsp.Options) { o.Name, o.ACS = "globex", globexACS })
	if _, err := globex.finish(globex.forACS(globexACS)); err != nil {
		t.Fatalf("globex's response at its own ACS: %v", err)
	}
	id, err := acme.finish(globex.forACS(acs))
	wantRefusal(t, id, err, "signature") // C40
	m := globex.forACS(acs)
	m.Issuer, m.AssertionIssuer = acme.idp.EntityID(), acme.idp.EntityID()
	id, err = acme.finish(m)
	wantRefusal(t, id, err, "signature") // C41
	id, err = acme.finish(acme.forACS(globexACS))
	wantRefusal(t, id, err, "wrong_destination") // a response for the other ACS
}

// forACS returns a good message for that ACS.
func (r *rig) forACS(acs string) *samltest.Message {
	m := r.good()
	m.Destination, m.Confirmations[0].Recipient = acs, acs
	return m
}

// C33: what comes twice is handed on twice, for provisioning to judge.
func TestDuplicateAttribute(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.good()
	m.Attributes = append(m.Attributes, samltest.Attribute{Name: "userName", Values: []string{"admin@acme.example"}})
	id, err := r.finish(m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range id.Attributes {
		if a.Name == "userName" {
			got = append(got, a.Values...)
		}
	}
	if want := []string{"ann@acme.example", "admin@acme.example"}; !slices.Equal(got, want) {
		t.Errorf("userName = %q, want %q", got, want)
	}
}
