package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// TestMetadataStaysBroken has metadata that can't be loaded for a day, by a clock
// of its own, and then can. The pauses between the tries once grew until they
// overflowed. After that the identity provider takes another key, and all that
// came and went is on record.
func TestMetadataStaysBroken(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := selfSigned(key, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	idp, err := samltest.New(samltest.Options{URL: "https://idp.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	good, err := idp.Metadata().XML()
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.BeginRollover(); err != nil {
		t.Fatal(err)
	}
	second := idp.Certificates()[1]
	m := idp.Metadata()
	m.Certificates = []*x509.Certificate{second}
	next, err := m.XML()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "idp.xml")

	// Made outside of the bubble: what samlsp shares must not belong to it.
	sp, err := samlsp.New(samlsp.Options{
		Name: "acme", EntityID: "https://sso.example.com/.jitgate/saml", ACS: "https://sso.example.com/.jitgate/saml/acme/acs",
		Key: key, Certificate: cert, Replay: samlsp.NewReplay(nil, ""),
		Metadata: samlsp.MetadataSource{File: file, Refresh: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}

	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			refreshUntilDone(ctx, "acme", sp, zap.New(core))
		}()
		time.Sleep(24 * time.Hour)
		if tries := logs.FilterMessage("metadata not loaded").Len(); tries < 24*60 || tries > 24*60*60/10 {
			t.Errorf("%d tries in a day, want one about every half minute", tries)
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if logs.FilterMessage("metadata loaded").Len() != 1 {
			t.Errorf("metadata that is good again was loaded %d times, want once", logs.FilterMessage("metadata loaded").Len())
		}
		first := idp.Certificates()[0]
		wantKeys(t, logs, []*x509.Certificate{first}, nil)
		if err := os.WriteFile(file, next, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		wantKeys(t, logs, []*x509.Certificate{second}, []*x509.Certificate{first})
		cancel()
		<-done
	})
}

// wantKeys looks at what the log has of metadata since it was asked last: one line,
// with the fingerprints of these certificates.
func wantKeys(t *testing.T, logs *observer.ObservedLogs, added, removed []*x509.Certificate) {
	t.Helper()
	entries := logs.FilterMessage("metadata loaded").AllUntimed()
	logs.TakeAll()
	if len(entries) != 1 {
		t.Errorf("%d lines, want 1", len(entries))
		return
	}
	for field, certificates := range map[string][]*x509.Certificate{"certificates_added": added, "certificates_removed": removed} {
		want := []any{}
		for _, c := range certificates {
			sum := sha256.Sum256(c.Raw)
			want = append(want, hex.EncodeToString(sum[:]))
		}
		if got := entries[0].ContextMap()[field]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, want %v", field, got, want)
		}
	}
}
