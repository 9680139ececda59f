package supervisor

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// go test -run WhatIsWanted ./supervisor -args -hosts 20000
var hosts = flag.Int("hosts", 300, "how many hosts TestWhatIsWantedComesBack plays")

// site is a model of a host with one LAC: charon, xl2tpd, and the LNS behind a line that may be cut.
type site struct {
	*fixture
	all    []*site // of the host, each with an xl2tpd of its own
	key    xl2tpd.Key
	peer   netip.AddrPort // of the LNS
	conf   string
	redial time.Duration // of xl2tpd; 0: it does not
	auto   bool          // it dials when it starts
	router bool          // the LNS acknowledges without session ids
	plain  bool          // there is no IPsec

	cut             bool
	here, there     int       // which SA either end has; 0: none
	killed          bool      // charon does not know the SA any more, which is still in the kernel
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
	h.links(h.devices()...)
}

func (h *site) device() ppp.Link {
	l := link(fmt.Sprint("ppp", h.index), h.index, true)
	l.Xl2tpdPid = h.pid
	return l
}

// devices are the links of the host.
func (h *site) devices() (all []ppp.Link) {
	for _, s := range h.all {
		if s.link {
			all = append(all, s.device())
		}
	}
	return all
}

// daemons returns the snapshot of the host's xl2tpds.
func (h *site) daemons() (all xl2tpd.Snapshot) {
	for _, s := range h.all {
		in := s.xl2tpd(s.conf).Instances[0]
		in.Key = s.key
		if in.Process = s.process(); s.away {
			in.Process = procfs.ID{}
		}
		all.Instances = append(all.Instances, in)
	}
	return all
}

func (h *site) process() procfs.ID { return procfs.ID{Pid: h.pid} }

// control is the control connection of the site's tunnel.
func (h *site) control() helloguard.OwnedConnection {
	return helloguard.OwnedConnection{Connection: l2tp.Connection{Local: closer.Local, Peer: h.peer, LocalID: closer.LocalID}, Owner: h.process()}
}

// down takes the link away, for a reason if there is one.
func (h *site) down(e *Ending) {
	if e != nil {
		e.OwnedConnection = h.control()
		h.step(*e)
	}
	h.link, h.dialled = false, time.Time{}
	h.links(h.devices()...)
	if h.redial > 0 && h.active && !h.half {
		h.again = h.now.Add(h.redial)
	}
}

func (h *site) dial() {
	if !h.link && !h.half && h.dialled.IsZero() {
		h.dialled = h.now
		h.step(Dials{OwnedConnection: h.control()})
	}
	h.active = true
}

func (h *site) hangUp(dead bool) error {
	was, heard := h.half, h.alive && h.passes()
	h.active, h.half, h.dialled = false, false, time.Time{}
	if h.link {
		h.down(&Ending{CloseReason: why{Reason: "hung up"}})
	} else if was {
		h.step(Ending{OwnedConnection: h.control(), CloseReason: why{Reason: "hung up"}})
	} else {
		return nil
	}
	if heard || dead {
		return nil
	}
	return policy.ErrPeerDead
}

func (h *site) charon() { h.step(h.seen()) }

// seen returns the snapshot of charon.
func (h *site) seen() vici.Snapshot {
	var all vici.Snapshot
	for i, s := range h.all {
		if s.here == 0 || s.plain || s.killed {
			continue
		}
		sa := secured(fmt.Sprint(i, " ", s.here)).SAs[0]
		sa.RemoteHost = netip.AddrPortFrom(s.peer.Addr(), 4500)
		all.SAs = append(all.SAs, sa)
	}
	return all
}

func (h *site) initiate() error {
	switch {
	case h.plain, h.now.Before(h.loaded):
		return policy.ErrNoConnection
	case h.cut:
		return lost
	}
	h.sas++
	h.here, h.there, h.killed = h.sas, h.sas, false
	h.charon()
	return nil
}

func (h *site) recover(r Recover) error {
	if h.away && (r.Step == policy.StepDial || r.Step == policy.StepRedial || r.Step == policy.StepHangUp) {
		return lost
	}
	switch r.Step {
	case policy.StepLook:
		if h.cut {
			return lost
		}
	case policy.StepAsk:
		switch {
		case h.cut:
			return lost
		case h.link && h.alive && h.passes():
			return policy.ErrAlive
		}
	case policy.StepSecure:
		return h.initiate()
	case policy.StepRenew:
		h.here = 0
		h.charon()
		return h.initiate()
	case policy.StepDial:
		if h.link || !h.dialled.IsZero() {
			h.t.Fatalf("xl2tpd is made to call a second time after %q", h.done)
		}
		h.dial()
	case policy.StepRedial:
		if h.dialled.IsZero() {
			return policy.ErrRedialsLater
		}
		h.dialled = h.now
	case policy.StepHangUp:
		return h.hangUp(r.Dead)
	}
	return nil
}

// live lets time pass on the host.
func (h *site) live(d time.Duration) {
	for end := h.now.Add(d); h.now.Before(end); h.after(500 * time.Millisecond) {
		for _, s := range h.all {
			s.goOn()
		}
		h.act()
	}
}

// goOn does what happens at the site by itself.
func (h *site) goOn() {
	switch {
	case h.link && h.alive && h.passes():
		h.heard = h.now
	case h.link && h.now.Sub(h.heard) > 130*time.Second: // a Hello has gone unanswered
		h.down(&Ending{CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
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
}

// of returns the site of a step. The step must be for the xl2tpd that runs there.
func (h *site) of(r Recover) *site {
	for i, s := range h.all {
		if instanceID(i, s.key) != r.LAC.Instance {
			continue
		}
		if r.To.Pipe != s.key.Pipe {
			h.t.Fatalf("%+v is for another xl2tpd than that of %+v", r, s.key)
		}
		return s
	}
	h.t.Fatalf("no xl2tpd of the host has %+v", r.LAC)
	return nil
}

// act carries out actions.
func (h *site) act() {
	for steps := 0; len(h.actions) > 0; steps++ {
		a := h.actions[0]
		h.actions = h.actions[1:]
		switch a := a.(type) {
		case Recover:
			if steps > 1000 {
				h.t.Fatal("no pause between steps")
			}
			h.step(StepDone{LAC: a.LAC, Step: a.Step, Err: h.of(a).recover(a)})
		case ReadCounter:
			h.step(Counters{{Link: a.Link}})
		case SendEcho:
			r := probe.Result{Link: a.Link, Index: a.Index, Err: lost}
			for _, s := range h.all {
				if s.link && s.index == a.Index && s.alive && s.passes() {
					r.Err, r.RTT = nil, time.Millisecond
				}
			}
			h.step(Results{r})
		}
	}
}

// newSite draws a site; n is its number on the host.
func newSite(rng *rand.Rand, n int) (h *site, keepalive string) {
	h = &site{
		conf: redials, redial: 30 * time.Second, router: rng.IntN(2) == 0, plain: rng.IntN(4) == 0,
		pid: 100 * (n + 1), sas: 1, here: 1, there: 1, index: 1000 * (n + 1), active: true, peer: closer.Peer,
	}
	h.auto = rng.IntN(3) == 0
	recover := "auto"
	switch wish := rng.IntN(4); {
	case wish == 0:
		h.conf, h.redial, recover = oneLAC, 0, "full"
	case wish == 1 && h.plain:
		h.conf, h.redial, recover = oneLAC, 0, "redial"
	}
	if h.auto {
		h.conf += "autodial = yes\n"
	}
	file := ""
	if n > 0 {
		h.key = xl2tpd.Key{Path: "/etc/second.conf", Pipe: "/run/second"}
		h.peer = netip.MustParseAddrPort("192.0.2.2:1701")
		h.conf = strings.Replace(h.conf, "lns = 192.0.2.1", "lns = 192.0.2.2", 1)
		file = h.key.Path + " "
	}
	return h, "[lac " + file + h.lacName() + "]\nrecover = " + recover + "\n"
}

func (h *site) lacName() string {
	if h.redial == 0 {
		return "tokyo"
	}
	return "office"
}

// begin begins with the tunnel up, or with an xl2tpd that has just begun while the line is cut.
func (h *site) begin(rng *rand.Rand) {
	if h.auto && rng.IntN(2) == 0 {
		h.cut, h.here = true, 0
		h.active = h.redial > 0
		h.charon()
		h.links(h.devices()...)
		h.dial()
		return
	}
	h.charon()
	h.up()
}

// happens makes one thing happen to a site.
func (h *site) happens(what int, rng *rand.Rand) {
	switch {
	case what == 0:
		h.cut = true
	case what == 1:
		h.cut = false
	case what == 2: // the LNS forgets its SA
		h.there = 0
	case what == 3: // it reboots
		h.there, h.alive = 0, false
	case what == 4: // the SA of the site is ended
		h.here = 0
		h.charon()
	case what == 5 && h.link: // pppd dies
		h.half = h.router
		h.down(&Ending{CloseReason: callCloses})
	case what == 6: // xl2tpd is restarted
		h.active, h.half, h.again = false, false, time.Time{}
		if away := time.Duration(rng.IntN(3)*rng.IntN(60)) * time.Second; away > 0 {
			h.away = true
			h.step(h.daemons())
			h.down(nil)
			h.live(away)
			h.away = false
		}
		h.pid++
		h.step(h.daemons())
		if h.down(nil); h.auto {
			h.dial()
			h.active = h.redial > 0
		}
	case what == 7 && h.link && h.passes():
		h.down(&Ending{CloseReason: peerCloses})
	case what == 8: // charon is killed and comes back
		h.killed, h.loaded = true, h.now.Add(time.Duration(rng.IntN(10))*time.Second)
		h.charon()
	case what == 9: // the service is restarted
		h.restarted(h.daemons(), h.seen(), h.devices()...)
	case what == 11 && !h.plain && !h.link && h.dialled.IsZero() && !h.half: // xl2tpd no longer redials, and nobody knows why
		h.active, h.again = false, time.Time{}
	case what == 10: // other LACs are brought back, as many as may be
		h.core.lacs.agenda.slotsTaken = maxSlots
	}
}

// In every history a wanted tunnel is soon up again once nothing prevents it. Some hosts have two xl2tpds, and each
// event happens to one.
func TestWhatIsWantedComesBack(t *testing.T) {
	var worst time.Duration
	for seed := range checks(*hosts) {
		rng := rand.New(rand.NewPCG(seed, 2))
		sites := make([]*site, 1+rng.IntN(2))
		conf := ""
		for i := range sites {
			s, keepalive := newSite(rng, i)
			sites[i] = s
			conf += keepalive
		}
		n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0.5 }), now: epoch}
		for _, s := range sites {
			s.fixture, s.all = n, sites
		}
		n.step(sites[0].daemons())
		n.step(n.config(conf))
		for _, s := range sites {
			s.begin(rng)
		}
		for range 12 {
			what := rng.IntN(12)
			h := sites[rng.IntN(len(sites))]
			h.act()
			h.happens(what, rng)
			wait := time.Duration(rng.IntN(200)) * time.Second
			for _, s := range sites {
				s.done = append(s.done, fmt.Sprint(h.pid, " ", what, " ", wait))
			}
			h.live(wait)
			if n.core.lacs.agenda.slotsTaken > 0 { // they are back
				n.core.lacs.agenda.slotsTaken = 1
				h.step(StepDone{LAC: LAC{Name: "other"}, Step: policy.StepSecure})
			}
		}
		for _, s := range sites {
			s.cut = false
		}
		began := n.now
		for i, h := range sites {
			for !(h.link && h.alive && h.passes()) {
				if h.now.Sub(began) > 2*policy.MaxPause {
					l := h.core.lacs.ensureLAC(name{"lac", h.lacName(), instanceID(i, h.key)})
					t.Fatalf("seed %d: not back after %q\n%+v\n%+v\nlast %+v", seed, h.done, h, l.progress, l.lastEnd)
				}
				h.live(time.Second)
			}
		}
		worst = max(worst, n.now.Sub(began))
	}
	t.Logf("back after %v at worst", worst)
}
