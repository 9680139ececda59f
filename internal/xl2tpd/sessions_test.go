package xl2tpd

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
)

const pppol2tp = `PPPoL2TP driver info, V2.0
TUNNEL name, user-data-ok session-count
 debug tx-pkts/bytes/errs rx-pkts/bytes/errs
  SESSION name, addr/port src-tid/sid dest-tid/sid state user-data-ok
   mtu/mru/rcvseq/sendseq/lns debug reorderto
   nr/ns tx-pkts/bytes/errs rx-pkts/bytes/errs

TUNNEL 'tunl 7966', Y 1
 00000000 9/350/0 9/330/0
  SESSION 'sess 7966/15692' C0000201/1701 1F1E/3D4C -> 5B6A/7988 1 Y
   0/0/-/-/LNS 00000000 0
   5/5 9/350/0 9/330/0
   interface ppp1

TUNNEL 'tunl 100', Y 2
 00000000 9/350/0 9/330/0
  SESSION 'sess 100/2' C6336401/1701 0064/0002 -> FFFF/0001 1 Y
   1500/1500/R/S/LAC 00000000 0
   5/5 9/350/0 9/330/0
   interface ppp0
  SESSION 'sess 100/0' C6336401/1701 0064/0000 -> FFFF/0000 1 Y
   0/0/-/-/LAC 00000000 0
   0/0 0/0/0 0/0/0
   interface (null)
  SESSION 'sess 100/1' C6336401/1701 0064/0001 -> FFFF/0002 0 N
   0/0/-/-/LAC 00000000 0
   5/5 9/350/0 9/330/0
`

func TestParseSessions(t *testing.T) {
	ap := netip.MustParseAddrPort
	want := []Session{
		{Ifname: "ppp0", Local: ap("198.51.100.1:1701"), LocalTunnel: 0x64, PeerTunnel: 0xffff, LocalSession: 2, PeerSession: 1},
		{Ifname: "ppp1", Local: ap("192.0.2.1:1701"), LocalTunnel: 0x1f1e, PeerTunnel: 0x5b6a, LocalSession: 0x3d4c, PeerSession: 0x7988, LNS: true},
	}
	if d := cmp.Diff(want, parseSessions([]byte(pppol2tp)), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Errorf("mismatch (-want +got):\n%s", d)
	}
	for _, in := range []string{
		"", "interface ppp0\n", "SESSION 'x\ninterface ppp0\n",
		"SESSION 'x' C6336401 0064/0002 -> FFFF/0001 1 Y\ninterface ppp0\n",
		"SESSION 'x' C6336401/1 10640/0002 -> FFFF/0001 1 Y\ninterface ppp0\n",
		"SESSION 'x' C6336401/1 0064/0002 -> FFFF 1 Y\ninterface ppp0\n",
		"SESSION 'x' C6336401/1 0064/0002 -> FFFF/0001 1 Y\ninterface \n",
		"SESSION 'x' C6336401/1 0064/0002 -> FFFF/0001 1 Y\ninterface ../../etc/x\n",
		"SESSION 'x' C6336401/1 0064/0002 -> FFFF/0001 1 Y\nTUNNEL 'y', Y 1\ninterface ppp0\n",
	} {
		if got := parseSessions([]byte(in)); got != nil {
			t.Errorf("%q: got %+v, want none", in, got)
		}
	}
}

func TestParseTunnel(t *testing.T) {
	encode := func(f func(e *netlink.AttributeEncoder)) []byte {
		e := netlink.NewAttributeEncoder()
		f(e)
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	full := encode(func(e *netlink.AttributeEncoder) {
		e.Uint32(l2tpAttrConnID, 7966)
		e.Bytes(l2tpAttrIPDaddr, []byte{192, 0, 2, 9})
		e.Uint16(l2tpAttrUDPDport, 1701)
	})
	id, peer, ok := parseTunnel(full)
	if !ok || id != 7966 || peer != netip.MustParseAddrPort("192.0.2.9:1701") {
		t.Error(id, peer, ok)
	}
	for _, b := range [][]byte{nil, full[:len(full)-12], full[:5], encode(func(e *netlink.AttributeEncoder) {
		e.Uint32(l2tpAttrConnID, 7966<<8)
		e.Bytes(l2tpAttrIPDaddr, []byte{192, 0, 2, 9})
		e.Uint16(l2tpAttrUDPDport, 1701)
	}), encode(func(e *netlink.AttributeEncoder) {
		e.Uint32(l2tpAttrConnID, 1)
		e.Bytes(l2tpAttrIPDaddr, make([]byte, 16))
		e.Uint16(l2tpAttrUDPDport, 1701)
	})} {
		if id, peer, ok := parseTunnel(b); ok {
			t.Errorf("%x: got %v %v, want none", b, id, peer)
		}
	}
}

func FuzzParseSessions(f *testing.F) {
	f.Add([]byte(pppol2tp))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range parseSessions(data) {
			if s.Ifname == "" || !s.Local.Addr().Is4() {
				t.Fatalf("got %+v, want an interface and an IPv4 address", s)
			}
		}
	})
}
