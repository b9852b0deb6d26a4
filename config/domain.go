package config

import (
	"regexp"
	"strings"
)

var (
	// label matches one label of a domain (RFC 1123, section 2.1).
	label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

	// digits matches the last label of what is an IPv4 address, not a domain.
	digits = regexp.MustCompile(`^[0-9]+$`)
)

// NormalizeDomain returns the form in which domains are compared: lower-case
// ASCII without a trailing dot. It reports whether s is a domain at all; space
// around it, addresses, ports and IP addresses are not. A domain in another
// script is written as its IDNA A-labels, like xn--bcher-kva.example.
//
// Characters that other programs map to ASCII ones, like the Kelvin sign to k,
// are refused: nobody has registered a domain with them.
func NormalizeDomain(s string) (string, bool) {
	domain := strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, strings.TrimSuffix(s, "."))
	labels := strings.Split(domain, ".")
	for _, l := range labels {
		if !label.MatchString(l) {
			return "", false
		}
	}
	if len(domain) > 253 || digits.MatchString(labels[len(labels)-1]) {
		return "", false
	}
	return domain, true
}
