package xl2tpd

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Session is one L2TP session of kernel mode, from /proc/net/pppol2tp. That table
// lists all sessions of the network namespace, those of other programs too.
type Session struct {
	Ifname      string         // pppN
	Ifindex     int            // of that device when the table was read: another may get its name; 0: it has just gone
	Local       netip.AddrPort // outer address and UDP port, this end
	Peer        netip.AddrPort // the other end; invalid without CAP_NET_ADMIN
	LocalTunnel uint16         // the id that this end chose, seen in packets from the peer
	PeerTunnel  uint16         // the id that the peer chose

	LocalSession, PeerSession uint16
	LNS                       bool // this end is the LNS
}

// parseSessions reads /proc/net/pppol2tp (net/l2tp/l2tp_ppp.c,
// pppol2tp_seq_session_show). It leaves out entries without an interface (the
// tunnel's own entry, a session still being set up) and those that it can't read.
//
//	SESSION 'sess 7/1' 0A000001/1701 1F2E/3D4C -> 5B6A/7988 4 Y
//	 0/0/-/-/LAC 00000000 0
//	 5/5 9/350/0 9/330/0
//	 interface ppp0
func parseSessions(data []byte) []Session {
	var out []Session
	var s Session
	open := false
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		if rest, ok := strings.CutPrefix(line, "SESSION '"); ok {
			s, open = parseSession(rest)
			continue
		}
		if strings.HasPrefix(line, "TUNNEL ") {
			open = false
		}
		if !open {
			continue
		}
		if name, ok := strings.CutPrefix(line, "interface "); ok {
			// The kernel prints a missing name as "(null)".
			if s.Ifname = name; name != "" && len(name) < 16 && !strings.ContainsAny(name, " /(") {
				out = append(out, s)
			}
			open = false
		} else if f := strings.Fields(line); len(f) == 3 && strings.HasSuffix(f[0], "/LNS") {
			s.LNS = true
		}
	}
	slices.SortFunc(out, func(a, b Session) int {
		return cmp.Or(cmp.Compare(a.LocalTunnel, b.LocalTunnel), cmp.Compare(a.LocalSession, b.LocalSession),
			strings.Compare(a.Ifname, b.Ifname))
	})
	return out
}

func parseSession(line string) (s Session, ok bool) {
	_, line, ok = strings.Cut(line, "' ")
	f := strings.Fields(line)
	if !ok || len(f) < 4 || f[2] != "->" {
		return s, false
	}
	ip, port, ok1 := strings.Cut(f[0], "/")
	addr, err1 := strconv.ParseUint(ip, 16, 32)
	p, err2 := strconv.ParseUint(port, 10, 16)
	if !ok1 || err1 != nil || err2 != nil {
		return s, false
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(addr))
	s.Local = netip.AddrPortFrom(netip.AddrFrom4(b), uint16(p))
	var ok2, ok3 bool
	s.LocalTunnel, s.LocalSession, ok2 = idPair(f[1])
	s.PeerTunnel, s.PeerSession, ok3 = idPair(f[3])
	return s, ok2 && ok3
}

func idPair(s string) (tunnel, session uint16, ok bool) {
	a, b, ok := strings.Cut(s, "/")
	x, err1 := strconv.ParseUint(a, 16, 16)
	y, err2 := strconv.ParseUint(b, 16, 16)
	return uint16(x), uint16(y), ok && err1 == nil && err2 == nil
}
