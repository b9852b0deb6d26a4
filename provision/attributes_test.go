package provision

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

// TestJ8BlankCountsAsMissing: a login needs a userName and every attribute
// marked required, and an empty or blank value is none.
func TestJ8BlankCountsAsMissing(t *testing.T) {
	t.Parallel()
	required := func(c *config.Config) {
		c.Attributes[0].Required = true // email
		c.Attributes = append(c.Attributes, config.Attribute{Name: "ExternalId", Required: true})
		c.Attributes = slices.DeleteFunc(c.Attributes, func(a config.Attribute) bool { return a.Name == "ExternalId" && !a.Required })
	}
	all := []string{"userName", "ann", "email", "ann@acme.example", "ExternalId", "1"}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, code, attribute string
			edit                 func(map[string][]string)
		}{
			{"no userName", CodeUserNameMissing, "userName", func(s map[string][]string) { delete(s, "userName") }},
			{"empty userName", CodeUserNameMissing, "userName", func(s map[string][]string) { s["userName"] = []string{""} }},
			{"blank userName", CodeUserNameMissing, "userName", func(s map[string][]string) { s["userName"] = []string{" \t\n"} }},
			{"userName of no-break spaces", CodeUserNameMissing, "userName", func(s map[string][]string) { s["userName"] = []string{"\u00a0\u3000"} }},
			{"userName without a value", CodeUserNameMissing, "userName", func(s map[string][]string) { s["userName"] = nil }},
			{"no required attribute", CodeAttributeMissing, "email", func(s map[string][]string) { delete(s, "email") }},
			{"empty required attribute", CodeAttributeMissing, "email", func(s map[string][]string) { s["email"] = []string{""} }},
			{"required attribute without a value", CodeAttributeMissing, "email", func(s map[string][]string) { s["email"] = nil }},
			{"no required ExternalId", CodeAttributeMissing, "ExternalId", func(s map[string][]string) { delete(s, "ExternalId") }},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb, required)
				for range 2 { // the first login and a later one
					s := sent(all...)
					test.edit(s)
					r := w.refusedSignIn(test.code, SignIn{IdP: "acme", Attributes: s})
					if r.Attribute != test.attribute {
						t.Errorf("refusal names %q, want %q", r.Attribute, test.attribute)
					}
					w.login("acme", all...)
				}
			})
		}
		t.Run("all there", func(t *testing.T) { newWorld(t, rdb, required).login("acme", all...) })
		t.Run("no attributes at all", func(t *testing.T) {
			newWorld(t, rdb).refusedSignIn(CodeUserNameMissing, SignIn{IdP: "acme"})
		})
		t.Run("the name in the assertion is told", func(t *testing.T) {
			w := newWorld(t, rdb, required)
			r := w.refused(CodeAttributeMissing, "labs", "userName", "ann", "domain", "labs.example", "email", "ann@labs.example", "ExternalId", "1")
			if want := "urn:oid:0.9.2342.19200300.100.1.3"; r.Sent != want {
				t.Errorf("refusal says to send %q, want %q", r.Sent, want)
			}
		})
	})
}

// TestJ9NamesMatchExactly: the names of attributes match in their case, an
// identity provider's map gives other ones, and a FriendlyName is none.
func TestJ9NamesMatchExactly(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		w.refused(CodeUserNameMissing, "acme", "username", "ann")
		w.refused(CodeUserNameMissing, "acme", "UserName", "ann")
		w.refused(CodeUserNameMissing, "acme", "userName ", "ann")
		for _, test := range []struct {
			why, idp, name, value string
			want                  []string
		}{
			{"the same name", "acme", "department", "Sales", []string{"Sales"}},
			{"another case", "acme", "Department", "Sales", nil},
			{"a longer name that ends with it", "acme", "urn:department", "Sales", nil},
		} {
			u := w.login(test.idp, "userName", test.why, test.name, test.value).User
			w.with(t).is(u, "department", test.want...)
		}
		// The map's name counts alone; ours means nothing there, nor does what
		// a FriendlyName may be.
		u := w.login("labs", "userName", "ann", "domain", "labs.example", "email", "a@labs.example",
			"urn:oid:0.9.2342.19200300.100.1.3", "b@labs.example", "mail", "c@labs.example").User
		w.is(u, "email", "b@labs.example")
		u = w.login("labs", "userName", "bob", "domain", "labs.example", "email", "a@labs.example").User
		w.is(u, "email")
	})
}

// TestJ10UndefinedAttributesAreIgnored: attributes that are not defined are not
// used, and told once for each identity provider and name.
func TestJ10UndefinedAttributesAreIgnored(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		ignored := func() int {
			n := 0
			for _, e := range w.trail("acme") {
				if e.Type == audit.AttributeIgnored {
					n++
				}
			}
			return n
		}
		for _, test := range []struct {
			why  string
			idp  string
			sent []string
			want []string
			told int // attribute_ignored events so far
		}{
			{"nothing to ignore", "acme", []string{"department", "x", "groups", "y"}, nil, 0},
			{"what nobody defined", "acme", []string{"shoeSize", "44", "eyes", "blue"}, []string{"eyes", "shoeSize"}, 2},
			{"again: told already", "acme", []string{"shoeSize", "45"}, []string{"shoeSize"}, 2},
			{"one more", "acme", []string{"shoeSize", "45", "hat", "7"}, []string{"hat", "shoeSize"}, 3},
			{"from another IdP", "acme-two", []string{"shoeSize", "45"}, []string{"shoeSize"}, 4},
			{"groups where none are taken", "acme-two", []string{"groups", "eng-a"}, []string{"groups"}, 5},
			{"reserved names are not ours either", "acme", []string{"id", "1", "blocked", "no"}, []string{"blocked", "id"}, 7},
			{"bad values of what is ignored do no harm", "acme", []string{"shoeSize", "\x00"}, []string{"shoeSize"}, 7},
		} {
			pairs := append(test.sent, "userName", "ann")
			out := w.login(test.idp, pairs...)
			if c, _ := w.idps[test.idp].read(sent(pairs...)); !slices.Equal(c.ignored, test.want) {
				t.Errorf("%s: ignored = %q, want %q", test.why, c.ignored, test.want)
			}
			if got := ignored(); got != test.told {
				t.Errorf("%s: %d attribute_ignored events, want %d", test.why, got, test.told)
			}
			w.is(out.User, "shoeSize")
			w.is(out.User, "id")
		}

		t.Run("no more than 1,000 names", func(t *testing.T) {
			w := w.with(t)
			pairs := []string{"userName", "ann"}
			for i := range maxIgnored {
				pairs = append(pairs, fmt.Sprintf("n%04d", i), "")
			}
			w.login("acme", pairs...)
			w.login("acme", append(pairs, "one", "", "two", "")...)
			if got := ignored(); got != maxIgnored {
				t.Errorf("%d attribute_ignored events, want %d", got, maxIgnored)
			}
			if n := w.rdb.SCard(t.Context(), w.keys("acme").ignored).Val(); n != maxIgnored {
				t.Errorf("%d names noted, want %d", n, maxIgnored)
			}
		})
		t.Run("once, also by logins at once", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.atOnce(20, func(i int) []string { return []string{"userName", fmt.Sprint("u", i), "hat", "7"} })
			n := strings.Count(tell(w.trail("acme")), audit.AttributeIgnored)
			if n != 1 {
				t.Errorf("%d attribute_ignored events, want 1", n)
			}
		})
		t.Run("long and broken names are cut", func(t *testing.T) {
			w := newWorld(t, rdb)
			out := w.login("acme", "userName", "ann", strings.Repeat("x", 5000), "", "\xff", "")
			n := 0
			for _, e := range out.Events {
				if e.Type != audit.AttributeIgnored {
					continue
				}
				n++
				if name := e.Attributes[0]; len(name) > maxIgnoredName || !utf8.ValidString(name) {
					t.Errorf("ignored name %q, want at most %d valid bytes", name, maxIgnoredName)
				}
			}
			if n != 2 {
				t.Errorf("%d attribute_ignored events, want 2", n)
			}
		})
	})
}

// TestJ11AbsentKeepsClearsOrDenies: a later login without an attribute keeps
// the value, clears it or is refused; the trail tells absent, empty and no
// value at all apart.
func TestJ11AbsentKeepsClearsOrDenies(t *testing.T) {
	t.Parallel()
	first := []string{"userName", "ann", "department", "Sales", "title", "Boss", "badge", "7"}
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why      string
			edit     func(map[string][]string)
			dept     []string
			title    []string
			code     string
			absent   []string
			empty    []string
			noValues []string
		}{
			{"keep: absent", func(s map[string][]string) { delete(s, "department") }, []string{"Sales"}, []string{"Boss"}, "", []string{"department"}, nil, nil},
			{"keep: empty", func(s map[string][]string) { s["department"] = []string{""} }, []string{"Sales"}, []string{"Boss"}, "", nil, []string{"department"}, nil},
			{"keep: no value at all", func(s map[string][]string) { s["department"] = nil }, []string{"Sales"}, []string{"Boss"}, "", nil, nil, []string{"department"}},
			{"clear: absent", func(s map[string][]string) { delete(s, "title") }, []string{"Sales"}, nil, "", []string{"title"}, nil, nil},
			{"clear: empty", func(s map[string][]string) { s["title"] = []string{" ", ""} }, []string{"Sales"}, nil, "", nil, []string{"title"}, nil},
			{"clear: no value at all", func(s map[string][]string) { s["title"] = nil }, []string{"Sales"}, nil, "", nil, nil, []string{"title"}},
			{"deny: absent", func(s map[string][]string) { delete(s, "badge") }, nil, nil, CodeAttributeMissing, []string{"badge"}, nil, nil},
			{"deny: empty", func(s map[string][]string) { s["badge"] = []string{""} }, nil, nil, CodeAttributeMissing, nil, []string{"badge"}, nil},
			{"deny: no value at all", func(s map[string][]string) { s["badge"] = nil }, nil, nil, CodeAttributeMissing, nil, nil, []string{"badge"}},
			{"all there", func(s map[string][]string) {}, []string{"Sales"}, []string{"Boss"}, "", nil, nil, nil},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				w.login("acme", first...)
				later := sent(first...)
				test.edit(later)
				if test.code != "" {
					w.refusedSignIn(test.code, SignIn{IdP: "acme", Attributes: later})
				} else {
					out, err := w.signIn(SignIn{IdP: "acme", Attributes: later})
					if err != nil {
						t.Fatal(err)
					}
					w.is(out.User, "department", test.dept...)
					w.is(out.User, "title", test.title...)
					w.is(out.User, "badge", "7")
				}
				trail := w.trail("acme")
				last := trail[len(trail)-1]
				if !slices.Equal(last.Absent, test.absent) || !slices.Equal(last.Empty, test.empty) || !slices.Equal(last.NoValue, test.noValues) {
					t.Errorf("%s tells absent %q, empty %q, no value %q, want %q, %q, %q", last.Type,
						last.Absent, last.Empty, last.NoValue, test.absent, test.empty, test.noValues)
				}
			})
		}
		t.Run("a first login has nothing to keep, clear or deny", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("acme", "userName", "ann")
			w.login("acme", "userName", "ann")
		})
		t.Run("ExternalId", func(t *testing.T) {
			for policy, want := range map[string]string{"": "1", "keep": "1", "clear": "", "deny": CodeAttributeMissing} {
				w := newWorld(t, rdb, func(c *config.Config) { c.Attributes[7].Absent = policy })
				w.login("acme", "userName", "ann", "ExternalId", "1")
				if policy == "deny" {
					w.refused(want, "acme", "userName", "ann")
					continue
				}
				if u := w.login("acme", "userName", "ann").User; u.ExternalID != want {
					t.Errorf("%q: ExternalId = %q, want %q", policy, u.ExternalID, want)
				}
				if n, _ := w.rdb.HLen(t.Context(), w.keys("acme").external).Result(); n != int64(len(want)) {
					t.Errorf("%q: %d ExternalIds in the index, want %d", policy, n, len(want))
				}
			}
		})
		t.Run("no longer defined", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.login("acme", first...)
			w = w.reload(func(c *config.Config) { c.Attributes = c.Attributes[2:] })
			out := w.login("acme", first...)
			w.is(out.User, "department")
			if got := tell(out.Events); got != "user_updated department, login, attribute_ignored department" {
				t.Errorf("events = %s", got)
			}
		})
	})
}

// TestJ12SeveralValuesNeedMultiple: two different values refuse the login,
// unless the attribute is multiple: then all are kept in the order sent,
// without duplicates.
func TestJ12SeveralValuesNeedMultiple(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, code, attribute string
			sent                 []string
			want                 []string
		}{
			{"one value", "", "department", []string{"A"}, []string{"A"}},
			{"the same value twice", "", "department", []string{"A", "A"}, []string{"A"}},
			{"the same value with space around it", "", "department", []string{"A", " A "}, []string{"A"}},
			{"two values", CodeAttributeInvalid, "department", []string{"A", "B"}, nil},
			{"two cases are two values", CodeAttributeInvalid, "department", []string{"A", "a"}, nil},
			{"a blank value beside one", "", "department", []string{"", "A"}, []string{"A"}},
			{"two userNames", CodeAttributeInvalid, "userName", []string{"ann", "bob"}, nil},
			{"two ExternalIds", CodeAttributeInvalid, "ExternalId", []string{"1", "2"}, nil},
			{"two domains", CodeAttributeInvalid, "domain", []string{"acme.example", "evil.example"}, nil},
			{"multiple: in the order sent", "", "roles", []string{"z", "a", "m"}, []string{"z", "a", "m"}},
			{"multiple: without duplicates", "", "roles", []string{"b", "a", "b", "", "a"}, []string{"b", "a"}},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				s := map[string][]string{"userName": {"ann"}}
				s[test.attribute] = test.sent
				if test.code != "" {
					if r := w.refusedSignIn(test.code, SignIn{IdP: "acme", Attributes: s}); r.Attribute != test.attribute {
						t.Errorf("refusal names %q, want %q", r.Attribute, test.attribute)
					}
					return
				}
				out, err := w.signIn(SignIn{IdP: "acme", Attributes: s})
				if err != nil {
					t.Fatal(err)
				}
				w.is(out.User, test.attribute, test.want...)
			})
		}
	})
}

// TestJ13UnfitValuesAreRefused: values that are invisible in part, break lines
// or are too long refuse the login, and so does a user's record that grows too
// large.
func TestJ13UnfitValuesAreRefused(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			why, value string
			ok, okName bool // as a department, as a userName
		}{
			{"letters of any script", "Zo\u00eb \u5f20\u4e09 \u0639\u0644\u064a", true, true},
			{"NUL", "a\x00b", false, false},
			{"line feed, a header's end", "a\nX-Admin: 1", false, false},
			{"carriage return at the end", "a\r", false, false},
			{"tab", "a\tb", false, false},
			{"delete", "a\x7f", false, false},
			{"next line, a C1 control", "a\u0085b", false, false},
			{"a byte that is not UTF-8", "a\xff", false, false},
			{"lone surrogate", "a\xed\xa0\x80", false, false},
			{"overlong slash", "a\xc0\xaf", false, false},
			{"right-to-left override", "a\u202eb", false, false},
			{"bidirectional isolate", "a\u2066b", false, false},
			{"Arabic letter mark", "a\u061cb", false, false},
			{"zero-width space", "a\u200bb", false, false},
			{"zero-width joiner", "a\u200db", false, false},
			{"word joiner", "a\u2060b", false, false},
			{"byte order mark", "\ufeffa", false, false},
			{"soft hyphen", "a\u00adb", false, false},
			{"combining grapheme joiner", "a\u034fb", false, false},
			{"Hangul filler, an invisible letter", "\u3164", false, false},
			{"tag character", "a\U000e0041", false, false},
			{"line separator", "a\u2028b", false, false},
			{"variation selector, in some names", "\u845b\U000e0100", true, true},
			{"1 KiB", strings.Repeat("a", 1024), true, true},
			{"a byte more", strings.Repeat("a", 1025), false, false},
			{"a character more, counted in bytes", strings.Repeat("\u00e4", 513), false, false},
			{"space inside", "a b", true, true},
			{"space around, which headers lose", " a ", true, false},
			{"no-break space", "a\u00a0b", true, false},
			{"Kelvin sign, which folds to k", "\u212aim", true, false},
			{"full-width letter", "\uff21nn", true, false},
		} {
			t.Run(test.why, func(t *testing.T) {
				w := newWorld(t, rdb)
				check := func(ok bool, idp string, pairs ...string) {
					t.Helper()
					if ok {
						w.login(idp, pairs...)
					} else {
						w.refused(CodeAttributeInvalid, idp, pairs...)
					}
				}
				check(test.ok, "acme", "userName", "ann", "department", test.value)
				check(test.ok, "acme", "userName", "ann", "roles", "fine", "roles", test.value)
				check(test.okName, "acme", "userName", test.value)
				check(test.okName, "acme", "userName", "bob", "ExternalId", test.value)
			})
		}
		t.Run("asserted groups", func(t *testing.T) {
			w := newWorld(t, rdb)
			w.refused(CodeAttributeInvalid, "acme", "userName", "ann", "groups", "eng-\u202e")
			w.refused(CodeAttributeInvalid, "acme", "userName", "ann", "groups", "eng-"+strings.Repeat("x", 1024))
			w.login("acme", "userName", "ann", "groups", "not allowed \u202e") // so not looked at
		})
		t.Run("record of 64 KiB", func(t *testing.T) {
			w, pairs := newWorld(t, rdb), []string{"userName", "ann"}
			for i := range 62 {
				pairs = append(pairs, "roles", fmt.Sprintf("%02d", i)+strings.Repeat("x", 1022))
			}
			w.login("acme", pairs...)
			for i := range 3 {
				pairs = append(pairs, "roles", fmt.Sprint("more", i)+strings.Repeat("x", 1000))
			}
			if r := w.refused(CodeAttributeInvalid, "acme", pairs...); r.Attribute != "roles" {
				t.Errorf("refusal names %q, want %q", r.Attribute, "roles")
			}
			for i := range 1000 {
				pairs = append(pairs, "groups", fmt.Sprint("eng-", i, strings.Repeat("x", 200)))
			}
			if r := w.refused(CodeAttributeInvalid, "acme", pairs...); r.Attribute != "groups" || r.Sent != "groups" {
				t.Errorf("refusal names %q, want %q", r.Attribute, "groups")
			}
		})
	})
}

// TestJ14ReservedNamesAreRefused: names of what the service itself says of a
// user cannot be attributes.
func TestJ14ReservedNamesAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"id", "directory", "groups", "entitlements", "created", "updated", "blocked"} {
		problem(t, "attributes: [{name: "+name+"}]", "attributes[0].name", name)
	}
}

// FuzzAttributes: whatever an assertion says, reading it ends, and what comes
// out of it is fit for headers and of the directory.
func FuzzAttributes(f *testing.F) {
	f.Add("userName", "ann", "department", "Sales", "domain", "labs.example")
	f.Add("userName", "ann@labs.example", "urn:oid:0.9.2342.19200300.100.1.3", "a@b@labs.example", "domain", "LABS.example.")
	f.Add("roles", " a ", "roles", "a\u202e", "userName", "\xed\xa0\x80")
	f.Add("groups", "eng-a", "groups", "eng-\x00", "userName", "\u212a")
	r, err := New(nil, "", testConfig())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, n3, v3 string) {
		for _, name := range r.providers {
			p := r.idps[name]
			c, refusal := p.read(sent(n1, v1, n2, v2, n3, v3))
			if refusal != nil {
				if refusal.Code == "" || strings.Contains(refusal.Error(), "\n") {
					t.Errorf("refusal = %q", refusal)
				}
				continue
			}
			if !slices.Contains(p.domains, c.domain) || c.userName == "" {
				t.Errorf("%q of domain %q was accepted", c.userName, c.domain)
			}
			values := append([]string{c.userName, c.externalID}, c.groups...)
			for _, vs := range c.values {
				values = append(values, vs...)
			}
			for _, v := range values {
				if len(v) > 1024 || !utf8.ValidString(v) || v != strings.TrimSpace(v) ||
					strings.ContainsFunc(v, func(c rune) bool { return unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) {
					t.Errorf("value %q was accepted", v)
				}
			}
		}
	})
}
