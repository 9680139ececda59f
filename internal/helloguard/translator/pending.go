package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// settle is how much later a packet may arrive than one sent behind it. So much
	// later than a copy of the Hello leaves a question about it, and the answer shows
	// what became of the copy, however long the way is.
	settle = 2 * time.Second
	// answered is when a message is answered, if it is: even if it and the answer were both
	// overtaken.
	answered = roundTrip + 2*settle
	// askEvery is how often a question is repeated until xl2tpd is about to give up,
	// and askOften how often in the last seconds before that.
	askEvery = 2 * time.Second
	askOften = 500 * time.Millisecond
	// adoptAfter is when xl2tpd is answered though the peer has answered nothing: the
	// links show that it lives. It leaves 6 s, in which the guard may be restarted.
	adoptAfter = lastGap - 6*time.Second
	// askLess is how often an adopted Hello is asked about, and askFor for how long after
	// its last copy: some peers answer no duplicate.
	askLess = 10 * time.Second
	askFor  = 2 * roundTrip
	// waitMost is how long a message may wait for the answer of a fast peer: its copies of
	// the first two seconds. A fast peer has answered its messages within fastAnswer.
	waitMost   = 2500 * time.Millisecond
	fastAnswer = time.Second
	// slowAnswer is from when on the peer's word on a Hello would come too late for the ZLBs
	// behind it.
	slowAnswer = 3 * time.Second
)

// pendingHello is a Hello on the wire that the peer has not acknowledged. There is
// one at most: later Hellos are swallowed until it is decided.
//
// Whether the peer has counted it is asked: the peer is sent a message again that it
// has acknowledged and that is no Hello. RFC 2661 §5.8 has a duplicate acknowledged,
// and the acknowledgement carries the number that the peer expects: the Hello's, or
// the next one.
type pendingHello struct {
	set         bool
	wire, local uint16
	first, last time.Time // when the first and the latest copy left
	latest      time.Time // when xl2tpd sent its latest copy, which may have been held back
	before      time.Time // when the peer was sent something else last that it has to answer
	restored    bool      // first is not the time of the first copy
	adopted     bool      // xl2tpd was told that it has arrived
	overtaken   bool      // a message has left behind it
	askAt       time.Time // the next question; zero: none
	asked       bool      // a question has left behind all copies
	zlbWaits    bool      // xl2tpd's latest ZLB was held back
	repeats     int       // how often the peer has sent old messages since
	lastAsk     time.Time // when the timer has asked last
	closed      time.Time // since when no packet can go past, see Undecided; zero: some can
	waits       time.Time // since when a message is held back; zero: none is
}

// pend notes that the Hello with local number ns is on the wire: after a restart too
// its number must count as used.
func (t *Translator) pend(ns uint16, now time.Time) {
	h := pendingHello{set: true, wire: t.seqs.wire(ns), local: ns, first: now, last: now, latest: now, before: t.elicited}
	if h.before.Before(t.since) {
		h.before = t.since
	}
	if !t.counts {
		h.closed = now
	}
	h.plan()
	t.hello, t.returned, t.out.Save = h, seq{}, true
}

// mustAnswer notes that the peer is sent something that it answers. The answer says nothing
// about a pending Hello.
func (t *Translator) mustAnswer(now time.Time) {
	t.elicited = now
	if t.hello.set {
		t.hello.before, t.out.Save = now, true
	}
}

// plan sets the time of the first question: all of xl2tpd's own copies come first, and
// then what is under way arrives or is lost.
func (h *pendingHello) plan() {
	at := h.last.Add(settle)
	if patience := h.first.Add(lastCopy + settle); !h.restored && h.waits.IsZero() && at.Before(patience) {
		at = patience
	}
	if adopts := h.latest.Add(adoptAfter); !h.adopted && adopts.Before(at) {
		at = adopts
	}
	h.askAt = at
}

// copied notes that another copy has left.
func (t *Translator) copied(now time.Time) {
	t.hello.last, t.hello.latest, t.out.Save = now, now, true
	t.hello.plan()
}

// handleHelloTimer asks about the pending Hello, and answers xl2tpd if it is about to
// give up on a peer that lives.
func (t *Translator) handleHelloTimer(now time.Time, life Life) {
	h := &t.hello
	if life.LetGo {
		h.askAt = time.Time{}
		return
	}
	if !h.adopted && life.Tunnel && !now.Before(h.latest.Add(adoptAfter)) && t.mayAdopt() {
		t.adopt(now)
		t.acknowledge()
		t.out.Reason = HelloAdopted
	}
	t.ask(now, life)
	h.lastAsk = now
	h.askAt = h.nextQuestion(now)
}

func (h *pendingHello) nextQuestion(now time.Time) time.Time {
	switch since := now.Sub(h.latest); {
	case since >= askFor:
		return time.Time{}
	case h.adopted || since >= lastGap:
		return now.Add(askLess)
	case since >= lastGap-2*time.Second:
		return now.Add(askOften)
	}
	return now.Add(askEvery)
}

// lookAgain has the timer for a pending Hello run when the peer's message may allow to answer
// xl2tpd, which may be long after the latest question. Questions keep their pace.
func (t *Translator) lookAgain(now time.Time) {
	h := &t.hello
	if !h.set || h.adopted || t.closing {
		return
	}
	at := h.latest.Add(adoptAfter)
	if next := h.lastAsk.Add(askOften); at.Before(next) {
		at = next
	}
	if at.Before(now) {
		at = now
	}
	if h.askAt.IsZero() || at.Before(h.askAt) {
		h.askAt = at
	}
}

// mayAdopt reports whether the Hello is all that xl2tpd waits for: what was sent before
// has arrived, as the peer said.
func (t *Translator) mayAdopt() bool { return t.heard && t.acked.known && t.acked.n == t.hello.wire }

// adopt notes that xl2tpd is told that the Hello has arrived.
func (t *Translator) adopt(now time.Time) {
	t.hello.adopted, t.out.Save = true, true
	if t.hello.closed.IsZero() {
		t.hello.closed = now
	}
}

// decide takes in what the peer has just said of the pending Hello. fresh says that the
// peer has spoken after all copies had arrived.
func (t *Translator) decide(fresh bool, now time.Time) {
	h := &t.hello
	if !h.set {
		return
	}
	if l2tp.Before(h.wire, t.acked.n) {
		t.counts, t.deaf = true, false
		t.decided()
		return
	}
	// The number is free again if nothing was sent behind it: a peer may keep what
	// comes early.
	if !fresh || h.overtaken || t.acked.n != h.wire || !t.certain(now) {
		return
	}
	t.seqs.add(h.local)
	t.returned = seq{h.local, true}
	t.owed = true
	t.deaf, t.out.Reason = true, HelloNotCounted
	t.decided()
}

// decided ends the pending Hello. A ZLB that waited for that goes out now: xl2tpd may not
// send it again.
func (t *Translator) decided() {
	waits := t.hello.zlbWaits
	t.hello, t.out.Save = pendingHello{}, true
	if waits {
		t.send(ToPeer, l2tp.Message{Ns: t.wireNext(), Nr: t.nrToPeer()})
	}
}

// fresh reports whether a message that the peer sends now was made after all copies of
// the pending Hello had arrived. A ZLB answers something. If all else was sent too long
// ago, then it answers the Hello or a question behind it. A message of the peer's own
// may have been made before the Hello came, but no longer ago than a round trip.
func (t *Translator) fresh(m *l2tp.Message, now time.Time) bool {
	h := &t.hello
	if m.ZLB() {
		return h.asked && now.Sub(h.before) > answered
	}
	return m.Ns == t.expected && now.Sub(h.last) > answered && now.Sub(t.since) > answered
}

// takeBack undoes the latest HelloNotCounted: the peer acknowledges r, which nobody has
// sent. A copy of the Hello has arrived after all, later than settle allows.
func (t *Translator) takeBack(r uint16) bool {
	if !t.returned.known || r != t.wireNext()+1 || !t.seqs.has(t.returned.n) {
		return false
	}
	t.seqs.remove(t.returned.n)
	t.returned, t.counts, t.deaf = seq{}, true, false
	t.out.Save, t.out.Reason = true, HelloCounted
	return true
}

// Questioned notes that the peer was sent a message again, before its ids were known.
func (t *Translator) Questioned(at time.Time) {
	t.begin(Drop)
	t.mustAnswer(at)
}

// Ask sends the peer a message again that it has acknowledged: RFC 2661 §5.8 has the
// peer acknowledge the duplicate, and that is a sign of life. It does nothing if no such
// message is known, nor if xl2tpd is not certainly the process that opened the connection.
func (t *Translator) Ask(now time.Time, life Life) *Verdict {
	t.begin(Drop)
	if !t.closing {
		t.ask(now, life)
	}
	return &t.out
}

// ask sends the question, if it can. Nobody reads a duplicate's AVPs
// (xl2tpd: control.c, check_control), but some peers look at its type: SCCCN needs no
// further AVP (RFC 2661 §6.3), and is no Hello, which the peer may be deaf to.
func (t *Translator) ask(now time.Time, life Life) {
	old := t.acked
	if !old.known && t.oldest.known && now.Sub(t.since) >= quiet {
		old = t.oldest // what is older has been acknowledged, or xl2tpd would have sent it again
	}
	if !life.Daemon || !old.known || !t.expects.known || t.tun.PeerID == 0 {
		return
	}
	t.send(ToPeer, l2tp.Message{Type: l2tp.TypeSCCCN, Ns: old.n - 1, Nr: t.nrToPeer()})
	if h := &t.hello; h.set && now.Sub(h.last) >= settle {
		t.elicited, h.asked = now, true
		return
	}
	t.mustAnswer(now)
}
