package controltrace

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// A record in memory, and on its way to who watches, has this header, and the payload after it.
const (
	headLen         = 23
	payloadAt       = headLen - 2 // where the header has the length of the payload
	connectionBytes = 16
)

// The bits of a header's flags.
const (
	flagToPeer = 1 << iota
	flagXl2tpd
	flagPeer
	flagAgain
)

var errCut = errors.New("a record is cut short")

func (r *Record) flags() (f byte) {
	if r.ToPeer {
		f |= flagToPeer
	}
	if r.Xl2tpd.Sees {
		f |= flagXl2tpd
	}
	if r.Peer.Sees {
		f |= flagPeer
	}
	if r.Again {
		f |= flagAgain
	}
	return f
}

// head returns the header of a record.
func (r *Record) head() (b [headLen]byte) {
	binary.BigEndian.PutUint64(b[:], uint64(r.Time.UnixNano()))
	b[8], b[9], b[10] = r.flags(), byte(r.Verdict), byte(r.Why)
	for i, n := range [...]uint16{r.Xl2tpd.Ns, r.Xl2tpd.Nr, r.Peer.Ns, r.Peer.Nr, uint16(r.Length), uint16(len(r.Payload))} {
		binary.BigEndian.PutUint16(b[11+2*i:], n)
	}
	return b
}

// decode reads a record from the beginning of b, and returns what comes after it. The record shares b.
func decode(b []byte) (r Record, rest []byte, err error) {
	if len(b) < headLen {
		return r, nil, errCut
	}
	var n [6]uint16
	for i := range n {
		n[i] = binary.BigEndian.Uint16(b[11+2*i:])
	}
	end := headLen + int(n[5])
	if len(b) < end {
		return r, nil, errCut
	}
	f := b[8]
	return Record{
		Time: time.Unix(0, int64(binary.BigEndian.Uint64(b))), ToPeer: f&flagToPeer != 0, Again: f&flagAgain != 0,
		Xl2tpd: End{f&flagXl2tpd != 0, n[0], n[1]}, Peer: End{f&flagPeer != 0, n[2], n[3]},
		Verdict: Verdict(b[9]), Why: translator.Reason(b[10]), Length: int(n[4]), Payload: b[headLen:end:end],
	}, b[end:], nil
}

func appendConnection(b []byte, c *l2tp.Connection) []byte {
	for _, at := range [...]netip.AddrPort{c.Local, c.Peer} {
		addr := at.Addr().As4()
		b = binary.BigEndian.AppendUint16(append(b, addr[:]...), at.Port())
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, c.LocalID), c.PeerID)
}

func decodeConnection(b []byte) (c l2tp.Connection, rest []byte, err error) {
	if len(b) < connectionBytes {
		return c, nil, errCut
	}
	addr := func(b []byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
	}
	return l2tp.Connection{
		Local: addr(b), Peer: addr(b[6:]), LocalID: binary.BigEndian.Uint16(b[12:]), PeerID: binary.BigEndian.Uint16(b[14:]),
	}, b[connectionBytes:], nil
}
