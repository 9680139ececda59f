package infer

import (
	"slices"
	"time"
)

// What differs between two lists of messages, and how much of a difference that is.
const (
	costMissing = 1.0 // or one too many
	costNumbers = 1.0 // another Nr
	costTime    = 0.5
)

// difference is a place where two lists are not the same.
type difference struct {
	seen, replayed *message // nil: there is none
}

// at is from when on the two lists differ.
func (d difference) at() time.Time {
	if d.replayed == nil || d.seen != nil && d.seen.at.Before(d.replayed.at) {
		return d.seen.at
	}
	return d.replayed.at
}

// slack is by how much the times of a message may differ: at all, and without being a difference. Acknowledgements
// follow what they acknowledge, so they are more exact than what a timer sends.
func (x *exchange) slack(m message) (most, none time.Duration) {
	if m.ZLB() {
		return 300*time.Millisecond + 2*x.jitter, 10*time.Millisecond + 2*x.jitter
	}
	return 3 * time.Second, 250*time.Millisecond + 2*x.jitter
}

// match returns the cost of taking a message of the replay for one of the capture, false if they are not of one kind.
func (x *exchange) match(seen, replayed message) (float64, bool) {
	most, none := x.slack(seen)
	apart := replayed.at.Sub(seen.at).Abs()
	if seen.Type() != replayed.Type() || seen.Ns != replayed.Ns || apart > most {
		return 0, false
	}
	cost := 0.0
	if seen.Nr != replayed.Nr {
		cost += costNumbers
	}
	if apart > none {
		cost += costTime
	}
	return cost, true
}

// alignment is the cheapest way to take a replay for what was seen.
type alignment struct {
	cost  float64
	parts []*grid
}

// apart is so far apart that two packets are surely not the same one.
const apart = 4 * time.Second

// align compares a replay with the capture, part by part between times without packets.
func (x *exchange) align(replayed []message) *alignment {
	a := &alignment{}
	seen := x.out
	for len(seen) > 0 || len(replayed) > 0 {
		i, j := 0, 0
		var last time.Time
		for i < len(seen) || j < len(replayed) {
			fromSeen := j == len(replayed) || i < len(seen) && seen[i].at.Before(replayed[j].at)
			at := last
			if fromSeen {
				at = seen[i].at
			} else {
				at = replayed[j].at
			}
			if i+j > 0 && at.Sub(last) > apart {
				break
			}
			last = at
			if fromSeen {
				i++
			} else {
				j++
			}
		}
		g := newGrid(x, seen[:i], replayed[:j])
		a.parts = append(a.parts, g)
		a.cost += g.total()
		seen, replayed = seen[i:], replayed[j:]
	}
	return a
}

// differences lists them in order.
func (a *alignment) differences() (all []difference) {
	for _, g := range a.parts {
		all = append(all, g.differences()...)
	}
	return all
}

// agreed is until when there are no differences.
func (a *alignment) agreed(end time.Time) time.Time {
	for _, g := range a.parts {
		if g.total() > 0 {
			return g.differences()[0].at()
		}
	}
	return end
}

// grid has the costs of the best alignments of the first i messages seen and the first j of a replay.
type grid struct {
	x              *exchange
	seen, replayed []message
	cost           [][]float64
}

// tooLarge is when the comparison would take too long: such a replay is wrong anyway.
const tooLarge = 1 << 20

func newGrid(x *exchange, seen, replayed []message) *grid {
	g := &grid{x: x, seen: seen, replayed: replayed}
	if len(seen)*len(replayed) > tooLarge {
		return g
	}
	for i := range len(seen) + 1 {
		g.cost = append(g.cost, make([]float64, len(replayed)+1))
		for j := range g.cost[i] {
			g.cost[i][j], _ = g.best(i, j)
		}
	}
	return g
}

type move int

const (
	matched move = iota
	onlySeen
	onlyReplayed
)

// best is the cheapest way to (i, j).
func (g *grid) best(i, j int) (cost float64, how move) {
	switch {
	case i == 0 && j == 0:
		return 0, matched
	case i == 0:
		return g.cost[i][j-1] + costMissing, onlyReplayed
	case j == 0:
		return g.cost[i-1][j] + costMissing, onlySeen
	}
	cost, how = g.cost[i-1][j]+costMissing, onlySeen
	if c := g.cost[i][j-1] + costMissing; c < cost {
		cost, how = c, onlyReplayed
	}
	if c, ok := g.x.match(g.seen[i-1], g.replayed[j-1]); ok && g.cost[i-1][j-1]+c <= cost {
		cost, how = g.cost[i-1][j-1]+c, matched
	}
	return cost, how
}

func (g *grid) total() float64 {
	if g.cost == nil {
		return costMissing * float64(len(g.seen)+len(g.replayed))
	}
	return g.cost[len(g.seen)][len(g.replayed)]
}

func (g *grid) differences() (all []difference) {
	if g.cost == nil {
		return []difference{{seen: &g.seen[0]}}
	}
	for i, j := len(g.seen), len(g.replayed); i > 0 || j > 0; {
		switch _, how := g.best(i, j); how {
		case onlySeen:
			all = append(all, difference{seen: &g.seen[i-1]})
			i--
		case onlyReplayed:
			all = append(all, difference{replayed: &g.replayed[j-1]})
			j--
		default:
			if c, _ := g.x.match(g.seen[i-1], g.replayed[j-1]); c > 0 {
				all = append(all, difference{&g.seen[i-1], &g.replayed[j-1]})
			}
			i, j = i-1, j-1
		}
	}
	slices.Reverse(all)
	return all
}
