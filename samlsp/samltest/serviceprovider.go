package samltest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// A serviceProvider is what the IdP knows of one, from its metadata.
type serviceProvider struct {
	entityID   string
	acs        []string            // by HTTP-POST; the first is the default
	slo        string              // by HTTP-Redirect; "" where it has none
	signing    []*x509.Certificate // none: its requests need no signature
	encryption *x509.Certificate   // nil: nothing can be encrypted for it
}

// AddSP makes a service provider known from its metadata, in place of one with
// the same entityID. Where the metadata has a signing certificate, requests must
// be signed.
func (idp *IdP) AddSP(metadata []byte) error {
	entity, err := parseMetadata(metadata)
	if err != nil {
		return fmt.Errorf("service provider metadata: %w", err)
	}
	sp := serviceProvider{entityID: entity.EntityID}
	for _, role := range entity.SPSSODescriptors {
		for _, acs := range role.AssertionConsumerServices {
			if acs.Binding != BindingPost {
				continue
			}
			if acs.IsDefault != nil && *acs.IsDefault {
				sp.acs = slices.Insert(sp.acs, 0, acs.Location)
			} else {
				sp.acs = append(sp.acs, acs.Location)
			}
		}
		for _, slo := range role.SingleLogoutServices {
			if slo.Binding == BindingRedirect {
				sp.slo = slo.Location
			}
		}
		for _, key := range role.KeyDescriptors {
			certificates, err := keyCertificates(key)
			if err != nil {
				return fmt.Errorf("service provider %q: %w", sp.entityID, err)
			}
			if key.Use != "encryption" {
				sp.signing = append(sp.signing, certificates...)
			}
			if key.Use != "signing" && sp.encryption == nil && len(certificates) > 0 {
				sp.encryption = certificates[0]
			}
		}
	}
	if len(sp.acs) == 0 {
		return fmt.Errorf("service provider %q: metadata has no AssertionConsumerService for HTTP-POST", sp.entityID)
	}
	idp.mu.Lock()
	defer idp.mu.Unlock()
	idp.sps[sp.entityID] = sp
	return nil
}

func (idp *IdP) serviceProvider(entityID string) (serviceProvider, bool) {
	idp.mu.Lock()
	defer idp.mu.Unlock()
	sp, ok := idp.sps[entityID]
	return sp, ok
}

// info returns what a message for the service provider needs to know of it.
func (sp serviceProvider) info(acs string) SPInfo {
	return SPInfo{EntityID: sp.entityID, ACS: acs, Certificate: sp.encryption}
}

func parseMetadata(metadata []byte) (*saml.EntityDescriptor, error) {
	var entity saml.EntityDescriptor
	if err := xml.Unmarshal(metadata, &entity); err != nil {
		return nil, err
	}
	if entity.EntityID == "" {
		return nil, errors.New("it has no entityID")
	}
	return &entity, nil
}

func keyCertificates(key saml.KeyDescriptor) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for _, c := range key.KeyInfo.X509Data.X509Certificates {
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(c.Data), ""))
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		list = append(list, certificate)
	}
	return list, nil
}

// verifySignature checks el's enveloped signature against each certificate and
// returns the element that it covers.
func verifySignature(el *etree.Element, certificates []*x509.Certificate) (*etree.Element, error) {
	err := errors.New("there is no certificate")
	for _, c := range certificates {
		store := &dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{c}}
		var covered *etree.Element
		if covered, err = dsig.NewDefaultValidationContext(store).Validate(el); err == nil {
			return covered, nil
		}
	}
	return nil, err
}
