package trace

import (
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/message"
)

// queueDrops returns how many messages the kernel has dropped because the Hello guard's queues were full. Whoever may not
// read that gets 0.
func queueDrops(path string) (n uint64) {
	queues, _ := helloguard.ReadQueues(path)
	for _, q := range queues {
		n += q.Dropped
	}
	return n
}

// dropsSince returns a warning if the queues have dropped more messages than before; else nil. No trace shows those:
// nobody got them.
func dropsSince(path string, before uint64) error {
	now := queueDrops(path)
	if now <= before {
		return nil
	}
	return message.Errorf("the queues of the Hello guard were full, so the kernel has dropped %d messages: neither end got them", now-before)
}
