package samlsp_test

import (
	"crypto/x509"
	"testing"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// use has the SP load metadata with these certificates.
func (r *rig) use(certificates ...*x509.Certificate) {
	r.t.Helper()
	m := r.idp.Metadata()
	m.Certificates = certificates
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// The certificates of the metadata, and nothing else, say what is signed. While
// the IdP changes its key there are two.
func TestRolloverOfKeys(t *testing.T) {
	t.Parallel()
	oldKey, oldCertificate := idpKeys[0]()
	newKey, newCertificate := idpKeys[1]()
	byOld := samltest.Signature{Key: oldKey, Certificate: oldCertificate}
	byNew := samltest.Signature{Key: newKey, Certificate: newCertificate}
	bare := func(s samltest.Signature) samltest.Signature { s.KeyInfo = samltest.KeyInfoNone; return s }
	both, other := []*x509.Certificate{oldCertificate, newCertificate}, []*x509.Certificate{newCertificate, oldCertificate}
	for _, row := range []struct {
		name     string
		metadata []*x509.Certificate
		sign     samltest.Signature
		check    string // "": accepted
		honest   samltest.Signature
	}{
		{"C45 two certificates, the old key, with KeyInfo", both, byOld, accept, byNew},
		{"C45 two certificates, the new key, with KeyInfo", both, byNew, accept, byOld},
		{"C45 two certificates, the old key, without KeyInfo", other, bare(byOld), accept, byNew},
		{"C45 two certificates, the new key, without KeyInfo", both, bare(byNew), accept, byOld},
		{"C45 two certificates, KeyInfo with that of the other key", both, samltest.Signature{Key: newKey, Certificate: oldCertificate}, accept, byOld},
		{"C45 one certificate, the other key", both[:1], byNew, "signature", byOld},
		{"C47 the old key, whose certificate is gone", both[1:], byOld, "signature", byNew},
		{"C47 the old key without KeyInfo, whose certificate is gone", both[1:], bare(byOld), "signature", bare(byNew)},
		{"C47 the old key under the name of the new one", both[1:], samltest.Signature{Key: oldKey, Certificate: newCertificate}, "signature", byNew},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.use(both...) // whatever was there before
			r.use(row.metadata...)
			m := r.good()
			m.Signature = row.sign
			id, err := r.finish(m)
			if row.check != accept {
				wantRefusal(t, id, err, row.check)
			} else if err != nil {
				t.Error(err)
			}
			m = r.good()
			m.Signature = row.honest
			if _, err := r.finish(m); err != nil {
				t.Errorf("the honest one: %v", err)
			}
		})
	}
}

// What an expired certificate signs is refused, and by a name of its own, since
// it is the operator who has to act.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	t.Run("C46 expired certificate", func(t *testing.T) {
		t.Parallel()
		r, expired := newExpiredRig(t)
		id, err := r.finish(r.good())
		wantRefusal(t, id, err, "certificate_expired")
		change, err := r.sp.Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(change.Expired) != 1 || change.Changed {
			t.Errorf("Refresh = %+v, want one expired certificate and no change", change)
		}
		key, certificate := idpKeys[0]()
		r.use(expired, certificate)
		m := r.good()
		m.Signature = samltest.Signature{Key: key, Certificate: certificate}
		if _, err := r.finish(m); err != nil {
			t.Errorf("the honest one: %v", err)
		}
	})
	t.Run("C46 expired certificate beside one in its time", func(t *testing.T) {
		t.Parallel()
		r, expired := newExpiredRig(t)
		key, certificate := idpKeys[0]()
		r.use(expired, certificate)
		id, err := r.finish(r.good()) // by the expired one
		wantRefusal(t, id, err, "signature")
		m := r.good()
		m.Signature = samltest.Signature{Key: key, Certificate: certificate, KeyInfo: samltest.KeyInfoNone}
		if _, err := r.finish(m); err != nil {
			t.Errorf("the honest one: %v", err)
		}
	})
}
