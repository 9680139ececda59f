package l2tp

import "net/netip"

// Connection names a control connection (RFC 2661 §3.1) from the side of this host. An id of 0 is not known yet: the
// first packet of that direction shows the id.
type Connection struct {
	Local   netip.AddrPort `json:"local"`
	Peer    netip.AddrPort `json:"peer"`
	LocalID uint16         `json:"local_id"` // in the header of inbound packets
	PeerID  uint16         `json:"peer_id"`  // in the header of outbound packets
}

// WithoutPeerID returns the connection as it is known from its beginning, so that it is always equal to itself: the
// peer's id comes later.
func (c Connection) WithoutPeerID() Connection {
	c.PeerID = 0
	return c
}
