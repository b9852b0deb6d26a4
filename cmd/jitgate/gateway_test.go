package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// TestMetadataStaysBroken has metadata that can't be loaded for a day, by a clock
// of its own, and then
// can. The pauses between the tries once grew until they overflowed.
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
		cancel()
		<-done
	})
}
