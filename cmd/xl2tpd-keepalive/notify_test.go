package main

import (
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A systemd that does not listen holds nobody up. When it listens again, it is told what holds
// then.
func TestNotifierWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var got []string
		n := &notifier{log: slog.New(slog.DiscardHandler), end: make(chan struct{}), done: make(chan struct{})}
		n.send = func(state string) error {
			<-stuck
			got = append(got, state)
			return nil
		}
		go n.run()
		n.tell("READY=1")
		synctest.Wait()
		for _, state := range []string{"STATUS=a", "WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=1", "READY=1", "STATUS=b", "WATCHDOG=1"} {
			n.tell(state)
		}
		close(stuck)
		synctest.Wait()
		if want := []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=1", "READY=1", "STATUS=b", "WATCHDOG=1"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		n.close(time.Second)
	})
}

// The end does not wait for it either.
func TestNotifierEndsWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		n := &notifier{log: slog.New(slog.DiscardHandler), end: make(chan struct{}), done: make(chan struct{})}
		n.send = func(string) error {
			<-stuck
			return nil
		}
		go n.run()
		n.tell("STOPPING=1")
		began := time.Now()
		n.close(lastWords)
		if took := time.Since(began); took != lastWords {
			t.Errorf("took %v", took)
		}
		close(stuck)
		<-n.done
	})
}
