package ppp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// maxSingle is how many devices are asked for one by one. Beyond that, one request
	// lists all devices of the host. Thousands of them may be other programs'.
	maxSingle = 128

	sizeofIfStatsMsg = 12 // struct if_stats_msg of linux/if_link.h
)

// Count is how many packets a device has received since it was created.
type Count struct {
	Packets uint64
	Err     error
}

func (k *kernel) received(indexes []int) []Count {
	counts := make([]Count, len(indexes))
	var err error
	if len(indexes) > maxSingle {
		err = k.listed(indexes, counts)
	} else {
		err = k.tryTwice(func() error { return k.single(indexes, counts) })
	}
	for i, index := range indexes {
		c := &counts[i]
		if err != nil {
			c.Err = err
		}
		if c.Err != nil {
			c.Err = fmt.Errorf("packet counter of device %d: %w", index, c.Err)
		}
	}
	return counts
}

// listed takes the counters out of the list of all devices.
func (k *kernel) listed(indexes []int, counts []Count) error {
	all, err := k.statistics(0, netlink.Dump)
	if err != nil {
		return err
	}
	for i, index := range indexes {
		var ok bool
		if counts[i].Packets, ok = all[index]; !ok {
			counts[i].Err = unix.ENODEV
		}
	}
	return nil
}

// statistics returns receive counters by device index: of one device, or with
// netlink.Dump of all.
func (k *kernel) statistics(index int, flags netlink.HeaderFlags) (map[int]uint64, error) {
	req := make([]byte, sizeofIfStatsMsg)
	putStatsRequest(req, index)
	msgs, err := k.request(unix.RTM_GETSTATS, flags, req)
	if err != nil {
		return nil, err
	}
	all := make(map[int]uint64, len(msgs))
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWSTATS {
			continue
		}
		index, packets, err := decodeStatistics(m.Data)
		if err != nil {
			return nil, err
		}
		all[index] = packets
	}
	return all, nil
}

// putStatsRequest writes a struct if_stats_msg into b, which holds zeros.
func putStatsRequest(b []byte, index int) {
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], 1<<(unix.IFLA_STATS_LINK_64-1)) // IFLA_STATS_FILTER_BIT
}

// decodeStatistics reads an RTM_NEWSTATS message.
func decodeStatistics(b []byte) (index int, packets uint64, err error) {
	if len(b) < sizeofIfStatsMsg {
		return 0, 0, fmt.Errorf("statistics message of %d bytes", len(b))
	}
	index = int(binary.NativeEndian.Uint32(b[4:]))
	for attrs := b[sizeofIfStatsMsg:]; len(attrs) >= unix.SizeofRtAttr; {
		length := int(binary.NativeEndian.Uint16(attrs))
		if length < unix.SizeofRtAttr || length > len(attrs) {
			break
		}
		// struct rtnl_link_stats64 begins with rx_packets.
		if s := attrs[unix.SizeofRtAttr:length]; binary.NativeEndian.Uint16(attrs[2:]) == unix.IFLA_STATS_LINK_64 && len(s) >= 8 {
			return index, binary.NativeEndian.Uint64(s), nil
		}
		attrs = attrs[min(len(attrs), (length+3)&^3):]
	}
	return 0, 0, errors.New("statistics message without counters")
}
