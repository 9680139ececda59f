package supervisor

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

// health knows which watchers and tasks work, and what else is wrong.
type health struct {
	reported map[string]bool   // watchers, and other tasks, that have reported, by name
	failing  map[string]error  // tasks by name
	faults   map[string]string // their texts, by what is faulty
	unsent   map[Key]string    // why echo requests can't be sent, by link
	unknown  []string          // what is wrong with the sections of keepalive.conf
	guardAt  time.Time         // since when the Hello guard sees what xl2tpd sends; zero: it does not

	out *outbox
}

func newHealth(out *outbox) *health {
	return &health{
		reported: make(map[string]bool),
		failing:  make(map[string]error),
		faults:   make(map[string]string),
		unsent:   make(map[Key]string),
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
	if _, ok := h.failing[ev.Task]; !ok {
		h.out.log(slog.LevelWarn, ev.Task+" does not work, trying again", slog.String("reason", ev.Err.Error()))
	}
	h.failing[ev.Task] = ev.Err
}

// fault records a fault that a working watcher reports, or removes it if bad is false. The watcher logs the fault
// itself.
func (h *health) fault(what string, bad bool, text string) {
	if bad {
		h.faults[what] = text
	} else {
		delete(h.faults, what)
	}
}

// problems returns texts about what does not work.
func (h *health) problems() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(h.failing)) {
		all = append(all, failure(name, h.failing[name]))
	}
	for _, what := range slices.Sorted(maps.Keys(h.faults)) {
		all = append(all, h.faults[what])
	}
	return all
}

// failure returns the text about a failing task.
func failure(task string, err error) string {
	switch {
	case task == WatcherVICI:
		return status.NoVICI
	case strings.HasPrefix(err.Error(), task+": "):
		return err.Error()
	}
	return task + ": " + err.Error()
}

// faultEcho is the name of the fault that echo requests can't be sent.
const faultEcho = "echo requests"

// notSent records why a link's echo requests can't be sent, and forgets that once one can. Each link counts by itself: a
// filter may refuse the echo requests of one link only.
func (h *health) notSent(link Key, err error) {
	if !probe.Unsent(err) {
		h.forgetUnsent(link)
		return
	}
	if len(h.unsent) == 0 {
		h.out.log(slog.LevelWarn, "echo requests can't be sent: no tunnel counts as silent meanwhile",
			slog.String("link", link.Name), slog.String("reason", err.Error()))
	}
	h.unsent[link] = err.Error()
	h.fault(faultEcho, true, h.unsentText())
}

// forgetUnsent notes that echo requests can be sent through a link, or that the link is gone.
func (h *health) forgetUnsent(link Key) {
	if _, was := h.unsent[link]; !was {
		return
	}
	delete(h.unsent, link)
	if len(h.unsent) == 0 {
		h.out.log(slog.LevelInfo, "echo requests can be sent again")
	}
	h.fault(faultEcho, len(h.unsent) > 0, h.unsentText())
}

// unsentText returns the first link whose echo requests can't be sent, the reason, and how many more there are.
func (h *health) unsentText() string {
	if len(h.unsent) == 0 {
		return ""
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(h.unsent)), func(a, b Key) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Index-b.Index)
	})
	text := first.Name + ": " + h.unsent[first]
	if more := len(h.unsent) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more links)", more)
	}
	return text
}
