package samltest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// A logoutChain is a logout under way that began here: the service providers that
// the browser has still to be taken to.
type logoutChain struct {
	visits []visit
	index  string
	began  time.Time
}

// serveLogout ends the browser's session here, and takes the browser to each
// service provider where it has one too.
func (idp *IdP) serveLogout(w http.ResponseWriter, r *http.Request) {
	b, _, _ := idp.browser(r)
	idp.end(b.id)
	c := idp.cookie("")
	c.MaxAge = -1
	http.SetCookie(w, c)
	idp.next(w, r, logoutChain{visits: b.visits, index: b.index, began: time.Now()})
}

// next takes the browser to the first service provider of the chain that has a
// single logout service, or home where there is none.
func (idp *IdP) next(w http.ResponseWriter, r *http.Request, chain logoutChain) {
	for len(chain.visits) > 0 {
		v := chain.visits[0]
		chain.visits = chain.visits[1:]
		sp, ok := idp.serviceProvider(v.sp)
		if !ok || sp.slo == "" {
			continue
		}
		id := NewID()
		idp.mu.Lock()
		trim(idp.logouts, func(c logoutChain) time.Time { return c.began }, signInLifetime)
		idp.logouts[id] = chain
		idp.mu.Unlock()
		idp.redirect(w, r, idp.GoodLogout(sp.slo, v.name, chain.index), sp.slo, id)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (idp *IdP) redirect(w http.ResponseWriter, r *http.Request, l *Logout, location, relayState string) {
	to, err := l.redirect(location, relayState)
	if err != nil {
		idp.fail(w, http.StatusInternalServerError, "The message could not be made: "+err.Error()+".")
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// serveSLO takes a service provider's LogoutRequest, and its answer to ours (SAML
// 2.0 profiles, section 4.4).
func (idp *IdP) serveSLO(w http.ResponseWriter, r *http.Request) {
	m, err := read(r, "SAMLRequest")
	answer := err != nil
	if answer {
		m, err = read(r, "SAMLResponse")
	}
	var sp serviceProvider
	if err == nil {
		sp, err = idp.sender(m)
	}
	if err != nil {
		idp.fail(w, http.StatusBadRequest, "The message was refused: "+err.Error()+".")
		return
	}
	root := m.document.Root()
	if !answer {
		idp.endVisits(sp.entityID, text(root, "NameID"), text(root, "SessionIndex"))
		idp.redirect(w, r, idp.GoodLogoutAnswer(sp.slo, root.SelectAttrValue("ID", "")), sp.slo, m.relayState)
		return
	}
	idp.mu.Lock()
	chain := idp.logouts[m.relayState]
	delete(idp.logouts, m.relayState)
	idp.mu.Unlock()
	idp.next(w, r, chain)
}

// sender returns the service provider that has signed m.
func (idp *IdP) sender(m received) (serviceProvider, error) {
	if m.document.Root() == nil {
		return serviceProvider{}, errors.New("it is empty")
	}
	issuer := text(m.document.Root(), "Issuer")
	sp, ok := idp.serviceProvider(issuer)
	if !ok {
		return sp, fmt.Errorf("service provider %q is not known here", issuer)
	}
	if _, err := m.verify(sp.signing); err != nil {
		return sp, fmt.Errorf("the signature of the message from %q is not right: %w", issuer, err)
	}
	return sp, nil
}

// visited notes a sign-in of that browser at a service provider.
func (idp *IdP) visited(id string, v visit) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	b, ok := idp.browsers[id]
	if !ok || slices.Contains(b.visits, v) {
		return
	}
	b.visits = append(slices.Clone(b.visits), v)
	idp.browsers[id] = b
}

// endVisits ends the sessions of the browsers that are signed in at a service
// provider under that name, with that SessionIndex where it is not empty.
func (idp *IdP) endVisits(sp, name, index string) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	for id, b := range idp.browsers {
		there := slices.ContainsFunc(b.visits, func(v visit) bool { return v.sp == sp && v.name.Value == name })
		if there && (index == "" || index == b.index) {
			delete(idp.browsers, id)
		}
	}
}

func (idp *IdP) end(id string) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	delete(idp.browsers, id)
}
