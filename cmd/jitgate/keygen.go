package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// The files that keygen writes, in the folder that --dir names.
const (
	spKeyFile      = "sp.key"
	spCertFile     = "sp.crt"
	sessionKeyFile = "session.key"
	jwtKeyFile     = "jwt.key"
)

// certLifetime is long because identity providers pin the certificate: it is
// an envelope for the key, and nobody checks its dates but the IdP.
const certLifetime = 10 * 365 * 24 * time.Hour

func keygenCommand(std stdio) *cobra.Command {
	var dir, name string
	var bits int
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make the SAML key and certificate, a session key and a key for tokens",
		Long: `keygen writes sp.key and sp.crt, the key that signs requests to identity
providers and decrypts what they send; session.key, the key that seals cookies;
and jwt.key, which signs tokens for apps that want them. A file that is there
already is never overwritten.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if bits < 2048 || bits > 8192 {
				return usageError{"jitgate keygen", fmt.Errorf("--bits %d: want 2048 to 8192", bits)}
			}
			if err := writeKeys(dir, name, bits); err != nil {
				return err
			}
			fmt.Fprintf(std.out, `wrote %s, %s, %s and %s; in a jitgate.yaml beside them:

saml:
  key_file: %s
  cert_file: %s
session:
  keys: ["file:%s"]
jwt: # only where apps verify who a visitor is
  keys: ["file:%s"]
`, filepath.Join(dir, spKeyFile), filepath.Join(dir, spCertFile), filepath.Join(dir, sessionKeyFile), filepath.Join(dir, jwtKeyFile),
				spKeyFile, spCertFile, sessionKeyFile, jwtKeyFile)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "the `folder` to write to")
	c.Flags().StringVar(&name, "name", "jitgate", "the common `name` in the certificate")
	c.Flags().IntVar(&bits, "bits", 2048, "the size of the RSA key")
	return c
}

// writeKeys makes the files of keygen in dir. It writes none of them if
// one exists.
func writeKeys(dir, name string, bits int) error {
	for _, f := range []string{spKeyFile, spCertFile, sessionKeyFile, jwtKeyFile} {
		path := filepath.Join(dir, f)
		if _, err := os.Lstat(path); err == nil {
			return hintError{fmt.Errorf("%q is there already", path), "choose another folder with --dir, or move the file away"}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return fmt.Errorf("making the SAML key: %w", err)
	}
	cert, err := selfSigned(key, name, time.Now())
	if err != nil {
		return fmt.Errorf("making the SAML certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the SAML key: %w", err)
	}
	var session [64]byte
	rand.Read(session[:])
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key for tokens: %w", err)
	}
	signingDER, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		return fmt.Errorf("encoding the key for tokens: %w", err)
	}

	files := []struct {
		name string
		mode fs.FileMode
		data []byte
	}{
		{spKeyFile, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})},
		{spCertFile, 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})},
		{sessionKeyFile, 0o600, []byte(base64.StdEncoding.EncodeToString(session[:]) + "\n")},
		{jwtKeyFile, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: signingDER})},
	}
	for _, f := range files {
		if err := writeNew(filepath.Join(dir, f.name), f.data, f.mode); err != nil {
			return err
		}
	}
	return nil
}

func selfSigned(key *rsa.PrivateKey, name string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		// An IdP whose clock is a little behind must not find it too new.
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(certLifetime),
		KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	return x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
