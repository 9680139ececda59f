package translator

import "xl2tpd-keepalive/internal/l2tp"

// Repeats reports whether its sender has sent a message before, as far as its number shows. A ZLB has none of its own.
func (t *Translator) Repeats(m l2tp.Message, outbound bool) bool {
	switch {
	case m.ZLB():
		return false
	case outbound:
		return t.out.next.known && !t.out.isNew(m.Ns)
	}
	return t.in.expects.known && l2tp.Before(m.Ns, t.in.expected)
}
