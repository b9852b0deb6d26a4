package main

import (
	_ "embed"
	"html/template"
	"net/http"
	"sort"
	"strings"
)

//go:embed demoapp.html
var legacyPageText string

var legacyPage = template.Must(template.New("demoapp.html").Parse(legacyPageText))

// legacyApp is the app behind the demo's gateway: it knows nothing of SAML and
// shows as a page which headers reached it.
func legacyApp() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		type header struct {
			Name, Value string
			Identity    bool
		}
		var headers []header
		for name, values := range r.Header {
			headers = append(headers, header{name, strings.Join(values, " | "), isIdentityHeader(name)})
		}
		sort.Slice(headers, func(i, j int) bool {
			if headers[i].Identity != headers[j].Identity {
				return headers[i].Identity
			}
			return headers[i].Name < headers[j].Name
		})
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// The page is lost when the browser is gone; there is nobody to tell.
		_ = legacyPage.Execute(w, map[string]any{
			"Method":  r.Method,
			"URL":     r.URL.RequestURI(),
			"User":    r.Header.Get("X-Forwarded-User"),
			"Headers": headers,
		})
	})
}

func isIdentityHeader(name string) bool {
	switch name {
	case "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups":
		return true
	}
	return strings.HasPrefix(name, "X-Jitgate-")
}
