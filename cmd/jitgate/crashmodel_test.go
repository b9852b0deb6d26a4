package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
)

// A model is who the users have to be, by the logins that the audit trail has,
// in its order. It knows crashConfig alone.
type model struct {
	users map[string]person // by user ID; the groups are those of the last assertion
	names map[string]string // domain and userName, lower-cased -> user ID
	exts  map[string]string // ExternalId -> user ID
}

// configured returns the configured groups of a user, sorted.
func (p person) configured() []string {
	var groups []string
	for _, g := range []struct {
		name   string
		member bool
	}{
		{"engineers", p.department == "Engineering"},
		{"labs", p.domain == "labs.example"},
		{"sales", p.department == "Sales"},
		{"spare", strings.HasPrefix(p.userName, "spare")},
	} {
		if g.member {
			groups = append(groups, g.name)
		}
	}
	return groups
}

// asserted returns the groups of a user that are taken from the assertion, sorted.
func (p person) asserted() []string {
	groups := slices.DeleteFunc(slices.Clone(p.groups), func(g string) bool { return !strings.HasPrefix(g, "project-") })
	slices.Sort(groups)
	return groups
}

// name is what no two users share.
func (p person) name() string { return p.domain + "/" + strings.ToLower(p.userName) }

// find returns the ID of the user that a claim means, "" for a new one, or why
// the login has to be refused.
func (m *model) find(claim person) (string, error) {
	named, external := m.names[claim.name()], m.exts[claim.externalID]
	switch {
	case external != "" && named != "" && named != external:
		return "", fmt.Errorf("the ExternalId is of user %s, and the name of user %s", external, named)
	case external != "":
		return external, nil
	case named != "" && claim.externalID != "" && m.users[named].externalID != "":
		return "", fmt.Errorf("the name is of user %s, whose ExternalId is %q", named, m.users[named].externalID)
	}
	return named, nil
}

// signIn changes the user that a claim means, or makes one with the given ID. It
// returns that user's ID and the events that the audit trail has to have.
func (m *model) signIn(claim person, newID string) (string, []string, error) {
	id, err := m.find(claim)
	if err != nil {
		return "", nil, err
	}
	before, known := m.users[id]
	after := claim
	if !known {
		id = newID
	}
	if claim.externalID == "" {
		after.externalID = before.externalID
	}
	if claim.department == "" {
		after.department = before.department
	}
	if known && strings.EqualFold(claim.userName, before.userName) {
		after.userName = before.userName
	}
	if known {
		delete(m.names, before.name())
	}
	m.users[id], m.names[after.name()] = after, id
	if after.externalID != "" {
		m.exts[after.externalID] = id
	}
	return id, events(before, after), nil
}

// events returns what a login tells that makes a user of another; before is
// empty for a new user.
func events(before, after person) []string {
	var all, changed []string
	for _, a := range []struct{ name, before, after string }{
		{"ExternalId", before.externalID, after.externalID},
		{"department", before.department, after.department},
		{"domain", before.domain, after.domain},
	} {
		if a.before != a.after {
			changed = append(changed, a.name)
		}
	}
	switch {
	case before.userName == "":
		all = append(all, fmt.Sprint(audit.UserCreated, " ", append(changed, "userName")))
		changed = nil
	case before.userName != after.userName:
		all = append(all, fmt.Sprint(audit.UserRenamed, " ", before.userName))
	}
	if len(changed) > 0 {
		all = append(all, fmt.Sprint(audit.UserUpdated, " ", changed))
	}
	was, is := slices.Concat(before.configured(), before.asserted()), slices.Concat(after.configured(), after.asserted())
	for _, g := range is {
		if !slices.Contains(was, g) {
			all = append(all, audit.GroupJoined+" "+g)
		}
	}
	for _, g := range was {
		if !slices.Contains(is, g) {
			all = append(all, audit.GroupLeft+" "+g)
		}
	}
	return append(all, audit.Login+" "+after.userName)
}

// tell is an event in the form that the model has it in.
func tell(e audit.Event) string {
	switch e.Type {
	case audit.UserCreated, audit.UserUpdated:
		return fmt.Sprint(e.Type, " ", e.Attributes)
	case audit.UserRenamed:
		return e.Type + " " + e.From
	case audit.GroupJoined, audit.GroupLeft:
		return e.Type + " " + e.Group
	case audit.Login:
		return e.Type + " " + e.UserName
	}
	return e.Type + " " + e.Code
}

// replay does the logins that the audit trail has once more, in its order: each
// is there as a whole, means the user that it has to mean, and changes what it
// has to change from how the one before left it. It returns who the users are
// then.
func (s *crashSite) replay(all []*login) *model {
	s.t.Helper()
	m := &model{users: make(map[string]person), names: make(map[string]string), exts: make(map[string]string)}
	byAddress := make(map[string]*login)
	for _, l := range all {
		byAddress[l.from] = l
	}
	trail := s.trail()
	s.t.Logf("%d events", len(trail))
	for rest := trail; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(e audit.Event) bool { return e.RequestID != rest[0].RequestID })
		if n < 0 {
			n = len(rest)
		}
		l, ok := byAddress[rest[0].Client]
		if !ok {
			s.t.Fatalf("event of a visitor who was not there: %+v", rest[0])
		}
		if err := m.step(l, rest[:n]); err != nil {
			s.t.Fatalf("event %d, login of %+v: %v", len(trail)-len(rest), l.claim, err)
		}
		rest = rest[n:]
	}
	for _, l := range all {
		acknowledged, refused := l.status == http.StatusSeeOther, l.status == http.StatusForbidden
		switch {
		case l.signedIn > 1 || l.refused > 1 || l.signedIn+l.refused > 1,
			acknowledged && l.signedIn != 1, refused && l.refused != 1:
			s.t.Errorf("login of %+v: status %d, and %d times a login and %d times a refused one in the audit trail", l.claim, l.status, l.signedIn, l.refused)
		}
	}
	return m
}

// step does one login that the audit trail has.
func (m *model) step(l *login, trail []audit.Event) error {
	var got []string
	for _, e := range trail {
		got = append(got, tell(e))
	}
	if slices.Equal(got, []string{audit.LoginFailed + " user_conflict"}) {
		l.refused++
		return nil
	}
	l.signedIn++
	id, want, err := m.signIn(l.claim, trail[0].UserID)
	if err != nil {
		return fmt.Errorf("done, although %w", err)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the audit trail has %q, want %q", got, want)
	}
	for _, e := range trail {
		if e.UserID != id || e.UserName != m.users[id].userName {
			return fmt.Errorf("it is of user %s, %s, want %s, %s", e.UserID, e.UserName, id, m.users[id].userName)
		}
	}
	return nil
}

// checkStore checks that the indexes agree with the users, and compares these
// with the model: as they are stored, and as the gateway reads them.
func (s *crashSite) checkStore(m *model) {
	s.t.Helper()
	cfg, err := config.Load(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	registry, err := provision.New(s.rdb, cfg.Redis.KeyPrefix, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := registry.Consistency(s.t.Context(), "acme", func(i provision.Inconsistency) { s.t.Error(i) }, nil); err != nil {
		s.t.Fatal(err)
	}
	users, next, err := registry.List(s.t.Context(), "", "", len(m.users)+1)
	if err != nil || next != "" {
		s.t.Fatalf("listing users: %v, and more at %q", err, next)
	}
	records, err := s.rdb.HGetAll(s.t.Context(), cfg.Redis.KeyPrefix+"{acme}:users").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	if len(users) != len(m.users) || len(records) != len(m.users) {
		s.t.Errorf("%d users are listed and %d stored, want %d", len(users), len(records), len(m.users))
	}
	for _, u := range users {
		p, ok := m.users[u.ID]
		if !ok {
			s.t.Errorf("user %s, %s, is in no event of the audit trail", u.ID, u.UserName)
			continue
		}
		var record provision.User
		if err := json.Unmarshal([]byte(records[u.ID]), &record); err != nil {
			s.t.Errorf("record of user %s: %v", u.ID, err)
		}
		text := func(u provision.User, groups []string) string {
			return fmt.Sprintf("%s/%s, ExternalId %q, department %q, groups %q, asserted %q", u.Domain, u.UserName, u.ExternalID, u.Attributes["department"], groups, u.Asserted)
		}
		want := provision.User{Domain: p.domain, UserName: p.userName, ExternalID: p.externalID, Asserted: p.asserted()}
		if p.department != "" {
			want.Attributes = map[string][]string{"department": {p.department}}
		}
		if got, want := text(record, record.Groups), text(want, p.configured()); got != want {
			s.t.Errorf("user %s is stored as\n%s, want\n%s", u.ID, got, want)
		}
		groups := slices.Sorted(slices.Values(slices.Concat(p.configured(), p.asserted())))
		if got, want := text(u, u.Groups), text(want, groups); got != want {
			s.t.Errorf("user %s is read as\n%s, want\n%s", u.ID, got, want)
		}
	}
	s.t.Logf("%d users", len(users))
}
