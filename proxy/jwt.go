package proxy

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy/page"
)

const (
	// tokenLifetime is for how long a token is good, and tokenRenewal how long one is
	// sent: apps get none that is about to expire.
	tokenLifetime = time.Minute
	tokenRenewal  = 30 * time.Second

	// jwksAge is how long apps may keep the keys, in seconds.
	jwksAge = 300

	tokenHeader = "X-Jitgate-Assertion"
)

// A signer signs who a visitor is (RFC 7519, with ES256 of RFC 7518), for apps that do
// not believe whoever reaches them.
type signer struct {
	key    *ecdsa.PrivateKey
	header string // of each token, encoded
	issuer string
	jwks   []byte // the public keys (RFC 7517)
}

// A jwk is a public key on P-256. In this order its members are what its thumbprint is of
// (RFC 7638, section 3.2).
type jwk struct {
	Curve string `json:"crv"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// newSigner returns what signs by the first key, nil where there is none.
func newSigner(keys []*ecdsa.PrivateKey, issuer string) (*signer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	type published struct {
		jwk
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
		ID        string `json:"kid"`
	}
	var all struct {
		Keys []published `json:"keys"`
	}
	for _, key := range keys {
		point, err := key.PublicKey.Bytes() // 4, x and y (SEC 1, section 2.3.3)
		if err != nil {
			return nil, fmt.Errorf("key of tokens: %w", err)
		}
		public := jwk{"P-256", "EC", encodeToken(point[1:33]), encodeToken(point[33:])}
		thumbprint, err := json.Marshal(public)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(thumbprint)
		all.Keys = append(all.Keys, published{public, "sig", "ES256", encodeToken(sum[:])})
	}
	s := &signer{key: keys[0], issuer: issuer}
	s.header = encodeToken([]byte(`{"alg":"ES256","typ":"JWT","kid":"` + all.Keys[0].ID + `"}`))
	var err error
	s.jwks, err = json.Marshal(all)
	return s, err
}

func encodeToken(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// A badge is what a token says of a guest to an app, and the token that is sent now.
type badge struct {
	claims string // JSON without its end: the times come there
	now    atomic.Pointer[jwt]
}

// A jwt is a signed badge, ready for an [http.Header].
type jwt struct {
	value []string
	made  time.Time // by the wall clock alone, which is what apps go by
}

// badge returns what tokens say of a user to an app; nil without a signer.
func (s *signer) badge(a *app, u provision.User) *badge {
	if s == nil {
		return nil
	}
	var email string
	if values := u.Values("email"); len(values) > 0 {
		email = values[0]
	}
	claims, _ := json.Marshal(struct { // which has nothing that JSON cannot say
		Issuer       string   `json:"iss"`
		Audience     string   `json:"aud"`
		Subject      string   `json:"sub"`
		UserName     string   `json:"preferred_username"`
		Email        string   `json:"email,omitempty"`
		Directory    string   `json:"directory"`
		Domain       string   `json:"domain,omitempty"`
		Groups       []string `json:"groups"`
		Entitlements []string `json:"entitlements"`
	}{s.issuer, a.name, u.ID, u.UserName, email, u.Directory, u.Domain, slices.Sorted(slices.Values(u.Groups)), slices.Sorted(slices.Values(u.Entitlements))})
	return &badge{claims: strings.TrimSuffix(string(claims), "}")}
}

// size returns about what a badge takes in memory, with its token, in bytes.
func (b *badge) size() int {
	if b == nil {
		return 0
	}
	return 400 + len(b.claims)*7/3
}

// token returns the value of the header for a badge, nil for none: that of the last
// request, unless it is too old. Of two requests that find it too old, each may make one.
func (s *signer) token(b *badge, now time.Time) ([]string, error) {
	if b == nil {
		return nil, nil
	}
	if t := b.now.Load(); t != nil && now.Sub(t.made) < tokenRenewal && !now.Before(t.made) {
		return t.value, nil
	}
	issued := now.Unix()
	claims := b.claims + `,"iat":` + strconv.FormatInt(issued, 10) + `,"exp":` + strconv.FormatInt(issued+int64(tokenLifetime/time.Second), 10) + "}"
	said := s.header + "." + encodeToken([]byte(claims))
	sum := sha256.Sum256([]byte(said))
	r, sig, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("signing a token: %w", err)
	}
	var both [64]byte // RFC 7518, section 3.4
	r.FillBytes(both[:32])
	sig.FillBytes(both[32:])
	t := &jwt{[]string{said + "." + encodeToken(both[:])}, now.Round(0)}
	b.now.Store(t)
	return t.value, nil
}

// serveKeys answers with the public keys by which apps verify tokens.
func (g *Gateway) serveKeys(w http.ResponseWriter, r *http.Request, _ *event, _ string) error {
	if g.signer == nil {
		return notFound()
	}
	page.Protect(w.Header())
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(jwksAge))
	_, _ = w.Write(g.signer.jwks)
	return nil
}
