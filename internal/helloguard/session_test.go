package helloguard

import (
	"testing"

	"github.com/florianl/go-nfqueue/v2"
)

// Who has taken note of who is at work just before that has ended comes too late.
func TestNobodyIsAtWorkAfterTheEnd(t *testing.T) {
	g := &Guard{}
	w := &session{Guard: g, h: &handler{}}
	calls := 0
	ask := func() { g.with(func(*handler) { calls++ }) }
	ask()
	g.setSession(w)
	ask()
	if calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
	w.end()
	ask()
	g.setSession(w) // as it looked to him
	ask()
	w.packet(nil, false, nfqueue.Attribute{PacketID: new(uint32)}) // has no queue to answer to
	if calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
}
