package testenv

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
)

// testSP is a service provider just large enough to sign in at: /login begins,
// /acs shows who came back.
type testSP struct {
	saml.ServiceProvider
	url       string
	requests  []string
	last      *saml.Assertion
	unchecked bool // shows any response as it is, without looking into it
}

func newTestSP(t *testing.T, idp *SimpleSAMLIdP) *testSP {
	sp := &testSP{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", sp.login)
	mux.HandleFunc("POST /acs", sp.acs)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	sp.url = strings.Replace(server.URL, "127.0.0.1", "sp.localhost", 1)
	base, _ := url.Parse(sp.url)
	c := SelfSigned()
	sp.Key, sp.Certificate = c.Key, c.Certificate
	sp.SignatureMethod = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	sp.AcsURL, sp.MetadataURL = *base.JoinPath("acs"), *base.JoinPath("metadata")
	sp.readMetadata(t, idp)
	data, err := xml.Marshal(sp.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	idp.AddSP(data)
	return sp
}

func (sp *testSP) readMetadata(t *testing.T, idp *SimpleSAMLIdP) {
	t.Helper()
	sp.IDPMetadata = &saml.EntityDescriptor{}
	if err := xml.Unmarshal(idp.Metadata(), sp.IDPMetadata); err != nil {
		t.Fatal(err)
	}
}

func (sp *testSP) login(w http.ResponseWriter, r *http.Request) {
	req, err := sp.MakeAuthenticationRequest(sp.GetSSOBindingLocation(saml.HTTPRedirectBinding), saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	sp.requests = append(sp.requests, req.ID)
	to, err := req.Redirect("state", &sp.ServiceProvider)
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	if r.URL.Query().Has("unsigned") {
		to.RawQuery = url.Values{"SAMLRequest": to.Query()["SAMLRequest"]}.Encode()
	}
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func (sp *testSP) acs(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	if sp.unchecked {
		data, err := base64.StdEncoding.DecodeString(r.PostForm.Get("SAMLResponse"))
		fmt.Fprintf(w, "%s%v", data, err)
		return
	}
	a, err := sp.ParseResponse(r, sp.requests)
	if err != nil {
		if invalid, ok := err.(*saml.InvalidResponseError); ok {
			err = invalid.PrivateErr
		}
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	sp.last = a
	fmt.Fprintf(w, "signed in, state %q", r.PostForm.Get("RelayState"))
}

// values returns an attribute of the assertion that came last.
func (sp *testSP) values(name string) []string {
	var out []string
	for _, statement := range sp.last.AttributeStatements {
		for _, a := range statement.Attributes {
			for _, v := range a.Values {
				if a.Name == name {
					out = append(out, v.Value)
				}
			}
		}
	}
	return out
}

// mustLogin signs in with a browser of its own.
func (sp *testSP) mustLogin(t *testing.T, user string) *Page {
	t.Helper()
	page, err := NewBrowser(t, nil).Login(sp.url+"/login", "", user, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusOK {
		t.Fatalf("status = %d, want 200; %s: %s", page.Status, page.URL, page.Body)
	}
	return page
}

func TestSimpleSAML(t *testing.T) {
	t.Parallel()
	idp := SimpleSAML(t, SimpleSAMLOptions{})
	sp := newTestSP(t, idp)

	page := sp.mustLogin(t, "jose")
	if got, want := page.Body, `signed in, state "state"`; got != want {
		t.Errorf("page = %q, want %q", got, want)
	}
	if got, want := sp.values("firstName"), []string{"José"}; !slices.Equal(got, want) {
		t.Errorf("firstName = %q, want %q", got, want)
	}
	if got := sp.values("loginName"); got != nil {
		t.Errorf("loginName = %q, want none", got)
	}
	id := sp.last.Subject.NameID
	if got, want := id.Format, string(saml.PersistentNameIDFormat); got != want {
		t.Errorf("NameID format = %q, want %q", got, want)
	}
	sp.mustLogin(t, "jose")
	if got, want := sp.last.Subject.NameID.Value, id.Value; got != want {
		t.Errorf("NameID at the second login = %q, want %q", got, want)
	}

	// Changes are there at the next login.
	idp.SetAttribute("alice", "groups", "finance")
	idp.SetAttribute("alice", "department")
	sp.mustLogin(t, "alice")
	if got, want := sp.values("groups"), []string{"finance"}; !slices.Equal(got, want) {
		t.Errorf("groups = %q, want %q", got, want)
	}
	if got := sp.values("department"); got != nil {
		t.Errorf("department = %q, want none", got)
	}
	idp.SetUser("carol", User{Password: "secret", Attributes: map[string][]string{"userName": {"carol"}}})
	sp.mustLogin(t, "carol")

	if _, err := NewBrowser(t, nil).Login(sp.url+"/login", "", "alice", "wrong"); err == nil {
		t.Error("a wrong password was accepted")
	}
	page, err := NewBrowser(t, nil).Open(sp.url + "/login?unsigned")
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusInternalServerError || !strings.Contains(page.Body, "signature") {
		t.Errorf("unsigned request: status %d, want 500 and a word on the signature: %s", page.Status, page.Text())
	}
}

func TestSimpleSAMLVariants(t *testing.T) {
	t.Parallel()
	idp := SimpleSAML(t, SimpleSAMLOptions{})
	sp := newTestSP(t, idp)
	const (
		assertionSignature = "/Response/Assertion/Signature"
		responseSignature  = "/Response/Signature"
		method             = "//EncryptedData/EncryptionMethod[@Algorithm='%s']"
	)
	tests := []struct {
		name          string
		options       SimpleSAMLOptions
		present, gone string // paths in the response
		refused       string // what crewjam says, where it cannot read or believe it
	}{
		{"assertion signed", SimpleSAMLOptions{Sign: "assertion"}, assertionSignature, responseSignature, ""},
		{"response signed", SimpleSAMLOptions{Sign: "response"}, responseSignature, assertionSignature, ""},
		{"both signed", SimpleSAMLOptions{Sign: "both"}, assertionSignature, "//EncryptedData", ""},
		{"nothing signed", SimpleSAMLOptions{Sign: "none"}, "/Response/Assertion", "//Signature", "signature element not present"},
		{"SHA-512", SimpleSAMLOptions{SignatureMethod: "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"},
			"//SignatureMethod[@Algorithm='http://www.w3.org/2001/04/xmldsig-more#rsa-sha512']", "//EncryptedData", ""},
		{"AES-128-GCM", SimpleSAMLOptions{Sign: "both", Encrypt: "aes128-gcm"},
			fmt.Sprintf(method, "http://www.w3.org/2009/xmlenc11#aes128-gcm"), assertionSignature, ""},
		{"AES-256-GCM, which crewjam does not know", SimpleSAMLOptions{Sign: "response", Encrypt: "aes256-gcm"},
			fmt.Sprintf(method, "http://www.w3.org/2009/xmlenc11#aes256-gcm"), assertionSignature, "aes256-gcm"},
		{"AES-256-CBC", SimpleSAMLOptions{Encrypt: "aes256-cbc"},
			fmt.Sprintf(method, "http://www.w3.org/2001/04/xmlenc#aes256-cbc"), responseSignature, ""},
		{"expired when it is made", SimpleSAMLOptions{Lifetime: -time.Hour}, assertionSignature, "//EncryptedData", "expired"},
		{"NameID by e-mail", SimpleSAMLOptions{NameID: "emailAddress"},
			"//NameID[@Format='urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress']", "//EncryptedData", ""},
		{"transient NameID", SimpleSAMLOptions{NameID: "transient"},
			"//NameID[@Format='urn:oasis:names:tc:SAML:2.0:nameid-format:transient']", "//EncryptedData", ""},
		{"attributes named by URI", SimpleSAMLOptions{AttributeFormat: "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"},
			"//Attribute[@NameFormat='urn:oasis:names:tc:SAML:2.0:attrname-format:uri']", "//EncryptedData", ""},
	}
	b := NewBrowser(t, nil)
	b.Hold = true
	for _, test := range tests {
		idp.Configure(test.options)
		page, err := b.Login(sp.url+"/login", "", "alice", "secret")
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		form, ok := page.FormWith("SAMLResponse")
		if !ok {
			t.Fatalf("%s: no response: %s", test.name, page.Text())
		}
		data, err := base64.StdEncoding.DecodeString(form.Values.Get("SAMLResponse"))
		if err != nil {
			t.Fatal(err)
		}
		response := etree.NewDocument()
		if err := response.ReadFromBytes(data); err != nil {
			t.Fatal(err)
		}
		if response.FindElement(test.present) == nil {
			t.Errorf("%s: no %s in %s", test.name, test.present, data)
		}
		if response.FindElement(test.gone) != nil {
			t.Errorf("%s: %s in %s", test.name, test.gone, data)
		}
		page, err = form.Submit()
		if err != nil {
			t.Fatal(err)
		}
		if refused := page.Status != http.StatusOK; refused != (test.refused != "") || !strings.Contains(page.Body, test.refused) {
			t.Errorf("%s: status %d, %q, want the words %q", test.name, page.Status, page.Body, test.refused)
		}
	}
}

func TestSimpleSAMLRekey(t *testing.T) {
	t.Parallel()
	idp := SimpleSAML(t, SimpleSAMLOptions{})
	sp := newTestSP(t, idp)
	certificates := func() int {
		t.Helper()
		var m saml.EntityDescriptor
		if err := xml.Unmarshal(idp.Metadata(), &m); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, k := range m.IDPSSODescriptors[0].KeyDescriptors {
			if k.Use == "signing" {
				n++
			}
		}
		return n
	}
	old := sp.IDPMetadata
	if got, want := certificates(), 1; got != want {
		t.Errorf("certificates = %d, want %d", got, want)
	}
	idp.StageKey()
	if got, want := certificates(), 2; got != want {
		t.Errorf("certificates when staged = %d, want %d", got, want)
	}
	sp.readMetadata(t, idp)
	sp.mustLogin(t, "alice") // still signed with the old one
	idp.SwitchKey()
	sp.mustLogin(t, "alice")
	if got, want := certificates(), 1; got != want {
		t.Errorf("certificates after the switch = %d, want %d", got, want)
	}
	sp.IDPMetadata = old
	page, err := NewBrowser(t, nil).Login(sp.url+"/login", "", "alice", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := page.Status, http.StatusForbidden; got != want {
		t.Errorf("status with the old metadata = %d, want %d", got, want)
	}
}

func TestSimpleSAMLStartURL(t *testing.T) {
	t.Parallel()
	idp := SimpleSAML(t, SimpleSAMLOptions{PostOnly: true})
	sp := newTestSP(t, idp)
	if got := sp.GetSSOBindingLocation(saml.HTTPRedirectBinding); got != "" {
		t.Errorf("redirect binding at %q, want none", got)
	}
	sp.unchecked = true
	page, err := NewBrowser(t, nil).Login(idp.StartURL(sp.MetadataURL.String(), "/wiki"), "", "bob", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.Body, "bob@acme.example") || strings.Contains(page.Body, "InResponseTo") {
		t.Errorf("response = %s, want bob's, and no InResponseTo", page.Body)
	}
}
