package main

import (
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// requestCookie holds the ID of the request that is to be answered.
const requestCookie = "request"

// An acs is what logins are measured by: the least that signs visitors in with
// crewjam/saml, which checks the response and forgets who it was.
type acs struct{ saml.ServiceProvider }

// serveACS serves one. Its arguments are the address to listen on and the
// directory with keys and metadata.
func serveACS(args []string) error {
	if len(args) != 2 {
		return errors.New("want an address and a directory")
	}
	a, err := newACS("http://"+args[0], args[1])
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("POST /acs", a.accept)
	return http.ListenAndServe(args[0], mux)
}

func newACS(origin, dir string) (*acs, error) {
	u, err := url.Parse(origin)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "sp.crt"), filepath.Join(dir, "sp.key"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "idp.xml"))
	if err != nil {
		return nil, err
	}
	metadata := new(saml.EntityDescriptor)
	if err := xml.Unmarshal(text, metadata); err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("sp.key is not an RSA key")
	}
	return &acs{saml.ServiceProvider{
		Key: key, Certificate: pair.Leaf, IDPMetadata: metadata,
		MetadataURL: *u.JoinPath("metadata"), AcsURL: *u.JoinPath("acs"),
		SignatureMethod: dsig.RSASHA256SignatureMethod,
	}}, nil
}

// login begins a login.
func (a *acs) login(w http.ResponseWriter, r *http.Request) {
	to := a.GetSSOBindingLocation(saml.HTTPRedirectBinding)
	request, err := a.MakeAuthenticationRequest(to, saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	u, err := request.Redirect("state", &a.ServiceProvider)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: requestCookie, Value: request.ID, Path: "/"})
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// accept takes the response.
func (a *acs) accept(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie(requestCookie)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, err := base64.StdEncoding.DecodeString(r.PostFormValue("SAMLResponse"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := a.ParseXMLResponse(text, []string{cookie.Value}, a.AcsURL); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// acsLogin says how one signs in there.
func acsLogin(p *process) loginAt {
	at := "http://" + p.addr
	return loginAt{start: at + "/login", acs: at + "/acs", entityID: at + "/metadata"}
}
