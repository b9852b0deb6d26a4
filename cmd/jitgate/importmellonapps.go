package main

import (
	"cmp"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// renaming returns how many places have names of attributes of their own.
func (m *mellonReader) renaming() int {
	n := 0
	for _, h := range m.hosts {
		for _, p := range h.places {
			if p.renames {
				n++
			}
		}
	}
	return n
}

// group returns the group of those who fulfil a condition, and makes it the first time.
func (m *mellonReader) group(c *mellonCondition) (name string, ok bool) {
	if c.group != "" || c.unclear {
		return c.group, !c.unclear
	}
	if c.attribute == "NAME_ID" || c.attribute == m.issuer {
		c.unclear = true
		m.note("a condition of %s, which is no attribute: write it as a rule of a group, or as identity_providers of the app", c.attribute)
		return "", false
	}
	matching := slices.DeleteFunc(slices.Clone(m.names), func(n mapping) bool {
		return n.theirs != c.attribute && (c.literal || n.ours != c.attribute)
	})
	ours := ""
	if len(matching) == 0 {
		ours = m.attribute(plainAttribute(c.attribute), c.attribute)
	} else {
		ours = matching[0].ours
		c.unclear = !c.literal && m.renaming() > 1 || slices.ContainsFunc(matching, func(n mapping) bool { return n.theirs != matching[0].theirs })
	}
	if c.unclear = c.unclear || slices.Contains(m.conflicts, ours); c.unclear {
		m.note("a condition of %s: it is not clear which attribute is called so; write it as a rule of a group", c.attribute)
		return "", false
	}
	c.group = c.place + "-" + plainWord(ours, "attribute")
	for n := 2; slices.ContainsFunc(m.groups, func(g importedGroup) bool { return g.name == c.group }); n++ {
		c.group = c.place + "-" + plainWord(ours, "attribute") + "-" + strconv.Itoa(n)
	}
	m.groups = append(m.groups, importedGroup{c.group, ours, c.values})
	return c.group, true
}

// plainAttribute makes a name for an attribute of what it is called in assertions.
func plainAttribute(theirs string) string {
	if i := strings.LastIndexAny(theirs, ":/"); i >= 0 && i < len(theirs)-1 {
		return "attribute-" + plainWord(theirs[i+1:], "x")
	}
	return theirs
}

// effective returns what holds for a path of a host. As in Apache, what locations say
// replaces what is said outside of them, and what the later of them say what the others
// do; but where one around another is the later one, it may not be meant so.
func (m *mellonReader) effective(h *mellonHost, at string) mellonPlace {
	outside, places := m.hosts[0], h.places
	if h != outside {
		places = slices.Concat(outside.places[:1], h.places[:1], outside.places[1:], h.places[1:])
	}
	e := mellonPlace{path: at}
	deepest := "/"
	for _, p := range places {
		if !p.holds(at) {
			continue
		}
		for _, header := range p.headers {
			e.headers = slices.DeleteFunc(e.headers, func(h mapping) bool { return strings.EqualFold(h.ours, header.ours) })
			e.headers = append(e.headers, header)
		}
		e.endpoint = cmp.Or(p.endpoint, e.endpoint)
		if !p.says {
			continue
		}
		if len(p.path) < len(deepest) && !p.foreign {
			e.unclear = true
			m.note("%s%s: what is said of %s comes later, and so is for it too", h.name, deepest, p.path)
		}
		deepest = p.path
		if p.inside && at == p.path && (len(p.conditions) > 0 && len(e.conditions) > 0 || p.rule != "" && e.rule == "unclear") {
			e.unclear = true
			m.note("%s%s/: %s without the / has the rule of what is around it, and here that of what is in it", h.name, at, at)
		}
		e.enable, e.rule = cmp.Or(p.enable, e.enable), cmp.Or(p.rule, e.rule)
		if len(p.conditions) > 0 {
			e.conditions = p.conditions
		}
		e.unclear = e.unclear || p.unclear
	}
	e.unclear = e.unclear || e.rule == "unclear"
	return e
}

// hostApps makes an app of each path of a host that asks for a sign-in. Another one below
// such an app is one too if who may use it is not clear, so that it is not used as that.
func (m *mellonReader) hostApps(h *mellonHost) {
	outside := m.hosts[0]
	if h == outside && slices.ContainsFunc(m.hosts[1:], func(other *mellonHost) bool { return other.name == h.name }) {
		return // the <VirtualHost> has it all
	}
	paths := []string{"/"}
	for _, p := range slices.Concat(outside.places, h.places) {
		if p.says && !slices.Contains(paths, p.path) {
			paths = append(paths, p.path)
		}
	}
	var signedIn []mellonPlace
	for _, at := range paths {
		if e := m.effective(h, at); e.enable == "auth" {
			signedIn = append(signedIn, e)
		}
	}
	for _, at := range paths {
		e := m.effective(h, at)
		below := slices.ContainsFunc(signedIn, func(p mellonPlace) bool { return p.holds(at) })
		if e.enable == "auth" || e.unclear && below {
			m.apps = append(m.apps, m.app(h, &e))
		}
	}
}

// allow returns the groups that may use a place, and whether that is all there is to it.
func (m *mellonReader) allow(h *mellonHost, p *mellonPlace) (groups []string, clear bool) {
	clear = !p.unclear && !h.unclear && !m.hosts[0].unclear
	for _, c := range p.conditions {
		group, ok := m.group(c)
		clear = clear && ok
		if ok {
			groups = append(groups, group)
		}
	}
	if len(p.conditions) > 1 {
		clear = false
		m.note("%s%s: Mellon wants all of several conditions, and allow wants one of its groups; write one group with a rule of all", h.name, p.path)
	}
	return groups, clear
}

// app returns the app that a place becomes.
func (m *mellonReader) app(h *mellonHost, p *mellonPlace) importedApp {
	groups, clear := m.allow(h, p)
	a := importedApp{name: plainWord(h.name+p.path, "app"), host: h.name, path: strings.TrimSuffix(p.path, "/"), groups: groups, unclear: !clear, headers: p.headers, preset: "mellon"}
	m.links(&a, p.endpoint)
	from, to := p.path, ""
	for {
		if to = cmp.Or(h.upstreams[from], m.hosts[0].upstreams[from]); to != "" || from == "/" || from == "." {
			break
		}
		from = path.Dir(from)
	}
	u, err := url.Parse(to)
	if to == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		m.note("%s%s: no ProxyPass to http:// was found; write where the app is as its upstream", h.name, p.path)
		return a
	}
	a.upstream = u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != strings.Trim(from, "/") {
		m.note("%s%s: ProxyPass led to %s, with another path; jitgate forwards paths as they come in", h.name, p.path, to)
	}
	return a
}
