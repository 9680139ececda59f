package doctor

import (
	"slices"
	"time"

	"xl2tpd-keepalive/internal/message"
)

// hellos finds out from the journal whether unanswered Hellos close tunnels.
func (c *checker) hellos() []Finding {
	const check = "unanswered Hellos"
	if c.journalErr != nil {
		f := unknown(check, "", message.TextOf(c.journalErr))
		if !c.Superuser {
			f.Remedy = []message.Text{asRoot}
		}
		return []Finding{f}
	}
	n := len(c.givenUp)
	if n == 0 && slices.ContainsFunc(c.seen.Instances, elsewhere) {
		return []Finding{unknown(check, "", "none in the journal of this host; an xl2tpd in a container may log elsewhere")}
	}
	if n == 0 {
		return []Finding{good(check, "", "none closed a tunnel in the last 24 h")}
	}
	text := message.Sprintf("%s closed in the last 24 h (Maximum retries exceeded), the last at %s", count(n, "%d tunnel", "%d tunnels"), c.givenUp[n-1].Format(time.TimeOnly))
	if p := period(c.givenUp); p > 0 {
		text = message.Sprintf("%s, one every %v", text, p.Round(time.Second))
	}
	if c.statusErr == nil && c.givenUp[n-1].Before(c.status.Time.Add(-10*time.Minute)) {
		return []Finding{good(check, "", "%s; none in the last 10 min", text)}
	}
	return []Finding{bad(check, "", text, "let the Hello guard work: no `hello guard = off` in /etc/xl2tpd/keepalive.conf",
		"if the peer was really away, nothing: that is xl2tpd's way to notice")}
}

// period returns the median interval between the times, or 0 for fewer than three.
func period(at []time.Time) time.Duration {
	if len(at) < 3 {
		return 0
	}
	var between []time.Duration
	for i := range at[1:] {
		between = append(between, at[i+1].Sub(at[i]))
	}
	slices.Sort(between)
	return between[len(between)/2]
}
