package testenv

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// A Certificate is one that signs itself, with its key.
type Certificate struct {
	*x509.Certificate
	Key crypto.Signer
}

// SelfSigned makes an RSA key of 2048 bits and a certificate for it: for
// 127.0.0.1 and the hosts, from an hour ago until tomorrow.
func SelfSigned(hosts ...string) Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	now := time.Now()
	return SelfSign(key, now.Add(-time.Hour), now.Add(24*time.Hour), hosts...)
}

// SelfSign makes a certificate for a key as [SelfSigned] does, valid from one
// time to another.
func SelfSign(key crypto.Signer, from, to time.Time, hosts ...string) Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: hosts,
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	return Certificate{cert, key}
}

// CertPEM returns the certificate as a file has it.
func (c Certificate) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// KeyPEM returns the key as a file has it, in PKCS #8.
func (c Certificate) KeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TLS returns the certificate as servers show it.
func (c Certificate) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: c.Key}
}

// Pool returns the certificate as clients trust it.
func (c Certificate) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Certificate)
	return pool
}

// must ends the test binary over what only a mistake in the test can cause.
// Keys are made once for many tests, where no single one could fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
