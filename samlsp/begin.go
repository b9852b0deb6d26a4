package samlsp

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// maxRelayState is the longest RelayState (SAML bindings, 3.4.3 and 3.5.3).
const maxRelayState = 80

// Begun is a login that was begun: where to send the browser, and what the
// response must answer.
type Begun struct {
	RequestID string
	// Redirect is the URL to send the browser to. Empty where the IdP takes
	// requests by POST alone; then Post is set.
	Redirect string
	Post     *Form
}

// A Form is what the browser must post to Action: Message, in base64, as the
// parameter of that name, and RelayState unless it is empty.
type Form struct {
	Action             string
	Parameter, Message string
	RelayState         string
}

// Begin makes a signed AuthnRequest (SAML core, 3.4.1) with an ID of 160 random
// bits. The IdP will send relayState, 80 bytes at most, back with its response.
//
// It asks for nothing but an answer by POST: no NameID format, no context, no
// fresh login, so that the IdP sends what it is set up to send. A hint says who is
// about to sign in, where Options have it passed on; "" for nobody known. It binds
// nobody: who the response is about is for the IdP to say.
func (sp *SP) Begin(relayState, hint string) (Begun, error) {
	p, err := sp.current(time.Now())
	if err != nil {
		return Begun{}, err
	}
	if len(relayState) > maxRelayState {
		return Begun{}, fmt.Errorf("relay state of %d bytes; want %d at most", len(relayState), maxRelayState)
	}
	id := newID()
	request := sp.authnRequest(id, p.signOn.best())
	if hint != "" && sp.o.HintSubject {
		addSubject(request, hint)
	}
	to := p.signOn
	if hint != "" && sp.o.HintQuery {
		to = to.withHint(hint)
	}
	begun, err := sp.send("SAMLRequest", request, to, relayState)
	begun.RequestID = id
	return begun, err
}

// send signs a message, and returns how the browser takes it to one of the IdP's
// services: by a redirect where it can be.
func (sp *SP) send(parameter string, message *etree.Element, to service, relayState string) (Begun, error) {
	if to.redirect != "" {
		location, err := sp.redirect(parameter, message, to.redirect, relayState)
		return Begun{Redirect: location}, err
	}
	signed, err := sp.sign(message)
	if err != nil {
		return Begun{}, err
	}
	text, err := serialize(signed)
	if err != nil {
		return Begun{}, err
	}
	form := &Form{Action: to.post, Parameter: parameter, Message: base64.StdEncoding.EncodeToString(text), RelayState: relayState}
	return Begun{Post: form}, nil
}

const timeFormat = "2006-01-02T15:04:05Z" // xs:dateTime, in UTC

// newID returns an ID of 160 random bits.
func newID() string {
	random := make([]byte, 20)
	rand.Read(random) // never fails
	return "id-" + hex.EncodeToString(random)
}

// newMessage returns what all our messages begin with.
func (sp *SP) newMessage(tag, id, destination string) *etree.Element {
	m := etree.NewElement(tag)
	m.CreateAttr("xmlns:samlp", nsProtocol)
	m.CreateAttr("xmlns:saml", nsAssertion)
	m.CreateAttr("ID", id)
	m.CreateAttr("Version", "2.0")
	m.CreateAttr("IssueInstant", time.Now().UTC().Format(timeFormat))
	m.CreateAttr("Destination", destination)
	m.CreateElement("saml:Issuer").SetText(sp.o.EntityID)
	return m
}

func (sp *SP) authnRequest(id, destination string) *etree.Element {
	request := sp.newMessage("samlp:AuthnRequest", id, destination)
	request.CreateAttr("AssertionConsumerServiceURL", sp.o.ACS)
	request.CreateAttr("ProtocolBinding", saml.HTTPPostBinding)
	// Without AllowCreate an IdP with persistent NameIDs could turn away a
	// visitor who comes here for the first time.
	request.CreateElement("samlp:NameIDPolicy").CreateAttr("AllowCreate", "true")
	return request
}

const nameIDUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"

// addSubject names who is about to sign in, in the format that says nothing of the
// name (SAML core, 3.4.1 and 8.3.1). The schema has it before the NameIDPolicy.
func addSubject(request *etree.Element, hint string) {
	subject := etree.NewElement("saml:Subject")
	name := subject.CreateElement("saml:NameID")
	name.CreateAttr("Format", nameIDUnspecified)
	name.SetText(hint)
	request.InsertChildAt(request.SelectElement("NameIDPolicy").Index(), subject)
}

// deflaters are writers that nobody uses now: each takes most of a megabyte.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic(err) // there is that level
	}
	return w
}}

// deflate compresses text (RFC 1951).
func deflate(text []byte) []byte {
	var deflated bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&deflated)
	_, _ = w.Write(text) // no write to a Buffer fails
	_ = w.Close()
	return deflated.Bytes()
}

// redirect returns the URL of the HTTP Redirect binding (SAML bindings, 3.4.4.1).
// The signature is over the very bytes of its three parameters, and not over a
// query that the destination has of its own.
func (sp *SP) redirect(parameter string, message *etree.Element, destination, relayState string) (string, error) {
	text, err := serialize(message)
	if err != nil {
		return "", err
	}
	query := parameter + "=" + escape(base64.StdEncoding.EncodeToString(deflate(text)))
	if relayState != "" {
		query += "&RelayState=" + escape(relayState)
	}
	query += "&SigAlg=" + escape(dsig.RSASHA256SignatureMethod)
	digest := sha256.Sum256([]byte(query))
	signature, err := rsa.SignPKCS1v15(nil, sp.o.Key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("signing a message: %w", err)
	}
	query += "&Signature=" + escape(base64.StdEncoding.EncodeToString(signature))
	return addQuery(destination, query), nil
}

// addQuery adds to the query of a URL.
func addQuery(location, query string) string {
	if strings.Contains(location, "?") {
		return location + "&" + query
	}
	return location + "?" + query
}

// escape escapes a query parameter, a space as %20: some IdPs decode and encode
// again before they verify.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// sign returns the message with an enveloped signature, which the schema has right
// after the Issuer.
func (sp *SP) sign(message *etree.Element) (*etree.Element, error) {
	ctx, err := dsig.NewSigningContext(sp.o.Key, [][]byte{sp.o.Certificate.Raw})
	if err != nil {
		return nil, fmt.Errorf("signing a message: %w", err)
	}
	ctx.IdAttribute = "ID"
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := ctx.SetSignatureMethod(dsig.RSASHA256SignatureMethod); err != nil {
		return nil, fmt.Errorf("signing a message: %w", err)
	}
	signature, err := ctx.ConstructSignature(message, true)
	if err != nil {
		return nil, fmt.Errorf("signing a message: %w", err)
	}
	message.InsertChildAt(message.SelectElement("Issuer").Index()+1, signature)
	return message, nil
}

// Metadata returns our own metadata for this IdP, to be imported there. It is not
// signed, and has no end. It takes responses by the POST binding alone, and asks for signed
// assertions and for the encryption that is accepted (SAML metadata, 2.4.4). It names
// where a discovery service comes back to (Identity Provider Discovery Service
// Protocol and Profile, 2.5).
func (sp *SP) Metadata() ([]byte, error) {
	root := etree.NewElement("md:EntityDescriptor")
	root.CreateAttr("xmlns:md", nsMetadata)
	root.CreateAttr("xmlns:ds", nsSignature)
	root.CreateAttr("entityID", sp.o.EntityID)
	role := root.CreateElement("md:SPSSODescriptor")
	role.CreateAttr("AuthnRequestsSigned", "true")
	role.CreateAttr("WantAssertionsSigned", "true")
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	for _, use := range []string{"signing", "encryption"} {
		for _, pair := range sp.keyPairs() {
			key := role.CreateElement("md:KeyDescriptor")
			key.CreateAttr("use", use)
			data := key.CreateElement("ds:KeyInfo").CreateElement("ds:X509Data")
			data.CreateElement("ds:X509Certificate").SetText(base64.StdEncoding.EncodeToString(pair.Certificate.Raw))
			if use == "encryption" {
				sp.encryptionMethods(key)
			}
		}
	}
	if sp.o.DiscoveryReturn != "" {
		extensions := etree.NewElement("md:Extensions")
		role.InsertChildAt(0, extensions) // where the schema has it
		discovery := extensions.CreateElement("idpdisc:DiscoveryResponse")
		discovery.CreateAttr("xmlns:idpdisc", nsDiscovery)
		discovery.CreateAttr("Binding", nsDiscovery)
		discovery.CreateAttr("Location", sp.o.DiscoveryReturn)
		discovery.CreateAttr("index", "0")
	}
	if sp.o.SLO != "" {
		for _, binding := range []string{saml.HTTPRedirectBinding, saml.HTTPPostBinding} {
			slo := role.CreateElement("md:SingleLogoutService")
			slo.CreateAttr("Binding", binding)
			slo.CreateAttr("Location", sp.o.SLO)
		}
	}
	acs := role.CreateElement("md:AssertionConsumerService")
	acs.CreateAttr("Binding", saml.HTTPPostBinding)
	acs.CreateAttr("Location", sp.o.ACS)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	doc.SetRoot(root)
	doc.Indent(2)
	return doc.WriteToBytes()
}

// encryptionMethods lists what may be used with the key, best first.
func (sp *SP) encryptionMethods(key *etree.Element) {
	methods := []string{
		"http://www.w3.org/2009/xmlenc11#aes256-gcm",
		"http://www.w3.org/2009/xmlenc11#aes128-gcm",
	}
	for _, name := range []string{"aes256-cbc", "aes192-cbc", "aes128-cbc"} {
		if sp.allow[name] {
			methods = append(methods, "http://www.w3.org/2001/04/xmlenc#"+name)
		}
	}
	for _, method := range append(methods, algOAEP1, algOAEP11) {
		key.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", method)
	}
}

// serialize returns the element as a document of its own.
func serialize(el *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(el)
	return doc.WriteToBytes()
}
