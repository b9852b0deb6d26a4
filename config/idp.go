package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// IdentityProvider is a SAML identity provider and what it may say of users.
type IdentityProvider struct {
	// Name is what its SAML endpoints and the command line call it: a-z, 0-9
	// and -, up to 64 characters. Required.
	Name string `yaml:"name"`

	// Title is what visitors read where they choose among several. Default: its name.
	Title string `yaml:"title"`

	// Directory is the one that its users belong to. Several IdPs may name the
	// same; then a visitor chooses among them. Required.
	Directory string `yaml:"directory"`

	// Metadata is where the IdP's SAML metadata comes from. Required.
	Metadata Metadata `yaml:"metadata"`

	// Attributes gives the names that the IdP's assertions use for ours, as in
	// email: "urn:oid:0.9.2342.19200300.100.1.3". Names match exactly; a
	// FriendlyName is not a name. Default: the same name.
	Attributes map[string]string `yaml:"attributes"`

	// Groups are the asserted groups that are taken over as they are.
	Groups AssertedGroups `yaml:"groups"`

	// LoginHint says how the IdP is told what a visitor has typed, or login_hint= in
	// the URL of the sign-in page, so that they need not type it again: subject in the
	// Subject of the request (SAML core, section 3.4.1), which some IdPs refuse, query
	// as login_hint in its URL. Default: none.
	LoginHint []string `yaml:"login_hint" oneof:"subject query"`

	// JIT creates and updates users as they sign in. With false, users who are
	// known sign in and are not changed, and others are refused. Default: true.
	JIT bool `yaml:"jit"`

	// IDPInitiated says what becomes of a response that nobody here asked for,
	// from a link in the IdP's portal: restart begins a new login at that IdP,
	// which it answers at once; accept takes the response, and with it the risk
	// that somebody plants their own session on a visitor; off refuses it.
	// Default: restart.
	IDPInitiated string `yaml:"idp_initiated" oneof:"restart accept off"`

	// SingleLogout takes a sign-out on to the IdP, and sign-outs of the IdP, in
	// the browser, back to here. Where the IdP's metadata has no single logout
	// service, there is none either way. Default: true.
	SingleLogout bool `yaml:"single_logout"`

	// EmailDomains lifts, with the value any, the rule that a userName or email
	// like x@d has a d that is a domain of the directory. Default: the rule holds.
	EmailDomains string `yaml:"email_domains" oneof:"any"`

	// Encryption accepts weaker encryption than the default.
	Encryption Encryption `yaml:"encryption"`
}

// Metadata is where an IdP's SAML metadata comes from: either file or url is required.
type Metadata struct {
	// File holds the metadata. Default: none.
	File string `yaml:"file"`

	// URL is where the IdP publishes it. https, or http on a loopback host. No
	// redirect is followed, and no proxy of the environment is used.
	// Default: none.
	URL string `yaml:"url"`

	// AllowPrivate lets the host of url be in a private network, by whatever its
	// name resolves to: 10.0.0.0/8 and the like, 100.64.0.0/10, fc00::/7, and
	// loopback addresses. Where url itself names a loopback host, it is on this
	// machine, and this key is not needed. Link-local addresses, as of the
	// metadata services of clouds, are always refused. Default: false.
	AllowPrivate bool `yaml:"allow_private"`

	// EntityID is the only one that is accepted in it. Write it where one signer
	// signs the metadata of many IdPs, and where other IdPs here are run by people
	// who might claim it: two can't have the same, and without this key the one
	// that is loaded first has it. Default: any, and of a url the first one that is
	// found, as long as the process runs.
	EntityID string `yaml:"entity_id"`

	// Refresh is the time between two looks at it, at least 1s; less, where the
	// metadata's cacheDuration or validUntil ask for it. Default: 1h for a url,
	// 1m for a file.
	Refresh time.Duration `yaml:"refresh"`

	// SignerFile holds the certificates (PEM) of which one must have signed the
	// metadata. Default: none, and signatures are not looked at.
	SignerFile string `yaml:"signer_file"`
}

// AssertedGroups are the groups in an IdP's assertions that are taken over as
// they are. Without it, none.
type AssertedGroups struct {
	// Attribute is the assertion's name of the attribute with the groups.
	// Required where allow is given.
	Attribute string `yaml:"attribute"`

	// Allow are the names that are taken over, as globs: * is any text without
	// a /, ? one character but /, [a-z] one of these, \ takes the next as it
	// is. Required where attribute is given.
	Allow []string `yaml:"allow"`
}

// Encryption accepts encryption of assertions that is weaker than the default,
// which is AES-GCM with RSA-OAEP in a signed Response.
type Encryption struct {
	// Allow names what else is accepted: aes128-cbc, aes192-cbc, aes256-cbc, and
	// unsigned-response for a signed assertion, encrypted, in a Response that
	// has no signature. Default: none.
	Allow []string `yaml:"allow" oneof:"aes128-cbc aes192-cbc aes256-cbc unsigned-response"`
}

func (r *report) checkIdentityProviders(c *Config, n names) {
	if len(c.IdentityProviders) == 0 {
		r.add("identity_providers", "is missing; write at least one, like [{name: acme, directory: acme, metadata: {file: acme-idp.xml}}]")
	}
	seen, entityIDs := make(map[string]string), make(map[string]string)
	for i := range c.IdentityProviders {
		p, key := &c.IdentityProviders[i], fmt.Sprintf("identity_providers[%d]", i)
		r.checkName(key+".name", p.Name, "acme", seen)
		if p.Directory == "" {
			r.add(key+".directory", "is missing; write the name of the directory that its users belong to")
		} else {
			r.known(key+".directory", "directory", p.Directory, n.directories)
		}
		r.checkMetadata(key+".metadata", &p.Metadata)
		if p.Metadata.EntityID != "" {
			r.unique(key+".metadata.entity_id", p.Metadata.EntityID, entityIDs)
		}
		for _, name := range slices.Sorted(maps.Keys(p.Attributes)) {
			r.checkMapped(join(key+".attributes", name), name, p.Attributes[name], n)
		}
		r.checkAssertedGroups(key+".groups", p.Groups)
		if p.Title == "" {
			p.Title = p.Name
		}
		for j, way := range p.LoginHint {
			if slices.Contains(p.LoginHint[:j], way) {
				r.add(fmt.Sprintf("%s.login_hint[%d]", key, j), "%q is there already; remove one", way)
			}
		}
		if !r.has(key + ".jit") {
			p.JIT = true
		}
		if !r.has(key + ".single_logout") {
			p.SingleLogout = true
		}
		if !r.has(key + ".idp_initiated") {
			p.IDPInitiated = "restart"
		}
	}
}

func (r *report) checkMetadata(key string, m *Metadata) {
	fallback := time.Hour
	switch hasFile, hasURL := r.has(key+".file"), r.has(key+".url"); {
	case hasFile && hasURL:
		r.add(key, "has both file and url; keep one")
	case hasFile:
		fallback = time.Minute
		r.read(key+".file", &m.File)
	case hasURL:
		r.checkMetadataURL(key+".url", m)
	default:
		r.add(key, "is missing; write {file: PATH} or {url: https://...}")
	}
	if !r.has(key + ".refresh") {
		m.Refresh = fallback
	}
	if m.Refresh < time.Second {
		r.add(key+".refresh", "%q is too often; write at least 1s, like 1h", m.Refresh)
	}
	if m.AllowPrivate && !r.has(key+".url") {
		r.add(key+".allow_private", "is for a url; remove it")
	}
	if r.has(key+".entity_id") && !validEntityID(m.EntityID) {
		r.add(key+".entity_id", "%q is not a URI of at most 1024 characters; write the entityID in the metadata", m.EntityID)
	}
	if r.has(key + ".signer_file") {
		data, ok := r.read(key+".signer_file", &m.SignerFile)
		if ok && !certificates(data) {
			r.add(key+".signer_file", "%q holds no certificate in PEM, or something else too; write a file of certificates alone", m.SignerFile)
		}
	}
}

// certificates reports whether data is one certificate in PEM or more, and no
// other blocks.
func certificates(data []byte) bool {
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			return false
		}
		n++
	}
	return n > 0
}

func (r *report) checkMetadataURL(key string, m *Metadata) {
	u, err := url.Parse(m.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || !validPort(u.Port()):
		r.add(key, "%q is not an https URL; write the one where the IdP publishes its metadata", show(m.URL))
	case u.User != nil || u.Fragment != "":
		r.add(key, "%q has a user name, a password or a fragment in it; write it without", show(m.URL))
	case u.Scheme == "http" && !loopback(strings.ToLower(u.Hostname())):
		r.add(key, "%q is not safe: whoever is in between could name their own keys; write https, or fetch it to a file", m.URL)
	default:
		r.checkMetadataHost(key, u.Hostname(), m)
	}
}

// checkMetadataHost checks a host that is written as an address. What a name leads
// to is looked at whenever the metadata is asked for.
func (r *report) checkMetadataHost(key, host string, m *Metadata) {
	addr, _ := netip.ParseAddr(host)
	switch addr = addr.Unmap(); {
	case addr.IsPrivate() && !m.AllowPrivate:
		r.add(key, "%q is in a private network; add allow_private: true, if the IdP is there", m.URL)
	case addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified():
		r.add(key, "%q is at no address that an IdP can have; write the one where the IdP publishes its metadata", m.URL)
	}
}

// checkMapped checks that name, one of ours, may be called theirs by an IdP.
func (r *report) checkMapped(key, name, theirs string, n names) {
	switch {
	case theirs == "":
		r.add(key, "is empty; write the attribute's name in the assertion, or remove it for the same name")
	case name == "groups":
		r.add(key, "%q is not an attribute of ours; write groups: {attribute: %q, allow: [...]} beside attributes", name, theirs)
	default:
		r.known(key, "attribute", name, n.attributes)
	}
}

func (r *report) checkAssertedGroups(key string, g AssertedGroups) {
	if g.Attribute == "" && len(g.Allow) > 0 {
		r.add(key+".attribute", "is missing; write the name of the attribute with the groups")
	}
	if g.Attribute != "" && len(g.Allow) == 0 {
		r.add(key+".allow", `is missing, so that no group is taken over; write globs of their names, like ["eng-*"]`)
	}
	for i, glob := range g.Allow {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			r.add(fmt.Sprintf("%s.allow[%d]", key, i), `%q is not a glob; close its brackets, or write \ before what is meant as it is`, glob)
		}
	}
}
