package supervisor

import (
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/wake"
)

// maxSlots is how many recovery steps may be under way at the same time. For each SA that recovery initiates, one of
// charon's 16 threads waits.
const maxSlots = 8

// agenda says which LACs are to be evaluated, and which of them get the slots for steps of recovery.
type agenda struct {
	evaluateAt wake.Queue[*lac] // when to evaluate LACs again, even if nothing happens
	marked     []*lac           // those to be evaluated in the step under way
	waiting    map[*lac]bool    // those that wait for a slot
	slotsTaken int              // of maxSlots
}

// mark makes sure that a LAC is evaluated in the step under way.
func (a *agenda) mark(l *lac) {
	if !l.marked {
		l.marked = true
		a.marked = append(a.marked, l)
	}
}

// take returns the LACs that are marked or due, in the order of their keys. So the same events always have the same
// outcome.
func (a *agenda) take(now time.Time) []*lac {
	for _, l := range a.evaluateAt.Take(now) {
		a.mark(l)
	}
	all := a.marked
	a.marked = nil
	slices.SortFunc(all, func(x, y *lac) int { return strings.Compare(x.key, y.key) })
	for _, l := range all {
		l.marked = false
	}
	return all
}

// set notes when to evaluate a LAC again, and whether it waits for a slot.
func (a *agenda) set(l *lac, at time.Time, waits bool) {
	a.evaluateAt.Set(l, at)
	if waits {
		a.waiting[l] = true
	} else {
		delete(a.waiting, l)
	}
}

// drop makes a LAC wait for nothing.
func (a *agenda) drop(l *lac) { a.set(l, time.Time{}, false) }

// nextWake returns when a LAC is due; zero: none is.
func (a *agenda) nextWake() time.Time { return a.evaluateAt.Next() }

// slotFree reports whether another step of recovery may begin.
func (a *agenda) slotFree() bool { return a.slotsTaken < maxSlots }

// nextWaiting returns the LAC that gets the next slot, or nil if none waits or no slot is free.
func (a *agenda) nextWaiting() (first *lac) {
	if !a.slotFree() {
		return nil
	}
	for l := range a.waiting {
		if first == nil || l.before(first) {
			first = l
		}
	}
	return first
}
