package samlsp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A panic of a library is one more refusal, and takes no turn away from others.
func TestPanicsAreRefusals(t *testing.T) {
	t.Parallel()
	idp, err := samltest.New(samltest.Options{URL: "https://idp.example"})
	if err != nil {
		t.Fatal(err)
	}
	sp := fuzzSP(t, idp)
	text, err := idp.Good(samltest.SPInfo{EntityID: "sp", ACS: sp.o.ACS}, "id-1", samltest.User{Name: "ann"}).XML()
	if err != nil {
		t.Fatal(err)
	}
	posted := base64.StdEncoding.EncodeToString(text)
	r := &response{sp: sp, idp: sp.idp.Load(), requestID: "id-1", now: time.Now()}
	if _, err := r.verify(posted); err != nil {
		t.Fatalf("the honest twin: %v", err)
	}
	r = &response{sp: sp, requestID: "id-1", now: time.Now()} // whose IdP is a nil pointer
	id, err := r.verify(posted)
	if refusal := (*Refusal)(nil); id != nil || !errors.As(err, &refusal) || refusal.Check != checkPanic {
		t.Errorf("a panic in judging: %v, %v; want the refusal %s", id, err, checkPanic)
	}
	for range 3 * cap(sp.o.Slots.all.in) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := (&response{sp: sp}).work(ctx, 1, func() error { panic("x") })
		cancel()
		if refusal := (*Refusal)(nil); !errors.As(err, &refusal) || refusal.Check != checkPanic {
			t.Fatalf("a panic at work: %v; want the refusal %s", err, checkPanic)
		}
	}
}

// A message that is not UTF-8 is said to be that, and is not read further.
func TestNotUTF8(t *testing.T) {
	t.Parallel()
	_, err := preflight([]byte("<\xff"))
	if r := (*Refusal)(nil); !errors.As(err, &r) || r.Check != checkXML || r.Want != "UTF-8" {
		t.Errorf("preflight: %v; want UTF-8", err)
	}
}

// BenchmarkPreflight reads a response with 12 attributes and 50 groups.
func BenchmarkPreflight(b *testing.B) {
	idp, err := samltest.New(samltest.Options{URL: "https://idp.example"})
	if err != nil {
		b.Fatal(err)
	}
	m := idp.Good(samltest.SPInfo{EntityID: "sp", ACS: "https://sp.example/acs"}, "id-1", samltest.User{Name: "ann"})
	for i := range 11 {
		m.SetAttribute(fmt.Sprintf("attribute-%d", i), "some value of it")
	}
	m.SetAttribute("groups", slices.Repeat([]string{"cn=some group,dc=acme,dc=example"}, 50)...)
	text, err := m.XML()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := preflight(text); err != nil {
			b.Fatal(err)
		}
	}
}
