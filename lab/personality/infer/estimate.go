package infer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// estimate is what the capture says of a number.
type estimate struct {
	value int64  // a count, or a duration
	known bool   // exactly; otherwise value is one that fits
	note  string // what was seen, or why it cannot be known
}

func saw[T ~int64](value T, known bool, format string, args ...any) estimate {
	return estimate{int64(value), known, fmt.Sprintf(format, args...)}
}

// oneMore is a count that is too high by one if it is known.
func (e estimate) oneMore() int64 {
	if e.known {
		return e.value + 1
	}
	return e.value
}

// often writes a number of times.
func often(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// estimates are the numbers of a personality, as measured. The search decides whether they explain the capture.
type estimates struct {
	reply               time.Duration // how late acknowledgements are once a call is up; 0: not noticeably
	keepalive           []time.Duration
	keepaliveNote       string
	hellos              int64 // the most sends of one
	paces               [readings]pace
	idle                estimate
	triesToo, idleToo   []int64       // what else may explain a close of the router's
	sendsToo            []int64       // what else may explain that a StopCCN was not sent again
	deafFrom, deafUntil time.Duration // 0 until: no such time was seen
	deafNote            string
	zlbOffsets          []int16
}

// reading is what the sends of a message are taken for. Which one is right depends on what the router sends in place of a
// ZLB, and the search decides that.
type reading int

const (
	timerAlone reading = iota // a timer made each of them
	answersToo                // those that follow a packet of the client are answers to it
	readings
)

func readingOf(b l2tp.Behaviour) reading {
	if b.ZLB == l2tp.ZLBResend {
		return answersToo
	}
	return timerAlone
}

// pace is how messages are sent again, by one reading.
type pace struct{ tries, first, cap, sends estimate }

func measure(all []*exchange) *estimates {
	e := &estimates{}
	e.measureReplies(all)
	e.measureKeepalive(all)
	for r := range readings {
		e.paces[r].tries = e.measureTries(all, r)
		e.paces[r].measureRetransmission(all, r)
	}
	e.measureIdle(all)
	e.assumeData(all)
	for _, x := range all {
		e.suspect(x)
		e.measureDeafness(x)
		e.measureOffsets(x)
	}
	return e
}

// nice is the median, rounded as far as the samples' spread allows.
func nice(samples []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	median := sorted[len(sorted)/2]
	spread := sorted[len(sorted)-1] - sorted[0]
	for _, unit := range []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond} {
		v := median.Round(unit)
		if v > 0 && (v-median).Abs() <= max(min(spread/2, median/50), 2*time.Millisecond, median/1000) {
			return v
		}
	}
	return max(median.Round(time.Millisecond), time.Millisecond)
}

// span writes durations' range.
func span(samples []time.Duration) string {
	low, high := slices.Min(samples).Round(time.Millisecond), slices.Max(samples).Round(time.Millisecond)
	if low == high {
		return low.String()
	}
	return fmt.Sprintf("%v to %v", low, high)
}

// numbers lists packets, the first ones if there are many.
func numbers(list []int) string {
	const most = 6
	var b strings.Builder
	for i, n := range list {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(list)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}

// noticeable is from when on a late acknowledgement is a personality's and not the machine's.
const noticeable = 15 * time.Millisecond

// measureReplies measures how long acknowledgements took beyond the round trip.
func (e *estimates) measureReplies(all []*exchange) {
	var late []time.Duration
	for _, x := range all {
		late = append(late, x.lateness()...)
	}
	if len(late) == 0 {
		return
	}
	slices.Sort(late)
	median := late[len(late)/2]
	jitter := max(late[len(late)*3/4]-median, median-late[len(late)/4])
	for _, x := range all {
		x.jitter = min(jitter, 100*time.Millisecond)
	}
	if median > noticeable+2*jitter {
		e.reply = nice(late)
	}
}

// lateness is how long ZLBs took that followed one message of the client alone, once a call was up.
func (x *exchange) lateness() (late []time.Duration) {
	for i, in := range x.in {
		if in.kind != packetCame || in.packet.ZLB() || x.callUp.IsZero() || in.at.Before(x.callUp) {
			continue
		}
		next := x.End
		if i+1 < len(x.in) {
			next = x.in[i+1].at
		}
		for _, m := range x.out {
			if m.at.Before(in.at) || m.at.After(next) {
				continue
			}
			if m.ZLB() && m.Nr == in.packet.Ns+1 {
				late = append(late, m.at.Sub(in.at))
			}
			break
		}
	}
	return late
}

// measureKeepalive finds the interval of the router's Hellos, and how often one is sent. It counts from the last Hello, and
// from the last packet that came in.
func (e *estimates) measureKeepalive(all []*exchange) {
	var regular, quiet []time.Duration
	var list []int
	for _, x := range all {
		var last *sent
		for _, h := range x.sent {
			if h.kind != l2tp.Hello || x.up.IsZero() {
				continue
			}
			list = append(list, h.first().number)
			e.hellos = max(e.hellos, int64(len(h.times)))
			switch {
			case last == nil:
				regular = append(regular, h.first().at.Sub(x.up))
			case len(last.times) == 1:
				regular = append(regular, h.first().at.Sub(last.first().at))
			}
			last = h
			for _, in := range slices.Backward(x.in) {
				if in.kind == packetCame && in.at.Before(h.first().at) {
					quiet = append(quiet, h.first().at.Sub(in.at))
					break
				}
			}
		}
	}
	if len(list) == 0 {
		e.keepaliveNote = "the router sent no Hello of its own in this capture" + longest(all)
		return
	}
	if len(regular) > 2 {
		regular = regular[1:] // the first one can be late by the answer's delay
	}
	intervals := append(extremes(regular), extremes(quiet)...)
	if e.reply > 0 { // perhaps all that the router sends leaves so late, Hellos too
		for i := range quiet {
			quiet[i] -= e.reply
		}
		intervals = append(intervals, extremes(quiet)...)
	}
	for _, d := range intervals {
		if !slices.ContainsFunc(e.keepalive, func(k time.Duration) bool { return (d - k).Abs() <= max(k/100, 100*time.Millisecond) }) {
			e.keepalive = append(e.keepalive, d)
		}
	}
	e.keepaliveNote = fmt.Sprintf("the router's Hellos are packets %s, %s after the one before", numbers(list), span(regular))
}

// extremes are the longest of some times and the shortest one that can be an interval.
func extremes(times []time.Duration) (both []time.Duration) {
	const shortest = time.Second / 2
	times = slices.DeleteFunc(slices.Clone(times), func(d time.Duration) bool { return d < shortest })
	if len(times) == 0 {
		return nil
	}
	for _, bound := range []time.Duration{slices.Min(times), slices.Max(times)} {
		both = append(both, nice(slices.DeleteFunc(slices.Clone(times), func(d time.Duration) bool { return !near(d, bound) })))
	}
	return both
}

// longest says how long the longest tunnel was up.
func longest(all []*exchange) string {
	var most time.Duration
	for _, x := range all {
		if !x.up.IsZero() {
			most = max(most, x.over().Sub(x.up))
		}
	}
	return fmt.Sprintf(", in which the tunnel was up for %v", most.Round(time.Second))
}

// over is when the tunnel was closed, or the end of the file.
func (x *exchange) over() time.Time {
	for _, p := range x.Packets {
		if p.Type() == l2tp.StopCCN {
			return p.At
		}
	}
	return x.End
}

// stop is the router's StopCCN for a tunnel that was up, unless the router had taken the client's before.
func (x *exchange) stop() (message, bool) {
	for _, s := range x.sent {
		if s.kind == l2tp.StopCCN && !x.up.IsZero() {
			return s.first(), !x.stoppedBefore(s.first().at)
		}
	}
	return message{}, false
}

func (x *exchange) stoppedBefore(at time.Time) bool {
	return slices.ContainsFunc(x.in, func(in event) bool {
		return in.kind == packetCame && in.packet.Type() == l2tp.StopCCN && slices.ContainsFunc(x.out, func(m message) bool {
			return !m.at.Before(in.at) && !m.at.After(at) && int16(m.Nr-in.packet.Ns) > 0
		})
	})
}

// gaveUp returns the message for whose missing acknowledgement the router closed the tunnel: the StopCCN came one pause
// after its last send. Its acknowledgement may have come with an Ns that the router ignored.
func (x *exchange) gaveUp() *sent {
	stop, ok := x.stop()
	if !ok {
		return nil
	}
	var lost *sent
	for _, s := range x.sent {
		if s.kind == l2tp.StopCCN || !s.outlasted(stop.at) {
			continue
		}
		if lost == nil || s.triesAt(stop.at) > lost.triesAt(stop.at) {
			lost = s
		}
	}
	return lost
}

// triesAt is how often a message was sent, if it was given up at a time. One whose last pause is one of its own, or
// twice as long, counts more than any other: those may have been waiting for more.
func (s *sent) triesAt(until time.Time) int {
	n := len(s.times)
	if n == 1 {
		return n
	}
	pause, waited := s.times[n-1].at.Sub(s.times[n-2].at), until.Sub(s.last().at)
	if near(waited, pause) || near(waited, 2*pause) {
		const first = 1 << 16
		return first + n
	}
	return n
}

// outlasted reports whether a router may have waited for an acknowledgement until a time.
func (s *sent) outlasted(until time.Time) bool {
	n := len(s.times)
	waited := until.Sub(s.last().at)
	if n == 1 {
		return s.kind != l2tp.CDN && (s.acked.IsZero() || s.acked.After(until)) && waited > time.Second/4
	}
	pause := s.times[n-1].at.Sub(s.times[n-2].at)
	return waited > pause*4/5 && waited < pause*9/4
}

func near(a, b time.Duration) bool { return (a - b).Abs() <= max(b/20, 100*time.Millisecond) }

// suspect takes other numbers from a close of the router's than those that were measured: an acknowledgement that was
// seen need not have counted.
func (e *estimates) suspect(x *exchange) {
	stop, ok := x.stop()
	if !ok {
		return
	}
	for _, s := range x.sent {
		if s.kind == l2tp.StopCCN {
			e.sendsToo = append(e.sendsToo, int64(len(s.times)))
		}
	}
	last, _ := x.lastData(stop.at)
	if quiet := idleTime(stop.at.Sub(last)); quiet >= shortestIdle {
		e.idleToo = append(e.idleToo, int64(quiet))
	}
	for _, s := range slices.Backward(x.sent) {
		if s.kind == l2tp.Hello {
			e.triesToo = append(e.triesToo, int64(len(s.times)))
			return
		}
	}
}

// idleTime is the time of an idle timer that was at most a moment late.
func idleTime(quiet time.Duration) time.Duration {
	return (quiet + 50*time.Millisecond).Truncate(time.Second)
}

// measureTries counts the sends of Hellos that went unanswered, if they are sent again at the pace of the keepalive.
func (e *estimates) measureTries(all []*exchange, r reading) estimate {
	if len(e.keepalive) == 0 {
		return estimate{note: "the router sent no Hello of its own"}
	}
	most := estimate{note: "no Hello of the router went unanswered"}
	for _, x := range all {
		lost := x.gaveUp()
		for _, h := range x.sent {
			times := x.byTimer(h, r)
			if h.kind != l2tp.Hello || len(times) == 1 && h != lost {
				continue
			}
			pause := time.Duration(0)
			if len(times) > 1 {
				pause = times[1].at.Sub(times[0].at)
			} else if stop, ok := x.stop(); ok {
				pause = stop.at.Sub(h.last().at)
			}
			if !slices.ContainsFunc(e.keepalive, func(d time.Duration) bool { return near(pause, d) }) {
				return saw(int64(0), true, "the Hello of packet %d was sent again after %v, which is not the interval",
					h.first().number, pause.Round(time.Millisecond))
			}
			n := int64(len(times))
			switch {
			case h == lost:
				return saw(n, true, "the Hello of packet %d was sent %s, then the router closed the tunnel", h.first().number, often(n))
			case n > most.value:
				most = saw(n, false, "the Hello of packet %d was sent %s, until it was acknowledged: the router may send more",
					h.first().number, often(n))
			}
		}
	}
	return most
}

// measureRetransmission measures the pauses between sends of a message.
func (p *pace) measureRetransmission(all []*exchange, r reading) {
	defaults := l2tp.Defaults()
	none := "no message of the router went unanswered"
	p.first = estimate{int64(defaults.RetransmitFirst), false, none}
	p.cap = estimate{int64(defaults.RetransmitCap), false, none}
	p.sends = estimate{int64(defaults.RetransmitTries), false, none}
	var pauses [][]time.Duration // the first ones, the second ones, …
	most := int64(0)
	for _, x := range all {
		lost := x.gaveUp()
		for _, s := range x.sent {
			if s.kind == l2tp.Hello && p.tries.value > 0 { // at the pace of the keepalive
				continue
			}
			times := x.byTimer(s, r)
			for i := range len(times) - 1 {
				if i == len(pauses) {
					pauses = append(pauses, nil)
				}
				pauses[i] = append(pauses[i], times[i+1].at.Sub(times[i].at))
			}
			if stop, ok := x.stop(); ok && s == lost && len(times) == len(pauses)+1 {
				pauses = append(pauses, []time.Duration{stop.at.Sub(s.last().at)}) // it waited once more
			}
			n := int64(len(times))
			switch {
			case p.sends.known:
			case s == lost, n > 1 && x.silentAfter(s):
				p.sends = saw(n, true, "packet %d (%v) was sent %s, then no more", s.first().number, s.kind, often(n))
			case n > 1 && n > most:
				most = n
				p.sends = saw(max(n, p.sends.value), false, "packet %d (%v) was sent %s, then the capture or the wait ended",
					s.first().number, s.kind, often(n))
			}
		}
	}
	p.fitPauses(pauses)
}

// byTimer are the sends of a message that a timer made, by a reading. An answer follows a packet of the client, and is not
// what the client answers.
func (x *exchange) byTimer(s *sent, r reading) []message {
	if r == timerAlone {
		return s.times
	}
	var kept []message
	for i, m := range s.times {
		answer := i > 0 && slices.ContainsFunc(x.in, func(in event) bool {
			d := m.at.Sub(in.at)
			return in.kind == packetCame && in.number < m.number && d > -2*noticeable && d < 2*noticeable
		})
		if !answer {
			kept = append(kept, m)
		}
	}
	return kept
}

// silentAfter reports whether the router has given up a StopCCN, as far as the capture is long enough for it. An
// acknowledgement that came later is not why.
func (x *exchange) silentAfter(s *sent) bool {
	n := len(s.times)
	if s.kind != l2tp.StopCCN || n < 2 {
		return false
	}
	pause := s.times[n-1].at.Sub(s.times[n-2].at)
	waited := s.last().at.Add(5 * pause / 2)
	return x.End.After(waited) && !slices.ContainsFunc(x.in, func(in event) bool {
		return in.kind == packetCame && in.at.After(s.last().at) && in.at.Before(waited) && int16(in.packet.Nr-s.first().Ns) > 0
	})
}

func (p *pace) fitPauses(pauses [][]time.Duration) {
	if len(pauses) == 0 {
		return
	}
	first := nice(pauses[0])
	p.first = saw(first, true, "what was sent again came %s after the first time", span(pauses[0]))
	biggest := first
	for i, times := range pauses[1:] {
		pause := nice(times)
		if pause < biggest*8/5 {
			p.cap = saw(max(pause, first), true, "pause %d between sends was %s and not twice as long as the one before", i+2, span(times))
			return
		}
		biggest = pause
	}
	p.cap = saw(max(p.cap.value, int64(biggest)), false, "the pauses doubled up to %v, and may go on to do so", biggest)
}

// shortestIdle is from when on a close without another cause is taken for the idle timer's.
const shortestIdle = 5 * time.Second

// measureIdle looks for a close of the router's that nothing but the idle timer explains.
func (e *estimates) measureIdle(all []*exchange) {
	var longestGap time.Duration
	data := false
	for _, x := range all {
		gap, any := x.longestGap()
		longestGap, data = max(longestGap, gap), data || any
	}
	e.idle.note = fmt.Sprintf("the router closed no tunnel for it; the longest time without data was %v", longestGap.Round(time.Second))
	if !data {
		e.idle.note = "the router closed no tunnel for it, and the capture has no data"
	}
	for _, x := range all {
		stop, ok := x.stop()
		if !ok || x.gaveUp() != nil || x.provoked(stop) {
			continue
		}
		last, any := x.lastData(stop.at)
		quiet := stop.at.Sub(last)
		result, _ := resultOf(stop)
		if result == 6 || quiet < shortestIdle {
			x.in = append(x.in, event{at: stop.at, kind: operatorStop})
			slices.SortStableFunc(x.in, func(a, b event) int { return a.at.Compare(b.at) })
			e.idle.note += fmt.Sprintf(". %s: the router was stopped, or ended the tunnel for a reason that is not seen", x.where(stop))
			continue
		}
		x.idle = true
		if !any && e.idle.value > 0 && int64(idleTime(quiet)) > e.idle.value {
			continue // the other tunnel was quiet for a shorter time, so this one had data
		}
		after := quiet.Round(time.Millisecond)
		e.idle = saw(idleTime(quiet), any, "the router closed the tunnel in %s, %v after the last data, with nothing unanswered",
			x.where(stop), after)
		if !any {
			e.idle.note = fmt.Sprintf("the router closed the tunnel in %s, %v after it was up, with nothing unanswered. "+
				"The capture has no data: if there was any, the time is shorter", x.where(stop), after)
		}
	}
}

// assumeData adds data to tunnels of a capture without any, such as one inside of IPsec. There may have been some at any
// time, so no such tunnel says that there is no idle timer. One that the timer closed had none in the end.
func (e *estimates) assumeData(all []*exchange) {
	for _, x := range all {
		if _, any := x.lastData(x.End); any || x.callUp.IsZero() {
			continue
		}
		quiet := x.over()
		if x.idle {
			quiet = quiet.Add(-time.Duration(e.idle.value))
		}
		for at := x.callUp.Add(time.Second); at.Before(quiet); at = at.Add(time.Second) {
			x.in = append(x.in, event{at: at, kind: dataPassed})
		}
		if x.idle {
			x.in = append(x.in, event{at: quiet, kind: dataPassed})
		}
		slices.SortStableFunc(x.in, func(a, b event) int { return a.at.Compare(b.at) })
	}
}

// provoked reports whether a message of the client's came right before the router's StopCCN.
func (x *exchange) provoked(stop message) bool {
	return slices.ContainsFunc(x.in, func(in event) bool {
		d := stop.at.Sub(in.at)
		return in.kind == packetCame && !in.packet.ZLB() && in.packet.Type() != l2tp.Hello && d >= 0 && d < 4*noticeable
	})
}

// lastData is when data passed last before a time, or when the tunnel came up.
func (x *exchange) lastData(before time.Time) (last time.Time, any bool) {
	last = x.up
	for _, in := range x.in {
		if in.kind == dataPassed && in.at.Before(before) {
			last, any = in.at, true
		}
	}
	return last, any
}

// longestGap is the longest time without data while the tunnel was up.
func (x *exchange) longestGap() (longest time.Duration, any bool) {
	if x.up.IsZero() {
		return 0, false
	}
	last := x.up
	for _, in := range x.in {
		if in.kind == dataPassed && in.at.After(last) && in.at.Before(x.over()) {
			longest, last, any = max(longest, in.at.Sub(last)), in.at, true
		}
	}
	return max(longest, x.over().Sub(last)), any
}

// measureDeafness looks for a time in which the router answered no Hello, although it did before or after.
func (e *estimates) measureDeafness(x *exchange) {
	type try struct {
		age      time.Duration
		number   int
		answered bool
	}
	var tries []try
	for _, in := range x.in {
		if in.kind == packetCame && in.packet.Type() == l2tp.Hello {
			tries = append(tries, try{in.at.Sub(x.up), in.number, x.answered(in)})
		}
	}
	from := slices.IndexFunc(tries, func(t try) bool { return !t.answered })
	if from < 0 || e.deafUntil > 0 {
		return
	}
	until := from
	for until < len(tries) && !tries[until].answered {
		until++
	}
	if until-from < 2 || from == 0 && until == len(tries) {
		return // one may have been lost, and a router that is always deaf has another key
	}
	before := time.Duration(0)
	if from > 0 {
		before = tries[from-1].age
	}
	e.deafFrom = between(before, tries[from].age)
	e.deafNote = fmt.Sprintf("no Hello was answered from packet %d (%v after the tunnel was up) to packet %d (%v)", tries[from].number,
		tries[from].age.Round(time.Millisecond), tries[until-1].number, tries[until-1].age.Round(time.Millisecond))
	if until == len(tries) {
		const forever = 10000 * time.Hour
		e.deafUntil = forever
		e.deafNote += ", the last one"
		return
	}
	e.deafUntil = between(tries[until-1].age, tries[until].age)
}

// between is the middle of two times, to the second if there is one.
func between(a, b time.Duration) time.Duration {
	middle := (a + b) / 2
	if second := middle.Round(time.Second); second > a && second < b {
		return second
	}
	return middle.Round(time.Millisecond)
}

// answered reports whether a Hello was acknowledged before long.
func (x *exchange) answered(hello event) bool {
	return slices.ContainsFunc(x.out, func(m message) bool {
		d := m.at.Sub(hello.at)
		return d >= 0 && d < time.Second && int16(m.Nr-hello.packet.Ns) > 0
	})
}

// measureOffsets collects by how much ZLBs have another Ns than the one of the router's next message.
func (e *estimates) measureOffsets(x *exchange) {
	next := uint16(0)
	for _, m := range x.out {
		if !m.ZLB() {
			if int16(m.Ns+1-next) > 0 {
				next = m.Ns + 1
			}
			continue
		}
		if off := int16(m.Ns - next); off != 0 && !slices.Contains(e.zlbOffsets, off) && len(e.zlbOffsets) < 3 {
			e.zlbOffsets = append(e.zlbOffsets, off)
		}
	}
}
