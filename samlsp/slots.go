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

// Slots bound how many messages are worked on at once. All SPs of a gateway share
// theirs. Whoever sends a message has not proved anything yet, and reading it
// takes a processor and memory.
type Slots struct {
	free    chan struct{} // has one for each message that is worked on
	waiting atomic.Int64
	most    int64 // of those that wait
}

// NewSlots returns slots for so many messages at once, or for twice as many as there
// are processors if parallel is 0. As many as waiting says may wait for one.
func NewSlots(parallel, waiting int) *Slots {
	if parallel == 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	return &Slots{free: make(chan struct{}, parallel), most: int64(waiting)}
}

// take waits for a slot, which is to be given back by calling leave. The error is
// ErrBusy, or ctx at its end.
func (s *Slots) take(ctx context.Context) (leave func(), err error) {
	leave = func() { <-s.free }
	select {
	case s.free <- struct{}{}:
		return leave, nil
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > s.most {
		return nil, ErrBusy
	}
	select {
	case s.free <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to verify a message: %w: %w", ErrBusy, context.Cause(ctx))
	}
}
