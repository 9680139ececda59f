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
	variable := func(s string) string { name, _, _ := strings.Cut(s, "="); return name }
	n.mu.Lock()
	n.pending = slices.DeleteFunc(n.pending, func(s string) bool { return variable(s) == variable(state) })
	n.pending = append(n.pending, state)
	n.mu.Unlock()
	n.wake.Send()
}

func (n *Notifier) run() {
	defer close(n.done)
	for {
		select {
		case <-n.wake.C():
			n.flush()
		case <-n.end:
			n.flush()
			return
		}
	}
}

func (n *Notifier) flush() {
	n.mu.Lock()
	all := n.pending
	n.pending = nil
	n.mu.Unlock()
	for _, state := range all {
		if err := n.send(state); err != nil {
			n.log.Debug("systemd can't be told", "err", err)
		}
	}
}

// Close waits until all states are sent, but no longer than longest. Call it once.
func (n *Notifier) Close(longest time.Duration) {
	close(n.end)
	select {
	case <-n.done:
	case <-time.After(longest):
	}
}
