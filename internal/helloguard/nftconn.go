package helloguard

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nftConn is a connection to nf_tables that stays open. The kernel lets go of one only after it has freed what was taken
// out of any table, and changes nothing meanwhile (net/netfilter/nf_tables_api.c, nft_rcv_nl_event). On a busy
// processor that takes seconds, in which packets wait for their verdicts. It is not safe for concurrent use.
type nftConn struct{ conn *nftables.Conn }

// do calls use with the connection.
func (n *nftConn) do(use func(*nftables.Conn) error) error {
	if n.conn == nil {
		c, err := nftables.New(nftables.AsLasting(),
			nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetWriteBuffer(batchSize) }))
		if err != nil {
			return fmt.Errorf("nf_tables: %w", err)
		}
		n.conn = c
	}
	err := use(n.conn)
	if err != nil && !answered(err) {
		n.close()
	}
	return err
}

// change sends what build adds, in one transaction.
func (n *nftConn) change(build func(*nftables.Conn) error) error {
	return n.do(func(c *nftables.Conn) error {
		if err := build(c); err != nil {
			return err
		}
		return flush(c)
	})
}

// answered reports whether the kernel's answers have all been read in spite of an error. After some errors there may be
// more of them (nftables.Conn.Flush), which the next use would take for its own.
func answered(err error) bool {
	var refused unix.Errno
	return errors.As(err, &refused) && refused != unix.EPERM && refused != unix.EACCES && refused != unix.ENOBUFS
}

// close lets the kernel have the connection back. The next use opens another one.
func (n *nftConn) close() {
	if n.conn != nil {
		n.conn.CloseLasting()
		n.conn = nil
	}
}
