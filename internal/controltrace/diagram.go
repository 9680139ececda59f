package controltrace

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"xl2tpd-keepalive/internal/l2tp"
)

// halfWidth is the width of each half of a diagram, between two of the three lines.
const halfWidth = 25

// Diagram draws the messages as a sequence diagram, one line each, below a line that names xl2tpd, the guard and the
// peer. The times are those before end. Each half has the numbers that its end sees.
func Diagram(all []Record, end time.Time) []string {
	lines := []string{fmt.Sprintf("%9s   %-*s%-*s%s", "", halfWidth-1, "xl2tpd", halfWidth+1, "guard", "peer")}
	for i := range all {
		r := &all[i]
		line := fmt.Sprintf("%7.1f s     │%s│%s│", r.Time.Sub(end).Seconds(), r.half(r.Xl2tpd, true), r.half(r.Peer, false))
		lines = append(lines, strings.TrimRight(line+"  "+r.short(), " "))
	}
	return lines
}

// half draws the part of the arrow between one end and the guard.
func (r *Record) half(e End, left bool) string {
	if !e.Sees {
		return strings.Repeat(" ", halfWidth)
	}
	label := fmt.Sprintf(" %s %d/%d ", r.TypeName(), e.Ns, e.Nr)
	fill := max(halfWidth-utf8.RuneCountInString(label)-2, 0)
	first, last := "─", "─"
	passes := r.Xl2tpd.Sees && r.Peer.Sees
	switch {
	case r.ToPeer && (!left || !passes):
		last = "▶"
	case !r.ToPeer && (left || !passes):
		first = "◀"
	}
	return first + strings.Repeat("─", fill/2) + label + strings.Repeat("─", fill-fill/2) + last
}

// short returns what the arrows do not show.
func (r *Record) short() string {
	var all []string
	if r.Again {
		all = append(all, "again")
	}
	switch r.Verdict {
	case Held, Dropped:
		all = append(all, verdicts[r.Verdict])
	case Sent, Asked:
		all = append(all, "by the guard")
	}
	if code := result(l2tp.ParseAttributes(r.Payload)); code != "" {
		all = append(all, code)
	}
	return strings.Join(all, ", ")
}
