package trace

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/message"
)

// queueFile is what the kernel tells root about its queues for user space: nfqnl_seq_show of nfnetlink_queue.c.
const queueFile = "/proc/net/netfilter/nfnetlink_queue"

// queueDrops returns how many messages the kernel has dropped because the Hello guard's queues were full. Whoever may not
// read that gets 0.
func queueDrops(path string) (n uint64) {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		// queue_number peer_portid queue_total copy_mode copy_range queue_dropped user_dropped id_sequence use
		f := strings.Fields(line)
		if len(f) < 7 {
			continue
		}
		if number, err := strconv.ParseUint(f[0], 10, 16); err != nil || !slices.Contains(helloguard.Queues[:], uint16(number)) {
			continue
		}
		for _, field := range f[5:7] {
			dropped, _ := strconv.ParseUint(field, 10, 64)
			n += dropped
		}
	}
	return n
}

// dropsSince returns a warning if the queues have dropped messages since there were so many; else nil. No trace has
// those: nobody got them.
func dropsSince(path string, before uint64) error {
	now := queueDrops(path)
	if now <= before {
		return nil
	}
	return message.Errorf("the queues of the Hello guard were full, so the kernel has dropped %d messages: neither end got them", now-before)
}
