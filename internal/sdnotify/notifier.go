// Package sdnotify sends the service's state to systemd, see sd_notify(3).
package sdnotify

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"xl2tpd-keepalive/internal/wake"
)

// sendAgain is when a state is sent again that could not be sent.
const sendAgain = time.Second

// Notifier sends states to systemd, if systemd has started the service. It never blocks a caller,
// even if systemd does not read.
type Notifier struct {
	log  *slog.Logger
	send func(state string) error // replaced in tests
	wake wake.Signal
	end  chan struct{}
	done chan struct{}

	mu      sync.Mutex
	pending []string // states to be sent, one of each variable
}

// New starts a notifier. The caller must close it.
func New(log *slog.Logger) *Notifier {
	return start(log, func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	})
}

func start(log *slog.Logger, send func(state string) error) *Notifier {
	n := &Notifier{log: log, send: send, end: make(chan struct{}), done: make(chan struct{})}
	go n.run()
	return n
}

// Send queues a state. It replaces an earlier state of the same variable that still waits.
func (n *Notifier) Send(state string) {
	n.mu.Lock()
	n.pending = slices.DeleteFunc(n.pending, func(s string) bool { return variable(s) == variable(state) })
	n.pending = append(n.pending, state)
	n.mu.Unlock()
	n.wake.Send()
}

// variable returns which one a state is of.
func variable(state string) string { name, _, _ := strings.Cut(state, "="); return name }

func (n *Notifier) run() {
	defer close(n.done)
	var again <-chan time.Time
	for {
		select {
		case <-n.wake.C():
		case <-again:
		case <-n.end:
			n.flush()
			return
		}
		again = nil
		if !n.flush() {
			again = time.After(sendAgain)
		}
	}
}

// flush sends all states that wait. One that can't be sent waits on, unless a newer one of its variable does. It reports
// whether all were sent.
func (n *Notifier) flush() bool {
	n.mu.Lock()
	all := n.pending
	n.pending = nil
	n.mu.Unlock()
	all = slices.DeleteFunc(all, func(state string) bool {
		err := n.send(state)
		if err != nil {
			n.log.Debug("systemd can't be told", "err", err)
		}
		return err == nil
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	newer := n.pending
	n.pending = slices.DeleteFunc(all, func(state string) bool {
		return slices.ContainsFunc(newer, func(s string) bool { return variable(s) == variable(state) })
	})
	n.pending = append(n.pending, newer...)
	return len(all) == 0
}

// Close waits until all states are sent, but no longer than longest. Call it once.
func (n *Notifier) Close(longest time.Duration) {
	close(n.end)
	select {
	case <-n.done:
	case <-time.After(longest):
	}
}
