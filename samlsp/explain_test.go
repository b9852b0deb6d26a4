package samlsp_test

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// reClock is our clock in a Refusal, which is another second later.
var reClock = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, give or take`)

// wantExplained fails the test unless an explanation of the response says what
// Finish has said of it. All messages of the tests come by here.
func (r *rig) wantExplained(samlResponse, requestID string, id *samlsp.Identity, err error) {
	r.t.Helper()
	x, explainErr := r.sp.Explain(samlResponse, samlsp.ExplainOptions{RequestID: requestID})
	if explainErr != nil {
		if !errors.Is(explainErr, samlsp.ErrNoMetadata) || !errors.Is(err, samlsp.ErrNoMetadata) {
			r.t.Errorf("Explain: %v; Finish: %v", explainErr, err)
		}
		return
	}
	if x.Trusted != (err == nil) || x.Trusted != (x.Refusal == nil) {
		r.t.Errorf("Trusted = %t, Refusal %v; Finish: %v", x.Trusted, x.Refusal, err)
	}
	if err == nil && !reflect.DeepEqual(x.Identity, id) {
		r.t.Errorf("Identity = %+v, want %+v", x.Identity, id)
	}
	var refusal *samlsp.Refusal
	if errors.As(err, &refusal) && x.Refusal != nil {
		got, want := *x.Refusal, *refusal
		got.Want, want.Want = reClock.ReplaceAllString(got.Want, "now"), reClock.ReplaceAllString(want.Want, "now")
		if got != want {
			r.t.Errorf("Refusal = %+v; Finish: %+v", got, want)
		}
	}
	r.wantSteps(x)
}

// wantSteps fails the test unless the steps fit the rest of the explanation.
func (r *rig) wantSteps(x samlsp.Explanation) {
	r.t.Helper()
	failed := ""
	for _, s := range x.Steps {
		if s.Result == samlsp.Failed && failed == "" {
			failed = s.Check
		}
		if meaning, _ := samlsp.Cure(s.Check); meaning == "" {
			r.t.Errorf("step %+v: a check without a name of its own", s)
		}
		if len(s.Got) > 205 || s.Result == samlsp.Skipped && s.Note == "" || strings.ContainsAny(s.Got+s.Note, "<>") {
			r.t.Errorf("step %+v: too much of the message, or no reason", s)
		}
	}
	if x.Refusal == nil && failed != "" || x.Refusal != nil && failed != x.Refusal.Check {
		r.t.Errorf("first step that failed: %q; Refusal %v", failed, x.Refusal)
	}
}

// outcome writes down the steps that did not pass, each with the element that it
// is of, and "stopped" where the message could not be read to its end.
func outcome(x samlsp.Explanation) string {
	lists := map[samlsp.Result][]string{}
	stopped := false
	for _, s := range x.Steps {
		if strings.HasPrefix(s.Check, "replayed_") {
			continue
		}
		if strings.HasPrefix(s.Note, "not looked at") || strings.HasPrefix(s.Note, "not known:") {
			stopped = true
			continue
		}
		name := s.Check
		if s.Part != "" {
			name += "/" + s.Part
		}
		lists[s.Result] = append(lists[s.Result], name)
	}
	var text []string
	for _, result := range []samlsp.Result{samlsp.Failed, samlsp.Skipped} {
		if len(lists[result]) > 0 {
			text = append(text, string(result)+" "+strings.Join(lists[result], " "))
		}
	}
	if stopped {
		text = append(text, "stopped")
	}
	return strings.Join(text, ", ")
}

// noteOf returns the note of the first step of a check that has the result.
func noteOf(x samlsp.Explanation, check string, result samlsp.Result) string {
	for _, s := range x.Steps {
		if s.Check == check && s.Result == result {
			return s.Note
		}
	}
	return "no such step"
}

// An explained row is a message and what is said of it.
type explained struct {
	name   string
	change func(*testing.T, *samltest.Message)
	o      samlsp.ExplainOptions
	want   string // outcome
	note   string // has to be in the note of the first failed step, or of library
}

func runExplained(t *testing.T, r *rig, rows []explained) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := r.good()
			row.change(t, m)
			text := mustBase64(t, m)
			x, err := r.sp.Explain(text, row.o)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(x); got != row.want {
				t.Errorf("outcome = %s\nwant      %s", got, row.want)
			}
			note := noteOf(x, "library", samlsp.Skipped)
			if x.Refusal != nil {
				note = noteOf(x, x.Refusal.Check, samlsp.Failed)
			}
			if !strings.Contains(note, row.note) {
				t.Errorf("note = %q, want %q in it", note, row.note)
			}
			if x.Trusted != !strings.Contains(row.want, "failed") {
				t.Errorf("Trusted = %t", x.Trusted)
			}
			r.wantSteps(x)
			if row.o.At.IsZero() && row.o.RequestID == "" {
				asked := x.RequestID
				if asked == "" && x.Refusal != nil && x.Refusal.Check != "unsolicited" {
					asked = requestID // nobody could read whether it answers one
				}
				id, err := r.sp.Finish(t.Context(), text, asked)
				r.wantExplained(text, asked, id, err)
				r.rdb.FlushAll(t.Context())
			}
		})
	}
}

const (
	inClear    = "skipped signature/Response encryption decryption" // an Assertion that is signed, and not encrypted
	clearAnd   = ", " + inClear + " library"
	rootSigned = "skipped encryption decryption signature/Assertion"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	otherKey, otherCertificate := idpKeys[1]()
	good := set(func(*samltest.Message) {})
	then := time.Now().Add(-30 * time.Minute)
	runExplained(t, r, []explained{
		{"signed assertion", good, samlsp.ExplainOptions{}, inClear, ""},
		{"signed response", set(signResponse), samlsp.ExplainOptions{}, rootSigned, ""},
		{"both signed", set(signBoth), samlsp.ExplainOptions{}, "skipped encryption decryption", ""},
		{"encrypted", set(gcmInSigned), samlsp.ExplainOptions{}, "skipped signature/Assertion", ""},
		{"encrypted, both signed", set(func(m *samltest.Message) { signBoth(m); m.Encryption.Method = samltest.AES128GCM }),
			samlsp.ExplainOptions{}, "", ""},
		{"no NotBefore, no session", set(func(m *samltest.Message) { m.NotBefore, m.SessionNotOnOrAfter = time.Time{}, time.Time{} }),
			samlsp.ExplainOptions{}, inClear + " not_yet_valid/Conditions session_expired/AuthnStatement", ""},

		{"an old one", shift(-30 * time.Minute), samlsp.ExplainOptions{},
			"failed wrong_issue_instant/Response wrong_issue_instant/Assertion expired/SubjectConfirmation expired/Conditions" + clearAnd, " ago; from 8m old to 3m in the future is accepted"},
		{"the same, as of then", shift(-30 * time.Minute), samlsp.ExplainOptions{At: then}, inClear + " library", "no other time than now"},
		{"a good one as of then", good, samlsp.ExplainOptions{At: then},
			"failed wrong_issue_instant/Response wrong_issue_instant/Assertion not_yet_valid/Conditions wrong_authn_instant/AuthnStatement" + clearAnd, "after the time of judging"},

		{"expired", set(func(m *samltest.Message) {
			m.Confirmations[0].NotOnOrAfter = time.Now().Add(-192 * time.Minute)
		}), samlsp.ExplainOptions{}, "failed expired/SubjectConfirmation" + clearAnd, "3h12m ago"},
		{"not yet valid", set(func(m *samltest.Message) {
			m.NotBefore, m.NotOnOrAfter = time.Now().Add(84*time.Hour), time.Now().Add(90*time.Hour)
		}),
			samlsp.ExplainOptions{}, "failed not_yet_valid/Conditions" + clearAnd, "in 3 days"},
		{"no time", unsigned(func(root *etree.Element) { root.FindElement(".//Conditions").CreateAttr("NotOnOrAfter", "tomorrow") }),
			samlsp.ExplainOptions{}, "failed expired/Conditions wrong_lifetime/Conditions" + clearAnd, "not a time"},
		{"wrong audience", set(func(m *samltest.Message) { m.Audiences = [][]string{{"https://other.example"}} }),
			samlsp.ExplainOptions{}, "failed wrong_audience/Conditions" + clearAnd, ""},
		{"wrong destination", set(func(m *samltest.Message) { m.Destination = "https://other.example" }),
			samlsp.ExplainOptions{}, "failed wrong_destination/Response" + clearAnd, ""},
		{"wrong recipient", set(func(m *samltest.Message) { m.Confirmations[0].Recipient = "https://other.example" }),
			samlsp.ExplainOptions{}, "failed wrong_recipient/SubjectConfirmation" + clearAnd, ""},
		{"wrong issuer", set(func(m *samltest.Message) { m.AssertionIssuer = "https://other.example" }),
			samlsp.ExplainOptions{}, "failed wrong_issuer/Assertion" + clearAnd, ""},
		{"another request than was begun", good, samlsp.ExplainOptions{RequestID: "id-other"},
			"failed wrong_request/Response wrong_request/SubjectConfirmation" + clearAnd, ""},
		{"two requests", set(func(m *samltest.Message) { m.Confirmations[0].InResponseTo = "id-other" }),
			samlsp.ExplainOptions{}, "failed wrong_request/SubjectConfirmation" + clearAnd, ""},
		{"unsolicited", set(func(m *samltest.Message) { m.InResponseTo, m.Confirmations[0].InResponseTo = "", "" }),
			samlsp.ExplainOptions{}, "failed unsolicited" + clearAnd, ""},
		{"an attribute without a name", set(func(m *samltest.Message) { m.Attributes[0].Name = "" }),
			samlsp.ExplainOptions{}, "failed wrong_attribute/AttributeStatement, " + inClear, ""},

		{"error of the IdP", set(func(m *samltest.Message) {
			m.Omit, m.Status = samltest.OmitAssertion, samltest.Status{Code: samltest.StatusResponder, Nested: samltest.StatusAuthnFailed}
		}), samlsp.ExplainOptions{}, "failed status/Response, skipped reference algorithm signature/Response, stopped", ""},
		{"error, and destination", set(func(m *samltest.Message) {
			m.Omit, m.Status.Code, m.Destination = samltest.OmitAssertion, samltest.StatusResponder, ""
		}), samlsp.ExplainOptions{}, "failed status/Response wrong_destination/Response, skipped reference algorithm signature/Response, stopped", ""},
		{"error with an assertion", set(func(m *samltest.Message) { m.Status.Code = samltest.StatusResponder }),
			samlsp.ExplainOptions{}, "failed status/Response" + clearAnd, ""},
		{"success of nobody", set(func(m *samltest.Message) { m.Omit = samltest.OmitAssertion }),
			samlsp.ExplainOptions{}, "failed structure/Response, skipped reference algorithm signature/Response, stopped", ""},

		{"DOCTYPE", raw(func(s string) string { return "<!DOCTYPE r>" + s }), samlsp.ExplainOptions{}, "failed xml, stopped", ""},
		{"two assertions", signed(func(root *etree.Element) { root.AddChild(renamed(clean(root.SelectElement("Assertion")))) }),
			samlsp.ExplainOptions{}, "failed structure, stopped", ""},
		{"SHA-1", signature(func(s *samltest.Signature) { s.Method = samltest.RSASHA1 }), samlsp.ExplainOptions{}, "failed algorithm, stopped", ""},
		{"unsigned", set(func(m *samltest.Message) { m.SignAssertion = false }), samlsp.ExplainOptions{},
			"failed unsigned, skipped reference algorithm signature/Response encryption decryption signature/Assertion library certificate_expired", ""},
		{"no NameID to read", set(func(m *samltest.Message) { m.NameID.Value = " " }), samlsp.ExplainOptions{}, "failed wrong_name_id/Assertion" + clearAnd, ""},

		{"several things at once", set(func(m *samltest.Message) {
			m.Signature.Key, m.Signature.Certificate = otherKey, otherCertificate
			m.Destination, m.AssertionIssuer, m.Audiences = "https://other.example", "https://other.example", nil
			m.SessionNotOnOrAfter = time.Now().Add(-time.Minute)
		}), samlsp.ExplainOptions{}, "failed signature/Assertion wrong_destination/Response wrong_issuer/Assertion wrong_audience/Conditions " +
			"session_expired/AuthnStatement" + clearAnd, "not in the metadata"},
	})
}

// What an explanation says of the steps that a good response passes.
func TestExplainPassed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.good()
	gcmInSigned(m)
	x, err := r.sp.Explain(mustBase64(t, m), samlsp.ExplainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range x.Steps {
		if s.Result == samlsp.Passed {
			got = append(got, strings.TrimSuffix(s.Check+"/"+s.Part, "/"))
		}
	}
	inside := "/EncryptedAssertion"
	want := []string{"unsolicited", "too_large", "encoding", "xml", "limits", "namespace", "structure", "id", "reference", "algorithm",
		"signature/Response", "certificate_expired/Response", "status/Response", "encryption" + inside, "decryption" + inside,
		"xml" + inside, "limits" + inside, "namespace" + inside, "structure" + inside, "id" + inside, "reference" + inside, "algorithm" + inside, "unsigned" + inside,
		"wrong_version/Response", "wrong_destination/Response", "wrong_issuer/Response", "wrong_request/Response", "wrong_issue_instant/Response",
		"wrong_version/Assertion", "wrong_assertion_id/Assertion", "wrong_issuer/Assertion", "wrong_issue_instant/Assertion", "wrong_name_id/Assertion",
		"wrong_confirmation/SubjectConfirmation", "wrong_recipient/SubjectConfirmation", "wrong_request/SubjectConfirmation", "expired/SubjectConfirmation",
		"expired/Conditions", "not_yet_valid/Conditions", "wrong_lifetime/Conditions", "wrong_audience/Conditions",
		"no_authn_statement/AuthnStatement", "wrong_authn_instant/AuthnStatement", "session_expired/AuthnStatement", "library", "wrong_attribute/AttributeStatement"}
	if !slices.Equal(got, want) {
		t.Errorf("passed = %q\nwant     %q", got, want)
	}
	if x.RequestID != requestID {
		t.Errorf("RequestID = %q, want %q", x.RequestID, requestID)
	}
	for check, want := range map[string]string{
		"unsolicited":         "not known which request was begun",
		"signature":           "by rsa-sha256, digest sha256",
		"certificate_expired": "in ",
		"wrong_issue_instant": " ago; from 8m old",
		"session_expired":     "in ",
	} {
		if note := noteOf(x, check, samlsp.Passed); !strings.Contains(note, want) {
			t.Errorf("note of %s = %q, want %q in it", check, note, want)
		}
	}
	at := x.At.UTC().Format(time.RFC3339)
	wantStep(t, x, samlsp.Step{Check: "expired", Got: stamp(m.Confirmations[0].NotOnOrAfter), Want: "later than " + at + ", give or take 3m0s"})
	wantStep(t, x, samlsp.Step{Check: "not_yet_valid", Got: stamp(m.NotBefore), Want: "not later than " + at + ", give or take 3m0s"})
	wantStep(t, x, samlsp.Step{Check: "session_expired", Got: stamp(m.SessionNotOnOrAfter), Want: "later than " + at})
	wantStep(t, x, samlsp.Step{Check: "encryption", Got: "aes256-gcm, its key by rsa-oaep-mgf1p with SHA-1"})
	wantStep(t, x, samlsp.Step{Check: "signature", Got: fingerprintOf(r.idp.Certificates()[0]), Want: fingerprintOf(r.idp.Certificates()[0])})
	wantStep(t, x, samlsp.Step{Check: "decryption", Got: fingerprintOf(r.o.Certificate), Want: fingerprintOf(r.o.Certificate)})
}

// stamp is a time as samltest writes it.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// wantStep fails the test unless the first step of that check has these values.
func wantStep(t *testing.T, x samlsp.Explanation, want samlsp.Step) {
	t.Helper()
	for _, s := range x.Steps {
		if s.Check != want.Check || s.Result == samlsp.Skipped {
			continue
		}
		if s.Got != want.Got || s.Want != want.Want {
			t.Errorf("step %s: got %q, want %q; should be %q and %q", s.Check, s.Got, s.Want, want.Got, want.Want)
		}
		return
	}
	t.Errorf("no step %s", want.Check)
}

// Explaining uses nothing up, and does not ask what was.
func TestExplainClaimsNothing(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		r, prefix := newReplayRig(t, rdb)
		text := mustBase64(t, r.good())
		explain := func() {
			t.Helper()
			x, err := r.sp.Explain(text, samlsp.ExplainOptions{})
			if err != nil || !x.Trusted {
				t.Fatalf("Explain = %+v, %v; want it trusted", x.Refusal, err)
			}
		}
		explain()
		wantKeys(t, rdb, prefix, 0)
		if _, err := r.sp.Finish(t.Context(), text, requestID); err != nil {
			t.Fatal(err)
		}
		explain()
		wantKeys(t, rdb, prefix, 2)
	})
}

// There is one error, and no explanation with it.
func TestExplainWithoutMetadata(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	sp, err := samlsp.New(r.o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sp.Explain("", samlsp.ExplainOptions{}); !errors.Is(err, samlsp.ErrNoMetadata) {
		t.Errorf("Explain: %v, want ErrNoMetadata", err)
	}
	m := r.idp.Metadata()
	m.ValidUntil = time.Now().Add(time.Minute)
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]bool{0: true, 2 * time.Minute: false} {
		_, err := r.sp.Explain("", samlsp.ExplainOptions{At: time.Now().Add(at)})
		if got := !errors.Is(err, samlsp.ErrNoMetadata); got != want {
			t.Errorf("in %s: metadata %t, want %t", at, got, want)
		}
	}
}

// Where it may be, a response that nobody asked for is explained as one.
func TestExplainUnsolicited(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) { o.Unsolicited = true })
	runExplained(t, r, []explained{
		{"it is", set(func(m *samltest.Message) { m.InResponseTo, m.Confirmations[0].InResponseTo = "", "" }), samlsp.ExplainOptions{}, inClear, ""},
		{"only the Response", set(func(m *samltest.Message) { m.InResponseTo = "" }), samlsp.ExplainOptions{},
			"failed wrong_request/SubjectConfirmation" + clearAnd, ""},
		{"it answers", set(func(*samltest.Message) {}), samlsp.ExplainOptions{}, inClear, ""},
		{"it cannot be read", raw(func(s string) string { return "<" + s }), samlsp.ExplainOptions{}, "failed xml, stopped", ""},
	})
	text := mustBase64(t, r.idp.Good(samltest.SPInfo{EntityID: entityID, ACS: acs}, "", samltest.User{Name: "ann"}))
	x, err := r.sp.Explain(text, samlsp.ExplainOptions{})
	if note := noteOf(x, "unsolicited", samlsp.Passed); err != nil || !strings.Contains(note, "idp_initiated: accept") {
		t.Errorf("note = %q, %v; want idp_initiated: accept in it", note, err)
	}
}
