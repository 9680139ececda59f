package hello

// before reports whether sequence number a precedes b, modulo 65536: b lies in
// the 32767 values that follow a (RFC 2661 §5.8).
func before(a, b uint16) bool { return int16(a-b) < 0 }

// later returns the one of a and b that the other does not follow.
func later(a, b uint16) uint16 {
	if before(a, b) {
		return b
	}
	return a
}

// near reports whether a is at most back behind b and at most ahead beyond it.
func near(a, b uint16, back, ahead int) bool {
	d := int(int16(a - b))
	return -back <= d && d <= ahead
}
