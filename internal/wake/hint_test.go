package wake

import "testing"

func TestHint(t *testing.T) {
	var h Hint
	given := func() bool {
		select {
		case <-h.C():
			return true
		default:
			return false
		}
	}
	if given() {
		t.Error("a hint that nobody gave")
	}
	h.Give()
	h.Give()
	if !given() || given() {
		t.Error("two hints are not one")
	}
}
