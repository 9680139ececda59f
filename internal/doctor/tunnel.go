package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// all checks each tunnel.
func (c tunnelChecks) all() []Finding {
	var all []Finding
	var routers []*status.Tunnel
	for _, t := range c.status.Tunnels {
		name := title(&t)
		all = append(all, c.tunnel(name, &t)...)
		if t.Yamaha() {
			all = append(all, c.interval(name, &t)...)
			routers = append(routers, &t)
		}
	}
	if routers != nil {
		all = append(all, router(routers))
	}
	return all
}

// interval checks whether echo requests are too rare for a Yamaha's idle timer. It can't know whether the timer is on.
func (c tunnelChecks) interval(name string, t *status.Tunnel) []Finding {
	kind, section, known := strings.Cut(t.Name, " ")
	if c.conf == nil || !known {
		return nil
	}
	path := ""
	if i := c.instance(t.Instance); i != nil {
		path = i.Path
	}
	text := c.conf.For(path, kind, section).TooRare()
	if text == "" {
		return nil
	}
	return []Finding{note("interval", name, text)}
}

func title(t *status.Tunnel) string {
	switch {
	case t.Name == "" && t.Link != nil:
		return t.Link.Name
	case t.Instance != "":
		return t.Name + " of " + t.Instance
	}
	return t.Name
}

func (c tunnelChecks) tunnel(name string, t *status.Tunnel) []Finding {
	all := []Finding{c.state(name, t)}
	if t.State != "down" && t.Link != nil && t.Peer.IsValid() {
		all = append(all, c.route(name, t)...)
		if c.viciErr == nil {
			all = append(all, c.ipsec(name, t)...)
		}
	}
	if t.SA != nil {
		all = append(all, c.nat(name, t)...)
	}
	if t.Guard != nil && t.Guard.Holding {
		all = append(all, good("Hello", name, "the peer leaves xl2tpd's Hellos unanswered; the guard holds the tunnel"))
	}
	return all
}

const stateCheck = "state"

func (c tunnelChecks) state(name string, t *status.Tunnel) Finding {
	switch t.State {
	case "down":
		return c.down(name, t)
	case "silent":
		return c.silent(name, t)
	}
	return good(stateCheck, name, "%s", t.StateText())
}

func (c tunnelChecks) down(name string, t *status.Tunnel) Finding {
	lac, isLAC := strings.CutPrefix(t.Name, "lac ")
	why := message.Sprintf("down; %s", t.Doing)
	if t.Last != nil {
		why = message.Sprintf("%s; ended last by: %s", why, t.Last.Reason)
	}
	f := bad(stateCheck, name, why)
	if t.ByHand {
		f = note(stateCheck, name, why)
	}
	i := c.instance(t.Instance)
	switch {
	case i == nil || !i.Runs(): // then the tunnel is down; a separate check reports that
	case c.misses("ppp_generic"):
		f.Remedy = []message.Text{"get the kernel modules that are missing, as above"}
	case i.NetworkManager():
		f.Remedy = []message.Text{c.restart(*i), command("journalctl -u NetworkManager -u xl2tpd-keepalive")}
	case isLAC && strings.Contains(lac, ", "): // one of several LACs that look the same
		f.Remedy = []message.Text{"give each of them a pppoptfile of its own, then this says which one is down", c.logs(*i)}
	case isLAC && t.Link != nil: // pppd has given up, or waits for the LNS to begin (`passive`)
		f.Remedy = []message.Text{dialAnew(i.Pipe, lac), c.logs(*i)}
	case isLAC:
		f.Remedy = []message.Text{dialAnew(i.Pipe, lac)}
		if !t.ByHand {
			f.Remedy = append(f.Remedy, "if it is to be down: `keepalive = no` in its section of /etc/xl2tpd/keepalive.conf", c.logs(*i))
		}
	default:
		f.Remedy = []message.Text{c.logs(*i)}
	}
	return f
}

const otherTarget message.Text = "if it never answers: `target = ADDRESS` behind the tunnel in its section of /etc/xl2tpd/keepalive.conf"

func (c tunnelChecks) silent(name string, t *status.Tunnel) Finding {
	lac, isLAC := strings.CutPrefix(t.Name, "lac ")
	f := bad(stateCheck, name, "the far end answers no echo request any more",
		otherTarget,
		"if it did: xl2tpd closes the tunnel once a Hello is unanswered, within some two minutes")
	if i := c.instance(t.Instance); isLAC && i != nil && !i.NetworkManager() {
		f.Remedy = append(f.Remedy, pipeCommand(i.Pipe, "d", lac, "%s  # if that is too long, then the same with c"))
	}
	return f
}

// renamed is the remedy for a LAC with a name that xl2tpd's control pipe does not accept.
const renamed message.Text = "give it another name in xl2tpd.conf, without white space: xl2tpd can't be told to dial it, or to hang it up, by this one"

// pipeCommand returns the shell command that makes xl2tpd dial a LAC or hang it up, in a format with a remark.
func pipeCommand(pipe, verb, lac string, format message.Format) message.Text {
	if xl2tpd.CheckLAC(lac) != nil {
		return renamed
	}
	return message.Sprintf(format, fmt.Sprintf("echo %s > %s", quoted(verb+" "+lac), pipe))
}

// dialAnew returns the shell command that makes xl2tpd dial a LAC that is down. It hangs up first: if only the call has
// ended, as after PPP gave up, its tunnel stands. A router may acknowledge the end of the call in a ZLB without a session
// id. Then xl2tpd waits for another one, and takes the LAC for active (xl2tpd.c, control_handle_lac_connect).
func dialAnew(pipe, lac string) message.Text {
	hangUp, dial := pipeCommand(pipe, "d", lac, "%s"), pipeCommand(pipe, "c", lac, "%s")
	if hangUp == renamed {
		return renamed
	}
	return command(fmt.Sprintf("%v; sleep 3; %v", hangUp, dial))
}

// quoted quotes a word for a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// logs returns what shows the logs of an xl2tpd and of the service.
func (c tunnelChecks) logs(i xl2tpd.Instance) message.Text {
	switch {
	case !c.booted():
		return "what xl2tpd, pppd and `xl2tpd-keepalive run` have logged says more"
	case i.Unit == "":
		return command("journalctl _COMM=xl2tpd + _COMM=pppd + _SYSTEMD_UNIT=xl2tpd-keepalive.service")
	}
	return command("journalctl -u " + strings.TrimSuffix(i.Unit, ".service") + " -u xl2tpd-keepalive")
}

// ipsec finds a tunnel in the clear. The service lists SAs only now and then, so charon is asked before that is said.
func (c tunnelChecks) ipsec(name string, t *status.Tunnel) []Finding {
	const check = "IPsec"
	if t.SA != nil && t.SA.Child {
		return nil
	}
	switch ike, child, err := c.charonHas(t.Peer); {
	case err != nil:
		return []Finding{unknown(check, name, message.TextOf(err))}
	case child:
		return nil
	case ike:
		return []Finding{bad(check, name, message.Sprintf("the IKE SA with %v has no CHILD SA: its L2TP is in the clear", t.Peer), c.encrypt(t)...)}
	}
	return []Finding{bad(check, name, message.Sprintf("no IKE SA with %v: its L2TP is in the clear", t.Peer), c.encrypt(t)...)}
}

// charonHas reports whether charon has an IKE SA with a peer that may be for L2TP, and a CHILD SA that carries it.
func (c tunnelChecks) charonHas(peer netip.Addr) (ike, child bool, err error) {
	all, err := c.sas()
	for _, sa := range all {
		if sa.RemoteHost.Addr().Unmap() != peer {
			continue
		}
		forL2TP := func(one vici.Child) bool { return one.CarriesL2TP(peer) }
		ike = ike || len(sa.Children) == 0 || slices.ContainsFunc(sa.Children, forL2TP)
		child = child || sa.State != "DELETING" &&
			slices.ContainsFunc(sa.Children, func(one vici.Child) bool { return one.Works() && forL2TP(one) })
	}
	return ike, child, err
}

// encrypt returns how to get IPsec for a tunnel that is in the clear.
func (c tunnelChecks) encrypt(t *status.Tunnel) []message.Text {
	const refuse message.Text = "make the LNS refuse L2TP without IPsec"
	if i := c.instance(t.Instance); i != nil && i.NetworkManager() {
		return []message.Text{ // nmcli does not know the secrets that are there, so it would drop the password
			command(fmt.Sprintf("nmcli connection modify %s +vpn.data ipsec-enabled=yes vpn.secrets password=PASSWORD,ipsec-psk=KEY", quoted(i.Connection))),
			c.restart(*i), refuse,
		}
	}
	if child := c.childFor(t); child != "" {
		return []message.Text{command("swanctl --initiate --child " + child), refuse}
	}
	return []message.Text{message.Sprintf("give strongSwan a connection with %v, for UDP port %d in transport mode", t.Peer, l2tp.Port), refuse}
}

// childFor returns the name of a child that strongSwan may initiate for a tunnel; empty: none is known.
func (c tunnelChecks) childFor(t *status.Tunnel) string {
	for _, conn := range c.conns {
		if (t.SA == nil || t.SA.Name != conn.Name) && !slices.Contains(conn.RemoteAddrs, t.Peer.String()) {
			continue
		}
		for _, child := range conn.Children {
			if !child.Shunt() {
				return child.Name
			}
		}
	}
	return ""
}

// nat looks for NATs that drop ESP. IKE detects a NAT only if both ends have NAT-T;
// ESP then goes in UDP.
func (c tunnelChecks) nat(name string, t *status.Tunnel) []Finding {
	const check = "NAT-T"
	if t.SA.NAT && t.SA.Encap {
		return []Finding{good(check, name, "a NAT is on the way, ESP goes in UDP")}
	}
	text := message.Text("")
	if t.SA.NAT && t.SA.Child {
		text = "there is a NAT on the way, but ESP does not go in UDP: most NATs drop that"
	}
	if source, err := c.Source(netip.AddrPortFrom(t.Peer, l2tp.Port)); err == nil &&
		t.State == "down" && !t.SA.NAT && source.IsPrivate() && !t.Peer.IsPrivate() {
		text = message.Sprintf("%v is a private address and %v is not, but IKE has found no NAT: the far end has no NAT-T", source, t.Peer)
	}
	if text == "" {
		return nil
	}
	return []Finding{bad(check, name, text,
		"open UDP 4500 on the way and switch NAT traversal on at the far end (Yamaha: `ipsec ike nat-traversal GATEWAY on`)")}
}

// route finds a route that leads the peer's own address into a tunnel. xl2tpd's
// control packets then do not reach the peer; in the peer's own tunnel they loop.
// The tunnel ends after some 90 s.
func (c tunnelChecks) route(name string, t *status.Tunnel) []Finding {
	const check = "route to the peer"
	device := ""
	source, err := c.Source(netip.AddrPortFrom(t.Peer, l2tp.Port))
	if err == nil {
		device, err = c.Device(t.Peer, t.Local)
	}
	if err != nil {
		return []Finding{bad(check, name, message.TextOf(err), command("ip route get "+t.Peer.String()+" ipproto udp dport 1701"))}
	}
	into := message.Text("")
	for _, other := range c.status.Tunnels {
		switch {
		case other.Link == nil || other.Link.Name != device:
		case other.Link.Name == t.Link.Name:
			into = "its own tunnel"
		default:
			into = message.Sprintf("the tunnel of %s", title(&other))
		}
	}
	if into == "" {
		return []Finding{good(check, name, "outside the tunnel, from %v", source)}
	}
	return []Finding{bad(check, name, message.Sprintf("%v is reached through %s, %s", t.Peer, device, into),
		message.Sprintf("ip route replace %v via GATEWAY (the router outside the tunnel), best in /etc/ppp/ip-up.d", t.Peer),
		"or no `defaultroute` in the pppoptfile")}
}
