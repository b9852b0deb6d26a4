package testenv

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What is wrong with a page is found, and with one that is right nothing is.
func TestTabProblems(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		text := `<!doctype html><html lang="en"><title>page</title><main><h1>Page</h1>`
		if r.URL.Path == "/bad" {
			text += `<p style="color: #999; background: #fff; width: 2000px">pale</p><input>`
		}
		w.Write([]byte(text + "</main>"))
	}))
	t.Cleanup(server.Close)
	tab := NewTab(t)
	tab.Look(320, false)
	tab.Open(server.URL + "/good")
	if got := tab.problems(); len(got) != 0 {
		t.Errorf("a good page: %q", got)
	}
	tab.Open(server.URL + "/bad")
	got := strings.Join(tab.problems(), "\n")
	for _, want := range []string{"color-contrast: ", "label: ", "width: "} {
		if !strings.Contains(got, want) {
			t.Errorf("a bad page: %q lacks %s", got, want)
		}
	}
}
