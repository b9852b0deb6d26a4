package samlsp

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"time"
)

const (
	maxMetadata  = 1 << 20          // bytes of a metadata document
	fetchTimeout = 10 * time.Second // of asking a URL for it
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
// since somebody has put it there.
func (sp *SP) Refresh(ctx context.Context) (Change, error) {
	sp.refreshing.Lock()
	defer sp.refreshing.Unlock()
	next, err := sp.load(ctx)
	old := sp.idp.Load()
	if err == nil && old != nil && sp.o.Metadata.URL != "" && next.entityID != old.entityID {
		err = fmt.Errorf("entity ID %q, which was %q before", next.entityID, old.entityID)
	}
	if err != nil {
		sp.failures.Add(1)
		return Change{}, fmt.Errorf("metadata of %q: %w", sp.o.Name, err)
	}
	sp.failures.Store(0)
	sp.idp.Store(next)
	return compare(old, next, time.Now()), nil
}

// Inherit takes over the metadata that old has loaded, if it is from the same
// source, and reports whether it was. It is for an SP that takes old's place.
func (sp *SP) Inherit(old *SP) bool {
	a, b := sp.o.Metadata, old.o.Metadata
	loaded := old.idp.Load()
	if a.File != b.File || a.URL != b.URL || !slices.EqualFunc(sp.signers, old.signers, (*x509.Certificate).Equal) || loaded == nil {
		return false
	}
	sp.idp.Store(loaded)
	return true
}

// RefreshEvery returns how long to wait before the next Refresh, a little
// different each time so that replicas do not ask all at once.
func (sp *SP) RefreshEvery() time.Duration {
	every := sp.o.Metadata.Refresh
	if n := sp.failures.Load(); n > 0 {
		every = min(every, time.Second<<min(n-1, 5)) // 1 s, 2 s, … 32 s
	}
	return every - time.Duration(rand.Int64N(int64(every)/10+1))
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

// fingerprint returns the SHA-256 of the certificate in hex.
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
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("longer than %d bytes", maxMetadata)
	}
	if len(sp.signers) > 0 {
		if data, err = signedMetadata(data, sp.signers); err != nil {
			return nil, err
		}
	}
	return parseMetadata(data, time.Now())
}

func (sp *SP) readFile(context.Context) ([]byte, error) {
	f, err := os.Open(sp.o.Metadata.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMetadata+1))
}

// fetch asks the URL. A redirect is an error: where the metadata is comes from
// the configuration, and not from who answers there.
func (sp *SP) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, sp.o.Metadata.URL, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{CheckRedirect: func(to *http.Request, _ []*http.Request) error {
		return fmt.Errorf("it redirects to %q: configure that, if it is right", to.URL.Redacted())
	}}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", request.URL.Redacted(), answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.URL.Redacted(), err)
	}
	if len(data) == 0 {
		return nil, errors.New("empty")
	}
	return data, nil
}
