package samlsp_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// Every way in which an honest IdP may write its response: what is signed, how
// namespaces are declared, how it is encrypted.
func TestFinishAccepts(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *samlsp.Options) {
		o.AllowEncryption = []string{"aes128-cbc", "aes192-cbc", "aes256-cbc", "unsigned-response"}
	})
	styles := map[string]samltest.Style{"prefixed": samltest.Prefixed, "default": samltest.DefaultNamespace}
	signed := map[string][2]bool{"assertion": {true, false}, "response": {false, true}, "both": {true, true}}
	methods := []string{"", samltest.AES128GCM, samltest.AES192GCM, samltest.AES256GCM, samltest.AES128CBC, samltest.AES192CBC, samltest.AES256CBC}
	for styleName, style := range styles {
		for signedName, sign := range signed {
			for _, method := range methods {
				t.Run(fmt.Sprintf("%s/%s/%s", styleName, signedName, method), func(t *testing.T) {
					m := r.good()
					m.Style = style
					m.SignAssertion, m.SignResponse = sign[0], sign[1]
					m.Encryption.Method = method
					if style == samltest.DefaultNamespace {
						m.Signature.Prefix = ""
					}
					id, err := r.finish(m)
					if err != nil {
						t.Fatal(err)
					}
					if got, want := value(id, "groups"), []string{"eng", "ops, all"}; !slices.Equal(got, want) {
						t.Errorf("groups = %q, want %q", got, want)
					}
				})
			}
		}
	}
}

var _ = time.Now
var _ = etree.NewDocument
