package sdnotify

import (
	"errors"
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
		n := start(slog.New(slog.DiscardHandler), func(state string) error {
			<-stuck
			got = append(got, state)
			return nil
		})
		n.Send("READY=1")
		synctest.Wait()
		for _, state := range []string{"STATUS=a", "WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=1", "READY=1", "STATUS=b", "WATCHDOG=1"} {
			n.Send(state)
		}
		close(stuck)
		synctest.Wait()
		if want := []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=1", "READY=1", "STATUS=b", "WATCHDOG=1"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		n.Close(time.Second)
	})
}

// A state that can't be sent is sent again, unless a newer one has taken its place.
func TestNotifierSendsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var got []string
		var n *Notifier
		n = start(slog.New(slog.DiscardHandler), func(state string) error {
			if broken := time.Since(began) < sendAgain; !broken {
				got = append(got, state)
				return nil
			}
			if state == "STATUS=a" {
				n.Send("STATUS=b")
			}
			return errors.New("connection refused")
		})
		n.Send("READY=1")
		n.Send("STATUS=a")
		time.Sleep(sendAgain)
		synctest.Wait()
		if want := []string{"READY=1", "STATUS=b"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		n.Close(time.Second)
	})
}

// The end does not wait for it either.
func TestNotifierEndsWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		n := start(slog.New(slog.DiscardHandler), func(string) error {
			<-stuck
			return nil
		})
		n.Send("STOPPING=1")
		const longest = 500 * time.Millisecond
		began := time.Now()
		n.Close(longest)
		if took := time.Since(began); took != longest {
			t.Errorf("took %v", took)
		}
		close(stuck)
		<-n.done
	})
}
