package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/console"
	"github.com/jitgate/jitgate/samlsp"
)

// showExplanation asks for a captured response, and says what would become of it.
func (g *Gateway) showExplanation(in visit) (console.Page, error) {
	idp, pasted := in.PostForm.Get("idp"), in.PostForm.Get("response")
	p := console.Page{Title: "Explain", Body: []console.Section{{
		Text: "What would become of a response: paste the value of SAMLResponse that the browser posted to the ACS. Nothing is changed, and it is not used up.",
		Form: &console.Form{Post: true, Action: at("/explain"), Button: "Explain", Fields: []console.Field{
			{Name: "idp", Label: "Identity provider", Value: idp, Options: g.asking.idps}, {Name: "response", Label: "SAMLResponse", Value: pasted, Large: true},
		}},
	}}}
	if in.Method != "POST" {
		return p, nil
	}
	response, err := samlsp.Captured([]byte(pasted))
	if err != nil {
		p.Body = append(p.Body, console.Section{Heading: "This is not a response", Text: err.Error(), Bad: true})
		return p, nil
	}
	x, err := g.Explain(in.Context(), Question{IdP: idp, Response: response, Online: true})
	if err != nil {
		return p, err
	}
	p.Body = append(p.Body, explained(x)...)
	return p, nil
}

// explained are the sections of an explanation.
func explained(x Explanation) []console.Section {
	verdict := console.Section{Heading: "It would be accepted"}
	if !x.Accepted {
		verdict = console.Section{Heading: "It would be refused: " + x.Code, Bad: true}
	}
	sections := []console.Section{verdict, checksOf(x.Response)}
	if x.Login == nil {
		return sections
	}
	apps := &console.Table{Caption: "Apps", Columns: []string{"App", "Access", "Why", "Headers"}, None: "None: the sign-in would be refused."}
	for _, a := range x.Apps {
		apps.Rows = append(apps.Rows, []console.Cell{text(a.App), accessCell(a), text(a.Why), text(strings.Join(a.Headers, "\n"))})
	}
	return append(sections, attributesOf(x.Login), console.Section{Heading: "User", Facts: userOfLogin(x.Login)}, groupsOf(x.Login), console.Section{Heading: "Apps", Table: apps})
}

// checksOf are the checks of a response.
func checksOf(e samlsp.Explanation) console.Section {
	checks := &console.Table{Caption: "Checks", Columns: []string{"Check", "Of", "Result", "Found", "Wanted", "Note"}}
	skipped := 0
	for _, s := range e.Steps {
		if s.Result == samlsp.Skipped {
			skipped++
			continue
		}
		note := s.Note
		if s.Result == samlsp.Failed {
			meaning, cure := samlsp.Cure(s.Check)
			note = strings.TrimSpace(note + " " + meaning + " " + cure)
		}
		checks.Rows = append(checks.Rows, []console.Cell{text(s.Check), text(s.Part), {Text: string(s.Result), Bad: s.Result == samlsp.Failed}, text(s.Got), text(s.Want), text(note)})
	}
	made := ""
	if skipped > 0 {
		made = fmt.Sprintf("%d more were not made, since they need what failed or what is not there.", skipped)
	}
	return console.Section{Heading: "Checks", Text: made, Table: checks}
}

// attributesOf are the attributes of a response, and what becomes of them.
func attributesOf(login *provision.Explanation) console.Section {
	t := &console.Table{Caption: "Attributes", Columns: []string{"Ours", "In the assertion", "Values", "Note"}}
	for _, a := range login.Attributes {
		note := text(a.Note)
		if a.Refusal != nil {
			note = console.Cell{Text: a.Refusal.Code + ": " + a.Refusal.Detail, Bad: true}
		}
		t.Rows = append(t.Rows, []console.Cell{text(a.Name), text(a.Sent), text(strings.Join(a.Values, ", ")), note})
	}
	for _, a := range login.Ignored {
		t.Rows = append(t.Rows, []console.Cell{text(""), text(a.Name), text(strings.Join(a.Values, ", ")), text("ignored")})
	}
	return console.Section{Heading: "Attributes", Text: "What follows is what the response says; believe it as far as the checks go.", Table: t}
}

// userOfLogin is who would sign in, and what would change about them.
func userOfLogin(login *provision.Explanation) []console.Fact {
	var facts []console.Fact
	for _, r := range login.Refusals {
		facts = append(facts, console.Fact{Name: "refused", Value: console.Cell{Text: strings.Trim(r.Code+": "+r.Detail, ": "), Bad: true}})
	}
	u := login.After
	if u == nil {
		return facts
	}
	who := "new"
	if login.Before != nil {
		who = "known, " + login.Before.ID
	}
	facts = append(facts, console.Fact{Name: "user", Value: text(u.UserName + " (" + who + ")")}, console.Fact{Name: "entitlements", Value: text(strings.Join(u.Entitlements, ", "))})
	for _, c := range login.Changes {
		facts = append(facts, console.Fact{Name: "changes " + c.Attribute, Value: text(fmt.Sprintf("%q, was %q", c.After, c.Before))})
	}
	return facts
}

// groupsOf are the groups that a login would make the user a member of, and the
// asserted ones that it would not.
func groupsOf(login *provision.Explanation) console.Section {
	t := &console.Table{Caption: "Groups", Columns: []string{"Group", "Why"}, None: "None."}
	for _, name := range slices.Sorted(maps.Keys(login.Why)) {
		t.Rows = append(t.Rows, []console.Cell{text(name), text(login.Why[name])})
	}
	for _, a := range login.Asserted {
		if !a.Taken {
			t.Rows = append(t.Rows, []console.Cell{text(a.Name), text("not taken: " + a.Note)})
		}
	}
	return console.Section{Heading: "Groups", Table: t}
}

// accessCell says whether an app lets somebody in.
func accessCell(a AppAccess) console.Cell {
	if !a.Allowed {
		return console.Cell{Text: "forbidden", Bad: true}
	}
	return text("allowed")
}
