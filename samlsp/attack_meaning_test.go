package samlsp_test

import (
	"errors"
	"fmt"
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
		{"C04", "both InResponseTo are of another browser's request", nil, set(func(m *samltest.Message) {
			m.InResponseTo, m.Confirmations[0].InResponseTo = "id-other", "id-other"
		}), "wrong_request"},
		{"C07", "the Response is for our request, the Assertion for another", nil, confirmation(func(c *samltest.Confirmation) {
			c.InResponseTo = "id-other"
		}), "wrong_request"},
		{"C07", "the other way round", nil, set(func(m *samltest.Message) { m.InResponseTo = "id-other" }), "wrong_request"},
		{"C07", "no InResponseTo in the Assertion", nil, confirmation(func(c *samltest.Confirmation) { c.InResponseTo = "" }), "wrong_request"},
		{"C07", "no InResponseTo in the Response", nil, set(func(m *samltest.Message) { m.InResponseTo = "" }), "wrong_request"},
		{"C08", "no AudienceRestriction", nil, set(func(m *samltest.Message) { m.Audiences = nil }), "wrong_audience"},
		{"C09", "another audience", nil, set(func(m *samltest.Message) { m.Audiences = [][]string{{"https://other.example"}} }), "wrong_audience"},
		{"C10", "us and another", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{entityID, "https://other.example"}}
		}), accept},
		{"C10", "another and us", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{"https://other.example", entityID}}
		}), accept},
		{"C10", "two restrictions, one without us", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{entityID}, {"https://other.example"}}
		}), "wrong_audience"},
		{"C10", "two restrictions, each with us and another", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{"https://a.example", entityID}, {entityID, "https://b.example"}}
		}), accept},
		{"C11", "a service provider on our host", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{strings.Replace(entityID, "/.jitgate/saml", "/app/saml", 1)}}
		}), "wrong_audience"},
		{"C11", "a service provider whose entity ID ours begins as", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{strings.TrimSuffix(entityID, "/saml")}}
		}), "wrong_audience"},
		{"C11", "a service provider whose entity ID begins as ours", nil, set(func(m *samltest.Message) {
			m.Audiences = [][]string{{entityID + "/globex"}}
		}), "wrong_audience"},
		{"C12", "no SubjectConfirmation", nil, set(func(m *samltest.Message) { m.Confirmations = nil }), "structure"},
		{"C12", "two, the second for another service provider", nil, set(func(m *samltest.Message) {
			m.Confirmations = append(m.Confirmations, m.Confirmations[0])
			m.Confirmations[1].Recipient = "https://other.example/acs"
		}), "structure"},
		{"C13", "SubjectConfirmation without data", nil, confirmation(func(c *samltest.Confirmation) { c.NoData = true }), "structure"},
		{"C14", "holder-of-key", nil, confirmation(func(c *samltest.Confirmation) { c.Method = samltest.MethodHolderOfKey }), "wrong_confirmation"},
		{"C15", "sender-vouches", nil, confirmation(func(c *samltest.Confirmation) { c.Method = samltest.MethodSenderVouches }), "wrong_confirmation"},
		{"C15", "a bearer confirmation with NotBefore", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotBefore = time.Now().Add(-time.Minute)
		}), "wrong_confirmation"},
		{"C16", "Recipient is the ACS of another of our IdPs", nil, confirmation(func(c *samltest.Confirmation) {
			c.Recipient = strings.Replace(acs, "acme/acs", "globex/acs", 1)
		}), "wrong_recipient"},
		{"C16", "Recipient is elsewhere", nil, confirmation(func(c *samltest.Confirmation) { c.Recipient = "https://other.example/acs" }), "wrong_recipient"},
		{"C16", "no Recipient", nil, confirmation(func(c *samltest.Confirmation) { c.Recipient = "" }), "wrong_recipient"},
		{"C17", "no Destination", nil, set(func(m *samltest.Message) { m.Destination = "" }), "wrong_destination"},
		{"C17", "Destination elsewhere", nil, set(func(m *samltest.Message) { m.Destination = "https://other.example/acs" }), "wrong_destination"},
		{"C17", "no Destination in a signed Response", signResponse, set(func(m *samltest.Message) { m.Destination = "" }), "wrong_destination"},
		{"C17", "Destination elsewhere in a signed Response", signResponse, set(func(m *samltest.Message) {
			m.Destination = "https://other.example/acs"
		}), "wrong_destination"},
		{"C17", "Destination is the ACS of another of our IdPs", signResponse, set(func(m *samltest.Message) {
			m.Destination = strings.Replace(acs, "acme/acs", "globex/acs", 1)
		}), "wrong_destination"},
		{"C17", "Destination has a slash more", nil, set(func(m *samltest.Message) { m.Destination += "/" }), "wrong_destination"},
		{"C18", "Conditions expired, by more than the skew", nil, ends(-maxSkew - time.Second), "expired"},
		{"C18", "the confirmation expired, by more than the skew", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotOnOrAfter = time.Now().Add(-maxSkew - time.Second)
		}), "expired"},
		{"C18", "no NotOnOrAfter in Conditions", nil, set(func(m *samltest.Message) { m.NotOnOrAfter = time.Time{} }), "expired"},
		{"C18", "no NotOnOrAfter in the confirmation", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotOnOrAfter = time.Time{}
		}), "expired"},
		{"C19", "Conditions expired, by less than the skew", nil, ends(-maxSkew + 30*time.Second), accept},
		{"C19", "the confirmation expired, by less than the skew", nil, confirmation(func(c *samltest.Confirmation) {
			c.NotOnOrAfter = time.Now().Add(-maxSkew + 30*time.Second)
		}), accept},
		{"C20", "NotBefore in the future", nil, set(func(m *samltest.Message) {
			m.NotBefore = time.Now().Add(maxSkew + 30*time.Second)
		}), "not_yet_valid"},
		{"C20", "NotBefore in the future, by less than the skew", nil, set(func(m *samltest.Message) {
			m.NotBefore = time.Now().Add(maxSkew - 30*time.Second)
		}), accept},
		{"C21", "a Response issued in the future, signed", signResponse, set(func(m *samltest.Message) {
			m.IssueInstant = time.Now().Add(maxSkew + 30*time.Second)
		}), "wrong_issue_instant"},
		{"C21", "no IssueInstant in the Assertion", nil, set(func(m *samltest.Message) {
			m.AssertionIssueInstant = time.Time{}
		}), "wrong_issue_instant"},
		{"C21", "no IssueInstant in the Response", nil, set(func(m *samltest.Message) { m.IssueInstant = time.Time{} }), "wrong_issue_instant"},
		{"C21", "issued in the future", nil, issued(maxSkew + 30*time.Second), "wrong_issue_instant"},
		{"C21", "a Response issued in the future around an Assertion of now", nil, set(func(m *samltest.Message) {
			m.IssueInstant = time.Now().AddDate(10, 0, 0)
		}), "wrong_issue_instant"},
		{"C21", "issued too long ago, and still valid by its own account", nil, func(_ *testing.T, m *samltest.Message) {
			m.AssertionIssueInstant = time.Now().Add(-9 * time.Minute)
			m.NotBefore, m.NotOnOrAfter = m.AssertionIssueInstant, time.Now().Add(time.Hour)
		}, "wrong_issue_instant"},
		{"C22", "valid for ten years", nil, set(func(m *samltest.Message) { m.NotOnOrAfter = time.Now().AddDate(10, 0, 0) }), "wrong_lifetime"},
		{"C22", "valid for 25 hours", nil, set(func(m *samltest.Message) { m.NotOnOrAfter = time.Now().Add(25 * time.Hour) }), "wrong_lifetime"},
		{"C22", "ends before it begins", nil, set(func(m *samltest.Message) {
			m.NotBefore, m.NotOnOrAfter = time.Now().Add(2*time.Minute), time.Now().Add(-2*time.Minute)
		}), "wrong_lifetime"},
		{"C23", "no Conditions", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitConditions }), "structure"},
		{"C24", "no Subject", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitSubject }), "structure"},
		{"C25", "Assertion of version 1.1", nil, set(func(m *samltest.Message) { m.AssertionVersion = "1.1" }), "wrong_version"},
		{"C25", "Response of version 1.1", nil, set(func(m *samltest.Message) { m.Version = "1.1" }), "wrong_version"},
		{"C25", "Assertion without a version", nil, set(func(m *samltest.Message) { m.AssertionVersion = "" }), "wrong_version"},
		{"C25", "Assertion of version 2.1", nil, set(func(m *samltest.Message) { m.AssertionVersion = "2.1" }), "wrong_version"},
		{"C25", "a signed Response of version 1.1", signResponse, set(func(m *samltest.Message) { m.Version = "1.1" }), "wrong_version"},
		{"C27", "no AuthnStatement", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitAuthnStatement }), "no_authn_statement"},
		{"C27", "signed in in the future", nil, set(func(m *samltest.Message) { m.AuthnInstant = time.Now().Add(maxSkew + 30*time.Second) }), "wrong_authn_instant"},
		{"C28", "the session is over", nil, set(func(m *samltest.Message) {
			m.SessionNotOnOrAfter = time.Now().Add(-time.Second)
		}), "session_expired"},
		{"C29", "a space after the Issuer", nil, set(func(m *samltest.Message) { m.AssertionIssuer += " " }), "wrong_issuer"},
		{"C29", "a space before the Issuer", nil, set(func(m *samltest.Message) { m.AssertionIssuer = " " + m.AssertionIssuer }), "wrong_issuer"},
		{"C29", "a line end after the Issuer", nil, set(func(m *samltest.Message) { m.AssertionIssuer += "\n" }), "wrong_issuer"},
		{"C29", "a space after the Issuer of the Response", nil, set(func(m *samltest.Message) { m.Issuer += " " }), "wrong_issuer"},
		{"C29", "a slash more in the Issuer", nil, set(func(m *samltest.Message) { m.AssertionIssuer += "/" }), "wrong_issuer"},
		{"C29", "an empty Issuer in the Assertion", nil, unsigned(func(root *etree.Element) {
			root.FindElement("./Assertion/Issuer").SetText("")
		}), "wrong_issuer"},
		{"C29", "no Issuer in the Assertion", nil, set(func(m *samltest.Message) { m.AssertionIssuer = "" }), "structure"},
		{"C29", "no Issuer in the Response", nil, set(func(m *samltest.Message) { m.Issuer = "" }), "wrong_issuer"},
		{"C29", "another Issuer in the Response", nil, set(func(m *samltest.Message) { m.Issuer = "https://idp.globex.example" }), "wrong_issuer"},
		{"C30", "an empty NameID", nil, set(func(m *samltest.Message) { m.NameID.Value = "" }), "wrong_name_id"},
		{"C30", "a NameID of white space", nil, set(func(m *samltest.Message) { m.NameID.Value = " \u00a0 " }), "wrong_name_id"},
		{"C30", "a NameID of 2 KiB", nil, set(func(m *samltest.Message) { m.NameID.Value = strings.Repeat("a", 2048) }), "wrong_name_id"},
		{"C30", "no NameID", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitNameID }), "structure"},
		{"C32", "two NameIDs", nil, unsigned(func(root *etree.Element) {
			s := root.FindElement(".//Subject")
			s.InsertChildAt(1, evil(s.SelectElement("NameID").Copy()))
		}), "structure"},
		{"C32", "two Subjects", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.AddChild(a.SelectElement("Subject").Copy())
		}), "structure"},
		{"C32", "two Conditions", nil, unsigned(func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.AddChild(a.SelectElement("Conditions").Copy())
		}), "structure"},
		{"C50", "an Attribute that has a FriendlyName alone", nil, set(func(m *samltest.Message) {
			m.Attributes[0].Name, m.Attributes[0].FriendlyName = "", "userName"
		}), "wrong_attribute"},
		{"C48", "an ID short enough to guess", nil, set(func(m *samltest.Message) { m.AssertionID = "_1" }), "wrong_assertion_id"},
		{"C49", "a time that is none", nil, unsigned(func(root *etree.Element) {
			root.FindElement(".//Conditions").CreateAttr("NotOnOrAfter", "tomorrow")
		}), "expired"},
	})
}

// The IdP itself says no. That is no attack, and has its own code.
func TestStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	runStatus(t, r, []statusRow{
		{"C26", "an error report", func() *samltest.Message {
			return r.idp.Refusal(samltest.SPInfo{EntityID: entityID, ACS: acs}, requestID,
				samltest.Status{Code: samltest.StatusResponder, Nested: samltest.StatusAuthnFailed, Message: "AADSTS50105"})
		}, samltest.StatusResponder + " " + samltest.StatusAuthnFailed + " AADSTS50105"},
		{"C26", "an unsigned one", func() *samltest.Message {
			m := r.good()
			m.Omit, m.Status = samltest.OmitAssertion, samltest.Status{Code: samltest.StatusRequester}
			return m
		}, samltest.StatusRequester + " "},
		{"C26", "with an assertion all the same", func() *samltest.Message {
			m := r.good()
			m.Status.Code = samltest.StatusResponder
			return m
		}, samltest.StatusResponder + " "},
		{"C26", "Success with another code inside", func() *samltest.Message {
			m := r.good()
			m.Status.Nested = samltest.StatusNoPassive
			return m
		}, samltest.StatusSuccess + " " + samltest.StatusNoPassive + " "},
		{"C26", "Success in Success with another code inside", func() *samltest.Message {
			m := r.good()
			m.Status.Nested = samltest.StatusSuccess
			unsigned(func(root *etree.Element) {
				root.FindElement("./Status/StatusCode/StatusCode").CreateElement("samlp:StatusCode").CreateAttr("Value", samltest.StatusAuthnFailed)
			})(t, m)
			return m
		}, samltest.StatusSuccess + " " + samltest.StatusSuccess + " " + samltest.StatusAuthnFailed + " "},
		{"C26", "Success inside another code", func() *samltest.Message {
			m := r.good()
			m.Status = samltest.Status{Code: samltest.StatusResponder, Nested: samltest.StatusSuccess}
			return m
		}, samltest.StatusResponder + " " + samltest.StatusSuccess + " "},
		{"C26", "Success in other letters", func() *samltest.Message {
			m := r.good()
			m.Status.Code = strings.ToUpper(samltest.StatusSuccess)
			return m
		}, strings.ToUpper(samltest.StatusSuccess) + " "},
		{"C26", "a StatusCode without a value", func() *samltest.Message {
			m := r.good()
			m.Status.Code = ""
			return m
		}, " "},
	})
	runAttacks(t, r, []attack{
		{"C26", "Success, and nobody", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitAssertion }), "structure"},
		{"C26", "no Status", nil, set(func(m *samltest.Message) { m.Omit = samltest.OmitStatus }), "structure"},
		{"C26", "two Statuses", nil, unsigned(func(root *etree.Element) {
			root.AddChild(root.SelectElement("Status").Copy())
		}), "structure"},
	})
}

// A statusRow is a message by which the IdP says no, and the status that the log
// has of it.
type statusRow struct {
	number, what string
	m            func() *samltest.Message
	got          string
}

func runStatus(t *testing.T, r *rig, rows []statusRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.number+" "+row.what, func(t *testing.T) {
			if _, err := r.finish(r.good()); err != nil {
				t.Fatalf("the honest twin: %v", err)
			}
			id, err := r.finish(row.m())
			wantRefusal(t, id, err, "status")
			var refusal *samlsp.Refusal
			if errors.As(err, &refusal) && (refusal.Code != "idp_refused" || refusal.Got != row.got) {
				t.Errorf("refusal %s with %q, want idp_refused with %q", refusal.Code, refusal.Got, row.got)
			}
		})
	}
}

// A response that answers nothing, and what is around it.
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
		what  string
		r     *rig
		asked string
		m     *samltest.Message
		check string
		empty bool // InResponseTo is there, and empty
	}{
		{"unsolicited, which is off", off, "", nobodyAsked(off), "unsolicited", false},
		{"unsolicited, as the answer to a request", off, requestID, nobodyAsked(off), "wrong_request", false},
		{"unsolicited, which is on", on, "", nobodyAsked(on), accept, false},
		{"an answer to somebody's request as an unsolicited one", on, "", on.good(), "wrong_request", false},
		{"the same with InResponseTo in the Assertion alone", on, "", func() *samltest.Message {
			m := on.good()
			m.InResponseTo = ""
			return m
		}(), "wrong_request", false},
		{"an InResponseTo that is empty", on, "", func() *samltest.Message {
			m := nobodyAsked(on)
			m.MutateUnsigned = func(doc *etree.Document) { doc.Root().CreateAttr("InResponseTo", "") }
			return m
		}(), "wrong_request", true},
		{"an answer to our request where unsolicited is on", on, requestID, on.good(), accept, false},
	}
	for _, test := range tests {
		t.Run("C05 "+test.what, func(t *testing.T) {
			if _, err := test.r.finish(test.r.good()); err != nil {
				t.Fatalf("the honest twin: %v", err)
			}
			text, err := test.m.Base64()
			if err != nil {
				t.Fatal(err)
			}
			id, err := test.r.sp.Finish(t.Context(), text, test.asked)
			if test.check != accept {
				wantRefusal(t, id, err, test.check)
			} else if err != nil {
				t.Error(err)
			}
			got, err := test.r.sp.Unsolicited(t.Context(), text)
			if want := test.m.InResponseTo == "" && !test.empty; err != nil || got != want {
				t.Errorf("Unsolicited = %t, %v, want %t", got, err, want)
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
		if got, err := on.sp.Unsolicited(t.Context(), text); err != nil || got {
			t.Errorf("Unsolicited of %s = %t, %v, want false", name, got, err)
		}
	}
}

// Two IdPs, and what each says at the other's ACS.
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
	asAcme := func(m *samltest.Message) *samltest.Message {
		m.Issuer, m.AssertionIssuer = acme.idp.EntityID(), acme.idp.EntityID()
		return m
	}
	for _, test := range []struct {
		number, what string
		m            *samltest.Message
		check        string
	}{
		{"C40", "a response of globex for our ACS", globex.forACS(acs), "signature"},
		{"C40", "a response of globex for its own ACS", globex.forACS(globexACS), "signature"},
		{"C40", "a response of ours for the ACS of globex", acme.forACS(globexACS), "wrong_destination"},
		{"C41", "our Issuer, signed by globex", asAcme(globex.forACS(acs)), "signature"},
	} {
		t.Run(test.number+" "+test.what, func(t *testing.T) {
			for _, r := range []*rig{acme, globex} {
				if _, err := r.finish(r.forACS(r.o.ACS)); err != nil {
					t.Fatalf("the honest twin at %s: %v", r.o.Name, err)
				}
			}
			id, err := acme.finish(test.m)
			wantRefusal(t, id, err, test.check)
		})
	}
}

// forACS returns a good message for that ACS.
func (r *rig) forACS(acs string) *samltest.Message {
	m := r.good()
	m.Destination, m.Confirmations[0].Recipient = acs, acs
	return m
}

// What comes twice is handed on twice, for provisioning to judge; and what names
// an attribute is its Name.
func TestAmbiguousAttributes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, test := range []struct {
		number, what string
		attribute    samltest.Attribute
		want         []string // of userName
	}{
		{"C33", "an attribute of one value twice", samltest.Attribute{Name: "userName", Values: []string{"admin@acme.example"}},
			[]string{"ann@acme.example", "admin@acme.example"}},
		{"C34", "a FriendlyName that is another attribute's Name", samltest.Attribute{Name: "nick", FriendlyName: "userName", Values: []string{"admin@acme.example"}},
			[]string{"ann@acme.example"}},
		{"C34", "a Name in other letters", samltest.Attribute{Name: "username", Values: []string{"admin@acme.example"}},
			[]string{"ann@acme.example"}},
		{"C34", "a Name with a space", samltest.Attribute{Name: "userName ", Values: []string{"admin@acme.example"}},
			[]string{"ann@acme.example"}},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %s, first %t", test.number, test.what, first), func(t *testing.T) {
				m := r.good()
				want := test.want
				if m.Attributes = append(m.Attributes, test.attribute); first {
					slices.Reverse(m.Attributes)
					want = slices.Clone(want)
					slices.Reverse(want)
				}
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
				if !slices.Equal(got, want) {
					t.Errorf("userName = %q, want %q", got, want)
				}
			})
		}
	}
}

// A session of ours ends with that of the IdP: the earliest of several ends.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	t.Run("C28 SessionNotOnOrAfter shortens the session", func(t *testing.T) {
		m := r.good()
		m.SessionNotOnOrAfter = time.Now().Add(time.Hour).Truncate(time.Second)
		early := m.SessionNotOnOrAfter.Add(-50 * time.Minute)
		m.MutateUnsigned = func(doc *etree.Document) {
			for _, at := range []time.Time{early, early.Add(time.Minute)} {
				s := doc.FindElement("//AuthnStatement").Copy()
				s.CreateAttr("SessionNotOnOrAfter", at.UTC().Format(time.RFC3339))
				s.CreateAttr("SessionIndex", "other")
				doc.Root().SelectElement("Assertion").AddChild(s)
			}
		}
		id, err := r.finish(m)
		if err != nil {
			t.Fatal(err)
		}
		if !id.SessionNotOnOrAfter.Equal(early) || id.SessionIndex != m.SessionIndex {
			t.Errorf("session %q ends at %s, want %q, %s", id.SessionIndex, id.SessionNotOnOrAfter, m.SessionIndex, early)
		}
	})
	runAttacks(t, r, []attack{
		{"C28", "one of two sessions is over", nil, unsigned(func(root *etree.Element) {
			s := root.FindElement(".//AuthnStatement").Copy()
			s.CreateAttr("SessionNotOnOrAfter", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
			root.SelectElement("Assertion").AddChild(s)
		}), "session_expired"},
		{"C28", "a session whose end is no time", nil, unsigned(func(root *etree.Element) {
			root.FindElement(".//AuthnStatement").CreateAttr("SessionNotOnOrAfter", "")
		}), "session_expired"},
		{"C27", "one of two AuthnStatements is of the future", nil, unsigned(func(root *etree.Element) {
			s := root.FindElement(".//AuthnStatement").Copy()
			s.CreateAttr("AuthnInstant", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			root.SelectElement("Assertion").AddChild(s)
		}), "wrong_authn_instant"},
		{"C27", "no AuthnInstant", nil, set(func(m *samltest.Message) { m.AuthnInstant = time.Time{} }), "wrong_authn_instant"},
	})
}
