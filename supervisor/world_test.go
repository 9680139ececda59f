package supervisor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"xl2tpd-keepalive/ppp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// site is a host with one LAC whose daemons do what they are told: a model of
// charon, xl2tpd and the LNS behind a wire that may be cut.
type site struct {
	*bench
	conf   string
	redial time.Duration // of xl2tpd; 0: it does not
	auto   bool          // it dials when it starts
	router bool          // the LNS acknowledges without session ids
	plain  bool          // there is no IPsec

	cut             bool
	here, there     int       // which SA either end has; 0: none
	killed          bool      // charon knows nothing of ours, which it has left to the kernel
	loaded          time.Time // since when it knows its connections again
	sas, index, pid int
	away            bool // xl2tpd is not there
	done            []string

	link    bool // pppN is there
	alive   bool // and the LNS knows of the tunnel
	half    bool // xl2tpd's tunnel has no call, and never gets one
	active  bool // xl2tpd's redial is on
	heard   time.Time
	dialled time.Time // an attempt is under way since
	again   time.Time // xl2tpd will redial, whatever it is told meanwhile: a hanging up only has it not do so then
}

// passes reports whether packets come through, both ways.
func (h *site) passes() bool { return !h.cut && (h.plain || h.here == h.there && h.here != 0) }

func (h *site) up() {
	h.index++
	h.link, h.alive, h.heard, h.dialled = true, true, h.now, time.Time{}
	h.links(h.device())
}

func (h *site) device() ppp.Link {
	l := link("ppp0", h.index, true)
	l.Xl2tpdPid = h.pid
	return l
}

// down takes the link away, for a reason if there is one.
func (h *site) down(e *Ending) {
	if e != nil {
		e.Tunnel = closer
		h.step(*e)
	}
	h.link, h.dialled = false, time.Time{}
	h.links()
	if h.redial > 0 && h.active && !h.half {
		h.again = h.now.Add(h.redial)
	}
}

func (h *site) dial() {
	if !h.link && !h.half && h.dialled.IsZero() {
		h.dialled = h.now
		h.step(Dials{Peer: closer.Peer.Addr()})
	}
	h.active = true
}

func (h *site) hangUp(dead bool) error {
	was, heard := h.half, h.alive && h.passes()
	h.active, h.half, h.dialled = false, false, time.Time{}
	if h.link {
		h.down(&Ending{Reason: "hung up", Operator: true})
	} else if was {
		h.step(Ending{Tunnel: closer, Reason: "hung up", Operator: true})
	} else {
		return nil
	}
	if heard || dead {
		return nil
	}
	return ErrUnheard
}

func (h *site) charon() { h.step(h.seen()) }

// seen is what charon says.
func (h *site) seen() vici.Snapshot {
	if h.here == 0 || h.plain || h.killed {
		return vici.Snapshot{}
	}
	return secured(fmt.Sprint(h.here))
}

func (h *site) initiate() error {
	switch {
	case h.plain, h.now.Before(h.loaded):
		return ErrPlain
	case h.cut:
		return lost
	}
	h.sas++
	h.here, h.there, h.killed = h.sas, h.sas, false
	h.charon()
	return nil
}

func (h *site) recover(r Recover) error {
	if h.away && (r.Step == StepDial || r.Step == StepRedial || r.Step == StepHangUp) {
		return lost
	}
	switch r.Step {
	case StepLook:
		if h.cut {
			return lost
		}
	case StepAsk:
		switch {
		case h.cut:
			return lost
		case h.link && h.alive && h.passes():
			return ErrAlive
		}
	case StepSecure:
		return h.initiate()
	case StepRenew:
		h.here = 0
		h.charon()
		return h.initiate()
	case StepDial:
		if h.link || !h.dialled.IsZero() {
			h.t.Fatalf("xl2tpd is made to call a second time after %q", h.done)
		}
		h.dial()
	case StepRedial:
		if h.dialled.IsZero() {
			return ErrWaits
		}
		h.dialled = h.now
	case StepHangUp:
		return h.hangUp(r.Dead)
	}
	return nil
}

// live lets time pass.
func (h *site) live(d time.Duration) {
	for end := h.now.Add(d); h.now.Before(end); h.after(500 * time.Millisecond) {
		switch {
		case h.link && h.alive && h.passes():
			h.heard = h.now
		case h.link && h.now.Sub(h.heard) > 130*time.Second: // a Hello has gone unanswered
			h.down(&Ending{Reason: "Hello unanswered", Unanswered: true})
		case !h.again.IsZero() && !h.now.Before(h.again):
			h.again = time.Time{}
			if h.active {
				if h.link || !h.dialled.IsZero() {
					h.t.Fatalf("xl2tpd calls a second time after %q", h.done)
				}
				h.dial()
			}
		case h.dialled.IsZero():
		case h.passes():
			h.up()
		case h.now.Sub(h.dialled) > 31*time.Second:
			h.down(nil)
		}
		h.act()
	}
}

// act does what is asked for.
func (h *site) act() {
	for steps := 0; len(h.actions) > 0; steps++ {
		a := h.actions[0]
		h.actions = h.actions[1:]
		switch a := a.(type) {
		case Recover:
			if steps > 1000 {
				h.t.Fatal("no pause between steps")
			}
			h.step(Recovered{LAC: a.LAC, Step: a.Step, Err: h.recover(a)})
		case ReadCounter:
			h.step(Counter{Link: a.Link})
		case SendEcho:
			r := probe.Result{Link: a.Link, Index: a.Index, Err: lost}
			if h.link && h.alive && h.passes() {
				r.Err, r.RTT = nil, time.Millisecond
			}
			h.step(r)
		}
	}
}

// Whatever has happened to a tunnel that is wanted: once nothing stands in its way, it
// is up again before long.
func TestWhatIsWantedComesBack(t *testing.T) {
	var worst time.Duration
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		h := &site{
			conf: redials, redial: 30 * time.Second, router: rng.IntN(2) == 0, plain: rng.IntN(4) == 0,
			pid: 100, sas: 1, here: 1, there: 1, index: 5, active: true,
		}
		keepalive := ""
		h.auto = rng.IntN(3) == 0
		switch wish := rng.IntN(4); {
		case wish == 0:
			h.conf, h.redial, keepalive = oneLAC, 0, "[lac default]\nrecover = full"
		case wish == 1 && h.plain:
			h.conf, h.redial, keepalive = oneLAC, 0, "[lac default]\nrecover = redial"
		}
		if h.auto {
			h.conf += "autodial = yes\n"
		}
		h.bench = newBench(t, h.conf, "[global]\nrecover = auto\n"+keepalive)
		if h.auto && rng.IntN(2) == 0 { // xl2tpd has just begun, and the line is cut
			h.cut, h.here = true, 0
			h.active = h.redial > 0
			h.charon()
			h.links()
			h.dial()
		} else {
			h.charon()
			h.up()
		}
		for range 12 {
			what := rng.IntN(12)
			h.act()
			switch {
			case what == 0:
				h.cut = true
			case what == 1:
				h.cut = false
			case what == 2: // the LNS forgets its SA
				h.there = 0
			case what == 3: // it reboots
				h.there, h.alive = 0, false
			case what == 4: // our SA is ended
				h.here = 0
				h.charon()
			case what == 5 && h.link: // pppd dies
				h.half = h.router
				h.down(&Ending{Reason: "closed by xl2tpd", Half: true})
			case what == 6: // xl2tpd is restarted
				h.active, h.half, h.again = false, false, time.Time{}
				s := h.xl2tpd(h.conf)
				if away := time.Duration(rng.IntN(3)*rng.IntN(60)) * time.Second; away > 0 {
					s.Pid = 0
					h.step(s)
					h.away = true
					h.down(nil)
					h.live(away)
					h.away = false
				}
				h.pid++
				s.Pid = h.pid
				h.step(s)
				if h.down(nil); h.auto {
					h.dial()
					h.active = h.redial > 0
				}
			case what == 7 && h.link && h.passes():
				h.down(&Ending{Reason: "closed by the peer"})
			case what == 8: // charon is killed and comes back
				h.killed, h.loaded = true, h.now.Add(time.Duration(rng.IntN(10))*time.Second)
				h.charon()
			case what == 9: // we are
				s := h.xl2tpd(h.conf)
				if s.Pid = h.pid; h.away {
					s.Pid = 0
				}
				if h.link {
					h.restarted(s, h.seen(), h.device())
				} else {
					h.restarted(s, h.seen())
				}
			case what == 11 && !h.plain && !h.link && h.dialled.IsZero() && !h.half: // xl2tpd no longer redials, and nobody knows why
				h.active, h.again = false, time.Time{}
			case what == 10: // other LACs are brought back, as many as may be
				h.b.turns = maxTurns
			}
			wait := time.Duration(rng.IntN(200)) * time.Second
			h.done = append(h.done, fmt.Sprint(what, " ", wait))
			h.live(wait)
			if h.b.turns > 0 { // they are back
				h.b.turns = 1
				h.step(Recovered{LAC: "other", Step: StepSecure})
			}
		}
		h.cut = false
		began := h.now
		for !(h.link && h.alive && h.passes()) {
			if h.now.Sub(began) > 2*maxPause {
				l := h.b.lac("office")
				if h.redial == 0 {
					l = h.b.lac("tokyo")
				}
				t.Fatalf("seed %d: not back after %q\n%+v\n%+v\nlast %+v", seed, h.done, h, l.ladder, l.last)
			}
			h.live(time.Second)
		}
		worst = max(worst, h.now.Sub(began))
	}
	t.Logf("back after %v at worst", worst)
}
