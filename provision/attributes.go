package provision

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jitgate/jitgate/config"
)

// The attributes that tell users apart. They are always defined, have one
// value, and are kept in fields of [User].
const (
	userName   = "userName"
	domain     = "domain"
	externalID = "ExternalId"
)

// email is the one other attribute with a rule of its own: it has to be of one
// of the directory's domains.
const email = "email"

// groupsName is what refusals call the asserted groups. No attribute can have
// this name.
const groupsName = "groups"

// maxAddress is the most bytes an e-mail address may have (RFC 5321, 4.5.3.1.3).
const maxAddress = 254

// A lack is how an attribute can be without a value. Blank values are none.
type lack int

const (
	absent  lack = iota + 1 // the assertion does not have the attribute
	empty                   // its values are empty or blank
	noValue                 // it is there, without any value
)

// An attribute is one that the configuration defines, as an identity provider
// sends it.
type attribute struct {
	config.Attribute
	sent string // its name in the assertion
}

// identity reports whether a tells users apart.
func (a attribute) identity() bool {
	return a.Name == userName || a.Name == domain || a.Name == externalID
}

// claims are what an assertion says about a user, checked.
type claims struct {
	userName, domain, externalID string

	values  map[string][]string // the other attributes that have a value
	missing map[string]lack     // the defined attributes that have none
	groups  []string            // asserted groups that the identity provider may assert
	ignored []string            // names in the assertion that nothing uses
}

// read checks what an assertion says: its attributes, by the names that they
// have there. It looks at nothing but that and the configuration.
func (p *idp) read(sent map[string][]string) (claims, *Refusal) {
	c, refusals := p.readAll(sent)
	if len(refusals) > 0 {
		return c, refusals[0]
	}
	return c, nil
}

// readAll is read, and returns everything that is wrong.
func (p *idp) readAll(sent map[string][]string) (claims, []*Refusal) {
	c := claims{values: make(map[string][]string), missing: make(map[string]lack)}
	var refusals []*Refusal
	domainWrong := false
	for _, a := range p.attributes {
		if refusal := p.readAttribute(&c, a, sent); refusal != nil {
			refusals = append(refusals, refusal)
			domainWrong = domainWrong || a.Name == domain
		}
	}
	switch {
	case c.domain != "" || domainWrong:
	case len(p.domains) == 1:
		c.domain = p.domains[0]
	default:
		refusals = append(refusals, &Refusal{Code: CodeDomainMissing, Attribute: domain, Sent: p.sentName(domain), lack: c.missing[domain]})
	}
	groups, refusal := p.groups(sent)
	if refusal != nil {
		refusals = append(refusals, refusal)
	}
	c.groups, c.ignored = groups, p.ignored(sent)
	return c, refusals
}

// readAttribute puts into c what an assertion says of a.
func (p *idp) readAttribute(c *claims, a attribute, sent map[string][]string) *Refusal {
	if !p.looksAt(a) {
		return nil // the stored ones stay as they are
	}
	values, why, refusal := a.read(sent)
	if refusal == nil && why != 0 {
		c.missing[a.Name] = why
		refusal = a.refuseMissing(p.jit, why)
	}
	if refusal != nil {
		return refusal
	}
	return p.take(c, a, values)
}

// looksAt reports whether a login at the identity provider depends on a.
func (p *idp) looksAt(a attribute) bool {
	return p.jit || a.identity() || a.Name == email
}

// read returns the values of a, or why there are none.
func (a attribute) read(sent map[string][]string) ([]string, lack, *Refusal) {
	raw, ok := sent[a.sent]
	switch {
	case !ok:
		return nil, absent, nil
	case len(raw) == 0:
		return nil, noValue, nil
	}
	var values []string
	for _, v := range raw {
		if blank(v) {
			continue
		}
		problem := fault(v)
		if a.identity() || a.Name == email {
			problem = identityFault(v)
		}
		if problem != "" {
			return nil, 0, a.invalid(problem)
		}
		if v = strings.TrimSpace(v); !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return nil, empty, nil
	}
	if len(values) > 1 && (a.identity() || !a.Multiple) {
		return nil, 0, a.invalid("it has several values, and is defined to have one")
	}
	return values, 0, nil
}

// refuseMissing returns the refusal of a login without a, if it needs a.
func (a attribute) refuseMissing(jit bool, why lack) *Refusal {
	switch {
	case a.Name == userName:
		return &Refusal{Code: CodeUserNameMissing, Attribute: a.Name, Sent: a.sent, lack: why}
	case a.Required && jit && a.Name == domain:
		return &Refusal{Code: CodeDomainMissing, Attribute: a.Name, Sent: a.sent, lack: why}
	case a.Required && jit:
		return &Refusal{Code: CodeAttributeMissing, Attribute: a.Name, Sent: a.sent, lack: why}
	}
	return nil
}

// invalid returns the refusal of a login with a bad value of a.
func (a attribute) invalid(problem string) *Refusal {
	return &Refusal{Code: CodeAttributeInvalid, Attribute: a.Name, Sent: a.sent, Detail: problem}
}

// take puts the values of a where they belong in c, if the identity provider
// may say that of a user.
func (p *idp) take(c *claims, a attribute, values []string) *Refusal {
	if len(values) == 0 {
		return nil
	}
	switch a.Name {
	case userName:
		c.userName = values[0]
		return p.checkAddress(a, values[0])
	case externalID:
		c.externalID = values[0]
		return nil
	case domain:
		d, ok := config.NormalizeDomain(values[0])
		if !ok || !slices.Contains(p.domains, d) {
			return a.mismatch(values[0])
		}
		c.domain = d
		return nil
	case email:
		for _, v := range values {
			if refusal := p.checkEmail(a, v); refusal != nil {
				return refusal
			}
		}
	}
	c.values[a.Name] = values
	return nil
}

// checkAddress refuses an address of a domain that is not one of the
// directory's: an identity provider cannot vouch for another one's users.
func (p *idp) checkAddress(a attribute, value string) *Refusal {
	local, d, ok := strings.Cut(value, "@")
	if !ok || p.anyDomain {
		return nil
	}
	name, valid := config.NormalizeDomain(d)
	switch {
	case local == "":
		return a.mismatch(value)
	case !valid || !slices.Contains(p.domains, name):
		return a.mismatch(d)
	}
	return nil
}

// checkEmail is checkAddress for values that have to be e-mail addresses: what
// has an @ has one, after ASCII characters without a space.
func (p *idp) checkEmail(a attribute, value string) *Refusal {
	if refusal := p.checkAddress(a, value); refusal != nil {
		return refusal
	}
	local, rest, ok := strings.Cut(value, "@")
	switch {
	case !ok:
		return nil
	case strings.Contains(rest, "@"):
		return a.invalid("an e-mail address has several @")
	case len(value) > maxAddress:
		return a.invalid("an e-mail address is longer than 254 bytes")
	case strings.ContainsFunc(local, func(c rune) bool { return c <= ' ' || c >= utf8.RuneSelf }):
		return a.invalid("the part of an e-mail address before the @ is not ASCII without spaces")
	}
	return nil
}

// mismatch returns the refusal of a login with a domain that is not the directory's.
func (a attribute) mismatch(got string) *Refusal {
	r := &Refusal{Code: CodeDomainMismatch, Attribute: a.Name, Sent: a.sent, Detail: "its domain is none of the directory's"}
	if !a.Sensitive {
		r.Domain, r.Detail = got, fmt.Sprintf("%q is none of the directory's domains", got)
	}
	return r
}

// sentName returns what the assertion calls our attribute name, or our groups.
func (p *idp) sentName(name string) string {
	if name == groupsName {
		return p.groupsFrom
	}
	for _, a := range p.attributes {
		if a.Name == name {
			return a.sent
		}
	}
	return name
}

// usesName reports whether anything uses an attribute of that name in an assertion.
func (p *idp) usesName(name string) bool {
	return name == p.groupsFrom || slices.ContainsFunc(p.attributes, func(a attribute) bool { return a.sent == name })
}

// ignored returns the names in the assertion that nothing uses, sorted, long
// ones cut short.
func (p *idp) ignored(sent map[string][]string) []string {
	var names []string
	for name := range sent {
		if !p.usesName(name) {
			short := name[:min(len(name), maxIgnoredName)]
			names = append(names, strings.ToValidUTF8(short, "\ufffd"))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// merge returns the attributes of a user at a login: those of c, and of the
// others what a.Absent says of the ones that the user had before.
func (p *idp) merge(old map[string][]string, c claims) (map[string][]string, *Refusal) {
	merged := make(map[string][]string)
	for _, a := range p.attributes {
		if a.identity() {
			continue
		}
		values, ok := c.values[a.Name]
		if !ok {
			values, ok = old[a.Name]
			switch {
			case !ok || a.Absent == "clear":
				continue
			case a.Absent == "deny":
				return nil, a.refuseLost(c.missing[a.Name])
			}
		}
		merged[a.Name] = values
	}
	return merged, nil
}

// mergeExternalID is merge for the ExternalId of a user.
func (p *idp) mergeExternalID(old string, c claims) (string, *Refusal) {
	i := slices.IndexFunc(p.attributes, func(a attribute) bool { return a.Name == externalID })
	a := p.attributes[i]
	switch {
	case c.externalID != "":
		return c.externalID, nil
	case old == "" || a.Absent == "clear":
		return "", nil
	case a.Absent == "deny":
		return "", a.refuseLost(c.missing[a.Name])
	}
	return old, nil
}

// refuseLost returns the refusal of a login that no longer has a.
func (a attribute) refuseLost(why lack) *Refusal {
	return &Refusal{Code: CodeAttributeMissing, Attribute: a.Name, Sent: a.sent, lack: why,
		Detail: "it was there at an earlier login"}
}
