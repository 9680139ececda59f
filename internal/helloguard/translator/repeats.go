package translator

import "xl2tpd-keepalive/internal/l2tp"

// RepeatsOut reports whether xl2tpd has sent a message before, as far as its number shows. A ZLB has none of its own.
func (t *Translator) RepeatsOut(m l2tp.Message) bool {
	return !m.ZLB() && t.out.next.known && !t.out.isNew(m.Ns)
}

// RepeatsIn is RepeatsOut for a message of the peer.
func (t *Translator) RepeatsIn(m l2tp.Message) bool {
	return !m.ZLB() && t.in.expects.known && l2tp.Before(m.Ns, t.in.expected)
}
