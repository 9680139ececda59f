// Package pcapng writes control messages for Wireshark and tshark.
package pcapng

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
)

// The interfaces of a file: what xl2tpd has of a message, and what the peer has.
const (
	interfaceXl2tpd = iota
	interfacePeer
)

// Writer writes messages as pcapng, for Wireshark and tshark. A message that both ends see is in it twice, once for
// each interface. The IP and UDP headers are made anew from the addresses.
type Writer struct {
	to     *blockWriter
	packet []byte
}

// NewWriter begins a file. application is the program's name and version.
func NewWriter(w io.Writer, application string) *Writer {
	to := newBlockWriter(w, application)
	to.addInterface("xl2tpd", "what xl2tpd sends and receives")
	to.addInterface("peer", "what the peer sends and receives")
	return &Writer{to: to}
}

// Write writes a message. name is the tunnel's; empty: not known.
func (w *Writer) Write(t l2tp.Connection, name string, r *controltrace.Record) {
	ends := [...]controltrace.End{interfaceXl2tpd: r.Xl2tpd, interfacePeer: r.Peer}
	order := [...]int{interfaceXl2tpd, interfacePeer}
	if !r.ToPeer {
		slices.Reverse(order[:])
	}
	for _, i := range order {
		if ends[i].Sees {
			w.writeEnd(t, name, r, i, ends[i])
		}
	}
}

func (w *Writer) writeEnd(t l2tp.Connection, name string, r *controltrace.Record, index int, end controltrace.End) {
	src, dst := t.Peer, t.Local
	if r.ToPeer {
		src, dst = dst, src
	}
	payload := bytes.Clone(r.Payload)
	if len(payload) >= l2tp.HeaderLen {
		binary.BigEndian.PutUint16(payload[8:], end.Ns)
		binary.BigEndian.PutUint16(payload[10:], end.Nr)
	}
	w.packet = l2tp.AppendDatagram(w.packet[:0], src, dst, payload, r.Length)
	w.to.packet(index, r.Time, w.packet, len(w.packet)+r.Length-len(payload), comments(name, r))
}

// comments are what Wireshark shows with the packet.
func comments(name string, r *controltrace.Record) (all []string) {
	if name != "" {
		all = append(all, name)
	}
	if did := r.Remark(); did != "" {
		all = append(all, did)
	}
	return all
}

// Flush writes what is buffered. It returns the error if anything could not be written, also before.
func (w *Writer) Flush() error { return w.to.flush() }

// WriteRecordings writes recordings as one file. name returns a tunnel's name; empty: not known.
func WriteRecordings(w io.Writer, application string, all []controltrace.Recording, name func(l2tp.Connection) string) error {
	to := NewWriter(w, application)
	for _, g := range all {
		for i := range g.Records {
			to.Write(g.Connection, name(g.Connection), &g.Records[i])
		}
	}
	return to.Flush()
}
