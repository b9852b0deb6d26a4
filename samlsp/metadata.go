package samlsp

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// A Change says what a [SP.Refresh] found.
type Change struct {
	// Changed is false when everything is as before; the rest is filled in all
	// the same.
	Changed  bool
	EntityID string
	// Certificates are the SHA-256 fingerprints, in hex, of the signing
	// certificates in use; Added and Removed are the difference from before.
	Certificates, Added, Removed []string
	// Expired are those of Certificates that are out of their time: nothing
	// that they sign is accepted.
	Expired []string
	// Ignored are the fingerprints of certificates whose keys are too weak.
	Ignored []string
	// Expires is when the last of the certificates ends; after it nobody can
	// sign in.
	Expires time.Time
	// ValidUntil is the metadata's own end. Zero: it has none.
	ValidUntil time.Time
}

// Refresh reads the IdP's metadata, from its file or its URL, and uses it from
// then on. If it returns an error, the metadata in use stays in use, until its
// validUntil. The IdP of a URL cannot become another one: its entity ID stays
// what it was first, until the process starts anew. A file can name another IdP,
// since somebody has put it there. No IdP can take the entity ID of another one
// among Options.EntityIDs.
func (sp *SP) Refresh(ctx context.Context) (Change, error) {
	sp.refreshing.Lock()
	defer sp.refreshing.Unlock()
	next, err := sp.load(ctx)
	if err == nil {
		err = sp.admit(next)
	}
	if err != nil {
		sp.failures.Add(1)
		sp.failed.Add(1)
		return Change{}, fmt.Errorf("metadata of %q: %w", sp.o.Name, err)
	}
	now := time.Now()
	old := sp.idp.Swap(next)
	sp.failures.Store(0)
	sp.loaded.Store(&now)
	return compare(old, next, now), nil
}

// admit returns why an IdP cannot be ours, or nil.
func (sp *SP) admit(next *idp) error {
	m, old := sp.o.Metadata, sp.idp.Load()
	switch {
	case m.EntityID != "" && next.entityID != m.EntityID:
		return fmt.Errorf("entity ID %q, where the configuration has %q", clip(next.entityID), m.EntityID)
	case m.URL != "" && old != nil && next.entityID != old.entityID:
		return fmt.Errorf("entity ID %q, which was %q before", clip(next.entityID), old.entityID)
	}
	return sp.o.EntityIDs.take(sp, next.entityID)
}

// Inherit takes over the metadata that old has loaded, if it is from the same
// source, and reports whether it was. It is for an SP that takes old's place.
func (sp *SP) Inherit(old *SP) bool {
	a, b := sp.o.Metadata, old.o.Metadata
	a.Refresh, a.SignerFile = b.Refresh, b.SignerFile // it is what the file holds that counts
	loaded := old.idp.Load()
	if a != b || !slices.EqualFunc(sp.signers, old.signers, (*x509.Certificate).Equal) || loaded == nil {
		return false
	}
	// A file is read again before it is used: two may have changed places.
	if a.URL != "" && sp.o.EntityIDs.take(sp, loaded.entityID) != nil {
		return false
	}
	sp.failed.Store(old.failed.Load())
	sp.loaded.Store(old.loaded.Load())
	sp.idp.Store(loaded)
	return true
}

// minRefresh is the shortest pause that metadata can ask for by its own times.
const minRefresh = time.Minute

// RefreshEvery returns how long to wait before the next Refresh, a little
// different each time so that replicas do not ask all at once. It is what was
// configured or, where that is less, what the metadata asks for: its
// cacheDuration, or half of what is left until its validUntil.
func (sp *SP) RefreshEvery() time.Duration {
	every := sp.o.Metadata.Refresh
	if p := sp.idp.Load(); p != nil {
		if p.cacheDuration > 0 {
			every = min(every, max(p.cacheDuration, minRefresh))
		}
		if !p.validUntil.IsZero() {
			every = min(every, max(time.Until(p.validUntil)/2, minRefresh))
		}
	}
	if n := sp.failures.Load(); n > 0 {
		every = min(every, time.Second<<min(n-1, 5)) // 1 s, 2 s, … 32 s
	}
	return every - time.Duration(rand.Int64N(int64(every)/10+1))
}

// Status is what an SP knows of its IdP's metadata.
type Status struct {
	// Certificates are those that the IdP signs with, Signers those of which one
	// has to have signed the metadata.
	Certificates, Signers []*x509.Certificate
	// Loaded is when a Refresh last went well. Zero: none did yet.
	Loaded time.Time
	// ValidUntil is the metadata's own end. Zero: it has none.
	ValidUntil time.Time
	// Failed is how many times Refresh went wrong.
	Failed int64
}

// Status returns what is known of the metadata in use.
func (sp *SP) Status() Status {
	s := Status{Signers: sp.signers, Failed: sp.failed.Load()}
	if at := sp.loaded.Load(); at != nil {
		s.Loaded = *at
	}
	if p := sp.idp.Load(); p != nil {
		s.Certificates, s.ValidUntil = p.certificates, p.validUntil
	}
	return s
}

// compare returns what is different in next. old is nil the first time.
func compare(old, next *idp, now time.Time) Change {
	c := Change{EntityID: next.entityID, ValidUntil: next.validUntil, Ignored: next.ignored}
	var before []string
	if old != nil {
		before = old.fingerprints()
	}
	c.Certificates = next.fingerprints()
	for i, certificate := range next.certificates {
		if !inTime(certificate, now) {
			c.Expired = append(c.Expired, c.Certificates[i])
		}
		if certificate.NotAfter.After(c.Expires) {
			c.Expires = certificate.NotAfter
		}
		if !slices.Contains(before, c.Certificates[i]) {
			c.Added = append(c.Added, c.Certificates[i])
		}
	}
	for _, fingerprint := range before {
		if !slices.Contains(c.Certificates, fingerprint) {
			c.Removed = append(c.Removed, fingerprint)
		}
	}
	c.Changed = old == nil || len(c.Added)+len(c.Removed) > 0 || old.entityID != next.entityID ||
		!old.validUntil.Equal(next.validUntil) || old.signOn != next.signOn || old.logout != next.logout || old.logoutAnswers != next.logoutAnswers
	return c
}

// Fingerprint returns the SHA-256 of the certificate in hex, by which a [Change]
// names it.
func Fingerprint(certificate *x509.Certificate) string { return fingerprint(certificate) }

func fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// load reads the metadata and returns the IdP in it.
func (sp *SP) load(ctx context.Context) (*idp, error) {
	read := sp.fetch
	if sp.o.Metadata.File != "" {
		read = sp.readFile
	}
	data, err := read(ctx)
	if err != nil {
		return nil, err
	}
	return readMetadata(data, sp.signers, time.Now())
}

// readMetadata returns the IdP in data, which has to be signed by one of the
// signers if there are any.
func readMetadata(data []byte, signers []*x509.Certificate, now time.Time) (*idp, error) {
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("longer than %d bytes", maxMetadata)
	}
	err := scanMetadata(data)
	if err != nil {
		return nil, err
	}
	if len(signers) > 0 {
		if data, err = signedMetadata(data, signers, now); err != nil {
			return nil, err
		}
	}
	return parseMetadata(data, now)
}

func (sp *SP) readFile(context.Context) ([]byte, error) {
	f, err := os.Open(sp.o.Metadata.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMetadata+1))
}
