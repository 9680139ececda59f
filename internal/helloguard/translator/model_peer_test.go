package translator

import (
	"cmp"

	"xl2tpd-keepalive/internal/l2tp"
)

// What peers do with a Hello.
const (
	answers = iota
	dropsHello
	countsHello
	kinds
)

// peer is how a peer's control channel behaves.
type peer struct {
	kind         int
	deafFor      millis // drops Hellos for so long, from the first minute on, then answers
	oddZLB       int    // Ns of its ZLBs: 0 as RFC 2661 says, 1 always 0, 2 one less, 3 one more
	strict       bool   // ignores a packet with an unexpected Ns, the Nr included
	queues       bool   // keeps messages that came too early
	acksEarly    bool   // answers a message that came too early, and does not keep it
	noDuplicates bool   // does not answer a duplicate (RFC 2661 §5.8 wants an answer)
	ackDelay     millis // answers so late, several messages with one ZLB
	piggyback    bool   // sends no ZLB while a message of its own is out: that carries its Nr
	oldNr        bool   // retransmits unchanged
	window       int    // of messages it sends without an answer
	tries        int    // copies of a message before it gives up
	pause        millis // between copies; 0: 1, 2, 4, 8, 16 s
	most         millis // but no more than that; 0: 16 s
	wedges       bool   // whatever comes too early holds up all that follows
	follows      bool   // expects the number after what came last, whatever that was
	lazy         bool   // sends an unanswered Hello again only when the next one is due
	keepalive    millis
}

// implementations are peers after public sources, which lab/lns/personalities names by file and
// function.
var implementations = map[string]peer{
	"accel-ppp": {kind: answers, queues: true, acksEarly: true, window: 16, tries: 6, keepalive: 60_000},
	"Apple":     {kind: answers, deafFor: 300_000, queues: true, ackDelay: 200, window: 4, tries: 9, most: 4000},
	"kl2tpd":    {kind: answers, wedges: true, acksEarly: true, ackDelay: 100, window: 4, tries: 3, most: 4000},
	"l2tpns":    {kind: answers, strict: true, acksEarly: true, piggyback: true, window: 4, tries: 6, most: 32_000, keepalive: 60_000},
	"lwIP":      {kind: answers, follows: true, window: 1, tries: 5},
	"mpd":       {kind: answers, acksEarly: true, ackDelay: 50, window: 4, tries: 9, most: 10_000, keepalive: 60_000},
	"npppd":     {kind: answers, acksEarly: true, window: 4, tries: 15, pause: 2000, keepalive: 60_000},
	"rp-l2tp":   {kind: answers, strict: true, acksEarly: true, ackDelay: 100, window: 8, tries: 5, most: 8000, keepalive: 60_000},
	"SoftEther": {kind: answers, queues: true, piggyback: true, window: 16, tries: 120, pause: 500, keepalive: 8801},
	"xl2tpd":    {kind: answers, strict: true, window: 1024, tries: 5, keepalive: 60_000, oldNr: true},
	// As met in the field; mute: with `l2tp keepalive use off`.
	"NVR510":      {kind: dropsHello, strict: true, window: 4, tries: 6, pause: 10_000, keepalive: 10_000, lazy: true},
	"NVR500":      {kind: dropsHello, strict: true, window: 4, tries: 3, pause: 10_000, keepalive: 10_000, lazy: true},
	"mute NVR510": {kind: dropsHello, strict: true, window: 4, tries: 6},
}

func (w *world) peer() *peer { return &w.h.peer }

// saysOnce reports whether the peer may never acknowledge what crosses its own message, with or without the guard: the
// first copy gets no ZLB, and further ones no answer.
func (p *peer) saysOnce() bool { return p.piggyback && p.noDuplicates }

// deaf reports whether the peer drops Hellos now.
func (w *world) deaf() bool {
	p := w.peer()
	return p.kind == dropsHello || p.deafFor > 0 && w.now >= 60_000 && w.now < 60_000+p.deafFor
}

func (w *world) pSend(typ l2tp.MessageType, serial uint16) {
	w.pBacklog = append(w.pBacklog, &endpointMessage{typ: typ, serial: serial})
	w.pPump()
}

// pPump sends what fits into the receive window (RFC 2661 §4.4.3).
func (w *world) pPump() {
	for len(w.pBacklog) > 0 && len(w.pOut) < w.peer().window && !w.pClosed {
		m := w.pBacklog[0]
		w.pBacklog = w.pBacklog[1:]
		m.ns, m.first = w.ps, w.now
		w.ps++
		m.pkt = packet(false, m.typ, m.serial, m.ns, w.pr)
		w.pOut = append(w.pOut, m)
		w.pXmit(m)
	}
}

// sendsLate reports whether a message is sent again only when the next one is due.
func (p *peer) sendsLate(typ l2tp.MessageType) bool { return p.lazy && typ == l2tp.TypeHello }

// wait is how long the peer waits after the nth copy of a message.
func (p *peer) wait(typ l2tp.MessageType, n int) millis {
	switch {
	case p.sendsLate(typ):
		return p.keepalive
	case p.pause > 0:
		return p.pause
	}
	return min(millis(1000)<<min(n-1, 5), cmp.Or(p.most, 16_000))
}

// patience is how long the peer waits for the answer to a message.
func (p *peer) patience(typ l2tp.MessageType) (all millis) {
	for n := range p.tries {
		all += p.wait(typ, n+1)
	}
	return all
}

func (w *world) pXmit(m *endpointMessage) {
	p := w.peer()
	if w.pClosed || l2tp.Before(m.ns, w.pAcked) {
		return
	}
	m.retries++
	if m.retries > p.tries {
		w.pClosed, w.pWhy = true, "retries exceeded"
		w.excused = w.excused || w.starved() || w.cutOff(m)
		return
	}
	wait := p.wait(m.typ, m.retries)
	if !p.sendsLate(m.typ) {
		wait += w.slack('p')
	}
	w.after(wait, func() { w.pXmit(m) })
	if p.oldNr {
		w.pTransmit(m.pkt)
		return
	}
	w.pTransmit(packet(false, m.typ, m.serial, m.ns, w.pr))
}

func (w *world) pReceive(pkt []byte) {
	if w.pClosed {
		return
	}
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		w.fail("the peer got %x: %v", pkt, err)
		return
	}
	m := p.Msg
	w.note("the peer gets", pkt)
	if m.Type == l2tp.TypeHello && w.deaf() {
		return
	}
	w.pLook(m)
	if !w.peer().strict || m.Ns == w.pr {
		w.pAck(m.Nr)
	}
	if w.peer().wedges && l2tp.Before(w.pr, m.Ns) {
		w.pWedged = true
	}
	if m.ZLB() || w.pWedged {
		return
	}
	switch {
	case w.peer().follows:
		w.pr = m.Ns + 1
		w.pTookNs[m.Session] = w.pTookNs[m.Session] || m.Type == typeOther
		w.pGotStop = w.pGotStop || m.Type == l2tp.TypeStopCCN
	case m.Ns == w.pr:
		w.pTake(m)
		for {
			early, ok := w.pEarly[w.pr]
			if !ok || w.pGotStop { // what came early is no more with the tunnel
				break
			}
			delete(w.pEarly, w.pr)
			e, _ := l2tp.ParsePacket(early)
			w.pTake(e.Msg)
		}
	case l2tp.Before(w.pr, m.Ns):
		if w.peer().queues && m.Ns-w.pr < 4 {
			w.pEarly[m.Ns] = pkt
		}
		if !w.peer().acksEarly {
			return
		}
	case w.peer().noDuplicates:
		return
	}
	if m.Type == l2tp.TypeHello && w.peer().kind != answers {
		return
	}
	w.pAnswer()
}

// pLook checks what the peer sees, see invariant 6.
func (w *world) pLook(m l2tp.Message) {
	if !w.inOrder() || w.excused || w.tooLate || w.now <= w.unsure || w.peer().follows {
		return
	}
	if l2tp.Before(w.pr, m.Ns) {
		w.fail("the peer expects %d and saw %d (type %d)", w.pr, m.Ns, m.Type)
	}
	if m.ZLB() && m.Ns != w.pr {
		w.fail("the peer expects %d and saw a ZLB with %d", w.pr, m.Ns)
	}
}

// pAnswer sends a ZLB, immediately or later with others.
func (w *world) pAnswer() {
	p := w.peer()
	if p.piggyback && len(w.pOut) > 0 {
		return
	}
	if p.ackDelay == 0 {
		w.pZLB()
		return
	}
	if w.pAnswers {
		return
	}
	w.pAnswers = true
	w.after(p.ackDelay, func() {
		w.pAnswers = false
		w.pZLB()
	})
}

func (w *world) pZLB() {
	if w.pClosed {
		return
	}
	ns := w.ps
	switch w.peer().oddZLB {
	case 1:
		ns = 0
	case 2:
		ns--
	case 3:
		ns++
	}
	w.pTransmit(packet(false, l2tp.TypeNone, 0, ns, w.pr))
}

func (w *world) pTake(m l2tp.Message) {
	w.pr++
	switch m.Type {
	case l2tp.TypeHello:
	case l2tp.TypeStopCCN:
		w.pGotStop = true
	case typeOther:
		w.pTook = append(w.pTook, m.Session)
		w.pTookNs[m.Session] = true
		if n := len(w.pTook); n > len(w.xSent) || w.xSent[n-1] != m.Session {
			w.fail("the peer took message %d as number %d", m.Session, n)
		}
	default:
		if !w.xGone { // or there is no tunnel any more that could come to harm
			w.fail("the peer took a message of type %d that xl2tpd never sent", m.Type)
		}
	}
}

func (w *world) pAck(nr uint16) {
	if l2tp.Before(w.ps, nr) {
		w.fail("the peer was told %d, next is %d", nr, w.ps)
		return
	}
	for len(w.pOut) > 0 && l2tp.Before(w.pOut[0].ns, nr) {
		m := w.pOut[0]
		if !w.xTookNs[m.ns] {
			if m.typ != l2tp.TypeHello {
				w.fail("the peer was told that its message %d arrived", m.ns)
			}
			if !w.xAlive() && w.now > w.h.crash+2000+w.h.delay && !w.closes {
				w.fail("a dead xl2tpd acknowledged Hello %d", m.ns)
			}
		}
		w.pOut = w.pOut[1:]
		w.pAcked = m.ns + 1
	}
	w.pPump()
}
