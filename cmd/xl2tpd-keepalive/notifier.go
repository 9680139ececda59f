package main

import (
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"xl2tpd-keepalive/internal/sdnotify"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/savedstate"
)

// idlePulse is the pulse without systemd's watchdog.
const idlePulse = time.Minute

// notifier passes the state of the loop on to systemd and its watchdog, and to the file for the next process.
type notifier struct {
	saver    *savedstate.Saver
	systemd  *sdnotify.Notifier
	ready    func()
	watchdog time.Duration // within which systemd wants a sign of life; 0: it wants none
}

func newNotifier(systemd *sdnotify.Notifier, saver *savedstate.Saver, ready func(), log *slog.Logger) notifier {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "err", err)
		watchdog = 0
	}
	return notifier{saver, systemd, ready, watchdog}
}

func (n notifier) Ready() { n.ready() }

func (n notifier) Status(s string) { n.systemd.Send("STATUS=" + s) }

func (n notifier) Keep(m supervisor.SavedState) { n.saver.Keep(m) }

func (n notifier) Beat() {
	if n.watchdog > 0 {
		n.systemd.Send(daemon.SdNotifyWatchdog)
	}
}

func (n notifier) Pulse() time.Duration {
	if n.watchdog > 0 {
		return n.watchdog
	}
	return idlePulse
}
