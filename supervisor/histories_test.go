package supervisor

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// go test -run LivingIsHarmed ./supervisor -args -histories 20000 -from 1
var (
	histories = flag.Int("histories", 300, "how many histories TestNothingLivingIsHarmed plays")
	from      = flag.Uint64("from", 0, "the seed of the first one")
)

// event is a thing that happens on a host, to a LAC of it.
type event struct {
	name    string
	happens func(*simHost, *dialler)
	anew    bool // failed steps are tried again
}

var events = []event{
	{"the wire is cut", func(h *simHost, _ *dialler) { h.cut = true }, false},
	{"the wire is repaired", (*simHost).mendWire, false},
	{"the LNS forgets its SA", func(h *simHost, _ *dialler) { h.forget() }, false},
	{"the LNS restarts", (*simHost).restartLNS, false},
	{"the LNS forgets a tunnel", func(_ *simHost, d *dialler) { d.alive = false }, false},
	{"pppd dies", (*simHost).killPPPD, false},
	{"the LNS closes a tunnel", (*simHost).closeTunnel, false},
	{"the LNS refuses", func(_ *simHost, d *dialler) { d.refused = true }, false},
	{"the LNS takes calls again", func(_ *simHost, d *dialler) { d.refused = false }, false},
	{"xl2tpd restarts", (*simHost).restartXl2tpd, true},
	{"charon is killed", (*simHost).killCharon, false},
	{"charon makes its SAs anew", (*simHost).rekey, false},
	{"an operator ends L2TP's SA", (*simHost).terminate, false},
	{"an operator hangs up", (*simHost).operatorHangsUp, false},
	{"an operator dials", (*simHost).operatorDials, true},
	{"the service restarts", (*simHost).restartService, true},
	{"name servers fall silent", func(h *simHost, _ *dialler) { h.deafDNS = true }, false},
	{"name servers answer", func(h *simHost, _ *dialler) { h.answerNames() }, false},
	{"VICI falls silent", (*simHost).silenceVICI, false},
	{"VICI answers", func(h *simHost, _ *dialler) { h.answerVICI() }, false},
	{"a caller comes", (*simHost).callerComes, false},
	{"a caller goes", (*simHost).callerGoes, false},
	{"the target is switched off", func(h *simHost, _ *dialler) { h.targetOff = h.kind.guarded || !h.kind.shy }, false},
	{"the target is back", func(h *simHost, _ *dialler) { h.targetOff, h.healed = false, h.now }, false},
}

func (h *simHost) mendWire(*dialler) { h.cut, h.healed = false, h.now }

// forget makes the router lose its SA.
func (h *simHost) forget() {
	h.there = 0
	if h.kind.dpd && h.here > 0 && h.dropAt.IsZero() {
		h.dropAt = h.now.Add(180 * time.Second)
	}
}

func (h *simHost) restartLNS(*dialler) {
	h.forget()
	for _, d := range h.lacs {
		d.alive = false
	}
}

func (h *simHost) killPPPD(d *dialler) {
	if d.index == 0 {
		return
	}
	d.half = h.kind.half
	h.down(d, &Ending{CloseReason: callCloses})
}

func (h *simHost) closeTunnel(d *dialler) {
	if h.living(d) {
		h.down(d, &Ending{CloseReason: peerCloses})
	}
}

func (h *simHost) restartXl2tpd(*dialler) {
	for _, d := range h.all() {
		d.active, d.half, d.again, d.timers = false, false, time.Time{}, nil
		d.hidden = d.hidden || d.lives.IsZero() // nobody can tell for sure which LAC the last xl2tpd has dialled
		if d.unsaid && h.now.Sub(d.ended) <= policy.ReasonDelay {
			d.hungUp = false // it seems to have ended with its xl2tpd
		}
	}
	h.pid++
	h.step(h.daemons())
	for _, d := range h.all() {
		h.down(d, nil)
		d.byRecovery = false
		if d.unsaid {
			d.lives = time.Time{} // it may have been hung up, so that it was up counts no more
		}
		if d.auto {
			h.dial(d, false)
			d.quiet = d.quiet || d.hungUp && !(h.kind.guarded && !d.dialled.IsZero())
			d.active, d.hungUp, d.off = d.redial > 0, false, false
		}
	}
}

// killCharon makes charon forget its SAs, which stay in the kernel. The new charon reuses the ids.
func (h *simHost) killCharon(*dialler) {
	h.unlisted, h.loaded, h.dropAt = true, h.now.Add(time.Duration(h.rng.IntN(10))*time.Second), time.Time{}
	h.ids, h.ike, h.site, h.vxlan = 3, 0, 1, 2
	h.charon()
}

// rekey gives L2TP's SA another id, or only its CHILD another.
func (h *simHost) rekey(*dialler) {
	if !h.passes() || h.here == 0 || h.unlisted {
		return
	}
	h.id++
	h.here, h.there = int(h.id), int(h.id)
	if h.rng.IntN(2) == 0 {
		h.ids++
		h.ike = h.ids
	}
	h.charon()
}

// terminate ends L2TP's IKE SA, or its CHILD alone.
func (h *simHost) terminate(*dialler) {
	if h.silent || h.slow || h.unlisted || h.here == 0 {
		return
	}
	h.here, h.dropAt = 0, time.Time{}
	if !h.kind.shares && h.rng.IntN(2) == 0 {
		h.ike = 0
	}
	h.charon()
}

func (h *simHost) operatorHangsUp(d *dialler) {
	seen := h.living(d) && !h.recently() && !h.unlisted || h.kind.guarded && (d.index > 0 || d.half || !d.dialled.IsZero())
	if h.kind.guarded && (d.index == 0 || d.call && !h.kind.kernel) { // an attempt, or a call without addresses, may be the other one's
		for _, o := range h.lacs {
			o.quiet = o.quiet || o != d && o.index == 0
		}
	}
	for _, o := range h.lacs { // in userspace mode, nobody can tell two tunnels apart whose ends are heard in the same moment
		heardNow := !o.ended.IsZero() && (h.now.Sub(o.ended) <= policy.ReasonDelay || len(h.unheard) > 0)
		o.quiet = o.quiet || o != d && !h.kind.kernel && d.index > 0 && heardNow
	}
	h.hangUp(d, true)
	d.hungUp, d.off = d.hungUp || seen, true
}

func (h *simHost) operatorDials(d *dialler) {
	unseen := !h.sees(d)
	d.quiet = d.quiet || d.hungUp
	d.hungUp, d.off = false, false
	h.dial(d, false)
	d.hidden = unseen
}

func (h *simHost) restartService(*dialler) {
	if h.silent || h.slow {
		return
	}
	h.restarted(h.daemons(), h.sas(), h.devices()...)
	h.showGuard()
	h.flights = nil
}

// showGuard reports whether the Hello guard is available.
func (h *simHost) showGuard() {
	if !h.kind.guarded {
		h.step(Fault{What: TaskGuard, Problem: status.Problem{Text: "hello guard unavailable"}})
	}
	h.step(TaskWorks{Task: TaskGuard})
}

func (h *simHost) answerNames() {
	h.deafDNS, h.resolved, h.unresolved = false, true, false
	h.step(h.daemons())
}

func (h *simHost) silenceVICI(*dialler) {
	h.silent = h.rng.IntN(2) == 0
	h.slow = !h.silent
	h.step(TaskFailed{Task: WatcherVICI, Err: lost})
}

func (h *simHost) answerVICI() {
	if h.silent || h.slow {
		h.silent, h.slow, h.healed = false, false, h.now
		h.charon()
	}
}

func (h *simHost) callerComes(*dialler) {
	if c := h.caller; c.index == 0 && !h.cut && (!h.kind.router || h.passes()) {
		h.id++
		c.id = h.id
		h.up(c)
	}
}

// callerGoes ends the caller's tunnel. An operator may have hung it up.
func (h *simHost) callerGoes(*dialler) {
	if h.caller.index == 0 {
		return
	}
	e := &Ending{CloseReason: peerCloses}
	if h.hand.IntN(2) == 0 {
		e.CloseReason = why{Reason: "hung up", Operator: true}
	}
	h.down(h.caller, e)
}

// begin begins with both tunnels up, or with an xl2tpd that has just begun.
func (h *simHost) begins() {
	h.resolved = !h.kind.named || h.rng.IntN(4) > 0
	h.deafDNS = !h.resolved
	h.step(h.daemons())
	h.showGuard()
	h.step(h.config("[global]\nrecover = " + h.kind.recover + "\n[lac default]\ntarget = 172.16.0.1\n"))
	h.charon()
	h.links()
	for _, d := range h.lacs {
		if h.rng.IntN(4) == 0 {
			if d.off = !d.auto; d.auto {
				h.dial(d, false)
			}
			continue
		}
		h.id++
		d.id = h.id
		h.up(d)
	}
	h.live(time.Minute)
}

// heals takes away everything that stands in the way.
func (h *simHost) heals() {
	h.cut, h.targetOff, h.healed = false, false, h.now
	for _, d := range h.lacs {
		d.refused = false
	}
	h.answerNames()
	h.answerVICI()
}

func (h *simHost) forgetsAttempts() {
	for _, d := range h.lacs {
		clear(d.steps)
	}
}

func (h *simHost) plays() {
	h.begins()
	for range 12 {
		e, d := events[h.rng.IntN(len(events))], h.lacs[h.rng.IntN(len(h.lacs))]
		wait := time.Duration(h.rng.IntN(200)) * time.Second
		if h.rng.IntN(20) == 0 {
			wait += time.Hour
		}
		h.events = append(h.events, fmt.Sprintf("%v %s (%s)", h.now.Sub(epoch), e.name, d.name))
		h.act()
		e.happens(h, d)
		if e.anew {
			h.forgetsAttempts()
		}
		h.live(wait)
	}
	h.heals()
}

// wanted reports whether a LAC has to come back, once nothing stands in its way.
func (h *simHost) wanted(d *dialler) bool {
	switch {
	case d.off:
		return false
	case h.kind.oldest && (!h.kind.guarded || h.kind.optFile) && !d.plans() && d.dialled.IsZero():
		return false // its redial has died, and nobody can see that, or whose it was
	case d.quiet && !d.redials():
		return false // nobody can see that an operator has dialled it again, or that he has hung up the other one
	case d.unsaid && !d.redials():
		return false // an operator may have hung it up, and xl2tpd does not redial it
	case d.half && !h.kind.guarded:
		return false // nobody sees that xl2tpd makes no call in the tunnel that stands
	case h.kind.optFile && (!h.kind.guarded || h.kind.shares || !d.active || d.redial == 0 || d.half):
		return false // nobody can tell which LAC has, or had, the link, and xl2tpd does not redial
	case h.kind.recover == "auto" && (!h.kind.guarded || d.hidden) && !d.auto && d.lives.IsZero():
		return false // it has never been up, and nobody has seen that it was dialled
	case h.kind.recover == "redial" && !h.kind.plain:
		return false // nobody renews the SA
	}
	return true
}

// patience returns how long after the healing a LAC may take to be up. An SA that has to stay is tried after three dials
// that failed, each with its pause. Then charon needs 165 s to give it up. Without the Hello guard, the SA of one that may
// have been hung up is tried ever more rarely.
func (h *simHost) patience(d *dialler, healed time.Time) time.Duration {
	if d.unsaid && !h.kind.guarded {
		return 3*policy.MaxPause + healed.Sub(d.ended)
	}
	return 4 * policy.MaxPause
}

// The same events always have the same outcome.
func TestHistoriesAreRepeatable(t *testing.T) {
	for seed := range checks(100) {
		first, again := newHost(t, seed), newHost(t, seed)
		first.plays()
		again.plays()
		if !slices.Equal(first.asked, again.asked) {
			t.Errorf("seed %d: %q, and then %q", seed, first.asked, again.asked)
		}
	}
}

// checks is a fifth with -short, as it is of rapid's.
func checks(n int) uint64 {
	if testing.Short() {
		n /= 5
	}
	return uint64(n)
}

// In every history recovery harms nothing that is alive (see simHost), and in the end each wanted LAC is up.
func TestNothingLivingIsHarmed(t *testing.T) {
	var worst time.Duration
	most, back, left := 0, 0, 0
	for n := range checks(*histories) {
		seed := *from + n
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHost(t, seed)
			h.plays()
			began := h.now
			for _, d := range h.lacs {
				if !h.wanted(d) {
					left++
					continue
				}
				for !h.living(d) && (!d.unsaid || d.redials()) { // a tunnel that was lost before may end only now
					if h.now.Sub(began) > h.patience(d, began) {
						h.failed(d, "not back")
					}
					h.live(time.Second)
				}
				back++
			}
			for _, d := range h.lacs {
				for _, times := range d.steps {
					most = max(most, len(times))
				}
			}
			worst = max(worst, h.now.Sub(began))
		})
	}
	t.Logf("%d LACs back after %v at worst, %d not wanted; tried up to %d times in an hour", back, worst, left, most)
}
