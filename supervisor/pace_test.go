package supervisor

import (
	"math/rand/v2"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
)

// wire is a link whose far end answers echo requests, and sends data at given times.
type wire struct {
	*fixture
	link    ppp.Link
	data    []time.Time // still to come
	packets uint64
	last    time.Time   // when data or a reply last came in
	echoes  []time.Time // when they were sent
}

func newWire(t *testing.T, seed uint64) *wire {
	n := &fixture{t: t, core: New(config.Default(""), rand.New(rand.NewPCG(seed, 0)).Float64), now: epoch}
	n.step(n.xl2tpd(oneLAC))
	n.step(n.config(""))
	n.actions = nil
	return &wire{fixture: n, link: link("ppp0", 5, true)}
}

// receive takes what has come in until now.
func (w *wire) receive() {
	for len(w.data) > 0 && !w.data[0].After(w.now) {
		w.packets++
		w.last, w.data = w.data[0], w.data[1:]
	}
}

// play lets time pass until no data is left. sent is called before each echo request.
func (w *wire) play(sent func()) {
	w.links(w.link)
	for {
		for len(w.actions) > 0 {
			a := w.actions[0]
			w.actions = w.actions[1:]
			w.receive()
			switch a := a.(type) {
			case ReadCounter:
				w.counter(w.link, w.packets)
			case SendEcho:
				sent()
				w.echoes = append(w.echoes, w.now)
				w.packets++
				w.last = w.now
				w.step(probe.Result{Link: a.Link, Index: a.Index, RTT: time.Millisecond})
			}
		}
		at, ok := w.core.NextWake()
		if !ok || len(w.data) == 0 {
			return
		}
		w.now = at
		w.step(Tick{})
	}
}

// Whenever data comes, an echo request follows the last of it by the interval and a third at most.
func TestEchoAfterTheLastData(t *testing.T) {
	const interval = 10 * time.Second
	for seed := range uint64(200) {
		w := newWire(t, seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		for at := epoch; len(w.data) < 50; w.data = append(w.data, at) {
			at = at.Add(time.Duration(rng.ExpFloat64() * float64(interval)))
		}
		w.play(func() {
			if quiet := w.now.Sub(w.last); !w.last.IsZero() && quiet > interval*4/3+time.Microsecond {
				t.Fatalf("seed %d: at %v nothing had come for %v", seed, w.now.Sub(epoch), quiet)
			}
		})
	}
}

// A link that has data more often than once in an interval gets no echo request. The first data after a long silence may
// have come at any time since the latest reply: if less than four packets come in an interval, one echo request more may
// follow.
func TestNoEchoOnABusyLink(t *testing.T) {
	for _, tc := range []struct {
		every time.Duration
		most  int
	}{{time.Second, 0}, {2400 * time.Millisecond, 0}, {5 * time.Second, 1}, {9 * time.Second, 1}} {
		for seed := range uint64(20) {
			w := newWire(t, seed)
			begin := epoch.Add(time.Minute + time.Duration(seed)*777*time.Millisecond)
			for i := range 100 {
				w.data = append(w.data, begin.Add(time.Duration(i)*tc.every))
			}
			w.play(func() {})
			busy := 0
			for _, at := range w.echoes {
				if at.After(begin) {
					busy++
				}
			}
			if busy > tc.most {
				t.Errorf("data every %v: %d echo requests, want %d at most", tc.every, busy, tc.most)
			}
		}
	}
}
