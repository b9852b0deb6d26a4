package provision

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/config"
)

// A predicate reports whether a rule holds for a user.
type predicate func(*subject) bool

// A subject is a user whose membership is being worked out.
type subject struct {
	user     *User
	asserted map[string]bool // groups that the identity provider asserted
	member   map[string]bool // groups that the user is known to be in, so far
}

// compileRule turns a rule into a predicate. A rule that says nothing is an
// error, not one that holds.
func compileRule(r *config.Rule) (predicate, error) {
	switch {
	case len(r.Any) > 0:
		parts, err := compileRules(r.Any)
		return func(s *subject) bool {
			return slices.ContainsFunc(parts, func(p predicate) bool { return p(s) })
		}, err
	case len(r.All) > 0:
		parts, err := compileRules(r.All)
		return func(s *subject) bool {
			return !slices.ContainsFunc(parts, func(p predicate) bool { return !p(s) })
		}, err
	case r.Not != nil:
		inner, err := compileRule(r.Not)
		return func(s *subject) bool { return !inner(s) }, err
	case r.Attribute != "":
		return compileComparison(r)
	case r.Directory != "":
		return func(s *subject) bool { return s.user.Directory == r.Directory }, nil
	case r.Domain != "":
		name, ok := config.NormalizeDomain(r.Domain)
		if !ok {
			return nil, fmt.Errorf("%q is not a domain", r.Domain)
		}
		return func(s *subject) bool { return s.user.Domain == name }, nil
	case r.Group != "":
		return func(s *subject) bool { return s.member[r.Group] }, nil
	}
	return nil, errors.New("a rule says nothing")
}

// compileRules turns the rules inside another one into predicates.
func compileRules(rules []config.Rule) ([]predicate, error) {
	parts := make([]predicate, len(rules))
	for i := range rules {
		var err error
		if parts[i], err = compileRule(&rules[i]); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// compileComparison turns a rule on an attribute into a predicate. All but
// exists hold if they do so for any one of the attribute's values.
func compileComparison(r *config.Rule) (predicate, error) {
	var holds func(value string) bool
	switch {
	case r.Is != "":
		holds = func(v string) bool { return v == r.Is }
	case r.IsNot != "":
		holds = func(v string) bool { return v != r.IsNot }
	case r.StartsWith != "":
		holds = func(v string) bool { return strings.HasPrefix(v, r.StartsWith) }
	case r.EndsWith != "":
		holds = func(v string) bool { return strings.HasSuffix(v, r.EndsWith) }
	case r.Contains != "":
		holds = func(v string) bool { return strings.Contains(v, r.Contains) }
	case r.Matches != "":
		re, err := anchored(r.Matches)
		if err != nil {
			return nil, err
		}
		holds = re.MatchString
	case r.Exists != nil:
		return func(s *subject) bool { return (len(s.user.Values(r.Attribute)) > 0) == *r.Exists }, nil
	default:
		return nil, fmt.Errorf("a rule on attribute %q compares it with nothing", r.Attribute)
	}
	return func(s *subject) bool { return slices.ContainsFunc(s.user.Values(r.Attribute), holds) }, nil
}

// anchored compiles a regular expression that has to match the whole value. It
// is compiled alone first: "a)|(b" is one only between the parentheses added.
func anchored(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}
