package samlsp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// minRemembered is the shortest time that a claim is kept. The state of a login
// lives for 15 minutes in the browser: until then its request must stay used.
const minRemembered = 15 * time.Minute

// A Replay remembers, for all replicas, which requests were answered and which
// assertions were used.
//
// Its keys are prefix + "replay:{idp}:r:" and ":a:" + the SHA-256 of the ID, so
// that the two of one login are in one slot of a Redis Cluster, and that no ID
// can be anything but a name. LogoutRequests are under ":l:".
type Replay struct {
	rdb    redis.UniversalClient
	prefix string
	claims *redis.Script
}

// NewReplay returns the replay memory in rdb.
func NewReplay(rdb redis.UniversalClient, prefix string) *Replay {
	// All or nothing. A key that holds our own nonce is ours: the client sends
	// the command again when the reply got lost, and that is no replay.
	return &Replay{rdb: rdb, prefix: prefix, claims: redis.NewScript(`
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held and held ~= ARGV[1] then return i end
end
for _, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return 0`)}
}

// claim uses up the request (none if empty) and the assertion. A *Refusal says
// which of them was used before; any other error that Redis did not answer, in
// which case nobody may sign in.
func (r *Replay) claim(ctx context.Context, idp, requestID, assertionID string, keep time.Duration) error {
	checks, keys := r.keys(idp, requestID, assertionID)
	keep = max(keep, minRemembered)
	held, err := r.claims.Run(ctx, r.rdb, keys, rand.Text(), keep.Milliseconds()).Int()
	if err != nil {
		return fmt.Errorf("claiming the assertion: %w", err)
	}
	if held < 0 || held > len(keys) {
		return fmt.Errorf("claiming the assertion: store answers %d", held)
	}
	if held > 0 {
		used := map[string]string{checkReplayedAssertion: assertionID, checkReplayedRequest: requestID}
		check := checks[held-1]
		return &Refusal{Code: CodeReplayed, Check: check, Got: clip(used[check])}
	}
	return nil
}

// once has do use a message with that ID, which was not used before, and
// remembers it when do has returned nil: what could not be done may be asked
// again. Two of the same at once may both be done, which is as good as once.
func (r *Replay) once(ctx context.Context, idp, id string, keep time.Duration, do func() error) error {
	key := r.key(idp, "l", id)
	n, err := r.rdb.Exists(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("looking up what was used: %w", err)
	}
	if n > 0 {
		return &Refusal{Code: CodeReplayed, Check: checkReplayedLogout, Got: clip(id)}
	}
	if err := do(); err != nil {
		return err
	}
	if err := r.rdb.Set(ctx, key, "", max(keep, minRemembered)).Err(); err != nil {
		return fmt.Errorf("remembering what was used: %w", err)
	}
	return nil
}

// LookUp makes the last two checks of x, which Explain leaves out: it asks Redis
// whether the response was used before, and claims nothing. What was used is
// remembered for as long as it could be used again, so that an old response may
// be unknown. The error is that Redis did not answer.
func (sp *SP) LookUp(ctx context.Context, x *Explanation) error {
	if x.Identity == nil {
		return nil
	}
	used, err := sp.o.Replay.used(ctx, sp.o.Name, x.RequestID, x.Identity.AssertionID)
	if err != nil {
		return err
	}
	for i := range x.Steps {
		s := &x.Steps[i]
		if was, asked := used[s.Check]; was {
			s.Result, s.Note = Failed, ""
		} else if asked {
			s.Result, s.Note = Passed, ""
		}
	}
	for _, check := range []string{checkReplayedAssertion, checkReplayedRequest} { // as Finish does
		if used[check] && x.Refusal == nil {
			x.Trusted, x.Refusal = false, &Refusal{Code: CodeReplayed, Check: check}
		}
	}
	return nil
}

// used says of each check by which a response with these IDs could be refused
// whether it would be. It claims nothing.
func (r *Replay) used(ctx context.Context, idp, requestID, assertionID string) (map[string]bool, error) {
	checks, keys := r.keys(idp, requestID, assertionID)
	used := make(map[string]bool)
	for i, key := range keys {
		n, err := r.rdb.Exists(ctx, key).Result()
		if err != nil {
			return nil, fmt.Errorf("looking up what was used: %w", err)
		}
		used[checks[i]] = n > 0
	}
	return used, nil
}

// keys returns the keys that a response with these IDs claims, and the check that
// each of them is for. An unsolicited one has no request.
func (r *Replay) keys(idp, requestID, assertionID string) (checks, keys []string) {
	checks = []string{checkReplayedAssertion}
	keys = []string{r.key(idp, "a", assertionID)}
	if requestID != "" {
		checks = append(checks, checkReplayedRequest)
		keys = append(keys, r.key(idp, "r", requestID))
	}
	return checks, keys
}

func (r *Replay) key(idp, kind, id string) string {
	sum := sha256.Sum256([]byte(id))
	return r.prefix + "replay:{" + idp + "}:" + kind + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
}
