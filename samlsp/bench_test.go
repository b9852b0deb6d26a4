package samlsp_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A login with 12 attributes and 50 groups; the most expensive message that
// anybody can send; and the most expensive one that the IdP can, which is refused
// only at the end.
func BenchmarkFinish(b *testing.B) {
	for name, change := range map[string]func(*samltest.Message){
		"login": func(m *samltest.Message) {
			for _, name := range strings.Fields("a b c d e f g h i j k l") {
				m.SetAttribute(name, "some value of it")
			}
			m.SetAttribute("groups", slices.Repeat([]string{"cn=some group,dc=acme,dc=example"}, 50)...)
		},
		"forged": func(m *samltest.Message) {
			m.Signature.Key, _ = idpKeys[1]()
			m.SetAttribute("groups", slices.Repeat([]string{strings.Repeat("g", 300)}, 840)...)
		},
		"worst": func(m *samltest.Message) {
			m.SignResponse = true
			m.Audiences = [][]string{{"https://nobody.example"}}
			m.SetAttribute("groups", slices.Repeat([]string{strings.Repeat("g", 300)}, 840)...)
		},
	} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, nil)
			m := r.good()
			change(m)
			text, err := m.Base64()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.sp.Finish(context.Background(), text, requestID)
				r.rdb.FlushAll(context.Background())
			}
		})
	}
}
