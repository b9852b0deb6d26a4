package session

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// handoverLifetime is how long a one-time code is good for. It is only ever on
// its way from one redirect to the next.
const handoverLifetime = time.Minute

// A Handover takes a login from the gateway's own host to an app's host.
type Handover struct {
	Session string // Record.Key of the session that it continues
	Host    string // that it is meant for
	Nonce   string // hash of what the browser that began holds in a cookie
	Return  string // path and query to end at
	Offered time.Time
}

// Offer stores h for a minute and returns the code that it can be taken with,
// once.
func (s *Store) Offer(ctx context.Context, h Handover) (string, error) {
	secret := make([]byte, idBytes)
	_, _ = rand.Read(secret) // never fails
	h.Offered = s.Now().UTC()
	data, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("encoding a hand-over: %w", err)
	}
	if err := s.Redis.Set(ctx, s.code(secret), data, handoverLifetime).Err(); err != nil {
		return "", fmt.Errorf("storing a hand-over: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(secret), nil
}

// takeScript marks a hand-over with who took it, and returns it to nobody else. The
// client sends the command again when the reply got lost: that is the same taker.
// What is not taken yet is JSON, which no nonce begins like.
var takeScript = redis.NewScript(`
local held = redis.call('GET', KEYS[1])
if not held then return false end
if string.sub(held, 1, 1) ~= '{' then
  if string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return false end
  return string.sub(held, #ARGV[1] + 1)
end
redis.call('SET', KEYS[1], ARGV[1] .. held, 'KEEPTTL')
return held`)

// Take returns the hand-over that code stands for, and uses it up. What cannot
// be a code costs no command.
func (s *Store) Take(ctx context.Context, code string) (Handover, bool, error) {
	secret, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil || len(secret) != idBytes {
		return Handover{}, false, nil
	}
	data, err := takeScript.Run(ctx, s.Redis, []string{s.code(secret)}, rand.Text()).Text()
	if errors.Is(err, redis.Nil) {
		return Handover{}, false, nil
	}
	if err != nil {
		return Handover{}, false, fmt.Errorf("taking a hand-over: %w", err)
	}
	var h Handover
	if err := json.Unmarshal([]byte(data), &h); err != nil {
		return Handover{}, false, fmt.Errorf("decoding a hand-over: %w", err)
	}
	return h, s.Now().Before(h.Offered.Add(handoverLifetime)), nil
}

func (s *Store) code(secret []byte) string { return s.Prefix + "code:" + Hash(secret) }
