package supervisor

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// lac is what recovery knows of a LAC of xl2tpd.conf.
type lac struct {
	instance string // of its xl2tpd, see instanceID
	name     string
	key      string // see name.key
	ladder   ladder
	touched  bool       // recovery has to look at it in the step under way
	stale    bool       // the step under way was begun before xl2tpd was
	seen     bool       // has had a tunnel, or was dialled, and nobody has hung up since
	idle     bool       // xl2tpd has not planned to dial it
	dialled  time.Time  // when recovery had it dialled last
	attempt  time.Time  // since when xl2tpd dials, as far as is known; zero: it does not
	asked    time.Time  // when xl2tpd has last asked its LNS for a tunnel, of this LAC or another one
	hidden   bool       // xl2tpd may be dialling it without being seen to
	hiddenAt time.Time  // when that was so last; zero: it was not
	rests    time.Time  // since when it is known not to; zero: it may
	called   netip.Addr // where it has dialled last; invalid: nobody has seen it
	ike      string     // the connection that its latest tunnel came through; empty: none
	ikeTo    string     // and the LNS that was, as xl2tpd.conf calls it
	last     *closing   // how its latest tunnel ended; nil: it is up, or none has
	perhaps  *closing   // how one ended, or an attempt, that may have been its own; nil: none of interest
	mayHave  bool       // has perhaps had a tunnel of this xl2tpd's, or has one
	silent   time.Time  // when that was, if it was silent; zero: it was not
	guessed  bool       // the link for which it is being hung up may be another LAC's
	planned  time.Time  // until then xl2tpd may redial it, though it was hung up since; zero: it won't
	said     string     // what the log has told last

	was  bool // seen by the last brain, when the last xl2tpd may have run
	kept bool // for the next brain
	fate Fate // which is to be told this
}

func (b *Brain) lac(n name) *lac {
	if b.lacs == nil {
		b.lacs = make(map[string]*lac)
	}
	key := n.key()
	if b.lacs[key] == nil {
		b.lacs[key] = &lac{instance: n.instance, name: n.name, key: key}
	}
	return b.lacs[key]
}

// lacsOf returns the LACs of an xl2tpd with that LNS. If it is not known which xl2tpd it is,
// they are those of every one that runs, or of the first if none does.
func (b *Brain) lacsOf(daemon procfs.ID, lns netip.Addr) (all []*lac) {
	for _, in := range b.atlas.instances {
		unknown := daemon == (procfs.ID{}) && (in.Runs() || in.id == "" && len(b.atlas.byPid) == 0)
		if !unknown && (daemon == (procfs.ID{}) || in.Process != daemon) {
			continue
		}
		for _, s := range in.byOuter[lns] {
			all = append(all, b.lac(in.name(s)))
		}
	}
	return all
}

// touch has recovery look at the LACs of a place in the step under way.
func (b *Brain) touch(p place) {
	for _, n := range p.names {
		if n.kind == "lac" {
			b.touchLAC(b.lac(n))
		}
	}
}

func (b *Brain) touchLAC(l *lac) {
	if !l.touched {
		l.touched = true
		b.touched = append(b.touched, l)
	}
}

// lnsHost is what xl2tpd.conf calls a LAC's first LNS.
func lnsHost(s *xl2tpd.Section) string {
	if len(s.LNS) == 0 {
		return ""
	}
	return s.LNS[0]
}

// claims are the links that may be a LAC's.
type claims struct {
	sole   []*tunnel    // no other's
	shared []*[]*tunnel // crowds of those that may be any of several LACs'
}

func (b *Brain) claims(l *lac) *claims {
	if c := b.places().lacs[l.key]; c != nil {
		return c
	}
	return &claims{}
}

// links are those with addresses; the others are calls.
func (c *claims) links(yield func(*tunnel) bool) {
	for _, t := range c.sole {
		if t.linked() && !yield(t) {
			return
		}
	}
	for _, crowd := range c.shared {
		for _, t := range *crowd {
			if t.linked() && !yield(t) {
				return
			}
		}
	}
}

// any reports whether there is a link, or a call.
func (c *claims) any() bool {
	return len(c.sole) > 0 || slices.ContainsFunc(c.shared, func(crowd *[]*tunnel) bool { return len(*crowd) > 0 })
}

// up reports whether there is such a link.
func (c *claims) up() bool {
	for range c.links {
		return true
	}
	return false
}

// sure reports whether one of the links is known to be the LAC's, and of the xl2tpd
// that runs: those of one that has ended may outlive it for a moment.
func (c *claims) sure(pid int) bool {
	return slices.ContainsFunc(c.sole, func(t *tunnel) bool { return t.linked() && t.link.Xl2tpdPid == pid })
}

// lnsSA is the SA with the LNS of a section: with the one that its link leads to, or else
// with any that its name stands for.
func (b *Brain) lnsSA(l *lac, s *xl2tpd.Section) (any sa) {
	for _, t := range b.claims(l).sole {
		if t.linked() && t.place.outer.IsValid() {
			return b.atlas.sas[t.place.outer]
		}
	}
	for _, ip := range s.LNSIPs {
		if sa := b.atlas.sas[ip]; sa.Child || any.UniqueID == "" {
			any = sa
		}
		if any.Child {
			break
		}
	}
	return any
}

// carriesOthers reports whether an SA carries a tunnel that may live, and is not certainly this
// LAC's.
func (b *Brain) carriesOthers(s sa, l *lac) bool {
	if s.UniqueID == "" {
		return false
	}
	return slices.ContainsFunc(b.places().bySA[s.UniqueID], l.othersMayLive)
}

// proves reports whether an SA carries another tunnel that shows that it works, or that nobody is to watch.
func (b *Brain) proves(s sa, l *lac) bool {
	return s.UniqueID != "" && slices.ContainsFunc(b.places().bySA[s.UniqueID], func(t *tunnel) bool {
		return l.othersMayLive(t) && (t.state == Alive || t.state == Off)
	})
}

// mayCarryOthers reports whether any SA may carry a tunnel that may live: nobody knows where its far end is, and no Hello
// guard can tell.
func (b *Brain) mayCarryOthers(l *lac) bool {
	return b.blind() && slices.ContainsFunc(b.places().far, l.othersMayLive)
}

// othersMayLive reports whether a tunnel may live, and is not certainly this LAC's.
func (l *lac) othersMayLive(t *tunnel) bool {
	n, one := t.place.lac()
	dead := t.state == Silent && !t.evidence.Last().IsZero()
	return t.linked() && !dead && !(one && n.key() == l.key)
}

// sharesLNS reports whether another LAC of the same xl2tpd dials the same LNS.
func (b *Brain) sharesLNS(l *lac, s *xl2tpd.Section) bool {
	in := b.atlas.byID[l.instance]
	return in != nil && slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool { return len(in.byOuter[ip]) > 1 })
}

// renewedForAnother reports whether the IKE SA with a LAC's LNS is being made anew for another LAC. For a moment there is
// no SA, and a dial would go out in the clear.
func (b *Brain) renewedForAnother(l *lac, s *xl2tpd.Section) bool {
	return slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool {
		return slices.ContainsFunc(b.lacsOf(procfs.ID{}, ip), func(other *lac) bool {
			return other != l && other.ladder.busy == StepRenew
		})
	})
}

// touchNeighbours has recovery look at the LACs with the same LNS in the step under way.
func (b *Brain) touchNeighbours(l *lac) {
	if s := b.section(l); s != nil {
		for _, ip := range s.LNSIPs {
			for _, other := range b.lacsOf(procfs.ID{}, ip) {
				b.touchLAC(other)
			}
		}
	}
}

// unique is the id of an SA, or empty while charon does not say what there is: it may have been
// restarted, and then its ids begin anew.
func (b *Brain) unique(s sa) string {
	if b.failing[EyeVICI] != nil {
		return ""
	}
	return s.UniqueID
}

func (b *Brain) noteLAC(l *lac, level slog.Level, text string, more ...slog.Attr) {
	attrs := []slog.Attr{slog.String("tunnel", "lac "+l.name)}
	if called := b.atlas.called[l.instance]; called != "" {
		attrs = append(attrs, slog.String("instance", called))
	}
	if a := b.lns(l); a.IsValid() {
		attrs = append(attrs, slog.String("peer", a.String()))
	}
	b.note(level, text, append(attrs, more...)...)
}

// lns is the address of a LAC's first LNS, or invalid.
func (b *Brain) lns(l *lac) (a netip.Addr) {
	if s := b.section(l); s != nil && len(s.LNSIPs) > 0 {
		a = s.LNSIPs[0]
	}
	return a
}

// section is what the file of its xl2tpd says of a LAC, or nil.
func (b *Brain) section(l *lac) *xl2tpd.Section {
	in := b.atlas.byID[l.instance]
	if in == nil {
		return nil
	}
	return in.lacs[xl2tpdconf.Lower(l.name)]
}
