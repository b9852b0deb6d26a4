package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/samlsp"
)

// A Question is what [Gateway.Explain] is asked about a captured response.
type Question struct {
	IdP       string    `json:"idp"`                  // whose ACS it is meant for
	Response  string    `json:"response"`             // base64, as posted
	At        time.Time `json:"at,omitzero"`          // judged as of then; zero: now
	RequestID string    `json:"request_id,omitempty"` // that it has to answer; empty: the one that it names
	Online    bool      `json:"-"`                    // the store may be asked
}

// An Explanation says what would become of a response, from the first check to
// the headers that each app would get. It accepts nothing and changes nothing.
type Explanation struct {
	IdP      string `json:"idp"`
	Accepted bool   `json:"accepted"`
	Code     string `json:"code,omitempty"` // the error code on the visitor's page, where it is refused

	Response samlsp.Explanation     `json:"response"`
	Login    *provision.Explanation `json:"login,omitempty"` // nil where the assertion cannot be read
	Apps     []AppAccess            `json:"apps,omitempty"`  // by name; none where the login is refused
}

// An AppAccess says whether a user may use an app, and what the app gets to know.
type AppAccess struct {
	App     string   `json:"app"`
	URL     string   `json:"url"`
	Allowed bool     `json:"allowed"`
	Why     string   `json:"why"`               // what lets the user in, or what would
	Headers []string `json:"headers,omitempty"` // "Name: value", of identity alone
}

// Explain says what would become of a response, as the ACS would take it. The
// error is about what could not be looked at: an identity provider that is not
// there or has no metadata, or the store.
func (g *Gateway) Explain(ctx context.Context, q Question) (Explanation, error) {
	x := Explanation{IdP: q.IdP}
	idp, ok := g.idps[q.IdP]
	if !ok {
		return x, notThere("identity provider", q.IdP)
	}
	var err error
	if x.Response, err = idp.Explain(q.Response, samlsp.ExplainOptions{At: q.At, RequestID: q.RequestID}); err != nil {
		return x, err
	}
	identity := x.Response.Identity
	if q.Online {
		if err := idp.LookUp(ctx, &x.Response); err != nil {
			return x, err
		}
	}
	if r := x.Response.Refusal; r != nil {
		x.Code = r.Code
	}
	if identity == nil {
		return x, nil
	}
	in := provision.SignIn{IdP: q.IdP, Attributes: sentAttributes(identity)}
	if x.Login, err = g.users.Explain(ctx, in, q.Online); err != nil {
		return x, err
	}
	if refusals := x.Login.Refusals; len(refusals) > 0 && x.Code == "" {
		x.Code = refusals[0].Code
	}
	if u := x.Login.After; u != nil {
		x.Accepted = x.Response.Trusted
		x.Apps = g.accessOf(*u, q.IdP)
	}
	return x, nil
}

// accessOf says of each app whether a user may use it who signs in at an identity
// provider.
func (g *Gateway) accessOf(u provision.User, idp string) []AppAccess {
	var all []AppAccess
	for host, apps := range g.apps {
		for _, a := range apps {
			access := AppAccess{App: a.name, URL: g.origin(host) + a.prefix + "/", Allowed: a.allows(u, idp), Why: a.why(u, idp)}
			if access.Allowed {
				h := make(http.Header)
				set(h, a.identity(person{User: u, issuer: g.idps[idp].EntityID()}))
				for name, values := range h {
					access.Headers = append(access.Headers, name+": "+values[0])
				}
				slices.Sort(access.Headers)
			}
			all = append(all, access)
		}
	}
	slices.SortFunc(all, func(a, b AppAccess) int { return strings.Compare(a.App, b.App) })
	return all
}

// why says what lets the user use the app or, if nothing does, what would.
func (a *app) why(u provision.User, idp string) string {
	if !a.takes(idp) {
		return "wants a sign-in at: " + strings.Join(a.idps, ", ")
	}
	has := func(wanted, had []string) string {
		if i := slices.IndexFunc(wanted, func(name string) bool { return slices.Contains(had, name) }); i >= 0 {
			return wanted[i]
		}
		return ""
	}
	group, entitlement := has(a.allow.Groups, u.Groups), has(a.allow.Entitlements, u.Entitlements)
	switch {
	case a.allow.AnyUser:
		return "any user"
	case group != "":
		return "group " + group
	case entitlement != "":
		return "entitlement " + entitlement
	case len(a.allow.Entitlements) > 0:
		return "wants an entitlement: " + strings.Join(a.allow.Entitlements, ", ")
	}
	return "wants a group: " + strings.Join(a.allow.Groups, ", ")
}

// explainResponse answers a [Question] over the admin socket.
func (g *Gateway) explainResponse(r *http.Request) (any, error) {
	q := Question{}
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 2*maxResponse)).Decode(&q); err != nil {
		return nil, &askError{http.StatusBadRequest, fmt.Sprintf("reading the question: %v", err)}
	}
	q.Online = true
	return g.Explain(r.Context(), q)
}
