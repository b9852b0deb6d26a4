package samlsp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
)

// A site is an SP behind HTTP, as small as it can be: /login begins, and /acs
// keeps what Finish says.
type site struct {
	url       string
	sp        *samlsp.SP
	requestID string
	identity  *samlsp.Identity
	err       error
}

func newSite(t *testing.T, idp *testenv.SimpleSAMLIdP, allow ...string) *site {
	t.Helper()
	s := &site{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("POST /acs", s.acs)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	rdb := redis.NewClient(&redis.Options{Addr: testenv.Embedded(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	o := samlsp.Options{
		Name: "acme", EntityID: s.url, ACS: s.url + "/acs", AllowEncryption: allow,
		Metadata: samlsp.MetadataSource{URL: idp.MetadataURL}, Replay: samlsp.NewReplay(rdb, "jitgate:"),
	}
	o.Key, o.Certificate = spKey()
	var err error
	if s.sp, err = samlsp.New(o); err != nil {
		t.Fatal(err)
	}
	if _, err := s.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	metadata, err := s.sp.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	idp.AddSP(metadata)
	return s
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	begun, err := s.sp.Begin("some-token", "")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.requestID = begun.RequestID
	if begun.Post == nil {
		http.Redirect(w, r, begun.Redirect, http.StatusFound)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<form method="post" action="%s"><input name="SAMLRequest" value="%s"><input name="RelayState" value="%s"><input type="submit"></form>`,
		begun.Post.Action, begun.Post.Message, begun.Post.RelayState)
}

func (s *site) acs(w http.ResponseWriter, r *http.Request) {
	s.identity, s.err = s.sp.Finish(r.Context(), r.PostFormValue("SAMLResponse"), s.requestID)
	fmt.Fprintf(w, "%q %v", r.PostFormValue("RelayState"), s.err)
}

// signIn signs alice in with a browser of her own.
func (s *site) signIn(t *testing.T) (*samlsp.Identity, error) {
	t.Helper()
	s.identity, s.err = nil, errors.New("no response came")
	page, err := testenv.NewBrowser(t, nil).Open(s.url + "/login")
	if err != nil {
		t.Fatal(err)
	}
	if form, ok := page.FormWith("SAMLRequest"); ok {
		if page, err = form.Submit(); err != nil {
			t.Fatal(err)
		}
	}
	if form, ok := page.FormWith("username", "password"); ok {
		if _, err = form.Set("username", "alice").Set("password", "secret").Submit(); err != nil {
			t.Fatal(err)
		}
	}
	return s.identity, s.err
}

// A real IdP, which knows nothing of this code: what it can be set to sign and to
// encrypt, how it is asked, and what must not come through.
func TestSimpleSAML(t *testing.T) {
	t.Parallel()
	idp := testenv.SimpleSAML(t, testenv.SimpleSAMLOptions{})
	s := newSite(t, idp, "aes128-cbc", "aes256-cbc", "unsigned-response")
	strict := newSite(t, idp)
	for _, test := range []struct {
		name  string
		o     testenv.SimpleSAMLOptions
		site  *site
		check string
	}{
		{"as it comes", testenv.SimpleSAMLOptions{}, strict, accept},
		{"Response signed", testenv.SimpleSAMLOptions{Sign: "response"}, strict, accept},
		{"both signed", testenv.SimpleSAMLOptions{Sign: "both"}, strict, accept},
		{"RSA-SHA512", testenv.SimpleSAMLOptions{SignatureMethod: "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"}, strict, accept},
		{"request by POST", testenv.SimpleSAMLOptions{PostOnly: true}, s, accept},
		{"AES-128-GCM in a signed Response", testenv.SimpleSAMLOptions{Sign: "both", Encrypt: "aes128-gcm"}, strict, accept},
		{"AES-256-GCM in a signed Response", testenv.SimpleSAMLOptions{Sign: "response", Encrypt: "aes256-gcm"}, strict, accept},
		{"AES-128-CBC, its default, where that is allowed", testenv.SimpleSAMLOptions{Sign: "both", Encrypt: "aes128-cbc"}, s, accept},
		{"AES-256-CBC in an unsigned Response, where both are allowed", testenv.SimpleSAMLOptions{Encrypt: "aes256-cbc"}, s, accept},
		{"transient NameID", testenv.SimpleSAMLOptions{NameID: "transient"}, strict, accept},
		{"NameID by e-mail", testenv.SimpleSAMLOptions{NameID: "emailAddress"}, strict, accept},

		{"nothing signed", testenv.SimpleSAMLOptions{Sign: "none"}, strict, "unsigned"},
		{"SHA-1", testenv.SimpleSAMLOptions{SignatureMethod: "http://www.w3.org/2000/09/xmldsig#rsa-sha1"}, strict, "algorithm"},
		{"CBC, which is not allowed", testenv.SimpleSAMLOptions{Sign: "both", Encrypt: "aes128-cbc"}, strict, "encryption"},
		{"encrypted in an unsigned Response, which is not allowed", testenv.SimpleSAMLOptions{Encrypt: "aes128-gcm"}, strict, "encryption"},
		{"born expired", testenv.SimpleSAMLOptions{Lifetime: -time.Hour}, strict, "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			idp.Configure(test.o)
			if _, err := test.site.sp.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			id, err := test.site.signIn(t)
			if test.check != accept {
				wantRefusal(t, id, err, test.check)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := value(id, "groups"), []string{"eng-core", "staff"}; !slices.Equal(got, want) {
				t.Errorf("groups = %q, want %q", got, want)
			}
			if id.NameID.Value == "" || id.SessionIndex == "" || id.SessionNotOnOrAfter.IsZero() || id.Issuer != idp.EntityID {
				t.Errorf("identity = %+v, want NameID, session and issuer", id)
			}
		})
	}
}

// A real IdP goes over to a new key, and nobody restarts anything.
func TestSimpleSAMLRollover(t *testing.T) {
	t.Parallel()
	idp := testenv.SimpleSAML(t, testenv.SimpleSAMLOptions{})
	s := newSite(t, idp)
	refresh := func() {
		t.Helper()
		if _, err := s.sp.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	signIn := func(when string) {
		t.Helper()
		if _, err := s.signIn(t); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	signIn("before")
	idp.StageKey()
	refresh()
	signIn("with the new key announced")
	idp.SwitchKey()
	signIn("with the new key in use, metadata not read again")
	refresh()
	signIn("with the old key gone")
}

// A login that begins at the IdP answers nothing: it can begin one of ours.
func TestSimpleSAMLUnsolicited(t *testing.T) {
	t.Parallel()
	idp := testenv.SimpleSAML(t, testenv.SimpleSAMLOptions{})
	s := newSite(t, idp)
	b := testenv.NewBrowser(t, nil)
	b.Hold = true
	page, err := b.Login(idp.StartURL(s.url, "x"), "", "alice", "secret")
	if err != nil {
		t.Fatal(err)
	}
	form, ok := page.FormWith("SAMLResponse")
	if !ok {
		t.Fatalf("no response in %s", page.Text())
	}
	text := form.Values.Get("SAMLResponse")
	if unsolicited, err := s.sp.Unsolicited(t.Context(), text); err != nil || !unsolicited {
		t.Errorf("Unsolicited = %t, %v, want true", unsolicited, err)
	}
	id, err := s.sp.Finish(t.Context(), text, "")
	wantRefusal(t, id, err, "unsolicited")
	id, err = s.sp.Finish(t.Context(), text, requestID)
	wantRefusal(t, id, err, "wrong_request")
}
