package helloguard

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
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
// ip daddr . both ports . tunnel id . jhash socket cgroupv2 level N }, for each level. It is a hash because nft(8) lists a
// cgroup as a path, and reads such a list only while there is a cgroup of that path.
func (r *rules) noteSender() (all [][]expr.Any) {
	if !r.notesSenders {
		return nil
	}
	for level := range uint32(cgroupLevels) {
		all = append(all, []expr.Any{
			payload(expr.PayloadBaseNetworkHeader, 12, 8, unix.NFT_REG32_00),
			payload(header, 0, 4, unix.NFT_REG32_02),
			payload(header, udpHeaderLen+4, 2, unix.NFT_REG32_03),
			&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: level + 1, Register: unix.NFT_REG32_04},
			&expr.Hash{SourceRegister: unix.NFT_REG32_04, DestRegister: unix.NFT_REG32_04, Length: 4, Modulus: hashModulus, Seed: hashSeed},
			&expr.Dynset{SrcRegKey: unix.NFT_REG32_00, SetName: r.senders.Name, SetID: r.senders.ID, Operation: opUpdate},
		})
	}
	return all
}

const (
	hashModulus = 1<<32 - 1
	hashSeed    = 1 // the kernel takes 0 for a seed of its own
)

// cgroupHash is what the rules note of a cgroup (include/linux/jhash.h of Linux, jhash, and net/netfilter/nft_hash.c,
// nft_jhash_eval). The kernel knows cgroups by numbers of 64 bits, see procfs.CgroupID. The hash is of the first 32 as they
// lie in memory: on a big-endian machine it is of no use.
func cgroupHash(cgroup uint32) uint32 {
	const length, init = 4, 0xdeadbeef
	a, b, c := uint32(init+length+hashSeed), uint32(init+length+hashSeed), uint32(init+length+hashSeed)
	a += cgroup
	for _, step := range []struct {
		x, y *uint32
		by   int
	}{{&c, &b, 14}, {&a, &c, 11}, {&b, &a, 25}, {&c, &b, 16}, {&a, &c, 4}, {&b, &a, 14}, {&c, &b, 24}} {
		*step.x ^= *step.y
		*step.x -= bits.RotateLeft32(*step.y, step.by)
	}
	return uint32(uint64(c) * hashModulus >> 32)
}

// sentFrom returns whether messages of a connection have just been sent from a cgroup.
func (r *rules) sentFrom(at address) func(cgroup uint32) bool {
	sent := map[uint32]bool{}
	if r.notesSenders {
		elements, _ := r.elements(r.senders)
		key := newFlow(at.local, at.peer, at.id).key()
		for _, e := range elements {
			if len(e.Key) == len(key)+4 && slices.Equal(e.Key[:len(key)], key) && senderTTL-e.Expires < senderAge {
				sent[binary.NativeEndian.Uint32(e.Key[len(key):])] = true
			}
		}
	}
	return func(cgroup uint32) bool { return sent[cgroupHash(cgroup)] }
}
