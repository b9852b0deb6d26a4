package samltest

import (
	"crypto/x509"
	"encoding/base64"
	"time"

	"github.com/beevik/etree"
)

// The bindings of metadata (SAML 2.0 bindings, section 3).
const (
	BindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	BindingPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// A Metadata is everything about the metadata of an identity provider.
// [IdP.Metadata] fills it; a test then changes what it wants to be wrong. Empty
// values are left out.
type Metadata struct {
	ID, EntityID  string
	ValidUntil    time.Time
	CacheDuration string            // such as PT1H
	Endpoints     map[string]string // binding to location of SingleSignOnService
	Logout        map[string]string // the same of SingleLogoutService
	Certificates  []*x509.Certificate
	NameIDFormats []string

	Signature *Signature // nil: unsigned

	MutateUnsigned func(*etree.Document)        // before it is signed
	MutateSigned   func(*etree.Document)        // after it is signed
	MutateBytes    func(metadata []byte) []byte // the serialised metadata
}

// Metadata returns the IdP's metadata as it is now.
func (idp *IdP) Metadata() *Metadata {
	sso := idp.options.URL + "/sso"
	m := &Metadata{
		ID: NewID(), EntityID: idp.options.EntityID,
		Endpoints:     map[string]string{BindingRedirect: sso, BindingPost: sso},
		Logout:        map[string]string{BindingRedirect: idp.options.URL + "/slo", BindingPost: idp.options.URL + "/slo"},
		Certificates:  idp.Certificates(),
		NameIDFormats: []string{NameIDUnspecified, NameIDPersistent, NameIDTransient},
	}
	for _, endpoints := range []map[string]string{m.Endpoints, m.Logout} {
		if idp.options.PostOnly {
			delete(endpoints, BindingRedirect)
		}
		if idp.options.RedirectOnly {
			delete(endpoints, BindingPost)
		}
	}
	if idp.options.MetadataValid != 0 {
		m.ValidUntil = time.Now().Add(idp.options.MetadataValid)
	}
	if idp.options.SignMetadata {
		signature := idp.signature()
		m.Signature = &signature
	}
	return m
}

// XML returns the EntityDescriptor (SAML 2.0 metadata, section 2.3.2).
func (m *Metadata) XML() ([]byte, error) {
	doc := etree.NewDocument()
	entity := doc.CreateElement("md:EntityDescriptor")
	entity.CreateAttr("xmlns:md", NSMetadata)
	attr(entity, "ID", m.ID)
	attr(entity, "entityID", m.EntityID)
	attr(entity, "validUntil", timestamp(m.ValidUntil))
	attr(entity, "cacheDuration", m.CacheDuration)
	role := entity.CreateElement("md:IDPSSODescriptor")
	role.CreateAttr("protocolSupportEnumeration", NSProtocol)
	role.CreateAttr("WantAuthnRequestsSigned", "true")
	for _, c := range m.Certificates {
		key := role.CreateElement("md:KeyDescriptor")
		key.CreateAttr("use", "signing")
		info := key.CreateElement("ds:KeyInfo")
		info.CreateAttr("xmlns:ds", NSSignature)
		info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
			SetText(base64.StdEncoding.EncodeToString(c.Raw))
	}
	endpoints(role, "SingleLogoutService", m.Logout)
	for _, format := range m.NameIDFormats {
		role.CreateElement("md:NameIDFormat").SetText(format)
	}
	endpoints(role, "SingleSignOnService", m.Endpoints)
	call(m.MutateUnsigned, doc)
	if m.Signature != nil {
		if err := m.Signature.Sign(doc.Root()); err != nil {
			return nil, err
		}
	}
	call(m.MutateSigned, doc)
	out, err := serialise(doc)
	if err != nil {
		return nil, err
	}
	if m.MutateBytes != nil {
		out = m.MutateBytes(out)
	}
	return out, nil
}

func endpoints(role *etree.Element, service string, locations map[string]string) {
	for _, binding := range []string{BindingRedirect, BindingPost} {
		if location, ok := locations[binding]; ok {
			e := role.CreateElement("md:" + service)
			e.CreateAttr("Binding", binding)
			e.CreateAttr("Location", location)
		}
	}
}
