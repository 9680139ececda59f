package bundle

import (
	"bytes"
	"net/netip"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/controltrace/pcapng"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/status"
)

// control adds the last control messages of the tunnels, for Wireshark. An anonymous bundle has other addresses and
// names in them too. Nothing can be replaced in the file itself, because it is no text.
func (c *collector) control() {
	switch {
	case c.RecordingsErr != nil:
		c.leave("control.pcapng: %v", c.RecordingsErr)
		return
	case len(c.Recordings) == 0:
		c.leave("control.pcapng: no control message was seen")
		return
	}
	name := status.NamesOf(c.Status.Tunnels).Of
	all := c.Recordings
	if a := c.anonymous; a != nil {
		named := map[l2tp.Connection]string{}
		all = nil
		for _, k := range c.Recordings {
			hidden := a.recording(k)
			named[hidden.Connection] = a.text(name(k.Connection))
			all = append(all, hidden)
		}
		name = func(t l2tp.Connection) string { return named[t] }
	}
	var file bytes.Buffer
	_ = pcapng.WriteRecordings(&file, "xl2tpd-keepalive "+c.Version, all, name) // a buffer takes all
	switch {
	case file.Len() > most:
		c.leave("control.pcapng, which is longer than 4 MiB")
		return
	case c.scrub.known.Replace(file.String()) != file.String():
		c.leave("control.pcapng, in which there is a secret of this host")
		return
	}
	c.Files = append(c.Files, File{Name: "control.pcapng", Text: file.String(), binary: true})
}

// recording returns a recording with other addresses, and without the words of the two ends: host names and messages.
func (a *anonymiser) recording(k controltrace.Recording) controltrace.Recording {
	of := func(at netip.AddrPort) netip.AddrPort {
		addr, err := netip.ParseAddr(a.ipv4(at.Addr().String()))
		if err != nil {
			addr = netip.IPv4Unspecified() // it was none before
		}
		return netip.AddrPortFrom(addr, at.Port())
	}
	k.Connection.Local, k.Connection.Peer = of(k.Connection.Local), of(k.Connection.Peer)
	records := make([]controltrace.Record, 0, len(k.Records))
	for _, r := range k.Records {
		r.Payload = bytes.Clone(r.Payload)
		l2tp.BlankWords(r.Payload)
		records = append(records, r)
	}
	k.Records = records
	return k
}
