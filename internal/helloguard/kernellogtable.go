package helloguard

import (
	"errors"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const tableOwner = 2 // NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h

// addOwned adds a table that goes when the socket closes, whatever ends this process. Only this socket can change it: not
// even nft flush ruleset does. A kernel before Linux 5.12 does not know such tables. The library can't ask for one.
func addOwned(socket *netlink.Conn, t *nftables.Table) (known bool, err error) {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(t.Name + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binaryutil.BigEndian.PutUint32(tableOwner)},
	})
	if err != nil {
		return false, err
	}
	part := func(kind netlink.HeaderType, flags netlink.HeaderFlags, data ...byte) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: data}
	}
	_, err = socket.SendMessages([]netlink.Message{
		part(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
		part(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Acknowledge,
			append([]byte{byte(t.Family), 0, 0, 0}, attributes...)...),
		part(unix.NFNL_MSG_BATCH_END, 0, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
	})
	if err != nil {
		return false, err
	}
	_, err = socket.Receive()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}
