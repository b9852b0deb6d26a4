package proxy

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/proxy/session"
)

const (
	// loginLifetime is how long a login may take at the identity provider, and
	// how long before that on our pages.
	loginLifetime = 15 * time.Minute

	// loginMemory is for how long a browser remembers where a login was to end, so that
	// one that took too long can begin again.
	loginMemory = 2 * time.Hour

	// maxPending is how many logins one browser may have under way, and
	// maxPendingBytes what their cookies may weigh together: some servers
	// refuse requests with more than 8 KiB of headers. A browser that opens its tabs
	// again has as many logins under way.
	maxPending      = 8
	maxPendingBytes = 5 << 10
)

// A target is where a login is to end.
type target struct {
	Host   string
	Return string    // path and query there, as safeReturn returns it
	Nonce  string    `json:",omitempty"` // session.Hash of the cookie of the browser that began at Host, where that is not our own host
	Time   time.Time `json:",omitzero"`
}

// A pending login is what a browser keeps for us while it is at the identity
// provider.
type pending struct {
	Target    target
	RequestID string
	IdP       string
	Prior     string // session.Record.Key of the session that the browser had
	Time      time.Time

	cookie string // name
}

// A jar names, seals and opens our cookies.
//
// Over https their names begin with __Host-, so that no sibling domain can set
// them. What is sealed to travel in a URL (a target) is not a cookie, and lives
// here because it is sealed the same way.
type jar struct {
	secure   bool
	prefix   string // of cookie names
	sessions session.Keyring
	former   session.Keyring // opens those that were sessions as well
	logins   session.Keyring
	targets  session.Keyring
	logouts  session.Keyring
	now      func() time.Time
}

func newJar(cfg *config.Config, now func() time.Time) (*jar, error) {
	j := &jar{secure: cfg.Secure(), now: now}
	if j.secure {
		j.prefix = "__Host-"
	}
	var err error
	keys := cfg.Session.KeyBytes()
	if j.sessions, err = session.NewKeyring(keys, "session", cfg.Session.Lifetime); err != nil {
		return nil, err
	}
	// A form may be sent long after the session was over.
	if j.former, err = session.NewKeyring(keys, "session", cfg.Session.Lifetime+7*24*time.Hour); err != nil {
		return nil, err
	}
	if j.logins, err = session.NewKeyring(keys, "login", loginMemory); err != nil {
		return nil, err
	}
	if j.logouts, err = session.NewKeyring(keys, "logout", loginLifetime); err != nil {
		return nil, err
	}
	// A page may stay open for a while before somebody types their domain.
	j.targets, err = session.NewKeyring(keys, "return", 24*time.Hour)
	return j, err
}

func (j *jar) sessionName() string { return j.prefix + "jitgate" }
func (j *jar) loginPrefix() string { return j.prefix + "jitgate-login-" }
func (j *jar) nonceName() string   { return j.prefix + "jitgate-return" }
func (j *jar) domainName() string  { return j.prefix + "jitgate-domain" }
func (j *jar) logoutName() string  { return j.prefix + "jitgate-logout" }

// isOurCookie reports whether a cookie is the gateway's. Such cookies neither
// reach an app nor come from one, whichever scheme we are on.
func isOurCookie(name string) bool {
	const host = "__host-jitgate"
	if len(name) >= len(host) && strings.EqualFold(name[:len(host)], host) {
		return true
	}
	rest, ok := strings.CutPrefix(name, "jitgate")
	return ok && (rest == "" || strings.HasPrefix(rest, "-login-") || rest == "-return" || rest == "-domain" || rest == "-logout")
}

// set sets a cookie. A maxAge of 0 lasts until the browser is closed.
func (j *jar) set(w http.ResponseWriter, name, value string, maxAge time.Duration, sameSite http.SameSite) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(maxAge / time.Second),
		Secure: j.secure, HttpOnly: true, SameSite: sameSite,
	})
}

func (j *jar) clear(w http.ResponseWriter, name string, sameSite http.SameSite) {
	j.set(w, name, "", -time.Second, sameSite)
}

// session returns the session ID that a request's cookie holds. ok is false
// where there is no cookie that we sealed.
func (j *jar) session(h http.Header) (id []byte, ok bool) {
	value, ok := session.Cookie(h, j.sessionName())
	if !ok {
		return nil, false
	}
	return j.sessions.Open(j.sessionName(), value)
}

// formerSession returns the ID of a session, which may be over, that a request's cookie holds.
func (j *jar) formerSession(h http.Header) (id []byte, ok bool) {
	value, ok := session.Cookie(h, j.sessionName())
	if !ok {
		return nil, false
	}
	return j.former.Open(j.sessionName(), value)
}

func (j *jar) setSession(w http.ResponseWriter, id []byte) error {
	value, err := j.sessions.Seal(j.sessionName(), id)
	if err != nil {
		return err
	}
	j.set(w, j.sessionName(), value, 0, http.SameSiteLaxMode)
	return nil
}

func (j *jar) clearSession(w http.ResponseWriter) {
	j.clear(w, j.sessionName(), http.SameSiteLaxMode)
}

// loginSameSite is the SameSite of the cookies of pending logins, which have to
// come along with the identity provider's cross-site POST. Without https there
// is no None; browsers send a cookie that says nothing for two minutes.
func (j *jar) loginSameSite() http.SameSite {
	if j.secure {
		return http.SameSiteNoneMode
	}
	return http.SameSiteDefaultMode
}

// setPending keeps p in the browser under token, and drops the oldest logins
// under way where there are too many.
func (j *jar) setPending(w http.ResponseWriter, h http.Header, token string, p pending) error {
	p.Time = j.now().UTC()
	name := j.loginPrefix() + token
	value, err := seal(j.logins, name, p)
	if err != nil {
		return err
	}
	var others []pending // oldest first; what does not open is older than all
	size := make(map[string]int)
	session.Cookies(h, func(name, value string) {
		if strings.HasPrefix(name, j.loginPrefix()) {
			other, _ := j.openPending(name, value)
			others = append(others, other)
			size[name] += len(name) + len(value)
		}
	})
	slices.SortStableFunc(others, func(a, b pending) int { return cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()) })
	total := len(name) + len(value)
	for _, n := range size {
		total += n
	}
	for len(others) > 0 && (len(others) >= maxPending || total > maxPendingBytes || others[0].Time.IsZero()) {
		j.clear(w, others[0].cookie, j.loginSameSite())
		total -= size[others[0].cookie]
		others = others[1:]
	}
	j.set(w, name, value, loginMemory, j.loginSameSite())
	return nil
}

// pending returns the login under way that a RelayState names. Of one that took too
// long, ok is false and the result has nothing but its target.
func (j *jar) pending(h http.Header, token string) (pending, bool) {
	name := j.loginPrefix() + token
	value, ok := session.Cookie(h, name)
	if !ok {
		return pending{}, false
	}
	return j.openPending(name, value)
}

// openPending opens the cookie of a pending login. Where that fails, the result
// has nothing but the cookie's name, and of a login that took too long its target and
// its time.
func (j *jar) openPending(name, value string) (pending, bool) {
	p := pending{cookie: name}
	data, ok := j.logins.Open(name, value)
	if !ok || json.Unmarshal(data, &p) != nil {
		return pending{cookie: name}, false
	}
	if j.now().Sub(p.Time) >= loginLifetime {
		return pending{cookie: name, Target: p.Target, Time: p.Time}, false
	}
	return p, true
}

// sealTarget makes a target into what a URL can carry.
func (j *jar) sealTarget(t target) (string, error) {
	t.Time = j.now().UTC()
	return seal(j.targets, "to", t)
}

// seal seals v as JSON. Unlike json.Marshal it does not make six bytes of an
// ampersand: a query may consist of them, and a cookie holds 4 KiB.
func seal(ring session.Keyring, name string, v any) (string, error) {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("encoding %q: %w", name, err)
	}
	return ring.Seal(name, data.Bytes())
}

// openTarget opens what sealTarget sealed. The target may be too old to be
// used as it is.
func (j *jar) openTarget(sealed string) (t target, ok bool) {
	data, ok := j.targets.Open("to", sealed)
	return t, ok && json.Unmarshal(data, &t) == nil
}

// nonce returns what binds a hand-over to this browser, and sets it anew. A
// nonce that the browser has already is used again: it may have several pages
// of an app open that all want to sign in.
func (j *jar) nonce(w http.ResponseWriter, h http.Header) string {
	value, ok := session.Cookie(h, j.nonceName())
	if !ok || len(value) < 26 || len(value) > 64 { // rand.Text has 26, and may grow
		value = rand.Text()
	}
	// It has to outlast the time on our pages and that at the identity provider.
	j.set(w, j.nonceName(), value, 2*loginLifetime+time.Minute, http.SameSiteLaxMode)
	return session.Hash([]byte(value))
}
