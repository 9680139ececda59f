package helloguard

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// nftConn is a connection to nf_tables that stays open. The kernel lets go of one only after it has freed what was taken
// out of any table (net/netfilter/nf_tables_api.c, nft_rcv_nl_event). On a busy processor that takes seconds, and
// packets wait for their verdicts meanwhile.
type nftConn struct{ conn *nftables.Conn }

// do calls some with the connection. After an error there may be answers that nobody has read, so the next call
// gets a new connection.
func (n *nftConn) do(some func(*nftables.Conn) error) error {
	if n.conn == nil {
		c, err := nftables.New(nftables.AsLasting(),
			nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetWriteBuffer(batchSize) }))
		if err != nil {
			return fmt.Errorf("nf_tables: %w", err)
		}
		n.conn = c
	}
	err := some(n.conn)
	if err != nil {
		go n.conn.CloseLasting()
		n.conn = nil
	}
	return err
}

func (n *nftConn) close() {
	if n.conn != nil {
		n.conn.CloseLasting()
		n.conn = nil
	}
}
