package config

import (
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// digits matches the last label of what is an IPv4 address, not a domain.
var digits = regexp.MustCompile(`^[0-9]+$`)

// NormalizeDomain returns the form in which domains are compared: lower-case
// ASCII with IDNA A-labels (RFC 5890), without a trailing dot. It reports
// whether s is a domain at all; space around it, addresses, ports and IP
// addresses are not.
//
// Characters that merely look like ASCII ones and would be mapped to them, like
// the Kelvin sign to k, are refused: nobody has registered a domain with them.
func NormalizeDomain(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 1024 {
		return "", false
	}
	domain, err := idna.Lookup.ToASCII(s)
	if err != nil || len(domain) > 253 {
		return "", false
	}
	// Bytes that are not UTF-8 get an A-label that is none.
	if again, err := idna.Lookup.ToASCII(domain); err != nil || again != domain {
		return "", false
	}
	given, labels := strings.Split(s, "."), strings.Split(domain, ".")
	if len(given) != len(labels) || digits.MatchString(labels[len(labels)-1]) {
		return "", false
	}
	for i, label := range labels {
		ascii := !strings.ContainsFunc(given[i], func(c rune) bool { return c >= 0x80 })
		if label == "" || len(label) > 63 || !ascii && !strings.HasPrefix(label, "xn--") {
			return "", false
		}
	}
	return domain, true
}
