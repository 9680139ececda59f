package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
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

// simHost is a model of a host and its neighbours. One xl2tpd has one or two LACs of one LNS, and a caller. charon has several
// connections to that router. There are name servers and operators. The checks that the executor makes before it acts are part
// of the model.
//
// What must hold, whatever happens:
//   - no IKE SA is ended that carries a living tunnel, or anything else that lives;
//   - no tunnel is hung up that lives;
//   - what an operator has hung up is not dialled until somebody dials it;
//   - xl2tpd is never made to have two calls of one LAC;
//   - nothing is dialled in the clear where strongSwan has a connection;
//   - no LAC is dialled, and no SA initiated for it, more than mostAttempts times in an hour.
type simHost struct {
	*fixture
	rng  *rand.Rand
	race *rand.Rand // of what comes just before a step
	hand *rand.Rand // of who hangs up a caller
	seed uint64
	kind hostKind

	lacs   []*dialler
	caller *dialler
	pid    int
	index  int       // of links, given last
	id     uint16    // of control connections, given last
	heard  time.Time // when the LNS's control messages came in last
	barred time.Time // when the LNS last refused a tunnel
	events []string
	asked  []string // steps of recovery

	cut        bool      // the wire is
	healed     time.Time // when something that was in the way went last
	deafDNS    bool      // name servers do not answer
	targetOff  bool      // what echo requests go to is switched off
	resolved   bool      // the LNS's name has been, by this service
	unresolved bool      // this service's latest lookup has failed

	here, there int       // the CHILD for L2TP that either end has; 0: none
	ids         int       // of IKE SAs, given last
	ike         int       // the unique id of L2TP's; 0: there is none
	site, vxlan int       // and those of others with the same router
	dropAt      time.Time // when charon gives up an IKE SA whose peer does not answer
	loaded      time.Time // since when charon has its connections
	unlisted    bool      // charon has forgotten what the kernel still has
	silent      bool      // VICI is
	slow        bool      // VICI lists nothing, and initiates
	plainAt     time.Time // when charon was found without a connection
	listed      time.Time // when charon first listed an SA for L2TP, with an LNS whose address was known

	flights []flying

	lateness *rand.Rand // of what the core hears late
	isLate   bool       // what happens now is heard late
	unheard  []lateNews
}

// lateNews is what the core hears some time after it has happened.
type lateNews struct {
	at   time.Time
	tell func()
}

// hostKind is what stays the same on a host.
type hostKind struct {
	kernel  bool // the kernel shows the session of each link
	guarded bool // the Hello guard sees control messages
	owned   bool // and knows the owner of each
	named   bool // xl2tpd.conf calls the LNS by a name
	byName  bool // swanctl.conf does
	plain   bool // there is no connection for L2TP
	shares  bool // a site-to-site CHILD is in L2TP's own IKE SA
	dpd     bool // charon notices by itself that the router has forgotten an SA
	oldest  bool // xl2tpd never redials after a failed lookup
	optFile bool // both LACs have the same pppoptfile
	calls   bool // a refused call has a link for some seconds
	bars    bool // else: the LNS refuses not the call, but the tunnel
	router  bool // the caller is the LNS itself
	half    bool // the LNS acknowledges the end of a call without its id
	mute    bool // the LNS answers no question on the control channel of a LAC's tunnel
	shy     bool // and no echo request to its own end of a tunnel
	passes  bool // xl2tpd gives pppd the peer's address, in userspace mode
	recover string
}

// dialler is a LAC of the model, or its caller.
type dialler struct {
	name    string
	peer    netip.AddrPort
	optFile string
	redial  time.Duration // of xl2tpd; 0: it does not
	auto    bool
	refused bool // by the LNS: the password is wrong

	id         uint16 // of its control connection
	index      int    // of its link; 0: none
	parent     int    // the pid of its xl2tpd
	call       bool   // the link has no addresses
	alive      bool   // the LNS knows of the tunnel
	half       bool   // the tunnel stands without a call
	active     bool   // xl2tpd's redial is on
	lives      time.Time
	cameUp     time.Time
	dialled    time.Time   // an attempt is under way since
	again      time.Time   // when xl2tpd redials
	timers     []time.Time // and those redials that were planned when somebody dialled: a command to dial does not stop them
	byRecovery bool        // the attempt or tunnel was asked for by recovery
	hungUp     bool        // by an operator, and nobody has dialled it since
	off        bool        // the same, whether anybody could see it or not
	quiet      bool        // it was hung up, or it seems so, and nobody sees that it is wanted
	hidden     bool        // that redial follows a dial of an operator's that nobody saw
	unsaid     bool        // nobody can say why its latest tunnel has ended
	ended      time.Time   // when that was
	steps      map[policy.Step][]time.Time
}

// redials reports whether xl2tpd dials a LAC that is down by itself.
func (d *dialler) redials() bool {
	return d.redial > 0 && d.active && !d.half && (d.plans() || !d.dialled.IsZero())
}

// plans reports whether xl2tpd has planned a redial.
func (d *dialler) plans() bool { return !d.again.IsZero() || len(d.timers) > 0 }

func (d *dialler) String() string {
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Sub(epoch).String()
	}
	return fmt.Sprintf("%s: redial %v, auto %v, active %v; link %d, alive %v, half %v, lives %s, dialled %s, again %s, by recovery %v; hung up %v, off %v, refused %v, steps %v",
		d.name, d.redial, d.auto, d.active, d.index, d.alive, d.half, ago(d.lives), ago(d.dialled), ago(d.again), d.byRecovery, d.hungUp, d.off, d.refused, d.steps)
}

// flying is a step in flight.
type flying struct {
	at  time.Time
	of  StepDone
	end func() error
}

const mostAttempts = 30

func newHost(t *testing.T, seed uint64) *simHost {
	rng := rand.New(rand.NewPCG(seed, 3))
	odds := func(n int) bool { return rng.IntN(n) == 0 }
	h := &simHost{
		fixture: &fixture{t: t, core: New(config.Default(""), func() float64 { return 0.5 }), now: epoch},
		rng:     rng, race: rand.New(rand.NewPCG(seed, 5)), lateness: rand.New(rand.NewPCG(seed, 6)), seed: seed, pid: 100, resolved: true,
		kind: hostKind{
			kernel: odds(2), guarded: !odds(4), owned: odds(2), named: odds(3), byName: odds(3), plain: odds(5), shares: odds(4), dpd: odds(3),
			oldest: odds(4), optFile: odds(2), calls: odds(2), router: odds(2), half: odds(4), recover: "full",
		},
	}
	nature := rand.New(rand.NewPCG(seed, 4))
	h.kind.mute = nature.IntN(3) == 0
	h.kind.shy = !h.kind.mute && nature.IntN(2) == 0
	h.ids, h.ike, h.site, h.vxlan, h.here, h.there = 3, 1, 2, 3, 1, 1
	if h.kind.plain {
		h.ike, h.here, h.there, h.kind.shares = 0, 0, 0, false
	}
	for i, name := range []string{"office", "home"} {
		d := &dialler{name: name, peer: closer.Peer, optFile: "/etc/ppp/options.l2tpd", auto: odds(3), steps: map[policy.Step][]time.Time{}}
		if !odds(3) {
			d.redial = []time.Duration{15 * time.Second, 30 * time.Second}[rng.IntN(2)]
		}
		if i > 0 && !h.kind.optFile {
			d.optFile = "/etc/ppp/other"
		}
		if d.redial > 0 && nature.IntN(4) == 0 {
			d.redial = time.Minute
		}
		d.active = d.redial > 0
		h.lacs = append(h.lacs, d)
	}
	switch {
	case odds(4) && h.lacs[0].redial > 0 && h.lacs[1].redial > 0:
		h.kind.recover = "auto"
	case odds(6):
		h.kind.recover = "redial"
	}
	h.caller = &dialler{name: "default", peer: netip.MustParseAddrPort("192.0.2.77:1701"), optFile: "/etc/ppp/callers"}
	if h.kind.router {
		h.caller.peer = closer.Peer
	}
	more := rand.New(rand.NewPCG(seed, 7))
	h.hand, h.kind.passes = more, !h.kind.kernel && more.IntN(2) == 0
	h.kind.bars = !h.kind.calls && rand.New(rand.NewPCG(seed, 8)).IntN(2) == 0
	if more.IntN(4) == 0 { // there is one LAC
		h.lacs, h.kind.optFile = h.lacs[:1], false
	}
	return h
}

// conf is the xl2tpd.conf.
func (h *simHost) conf() string {
	host := closer.Peer.Addr().String()
	if h.kind.named {
		host = "vpn.example.net"
	}
	text := ""
	for _, d := range h.lacs {
		text += "[lac " + d.name + "]\nlns = " + host + "\npppoptfile = " + d.optFile + "\n"
		if d.redial > 0 {
			text += fmt.Sprintf("redial = yes\nredial timeout = %d\n", d.redial/time.Second)
		}
		if d.auto {
			text += "autodial = yes\n"
		}
	}
	return text + "[lns default]\nip range = 10.9.0.1-10.9.0.9\npppoptfile = " + h.caller.optFile + "\n"
}

func (h *simHost) process() procfs.ID { return procfs.ID{Pid: h.pid} }

func (h *simHost) all() []*dialler { return append(slices.Clone(h.lacs), h.caller) }

// daemons returns the snapshot of xl2tpd.
func (h *simHost) daemons() xl2tpd.Snapshot {
	s := h.xl2tpd(h.conf())
	s.Home().Process = h.process()
	for i := range s.Home().Conf.Sections {
		if c := &s.Home().Conf.Sections[i]; c.Kind == "lac" && h.kind.named && h.resolved {
			c.LNSIPs, c.Unresolved = []netip.Addr{closer.Peer.Addr()}, h.unresolved
		}
	}
	for _, d := range h.all() {
		if h.kind.kernel && d.index > 0 {
			s.Sessions = append(s.Sessions, xl2tpd.Session{Ifname: d.device(h).Name, Ifindex: d.index, Local: closer.Local, Peer: d.peer, LocalTunnel: d.id, LNS: d == h.caller})
		}
	}
	return s
}

func (d *dialler) device(h *simHost) ppp.Link {
	l := link(fmt.Sprint("ppp", d.index), d.index, !d.call)
	l.OptFile, l.Xl2tpdPid = d.optFile, d.parent
	if d == h.caller {
		l.Peer = addr("10.9.0.1")
	}
	if h.kind.kernel {
		l.TTY = ""
	}
	if h.kind.passes {
		l.OuterPeer = d.peer.Addr()
	}
	return l
}

func (h *simHost) devices() (all []ppp.Link) {
	for _, d := range h.all() {
		if d.index > 0 {
			all = append(all, d.device(h))
		}
	}
	return all
}

// show reports the links, and their sessions before or after them.
func (h *simHost) show() {
	if h.kind.kernel && h.rng.IntN(2) == 0 {
		h.step(h.daemons())
		h.links(h.devices()...)
		return
	}
	h.links(h.devices()...)
	if h.kind.kernel {
		h.step(h.daemons())
	}
}

// control is a tunnel's control connection.
func (h *simHost) control(d *dialler) helloguard.OwnedConnection {
	c := helloguard.OwnedConnection{Connection: l2tp.Connection{Local: closer.Local, Peer: d.peer, LocalID: d.id}}
	if h.kind.owned {
		c.Owner = h.process()
	}
	return c
}

// tells reports an event of the Hello guard, if there is one.
func (h *simHost) tells(ev Event) {
	if h.kind.guarded {
		h.step(ev)
	}
}

// passes reports whether packets of L2TP come through, both ways.
func (h *simHost) passes() bool { return !h.cut && (h.kind.plain || h.here == h.there && h.here != 0) }

// living reports whether a tunnel works.
func (h *simHost) living(d *dialler) bool {
	if d == h.caller && !h.kind.router {
		return d.index > 0 && d.alive && !h.cut
	}
	return d.index > 0 && !d.call && d.alive && h.passes()
}

// speaks reports whether the LNS sends control messages to any tunnel of this host.
func (h *simHost) speaks() bool {
	return slices.ContainsFunc(h.all(), func(d *dialler) bool {
		return d.peer == closer.Peer && h.living(d) && (d == h.caller || !h.kind.mute)
	})
}

// sentLately reports whether the LNS has just sent control messages to a tunnel that is alive, such as a new one.
func (h *simHost) sentLately() bool {
	return h.now.Sub(h.heard) < 15*time.Second && slices.ContainsFunc(h.lacs, h.living)
}

// answersInside reports whether the LNS answers one of the echo requests to its own end of a tunnel.
func (h *simHost) answersInside(asked []probe.Request) bool {
	return !h.kind.shy && slices.ContainsFunc(h.all(), func(d *dialler) bool {
		return d.peer == closer.Peer && h.living(d) && slices.ContainsFunc(asked, func(r probe.Request) bool { return r.Index == d.index })
	})
}

// sas is what charon lists.
func (h *simHost) sas() vici.Snapshot {
	var all vici.Snapshot
	if h.unlisted && h.now.Before(h.loaded) {
		return all
	}
	add := func(name string, id int, children ...vici.Child) {
		if id > 0 {
			all.SAs = append(all.SAs, vici.SA{Name: name, UniqueID: fmt.Sprint(id), State: "ESTABLISHED", RemoteHost: netip.AddrPortFrom(closer.Peer.Addr(), 4500), Children: children})
		}
	}
	net := vici.Child{Name: "net", State: "INSTALLED", Mode: "TUNNEL", LocalTS: []string{"10.0.0.0/16"}, RemoteTS: []string{"10.1.0.0/16"}}
	udp := func(name, port string) vici.Child {
		return vici.Child{Name: name, State: "INSTALLED", Mode: "TRANSPORT", LocalTS: []string{"192.0.2.100/32[udp/" + port + "]"}, RemoteTS: []string{"192.0.2.1/32[udp/" + port + "]"}}
	}
	var l2tp []vici.Child
	if h.here > 0 {
		l2tp = append(l2tp, udp("l2tp", "l2f"))
	}
	if h.kind.shares {
		l2tp = append(l2tp, net)
	} else {
		add("site", h.site, net)
	}
	if !h.unlisted {
		add("l2tp", h.ike, l2tp...)
	}
	add("vxlan", h.vxlan, udp("vxlan", "4789"))
	h.rng.Shuffle(len(all.SAs), func(i, j int) { all.SAs[i], all.SAs[j] = all.SAs[j], all.SAs[i] })
	if h.listed.IsZero() && h.here > 0 && !h.unlisted && h.resolved {
		h.listed = h.now
	}
	return all
}

// charon reports its SAs, if it answers.
func (h *simHost) charon() {
	if !h.silent && !h.slow {
		h.step(h.sas())
	}
}

// up brings a link up.
func (h *simHost) up(d *dialler) {
	h.index++
	d.index, d.parent, d.call, d.alive, d.lives, d.dialled = h.index, h.pid, d.refused, true, h.now, time.Time{}
	d.cameUp = h.now
	d.quiet = d.quiet && d.call
	h.show()
}

// down takes a tunnel away; e says why, if the Hello guard can.
func (h *simHost) down(d *dialler, e *Ending) {
	if e != nil {
		e.OwnedConnection = h.control(d)
		told := *e
		h.soon(func() { h.tells(told) })
	}
	had := d.index > 0
	if had && !d.call {
		d.unsaid, d.ended = !h.tellable(), h.now
	}
	d.index, d.dialled, d.alive, d.call = 0, time.Time{}, false, false
	if had {
		h.soon(h.show)
	}
	if d.redial > 0 && d.active && !d.half && d.again.IsZero() { // xl2tpd.c, destroy_tunnel: !rsched
		d.again = h.now.Add(d.redial)
	}
}

// soon tells the core something now, or up to 9 s later if it is heard late. The reason of an end and the end of its link
// then come in any order, before or after the hang-up's result.
func (h *simHost) soon(tell func()) {
	if !h.isLate {
		tell()
		return
	}
	h.unheard = append(h.unheard, lateNews{h.now.Add(time.Duration(h.lateness.IntN(10)) * time.Second), tell})
}

// tellable reports whether the Hello guard can tell why a tunnel ends. In userspace mode its peer's address says whose
// it is.
func (h *simHost) tellable() bool {
	return h.kind.guarded && (h.kind.kernel || !h.kind.named || h.resolved)
}

// sees reports whether somebody sees that xl2tpd dials a LAC: another one that it may redial would be taken for it. With the
// same pppoptfile a link shows not which of them is up.
func (h *simHost) sees(d *dialler) bool {
	return h.kind.guarded && !(h.kind.named && h.deafDNS) && !slices.ContainsFunc(h.lacs, func(o *dialler) bool {
		return o != d && (o.index == 0 || h.kind.optFile) && (o.active || o.auto)
	})
}

// dial makes xl2tpd dial. xl2tpd looks up names itself.
func (h *simHost) dial(d *dialler, byRecovery bool) {
	if !d.again.IsZero() && d.index == 0 { // xl2tpd.c, magic_lac_dial: rsched = NULL, and the timer runs on
		d.timers, d.again = append(d.timers, d.again), time.Time{}
	}
	if d.active = true; d.index > 0 || !d.dialled.IsZero() || d.half {
		return
	}
	d.byRecovery = byRecovery
	if h.kind.named && h.deafDNS {
		d.hidden = d.hidden || !h.unresolved // this service may not have looked the name up meanwhile
		if d.redial > 0 && !h.kind.oldest {
			d.again = h.now.Add(d.redial)
		}
		return
	}
	h.id++
	d.id, d.dialled, d.hidden = h.id, h.now, d.hidden && (byRecovery || !h.sees(d))
	c := h.control(d)
	h.tells(Dials{OwnedConnection: c})
}

// hangUp makes xl2tpd hang up, for an operator or for recovery. It reports whether there was something to hang up, and
// whether the LNS has acknowledged the hang-up.
func (h *simHost) hangUp(d *dialler, operator bool) (was, heard bool) {
	was, heard = d.index > 0 || d.half || !d.dialled.IsZero(), d.alive && h.passes()
	d.active, d.half = false, false
	if was {
		h.down(d, &Ending{CloseReason: why{Reason: "hung up", Operator: operator}})
	}
	return was, heard
}

// failed ends the history.
func (h *simHost) failed(d *dialler, format string, args ...any) {
	h.t.Helper()
	l := h.lac(d.name)
	h.t.Fatalf("seed %d, %s at %v: %s\nafter %q\n%+v\n%s\n%s\nprogress %+v\nlast %+v\nperhaps %+v\nrules %q", h.seed, d.name, h.now.Sub(epoch), fmt.Sprintf(format, args...),
		h.events, h.kind, h.lacs, h.caller, l.progress, l.lastEnd, l.possibleEnds, h.rules[max(0, len(h.rules)-12):])
}

// takeStep begins a step of recovery, as the executor does.
func (h *simHost) takeStep(r Recover) {
	d := h.lacs[slices.IndexFunc(h.lacs, func(d *dialler) bool { return d.name == r.LAC.Name })]
	h.asked = append(h.asked, fmt.Sprintf("%v %s: %v", h.now.Sub(epoch), r.LAC.Name, r.Step))
	end, takes := h.begin(d, r), time.Duration(0)
	if r.Step != policy.StepDial && h.rng.IntN(3) == 0 {
		takes = time.Duration(h.rng.IntN(8)) * time.Second
	}
	if h.kind.named && h.unresolved != h.deafDNS { // a step has it looked up
		h.unresolved = h.deafDNS
		h.step(h.daemons())
	}
	h.flights = append(h.flights, flying{h.now.Add(takes), StepDone{LAC: r.LAC, Step: r.Step}, end})
}

func fails(err error) func() error { return func() error { return err } }

// begin does what a step does first, and returns what it does at its end.
func (h *simHost) begin(d *dialler, r Recover) func() error {
	if (r.Step == policy.StepRenew || r.Step == policy.StepHangUp) && r.Up && !r.Dead && h.askPeer(r) == policy.ErrAlive {
		return fails(policy.ErrAlive)
	}
	if r.Step == policy.StepRenew && !r.Up && !r.LastAttempt.IsZero() && h.kind.guarded && (h.heard.After(r.LastAttempt) || !h.kind.plain && !h.barred.Before(r.LastAttempt)) {
		return fails(policy.ErrAnswers)
	}
	if r.Step == policy.StepRenew && r.SA != "" && (h.answersInside(r.Beside) || !r.Up && h.kind.guarded && (h.speaks() || h.sentLately())) {
		return fails(policy.ErrSAInUse)
	}
	switch r.Step {
	case policy.StepLook:
		if h.cut {
			return fails(lost)
		}
	case policy.StepAsk:
		return fails(h.askPeer(r))
	case policy.StepSecure, policy.StepRenew:
		return h.secure(d, r)
	case policy.StepDial:
		h.dialForRecovery(d, r)
	case policy.StepRedial:
		return h.redial(d, r)
	case policy.StepHangUp:
		return h.hangUpForRecovery(d, r)
	}
	return fails(nil)
}

// askPeer returns the result of asking the peer of a silent link.
func (h *simHost) askPeer(r Recover) error {
	switch {
	case h.kind.guarded && h.speaks(), h.answersInside(r.Inside):
		return policy.ErrAlive
	case h.cut:
		return lost
	case !h.kind.guarded:
		return errors.New("the Hello guard can't ask the peer")
	}
	return nil
}

// recently reports whether something that was in the way has just gone: without the Hello guard
// nobody can know that before the next echo.
func (h *simHost) recently() bool { return !h.kind.guarded && h.now.Sub(h.healed) < 30*time.Second }

// isNew reports whether a link has come up in this moment, in which a step may have been decided before that was seen.
func (h *simHost) isNew(d *dialler) bool { return d.cameUp.Equal(h.now) }

func (h *simHost) counts(d *dialler, s policy.Step) {
	d.steps[s] = append(d.steps[s], h.now)
}

// hadConnection reports whether the service has to know that strongSwan has a connection for the LNS. A step of this moment
// may have been decided before.
func (h *simHost) hadConnection() bool { return !h.listed.IsZero() && h.listed.Before(h.now) }

// secure initiates L2TP's SA; to renew it, the one of the step is ended first.
func (h *simHost) secure(d *dialler, r Recover) func() error {
	switch {
	case h.hadConnection() && r.IKE == "":
		h.failed(d, "strongSwan's connection is forgotten")
	case h.silent:
		return fails(lost)
	case h.now.Before(h.loaded) && r.IKE == "", h.kind.plain && (r.LNS.IsValid() || h.loaded.After(h.now)):
		h.plainAt = h.now
		return fails(policy.ErrNoConnection)
	case h.now.Before(h.loaded), h.kind.plain:
		return fails(lost)
	case !r.LNS.IsValid() && !(h.kind.byName && h.kind.named) && r.IKE == "":
		return fails(errors.New("the LNS can't be looked up"))
	}
	if r.Step == policy.StepRenew && r.SA != "" {
		if !h.ends(d, r.SA) {
			return fails(lost)
		}
	}
	h.counts(d, policy.StepSecure)
	return h.initiate
}

// ends ends an IKE SA. It must only carry L2TP, and be of no use.
func (h *simHost) ends(d *dialler, id string) bool {
	switch id {
	case fmt.Sprint(h.site):
		if !h.kind.shares {
			h.failed(d, "the IKE SA of the site-to-site connection is ended")
		}
		return false
	case fmt.Sprint(h.vxlan):
		h.failed(d, "the IKE SA of the VXLAN connection is ended")
	case fmt.Sprint(h.ike):
		for _, other := range h.all() {
			if other.peer == closer.Peer && h.living(other) && !h.recently() && !h.isNew(other) {
				h.failed(d, "an IKE SA that carries the living tunnel of %s is ended", other.name)
			}
		}
		if h.kind.shares && h.passes() {
			h.failed(d, "an IKE SA that carries other living traffic is ended")
		}
		h.counts(d, policy.StepRenew)
		h.here, h.ike, h.dropAt = 0, 0, time.Time{}
		h.charon()
		return true
	}
	return false
}

// initiate brings L2TP's SA up. A peer that has forgotten the IKE SA answers nothing in it, and
// charon gives it up after its retransmissions.
func (h *simHost) initiate() error {
	switch {
	case h.silent || h.cut:
		return lost
	case h.ike > 0 && h.here > 0 && h.there != h.here:
		if h.dropAt.IsZero() {
			h.dropAt = h.now.Add(165 * time.Second)
		}
		return lost
	}
	if h.ike == 0 || h.unlisted {
		h.ids++
		h.ike, h.unlisted = h.ids, false
	}
	h.id++ // any number that was not there before
	h.here, h.there = int(h.id), int(h.id)
	h.charon()
	return nil
}

// dialForRecovery makes xl2tpd dial for recovery.
func (h *simHost) dialForRecovery(d *dialler, r Recover) {
	h.counts(d, policy.StepDial)
	inClear := !h.kind.plain && h.here == 0 && h.kind.recover != "redial"
	switch {
	case d.hungUp:
		h.failed(d, "%v of what an operator has hung up", r.Step)
	case d.index > 0 && !h.isNew(d) && !(h.kind.optFile && h.kind.guarded && !d.plans()) || d.byRecovery && !d.dialled.IsZero(): // xl2tpd ignores it while an attempt that it did not make lasts
		h.failed(d, "xl2tpd is made to call a second time")
	case inClear && (h.hadConnection() || h.now.Sub(h.plainAt) > time.Minute):
		h.failed(d, "%v in the clear", r.Step)
	}
	h.dial(d, !d.ended.Equal(h.now)) // a step of this moment was decided before xl2tpd planned a redial
}

// redial makes xl2tpd drop an attempt and dial.
func (h *simHost) redial(d *dialler, r Recover) func() error {
	dials := func(d *dialler) bool { return d.peer == closer.Peer && !d.dialled.IsZero() }
	switch {
	case !h.kind.guarded:
		return fails(errors.New("nobody knows whether xl2tpd dials"))
	case !slices.ContainsFunc(h.lacs, dials):
		return fails(policy.ErrRedialsLater)
	}
	if dials(d) && h.passes() && h.race.IntN(4) == 0 { // the LNS answers in that moment
		h.answered(d)
		switch read, refused := h.race.IntN(2) == 0, d.index == 0; {
		case !read && refused:
			return fails(policy.ErrRedialsLater)
		case !read:
			return fails(policy.ErrAnswered)
		case refused:
			d.active = false
			return fails(errors.Join(policy.ErrHungUp, policy.ErrGaveUp))
		}
	}
	if d.index > 0 || d.half {
		h.hangUp(d, false)
	} else if d.active = false; !d.dialled.IsZero() { // the guard knows whose drop it is, and reports no end
		h.down(d, nil)
	}
	h.dialForRecovery(d, r)
	return fails(nil)
}

// hangUpForRecovery makes xl2tpd hang up for recovery.
func (h *simHost) hangUpForRecovery(d *dialler, r Recover) func() error {
	if h.living(d) && !h.recently() && !h.isNew(d) {
		h.failed(d, "a tunnel that lives is hung up")
	}
	if d.index > 0 && !d.call && !h.living(d) && h.race.IntN(8) == 0 { // xl2tpd has just given up by itself
		h.down(d, &Ending{CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	}
	h.isLate = h.lateness.IntN(4) == 0
	was, heard := h.hangUp(d, false)
	h.isLate, d.unsaid = false, false
	if heard || r.Dead || !was || !h.kind.guarded {
		return fails(nil)
	}
	return fails(policy.ErrPeerDead)
}

// tick is the grid of the model's time.
const tick = 500 * time.Millisecond

// live lets time pass.
func (h *simHost) live(d time.Duration) {
	for end := h.now.Add(d); h.now.Before(end); {
		if h.speaks() {
			h.heard = h.now
		}
		for _, d := range h.lacs {
			h.goOn(d)
			h.act()
		}
		if !h.dropAt.IsZero() && !h.now.Before(h.dropAt) {
			h.here, h.ike, h.dropAt = 0, 0, time.Time{}
			h.charon()
		}
		h.act()
		h.passQuietly(end)
	}
	for _, d := range h.lacs {
		h.bounded(d)
	}
}

// passQuietly lets time pass until something may happen, but at least one tick. What lives shows that until then.
func (h *simHost) passQuietly(end time.Time) {
	ticks := max(1, min(h.nextEvent(end).Sub(h.now)/tick, (end.Sub(h.now)+tick-1)/tick))
	last := h.now.Add((ticks - 1) * tick)
	if h.speaks() {
		h.heard = last
	}
	for _, d := range h.lacs {
		if h.living(d) {
			d.lives = last
		}
	}
	h.after(ticks * tick)
}

// nextEvent returns the earliest time at which goOn, a step that ends, charon or the core may do something.
func (h *simHost) nextEvent(end time.Time) time.Time {
	next := end
	by := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	for _, d := range h.lacs {
		by(d.again)
		for _, at := range d.timers {
			by(at)
		}
		switch {
		case d.call:
			by(d.lives.Add(3 * time.Second))
		case d.index > 0 && !h.living(d):
			by(d.lives.Add(130 * time.Second))
		case !d.dialled.IsZero() && h.passes():
			by(d.dialled.Add(time.Second))
		case !d.dialled.IsZero():
			by(d.dialled.Add(31 * time.Second))
		}
	}
	for _, f := range h.flights {
		by(f.at)
	}
	for _, n := range h.unheard {
		by(n.at)
	}
	by(h.dropAt)
	at, _ := h.core.NextWake()
	by(at)
	return next
}

// bounded checks how often recovery has tried.
func (h *simHost) bounded(d *dialler) {
	for s, times := range d.steps {
		for len(times) > 0 && h.now.Sub(times[0]) > time.Hour {
			times = times[1:]
		}
		if d.steps[s] = times; len(times) > mostAttempts {
			h.failed(d, "%v: %d times in an hour", s, len(times))
		}
	}
}

// fires reports whether xl2tpd redials now.
func (d *dialler) fires(now time.Time) bool {
	if i := slices.IndexFunc(d.timers, func(at time.Time) bool { return !now.Before(at) }); i >= 0 {
		d.timers = slices.Delete(d.timers, i, i+1)
		return true
	}
	is := !d.again.IsZero() && !now.Before(d.again)
	if is {
		d.again = time.Time{}
	}
	return is
}

// goOn does what happens to a LAC by itself.
func (h *simHost) goOn(d *dialler) {
	switch {
	case d.fires(h.now):
		if d.active && (d.index > 0 || !d.dialled.IsZero()) && d.byRecovery && !d.hidden {
			h.failed(d, "xl2tpd calls a second time")
		}
		if d.active {
			h.dial(d, false)
		}
	case d.call && h.now.Sub(d.lives) > 3*time.Second: // PPP has failed
		h.down(d, &Ending{CloseReason: peerCloses})
	case d.call:
	case h.living(d):
		d.lives = h.now
	case d.index > 0 && h.now.Sub(d.lives) > 130*time.Second: // a Hello has gone unanswered
		h.down(d, &Ending{CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	case d.dialled.IsZero() || h.now.Sub(d.dialled) < time.Second:
	case h.passes():
		h.answered(d)
	case h.now.Sub(d.dialled) > 31*time.Second:
		h.tells(AttemptFailed{h.control(d), why{Reason: "the peer left xl2tpd's messages unanswered", Unanswered: true, StopAcked: true}})
		h.down(d, nil)
	}
}

// answered does what the LNS does with an attempt.
func (h *simHost) answered(d *dialler) {
	if d.refused && h.kind.bars { // the Hello guard opens no channel for the LNS's StopCCN
		h.barred = h.now
		h.tells(AttemptFailed{h.control(d), peerCloses})
		h.down(d, nil)
		return
	}
	h.heard = h.now
	h.tells(Calls{h.control(d)})
	if d.refused && !h.kind.calls {
		h.down(d, &Ending{CloseReason: peerCloses})
		return
	}
	h.up(d)
}

// act carries out actions, and ends the steps that are due.
func (h *simHost) act() {
	for n := 0; ; n++ {
		if n > 1000 {
			h.t.Fatalf("seed %d: no pause between steps", h.seed)
		}
		late := slices.IndexFunc(h.unheard, func(n lateNews) bool { return !h.now.Before(n.at) })
		i := slices.IndexFunc(h.flights, func(f flying) bool { return !h.now.Before(f.at) })
		switch {
		case i >= 0:
			f := h.flights[i]
			h.flights = slices.Delete(h.flights, i, i+1)
			f.of.Err = f.end()
			h.step(f.of)
		case late >= 0:
			n := h.unheard[late]
			h.unheard = slices.Delete(h.unheard, late, late+1)
			n.tell()
		case len(h.actions) > 0:
			a := h.actions[0]
			h.actions = h.actions[1:]
			h.does(a)
		default:
			return
		}
	}
}

func (h *simHost) does(a Action) {
	switch a := a.(type) {
	case Recover:
		h.takeStep(a)
	case ReadCounter:
		h.step(Counters{{Link: a.Link}})
	case SendEcho:
		r := probe.Result{Link: a.Link, Index: a.Index, Err: lost}
		for _, d := range h.all() {
			if d.index == a.Index && h.living(d) && (!h.targetOff || d == h.caller) {
				r.Err, r.RTT = nil, time.Millisecond
			}
		}
		h.step(Results{r})
	}
}
