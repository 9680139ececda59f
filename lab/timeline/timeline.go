// Package timeline draws when tunnels were up and why they closed: live on a terminal, as a table, as SVG.
package timeline

import (
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/event"
)

// MarkStart is the mark that begins the time shown.
const MarkStart = "start"

// Timeline collects the events of several runs.
type Timeline struct {
	Span time.Duration // time shown
	runs []*Run
}

// Run is one VM's tunnels.
type Run struct {
	Name  string
	start time.Time
	now   time.Time
	Rows  []*Row
}

// Row is one tunnel of one run.
type Row struct {
	Tunnel string
	Lives  []Life
}

// Life is one stretch of a tunnel being up, from its run's start.
type Life struct {
	From, To time.Duration
	Reason   string // why it closed; empty while it is up
}

// Run returns the run of that name, new if need be; runs are shown in the order they were first named.
func (t *Timeline) Run(name string) *Run {
	for _, r := range t.runs {
		if r.Name == name {
			return r
		}
	}
	r := &Run{Name: name}
	t.runs = append(t.runs, r)
	return r
}

// Runs are all of them, in that order.
func (t *Timeline) Runs() []*Run { return t.runs }

// Add takes in one event of a run.
func (t *Timeline) Add(e event.Event) {
	r := t.Run(e.Run)
	if e.Time.After(r.now) {
		r.now = e.Time
	}
	switch e.Kind {
	case event.Mark:
		if e.Text == MarkStart {
			r.start = e.Time
		}
	case event.Up:
		row := r.row(e.Tunnel)
		row.Lives = append(row.Lives, Life{From: e.Time.Sub(r.start)})
	case event.Down:
		if row := r.row(e.Tunnel); len(row.Lives) > 0 {
			life := &row.Lives[len(row.Lives)-1]
			life.To, life.Reason = e.Time.Sub(r.start), e.Reason
		}
	}
}

// Now is how far the run has come.
func (r *Run) Now() time.Duration {
	if r.start.IsZero() {
		return 0
	}
	return r.now.Sub(r.start)
}

func (r *Run) row(tunnel string) *Row {
	i := slices.IndexFunc(r.Rows, func(row *Row) bool { return row.Tunnel == tunnel })
	if i < 0 {
		r.Rows = append(r.Rows, &Row{Tunnel: tunnel})
		slices.SortFunc(r.Rows, func(a, b *Row) int { return strings.Compare(a.Tunnel, b.Tunnel) })
		return r.row(tunnel)
	}
	return r.Rows[i]
}

// Upto returns the life with an end: its own, or now.
func (l Life) Upto(now time.Duration) time.Duration {
	if l.Reason == "" {
		return now
	}
	return l.To
}

// Drops returns how often the tunnel closed in the time shown.
func (row *Row) Drops(span time.Duration) (drops []Life) {
	for _, l := range row.Lives {
		if l.Reason != "" && l.To <= span {
			drops = append(drops, l)
		}
	}
	return drops
}

// Uptime returns the share of the time shown, from the first coming up, during which the tunnel was up.
func (row *Row) Uptime(span time.Duration) float64 {
	if len(row.Lives) == 0 {
		return 0
	}
	var up time.Duration
	for _, l := range row.Lives {
		up += max(0, min(l.Upto(span), span)-l.From)
	}
	return float64(up) / float64(span-row.Lives[0].From)
}

// Words says a reason in a person's words.
func Words(reason string) string {
	switch reason {
	case "idle":
		return "router's idle timer"
	case "keepalive-timeout":
		return "router's own keepalive"
	case "hello-unanswered":
		return "xl2tpd's Hello unanswered"
	case "retransmit-timeout":
		return "router got no answer"
	case "operator":
		return "hung up by hand"
	}
	return reason
}
