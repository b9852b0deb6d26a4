package samltest

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

const (
	spEntityID = "http://sp.example/saml"
	spACS      = "http://sp.example/acs"
)

func newIdP(t *testing.T, o Options) *IdP {
	t.Helper()
	if o.URL == "" {
		o.URL = "http://idp.example"
	}
	if o.Users == nil {
		o.Users = []User{ann()}
	}
	idp, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return idp
}

func ann() User {
	return User{Name: "ann", Password: "a secret", Attributes: map[string][]string{
		"userName":   {"ann@acme.example"},
		"department": {"R&D <1>\n\t\"x\""}, // has to survive a parser's normalisation
		"groups":     {"eng-dev", "eng-ops"},
	}}
}

// A sp is crewjam's service provider, with the key that decrypts for it.
type sp struct {
	*saml.ServiceProvider
	info SPInfo
}

func newSP(t *testing.T, idp *IdP) sp {
	t.Helper()
	key, certificate, err := SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	acs, err := url.Parse(spACS)
	if err != nil {
		t.Fatal(err)
	}
	p := &saml.ServiceProvider{
		EntityID: spEntityID, AcsURL: *acs, Key: key, Certificate: certificate,
		SignatureMethod: dsig.RSASHA256SignatureMethod,
	}
	p.IDPMetadata = crewjamMetadata(t, idp)
	return sp{p, SPInfo{EntityID: spEntityID, ACS: spACS, Certificate: certificate}}
}

func crewjamMetadata(t *testing.T, idp *IdP) *saml.EntityDescriptor {
	t.Helper()
	raw, err := idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMetadata(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// accept parses the message as crewjam does, and returns its assertion.
func (p sp) accept(t *testing.T, m *Message, requestIDs ...string) *saml.Assertion {
	t.Helper()
	raw, err := m.XML()
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := p.ParseXMLResponse(raw, requestIDs, p.AcsURL)
	if err != nil {
		t.Fatalf("message not accepted: %v\n%s", private(err), raw)
	}
	return assertion
}

func private(err error) error {
	if e, ok := err.(*saml.InvalidResponseError); ok {
		return e.PrivateErr
	}
	return err
}

func TestGoodIsAccepted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string // the real identity provider that sends this
		o    Options
	}{
		{"SimpleSAMLphp", Options{SignResponse: true}},
		{"assertion alone", Options{}},
		{"Keycloak", Options{SignResponseOnly: true}},
		{"Entra", Options{Style: DefaultNamespace, NameFormat: FormatUnspecified}},
		{"AD FS both", Options{Style: DefaultNamespace, SignResponse: true}},
		{"AD FS response", Options{Style: DefaultNamespace, SignResponseOnly: true}},
		{"encrypted GCM", Options{SignResponse: true, Encryption: AES128GCM}},
		{"encrypted CBC 128", Options{Encryption: AES128CBC}},
		{"encrypted CBC 192", Options{Encryption: AES192CBC}},
		{"encrypted CBC 256", Options{Encryption: AES256CBC}},
		{"encrypted default namespace", Options{Style: DefaultNamespace, Encryption: AES128GCM, SignResponse: true}},
		{"encrypted, response signed", Options{Style: DefaultNamespace, Encryption: AES128GCM, SignResponseOnly: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			idp := newIdP(t, tt.o)
			p := newSP(t, idp)
			user, _ := idp.User("ann")
			assertion := p.accept(t, idp.Good(p.info, "_request", user), "_request")
			if got := assertion.Subject.NameID.Value; got != "ann" {
				t.Errorf("NameID = %q, want %q", got, "ann")
			}
			for _, a := range assertion.AttributeStatements[0].Attributes {
				var got []string
				for _, v := range a.Values {
					got = append(got, v.Value)
				}
				if want := ann().Attributes[a.Name]; strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("attribute %s = %q, want %q", a.Name, got, want)
				}
				if want := or(tt.o.NameFormat, FormatBasic); a.NameFormat != want {
					t.Errorf("NameFormat = %q, want %q", a.NameFormat, want)
				}
			}
		})
	}
}

func TestSignaturesVerify(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{})
	info := SPInfo{EntityID: spEntityID, ACS: spACS}
	tests := []struct {
		name string
		set  func(*Message)
	}{
		{"plain", func(*Message) {}},
		{"default namespace", func(m *Message) { m.Style = DefaultNamespace; m.Signature.Prefix = "" }},
		{"no KeyInfo", func(m *Message) { m.Signature.KeyInfo = KeyInfoNone }},
		{"sha1", func(m *Message) { m.Signature.Method, m.Signature.Digest = RSASHA1, DigestSHA1 }},
		{"sha1 digest alone", func(m *Message) { m.Signature.Digest = DigestSHA1 }},
		{"sha384", func(m *Message) { m.Signature.Method, m.Signature.Digest = RSASHA384, DigestSHA384 }},
		{"sha512", func(m *Message) { m.Signature.Method, m.Signature.Digest = RSASHA512, DigestSHA512 }},
		{"inclusive", func(m *Message) {
			m.Signature.Canonicalization, m.Signature.Transforms = InclusiveC14N11, []string{Enveloped, InclusiveC14N11}
		}},
		{"inclusive 1.0", func(m *Message) {
			m.Signature.Canonicalization, m.Signature.Transforms = InclusiveC14N, []string{Enveloped, InclusiveC14N}
		}},
		{"with comments", func(m *Message) {
			m.Signature.Transforms = []string{Enveloped, ExclusiveC14NComment}
			m.MutateUnsigned = func(d *etree.Document) { d.FindElement("//NameID").CreateComment("c") }
		}},
		// Okta and Shibboleth name xs, which xsi:type uses but no element name does.
		{"prefix list", func(m *Message) { m.Signature.PrefixList = "xs" }},
		{"nothing to issue", func(m *Message) { m.Issuer, m.AssertionIssuer = "", "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := idp.Good(info, "_request", ann())
			m.SignAssertion, m.SignResponse = true, true
			tt.set(m)
			raw, err := m.XML()
			if err != nil {
				t.Fatal(err)
			}
			doc := parse(t, raw)
			verify(t, doc.Root(), idp.Certificates()[0])
			verify(t, assertionOf(doc), idp.Certificates()[0])
		})
	}
}

// TestBigMessageIsSigned: tests need messages beyond what goxmldsig verifies.
func TestBigMessageIsSigned(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{})
	m := idp.Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann())
	m.SetAttribute("groups", strings.Split(strings.Repeat("g ", 4999)+"g", " ")...)
	raw, err := m.XML()
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(raw, []byte("<saml:AttributeValue")); got < 5000 {
		t.Errorf("%d values, want at least 5000", got)
	}
	if !bytes.Contains(raw, []byte("SignatureValue")) {
		t.Error("not signed")
	}
}

func parse(t *testing.T, raw []byte) *etree.Document {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		t.Fatalf("parsing: %v\n%s", err, raw)
	}
	return doc
}

// verify checks the signature that el has, with goxmldsig alone.
func verify(t *testing.T, el *etree.Element, certificate *x509.Certificate) {
	t.Helper()
	context, err := etreeutils.NSBuildParentContext(el)
	if err != nil {
		t.Fatal(err)
	}
	detached, err := etreeutils.NSDetatch(context, el)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifySignature(detached, []*x509.Certificate{certificate}); err != nil {
		t.Errorf("signature of %s: %v", el.Tag, err)
	}
}

func TestSignatureComesAfterIssuer(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{SignResponse: true})
	raw, err := idp.Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann()).XML()
	if err != nil {
		t.Fatal(err)
	}
	doc := parse(t, raw)
	for _, el := range []*etree.Element{doc.Root(), assertionOf(doc)} {
		if got := el.ChildElements()[1].Tag; got != "Signature" {
			t.Errorf("second child of %s is %s, want Signature", el.Tag, got)
		}
	}
}

func TestUnsolicited(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{})
	p := newSP(t, idp)
	p.AllowIDPInitiated = true
	m := idp.Good(p.info, "", ann())
	p.accept(t, m)
	raw, err := m.XML()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("InResponseTo")) {
		t.Errorf("InResponseTo in a message that nobody asked for:\n%s", raw)
	}
}

// TestFieldsShow: each field ends up where the specification has it, and its
// absence takes the element away.
func TestFieldsShow(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{})
	tests := []struct {
		name    string
		set     func(*Message)
		path    string
		present bool
	}{
		{"several audiences in one restriction", func(m *Message) { m.Audiences = [][]string{{"a", "b"}} }, "//AudienceRestriction/Audience[2]", true},
		{"several restrictions", func(m *Message) { m.Audiences = [][]string{{"a"}, {"b"}} }, "//Conditions/AudienceRestriction[2]", true},
		{"no audience", func(m *Message) { m.Audiences = nil }, "//AudienceRestriction", false},
		{"no status", func(m *Message) { m.Omit = OmitStatus }, "//Status", false},
		{"no assertion", func(m *Message) { m.Omit = OmitAssertion }, "//Assertion", false},
		{"no subject", func(m *Message) { m.Omit = OmitSubject }, "//Subject", false},
		{"no name", func(m *Message) { m.Omit = OmitNameID }, "//NameID", false},
		{"empty name", func(m *Message) { m.NameID.Value = "" }, "//NameID", true},
		{"no conditions", func(m *Message) { m.Omit = OmitConditions }, "//Conditions", false},
		{"no authn statement", func(m *Message) { m.Omit = OmitAuthnStatement }, "//AuthnStatement", false},
		{"no attribute statement", func(m *Message) { m.Omit = OmitAttributeStatement }, "//AttributeStatement", false},
		{"no confirmation", func(m *Message) { m.Confirmations = nil }, "//SubjectConfirmation", false},
		{"confirmation without data", func(m *Message) { m.Confirmations[0].NoData = true }, "//SubjectConfirmationData", false},
		{"no destination", func(m *Message) { m.Destination = "" }, "/Response[@Destination]", false},
		{"nested status", func(m *Message) { m.Status = Status{StatusResponder, StatusAuthnFailed, "no"} }, "//StatusCode/StatusCode", true},
		{"status message", func(m *Message) { m.Status.Message = "no" }, "//StatusMessage", true},
		{"friendly name", func(m *Message) { m.Attributes[0].FriendlyName = "x" }, "//Attribute[@FriendlyName='x']", true},
		{"attribute without value", func(m *Message) { m.SetAttribute("title") }, "//Attribute[@Name='title']/AttributeValue", false},
		{"attribute added", func(m *Message) { m.SetAttribute("title", "") }, "//Attribute[@Name='title']/AttributeValue", true},
		{"attribute removed", func(m *Message) { m.RemoveAttribute("groups") }, "//Attribute[@Name='groups']", false},
		{"no signature", func(m *Message) { m.SignAssertion = false }, "//Signature", false},
		{"key name alone", func(m *Message) { m.Signature.KeyInfo = KeyInfoName }, "//KeyName", true},
		{"retrieval method", func(m *Message) { m.Signature.KeyInfo = KeyInfoRetrieval }, "//RetrievalMethod", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := idp.Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann())
			tt.set(m)
			raw, err := m.XML()
			if err != nil {
				t.Fatal(err)
			}
			if got := parse(t, raw).FindElement(tt.path) != nil; got != tt.present {
				t.Errorf("%s present = %v, want %v\n%s", tt.path, got, tt.present, raw)
			}
		})
	}
}

func TestHooksRunInOrder(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{SignResponse: true})
	p := newSP(t, idp)
	m := idp.Good(p.info, "_request", ann())
	m.Encryption = Encryption{Method: AES256GCM, Certificate: p.info.Certificate}
	var steps []string
	see := func(step string) func(*etree.Document) {
		return func(d *etree.Document) {
			for _, path := range []string{"//Assertion", "//Assertion/Signature", "//EncryptedAssertion", "/Response/Signature"} {
				if d.FindElement(path) != nil {
					step += " " + path
				}
			}
			steps = append(steps, step)
		}
	}
	m.MutateUnsigned, m.MutateAssertionSigned = see("unsigned"), see("assertion")
	m.MutateEncrypted, m.MutateSigned = see("encrypted"), see("signed")
	m.MutateBytes = func(b []byte) []byte { return append(b, "<!-- last -->"...) }
	raw, err := m.XML()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"unsigned //Assertion",
		"assertion //Assertion //Assertion/Signature",
		"encrypted //EncryptedAssertion",
		"signed //EncryptedAssertion /Response/Signature",
	}
	if got := strings.Join(steps, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("steps:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if !bytes.HasSuffix(raw, []byte("<!-- last -->")) {
		t.Error("MutateBytes did not have the last word")
	}
	encoded, err := m.Base64()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := base64.StdEncoding.DecodeString(encoded); err != nil {
		t.Errorf("Base64: %v", err)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{SignMetadata: true, MetadataValid: time.Hour, PostOnly: true})
	raw, err := idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	verify(t, parse(t, raw).Root(), idp.Certificates()[0])
	m := crewjamMetadata(t, idp)
	if m.EntityID != "http://idp.example/metadata" {
		t.Errorf("entityID = %q, want %q", m.EntityID, "http://idp.example/metadata")
	}
	if left := time.Until(m.ValidUntil); left < 59*time.Minute || left > time.Hour {
		t.Errorf("valid for %v, want an hour", left)
	}
	sso := m.IDPSSODescriptors[0].SingleSignOnServices
	if len(sso) != 1 || sso[0].Binding != BindingPost {
		t.Errorf("SingleSignOnService = %v, want %s alone", sso, BindingPost)
	}
}

func TestRollover(t *testing.T) {
	t.Parallel()
	idp := newIdP(t, Options{})
	old := idp.Certificates()[0]
	p := newSP(t, idp)
	signer := func() *x509.Certificate { return idp.Good(p.info, "_r", ann()).Signature.Certificate }

	if err := idp.BeginRollover(); err != nil {
		t.Fatal(err)
	}
	if n := len(idp.Certificates()); n != 2 {
		t.Fatalf("%d certificates after BeginRollover, want 2", n)
	}
	if !signer().Equal(old) {
		t.Error("the new key signs before Switch")
	}
	p.IDPMetadata = crewjamMetadata(t, idp)
	idp.Switch()
	if signer().Equal(old) {
		t.Error("the old key signs after Switch")
	}
	p.accept(t, idp.Good(p.info, "_r", ann()), "_r")
	if n := len(idp.Certificates()); n != 2 {
		t.Errorf("%d certificates after Switch, want 2", n)
	}
	idp.EndRollover()
	if list := idp.Certificates(); len(list) != 1 || list[0].Equal(old) {
		t.Errorf("EndRollover did not leave the new certificate alone")
	}
}
