package translator

import "xl2tpd-keepalive/internal/l2tp"

// seq is a sequence number that may be unknown.
type seq struct {
	number uint16
	known  bool
}

// is reports whether the number is known to be n.
func (s seq) is(n uint16) bool { return s == seq{n, true} }

// covers reports whether n is known to lie before the number: an acknowledgement with it
// covers message n.
func (s seq) covers(n uint16) bool { return s.known && l2tp.Before(n, s.number) }
