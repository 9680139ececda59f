// Package due keeps in order who has something to do at which time, however many
// there are.
package due

import (
	"container/heap"
	"time"
)

// Queue has an entry for each who waits. The zero value is an empty one. It is
// not safe for concurrent use.
type Queue[W comparable] struct {
	waiting entries[W]
	places  map[W]*entry[W]
}

// Set makes at the time of who, in place of an earlier one; the zero time: none.
// It takes O(log n), as Take does.
func (q *Queue[W]) Set(who W, at time.Time) {
	e := q.places[who]
	switch {
	case at.IsZero() && e != nil:
		heap.Remove(&q.waiting, e.place)
		delete(q.places, who)
	case at.IsZero():
	case e != nil:
		e.at = at
		heap.Fix(&q.waiting, e.place)
	default:
		if q.places == nil {
			q.places = make(map[W]*entry[W])
		}
		e = &entry[W]{who: who, at: at}
		q.places[who] = e
		heap.Push(&q.waiting, e)
	}
}

// Next is the earliest time of all; zero: nobody waits.
func (q *Queue[W]) Next() time.Time {
	if len(q.waiting) == 0 {
		return time.Time{}
	}
	return q.waiting[0].at
}

// Take takes out all whose time has come, the earliest first.
func (q *Queue[W]) Take(now time.Time) []W {
	var all []W
	for len(q.waiting) > 0 && !q.waiting[0].at.After(now) {
		who := heap.Pop(&q.waiting).(*entry[W]).who
		delete(q.places, who)
		all = append(all, who)
	}
	return all
}

type entry[W any] struct {
	who   W
	at    time.Time
	place int // in the heap
}

// entries is a heap (container/heap).
type entries[W any] []*entry[W]

func (h entries[W]) Len() int           { return len(h) }
func (h entries[W]) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h entries[W]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *entries[W]) Push(x any) {
	e := x.(*entry[W])
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *entries[W]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
