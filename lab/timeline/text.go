package timeline

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const columns = 60

// Bars writes one line a tunnel: what each moment so far was, and why it last closed.
func (t *Timeline) Bars(w io.Writer) (lines int) {
	for _, r := range t.runs {
		fmt.Fprintf(w, "%s, %s\x1b[K\n", r.Name, clockText(r.Now()))
		lines++
		for _, row := range r.Rows {
			fmt.Fprintf(w, "  %-9s %s %s\x1b[K\n", row.Tunnel, t.bar(r, row), state(row, t.Span))
			lines++
		}
	}
	return lines
}

func (t *Timeline) bar(r *Run, row *Row) string {
	var b strings.Builder
	for i := range columns {
		at := t.Span * time.Duration(2*i+1) / (2 * columns)
		switch {
		case at > r.Now():
			b.WriteString(" ")
		case row.upAt(at, r.Now()):
			b.WriteString("█")
		default:
			b.WriteString("·")
		}
	}
	return b.String()
}

func (row *Row) upAt(at, now time.Duration) bool {
	for _, l := range row.Lives {
		if l.From <= at && at < l.Upto(now) {
			return true
		}
	}
	return false
}

func state(row *Row, span time.Duration) string {
	if len(row.Lives) == 0 {
		return ""
	}
	drops := row.Drops(span)
	if len(drops) == 0 {
		return fmt.Sprintf("up since %s", clockText(row.Lives[0].From))
	}
	d := drops[len(drops)-1]
	return fmt.Sprintf("closed %d×, last after %.0f s: %s", len(drops), (d.To - d.From).Seconds(), Words(d.Reason))
}

func clockText(d time.Duration) string {
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// Table writes the outcome: a line a tunnel, a group a run.
func (t *Timeline) Table(w io.Writer) {
	fmt.Fprintf(w, "%-45s %-9s %5s %7s  %s\n", "run", "tunnel", "drops", "up", "first close")
	for _, r := range t.runs {
		for _, row := range r.Rows {
			first := "none"
			drops := row.Drops(t.Span)
			if len(drops) > 0 {
				first = fmt.Sprintf("after %.1f s: %s", (drops[0].To - drops[0].From).Seconds(), Words(drops[0].Reason))
			}
			fmt.Fprintf(w, "%-45s %-9s %5d %6.1f%%  %s\n", r.Name, row.Tunnel, len(drops), 100*row.Uptime(t.Span), first)
		}
	}
}
