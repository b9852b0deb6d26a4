package samlsp

import (
	"crypto/x509"
	"testing"
	"time"
)

// The times of a message to the millisecond, and for how long it is remembered.
func TestTimesToTheMillisecond(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format("2006-01-02T15:04:05.000Z") }
	const tick = time.Millisecond
	for _, row := range []struct {
		what  string
		check func(r *response) error
		want  string
	}{
		{"C18 expired by the skew", func(r *response) error { return r.checkNotOnOrAfter(at(-maxSkew)) }, checkExpired},
		{"C19 expired by less than the skew", func(r *response) error { return r.checkNotOnOrAfter(at(-maxSkew + tick)) }, ""},
		{"C20 begins after the skew", func(r *response) error {
			begins := at(maxSkew + tick)
			return r.checkConditions(&conditionsXML{NotBefore: &begins, NotOnOrAfter: at(time.Hour)})
		}, checkNotYetValid},
		{"C20 begins within the skew", func(r *response) error {
			begins := at(maxSkew)
			return r.checkConditions(&conditionsXML{NotBefore: &begins, NotOnOrAfter: at(time.Hour)})
		}, ""},
		{"C21 issued after the skew", func(r *response) error { return r.checkIssueInstant(at(maxSkew + tick)) }, checkIssueInstant},
		{"C21 issued within the skew", func(r *response) error { return r.checkIssueInstant(at(maxSkew)) }, ""},
		{"C21 issued too long ago", func(r *response) error { return r.checkIssueInstant(at(-maxAge - maxSkew - tick)) }, checkIssueInstant},
		{"C21 issued just not too long ago", func(r *response) error { return r.checkIssueInstant(at(-maxAge - maxSkew)) }, ""},
		{"C22 good for a day and a bit", func(r *response) error {
			begins := at(0)
			return r.checkConditions(&conditionsXML{NotBefore: &begins, NotOnOrAfter: at(maxLifetime + tick)})
		}, checkLifetime},
		{"C22 good for a day", func(r *response) error {
			begins := at(0)
			return r.checkConditions(&conditionsXML{NotBefore: &begins, NotOnOrAfter: at(maxLifetime)})
		}, ""},
		{"C22 good for a day and a bit, from now", func(r *response) error {
			return r.checkConditions(&conditionsXML{NotOnOrAfter: at(maxLifetime + tick)})
		}, checkLifetime},
		{"C22 ends before it begins by more than the skew", func(r *response) error {
			begins := at(2 * time.Minute)
			return r.checkConditions(&conditionsXML{NotBefore: &begins, NotOnOrAfter: at(-time.Minute - tick)})
		}, checkLifetime},
		{"C22 ends as it begins", func(r *response) error {
			begins := at(time.Minute)
			return r.checkConditions(&conditionsXML{NotBefore: &begins, NotOnOrAfter: at(time.Minute)})
		}, ""},
		{"C27 signed in after the skew", func(r *response) error {
			return r.checkAuthn([]authnStatementXML{{AuthnInstant: at(maxSkew + tick)}})
		}, checkAuthnInstant},
		{"C27 signed in within the skew", func(r *response) error { return r.checkAuthn([]authnStatementXML{{AuthnInstant: at(maxSkew)}}) }, ""},
		{"C28 the session ends now", func(r *response) error {
			ends := at(0)
			return r.checkAuthn([]authnStatementXML{{AuthnInstant: at(0), SessionNotOnOrAfter: &ends}})
		}, checkSessionExpired},
		{"C28 the session is nearly over", func(r *response) error {
			ends := at(tick)
			return r.checkAuthn([]authnStatementXML{{AuthnInstant: at(0), SessionNotOnOrAfter: &ends}})
		}, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			err := row.check(&response{now: now})
			r, _ := err.(*Refusal)
			if (err == nil) != (row.want == "") || r != nil && r.Check != row.want {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
	r := &response{now: now}
	for _, s := range []string{at(time.Hour), at(time.Minute), at(2 * time.Hour)} {
		if err := r.checkNotOnOrAfter(s); err != nil {
			t.Fatal(err)
		}
	}
	if want := now.Add(time.Minute + maxSkew); !r.until.Equal(want) {
		t.Errorf("good until %s, want %s: the earliest of its ends", r.until, want)
	}
	if err := r.checkIssueInstant(at(-6 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if want := now.Add(2 * time.Minute); !r.until.Equal(want) {
		t.Errorf("good until %s, want %s: when it has become too old", r.until, want)
	}
}

// A certificate is good from its first second to its last.
func TestInTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	certificate := &x509.Certificate{NotBefore: now, NotAfter: now.Add(time.Hour)}
	for at, want := range map[time.Time]bool{
		now.Add(-time.Second): false, now: true, now.Add(time.Hour): true, now.Add(time.Hour + time.Second): false,
	} {
		if got := inTime(certificate, at); got != want {
			t.Errorf("in time at %s: %t, want %t", at, got, want)
		}
	}
}
