package main

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/supervisor"
)

// notifier speaks to systemd, if that has started the service. Nobody waits for a systemd that
// does not listen.
type notifier struct {
	log  *slog.Logger
	send func(state string) error
	wake wake.Signal
	end  chan struct{}
	done chan struct{}

	mu      sync.Mutex
	pending []string // states to be sent, one of each variable
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log, end: make(chan struct{}), done: make(chan struct{}), send: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
	go n.run()
	return n
}

// tell has a state sent. A later state of the same variable takes the place of an earlier one
// that still waits.
func (n *notifier) tell(state string) {
	variable := func(s string) string { name, _, _ := strings.Cut(s, "="); return name }
	n.mu.Lock()
	n.pending = slices.DeleteFunc(n.pending, func(s string) bool { return variable(s) == variable(state) })
	n.pending = append(n.pending, state)
	n.mu.Unlock()
	n.wake.Send()
}

func (n *notifier) run() {
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

func (n *notifier) flush() {
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

// close waits until all is sent, but no longer than that. It is to be called once.
func (n *notifier) close(longest time.Duration) {
	close(n.end)
	select {
	case <-n.done:
	case <-time.After(longest):
	}
}

func (n *notifier) front(ready func()) supervisor.Front {
	f := supervisor.Front{
		Ready:  ready,
		Status: func(s string) { n.tell("STATUS=" + s) },
		Pulse:  idlePulse,
		Beat:   func() {},
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("no watchdog", "err", err)
	} else if watchdog > 0 {
		f.Pulse = watchdog
		f.Beat = func() { n.tell(daemon.SdNotifyWatchdog) }
	}
	return f
}
