package helloguard

import (
	"container/list"
	"net/netip"
)

// lru is a table of bounded size. If it is full, or if one peer has its share, the entry
// that was put in first has to go.
type lru[K comparable, V any] struct {
	max    int
	share  int                // of one peer; 0: all of it
	peer   func(K) netip.Addr // needed for share
	gone   func(K, V)         // called with the entry that had to go; nil: nobody asks
	items  map[K]*item[K, V]
	order  *list.List                // of all items, the oldest first
	shares map[netip.Addr]*list.List // the same for each peer
}

type item[K comparable, V any] struct {
	key              K
	value            V
	inOrder, inShare *list.Element
}

func newLRU[K comparable, V any](max, share int, peer func(K) netip.Addr, gone func(K, V)) *lru[K, V] {
	return &lru[K, V]{
		max: max, share: share, peer: peer, gone: gone,
		items: map[K]*item[K, V]{}, order: list.New(), shares: map[netip.Addr]*list.List{},
	}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	if i := l.items[k]; i != nil {
		return i.value, true
	}
	return v, false
}

// put sets an entry, which is the newest then.
func (l *lru[K, V]) put(k K, v V) {
	l.delete(k)
	if l.share > 0 {
		if own := l.shares[l.peer(k)]; own != nil && own.Len() == l.share {
			l.evict(own.Front())
		}
	}
	if len(l.items) == l.max {
		l.evict(l.order.Front())
	}
	i := &item[K, V]{key: k, value: v}
	i.inOrder = l.order.PushBack(i)
	if l.share > 0 {
		own := l.shares[l.peer(k)]
		if own == nil {
			own = list.New()
			l.shares[l.peer(k)] = own
		}
		i.inShare = own.PushBack(i)
	}
	l.items[k] = i
}

// update changes an entry that is there, and not its age.
func (l *lru[K, V]) update(k K, v V) { l.items[k].value = v }

func (l *lru[K, V]) evict(e *list.Element) {
	i := e.Value.(*item[K, V])
	l.delete(i.key)
	if l.gone != nil {
		l.gone(i.key, i.value)
	}
}

func (l *lru[K, V]) delete(k K) {
	i := l.items[k]
	if i == nil {
		return
	}
	delete(l.items, k)
	l.order.Remove(i.inOrder)
	if l.share > 0 {
		own := l.shares[l.peer(k)]
		if own.Remove(i.inShare); own.Len() == 0 {
			delete(l.shares, l.peer(k))
		}
	}
}

// expire evicts the oldest entries for as long as old says so.
func (l *lru[K, V]) expire(old func(V) bool) {
	for e := l.order.Front(); e != nil && old(e.Value.(*item[K, V]).value); e = l.order.Front() {
		l.evict(e)
	}
}

// all calls do for every entry, the oldest first, until do returns false.
func (l *lru[K, V]) all(do func(K, V) bool) {
	for e := l.order.Front(); e != nil; e = e.Next() {
		if i := e.Value.(*item[K, V]); !do(i.key, i.value) {
			return
		}
	}
}
