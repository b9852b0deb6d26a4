package config

import (
	"strings"
	"testing"
)

// TestNormalizeDomain tells which spellings are one domain, and what is none.
func TestNormalizeDomain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ in, want, why string }{
		{"acme.example", "acme.example", "the normal form is its own"},
		{"ACME.Example", "acme.example", "case does not matter"},
		{"acme.example.", "acme.example", "nor does the root's dot"},
		{"a-b.acme.example", "a-b.acme.example", "hyphens inside are fine"},
		{"4you.example", "4you.example", "a digit may come first"},
		{"corp.example.evil", "corp.example.evil", "another domain, however it begins"},
		{"corp", "corp", "some intranets have one label"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example", "an A-label, in any case"},
		{long + ".example", long + ".example", "63 bytes is the longest label"},
		{"BÜCHER.example", "xn--bcher-kva.example", "IDNA in any case"},
		{"bu\u0308cher.example", "xn--bcher-kva.example", "and however its accents are written"},
		{"straße.example", "xn--strae-oqa.example", "as IDNA 2008 has it, not as ss"},
		{"例え.テスト", "xn--r8jz45g.xn--zckzah", "in all labels"},

		{"", "", "nothing"},
		{"xn--a.example", "", "an A-label of nothing"},
		{"xn--acme-.example", "", "an A-label of ASCII alone"},
		{"acme.\ufffd", "", "the sign for what is no character"},
		{"a\u200bb.example", "", "a space of no width"},
		{"א1a.example", "", "two directions in one label (RFC 5893)"},
		{".", "", "the root"},
		{"acme.example..", "", "one dot too many"},
		{".acme.example", "", "an empty label"},
		{"acme..example", "", "an empty label inside"},
		{" acme.example", "", "space is not trimmed"},
		{"acme.example\n", "", "nor is a line break"},
		{"acme.example\x00", "", "NUL"},
		{"x@acme.example", "", "an address"},
		{"a@evil@corp.example", "", "an address with two"},
		{"*.acme.example", "", "no wildcards"},
		{"-acme.example", "", "hyphen first"},
		{"acme-.example", "", "hyphen last"},
		{"ac_me.example", "", "not a host name"},
		{"acme.example:443", "", "a port"},
		{"https://acme.example", "", "a URL"},
		{"acme.example/x", "", "a path"},
		{"10.0.0.1", "", "an IPv4 address"},
		{"::1", "", "an IPv6 address"},
		{"acme.123", "", "no top-level domain is a number"},
		{"acme.example", "acme.example", "the normal form is its own"},
		{"\u212aorp.example", "", "the Kelvin sign is not a k"},
		{"ａcme.example", "", "nor are wide letters their narrow ones"},
		{"ac\u00adme.example", "", "nor do soft hyphens disappear"},
		{"acme\u3002example", "", "nor are other dots dots"},
		{"acme.example\xff", "", "not UTF-8"},
		{long + "a.example", "", "64 bytes"},
		{strings.Repeat("a.", 126) + "example", "", "more than 253 bytes in all"},
	} {
		got, ok := NormalizeDomain(c.in)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("NormalizeDomain(%q) = %q, %v, want %q: %s", c.in, got, ok, c.want, c.why)
		}
		if again, _ := NormalizeDomain(got); ok && again != got {
			t.Errorf("NormalizeDomain(%q) = %q, want itself: it is a normal form", got, again)
		}
	}
}
