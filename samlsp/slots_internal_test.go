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
		leave, err := s.take(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := make(chan error)
		go func() { _, err := s.take(ctx, 1); got <- err }()
		synctest.Wait()
		if _, err := s.take(ctx, 1); err != ErrBusy {
			t.Errorf("a third one gets %v, want ErrBusy", err)
		}
		if err := <-got; !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that waited in vain gets %v, want ErrBusy and the reason", err)
		}
		go func() {
			leave, err := s.take(t.Context(), 1)
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
		if waiting := s.all.waiting.Load(); waiting != 0 {
			t.Errorf("%d still wait", waiting)
		}
	})
}

// TestLargeMessages has large messages in their queue, which small ones pass by.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(4, 1)
		leave, err := s.take(t.Context(), largeMessage+1)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() {
			leave, err := s.take(t.Context(), largeMessage+1)
			if err == nil {
				leave()
			}
			got <- err
		}()
		synctest.Wait()
		if _, err := s.take(t.Context(), largeMessage+1); err != ErrBusy {
			t.Errorf("a third large one gets %v, want ErrBusy", err)
		}
		for i := range 3 {
			if _, err := s.take(t.Context(), largeMessage); err != nil {
				t.Errorf("small one %d beside large ones: %v", i, err)
			}
		}
		leave()
		if err := <-got; err != nil {
			t.Errorf("the large one that waited gets %v", err)
		}
	})
}
