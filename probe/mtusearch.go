package probe

import "slices"

const (
	// leastMTU is what each IPv4 link carries without fragments (RFC 791, section 3.2).
	leastMTU = 68

	// mostMTU is the longest IPv4 packet.
	mostMTU = 0xffff

	// believed is how many echo requests of one size must stay unanswered before that size counts as too long.
	believed = 3

	// confirmed is the same for the size that decides: the smallest that is too long.
	confirmed = 6

	// mostEchoes ends a search on a line that loses so much that no answer is certain.
	mostEchoes = 120
)

// mtuSearch decides which packet size to try next, until it knows the largest that passes. It sends nothing and reads
// no clock: the caller sends the echo requests, and reports what came of each.
//
// A reply proves that a size passes. Silence may be a loss, so it is believed only after some tries. A size that was
// believed to be too long counts as good again once a larger one has passed.
type mtuSearch struct {
	top        int   // the largest size that the link takes
	candidates []int // sizes to try before others
	low        int   // the largest that passed; 0: none yet
	failures   map[int]failure
	sent       int
}

// failure is what is known about a size that has not passed.
type failure struct {
	silences int
	told     bool // the kernel or a router has refused it
}

// newMTUSearch starts a search up to the size that the link takes. It begins with the smallest size of all, because
// without a reply to that one nothing else means anything. Then comes the largest.
func newMTUSearch(top int) *mtuSearch {
	return &mtuSearch{top: min(max(top, leastMTU), mostMTU), failures: map[int]failure{}}
}

// Suggest names a size that may be the largest that passes. A right one ends the search early, a wrong one costs little.
func (s *mtuSearch) Suggest(size int) {
	s.candidates = append(s.candidates, size, size+1)
	slices.Sort(s.candidates)
	s.candidates = slices.Compact(s.candidates)
}

// Next returns the size to try now; ok is false when the search is over.
func (s *mtuSearch) Next() (size int, ok bool) {
	high := s.high()
	switch {
	case s.sent >= mostEchoes, s.low == s.top:
		return 0, false
	case s.low == 0:
		return leastMTU, high != leastMTU
	case high > s.top:
		return s.top, true
	case high == s.low+1:
		f := s.failures[high]
		return high, !f.told && f.silences < confirmed
	}
	return s.between(high), true
}

// high returns the smallest size that is believed to be too long.
func (s *mtuSearch) high() int {
	high := s.top + 1
	for size, f := range s.failures {
		if size > s.low && (f.told || f.silences >= believed) {
			high = min(high, size)
		}
	}
	return high
}

// between halves the candidates between low and high, and without one the sizes between them.
func (s *mtuSearch) between(high int) int {
	var open []int
	for _, size := range s.candidates {
		if size > s.low && size < high {
			open = append(open, size)
		}
	}
	if open != nil {
		return open[len(open)/2]
	}
	return (s.low + high) / 2
}

// Passed reports a reply to an echo request of that size.
func (s *mtuSearch) Passed(size int) {
	s.sent++
	s.low = max(s.low, size)
}

// Silent reports an echo request of that size without a reply.
func (s *mtuSearch) Silent(size int) {
	s.sent++
	f := s.failures[size]
	f.silences++
	s.failures[size] = f
}

// TooBig reports that a size was refused. mtu is the size that would pass, as a router or the kernel says; routers may
// say nothing or something wrong, so it is only tried early.
func (s *mtuSearch) TooBig(size, mtu int) {
	s.sent++
	f := s.failures[size]
	f.told = true
	s.failures[size] = f
	if mtu >= leastMTU && mtu < size {
		s.Suggest(mtu)
	}
}

// Failed reports whether the largest size is believed to be too long.
func (s *mtuSearch) Failed() bool { return s.low > 0 && s.high() <= s.top }

// Result returns what the search has found so far.
func (s *mtuSearch) Result() PathMTU {
	_, more := s.Next()
	r := PathMTU{Claimed: s.top, Passes: s.low, Sent: s.sent, Certain: !more && s.sent < mostEchoes}
	for size, f := range s.failures {
		r.Told = r.Told || f.told && size > s.low
	}
	return r
}

// PathMTU is which packets that must not be fragmented pass in both directions. Sizes are in bytes, with the IPv4 header.
type PathMTU struct {
	Claimed int `json:"claimed"` // the MTU of the link by which they leave
	Passes  int `json:"passes"`  // the largest size that had a reply; 0: none had
	// Told: the kernel refuses larger ones that the link would take. A router has sent ICMP "fragmentation needed", or
	// the route has an MTU of its own.
	Told    bool `json:"told"`
	Sent    int  `json:"sent"`    // how many echo requests that took
	Certain bool `json:"certain"` // the search has come to its end
}

// Limited reports whether the path takes less than its link claims.
func (m PathMTU) Limited() bool { return m.Passes > 0 && m.Passes < m.Claimed }
