// Package samlsp is the SAML 2.0 service provider: it starts a login at an
// identity provider (IdP) and verifies the answer.
//
// It knows nothing of cookies, sessions or pages. An [SP] stands for one IdP and
// one assertion consumer service (ACS); a login is two calls. [SP.Begin] returns
// where to send the browser, and [SP.Finish] turns the IdP's response into an
// [Identity], or into a [Refusal] that names the check which failed. Which IdP
// is asked is decided by the caller, never by the message. [SP.Explain] is Finish
// for people: it judges a captured response by the same code, and says how each
// check went.
//
// A response passes through five gates, in this order, and each of them must let
// it pass:
//
//  1. The preflight (preflight.go): a streaming scan against a closed schema,
//     before any tree is built and before any cryptography. What is not in the
//     table does not exist.
//  2. The signatures (signature.go): each one present must verify with a
//     certificate of the IdP's metadata, and there must be one, on the Response
//     or on the Assertion. KeyInfo is never believed.
//  3. Our own reading of what was signed, and only of that (validate.go).
//  4. crewjam/saml's ParseXMLResponse, as a second opinion of other authors.
//  5. The replay memory in Redis (replay.go): a request and an assertion count
//     once, for all replicas. When Redis cannot answer, nobody signs in.
//
// An encrypted assertion is decrypted between 2 and 3, by this package and not by
// crewjam's xmlenc, whose table of algorithms is global, accepts RSA 1.5 and can
// be made to panic (decrypt.go).
//
// A logout goes both ways, and through the same gates but the fourth: see
// [SP.BeginLogout] and [SP.EndLogout] (logout.go, binding.go).
package samlsp

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/crewjam/saml"
)

const (
	// maxSkew is how far an IdP's clock may be from ours, either way.
	maxSkew = 3 * time.Minute
	// maxAge is how long after its IssueInstant a response is accepted, besides
	// maxSkew. AD FS, Entra and LemonLDAP::NG issue assertions good for an hour
	// or more: it is this that bounds them for us.
	maxAge = 5 * time.Minute
	// maxLifetime is the longest validity that an assertion may claim. Longer
	// ones come from a broken IdP: none is known to be set up like that.
	maxLifetime = 24 * time.Hour
	// maxName is the most bytes of what names a subject or their session: a
	// session of ours keeps both.
	maxName = 1024
)

// ErrNoMetadata is returned while there is no usable metadata of the IdP: none
// was loaded yet, or the last one is past its validUntil.
var ErrNoMetadata = errors.New("no valid metadata of the identity provider")

// Options say what an SP is.
type Options struct {
	// Name is the IdP's name in the configuration. It names the replay keys.
	Name string
	// EntityID is ours, and the audience that assertions must have.
	EntityID string
	// ACS is the URL of our assertion consumer service for this IdP alone.
	ACS string
	// SLO is the URL of our single logout service for this IdP alone. Empty: a
	// logout stays on one side.
	SLO string
	// Key signs requests and decrypts assertions; Certificate is what the IdP
	// knows of it. RSA, 2048 bits or more.
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate
	// Rollover are further pairs: the IdP is told their certificates too, and may
	// encrypt to them.
	Rollover []KeyPair
	// Metadata says where the IdP's metadata is.
	Metadata MetadataSource
	// EntityIDs are those that the other SPs of the gateway have: metadata with
	// one of them is refused. nil: there are no others.
	EntityIDs *EntityIDs
	// AllowEncryption names what is accepted of encrypted assertions beyond
	// AES-GCM in a signed Response: aes128-cbc, aes192-cbc, aes256-cbc, and
	// unsigned-response (the Assertion inside must then be signed itself).
	AllowEncryption []string
	// DiscoveryReturn is the URL that a discovery service comes back to, named in our
	// metadata. Empty: there is none.
	DiscoveryReturn string
	// HintSubject puts a login hint into the Subject of requests, HintQuery into their
	// URL.
	HintSubject, HintQuery bool
	// Unsolicited lets Finish accept a response that answers no request.
	Unsolicited bool
	// Replay is the memory of what was used already. Required.
	Replay *Replay
	// Slots bound the messages that are worked on at once, of all SPs that have the
	// same. Nil: as NewSlots(0, 100), for this SP alone.
	Slots *Slots
}

// A KeyPair is an RSA key of 2048 bits or more, and its certificate.
type KeyPair struct {
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate
}

// A MetadataSource is a file or a URL, exactly one of them.
type MetadataSource struct {
	File string
	// URL is https, or http on a loopback host.
	URL string
	// AllowPrivate lets the host of URL be in a private network. Link-local
	// addresses, and those where clouds hand out credentials, are refused all the
	// same.
	AllowPrivate bool
	// EntityID is the only one that is accepted, and is no other SP's even before
	// metadata is loaded. Empty: the one that is found first is, from a URL, the
	// only one from then on.
	EntityID string
	// SignerFile holds certificates in PEM. Where it is set, metadata without an
	// enveloped signature that verifies with one of them is refused.
	SignerFile string
	// Refresh is how often it is looked at; zero means an hour for a URL, and a
	// minute for a file, so that a new one is soon in use.
	Refresh time.Duration
}

// An SP is our service provider towards one IdP. Its methods are safe for
// concurrent use.
type SP struct {
	o     Options
	acs   url.URL
	allow map[string]bool
	// signers are of the metadata; none: it need not be signed.
	signers []*x509.Certificate

	// Of the metadata's URL. nil, the system's own, but in tests.
	resolver *net.Resolver
	roots    *x509.CertPool

	refreshing sync.Mutex   // held by Refresh
	failures   atomic.Int32 // of Refresh, in a row
	failed     atomic.Int64 // the same, all in all
	idp        atomic.Pointer[idp]
	loaded     atomic.Pointer[time.Time] // when idp was last found to be so
}

// New returns the SP that o describes. It reads the signers' certificates, and
// asks nothing of the network: until a first [SP.Refresh], Begin and Finish
// return ErrNoMetadata.
func New(o Options) (*SP, error) {
	shared() // crewjam's limits are set before anything can use them
	sp := &SP{o: o, allow: map[string]bool{}}
	if o.Name == "" || strings.ContainsAny(o.Name, "{}") {
		return nil, fmt.Errorf("identity provider name %q: empty, or has a brace", o.Name)
	}
	if o.EntityID == "" {
		return nil, errors.New("no entity ID")
	}
	if o.Replay == nil {
		return nil, errors.New("no replay memory")
	}
	if o.Slots == nil {
		sp.o.Slots = NewSlots(0, 100)
	}
	acs, err := endpoint(o.ACS)
	if err != nil {
		return nil, fmt.Errorf("assertion consumer service: %w", err)
	}
	sp.acs = *acs
	if o.SLO != "" {
		if _, err := endpoint(o.SLO); err != nil {
			return nil, fmt.Errorf("single logout service: %w", err)
		}
	}
	if o.DiscoveryReturn != "" {
		if _, err := endpoint(o.DiscoveryReturn); err != nil {
			return nil, fmt.Errorf("return from a discovery service: %w", err)
		}
	}
	for _, pair := range sp.keyPairs() {
		if pair.Key == nil || pair.Key.N.BitLen() < 2048 {
			return nil, errors.New("no RSA key of at least 2048 bits")
		}
		if pair.Certificate == nil || !pair.Key.PublicKey.Equal(pair.Certificate.PublicKey) {
			return nil, errors.New("certificate is not of the key")
		}
	}
	for _, what := range o.AllowEncryption {
		switch what {
		case "aes128-cbc", "aes192-cbc", "aes256-cbc", allowUnsignedResponse:
			sp.allow[what] = true
		default:
			return nil, fmt.Errorf("encryption %q: not aes128-cbc, aes192-cbc, aes256-cbc or unsigned-response", what)
		}
	}
	if err := sp.openSource(); err != nil {
		return nil, err
	}
	if id := o.Metadata.EntityID; id != "" {
		return sp, o.EntityIDs.take(sp, id)
	}
	return sp, nil
}

// keyPairs returns all of ours, the one that signs first.
func (sp *SP) keyPairs() []KeyPair {
	return append([]KeyPair{{sp.o.Key, sp.o.Certificate}}, sp.o.Rollover...)
}

// openSource checks the metadata source, and reads the signers' certificates.
func (sp *SP) openSource() error {
	m := &sp.o.Metadata
	if (m.File == "") == (m.URL == "") {
		return errors.New("metadata: want a file or a URL, and not both")
	}
	if m.URL != "" {
		if _, err := endpoint(m.URL); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	if m.Refresh <= 0 {
		m.Refresh = time.Hour
		if m.File != "" {
			m.Refresh = time.Minute
		}
	}
	if m.SignerFile == "" {
		return nil
	}
	data, err := os.ReadFile(m.SignerFile)
	if err != nil {
		return fmt.Errorf("metadata signer: %w", err)
	}
	sp.signers, err = parsePEMCertificates(data)
	if err != nil {
		return fmt.Errorf("metadata signer %q: %w", m.SignerFile, err)
	}
	return nil
}

// Ready returns nil when logins can begin and finish, else an error that is
// ErrNoMetadata.
func (sp *SP) Ready() error {
	_, err := sp.current(time.Now())
	return err
}

// EntityID returns that of the IdP, "" while no metadata of it is loaded.
func (sp *SP) EntityID() string {
	if p := sp.idp.Load(); p != nil {
		return p.entityID
	}
	return ""
}

// current returns the IdP as its metadata describes it, if that is good at the time.
func (sp *SP) current(at time.Time) (*idp, error) {
	p := sp.idp.Load()
	if p == nil {
		return nil, fmt.Errorf("%q: %w", sp.o.Name, ErrNoMetadata)
	}
	if !p.validUntil.IsZero() && !at.Before(p.validUntil) {
		return nil, fmt.Errorf("%q: %w: valid until %s", sp.o.Name, ErrNoMetadata, p.validUntil.Format(time.RFC3339))
	}
	return p, nil
}

// An Identity is who the IdP says has signed in. All of it was signed, but for that
// of an [Explanation] that is not Trusted.
type Identity struct {
	IdP    string `json:"idp"`    // Options.Name
	Issuer string `json:"issuer"` // the IdP's entity ID
	NameID NameID `json:"name_id"`
	// SessionIndex names the session at the IdP, for logout. It may be empty.
	SessionIndex string `json:"session_index,omitempty"`
	// Attributes are in the order sent, FriendlyName included; a name that came
	// twice is there twice. Nothing is interpreted.
	Attributes []Attribute `json:"attributes"`
	// AuthnInstant is when the visitor proved who they are, which may be long ago.
	AuthnInstant time.Time `json:"authn_instant"`
	// AuthnContext is how they did (SAML core, 2.7.2.2), as the class that the IdP names.
	// It may be empty, and is whatever the IdP wrote.
	AuthnContext string `json:"authn_context,omitempty"`
	// SessionNotOnOrAfter is when a session made of this has to end. Zero: the
	// IdP does not say.
	SessionNotOnOrAfter time.Time `json:"session_not_on_or_after,omitzero"`
	AssertionID         string    `json:"assertion_id"`
	IssuedAt            time.Time `json:"issued_at"`
}

// A NameID is the IdP's name for a subject (SAML core, 2.2.3).
type NameID struct {
	Value           string `json:"value"`
	Format          string `json:"format,omitempty"`
	NameQualifier   string `json:"name_qualifier,omitempty"`
	SPNameQualifier string `json:"sp_name_qualifier,omitempty"`
}

// An Attribute is one statement about the subject (SAML core, 2.7.3.1). One
// without any value has no Values: it is there, and says nothing.
type Attribute struct {
	Name         string   `json:"name"`
	NameFormat   string   `json:"name_format,omitempty"`
	FriendlyName string   `json:"friendly_name,omitempty"`
	Values       []string `json:"values"`
}

// The codes of a [Refusal]. They are stable: pages and logs use them.
const (
	CodeInvalid  = "saml_invalid"
	CodeReplayed = "saml_replayed"
	CodeRefused  = "idp_refused" // the IdP itself says no
)

// A Refusal reports a response that was received but not believed. Any other
// error from [SP.Finish] means that it could not be checked.
//
// It is for the log, not for the visitor. It never holds XML: Got and Want are
// single values, cut short.
type Refusal struct {
	// Code is saml_invalid, saml_replayed, or idp_refused (the IdP itself says
	// that the login did not succeed).
	Code string `json:"code"`
	// Check is the stable name of the check that failed: one of those listed in
	// checks.go.
	Check string `json:"check"`
	// Got is what was found, Want what should have been. Either may be empty.
	Got  string `json:"got,omitempty"`
	Want string `json:"want,omitempty"`
}

func (r *Refusal) Error() string {
	text := "response refused: " + r.Check
	if r.Got != "" {
		text += fmt.Sprintf(": got %q", r.Got)
	}
	if r.Want != "" {
		text += fmt.Sprintf(", want %q", r.Want)
	}
	return text
}

// refuse returns a Refusal with the code saml_invalid.
func refuse(check, got, want string) *Refusal {
	return &Refusal{Code: CodeInvalid, Check: check, Got: clip(got), Want: clip(want)}
}

// clip cuts a value from a message to what a log line can bear.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return strings.ToValidUTF8(s, "\ufffd")
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.ToValidUTF8(s[:cut], "\ufffd") + "…"
}

// plain is the text of a library's error, without the brackets in which some name
// elements: what is logged of a message never looks like XML.
func plain(err error) string {
	return strings.NewReplacer("<", "", ">", "").Replace(err.Error())
}

// shared returns the grammar, which all SPs of the process have in common; its
// first caller makes it. With it come the limits of crewjam's clock, which are
// package variables there.
var shared = sync.OnceValue(func() *grammar {
	// crewjam refuses a response whose IssueInstant is further back than this,
	// without leeway for a clock that is behind: 90 seconds in its default.
	saml.MaxIssueDelay = maxAge + maxSkew
	saml.MaxClockSkew = maxSkew
	return parseGrammar(schema, algorithms)
})

// endpoint parses the URL of an endpoint: https, or http on a loopback host,
// with a host, without user and fragment.
func endpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL", s)
	}
	if u.Host == "" || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an https URL of a host and a path", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return u, nil
	}
	return nil, fmt.Errorf("%q is not https (http is for loopback hosts alone)", s)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}
