package infer

import (
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// choice is a key of a personality, or two that go together, and what it can be. The first option is what stays if
// the capture does not decide.
type choice struct {
	key     string
	options []func(*l2tp.Behaviour)
}

func options[T comparable](key string, set func(*l2tp.Behaviour, T), values ...T) choice {
	c := choice{key: key}
	var seen []T
	for _, v := range values {
		if !slices.Contains(seen, v) {
			seen = append(seen, v)
			c.options = append(c.options, func(b *l2tp.Behaviour) { set(b, v) })
		}
	}
	return c
}

// another is a delay to compare with, so that a replay can show that there is none.
const another = 100 * time.Millisecond

// perReading is a number by each reading.
type perReading [readings]int64

func inEach[T ~int | ~int64](v T) perReading { return perReading{int64(v), int64(v)} }

func (p perReading) in(b *l2tp.Behaviour) int64 { return p[readingOf(*b)] }

func (e *estimates) of(number func(pace) int64) (v perReading) {
	for r, p := range e.paces {
		v[r] = number(p)
	}
	return v
}

// choices are all keys that replays can decide.
func (e *estimates) choices() []choice {
	type B = l2tp.Behaviour
	type D = l2tp.Duration
	var keepalive []D
	for _, d := range e.keepalive {
		keepalive = append(keepalive, D(d))
	}
	keepalive = append(keepalive, 0)
	defaults := l2tp.Defaults()
	tries := []perReading{e.of(func(p pace) int64 { return p.tries.value }), {}}
	first := []perReading{e.of(func(p pace) int64 { return p.first.value }), inEach(defaults.RetransmitFirst)}
	most := []perReading{e.of(func(p pace) int64 { return p.cap.value }), inEach(defaults.RetransmitCap)}
	sends := []perReading{e.of(func(p pace) int64 { return p.sends.value }), inEach(defaults.RetransmitTries)}
	// One more, because a router that closes the tunnel for another reason would have sent a message again.
	for _, n := range e.triesToo {
		tries = append(tries, inEach(n))
	}
	tries = append(tries, inEach(e.hellos+min(e.hellos, 1)))
	tries = append(tries, e.of(func(p pace) int64 { return p.tries.value + min(p.tries.value, 1) }))
	sends = append(sends, e.of(func(p pace) int64 { return p.sends.oneMore() }))
	for _, n := range e.sendsToo {
		sends = append(sends, inEach(n))
	}
	idle := []D{D(e.idle.value), 0}
	for _, d := range e.idleToo {
		idle = append(idle, D(d))
	}
	type window struct{ from, until D }
	return []choice{
		// First, because a reading depends on it.
		options("zlb", func(b *B, v l2tp.ZLBMode) { b.ZLB = v }, l2tp.ZLBAlways, l2tp.ZLBHeld, l2tp.ZLBResend, l2tp.ZLBNever),
		options("hello", func(b *B, v l2tp.HelloMode) { b.Hello = v }, l2tp.HelloAck, l2tp.HelloDeaf, l2tp.HelloCountOnly),
		options("deaf_from", func(b *B, v window) { b.DeafFrom, b.DeafUntil = v.from, v.until }, window{}, window{D(e.deafFrom), D(e.deafUntil)}),
		options("keepalive_interval", func(b *B, v D) { b.KeepaliveInterval = v }, keepalive...),
		options("keepalive_tries", func(b *B, v perReading) { b.KeepaliveTries = int(v.in(b)) }, tries...),
		options("keepalive_quiet", func(b *B, v bool) { b.KeepaliveQuiet = v }, false, true),
		options("idle", func(b *B, v D) { b.Idle = v }, idle...),
		options("strict_ns", func(b *B, v bool) { b.StrictNs = v }, true, false),
		options("early", func(b *B, v l2tp.EarlyMode) { b.Early = v }, l2tp.EarlyDrop, l2tp.EarlyQueue, l2tp.EarlySkip, l2tp.EarlyWedge),
		options("ack_early", func(b *B, v l2tp.AckEarlyMode) { b.AckEarly = v }, l2tp.AckEarlyNone, l2tp.AckEarlyMessages, l2tp.AckEarlyAll),
		options("ack_duplicates", func(b *B, v bool) { b.AckDuplicates = v }, true, false),
		options("nr_follows", func(b *B, v bool) { b.NrFollows = v }, false, true),
		options("ack_delay", func(b *B, v D) { b.AckDelay = v }, 0, D(e.reply), D(e.reply/2), D(another)),
		options("answer_delay", func(b *B, v D) { b.AnswerDelay = v }, 0, D(e.reply), D(e.reply/2), D(another)),
		options("close_on", func(b *B, v l2tp.CloseOnMode) { b.CloseOn = v }, l2tp.CloseOnNothing, l2tp.CloseOnUnknown, l2tp.CloseOnUnexpected),
		options("zlb_ns_offset", func(b *B, v int16) { b.ZLBNsOffset = v }, append(append([]int16{0}, e.zlbOffsets...), 1)...),
		options("zlb_ns_offset_all", func(b *B, v bool) { b.ZLBNsOffsetAll = v }, false, true),
		options("retransmit_first", func(b *B, v perReading) { b.RetransmitFirst = D(v.in(b)) }, first...),
		options("retransmit_cap", func(b *B, v perReading) { b.RetransmitCap = max(D(v.in(b)), b.RetransmitFirst) }, most...),
		options("retransmit_tries", func(b *B, v perReading) { b.RetransmitTries = int(v.in(b)) }, sends...),
		options("retransmit_old_nr", func(b *B, v bool) { b.RetransmitOldNr = v }, false, true),
	}
}

// search looks for the options that explain the exchanges best.
type search struct {
	all     []*exchange
	base    l2tp.Behaviour
	choices []choice
	results map[string]result // of states that have been tried
}

// state is an option for each choice.
type state []byte

func (s *search) behaviour(st state) l2tp.Behaviour {
	b := s.base
	for i, c := range s.choices {
		c.options[st[i]](&b)
	}
	return b
}

// result is how well a state explains the exchanges.
type result struct {
	cost   float64
	agreed time.Duration // until the first differences
}

func (s *search) try(st state) result {
	if r, ok := s.results[string(st)]; ok {
		return r
	}
	var r result
	b := s.behaviour(st)
	for _, x := range s.all {
		a := x.align(x.replay(b))
		r.cost += a.cost
		r.agreed += a.agreed(x.End).Sub(x.begin)
	}
	s.results[string(st)] = r
	return r
}

func (s *search) cost(st state) float64 { return s.try(st).cost }

// ranking is what a search makes small.
type ranking func(state) float64

// byCost ranks by the cost, then by how much is not as it would be by default.
func (s *search) byCost(st state) float64 {
	const each = 1.0 / 1024
	return s.cost(st) + each*float64(len(st)-strings.Count(string(st), "\x00"))
}

// byTime ranks by how long a replay agrees: what comes after a difference is often no more than its consequence.
func (s *search) byTime(st state) float64 { return -s.try(st).agreed.Seconds() }

// coupled are keys that can stand in for each other: it takes two at a time to get from one explanation to another.
var coupled = []string{
	"hello", "keepalive_interval", "keepalive_tries", "keepalive_quiet", "idle",
	"strict_ns", "early", "ack_early", "nr_follows", "zlb",
}

// find starts from several states, as single changes do not lead from each to the best one.
func (s *search) find() state {
	first := make(state, len(s.choices))
	best := s.explain(first, -1)
	starts := []state{first}
	for i, c := range s.choices {
		if !slices.Contains([]string{"hello", "keepalive_quiet", "strict_ns"}, c.key) {
			continue
		}
		for _, st := range slices.Clone(starts) {
			for o := range c.options[1:] {
				other := slices.Clone(st)
				other[i] = byte(o + 1)
				starts = append(starts, other)
			}
		}
	}
	for _, st := range starts {
		if st = s.improve(st, -1, s.byCost); s.byCost(st) < s.byCost(best) {
			best = st
		}
	}
	return s.explain(best, -1)
}

// explain changes one choice or two until nothing gets better. What is fixed stays; -1 is nothing.
func (s *search) explain(st state, fixed int) state {
	best := s.improve(st, fixed, s.byCost)
	two := fixed < 0 || slices.Contains(coupled, s.choices[fixed].key)
	for _, rank := range []ranking{s.byTime, s.byCost} {
		trial := s.improve(st, fixed, rank)
		for two && s.cost(trial) > 0 && s.stepTwo(trial, fixed, rank) {
			trial = s.improve(trial, fixed, rank)
		}
		if trial = s.improve(trial, fixed, s.byCost); s.byCost(trial) < s.byCost(best) {
			best = trial
		}
		if s.cost(best) == 0 {
			break
		}
	}
	return best
}

func (s *search) improve(st state, fixed int, rank ranking) state {
	st = slices.Clone(st)
	for s.step(st, fixed, rank) {
	}
	return st
}

// step sets the one choice to the one option that helps most.
func (s *search) step(st state, fixed int, rank ranking) bool {
	best, at, to := rank(st), -1, byte(0)
	s.each(st, fixed, func(i int) {
		if r := rank(st); r < best {
			best, at, to = r, i, st[i]
		}
	})
	if at >= 0 {
		st[at] = to
	}
	return at >= 0
}

// stepTwo makes the change of two coupled choices that helps most.
func (s *search) stepTwo(st state, fixed int, rank ranking) bool {
	now := rank(st)
	var best state
	s.each(st, fixed, func(i int) {
		if !slices.Contains(coupled, s.choices[i].key) {
			return
		}
		s.each(st, fixed, func(j int) {
			if j <= i || !slices.Contains(coupled, s.choices[j].key) {
				return
			}
			if r := rank(st); r < now {
				now, best = r, slices.Clone(st)
			}
		})
	})
	if best != nil {
		copy(st, best)
	}
	return best != nil
}

// each calls with one choice changed, for all of them.
func (s *search) each(st state, fixed int, call func(i int)) {
	for i, c := range s.choices {
		if i == fixed {
			continue
		}
		was := st[i]
		for o := range c.options {
			if byte(o) != was {
				st[i] = byte(o)
				call(i)
			}
		}
		st[i] = was
	}
}
