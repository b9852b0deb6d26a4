package main

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// userAttributes are those of every user: with the groups there are twelve.
var userAttributes = []string{"userName", "email", "department", "title", "givenName", "surname", "phone", "office", "street", "city", "country"}

// newUser returns a user in so many groups.
func newUser(name string, groups int) samltest.User {
	u := samltest.User{Name: name, Attributes: make(map[string][]string)}
	for _, a := range userAttributes {
		u.Attributes[a] = []string{"some value of " + a}
	}
	u.Attributes["userName"], u.Attributes["email"] = []string{name + "@acme.example"}, []string{name + "@acme.example"}
	u.Attributes["department"] = []string{"Engineering"}
	for i := range groups {
		u.Attributes["groups"] = append(u.Attributes["groups"], fmt.Sprintf("eng-team-%04d", i))
	}
	return u
}

// A loginAt is where one signs in, and for whom responses are.
type loginAt struct {
	start, acs, entityID string
}

// A visitor is a browser which signs in at a candidate.
type visitor struct {
	http.Client
	at  loginAt
	idp *samltest.IdP
}

// loopback dials 127.0.0.1 whatever name an address has.
var loopback = &http.Transport{
	DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	},
	MaxIdleConnsPerHost: 64,
}

func newVisitor(at loginAt, idp *samltest.IdP) *visitor {
	jar, _ := cookiejar.New(nil) // never fails
	v := &visitor{at: at, idp: idp}
	v.Transport, v.Jar = loopback, jar
	v.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v
}

// signIn signs in as u.
func (v *visitor) signIn(u samltest.User) error {
	id, relayState, err := v.begin()
	if err != nil {
		return fmt.Errorf("beginning at %s: %w", v.at.start, err)
	}
	text, err := v.idp.Good(samltest.SPInfo{EntityID: v.at.entityID, ACS: v.at.acs}, id, u).Base64()
	if err != nil {
		return err
	}
	res, err := v.PostForm(v.at.acs, url.Values{"SAMLResponse": {text}, "RelayState": {relayState}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSeeOther && res.StatusCode != http.StatusFound {
		return fmt.Errorf("%s answers %s\n%s", v.at.acs, res.Status, body)
	}
	return nil
}

// begin asks to sign in, as far as the identity provider, and returns the ID of
// the request that is to be answered and its RelayState.
func (v *visitor) begin() (id, relayState string, err error) {
	address := v.at.start
	for range 4 {
		res, err := v.Get(address)
		if err != nil {
			return "", "", err
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		to, err := res.Location()
		if err != nil {
			return "", "", fmt.Errorf("%s answers %s", address, res.Status)
		}
		if request := to.Query().Get("SAMLRequest"); request != "" {
			if to.Query().Get("Signature") == "" {
				return "", "", fmt.Errorf("%s sends a request that is not signed, which costs less", address)
			}
			id, err := requestID(request)
			return id, to.Query().Get("RelayState"), err
		}
		address = to.String()
	}
	return "", "", errors.New("it redirects for ever")
}

// requestID returns the ID of an AuthnRequest that came in a URL.
func requestID(encoded string) (string, error) {
	deflated, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", err
	}
	var request struct {
		ID string `xml:"ID,attr"`
	}
	err = xml.NewDecoder(flate.NewReader(bytes.NewReader(deflated))).Decode(&request)
	return request.ID, err
}

// cookie returns what the visitor sends along to the address.
func (v *visitor) cookie(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	var pairs []string
	for _, c := range v.Jar.Cookies(u) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; "), nil
}
