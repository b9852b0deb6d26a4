package proxy

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/provision/audit"
	"github.com/jitgate/jitgate/proxy/console"
	"github.com/jitgate/jitgate/proxy/session"
)

// maxPasted is the longest form that the console takes: a response with some room.
const maxPasted = 2 << 20

// A visit is a request for a page of the console, by somebody who may.
type visit struct {
	*http.Request
	query url.Values
	name  string // of who it is
	token string // that forms have to send
}

// serveConsole answers a request below /.jitgate/admin, for members of admin.groups on
// our own host alone. For others it looks as if there were nothing, as long as nobody
// may, and is forbidden where somebody else may.
func (g *Gateway) serveConsole(w http.ResponseWriter, r *http.Request, ev *event, to route, path string) error {
	if to.host != g.base.Hostname() || len(g.cfg.Admin.Groups) == 0 {
		return notFound()
	}
	v, ok, err := g.visitor(r, to.host)
	if err != nil {
		return err
	}
	if !ok {
		return g.sendToLogin(w, r, ev, to)
	}
	ev.user = v.logName
	if !slices.ContainsFunc(g.cfg.Admin.Groups, func(name string) bool { return slices.Contains(v.user.Groups, name) }) {
		return &problem{status: http.StatusForbidden, code: codeForbidden, user: v.user.UserName}
	}
	r = withOrigin(r, audit.Event{RequestID: ev.id, Client: ev.client, By: v.user.Domain + "/" + v.logName})
	cookie, _ := g.jar.session(r.Header)
	in := visit{r, r.URL.Query(), v.user.UserName, session.Hash(append([]byte("console"), cookie...))}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if err := g.checkForm(w, in); err != nil {
			return err
		}
		if path == "/do" {
			return g.doAsked(w, in)
		}
		if path != "/explain" {
			return badMethod(w, r, "GET")
		}
	default:
		return badMethod(w, r, "GET, POST")
	}
	show, ok := map[string]func(visit) (console.Page, error){
		"": g.showOverview, "/idps": g.showIdPs, "/users": g.showUsers, "/user": g.showUser, "/groups": g.showGroups, "/group": g.showGroup,
		"/sessions": g.showSessions, "/audit": g.showTrail, "/explain": g.showExplanation, "/configuration": g.showConfiguration, "/ask": g.askFirst,
	}[path]
	if !ok {
		return notFound()
	}
	page, err := show(in)
	if err != nil {
		return consoleError(err)
	}
	if r.Header.Get("Sec-Fetch-Site") != "cross-site" { // a link says what its writer likes
		page.Notice = notices[in.query.Get("done")]
	}
	if page.At == "" {
		page.At = path
	}
	g.writePage(w, in, page, http.StatusOK)
	return nil
}

// writePage answers with a page, and what all of them have.
func (g *Gateway) writePage(w http.ResponseWriter, in visit, page console.Page, status int) {
	page.Site, page.User, page.Token = cmp.Or(g.cfg.Branding.Name, g.base.Hostname()), in.name, in.token
	page.Write(w, status)
}

// checkForm reports what is wrong with a form that was posted: it has to come from one
// of our own pages, and from this session.
func (g *Gateway) checkForm(w http.ResponseWriter, in visit) error {
	if g.crossOrigin.Check(in.Request) != nil {
		return badRequest(http.StatusForbidden, "posted from another site")
	}
	in.Body = http.MaxBytesReader(w, in.Body, maxPasted)
	if err := in.ParseForm(); err != nil {
		return badRequest(http.StatusBadRequest, "reading the form: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(in.PostForm.Get("token")), []byte(in.token)) != 1 {
		return badRequest(http.StatusForbidden, "form of another session")
	}
	return nil
}

// consoleError is a question that has no answer as a visitor is told.
func consoleError(err error) error {
	if bad, ok := errors.AsType[*askError](err); ok {
		if bad.status == http.StatusNotFound {
			return &problem{status: bad.status, code: codeNotFound, cause: err}
		}
		return badRequest(bad.status, "%w", err)
	}
	if errors.Is(err, provision.ErrCursor) {
		return badRequest(http.StatusBadRequest, "%w", err)
	}
	return err
}

// notices are what is said of what was done, by what the URL has.
var notices = map[string]string{
	"block":    "The user is blocked, and signed out everywhere.",
	"unblock":  "The user may sign in again.",
	"sign-out": "The user is signed out everywhere.",
	"revoke":   "The sign-in is ended, on all hosts.",
	"reload":   "The configuration was read again, and is in use.",
}

// A deed is something that can be done over the console, after asking.
type deed struct {
	title, text, label string
	danger             bool
	do                 func(*Gateway, *http.Request) (any, error) // as over the admin socket
	back               string                                     // page to go to afterwards
}

// deeds are all that can be done, by the name in the URL.
var deeds = map[string]deed{
	"block":    {"Block this user?", "They are signed out everywhere at once, and kept out whatever their identity provider says, until they are unblocked.", "Block", true, (*Gateway).blockUser, "/user"},
	"unblock":  {"Unblock this user?", "They may sign in again.", "Unblock", false, (*Gateway).unblockUser, "/user"},
	"sign-out": {"Sign this user out?", "All their sign-ins end, on every host and replica. They may sign in again.", "Sign out", true, (*Gateway).endUser, "/user"},
	"revoke":   {"End this sign-in?", "The session and all others of the same sign-in end, on every host and replica.", "End it", true, (*Gateway).endSession, "/sessions"},
	"reload":   {"Reload the configuration?", "The gateway reads its file again, and other replicas theirs. Where anything in it is wrong, nothing changes.", "Reload", false, (*Gateway).reloadAll, "/configuration"},
}

// askFirst is the page that asks before something is done.
func (g *Gateway) askFirst(in visit) (console.Page, error) {
	name := in.query.Get("do")
	d, ok := deeds[name]
	if !ok {
		return console.Page{}, notThere("action", name)
	}
	fields := map[string]string{"do": name}
	var facts []console.Fact
	for _, field := range []string{"directory", "user", "id"} {
		if value := in.query.Get(field); value != "" {
			fields[field] = value
			facts = append(facts, console.Fact{Name: field, Value: text(value)})
		}
	}
	u, isAbout, err := g.isAbout(in)
	if err != nil {
		return console.Page{}, err
	}
	if isAbout {
		facts = append([]console.Fact{{Name: "name", Value: text(u.UserName)}}, facts...)
	}
	return console.Page{At: d.back, Title: d.title, Body: []console.Section{{Text: d.text, Facts: facts, Actions: []console.Action{
		{Label: d.label, URL: at("/do"), Danger: d.danger, Fields: fields},
		{Label: "Leave it", URL: d.after(in.query, "")},
	}}}}, nil
}

// isAbout returns whom a page asks about, if it is about a user: of a session, whose that
// is, whatever else the URL says.
func (g *Gateway) isAbout(in visit) (u provision.User, ok bool, err error) {
	directory, user, id := in.query.Get("directory"), in.query.Get("user"), in.query.Get("id")
	switch {
	case id != "":
		s, ok, err := g.sessions.Lookup(in.Context(), id)
		if err == nil && !ok {
			err = notThere("session", id)
		}
		if err != nil {
			return u, false, err
		}
		u, err = g.userOf(in.Context(), s.Owner())
		return u, true, err
	case user != "":
		u, ok, err := g.users.User(in.Context(), directory, user)
		if err == nil && !ok {
			err = notThere("user", user)
		}
		return u, ok, err
	}
	return u, false, nil
}

// after returns the URL of the page that a deed leads to, which says what is done.
func (d deed) after(asked url.Values, done string) string {
	if d.back == "/user" {
		return at(d.back, "directory", asked.Get("directory"), "id", asked.Get("user"), "done", done)
	}
	return at(d.back, "done", done)
}

// doAsked does what a form asks for, as the admin socket does, and records who asked.
func (g *Gateway) doAsked(w http.ResponseWriter, in visit) error {
	form := in.PostForm
	name := form.Get("do")
	d, ok := deeds[name]
	if !ok {
		return consoleError(notThere("action", name))
	}
	r := in.Clone(in.Context())
	r.URL.RawQuery = url.Values{"directory": {form.Get("directory")}, "user": {form.Get("user")}}.Encode()
	r.SetPathValue("id", form.Get("user"))
	if d.back == "/sessions" {
		r.SetPathValue("id", form.Get("id"))
	}
	if _, err := d.do(g, r); err != nil {
		bad, ok := errors.AsType[*askError](err)
		if !ok {
			return err
		}
		page := console.Page{At: d.back, Title: "Nothing was done", Body: []console.Section{{Pre: bad.text, Actions: []console.Action{
			{Label: "Back", URL: d.after(form, "")},
		}}}}
		g.writePage(w, in, page, bad.status)
		return nil
	}
	redirect(w, http.StatusSeeOther, g.base.String()+d.after(form, name))
	return nil
}

// reloadAll has this process and all replicas read their configuration again.
func (g *Gateway) reloadAll(r *http.Request) (any, error) {
	if g.memory.reload == nil {
		return nil, notNow("this gateway has no configuration file")
	}
	e := byAdmin(r)
	e.Type = audit.Reloaded
	err := g.memory.reload(r.Context())
	if err != nil {
		e.Reason, _, _ = strings.Cut(err.Error(), "\n")
		err = notNow("nothing has changed: %s", err)
	} else if _, err = g.TellReload(r.Context()); err != nil {
		e.Reason = "in use here, and others were not told: " + err.Error()
	}
	recorded, recordErr := g.users.Record(r.Context(), e)
	if recordErr == nil {
		g.audit(recorded)
	}
	return nil, errors.Join(err, recordErr)
}
