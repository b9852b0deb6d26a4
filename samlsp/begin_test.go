package samlsp_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

const (
	bindingRedirect = samltest.BindingRedirect
	bindingPost     = samltest.BindingPost
)

// authnRequest is what is read of a request here.
type authnRequest struct {
	XMLName      xml.Name  `xml:"urn:oasis:names:tc:SAML:2.0:protocol AuthnRequest"`
	ID           string    `xml:"ID,attr"`
	Version      string    `xml:"Version,attr"`
	Destination  string    `xml:"Destination,attr"`
	ACS          string    `xml:"AssertionConsumerServiceURL,attr"`
	Binding      string    `xml:"ProtocolBinding,attr"`
	IssueInstant time.Time `xml:"IssueInstant,attr"`
	Issuer       string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Policy       struct {
		AllowCreate bool   `xml:"AllowCreate,attr"`
		Format      string `xml:"Format,attr"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol NameIDPolicy"`
}

func checkRequest(t *testing.T, text []byte, id, destination string) {
	t.Helper()
	var r authnRequest
	if err := xml.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if r.ID != id || len(id) < 40 {
		t.Errorf("ID = %q, want %q of at least 40 characters", r.ID, id)
	}
	if r.Version != "2.0" || r.Destination != destination || r.ACS != acs || r.Binding != bindingPost || r.Issuer != entityID {
		t.Errorf("request = %+v, want one to %q", r, destination)
	}
	if age := time.Since(r.IssueInstant); age < -time.Second || age > time.Minute {
		t.Errorf("issued %s ago, want now", age)
	}
	if !r.Policy.AllowCreate || r.Policy.Format != "" {
		t.Errorf("NameIDPolicy = %+v, want AllowCreate and no format", r.Policy)
	}
}

// E14, E02: the Redirect binding, verified as the specification says and with
// the standard library alone.
func TestBeginRedirect(t *testing.T) {
	t.Parallel()
	_, certificate := spKey()
	for _, test := range []struct {
		what, destination, relayState string
	}{
		{"E14 an AuthnRequest, signed with SHA-256", "https://idp.acme.example/sso", "abc-DEF_123"},
		{"no RelayState", "https://idp.acme.example/sso", ""},
		{"a destination with a query of its own, which is not signed", "https://idp.acme.example/sso?tenant=a&b=c%20d", "x"},
		{"E02 RelayState that would add a parameter", "https://idp.acme.example/sso", "a&SigAlg=x&RelayState=y+z %"},
	} {
		t.Run(test.what, func(t *testing.T) {
			r := newRig(t, nil)
			r.endpoints(map[string]string{bindingRedirect: test.destination, bindingPost: "https://idp.acme.example/post"})
			begun, err := r.sp.Begin(test.relayState, "")
			if err != nil {
				t.Fatal(err)
			}
			if begun.Post != nil {
				t.Errorf("Post = %+v, want a redirect alone", begun.Post)
			}
			separator := "?"
			if strings.Contains(test.destination, "?") {
				separator = "&"
			}
			query, ok := strings.CutPrefix(begun.Redirect, test.destination+separator)
			if !ok {
				t.Fatalf("Redirect = %q, want one to %q", begun.Redirect, test.destination)
			}
			params := checkDetachedSignature(t, query, certificate)
			if got := params.Get("RelayState"); got != test.relayState || params.Has("RelayState") != (test.relayState != "") {
				t.Errorf("RelayState = %q, want %q", got, test.relayState)
			}
			text := inflate(t, params.Get("SAMLRequest"))
			checkRequest(t, text, begun.RequestID, test.destination)
			if bytes.Contains(text, []byte("Signature")) {
				t.Errorf("a signature inside a request of the Redirect binding: %s", text)
			}
		})
	}
}

// inflate returns the text of a message of the Redirect binding.
func inflate(t *testing.T, message string) []byte {
	t.Helper()
	deflated, err := base64.StdEncoding.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checkDetachedSignature checks the query of a request, in which each parameter
// is there once and in the order that is signed.
func checkDetachedSignature(t *testing.T, query string, certificate *x509.Certificate) url.Values {
	t.Helper()
	content, signature, ok := strings.Cut(query, "&Signature=")
	if !ok {
		t.Fatalf("no signature in %q", query)
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for part := range strings.SplitSeq(content, "&") {
		name, _, _ := strings.Cut(part, "=")
		names = append(names, name)
	}
	if got := strings.Join(names, " "); got != "SAMLRequest SigAlg" && got != "SAMLRequest RelayState SigAlg" {
		t.Errorf("signed parameters = %s, want SAMLRequest [RelayState] SigAlg", got)
	}
	if got, want := params.Get("SigAlg"), "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"; got != want {
		t.Errorf("SigAlg = %q, want %q", got, want)
	}
	raw, err := url.QueryUnescape(signature)
	if err != nil {
		t.Fatal(err)
	}
	value, err := base64.StdEncoding.DecodeString(raw)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(content))
	if err := rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], value); err != nil {
		t.Errorf("signature: %v", err)
	}
	return params
}

func (r *rig) endpoints(endpoints map[string]string) {
	r.t.Helper()
	m := r.idp.Metadata()
	m.Endpoints = endpoints
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// The POST binding, where the IdP offers no other: the signature is inside, right
// after the Issuer as the schema wants it.
func TestBeginPost(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	const to = "https://idp.acme.example/post?a=b"
	r.endpoints(map[string]string{bindingPost: to})
	begun, err := r.sp.Begin("token", "")
	if err != nil {
		t.Fatal(err)
	}
	if begun.Redirect != "" || begun.Post == nil {
		t.Fatalf("Begin = %+v, want a form", begun)
	}
	if begun.Post.Action != to || begun.Post.RelayState != "token" {
		t.Errorf("form = %+v, want one to %q with the relay state", begun.Post, to)
	}
	text, err := base64.StdEncoding.DecodeString(begun.Post.Message)
	if err != nil {
		t.Fatal(err)
	}
	checkRequest(t, text, begun.RequestID, to)
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		t.Fatal(err)
	}
	children := doc.Root().ChildElements()
	if len(children) != 3 || children[0].Tag != "Issuer" || children[1].Tag != "Signature" {
		t.Errorf("children are not Issuer, Signature, NameIDPolicy in %s", text)
	}
	if got := doc.FindElement("//SignatureMethod").SelectAttrValue("Algorithm", ""); got != samltest.RSASHA256 {
		t.Errorf("signature method = %q, want %q", got, samltest.RSASHA256)
	}
	_, certificate := spKey()
	v := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{certificate}})
	if _, err := v.Validate(doc.Root()); err != nil {
		t.Errorf("signature: %v", err)
	}
	doc.Root().CreateAttr("Destination", "https://other.example")
	if _, err := v.Validate(doc.Root()); err == nil {
		t.Error("a request that was changed is still signed")
	}
}

// A hint goes where the IdP is set up to have it, and nowhere else: it is no part of
// what is signed of the URL, nor of the Destination.
func TestBeginHint(t *testing.T) {
	t.Parallel()
	const hint, to = "änn+x@acme.example <&>", "https://idp.acme.example/sso?a=b"
	for _, test := range []struct{ subject, query, post bool }{
		{}, {subject: true}, {query: true}, {true, true, false}, {subject: true, post: true}, {query: true, post: true},
	} {
		r := newRig(t, func(o *samlsp.Options) { o.HintSubject, o.HintQuery = test.subject, test.query })
		binding := bindingRedirect
		if test.post {
			binding = bindingPost
		}
		r.endpoints(map[string]string{binding: to})
		begun, err := r.sp.Begin("token", hint)
		if err != nil {
			t.Fatal(err)
		}
		location := begun.Redirect
		if test.post {
			location = begun.Post.Action
		}
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if test.query {
			want = hint
		}
		if got := u.Query().Get("login_hint"); got != want || u.Query().Get("a") != "b" {
			t.Errorf("%+v: login_hint = %q in %s, want %q", test, got, location, want)
		}
		var text []byte
		if test.post {
			text, err = base64.StdEncoding.DecodeString(begun.Post.Message)
		} else {
			deflated, _ := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
			text, err = io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
		}
		if err != nil {
			t.Fatal(err)
		}
		checkRequest(t, text, begun.RequestID, to)
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(text); err != nil {
			t.Fatal(err)
		}
		got := ""
		if name := doc.FindElement("//saml:Subject/saml:NameID"); name != nil {
			got = name.Text()
			if next := doc.FindElement("//saml:Subject").NextSibling(); next == nil || next.Tag != "NameIDPolicy" {
				t.Errorf("%+v: the Subject is not before the NameIDPolicy: %s", test, text)
			}
		}
		want = ""
		if test.subject {
			want = hint
		}
		if got != want {
			t.Errorf("%+v: Subject = %q, want %q", test, got, want)
		}
	}
}

// Where a discovery service is used, our metadata says where that comes back to, as
// the first thing in the role.
func TestMetadataDiscovery(t *testing.T) {
	t.Parallel()
	const back = "https://sso.example.com/.jitgate/login"
	for _, location := range []string{"", back} {
		r := newRig(t, func(o *samlsp.Options) { o.DiscoveryReturn = location })
		text, err := r.sp.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(text); err != nil {
			t.Fatal(err)
		}
		got := ""
		if d := doc.FindElement("/EntityDescriptor/SPSSODescriptor/Extensions/DiscoveryResponse"); d != nil {
			got = d.SelectAttrValue("Location", "")
			if d.SelectAttrValue("Binding", "") != "urn:oasis:names:tc:SAML:profiles:SSO:idp-discovery-protocol" || d.NamespaceURI() != d.SelectAttrValue("Binding", "") {
				t.Errorf("DiscoveryResponse = %s", text)
			}
			if first := doc.FindElement("//SPSSODescriptor").ChildElements()[0]; first.Tag != "Extensions" {
				t.Errorf("the role begins with %s, want its Extensions", first.Tag)
			}
		}
		if got != location {
			t.Errorf("a discovery service comes back to %q, want %q", got, location)
		}
		if err := r.idp.AddSP(text); err != nil {
			t.Errorf("the metadata cannot be taken in: %v", err)
		}
	}
	r := newRig(t, nil)
	r.o.DiscoveryReturn = "not a URL"
	if _, err := samlsp.New(r.o); err == nil {
		t.Error("a place to return to that is no URL is taken")
	}
}

func TestBeginRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if _, err := r.sp.Begin(strings.Repeat("x", 81), ""); err == nil {
		t.Error("a relay state of 81 bytes is taken")
	}
	ids := map[string]bool{}
	for range 10 {
		begun, err := r.sp.Begin("", "")
		if err != nil {
			t.Fatal(err)
		}
		ids[begun.RequestID] = true
	}
	if len(ids) != 10 {
		t.Errorf("%d request IDs of 10", len(ids))
	}
	fresh, err := samlsp.New(r.o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Begin("", ""); !errors.Is(err, samlsp.ErrNoMetadata) {
		t.Errorf("Begin without metadata: %v, want ErrNoMetadata", err)
	}
	if _, err := fresh.Finish(t.Context(), "", requestID); !errors.Is(err, samlsp.ErrNoMetadata) {
		t.Errorf("Finish without metadata: %v, want ErrNoMetadata", err)
	}
	if err := fresh.Ready(); !errors.Is(err, samlsp.ErrNoMetadata) {
		t.Errorf("Ready without metadata: %v, want ErrNoMetadata", err)
	}
}

// Our own metadata is what the IdP needs, and can be taken in by one.
func TestMetadata(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) { o.AllowEncryption = []string{"aes256-cbc"} })
	text, err := r.sp.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.idp.AddSP(text); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		t.Fatal(err)
	}
	role := doc.FindElement("/EntityDescriptor[@entityID='" + entityID + "']/SPSSODescriptor")
	if role == nil {
		t.Fatalf("no SPSSODescriptor in %s", text)
	}
	var got []string
	for _, el := range role.ChildElements() {
		got = append(got, strings.TrimSpace(el.Tag+" "+el.SelectAttrValue("use", "")))
	}
	if want := "KeyDescriptor signing, KeyDescriptor encryption, AssertionConsumerService"; strings.Join(got, ", ") != want {
		t.Errorf("role = %s, want %s", strings.Join(got, ", "), want)
	}
	service := role.SelectElement("AssertionConsumerService")
	if service.SelectAttrValue("Binding", "") != bindingPost || service.SelectAttrValue("Location", "") != acs {
		t.Errorf("ACS in %s, want %s by POST", text, acs)
	}
	for _, name := range []string{"AuthnRequestsSigned", "WantAssertionsSigned"} {
		if role.SelectAttrValue(name, "") != "true" {
			t.Errorf("%s is not true", name)
		}
	}
	got = nil
	for _, el := range role.FindElements("./KeyDescriptor[@use='encryption']/EncryptionMethod") {
		algorithm := el.SelectAttrValue("Algorithm", "")
		got = append(got, algorithm[strings.Index(algorithm, "#")+1:])
	}
	if want := "aes256-gcm aes128-gcm aes256-cbc rsa-oaep-mgf1p rsa-oaep"; strings.Join(got, " ") != want {
		t.Errorf("encryption methods = %s, want %s", strings.Join(got, " "), want)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	weak, weakCertificate, err := samltest.SelfSigned("weak", 1024, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	weakSigner := filepath.Join(t.TempDir(), "weak.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: weakCertificate.Raw})
	if err := os.WriteFile(weakSigner, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*samlsp.Options){
		"a signer whose key is weak":    func(o *samlsp.Options) { o.Metadata.SignerFile = weakSigner },
		"no name":                       func(o *samlsp.Options) { o.Name = "" },
		"a brace, which ends hash tags": func(o *samlsp.Options) { o.Name = "a}b" },
		"no entity ID":                  func(o *samlsp.Options) { o.EntityID = "" },
		"an ACS without https":          func(o *samlsp.Options) { o.ACS = "http://sso.acme.example/acs" },
		"no replay memory":              func(o *samlsp.Options) { o.Replay = nil },
		"no key":                        func(o *samlsp.Options) { o.Key = nil },
		"a weak key":                    func(o *samlsp.Options) { o.Key, o.Certificate = weak, weakCertificate },
		"another key's certificate":     func(o *samlsp.Options) { _, o.Certificate = idpKeys[0]() },
		"no metadata":                   func(o *samlsp.Options) { o.Metadata.File = "" },
		"two metadata":                  func(o *samlsp.Options) { o.Metadata.URL = "https://idp.example" },
		"metadata by http":              func(o *samlsp.Options) { o.Metadata = samlsp.MetadataSource{URL: "http://idp.example/md"} },
		"a signer that is not there":    func(o *samlsp.Options) { o.Metadata.SignerFile = r.file + ".none" },
		"a signer that is none":         func(o *samlsp.Options) { o.Metadata.SignerFile = r.file },
		"an unknown encryption":         func(o *samlsp.Options) { o.AllowEncryption = []string{"rsa-1_5"} },
	} {
		o := r.o
		change(&o)
		if _, err := samlsp.New(o); err == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
}
