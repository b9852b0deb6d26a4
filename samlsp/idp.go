package samlsp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// maxCertificates is how many signing certificates an IdP may have at a time.
// One in use and one to come are usual.
const maxCertificates = 4

// An idp is an IdP as its metadata describes it. It is never changed once it is
// made. Nothing else of the metadata is kept: artifact endpoints do not exist for
// us.
type idp struct {
	validity
	entityID      string
	signOn        service
	logout        service // for requests
	logoutAnswers service
	certificates  []*x509.Certificate
	ignored       []string               // fingerprints of those with keys that are weak or monstrous
	descriptor    *saml.EntityDescriptor // the same, for crewjam
}

// A service is where the IdP takes messages of one kind: a URL for each binding,
// "" if there is none.
type service struct{ redirect, post string }

func (s service) offered() bool { return s.redirect != "" || s.post != "" }

// best returns where a message goes.
func (s service) best() string {
	if s.redirect != "" {
		return s.redirect
	}
	return s.post
}

// withHint returns the service at which somebody in particular is expected. The
// parameter is none of SAML's, which is why it is not signed.
func (s service) withHint(hint string) service {
	query := "login_hint=" + escape(hint)
	if s.redirect != "" {
		s.redirect = addQuery(s.redirect, query)
	}
	if s.post != "" {
		s.post = addQuery(s.post, query)
	}
	return s
}

func (p *idp) fingerprints() []string {
	list := make([]string, len(p.certificates))
	for i, certificate := range p.certificates {
		list[i] = fingerprint(certificate)
	}
	return list
}

// What is read of metadata (SAML metadata, 2.3 and 2.4).

const nsMetadata = "urn:oasis:names:tc:SAML:2.0:metadata"

type entityXML struct {
	XMLName  xml.Name
	EntityID string `xml:"entityID,attr"`
	validityXML
	Roles      []idpRoleXML `xml:"urn:oasis:names:tc:SAML:2.0:metadata IDPSSODescriptor"`
	Entities   []entityXML  `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
	Aggregates []entityXML  `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntitiesDescriptor"`
}

type idpRoleXML struct {
	Protocols string `xml:"protocolSupportEnumeration,attr"`
	validityXML
	Keys     []keyXML     `xml:"urn:oasis:names:tc:SAML:2.0:metadata KeyDescriptor"`
	Services []serviceXML `xml:"urn:oasis:names:tc:SAML:2.0:metadata SingleSignOnService"`
	Logout   []serviceXML `xml:"urn:oasis:names:tc:SAML:2.0:metadata SingleLogoutService"`
}

type validityXML struct {
	ValidUntil    string `xml:"validUntil,attr"`
	CacheDuration string `xml:"cacheDuration,attr"`
}

type keyXML struct {
	Use          string   `xml:"use,attr"`
	Certificates []string `xml:"http://www.w3.org/2000/09/xmldsig# KeyInfo>X509Data>X509Certificate"`
}

type serviceXML struct {
	Binding          string `xml:"Binding,attr"`
	Location         string `xml:"Location,attr"`
	ResponseLocation string `xml:"ResponseLocation,attr"`
}

// A catalogue is the IdPs that are found in a document of metadata, each beside
// its role.
type catalogue struct {
	idps  []idp
	roles []idpRoleXML
	names map[string]bool // all entity IDs, of whatever roles
}

// add collects the IdPs in e, which is within what is good for as long as around
// says. The end of an IdP's validity is the earliest of its own and of all
// aggregates around it.
func (c *catalogue) add(e *entityXML, around validity) error {
	around, err := around.narrow(e.validityXML)
	if err != nil {
		return err
	}
	if e.XMLName.Space != nsMetadata {
		return fmt.Errorf("element %q is not SAML metadata", clip(e.XMLName.Local))
	}
	if e.XMLName.Local == "EntityDescriptor" {
		return c.addEntity(e, around)
	}
	for _, list := range [][]entityXML{e.Entities, e.Aggregates} {
		for i := range list {
			if err := c.add(&list[i], around); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *catalogue) addEntity(e *entityXML, around validity) error {
	if c.names[e.EntityID] {
		return fmt.Errorf("entity ID %q is there twice", clip(e.EntityID))
	}
	if c.names == nil {
		c.names = make(map[string]bool)
	}
	c.names[e.EntityID] = true
	for _, role := range e.Roles {
		own, err := around.narrow(role.validityXML)
		if err != nil {
			return err
		}
		c.idps = append(c.idps, idp{entityID: e.EntityID, validity: own})
		c.roles = append(c.roles, role)
	}
	return nil
}

// A validity is how long metadata may be used. Zero values are no limit.
type validity struct {
	validUntil    time.Time
	cacheDuration time.Duration // after which it should be asked for again
}

// narrow returns v as far as an element within allows.
func (v validity) narrow(within validityXML) (validity, error) {
	if within.ValidUntil != "" {
		end, ok := parseTime(within.ValidUntil)
		if !ok {
			return v, fmt.Errorf("validUntil %q is not a time", clip(within.ValidUntil))
		}
		if v.validUntil.IsZero() || end.Before(v.validUntil) {
			v.validUntil = end
		}
	}
	if d := parseDuration(within.CacheDuration); d > 0 && (v.cacheDuration == 0 || d < v.cacheDuration) {
		v.cacheDuration = d
	}
	return v, nil
}

var durationForm = regexp.MustCompile(`^P(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,6})D)?(?:T(?:(\d{1,8})H)?(?:(\d{1,9})M)?(?:(\d{1,10})(?:\.\d+)?S)?)?$`)

// parseDuration returns a duration of XML (XML Schema 2, section 3.2.6) or, where
// that is long, a year: nobody waits so long anyway. Anything else is 0, since a
// wrong hint is no reason to do without the metadata.
func parseDuration(s string) time.Duration {
	parts := durationForm.FindStringSubmatch(s)
	if parts == nil {
		return 0
	}
	const day = 24 * time.Hour
	var seconds float64
	for i, unit := range []time.Duration{365 * day, 30 * day, day, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.ParseFloat(parts[i+1], 64) // "" is none of it
		seconds += n * unit.Seconds()
	}
	return time.Duration(min(seconds, (365*day).Seconds())) * time.Second
}

// parseMetadata returns the one IdP in the metadata.
func parseMetadata(data []byte, now time.Time) (*idp, error) {
	var root entityXML
	if err := xml.Unmarshal(data, &root); err != nil {
		return nil, errNotMetadata
	}
	var found catalogue
	if err := found.add(&root, validity{}); err != nil {
		return nil, err
	}
	if len(found.idps) != 1 {
		return nil, fmt.Errorf("%d identity providers in it; want one", len(found.idps))
	}
	p, role := &found.idps[0], found.roles[0]
	if p.entityID == "" || len(p.entityID) > 1024 {
		return nil, fmt.Errorf("entity ID %q is not one of 1 to 1024 bytes", clip(p.entityID))
	}
	if !p.validUntil.IsZero() && !now.Before(p.validUntil) {
		return nil, fmt.Errorf("expired: valid until %s", p.validUntil.Format(time.RFC3339))
	}
	if !slices.Contains(strings.Fields(role.Protocols), nsProtocol) {
		return nil, fmt.Errorf("the identity provider speaks %q, not SAML 2.0", clip(role.Protocols))
	}
	if err := p.readServices(role.Services, role.Logout); err != nil {
		return nil, err
	}
	if err := p.readKeys(role.Keys); err != nil {
		return nil, err
	}
	p.describe()
	return p, nil
}

// readServices takes the first service of each kind and binding.
func (p *idp) readServices(signOn, logout []serviceXML) error {
	for _, s := range signOn {
		if err := p.signOn.add(s.Binding, s.Location); err != nil {
			return fmt.Errorf("single sign-on service: %w", err)
		}
	}
	if !p.signOn.offered() {
		return errors.New("no single sign-on service of the Redirect or POST binding")
	}
	for _, s := range logout {
		if s.ResponseLocation == "" {
			s.ResponseLocation = s.Location
		}
		// One that is of no use is as good as none: people can sign in without.
		_ = p.logout.add(s.Binding, s.Location)
		_ = p.logoutAnswers.add(s.Binding, s.ResponseLocation)
	}
	return nil
}

// add takes a location, if it is the first one of its binding.
func (s *service) add(binding, location string) error {
	var to *string
	switch binding {
	case saml.HTTPRedirectBinding:
		to = &s.redirect
	case saml.HTTPPostBinding:
		to = &s.post
	default:
		return nil // SOAP, artifact, vendors' own
	}
	u, err := endpoint(location)
	if err != nil {
		return err
	}
	if *to == "" {
		*to = u.String()
	}
	return nil
}

// readKeys takes the certificates that the IdP may sign with.
func (p *idp) readKeys(keys []keyXML) error {
	for _, key := range keys {
		if key.Use != "" && key.Use != "signing" {
			continue
		}
		for _, text := range key.Certificates {
			der, err := base64.StdEncoding.DecodeString(stripSpace(text))
			if err != nil {
				return errors.New("a signing certificate is not base64")
			}
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				return fmt.Errorf("signing certificate: %w", err)
			}
			if !strong(certificate) {
				p.ignored = append(p.ignored, fingerprint(certificate))
				continue
			}
			if !slices.ContainsFunc(p.certificates, certificate.Equal) {
				p.certificates = append(p.certificates, certificate)
			}
		}
	}
	if len(p.certificates) == 0 {
		return fmt.Errorf("no signing certificate of RSA with 2048 to %d bits, or ECDSA with P-256 or more (%d of other keys)", maxRSA, len(p.ignored))
	}
	if len(p.certificates) > maxCertificates {
		return fmt.Errorf("%d signing certificates; want %d at most", len(p.certificates), maxCertificates)
	}
	return nil
}

// maxRSA is the longest RSA key in bits: what a key of a million bits signs
// would take minutes to verify.
const maxRSA = 8192

// strong reports whether a key is one whose signatures mean something.
func strong(certificate *x509.Certificate) bool {
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048 && key.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize >= 256
	}
	return false
}

// describe makes crewjam's form of the IdP, of what is kept and nothing else.
func (p *idp) describe() {
	var role saml.IDPSSODescriptor
	for _, certificate := range p.certificates {
		data := saml.X509Data{X509Certificates: []saml.X509Certificate{{Data: base64.StdEncoding.EncodeToString(certificate.Raw)}}}
		role.KeyDescriptors = append(role.KeyDescriptors, saml.KeyDescriptor{Use: "signing", KeyInfo: saml.KeyInfo{X509Data: data}})
	}
	p.descriptor = &saml.EntityDescriptor{EntityID: p.entityID, IDPSSODescriptors: []saml.IDPSSODescriptor{role}}
}

// signedMetadata returns the metadata as it was signed by one of the signers: the
// root element, in canonical form.
func signedMetadata(data []byte, signers []*x509.Certificate, now time.Time) ([]byte, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(data); err != nil || doc.Root() == nil {
		return nil, errors.New("not an XML document")
	}
	root := doc.Root()
	signatures := root.SelectElements("Signature")
	if len(signatures) != 1 {
		return nil, fmt.Errorf("%d signatures on the root element; want one, since there is a signer_file", len(signatures))
	}
	// The same schema as for a signature in a message, without the namespaces
	// that metadata declares at its root and does not use there.
	alone, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(signatures[0])
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	err = preflightSignature(alone, root.SelectAttrValue("ID", ""))
	if err != nil {
		return nil, notSigned(err)
	}
	signed, _, err := verify(root, signers, now)
	if err != nil {
		return nil, notSigned(err)
	}
	return canonical(signed)
}

// notSigned says of metadata what a Refusal says of a response.
func notSigned(err error) error {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return fmt.Errorf("its signature is refused: %s %q", r.Check, r.Got)
	}
	return fmt.Errorf("signature: %w", err)
}

// parsePEMCertificates returns the certificates of a PEM file, in which there has
// to be one at least, and nothing else.
func parsePEMCertificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block of type %q; want certificates", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !strong(certificate) {
			return nil, fmt.Errorf("the key of the certificate %s is too weak or too long", fingerprint(certificate))
		}
		list = append(list, certificate)
	}
	if len(list) == 0 || len(bytes.TrimSpace(data)) > 0 {
		return nil, errors.New("want certificates in PEM")
	}
	return list, nil
}
