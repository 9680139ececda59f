package xl2tpd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// From linux/l2tp.h.
const (
	l2tpCmdTunnelGet = 4

	l2tpAttrConnID   = 9
	l2tpAttrIPDaddr  = 25
	l2tpAttrUDPDport = 27
)

// kernelPeers asks the kernel for the far ends of its L2TP tunnels, by local
// tunnel id: /proc/net/pppol2tp shows only this end's address. It needs
// CAP_NET_ADMIN. A kernel without L2TP is no error.
func kernelPeers() (map[uint16]netip.AddrPort, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	defer c.Close()
	// The kernel answers in the call; this only bounds a bug.
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	family, err := c.GetFamily("l2tp")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("generic netlink family l2tp: %w", err)
	}
	msgs, err := c.Execute(genetlink.Message{
		Header: genetlink.Header{Command: l2tpCmdTunnelGet, Version: family.Version},
	}, family.ID, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("list of L2TP tunnels: %w", err)
	}
	peers := map[uint16]netip.AddrPort{}
	for _, m := range msgs {
		if id, peer, ok := parseTunnel(m.Data); ok {
			peers[id] = peer
		}
	}
	return peers, nil
}

// parseTunnel reads the attributes of one tunnel over IPv4; others are not
// xl2tpd's. Numbers are in host order, addresses in network order.
func parseTunnel(data []byte) (id uint16, peer netip.AddrPort, ok bool) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return 0, peer, false
	}
	var conn uint32
	var addr netip.Addr
	var port uint16
	for ad.Next() {
		switch ad.Type() {
		case l2tpAttrConnID:
			conn = ad.Uint32()
		case l2tpAttrIPDaddr:
			if b := ad.Bytes(); len(b) == 4 {
				addr, _ = netip.AddrFromSlice(b)
			}
		case l2tpAttrUDPDport:
			port = ad.Uint16()
		}
	}
	if ad.Err() != nil || conn == 0 || conn > 0xffff || !addr.Is4() || port == 0 {
		return 0, peer, false
	}
	return uint16(conn), netip.AddrPortFrom(addr, port), true
}
