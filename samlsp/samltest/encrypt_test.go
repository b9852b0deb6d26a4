package samltest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
)

// TestEncryption opens what was encrypted with the standard library alone: what
// comes out has to be the very Assertion, with its signature still right.
func TestEncryption(t *testing.T) {
	t.Parallel()
	key, certificate, err := SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	idp := newIdP(t, Options{})
	tests := []Encryption{
		{Method: AES128GCM},
		{Method: AES192GCM},
		{Method: AES256GCM},
		{Method: AES256GCM, Sibling: true}, // as Shibboleth's "peer" placement
		{Method: AES256GCM, Digest: DigestSHA256},
		{Method: AES256GCM, KeyTransport: OAEP11, Digest: DigestSHA256},
		{Method: AES128CBC},
		{Method: AES192CBC},
		{Method: AES256CBC},
		{Method: AES256CBC, KeyTransport: RSA15},
		{Method: TripleDES, KeyTransport: RSA15},
	}
	for _, e := range tests {
		t.Run(e.Method+" "+e.KeyTransport+" "+e.Digest, func(t *testing.T) {
			t.Parallel()
			for _, style := range []Style{Prefixed, DefaultNamespace} {
				m := idp.Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann())
				m.Style = style
				m.Encryption = e
				m.Encryption.Certificate = certificate
				raw, err := m.XML()
				if err != nil {
					t.Fatal(err)
				}
				doc := parse(t, raw)
				assertion := parse(t, open(t, key, doc)).Root()
				if assertion.Tag != "Assertion" || assertion.NamespaceURI() != NSAssertion {
					t.Errorf("plaintext is %s of %q, want Assertion of %q", assertion.Tag, assertion.NamespaceURI(), NSAssertion)
				}
				verify(t, assertion, idp.Certificates()[0])
				if got := doc.FindElement("/Response/EncryptedAssertion").NamespaceURI(); got != NSAssertion {
					t.Errorf("EncryptedAssertion in namespace %q, want %q", got, NSAssertion)
				}
			}
		})
	}
}

// open returns the plaintext of the document's EncryptedAssertion.
func open(t *testing.T, key *rsa.PrivateKey, doc *etree.Document) []byte {
	t.Helper()
	wrapped := doc.FindElement("//EncryptedKey")
	var options any // PKCS #1 v1.5
	method := wrapped.SelectElement("EncryptionMethod")
	switch method.SelectAttrValue("Algorithm", "") {
	case OAEP, OAEP11:
		o := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
		if strings.HasSuffix(method.SelectElement("DigestMethod").SelectAttrValue("Algorithm", ""), "sha256") {
			o.Hash = crypto.SHA256
		}
		if mgf := method.SelectElement("MGF"); mgf != nil && strings.HasSuffix(mgf.SelectAttrValue("Algorithm", ""), "sha256") {
			o.MGFHash = crypto.SHA256
		}
		options = o
	}
	contentKey, err := key.Decrypt(nil, cipherValue(t, wrapped), options)
	if err != nil {
		t.Fatal(err)
	}
	data := doc.FindElement("//EncryptedData")
	algorithm := data.SelectElement("EncryptionMethod").SelectAttrValue("Algorithm", "")
	newBlock := aes.NewCipher
	if strings.Contains(algorithm, "tripledes") {
		newBlock = des.NewTripleDESCipher
	}
	block, err := newBlock(contentKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed := cipherValue(t, data)
	if strings.HasSuffix(algorithm, "gcm") {
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := gcm.Open(nil, sealed[:12], sealed[12:], nil)
		if err != nil {
			t.Fatal(err)
		}
		return plain
	}
	size := block.BlockSize()
	plain := sealed[size:]
	cipher.NewCBCDecrypter(block, sealed[:size]).CryptBlocks(plain, plain)
	return plain[:len(plain)-int(plain[len(plain)-1])]
}

func cipherValue(t *testing.T, el *etree.Element) []byte {
	t.Helper()
	value, err := base64.StdEncoding.DecodeString(el.FindElement("./CipherData/CipherValue").Text())
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestEncryptionHooks: each step between the Assertion and its ciphertext can be
// made wrong.
func TestEncryptionHooks(t *testing.T) {
	t.Parallel()
	key, certificate, err := SelfSigned("sp", 2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	idp := newIdP(t, Options{})
	mint := func(e Encryption) *etree.Document {
		m := idp.Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann())
		m.Encryption = e
		m.Encryption.Certificate = certificate
		raw, err := m.XML()
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, raw)
	}
	comment := func([]byte) []byte { return []byte("<!--x-->") }
	doc := mint(Encryption{Method: AES256GCM, MutatePlaintext: comment})
	if got := open(t, key, doc); !bytes.Equal(got, comment(nil)) {
		t.Errorf("plaintext = %q, want %q", got, comment(nil))
	}
	short := func(b []byte) []byte { return b[:5] }
	doc = mint(Encryption{Method: AES256GCM, MutateCiphertext: short})
	if got := len(cipherValue(t, doc.FindElement("//EncryptedData"))); got != 5 {
		t.Errorf("ciphertext of %d bytes, want 5", got)
	}
	doc = mint(Encryption{Method: AES256GCM, MutateKey: short})
	wrapped := cipherValue(t, doc.FindElement("//EncryptedKey"))
	content, err := key.Decrypt(nil, wrapped, &rsa.OAEPOptions{Hash: crypto.SHA1})
	if err != nil || len(content) != 5 {
		t.Errorf("content key = %d bytes, %v, want 5", len(content), err)
	}
	doc = mint(Encryption{Method: AES256GCM, MutateElement: func(e *etree.Element) { e.CreateAttr("x", "y") }})
	if doc.FindElement("//EncryptedAssertion[@x='y']") == nil {
		t.Error("MutateElement changed nothing")
	}
}

func TestEncryptionNeedsCertificate(t *testing.T) {
	t.Parallel()
	m := newIdP(t, Options{Encryption: AES256GCM}).Good(SPInfo{EntityID: spEntityID, ACS: spACS}, "_request", ann())
	if _, err := m.XML(); err == nil {
		t.Error("a message without a certificate was encrypted")
	}
}
