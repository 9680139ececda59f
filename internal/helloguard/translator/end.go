package translator

import "xl2tpd-keepalive/internal/l2tp"

// Bury acknowledges xl2tpd's StopCCN, and all before it, in the name of a peer
// that is known to be dead. xl2tpd would hold on to the tunnel for 31 s more
// (network.c, control_xmit), and dial no other instead of it. Without a StopCCN it
// does nothing.
func (t *Translator) Bury() *Verdict {
	t.begin()
	t.out.Action = Drop
	if t.closing && t.highKnown && t.expKnown {
		t.buried = true
		t.tellLocal(t.localAck())
		t.out.Why = WhyBuried
	}
	return &t.out
}

// Close sends the peer a StopCCN in the name of an xl2tpd that has died: it has
// left the peer a tunnel that takes up room there, and may swallow the data of the
// next one. RFC 2661 §5.7. It is to be called again after a while, and does nothing
// once the peer has acknowledged that, or if the numbers are not known.
func (t *Translator) Close() *Verdict {
	t.begin()
	t.out.Action = Drop
	if !t.highKnown || !t.ackKnown || !t.expKnown || t.tun.LocalID == 0 || t.tun.PeerID == 0 {
		return &t.out
	}
	if !t.closing {
		t.closing, t.out.Save = true, true
		t.high++
	}
	last := t.ledger.wire(t.high - 1)
	if l2tp.Before(last, t.acked) {
		return &t.out
	}
	// What xl2tpd has sent before may not have arrived, or be a Hello that the
	// peer does not count. It takes the one that it expects.
	for ns := t.acked; ns != last && ns-t.acked < maxFill; ns++ {
		t.sendStop(ns)
	}
	t.sendStop(last)
	t.out.Why = WhyClosed
	return &t.out
}

func (t *Translator) sendStop(ns uint16) {
	t.send(ToPeer, l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: t.tun.LocalID, Ns: ns, Nr: t.nrToPeer()})
}
