package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/hook"
	"xl2tpd-keepalive/xl2tpd"
	"xl2tpd-keepalive/xl2tpd/conf"
)

// dyingFor is how long xl2tpd holds on to a tunnel whose StopCCN nobody
// acknowledges; buriedFor the same if the Hello guard does, in the name of a dead
// peer.
const (
	dyingFor  = 33 * time.Second
	buriedFor = time.Second
)

// maxTurns is how many LACs may be brought back at the same time: charon has one of its
// 16 threads wait for each SA that it initiates for us.
const maxTurns = 8

// lac is what recovery knows of a LAC of xl2tpd.conf.
type lac struct {
	name    string
	key     string // the name in lower case
	ladder  ladder
	touched bool       // recovery has to look at it in the step under way
	stale   bool       // the step under way was begun before xl2tpd was
	seen    bool       // has had a tunnel, or was dialled, and nobody has hung up since
	idle    bool       // xl2tpd has not planned to dial it
	dialled time.Time  // when recovery had it dialled last
	attempt time.Time  // since when xl2tpd dials, as far as is known; zero: it does not
	rests   time.Time  // since when it is known not to; zero: it may
	called  netip.Addr // where it has dialled last; invalid: nobody has seen it
	ike     string     // the connection that its latest tunnel came through; empty: none
	ikeTo   string     // and the LNS that was, as xl2tpd.conf calls it
	last    *closing   // how its latest tunnel ended; nil: it is up, or none has
	silent  time.Time  // when that was, if it was silent; zero: it was not
	said    string     // what the log has told last

	was  bool // seen by the last brain, when the last xl2tpd may have run
	kept bool // for the next brain
	fate Fate // which is to be told this
}

func (b *Brain) lac(name string) *lac {
	if b.lacs == nil {
		b.lacs = make(map[string]*lac)
	}
	key := conf.Lower(name)
	if b.lacs[key] == nil {
		b.lacs[key] = &lac{name: name, key: key}
	}
	return b.lacs[key]
}

// touch has recovery look at the LACs of a place in the step under way.
func (b *Brain) touch(p place) {
	for _, n := range p.names {
		if n.kind == "lac" {
			b.touchLAC(b.lac(n.name))
		}
	}
}

func (b *Brain) touchLAC(l *lac) {
	if !l.touched {
		l.touched = true
		b.touched = append(b.touched, l)
	}
}

// recover has the LACs climb their ladders that something has happened to, or
// whose time has come.
func (b *Brain) recover(now time.Time) {
	if b.changed && b.atlas.conf != nil {
		for i := range b.atlas.conf.Sections {
			if s := &b.atlas.conf.Sections[i]; s.Kind == "lac" {
				b.touchLAC(b.lac(s.Name))
			}
		}
	}
	for _, l := range b.climbs.Take(now) {
		b.touchLAC(l)
	}
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
		if first == nil || l.ladder.before(&first.ladder) {
			first = l
		}
	}
	return first
}

// attend sees to what a LAC needs.
func (b *Brain) attend(l *lac, now time.Time) {
	if s := b.atlas.lacs[l.key]; s != nil && s.Name != "default" && s.Name != "" {
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
	is, at := b.situation(l, s, now)
	if is.well() && b.claims(l).sure(b.xl2tpd.Pid) {
		l.seen, l.idle, l.last, l.said = true, false, nil, ""
		l.silent, l.attempt, l.rests = time.Time{}, time.Time{}, time.Time{}
		l.ike, l.ikeTo = b.lnsSA(l, s).Name, lnsHost(s)
	}
	step, again := l.ladder.climb(is, b.turns < maxTurns, b.jitter(), now)
	b.climbs.Set(l, earlier(at, again))
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
	r := Recover{LAC: s.Name, Step: step, Up: is.up, Dead: l.ladder.dead, SA: b.lnsSA(l, s).UniqueID, LNS: b.lns(s.Name), Host: lnsHost(s)}
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

// lnsHost is what xl2tpd.conf calls a LAC's first LNS.
func lnsHost(s *xl2tpd.Section) string {
	if len(s.LNS) == 0 {
		return ""
	}
	return s.LNS[0]
}

// claims are the links that may be a LAC's.
type claims struct {
	sole   []*tunnel    // no other's
	shared []*[]*tunnel // crowds of those that may be any of several LACs'
}

func (b *Brain) claims(l *lac) *claims {
	if c := b.places().lacs[l.key]; c != nil {
		return c
	}
	return &claims{}
}

// links are those with addresses; the others are calls.
func (c *claims) links(yield func(*tunnel) bool) {
	for _, t := range c.sole {
		if t.state != Down && !yield(t) {
			return
		}
	}
	for _, crowd := range c.shared {
		for _, t := range *crowd {
			if t.state != Down && !yield(t) {
				return
			}
		}
	}
}

// up reports whether there is such a link.
func (c *claims) up() bool {
	for range c.links {
		return true
	}
	return false
}

// sure reports whether one of the links is known to be the LAC's, and of the xl2tpd
// that runs: those of one that has ended may outlive it for a moment.
func (c *claims) sure(pid int) bool {
	return slices.ContainsFunc(c.sole, func(t *tunnel) bool { return t.state != Down && t.link.Xl2tpdPid == pid })
}

// situation is how it is about a LAC, and when that will be another without
// anything happening.
func (b *Brain) situation(l *lac, s *xl2tpd.Section, now time.Time) (is situation, at time.Time) {
	sa := b.lnsSA(l, s)
	is = situation{
		wish: b.wish(l, s), daemon: b.xl2tpd.Pid != 0,
		secured: sa.Child, free: l.free(),
		lost:   !l.silent.IsZero(),
		trying: !l.attempt.IsZero() && now.Sub(l.attempt) < answerTime,
	}
	switch {
	case l.idle:
	case s.Redial && (l.seen || s.Autodial): // it has been dialled
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
		is.secured = false // what charon has said last no longer counts
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

// lnsSA is the SA with the LNS of a section: with the one that its link leads to, or else
// with any that its name stands for.
func (b *Brain) lnsSA(l *lac, s *xl2tpd.Section) (any sa) {
	for _, t := range b.claims(l).sole {
		if t.state != Down && t.place.outer.IsValid() {
			return b.atlas.sas[t.place.outer]
		}
	}
	for _, ip := range s.LNSIPs {
		if sa := b.atlas.sas[ip]; sa.Child || any.UniqueID == "" {
			any = sa
		}
		if any.Child {
			break
		}
	}
	return any
}

// wish is what the configuration and the operator want for a LAC.
func (b *Brain) wish(l *lac, s *xl2tpd.Section) wish {
	settings := b.config.For(s.Kind, s.Name)
	if !settings.Keepalive || l.last != nil && !l.last.mishap() {
		return wishNothing
	}
	switch settings.Recover {
	case config.RecoverFull:
		return wishFull
	case config.RecoverRedial:
		return wishRedial
	case config.RecoverAuto:
		if s.Autodial || s.Redial && l.seen {
			return wishFull
		}
	}
	return wishNothing
}

// mishap reports whether a tunnel has ended against the operator's will, as far as
// can be told. Where nobody has said why, he may have hung up.
func (c *closing) mishap() bool { return !c.operator && (c.sure || c.failed) }

// recovered takes in what a step has come to.
func (b *Brain) recovered(ev Recovered, now time.Time) {
	if !ev.Step.asks() {
		b.turns--
	}
	l := b.lac(ev.LAC)
	b.touchLAC(l)
	if l.ladder.busy != ev.Step {
		return
	}
	if l.stale {
		l.ladder.busy, l.stale = StepNone, false
		return
	}
	if errors.Is(ev.Err, ErrUnheard) {
		ev.Err = nil
		l.unheard(now)
	}
	var is situation
	if s := b.section(ev.LAC); s != nil {
		is, _ = b.situation(l, s, now)
	}
	l.ladder.done(ev.Err, is, b.jitter(), now)
	if ev.Step == StepDial && ev.Err == nil {
		l.seen, l.idle, l.dialled = true, false, now // if it comes to nothing, xl2tpd redials
	}
	switch {
	case (ev.Step == StepDial || ev.Step == StepRedial) && ev.Err == nil:
		l.attempt, l.rests = now, time.Time{}
	case errors.Is(ev.Err, ErrWaits):
		l.attempt = time.Time{}
		if l.rests.IsZero() {
			l.rests = now
		}
	}
	if ev.Step == StepHangUp && ev.Err == nil || errors.Is(ev.Err, ErrDropped) {
		l.idle, l.attempt = true, time.Time{} // xl2tpd no longer redials
		if l.last != nil {
			l.last.half = false
		}
	}
	if ev.Step == StepAsk {
		came := "no answer, but from the LNS itself: it is dead"
		if ev.Err != nil {
			came = ev.Err.Error()
		}
		b.noteLAC(l, slog.LevelDebug, "the peer of the silent link was asked", slog.String("reason", came))
		return
	}
	if ev.Step == StepLook || errors.Is(ev.Err, ErrPlain) || errors.Is(ev.Err, ErrAlive) || errors.Is(ev.Err, ErrWaits) {
		return
	}
	if path := b.config.For("lac", ev.LAC).Hook; path != "" && ev.Err == nil {
		b.do(CallHook{hook.Event{Path: path, Name: hook.Recover, Tunnel: "lac " + ev.LAC, Peer: b.lns(ev.LAC), Reason: ev.Step.String()}})
	}
	level, text, attr := slog.LevelInfo, "bringing the tunnel back", slog.String("step", ev.Step.String())
	if ev.Err != nil {
		level, text, attr = slog.LevelWarn, "can't "+ev.Step.String()+", trying again", slog.String("reason", ev.Err.Error())
	}
	if said := text + attr.String(); said != l.said { // a repetition is no news
		l.said = said
		b.noteLAC(l, level, text, attr)
	}
}

// unheard notes that the peer of the tunnel that we have hung up is dead, and that
// xl2tpd does not wait for its answer.
func (l *lac) unheard(now time.Time) {
	if l.last == nil {
		l.last = &closing{sure: true, failed: true}
	}
	l.last.buried, l.silent = true, now
}

// ended notes for recovery how a tunnel has ended.
func (b *Brain) ended(t *tunnel, c *closing, was State, now time.Time) {
	if name, ok := t.place.lac(); ok {
		l := b.lac(name)
		l.last, l.silent = c, time.Time{}
		if was == Silent || c.unanswered {
			l.silent = now
		}
	}
	b.ascribe(c)
}

// ascribe tells our own hanging up from the operator's. If he has hung up one of several
// LACs that can't be told apart, none of them that has no tunnel is dialled.
func (b *Brain) ascribe(c *closing) {
	if name, ok := c.place.lac(); ok {
		if l := b.lac(name); l.last == c && l.ladder.hangsUp() {
			c.operator, c.failed = false, true
			l.idle = true
		}
		return
	}
	for _, n := range c.place.names {
		if n.kind != "lac" || !c.operator {
			continue
		}
		if l := b.lac(n.name); !b.claims(l).up() && !l.ladder.hangsUp() {
			l.last = c
			b.touchLAC(l)
		}
	}
}

// hungUp notes that the operator has hung up an attempt, or a tunnel of which no link
// has come. One that has a link is told of by its end.
func (b *Brain) hungUp(lns netip.Addr) {
	sections := b.atlas.byOuter[lns]
	if len(sections) != 1 {
		return // whose it was can't be told
	}
	l := b.lac(sections[0].Name)
	if hasLink := func(t *tunnel) bool { return t.state != Down }; slices.ContainsFunc(b.claims(l).sole, hasLink) {
		return
	}
	if l.ladder.busy == StepRedial || l.ladder.hangsUp() {
		return
	}
	if l.last == nil {
		l.last = &closing{}
	}
	if l.last.operator {
		return // and that is known
	}
	l.last.sure, l.last.operator, l.last.half = true, true, false
	b.touchLAC(l)
	b.noteLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "hung up on this host"))
}

// dials notes that xl2tpd dials. If the LAC was left down, somebody wants it again:
// xl2tpd does not redial what was hung up. That dial counts as one of ours.
func (b *Brain) dials(lns netip.Addr, now time.Time) {
	sections := b.atlas.byOuter[lns]
	if len(sections) != 1 { // whose it is can't be told: any of those that were hung up
		for _, s := range sections {
			if l := b.lac(s.Name); l.last != nil && l.last.operator {
				l.last = nil
				b.touchLAC(l)
			}
		}
		return
	}
	l := b.lac(sections[0].Name)
	l.attempt, l.rests, l.called, l.seen = now, time.Time{}, lns, l.seen || l.last == nil
	b.touchLAC(l)
	if l.last == nil {
		return
	}
	l.last.half = false // it would not ask for another tunnel
	if l.last.mishap() || l.ladder.busy != StepNone {
		return
	}
	l.seen, l.idle, l.last, l.silent = true, false, nil, time.Time{}
	l.ladder = dialling(now)
	b.noteLAC(l, slog.LevelInfo, "tunnel dialled again on this host")
}

// free is when xl2tpd has certainly done with the last tunnel, if the peer did not
// answer. What the Hello guard says of that may come late.
func (l *lac) free() time.Time {
	switch {
	case l.silent.IsZero():
		return time.Time{}
	case l.last.buried:
		return l.silent.Add(buriedFor)
	}
	return l.silent.Add(dyingFor)
}

// newDaemon notes that xl2tpd is another one, or gone: it knows nothing of what the
// last one was told. What was hung up stays so. Where there is `autodial`, it dials as
// soon as it runs.
func (b *Brain) newDaemon(runs bool, now time.Time) {
	for _, l := range b.lacs {
		l.seen = l.seen || l.was
		if l.last != nil && !l.last.sure && now.Sub(l.last.Time) <= late {
			l.last.failed, l.last.Reason = true, xl2tpdEnded // its links were seen to go first
		}
		hungUp := l.last != nil && !l.last.mishap()
		if hungUp {
			l.seen = false
		} else {
			l.last = nil
		}
		l.silent, l.attempt, l.rests, l.ladder.next = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		l.idle = l.seen
		if s := b.section(l.name); !hungUp && runs && s != nil && s.Autodial {
			l.idle, l.attempt = false, now
			busy := l.ladder.busy
			l.ladder = dialling(now)
			l.ladder.busy, l.stale = busy, busy != StepNone
		}
	}
}

// climbing says what recovery does for a LAC that has no tunnel, or nothing.
func (b *Brain) climbing(s *xl2tpd.Section, now time.Time) string {
	l := b.lac(s.Name)
	d := &l.ladder
	switch {
	case b.wish(l, s) == wishNothing || d.since.IsZero():
		return ""
	case d.busy != StepNone:
		return d.busy.String()
	case d.waits:
		return "waits until it is its turn to be brought back"
	case errors.Is(d.err, ErrNoRoute):
		return "waits for a route to the LNS"
	case (d.last == StepDial || d.last == StepRedial) && d.err == nil:
		return "waits for the LNS to answer"
	case d.failed > 0:
		return fmt.Sprintf("tries again in %v (%d times in vain)", max(d.next.Sub(now), 0).Round(time.Second), d.failed)
	case s.Redial:
		return "xl2tpd redials"
	}
	return "about to bring it back"
}

func (b *Brain) noteLAC(l *lac, level slog.Level, text string, more ...slog.Attr) {
	attrs := []slog.Attr{slog.String("tunnel", "lac "+l.name)}
	if a := b.lns(l.name); a.IsValid() {
		attrs = append(attrs, slog.String("peer", a.String()))
	}
	b.note(level, text, append(attrs, more...)...)
}

// lns is the address of a LAC's first LNS, or invalid.
func (b *Brain) lns(lac string) (a netip.Addr) {
	if s := b.section(lac); s != nil && len(s.LNSIPs) > 0 {
		a = s.LNSIPs[0]
	}
	return a
}

// section is what xl2tpd.conf says of a LAC, or nil.
func (b *Brain) section(lac string) *xl2tpd.Section { return b.atlas.lacs[conf.Lower(lac)] }
