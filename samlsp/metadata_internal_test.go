package samlsp

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// FuzzMetadata holds what everything else relies on: of whatever there is in
// place of metadata, nothing panics or takes long, and what comes through has a
// name, endpoints that a browser may be sent to, and one to four strong
// certificates. Of what has to be signed, only what was signed comes through.
func FuzzMetadata(f *testing.F) {
	key, certificate, err := samltest.SelfSigned("idp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	idp, err := samltest.New(samltest.Options{URL: "https://idp.example", Key: key, Certificate: certificate})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range metadataSeeds(f, idp, samltest.Signature{Key: key, Certificate: certificate, Prefix: "ds"}) {
		f.Add(seed)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		for _, signers := range [][]*x509.Certificate{nil, {certificate}} {
			p, err := readMetadata(data, signers, now)
			if err != nil {
				if len(err.Error()) > 5000 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
				continue
			}
			if signers != nil && p.entityID != idp.EntityID() {
				t.Errorf("entity ID %q comes through, which nobody signed", p.entityID)
			}
			if err := wellFormed(p, now); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// wellFormed returns what of an IdP should not have come through.
func wellFormed(p *idp, now time.Time) error {
	if p.entityID == "" || len(p.entityID) > 1024 {
		return fmt.Errorf("entity ID %q", p.entityID)
	}
	if n := len(p.certificates); n < 1 || n > maxCertificates {
		return fmt.Errorf("%d certificates", n)
	}
	for _, c := range p.certificates {
		if !strong(c) {
			return fmt.Errorf("weak certificate %s", fingerprint(c))
		}
	}
	if !p.signOn.offered() {
		return fmt.Errorf("no endpoint")
	}
	for _, to := range []service{p.signOn, p.logout, p.logoutAnswers} {
		for _, s := range []string{to.redirect, to.post} {
			u, err := url.Parse(s)
			if s != "" && (err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
				return fmt.Errorf("endpoint %q", s)
			}
		}
	}
	if !p.validUntil.IsZero() && !now.Before(p.validUntil) || p.cacheDuration < 0 {
		return fmt.Errorf("validity %+v", p.validity)
	}
	return nil
}

// metadataSeeds are metadata of every kind, good and bad.
func metadataSeeds(f testing.TB, idp *samltest.IdP, signature samltest.Signature) [][]byte {
	f.Helper()
	wrap := func(b []byte) []byte {
		return []byte(`<EntitiesDescriptor xmlns="` + nsMetadata + `" validUntil="2999-01-01T00:00:00Z">` + string(b) + `</EntitiesDescriptor>`)
	}
	replace := func(old, new string) func(*samltest.Metadata) {
		return func(m *samltest.Metadata) {
			m.MutateBytes = func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), old, new)) }
		}
	}
	var list [][]byte
	for _, change := range []func(*samltest.Metadata){
		func(*samltest.Metadata) {},
		func(m *samltest.Metadata) { m.Signature = &signature },
		func(m *samltest.Metadata) {
			m.Signature = &signature
			m.MutateBytes = func(b []byte) []byte {
				return []byte(strings.Replace(string(b), "<ds:SignatureValue>", string(b)+"<ds:SignatureValue>", 1))
			}
		},
		func(m *samltest.Metadata) { m.MutateBytes = wrap },
		func(m *samltest.Metadata) { m.MutateBytes = func(b []byte) []byte { return wrap(append(b, b...)) } },
		func(m *samltest.Metadata) { m.ValidUntil, m.CacheDuration = time.Now().Add(time.Hour), "P1DT2H3M4.5S" },
		func(m *samltest.Metadata) { m.Certificates = append(m.Certificates, m.Certificates[0]) },
		replace(` use="signing"`, ""),
		replace("https://idp.example", "javascript:alert(1)"),
		replace("https://idp.example/sso", "http://[::1]:80/"),
		replace("<md:SingleSignOnService", `<md:SingleLogoutService Binding="`+samltest.BindingPost+`" Location="https://idp.example/slo" ResponseLocation="javascript:x"/><md:SingleSignOnService`),
		replace("<md:", "<md:x/><md:"),
		replace("entityID=", `x="y" entityID=`),
	} {
		m := idp.Metadata()
		change(m)
		text, err := m.XML()
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, text)
	}
	return append(list, nil, []byte("<x"), []byte("<!DOCTYPE x><x/>"), []byte(strings.Repeat("<x>", 100)))
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"PT1H": time.Hour, "PT15M": 15 * time.Minute, "P1D": day, "P7D": 7 * day, "P1DT12H": 36 * time.Hour, "PT604800S": 7 * day,
		"P1Y": 365 * day, "P9999Y": 365 * day, "P1M": 30 * day, "PT1.5S": time.Second,
		"": 0, "P": 0, "PT": 0, "PT0S": 0, "-PT1H": 0, "1h": 0, "3600": 0, "PT99999999999S": 0, "PT1H ": 0,
	} {
		if got := parseDuration(s); got != want {
			t.Errorf("parseDuration(%q) = %s, want %s", s, got, want)
		}
	}
}

// TestRefreshEvery has metadata ask to be looked at more often than configured.
func TestRefreshEvery(t *testing.T) {
	t.Parallel()
	idp, err := samltest.New(samltest.Options{URL: "https://idp.acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		cacheDuration string
		validFor      time.Duration
		want          time.Duration
	}{
		{"", 0, time.Hour},
		{"PT10M", 0, 10 * time.Minute},
		{"P1D", 0, time.Hour},
		{"PT1S", 0, time.Minute}, // no more than an honest IdP can bear
		{"soon", 0, time.Hour},
		{"", 24 * time.Hour, time.Hour},
		{"", 40 * time.Minute, 20 * time.Minute}, // so that the next one comes in time
		{"PT30M", 40 * time.Minute, 20 * time.Minute},
		{"", 30 * time.Second, time.Minute},
	} {
		m := idp.Metadata()
		m.CacheDuration = row.cacheDuration
		if row.validFor != 0 {
			m.ValidUntil = time.Now().Add(row.validFor)
		}
		text, err := m.XML()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "idp.xml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		o := withURL(t, "")
		o.Metadata = MetadataSource{File: file, Refresh: time.Hour}
		sp, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sp.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		different := make(map[time.Duration]bool)
		for range 50 {
			got := sp.RefreshEvery()
			if got > row.want || got < row.want*9/10-time.Second {
				t.Errorf("cacheDuration %q, valid for %s: RefreshEvery = %s, want %s less a tenth at most", row.cacheDuration, row.validFor, got, row.want)
			}
			different[got.Round(100*time.Millisecond)] = true
		}
		if len(different) < 10 {
			t.Errorf("%d different pauses among 50: replicas would ask all at once", len(different))
		}
	}
}
