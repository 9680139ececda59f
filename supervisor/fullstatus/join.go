package fullstatus

import (
	"net/netip"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor"
)

// join adds to each tunnel what the guard has done for it. In userspace mode the links of one peer can't be told apart:
// each shows all that was done for that peer.
func join(details []supervisor.Detail, channels []helloguard.Channel) {
	var links supervisor.ConnectionLinks[*supervisor.Detail]
	strays := map[int][]*supervisor.Detail{} // links without a known peer, by their xl2tpd
	for i := range details {
		d := &details[i]
		if d.Status.Link == nil {
			continue
		}
		setLocal(d, d.Session.Local)
		links.Add(d, d.Session, d.Outer, d.Daemon)
		if d.Session == (xl2tpd.Session{}) && !d.Outer.IsValid() {
			strays[d.Daemon] = append(strays[d.Daemon], d)
		}
	}
	unmatched := map[int][]helloguard.Channel{} // by their xl2tpd
	for _, c := range channels {
		of, _ := links.Of(c.OwnedConnection)
		for _, d := range of {
			add(d, c)
		}
		if len(of) == 0 && c.Owner.Pid != 0 {
			unmatched[c.Owner.Pid] = append(unmatched[c.Owner.Pid], c)
		}
	}
	for pid, all := range unmatched {
		if len(all) == 1 && len(strays[pid]) == 1 {
			add(strays[pid][0], all[0])
		}
	}
}

// add adds what was done in one control connection.
func add(d *supervisor.Detail, c helloguard.Channel) {
	r := &d.Status
	setLocal(d, c.Local)
	if r.Guard == nil {
		r.Guard = &status.Guard{Mode: d.Guard.String()}
	}
	if !c.Heard.Before(r.Link.Evidence.Control) {
		r.Link.Evidence.Control, r.Vendor = c.Heard, c.Vendor
		r.Control = &c.Connection
	}
	g := r.Guard
	g.Holding = g.Holding || c.Holding && d.Guard != config.GuardOff
	g.Held, g.Passed, g.Answered = g.Held+c.Held, g.Passed+c.Passed, g.Answered+c.Answered
}

// setLocal sets the outer address of this end, unless it is known already or not specified. The kernel's own address
// comes first.
func setLocal(d *supervisor.Detail, local netip.AddrPort) {
	if a := local.Addr().Unmap(); !d.Status.Local.IsValid() && a.IsValid() && !a.IsUnspecified() {
		d.Status.Local = a
	}
}
