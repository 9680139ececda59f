package translator

import "xl2tpd-keepalive/internal/l2tp"

// AckStop acknowledges xl2tpd's StopCCN, and all before it, for a peer that is known to
// be dead. If nobody does, xl2tpd keeps the closing tunnel for 31 s (network.c, control_xmit),
// and would place new calls inside it. Without a StopCCN it does nothing.
func (t *Translator) AckStop() *Verdict {
	t.reply.begin(Drop)
	if t.closing && t.out.next.known && t.in.expects.known {
		t.out.ackedAll = true
		t.acknowledge()
		t.reply.Reason = StopAcked
	}
	return &t.reply.Verdict
}

// Close sends the peer a StopCCN for an xl2tpd that has ended (RFC 2661 §5.7). The peer still
// has the connection: it takes up room there, and may swallow the data of the next one. Close is to
// be called again after a while. It does nothing once the peer has acknowledged the StopCCN, or
// if the numbers are not known.
func (t *Translator) Close() *Verdict {
	t.reply.begin(Drop)
	out := &t.out
	if !out.next.known || !out.acked.known || !t.in.expects.known || t.connection.LocalID == 0 || t.connection.PeerID == 0 {
		return &t.reply.Verdict
	}
	if !t.closing {
		t.beginClosing()
		out.next.number++
		out.returned = seq{}
	}
	last := out.wire(out.next.number - 1)
	if out.acked.covers(last) {
		return &t.reply.Verdict
	}
	// What xl2tpd has sent before may not have arrived, or be a Hello that the peer does
	// not count. It takes the one that it expects.
	stop := l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: t.connection.LocalID}
	for stop.Ns = out.acked.number; stop.Ns != last && stop.Ns-out.acked.number < maxStopNumbers-1; stop.Ns++ {
		t.send(ToPeer, stop)
	}
	stop.Ns = last
	t.send(ToPeer, stop)
	t.reply.Reason = StopSent
	return &t.reply.Verdict
}
