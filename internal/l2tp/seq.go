package l2tp

// Before reports whether sequence number a precedes b, modulo 65536: b lies in
// the 32767 values that follow a (RFC 2661 §5.8).
func Before(a, b uint16) bool { return int16(a-b) < 0 }

// Later returns the later of the sequence numbers a and b, modulo 65536.
func Later(a, b uint16) uint16 {
	if Before(a, b) {
		return b
	}
	return a
}

// Near reports whether a is at most back behind b and at most ahead beyond it.
func Near(a, b uint16, back, ahead int) bool {
	d := int(int16(a - b))
	return -back <= d && d <= ahead
}
