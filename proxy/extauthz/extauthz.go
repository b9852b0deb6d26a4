// Package extauthz answers Envoy's questions over gRPC (envoy.service.auth.v3): it makes
// of each what Envoy would have asked over HTTP, so that one and the same code decides.
package extauthz

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
)

// maxQuestion is the longest question, in bytes: the head of a request, and some more.
const maxQuestion = 1 << 20

// errNoPath is a question about nothing.
var errNoPath = errors.New("not a path")

// Handler returns what serves gRPC over HTTP/2. It asks gateway below path as Envoy would
// over HTTP: 200 lets a request pass with the headers of the answer, anything else is for the visitor.
// Headers that are empty are removed from the request.
func Handler(gateway http.Handler, path string) http.Handler {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxQuestion))
	authv3.RegisterAuthorizationServer(s, &server{gateway: gateway, path: path})
	return s
}

type server struct {
	authv3.UnimplementedAuthorizationServer
	gateway http.Handler
	path    string
}

// Check is the one question that there is.
func (s *server) Check(ctx context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	asked := q.GetAttributes().GetRequest().GetHttp()
	r, err := s.request(ctx, asked)
	if err != nil {
		return denied(http.StatusBadRequest, nil, nil), nil
	}
	w := &answer{header: make(http.Header), status: http.StatusOK}
	s.gateway.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return denied(w.status, w.header, w.body.Bytes()), nil
	}
	return allowed(w.header), nil
}

// An answer is what the gateway says, as a [http.ResponseWriter].
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// request returns what Envoy would have asked over HTTP.
func (s *server) request(ctx context.Context, asked *authv3.AttributeContext_HttpRequest) (*http.Request, error) {
	path, query, _ := strings.Cut(asked.GetPath(), "?")
	u, err := url.ParseRequestURI(s.path + path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, errNoPath
	}
	u.RawQuery = query
	r := (&http.Request{
		Method: asked.GetMethod(), URL: u, Host: asked.GetHost(), Header: make(http.Header), Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: u.RequestURI(),
	}).WithContext(ctx)
	for name, value := range asked.GetHeaders() {
		if !strings.HasPrefix(name, ":") && name != "host" && name != "content-length" {
			r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		}
	}
	for _, h := range asked.GetHeaderMap().GetHeaders() { // with encode_raw_headers
		if !strings.HasPrefix(h.GetKey(), ":") && h.GetKey() != "host" && h.GetKey() != "content-length" {
			name := http.CanonicalHeaderKey(h.GetKey())
			r.Header[name] = append(r.Header[name], string(h.GetRawValue())+h.GetValue())
		}
	}
	if p, ok := peer.FromContext(ctx); ok {
		r.RemoteAddr = p.Addr.String()
	}
	return r, nil
}

// allowed lets a request pass.
func allowed(said http.Header) *authv3.CheckResponse {
	ok := new(authv3.OkHttpResponse)
	for name, values := range said {
		switch {
		case isOurs(name):
		case values[0] == "":
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
		default:
			ok.Headers = append(ok.Headers, option(name, values[0]))
		}
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}
}

// isOurs reports whether a header of an answer is about the answer itself.
func isOurs(name string) bool {
	switch name {
	case "Cache-Control", "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options":
		return true
	}
	return false
}

// denied gives the visitor an answer.
func denied(code int, said http.Header, body []byte) *authv3.CheckResponse {
	no := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)}, Body: string(body)}
	for name, values := range said {
		for _, value := range values {
			no.Headers = append(no.Headers, option(name, value))
		}
	}
	of := codes.PermissionDenied
	if code == http.StatusUnauthorized || code/100 == 3 {
		of = codes.Unauthenticated
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(of)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: no}}
}

// option is a header of an answer. One that is not in UTF-8, like an app's cookie, would
// leave no answer at all, and Envoy knows no other way to be told.
func option(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: strings.ToLower(name), Value: strings.ToValidUTF8(value, "\uFFFD")},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
