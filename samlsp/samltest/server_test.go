package samltest

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	"golang.org/x/net/html"
)

// serve starts an IdP on a loopback port, with a service provider that it knows.
func serve(t *testing.T, o Options) (*IdP, sp) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	o.URL = "http://" + server.Listener.Addr().String()
	o.Title, o.Domain = "Acme", "acme.example"
	idp := newIdP(t, o)
	server.Config.Handler = idp
	server.Start()
	t.Cleanup(server.Close)
	p := newSP(t, idp)
	addSP(t, idp, p)
	return idp, p
}

func addSP(t *testing.T, idp *IdP, p sp) {
	t.Helper()
	raw, err := xml.Marshal(p.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.AddSP(raw); err != nil {
		t.Fatal(err)
	}
}

// A visitor is a browser without scripts.
type visitor struct {
	t      *testing.T
	client *http.Client
}

func newVisitor(t *testing.T) visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return visitor{t, &http.Client{Jar: jar, Timeout: 10 * time.Second}}
}

// A seen is a page as a visitor sees it.
type seen struct {
	status int
	url    *url.URL
	header http.Header
	body   string
	forms  []form
}

type form struct {
	method, action string
	values         url.Values
}

func (v visitor) get(address string) seen {
	v.t.Helper()
	r, err := v.client.Get(address)
	return v.see(r, err)
}

func (v visitor) see(r *http.Response, err error) seen {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if _, main, ok := bytes.Cut(body, []byte("<main>")); ok {
		body = main // the rest is the same on every page
	}
	return seen{r.StatusCode, r.Request.URL, r.Header, string(body), forms(doc)}
}

// submit sends the page's form whose action is this, with these values filled in.
func (v visitor) submit(from seen, action string, fill ...string) seen {
	v.t.Helper()
	for _, f := range from.forms {
		if f.action != action {
			continue
		}
		for i := 0; i < len(fill); i += 2 {
			if !f.values.Has(fill[i]) {
				v.t.Fatalf("form %s has no field %q", action, fill[i])
			}
			f.values.Set(fill[i], fill[i+1])
		}
		target, err := from.url.Parse(action)
		if err != nil {
			v.t.Fatal(err)
		}
		r, err := v.client.PostForm(target.String(), f.values)
		return v.see(r, err)
	}
	v.t.Fatalf("no form for %s on\n%s", action, from.body)
	return seen{}
}

func forms(doc *html.Node) []form {
	var list []form
	for n := range doc.Descendants() {
		attr := func(name string) string {
			for _, a := range n.Attr {
				if a.Key == name {
					return a.Val
				}
			}
			return ""
		}
		switch n.Data {
		case "form":
			list = append(list, form{attr("method"), attr("action"), url.Values{}})
		case "input":
			list[len(list)-1].values.Add(attr("name"), attr("value"))
		case "textarea":
			text := ""
			if n.FirstChild != nil {
				text = n.FirstChild.Data
			}
			list[len(list)-1].values.Add(attr("name"), text)
		}
	}
	return list
}

// redirect returns where crewjam sends a browser, and the ID of its request.
func (p sp) redirect(t *testing.T) (address, id string) {
	t.Helper()
	request, err := p.MakeAuthenticationRequest(p.GetSSOBindingLocation(saml.HTTPRedirectBinding), saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		t.Fatal(err)
	}
	u, err := request.Redirect("state%2F1", p.ServiceProvider)
	if err != nil {
		t.Fatal(err)
	}
	return u.String(), request.ID
}

// answered returns the assertion in the page that leads back to the service
// provider, which has to be there.
func (p sp) answered(t *testing.T, page seen, requestIDs ...string) *saml.Assertion {
	t.Helper()
	if page.status != http.StatusOK || len(page.forms) != 1 || page.forms[0].action != spACS {
		t.Fatalf("status %d, want a form for %s:\n%s", page.status, spACS, page.body)
	}
	raw, err := base64.StdEncoding.DecodeString(page.forms[0].values.Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := p.ParseXMLResponse(raw, requestIDs, p.AcsURL)
	if err != nil {
		t.Fatalf("answer not accepted: %v\n%s", private(err), raw)
	}
	return assertion
}

func values(a *saml.Assertion, name string) string {
	var list []string
	for _, s := range a.AttributeStatements {
		for _, a := range s.Attributes {
			if a.Name == name {
				for _, v := range a.Values {
					list = append(list, v.Value)
				}
			}
		}
	}
	return strings.Join(list, "|")
}

func TestSignInByRedirect(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{})
	v := newVisitor(t)
	address, id := p.redirect(t)
	page := v.get(address)
	page = v.submit(page, "/login", "username", "ann", "password", "a secret")
	if got := p.answered(t, page, id).Subject.NameID.Format; got != NameIDTransient {
		t.Errorf("NameID format = %q, want %q as crewjam asked", got, NameIDTransient)
	}
	if got := page.forms[0].values.Get("RelayState"); got != "state/1" {
		t.Errorf("RelayState = %q, want %q", got, "state/1")
	}

	// A second time the session is there, and no password is asked for.
	address, id = p.redirect(t)
	p.answered(t, v.get(address), id)

	if page = v.submit(v.get(idp.options.URL), "/logout"); !strings.Contains(page.body, "is not signed in here") {
		t.Errorf("after signing out:\n%s", page.body)
	}
	if page = v.get(address); len(page.forms) != 1 || page.forms[0].action != "/login" {
		t.Errorf("no login page after signing out:\n%s", page.body)
	}
}

func TestSignInByPost(t *testing.T) {
	t.Parallel()
	_, p := serve(t, Options{PostOnly: true})
	v := newVisitor(t)
	request, err := p.MakeAuthenticationRequest(p.GetSSOBindingLocation(saml.HTTPPostBinding), saml.HTTPPostBinding, saml.HTTPPostBinding)
	if err != nil {
		t.Fatal(err)
	}
	page := v.postRequest(request, "state-2")
	page = v.submit(page, "/login", "username", "ann", "password", "a secret")
	p.answered(t, page, request.ID)
	if got := page.forms[0].values.Get("RelayState"); got != "state-2" {
		t.Errorf("RelayState = %q, want %q", got, "state-2")
	}

	r := v.get(strings.Replace(request.Destination, "/sso", "/sso?SAMLRequest=x", 1))
	if r.status != http.StatusBadRequest || !strings.Contains(r.body, "not offered") {
		t.Errorf("GET /sso of a PostOnly identity provider: status %d\n%s", r.status, r.body)
	}
}

// postRequest sends the request as a page of the service provider does: from
// another origin.
func (v visitor) postRequest(request *saml.AuthnRequest, relayState string) seen {
	v.t.Helper()
	doc := etree.NewDocument()
	doc.SetRoot(request.Element())
	raw, err := doc.WriteToBytes()
	if err != nil {
		v.t.Fatal(err)
	}
	body := url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString(raw)}, "RelayState": {relayState}}
	r, err := http.NewRequest("POST", request.Destination, strings.NewReader(body.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Origin", "http://sp.example")
	response, err := v.client.Do(r)
	return v.see(response, err)
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	_, p := serve(t, Options{})
	for _, tt := range []struct{ name, password string }{
		{"ann", "wrong"},
		{"ann", ""},
		{"nobody", ""}, // an unknown user has an empty password, which must not do
		{"", ""},
	} {
		v := newVisitor(t)
		address, id := p.redirect(t)
		page := v.submit(v.get(address), "/login", "username", tt.name, "password", tt.password)
		if page.status != http.StatusUnauthorized || !strings.Contains(page.body, "Wrong user name or password") {
			t.Errorf("%q with %q: status %d, want 401\n%s", tt.name, tt.password, page.status, page.body)
		}
		if page.header.Get("Set-Cookie") != "" {
			t.Errorf("%q with %q: a session began", tt.name, tt.password)
		}
		page = v.submit(page, "/login", "username", "ann", "password", "a secret")
		p.answered(t, page, id)
	}
}

// Whoever has typed an email address to get here types it again.
func TestEmailForName(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{})
	idp.SetAttribute("ann", "email", "ann@other.example", "ann@idp.example")
	v := newVisitor(t)
	address, id := p.redirect(t)
	page := v.submit(v.get(address), "/login", "username", "ann@idp.example", "password", "wrong")
	if page.status != http.StatusUnauthorized {
		t.Errorf("a wrong password: status %d, want 401", page.status)
	}
	page = v.submit(page, "/login", "username", "ann@idp.example", "password", "a secret")
	p.answered(t, page, id)
}

// TestRefusedRequests: each is refused on a page that says why, and nothing is
// sent to anybody.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{})
	redirect := func(change func(*saml.AuthnRequest)) string {
		request, err := p.MakeAuthenticationRequest(p.GetSSOBindingLocation(saml.HTTPRedirectBinding), saml.HTTPRedirectBinding, saml.HTTPPostBinding)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		u, err := request.Redirect("state", p.ServiceProvider)
		if err != nil {
			t.Fatal(err)
		}
		return u.String()
	}
	good, _ := p.redirect(t)
	unsigned, _, _ := strings.Cut(good, "&SigAlg=")
	elsewhere := redirect(func(r *saml.AuthnRequest) { r.Destination = "http://other.example/sso" })
	elsewhere = strings.Replace(elsewhere, "http://other.example", idp.options.URL, 1)
	tests := []struct {
		name, url, want string
	}{
		{"unknown service provider", redirect(func(r *saml.AuthnRequest) { r.Issuer.Value = "http://other.example" }), "not known here"},
		{"wrong ACS", redirect(func(r *saml.AuthnRequest) { r.AssertionConsumerServiceURL = "http://evil.example/acs" }), "is not in the metadata"},
		{"for another identity provider", elsewhere, "is for"},
		{"answer by another binding", redirect(func(r *saml.AuthnRequest) { r.ProtocolBinding = BindingRedirect }), "wants its answer by"},
		{"old", redirect(func(r *saml.AuthnRequest) { r.IssueInstant = r.IssueInstant.Add(-time.Hour) }), "not about now"},
		{"version", redirect(func(r *saml.AuthnRequest) { r.Version = "1.1" }), "version"},
		{"unsigned", unsigned, "signature"},
		{"RelayState changed", strings.Replace(good, "RelayState=state", "RelayState=other", 1), "signature"},
		{"RelayState written otherwise", strings.Replace(good, "state%2F1", "state/1", 1), "signature"}, // the octets count
		{"SHA-1", strings.Replace(good, "rsa-sha256", "rsa-sha1", 1), "SHA-256"},
		{"parameter twice", good + "&RelayState=x", "comes twice"},
		{"nothing", strings.Split(good, "?")[0], "no SAMLRequest"},
		{"not XML", strings.Split(good, "?")[0] + "?SAMLRequest=" + url.QueryEscape("S0ktLskvAgA="), "not"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			page := newVisitor(t).get(tt.url)
			if page.status != http.StatusBadRequest || !strings.Contains(page.body, tt.want) || len(page.forms) > 0 {
				t.Errorf("status %d, want 400 and %q:\n%s", page.status, tt.want, page.body)
			}
		})
	}
}

func TestBadSignatureByPost(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{})
	stranger := newSP(t, idp) // another key under the same name
	for name, from := range map[string]*saml.ServiceProvider{"another key": stranger.ServiceProvider, "unsigned": {
		EntityID: spEntityID, AcsURL: p.AcsURL, Key: p.Key, Certificate: p.Certificate, IDPMetadata: p.IDPMetadata,
	}} {
		request, err := from.MakeAuthenticationRequest(from.GetSSOBindingLocation(saml.HTTPPostBinding), saml.HTTPPostBinding, saml.HTTPPostBinding)
		if err != nil {
			t.Fatal(err)
		}
		page := newVisitor(t).postRequest(request, "state")
		if page.status != http.StatusBadRequest || !strings.Contains(page.body, "signature") {
			t.Errorf("%s: status %d, want 400 and a word on the signature:\n%s", name, page.status, page.body)
		}
	}
}

// TestServiceProviderWithoutKey: it cannot sign, so it need not.
func TestServiceProviderWithoutKey(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{})
	p.SignatureMethod = ""
	addSP(t, idp, p)
	address, id := p.redirect(t)
	v := newVisitor(t)
	p.answered(t, v.submit(v.get(address), "/login", "username", "ann", "password", "a secret"), id)
}

func TestPassiveAndForced(t *testing.T) {
	t.Parallel()
	_, p := serve(t, Options{})
	v := newVisitor(t)
	ask := func(change func(*saml.AuthnRequest)) (seen, string) {
		request, err := p.MakeAuthenticationRequest(p.GetSSOBindingLocation(saml.HTTPPostBinding), saml.HTTPPostBinding, saml.HTTPPostBinding)
		if err != nil {
			t.Fatal(err)
		}
		request.Signature = nil
		change(request)
		if err := p.SignAuthnRequest(request); err != nil {
			t.Fatal(err)
		}
		return v.postRequest(request, "state"), request.ID
	}
	yes := true
	status := func(page seen) string {
		raw, err := base64.StdEncoding.DecodeString(page.forms[0].values.Get("SAMLResponse"))
		if err != nil {
			t.Fatal(err)
		}
		doc := parse(t, raw)
		if assertionOf(doc) != nil {
			t.Errorf("an Assertion in a refusal:\n%s", raw)
		}
		return doc.FindElement("//StatusCode/StatusCode").SelectAttrValue("Value", "")
	}
	page, _ := ask(func(r *saml.AuthnRequest) { r.IsPassive = &yes })
	if got := status(page); got != StatusNoPassive {
		t.Errorf("passive request of nobody: status %q, want %q", got, StatusNoPassive)
	}
	page, id := ask(func(*saml.AuthnRequest) {})
	p.answered(t, v.submit(page, "/login", "username", "ann", "password", "a secret"), id)
	page, id = ask(func(r *saml.AuthnRequest) { r.IsPassive = &yes })
	p.answered(t, page, id)
	if page, _ = ask(func(r *saml.AuthnRequest) { r.ForceAuthn = &yes }); page.forms[0].action != "/login" {
		t.Errorf("a forced request asked for no password:\n%s", page.body)
	}
	odd := "urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos"
	page, _ = ask(func(r *saml.AuthnRequest) { r.NameIDPolicy.Format = &odd })
	if got := status(page); got != StatusInvalidNameID {
		t.Errorf("request for an unknown NameID format: status %q, want %q", got, StatusInvalidNameID)
	}
	for format, want := range map[string]string{NameIDEmail: "ann", NameIDUnspecified: "ann"} {
		page, id = ask(func(r *saml.AuthnRequest) { r.NameIDPolicy.Format = &format })
		if got := p.answered(t, page, id).Subject.NameID; got.Format != format || got.Value != want {
			t.Errorf("NameID = %q of %q, want %q of %q", got.Value, got.Format, want, format)
		}
	}
	persistent := NameIDPersistent
	var names []string
	for range 2 {
		page, id = ask(func(r *saml.AuthnRequest) { r.NameIDPolicy.Format = &persistent })
		names = append(names, p.answered(t, page, id).Subject.NameID.Value)
	}
	if names[0] != names[1] || len(names[0]) != 64 {
		t.Errorf("persistent names %q, want the same twice", names)
	}
}

func TestStartAtTheIdentityProvider(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{})
	p.AllowIDPInitiated = true
	v := newVisitor(t)
	link := "/start?sp=" + url.QueryEscape(spEntityID)
	if home := v.get(idp.options.URL); !strings.Contains(home.body, `href="`+link+`"`) {
		t.Fatalf("no link %s on the home page:\n%s", link, home.body)
	}
	page := v.submit(v.get(idp.options.URL+link+"&RelayState=%2Fwiki"), "/login", "username", "ann", "password", "a secret")
	assertion := p.answered(t, page)
	if got := assertion.Subject.SubjectConfirmations[0].SubjectConfirmationData.InResponseTo; got != "" {
		t.Errorf("InResponseTo = %q, want none", got)
	}
	if got := page.forms[0].values.Get("RelayState"); got != "/wiki" {
		t.Errorf("RelayState = %q, want %q", got, "/wiki")
	}
	if page = v.get(idp.options.URL + "/start?sp=http://other.example"); page.status != http.StatusNotFound {
		t.Errorf("unknown service provider: status %d, want 404", page.status)
	}
}

func TestChangedAttributesShowAtNextSignIn(t *testing.T) {
	t.Parallel()
	idp, p := serve(t, Options{Adjust: func(m *Message) { m.SetAttribute("adjusted", "yes") }})
	v := newVisitor(t)
	address, id := p.redirect(t)
	first := p.answered(t, v.submit(v.get(address), "/login", "username", "ann", "password", "a secret"), id)
	if got := values(first, "groups"); got != "eng-dev|eng-ops" {
		t.Fatalf("groups = %q, want %q", got, "eng-dev|eng-ops")
	}
	if got := values(first, "adjusted"); got != "yes" {
		t.Errorf("Adjust was not called")
	}
	home := v.get(idp.options.URL)
	home = v.submit(home, "/attributes", "attribute-groups", " sales \r\n\r\nbuyers, EU\r\n", "attribute-department", "")
	if home.status != http.StatusOK || !strings.Contains(home.body, "sales\nbuyers, EU</textarea>") {
		t.Errorf("home page after the change: status %d\n%s", home.status, home.body)
	}
	address, id = p.redirect(t)
	next := p.answered(t, v.get(address), id)
	if got := values(next, "groups"); got != "sales|buyers, EU" {
		t.Errorf("groups = %q, want %q", got, "sales|buyers, EU")
	}
	if u, _ := idp.User("ann"); u.Attributes["department"] != nil || values(next, "department") != "" {
		t.Errorf("department is still sent: %q", u.Attributes["department"])
	}
	if got := values(next, "userName"); got != "ann@acme.example" {
		t.Errorf("userName = %q, want it left alone", got)
	}
}

func TestFormsFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	idp, _ := serve(t, Options{})
	for _, path := range []string{"/login", "/logout", "/attributes"} {
		r, err := http.NewRequest("POST", idp.options.URL+path, strings.NewReader("user=ann&attribute-groups=evil"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		v := newVisitor(t)
		response, err := v.client.Do(r)
		if page := v.see(response, err); page.status != http.StatusForbidden {
			t.Errorf("%s from another site: status %d, want 403", path, page.status)
		}
	}
	if u, _ := idp.User("ann"); len(u.Attributes["groups"]) != 2 {
		t.Errorf("groups = %q, want them unchanged", u.Attributes["groups"])
	}
}

// TestTwoOnOneHost: cookies do not tell ports apart, so that a sign-in at one
// identity provider must not end that at the other.
func TestTwoOnOneHost(t *testing.T) {
	t.Parallel()
	a, _ := serve(t, Options{})
	b, _ := serve(t, Options{})
	v := newVisitor(t)
	for _, idp := range []*IdP{a, b} {
		v.submit(v.get(idp.options.URL+"/login"), "/login", "username", "ann", "password", "a secret")
	}
	for _, idp := range []*IdP{a, b} {
		if page := v.get(idp.options.URL); !strings.Contains(page.body, "signed in here as <strong>ann") {
			t.Errorf("not signed in at %s:\n%s", idp.options.URL, page.body)
		}
	}
}

func TestSignInIsUsedOnce(t *testing.T) {
	t.Parallel()
	_, p := serve(t, Options{})
	v := newVisitor(t)
	address, id := p.redirect(t)
	page := v.get(address)
	p.answered(t, v.submit(page, "/login", "username", "ann", "password", "a secret"), id)
	if page = v.submit(page, "/login", "username", "ann", "password", "a secret"); page.status != http.StatusBadRequest {
		t.Errorf("the same form again: status %d, want 400", page.status)
	}
}

func TestServedMetadata(t *testing.T) {
	t.Parallel()
	idp, _ := serve(t, Options{})
	page := newVisitor(t).get(idp.EntityID())
	m, err := parseMetadata([]byte(page.body))
	if err != nil || m.EntityID != idp.EntityID() {
		t.Errorf("metadata of %v, %v, want that of %q", m, err, idp.EntityID())
	}
	if got := page.header.Get("Content-Type"); got != "application/samlmetadata+xml" {
		t.Errorf("Content-Type = %q, want application/samlmetadata+xml", got)
	}
}

func TestBadOptionsAndMetadata(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{URL: ""}, {URL: "localhost:8081"}, {URL: "http://localhost:8081/idp"}, {URL: "ftp://localhost"},
		{URL: "http://localhost", PostOnly: true, RedirectOnly: true},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) made an identity provider", o)
		}
	}
	idp := newIdP(t, Options{})
	for _, metadata := range []string{
		"", "<x/>", `<EntityDescriptor xmlns="` + NSMetadata + `"/>`,
		`<EntityDescriptor xmlns="` + NSMetadata + `" entityID="x"/>`, // no assertion consumer service
	} {
		if err := idp.AddSP([]byte(metadata)); err == nil {
			t.Errorf("AddSP(%q) made a service provider known", metadata)
		}
	}
}
