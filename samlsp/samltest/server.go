package samltest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	sessionLifetime = 8 * time.Hour
	signInLifetime  = time.Hour
	maxKept         = 10000 // browser sessions, and sign-ins under way
	maxForm         = 1 << 20
)

// A browser is the session of one browser at the IdP.
type browser struct {
	id     string // value of its cookie
	user   string
	index  string // SessionIndex of its assertions
	visits []visit
	began  time.Time
}

// A visit is a sign-in at a service provider, under a name.
type visit struct {
	sp   string // entity ID
	name NameID
}

// ServeHTTP serves the IdP: /metadata, /sso, /slo, /start and the pages for people.
func (idp *IdP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	idp.handler.ServeHTTP(w, r)
}

// routes returns the handler of the IdP. A service provider's request by POST
// comes from another origin, the other forms may not.
func (idp *IdP) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata", idp.serveMetadata)
	mux.HandleFunc("GET /sso", idp.serveSSO)
	mux.HandleFunc("POST /sso", idp.serveSSO)
	mux.HandleFunc("GET /slo", idp.serveSLO)
	mux.HandleFunc("POST /slo", idp.serveSLO)
	mux.HandleFunc("GET /start", idp.serveStart)
	mux.HandleFunc("GET /login", idp.serveLoginPage)
	mux.HandleFunc("POST /login", idp.serveLogin)
	mux.HandleFunc("POST /logout", idp.serveLogout)
	mux.HandleFunc("POST /attributes", idp.serveAttributes)
	mux.HandleFunc("GET /{$}", idp.serveHome)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		idp.fail(w, http.StatusNotFound, "There is no such page here.")
	})
	var protection http.CrossOriginProtection
	protection.AddInsecureBypassPattern("POST /sso")
	protection.AddInsecureBypassPattern("POST /slo")
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		idp.fail(w, http.StatusForbidden, "This form was sent from another site.")
	}))
	return http.MaxBytesHandler(protection.Handler(mux), maxForm)
}

func (idp *IdP) serveMetadata(w http.ResponseWriter, r *http.Request) {
	raw, err := idp.Metadata().XML()
	if err != nil {
		idp.fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	w.Write(raw)
}

// serveSSO takes an AuthnRequest of either binding.
func (idp *IdP) serveSSO(w http.ResponseWriter, r *http.Request) {
	s, err := idp.readRequest(r)
	if err != nil {
		idp.fail(w, http.StatusBadRequest, "The request was refused: "+err.Error()+".")
		return
	}
	idp.proceed(w, r, s)
}

// serveStart begins a sign-in that the service provider ?sp= has not asked for.
func (idp *IdP) serveStart(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("sp")
	sp, ok := idp.serviceProvider(name)
	if !ok {
		idp.fail(w, http.StatusNotFound, fmt.Sprintf("The service provider %q is not known here.", name))
		return
	}
	idp.proceed(w, r, signIn{sp: sp, acs: sp.acs[0], relayState: r.URL.Query().Get("RelayState"), began: time.Now()})
}

// proceed answers s at once where the browser is signed in already, and else asks
// for a password.
func (idp *IdP) proceed(w http.ResponseWriter, r *http.Request, s signIn) {
	b, user, ok := idp.browser(r)
	switch {
	case ok && !s.forceAuthn:
		idp.answer(w, s, idp.message(s, b, user))
	case s.passive:
		status := Status{Code: StatusResponder, Nested: StatusNoPassive}
		idp.answer(w, s, idp.Refusal(s.sp.info(s.acs), s.requestID, status))
	default:
		idp.showLogin(w, http.StatusOK, login{Service: s.sp.entityID, Pending: idp.keep(s), Name: s.hint})
	}
}

// serveLoginPage shows the form to sign in at the IdP alone.
func (idp *IdP) serveLoginPage(w http.ResponseWriter, r *http.Request) {
	idp.showLogin(w, http.StatusOK, login{})
}

func (idp *IdP) serveLogin(w http.ResponseWriter, r *http.Request) {
	pending := r.PostFormValue("pending")
	s, ok := idp.pending(pending)
	if pending != "" && !ok {
		idp.fail(w, http.StatusBadRequest, "This sign-in is over. Please start again at the application.")
		return
	}
	name, password := r.PostFormValue("username"), r.PostFormValue("password")
	user, known := idp.named(name)
	if !known || subtle.ConstantTimeCompare([]byte(password), []byte(user.Password)) != 1 {
		idp.showLogin(w, http.StatusUnauthorized, login{
			Service: s.sp.entityID, Pending: pending, Name: name, Wrong: true,
		})
		return
	}
	b := idp.begin(w, r, user)
	if pending == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	idp.forget(pending)
	idp.answer(w, s, idp.message(s, b, user))
}

// message returns what s is answered with: the sign-in of user, or a refusal where
// a name was asked for that there is not (core, section 3.4.1.1).
func (idp *IdP) message(s signIn, b browser, user User) *Message {
	info := s.sp.info(s.acs)
	m := idp.Good(info, s.requestID, user)
	m.AuthnInstant, m.SessionIndex = b.began, b.index
	switch s.nameIDFormat {
	case "", NameIDUnspecified:
	case NameIDTransient:
		m.NameID = NameID{Value: NewID(), Format: NameIDTransient, NameQualifier: idp.EntityID(), SPNameQualifier: s.sp.entityID}
	case NameIDPersistent:
		sum := sha256.Sum256([]byte(idp.EntityID() + "\x00" + s.sp.entityID + "\x00" + user.Name))
		m.NameID = NameID{Value: hex.EncodeToString(sum[:]), Format: NameIDPersistent, NameQualifier: idp.EntityID(), SPNameQualifier: s.sp.entityID}
	case NameIDEmail:
		m.NameID = NameID{Value: user.Name, Format: NameIDEmail}
		if email := user.Attributes["email"]; len(email) > 0 {
			m.NameID.Value = email[0]
		}
	default:
		return idp.Refusal(info, s.requestID, Status{Code: StatusRequester, Nested: StatusInvalidNameID, Message: s.nameIDFormat})
	}
	idp.visited(b.id, visit{s.sp.entityID, m.NameID})
	return m
}

// answer sends m to the service provider by way of the browser.
func (idp *IdP) answer(w http.ResponseWriter, s signIn, m *Message) {
	if idp.options.Adjust != nil {
		idp.options.Adjust(m)
	}
	encoded, err := m.Base64()
	if err != nil {
		idp.fail(w, http.StatusInternalServerError, "The answer could not be made: "+err.Error()+".")
		return
	}
	idp.showPost(w, post{Action: s.acs, Service: s.sp.entityID, SAMLResponse: encoded, RelayState: s.relayState})
}

// serveAttributes changes the editable attributes of a user: one value a line,
// no line takes the attribute away.
func (idp *IdP) serveAttributes(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("user")
	if _, ok := idp.User(name); !ok {
		idp.fail(w, http.StatusNotFound, fmt.Sprintf("There is no user %q.", name))
		return
	}
	for _, attribute := range idp.options.Editable {
		lines, ok := r.PostForm["attribute-"+attribute]
		if !ok {
			continue
		}
		var values []string
		for line := range strings.Lines(lines[0]) {
			if line = strings.TrimSpace(line); line != "" {
				values = append(values, line)
			}
		}
		idp.SetAttribute(name, attribute, values...)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// browser returns the session of the browser that sent r, and its user as they
// are now.
func (idp *IdP) browser(r *http.Request) (browser, User, bool) {
	c, err := r.Cookie(idp.cookieName())
	if err != nil {
		return browser{}, User{}, false
	}
	idp.mu.Lock()
	b, ok := idp.browsers[c.Value]
	idp.mu.Unlock()
	if !ok || time.Since(b.began) > sessionLifetime {
		return browser{}, User{}, false
	}
	user, ok := idp.User(b.user)
	return b, user, ok
}

// begin gives the browser a new session, in place of the one it has.
func (idp *IdP) begin(w http.ResponseWriter, r *http.Request, user User) browser {
	b := browser{id: NewID(), user: user.Name, index: NewID(), began: time.Now()}
	idp.mu.Lock()
	defer idp.mu.Unlock()
	if c, err := r.Cookie(idp.cookieName()); err == nil {
		delete(idp.browsers, c.Value)
	}
	trim(idp.browsers, func(b browser) time.Time { return b.began }, sessionLifetime)
	idp.browsers[b.id] = b
	http.SetCookie(w, idp.cookie(b.id))
	return b
}

// keep remembers s until its user has signed in, and returns what names it.
func (idp *IdP) keep(s signIn) string {
	id := NewID()
	idp.mu.Lock()
	defer idp.mu.Unlock()
	trim(idp.signIns, func(s signIn) time.Time { return s.began }, signInLifetime)
	idp.signIns[id] = s
	return id
}

func (idp *IdP) pending(id string) (signIn, bool) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	s, ok := idp.signIns[id]
	return s, ok && time.Since(s.began) < signInLifetime
}

func (idp *IdP) forget(id string) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	delete(idp.signIns, id)
}

// trim makes room for one more: it removes what is older than lifetime and, where
// that was not enough, the oldest.
func trim[T any](m map[string]T, began func(T) time.Time, lifetime time.Duration) {
	if len(m) < maxKept {
		return
	}
	oldest := ""
	for id, v := range m {
		if time.Since(began(v)) > lifetime {
			delete(m, id)
		} else if oldest == "" || began(v).Before(began(m[oldest])) {
			oldest = id
		}
	}
	if len(m) >= maxKept {
		delete(m, oldest)
	}
}

// cookieName differs between identity providers on one host, since cookies do not
// tell ports apart (RFC 6265, section 8.5).
func (idp *IdP) cookieName() string {
	_, host, _ := strings.Cut(idp.options.URL, "://")
	return "idp-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, host)
}

// cookie returns the session cookie. It has to come along with a request that a
// service provider's page posts, which https alone makes possible across sites.
func (idp *IdP) cookie(id string) *http.Cookie {
	c := &http.Cookie{Name: idp.cookieName(), Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if strings.HasPrefix(idp.options.URL, "https://") {
		c.Secure, c.SameSite = true, http.SameSiteNoneMode
	}
	return c
}

// sorted returns the users in the order of their names.
func (idp *IdP) sorted() []User {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	var users []User
	for _, u := range idp.users {
		users = append(users, u.clone())
	}
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return users
}

// services returns the service providers in the order of their names.
func (idp *IdP) services() []serviceProvider {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	var list []serviceProvider
	for _, sp := range idp.sps {
		list = append(list, sp)
	}
	slices.SortFunc(list, func(a, b serviceProvider) int { return strings.Compare(a.entityID, b.entityID) })
	return list
}
