package supervisor

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
	"xl2tpd-keepalive/vici"
)

// name is the name of a section of an xl2tpd's file.
type name struct{ kind, name, instance string }

// key returns the name in the form in which xl2tpd compares names.
func (n name) key() string { return n.instance + "\x00" + n.kind + " " + xl2tpdconf.Lower(n.name) }

func (n name) String() string { return strings.TrimSpace(n.kind + " " + n.name) }

// identity is what the other daemons know a link's tunnel by: its xl2tpd, section, outer address and SA.
type identity struct {
	instance string     // id of the xl2tpd that is the parent of the link's pppd
	known    bool       // instance is known
	daemon   int        // the pid of that xl2tpd
	names    []name     // the section; several if they can't be told apart, none if it is unknown
	outer    netip.Addr // outer address of the far end; invalid if unknown
	sa       sa

	session xl2tpd.Session // in kernel mode
}

// sa is the IKE SA that carries a tunnel.
type sa struct {
	Name, UniqueID string
	Peer           netip.Addr // its far end
	State          string
	Since          time.Time
	NAT            bool
	L2TP           bool // has a CHILD SA for L2TP, installed or not
	Others         bool // has an installed CHILD SA for something else
	Child, Encap   bool // any SA with that peer has an installed CHILD SA for L2TP, and one in UDP
}

// works reports whether an IKE SA is established and carries packets.
func (s sa) works() bool { return s.established() && s.Child }

// replaces reports whether an SA works, and the one before it with that peer did not, or was another one.
func (s sa) replaces(before sa) bool {
	return s.works() && (!before.works() || s.UniqueID != before.UniqueID)
}

// there reports whether there is an SA that carries packets, or soon will.
func (s sa) there() bool { return s.established() || s.Child }

func (s sa) established() bool { return s.State == "ESTABLISHED" }

// lac returns the LAC of a link. ok is false if it is not known for sure, or the section is an LNS.
func (i identity) lac() (n name, ok bool) {
	if len(i.names) != 1 || i.names[0].kind != "lac" {
		return name{}, false
	}
	return i.names[0], true
}

// answers reports whether xl2tpd has answered the call of a link, whichever LNS section that was for.
func (i identity) answers() bool {
	return len(i.names) > 0 && !slices.ContainsFunc(i.names, func(n name) bool { return n.kind == "lac" })
}

func (i identity) equal(o identity) bool {
	return i.instance == o.instance && i.known == o.known && i.daemon == o.daemon &&
		i.outer == o.outer && i.sa == o.sa && i.session == o.session && (sameNames(i.names, o.names) || slices.Equal(i.names, o.names))
}

// sameNames reports whether two lists of names are one slice. All links of a large group share one, so comparing is
// cheap.
func sameNames(a, b []name) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// keepKnown returns the identity of a link, completed by what was known about the link before. When xl2tpd ends, its
// sessions go before its pppds. So what nobody can see any more stays as it was.
func (i identity) keepKnown(was identity) identity {
	if len(was.names) == 1 && len(i.names) != 1 && (len(i.names) == 0 || slices.Contains(i.names, was.names[0])) {
		i.names, i.instance, i.known = was.names, was.instance, was.known
		if !i.outer.IsValid() {
			i.outer, i.session, i.sa = was.outer, was.session, was.sa
		}
	}
	// A link outlives its session for a moment. By its peer alone, it could be mistaken for another link of that peer.
	if i.session == (xl2tpd.Session{}) && (i.outer == was.outer || !i.outer.IsValid()) && slices.Equal(i.names, was.names) {
		i.session = was.session
		if !i.outer.IsValid() {
			i.outer, i.sa = was.outer, was.sa
		}
	}
	return i
}

// section returns the name of the section; empty if it is not known for sure.
func (i identity) section() string {
	if len(i.names) != 1 {
		return ""
	}
	return i.names[0].String()
}

// topology finds the identity and the settings of a link, and the section of a LAC. Its indexes are built from each
// snapshot, so finding stays cheap with thousands of links.
type topology struct {
	instances    []*instance
	byID         map[string]*instance
	byPid        map[int]*instance      // of those that run
	sessions     map[int]xl2tpd.Session // by index of their network device
	sas          map[netip.Addr]sa      // by outer address of the far end
	displayNames map[string]string      // what operators call the instances, by id
	listedAt     time.Time              // when charon last listed its SAs
	config       *config.Config
}

// groupKey is what the LACs of a group have in common: their pppoptfile. If named is true, their LNSs are also given by
// host names.
type groupKey struct {
	optFile string
	named   bool
}

// group is LAC sections that can't be told apart by their pppoptfile.
type group struct {
	sections []*xl2tpd.Section
	names    []name
}

// updateInstances takes a snapshot of every xl2tpd.
func (t *topology) updateInstances(s xl2tpd.Snapshot) {
	t.sessions = make(map[int]xl2tpd.Session, len(s.Sessions))
	for _, session := range s.Sessions {
		t.sessions[session.Ifindex] = session
	}
	t.instances, t.byID, t.byPid = nil, make(map[string]*instance), make(map[int]*instance)
	t.displayNames = make(map[string]string)
	for i, called := range s.Names() {
		in := newInstance(instanceID(i, s.Instances[i].Key), s.Instances[i])
		t.displayNames[in.id] = called
		t.instances = append(t.instances, in)
		t.byID[in.id] = in
		if in.Runs() {
			t.byPid[in.Process.Pid] = in
		}
	}
}

// literal reports whether xl2tpd.conf gives a LAC's LNS as an address. A host name may resolve to another address for
// xl2tpd than for this service.
func literal(s *xl2tpd.Section) bool {
	_, ok := xl2tpd.ParseAddr(lnsHost(s))
	return ok
}

// updateSAs takes a snapshot of strongSwan's SAs, and reports whether anything has changed, and whether an SA is new and
// works. Of several SAs with one peer the established one counts, and of several established ones the last. An SA whose
// children all carry something else does not count. An SA without children may be for something else too: if another
// connection has an SA for L2TP, that one counts.
func (t *topology) updateSAs(s vici.Snapshot, now time.Time) (changed, made bool) {
	known := t.sas
	t.listedAt = now
	t.sas = make(map[netip.Addr]sa, len(s.SAs))
	for _, in := range s.SAs {
		peer := in.RemoteHost.Addr().Unmap()
		is, counts := newSA(in, peer, now)
		if !counts {
			continue
		}
		// charon gives the age in whole seconds. Keeping the first value keeps the SA equal to itself.
		if was := known[peer]; was.UniqueID == is.UniqueID && was.established() == is.established() {
			is.Since = was.Since
		}
		if other, ok := t.sas[peer]; ok {
			is = is.join(other)
		}
		t.sas[peer] = is
	}
	if maps.Equal(known, t.sas) {
		return false, false
	}
	for peer, is := range t.sas {
		made = made || is.replaces(known[peer])
	}
	return true, made
}

// newSA returns an SA with a peer. counts is false if all its children carry something else than L2TP.
func newSA(in vici.SA, peer netip.Addr, now time.Time) (is sa, counts bool) {
	is = sa{Name: in.Name, UniqueID: in.UniqueID, Peer: peer, State: in.State, NAT: in.NATLocal || in.NATRemote}
	for _, c := range in.Children {
		if !c.CarriesL2TP(peer) {
			is.Others = is.Others || c.Works()
			continue
		}
		is.L2TP = true
		if c.Works() && in.State != "DELETING" {
			is.Child, is.Encap = true, is.Encap || c.Encap
		}
	}
	if is.established() {
		is.Since = now.Add(-in.Established)
	}
	return is, is.L2TP || len(in.Children) == 0
}

// join returns the one of two SAs with one peer that counts, with the children of both. other was listed earlier.
func (s sa) join(other sa) sa {
	child, encap := s.Child || other.Child, s.Encap || other.Encap
	switch {
	case other.Name != s.Name && other.L2TP != s.L2TP:
		if other.L2TP {
			s = other
		}
	case other.established() && !s.established():
		s = other
	}
	s.Child, s.Encap = child, encap
	return s
}

// identify returns the identity of a link. Its sections are from the file of the xl2tpd that is the parent of its pppd.
func (t *topology) identify(l ppp.Link) identity {
	session, kernel := t.sessions[l.Index]
	p := identity{daemon: l.Xl2tpdPid, outer: l.OuterPeer, session: session}
	if kernel && session.Peer.IsValid() {
		p.outer = session.Peer.Addr()
	}
	p.outer = p.outer.Unmap()
	if in := t.byPid[l.Xl2tpdPid]; in != nil {
		p.instance, p.known = in.id, true
		in.identify(&p, l, kernel)
	}
	p.sa = t.sas[p.outer]
	return p
}

// identify finds the sections that a link may come from.
func (in *instance) identify(id *identity, l ppp.Link, kernel bool) {
	var found []*xl2tpd.Section
	switch {
	case in.Conf == nil:
	case kernel && id.session.LNS && id.outer.IsValid():
		if s := in.Conf.LNSFor(id.outer); s != nil {
			found = append(found, s)
		}
	case kernel && !id.session.LNS:
		found, id.names = in.dialled(l, id.outer)
	default:
		// Nobody knows which side has dialled. If a LAC's LNS fits, a call that xl2tpd has dialled is the better guess,
		// unless only the section of a caller has the pppoptfile.
		found, id.names = in.dialled(l, id.outer)
		fits := haveOptFile(found, l.OptFile)
		if fits && id.outer.IsValid() {
			break
		}
		switch more := in.answered(l, id.outer); {
		case len(more) == 0:
		case fits:
			found, id.names = slices.Concat(found, more), nil
		default:
			found, id.names = more, nil
		}
	}
	if id.names == nil {
		for _, s := range found {
			id.names = append(id.names, in.name(s))
		}
	}
	if !id.outer.IsValid() {
		id.outer = oneLNSOf(found)
	}
}

// haveOptFile reports whether one of these sections has that pppoptfile.
func haveOptFile(sections []*xl2tpd.Section, file string) bool {
	return slices.ContainsFunc(sections, func(s *xl2tpd.Section) bool { return s.PPPOptFile == file })
}

// oneLNSOf returns the one address that is the LNS of all these sections. It is invalid if there is no such address.
func oneLNSOf(sections []*xl2tpd.Section) (lns netip.Addr) {
	for _, s := range sections {
		if s.Kind != "lac" || len(s.LNSIPs) != 1 || lns.IsValid() && s.LNSIPs[0] != lns {
			return netip.Addr{}
		}
		lns = s.LNSIPs[0]
	}
	return lns
}

// dialled returns the LAC sections that the link may come from. It also returns their names if the sections are a
// group.
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
		return near, nil // pppoptfile in xl2tpd.conf was edited after the link came up
	}
	// An LNS that is given by a host name may have any address.
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

// gives reports whether an LNS section may assign this address to a caller. Without an `ip range`, pppd decides.
func gives(s *xl2tpd.Section, peer netip.Addr) bool {
	return len(s.IPRanges) == 0 || !peer.IsValid() || xl2tpd.Admits(s.IPRanges, peer)
}

// lnsSA returns the SA with the LNS of a LAC with that section and these links. If the LAC has a link, it is the SA with
// the far end of that link. Otherwise it is the SA with any address of the LNS, preferably one with an installed CHILD
// SA.
func (t *topology) lnsSA(c *candidates, s *xl2tpd.Section) (any sa) {
	for _, one := range c.exact {
		if one.linked() && one.identity.outer.IsValid() {
			return t.sas[one.identity.outer]
		}
	}
	for _, ip := range s.LNSIPs {
		if sa := t.sas[ip]; sa.Child || any.UniqueID == "" {
			any = sa
		}
		if any.Child {
			break
		}
	}
	return any
}

// sharesLNS reports whether another LAC of the same xl2tpd dials the same LNS. While the LNS's name can't be looked up,
// only LACs with the same name for it count.
func (t *topology) sharesLNS(l *lac, s *xl2tpd.Section) bool {
	in := t.byID[l.instance]
	if in == nil {
		return false
	}
	if len(s.LNSIPs) > 0 {
		return slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool { return len(in.byOuter[ip]) > 1 })
	}
	host := lnsHost(s)
	for _, other := range in.lacs {
		if other != s && host != "" && lnsHost(other) == host {
			return true
		}
	}
	return false
}

// lns returns the address of a LAC's first LNS, or an invalid one.
func (t *topology) lns(l *lac) (lns netip.Addr) {
	if s := t.section(l); s != nil && len(s.LNSIPs) > 0 {
		lns = s.LNSIPs[0]
	}
	return lns
}

// section returns the section of a LAC in xl2tpd.conf, or nil.
func (t *topology) section(l *lac) *xl2tpd.Section {
	in := t.byID[l.instance]
	if in == nil {
		return nil
	}
	return in.lacs[xl2tpdconf.Lower(l.name)]
}
