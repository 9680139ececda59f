package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// lateness is how much later a packet may arrive than one sent after it. A question
	// leaves that long after a copy of the Hello. So its answer shows what became of the
	// copy, however long the way is.
	lateness = 2 * time.Second
	// answered is how long after a message its answer can come at most, even if later packets have
	// overtaken both.
	answered = roundTrip + 2*lateness
	// askEvery is how often a question is repeated until xl2tpd is about to give up,
	// and askOften how often in the last seconds before that.
	askEvery = 2 * time.Second
	askOften = 500 * time.Millisecond
	// ackForPeerAfter is how long after its latest copy of a Hello xl2tpd is answered, although the peer
	// has answered nothing: the links show that the peer lives. xl2tpd gives up 6 s later, so the guard
	// may be restarted in that time.
	ackForPeerAfter = lastGap - 6*time.Second
	// askLess is how often the peer is asked about a Hello acknowledged for it, and askFor for
	// how long after the last copy: some peers answer no duplicate.
	askLess = 10 * time.Second
	askFor  = 2 * roundTrip
	// waitMost is how long a message may wait for the answer of a fast peer: its copies of
	// the first two seconds. A fast peer has answered its messages within fastAnswer.
	waitMost   = 2500 * time.Millisecond
	fastAnswer = time.Second
	// slowAnswer is from when on the peer's word on a Hello would come too late for the ZLBs
	// after it.
	slowAnswer = 3 * time.Second
)

// helloState is what has become of a Hello in flight.
type helloState uint8

const (
	none            helloState = iota
	unanswered                 // nobody has acknowledged it
	ackedForThePeer            // xl2tpd got an acknowledgement from the guard
)

// helloInFlight is a Hello on the wire that the peer has not acknowledged. There is
// one at most: later Hellos are swallowed until that one is decided.
//
// Whether the peer has counted it is asked, see the package's comment.
type helloInFlight struct {
	state       helloState
	wire, local uint16
	first       time.Time // when the first copy left; zero: unknown
	last        time.Time // when the latest copy left
	latest      time.Time // when xl2tpd sent its latest copy, which may have been held back
	before      time.Time // when the peer was sent something else last that it has to answer
	restored    bool      // copies may have gone past
	overtaken   bool      // a message has left behind it
	askAt       time.Time // the next question; zero: none
	asked       bool      // a question has left behind all copies
	zlbWaits    bool      // xl2tpd's latest ZLB was held back
	repeats     int       // how often the peer has sent old messages since
	lastAsk     time.Time // when the timer has asked last
	closed      time.Time // since when no packet can go past, see Undecided; zero: some can
	waits       time.Time // since when a message is held back; zero: none is
}

func (h *helloInFlight) inFlight() bool     { return h.state != none }
func (h *helloInFlight) ackedForPeer() bool { return h.state == ackedForThePeer }

// isBefore reports whether the message with wire number w was sent after the Hello.
func (h *helloInFlight) isBefore(w uint16) bool { return h.inFlight() && !l2tp.Before(w, h.wire+1) }

func (h *helloInFlight) hasTimer() bool { return h.inFlight() && !h.askAt.IsZero() }

// plan sets the time of the first question: all of xl2tpd's own copies come first, and
// then what is under way arrives or is lost.
func (h *helloInFlight) plan() {
	at := h.last.Add(lateness)
	if copied := h.first.Add(lastCopy + lateness); !h.first.IsZero() && h.waits.IsZero() && at.Before(copied) {
		at = copied
	}
	if ack := h.latest.Add(ackForPeerAfter); h.state == unanswered && ack.Before(at) {
		at = ack
	}
	h.askAt = at
}

// anotherCopy notes that a copy leaves now. The answers to earlier questions say nothing about it. elicited is when the
// latest one left.
func (h *helloInFlight) anotherCopy(now, elicited time.Time) {
	if h.before.Before(elicited) {
		h.before = elicited
	}
	h.last, h.latest, h.asked = now, now, false
	h.plan()
}

func (h *helloInFlight) nextQuestion(now time.Time) time.Time {
	switch since := now.Sub(h.latest); {
	case since >= askFor:
		return time.Time{}
	case h.ackedForPeer() || since >= lastGap:
		return now.Add(askLess)
	case since >= lastGap-2*time.Second:
		return now.Add(askOften)
	}
	return now.Add(askEvery)
}

// lookAgain makes the timer run soon, because a message of the peer may allow the guard to answer xl2tpd. Questions keep
// their pace, see handleHelloTimer.
func (h *helloInFlight) lookAgain(now time.Time) {
	if h.state != unanswered {
		return
	}
	at := h.latest.Add(ackForPeerAfter)
	if at.Before(now) {
		at = now
	}
	if h.askAt.IsZero() || at.Before(h.askAt) {
		h.askAt = at
	}
}

// launch notes that the Hello with local number ns is on the wire: after a restart too
// its number must count as used.
func (o *toPeer) launch(ns uint16, now time.Time, r *reply) {
	w := o.wire(ns)
	h := helloInFlight{state: unanswered, wire: w, local: ns, first: now, last: now, latest: now, before: o.elicited}
	h.overtaken = w+1 != o.wireNext() // its first copies have gone past, and a message behind it was seen first
	if h.before.Before(o.watched) {
		h.before = o.watched
	}
	if !o.peer.counts {
		h.closed = now
	}
	h.plan()
	o.hello, o.returned, r.Save = h, seq{}, true
}

// mustAnswer notes that the peer is sent something that it has to answer. That answer says nothing
// about a Hello in flight.
func (o *toPeer) mustAnswer(now time.Time, r *reply) {
	o.elicited = now
	if o.hello.inFlight() {
		o.hello.before, r.Save = now, true
	}
}

// handleHelloTimer asks about the Hello in flight, and answers xl2tpd if it is about to
// give up on a peer that lives.
func (t *Translator) handleHelloTimer(now time.Time, live Liveness) {
	h := &t.out.hello
	if live.LetGo {
		h.askAt = time.Time{}
		return
	}
	// The Hello has to be all that xl2tpd waits for: what was sent before has arrived, as the
	// peer said.
	onlyHello := t.out.peer.heard && t.out.acked.is(h.wire)
	if h.state == unanswered && live.Peer && onlyHello && !now.Before(h.latest.Add(ackForPeerAfter)) {
		t.out.ackForPeer(now, &t.reply)
		t.acknowledge()
		t.reply.Reason = HelloAckedForPeer
	}
	if now.Sub(h.lastAsk) >= askOften { // the timer runs for each message of the peer, see lookAgain
		t.ask(now, live)
		h.lastAsk = now
	}
	h.askAt = h.nextQuestion(h.lastAsk)
}

// ackForPeer notes that the guard acknowledges the Hello in flight to xl2tpd.
func (o *toPeer) ackForPeer(now time.Time, r *reply) {
	o.hello.state, r.Save = ackedForThePeer, true
	if o.hello.closed.IsZero() {
		o.hello.closed = now
	}
}

// decide takes in what the peer has just said of the Hello in flight, which may be decided by that. fresh
// says that the peer has spoken after all copies had arrived.
func (t *Translator) decide(fresh bool, now time.Time) {
	h := &t.out.hello
	switch {
	case !h.inFlight():
		return
	case l2tp.Before(h.wire, t.out.acked.number):
		t.out.peer.counts, t.out.peer.deaf = true, false
	case fresh && !h.overtaken && t.out.acked.number == h.wire && t.out.certain(now):
		// The number is free again, for nothing was sent after it: a peer may keep what
		// comes early.
		t.out.add(h.local)
		t.out.returned = seq{h.local, true}
		t.out.waits = true
		t.out.peer.deaf, t.reply.Reason = true, HelloNotCounted
	default:
		return
	}
	zlbWaits := h.zlbWaits
	*h, t.reply.Save = helloInFlight{}, true
	if zlbWaits { // it goes out now: xl2tpd may not send it again
		t.send(ToPeer, l2tp.Message{Ns: t.out.wireNext()})
	}
}

// fresh reports whether a message that the peer sends now was made after all copies of
// the Hello in flight had arrived. A ZLB answers something. If all else was sent too long
// ago, then it answers the Hello or a question after it. A message of the peer's own
// may have been made before the Hello came, but no longer ago than a round trip.
func (o *toPeer) fresh(m *l2tp.Message, expected uint16, now time.Time) bool {
	h := &o.hello
	if m.ZLB() {
		return h.asked && now.Sub(h.before) > answered
	}
	return m.Ns == expected && now.Sub(h.last) > answered && now.Sub(o.watched) > answered
}

// takeBack undoes the latest HelloNotCounted: the peer acknowledges nr, which nobody has
// sent. A copy of the Hello has arrived after all, later than lateness allows.
func (o *toPeer) takeBack(nr uint16, r *reply) bool {
	back := o.returned
	if !back.known || nr != o.wireNext()+1 || !o.has(back.number) {
		return false
	}
	o.remove(back.number)
	o.returned, o.peer.counts, o.peer.deaf = seq{}, true, false
	r.Save, r.Reason = true, HelloCounted
	return true
}

// Questioned notes that the peer was sent a message again, before its ids were known.
func (t *Translator) Questioned(at time.Time) {
	t.reply.begin(Drop)
	t.out.mustAnswer(at, &t.reply)
}

// Ask sends the peer a message again that it has acknowledged. The peer acknowledges the
// duplicate (RFC 2661 §5.8), and that is a sign of life. It does nothing if no such
// message is known, nor if xl2tpd is not certainly the process that opened the connection.
func (t *Translator) Ask(now time.Time, live Liveness) *Verdict {
	t.reply.begin(Drop)
	if !t.closing {
		t.ask(now, live)
	}
	return &t.reply.Verdict
}

// ask sends the question, if it can. Nobody reads a duplicate's AVPs
// (xl2tpd: control.c, check_control), but some peers look at its type. SCCCN needs no
// further AVP (RFC 2661 §6.3), and is no Hello, which the peer may be deaf to.
func (t *Translator) ask(now time.Time, live Liveness) {
	old := t.out.acked
	if !old.known && live.GivesUp && t.out.oldest.known && now.Sub(t.out.watched) >= quiet {
		old = t.out.oldest // what is older has been acknowledged, or xl2tpd would have sent it again
	}
	if !live.Xl2tpd || !old.known || !t.in.expects.known || t.connection.PeerID == 0 {
		return
	}
	if sent := len(t.reply.Inject); !t.reply.full() {
		t.send(ToPeer, l2tp.Message{Type: l2tp.TypeSCCCN, Ns: old.number - 1})
		t.reply.Inject[sent].Question = true
	}
	if h := &t.out.hello; h.inFlight() && now.Sub(h.last) >= lateness {
		if t.out.elicited = now; !h.asked {
			h.asked, t.reply.Save = true, true
		}
		return
	}
	t.out.mustAnswer(now, &t.reply)
}
