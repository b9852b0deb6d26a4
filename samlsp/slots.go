package samlsp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

// ErrBusy is returned for a message that is not looked at because too many wait
// already.
var ErrBusy = errors.New("too many messages are waiting to be verified")

// largeMessage is the length, in base64 characters, from which a message waits in
// a queue of its own. Most responses have a tenth of it.
const largeMessage = 64 << 10

// Slots bound how many messages are worked on at once. All SPs of a gateway share
// theirs. Whoever sends a message has not proved anything yet, and reading it
// takes a processor and memory, the more the longer it is: a quarter of the slots is
// all that large ones can have, so that others need not wait behind them.
type Slots struct {
	all, large queue
}

// NewSlots returns slots for so many messages at once, or for twice as many as there
// are processors if parallel is 0. As many as waiting says may wait for one, and
// as many large ones.
func NewSlots(parallel, waiting int) *Slots {
	if parallel == 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	s := new(Slots)
	s.all.set(parallel, waiting)
	s.large.set(max(1, parallel/4), waiting)
	return s
}

// take waits for a slot for a message of that length, which is to be given back by
// calling leave. The error is ErrBusy, or ctx at its end.
func (s *Slots) take(ctx context.Context, length int) (leave func(), err error) {
	if length <= largeMessage {
		return s.all.leave, s.all.enter(ctx)
	}
	if err := s.large.enter(ctx); err != nil {
		return nil, err
	}
	if err := s.all.enter(ctx); err != nil {
		s.large.leave()
		return nil, err
	}
	return func() { s.all.leave(); s.large.leave() }, nil
}

// A queue lets so many in, and so many more wait.
type queue struct {
	in      chan struct{}
	waiting atomic.Int64
	most    int64 // of those that wait
}

func (q *queue) set(in, waiting int) {
	q.in, q.most = make(chan struct{}, in), int64(waiting)
}

func (q *queue) leave() { <-q.in }

func (q *queue) enter(ctx context.Context) error {
	select {
	case q.in <- struct{}{}:
		return nil
	default:
	}
	defer q.waiting.Add(-1)
	if q.waiting.Add(1) > q.most {
		return ErrBusy
	}
	select {
	case q.in <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
}
