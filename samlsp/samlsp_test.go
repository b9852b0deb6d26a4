package samlsp_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

const (
	entityID  = "https://sso.acme.example/.jitgate/saml"
	acs       = "https://sso.acme.example/.jitgate/saml/acme/acs"
	requestID = "id-5d41402abc4b2a76b9719d911017c592"
)

// spKey is our key, made once: it takes a while.
var spKey = sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) {
	key, certificate, err := samltest.SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		panic(err)
	}
	return key, certificate
})

// idpKeys are keys of identity providers, made once each.
var idpKeys = [2]func() (*rsa.PrivateKey, *x509.Certificate){
	sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) { return newKey("acme") }),
	sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) { return newKey("globex") }),
}

func newKey(name string) (*rsa.PrivateKey, *x509.Certificate) {
	key, certificate, err := samltest.SelfSigned(name, 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		panic(err)
	}
	return key, certificate
}

// A rig is an SP with its IdP, and the memory of used assertions between them.
type rig struct {
	t    testing.TB
	idp  *samltest.IdP
	file string // of the IdP's metadata
	rdb  redis.UniversalClient
	sp   *samlsp.SP
	o    samlsp.Options
}

// newRig returns an SP that has loaded its IdP's metadata; change may be nil.
func newRig(t testing.TB, change func(*samlsp.Options)) *rig {
	t.Helper()
	key, certificate := idpKeys[0]()
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example", Key: key, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	return newRigOf(t, idp, change)
}

// newExpiredRig returns a rig whose IdP signs with a certificate that was good from
// two hours ago to one hour ago.
func newExpiredRig(t testing.TB) (*rig, *x509.Certificate) {
	t.Helper()
	key, certificate, err := samltest.SelfSigned("late", 2048, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example", Key: key, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	return newRigOf(t, idp, nil), certificate
}

func newRigOf(t testing.TB, idp *samltest.IdP, change func(*samlsp.Options)) *rig {
	t.Helper()
	r := &rig{t: t, idp: idp, file: filepath.Join(t.TempDir(), "idp.xml")}
	r.rdb = redis.NewClient(&redis.Options{Addr: testenv.Embedded(t).Addr()})
	t.Cleanup(func() { r.rdb.Close() })
	r.writeMetadata(idp.Metadata())
	r.o = samlsp.Options{
		Name: "acme", EntityID: entityID, ACS: acs,
		Metadata: samlsp.MetadataSource{File: r.file},
		Replay:   samlsp.NewReplay(r.rdb, "jitgate:"),
	}
	r.o.Key, r.o.Certificate = spKey()
	if change != nil {
		change(&r.o)
	}
	sp, err := samlsp.New(r.o)
	if err != nil {
		t.Fatal(err)
	}
	r.sp = sp
	if _, err := sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) writeMetadata(m *samltest.Metadata) {
	r.t.Helper()
	text, err := m.XML()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.file, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// good returns a message that the SP accepts.
func (r *rig) good() *samltest.Message {
	_, certificate := spKey()
	ann := samltest.User{Name: "ann", Attributes: map[string][]string{
		"userName": {"ann@acme.example"}, "groups": {"eng", "ops, all"},
	}}
	return r.idp.Good(samltest.SPInfo{EntityID: entityID, ACS: acs, Certificate: certificate}, requestID, ann)
}

// finish posts the message as the answer to requestID. What it claimed is
// forgotten again, so that messages for one request can follow one another.
func (r *rig) finish(m *samltest.Message) (*samlsp.Identity, error) {
	r.t.Helper()
	text, err := m.Base64()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.post(text)
}

func (r *rig) post(samlResponse string) (*samlsp.Identity, error) {
	r.t.Helper()
	id, err := r.sp.Finish(context.Background(), samlResponse, requestID)
	r.wantExplained(samlResponse, requestID, id, err)
	if err := r.rdb.FlushAll(context.Background()).Err(); err != nil {
		r.t.Fatal(err)
	}
	return id, err
}

// wantRefusal fails the test unless err is a Refusal of this check.
func wantRefusal(t testing.TB, id *samlsp.Identity, err error, check string) {
	t.Helper()
	var refusal *samlsp.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("Finish: identity %v, error %v; want a refusal: %s", id, err, check)
	}
	if id != nil {
		t.Errorf("Finish: refused with an identity: %+v", id)
	}
	if refusal.Check != check {
		t.Errorf("Finish: %v; want check %s", err, check)
	}
	if strings.ContainsAny(err.Error(), "<>") {
		t.Errorf("Finish: the error holds XML: %v", err)
	}
}

func value(id *samlsp.Identity, name string) []string {
	for _, a := range id.Attributes {
		if a.Name == name {
			return a.Values
		}
	}
	return nil
}

// crlf breaks the text into lines of n characters as an encoder of RFC 2045 does.
func lines(text string, n int, end string) string {
	var b bytes.Buffer
	for len(text) > n {
		b.WriteString(text[:n] + end)
		text = text[n:]
	}
	return b.String() + text
}
