package samlsp

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// ExplainOptions say how [SP.Explain] judges a response.
type ExplainOptions struct {
	// At is the time as of which it is judged. Zero means now.
	At time.Time
	// RequestID is the request that it has to answer. Empty means the one that it
	// says it answers: nobody knows then whether that was begun.
	RequestID string
}

// An Explanation says how each check of a response went. It is for those who run
// the gateway, and not for who sent the response: it tells what Finish keeps to
// itself about encrypted assertions.
type Explanation struct {
	At        time.Time `json:"at"`
	RequestID string    `json:"request_id,omitempty"` // that it was judged to answer; empty: none
	// Steps are in the order in which the response met the checks. A check that is
	// made of several elements has a step for each. The ones that were not reached
	// come last.
	Steps []Step `json:"steps"`
	// Identity is what the assertion says, signed or not. It must not be believed
	// unless Trusted. Nil: it could not be read.
	Identity *Identity `json:"identity,omitempty"`
	// Trusted says that no check failed, so that Finish would have returned the
	// Identity at that time, were it not used before. The step library is skipped
	// where At is not now.
	Trusted bool `json:"trusted"`
	// Refusal is what Finish would have returned: that of the first check that
	// failed. Nil when Trusted.
	Refusal *Refusal `json:"refusal,omitempty"`
}

// A Step is one check.
type Step struct {
	Check  string `json:"check"`          // its name, as a Refusal has it
	Part   string `json:"part,omitempty"` // the element that it is of, such as Assertion; empty: the whole message
	Result Result `json:"result"`
	// Got is what was found, Want what has to be there; single values, as in a
	// Refusal. Either may be empty.
	Got  string `json:"got,omitempty"`
	Want string `json:"want,omitempty"`
	// Note is for people: how far a time is off, or why a check was skipped.
	Note string `json:"note,omitempty"`
}

// A Result is how a check went.
type Result string

// A check that was skipped was not made: the response has nothing that it is for,
// or could not be read so far.
const (
	Passed  Result = "passed"
	Failed  Result = "failed"
	Skipped Result = "skipped"
)

// Explain judges a response, base64 as posted, as [SP.Finish] would at a time, and
// says of each check how it went. It goes on behind a check that failed, as far as
// the message can be read. It claims nothing in Redis, and signs nobody in; [SP.LookUp]
// looks whether the response was used before.
//
// The error is ErrNoMetadata, where there is none that is valid at that time, or
// ErrBusy.
func (sp *SP) Explain(samlResponse string, o ExplainOptions) (Explanation, error) {
	now := time.Now()
	if o.At.IsZero() {
		o.At = now
	}
	p, err := sp.current(o.At)
	if err != nil {
		return Explanation{}, err
	}
	leave, err := sp.o.Slots.take(context.Background(), len(samlResponse))
	if err != nil {
		return Explanation{}, err
	}
	defer leave()
	live := o.At.Sub(now).Abs() < nearlyNow
	r := &response{sp: sp, idp: p, requestID: o.RequestID, now: o.At, trail: &trail{live: live}}
	r.explainAsked(samlResponse)
	identity, err := r.verify(samlResponse)
	x := Explanation{
		At: o.At, RequestID: r.requestID, Steps: r.trail.finish(),
		Identity: r.trail.identity, Trusted: err == nil && identity != nil, Refusal: r.refusal,
	}
	return x, nil
}

// nearlyNow is how far from now a time counts as now.
const nearlyNow = 5 * time.Second

// A trail is what is written down of a response that is being explained. A nil
// trail takes everything, and does nothing.
type trail struct {
	live     bool // judged as of now
	steps    []Step
	identity *Identity
}

func (t *trail) add(s Step) {
	if t != nil {
		s.Got, s.Want = clip(s.Got), clip(s.Want)
		t.steps = append(t.steps, s)
	}
}

func (t *trail) pass(check, part, got, want string) {
	if t != nil {
		t.add(Step{Check: check, Part: part, Result: Passed, Got: got, Want: want})
	}
}

func (t *trail) fail(part string, r *Refusal) {
	t.add(Step{Check: r.Check, Part: part, Result: Failed, Got: r.Got, Want: r.Want})
}

func (t *trail) skip(check, part, why string) {
	if t != nil {
		t.add(Step{Check: check, Part: part, Result: Skipped, Note: why})
	}
}

// last is the step that was written down last.
func (t *trail) last() *Step {
	return &t.steps[len(t.steps)-1]
}

// says takes what the assertion says.
func (t *trail) says(id *Identity) {
	if t != nil {
		t.identity = id
	}
}

// decoded writes down what decode has found.
func (t *trail) decoded(samlResponse string, err error) {
	if t == nil || isRefusal(err, checkTooLarge) {
		return
	}
	t.pass(checkTooLarge, "", fmt.Sprintf("%d bytes", len(samlResponse)), fmt.Sprintf("at most %d", maxResponse))
	if err == nil {
		t.pass(checkEncoding, "", "", "strict base64")
	}
}

// scanned writes down that a message has passed the preflight. One that has not
// tells of one check alone: the scan ends where it meets the first thing that is
// wrong, whatever comes after that.
func (t *trail) scanned(part string, o outline) {
	if t == nil {
		return
	}
	for _, check := range []string{checkXML, checkLimits, checkNamespace, checkStructure, checkID} {
		t.pass(check, part, "", "")
	}
	for _, check := range []string{checkReference, checkAlgorithm} {
		if o.rootSigned || o.assertSigned {
			t.pass(check, part, "", "")
		} else {
			t.skip(check, part, "no signature in it")
		}
	}
}

// sealed takes back that the assertion was decrypted: what was in it is refused,
// and that is the refusal for it.
func (t *trail) sealed() {
	for i := range t.steps {
		if s := &t.steps[i]; s.Check == checkDecryption {
			s.Result = Failed
			s.Note = "decrypted, but what was in it is refused below; a sign-in says no more than decryption, " +
				"since in a Response without a signature anybody can have encrypted it"
		}
	}
}

// finish returns the steps, with the checks that were not made at the end.
func (t *trail) finish() []Step {
	made := map[string]bool{checkPanic: true} // that none has panicked goes without saying
	scanned := false
	for _, s := range t.steps {
		made[s.Check] = true
		scanned = scanned || s.Check == checkXML && s.Result == Passed
	}
	complete := made[checkLibrary]
	for _, c := range remedies() {
		note := "not looked at: the message could not be read that far"
		if complete {
			note = "nothing in the message that this is about"
		}
		switch {
		case made[c.check]:
			continue
		case c.check == checkReplayedRequest || c.check == checkReplayedAssertion:
			note = "not asked: nothing is looked up here"
		case !scanned && isPreflight(c.check):
			note = "not known: the scan ends at the first thing that is wrong"
		}
		t.skip(c.check, "", note)
	}
	return t.steps
}

func isPreflight(check string) bool {
	switch check {
	case checkXML, checkLimits, checkNamespace, checkStructure, checkID, checkReference, checkAlgorithm:
		return true
	}
	return false
}

// explainAsked makes the check that Finish makes first. Where nobody knows which
// request was begun, it is the one that the message says it answers.
func (r *response) explainAsked(samlResponse string) {
	if r.requestID != "" {
		r.checkAsked()
		return
	}
	text, err := decode(samlResponse)
	if err != nil {
		return
	}
	o, err := preflight(text)
	if err != nil {
		return
	}
	r.requestID = o.inResponseTo
	r.checkAsked()
	switch last := r.trail.last(); {
	case r.requestID != "":
		last.Note = "not known which request was begun: this is the one that the message names"
	case last.Result == Passed:
		last.Note = "it answers no request, which idp_initiated: accept allows"
	}
}

// explainTime says how far off a time of the message is that was checked last.
func (r *response) explainTime(check, s string) {
	if r.trail == nil {
		return
	}
	at, ok := parseTime(s)
	last := r.trail.last()
	switch check {
	case checkExpired:
		last.Want = "later than " + r.stamp()
	case checkSessionExpired:
		last.Want = "later than " + r.clock()
	case checkNotYetValid, checkAuthnInstant:
		last.Want = "not later than " + r.stamp()
	}
	switch {
	case s == "":
		last.Note = "none given"
		return
	case !ok:
		last.Note = "not a time"
		return
	}
	last.Note = r.distance(at)
	if check == checkIssueInstant {
		last.Note += fmt.Sprintf("; from %s old to %s in the future is accepted", span(maxAge+maxSkew), span(maxSkew))
	}
}

// responseAlone returns err. Before that it checks for an explanation what can be
// checked of a Response, if that was read, whose assertion cannot be.
func (r *response) responseAlone(envelope *responseXML, err error) error {
	if r.trail == nil || envelope == nil {
		return err
	}
	if err := r.fail(err); err != nil {
		return err
	}
	if err := r.checkResponse(envelope); err != nil {
		return err
	}
	return r.refusal
}

// distance says in words how far a time is from the one of judging.
func (r *response) distance(at time.Time) string {
	past, future := "%s ago", "in %s"
	if !r.trail.live {
		past, future = "%s before the time of judging", "%s after the time of judging"
	}
	d := r.now.Sub(at).Round(time.Second)
	if d < 0 {
		return fmt.Sprintf(future, span(-d))
	}
	return fmt.Sprintf(past, span(d))
}

// span writes a duration as people do: 3h12m, 42s, 12 days.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (r *response) explainLifetime(begins, ends time.Time) {
	if r.trail != nil {
		r.trail.pass(checkLifetime, r.part, span(ends.Sub(begins)), "at most "+span(maxLifetime))
	}
}

func (r *response) explainAttributes(id *Identity) {
	if r.trail == nil {
		return
	}
	for _, a := range id.Attributes {
		if a.Name == "" {
			return
		}
	}
	r.trail.pass(checkAttribute, r.part, fmt.Sprintf("%d attributes", len(id.Attributes)), "a Name")
}

// explainNoOpinion says why crewjam was not asked.
func (r *response) explainNoOpinion() {
	why := "not asked about a response that is refused already"
	if r.refusal == nil {
		why = "not asked: crewjam/saml knows no other time than now, and this is judged as of " + r.now.UTC().Format(time.RFC3339)
	}
	r.trail.skip(checkLibrary, r.part, why)
}
