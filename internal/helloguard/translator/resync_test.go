package translator

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// deafTo plays a Hello and its copies to a peer that answers nothing, and then lets time pass
// until end. It calls each for every tenth of a second. It returns the seconds at which xl2tpd
// was first told nr.
func deafTo(t *testing.T, tr **Translator, ns, nr uint16, began float64, end float64, each func(s float64)) (told float64) {
	t.Helper()
	copies := []int{0, 10, 30, 70, 150}
	for i := range int((end - began) * 10) {
		s := began + float64(i)/10
		see := func(v *Verdict) {
			if told == 0 && slices.ContainsFunc(injected(t, v), func(x sent) bool { return x.to == ToXl2tpd && x.nr == nr }) {
				told = s
			}
		}
		each(s)
		if slices.Contains(copies, i) && told == 0 {
			see(fromXl2tpd(*tr, l2tp.TypeHello, ns, 2, at(s), passFirst))
		}
		if when, ok := (*tr).NextTimer(); ok && !when.After(at(s)) {
			see((*tr).HandleTimers(at(s), passFirst))
		}
	}
	return told
}

// The table is flushed, or the guard restarted, while a Hello is pending: xl2tpd gives up 31 s
// after the Hello all the same.
func TestResyncKeepsTheDeadline(t *testing.T) {
	for name, each := range map[string]func(tr **Translator, s float64){
		"flushed once": func(tr **Translator, s float64) {
			if s == 22 {
				(*tr).Resync(at(s))
			}
		},
		"restarted": func(tr **Translator, s float64) {
			if s == 22 {
				(*tr).Resync(at(s))
				*tr = restarted(t, *tr, at(s))
			}
		},
		"flushed all the time": func(tr **Translator, s float64) {
			if s > 15 {
				(*tr).Resync(at(s))
			}
		},
	} {
		tr := inStep(t)
		if told := deafTo(t, &tr, 3, 4, 0, 40, func(s float64) { each(&tr, s) }); told == 0 || told > 30 {
			t.Errorf("%s: xl2tpd is told after %v s, want at most 30", name, told)
		}
	}
}

// The table is flushed after xl2tpd's last copy of a Hello was acknowledged for the peer. A message of the peer that goes past
// meanwhile has an older Nr, which xl2tpd believes. So the Hello is acknowledged again, until xl2tpd closes the tunnel.
func TestFlushBehindTheLastCopy(t *testing.T) {
	for _, c := range []struct {
		flushed float64 // after the first copy
		again   bool
	}{{24, false}, {25.5, true}, {30.5, true}, {32, false}} {
		tr := inStep(t)
		var got []sent
		deafTo(t, &tr, 3, 4, 0, 40, func(s float64) {
			if s == c.flushed {
				got = injected(t, tr.Resync(at(s)))
			}
		})
		again := slices.ContainsFunc(got, func(x sent) bool { return x.to == ToXl2tpd && x.nr == 4 })
		if again != c.again {
			t.Errorf("flushed at %v s: sent %v, want that xl2tpd is told again: %v", c.flushed, got, c.again)
		}
	}
}

// The table is flushed between two Hellos to a peer that answers nothing at all.
func TestFlushBetweenHellos(t *testing.T) {
	for _, flush := range []float64{20, 46, 55} {
		tr := inStep(t)
		each := func(s float64) {
			if s == flush {
				tr.Resync(at(s))
			}
		}
		deafTo(t, &tr, 3, 4, 0, 60, each)
		if told := deafTo(t, &tr, 4, 5, 60, 91, each); told == 0 || told > 90 {
			t.Errorf("flushed at %v s: xl2tpd is told of the second Hello at %v s, want before 90", flush, told)
		}
		if tr.HelloUnanswered() {
			t.Errorf("flushed at %v s: the Hello counts as unanswered", flush)
		}
	}
}

// While a firewall keeps xl2tpd's answers away, the peer answers each question soon.
func TestQuestionsKeepTheirPace(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, typeOther, 2, 1, at(-3), unknown) // so that an answer proves nothing for a while
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), unknown)
	}
	questions := 0
	for now := at(15); now.Before(at(31)); now = now.Add(5 * time.Millisecond) {
		when, ok := tr.NextTimer()
		if !ok || when.After(now) {
			continue
		}
		if slices.Contains(injected(t, tr.HandleTimers(now, unknown)), question(2, 2)) {
			questions++
			fromPeer(tr, l2tp.TypeNone, 2, 3, now)
		}
	}
	if questions == 0 || questions > 40 {
		t.Errorf("got %d questions in 16 s, want 1 to 40", questions)
	}
}

// A decision is taken back though a Hello was kept from the peer just before.
func TestHelloCountedLateBehindASwallowedOne(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(-60), alive) // never on the wire
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 4, 2, at(s), unknown)
	}
	tr.HandleTimers(at(17), unknown)
	fromPeer(tr, l2tp.TypeNone, 2, 3, at(17))
	fromXl2tpd(tr, l2tp.TypeHello, 5, 2, at(60), alive)
	if v := fromPeer(tr, l2tp.TypeNone, 2, 4, at(61)); v.Reason != HelloCounted {
		t.Fatalf("got %q, want %q", v.Reason, HelloCounted)
	}
	v := fromXl2tpd(tr, typeOther, 6, 2, at(62), unknown)
	if m := message(t, v.Packet); m.Ns != 4 {
		t.Errorf("got Ns %d, want 4", m.Ns)
	}
}

// Nothing is asked in the name of a process that is not certainly the tunnel's.
func TestNothingIsAskedForAnUnknownProcess(t *testing.T) {
	tr := inStep(t)
	wantInjected(t, "asked", tr.Ask(epoch, Liveness{Peer: true}))
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), Liveness{Peer: true, PassFirst: true})
	}
	wantInjected(t, "timer", tr.HandleTimers(at(17), Liveness{Peer: true, PassFirst: true}))
}
