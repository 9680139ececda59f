package translator

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// stateVersion counts the meanings the stored state has had.
const stateVersion = 1

// state is what a Translator stores. Points in time are left out, but for those
// of the Hello in flight: a restart begins to watch anew. Some JSON names are older than
// the names of their fields. With another name, an upgrade or the way back would lose the offset,
// and with it the tunnel.
type state struct {
	Version int `json:"version"`
	l2tp.Connection
	Offset         uint16  `json:"debt"`
	Runs           []run   `json:"runs,omitempty"`
	NextKnown      bool    `json:"high_known"`
	Next           uint16  `json:"high"`
	Exact          bool    `json:"synced"`
	AckedKnown     bool    `json:"acked_known"`
	Acked          uint16  `json:"acked"`
	HelloWire      uint16  `json:"limbo_first"`
	HelloCount     uint16  `json:"limbo_count"` // 1: a Hello is in flight. Earlier versions could store more
	HelloAcked     bool    `json:"limbo_adopted"`
	HelloFirst     int64   `json:"hello_first,omitempty"`  // Unix time in ms; 0: not stored
	HelloLast      int64   `json:"hello_last,omitempty"`   // the same
	HelloLatest    int64   `json:"hello_latest,omitempty"` // the same
	HelloBefore    int64   `json:"hello_before,omitempty"` // the same
	HelloClosed    int64   `json:"hello_closed,omitempty"` // the same
	HelloAsked     bool    `json:"hello_asked,omitempty"`  // a question has left behind all copies
	Overtaken      bool    `json:"overtaken,omitempty"`
	ZLBWaits       bool    `json:"zlb_waits,omitempty"`
	Returned       *uint16 `json:"returned,omitempty"`
	Claimed        *uint16 `json:"claimed,omitempty"`
	GivesUp        bool    `json:"gives_up,omitempty"`
	Counts         bool    `json:"counts,omitempty"`
	RTT            int64   `json:"rtt,omitempty"` // in ms
	Deaf           bool    `json:"deaf,omitempty"`
	Heard          *bool   `json:"heard,omitempty"` // earlier versions did not store it
	Closing        bool    `json:"closing"`
	ExpectedKnown  bool    `json:"expected_known"`
	Expects        uint16  `json:"confirmed"`
	Expected       uint16  `json:"expected"`
	HelloTo        uint16  `json:"hello_to"`
	AckedForXl2tpd bool    `json:"vouched"`
	Told           uint16  `json:"told"`
}

// MarshalJSON gives the state to be stored whenever a Verdict says so.
func (t *Translator) MarshalJSON() ([]byte, error) { return json.Marshal(t.state()) }

func (t *Translator) state() *state {
	out, in, h := &t.out, &t.in, &t.out.hello
	s := &state{
		Version: stateVersion, Connection: t.connection,
		Offset: out.folded, Runs: out.runs[:out.n],
		NextKnown: out.next.known, Next: out.next.number, Exact: out.exact || out.gapless, GivesUp: out.givesUp,
		AckedKnown: out.acked.known, Acked: out.acked.number,
		HelloWire: h.wire, HelloAcked: h.ackedForPeer(), Overtaken: h.overtaken,
		Counts: t.out.peer.counts, RTT: t.out.peer.rtt.Milliseconds(), Deaf: t.out.peer.deaf, Heard: &t.out.peer.heard, Closing: t.closing,
		ExpectedKnown: in.expects.known, Expects: in.expects.number, Expected: in.expected,
		HelloTo: in.helloTo, AckedForXl2tpd: in.told.known, Told: in.told.number,
	}
	if h.inFlight() {
		s.HelloCount = 1
		s.HelloLast, s.HelloLatest = h.last.UnixMilli(), h.latest.UnixMilli()
		s.HelloBefore = h.before.UnixMilli()
		s.ZLBWaits, s.HelloAsked = h.zlbWaits, out.elicited.After(h.before)
		if !h.first.IsZero() {
			s.HelloFirst = h.first.UnixMilli()
		}
		if !h.closed.IsZero() {
			s.HelloClosed = h.closed.UnixMilli()
		}
	}
	if out.returned.known {
		s.Returned = &out.returned.number
	}
	if out.claimed.known {
		s.Claimed = &out.claimed.number
	}
	return s
}

// Restore goes on from a stored state. The state may be older than the last packet that
// was passed, but not than the last Verdict.Save.
func Restore(b []byte, now time.Time) (*Translator, error) {
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("Hello guard state: %w", err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("Hello guard state: %w", err)
	}
	return s.restore(now), nil
}

func (s *state) restore(now time.Time) *Translator {
	t := &Translator{
		connection: s.Connection, closing: s.Closing,
		out: toPeer{next: seq{s.Next, s.NextKnown}, acked: seq{s.Acked, s.AckedKnown}, watched: now, givesUp: s.GivesUp,
			peer: peerTraits{counts: s.Counts, deaf: s.Deaf, rtt: time.Duration(s.RTT) * time.Millisecond}},
		in: toXl2tpd{restored: true, expects: seq{s.Expects, s.ExpectedKnown}, expected: s.Expected,
			helloTo: s.HelloTo, told: seq{s.Told, s.AckedForXl2tpd}},
	}
	if s.Returned != nil {
		t.out.returned = seq{*s.Returned, true}
	}
	if s.Claimed != nil {
		t.out.claimed = seq{*s.Claimed, true}
	}
	t.out.folded = s.Offset
	t.out.n = copy(t.out.runs[:], s.Runs)
	if s.Heard != nil {
		t.out.peer.heard = *s.Heard
	} else {
		t.out.peer.heard, t.out.peer.deaf = s.AckedKnown, t.out.offset() != 0
	}
	if s.HelloCount > 0 {
		t.out.hello = s.hello(&t.out.sequenceMap, now)
		t.out.oldest = seq{s.HelloWire, true}
		if s.HelloAsked { // an answer may still come
			t.out.elicited = now
		}
	}
	if t.out.hello.zlbWaits { // some peers do not repeat their message for a minute
		t.in.unacked, t.in.ackAt = seq{s.Expects - 1, true}, now
	}
	t.out.gapless = t.out.offset() > 0 || (s.Exact || t.out.certain(now)) && (t.out.hello.ackedForPeer() || t.Undecided())
	return t
}

// hello is the Hello in flight. An earlier version's further ones were on the wire to a peer that
// had left the first one unanswered.
func (s *state) hello(numbers *sequenceMap, now time.Time) helloInFlight {
	local := numbers.local(s.HelloWire+1) - 1
	for numbers.has(local) {
		local--
	}
	h := helloInFlight{
		state: unanswered, wire: s.HelloWire, local: local, overtaken: s.Overtaken || s.HelloCount > 1,
		last: ago(s.HelloLast, now), latest: ago(s.HelloLatest, now), before: ago(s.HelloBefore, now), restored: true,
		zlbWaits: s.ZLBWaits && s.ExpectedKnown,
	}
	if s.HelloAcked {
		h.state = ackedForThePeer
	}
	if s.HelloFirst != 0 {
		h.first = ago(s.HelloFirst, now)
	}
	if s.HelloClosed != 0 {
		h.closed = ago(s.HelloClosed, now)
	}
	h.plan()
	return h
}

// ago is a stored time. The clock may have been set since; 0 is now.
func ago(stored int64, now time.Time) time.Time {
	if stored == 0 {
		return now
	}
	passed := now.Sub(time.UnixMilli(stored))
	return now.Add(-min(max(passed, 0), 2*roundTrip))
}

// check looks for what no translator can have stored.
func (s *state) check() error {
	switch {
	case s.Version != stateVersion:
		return fmt.Errorf("version %d, want %d", s.Version, stateVersion)
	case !s.Local.Addr().Is4() || !s.Peer.Addr().Is4():
		return fmt.Errorf("addresses %v, %v: want IPv4", s.Local, s.Peer)
	case len(s.Runs) > maxRuns || s.HelloCount > reach || s.AckedForXl2tpd && !l2tp.Near(s.Told, s.Expects, 0, maxAckedForXl2tpd):
		return fmt.Errorf("%d runs, %d Hellos under way, %d acknowledged for xl2tpd: too many", len(s.Runs), s.HelloCount, s.Told-s.Expects)
	case !s.NextKnown && (s.Offset != 0 || len(s.Runs) > 0 || s.HelloCount > 0):
		return errors.New("Hellos of a tunnel whose numbers are not known")
	}
	end := s.Next - history - reach
	for _, r := range s.Runs {
		if r.Count == 0 || l2tp.Before(r.Start, end) || l2tp.Before(s.Next, r.Start+r.Count) {
			return fmt.Errorf("run %d+%d does not fit next number %d", r.Start, r.Count, s.Next)
		}
		end = r.Start + r.Count
	}
	return nil
}
