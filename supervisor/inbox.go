package supervisor

import (
	"reflect"
	"slices"
	"sync"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// inbox keeps events until the loop takes them, in their order. A snapshot replaces an earlier one of its kind, so
// that many snapshots in a row cost little.
type inbox struct {
	wake wake.Signal // there is something to take

	mu     sync.Mutex
	events []Event
}

// post adds an event. It never blocks.
func (in *inbox) post(ev Event) {
	in.mu.Lock()
	switch ev.(type) {
	case ppp.Snapshot, xl2tpd.Snapshot, vici.Snapshot, *config.Config:
		in.events = slices.DeleteFunc(in.events, func(old Event) bool {
			return reflect.TypeOf(old) == reflect.TypeOf(ev)
		})
	}
	in.events = append(in.events, ev)
	in.mu.Unlock()
	in.wake.Send()
}

func (in *inbox) take() []Event {
	in.mu.Lock()
	defer in.mu.Unlock()
	events := in.events
	in.events = nil
	return events
}
