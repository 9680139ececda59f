package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
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
		if len(f) < 7 || f[0] != "1701" && f[0] != "1702" {
			continue
		}
		for _, field := range f[5:7] {
			dropped, _ := strconv.ParseUint(field, 10, 64)
			n += dropped
		}
	}
	return n
}

// sayDrops says how many messages the queues have dropped since there were so many. No trace has those: nobody got them.
func (o options) sayDrops(stderr io.Writer, path string, before uint64) {
	if now := queueDrops(path); now > before {
		fmt.Fprintf(stderr, "xl2tpd-keepalive: %s\n",
			o.lang.Sprintf("the queues of the Hello guard were full, so the kernel has dropped %d messages: neither end got them", now-before))
	}
}
