// Package measure takes measurements that the lab needs in the guest and on the host.
package measure

import "time"

// Busiest is how many there were in one second at most; at is in order.
func Busiest(at []time.Time) (most int) {
	first := 0
	for i := range at {
		for at[i].Sub(at[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
