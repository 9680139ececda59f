package helloguard

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nft(8) must be able to load what it lists: a host may load at its next boot what nft list ruleset has said. nft has no type
// for a tunnel id. But it can load a set that says which fields of a packet make its key: typeof ip saddr . ip daddr .
// @th,0,32 . @th,96,16. The kernel keeps that for nft as user data of the set. nft takes four fields at most. Measured with
// nft 1.0.6 and 1.1.3 (Debian 12 and 13); 0.9.8 (Debian 11) can't load a raw field (@th) in any key.

// field is one field of a key.
type field struct {
	kind     nftables.SetDatatype
	userData []byte
}

var (
	sourceAddress      = namedField(nftables.TypeIPAddr, 11)
	destinationAddress = namedField(nftables.TypeIPAddr, 12)
	bothAddresses      = rawField(nftables.TypeCGroupV2, networkHeader, 12) // nft 0.9.8 refuses the set, and would crash on its rules
	bothPorts          = rawField(nftables.TypeMark, transportHeader, 0)
	tunnelID           = rawField(nftables.TypeInetService, transportHeader, udpHeaderLen+4)
	hashed             = bothPorts // nft has no user data for a hash: a field of its size stands for it
)

// nft's numbers of a packet's headers (enum proto_bases), and of the kinds of its expressions (enum expr_types).
const (
	networkHeader   = 2
	transportHeader = 3

	payloadExpr = 7
	concatExpr  = 13
)

// namedField is a field of the IPv4 header that nft has a name for. Its number is nft's (enum ip_hdr_fields).
func namedField(kind nftables.SetDatatype, number uint32) field {
	const ip = 12 // PROTO_DESC_IP
	return field{kind, numbers(ip, number)}
}

// rawField is any field of a header, as nft's @th,96,16. For an older nft it is of this kind.
func rawField(kind nftables.SetDatatype, base, offset uint32) field {
	return field{kind, numbers(0, 0, base, 8*offset, 8*kind.Bytes)}
}

// numbers are attributes 0, 1, 2 and so on of a piece of user data.
func numbers(all ...uint32) (b []byte) {
	for i, n := range all {
		b = userdata.Append(b, userdata.Type(i), binary.NativeEndian.AppendUint32(nil, n))
	}
	return b
}

// keyType is the type of a key that these fields make, and the same for nft (concat_expr_build_udata of its expression.c).
func keyType(fields ...field) (nftables.SetDatatype, []byte) {
	var kinds []nftables.SetDatatype
	var all []byte
	for i, f := range fields {
		kinds = append(kinds, f.kind)
		all = userdata.Append(all, userdata.Type(i), userdata.Append(numbers(payloadExpr), 1, f.userData))
	}
	return nftables.MustConcatSetType(kinds...), userdata.Append(nil, userdata.NFTNL_UDATA_SET_KEY_TYPEOF,
		userdata.Append(numbers(concatExpr), 1, all))
}

const newSet = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSET

// addKeyType adds to the message that adds a set what nft has to know of its key. The library can't write that.
func addKeyType(m netlink.Message, keyTypes map[string][]byte) (netlink.Message, error) {
	if m.Header.Type != newSet {
		return m, nil
	}
	const header = 4 // nfgenmsg
	attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return m, err
	}
	for attributes.Next() {
		if attributes.Type() != unix.NFTA_SET_NAME || keyTypes[attributes.String()] == nil {
			continue
		}
		more, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_SET_USERDATA, Data: keyTypes[attributes.String()]}})
		if err != nil {
			return m, err
		}
		m.Data = slices.Concat(m.Data, more)
	}
	return m, attributes.Err()
}
