package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// maxTurns is how many LACs may be brought back at the same time: charon has one of its
// 16 threads wait for each SA that it initiates for us.
const maxTurns = 8

// recover has the LACs climb their ladders that something has happened to, or
// whose time has come.
func (b *Brain) recover(now time.Time) {
	if b.changed {
		for _, in := range b.atlas.instances {
			for _, s := range in.lacs {
				b.touchLAC(b.lac(in.name(s)))
			}
		}
	}
	for _, l := range b.climbs.Take(now) {
		b.touchLAC(l)
	}
	slices.SortFunc(b.touched, func(x, y *lac) int { return strings.Compare(x.key, y.key) })
	for _, l := range b.touched {
		l.touched = false
		if !b.ready {
			continue // what is remembered holds
		}
		b.attend(l, now)
	}
	b.touched = b.touched[:0]
	for l := b.next(); l != nil; l = b.next() {
		b.attend(l, now)
	}
}

// next is the LAC whose turn it is, or nil.
func (b *Brain) next() (first *lac) {
	if b.turns == maxTurns {
		return nil
	}
	for l := range b.waiting {
		if first == nil || l.before(first) {
			first = l
		}
	}
	return first
}

// before reports whether the turn is this one's if both wait for it.
func (l *lac) before(other *lac) bool {
	switch {
	case l.ladder.before(&other.ladder):
		return true
	case other.ladder.before(&l.ladder):
		return false
	}
	return l.key < other.key // any order, but always the same one
}

// attend sees to what a LAC needs.
func (b *Brain) attend(l *lac, now time.Time) {
	if s := b.section(l); s != nil && s.Name != "default" && s.Name != "" {
		b.climb(l, s, now)
	} else {
		b.climbs.Set(l, time.Time{})
		delete(b.waiting, l)
	}
	b.keep(l)
}

// climb has a LAC climb its ladder, and notes when to look again.
func (b *Brain) climb(l *lac, s *xl2tpd.Section, now time.Time) {
	// An attempt that it closes, and nobody acknowledges that, takes twice that time.
	if !l.rests.IsZero() && !now.Before(l.rests.Add(s.RedialTimeout+2*answerTime)) {
		l.idle, l.rests = true, time.Time{} // it should have redialled by then
	}
	b.noteHidden(l, s, now)
	if due := b.redialDue(l, s); !due.IsZero() && !now.Before(due) {
		l.idle, l.rests = true, time.Time{}
	}
	is, at := b.situation(l, s, now)
	if is.well() && b.claims(l).sure(b.daemon(l).Pid) {
		l.seen, l.idle, l.last, l.said = true, false, nil, ""
		l.silent, l.attempt, l.rests = time.Time{}, time.Time{}, time.Time{}
		l.ike, l.ikeTo = b.lnsSA(l, s).Name, lnsHost(s)
	}
	b.noteCall(l)
	b.noteShared(l)
	step, again := l.ladder.climb(is, b.turns < maxTurns, b.jitter(), now)
	b.climbs.Set(l, earlier(at, again))
	b.noteRule(l, step)
	if l.ladder.waits {
		b.waiting[l] = true
	} else {
		delete(b.waiting, l)
	}
	if step == StepNone {
		return
	}
	if !step.asks() {
		b.turns++
	}
	if step == StepHangUp {
		l.guessed = is.up && len(b.claims(l).sole) == 0
	}
	r := Recover{
		LAC: LAC{l.instance, s.Name}, To: b.target(l), Step: step, Up: is.up, Dead: l.ladder.dead,
		SA: b.unique(b.lnsSA(l, s)), LNS: b.lns(l), From: b.from(l), Host: lnsHost(s), Tried: l.tried(),
	}
	if step == StepHangUp && is.moved && l.ladder.fresh {
		r.Since = l.ladder.doneAt
	}
	if l.ikeTo == r.Host { // it is still the same LNS
		r.IKE = l.ike
	}
	r.Peer = r.LNS
	if l.called.IsValid() {
		r.Peer = l.called
	}
	for t := range b.claims(l).links {
		if t.place.outer.IsValid() {
			r.Peer = t.place.outer
		}
		break
	}
	b.do(r)
}

// renewed notes that a silent tunnel has a new SA.
func (b *Brain) renewed(t *tunnel, now time.Time) {
	for _, n := range t.place.names {
		if n.kind == "lac" {
			b.lac(n).ladder.renewedByOthers(now)
		}
	}
}

// noteCall notes that a call of the LAC has begun after an end of which nobody knows the cause: xl2tpd dials no LAC that was
// hung up.
func (b *Brain) noteCall(l *lac) {
	if !l.last.hangUp() || l.last.sure {
		return
	}
	pid, told := b.daemon(l).Pid, l.last.Time.Add(late)
	if slices.ContainsFunc(b.claims(l).sole, func(t *tunnel) bool {
		return !t.found && t.link.Xl2tpdPid == pid && t.since.After(told)
	}) {
		l.last, l.silent, l.seen, l.idle = nil, time.Time{}, true, false
	}
}

// noteShared notes what the links say that a LAC has in common with others. If there are as many as
// LACs, each of them has one.
func (b *Brain) noteShared(l *lac) {
	pid := b.daemon(l).Pid
	for _, crowd := range b.claims(l).shared {
		of := func(t *tunnel) bool { return t.linked() && t.link.Xl2tpdPid == pid }
		l.mayHave = l.mayHave || slices.ContainsFunc(*crowd, of)
		if l.leftDown() && count(*crowd, of) >= len((*crowd)[0].place.names) {
			l.last, l.perhaps, l.silent = nil, nil, time.Time{}
		}
	}
	if l.perhaps != nil && b.claims(l).sure(pid) {
		l.perhaps = nil
	}
}

func count(all []*tunnel, is func(*tunnel) bool) (n int) {
	for _, t := range all {
		if is(t) {
			n++
		}
	}
	return n
}

// noteRule has the debug log say which rule has decided.
func (b *Brain) noteRule(l *lac, step Step) {
	if l.ladder.rule == "" {
		return
	}
	b.noteLAC(l, slog.LevelDebug, "recovery has decided",
		slog.String("step", does(step)), slog.String("rule", l.ladder.rule), slog.String("pause", l.ladder.pause))
}

// tried is when xl2tpd has asked the LNS last for a tunnel that may be this LAC's; zero: it has not.
func (l *lac) tried() time.Time {
	if l.attempt.IsZero() || l.asked.Before(l.attempt) {
		return l.attempt
	}
	return l.asked
}

// situation is how it is about a LAC, and when that will be another without
// anything happening.
func (b *Brain) situation(l *lac, s *xl2tpd.Section, now time.Time) (is situation, at time.Time) {
	sa := b.lnsSA(l, s)
	is = situation{
		wish: b.wish(l, s), daemon: b.daemon(l).Pid != 0,
		secured: sa.Child, connecting: sa.State == "CONNECTING" && b.failing[EyeVICI] == nil, free: l.free(),
		lost:   !l.silent.IsZero(),
		trying: !l.attempt.IsZero() && now.Sub(l.attempt) < answerTime, tried: l.attempt.Add(answerTime),
		asked: l.asked, planned: l.planned, redialDue: b.redialDue(l, s),
		unclear: l.perhaps.hangUp() || b.perhapsDialled(l, s),
		proven:  b.proves(sa, l), shared: b.sharesLNS(l, s), renewing: b.renewedForAnother(l, s),
	}
	is.kept = sa.Others || b.carriesOthers(sa, l) || b.mayCarryOthers(l)
	switch {
	case l.idle:
	case s.Redial && (l.seen || l.mayHave || s.Autodial): // it has been dialled, or may have been
		is.owner, is.redial = redialling(s), s.RedialTimeout
		if since := l.ladder.since; !since.IsZero() && l.dialled.After(since) {
			is.owner += l.dialled.Sub(since)
		}
	case s.Autodial && !l.seen:
		is.owner = answerTime // xl2tpd may have just begun
	}
	c := b.claims(l)
	if b.secured && !is.secured {
		for t := range c.links {
			is.bare = is.bare || t.secured
		}
		is.moved = is.bare && slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool { return b.atlas.sas[ip].Child })
	}
	for t := range c.links {
		is.up = true
		if t.state != Silent || t.evidence.Last().IsZero() {
			is.quiet = 0
			break // one that lives is enough
		}
		if quiet := now.Sub(t.asked); is.quiet == 0 || quiet < is.quiet {
			is.quiet = quiet
		}
	}
	if b.failing[EyeVICI] != nil {
		// What charon has listed last no longer counts, but for what it has said since: its list can
		// take longer than a step if a script or RADIUS holds it up.
		d := &l.ladder
		at := now
		if is.trying { // what counts is the SA that the attempt began with
			at = l.attempt
		}
		is.secured = d.secured && d.doneAt.After(b.listedAt) && at.Sub(d.doneAt) < unlistedTime
	}
	switch {
	case is.up:
	case slices.ContainsFunc(c.sole, func(t *tunnel) bool { return t.link.Raised }):
		is.up = true // it carries IPv6 alone
	case len(c.sole) > 0:
		is.stuck, at = stuck(c.sole, now)
	case l.last != nil && l.last.half:
		if at = l.last.Time.Add(is.redial + callStart); !now.Before(at) {
			is.half, at = true, time.Time{}
		}
	}
	if l.last != nil && !l.last.sure {
		if told := l.last.Time.Add(late); now.Before(told) { // that the operator has hung up may be heard yet
			is.wish, at = wishNothing, earlier(at, told)
		}
	}
	return is, at
}

// stuck reports whether one of the calls has had its time, or when it will have.
func stuck(calls []*tunnel, now time.Time) (is bool, at time.Time) {
	for _, t := range calls {
		at = t.since.Add(callTime)
		if !now.Before(at) {
			return true, time.Time{}
		}
	}
	return false, at
}

// redialling is how long xl2tpd goes on redialling at least.
func redialling(s *xl2tpd.Section) time.Duration {
	const forever = 100 * 365 * 24 * time.Hour
	// The pause, SCCRQ and its retransmissions, and those of StopCCN.
	each := s.RedialTimeout + 2*answerTime
	if n := time.Duration(s.MaxRedials); n > 0 && n < forever/each {
		return n * each
	}
	return forever
}

// wish is what the configuration and the operator want for a LAC.
func (b *Brain) wish(l *lac, s *xl2tpd.Section) wish {
	in := b.atlas.byID[l.instance]
	if in == nil || in.NetworkManager() || b.doubled(in) || l.last.hangUp() {
		return wishNothing
	}
	switch b.config.For(in.Path, s.Kind, s.Name).Recovery(s.Autodial || s.Redial && (l.seen || l.mayHave)) {
	case config.RecoverFull:
		return wishFull
	case config.RecoverRedial:
		return wishRedial
	}
	return wishNothing
}

// perhapsDialled reports whether a LAC is wanted only if it has been dialled, and nobody knows
// whether it has.
func (b *Brain) perhapsDialled(l *lac, s *xl2tpd.Section) bool {
	return l.mayHave && !l.seen && !s.Autodial && b.ifDialled(l)
}

// ifDialled reports whether a LAC is wanted only if it has been dialled.
func (b *Brain) ifDialled(l *lac) bool {
	recovery := b.configured(name{"lac", l.name, l.instance}).Recovery
	return recovery(true) != recovery(false)
}

// climbing says what recovery does for a LAC that has no tunnel, or nothing.
func (b *Brain) climbing(l *lac, s *xl2tpd.Section, now time.Time) string {
	d := &l.ladder
	switch {
	case b.wish(l, s) == wishNothing || d.since.IsZero():
		return ""
	case d.busy != StepNone:
		return d.busy.String()
	case l.leftDown():
		return "left to xl2tpd: it, or another LAC like it, was hung up"
	case d.waits:
		return "waits until it is its turn to be brought back"
	case errors.Is(d.err, ErrNoRoute):
		return "waits for a route to the LNS"
	case (d.last == StepDial || d.last == StepRedial) && d.err == nil:
		return "waits for the LNS to answer"
	case d.failed > 0:
		return fmt.Sprintf("tries again in %v (%d failed)", max(d.next.Sub(now), 0).Round(time.Second), d.failed)
	case s.Redial:
		return "xl2tpd redials"
	}
	return "about to bring it back"
}
