package samlsp

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	_ "crypto/sha1" // OAEP's hash where the message names none
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/beevik/etree"
)

// Encryption (XML Encryption 1.1). The key of an assertion comes by RSA-OAEP, and
// the assertion by AES: in GCM, or in CBC where the configuration names it. RSA
// 1.5 and triple DES are not here at all.
//
// Anybody can encrypt for us, since our certificate is public; and CBC is no
// proof of anything. So nothing is decrypted before the IdP's signature on the
// Response was verified, unless the configuration says unsigned-response. Then an
// attacker may have us decrypt what they like, and must not learn how far it got:
// every failure until the signature inside has been verified is checkDecryption,
// without a word more. In that time the response is sealed; [SP.Explain] alone,
// which is not for the sender, tells more.

const allowUnsignedResponse = "unsigned-response"

const (
	algOAEP1  = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p" // MGF1 with SHA-1
	algOAEP11 = "http://www.w3.org/2009/xmlenc11#rsa-oaep"        // MGF as it says
)

var errDecrypt = errors.New("decrypting")

// A blockCipher is one way to encrypt data.
type blockCipher struct {
	keySize int
	open    func(block cipher.Block, text []byte) ([]byte, error)
	allow   string // the word of the configuration that it takes, or ""
}

// blockCipherOf returns the cipher that an Algorithm names.
func blockCipherOf(algorithm string) (blockCipher, bool) {
	switch algorithm {
	case "http://www.w3.org/2009/xmlenc11#aes128-gcm":
		return blockCipher{16, openGCM, ""}, true
	case "http://www.w3.org/2009/xmlenc11#aes192-gcm":
		return blockCipher{24, openGCM, ""}, true
	case "http://www.w3.org/2009/xmlenc11#aes256-gcm":
		return blockCipher{32, openGCM, ""}, true
	case "http://www.w3.org/2001/04/xmlenc#aes128-cbc":
		return blockCipher{16, openCBC, "aes128-cbc"}, true
	case "http://www.w3.org/2001/04/xmlenc#aes192-cbc":
		return blockCipher{24, openCBC, "aes192-cbc"}, true
	case "http://www.w3.org/2001/04/xmlenc#aes256-cbc":
		return blockCipher{32, openCBC, "aes256-cbc"}, true
	}
	return blockCipher{}, false
}

// decrypted returns the message that comes of m when the Assertion is put in the
// place of the EncryptedAssertion, as the specification of XML Encryption has it
// (4.4): passed by the preflight, its Assertion exactly the plaintext. Without an
// EncryptedAssertion that is m.
func (r *response) decrypted(m *message) (*message, error) {
	o := m.outline
	if !o.encrypted {
		r.trail.skip(checkEncryption, "", notEncrypted)
		r.trail.skip(checkDecryption, "", notEncrypted)
		return m, nil
	}
	r.part = "EncryptedAssertion"
	if !r.responseVerified && !r.sp.allow[allowUnsignedResponse] {
		refusal := refuse(checkEncryption, "an encrypted assertion in an unsigned Response", "a signed Response, or encryption: allow: unsigned-response")
		if o.rootSigned { // and refused: only an explanation comes here
			refusal = refuse(checkEncryption, "an encrypted assertion in a Response whose signature is refused", "a signed Response")
		}
		if err := r.fail(refusal); err != nil {
			return nil, err
		}
	}
	element := m.root.SelectElement("EncryptedAssertion")
	box, err := r.openBox(element)
	if err != nil {
		return nil, err
	}
	r.explainEncryption(element, box)
	plain, err := box.plaintext(r.sp.keyPairs())
	if err != nil {
		err = r.stop(refuse(checkDecryption, "", ""))
		r.explainDecryption(element, box)
		return nil, err
	}
	r.trail.pass(checkDecryption, r.part, "", "")
	r.explainDecryption(element, box)
	r.sealed = !r.responseVerified
	whole, err := r.open(slices.Concat(m.text[:o.start], plain, m.text[o.end:]))
	if err != nil {
		return nil, err
	}
	inner := &whole.outline
	if !inner.hasAssertion || inner.encrypted || inner.start != o.start || inner.end != o.start+len(plain) {
		return nil, refuse(checkStructure, "a plaintext that is not one Assertion", "")
	}
	inner.encrypted = true // where it comes from; there is no ciphertext in it any more
	return whole, nil
}

const notEncrypted = "the assertion is not encrypted"

// A box is an EncryptedAssertion taken apart, of algorithms that are allowed.
type box struct {
	cipher blockCipher
	oaep   rsa.OAEPOptions
	key    []byte // encrypted
	text   []byte // encrypted
}

// openBox reads what the preflight has let pass. Its refusals depend on nothing
// that is secret.
func (r *response) openBox(assertion *etree.Element) (*box, error) {
	data := assertion.SelectElement("EncryptedData")
	inside := data.FindElements("./KeyInfo/EncryptedKey")
	keys := append(inside, assertion.SelectElements("EncryptedKey")...)
	if len(keys) != 1 {
		return nil, refuse(checkEncryption, "", "one EncryptedKey")
	}
	b := &box{}
	algorithm := data.SelectElement("EncryptionMethod").SelectAttrValue("Algorithm", "")
	var ok bool
	if b.cipher, ok = blockCipherOf(algorithm); !ok {
		return nil, refuse(checkEncryption, algorithm, "aes-gcm")
	}
	if b.cipher.allow != "" && !r.sp.allow[b.cipher.allow] {
		err := r.fail(refuse(checkEncryption, algorithm, "aes-gcm, or encryption: allow: "+b.cipher.allow))
		if err != nil {
			return nil, err
		}
	}
	if err := b.readOAEP(keys[0].SelectElement("EncryptionMethod")); err != nil {
		return nil, err
	}
	var err error
	if b.key, err = cipherValue(keys[0]); err != nil {
		return nil, err
	}
	if b.text, err = cipherValue(data); err != nil {
		return nil, err
	}
	return b, nil
}

// readOAEP reads how the key is encrypted. What is not said is SHA-1: in OAEP
// that is no weakness, since nothing rests on collisions there.
func (b *box) readOAEP(method *etree.Element) error {
	algorithm := method.SelectAttrValue("Algorithm", "")
	if algorithm != algOAEP1 && algorithm != algOAEP11 {
		return refuse(checkEncryption, algorithm, "rsa-oaep")
	}
	b.oaep = rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	if digest := method.SelectElement("DigestMethod"); digest != nil {
		b.oaep.Hash = hashOf(digest.SelectAttrValue("Algorithm", ""))
	}
	if mgf := method.SelectElement("MGF"); mgf != nil && algorithm == algOAEP11 {
		b.oaep.MGFHash = hashOf(mgf.SelectAttrValue("Algorithm", ""))
	}
	if b.oaep.Hash == 0 || b.oaep.MGFHash == 0 {
		return refuse(checkEncryption, "a digest of OAEP", "SHA-1, SHA-256, SHA-384 or SHA-512")
	}
	return nil
}

// hashOf returns the hash that the Algorithm of a DigestMethod or an MGF names.
func hashOf(algorithm string) crypto.Hash {
	switch algorithm {
	case "http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2009/xmlenc11#mgf1sha1":
		return crypto.SHA1
	case "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2009/xmlenc11#mgf1sha256":
		return crypto.SHA256
	case "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2009/xmlenc11#mgf1sha384":
		return crypto.SHA384
	case "http://www.w3.org/2001/04/xmlenc#sha512", "http://www.w3.org/2009/xmlenc11#mgf1sha512":
		return crypto.SHA512
	}
	return 0
}

func cipherValue(el *etree.Element) ([]byte, error) {
	value := el.FindElement("./CipherData/CipherValue")
	if value == nil {
		return nil, refuse(checkEncryption, "", "a CipherValue")
	}
	raw, err := base64.StdEncoding.DecodeString(stripSpace(value.Text()))
	if err != nil {
		return nil, refuse(checkEncryption, "", "base64")
	}
	return raw, nil
}

// plaintext opens the box with the first of our keys that does. All of its errors are
// the same one.
func (b *box) plaintext(ours []KeyPair) ([]byte, error) {
	for _, pair := range ours {
		key, err := pair.Key.Decrypt(nil, b.key, &b.oaep)
		if err != nil || len(key) != b.cipher.keySize {
			continue
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, errDecrypt
		}
		return b.cipher.open(block, b.text)
	}
	return nil, errDecrypt
}

// openGCM reads nonce, text and tag (XML Encryption 1.1, 5.2.4).
func openGCM(block cipher.Block, text []byte) ([]byte, error) {
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, errDecrypt
	}
	plain, err := gcm.Open(nil, nil, text, nil)
	if err != nil {
		return nil, errDecrypt
	}
	return plain, nil
}

// openCBC reads IV and text, padded up to a block with the length of the padding
// in its last byte (XML Encryption 1.1, 5.2.1).
func openCBC(block cipher.Block, text []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(text) < 2*size || len(text)%size != 0 {
		return nil, errDecrypt
	}
	plain := make([]byte, len(text)-size)
	cipher.NewCBCDecrypter(block, text[:size]).CryptBlocks(plain, text[size:])
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errDecrypt
	}
	return plain[:len(plain)-padding], nil
}
