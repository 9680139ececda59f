package helloguard

import (
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

// closing is a StopCCN or CDN with a Result Code.
func closing(in bool, kind l2tp.MessageType, ns, nr, code uint16, words string) []byte {
	m := l2tp.Message{Type: kind, Tunnel: 9, Ns: ns, Nr: nr}
	if in {
		m.Tunnel = 7
	}
	return explained(packet(in, m), code, words)
}

// explained is a packet with a Result Code more.
func explained(b []byte, code uint16, words string) []byte {
	return withAVP(b, 1, append([]byte{byte(code >> 8), byte(code), 0, 0}, words...))
}

func TestCloseReason(t *testing.T) {
	for _, tc := range []struct {
		byPeer      bool
		kind        l2tp.MessageType
		code        uint16
		words       string
		asked, owed time.Duration
		want        CloseReason
	}{
		{false, l2tp.TypeStopCCN, 1, "Timeout", 31 * time.Second, 0, CloseReason{Reason: "xl2tpd's Hello was unanswered for 31 s", Unanswered: true}},
		{false, l2tp.TypeStopCCN, 1, "Timeout", time.Second, 0, CloseReason{Reason: "the peer left xl2tpd's messages unanswered", Unanswered: true}},
		{false, l2tp.TypeStopCCN, 1, "Goodbye!", 31 * time.Second, 0, CloseReason{Reason: "hung up on this host", Operator: true}},
		{true, l2tp.TypeStopCCN, 1, "Goodbye!", 0, 0, CloseReason{ByPeer: true, Reason: `closed by the peer: request to clear "Goodbye!"`, Vague: true}},
		{true, l2tp.TypeStopCCN, 1, "", 40 * time.Second, 60 * time.Second, CloseReason{ByPeer: true, Reason: "the peer's keepalive: its Hello was unanswered for 60 s"}},
		{true, l2tp.TypeCDN, 1, "", 0, 0, CloseReason{ByPeer: true, Reason: "closed by the peer: loss of carrier", Vague: true}},
		{true, l2tp.TypeCDN, 99, "\x1b[2J" + strings.Repeat("x", 100), 0, 0,
			CloseReason{ByPeer: true, Reason: message.Text(`closed by the peer: result code 99 "\x1b[2J` + strings.Repeat("x", 56) + `"`), Vague: true}},
		{false, l2tp.TypeStopCCN, 0, "", 0, 0, CloseReason{Reason: "closed by xl2tpd", Vague: true}},
	} {
		b := closing(tc.byPeer, tc.kind, 0, 0, tc.code, tc.words)
		p, err := l2tp.ParsePacket(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := closeReason(p.Msg, p.Payload(), tc.byPeer, tc.asked, tc.owed); plain(got)[0] != tc.want {
			t.Errorf("got  %+v\nwant %+v", got, tc.want)
		}
	}
}

// plain returns reasons without the marks in their texts.
func plain(all ...CloseReason) []CloseReason {
	for i := range all {
		all[i].Reason = message.Text(all[i].Reason.String())
	}
	return all
}

// An end is reported once, with what led to it.
func TestEnds(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.Alive = false
	b.connect()
	b.now = b.now.Add(time.Hour) // nothing heard for long
	b.handles(false, ourHello(2), translator.Pass)
	for _, wait := range []time.Duration{1, 2, 4, 8} {
		b.now = b.now.Add(wait * time.Second)
		b.handles(false, ourHello(2), translator.Pass)
	}
	b.now = b.now.Add(16 * time.Second)
	stop := closing(false, l2tp.TypeStopCCN, 3, 1, 1, "Timeout")
	b.handlesRaw(false, slices.Clone(stop), translator.Pass)
	b.handlesRaw(false, stop, translator.Pass)
	if want := []CloseReason{{Reason: "xl2tpd's Hello was unanswered for 31 s", Unanswered: true, StopAcked: true}}; !slices.Equal(plain(b.ends...), want) {
		t.Errorf("%+v, want %+v", b.ends, want)
	}
	if all := b.table.list; len(all) != 1 || all[0].counts != (Counts{Passed: 5}) {
		t.Errorf("got %+v, want five Hellos passed", all[0].counts)
	}

	b = newFixture(t, t.TempDir())
	b.connect()
	b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
	b.now = b.now.Add(time.Minute)
	b.handlesRaw(true, closing(true, l2tp.TypeStopCCN, 2, 2, 1, ""), translator.Pass)
	if want := []CloseReason{{ByPeer: true, Reason: "the peer's keepalive: its Hello was unanswered for 60 s"}}; !slices.Equal(plain(b.ends...), want) {
		t.Errorf("%+v, want %+v", b.ends, want)
	}
}

// A call may end, and another one begin in the same tunnel: its end is reported too.
func TestEndsOfCalls(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handlesRaw(false, closing(false, l2tp.TypeCDN, 2, 1, 3, "pppd"), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: 3, Nr: 1}, translator.Pass)
	b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 4, 1, 1, "Goodbye!"), translator.Pass)
	want := []CloseReason{
		{Reason: "closed by xl2tpd: administrative reasons \"pppd\"", Vague: true, CallOnly: true},
		{Reason: "hung up on this host", Operator: true},
	}
	if !slices.Equal(plain(b.ends...), want) {
		t.Errorf("%+v, want %+v", b.ends, want)
	}

	// So is the tunnel's own after that of its call, once.
	b = newFixture(t, t.TempDir())
	b.connect()
	b.handlesRaw(false, closing(false, l2tp.TypeCDN, 2, 1, 3, "pppd"), translator.Pass)
	for range 2 {
		b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 3, 1, 1, "Goodbye!"), translator.Pass)
	}
	if !slices.Equal(plain(b.ends...), want) {
		t.Errorf("%+v, want %+v", b.ends, want)
	}
}

// Each time that xl2tpd asks for a call in a tunnel that stands is reported. The peer's own calls are not.
func TestCallsAreReported(t *testing.T) {
	icrq := func(byPeer bool, ns, nr uint16) l2tp.Message {
		to := map[bool]uint16{false: 9, true: 7}[byPeer]
		return l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: to, Ns: ns, Nr: nr}
	}
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handlesRaw(false, closing(false, l2tp.TypeCDN, 2, 1, 3, "pppd"), translator.Pass)
	for _, ns := range []uint16{3, 3, 4} {
		b.handles(false, icrq(false, ns, 1), translator.Pass)
	}
	b.handles(true, icrq(true, 1, 5), translator.Pass)
	b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 5, 2, 1, "Goodbye!"), translator.Pass)
	b.handles(false, icrq(false, 6, 2), translator.Pass)
	if len(b.calledIn) != 3 || b.calledIn[0].LocalID != 7 {
		t.Errorf("got %+v, want three calls in the tunnel 7", b.calledIn)
	}
}

// xl2tpd begins a call in a tunnel that it is closing, if it is told to dial: that is the same end.
func TestEndsOnce(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	stop := closing(false, l2tp.TypeStopCCN, 2, 1, 1, "Goodbye!")
	b.handlesRaw(false, slices.Clone(stop), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: 3, Nr: 1}, translator.Pass)
	b.handlesRaw(false, slices.Clone(stop), translator.Pass)
	if len(b.ends) != 1 {
		t.Errorf("reported %d times: %+v", len(b.ends), b.ends)
	}

	// So it is if the guard is restarted meanwhile: the supervisor may be a new one too.
	next := b.again()
	next.handlesRaw(false, stop, translator.Pass)
	if len(next.table.list) != 1 || !slices.Equal(next.ends, b.ends) {
		t.Errorf("%d tunnels, reported %+v", len(next.table.list), next.ends)
	}
}

// Nor is it reported again once another tunnel with that peer has been dialled.
func TestEndIsPast(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 2, 1, 1, "Goodbye!"), translator.Pass)
	b.closer.forgetReasons(there.Addr())
	next := b.again()
	if len(next.table.list) != 1 || len(next.ends) != 0 {
		t.Errorf("%d tunnels, reported %+v", len(next.table.list), next.ends)
	}
}

// An attempt that gets no tunnel is reported, once, and how it ended. Nobody has hung up then.
func TestFailedAttemptIsReported(t *testing.T) {
	refuses := explained(packet(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 0, Nr: 1}), 2, "no")
	stop := func(words string) []byte { return explained(assigning(false, l2tp.TypeStopCCN, 0, 7, 1, 0), 1, words) }
	known, unclear := owner{ownerKnown, watched}, owner{ownership: ownerUnclear}
	timeout := CloseReason{Reason: "the peer left xl2tpd's messages unanswered", Unanswered: true}
	acked := timeout
	acked.StopAcked = true
	no := CloseReason{ByPeer: true, Vague: true, Reason: `closed by the peer: general error "no"`}
	for name, tc := range map[string]struct {
		owner    owner
		unwanted bool // by keepalive.conf
		raw      []byte
		from     direction
		want     []CloseReason
	}{
		"the peer refuses":                   {known, false, refuses, inbound, []CloseReason{no}},
		"it refuses, whose is not known":     {unclear, false, refuses, inbound, []CloseReason{no}},
		"it refuses no xl2tpd":               {owner{}, false, refuses, inbound, nil},
		"nobody answers":                     {known, false, stop("Timeout"), outbound, []CloseReason{acked}},
		"nobody answers, it is unwanted":     {known, true, stop("Timeout"), outbound, []CloseReason{timeout}},
		"nobody answers, whose is not known": {unclear, false, stop("Timeout"), outbound, []CloseReason{timeout}},
		"somebody hangs up":                  {known, false, stop(hungUp), outbound, nil},
		"or may have":                        {unclear, false, stop(hungUp), outbound, nil},
	} {
		b := newFixture(t, t.TempDir())
		b.links.Wanted = !tc.unwanted
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		b.table.awaited.all(func(c l2tp.Connection, a awaited) bool {
			a.owner, a.dialReported = tc.owner, tc.owner == known
			b.table.awaited.update(c, a)
			return true
		})
		b.handle(tc.raw, tc.from, b.now)
		b.handle(tc.raw, tc.from, b.now.Add(time.Second)) // a copy says nothing new
		if !slices.Equal(plain(b.failed...), plain(tc.want...)) {
			t.Errorf("%s: reported %+v, want %+v", name, b.failed, tc.want)
		}
		for _, of := range b.failedOf {
			if of.LocalID != 7 || of.Owner != tc.owner.process {
				t.Errorf("%s: reported of %+v", name, of)
			}
		}
	}
}
