package supervisor

import (
	"math/rand/v2"
	"runtime"
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
				w.step(Results{{Link: a.Link, Index: a.Index, RTT: time.Millisecond}})
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

// idleFleet plays n idle tunnels for some intervals, once they share their slots. It returns how often the core was woken,
// the echo requests, and the allocations.
func idleFleet(t *testing.T, n, intervals int) (wakes, echoes int, allocs uint64) {
	const interval = 10 * time.Second
	f := newFleet(n)
	jitter := rand.New(rand.NewPCG(1, 0)).Float64
	core, now := New(f.config, jitter), epoch
	packets := uint64(0)
	var reads Counters
	var results Results
	step := func(ev Event) (acted bool) {
		for _, a := range core.Step(ev, now) {
			switch a := a.(type) {
			case ReadCounter:
				reads, acted = append(reads, Counter{Link: a.Link, Packets: packets}), true
			case SendEcho:
				results, acted = append(results, probe.Result{Link: a.Link, Index: a.Index, RTT: time.Millisecond}), true
			}
		}
		return acted
	}
	answer := func() {
		for len(reads) > 0 || len(results) > 0 {
			c, r := reads, results
			reads, results = nil, nil
			if len(c) > 0 {
				step(c)
			}
			if len(r) > 0 {
				echoes += len(r)
				step(r)
			}
		}
	}
	for _, ev := range []Event{f.config, f.xl2tpd, f.vici, f.ppp()} {
		step(ev)
	}
	answer()
	steady := epoch.Add(11*interval/2 + time.Millisecond) // between two wake-ups
	end := steady.Add(time.Duration(intervals) * interval)
	var before, after runtime.MemStats
	for {
		at, ok := core.NextWake()
		if !ok || at.After(end) {
			break
		}
		if now.Before(steady) && !at.Before(steady) {
			wakes, echoes = 0, 0
			runtime.ReadMemStats(&before)
		}
		now = at
		wakes++
		packets = uint64(now.Sub(epoch) / interval) // the echo replies, and no data
		if !step(Tick{}) && !now.Before(steady) {
			t.Errorf("%d tunnels: woken for nothing at %v", n, now.Sub(epoch))
		}
		answer()
	}
	runtime.ReadMemStats(&after)
	return wakes, echoes, after.Mallocs - before.Mallocs
}

// Idle tunnels take few wake-ups, none of them for nothing, one echo request in each interval, and few allocations. Two
// of them are the actions.
func TestIdleCost(t *testing.T) {
	const intervals = 6 // a minute
	for _, tc := range []struct{ tunnels, wakes int }{{10, 1}, {32, 1}, {100, 4}, {1000, 32}} {
		wakes, echoes, allocs := idleFleet(t, tc.tunnels, intervals)
		if wakes > tc.wakes*intervals {
			t.Errorf("%d tunnels: %d wake-ups a minute, want %d at most", tc.tunnels, wakes, tc.wakes*intervals)
		}
		if echoes != tc.tunnels*intervals {
			t.Errorf("%d tunnels: %d echo requests a minute", tc.tunnels, echoes)
		}
		each := float64(allocs) / float64(echoes)
		if each > 6 {
			t.Errorf("%d tunnels: %.1f allocations for an echo request", tc.tunnels, each)
		}
		t.Logf("%d tunnels: %d wake-ups a minute, %d echo requests with %.1f allocations each", tc.tunnels, wakes, echoes, each)
	}
}
