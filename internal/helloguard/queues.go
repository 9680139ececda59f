package helloguard

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// QueueFile is the kernel's list of queues for user space, which only root may read.
const QueueFile = "/proc/net/netfilter/nfnetlink_queue"

// Queues are the numbers of the guard's queues.
var Queues = [...]uint16{plainQueue, securedQueue}

// A Queue is one of the guard's queues as the kernel lists it.
type Queue struct {
	PortID  string // of the netlink socket that listens to it
	Dropped uint64 // packets that did not fit into the queue or into that socket
}

// ReadQueues reads the guard's queues from QueueFile, or from a test's copy of it.
func ReadQueues(path string) (all []Queue, err error) {
	text, err := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		// queue_number peer_portid queue_total copy_mode copy_range queue_dropped user_dropped id_sequence use
		// (nfnetlink_queue.c, seq_show)
		f := strings.Fields(line)
		if len(f) < 7 {
			continue
		}
		number, wrong := strconv.ParseUint(f[0], 10, 16)
		if wrong != nil || !slices.Contains(Queues[:], uint16(number)) {
			continue
		}
		q := Queue{PortID: f[1]}
		for _, field := range f[5:7] {
			dropped, _ := strconv.ParseUint(field, 10, 64)
			q.Dropped += dropped
		}
		all = append(all, q)
	}
	return all, err
}
