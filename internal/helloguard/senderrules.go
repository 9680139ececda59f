package helloguard

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

// Two xl2tpds may have one port. A queued packet does not name the socket that has sent it. From
// Linux 5.13 on a rule can look at that socket's cgroup (nft_socket.c). So the kernel notes
// for each control message the cgroups that hold its sender's socket: that cgroup itself, and
// those above it.

const (
	maxSenders = 4096
	// senderTTL is for how long a sender is remembered; what is older than senderAge is not the
	// sender of the packet at hand.
	senderTTL = 5 * time.Second
	senderAge = 2 * time.Second

	// cgroupLevels is how deep a service's cgroup may lie. A user's lie deeper than the system's.
	cgroupLevels = 8
)

// noteSender are the rules for control messages that are sent: update @senders { ip saddr .
// ip daddr . both ports . tunnel id . socket cgroupv2 level N }, for each level.
func (r *rules) noteSender() (all [][]expr.Any) {
	if !r.notesSenders {
		return nil
	}
	for level := range uint32(cgroupLevels) {
		all = append(all, append(addressKey(),
			payload(header, 0, 4, unix.NFT_REG32_02),
			payload(header, udpHeaderLen+4, 2, unix.NFT_REG32_03),
			&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: level + 1, Register: unix.NFT_REG32_04},
			&expr.Dynset{SrcRegKey: unix.NFT_REG32_00, SetName: r.senders.Name, SetID: r.senders.ID, Operation: opUpdate},
		))
	}
	return all
}

// senderKey is an element of senders up to the cgroup.
func senderKey(f flow) []byte {
	return append(binary.BigEndian.AppendUint16(slices.Concat(f.src[:], f.dst[:], f.ports[:]), f.id), 0, 0)
}

// sentFrom returns the cgroups from which messages of a connection have just been sent.
func (r *rules) sentFrom(at address) (cgroups []uint32) {
	if !r.notesSenders {
		return nil
	}
	elements, err := r.elements(r.senders)
	if err != nil {
		return nil
	}
	key := senderKey(newFlow(at.local, at.peer, at.id))
	for _, e := range elements {
		if len(e.Key) == len(key)+8 && slices.Equal(e.Key[:len(key)], key) && senderTTL-e.Expires < senderAge {
			cgroups = append(cgroups, procfs.CgroupID(binary.NativeEndian.Uint64(e.Key[len(key):])))
		}
	}
	return cgroups
}
