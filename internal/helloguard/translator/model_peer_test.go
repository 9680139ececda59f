package translator

import "xl2tpd-keepalive/internal/l2tp"

// What peers do with a Hello.
const (
	answers = iota
	dropsHello
	countsHello
	kinds
)

// peer is how a peer's control channel behaves.
type peer struct {
	kind           int
	deafFor        millis // drops Hellos for so long, from the first minute on, then answers
	oddZLB         int    // Ns of its ZLBs: 0 as RFC 2661 says, 1 always 0, 2 one less, 3 one more
	strict         bool   // ignores a packet with an unexpected Ns, the Nr included
	queues         bool   // keeps messages that came too early
	acksEarly      bool   // answers a message that came too early, and does not keep it
	noDuplicates   bool   // does not answer a duplicate (RFC 2661 §5.8 wants an answer)
	ackDelay       millis // answers so late, several messages with one ZLB
	piggyback      bool   // sends no ZLB while a message of its own is out: that carries its Nr
	oldNr          bool   // retransmits unchanged
	window         int    // of messages it sends without an answer
	tries          int    // copies of a message before it gives up
	pause          millis // between copies; 0: 1, 2, 4, 8, 16 s
	lazy           bool   // sends an unanswered Hello again only when the next one is due
	keepalive      millis
	closesStranger bool // closes the tunnel on a message type that it does not know
}

// implementations are peers after what public sources show of them. Where a source does
// not tell, the value is RFC 2661's.
var implementations = map[string]peer{
	// accel-pppd/ctrl/l2tp/l2tp.c: l2tp_recv, l2tp_tunnel_reply; sends a Hello each hello-interval and retransmits with the current Nr.
	"accel-ppp": {kind: answers, queues: true, window: 16, tries: 5, keepalive: 60_000},
	// l2tpns.c processudp(): "not our packet" is dropped behind a ZLB, a duplicate is answered.
	"l2tpns": {kind: answers, acksEarly: true, window: 8, tries: 5, keepalive: 60_000},
	// Cedar/Proto_L2TP.c ProcL2TPPacketRecv: Hello each 8.5 s, answered by a ZLB, resent each 500 ms to 1 s.
	"SoftEther": {kind: answers, window: 16, tries: 10, pause: 1000, keepalive: 8_500, oldNr: true},
	// katalix go-l2tp transport.go: retransmits with the current Nr, delayed acknowledgements, 0.1 s; Hello off.
	"go-l2tp": {kind: answers, strict: true, queues: true, ackDelay: 100, window: 4, tries: 3, keepalive: 0},
	// usr.sbin/npppd/l2tp/l2tp_ctrl.c: window, ZLB by timer, Hello when idle; closes on an unknown message type.
	"npppd": {kind: answers, acksEarly: true, ackDelay: 500, window: 4, tries: 5, keepalive: 60_000, closesStranger: true},
	// sys/netgraph/ng_l2tp.c: ng_l2tp_seq_*: a reorder queue, delayed acknowledgements, retransmits with the current Nr.
	"ng_l2tp": {kind: answers, queues: true, ackDelay: 500, window: 8, tries: 10, keepalive: 60_000},
	// rp-l2tp tunnel.c: tunnel_handle_received_control_datagram: window, ZLB by timer.
	"rp-l2tp": {kind: answers, acksEarly: true, ackDelay: 100, window: 10, tries: 5, keepalive: 60_000},
	// Apple's vpnd/pppd plugin L2TP: deaf to Hellos for minutes under load, then answers.
	"Apple": {kind: answers, deafFor: 300_000, window: 4, tries: 10, pause: 2000, keepalive: 60_000, oldNr: true},
	// lwIP netif/ppp/pppol2tp.c: window 1, one message, each duplicate answered, no Hello of its own.
	"lwIP": {kind: answers, strict: true, window: 1, tries: 5},
	// xl2tpd as LNS: control.c.
	"xl2tpd": {kind: answers, strict: true, window: 1024, tries: 5, keepalive: 60_000, oldNr: true},
	// Yamaha NVR510 and NVR500 as met in the field.
	"NVR510": {kind: dropsHello, strict: true, window: 4, tries: 6, pause: 10_000, keepalive: 10_000, lazy: true},
	"NVR500": {kind: dropsHello, strict: true, window: 4, tries: 3, pause: 10_000, keepalive: 10_000, lazy: true},
	// The same with `l2tp keepalive use off`.
	"mute NVR510": {kind: dropsHello, strict: true, window: 4, tries: 6},
}

func (w *world) peer() *peer { return &w.h.peer }

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
		m.ns = w.ps
		w.ps++
		m.pkt = packet(false, m.typ, m.serial, m.ns, w.pr)
		w.pOut = append(w.pOut, m)
		w.pXmit(m)
	}
}

func (w *world) pXmit(m *endpointMessage) {
	p := w.peer()
	if w.pClosed || l2tp.Before(m.ns, w.pAcked) {
		return
	}
	m.retries++
	if m.retries > p.tries {
		w.pClosed, w.pWhy = true, "retries exceeded"
		w.excused = w.excused || w.starved()
		return
	}
	wait := millis(1000)<<min(m.retries-1, 4) + w.slack('p')
	if p.pause > 0 {
		wait = p.pause + w.slack('p')
	}
	if p.lazy && m.typ == l2tp.TypeHello {
		wait = p.keepalive
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
	if m.ZLB() {
		return
	}
	switch {
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
	if !w.inOrder() || w.excused || w.now <= w.unsure {
		return
	}
	if l2tp.Before(w.pr, m.Ns) {
		w.fail("the peer expects %d and saw %d (type %d)", w.pr, m.Ns, m.Type)
	}
	if m.ZLB() && m.Ns != w.pr {
		w.fail("the peer expects %d and saw a ZLB with %d", w.pr, m.Ns)
	}
}

// pAnswer sends a ZLB, at once or later with others.
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
		w.fail("the peer took a message of type %d that xl2tpd never sent", m.Type)
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
