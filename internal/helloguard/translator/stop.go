package translator

import "xl2tpd-keepalive/internal/l2tp"

// AckStop acknowledges xl2tpd's StopCCN, and all before it, for a peer that is known to
// be dead. xl2tpd would hold on to the tunnel for 31 s more (network.c, control_xmit),
// and place new calls inside it. Without a StopCCN it does nothing.
func (t *Translator) AckStop() *Verdict {
	t.begin(Drop)
	if t.closing && t.next.known && t.expects.known {
		t.deadPeer = true
		t.tellLocal(t.ackForLocal())
		t.out.Reason = StopAcked
	}
	return &t.out
}

// Close sends the peer a StopCCN for an xl2tpd that has ended: it has left the peer a
// tunnel that takes up room there, and may swallow the data of the next one. RFC 2661
// §5.7. It is to be called again after a while, and does nothing once the peer has
// acknowledged that, or if the numbers are not known.
func (t *Translator) Close() *Verdict {
	t.begin(Drop)
	if !t.next.known || !t.acked.known || !t.expects.known || t.tun.LocalID == 0 || t.tun.PeerID == 0 {
		return &t.out
	}
	if !t.closing {
		t.closing, t.out.Save = true, true
		t.next.n++
		t.returned = seq{}
	}
	last := t.seqs.wire(t.next.n - 1)
	if l2tp.Before(last, t.acked.n) {
		return &t.out
	}
	// What xl2tpd has sent before may not have arrived, or be a Hello that the peer does
	// not count. It takes the one that it expects.
	for ns := t.acked.n; ns != last && ns-t.acked.n < maxStopNumbers-1; ns++ {
		t.sendStop(ns)
	}
	t.sendStop(last)
	t.out.Reason = StopSent
	return &t.out
}

func (t *Translator) sendStop(ns uint16) {
	t.send(ToPeer, l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: t.tun.LocalID, Ns: ns, Nr: t.nrToPeer()})
}
