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
	// lists all devices of the host, and may list thousands of other programs.
	maxSingle = 8

	sizeofIfStatsMsg = 12 // struct if_stats_msg of linux/if_link.h
)

// Count is how many packets a device has received since it was created.
type Count struct {
	Packets uint64
	Err     error
}

func (k *kernel) received(indexes []int) []Count {
	counts := make([]Count, len(indexes))
	var all map[int]uint64
	var err error
	many := len(indexes) > maxSingle
	if many {
		all, err = k.statistics(0, netlink.Dump)
	}
	for i, index := range indexes {
		if !many {
			all, err = k.statistics(index, 0)
		}
		c := &counts[i]
		packets, ok := all[index]
		switch c.Packets = packets; {
		case err != nil:
			c.Err = fmt.Errorf("packet counter of device %d: %w", index, err)
		case !ok:
			c.Err = fmt.Errorf("packet counter of device %d: %w", index, unix.ENODEV)
		}
	}
	return counts
}

// statistics returns receive counters by device index: of one device, or with
// netlink.Dump of all.
func (k *kernel) statistics(index int, flags netlink.HeaderFlags) (map[int]uint64, error) {
	req := make([]byte, sizeofIfStatsMsg)
	binary.NativeEndian.PutUint32(req[4:], uint32(index))
	binary.NativeEndian.PutUint32(req[8:], 1<<(unix.IFLA_STATS_LINK_64-1)) // IFLA_STATS_FILTER_BIT
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

// decodeStatistics reads an RTM_NEWSTATS message.
func decodeStatistics(b []byte) (index int, packets uint64, err error) {
	if len(b) < sizeofIfStatsMsg {
		return 0, 0, fmt.Errorf("statistics message of %d bytes", len(b))
	}
	index = int(binary.NativeEndian.Uint32(b[4:]))
	attrs, err := netlink.NewAttributeDecoder(b[sizeofIfStatsMsg:])
	if err != nil {
		return 0, 0, err
	}
	for attrs.Next() {
		// struct rtnl_link_stats64 begins with rx_packets.
		if s := attrs.Bytes(); attrs.Type() == unix.IFLA_STATS_LINK_64 && len(s) >= 8 {
			return index, binary.NativeEndian.Uint64(s), nil
		}
	}
	return 0, 0, errors.Join(attrs.Err(), errors.New("statistics message without counters"))
}
