package supervisor

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
	"xl2tpd-keepalive/vici"
)

// name is the name of a section of an xl2tpd's file.
type name struct{ kind, name, instance string }

// key is the name as xl2tpd compares names.
func (n name) key() string { return n.instance + "\x00" + n.kind + " " + xl2tpdconf.Lower(n.name) }

func (n name) String() string { return strings.TrimSpace(n.kind + " " + n.name) }

// identity is where a link belongs: what the other daemons call its tunnel.
type identity struct {
	instance string // of the xl2tpd whose child its pppd is, if known
	known    bool
	daemon   int        // the pid of that xl2tpd
	names    []name     // its section; several when they can't be told apart, none when unknown
	outer    netip.Addr // outer address of the far end; invalid when unknown
	sa       sa

	session xl2tpd.Session // in kernel mode
}

// sa is the IKE SA that carries a tunnel.
type sa struct {
	Name, UniqueID string
	State          string
	Established    bool
	Since          time.Time
	NAT            bool
	L2TP           bool // has a CHILD SA that carries L2TP, or did
	Others         bool // has one that works and carries something else
	Child, Encap   bool // installed, and in UDP: of any SA with that peer
}

// there reports whether there is an SA that can carry packets, or will.
func (s sa) there() bool { return s.Established || s.Child }

// lac is the one LAC that a link belongs to.
func (p identity) lac() (n name, ok bool) {
	if len(p.names) != 1 || p.names[0].kind != "lac" {
		return name{}, false
	}
	return p.names[0], true
}

func (p identity) equal(o identity) bool {
	return p.instance == o.instance && p.known == o.known && p.daemon == o.daemon &&
		p.outer == o.outer && p.sa == o.sa && p.session == o.session && (sharedBy(p.names, o.names) || slices.Equal(p.names, o.names))
}

// sharedBy tells whether two places have the very same names, as all those have
// that may belong to any of a thousand LACs.
func sharedBy(a, b []name) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// keepKnown returns the place, seen later, of a link whose place was that before. What
// has become unsure is still as it was: when xl2tpd ends, its sessions go before its
// pppds.
func (p identity) keepKnown(was identity) identity {
	if len(was.names) == 1 && len(p.names) != 1 && (len(p.names) == 0 || slices.Contains(p.names, was.names[0])) {
		p.names, p.instance, p.known = was.names, was.instance, was.known
		if !p.outer.IsValid() {
			p.outer, p.session, p.sa = was.outer, was.session, was.sa
		}
	}
	// A link outlives its session for a moment. By its peer alone it would be taken for a sibling.
	if p.session == (xl2tpd.Session{}) && (p.outer == was.outer || !p.outer.IsValid()) && slices.Equal(p.names, was.names) {
		p.session = was.session
		if !p.outer.IsValid() {
			p.outer, p.sa = was.outer, was.sa
		}
	}
	return p
}

// section is the name of the section, or empty if it is not known for sure.
func (p identity) section() string {
	if len(p.names) != 1 {
		return ""
	}
	return p.names[0].String()
}

// topology finds the place of a link. It is built anew from each snapshot, so
// that finding stays cheap with thousands of links.
type topology struct {
	instances    []*instance
	byID         map[string]*instance
	byPid        map[int]*instance      // of those that run
	sessions     map[int]xl2tpd.Session // by index of their network device
	sas          map[netip.Addr]sa      // by outer address of the far end
	displayNames map[string]string      // what operators call the instances, by id
}

// groupKey is what the LACs of a crowd have in common: their pppoptfile, or that their
// LNSs are called by names too.
type groupKey struct {
	optFile string
	named   bool
}

type group struct {
	sections []*xl2tpd.Section
	names    []name
}

// updateInstances takes in what is known of every xl2tpd.
func (a *topology) updateInstances(s xl2tpd.Snapshot) {
	a.sessions = make(map[int]xl2tpd.Session, len(s.Sessions))
	for _, session := range s.Sessions {
		a.sessions[session.Ifindex] = session
	}
	a.instances, a.byID, a.byPid = nil, make(map[string]*instance), make(map[int]*instance)
	a.displayNames = make(map[string]string)
	for i, called := range s.Names() {
		in := newInstance(instanceID(i, s.Instances[i].Key), s.Instances[i])
		a.displayNames[in.id] = called
		a.instances = append(a.instances, in)
		a.byID[in.id] = in
		if in.Runs() {
			a.byPid[in.Process.Pid] = in
		}
	}
}

// literal tells whether a LAC's LNS is called by its address. A name may lead elsewhere for
// xl2tpd than for us.
func literal(s *xl2tpd.Section) bool {
	_, ok := xl2tpd.ParseAddr(lnsHost(s))
	return ok
}

// updateSAs takes in what strongSwan says. Of several SAs with one peer the
// established one counts, and of those the last; not one whose children all carry
// something else, such as another network's packets. One without children may be another
// network's too: it gives way to another connection's that carries L2TP. It tells whether that is
// news.
func (a *topology) updateSAs(s vici.Snapshot, now time.Time) bool {
	known := a.sas
	a.sas = make(map[netip.Addr]sa, len(s.SAs))
	for _, in := range s.SAs {
		peer := in.RemoteHost.Addr().Unmap()
		is := sa{Name: in.Name, UniqueID: in.UniqueID, State: in.State, Established: in.State == "ESTABLISHED",
			NAT: in.NATLocal || in.NATRemote}
		for _, c := range in.Children {
			if !carriesL2TP(c, peer) {
				is.Others = is.Others || c.Works()
				continue
			}
			is.L2TP = true
			if c.Works() && in.State != "DELETING" {
				is.Child, is.Encap = true, is.Encap || c.Encap
			}
		}
		if !is.L2TP && len(in.Children) > 0 {
			continue
		}
		if is.Established {
			is.Since = now.Add(-in.Established)
		}
		// Its age comes in whole seconds; the first look is as good as any.
		if was := known[peer]; was.UniqueID == is.UniqueID && was.Established == is.Established {
			is.Since = was.Since
		}
		other, ok := a.sas[peer]
		child, encap := is.Child || other.Child, is.Encap || other.Encap
		switch {
		case !ok:
		case other.Name != is.Name && other.L2TP != is.L2TP:
			if other.L2TP {
				is = other
			}
		case other.Established && !is.Established:
			is = other
		}
		is.Child, is.Encap = child, encap
		a.sas[peer] = is
	}
	return !maps.Equal(known, a.sas)
}

// carriesL2TP tells whether a CHILD SA can carry a peer's L2TP packets: one that takes UDP, in
// transport mode or with traffic selectors that have the peer itself. A route-based VPN's
// may have them too, and takes no packet but those that are routed into it.
func carriesL2TP(c vici.Child, peer netip.Addr) bool {
	if len(c.RemoteTS) == 0 {
		return true
	}
	tunnel := strings.EqualFold(c.Mode, "TUNNEL")
	return vici.TakesL2TP(c.LocalTS, c.RemoteTS) && (!tunnel || !c.RouteBased && vici.Selects(c.RemoteTS, peer))
}

// identify tells where a link belongs. Its sections are those of the xl2tpd whose child its pppd is.
func (a *topology) identify(l ppp.Link) identity {
	session, kernel := a.sessions[l.Index]
	p := identity{daemon: l.Xl2tpdPid, outer: l.OuterPeer, session: session}
	if kernel && session.Peer.IsValid() {
		p.outer = session.Peer.Addr()
	}
	p.outer = p.outer.Unmap()
	if in := a.byPid[l.Xl2tpdPid]; in != nil {
		p.instance, p.known = in.id, true
		in.identify(&p, l, kernel)
	}
	p.sa = a.sas[p.outer]
	return p
}

// identify finds the sections that a link may come from.
func (in *instance) identify(p *identity, l ppp.Link, kernel bool) {
	var found []*xl2tpd.Section
	switch {
	case in.Conf == nil:
	case kernel && p.session.LNS && p.outer.IsValid():
		if s := in.Conf.LNSFor(p.outer); s != nil {
			found = append(found, s)
		}
	case kernel && !p.session.LNS:
		found, p.names = in.dialled(l, p.outer)
	default:
		// The role is not known. A call that xl2tpd has dialled is the better
		// guess when its LNS fits.
		found, p.names = in.dialled(l, p.outer)
		if len(found) == 0 || !p.outer.IsValid() {
			if more := in.answered(l, p.outer); len(more) > 0 {
				found, p.names = slices.Concat(found, more), nil
			}
		}
	}
	if p.names == nil {
		for _, s := range found {
			p.names = append(p.names, in.name(s))
		}
	}
	if !p.outer.IsValid() {
		p.outer = oneLNSOf(found)
	}
}

// oneLNSOf is the address of the LNS that LACs have in common, if they have no other; or invalid.
func oneLNSOf(sections []*xl2tpd.Section) (lns netip.Addr) {
	for _, s := range sections {
		if s.Kind != "lac" || len(s.LNSIPs) != 1 || lns.IsValid() && s.LNSIPs[0] != lns {
			return netip.Addr{}
		}
		lns = s.LNSIPs[0]
	}
	return lns
}

// dialled returns the LAC sections that the link may come from, and their names, if
// they are a crowd's.
func (in *instance) dialled(l ppp.Link, outer netip.Addr) ([]*xl2tpd.Section, []name) {
	var near []*xl2tpd.Section
	if outer.IsValid() {
		near = in.byOuter[outer]
	}
	if len(near) == 1 {
		return near, nil
	}
	var fit []*xl2tpd.Section
	for _, s := range near {
		if s.PPPOptFile == l.OptFile {
			fit = append(fit, s)
		}
	}
	switch {
	case len(fit) > 0:
		return fit, nil
	case len(near) > 0:
		return near, nil // pppoptfile was edited since
	}
	// An LNS that is called by a name may be any.
	if c := in.groups[groupKey{l.OptFile, outer.IsValid()}]; c != nil {
		return c.sections, c.names
	}
	return nil, nil
}

// answered returns the LNS sections that the link may come from.
func (in *instance) answered(l ppp.Link, outer netip.Addr) []*xl2tpd.Section {
	var right *xl2tpd.Section
	if outer.IsValid() {
		right = in.Conf.LNSFor(outer)
	}
	var fit []*xl2tpd.Section
	for _, s := range in.byOpt[l.OptFile] {
		if s.Kind == "lns" && (!outer.IsValid() || s == right) && gives(s, l.Peer) {
			fit = append(fit, s)
		}
	}
	return fit
}

// gives tells whether an LNS section hands out this address to its callers.
// Without an `ip range` it leaves that to pppd.
func gives(s *xl2tpd.Section, peer netip.Addr) bool {
	if len(s.IPRanges) == 0 || !peer.IsValid() {
		return true
	}
	given := false
	for _, r := range s.IPRanges {
		if !peer.Less(r.From) && !r.To.Less(peer) {
			given = !r.Deny
		}
	}
	return given
}
