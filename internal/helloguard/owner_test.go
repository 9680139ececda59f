package helloguard

import (
	"net/netip"
	"testing"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

var (
	everywhere = netip.AddrPortFrom(netip.IPv4Unspecified(), l2tpPort)
	office     = procfs.ID{Pid: 200, Start: 6} // another xl2tpd
)

func TestOwner(t *testing.T) {
	const nobody, user = 65534, 1000
	var (
		own         = Daemon{ID: watched, Cgroup: 7, Listens: everywhere}
		second      = Daemon{ID: office, Cgroup: 8, Listens: everywhere}
		free        = socket{local: everywhere, cgroup: 7}
		freeOffice  = socket{local: everywhere, cgroup: 8}
		freeOther   = socket{local: everywhere, cgroup: 9}
		kernelMode  = socket{local: here, peer: there, cgroup: 7}
		kernelOther = socket{local: here, peer: there, cgroup: 9}
		port1801    = netip.AddrPortFrom(netip.IPv4Unspecified(), 1801)
		elsewhere   = netip.AddrPortFrom(there.Addr().Next(), l2tpPort)
		is          = func(p procfs.ID) owner { return owner{ownerKnown, p} }
		mixed       = owner{ownership: ownerUnclear}
	)
	listens := func(d Daemon, at netip.AddrPort) Daemon { d.Listens = at; return d }
	in := func(d Daemon, cgroup uint32) Daemon { d.Cgroup = cgroup; return d }
	alone := func(d Daemon) Daemon { d.Listens, d.Alone = netip.AddrPort{}, true; return d }
	with := func(s socket, change func(*socket)) socket { change(&s); return s }
	for name, tc := range map[string]struct {
		facts facts
		opens owner // who sends an SCCRQ or SCCRP
		later owner // who sends another message
	}{
		"one xl2tpd": {facts{daemons: []Daemon{own}, sockets: []socket{free}}, is(watched), is(watched)},
		"bound to an address": {facts{daemons: []Daemon{own}, sockets: []socket{with(free, func(s *socket) { s.local = here })}},
			is(watched), is(watched)},
		"bound to another address": {facts{daemons: []Daemon{own}, sockets: []socket{with(free, func(s *socket) {
			s.local = netip.AddrPortFrom(here.Addr().Next(), l2tpPort)
		})}}, owner{}, owner{}},
		"on another port": {facts{daemons: []Daemon{listens(own, port1801)}, sockets: []socket{with(free, func(s *socket) {
			s.local = port1801
		})}}, owner{}, owner{}},
		"kernel mode": {facts{daemons: []Daemon{own}, sockets: []socket{free, kernelMode}}, is(watched), is(watched)},
		"kernel mode, two tunnels with a peer": {facts{daemons: []Daemon{own}, sockets: []socket{free, kernelMode, kernelMode}},
			is(watched), is(watched)},
		"connected with another peer": {facts{daemons: []Daemon{own}, sockets: []socket{free, with(kernelOther, func(s *socket) { s.peer = elsewhere })}},
			is(watched), is(watched)},
		"two on one port": {facts{daemons: []Daemon{own, second}, sockets: []socket{free, freeOffice}}, mixed, mixed},
		"two on one port, one in kernel mode": {facts{daemons: []Daemon{own, second}, sockets: []socket{free, freeOffice, kernelMode}},
			mixed, mixed},
		"two on two ports":                {facts{daemons: []Daemon{listens(own, port1801), second}, sockets: []socket{freeOffice}}, is(office), is(office)},
		"two on two ports, in one cgroup": {facts{daemons: []Daemon{listens(own, port1801), in(second, 7)}, sockets: []socket{free}}, is(office), is(office)},
		"two on two addresses": {facts{daemons: []Daemon{own, second}, sockets: []socket{
			with(free, func(s *socket) { s.local = netip.AddrPortFrom(here.Addr().Next(), l2tpPort) }),
			with(freeOffice, func(s *socket) { s.local = here }),
		}}, is(office), is(office)},
		"two in one cgroup": {facts{daemons: []Daemon{own, in(second, 7)}, sockets: []socket{free}}, mixed, mixed},
		"NetworkManager's two": {facts{daemons: []Daemon{own, second, {ID: procfs.ID{Pid: 201, Start: 7}, Cgroup: 8, Listens: everywhere}},
			sockets: []socket{freeOffice}}, mixed, mixed},
		"another program beside it":                             {facts{daemons: []Daemon{own}, sockets: []socket{free, freeOther}}, mixed, mixed},
		"another program in its cgroup on its port":             {facts{daemons: []Daemon{own}, sockets: []socket{free, free}}, mixed, mixed},
		"another program in its cgroup, xl2tpd on another port": {facts{daemons: []Daemon{listens(own, port1801)}, sockets: []socket{free}}, owner{}, owner{}},
		"a port that nobody knows":                              {facts{daemons: []Daemon{listens(own, netip.AddrPort{})}, sockets: []socket{free}}, mixed, mixed},
		"a port that nobody knows, alone in its cgroup":         {facts{daemons: []Daemon{alone(own)}, sockets: []socket{free}}, is(watched), is(watched)},
		"the same, and another program on the port":             {facts{daemons: []Daemon{alone(own)}, sockets: []socket{free, freeOther}}, mixed, mixed},
		"the same, the socket of another program":               {facts{daemons: []Daemon{alone(own)}, sockets: []socket{freeOther}}, owner{}, owner{}},
		"the same, of no known cgroup": {facts{daemons: []Daemon{alone(own)},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 })}}, mixed, mixed},
		"the same, two xl2tpds":    {facts{daemons: []Daemon{alone(own), in(alone(second), 7)}, sockets: []socket{free}}, mixed, mixed},
		"kl2tpd beside it":         {facts{daemons: []Daemon{own}, sockets: []socket{free, kernelOther}}, mixed, owner{}},
		"kl2tpd alone":             {facts{daemons: []Daemon{own}, sockets: []socket{kernelOther}}, owner{}, owner{}},
		"accel-ppp alone":          {facts{daemons: []Daemon{listens(own, port1801)}, sockets: []socket{freeOther}}, owner{}, owner{}},
		"no xl2tpd":                {facts{sockets: []socket{freeOther}}, owner{}, owner{}},
		"no xl2tpd, nothing known": {facts{unread: true}, owner{}, owner{}},
		"no socket":                {facts{daemons: []Daemon{own}}, owner{}, owner{}},
		"sockets not known":        {facts{daemons: []Daemon{own}, unread: true}, mixed, mixed},
		"another user's socket": {facts{daemons: []Daemon{own}, sockets: []socket{
			with(freeOther, func(s *socket) { s.uid = nobody }), free, with(kernelOther, func(s *socket) { s.uid = user }),
		}}, is(watched), is(watched)},
		"another user's socket alone": {facts{daemons: []Daemon{own}, sockets: []socket{with(free, func(s *socket) { s.uid = nobody })}},
			owner{}, owner{}},
		"cgroup of the socket not known": {facts{daemons: []Daemon{own}, sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 })}},
			is(watched), is(watched)},
		"cgroup of the process not known": {facts{daemons: []Daemon{in(own, 0)}, sockets: []socket{free}}, is(watched), is(watched)},
		"all in the root cgroup": {facts{daemons: []Daemon{in(own, 1)}, sockets: []socket{with(free, func(s *socket) { s.cgroup = 1 })}},
			is(watched), is(watched)},
		"no cgroups, and no file": {facts{daemons: []Daemon{listens(in(own, 0), netip.AddrPort{})},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 })}}, mixed, mixed},
		"no cgroups, and two ports": {facts{daemons: []Daemon{listens(in(own, 0), port1801), in(second, 0)},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 })}}, is(office), is(office)},
		"no cgroups, and its file says another": {facts{daemons: []Daemon{listens(in(own, 0), port1801)},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 })}}, owner{}, owner{}},
		"no cgroups, and two sockets": {facts{daemons: []Daemon{listens(in(own, 0), everywhere)},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 }), with(free, func(s *socket) { s.cgroup = 0 })}}, mixed, mixed},
		"no cgroups, and two xl2tpds": {facts{daemons: []Daemon{listens(in(own, 0), everywhere), in(second, 0)},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 })}}, mixed, mixed},
		"no cgroups, connected": {facts{daemons: []Daemon{listens(in(own, 0), everywhere)},
			sockets: []socket{with(free, func(s *socket) { s.cgroup = 0 }), with(kernelMode, func(s *socket) { s.cgroup = 0 })}}, mixed, mixed},
		"moved to another cgroup since": {facts{daemons: []Daemon{listens(own, everywhere)}, sockets: []socket{freeOther}}, mixed, mixed},
	} {
		if got := tc.facts.whoSends(here, there, true); got != tc.opens {
			t.Errorf("%s: an SCCRQ is %+v's, want %+v", name, got, tc.opens)
		}
		if got := tc.facts.whoSends(here, there, false); got != tc.later {
			t.Errorf("%s: a later message is %+v's, want %+v", name, got, tc.later)
		}
	}
}

// pppd's parent says whose a kernel session is. Without it nobody knows: an ended xl2tpd may
// have left the tunnel, with its socket, to its pppd.
func TestOwnerOfSession(t *testing.T) {
	tunnel := l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}
	own, second := Daemon{ID: watched, Cgroup: 7}, Daemon{ID: office, Cgroup: 8}
	mine := socket{local: here, peer: there, cgroup: 7}
	others := socket{local: here, peer: there, cgroup: 9}
	both := []Daemon{own, second}
	for name, tc := range map[string]struct {
		facts  facts
		parent int
		want   owner
	}{
		"the watched one's":        {facts{daemons: both, sockets: []socket{mine}}, watched.Pid, owner{ownerKnown, watched}},
		"the other one's":          {facts{daemons: both, sockets: []socket{mine}}, office.Pid, owner{ownerKnown, office}},
		"parent not known":         {facts{daemons: both, sockets: []socket{mine}}, 0, owner{ownership: ownerUnclear}},
		"parent is no xl2tpd":      {facts{daemons: both, sockets: []socket{mine}}, 300, owner{ownership: ownerUnclear}},
		"another program's":        {facts{daemons: both, sockets: []socket{others}}, 0, owner{}},
		"nothing known, no xl2tpd": {facts{}, 0, owner{}},
	} {
		if got := tc.facts.whoOpened(KernelSession{tunnel, tc.parent}); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestSendsThroughLo(t *testing.T) {
	f := facts{daemons: []Daemon{{ID: watched}, {ID: office, Saref: true}}, loopback: []netip.Addr{here.Addr()}}
	for _, tc := range []struct {
		o     owner
		local netip.Addr
		want  bool
	}{
		{owner{ownerKnown, office}, here.Addr(), true},
		{owner{ownership: ownerUnclear}, here.Addr(), true},
		{owner{ownerKnown, watched}, here.Addr(), false},
		{owner{ownerKnown, office}, there.Addr(), false},
	} {
		if got := f.sendsThroughLo(tc.o, tc.local); got != tc.want {
			t.Errorf("%+v at %v: %v", tc.o, tc.local, got)
		}
	}
}

// A flood is kept from a port only if no other daemon can have it.
func TestOnlyXl2tpds(t *testing.T) {
	one := Daemon{ID: watched, Cgroup: 7, Listens: everywhere}
	mine, other := socket{local: everywhere, cgroup: 7}, socket{local: everywhere, cgroup: 9}
	for name, tc := range map[string]struct {
		facts facts
		want  bool
	}{
		"one xl2tpd":                      {facts{daemons: []Daemon{one}, sockets: []socket{mine}}, true},
		"a socket for each tunnel":        {facts{daemons: []Daemon{one}, sockets: []socket{mine, {local: here, peer: there, cgroup: 7}}}, true},
		"no cgroups":                      {facts{daemons: []Daemon{one}, sockets: []socket{{local: everywhere}}}, true},
		"another program beside it":       {facts{daemons: []Daemon{one}, sockets: []socket{mine, other}}, false},
		"another program's tunnel":        {facts{daemons: []Daemon{one}, sockets: []socket{mine, {local: here, peer: there, cgroup: 9}}}, false},
		"another user's socket":           {facts{daemons: []Daemon{one}, sockets: []socket{mine, {local: everywhere, cgroup: 9, uid: 1000}}}, true},
		"another program, and no xl2tpd":  {facts{sockets: []socket{other}}, false},
		"nobody":                          {facts{}, false},
		"the kernel did not list sockets": {facts{daemons: []Daemon{one}, unread: true}, false},
	} {
		if got := tc.facts.onlyXl2tpds(); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}
