package helloguard

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nftConn is a connection to nf_tables that stays open. The kernel lets go of one only after it has freed what was taken
// out of any table, and changes nothing meanwhile (net/netfilter/nf_tables_api.c, nft_rcv_nl_event). On a busy
// processor that takes seconds, in which packets wait for their verdicts. It is not safe for concurrent use.
type nftConn struct {
	conn     *nftables.Conn
	socket   *netlink.Conn     // of conn
	keyTypes map[string][]byte // of sets, by name
}

// do calls use with the connection.
func (n *nftConn) do(use func(*nftables.Conn) error) error {
	if n.conn == nil {
		c, err := nftables.New(nftables.AsLasting(),
			nftables.WithSockOptions(func(c *netlink.Conn) error {
				n.socket = c
				return c.SetWriteBuffer(batchSize)
			}))
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
	batch, err := n.batch(build)
	if err != nil {
		return err
	}
	return n.do(func(*nftables.Conn) error { return n.send(batch) })
}

// batch returns the messages that the library makes of what build adds, with the types of the sets' keys.
func (n *nftConn) batch(build func(*nftables.Conn) error) (all []netlink.Message, err error) {
	c, err := nftables.New(nftables.WithTestDial(func(messages []netlink.Message) ([]netlink.Message, error) {
		all = append(all, messages...)
		return nil, io.EOF
	}))
	if err != nil {
		return nil, fmt.Errorf("nf_tables: %w", err)
	}
	if err := build(c); err != nil {
		return nil, err
	}
	if err := flush(c); err != nil {
		return nil, err
	}
	for i, m := range all {
		m.Header = netlink.Header{Type: m.Header.Type, Flags: m.Header.Flags &^ netlink.Echo}
		if all[i], err = addKeyType(m, n.keyTypes); err != nil {
			return nil, fmt.Errorf("nf_tables: %w", err)
		}
	}
	return all, nil
}

// send sends a batch, and reads the kernel's answers. The kernel refuses each part of one on its own; the first word is
// enough.
func (n *nftConn) send(batch []netlink.Message) (first error) {
	if _, err := n.socket.SendMessages(batch); err != nil {
		return fmt.Errorf("nf_tables: %w", err)
	}
	for _, m := range batch {
		if m.Header.Flags&netlink.Acknowledge == 0 {
			continue
		}
		if _, err := n.socket.Receive(); err != nil && first == nil {
			if first = refusal(err); !answered(first) {
				break
			}
		}
	}
	return first
}

// answered reports whether the kernel gives one answer for each message in spite of an error. If an error may be that of the
// whole batch, there may be more answers, which the next use would take for its own, or no other (nfnetlink.c,
// nfnetlink_rcv_batch).
func answered(err error) bool {
	var refused unix.Errno
	return errors.As(err, &refused) && !slices.Contains(ofBatch, refused)
}

var ofBatch = []unix.Errno{unix.EPERM, unix.EACCES, unix.ENOBUFS, unix.ENOMEM, unix.EOPNOTSUPP, unix.ERESTART}

// close lets the kernel have the connection back. The next use opens another one.
func (n *nftConn) close() {
	if n.conn != nil {
		n.conn.CloseLasting()
		n.conn = nil
	}
}
