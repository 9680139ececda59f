package translator

import "xl2tpd-keepalive/internal/l2tp"

// The xl2tpd-like end: control.c hello(), add_control_hdr(), check_control(),
// handle_control(), network.c control_xmit().

func (w *world) xSend(typ l2tp.MessageType, serial uint16) {
	m := &endpointMessage{ns: w.xs, typ: typ, serial: serial, pkt: packet(true, typ, serial, w.xs, w.xr), first: w.now}
	w.xs++
	w.xOut = append(w.xOut, m)
	w.xXmit(m)
}

func (w *world) xXmit(m *endpointMessage) {
	if !w.xAlive() || w.xStopped || w.xClosed && m.typ != l2tp.TypeStopCCN {
		return
	}
	if w.xHung() {
		w.after(w.h.hang+8001-w.now, func() { w.xXmit(m) })
		return
	}
	m.retries++
	done := int(m.ns) < w.cLr
	if w.h.wrapSafe {
		done = l2tp.Before(m.ns, w.cLrMod)
	}
	if done {
		return
	}
	if m.retries > w.h.retries() {
		if w.xGone = w.xClosed; !w.xGone {
			w.excused = w.excused || w.cutOff(m)
			w.xClose("retries exceeded")
		}
		return
	}
	w.after(w.h.wait(m.retries)+w.slack('x'), func() { w.xXmit(m) })
	w.xTransmit(m.pkt)
}

func (w *world) xClose(why string) {
	w.xClosed, w.xWhy = true, why
	w.excused = w.excused || w.starved() || w.last == nil || !w.last.out.acked.known || w.now < w.h.firstUp+roundTrip.Milliseconds()+1000
	w.tooLate = w.anew > 0 && w.now < w.anew+roundTrip.Milliseconds()+1000
	w.xClosing = w.xs
	w.xOut = nil // call.c call_close()
	w.xSend(l2tp.TypeStopCCN, 0)
	if w.h.acksStops && w.h.unplug != 0 && w.now >= w.h.unplug && w.guard != nil && w.xAlive() && !w.xHung() {
		v := w.guard.AckStop()
		w.acked = v.Reason != Nothing
		w.obey(v, nil, ToXl2tpd)
	}
}

func (w *world) xReceive(pkt []byte) {
	if !w.xAlive() || w.xGone {
		return
	}
	if w.xHung() {
		w.xInbox = append(w.xInbox, pkt)
		return
	}
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		w.fail("xl2tpd got %x: %v", pkt, err)
		return
	}
	m := p.Msg
	if m.Tunnel != xID {
		w.fail("xl2tpd got tunnel id %d", m.Tunnel)
	}
	if m.Ns != w.xr {
		d := int(w.xr) - int(m.Ns)
		if !m.ZLB() && (d > 0 && d < 32768 || d < 0 && d > 32768) {
			w.xTransmit(packet(true, l2tp.TypeNone, 0, w.xs, w.xr))
		}
		return
	}
	w.cLr, w.cLrMod = int(m.Nr), m.Nr
	for _, o := range w.xOut {
		if l2tp.Before(o.ns, m.Nr) && o.typ != l2tp.TypeHello && !w.pTookNs[o.serial] && !w.peer().follows &&
			!(o.typ == l2tp.TypeStopCCN && (w.pGotStop || w.acked)) && !w.hungEarly() {
			w.fail("xl2tpd was told that its message %d (type %d) arrived", o.ns, o.typ)
		}
	}
	if l2tp.Before(w.xs, m.Nr) {
		w.fail("xl2tpd was told %d, next is %d", m.Nr, w.xs)
	}
	if w.xClosed && l2tp.Before(w.xClosing, m.Nr) {
		w.xStopped = true
	}
	for len(w.xOut) > 0 && l2tp.Before(w.xOut[0].ns, m.Nr) {
		w.xOut = w.xOut[1:]
	}
	if m.ZLB() {
		return
	}
	w.xr++
	w.xTookNs[m.Ns] = true
	if m.Type != l2tp.TypeHello {
		w.xTook = append(w.xTook, m.Session)
		if n := len(w.xTook); n > len(w.pSent) || w.pSent[n-1] != m.Session {
			w.fail("xl2tpd took message %d as number %d", m.Session, n)
		}
	}
	w.xTransmit(packet(true, l2tp.TypeNone, 0, w.xs, w.xr))
}
