// Package samltest is a SAML 2.0 identity provider for tests and for the demo.
// It must never be used as a real one: it shows its users' passwords to anybody.
//
// It has two halves. An [IdP] is an http.Handler that a browser signs in at. A
// [Message] is one Response with every value open to change, from the audience
// to the bytes, so that a test can mint what an honest identity provider sends
// ([IdP.Good]) and whatever an attacker might. [Logout] does the same for the
// messages of single logout, and [Metadata] for the identity provider's metadata.
//
// What it signs and encrypts does not go through the code that it is there to
// test: signatures use goxmldsig for canonicalisation alone, and encryption is
// written here.
package samltest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A User can sign in at an IdP. The attributes are sent under these names and
// no others are added; one with an empty list is sent without a value.
type User struct {
	Name, Password string
	Attributes     map[string][]string
}

// Options says what an IdP is. URL is all that is needed.
type Options struct {
	URL      string // its origin, such as http://localhost:8081
	EntityID string // default: URL + "/metadata"
	Title    string // the organisation, as pages show it; default: Domain, or else URL's host
	Domain   string // the domain that it serves, as pages show it
	Users    []User

	// Editable are the attributes that the home page lets anybody change;
	// default: department and groups.
	Editable []string

	// Key and Certificate sign; default: a fresh key with a certificate for ten years.
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate

	PostOnly, RedirectOnly bool          // offer one binding for requests in place of both
	SignMetadata           bool          // sign the metadata with the key that signs messages
	MetadataValid          time.Duration // validUntil of the metadata from now; 0 leaves it out

	// What Good makes. The default is a signed Assertion in an unsigned Response,
	// in the prefixed style, attribute names of FormatBasic, not encrypted.
	Style            Style
	NameFormat       string
	SignResponse     bool   // sign the Response too
	SignResponseOnly bool   // sign the Response alone
	Encryption       string // such as AES256GCM; needs a service provider with an encryption certificate

	// Adjust changes each message that the IdP sends as a server. It may be nil.
	Adjust func(*Message)
}

// SPInfo names the service provider that a message is for. Certificate is its
// encryption certificate; nil where nothing is encrypted.
type SPInfo struct {
	EntityID, ACS string
	Certificate   *x509.Certificate
}

// An IdP is an identity provider, for http and for minting messages. It is safe
// for concurrent use.
type IdP struct {
	options Options
	handler http.Handler

	mu       sync.Mutex
	keys     []keyPair // in metadata; the first signs
	users    map[string]User
	sps      map[string]serviceProvider // by entityID
	browsers map[string]browser         // by the value of their cookie
	signIns  map[string]signIn          // under way, by the value in the form
	logouts  map[string]logoutChain     // under way, by RelayState
}

type keyPair struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

// New returns an IdP. It makes a key of 2048 bits where o has none.
func New(o Options) (*IdP, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("identity provider URL %q is not an origin; want something like http://localhost:8081", o.URL)
	}
	if o.PostOnly && o.RedirectOnly {
		return nil, errors.New("identity provider with PostOnly and RedirectOnly offers no binding")
	}
	o.URL = u.Scheme + "://" + u.Host
	o.EntityID = or(o.EntityID, o.URL+"/metadata")
	o.Title = or(o.Title, or(o.Domain, u.Host))
	o.NameFormat = or(o.NameFormat, FormatBasic)
	if o.Editable == nil {
		o.Editable = []string{"department", "groups"}
	}
	idp := &IdP{
		options: o,
		users:   make(map[string]User), sps: make(map[string]serviceProvider),
		browsers: make(map[string]browser), signIns: make(map[string]signIn), logouts: make(map[string]logoutChain),
	}
	idp.handler = idp.routes()
	for _, user := range o.Users {
		idp.users[user.Name] = user.clone()
	}
	if o.Key == nil {
		if o.Key, o.Certificate, err = newSigningKey(o.EntityID); err != nil {
			return nil, err
		}
	}
	if o.Certificate == nil {
		return nil, errors.New("identity provider has a key and no certificate")
	}
	idp.keys = []keyPair{{o.Key, o.Certificate}}
	return idp, nil
}

// EntityID returns the name of the IdP in messages and metadata.
func (idp *IdP) EntityID() string { return idp.options.EntityID }

// User returns the user of that name, as they are now.
func (idp *IdP) User(name string) (User, bool) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	user, ok := idp.users[name]
	return user.clone(), ok
}

// named returns the user whom somebody means who types a name, or the email address
// that most services ask for.
func (idp *IdP) named(typed string) (User, bool) {
	if user, ok := idp.User(typed); ok {
		return user, true
	}
	idp.mu.Lock()
	defer idp.mu.Unlock()
	for _, user := range idp.users {
		if slices.Contains(user.Attributes["email"], typed) {
			return user.clone(), true
		}
	}
	return User{}, false
}

// AddUser adds the user, in place of one of the same name.
func (idp *IdP) AddUser(user User) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	idp.users[user.Name] = user.clone()
}

// SetAttribute gives an attribute of the user these values from the next sign-in
// on; without values it is not sent any more. A user who is not there is left alone.
func (idp *IdP) SetAttribute(user, name string, values ...string) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	u, ok := idp.users[user]
	if !ok {
		return
	}
	if len(values) == 0 {
		delete(u.Attributes, name)
		return
	}
	u.Attributes[name] = slices.Clone(values)
}

// BeginRollover makes a new key and publishes its certificate after the one that
// signs, which stays in use.
func (idp *IdP) BeginRollover() error {
	key, certificate, err := newSigningKey(idp.options.EntityID)
	if err != nil {
		return err
	}
	idp.mu.Lock()
	defer idp.mu.Unlock()
	idp.keys = append(idp.keys, keyPair{key, certificate})
	return nil
}

// Switch signs with the newest key from now on. All certificates stay published.
func (idp *IdP) Switch() {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	last := len(idp.keys) - 1
	idp.keys = append([]keyPair{idp.keys[last]}, idp.keys[:last]...)
}

// EndRollover publishes no certificate any more but that of the key which signs.
func (idp *IdP) EndRollover() {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	idp.keys = idp.keys[:1:1]
}

// Certificates returns what the metadata publishes; the first is of the key that
// signs.
func (idp *IdP) Certificates() []*x509.Certificate {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	var list []*x509.Certificate
	for _, k := range idp.keys {
		list = append(list, k.certificate)
	}
	return list
}

// signature returns how the IdP signs now.
func (idp *IdP) signature() Signature {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	return Signature{Key: idp.keys[0].key, Certificate: idp.keys[0].certificate, Prefix: "ds"}
}

// SelfSigned makes an RSA key of so many bits, at least 1024, and a certificate
// for it that it signs itself.
func SelfSigned(name string, bits int, notBefore, notAfter time.Time) (*rsa.PrivateKey, *x509.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key for %q: %w", name, err)
	}
	serial := make([]byte, 16)
	rand.Read(serial) // never fails
	serial[0] &= 0x7f
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    notBefore, NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate for %q: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	return key, certificate, err
}

func newSigningKey(name string) (*rsa.PrivateKey, *x509.Certificate, error) {
	now := time.Now()
	return SelfSigned(name, 2048, now.Add(-time.Hour), now.AddDate(10, 0, 0))
}

func (u User) clone() User {
	attributes := maps.Clone(u.Attributes)
	if attributes == nil {
		attributes = make(map[string][]string)
	}
	for name, values := range attributes {
		attributes[name] = slices.Clone(values)
	}
	u.Attributes = attributes
	return u
}
