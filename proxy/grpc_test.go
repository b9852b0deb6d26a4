package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	rpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A rpcApp is an app that speaks gRPC.
type rpcApp struct {
	rpc.UnimplementedTestServiceServer
	ended chan error // what a stream of FullDuplexCall has ended with
}

// EmptyCall tells who asks, in a header and in a trailer.
func (*rpcApp) EmptyCall(ctx context.Context, _ *rpc.Empty) (*rpc.Empty, error) {
	sent, _ := metadata.FromIncomingContext(ctx)
	who := strings.Join(sent.Get("x-forwarded-user"), ",")
	grpc.SetHeader(ctx, metadata.Pairs("who", who))
	grpc.SetTrailer(ctx, metadata.Pairs("who-bin", who+"\x00\xff"))
	return new(rpc.Empty), nil
}

// UnaryCall answers with what it is told to, or refuses as it is told to.
func (*rpcApp) UnaryCall(_ context.Context, in *rpc.SimpleRequest) (*rpc.SimpleResponse, error) {
	if s := in.ResponseStatus; s != nil {
		return nil, status.Error(codes.Code(s.Code), s.Message)
	}
	return &rpc.SimpleResponse{Payload: in.Payload}, nil
}

// StreamingInputCall counts what is sent.
func (*rpcApp) StreamingInputCall(s rpc.TestService_StreamingInputCallServer) error {
	size := 0
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return s.SendAndClose(&rpc.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		size += len(in.Payload.Body)
	}
}

// FullDuplexCall answers each message before the next one comes.
func (a *rpcApp) FullDuplexCall(s rpc.TestService_FullDuplexCallServer) (err error) {
	defer func() { a.ended <- err }()
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&rpc.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// A cookie is sent with each call.
type cookie string

func (c cookie) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"cookie": string(c), "x-forwarded-user": "forged"}, nil
}

func (cookie) RequireTransportSecurity() bool { return true }

// rpcSite returns a site with an app that speaks gRPC, and a function that returns a client
// of it which sends a cookie.
func rpcSite(t *testing.T) (*site, *rpcApp, func(string) rpc.TestServiceClient) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app, server := &rpcApp{ended: make(chan error, 1)}, grpc.NewServer()
	rpc.RegisterTestServiceServer(server, app)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{apps: fmt.Sprintf(
		"  - {name: rpc, host: wiki.example.com, path: /grpc.testing.TestService, body: unlimited, allow: {any_user: true}, upstream: \"h2c://%s\"}\n", l.Addr())})
	address := s.http2()
	return s, app, func(c string) rpc.TestServiceClient {
		t.Helper()
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithAuthority("wiki.example.com"), grpc.WithPerRPCCredentials(cookie(c)),
			grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(gatewayRoots(), "wiki.example.com")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return rpc.NewTestServiceClient(conn)
	}
}

// TestGRPC has a real client of gRPC call a real server through the gateway, in all the
// ways that there are.
func TestGRPC(t *testing.T) {
	t.Parallel()
	s, app, client := rpcSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ann := client(s.cookie(s.signedIn("ann", s.url("wiki", "/.jitgate/session"))))

	var header, trailer metadata.MD
	if _, err := ann.EmptyCall(ctx, new(rpc.Empty), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(header.Get("who")) != "[ann]" || fmt.Sprint(trailer.Get("who-bin")) != "[ann\x00\xff]" {
		t.Errorf("the app saw %q and %q, want ann", header, trailer)
	}
	large := &rpc.Payload{Body: make([]byte, 1<<20)}
	if out, err := ann.UnaryCall(ctx, &rpc.SimpleRequest{Payload: large}); err != nil || len(out.GetPayload().GetBody()) != len(large.Body) {
		t.Errorf("a large message: %d bytes, %v", len(out.GetPayload().GetBody()), err)
	}
	const said = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
	_, err := ann.UnaryCall(ctx, &rpc.SimpleRequest{ResponseStatus: &rpc.EchoStatus{Code: int32(codes.FailedPrecondition), Message: said}})
	if got := status.Convert(err); got.Code() != codes.FailedPrecondition || got.Message() != said {
		t.Errorf("a refusal of the app is %v", err)
	}
	if _, err := ann.UnimplementedCall(ctx, new(rpc.Empty)); status.Code(err) != codes.Unimplemented {
		t.Errorf("what the app does not know is %v", err)
	}
	up, err := ann.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := up.Send(&rpc.StreamingInputCallRequest{Payload: large}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := up.CloseAndRecv(); err != nil || sum.AggregatedPayloadSize != 5<<20 {
		t.Errorf("a stream to the app: %v, %v", sum, err)
	}
	both := duplex(t, ctx, ann)
	if err := both.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); err != io.EOF {
		t.Errorf("a stream both ways ends with %v", err)
	}
	if err := <-app.ended; err != nil {
		t.Errorf("at the app it ends with %v", err)
	}
	// Who is not signed in, or may not, is told so in the words of gRPC.
	if _, err := client("").EmptyCall(ctx, new(rpc.Empty)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a session: %v", err)
	}
}

// duplex begins a stream both ways, in which each message is answered before the next.
func duplex(t *testing.T, ctx context.Context, client rpc.TestServiceClient) rpc.TestService_FullDuplexCallClient {
	t.Helper()
	both, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "two", "three"} {
		if err := both.Send(&rpc.StreamingOutputCallRequest{Payload: &rpc.Payload{Body: []byte(word)}}); err != nil {
			t.Fatal(err)
		}
		if out, err := both.Recv(); err != nil || string(out.Payload.Body) != word {
			t.Fatalf("heard %v: %v", out, err)
		}
	}
	return both
}

// Who leaves a stream of gRPC is known at the app to have left, and whose session ends has
// no stream any more.
func TestGRPCEnds(t *testing.T) {
	t.Parallel()
	s, app, client := rpcSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b := s.signedIn("ann", s.url("wiki", "/.jitgate/session"))
	ann := client(s.cookie(b))

	leaving, leave := context.WithCancel(ctx)
	duplex(t, leaving, ann)
	leave()
	if err := <-app.ended; status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
		t.Errorf("one left, and at the app the stream ends with %v", err)
	}

	both := duplex(t, ctx, ann)
	signOut(t, s, b, s.url("wiki", ""))
	if _, err := both.Recv(); err == nil || ctx.Err() != nil {
		t.Errorf("signed out, the stream ends with %v", err)
	}
	<-app.ended
	if _, err := ann.EmptyCall(ctx, new(rpc.Empty)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("signed out: %v", err)
	}
}
