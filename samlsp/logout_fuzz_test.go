package samlsp

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// fuzzLogoutSP returns an SP with single logout, and its IdP.
func fuzzLogoutSP(f *testing.F) (*SP, *samltest.IdP) {
	f.Helper()
	key, certificate, err := samltest.SelfSigned("idp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	idp, err := samltest.New(samltest.Options{URL: "https://idp.example", Key: key, Certificate: certificate})
	if err != nil {
		f.Fatal(err)
	}
	sp := fuzzSP(f, idp)
	sp.o.SLO = "https://sp.example/slo"
	return sp, idp
}

// FuzzLogout holds what is behind the signature of a logout message, which is
// taken for good here whatever it is over: nothing panics, all of it is quickly
// done with, and what is read of a message is what another reader reads of it.
func FuzzLogout(f *testing.F) {
	sp, idp := fuzzLogoutSP(f)
	name := samltest.NameID{Value: "ann", Format: samltest.NameIDPersistent, NameQualifier: "q"}
	for _, l := range []*samltest.Logout{idp.GoodLogout(sp.o.SLO, name, "_1", "_2"), idp.GoodLogoutAnswer(sp.o.SLO, "id-1")} {
		for _, sign := range []bool{false, true} {
			text, err := l.XML(sign)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	for _, text := range []string{"", "<!--x-->", "<a/>", strings.Repeat("<a>", 1000)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		began := time.Now()
		r := &response{sp: sp, requestID: "id-1", idp: sp.idp.Load(), now: time.Now()}
		_, err := r.openAs("samlp:LogoutResponse", text)
		if err == nil {
			_, err = r.readLogoutResponse(text)
		}
		wantRefused(t, err)
		r = &response{sp: sp, idp: sp.idp.Load(), now: time.Now()}
		var request *LogoutRequest
		if _, err = r.openAs("samlp:LogoutRequest", text); err == nil {
			request, err = r.readLogoutRequest(text)
		}
		wantRefused(t, err)
		if err == nil {
			sameName(t, request, text)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// wantRefused holds that an error says that the message is not believed, and not
// that something broke.
func wantRefused(t *testing.T, err error) {
	t.Helper()
	if r := (*Refusal)(nil); err != nil && (!errors.As(err, &r) || r.Check == checkPanic) {
		t.Errorf("%v, want a refusal", err)
	}
}

// sameName holds that a reader who goes by prefixes and takes the first of each
// finds the same name.
func sameName(t *testing.T, got *LogoutRequest, text []byte) {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		t.Fatalf("accepted, and no document: %v", err)
	}
	id := doc.Root().SelectElement("NameID")
	if id == nil || strings.ReplaceAll(id.Text(), "\r\n", "\n") != got.NameID.Value || doc.Root().SelectAttrValue("ID", "") != got.ID ||
		len(doc.Root().SelectElements("SessionIndex")) != len(got.SessionIndexes) {
		t.Errorf("read as %+v, which is not what stands there:\n%s", got, text)
	}
}

// FuzzReadQuery holds that a query has one reading: what is verified is what is
// read, as the plainest of readers reads it too.
func FuzzReadQuery(f *testing.F) {
	sp, idp := fuzzLogoutSP(f)
	query, err := idp.GoodLogout(sp.o.SLO, samltest.NameID{Value: "ann"}).Query("state")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		query, "", "&", "=", "SAMLRequest", "SAMLRequest=%zz", "SAMLRequest=a&SAMLRequest=b", "%53AMLRequest=a&SAMLRequest=b",
		"SAMLResponse=a&RelayState=b&SigAlg=c&Signature=d", "SAMLRequest=a;SAMLResponse=b", "SAMLRequest=a&SAMLEncoding=x", "a=b&SAMLRequest=x+y%2B",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		m, err := ReadQuery(query)
		wantRefused(t, err)
		if err != nil {
			return
		}
		values, err := url.ParseQuery(m.signed)
		if err != nil {
			t.Fatalf("the signed octets %q are no query: %v", m.signed, err)
		}
		for name, got := range map[string]string{m.name(): m.text, "RelayState": m.RelayState, "SigAlg": m.method} {
			if values.Get(name) != got || len(values[name]) > 1 {
				t.Errorf("%s = %q, and signed is %q", name, got, values[name])
			}
		}
		whole, _ := url.ParseQuery(query) // without the pairs that it cannot read
		if first := whole.Get(m.name()); first != m.text || len(whole[m.name()]) != 1 {
			t.Errorf("%s = %q, and others read %q", m.name(), m.text, whole[m.name()])
		}
	})
}
