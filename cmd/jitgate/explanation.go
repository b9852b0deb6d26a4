package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy"
	"github.com/jitgate/jitgate/samlsp"
)

// An explanationPrinter prints an explanation for people.
type explanationPrinter struct {
	out   io.Writer
	err   error
	cured map[string]bool // checks whose cure was printed
}

func printExplanation(out io.Writer, x proxy.Explanation, f explainFlags) error {
	p := &explanationPrinter{out: out, cured: make(map[string]bool)}
	p.verdict(x, f)
	p.steps(x.Response)
	if x.Login != nil {
		p.attributes(x)
		p.user(x.Login)
		p.groups(x.Login)
		p.apps(x.Apps)
	}
	return p.err
}

// line prints a line.
func (p *explanationPrinter) line(format string, args ...any) {
	if p.err == nil {
		p.err = printLine(p.out, fmt.Sprintf(format, args...))
	}
}

// rows prints lines with their cells, split at tabs, in columns.
func (p *explanationPrinter) rows(lines []string) {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		// A line end in a value would begin a line that looks like ours.
		fmt.Fprintln(table, strings.NewReplacer("\n", "\ufffd", "\r", "\ufffd", "\v", "\ufffd", "\f", "\ufffd").Replace(l))
	}
	table.Flush() // into memory
	for l := range strings.Lines(text.String()) {
		p.line("  %s", strings.TrimSuffix(l, "\n"))
	}
}

func (p *explanationPrinter) section(title string) {
	p.line("")
	p.line("%s", title)
}

// verdict returns in a word or two what becomes of a response.
func verdict(x proxy.Explanation) string {
	switch r := x.Response.Refusal; {
	case r != nil && r.Check != "":
		return fmt.Sprintf("%s (%s)", x.Code, r.Check)
	case x.Code != "":
		return x.Code
	case x.Accepted:
		return "accepted"
	}
	return "depends on whether the user is known"
}

func (p *explanationPrinter) verdict(x proxy.Explanation, f explainFlags) {
	word := verdict(x)
	if x.Code != "" {
		word = "refused: " + word
	}
	p.line("response of %s, judged as of %s: %s", x.IdP, when(x.Response.At), word)
	switch {
	case x.Response.Refusal != nil && x.Login != nil:
		p.line("What follows the checks is what the response says, and not to be believed.")
	case !x.Accepted && x.Code == "":
		p.line("With jit: false only users who are known sign in; --online looks.")
	}
}

// steps prints the checks: those that were made a line each, what to do about
// those that failed, and those that were not made.
func (p *explanationPrinter) steps(x samlsp.Explanation) {
	p.section("Checks")
	var skipped []samlsp.Step
	for _, s := range x.Steps {
		switch s.Result {
		case samlsp.Skipped:
			skipped = append(skipped, s)
		case samlsp.Failed:
			p.failed(s)
		default:
			p.line("  ok      %-20s  %-19s  %s", checkTitle(s.Check), s.Part, joinWords("; ", s.Got, s.Note))
		}
	}
	for len(skipped) > 0 {
		why := skipped[0].Note
		var names []string
		for _, s := range skipped {
			if title := checkTitle(s.Check); s.Note == why && !slices.Contains(names, title) {
				names = append(names, title)
			}
		}
		skipped = slices.DeleteFunc(skipped, func(s samlsp.Step) bool { return s.Note == why })
		p.line("  -       %s: %s", strings.Join(names, ", "), why)
	}
}

// checkTitle returns what a check is about. Its name says how it fails.
func checkTitle(check string) string {
	title := map[string]string{
		"too_large": "size", "unsigned": "signed", "unsolicited": "asked for", "expired": "not expired", "not_yet_valid": "valid by now",
		"no_authn_statement": "authn statement", "session_expired": "session not expired", "certificate_expired": "certificate in time",
		"replayed_request": "request not answered before", "replayed_assertion": "assertion not used before", "library": "second opinion",
	}[check]
	if title == "" {
		title = strings.ReplaceAll(strings.TrimPrefix(check, "wrong_"), "_", " ")
	}
	return title
}

func (p *explanationPrinter) failed(s samlsp.Step) {
	p.line("  FAILED  %-20s  %s", s.Check, s.Part)
	for _, row := range []struct{ name, text string }{{"found: ", s.Got}, {"wanted:", s.Want}, {"note:  ", s.Note}} {
		if row.text != "" {
			p.line("          %s  %s", row.name, row.text)
		}
	}
	if p.cured[s.Check] {
		return
	}
	p.cured[s.Check] = true
	meaning, cure := samlsp.Cure(s.Check)
	p.line("          %s", meaning)
	p.line("          %s", cure)
}

// joinWords joins those of words that are not empty.
func joinWords(with string, words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), with)
}

// attributes prints what the assertion says, and what becomes of it.
func (p *explanationPrinter) attributes(x proxy.Explanation) {
	p.section("Subject")
	id := x.Response.Identity
	rows := []string{"NameID\t" + joinWords("  ", id.NameID.Value, id.NameID.Format)}
	if id.SessionIndex != "" {
		rows = append(rows, "SessionIndex\t"+id.SessionIndex)
	}
	if !id.SessionNotOnOrAfter.IsZero() {
		rows = append(rows, "session ends by\t"+when(id.SessionNotOnOrAfter))
	}
	p.rows(append(rows, "signed in at the IdP\t"+when(id.AuthnInstant)))

	p.section("Attributes (ours <- the assertion's)")
	rows = nil
	for _, a := range x.Login.Attributes {
		mark, note := "ok", a.Note
		switch {
		case a.Refusal != nil:
			mark, note = "FAILED", refusalText(a.Refusal, joinWords("; ", a.Note, suggestion(a, x)))
		case len(a.Values) == 0:
			mark = "-"
		}
		name := a.Name
		if a.Sent != a.Name {
			name += " <- " + a.Sent
		}
		rows = append(rows, joinWords("\t", mark, name, joinWords("  ", quoted(a.Values), note)))
	}
	for _, a := range x.Login.Ignored {
		rows = append(rows, joinWords("\t", "ignored", a.Name, quoted(a.Values)))
	}
	p.rows(rows)
}

// refusalText says in a line what is wrong.
func refusalText(r *provision.Refusal, note string) string {
	return joinWords(": ", r.Code, joinWords("; ", note, r.Detail))
}

// suggestion names an attribute that came and is not used, if it looks like the
// one that is missing.
func suggestion(a provision.AttributeUse, x proxy.Explanation) string {
	ours := strings.ToLower(a.Name)
	like := func(name string) bool {
		name = strings.ToLower(name[strings.LastIndexAny(name, ":/")+1:])
		return len(name) > 2 && (strings.Contains(ours, name) || strings.Contains(name, ours))
	}
	for _, sent := range x.Response.Identity.Attributes {
		unused := slices.ContainsFunc(x.Login.Ignored, func(s provision.Sent) bool { return s.Name == sent.Name })
		if len(a.Values) == 0 && unused && (like(sent.Name) || like(sent.FriendlyName)) {
			return fmt.Sprintf("perhaps it is what came as %q: attributes: {%s: %q}", sent.Name, a.Name, sent.Name)
		}
	}
	return ""
}

// loginCure says what to do about a login that is refused with a code of
// provision's, as README does.
func loginCure(code string) string {
	const file = " of this identity provider in jitgate.yaml"
	return map[string]string{
		provision.CodeUserNameMissing:  "Have the identity provider send it with a value, or write the name that it uses under attributes" + file + ".",
		provision.CodeAttributeMissing: "Have the identity provider send it with a value, or write the name that it uses under attributes" + file + ".",
		provision.CodeAttributeInvalid: "Mend the value at the identity provider; where several are meant, declare the attribute with multiple: true.",
		provision.CodeDomainMissing:    "The directory has several domains: have the identity provider send the user's one as domain.",
		provision.CodeDomainMismatch:   "Have it send a domain of the directory, or add the domain there; email_domains: any" + file + " lets addresses of others pass.",
		provision.CodeUserConflict:     "Two users of the identity provider claim to be one here: mend the userName or ExternalId of one of them.",
		provision.CodeUserUnknown:      "Have the user sign in once at an identity provider of this directory with jit: true.",
		provision.CodeUserBlocked:      "jitgate users unblock lets the user in again.",
		provision.CodeDirectoryDeleted: "jitgate directories create opens the directory again, without users.",
	}[code]
}

func quoted(values []string) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(all, " ")
}

// user prints who would sign in.
func (p *explanationPrinter) user(x *provision.Explanation) {
	p.section("User")
	rows := []string{"directory\t" + x.Directory}
	if x.Domain != "" {
		rows = append(rows, "domain\t"+x.Domain)
	}
	if len(x.Refusals) > 0 {
		for _, r := range x.Refusals {
			text := r.Code
			if r.Attribute != "" {
				text += ": attribute " + r.Attribute
			}
			rows = append(rows, "FAILED\t"+joinWords(": ", text, r.Detail))
			if !p.cured[r.Code] {
				p.cured[r.Code] = true
				rows = append(rows, "\t"+loginCure(r.Code))
			}
		}
		p.rows(rows)
		return
	}
	switch {
	case x.After == nil:
		rows = append(rows, "depends\tonly a user who is known signs in, since jit is false; --online looks")
	case x.Before != nil && len(x.Changes) == 0:
		rows = append(rows, "known\t"+x.After.UserName+", ID "+x.After.ID+", whose attributes stay as they are")
	case x.Before != nil:
		rows = append(rows, "known\t"+x.Before.UserName+", ID "+x.After.ID+", who changes:")
		for _, c := range x.Changes {
			rows = append(rows, "  "+c.Attribute+"\t"+quoted(c.Before)+" -> "+quoted(c.After))
		}
	case x.Online:
		rows = append(rows, "new\t"+x.After.UserName)
	default:
		rows = append(rows, "new\t"+x.After.UserName+", or known: the store was not asked (--online does)")
	}
	p.rows(rows)
}

// groups prints the groups that the user would be in, and why.
func (p *explanationPrinter) groups(x *provision.Explanation) {
	p.section("Groups")
	var rows []string
	if x.After != nil {
		for _, name := range x.After.Groups {
			mark := ""
			if x.Before != nil && slices.Contains(x.Joined, name) {
				mark = "(joins)"
			}
			rows = append(rows, joinWords("\t", name, joinWords("  ", x.Why[name], mark)))
		}
		for _, name := range x.Left {
			rows = append(rows, name+"\t(leaves)")
		}
	}
	for _, a := range x.Asserted {
		if !a.Taken {
			rows = append(rows, "not taken\t"+joinWords(": ", fmt.Sprintf("%q", a.Name), a.Note))
		}
	}
	if x.After != nil && len(x.After.Entitlements) > 0 {
		rows = append(rows, "entitlements\t"+strings.Join(x.After.Entitlements, ", "))
	}
	if len(rows) == 0 {
		rows = []string{"none"}
	}
	p.rows(rows)
}

// apps prints who lets the user in, and with which headers.
func (p *explanationPrinter) apps(apps []proxy.AppAccess) {
	if len(apps) == 0 {
		return
	}
	p.section("Apps")
	width := 0
	for _, a := range apps {
		width = max(width, len(a.App))
	}
	for _, a := range apps {
		word := "forbidden"
		if a.Allowed {
			word = "allowed"
		}
		p.line("  %-*s  %-9s  %s  (%s)", width, a.App, word, a.URL, a.Why)
		for _, h := range a.Headers {
			p.line("      %s", h)
		}
	}
}
