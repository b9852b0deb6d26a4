package provision

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jitgate/jitgate/config"
)

// A rule is a configured rule, compiled.
type rule struct {
	holds func(*subject) bool
	text  string // what it asks for, in words

	// because says which part of it holds for a subject for whom it does; nil
	// where that is all of it, as text says.
	because func(*subject) string
}

// why says what holds for a subject for whom the rule does.
func (r rule) why(s *subject) string {
	if r.because == nil {
		return r.text
	}
	return r.because(s)
}

// A subject is a user whose membership is being worked out.
type subject struct {
	user     *User
	asserted map[string]bool // groups that the identity provider asserted
	member   map[string]bool // groups that the user is known to be in, so far
}

// compileRule compiles a rule. One that says nothing is an error, not one that
// holds.
func compileRule(c *config.Rule) (rule, error) {
	switch {
	case len(c.Any) > 0:
		parts, err := compileRules(c.Any)
		return anyOf(parts), err
	case len(c.All) > 0:
		parts, err := compileRules(c.All)
		return allOf(parts), err
	case c.Not != nil:
		inner, err := compileRule(c.Not)
		return rule{holds: func(s *subject) bool { return !inner.holds(s) }, text: "not (" + inner.text + ")"}, err
	case c.Attribute != "":
		return compileComparison(c)
	case c.Directory != "":
		return rule{holds: func(s *subject) bool { return s.user.Directory == c.Directory }, text: "directory " + c.Directory}, nil
	case c.Domain != "":
		name, ok := config.NormalizeDomain(c.Domain)
		if !ok {
			return rule{}, fmt.Errorf("%q is not a domain", c.Domain)
		}
		return rule{holds: func(s *subject) bool { return s.user.Domain == name }, text: "domain " + name}, nil
	case c.Group != "":
		return rule{holds: func(s *subject) bool { return s.member[c.Group] }, text: "group " + c.Group}, nil
	}
	return rule{}, errors.New("a rule says nothing")
}

// compileRules compiles the rules inside another one.
func compileRules(all []config.Rule) ([]rule, error) {
	parts := make([]rule, len(all))
	for i := range all {
		var err error
		if parts[i], err = compileRule(&all[i]); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// anyOf holds if one of the parts does.
func anyOf(parts []rule) rule {
	first := func(s *subject) int {
		return slices.IndexFunc(parts, func(p rule) bool { return p.holds(s) })
	}
	return rule{
		holds:   func(s *subject) bool { return first(s) >= 0 },
		text:    joinTexts(parts, " or "),
		because: func(s *subject) string { return parts[first(s)].why(s) },
	}
}

// allOf holds if all of the parts do.
func allOf(parts []rule) rule {
	return rule{
		holds: func(s *subject) bool {
			return !slices.ContainsFunc(parts, func(p rule) bool { return !p.holds(s) })
		},
		text: joinTexts(parts, " and "),
		because: func(s *subject) string {
			texts := make([]string, len(parts))
			for i, p := range parts {
				texts[i] = p.why(s)
			}
			return strings.Join(texts, " and ")
		},
	}
}

func joinTexts(parts []rule, word string) string {
	if len(parts) == 1 {
		return parts[0].text
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.text
		if strings.Contains(p.text, " or ") || strings.Contains(p.text, " and ") {
			texts[i] = "(" + p.text + ")"
		}
	}
	return strings.Join(texts, word)
}

// compileComparison compiles a rule on an attribute. All but exists hold if they
// do so for any one of the attribute's values.
func compileComparison(c *config.Rule) (rule, error) {
	var holds func(value string) bool
	var text string
	switch {
	case c.Is != "":
		holds, text = func(v string) bool { return v == c.Is }, "is "+strconv.Quote(c.Is)
	case c.IsNot != "":
		holds, text = func(v string) bool { return v != c.IsNot }, "is not "+strconv.Quote(c.IsNot)
	case c.StartsWith != "":
		holds, text = func(v string) bool { return strings.HasPrefix(v, c.StartsWith) }, "starts with "+strconv.Quote(c.StartsWith)
	case c.EndsWith != "":
		holds, text = func(v string) bool { return strings.HasSuffix(v, c.EndsWith) }, "ends with "+strconv.Quote(c.EndsWith)
	case c.Contains != "":
		holds, text = func(v string) bool { return strings.Contains(v, c.Contains) }, "contains "+strconv.Quote(c.Contains)
	case c.Matches != "":
		re, err := anchored(c.Matches)
		if err != nil {
			return rule{}, err
		}
		holds, text = re.MatchString, "matches "+strconv.Quote(c.Matches)
	case c.Exists != nil:
		text := c.Attribute + " exists"
		if !*c.Exists {
			text = c.Attribute + " does not exist"
		}
		return rule{holds: func(s *subject) bool { return (len(s.user.Values(c.Attribute)) > 0) == *c.Exists }, text: text}, nil
	default:
		return rule{}, fmt.Errorf("a rule on attribute %q compares it with nothing", c.Attribute)
	}
	return rule{
		holds: func(s *subject) bool { return slices.ContainsFunc(s.user.Values(c.Attribute), holds) },
		text:  c.Attribute + " " + text,
	}, nil
}

// anchored compiles a regular expression that has to match the whole value. It
// is compiled alone first: "a)|(b" is one only between the parentheses added.
func anchored(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}
