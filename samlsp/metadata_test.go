package samlsp_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A metadataRow is metadata that is refused, beside an honest one that is much the
// same and accepted.
type metadataRow struct {
	name           string
	honest, attack func(*samltest.Metadata) // what makes each of the IdP's own metadata; nil: nothing
	text           string                   // in the error
}

// checkMetadataRows has each honest metadata accepted, and then each attack
// refused, after which people still sign in by the metadata from before.
func checkMetadataRows(t *testing.T, rows []metadataRow) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			load := func(change func(*samltest.Metadata)) error {
				m := r.idp.Metadata()
				if change != nil {
					change(m)
				}
				r.writeMetadata(m)
				_, err := r.sp.Refresh(t.Context())
				return err
			}
			if err := load(row.honest); err != nil {
				t.Fatalf("the honest one: %v", err)
			}
			if err := load(row.attack); err == nil || !strings.Contains(err.Error(), row.text) {
				t.Errorf("Refresh: %v; want an error with %q", err, row.text)
			} else if len(err.Error()) > 2000 {
				t.Errorf("Refresh: an error of %d bytes", len(err.Error()))
			}
			if _, err := r.finish(r.good()); err != nil {
				t.Errorf("the metadata from before is not used any more: %v", err)
			}
		})
	}
}

// changed returns a change of the metadata's root element.
func changed(f func(*etree.Element)) func(*samltest.Metadata) {
	return func(m *samltest.Metadata) { m.MutateUnsigned = func(doc *etree.Document) { f(doc.Root()) } }
}

// rewritten returns a change of the metadata's text.
func rewritten(f func(string) string) func(*samltest.Metadata) {
	return func(m *samltest.Metadata) { m.MutateBytes = func(b []byte) []byte { return []byte(f(string(b))) } }
}

// aggregate puts the metadata and more into an aggregate with these attributes.
func aggregate(attributes, more string) func(*samltest.Metadata) {
	return rewritten(func(s string) string {
		return `<EntitiesDescriptor ` + attributes + ` xmlns="` + samltest.NSMetadata + `">` + s + more + `</EntitiesDescriptor>`
	})
}

// numbered returns n attributes, all different.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` a%d="x"`, i)
	}
	return b.String()
}

// other is the metadata of another entity.
func other(entityID, role string) string {
	return `<EntityDescriptor entityID="` + entityID + `"><` + role + ` protocolSupportEnumeration="` + samltest.NSProtocol + `"/></EntityDescriptor>`
}

// F13: what of the document itself it is refused for.
func TestMetadataDocument(t *testing.T) {
	t.Parallel()
	const own = "https://idp.acme.example/metadata"
	validUntil := func(d time.Duration) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.ValidUntil = time.Now().Add(d) }
	}
	roleUntil := func(when string) func(*samltest.Metadata) {
		return changed(func(e *etree.Element) { e.SelectElement("IDPSSODescriptor").CreateAttr("validUntil", when) })
	}
	entityID := func(id string) func(*samltest.Metadata) { return func(m *samltest.Metadata) { m.EntityID = id } }
	text := func(s string) func(*samltest.Metadata) { return rewritten(func(string) string { return s }) }
	around := func(before, after string) func(*samltest.Metadata) {
		return rewritten(func(s string) string { return before + s + after })
	}
	inside := func(s string) func(*samltest.Metadata) {
		return rewritten(func(text string) string {
			return strings.Replace(text, "<md:IDPSSODescriptor", "<md:Extensions>"+s+"</md:Extensions><md:IDPSSODescriptor", 1)
		})
	}
	deep := func(n int) string { return strings.Repeat("<x>", n) + strings.Repeat("</x>", n) }
	protocols := func(s string) func(*samltest.Metadata) {
		return changed(func(e *etree.Element) {
			e.SelectElement("IDPSSODescriptor").CreateAttr("protocolSupportEnumeration", s)
		})
	}
	saml1 := "urn:oasis:names:tc:SAML:1.1:protocol"
	checkMetadataRows(t, []metadataRow{
		{"F13 empty", nil, text(""), "not an XML document"},
		{"F13 not XML", nil, text("{}"), "not an XML document"},
		{"F13 another XML document", nil, text("<html/>"), "not SAML metadata"},
		{"F13 cut off", nil, rewritten(func(s string) string { return s[:len(s)/2] }), "not an XML document"},
		{"F13 more than 1 MiB", around("", strings.Repeat(" ", 1<<19)), around("", strings.Repeat(" ", 1<<20)), "longer than"},
		{"F13 a second document after it", around("<!-- x -->", "<!-- x -->"), around("", "<x/>"), "not an XML document"},
		{"F13 text after it", around("\n", "\n"), around("", "x"), "not an XML document"},
		{"F13 DOCTYPE", around(`<?xml version="1.0"?>`, ""), around(`<!DOCTYPE x [<!ENTITY e "x">]>`, ""), "DOCTYPE"},
		{"F13 elements deep inside", inside(deep(40)), inside(deep(5000)), "deep"},
		{"F13 elements without number", inside(strings.Repeat("<x/>", 1000)), inside(strings.Repeat("<x/>", 50_000)), "more than"},
		{"F13 attributes without number", inside("<x" + numbered(50) + "/>"), inside("<x" + numbered(70_000) + "/>"), "more than"},
		{"F13 expired", validUntil(time.Hour), validUntil(-time.Minute), "expired"},
		{"F13 expired role", roleUntil("2999-01-01T00:00:00Z"), roleUntil("2020-01-01T00:00:00Z"), "expired"},
		{"F13 expired aggregate", aggregate(`validUntil="2999-01-01T00:00:00Z"`, ""), aggregate(`validUntil="2020-01-01T00:00:00Z"`, ""), "expired"},
		{"F13 validUntil that is no time", validUntil(time.Hour), changed(func(e *etree.Element) { e.CreateAttr("validUntil", "soon") }), "is not a time"},
		{"F13 no entityID", nil, entityID(""), "entity ID"},
		{"F13 an entityID without end", nil, entityID("https://" + strings.Repeat("x", 1100)), "entity ID"},
		{"F13 an attribute twice", nil, rewritten(func(s string) string {
			return strings.Replace(s, " entityID=", ` entityID="https://evil.example" entityID=`, 1)
		}), "twice"},
		{"F13 an attribute twice, with a prefix", changed(func(e *etree.Element) {
			e.CreateAttr("xmlns:x", "urn:x")
			e.CreateAttr("x:name", "x")
		}), changed(func(e *etree.Element) {
			e.CreateAttr("xmlns:x", "urn:x")
			e.CreateAttr("x:entityID", "https://evil.example")
		}), "twice"},
		{"F13 aggregate", aggregate("", ""), aggregate("", other("https://evil.example", "IDPSSODescriptor")), "2 identity providers"},
		{"F13 aggregate of aggregates", aggregate("", other("https://sp.example", "SPSSODescriptor")),
			aggregate("", "<EntitiesDescriptor>"+other("https://evil.example", "IDPSSODescriptor")+"</EntitiesDescriptor>"), "2 identity providers"},
		{"F13 aggregate of nobody", aggregate("", ""), text(`<EntitiesDescriptor xmlns="` + samltest.NSMetadata + `"/>`), "0 identity providers"},
		{"F13 duplicate entityID", aggregate("", other("https://sp.example", "SPSSODescriptor")), aggregate("", other(own, "SPSSODescriptor")), "there twice"},
		{"F13 duplicate entityID of another IdP", aggregate("", other("https://sp.example", "SPSSODescriptor")), aggregate("", other(own, "IDPSSODescriptor")), "there twice"},
		{"F13 two roles", nil, changed(func(e *etree.Element) { e.AddChild(e.SelectElement("IDPSSODescriptor").Copy()) }), "2 identity providers"},
		{"F13 a service provider alone", nil, changed(func(e *etree.Element) { e.SelectElement("IDPSSODescriptor").Tag = "SPSSODescriptor" }), "0 identity providers"},
		{"F13 SAML 1.1", protocols(saml1 + " " + samltest.NSProtocol), protocols(saml1), "not SAML 2.0"},
	})
}

// F13: endpoints and certificates that it is refused for.
func TestMetadataContents(t *testing.T) {
	t.Parallel()
	location := func(s string) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.Endpoints = map[string]string{bindingRedirect: s} }
	}
	certificates := func(list ...*x509.Certificate) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.Certificates = list }
	}
	beside := func(list ...*x509.Certificate) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.Certificates = append(m.Certificates, list...) }
	}
	use := func(s string) func(*samltest.Metadata) {
		return changed(func(e *etree.Element) { e.FindElement(".//KeyDescriptor").CreateAttr("use", s) })
	}
	text := func(f func(string) string) func(*samltest.Metadata) {
		return changed(func(e *etree.Element) { c := e.FindElement(".//X509Certificate"); c.SetText(f(c.Text())) })
	}
	_, own := idpKeys[0]()
	weak, long := certificateOf(t, 1024), longCertificate(t, 8200)
	ec := func() *x509.Certificate { return ecCertificate(t, elliptic.P256(), nil) }
	checkMetadataRows(t, []metadataRow{
		{"F13 no endpoint", nil, func(m *samltest.Metadata) { m.Endpoints = nil }, "no single sign-on service"},
		{"F13 http Location", location("http://127.0.0.1:8081/sso"), location("http://idp.acme.example/sso"), "not https"},
		{"F13 http Location that begins as loopback", location("http://localhost/sso"), location("http://127.0.0.1.evil.example/sso"), "not https"},
		{"F13 javascript: Location", location("https://idp.acme.example/javascript:alert(1)//"), location("javascript:alert(1)//"), "not an https URL"},
		{"F13 javascript: Location with a host", nil, location("javascript://idp.acme.example/%0aalert(1)"), "not https"},
		{"F13 data: Location", nil, location("data:text/html,x"), "not an https URL"},
		{"F13 Location without host", location("https://idp.acme.example/sso"), location("/sso"), "not an https URL"},
		{"F13 Location with a fragment", location("https://idp.acme.example/sso?x=1"), location("https://idp.acme.example/sso#x"), "not an https URL"},
		{"F13 Location with a password", nil, location("https://idp.acme.example:x@evil.example/sso"), "not an https URL"},
		{"F13 all certificates removed", beside(ec()), certificates(), "no signing certificate"},
		{"F13 certificates for encryption alone", use("signing"), use("encryption"), "no signing certificate"},
		{"F13 a certificate that is none", text(func(s string) string { return "\n    " + lines(s, 64, "\n    ") + "\n" }), text(func(string) string { return "AAAA" }), "signing certificate"},
		{"F13 a certificate that is not base64", text(func(s string) string { return s }), text(func(s string) string { return "!" + s }), "not base64"},
		{"F13 1024-bit key", beside(weak), certificates(weak), "1 of other keys"},
		{"F13 8200-bit key", beside(long), certificates(long), "1 of other keys"},
		{"F13 P-224 key", beside(ec()), certificates(ecCertificate(t, elliptic.P224(), nil)), "1 of other keys"},
		{"F13 five certificates", beside(own, own, own, own, ec(), ec(), ec()), beside(ec(), ec(), ec(), ec()), "5 signing certificates"},
	})
	t.Run("F13 what a 1024-bit key signs", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		key, certificate, err := samltest.SelfSigned("weak", 1024, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		m := r.idp.Metadata()
		m.Certificates = append(m.Certificates, certificate)
		r.writeMetadata(m)
		if c, err := r.sp.Refresh(t.Context()); err != nil || len(c.Ignored) != 1 || len(c.Certificates) != 1 {
			t.Fatalf("Refresh = %+v, %v; want one certificate ignored", c, err)
		}
		signed := r.good()
		signed.Signature = samltest.Signature{Key: key, Certificate: certificate}
		id, err := r.finish(signed)
		wantRefusal(t, id, err, "signature")
		if _, err := r.finish(r.good()); err != nil {
			t.Errorf("the key beside it: %v", err)
		}
	})
}

func certificateOf(t *testing.T, bits int) *x509.Certificate {
	t.Helper()
	_, certificate, err := samltest.SelfSigned("x", bits, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// longCertificate returns a certificate for a key of so many bits, of which
// nobody has the private half.
func longCertificate(t *testing.T, bits uint) *x509.Certificate {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	key, parent := idpKeys[0]()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: parent.NotBefore, NotAfter: parent.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// ecCertificate returns a certificate for key, or for a fresh one of the curve.
func ecCertificate(t *testing.T, curve elliptic.Curve, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	var err error
	if key == nil {
		if key, err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ec"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// A file is read again when it changed: a new key, another IdP. What changed is
// told once.
func TestMetadataFileChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	refresh := func() samlsp.Change {
		t.Helper()
		c, err := r.sp.Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if every := r.sp.RefreshEvery(); every < 54*time.Second || every > time.Minute {
		t.Errorf("RefreshEvery of a file = %s, want 1 min less a tenth at most", every)
	}
	if c := refresh(); c.Changed || len(c.Certificates) != 1 || c.EntityID != r.idp.EntityID() {
		t.Errorf("Refresh of the same file = %+v, want no change", c)
	}
	if err := r.idp.BeginRollover(); err != nil {
		t.Fatal(err)
	}
	r.writeMetadata(r.idp.Metadata())
	if c := refresh(); !c.Changed || len(c.Added) != 1 || len(c.Removed) != 0 || len(c.Certificates) != 2 {
		t.Errorf("Refresh after a second certificate = %+v, want one added", c)
	}
	r.idp.Switch()
	if _, err := r.finish(r.good()); err != nil {
		t.Errorf("the new key: %v", err)
	}
	r.idp.EndRollover()
	r.writeMetadata(r.idp.Metadata())
	if c := refresh(); !c.Changed || len(c.Added) != 0 || len(c.Removed) != 1 {
		t.Errorf("Refresh after the old certificate went = %+v, want one removed", c)
	}
	m := r.idp.Metadata()
	m.EntityID = "https://other.example"
	r.writeMetadata(m)
	if c := refresh(); !c.Changed || c.EntityID != m.EntityID {
		t.Errorf("Refresh after another IdP's file = %+v, want its entity ID", c)
	}
	if err := os.Remove(r.file); err != nil {
		t.Fatal(err)
	}
	if _, err := r.sp.Refresh(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Refresh without the file: %v, want that it does not exist", err)
	}
	if err := r.sp.Ready(); err != nil {
		t.Errorf("Ready without the file: %v, want the last good one", err)
	}
	if every := r.sp.RefreshEvery(); every <= 0 || every > time.Second {
		t.Errorf("RefreshEvery after one failure = %s, want up to 1 s", every)
	}
}

// Metadata stops being used at its validUntil, even when nothing newer comes.
func TestMetadataExpiresInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.idp.Metadata()
	m.ValidUntil = time.Now().Add(1500 * time.Millisecond)
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := mustBase64(t, r.good())
	for deadline := time.Now().Add(10 * time.Second); r.sp.Ready() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still ready after its end")
		}
	}
	if time.Now().Before(m.ValidUntil.Truncate(time.Millisecond)) {
		t.Error("not ready before its end")
	}
	if _, err := r.sp.Finish(t.Context(), text, requestID); !errors.Is(err, samlsp.ErrNoMetadata) {
		t.Errorf("Finish: %v, want ErrNoMetadata", err)
	}
}

// A source is a server of an IdP's metadata that answers as a test likes.
type source struct {
	*httptest.Server
	idp    *samltest.IdP
	answer atomic.Pointer[http.HandlerFunc]
}

// newURLRig returns a rig whose SP has its metadata from a URL.
func newURLRig(t *testing.T, change func(*samlsp.Options)) (*rig, *source) {
	t.Helper()
	s := new(source)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { (*s.answer.Load())(w, q) }))
	t.Cleanup(s.Close)
	key, certificate := idpKeys[0]()
	var err error
	if s.idp, err = samltest.New(samltest.Options{URL: "https://idp.acme.example", Key: key, Certificate: certificate}); err != nil {
		t.Fatal(err)
	}
	s.serve(s.honest)
	return newRigOf(t, s.idp, func(o *samlsp.Options) {
		o.Metadata = samlsp.MetadataSource{URL: s.URL + "/md", Refresh: 2 * time.Hour}
		if change != nil {
			change(o)
		}
	}), s
}

func (s *source) serve(h http.HandlerFunc) { s.answer.Store(&h) }

func (s *source) honest(w http.ResponseWriter, _ *http.Request) { write(w, s.idp.Metadata()) }

func write(w http.ResponseWriter, m *samltest.Metadata) {
	text, err := m.XML()
	if err != nil {
		panic(err)
	}
	w.Write(text)
}

// A URL is asked again, and a new key is in use from then on.
func TestMetadataURL(t *testing.T) {
	t.Parallel()
	r, s := newURLRig(t, nil)
	if every := r.sp.RefreshEvery(); every > 2*time.Hour || every < 108*time.Minute {
		t.Errorf("RefreshEvery = %s, want 2 h less a tenth at most", every)
	}
	if err := s.idp.BeginRollover(); err != nil {
		t.Fatal(err)
	}
	s.idp.Switch()
	id, err := r.finish(r.good())
	wantRefusal(t, id, err, "signature") // not asked again yet
	if c, err := r.sp.Refresh(t.Context()); err != nil || len(c.Added) != 1 {
		t.Fatalf("Refresh = %+v, %v; want one certificate added", c, err)
	}
	if _, err := r.finish(r.good()); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

// F13: what a URL answers that it is refused for.
func TestMetadataAnswers(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(target.Close)
	for _, row := range []struct {
		name   string
		attack func(*source) http.HandlerFunc
		text   string
	}{
		{"F13 an error around good metadata", func(s *source) http.HandlerFunc {
			return func(w http.ResponseWriter, q *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				s.honest(w, q)
			}
		}, "500"},
		{"F13 empty answer", func(*source) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) {} }, "empty"},
		{"F13 a login page", func(*source) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html/>")) }
		}, "not SAML metadata"},
		{"F13 50 MB", func(*source) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { spaces(w, 50) }
		}, "longer than"},
		{"F13 50 MB, packed", func(*source) http.HandlerFunc {
			var packed bytes.Buffer // before anybody waits for it
			to := gzip.NewWriter(&packed)
			spaces(to, 50)
			to.Close()
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				w.Write(packed.Bytes())
			}
		}, "not an XML document"},
		{"F13 headers without end", func(*source) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				for i := range 2000 {
					w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
				}
			}
		}, "server response headers exceeded"},
		{"F13 redirect", func(s *source) http.HandlerFunc {
			return func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, target.URL, http.StatusFound) }
		}, "redirects to"},
		{"F13 redirect to a cloud's metadata", func(*source) http.HandlerFunc {
			return func(w http.ResponseWriter, q *http.Request) {
				http.Redirect(w, q, "http://169.254.169.254/", http.StatusTemporaryRedirect)
			}
		}, "redirects to"},
		{"F13 cut off", func(*source) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100000")
				w.Write([]byte("<x>"))
			}
		}, "EOF"},
		{"F13 slow server", func(*source) http.HandlerFunc {
			return func(w http.ResponseWriter, q *http.Request) {
				for q.Context().Err() == nil {
					w.Write([]byte(" "))
					http.NewResponseController(w).Flush()
					time.Sleep(50 * time.Millisecond)
				}
			}
		}, "deadline"},
		{"F13 wrong entityID", func(s *source) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				m := s.idp.Metadata()
				m.EntityID = "https://evil.example"
				write(w, m)
			}
		}, `entity ID "https://evil.example"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r, s := newURLRig(t, nil)
			s.serve(row.attack(s))
			began := time.Now()
			if _, err := r.sp.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), row.text) {
				t.Errorf("Refresh: %v; want an error with %q", err, row.text)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("Refresh took %s", took)
			}
			if _, err := r.finish(r.good()); err != nil {
				t.Errorf("the metadata from before is not used any more: %v", err)
			}
			if every := r.sp.RefreshEvery(); every > time.Minute {
				t.Errorf("RefreshEvery after a failure = %s, want a minute at most", every)
			}
			s.serve(s.honest)
			if _, err := r.sp.Refresh(t.Context()); err != nil {
				t.Errorf("Refresh when all is well again: %v", err)
			}
			if every := r.sp.RefreshEvery(); every < time.Hour {
				t.Errorf("RefreshEvery when all is well again = %s, want 2 h", every)
			}
			if n := r.sp.Status().Failed; n != 1 {
				t.Errorf("Status has %d failures, want 1", n)
			}
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.Load(); n != 0 {
			t.Errorf("a redirect was followed %d times", n)
		}
	})
}

// spaces writes so many MiB of them.
func spaces(w io.Writer, n int) {
	for range n {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
			return
		}
	}
}

// signer_file: metadata counts when that certificate's key has signed it.
func TestMetadataSigner(t *testing.T) {
	t.Parallel()
	signerKey, signerCertificate := idpKeys[1]()
	signerFile := filepath.Join(t.TempDir(), "signer.pem")
	// The one before it is that of a signer who has gone.
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ecCertificate(t, elliptic.P256(), nil).Raw})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signerCertificate.Raw})...)
	if err := os.WriteFile(signerFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	good := samltest.Signature{Key: signerKey, Certificate: signerCertificate, Prefix: "ds"}
	signed := func(m *samltest.Metadata) { signature := good; m.Signature = &signature }
	for _, row := range []metadataRow{
		{"F13 unsigned when pinned", nil, func(m *samltest.Metadata) { m.Signature = nil }, "0 signatures"},
		{"F13 signed by the IdP's own key", func(m *samltest.Metadata) { m.Signature.KeyInfo = samltest.KeyInfoNone }, func(m *samltest.Metadata) {
			key, certificate := idpKeys[0]()
			m.Signature = &samltest.Signature{Key: key, Certificate: certificate}
		}, "signature"},
		{"F13 wrong signature", nil, func(m *samltest.Metadata) {
			m.MutateSigned = func(doc *etree.Document) { doc.Root().CreateAttr("entityID", "https://evil.example") }
		}, "signature"},
		{"F13 validUntil put off after signing", func(m *samltest.Metadata) { m.ValidUntil = time.Now().Add(time.Hour) }, func(m *samltest.Metadata) {
			m.ValidUntil = time.Now().Add(-time.Hour)
			m.MutateSigned = func(doc *etree.Document) { doc.Root().CreateAttr("validUntil", "2999-01-01T00:00:00Z") }
		}, "signature"},
		{"F13 SHA-1 signature", nil, func(m *samltest.Metadata) { m.Signature.Method = samltest.RSASHA1 }, "algorithm"},
		{"F13 signed without an ID", nil, func(m *samltest.Metadata) { m.ID = "" }, "reference"},
		{"F13 a signed entity moved below an unsigned one", nil, func(m *samltest.Metadata) {
			m.MutateBytes = func(b []byte) []byte {
				evil := strings.NewReplacer(m.ID, "_evil", m.EntityID, "https://evil.example").Replace(string(b))
				return []byte(strings.Replace(evil, "<ds:SignatureValue>", string(b)+"<ds:SignatureValue>", 1))
			}
		}, "signature"},
		{"F13 a signed entity in an unsigned aggregate", nil, aggregate("", ""), "0 signatures"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, nil)
			o := r.o
			o.Metadata.SignerFile = signerFile
			load := func(change func(*samltest.Metadata)) (*samlsp.SP, error) {
				m := r.idp.Metadata()
				signed(m)
				if change != nil {
					change(m)
				}
				r.writeMetadata(m)
				sp, err := samlsp.New(o)
				if err != nil {
					t.Fatal(err)
				}
				_, err = sp.Refresh(t.Context())
				return sp, err
			}
			if _, err := load(row.honest); err != nil {
				t.Errorf("the honest one: %v", err)
			}
			sp, err := load(row.attack)
			if err == nil || !strings.Contains(err.Error(), row.text) || sp.Ready() == nil {
				t.Errorf("Refresh: %v; want an error with %q, and no metadata", err, row.text)
			}
			if refusal := (*samlsp.Refusal)(nil); errors.As(err, &refusal) {
				t.Errorf("the error passes for a refused response: %v", err)
			}
		})
	}
}
