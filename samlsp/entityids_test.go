package samlsp_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A pair is two IdPs of one gateway, whose metadata is in files.
type pair struct {
	t     *testing.T
	files [2]string
	idps  [2]*samltest.IdP
	o     [2]samlsp.Options
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t}
	for i, name := range []string{"acme", "globex"} {
		key, certificate := idpKeys[i]()
		idp, err := samltest.New(samltest.Options{URL: "https://idp." + name + ".example", Key: key, Certificate: certificate})
		if err != nil {
			t.Fatal(err)
		}
		p.idps[i], p.files[i] = idp, filepath.Join(t.TempDir(), "idp.xml")
		p.o[i] = samlsp.Options{Name: name, EntityID: entityID, ACS: acs, Replay: samlsp.NewReplay(nil, ""), Metadata: samlsp.MetadataSource{File: p.files[i]}}
		p.o[i].Key, p.o[i].Certificate = spKey()
		p.write(i, idp.EntityID())
	}
	return p
}

// write gives the metadata of one of them that entity ID.
func (p *pair) write(i int, id string) {
	p.t.Helper()
	m := p.idps[i].Metadata()
	m.EntityID = id
	text, err := m.XML()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.files[i], text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// start returns both SPs, of one gateway.
func (p *pair) start() (sps [2]*samlsp.SP) {
	p.t.Helper()
	shared := new(samlsp.EntityIDs)
	for i, o := range p.o {
		o.EntityIDs = shared
		sp, err := samlsp.New(o)
		if err != nil {
			p.t.Fatal(err)
		}
		sps[i] = sp
	}
	return sps
}

func (p *pair) load(sp *samlsp.SP, text string) {
	p.t.Helper()
	if _, err := sp.Refresh(p.t.Context()); (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
		p.t.Errorf("Refresh: %v; want an error with %q", err, text)
	}
}

const taken = `is that of the identity provider "acme" already`

// F13: no two IdPs have one entity ID.
func TestEntityIDsAreUnique(t *testing.T) {
	t.Parallel()
	t.Run("F13 entityID of another IdP at the start", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		p.write(1, p.idps[0].EntityID())
		sps := p.start()
		p.load(sps[0], "")
		p.load(sps[1], taken)
		if sps[1].Ready() == nil {
			t.Error("the second one is in use")
		}
		p.write(1, p.idps[1].EntityID())
		p.load(sps[1], "")
	})
	t.Run("F13 entityID of another IdP at a refresh", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		sps := p.start()
		p.load(sps[0], "")
		p.load(sps[1], "")
		p.load(sps[0], "") // its own is not another's
		p.write(1, p.idps[0].EntityID())
		p.load(sps[1], taken)
		if sps[1].Ready() != nil {
			t.Error("the metadata from before is not used any more")
		}
		// What one gives up is free.
		p.write(0, "https://new.example")
		p.load(sps[0], "")
		p.load(sps[1], "")
	})
	t.Run("F13 entityID of another IdP at a reload", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		before := p.start()
		p.load(before[0], "")
		p.load(before[1], "")
		// Two files that change places are no doubles.
		p.write(0, p.idps[1].EntityID())
		p.write(1, p.idps[0].EntityID())
		sps := p.start()
		for i := range sps {
			if !sps[i].Inherit(before[i]) {
				t.Error("nothing is inherited")
			}
		}
		p.load(sps[0], "")
		p.load(sps[1], "")
		p.write(1, p.idps[1].EntityID())
		p.load(sps[1], taken)
	})
	t.Run("F13 entityID of another IdP, inherited", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		r, s := newURLRig(t, nil)
		p.o[0].Metadata = samlsp.MetadataSource{URL: s.URL + "/md"}
		p.write(1, s.idp.EntityID())
		sps := p.start()
		p.load(sps[1], "")
		if sps[0].Inherit(r.sp) || sps[0].Ready() == nil {
			t.Error("metadata of an entity ID that another one has is inherited")
		}
		p.write(1, p.idps[1].EntityID())
		p.load(sps[1], "")
		if !sps[0].Inherit(r.sp) || sps[0].Ready() != nil {
			t.Error("metadata is not inherited")
		}
	})
	t.Run("F13 entityID that another IdP is configured with", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		p.o[0].Metadata.EntityID = p.idps[0].EntityID()
		p.write(1, p.idps[0].EntityID())
		sps := p.start()
		p.load(sps[1], taken) // though it comes first
		p.load(sps[0], "")
		p.write(1, p.idps[1].EntityID())
		p.load(sps[1], "")
	})
	t.Run("F13 entityID that is not the configured one", func(t *testing.T) {
		t.Parallel()
		r, s := newURLRig(t, nil)
		o := r.o
		o.Metadata.EntityID = "https://acme.example"
		sp, err := samlsp.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if sp.Inherit(r.sp) {
			t.Error("metadata of any entity ID is inherited")
		}
		if _, err := sp.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "where the configuration has") {
			t.Errorf("Refresh: %v; want an error of the entity ID", err)
		}
		s.serve(func(w http.ResponseWriter, _ *http.Request) {
			m := s.idp.Metadata()
			m.EntityID = o.Metadata.EntityID
			write(w, m)
		})
		if _, err := sp.Refresh(t.Context()); err != nil {
			t.Errorf("the honest one: %v", err)
		}
	})
}

// TestMetadataStatus looks at what monitoring is told, also by an SP that takes another's
// place.
func TestMetadataStatus(t *testing.T) {
	t.Parallel()
	r, s := newURLRig(t, nil)
	began := r.sp.Status()
	if len(began.Certificates) != 1 || began.Loaded.IsZero() || !began.ValidUntil.IsZero() || began.Failed != 0 {
		t.Errorf("Status = %+v, want one certificate, loaded and without an end", began)
	}
	s.serve(http.NotFound)
	if _, err := r.sp.Refresh(t.Context()); err == nil {
		t.Fatal("no error")
	}
	if got := r.sp.Status(); got.Failed != 1 || !got.Loaded.Equal(began.Loaded) {
		t.Errorf("Status = %+v, want one failure, and loaded when it was", got)
	}
	next, err := samlsp.New(r.o)
	if err != nil {
		t.Fatal(err)
	}
	if got := next.Status(); got.Failed != 0 || !got.Loaded.IsZero() || len(got.Certificates) != 0 {
		t.Errorf("Status of a new one = %+v, want nothing", got)
	}
	if !next.Inherit(r.sp) {
		t.Fatal("nothing is inherited")
	}
	o := r.o
	o.Metadata.AllowPrivate = true
	if other, err := samlsp.New(o); err != nil || other.Inherit(r.sp) {
		t.Errorf("New: %v, or metadata is inherited that may come from elsewhere", err)
	}
	end := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		m := s.idp.Metadata()
		m.ValidUntil = end
		write(w, m)
	})
	if _, err := next.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := next.Status(); got.Failed != 1 || !got.Loaded.After(began.Loaded) || got.ValidUntil.IsZero() {
		t.Errorf("Status = %+v, want one failure, loaded anew and an end", got)
	}
}
