package ping

import (
	"math"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/probe"
)

const (
	// enough is how many echo requests each half must have sent before the figures count.
	enough = 3

	// certain is how many standard errors a difference must be. By chance one of 400 pings has three.
	certain = 3

	// Users do not notice smaller differences and losses.
	leastLoss  = 0.01
	leastDelay = 5 * time.Millisecond

	// slow is a round trip that people notice.
	slow = 100 * time.Millisecond
)

// finding returns one sentence about which half loses packets or is slow; empty: the figures do not show it.
func (p *Pair) finding() message.Text {
	if p.outer == nil {
		return ""
	}
	return finding(p.inner.figures, p.outer.figures)
}

// finding checks losses first: the round trips of a half that loses packets are not comparable.
func finding(inner, outer *probe.Stats) message.Text {
	if min(inner.Sent, outer.Sent) < enough {
		return ""
	}
	switch {
	case inner.Received == 0 && outer.Received == 0:
		return "Neither half answers: the LNS can't be reached, or answers no echo requests at all."
	case inner.Received == 0:
		return "The inner half loses everything: the LNS answers outside the tunnel, but nothing comes back through the tunnel."
	case outer.Received == 0:
		return "The LNS answers no echo requests outside the tunnel, which is common; only the inner figures count."
	case losesMore(inner, outer):
		return message.Sprintf("The inner half loses packets (%s, outer %s): look at the tunnel and at what is behind it.", percent(inner), percent(outer))
	case losesMore(outer, inner):
		return message.Sprintf("The outer half loses more (%s, inner %s), which the tunnel does not: the LNS may limit its echo replies.", percent(outer), percent(inner))
	case min(inner.Lost(), outer.Lost()) >= enough && min(inner.Loss(), outer.Loss()) >= leastLoss:
		return message.Sprintf("Both halves lose packets equally (inner %s, outer %s): look at the path to the LNS.", percent(inner), percent(outer))
	case slower(inner, outer):
		return message.Sprintf("The inner half is slow: it takes %s ms, the path to the LNS only %s ms of that.", ms(inner.Avg()), ms(outer.Avg()))
	case outer.Avg() >= slow && outer.Avg() >= inner.Avg()*4/5 && outer.Avg() <= inner.Avg()*5/4:
		return message.Sprintf("The outer half is slow: the path to the LNS alone takes %s ms, and through the tunnel it is %s ms.", ms(outer.Avg()), ms(inner.Avg()))
	}
	return ""
}

// losesMore reports whether one half certainly loses more than the other (a test of two proportions).
func losesMore(one, other *probe.Stats) bool {
	n, m := float64(one.Sent), float64(other.Sent)
	all := float64(one.Lost()+other.Lost()) / (n + m)
	return one.Loss()-other.Loss() >= max(leastLoss, certain*math.Sqrt(all*(1-all)*(1/n+1/m)))
}

// slower reports whether the round trips of one half certainly take much longer than the other's.
func slower(one, other *probe.Stats) bool {
	if min(one.Received, other.Received) < enough {
		return false
	}
	uncertain := math.Hypot(standardError(one), standardError(other))
	longer := one.Avg() - other.Avg()
	return longer >= max(leastDelay, other.Avg()/2) && float64(longer) >= certain*uncertain
}

// standardError returns the standard error of the mean round trip, in ns.
func standardError(s *probe.Stats) float64 {
	return float64(s.MDev()) / math.Sqrt(float64(s.Received-1))
}
