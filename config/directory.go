package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	// plainName matches the names that occur in URLs and keys.
	plainName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

	// attributeName matches the names of our attributes.
	attributeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:/-]{0,127}$`)
)

// Attribute is a user attribute that this service defines.
type Attribute struct {
	// Name is what the service calls it: a letter, then letters, digits and
	// _ . : / - up to 128 characters. Case matters. These are taken: id,
	// directory, groups, entitlements, created, updated, blocked. Required.
	Name string `yaml:"name"`

	// Required refuses a login without it, or with an empty value. Default:
	// false; userName is always required.
	Required bool `yaml:"required"`

	// Absent says what becomes of the stored value at a later login without the
	// attribute: keep it, clear it, or deny the login. Default: keep; of a
	// required attribute deny.
	Absent string `yaml:"absent" oneof:"keep clear deny"`

	// Multiple accepts several values, and keeps them in their order. Without
	// it, two different values refuse the login. Default: false.
	Multiple bool `yaml:"multiple"`

	// Sensitive keeps the userName out of logs and of the audit trail, which have the
	// user's ID instead; it is for userName alone. The audit trail never has the values
	// of other attributes. Default: false.
	Sensitive bool `yaml:"sensitive"`
}

// Directory is a set of users and the domains that are theirs. Users of
// different directories never meet, even under the same name.
type Directory struct {
	// Name is what the other sections call it: a-z, 0-9 and -, up to 64
	// characters. It is part of the keys in the store: a renamed directory is a
	// new, empty one. Required.
	Name string `yaml:"name"`

	// Domains are the domains of its users, each in this directory alone and
	// without its subdomains; upper and lower case are the same. At least one is
	// required.
	Domains []string `yaml:"domains"`

	// InactiveAfter blocks users who have not signed in for so long, at least
	// 24h, like 90d; jitgate users unblock lets one in again. Default: nobody is
	// blocked for that.
	InactiveAfter time.Duration `yaml:"inactive_after"`
}

// checkName checks a name that occurs in URLs and keys, and that it is there
// once.
func (r *report) checkName(key, name, example string, seen map[string]string) {
	if name == "" {
		r.add(key, "is missing; write a name like %s", example)
		return
	}
	if !plainName.MatchString(name) {
		r.add(key, "%q is not a plain name; write up to 64 of a-z, 0-9 and -, like %s", name, example)
		return
	}
	r.unique(key, name, seen)
}

func (r *report) checkAttributes(c *Config) {
	builtIn := []Attribute{{Name: "userName", Required: true, Absent: "deny"}, {Name: "domain", Absent: "keep"}, {Name: "ExternalId", Absent: "keep"}}
	seen := make(map[string]string)
	for i := range c.Attributes {
		a, key := &c.Attributes[i], fmt.Sprintf("attributes[%d]", i)
		r.checkAttributeName(key+".name", a.Name, builtIn)
		if a.Name != "" {
			r.unique(key+".name", a.Name, seen)
		}
		if a.Name == "userName" {
			if r.has(key+".required") && !a.Required {
				r.add(key+".required", "is false, but userName is what users are known by; remove this")
			}
			a.Required = true
		} else if a.Sensitive {
			r.add(key+".sensitive", "is true, but that is for userName alone: the audit trail has no other values; remove this")
		}
		r.checkAbsent(key, a)
		single := slices.ContainsFunc(builtIn, func(b Attribute) bool { return b.Name == a.Name })
		if single && a.Multiple {
			r.add(key+".multiple", "is true, but a user has one %s; remove this", a.Name)
		}
	}
	for _, b := range builtIn {
		if _, ok := seen[b.Name]; !ok {
			c.Attributes = append(c.Attributes, b)
		}
	}
}

func (r *report) checkAttributeName(key, name string, builtIn []Attribute) {
	switch name {
	case "":
		r.add(key, "is missing; write a name like email")
		return
	case "id", "directory", "groups", "entitlements", "created", "updated", "blocked":
		r.add(key, "%q is what the service itself says of a user; write another name", name)
		return
	}
	if !attributeName.MatchString(name) {
		r.add(key, "%q is not a name; write a letter, then letters, digits and _ . : / - like email", name)
	}
	for _, b := range builtIn {
		if name != b.Name && strings.EqualFold(name, b.Name) {
			r.add(key, "%q differs from the built-in %q in case alone; write that, or another name", name, b.Name)
		}
	}
}

// checkAbsent checks what happens where a is absent, and fills in the default.
func (r *report) checkAbsent(key string, a *Attribute) {
	key += ".absent"
	if !r.has(key) {
		a.Absent = "keep"
		if a.Required {
			a.Absent = "deny"
		}
		return
	}
	if a.Required && a.Absent != "deny" {
		r.add(key, "%q has no effect: %q is required, so a login without it is refused; remove this", a.Absent, a.Name)
	}
	if a.Absent == "clear" && (a.Name == "domain" || a.Name == "ExternalId") {
		r.add(key, "%q would make another user of them, who is known by their %s; write keep or deny", a.Absent, a.Name)
	}
}

func (r *report) checkDirectories(c *Config) {
	if len(c.Directories) == 0 {
		r.add("directories", "is missing; write at least one, like [{name: acme, domains: [acme.example]}]")
	}
	seen, owner := make(map[string]string), make(map[string]string)
	for i, d := range c.Directories {
		key := fmt.Sprintf("directories[%d]", i)
		r.checkName(key+".name", d.Name, "acme", seen)
		if len(d.Domains) == 0 {
			r.add(key+".domains", "is missing; write at least one domain, like [acme.example]")
		}
		for j := range d.Domains {
			r.checkDomain(fmt.Sprintf("%s.domains[%d]", key, j), &d.Domains[j])
			r.uniqueDomain(fmt.Sprintf("%s.domains[%d]", key, j), d.Domains[j], d.Name, owner)
		}
		if r.has(key+".inactive_after") && d.InactiveAfter < 24*time.Hour {
			r.add(key+".inactive_after", "%q is too short: a session may last that long; write at least 24h, like 90d", d.InactiveAfter)
		}
	}
}

// checkDomain puts *domain in its normal form.
func (r *report) checkDomain(key string, domain *string) {
	normal, ok := NormalizeDomain(*domain)
	if !ok {
		r.add(key, "%q is not a domain; write one like acme.example", *domain)
		return
	}
	*domain = normal
}

// uniqueDomain records a problem if domain has an owner already.
func (r *report) uniqueDomain(key, domain, directory string, owner map[string]string) {
	if other, ok := owner[domain]; ok {
		r.add(key, "%q is in directory %q already, and a domain is in one directory only; remove one of the two", domain, other)
		return
	}
	owner[domain] = directory
}
