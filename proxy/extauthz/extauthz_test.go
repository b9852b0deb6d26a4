package extauthz

import (
	"io"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// check asks about a request, of which gateway gets what Envoy would ask over HTTP.
func check(t *testing.T, asked *authv3.AttributeContext_HttpRequest, gateway http.HandlerFunc) *authv3.CheckResponse {
	t.Helper()
	s := &server{gateway: gateway, path: "/ask"}
	answer, err := s.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: asked}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proto.Marshal(answer); err != nil {
		t.Errorf("the answer cannot be sent: %v", err)
	}
	return answer
}

// Headers come in either form, and a path has to be one.
func TestCheckQuestion(t *testing.T) {
	raw := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: ":path", RawValue: []byte("/other")}, {Key: "host", RawValue: []byte("other.example")}, {Key: "content-length", RawValue: []byte("7")},
		{Key: "cookie", RawValue: []byte("a=\xe9")}, {Key: "cookie", RawValue: []byte("b=c")},
	}}
	inMap := map[string]string{":path": "/other", "host": "other.example", "content-length": "7", "cookie": "a=\xe9|b=c"}
	for _, test := range []struct {
		why, path string
		raw       bool
		reaches   string
	}{
		{"a map", "/x%2Fy?z=%3F?", false, "/ask/x%2Fy?z=%3F?"},
		{"a list, of encode_raw_headers", "/x", true, "/ask/x"},
		{"no path", "*", false, ""},
		{"nothing", "", false, ""},
		{"an address", "http://other.example/", false, ""},
		{"another host", "@other.example/", false, ""},
	} {
		asked := &authv3.AttributeContext_HttpRequest{Method: "POST", Host: "wiki.example.com", Path: test.path, Headers: inMap}
		if test.raw {
			asked.Headers, asked.HeaderMap = nil, raw
		}
		reached := ""
		answer := check(t, asked, func(_ http.ResponseWriter, r *http.Request) {
			reached = r.URL.RequestURI()
			if cookie := strings.Join(r.Header["Cookie"], "|"); r.Method != "POST" || r.Host != "wiki.example.com" || len(r.Header) != 1 || cookie != "a=\xe9|b=c" {
				t.Errorf("%s: %s %s %q", test.why, r.Method, r.Host, r.Header)
			}
		})
		if reached != test.reaches {
			t.Errorf("%s: asks for %q, want %q", test.why, reached, test.reaches)
		}
		if isYes := answer.GetStatus().GetCode() == 0 && answer.GetOkResponse() != nil; isYes != (test.reaches != "") {
			t.Errorf("%s: %v", test.why, answer)
		}
	}
}

// What is empty is removed, and what is about the answer alone stays here.
func TestCheckAllowed(t *testing.T) {
	answer := check(t, &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/"}, func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{"X-Forwarded-User": "ann", "X-Forwarded-Groups": "", "Cookie": "a=\xe9", "Cache-Control": "no-store"} {
			w.Header().Set(name, value)
		}
	})
	got := map[string]string{}
	for _, h := range answer.GetOkResponse().GetHeaders() {
		got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is put beside what the visitor sent", h.GetHeader().GetKey())
		}
	}
	if len(got) != 2 || got["x-forwarded-user"] != "ann" || got["cookie"] != "a=\uFFFD" {
		t.Errorf("headers %q, want x-forwarded-user and cookie", got)
	}
	if removed := strings.Join(answer.GetOkResponse().GetHeadersToRemove(), " "); removed != "x-forwarded-groups" {
		t.Errorf("removes %q, want x-forwarded-groups", removed)
	}
}

// Anything but 200 is for the visitor, as it is.
func TestCheckDenied(t *testing.T) {
	for _, status := range []int{201, 202, 302, 401, 403, 503} {
		answer := check(t, &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/"}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Set-Cookie"] = []string{"a=b", "c=d"}
			w.WriteHeader(status)
			io.WriteString(w, "why")
		})
		no := answer.GetDeniedResponse()
		if answer.GetStatus().GetCode() == 0 || int(no.GetStatus().GetCode()) != status || no.GetBody() != "why" || len(no.GetHeaders()) != 2 {
			t.Errorf("%d: %v", status, answer)
		}
	}
}
