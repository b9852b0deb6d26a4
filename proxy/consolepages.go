package proxy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/console"
	"github.com/jitgate/jitgate/proxy/session"
)

const (
	// consoleRows is how many rows a table of the console has.
	consoleRows = 50

	// consoleLook is how many users are looked at for them, and consoleTime for how long.
	consoleLook = 500
	consoleTime = 100 * time.Millisecond

	// soon is how long before its end a certificate is warned of.
	soon = 30 * 24 * time.Hour
)

func text(s string) console.Cell { return console.Cell{Text: s} }

// at returns the URL of a page of the console.
func at(path string, query ...string) string {
	q := make(url.Values)
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	if len(q) == 0 {
		return console.Root + path
	}
	return console.Root + path + "?" + q.Encode()
}

func userCell(directory, id, name string) console.Cell {
	if id == "" {
		return text(name)
	}
	return console.Cell{Text: cmp.Or(name, id), URL: at("/user", "directory", directory, "id", id)}
}

// showOverview shows who signed in, and who could not, and what may need somebody.
func (g *Gateway) showOverview(in visit) (console.Page, error) {
	name := in.query.Get("span")
	s, ok := spans[name]
	if !ok {
		return console.Page{}, notThere("span", name)
	}
	c, err := g.tallied(in.Context(), s)
	if err != nil {
		return console.Page{}, err
	}
	format, words, other := "15:04", "the last 24 hours (UTC)", console.Action{Label: "The last 14 days", URL: at("", "span", "days")}
	if name != "" {
		format, words, other = "Jan 2", "the last 14 days", console.Action{Label: "The last 24 hours", URL: at("")}
	}
	chart := func(title, unit string, of map[string][]int64) *console.Chart {
		chart := &console.Chart{Title: title + ", " + words, Unit: unit, Times: c.times, Format: format}
		for name, values := range of {
			chart.Series = append(chart.Series, console.Series{Name: name, Values: values})
		}
		return chart
	}
	return console.Page{Title: "Overview", Body: []console.Section{
		{Heading: "What needs somebody", Table: g.concerns()},
		{Heading: "Sign-ins", Chart: chart("Sign-ins by identity provider", "sign-ins", c.good), Actions: []console.Action{other}},
		{Heading: "Failures", Chart: chart("Failures by error code", "failures", c.failed), Actions: []console.Action{{Label: "In the audit trail", URL: at("/audit", "event", audit.LoginFailed)}}},
	}}, nil
}

// concerns are the things that are wrong or soon will be.
func (g *Gateway) concerns() *console.Table {
	t := &console.Table{Caption: "Things that are wrong, or soon will be", Columns: []string{"What", "Why"}, None: "Nothing: all metadata is in use, and no certificate ends within 30 days."}
	if _, current := g.memory.feed.Current(); !current {
		t.Rows = append(t.Rows, []console.Cell{{Text: "Redis", Bad: true}, text("changes that other replicas make are not heard of, so that each request asks Redis")})
	}
	for _, name := range slices.Sorted(maps.Keys(g.idps)) {
		if err := g.idps[name].Ready(); err != nil {
			t.Rows = append(t.Rows, []console.Cell{{Text: "identity provider " + name, URL: at("/idps"), Bad: true}, text(err.Error())})
		}
	}
	now := g.now()
	for _, c := range g.Certificates() {
		if c.NotAfter.Sub(now) < soon {
			t.Rows = append(t.Rows, []console.Cell{{Text: strings.TrimSpace(c.Use + " " + c.IdP), Bad: true}, text("certificate " + c.Subject.CommonName + " ends " + console.Time(c.NotAfter))})
		}
	}
	return t
}

// showIdPs shows what is known of each identity provider.
func (g *Gateway) showIdPs(in visit) (console.Page, error) {
	last, err := g.lastSignIns(in.Context())
	if err != nil {
		return console.Page{}, err
	}
	now := g.now()
	t := &console.Table{Caption: "Identity providers, in the configuration's order", None: "There are none.",
		Columns: []string{"Name", "Title", "Directory", "Entity ID", "Metadata", "Loaded", "Valid until", "Failures", "Certificates end", "Last sign-in"}}
	for _, c := range g.cfg.IdentityProviders {
		idp := g.idps[c.Name]
		s := idp.Status()
		loaded := console.Cell{Text: "never", Bad: true}
		if !s.Loaded.IsZero() {
			loaded = console.Cell{Text: now.Sub(s.Loaded).Truncate(time.Second).String() + " ago", Bad: idp.Ready() != nil}
		}
		until := text("no end")
		if !s.ValidUntil.IsZero() {
			until = console.Cell{Text: console.Time(s.ValidUntil), Bad: s.ValidUntil.Before(now)}
		}
		var ends []string
		endsSoon := false
		for _, certificate := range s.Certificates {
			ends = append(ends, certificate.NotAfter.UTC().Format(time.DateOnly))
			endsSoon = endsSoon || certificate.NotAfter.Sub(now) < soon
		}
		t.Rows = append(t.Rows, []console.Cell{
			{Text: c.Name, URL: at("/audit", "idp", c.Name)}, text(c.Title), text(c.Directory), text(idp.EntityID()), text(cmp.Or(c.Metadata.URL, c.Metadata.File)),
			loaded, until, {Text: fmt.Sprint(s.Failed), Bad: s.Failed > 0 && idp.Ready() != nil}, {Text: strings.Join(ends, ", "), Bad: endsSoon}, text(console.Time(last[c.Name])),
		})
	}
	return console.Page{Title: "Identity providers", Body: []console.Section{{Table: t}}}, nil
}

// directoryField lets one choose a directory, or all.
func (g *Gateway) directoryField(value string) console.Field {
	return console.Field{Name: "directory", Label: "Directory", Value: value, Options: append([]string{""}, g.users.Directories()...)}
}

// directoryOf returns the directory that a question is about, "" for all.
func (g *Gateway) directoryOf(q url.Values) (string, error) {
	directory := q.Get("directory")
	if directory != "" && !slices.Contains(g.users.Directories(), directory) {
		return "", notThere("directory", directory)
	}
	return directory, nil
}

// showUsers shows users page by page, or those whose names begin with something.
func (g *Gateway) showUsers(in visit) (console.Page, error) {
	prefix := in.query.Get("prefix")
	directory, err := g.directoryOf(in.query)
	if err != nil {
		return console.Page{}, err
	}
	t := &console.Table{Caption: "Users, by name", Columns: []string{"Name", "Domain", "Directory", "Groups", "Last sign-in", "State"}, None: "There are none."}
	var users []provision.User
	next := ""
	if prefix != "" {
		users, err = g.users.Beginning(in.Context(), directory, prefix, consoleRows)
		t.Caption = fmt.Sprintf("The first %d users whose name begins with %q", consoleRows, prefix)
	} else {
		users, next, err = g.users.List(in.Context(), directory, in.query.Get("after"), consoleRows)
	}
	if err != nil {
		return console.Page{}, err
	}
	if next != "" {
		t.Next = at("/users", "directory", directory, "after", next)
	}
	for _, u := range users {
		t.Rows = append(t.Rows, []console.Cell{
			userCell(u.Directory, u.ID, u.UserName), text(u.Domain), text(u.Directory), text(strings.Join(u.Groups, ", ")), text(console.Time(u.LastLogin)), stateOf(u),
		})
	}
	return console.Page{Title: "Users", Body: []console.Section{{
		Form: &console.Form{Action: at("/users"), Button: "Show", Fields: []console.Field{
			{Name: "prefix", Label: "Name begins with", Value: prefix, Hint: "ann"}, g.directoryField(directory),
		}},
		Table: t,
	}}}, nil
}

func stateOf(u provision.User) console.Cell {
	if u.Blocked != nil {
		return console.Cell{Text: u.Blocked.String(), Bad: true}
	}
	return text("may sign in")
}

// showUser shows all that there is of a user.
func (g *Gateway) showUser(in visit) (console.Page, error) {
	directory, id := in.query.Get("directory"), in.query.Get("id")
	u, err := g.user(in.Context(), directory, id)
	if err != nil {
		return console.Page{}, err
	}
	records, err := g.openSessions(in.Context(), u)
	if err != nil {
		return console.Page{}, err
	}
	facts := []console.Fact{
		{Name: "userName", Value: text(u.UserName)}, {Name: "ID", Value: text(u.ID)}, {Name: "ExternalId", Value: text(u.ExternalID)},
		{Name: "directory", Value: text(u.Directory)}, {Name: "domain", Value: text(u.Domain)}, {Name: "identity provider", Value: text(u.IdP)},
		{Name: "created", Value: text(console.Time(u.Created))}, {Name: "changed", Value: text(console.Time(u.Updated))},
		{Name: "last sign-in", Value: text(console.Time(u.LastLogin))}, {Name: "state", Value: stateOf(u)},
	}
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		facts = append(facts, console.Fact{Name: name, Value: text(strings.Join(u.Attributes[name], ", "))})
	}
	ask := func(do string) string { return at("/ask", "do", do, "directory", u.Directory, "user", u.ID) }
	actions := []console.Action{{Label: "Block …", URL: ask("block")}, {Label: "Sign out …", URL: ask("sign-out")}, {Label: "In the audit trail", URL: at("/audit", "directory", u.Directory, "user", u.ID)}}
	if u.Blocked != nil {
		actions[0] = console.Action{Label: "Unblock …", URL: ask("unblock")}
	}
	why := g.users.Why(u)
	groups := &console.Table{Caption: "Groups", Columns: []string{"Group", "Why"}, None: "In no group."}
	for _, name := range u.Groups {
		groups.Rows = append(groups.Rows, []console.Cell{{Text: name, URL: at("/group", "name", name)}, text(why[name])})
	}
	access := &console.Table{Caption: "Apps, for a sign-in at " + u.IdP, Columns: []string{"App", "Access", "Why"}, None: "There are no apps."}
	for _, a := range g.accessOf(u, u.IdP) {
		access.Rows = append(access.Rows, []console.Cell{{Text: a.App, URL: a.URL}, accessCell(a), text(a.Why)})
	}
	return console.Page{At: "/users", Title: u.UserName, Body: []console.Section{
		{Facts: facts, Actions: actions},
		{Heading: "Groups", Table: groups, Text: entitlementsOf(u.Entitlements)},
		{Heading: "Apps", Table: access},
		{Heading: "Sessions", Table: g.sessionTable(records, u)},
	}}, nil
}

func entitlementsOf(entitlements []string) string {
	if len(entitlements) == 0 {
		return "No entitlements."
	}
	return "Entitlements: " + strings.Join(entitlements, ", ")
}

// sessionTable shows sessions of users.
func (g *Gateway) sessionTable(records []session.Record, users ...provision.User) *console.Table {
	var a sessionsAnswer
	g.describe(&a, records, users...)
	t := &console.Table{Caption: "Open sessions", Columns: []string{"User", "Host", "Identity provider", "Since", "Last used", "Ends", "Action"}, None: "None is open."}
	for _, s := range a.Sessions {
		t.Rows = append(t.Rows, []console.Cell{
			userCell(s.Directory, s.UserID, s.User), text(s.Host), text(s.IdP), text(console.Time(s.Created)), text(console.Time(s.Seen)), text(console.Time(s.Ends)),
			{Text: "End it …", URL: at("/ask", "do", "revoke", "directory", s.Directory, "user", s.UserID, "id", s.ID)},
		})
	}
	return t
}

// gather looks at users, part by part, until enough of what they have is found, or it
// takes too long for a page. It returns where to go on.
func (g *Gateway) gather(ctx context.Context, directory, after string, found func([]provision.User) (int, error)) (next string, err error) {
	until := time.Now().Add(consoleTime)
	for {
		var users []provision.User
		if users, after, err = g.users.List(ctx, directory, after, consoleLook); err != nil {
			return "", err
		}
		n, err := found(users)
		if err != nil || after == "" || n >= consoleRows || time.Now().After(until) {
			return after, err
		}
	}
}

// showSessions shows who is signed in.
func (g *Gateway) showSessions(in visit) (console.Page, error) {
	directory, err := g.directoryOf(in.query)
	if err != nil {
		return console.Page{}, err
	}
	var all []session.Record
	var owners []provision.User
	next, err := g.gather(in.Context(), directory, in.query.Get("after"), func(users []provision.User) (int, error) {
		records, err := g.openSessions(in.Context(), users...)
		all, owners = append(all, records...), append(owners, users...)
		return len(all), err
	})
	if err != nil {
		return console.Page{}, err
	}
	t := g.sessionTable(all, owners...)
	if next != "" {
		t.Next, t.None = at("/sessions", "directory", directory, "after", next), "None is open of the users that were looked at so far."
	}
	return console.Page{Title: "Sessions", Body: []console.Section{{
		Form:  &console.Form{Action: at("/sessions"), Button: "Show", Fields: []console.Field{g.directoryField(directory)}},
		Table: t,
	}}}, nil
}

// showGroups shows the groups of the configuration, with their rules.
func (g *Gateway) showGroups(visit) (console.Page, error) {
	t := &console.Table{Caption: "Groups of the configuration", Columns: []string{"Group", "Who is in it", "Entitlements"}, None: "There are none."}
	groups := slices.Clone(g.cfg.Groups)
	slices.SortFunc(groups, func(a, b config.Group) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range groups {
		t.Rows = append(t.Rows, []console.Cell{{Text: c.Name, URL: at("/group", "name", c.Name)}, text(membersOf(c)), text(strings.Join(c.Entitlements, ", "))})
	}
	asserted := &console.Table{Caption: "Groups that identity providers may assert", Columns: []string{"Identity provider", "Attribute", "Names"}, None: "None."}
	for _, p := range g.cfg.IdentityProviders {
		if p.Groups.Attribute != "" {
			asserted.Rows = append(asserted.Rows, []console.Cell{text(p.Name), text(p.Groups.Attribute), text(strings.Join(p.Groups.Allow, ", "))})
		}
	}
	return console.Page{Title: "Groups", Body: []console.Section{{Table: t}, {Heading: "Asserted groups", Table: asserted, Form: &console.Form{
		Action: at("/group"), Button: "Show members", Fields: []console.Field{{Name: "name", Label: "Group", Hint: "project-x"}},
	}}}}, nil
}

// membersOf says who is in a group.
func membersOf(c config.Group) string {
	var parts []string
	if c.Rule != nil {
		parts = append(parts, c.Rule.String())
	}
	if len(c.Users) > 0 {
		parts = append(parts, "these: "+strings.Join(c.Users, ", "))
	}
	if c.Asserted {
		parts = append(parts, "those whose identity provider asserts it")
	}
	who := strings.Join(parts, "; or ")
	if len(c.Except) > 0 {
		who += "; but not " + strings.Join(c.Except, ", ")
	}
	return who
}

// showGroup shows who is in a group, and why.
func (g *Gateway) showGroup(in visit) (console.Page, error) {
	name := in.query.Get("name")
	group, ok := g.users.Group(name)
	if !ok {
		return console.Page{}, notThere("group", name)
	}
	directory, err := g.directoryOf(in.query)
	if err != nil {
		return console.Page{}, err
	}
	t := &console.Table{Caption: "Members", Columns: []string{"User", "Domain", "Directory", "Why"}, None: "None."}
	next, err := g.gather(in.Context(), directory, in.query.Get("after"), func(users []provision.User) (int, error) {
		for _, u := range users {
			if slices.Contains(u.Groups, name) {
				t.Rows = append(t.Rows, []console.Cell{userCell(u.Directory, u.ID, u.UserName), text(u.Domain), text(u.Directory), text(g.users.Why(u)[name])})
			}
		}
		return len(t.Rows), nil
	})
	if err != nil {
		return console.Page{}, err
	}
	if next != "" {
		t.Next, t.None = at("/group", "name", name, "directory", directory, "after", next), "None of the users that were looked at so far."
	}
	about := "Identity providers assert it; the configuration has no group of this name."
	for _, c := range g.cfg.Groups {
		if c.Name == name {
			about = "In it are: " + membersOf(c) + "."
		}
	}
	return console.Page{At: "/groups", Title: "Group " + name, Body: []console.Section{{Text: about}, {Text: entitlementsOf(group.Entitlements), Table: t}}}, nil
}

// showTrail shows the audit trail, the newest first.
func (g *Gateway) showTrail(in visit) (console.Page, error) {
	q := provision.TrailQuery{
		User: strings.TrimSpace(in.query.Get("user")), IdP: in.query.Get("idp"), Type: in.query.Get("event"), After: in.query.Get("after"),
		Limit: consoleRows, Newest: true,
	}
	var err error
	if q.Directory, err = g.directoryOf(in.query); err != nil {
		return console.Page{}, err
	}
	since := strings.TrimSpace(in.query.Get("since"))
	if since != "" {
		if q.Since, err = time.Parse(time.DateOnly, since); err != nil {
			return console.Page{}, badRequest(http.StatusBadRequest, "since %q is not a day", since)
		}
	}
	t := &console.Table{Caption: "Events, the newest first", Columns: []string{"Time", "Event", "User", "Directory", "Identity provider", "What", "From", "Request"}, None: "There are none."}
	// What is asked for may be rare: a page goes on looking for a while.
	more := true
	for until := time.Now().Add(consoleTime); more && len(t.Rows) < consoleRows && time.Now().Before(until); {
		q.Limit = consoleRows - len(t.Rows)
		trail, err := g.users.Trail(in.Context(), q)
		if err != nil {
			return console.Page{}, err
		}
		for _, e := range trail.Events {
			t.Rows = append(t.Rows, []console.Cell{
				text(console.Time(e.Time)), {Text: e.Type, Bad: e.Type == audit.LoginFailed}, userCell(e.Directory, e.UserID, e.UserName), text(e.Directory), text(e.IdP),
				text(detailOf(e)), text(e.Client), text(e.RequestID),
			})
		}
		q.After, more = trail.Next, trail.More
	}
	if more {
		t.Next = at("/audit", "user", q.User, "idp", q.IdP, "event", q.Type, "directory", q.Directory, "since", since, "after", q.After)
		t.None = "There are none among the events that were looked at so far."
	}
	return console.Page{Title: "Audit trail", Body: []console.Section{{
		Form: &console.Form{Action: at("/audit"), Button: "Show", Fields: []console.Field{
			{Name: "user", Label: "User", Value: q.User, Hint: "name or ID"},
			{Name: "idp", Label: "Identity provider", Value: q.IdP, Options: append([]string{""}, g.asking.idps...)},
			{Name: "event", Label: "Event", Value: q.Type, Options: append([]string{""}, audit.Types()...)},
			g.directoryField(q.Directory),
			{Name: "since", Label: "Since", Value: since, Hint: "2026-01-31"},
		}},
		Table: t,
	}}}, nil
}

// detailOf says in a line what else there is to an event.
func detailOf(e audit.Event) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, strings.TrimSpace(name+" "+value))
		}
	}
	add("", e.Code)
	add("group", e.Group)
	add("was", e.From)
	add("", e.Reason)
	add("by", e.By)
	add("attributes", strings.Join(e.Attributes, ", "))
	add("absent", strings.Join(e.Absent, ", "))
	add("empty", strings.Join(e.Empty, ", "))
	add("without a value", strings.Join(e.NoValue, ", "))
	return strings.Join(parts, "; ")
}

// showConfiguration shows the configuration in use, without its secrets.
func (g *Gateway) showConfiguration(visit) (console.Page, error) {
	return console.Page{Title: "Configuration", Body: []console.Section{{
		Text: "What is in use now, with all defaults. Secrets are not shown.", Pre: g.cfg.Text(),
		Actions: []console.Action{{Label: "Reload …", URL: at("/ask", "do", "reload")}},
	}}}, nil
}
