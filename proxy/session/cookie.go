package session

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

// A Keyring seals values that the browser keeps for us: encrypted and
// authenticated, bound to a name and to one purpose.
//
// The newest key seals, all of them open, so that a key can be replaced without
// signing anybody out: put the new one first and drop the old one when nothing
// that it sealed is alive any more.
type Keyring []*securecookie.SecureCookie

// NewKeyring derives a keyring from the configured keys, newest first. Rings
// for different purposes share nothing: what one sealed another cannot open.
// Sealed values open for maxAge, in whole seconds.
func NewKeyring(keys [][]byte, purpose string, maxAge time.Duration) (Keyring, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("session keys: none given")
	}
	var ring Keyring
	for _, key := range keys {
		derived, err := hkdf.Key(sha256.New, key, nil, "jitgate "+purpose, 64)
		if err != nil {
			return nil, fmt.Errorf("deriving the %s key: %w", purpose, err)
		}
		codec := securecookie.New(derived[:32], derived[32:])
		codec.SetSerializer(securecookie.NopEncoder{})
		codec.MaxAge(int(maxAge / time.Second))
		ring = append(ring, codec)
	}
	return ring, nil
}

// Seal returns value sealed under name, in letters that a cookie or a URL can
// carry. It fails where the result is longer than 4 KiB.
func (k Keyring) Seal(name string, value []byte) (string, error) {
	sealed, err := k[0].Encode(name, append([]byte(nil), value...)) // Encode encrypts in place
	if err != nil {
		return "", fmt.Errorf("sealing %q: %w", name, err)
	}
	return sealed, nil
}

// Open returns what was sealed under name. ok is false for anything that none
// of the keys sealed under that very name, or that is too old.
func (k Keyring) Open(name, sealed string) (value []byte, ok bool) {
	for _, codec := range k {
		if err := codec.Decode(name, sealed, &value); err == nil {
			return value, true
		}
	}
	return nil, false
}

// Cookies calls visit with each cookie of a request: its name and its value.
//
// It sees every pair that any app might see, well formed or not; [http.Request]
// passes over what it does not like, and a name that occurs twice would look as
// if it came once.
func Cookies(h http.Header, visit func(name, value string)) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(pair, "=")
			visit(strings.Trim(name, " \t"), strings.Trim(value, " \t"))
		}
	}
}

// Cookie returns the value of the cookie of that name. ok is false where there
// is none, or more than one: then somebody else set one of them, and nobody
// can tell which.
func Cookie(h http.Header, name string) (value string, ok bool) {
	seen := 0
	Cookies(h, func(n, v string) {
		if n == name {
			value = v
			seen++
		}
	})
	return value, seen == 1
}
