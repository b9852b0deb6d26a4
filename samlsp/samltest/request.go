package samltest

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// A signIn is a sign-in under way: what was asked, from which service provider,
// and where the answer goes. An empty requestID: nobody asked (IdP-initiated).
type signIn struct {
	sp                    serviceProvider
	acs                   string
	requestID, relayState string
	nameIDFormat          string
	hint                  string // who is about to sign in, or ""
	forceAuthn, passive   bool
	began                 time.Time
}

const (
	maxRequest = 256 << 10 // bytes of an AuthnRequest
	maxAge     = 10 * time.Minute
)

// readRequest reads the AuthnRequest of either binding and checks it against the
// metadata of the service provider that it comes from (SAML 2.0 core, section
// 3.4.1; bindings, sections 3.4 and 3.5). Its errors are for the page.
func (idp *IdP) readRequest(r *http.Request) (signIn, error) {
	if r.Method == http.MethodPost && idp.options.RedirectOnly || r.Method != http.MethodPost && idp.options.PostOnly {
		return signIn{}, fmt.Errorf("requests by %s are not offered in this identity provider's metadata", r.Method)
	}
	m, err := read(r, "SAMLRequest")
	if err != nil {
		return signIn{}, err
	}
	root := m.document.Root()
	if root == nil || root.Tag != "AuthnRequest" || root.NamespaceURI() != NSProtocol {
		return signIn{}, errors.New("the request is not an AuthnRequest")
	}
	issuer := text(root, "Issuer")
	sp, ok := idp.serviceProvider(issuer)
	if !ok {
		return signIn{}, fmt.Errorf("service provider %q is not known here", issuer)
	}
	if len(sp.signing) > 0 {
		if root, err = m.verify(sp.signing); err != nil {
			return signIn{}, fmt.Errorf("the signature of the request from %q is not right: %w", issuer, err)
		}
	}
	s, err := idp.checkRequest(root, sp)
	s.relayState = m.relayState
	if s.hint == "" {
		s.hint = r.URL.Query().Get("login_hint")
	}
	return s, err
}

// checkRequest reads the values of the AuthnRequest root, which sp has sent.
func (idp *IdP) checkRequest(root *etree.Element, sp serviceProvider) (signIn, error) {
	if text(root, "Issuer") != sp.entityID {
		return signIn{}, errors.New("the issuer is not in the signed part of the request")
	}
	value := func(name string) string { return root.SelectAttrValue(name, "") }
	s := signIn{
		sp: sp, acs: sp.acs[0], requestID: value("ID"), began: time.Now(),
		forceAuthn: isTrue(value("ForceAuthn")), passive: isTrue(value("IsPassive")),
	}
	if policy := root.SelectElement("NameIDPolicy"); policy != nil {
		s.nameIDFormat = policy.SelectAttrValue("Format", "")
	}
	if subject := root.SelectElement("Subject"); subject != nil {
		s.hint = text(subject, "NameID")
	}
	if s.requestID == "" {
		return signIn{}, errors.New("the request has no ID")
	}
	if got := value("Version"); got != "2.0" {
		return signIn{}, fmt.Errorf("the request is of version %q, want 2.0", got)
	}
	issued, err := time.Parse(time.RFC3339, value("IssueInstant"))
	if err != nil || time.Since(issued).Abs() > maxAge {
		return signIn{}, fmt.Errorf("the request was issued at %q, which is not about now", value("IssueInstant"))
	}
	if got, want := value("Destination"), idp.options.URL+"/sso"; got != "" && got != want {
		return signIn{}, fmt.Errorf("the request is for %q, want %q", got, want)
	}
	if got := value("ProtocolBinding"); got != "" && got != BindingPost {
		return signIn{}, fmt.Errorf("the request wants its answer by %q, want %q", got, BindingPost)
	}
	if value("AssertionConsumerServiceIndex") != "" {
		return signIn{}, errors.New("the request names its assertion consumer service by index, want its URL")
	}
	if got := value("AssertionConsumerServiceURL"); got != "" {
		if !slices.Contains(sp.acs, got) {
			return signIn{}, fmt.Errorf("the assertion consumer service %q is not in the metadata of %q", got, sp.entityID)
		}
		s.acs = got
	}
	return s, nil
}

// A received message is one as it came: not verified yet.
type received struct {
	document   *etree.Document
	relayState string

	// verify checks the signature and returns what it covers.
	verify func([]*x509.Certificate) (*etree.Element, error)
}

// read reads the message in that parameter, of either binding.
func read(r *http.Request, parameter string) (received, error) {
	if r.Method == http.MethodPost {
		return readPost(r, parameter)
	}
	return readRedirect(r, parameter)
}

func readPost(r *http.Request, parameter string) (received, error) {
	if err := r.ParseForm(); err != nil {
		return received{}, fmt.Errorf("reading the form: %w", err)
	}
	if r.PostForm.Get(parameter) == "" {
		return received{}, fmt.Errorf("there is no %s", parameter)
	}
	raw, err := base64.StdEncoding.DecodeString(r.PostForm.Get(parameter))
	if err != nil {
		return received{}, fmt.Errorf("%s: %w", parameter, err)
	}
	doc, err := readDocument(raw)
	if err != nil {
		return received{}, err
	}
	return received{doc, r.PostForm.Get("RelayState"), func(certificates []*x509.Certificate) (*etree.Element, error) {
		return verifySignature(doc.Root(), certificates)
	}}, nil
}

func readRedirect(r *http.Request, parameter string) (received, error) {
	query, err := rawQuery(r.URL.RawQuery)
	if err != nil {
		return received{}, err
	}
	decoded := func(name string) string {
		value, err := url.QueryUnescape(query[name])
		if err != nil {
			return ""
		}
		return value
	}
	if query[parameter] == "" {
		return received{}, fmt.Errorf("there is no %s", parameter)
	}
	deflated, err := base64.StdEncoding.DecodeString(decoded(parameter))
	if err != nil {
		return received{}, fmt.Errorf("%s: %w", parameter, err)
	}
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(deflated)), maxRequest+1))
	if err != nil {
		return received{}, fmt.Errorf("inflating %s: %w", parameter, err)
	}
	doc, err := readDocument(raw)
	if err != nil {
		return received{}, err
	}
	return received{doc, decoded("RelayState"), func(certificates []*x509.Certificate) (*etree.Element, error) {
		signed := parameter + "=" + query[parameter]
		if relayState, ok := query["RelayState"]; ok {
			signed += "&RelayState=" + relayState
		}
		signed += "&SigAlg=" + query["SigAlg"]
		return doc.Root(), verifyDetached(signed, decoded("SigAlg"), decoded("Signature"), certificates)
	}}, nil
}

// rawQuery returns the parameters as they were sent, still escaped: these octets
// are what a detached signature covers (bindings, section 3.4.4.1).
func rawQuery(query string) (map[string]string, error) {
	parameters := make(map[string]string)
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, ok := parameters[name]; ok {
			return nil, fmt.Errorf("the parameter %q comes twice", name)
		}
		parameters[name] = value
	}
	return parameters, nil
}

func verifyDetached(signed, method, signature string, certificates []*x509.Certificate) error {
	if signature == "" {
		return errors.New("there is none")
	}
	var hash crypto.Hash
	switch method {
	case RSASHA256:
		hash = crypto.SHA256
	case RSASHA384:
		hash = crypto.SHA384
	case RSASHA512:
		hash = crypto.SHA512
	default:
		return fmt.Errorf("SigAlg is %q, want RSA with SHA-256 or better", method)
	}
	value, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return err
	}
	h := hash.New()
	h.Write([]byte(signed))
	digest := h.Sum(nil)
	for _, c := range certificates {
		key, ok := c.PublicKey.(*rsa.PublicKey)
		if ok && rsa.VerifyPKCS1v15(key, hash, digest, value) == nil {
			return nil
		}
	}
	return errors.New("no certificate of the service provider's metadata fits it")
}

func readDocument(raw []byte) (*etree.Document, error) {
	if len(raw) > maxRequest {
		return nil, fmt.Errorf("the request is longer than %d bytes", maxRequest)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, fmt.Errorf("the request is not XML: %w", err)
	}
	return doc, nil
}

// text returns the text of el's first child of that name, or "".
func text(el *etree.Element, name string) string {
	if child := el.SelectElement(name); child != nil {
		return child.Text()
	}
	return ""
}

func isTrue(xsBoolean string) bool {
	return xsBoolean == "true" || xsBoolean == "1"
}
