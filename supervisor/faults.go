package supervisor

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// health knows which watchers and tasks work, and what else is wrong.
type health struct {
	reported map[string]bool           // watchers, and other tasks, that have reported, by name
	failing  map[string]error          // tasks by name
	faults   map[string]status.Problem // by what is faulty
	unsent   map[LinkKey]message.Text  // why echo requests can't be sent, by link
	unknown  []message.Text            // what is wrong with the sections of keepalive.conf
	guardAt  time.Time                 // since when the Hello guard sees what xl2tpd sends; zero: it does not

	out *outbox
}

func newHealth(out *outbox) *health {
	return &health{
		reported: make(map[string]bool),
		failing:  make(map[string]error),
		faults:   make(map[string]status.Problem),
		unsent:   make(map[LinkKey]message.Text),
		out:      out,
	}
}

// watcherReported notes that a watcher has reported.
func (h *health) watcherReported(watcher string) {
	h.reported[watcher] = true
	if _, ok := h.failing[watcher]; ok {
		delete(h.failing, watcher)
		h.out.log(slog.LevelInfo, watcher+" works again")
	}
}

// haveReported reports whether all of these watchers have reported.
func (h *health) haveReported(watchers ...string) bool {
	return !slices.ContainsFunc(watchers, func(w string) bool { return !h.reported[w] })
}

func (h *health) taskFailed(ev TaskFailed) {
	h.reported[ev.Task] = true
	switch _, known := h.failing[ev.Task]; {
	case known:
	case ev.Task == WatcherVICI && errors.Is(ev.Err, vici.ErrLibreswan):
		h.out.log(slog.LevelInfo, "SAs are not watched", slog.String("reason", ev.Err.Error()))
	default:
		h.out.log(slog.LevelWarn, ev.Task+" does not work, trying again", slog.String("reason", ev.Err.Error()))
	}
	h.failing[ev.Task] = ev.Err
}

// fault records a fault that a working watcher reports, or removes it if bad is false. The watcher logs the fault
// itself.
func (h *health) fault(what string, bad bool, p status.Problem) {
	if bad {
		h.faults[what] = p
	} else {
		delete(h.faults, what)
	}
}

// libreswan reports whether Libreswan does IPsec here. Nobody can watch its SAs, so that is no problem.
func (h *health) libreswan() bool { return errors.Is(h.failing[WatcherVICI], vici.ErrLibreswan) }

// problems returns what does not work.
func (h *health) problems() []status.Problem {
	var all []status.Problem
	for _, name := range slices.Sorted(maps.Keys(h.failing)) {
		if name == WatcherVICI && h.libreswan() {
			continue
		}
		all = append(all, failure(name, h.failing[name]))
	}
	for _, what := range slices.Sorted(maps.Keys(h.faults)) {
		all = append(all, h.faults[what])
	}
	return all
}

// failure returns the problem that a task fails.
func failure(task string, err error) status.Problem {
	switch {
	case task == WatcherVICI:
		return status.Problem{Code: status.CodeVICI, Text: status.NoVICI}
	case strings.HasPrefix(err.Error(), task+": "):
		return status.Problem{Text: message.TextOf(err)}
	}
	return status.Problem{Text: message.Sprintf("%s: %s", task, err)}
}

// faultEcho is the name of the fault that echo requests can't be sent.
const faultEcho = "echo requests"

// notSent records why a link's echo requests can't be sent, and forgets that once one can. Each link counts by itself: a
// filter may refuse the echo requests of one link only.
func (h *health) notSent(link LinkKey, err error) {
	if !probe.Unsent(err) {
		h.forgetUnsent(link)
		return
	}
	if len(h.unsent) == 0 {
		h.out.log(slog.LevelWarn, "echo requests can't be sent: no tunnel counts as silent meanwhile",
			slog.String("link", link.Name), slog.String("reason", err.Error()))
	}
	h.unsent[link] = message.TextOf(err)
	h.fault(faultEcho, true, status.Problem{Text: h.unsentText()})
}

// forgetUnsent notes that echo requests can be sent through a link, or that the link is gone.
func (h *health) forgetUnsent(link LinkKey) {
	if _, was := h.unsent[link]; !was {
		return
	}
	delete(h.unsent, link)
	if len(h.unsent) == 0 {
		h.out.log(slog.LevelInfo, "echo requests can be sent again")
	}
	h.fault(faultEcho, len(h.unsent) > 0, status.Problem{Text: h.unsentText()})
}

// unsentText returns the first link whose echo requests can't be sent, the reason, and how many more there are.
func (h *health) unsentText() message.Text {
	if len(h.unsent) == 0 {
		return ""
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(h.unsent)), func(a, b LinkKey) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Index-b.Index)
	})
	text := message.Sprintf("%s: %s", first.Name, h.unsent[first])
	if more := len(h.unsent) - 1; more > 0 {
		text = message.Sprintf("%s (and %d more links)", text, more)
	}
	return text
}

// watchGuard notes since when the Hello guard sees what xl2tpd sends. news is true if it has just begun to.
func (h *health) watchGuard(c *config.Config, now time.Time) (news bool) {
	switch sees := h.reported[TaskGuard] && !h.blind(c); {
	case !sees:
		h.guardAt = time.Time{}
	case h.guardAt.IsZero():
		h.guardAt, news = now, true
	}
	return news
}

// blind reports whether no Hello guard sees what xl2tpd sends.
func (h *health) blind(c *config.Config) bool {
	return c.Guard() == config.GuardOff || h.faults[TaskGuard] != (status.Problem{}) || h.failing[TaskGuard] != nil
}

// uniqueID returns the id of an SA. It is empty while charon can't be asked: charon may have been restarted, and a new
// charon reuses the ids.
func (h *health) uniqueID(s sa) string {
	if h.failing[WatcherVICI] != nil {
		return ""
	}
	return s.UniqueID
}
