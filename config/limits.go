package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits are how much of the gateway visitors may use, one of them and all
// together. They are of one process: each replica has its own. An address is that
// of the visitor, or of the network of 64 bits that an IPv6 address is in.
type Limits struct {
	// Header is the longest head of a request, with its first line: at least 4KiB.
	// Default: 32KiB.
	Header Size `yaml:"header"`

	// HeaderTime is how long the head of a request may take, and a TLS handshake:
	// from 1s to 5m. Default: 10s.
	HeaderTime time.Duration `yaml:"header_time"`

	// Idle is how long a connection is kept between two requests: at least 1s.
	// Default: 2m.
	Idle time.Duration `yaml:"idle"`

	// Stall is how long a visitor may take nothing of an answer, and send nothing of
	// a body that is being read, before the connection is dropped: from 1s to 1h.
	// However slow a body is, it goes on while there is progress; a stream or a
	// websocket on which nothing is to be sent may be silent. Default: 1m.
	Stall time.Duration `yaml:"stall"`

	// Body is the longest body of a request to an app, or unlimited. The gateway
	// holds none of it in memory. An app can have its own. Default: 1GiB.
	Body Size `yaml:"body"`

	// Connections is how many visitors' connections are open at once. The next one
	// waits until another is over. Each takes up to two file descriptors. Default: 10000.
	Connections int `yaml:"connections"`

	// ConnectionsPerAddress is how many of them one address may have; any more are
	// closed as they come. Those of trusted_proxies are not counted, since all
	// visitors come from there. Default: 1000.
	ConnectionsPerAddress int `yaml:"connections_per_address"`

	// LoginsPerMinute is how often one address may begin a sign-in or send the
	// answer of an identity provider, in a minute: so many at once, and as many
	// again evenly over each minute. A sign-in is two of them. An office behind one
	// address counts as one. Default: 300.
	LoginsPerMinute int `yaml:"logins_per_minute"`

	// SAML is how many SAML messages are verified at once, which takes a processor
	// each. Default: twice as many as there are processors.
	SAML int `yaml:"saml"`

	// SAMLWaiting is how many more may wait for that; further ones are turned away
	// at once. Default: 100.
	SAMLWaiting int `yaml:"saml_waiting"`

	// Sessions is how many sessions are remembered, so that their requests need not
	// ask Redis; what changes is heard of within a second. Of more, those go that were
	// used longest ago. 0: none. Default: 20000.
	Sessions int `yaml:"sessions"`

	// SessionMemory is what they may take in memory, about: at least 1MiB. Default:
	// 32MiB.
	SessionMemory Size `yaml:"session_memory"`
}

// A Size is a number of bytes, written as 4096, 32KiB, 10MiB or 1GiB.
type Size int64

// Unlimited is the Size that nothing exceeds, written as unlimited.
const Unlimited = Size(math.MaxInt64)

// units are those of a Size, greatest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String returns s as it is written in the file.
func (s Size) String() string {
	if s == Unlimited {
		return "unlimited"
	}
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// parseSize parses a Size as it is written in the file.
func parseSize(s string) (Size, bool) {
	if s == "unlimited" {
		return Unlimited, true
	}
	unit := int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, false
	}
	return Size(int64(n) * unit), true
}

func (r *report) checkLimits(c *Limits) {
	r.size("limits.header", &c.Header, 32<<10, 4<<10, 1<<20)
	r.time("limits.header_time", &c.HeaderTime, 10*time.Second, 5*time.Minute)
	r.time("limits.idle", &c.Idle, 2*time.Minute, time.Hour)
	r.time("limits.stall", &c.Stall, time.Minute, time.Hour)
	r.size("limits.body", &c.Body, 1<<30, 1<<10, Unlimited)
	r.number("limits.connections", &c.Connections, 10000, 1)
	r.number("limits.connections_per_address", &c.ConnectionsPerAddress, min(1000, c.Connections), 1)
	r.number("limits.logins_per_minute", &c.LoginsPerMinute, 300, 2)
	r.number("limits.saml", &c.SAML, 0, 1)
	r.number("limits.saml_waiting", &c.SAMLWaiting, 100, 0)
	r.number("limits.sessions", &c.Sessions, 20000, 0)
	r.size("limits.session_memory", &c.SessionMemory, 32<<20, 1<<20, 1<<40)
	if c.ConnectionsPerAddress > c.Connections {
		r.add("limits.connections_per_address", "%d is more than the %d of connections; write that or less", c.ConnectionsPerAddress, c.Connections)
	}
}

// size checks that the Size of a key is within its bounds, and fills in its default.
func (r *report) size(key string, v *Size, otherwise, least, most Size) {
	if !r.has(key) {
		*v = otherwise
	}
	if *v < least || *v > most {
		r.add(key, "%q is out of bounds; write at least %s and at most %s, like %s", *v, least, most, otherwise)
	}
}

// time is size for a duration of a second or more.
func (r *report) time(key string, v *time.Duration, otherwise, most time.Duration) {
	if !r.has(key) {
		*v = otherwise
	}
	if *v < time.Second || *v > most {
		r.add(key, "%q is out of bounds; write at least 1s and at most %s, like %s", *v, most, otherwise)
	}
}

// number is size for a number, which is at most a million.
func (r *report) number(key string, v *int, otherwise, least int) {
	const most = 1_000_000
	if !r.has(key) {
		*v = otherwise
		return
	}
	if *v < least || *v > most {
		r.add(key, "%d is out of bounds; write at least %d and at most %d", *v, least, most)
	}
}
