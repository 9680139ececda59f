package config

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/message"
)

// Settings are the settings of one LAC or LNS.
type Settings struct {
	Keepalive bool          // watch its links and send echo requests
	Observe   bool          // with Keepalive: watch only; the service sends, holds and recovers nothing
	Interval  time.Duration // idle time of a link until an echo request
	Timeout   time.Duration // wait for the reply; never longer than Interval
	Failures  int           // lost echo requests in a row until a tunnel is silent
	Target    netip.Addr    // echo this address; invalid: the far-end PPP peer
	Guard     GuardMode
	Recover   RecoverMode
	Hook      string // executable to run at events; empty: none
}

// RecoverMode is how the service brings back a LAC's tunnel that has ended or is dead.
type RecoverMode int

const (
	RecoverOff    RecoverMode = iota // not at all
	RecoverRedial                    // make xl2tpd dial
	RecoverFull                      // also initiate or renew the IPsec SA
	RecoverAuto                      // as RecoverFull, if xl2tpd.conf has `redial` or `autodial` for the LAC
)

func (r RecoverMode) String() string {
	return [...]string{RecoverOff: "off", RecoverRedial: "redial", RecoverFull: "full", RecoverAuto: "auto"}[r]
}

// GuardMode is which of xl2tpd's Hellos the Hello guard holds back on a tunnel that is alive.
type GuardMode int

const (
	GuardOff  GuardMode = iota // none
	GuardAuto                  // those that the peer leaves unanswered
	GuardOn                    // all, as in RFC 2661 §5.5
)

func (g GuardMode) String() string {
	return [...]string{GuardOff: "off", GuardAuto: "auto", GuardOn: "on"}[g]
}

// OnlyObserves reports whether a tunnel is watched, and nothing is done to it.
func (s Settings) OnlyObserves() bool { return s.Keepalive && s.Observe }

// SendsEchoes reports whether a tunnel gets echo requests.
func (s Settings) SendsEchoes() bool { return s.Keepalive && !s.Observe }

// HelloGuard returns the mode in effect: a tunnel that is not watched, or only observed, has none.
func (s Settings) HelloGuard() GuardMode {
	if !s.SendsEchoes() {
		return GuardOff
	}
	return s.Guard
}

// Recovery returns the mode in effect: off for a tunnel that is not watched, or only observed.
// wanted decides RecoverAuto: whether xl2tpd.conf has `redial` or `autodial` for the LAC.
func (s Settings) Recovery(wanted bool) RecoverMode {
	switch {
	case !s.Keepalive, s.Observe, s.Recover == RecoverAuto && !wanted:
		return RecoverOff
	case s.Recover == RecoverAuto:
		return RecoverFull
	}
	return s.Recover
}

// idleTimer is the default of a Yamaha router's `l2tp tunnel disconnect time`.
const idleTimer = 60 * time.Second

// TooRare returns why a router's idle timer may end a tunnel in spite of the echo requests; empty: it does not. An echo
// request follows the last sign of life by the interval and a third at most (slack in supervisor/echoschedule.go), and
// then has to reach the router.
func (s Settings) TooRare() message.Text {
	longest := s.Interval * 135 / 100
	if !s.SendsEchoes() || longest < idleTimer {
		return ""
	}
	return message.Sprintf("`interval = %d` lets the link be idle for up to %d s, and the router, a Yamaha, closes the tunnel after %d s "+
		"unless its `l2tp tunnel disconnect time` is longer; use 40 or less",
		int(s.Interval.Seconds()), int(longest.Seconds()), int(idleTimer.Seconds()))
}

// Defaults are the settings without any file.
func Defaults() Settings {
	return Settings{Keepalive: true, Interval: 10 * time.Second, Timeout: 3 * time.Second, Failures: 3, Guard: GuardAuto, Recover: RecoverOff}
}
