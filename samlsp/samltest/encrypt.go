package samltest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/beevik/etree"
)

// The algorithms of XML encryption that [Encryption] knows (xmlenc 1.0, section
// 5, and 1.1, section 5).
const (
	AES128GCM = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
	AES192GCM = "http://www.w3.org/2009/xmlenc11#aes192-gcm"
	AES256GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
	AES128CBC = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
	AES192CBC = "http://www.w3.org/2001/04/xmlenc#aes192-cbc"
	AES256CBC = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
	TripleDES = "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"

	OAEP   = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p" // MGF1 with SHA-1
	OAEP11 = "http://www.w3.org/2009/xmlenc11#rsa-oaep"        // MGF1 with the digest's hash
	RSA15  = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"
)

const (
	nsEncryption   = "http://www.w3.org/2001/04/xmlenc#"
	nsEncryption11 = "http://www.w3.org/2009/xmlenc11#"
)

// An Encryption is how an assertion is encrypted for its service provider
// (SAML 2.0 core, section 2.3.4).
type Encryption struct {
	Method       string            // of the assertion; "" does not encrypt
	KeyTransport string            // of the key; default OAEP
	Digest       string            // of OAEP; default DigestSHA1, as in xmlenc 1.0
	Certificate  *x509.Certificate // the service provider's, with an RSA key
	Sibling      bool              // EncryptedKey beside EncryptedData, not in its KeyInfo

	MutatePlaintext  func([]byte) []byte  // what is encrypted: the serialised Assertion
	MutateCiphertext func([]byte) []byte  // IV, ciphertext and tag, before base64
	MutateKey        func([]byte) []byte  // the content key, before it is encrypted
	MutateElement    func(*etree.Element) // the finished EncryptedAssertion
}

// Replace puts an EncryptedAssertion in the place of el, which has a parent.
func (e Encryption) Replace(el *etree.Element) error {
	parent := el.Parent()
	if parent == nil {
		return fmt.Errorf("encrypting %q: it is not in a document", el.Tag)
	}
	encrypted, err := e.encrypt(el)
	if err != nil {
		return fmt.Errorf("encrypting %q: %w", el.Tag, err)
	}
	at := el.Index()
	parent.RemoveChildAt(at)
	parent.InsertChildAt(at, encrypted)
	return nil
}

func (e Encryption) encrypt(el *etree.Element) (*etree.Element, error) {
	if e.Certificate == nil {
		return nil, errors.New("the service provider has no encryption certificate")
	}
	plaintext, err := serialise(standalone(el))
	if err != nil {
		return nil, err
	}
	if e.MutatePlaintext != nil {
		plaintext = e.MutatePlaintext(plaintext)
	}
	size, ok := keySize(e.Method)
	if !ok {
		return nil, fmt.Errorf("unknown encryption method %q", e.Method)
	}
	key := make([]byte, size)
	rand.Read(key) // never fails
	ciphertext, err := seal(e.Method, key, plaintext)
	if err != nil {
		return nil, err
	}
	if e.MutateCiphertext != nil {
		ciphertext = e.MutateCiphertext(ciphertext)
	}
	if e.MutateKey != nil {
		key = e.MutateKey(key)
	}
	wrapped, err := e.wrap(key)
	if err != nil {
		return nil, err
	}
	encrypted := e.element(ciphertext, wrapped)
	if el.Space == "" {
		encrypted.Space = ""
		encrypted.CreateAttr("xmlns", NSAssertion)
	}
	if e.MutateElement != nil {
		e.MutateElement(encrypted)
	}
	return encrypted, nil
}

// standalone returns el as a document of its own, which declares the prefixes
// that el has from its ancestors: the plaintext has to be readable alone.
func standalone(el *etree.Element) *etree.Document {
	root := el.Copy()
	for p := el.Parent(); p != nil; p = p.Parent() {
		for _, a := range p.Attr {
			if a.Space == "xmlns" && a.Key == el.Space && root.SelectAttr(a.FullKey()) == nil {
				root.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	doc := etree.NewDocument()
	doc.SetRoot(root)
	return doc
}

func (e Encryption) element(ciphertext, wrappedKey []byte) *etree.Element {
	encrypted := etree.NewElement("saml:EncryptedAssertion")
	data := encrypted.CreateElement("xenc:EncryptedData")
	data.CreateAttr("xmlns:xenc", nsEncryption)
	data.CreateAttr("Type", nsEncryption+"Element")
	data.CreateElement("xenc:EncryptionMethod").CreateAttr("Algorithm", e.Method)

	parent := encrypted
	if !e.Sibling {
		parent = data.CreateElement("ds:KeyInfo")
		parent.CreateAttr("xmlns:ds", NSSignature)
	}
	key := parent.CreateElement("xenc:EncryptedKey")
	key.CreateAttr("xmlns:xenc", nsEncryption)
	transport := or(e.KeyTransport, OAEP)
	method := key.CreateElement("xenc:EncryptionMethod")
	method.CreateAttr("Algorithm", transport)
	if transport != RSA15 {
		digest := method.CreateElement("ds:DigestMethod")
		digest.CreateAttr("xmlns:ds", NSSignature)
		digest.CreateAttr("Algorithm", or(e.Digest, DigestSHA1))
	}
	if mgf, ok := maskGeneration(or(e.Digest, DigestSHA1)); ok && transport == OAEP11 {
		m := method.CreateElement("xenc11:MGF")
		m.CreateAttr("xmlns:xenc11", nsEncryption11)
		m.CreateAttr("Algorithm", mgf)
	}
	info := key.CreateElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", NSSignature)
	info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(e.Certificate.Raw))
	cipherData(key, wrappedKey)
	cipherData(data, ciphertext)
	return encrypted
}

func cipherData(parent *etree.Element, value []byte) {
	parent.CreateElement("xenc:CipherData").CreateElement("xenc:CipherValue").
		SetText(base64.StdEncoding.EncodeToString(value))
}

// wrap encrypts the content key for the service provider.
func (e Encryption) wrap(key []byte) ([]byte, error) {
	public, ok := e.Certificate.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the certificate has no RSA key")
	}
	hash, ok := digestHash(or(e.Digest, DigestSHA1))
	if !ok {
		return nil, fmt.Errorf("unknown digest %q", e.Digest)
	}
	switch or(e.KeyTransport, OAEP) {
	case OAEP:
		return rsa.EncryptOAEPWithOptions(rand.Reader, public, key, &rsa.OAEPOptions{Hash: hash, MGFHash: crypto.SHA1})
	case OAEP11:
		return rsa.EncryptOAEPWithOptions(rand.Reader, public, key, &rsa.OAEPOptions{Hash: hash, MGFHash: hash})
	case RSA15:
		//lint:ignore SA1019 what must be refused has to be sent first
		return rsa.EncryptPKCS1v15(rand.Reader, public, key)
	}
	return nil, fmt.Errorf("unknown key transport %q", e.KeyTransport)
}

// maskGeneration returns the name of MGF1 with the hash of digest.
func maskGeneration(digest string) (string, bool) {
	switch digest {
	case DigestSHA1:
		return nsEncryption11 + "mgf1sha1", true
	case DigestSHA256:
		return nsEncryption11 + "mgf1sha256", true
	case DigestSHA384:
		return nsEncryption11 + "mgf1sha384", true
	case DigestSHA512:
		return nsEncryption11 + "mgf1sha512", true
	}
	return "", false
}

// keySize returns the length in bytes of the key that method takes.
func keySize(method string) (int, bool) {
	switch method {
	case AES128GCM, AES128CBC:
		return 16, true
	case AES192GCM, AES192CBC, TripleDES:
		return 24, true
	case AES256GCM, AES256CBC:
		return 32, true
	}
	return 0, false
}

// seal encrypts plaintext: IV and ciphertext for CBC, padded as xmlenc 1.0,
// section 5.2 says; IV, ciphertext and tag for GCM (xmlenc 1.1, section 5.2.4).
func seal(method string, key, plaintext []byte) ([]byte, error) {
	newBlock := aes.NewCipher
	if method == TripleDES {
		newBlock = des.NewTripleDESCipher
	}
	block, err := newBlock(key)
	if err != nil {
		return nil, err
	}
	switch method {
	case AES128GCM, AES192GCM, AES256GCM:
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		iv := make([]byte, gcm.NonceSize())
		rand.Read(iv)
		return gcm.Seal(iv, iv, plaintext, nil), nil
	}
	size := block.BlockSize()
	padding := make([]byte, size-len(plaintext)%size)
	rand.Read(padding)
	padding[len(padding)-1] = byte(len(padding))
	padded := append(append([]byte(nil), plaintext...), padding...)
	out := make([]byte, size+len(padded))
	rand.Read(out[:size])
	cipher.NewCBCEncrypter(block, out[:size]).CryptBlocks(out[size:], padded)
	return out, nil
}
