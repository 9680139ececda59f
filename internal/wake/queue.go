package wake

import (
	"container/heap"
	"time"
)

// Queue holds a time for each key, however many there are. The zero value is an empty queue. It is not safe for
// concurrent use.
type Queue[K comparable] struct {
	waiting entries[K]
	places  map[K]*entry[K]
}

// Set replaces the time of who. The zero time removes who.
// It takes O(log n), as Take does.
func (q *Queue[K]) Set(who K, at time.Time) {
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
			q.places = make(map[K]*entry[K])
		}
		e = &entry[K]{who: who, at: at}
		q.places[who] = e
		heap.Push(&q.waiting, e)
	}
}

// Next returns the earliest time; zero: the queue is empty.
func (q *Queue[K]) Next() time.Time {
	if len(q.waiting) == 0 {
		return time.Time{}
	}
	return q.waiting[0].at
}

// Take removes and returns all keys with a time not after now, the earliest first.
func (q *Queue[K]) Take(now time.Time) []K {
	var all []K
	for len(q.waiting) > 0 && !q.waiting[0].at.After(now) {
		who := heap.Pop(&q.waiting).(*entry[K]).who
		delete(q.places, who)
		all = append(all, who)
	}
	return all
}

type entry[K any] struct {
	who   K
	at    time.Time
	place int // in the heap
}

// entries is a heap (container/heap).
type entries[K any] []*entry[K]

func (h entries[K]) Len() int           { return len(h) }
func (h entries[K]) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h entries[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *entries[K]) Push(x any) {
	e := x.(*entry[K])
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *entries[K]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
