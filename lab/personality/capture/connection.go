package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// Packet is one of a control connection.
type Packet struct {
	Number     int // in the file, from 1
	At         time.Time
	FromRouter bool
	Data       bool // a data message: nothing else is known of it
	l2tp.Packet
}

// Connection is a control connection from its SCCRQ on. The router is the end that the SCCRQ went to.
type Connection struct {
	Client, Router     netip.AddrPort
	ClientID, RouterID uint16 // the tunnel ids that they have chosen; RouterID 0: none
	Packets            []Packet
	Held               int       // Hellos of xl2tpd that the Hello guard kept from the router
	End                time.Time // of the file
}

// Interfaces of a file that `xl2tpd-keepalive trace` wrote: the same messages before and after the Hello guard.
const (
	guardInside  = "xl2tpd"
	guardOutside = "peer"
)

// copyWithin is how soon a packet comes again if a capture has it from two interfaces of the same host.
const copyWithin = 5 * time.Millisecond

// table collects connections.
type table struct {
	file     string
	all      []*Connection
	warnings []string
	end      time.Time
	inside   []insideHello
	stray    int // the first control packet without a connection; 0: none
	ipsecAt  int // the first packet of IPsec; 0: none
}

type insideHello struct {
	src, dst netip.AddrPort
	packet   l2tp.Packet
}

func (t *table) warn(number int, format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf("%s: packet %d: %s", t.file, number, fmt.Sprintf(format, args...)))
}

func (t *table) frame(number int, f frame) {
	if f.Timestamp.After(t.end) {
		t.end = f.Timestamp
	}
	p := gopacket.NewPacket(f.data, f.link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok || udp.DstPort == 4500 || udp.SrcPort == 4500 {
		if t.ipsecAt == 0 && (ok || p.Layer(layers.LayerTypeIPSecESP) != nil) {
			t.ipsecAt = number
		}
		return
	}
	src, dst, ok := ends(p.NetworkLayer(), udp)
	if !ok || len(udp.Payload) < 2 {
		return
	}
	switch {
	case !t.ours(src, dst):
	case binary.BigEndian.Uint16(udp.Payload)&0x000f != 2: // not L2TPv2
	case !l2tp.IsControl(udp.Payload):
		t.data(number, f.Timestamp, src, dst, udp.Payload)
	default:
		if int(udp.Length) > 8+len(udp.Payload) {
			t.warn(number, "only a part of it is in the file: it is left out. Take the capture with `tcpdump -s 0`")
			return
		}
		t.control(number, f, src, dst, udp.Payload)
	}
}

func ends(network gopacket.NetworkLayer, udp *layers.UDP) (src, dst netip.AddrPort, ok bool) {
	if network == nil {
		return src, dst, false
	}
	from, ok := netip.AddrFromSlice(network.NetworkFlow().Src().Raw())
	to, too := netip.AddrFromSlice(network.NetworkFlow().Dst().Raw())
	return netip.AddrPortFrom(from, uint16(udp.SrcPort)), netip.AddrPortFrom(to, uint16(udp.DstPort)), ok && too
}

const port = 1701

// ours reports whether a packet can be L2TP. Either end may use a port of its own: RFC 2661 §8.1.
func (t *table) ours(src, dst netip.AddrPort) bool {
	return src.Port() == port || dst.Port() == port ||
		slices.ContainsFunc(t.all, func(c *Connection) bool { return c.Client == src || c.Client == dst })
}

func (t *table) control(number int, f frame, src, dst netip.AddrPort, payload []byte) {
	p, err := l2tp.Parse(payload)
	if err != nil {
		t.warn(number, "%v: it is left out", err)
		return
	}
	if f.from == guardInside {
		if p.Type() == l2tp.Hello {
			t.inside = append(t.inside, insideHello{src, dst, p})
		}
		return
	}
	c, fromRouter := t.find(f.Timestamp, src, dst, p)
	if c == nil {
		if t.stray == 0 {
			t.stray = number
		}
		return
	}
	packet := Packet{Number: number, At: f.Timestamp, FromRouter: fromRouter, Packet: p}
	if c.has(packet) {
		return
	}
	if id, ok := p.Find16(l2tp.AVPAssignedTunnel); ok && fromRouter && c.RouterID == 0 {
		c.RouterID = id
	}
	c.Packets = append(c.Packets, packet)
}

// has reports whether a packet is there, seen at another interface.
func (c *Connection) has(p Packet) bool {
	for _, q := range slices.Backward(c.Packets) {
		if p.At.Sub(q.At) > copyWithin {
			return false
		}
		if q.FromRouter == p.FromRouter && !q.Data && slices.Equal(q.Marshal(), p.Marshal()) {
			return true
		}
	}
	return false
}

// again is how long an SCCRQ may be sent again.
const again = time.Minute

// find returns the connection of a control packet. An SCCRQ makes a new one, unless it is sent again.
func (t *table) find(at time.Time, src, dst netip.AddrPort, p l2tp.Packet) (c *Connection, fromRouter bool) {
	if id, ok := p.Find16(l2tp.AVPAssignedTunnel); ok && p.Tunnel == 0 && p.Type() == l2tp.SCCRQ {
		for _, c := range t.all {
			if c.Client == src && c.Router.Addr() == dst.Addr() && c.ClientID == id && at.Sub(c.Packets[0].At) < again && !c.stopped() {
				return c, false
			}
		}
		t.all = append(t.all, &Connection{Client: src, Router: dst, ClientID: id})
		return t.all[len(t.all)-1], false
	}
	return t.lookUp(src, dst, p.Tunnel)
}

func (c *Connection) stopped() bool {
	return slices.ContainsFunc(c.Packets, func(p Packet) bool { return p.Type() == l2tp.StopCCN })
}

// lookUp finds the newest connection by the receiver's tunnel id. A client that does not know the router's id sends 0.
func (t *table) lookUp(src, dst netip.AddrPort, id uint16) (c *Connection, fromRouter bool) {
	for _, c := range slices.Backward(t.all) {
		switch {
		case src.Addr() == c.Client.Addr() && dst.Addr() == c.Router.Addr() && (id == c.RouterID || id == 0):
			return c, false
		case src.Addr() == c.Router.Addr() && dst.Addr() == c.Client.Addr() && id == c.ClientID:
			return c, true
		}
	}
	return nil, false
}

// data takes the header of a data message: RFC 2661 §3.1.
func (t *table) data(number int, at time.Time, src, dst netip.AddrPort, b []byte) {
	const hasLength = 0x40
	i := 2
	if b[0]&hasLength != 0 {
		i = 4
	}
	if len(b) < i+2 {
		return
	}
	if c, fromRouter := t.lookUp(src, dst, binary.BigEndian.Uint16(b[i:])); c != nil {
		c.Packets = append(c.Packets, Packet{Number: number, At: at, FromRouter: fromRouter, Data: true})
	}
}

// result returns the connections, or says why there is none.
func (t *table) result() (*File, error) {
	for _, h := range t.inside {
		if c, fromRouter := t.lookUp(h.src, h.dst, h.packet.Tunnel); c != nil && !fromRouter {
			c.Held++
		}
	}
	for _, c := range t.all {
		c.End = t.end
		slices.SortStableFunc(c.Packets, func(a, b Packet) int { return a.At.Compare(b.At) })
		for _, p := range c.Packets {
			if p.Type() == l2tp.Hello && !p.FromRouter && c.Held > 0 {
				c.Held-- // it went through
			}
		}
	}
	switch {
	case len(t.all) > 0:
		return &File{Connections: t.all, Warnings: t.warnings}, nil
	case t.stray > 0:
		return nil, fmt.Errorf("%s: packet %d belongs to a tunnel that was up before: begin the capture before the tunnel is dialled", t.file, t.stray)
	case t.ipsecAt > 0:
		return nil, fmt.Errorf("%s: packet %d is IPsec, which hides L2TP: take the capture inside of IPsec", t.file, t.ipsecAt)
	case len(t.warnings) > 0:
		return nil, errors.New(t.warnings[0])
	}
	return nil, fmt.Errorf("%s has no control packet of L2TP (UDP port %d)", t.file, port)
}
