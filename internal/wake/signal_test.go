package wake

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignal(t *testing.T) {
	var s Signal
	received := func() bool {
		select {
		case <-s.C():
			return true
		default:
			return false
		}
	}
	if received() {
		t.Error("received a signal that nobody sent")
	}
	s.Send()
	s.Send()
	if !received() || received() {
		t.Error("two signals were not received as one")
	}
}

// After ends with its context.
func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := After(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v, want none after a minute", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := After(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 61*time.Second {
			t.Errorf("got %v after %v, want the context's after 61 s", err, time.Since(began))
		}
	})
}
