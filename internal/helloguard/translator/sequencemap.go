package translator

import "xl2tpd-keepalive/internal/l2tp"

// maxRuns bounds the memory of a sequenceMap. A run ends where a message went out
// that was not swallowed. Only runs after an unacknowledged message still
// matter, and xl2tpd gives such a message 31 s.
const maxRuns = 16

// run is a row of swallowed messages: start, start+1, … (count of them), in
// xl2tpd's own numbering.
type run struct {
	Start uint16 `json:"start"`
	Count uint16 `json:"count"`
}

// sequenceMap relates xl2tpd's numbering (local) to the one the peer sees (wire):
// a message's wire number is its local number less the swallowed before it.
type sequenceMap struct {
	folded uint16 // swallowed before the first run
	runs   [maxRuns]run
	n      int
}

// has reports whether local number ns was swallowed.
func (l *sequenceMap) has(ns uint16) bool {
	for _, r := range l.runs[:l.n] {
		if ns-r.Start < r.Count {
			return true
		}
	}
	return false
}

// wire returns the wire number of local number ns. For an ns from before the
// first run it may come out too low, never too high: the peer then sees a
// duplicate of something it already has.
func (l *sequenceMap) wire(ns uint16) uint16 {
	w := ns - l.folded
	for _, r := range l.runs[:l.n] {
		if !l2tp.Before(r.Start, ns) {
			break
		}
		w -= min(r.Count, ns-r.Start)
	}
	return w
}

// local returns the largest local number whose wire number is w: swallowed
// messages that directly follow are passed over.
func (l *sequenceMap) local(w uint16) uint16 {
	ns := w + l.folded
	for _, r := range l.runs[:l.n] {
		if l2tp.Before(ns, r.Start) {
			break
		}
		ns += r.Count
	}
	return ns
}

// add enters ns as swallowed. It must not be in the map, and every run that
// starts later than it must start right after it.
func (l *sequenceMap) add(ns uint16) {
	i := l.n
	for i > 0 && l2tp.Before(ns, l.runs[i-1].Start) {
		i--
	}
	joinsPrev := i > 0 && l.runs[i-1].Start+l.runs[i-1].Count == ns
	joinsNext := i < l.n && l.runs[i].Start == ns+1
	switch {
	case joinsPrev && joinsNext:
		l.runs[i-1].Count += 1 + l.runs[i].Count
		copy(l.runs[i:], l.runs[i+1:l.n])
		l.n--
	case joinsPrev:
		l.runs[i-1].Count++
	case joinsNext:
		l.runs[i].Start--
		l.runs[i].Count++
	default:
		l.insert(i, run{Start: ns, Count: 1})
	}
}

// forget folds what was swallowed before local number ns into one number. Runs
// must not grow old: numbers compare only within half their range.
func (l *sequenceMap) forget(ns uint16) {
	for l.n > 0 && l2tp.Before(l.runs[0].Start, ns) {
		r := &l.runs[0]
		k := min(r.Count, ns-r.Start)
		l.folded += k
		r.Start += k
		r.Count -= k
		if r.Count > 0 {
			return
		}
		l.dropFirst()
	}
}

// remove takes local number ns of the last run out again: it is on the wire after all.
func (l *sequenceMap) remove(ns uint16) {
	r := &l.runs[l.n-1]
	before, after := ns-r.Start, r.Start+r.Count-ns-1
	switch {
	case after == 0:
		r.Count--
	case before == 0:
		r.Start++
		r.Count--
	default:
		r.Count = before
		l.insert(l.n, run{Start: ns + 1, Count: after})
	}
	if l.runs[l.n-1].Count == 0 {
		l.n--
	}
}

// insert puts a run at index i. If there is no room, the first run is folded.
func (l *sequenceMap) insert(i int, r run) {
	if l.n == maxRuns {
		l.folded += l.runs[0].Count
		l.dropFirst()
		i = max(i-1, 0)
	}
	copy(l.runs[i+1:], l.runs[i:l.n])
	l.runs[i] = r
	l.n++
}

func (l *sequenceMap) dropFirst() {
	copy(l.runs[:], l.runs[1:l.n])
	l.n--
}

// lastStart reports whether local number ns is the first of the last run.
func (l *sequenceMap) lastStart(ns uint16) bool { return l.n > 0 && l.runs[l.n-1].Start == ns }
