package samlsp

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A response that is being explained goes on past what refuses it. Were it ever
// handed to Finish, it must be nobody's all the same, by the same refusal.
func TestExplainedIsNeverAccepted(t *testing.T) {
	t.Parallel()
	key, certificate, err := samltest.SelfSigned("idp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	idp, err := samltest.New(samltest.Options{URL: "https://idp.example", Key: key, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	sp := fuzzSP(t, idp)
	accepted, refused := 0, 0
	for i, text := range seeds(t, idp, sp.o.Certificate) {
		posted := base64.StdEncoding.EncodeToString(text)
		r := &response{sp: sp, idp: sp.idp.Load(), requestID: "id-1", now: time.Now()}
		_, want := r.verify(posted)
		explained := &response{sp: sp, idp: sp.idp.Load(), requestID: "id-1", now: r.now, trail: &trail{live: true}}
		id, got := explained.verify(posted)
		if want == nil {
			accepted++
			if got != nil || id == nil {
				t.Errorf("seed %d: %v, want it accepted", i, got)
			}
			continue
		}
		refused++
		if id != nil || got == nil || got.Error() != want.Error() {
			t.Errorf("seed %d: %+v, %v; want %v", i, id, got, want)
		}
	}
	if accepted < 3 || refused < 8 {
		t.Errorf("%d accepted and %d refused: too few to tell", accepted, refused)
	}
}

// Once refused is refused, even where everything after that is right.
func TestRefusalStays(t *testing.T) {
	t.Parallel()
	r := &response{trail: &trail{}}
	for _, step := range []error{
		r.check(checkAudience, true, "", ""),
		r.check(checkIssuer, false, "first", ""),
		r.check(checkExpired, false, "second", ""),
		r.check(checkVersion, true, "", ""),
	} {
		if step != nil {
			t.Errorf("explained: %v, want to go on", step)
		}
	}
	if r.refusal == nil || r.refusal.Got != "first" {
		t.Errorf("refusal = %v, want the first", r.refusal)
	}
	_, err := r.verify("")
	if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal != r.refusal {
		t.Errorf("verify: %v, want %v", err, r.refusal)
	}

	r = &response{}
	first := r.check(checkIssuer, false, "first", "")
	if again := r.check(checkExpired, false, "second", ""); first == nil || again != first {
		t.Errorf("not explained: %v and then %v, want the first twice", first, again)
	}
}

// A response that nobody explains pays nothing for it.
func TestCheckAllocatesNothing(t *testing.T) {
	r := &response{sp: &SP{}, now: time.Now()}
	at := r.now.UTC().Format(time.RFC3339)
	if n := testing.AllocsPerRun(100, func() {
		r.check(checkAudience, true, "got", "want")
		r.checkTime(checkExpired, true, at)
		r.trail.skip(checkSignature, "Response", "why")
		r.trail.scanned("", outline{})
		r.trail.decoded("", nil)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 400 * time.Millisecond: "0s", 42 * time.Second: "42s", 5 * time.Minute: "5m", 3*time.Hour + 12*time.Minute: "3h12m",
		time.Hour: "1h", time.Hour + 5*time.Second: "1h0m5s", 30 * time.Hour: "30h", 49 * time.Hour: "2 days", 400 * 24 * time.Hour: "400 days",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %q, want %q", d, got, want)
		}
	}
	r := &response{now: time.Now(), trail: &trail{}}
	if got := r.distance(r.now.Add(-90 * time.Second)); got != "1m30s before the time of judging" {
		t.Errorf("distance = %q", got)
	}
	r.trail.live = true
	if got := r.distance(r.now.Add(90 * time.Second)); got != "in 1m30s" {
		t.Errorf("distance = %q", got)
	}
}
