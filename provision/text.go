package provision

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxValue is the most bytes that a value may have.
const maxValue = 1 << 10

// blank reports whether a value counts as missing.
func blank(value string) bool {
	return strings.TrimSpace(value) == ""
}

// fault says what is wrong with an attribute's value, or returns "".
// Values go into headers, logs and pages, so nothing in them may break a line
// or be invisible. Lone surrogates are invalid UTF-8 too.
func fault(value string) string {
	switch {
	case len(value) > maxValue:
		return "a value is longer than 1 KiB"
	case !utf8.ValidString(value):
		return "a value is not valid UTF-8"
	case strings.ContainsFunc(value, unicode.IsControl):
		return "a value contains a control character"
	case strings.ContainsFunc(value, invisible):
		return "a value contains an invisible character"
	}
	return ""
}

// invisible reports whether c takes no room or changes the order of what is
// around it: zero-width characters, bidirectional controls, line separators
// and fillers. Variation selectors are allowed, since names are written with them.
func invisible(c rune) bool {
	return c >= utf8.RuneSelf && unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point)
}

// identityFault is [fault] for the values that users are told apart by. Two of
// them must not become one further on, where an application trims space, folds
// case or replaces compatibility characters.
func identityFault(value string) string {
	switch {
	case fault(value) != "":
		return fault(value)
	case value != strings.TrimSpace(value):
		return "a value begins or ends with a space"
	case strings.ContainsFunc(value, confusable):
		return "a value contains a character that other programs take for an ASCII one"
	}
	return ""
}

// confusable reports whether common text functions turn c into an ASCII
// character: the Kelvin sign and the long s by folding case, full-width forms
// and wide spaces by Unicode's compatibility mappings.
func confusable(c rune) bool {
	switch {
	case c < utf8.RuneSelf:
		return false
	case c == '\u212a', c == '\u017f', '\uff01' <= c && c <= '\uff5e':
		return true
	case '\ufe50' <= c && c <= '\ufe6b': // small forms, the small @ among them
		return true
	}
	return unicode.IsSpace(c)
}

// lower returns s with the ASCII letters lower-cased and everything else as it
// was: Unicode's own mappings would make one user of two.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}
