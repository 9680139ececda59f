package wake

import "testing"

func TestSignal(t *testing.T) {
	var s Signal
	received := func() bool {
		select {
		case <-s.C():
			return true
		default:
			return false
		}
	}
	if received() {
		t.Error("received a signal that nobody sent")
	}
	s.Send()
	s.Send()
	if !received() || received() {
		t.Error("two signals were not received as one")
	}
}
