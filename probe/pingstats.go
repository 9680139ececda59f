package probe

import (
	"math"
	"sort"
	"time"
)

// The buckets of round-trip times. The first ends at 1 µs, and each next one ends 1 % later. The last one ends after
// more than a minute, and also holds all longer times.
const (
	buckets = 1820
	growth  = 1.01
)

// Stats are the figures of a Ping. Their memory does not grow with the number of echo requests.
type Stats struct {
	Sent, Received int
	Min, Max       time.Duration // 0: no reply

	mean, squares float64 // of round-trip times, in ns; squares is the sum of squared distances from the mean
	counts        [buckets]uint32
}

// Lose counts an echo request without a reply.
func (s *Stats) Lose() { s.Sent++ }

// Reply counts an echo request with a reply.
func (s *Stats) Reply(rtt time.Duration) {
	s.Sent++
	s.Received++
	if s.Received == 1 {
		s.Min, s.Max = rtt, rtt
	}
	s.Min, s.Max = min(s.Min, rtt), max(s.Max, rtt)
	// Welford's method: B. P. Welford, Note on a method for calculating corrected sums of squares and products, 1962.
	off := float64(rtt) - s.mean
	s.mean += off / float64(s.Received)
	s.squares += off * (float64(rtt) - s.mean)
	s.counts[bucket(rtt)]++
}

// Lost returns how many echo requests had no reply, or could not be sent.
func (s *Stats) Lost() int { return s.Sent - s.Received }

// Loss returns the share of lost echo requests, from 0 to 1.
func (s *Stats) Loss() float64 {
	if s.Sent == 0 {
		return 0
	}
	return float64(s.Lost()) / float64(s.Sent)
}

// Avg returns the mean of the round-trip times; 0: no reply.
func (s *Stats) Avg() time.Duration { return time.Duration(math.Round(s.mean)) }

// MDev returns the standard deviation of the round-trip times, as ping(8) prints it; 0: no reply.
func (s *Stats) MDev() time.Duration {
	if s.Received == 0 {
		return 0
	}
	return time.Duration(math.Round(math.Sqrt(s.squares / float64(s.Received))))
}

// P99 returns a time that 99 % of the round trips did not exceed; 0: no reply. It is at most 1 % longer than the
// shortest measured time with that property.
func (s *Stats) P99() time.Duration {
	rank := (99*s.Received + 99) / 100
	for i, n := range s.counts {
		if rank -= int(n); n > 0 && rank <= 0 {
			return min(max(end(i), s.Min), s.Max)
		}
	}
	return 0
}

// bucket returns the number of the bucket of a round-trip time.
func bucket(rtt time.Duration) int {
	return sort.Search(buckets-1, func(i int) bool { return rtt <= end(i) })
}

// end returns the longest round-trip time of a bucket.
func end(i int) time.Duration {
	if i == buckets-1 {
		return math.MaxInt64
	}
	return time.Duration(float64(time.Microsecond) * math.Pow(growth, float64(i)))
}
