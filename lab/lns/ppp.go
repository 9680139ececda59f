package main

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
)

// answerer is a data plane without the kernel's L2TP and without pppd, for an LNS among too many for that. It speaks
// just enough PPP to give a client its address, and answers the client's echo requests.
type answerer struct {
	local netip.Addr // PPP address of the LNS
	send  func(netip.AddrPort, []byte)

	mu       sync.Mutex
	sessions map[[2]uint16]*answering // by the LNS's ids of tunnel and session
}

type answeringTunnel struct {
	plane       *answerer
	remote      netip.AddrPort
	local, peer uint16
	data        atomic.Uint64 // packets of both directions
}

// answering is PPP on one session. The client's pppd repeats what is not answered, so nothing is repeated here.
type answering struct {
	of          *answeringTunnel
	local, peer uint16
	assigned    netip.Addr
	news        func(pppNews)

	ours, theirs map[uint16]bool // protocols in which that end's request has been acknowledged
	asked        map[uint16]byte // those in which the LNS has sent its request, by the id of the client's request before it
	up           bool
}

func (a *answerer) tunnel(remote netip.AddrPort, local, peer uint16, _ func(datagram)) (dataTunnel, error) {
	return &answeringTunnel{plane: a, remote: remote, local: local, peer: peer}, nil
}

func (t *answeringTunnel) session(local, peer uint16, assigned netip.Addr, news func(pppNews)) (dataSession, error) {
	t.plane.mu.Lock()
	defer t.plane.mu.Unlock()
	s := &answering{of: t, local: local, peer: peer, assigned: assigned, news: news,
		ours: map[uint16]bool{}, theirs: map[uint16]bool{}, asked: map[uint16]byte{}}
	if t.plane.sessions == nil {
		t.plane.sessions = map[[2]uint16]*answering{}
	}
	t.plane.sessions[[2]uint16{t.local, local}] = s
	return s, nil
}

func (t *answeringTunnel) packets() (uint64, error) { return t.data.Load(), nil }
func (t *answeringTunnel) close()                   {}

func (a *answering) stop() {
	a.of.plane.mu.Lock()
	delete(a.of.plane.sessions, [2]uint16{a.of.local, a.local})
	a.of.plane.mu.Unlock()
	go a.news(pppNews{ended: true, detail: "stopped"})
}

// L2TP data header, RFC 2661 §3.1.
const (
	hasLength   = 0x4000
	hasSequence = 0x0800
	hasOffset   = 0x0200
)

// receive takes a data packet.
func (a *answerer) receive(b []byte) {
	flags, b := word(b)
	if flags&hasLength != 0 {
		_, b = word(b)
	}
	tunnel, b := word(b)
	id, b := word(b)
	if flags&hasSequence != 0 {
		_, b = word(b)
		_, b = word(b)
	}
	if flags&hasOffset != 0 {
		var n uint16
		n, b = word(b)
		b = b[min(int(n), len(b)):]
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sessions[[2]uint16{tunnel, id}]; s != nil {
		s.of.data.Add(1)
		s.frame(b)
	}
}

// word takes two bytes off b; what is missing is zero.
func word(b []byte) (uint16, []byte) {
	if len(b) < 2 {
		return 0, nil
	}
	return binary.BigEndian.Uint16(b), b[2:]
}

// Protocols of PPP, codes of LCP and IPCP (RFC 1661 §5, RFC 1332), and IPCP's option.
const (
	protoIP   = 0x0021
	protoIPCP = 0x8021
	protoLCP  = 0xc021

	confReq, confAck, confNak, confRej = 1, 2, 3, 4
	termReq, termAck, protoRej         = 5, 6, 8
	echoReq, echoRep                   = 9, 10

	optionAddress = 3
)

// frame takes a PPP frame, with or without address and control, and with a protocol of one or two bytes.
func (a *answering) frame(b []byte) {
	if len(b) > 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:]
	}
	if len(b) < 2 {
		return
	}
	proto, body := uint16(b[0]), b[1:]
	if proto&1 == 0 {
		proto, body = word(b)
	}
	switch {
	case proto == protoIP:
		a.ip(body)
	case len(body) < 4 || int(binary.BigEndian.Uint16(body[2:])) > len(body) || binary.BigEndian.Uint16(body[2:]) < 4:
	case proto == protoLCP || proto == protoIPCP:
		a.negotiate(proto, body[0], body[1], body[4:binary.BigEndian.Uint16(body[2:])])
	default:
		a.say(protoLCP, protoRej, 1, b)
	}
}

func (a *answering) negotiate(proto uint16, code, id byte, data []byte) {
	switch code {
	case confReq:
		verdict, options := a.answerTo(proto, data)
		a.say(proto, verdict, id, options)
		a.theirs[proto] = verdict == confAck
		// One more request than needed would make pppd begin anew; it repeats its own when one was lost.
		if last, asked := a.asked[proto]; !asked || id == last && !a.ours[proto] {
			a.asked[proto] = id
			var own []byte
			if proto == protoIPCP {
				own = addressOption(a.of.plane.local)
			}
			a.say(proto, confReq, 1, own)
		}
	case confAck:
		a.ours[proto] = true
	case termReq:
		a.say(proto, termAck, id, nil)
	case echoReq:
		a.say(proto, echoRep, id, make([]byte, 4)) // the LNS has no magic number
	}
	if !a.up && a.ours[protoIPCP] && a.theirs[protoIPCP] {
		a.up = true
		go a.news(pppNews{iface: "none", local: a.of.plane.local.String(), assigned: a.assigned.String()})
	}
}

// answerTo answers a request: LCP may have any options, IPCP only the address that the client has been assigned.
func (a *answering) answerTo(proto uint16, options []byte) (code byte, answer []byte) {
	if proto == protoLCP {
		return confAck, options
	}
	var rejected []byte
	want := addressOption(a.assigned)
	asked := false
	for b := options; len(b) >= 2 && int(b[1]) >= 2 && int(b[1]) <= len(b); b = b[b[1]:] {
		if b[0] != optionAddress {
			rejected = append(rejected, b[:b[1]]...)
			continue
		}
		asked = string(b[:b[1]]) == string(want)
	}
	switch {
	case rejected != nil:
		return confRej, rejected
	case !asked:
		return confNak, want
	}
	return confAck, options
}

func addressOption(a netip.Addr) []byte { return append([]byte{optionAddress, 6}, a.AsSlice()...) }

// ip answers an echo request to the LNS, with the request's data (RFC 792).
func (a *answering) ip(b []byte) {
	if len(b) < 20 {
		return
	}
	header := int(b[0]&0xf) * 4
	if header < 20 || len(b) < header+8 || b[9] != 1 || b[header] != 8 || [4]byte(b[16:20]) != a.of.plane.local.As4() {
		return
	}
	reply := append([]byte(nil), b...)
	copy(reply[12:16], b[16:20])
	copy(reply[16:20], b[12:16])
	reply[header] = 0
	// The type has gone from 8 to 0, so the checksum's complement does too (RFC 1624).
	sum := uint32(binary.BigEndian.Uint16(b[header+2:])) + 0x0800
	binary.BigEndian.PutUint16(reply[header+2:], uint16(sum+sum>>16))
	a.transmit(protoIP, reply)
}

func (a *answering) say(proto uint16, code, id byte, data []byte) {
	b := append([]byte{code, id}, binary.BigEndian.AppendUint16(nil, uint16(4+len(data)))...)
	a.transmit(proto, append(b, data...))
}

func (a *answering) transmit(proto uint16, body []byte) {
	var b []byte
	for _, w := range []uint16{2, a.of.peer, a.peer, 0xff03, proto} {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	a.of.data.Add(1)
	a.of.plane.send(a.of.remote, append(b, body...))
}
