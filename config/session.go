package config

import (
	"encoding/base64"
	"fmt"
	"time"
)

// keySize is the length of a session key, in bytes.
const keySize = 64

// Session is how long a visitor stays signed in, and the keys of their cookie.
type Session struct {
	// Keys seal the session cookie: each names a secret (env:NAME or file:PATH)
	// that is the base64 of 64 random bytes, as jitgate keygen makes it. The
	// first seals; all are accepted, so that a new one can be put before the old
	// ones, which are removed a lifetime later. Required.
	Keys []Secret `yaml:"keys"`

	// Idle ends a session after so long without a request on its host, which is
	// noted at most once a minute. An open websocket or stream is a request. From 1m up
	// to the lifetime. Default: 1h.
	Idle time.Duration `yaml:"idle"`

	// Lifetime ends a session so long after sign-in, however busy it is. At most
	// 24h. Default: 8h.
	Lifetime time.Duration `yaml:"lifetime"`

	// Grace is for how long sessions that this process remembers go on while Redis
	// does not answer, counted from when it was last known that nothing had changed.
	// Meanwhile nobody can be kept out: no revocation, block or sign-out is heard of.
	// At most 1h. Default: 0, and requests get 503 until Redis answers.
	Grace time.Duration `yaml:"grace"`

	decoded []Secret // so that a Session does not print them either
}

// KeyBytes returns the Keys as Load decoded them, newest first, 64 bytes each.
func (s Session) KeyBytes() [][]byte {
	keys := make([][]byte, len(s.decoded))
	for i, k := range s.decoded {
		keys[i] = []byte(k.Reveal())
	}
	return keys
}

func (r *report) checkSession(c *Session) {
	const example = `write ["file:session.key"], and make that file with: jitgate keygen`
	if len(c.Keys) == 0 {
		r.add("session.keys", "is missing; %s", example)
	}
	first := make(map[string]int)
	for i, secret := range c.Keys {
		path := fmt.Sprintf("session.keys[%d]", i)
		key, err := base64.StdEncoding.DecodeString(secret.Reveal())
		if err != nil {
			r.add(path, "the key named here is not base64; make one with: jitgate keygen")
			continue
		}
		if len(key) != keySize {
			r.add(path, "the key named here has %d bytes and not %d; make one with: jitgate keygen", len(key), keySize)
			continue
		}
		if earlier, ok := first[string(key)]; ok {
			r.add(path, "the key named here is that of session.keys[%d] too; make another with: jitgate keygen", earlier)
			continue
		}
		text := string(key)
		first[text] = i
		c.decoded = append(c.decoded, Secret{&text})
	}
	if !r.has("session.idle") {
		c.Idle = time.Hour
	}
	if !r.has("session.lifetime") {
		c.Lifetime = 8 * time.Hour
	}
	if c.Lifetime < time.Minute || c.Lifetime > 24*time.Hour {
		r.add("session.lifetime", "%q is out of bounds; write at least 1m and at most 24h, like 8h", c.Lifetime)
	}
	if c.Grace < 0 || c.Grace > time.Hour {
		r.add("session.grace", "%q is out of bounds; write at most 1h, like 30s, or 0s for none", c.Grace)
	}
	switch {
	case c.Idle < time.Minute:
		r.add("session.idle", "%q is too short; write at least 1m, like 1h", c.Idle)
	case c.Idle > c.Lifetime && r.has("session.idle"):
		r.add("session.idle", "%q is longer than the lifetime of %q; write that or less", c.Idle, c.Lifetime)
	case c.Idle > c.Lifetime:
		c.Idle = c.Lifetime
	}
}
