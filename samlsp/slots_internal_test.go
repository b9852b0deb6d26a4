package samlsp

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlots has one slot and one that may wait for it.
func TestSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, 1)
		leave, err := s.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := make(chan error)
		go func() { _, err := s.take(ctx); got <- err }()
		synctest.Wait()
		if _, err := s.take(ctx); err != ErrBusy {
			t.Errorf("a third one gets %v, want ErrBusy", err)
		}
		if err := <-got; !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that waited in vain gets %v, want ErrBusy and the reason", err)
		}
		go func() {
			leave, err := s.take(t.Context())
			if err == nil {
				leave()
			}
			got <- err
		}()
		synctest.Wait()
		leave()
		if err := <-got; err != nil {
			t.Errorf("one that waited gets %v when the slot is free", err)
		}
		if waiting := s.waiting.Load(); waiting != 0 {
			t.Errorf("%d still wait", waiting)
		}
	})
}
