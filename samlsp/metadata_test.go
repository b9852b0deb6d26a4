package samlsp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
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

// F13 and more: what metadata is refused for. Each row begins with what is good.
func TestMetadataRefused(t *testing.T) {
	t.Parallel()
	root := func(f func(*etree.Element)) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.MutateUnsigned = func(doc *etree.Document) { f(doc.Root()) } }
	}
	raw := func(f func([]byte) []byte) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.MutateBytes = f }
	}
	location := func(s string) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) { m.Endpoints = map[string]string{bindingRedirect: s} }
	}
	aggregate := func(n int) func([]byte) []byte {
		return func(b []byte) []byte {
			return []byte(`<EntitiesDescriptor xmlns="` + samltest.NSMetadata + `">` + strings.Repeat(string(b), n) + `</EntitiesDescriptor>`)
		}
	}
	tests := []struct {
		what   string
		change func(*samltest.Metadata)
		text   string // in the error; "" where it is accepted
	}{
		{"an aggregate of one", raw(aggregate(1)), ""},
		{"an aggregate of two", raw(aggregate(2)), "2 identity providers"},
		{"an aggregate of none", raw(aggregate(0)), "0 identity providers"},
		{"not XML", raw(func([]byte) []byte { return []byte("{}") }), "not an XML document"},
		{"another XML document", raw(func([]byte) []byte { return []byte("<html/>") }), "not SAML metadata"},
		{"a service provider alone", root(func(e *etree.Element) { e.SelectElement("IDPSSODescriptor").Tag = "SPSSODescriptor" }), "0 identity providers"},
		{"longer than 1 MiB", raw(func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 1<<20)...) }), "longer than"},
		{"valid for an hour", func(m *samltest.Metadata) { m.ValidUntil = time.Now().Add(time.Hour) }, ""},
		{"expired", func(m *samltest.Metadata) { m.ValidUntil = time.Now().Add(-time.Minute) }, "expired"},
		{"its role expired", root(func(e *etree.Element) {
			e.SelectElement("IDPSSODescriptor").CreateAttr("validUntil", "2020-01-01T00:00:00Z")
		}), "expired"},
		{"its aggregate expired, itself not", func(m *samltest.Metadata) {
			m.ValidUntil = time.Now().Add(time.Hour)
			m.MutateBytes = func(b []byte) []byte {
				return []byte(`<EntitiesDescriptor validUntil="2020-01-01T00:00:00Z" xmlns="` + samltest.NSMetadata + `">` + string(b) + `</EntitiesDescriptor>`)
			}
		}, "expired"},
		{"an odd validUntil", root(func(e *etree.Element) { e.CreateAttr("validUntil", "soon") }), "is not a time"},
		{"no entity ID", func(m *samltest.Metadata) { m.EntityID = "" }, "entity ID"},
		{"SAML 1.1", root(func(e *etree.Element) {
			e.SelectElement("IDPSSODescriptor").CreateAttr("protocolSupportEnumeration", "urn:oasis:names:tc:SAML:1.1:protocol")
		}), "not SAML 2.0"},
		{"no endpoint", func(m *samltest.Metadata) { m.Endpoints = nil }, "no single sign-on service"},
		{"http", location("http://idp.acme.example/sso"), "not https"},
		{"http on loopback", location("http://127.0.0.1:8081/sso"), ""},
		{"http on a name that begins as loopback", location("http://127.0.0.1.evil.example/sso"), "not https"},
		{"javascript:", location("javascript:alert(1)//"), "not an https URL"},
		{"a path", location("/sso"), "not an https URL"},
		{"a fragment", location("https://idp.acme.example/sso#x"), "not an https URL"},
		{"no certificate", func(m *samltest.Metadata) { m.Certificates = nil }, "no signing certificate"},
		{"a certificate that is for encryption alone", root(func(e *etree.Element) {
			e.FindElement(".//KeyDescriptor").CreateAttr("use", "encryption")
		}), "no signing certificate"},
		{"a certificate for both uses", root(func(e *etree.Element) { e.FindElement(".//KeyDescriptor").RemoveAttr("use") }), ""},
		{"a certificate in lines", root(func(e *etree.Element) {
			c := e.FindElement(".//X509Certificate")
			c.SetText("\n    " + lines(c.Text(), 64, "\n    ") + "\n")
		}), ""},
		{"a certificate that is none", root(func(e *etree.Element) { e.FindElement(".//X509Certificate").SetText("AAAA") }), "signing certificate"},
		{"RSA with 1024 bits", func(m *samltest.Metadata) { m.Certificates = []*x509.Certificate{certificateOf(t, 1024)} }, "1 too weak"},
		{"a weak one beside a good one", func(m *samltest.Metadata) { m.Certificates = append(m.Certificates, certificateOf(t, 1024)) }, ""},
		{"one certificate five times", func(m *samltest.Metadata) {
			for range 4 {
				m.Certificates = append(m.Certificates, m.Certificates[0])
			}
		}, ""},
		{"five certificates", func(m *samltest.Metadata) {
			for range 4 {
				m.Certificates = append(m.Certificates, ecCertificate(t, elliptic.P256(), nil))
			}
		}, "5 signing certificates"},
		{"comments", raw(func(b []byte) []byte { return append([]byte("<!-- x -->"), b...) }), ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			r := newRig(t, nil)
			m := r.idp.Metadata()
			test.change(m)
			r.writeMetadata(m)
			_, err := r.sp.Refresh(t.Context())
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Refresh: %v; want an error with %q", err, test.text)
			}
			if _, err := r.finish(r.good()); err != nil {
				t.Errorf("the metadata from before is not used any more: %v", err)
			}
		})
	}
}

func certificateOf(t *testing.T, bits int) *x509.Certificate {
	t.Helper()
	_, certificate, err := samltest.SelfSigned("x", bits, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
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

// A URL: asked, asked again, and not trusted further than it goes.
func TestMetadataURL(t *testing.T) {
	t.Parallel()
	var answer atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { (*answer.Load())(w, q) }))
	t.Cleanup(server.Close)
	serve := func(h http.HandlerFunc) { answer.Store(&h) }
	key, certificate := idpKeys[0]()
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example", Key: key, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	current := func(w http.ResponseWriter, _ *http.Request) {
		text, err := idp.Metadata().XML()
		if err != nil {
			t.Error(err)
		}
		w.Write(text)
	}
	serve(current)
	r := newRigOf(t, idp, func(o *samlsp.Options) {
		o.Metadata = samlsp.MetadataSource{URL: server.URL + "/md", Refresh: 2 * time.Hour}
	})
	if every := r.sp.RefreshEvery(); every > 2*time.Hour || every < 108*time.Minute {
		t.Errorf("RefreshEvery = %s, want 2 h less a tenth at most", every)
	}
	if err := idp.BeginRollover(); err != nil {
		t.Fatal(err)
	}
	idp.Switch()
	id, err := r.finish(r.good())
	wantRefusal(t, id, err, "signature") // not asked again yet
	if c, err := r.sp.Refresh(t.Context()); err != nil || len(c.Added) != 1 {
		t.Fatalf("Refresh = %+v, %v; want one certificate added", c, err)
	}
	for what, broken := range map[string]http.HandlerFunc{
		"an error around good metadata": func(w http.ResponseWriter, q *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			current(w, q)
		},
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"a login page": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html/>")) },
		"50 MB": func(w http.ResponseWriter, _ *http.Request) {
			for range 50 {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
					return
				}
			}
		},
		"a redirect": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://169.254.169.254/", http.StatusFound)
		},
		"no more": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		},
		"another entity ID": func(w http.ResponseWriter, _ *http.Request) {
			m := idp.Metadata()
			m.EntityID = "https://evil.example"
			text, _ := m.XML()
			w.Write(text)
		},
	} {
		serve(broken)
		if _, err := r.sp.Refresh(t.Context()); err == nil {
			t.Errorf("Refresh when the URL answers with %s: no error", what)
		}
		if _, err := r.finish(r.good()); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
		if every := r.sp.RefreshEvery(); every > time.Minute {
			t.Errorf("RefreshEvery after %s = %s, want a minute at most", what, every)
		}
	}
	serve(current)
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh when all is well again: %v", err)
	}
	if every := r.sp.RefreshEvery(); every < time.Hour {
		t.Errorf("RefreshEvery when all is well again = %s, want 2 h", every)
	}
}

// A URL of https is believed when its certificate is.
func TestMetadataURLNeedsTLS(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	asked := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	o := r.o
	o.Metadata = samlsp.MetadataSource{URL: server.URL}
	sp, err := samlsp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sp.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") || asked {
		t.Errorf("Refresh from a server whose certificate nobody knows: %v, asked %t", err, asked)
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
	r := newRig(t, nil)
	o := r.o
	o.Metadata.SignerFile = signerFile
	tests := []struct {
		what   string
		change func(*samltest.Metadata)
		text   string // in the error
	}{
		{"signed by the signer", func(*samltest.Metadata) {}, ""},
		{"signed by the signer, without KeyInfo", func(m *samltest.Metadata) { m.Signature.KeyInfo = samltest.KeyInfoNone }, ""},
		{"unsigned", func(m *samltest.Metadata) { m.Signature = nil }, "0 signatures"},
		{"signed by the IdP's own key", func(m *samltest.Metadata) {
			key, certificate := idpKeys[0]()
			m.Signature = &samltest.Signature{Key: key, Certificate: certificate}
		}, "signature"},
		{"changed after signing", func(m *samltest.Metadata) {
			m.MutateSigned = func(doc *etree.Document) { doc.Root().CreateAttr("entityID", "https://evil.example") }
		}, "signature"},
		{"SHA-1", func(m *samltest.Metadata) { m.Signature.Method = samltest.RSASHA1 }, "algorithm"},
		{"signed without an ID", func(m *samltest.Metadata) { m.ID = "" }, "reference"},
		{"a signed entity moved below an unsigned one", func(m *samltest.Metadata) {
			m.MutateBytes = func(b []byte) []byte {
				evil := strings.NewReplacer(m.ID, "_evil", m.EntityID, "https://evil.example").Replace(string(b))
				return []byte(strings.Replace(evil, "<ds:SignatureValue>", string(b)+"<ds:SignatureValue>", 1))
			}
		}, "signature"},
	}
	for _, test := range tests {
		m := r.idp.Metadata()
		signature := good
		m.Signature = &signature
		test.change(m)
		r.writeMetadata(m)
		sp, err := samlsp.New(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sp.Refresh(t.Context())
		if test.text == "" && err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
		if test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text) || sp.Ready() == nil) {
			t.Errorf("%s: %v; want an error with %q, and no metadata", test.what, err, test.text)
		}
		var refusal *samlsp.Refusal
		if errors.As(err, &refusal) {
			t.Errorf("%s: the error passes for a refused response: %v", test.what, err)
		}
	}
}
