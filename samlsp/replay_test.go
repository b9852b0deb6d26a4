package samlsp_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// newReplayRig returns a rig whose memory is rdb, below a prefix of its own.
func newReplayRig(t *testing.T, rdb redis.UniversalClient) (*rig, string) {
	t.Helper()
	prefix := testenv.Prefix(t)
	r := newRig(t, func(o *samlsp.Options) { o.Replay, o.Unsolicited = samlsp.NewReplay(rdb, prefix), true })
	return r, prefix
}

func mustBase64(t *testing.T, m *samltest.Message) string {
	t.Helper()
	text, err := m.Base64()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wantReplay(t *testing.T, err error, check string) {
	t.Helper()
	var refusal *samlsp.Refusal
	if !errors.As(err, &refusal) || refusal.Code != "saml_replayed" || refusal.Check != check {
		t.Errorf("Finish: %v; want saml_replayed by %s", err, check)
	}
}

// A response is good once, whoever posts it again and to which replica.
func TestReplay(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		for _, test := range []struct {
			what  string
			again func(r *rig, text string) (*samlsp.Identity, error)
			check string
		}{
			{"C01 the same response again", func(r *rig, text string) (*samlsp.Identity, error) {
				return r.sp.Finish(t.Context(), text, requestID)
			}, "replayed_assertion"},
			{"C01 another assertion for the request that was answered", func(r *rig, _ string) (*samlsp.Identity, error) {
				return r.sp.Finish(t.Context(), mustBase64(t, r.good()), requestID)
			}, "replayed_request"},
			{"C02 at another replica", func(r *rig, text string) (*samlsp.Identity, error) {
				replica, err := samlsp.New(r.o)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := replica.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				return replica.Finish(t.Context(), text, requestID)
			}, "replayed_assertion"},
			{"C02 the same assertion for the request of another browser", func(r *rig, _ string) (*samlsp.Identity, error) {
				m := r.good()
				m.AssertionID = claimedID
				m.InResponseTo, m.Confirmations[0].InResponseTo = "id-other", "id-other"
				return r.sp.Finish(t.Context(), mustBase64(t, m), "id-other")
			}, "replayed_assertion"},
		} {
			t.Run(test.what, func(t *testing.T) {
				r, prefix := newReplayRig(t, rdb)
				m := r.good()
				m.AssertionID = claimedID
				text := mustBase64(t, m)
				if _, err := r.sp.Finish(t.Context(), text, requestID); err != nil {
					t.Fatal(err)
				}
				id, err := test.again(r, text)
				wantReplay(t, err, test.check)
				if id != nil {
					t.Errorf("a replay has the identity %+v", id)
				}
				wantKeys(t, rdb, prefix, 2)
			})
		}
		t.Run("C01 an unsolicited response, which has its assertion alone to be known by", func(t *testing.T) {
			r, prefix := newReplayRig(t, rdb)
			m := r.good()
			m.InResponseTo, m.Confirmations[0].InResponseTo = "", ""
			text := mustBase64(t, m)
			if _, err := r.sp.Finish(t.Context(), text, ""); err != nil {
				t.Fatal(err)
			}
			_, err := r.sp.Finish(t.Context(), text, "")
			wantReplay(t, err, "replayed_assertion")
			wantKeys(t, rdb, prefix, 1)
		})
	})
}

// claimedID is of an assertion that is used.
const claimedID = "_0f9c1d2e3b4a59687786a5b4c3d2e1f0"

// wantKeys checks that there are so many keys, in one slot, which end.
func wantKeys(t *testing.T, rdb redis.UniversalClient, prefix string, n int) {
	t.Helper()
	keys, err := rdb.Keys(t.Context(), prefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != n {
		t.Errorf("keys = %q, want %d", keys, n)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix+"replay:{acme}:") {
			t.Errorf("key %q, want one of replay:{acme}:", key)
		}
		ttl, err := rdb.PTTL(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if ttl < 10*time.Minute || ttl > 20*time.Minute {
			t.Errorf("key %q ends in %s, want 10 to 20 minutes", key, ttl)
		}
	}
}

// Names that are used at one IdP, or for something else, are free.
func TestClaimsAreApart(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		acme, prefix := newReplayRig(t, rdb)
		globex := newRig(t, func(o *samlsp.Options) { o.Name, o.Replay = "globex", samlsp.NewReplay(rdb, prefix) })
		finish := func(r *rig, request, assertion string) error {
			m := r.good()
			m.InResponseTo, m.Confirmations[0].InResponseTo, m.AssertionID = request, request, assertion
			_, err := r.sp.Finish(t.Context(), mustBase64(t, m), request)
			return err
		}
		if err := finish(acme, requestID, claimedID); err != nil {
			t.Fatal(err)
		}
		if err := finish(globex, requestID, claimedID); err != nil {
			t.Errorf("the same request and assertion at another IdP: %v", err)
		}
		if err := finish(acme, claimedID, samltest.NewID()); err != nil {
			t.Errorf("a request of the ID of an assertion that is used: %v", err)
		}
	})
}

// Of many that post one response at once, one signs in.
func TestReplayAtOnce(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Run("C03 one response twenty times at once", func(t *testing.T) {
			r, _ := newReplayRig(t, rdb)
			text := mustBase64(t, r.good())
			const posts = 20
			errs := make([]error, posts)
			var wg sync.WaitGroup
			for i := range posts {
				wg.Go(func() { _, errs[i] = r.sp.Finish(t.Context(), text, requestID) })
			}
			wg.Wait()
			accepted := 0
			for _, err := range errs {
				if err == nil {
					accepted++
					continue
				}
				wantReplay(t, err, "replayed_assertion")
			}
			if accepted != 1 {
				t.Errorf("%d accepted, want 1", accepted)
			}
		})
	})
}

// A refused response uses nothing up: the honest one can still come.
func TestRefusedClaimsNothing(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		r, prefix := newReplayRig(t, rdb)
		m := r.good()
		m.Audiences = nil
		id, err := r.sp.Finish(t.Context(), mustBase64(t, m), requestID)
		wantRefusal(t, id, err, "wrong_audience")
		wantKeys(t, rdb, prefix, 0)
	})
}

// lookUp looks whether a response with these IDs was used before. It returns the
// refusal's check, and how the two checks went.
func (r *rig) lookUp(requestID, assertionID string) (refusal, steps string, err error) {
	x := samlsp.Explanation{RequestID: requestID, Identity: &samlsp.Identity{AssertionID: assertionID}, Trusted: true, Steps: []samlsp.Step{
		{Check: "replayed_request", Result: samlsp.Skipped}, {Check: "replayed_assertion", Result: samlsp.Skipped},
	}}
	err = r.sp.LookUp(r.t.Context(), &x)
	if x.Refusal != nil {
		refusal = x.Refusal.Check
	}
	if x.Trusted != (x.Refusal == nil) {
		r.t.Errorf("Trusted = %t with the refusal %v", x.Trusted, x.Refusal)
	}
	return refusal, string(x.Steps[0].Result + " " + x.Steps[1].Result), err
}

// Whether something was used can be asked, and asking uses nothing up.
func TestLookUp(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		r, prefix := newReplayRig(t, rdb)
		m := r.good()
		want := func(requestID, assertionID, wantRefusal, wantSteps string) {
			t.Helper()
			refusal, steps, err := r.lookUp(requestID, assertionID)
			if err != nil || refusal != wantRefusal || steps != wantSteps {
				t.Errorf("LookUp: refusal %q, steps %s, %v; want %q, %s", refusal, steps, err, wantRefusal, wantSteps)
			}
		}
		want(requestID, m.AssertionID, "", "passed passed")
		wantKeys(t, rdb, prefix, 0)
		if _, err := r.sp.Finish(t.Context(), mustBase64(t, m), requestID); err != nil {
			t.Fatal(err)
		}
		want(requestID, m.AssertionID, "replayed_assertion", "failed failed")
		want("", m.AssertionID, "replayed_assertion", "skipped failed")
		want(requestID, "another", "replayed_request", "failed passed")
		want("id-other", "another", "", "passed passed")
		want("", "another", "", "skipped passed")
		wantKeys(t, rdb, prefix, 2)
	})
}

// H02: a store that does not answer is no refusal, and lets nobody in.
func TestReplayStoreDown(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	rdb := testenv.Client(t, server.Addr)
	r, _ := newReplayRig(t, rdb)
	text := mustBase64(t, r.good())
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	id, err := r.sp.Finish(ctx, text, requestID)
	var refusal *samlsp.Refusal
	if err == nil || id != nil || errors.As(err, &refusal) {
		t.Errorf("Finish with the store down = %v, %v; want an error that is no refusal", id, err)
	}
}

func TestLookUpStoreDown(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	r, _ := newReplayRig(t, testenv.Client(t, server.Addr))
	server.Stop()
	if refusal, steps, err := r.lookUp(requestID, "y"); err == nil || refusal != "" || steps != "skipped skipped" {
		t.Errorf("LookUp with the store down: refusal %q, steps %s, %v; want an error", refusal, steps, err)
	}
}

// A lossy hook loses the reply of the first script: it has run in the store,
// and the client will send it again.
type lossy struct {
	lost bool
}

func (l *lossy) DialHook(next redis.DialHook) redis.DialHook { return next }
func (l *lossy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (l *lossy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && !l.lost && slices.Contains([]string{"evalsha", "eval"}, cmd.Name()) {
			l.lost = true
			return next(ctx, cmd) // as go-redis does when the reply did not come
		}
		return err
	}
}

// The client sends the script again when the reply got lost, and when the store has
// forgotten it. Neither is a replay.
func TestReplayRetried(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Run("H05 a claim whose reply got lost, sent again", func(t *testing.T) {
			r, _ := newReplayRig(t, rdb)
			l := &lossy{}
			rdb.AddHook(l)
			text := mustBase64(t, r.good())
			if _, err := r.sp.Finish(t.Context(), text, requestID); err != nil {
				t.Errorf("the reply got lost: %v", err)
			}
			if !l.lost {
				t.Error("no reply was lost")
			}
			if _, err := r.sp.Finish(t.Context(), text, requestID); !replayed(err) {
				t.Errorf("the same response: %v, want a replay", err)
			}
		})
		t.Run("H06 a store that has forgotten its scripts", func(t *testing.T) {
			r, _ := newReplayRig(t, rdb)
			if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			text := mustBase64(t, r.good())
			if _, err := r.sp.Finish(t.Context(), text, requestID); err != nil {
				t.Errorf("the script was forgotten: %v", err)
			}
			if _, err := r.sp.Finish(t.Context(), text, requestID); !replayed(err) {
				t.Errorf("the same response: %v, want a replay", err)
			}
		})
	})
	t.Run("H06 a store that is loading", func(t *testing.T) {
		m := testenv.Embedded(t)
		r, _ := newReplayRig(t, testenv.Client(t, m.Addr()))
		text := mustBase64(t, r.good())
		m.SetError("LOADING Redis is loading the dataset in memory")
		if _, err := r.sp.Finish(t.Context(), text, requestID); err == nil || refusedFor(err) != err.Error() {
			t.Errorf("%v, want an error that is no refusal", err)
		}
		m.SetError("")
		if _, err := r.sp.Finish(t.Context(), text, requestID); err != nil {
			t.Errorf("when it is there: %v", err)
		}
	})
}
