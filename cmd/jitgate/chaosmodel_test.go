package main

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// A chaosVisitor is a user who does one thing after the other, and knows what has to
// come of it.
type chaosVisitor struct {
	s    *chaosSite
	name string
	r    *rand.Rand
	id   string // of the user, once it is known

	cookie string    // of the session; "": none
	sure   bool      // that it is alive
	signed time.Time // when that was acknowledged
	dead   []deadCookie

	first     time.Time // when it was acknowledged that the user is known
	unblocked time.Time // when it was that they may sign in again
	locked    bool      // whether that is still to be done

	may   []string  // departments that the user may have
	was   []string  // those that it may have had before
	since time.Time // when that was
}

// A deadCookie is of a session that was ended at a time.
type deadCookie struct {
	value string
	at    time.Time
}

// live does things until stop.
func (v *chaosVisitor) live(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(v.r.Int64N(int64(2 * chaosPause * slower())))):
		}
		switch n := v.r.IntN(100); {
		case v.cookie == "" || n < 6:
			v.signIn()
		case n < 10:
			v.signOut()
		case n < 14:
			v.revoke()
		case n < 17:
			v.block()
		case n < 30 && len(v.dead) > 0:
			v.tryDead()
		default:
			v.browse()
		}
	}
}

// gate returns where the visitor's next request goes: through the balancer, or to one
// gateway.
func (v *chaosVisitor) gate() int { return v.r.IntN(2*len(v.s.gates)) - len(v.s.gates) }

// signIn signs in with one or the other department.
func (v *chaosVisitor) signIn() {
	department := []string{"red", "blue"}[v.r.IntN(2)]
	cookie, err := v.s.signIn(v.name, department, v.cookie)
	now := time.Now()
	if err != nil {
		v.refused(err)
		// It may have been done, up to any point.
		if !slices.Contains(v.may, department) {
			v.may = append(v.may, department)
		}
		v.sure = false
		return
	}
	v.s.count("signed in")
	v.end(now)
	v.cookie, v.sure, v.signed = cookie, true, now
	if v.first.IsZero() || !v.s.confirmed(v.first) {
		v.first, v.id = now, "" // the user may be a new one
	}
	if v.s.confirmed(v.since) {
		v.was = nil
	}
	v.was, v.since = append(v.was, v.may...), now
	v.may = []string{department}
}

// refused takes note of a sign-in that was not acknowledged.
func (v *chaosVisitor) refused(err error) {
	var r refusal
	if !errors.As(err, &r) || r.status == http.StatusServiceUnavailable || r.status == http.StatusBadGateway {
		return
	}
	if r.code == "user_blocked" && (v.locked || !v.s.confirmed(v.unblocked)) {
		v.unblock() // what did it has got lost
		return
	}
	v.s.report("%s: signing in: %v", v.name, err)
}

// alive reports whether the session is alive for certain.
func (v *chaosVisitor) alive() bool { return v.sure && v.s.confirmed(v.signed) }

// end notes that the session was ended.
func (v *chaosVisitor) end(at time.Time) {
	if v.cookie != "" {
		v.dead = append(v.dead[max(0, len(v.dead)-3):], deadCookie{v.cookie, at})
	}
	v.cookie, v.sure = "", false
}

// browse asks for a page.
func (v *chaosVisitor) browse() {
	began := time.Now()
	q := question{gate: v.gate(), method: http.MethodGet, path: "/page?as=" + v.name, cookies: "jitgate=" + v.cookie, navigating: v.r.IntN(2) == 0}
	a, err := v.s.ask(q)
	if err != nil || a.status == http.StatusBadGateway {
		v.unanswered(began, "a page")
		return
	}
	if (a.cookie != "" || a.cleared) && v.alive() {
		v.s.report("%s: the cookie of a session that is alive is changed, cleared: %v", v.name, a.cleared)
	}
	switch a.status {
	case http.StatusOK:
		v.s.count("passed")
		v.check(a.told, began)
	case http.StatusServiceUnavailable:
		if a.retry == "" {
			v.s.report("%s: 503 without Retry-After", v.name)
		}
		v.unanswered(began, "a page")
	case http.StatusUnauthorized, http.StatusFound, http.StatusSeeOther:
		if v.alive() {
			v.s.report("%s: %d with a session that is alive", v.name, a.status)
		}
		v.end(time.Now())
	default:
		v.s.report("%s: %d for a page", v.name, a.status)
	}
}

// check looks at who the upstream was told that the visitor is.
func (v *chaosVisitor) check(got told, began time.Time) {
	allowed := v.may
	if began.Before(v.since.Add(chaosSpread*slower())) || !v.s.confirmed(v.since) {
		allowed = append(slices.Clone(v.may), v.was...)
	}
	if got.User != v.name || !slices.Contains(allowed, got.Groups) {
		v.s.report("%s of %q: the upstream was told %q of %q", v.name, allowed, got.User, got.Groups)
	}
}

// unanswered is a request that got no answer, which is right only during a fault.
func (v *chaosVisitor) unanswered(began time.Time, what string) {
	if !v.s.excused(began) {
		v.s.report("%s: no answer for %s, though all was well", v.name, what)
	}
}

// tryDead asks for a page with a session that was ended.
func (v *chaosVisitor) tryDead() {
	c := v.dead[v.r.IntN(len(v.dead))]
	began := time.Now()
	if began.Before(c.at.Add(chaosSpread*slower())) || !v.s.confirmed(c.at) {
		return
	}
	a, err := v.s.ask(question{gate: v.gate(), method: http.MethodGet, path: "/page?over=1&as=" + v.name, cookies: "jitgate=" + c.value})
	switch {
	case err != nil:
	case a.status == http.StatusOK:
		v.s.report("%s: let through with a session that was ended %v before", v.name, began.Sub(c.at))
	case a.status == http.StatusUnauthorized:
		v.s.count("kept out")
	}
}

// done notes the end of an attempt to end all of the user's sessions.
func (v *chaosVisitor) done(what string, err error) {
	if err != nil {
		v.sure = false // it may have been done all the same
		return
	}
	v.s.count(what)
	v.end(time.Now())
}

func (v *chaosVisitor) signOut() {
	a, err := v.s.ask(question{gate: -1, method: http.MethodPost, path: "/.jitgate/logout", cookies: "jitgate=" + v.cookie})
	if err == nil && a.status >= 400 {
		err = errors.New("refused")
	}
	v.done("signed out", err)
}

var errNoUser = errors.New("no such user")

// userID returns the user's ID.
func (v *chaosVisitor) userID(gate int) (string, error) {
	if v.id != "" {
		return v.id, nil
	}
	var found struct{ Users []struct{ ID string } }
	if err := v.s.admin(gate, http.MethodGet, "/users?directory=acme&name="+v.name, &found); err != nil {
		return "", err
	}
	if len(found.Users) != 1 {
		if v.alive() {
			v.s.report("%s is %d users", v.name, len(found.Users))
		}
		return "", errNoUser
	}
	v.id = found.Users[0].ID
	return v.id, nil
}

func (v *chaosVisitor) revoke() {
	gate := v.r.IntN(len(v.s.gates))
	id, err := v.userID(gate)
	if err != nil {
		return
	}
	var a any
	v.done("revoked", v.s.admin(gate, http.MethodDelete, "/sessions?directory=acme&user="+id, &a))
}

// block blocks the user, and lets them in again.
func (v *chaosVisitor) block() {
	gate := v.r.IntN(len(v.s.gates))
	id, err := v.userID(gate)
	if err != nil {
		return
	}
	var a any
	v.done("blocked", v.s.admin(gate, http.MethodPost, "/users/"+id+"/block?directory=acme", &a))
	v.unblock()
}

// unblock lets the user sign in again, by the first gateway that can.
func (v *chaosVisitor) unblock() {
	v.locked = true
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(waitLimit * slower()); time.Now().Before(limit); <-tick.C {
		gate := v.r.IntN(len(v.s.gates))
		id, err := v.userID(gate)
		if err == nil {
			var a any
			err = v.s.admin(gate, http.MethodDelete, "/users/"+id+"/block?directory=acme", &a)
		}
		if err == nil {
			v.locked, v.unblocked = false, time.Now()
			return
		}
		if !v.s.confirmed(v.first) {
			v.id = "" // the user may have got lost
		}
		if v.id == "" && errors.Is(err, errNoUser) { // says a master, maybe an old one
			return
		}
	}
	v.s.report("%s: nobody can unblock the user", v.name)
}

// last looks whether all is there that has to be, when all is well.
func (v *chaosVisitor) last() {
	if v.alive() {
		if v.browse(); v.cookie == "" {
			v.s.report("%s has lost a session", v.name)
		}
	}
	if v.id != "" && v.s.confirmed(v.first) {
		before := v.id
		v.id = ""
		if id, err := v.userID(0); err != nil || id != before {
			v.s.report("%s was user %s, and is %q, %v", v.name, before, id, err)
		}
	}
}
