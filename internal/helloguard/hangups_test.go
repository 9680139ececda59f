package helloguard

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// twoTunnels has two tunnels of one xl2tpd with one peer, 7 and 8.
func twoTunnels(t *testing.T) (*fixture, *Guard) {
	b := newFixture(t, t.TempDir())
	b.now = time.Now()
	for _, id := range []uint16{7, 8} {
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, id, 0, 0), translator.Pass)
		b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, id, id+10, 0, 1), translator.Pass)
		b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: id + 10, Ns: 1, Nr: 1}, translator.Pass)
	}
	g := &Guard{}
	g.setSession(&session{Guard: g, h: b.handler})
	return b, g
}

// goodbye is what xl2tpd says when it is made to hang up.
func (b *fixture) goodbye(peerID, own, ns uint16) {
	b.now = time.Now()
	b.handle(explained(assigning(false, l2tp.TypeStopCCN, peerID, own, ns, 1), 1, "Goodbye!"), outbound, b.now)
}

// operators says of each end whether it counts as an operator's.
func (b *fixture) operators() (all []bool) {
	for _, r := range b.ends {
		all = append(all, r.Operator)
	}
	return all
}

// What the service hangs up was no operator. Its request explains one end: another tunnel with that peer that ends too was
// hung up by an operator.
func TestHangUpsByTheService(t *testing.T) {
	either := Selector{Owner: watched, Peer: there.Addr()}
	one := Selector{Owner: watched, Peer: there.Addr(), LocalID: 7}
	goodbye := func(id uint16) func(*fixture, *Guard) {
		return func(b *fixture, _ *Guard) { b.goodbye(id+10, id, 2) }
	}
	wait := func(d time.Duration) func(*fixture, *Guard) {
		return func(*fixture, *Guard) { time.Sleep(d) }
	}
	note := func(which Selector) func(*fixture, *Guard) {
		return func(_ *fixture, g *Guard) { g.NoteHangUp(which) }
	}
	read := func(_ *fixture, g *Guard) { g.EndHangUp(1, true) }
	fails := func(_ *fixture, g *Guard) { g.EndHangUp(1, false) }
	for name, tc := range map[string]struct {
		happens []func(*fixture, *Guard)
		want    []bool
	}{
		"an operator":                         {[]func(*fixture, *Guard){goodbye(7)}, []bool{true}},
		"the service":                         {[]func(*fixture, *Guard){note(either), read, goodbye(7)}, []bool{false}},
		"the service, and copies":             {[]func(*fixture, *Guard){note(either), read, goodbye(7), goodbye(7)}, []bool{false}},
		"the service, that one":               {[]func(*fixture, *Guard){note(one), read, goodbye(7)}, []bool{false}},
		"an operator, the other one":          {[]func(*fixture, *Guard){note(one), read, goodbye(8), goodbye(7)}, []bool{true, false}},
		"the service, then an operator":       {[]func(*fixture, *Guard){note(either), read, goodbye(7), goodbye(8)}, []bool{false, true}},
		"the service twice":                   {[]func(*fixture, *Guard){note(either), note(either), goodbye(7), goodbye(8)}, []bool{false, false}},
		"the command is read late":            {[]func(*fixture, *Guard){note(either), wait(commandTime - 1), goodbye(7)}, []bool{false}},
		"the command was never read":          {[]func(*fixture, *Guard){note(either), wait(commandTime), goodbye(7)}, []bool{true}},
		"seen late":                           {[]func(*fixture, *Guard){note(either), read, wait(hangUpTime - 1), goodbye(7)}, []bool{false}},
		"it had nothing to hang up":           {[]func(*fixture, *Guard){note(either), read, wait(hangUpTime), goodbye(7)}, []bool{true}},
		"the command failed":                  {[]func(*fixture, *Guard){note(either), fails, goodbye(7)}, []bool{true}},
		"with another peer":                   {[]func(*fixture, *Guard){note(Selector{Owner: watched, Peer: here.Addr()}), goodbye(7)}, []bool{true}},
		"of another xl2tpd":                   {[]func(*fixture, *Guard){note(Selector{Owner: office, Peer: there.Addr()}), goodbye(7)}, []bool{true}},
		"an attempt is dropped, not a tunnel": {[]func(*fixture, *Guard){func(_ *fixture, g *Guard) { g.NoteDrop(either) }, goodbye(7)}, []bool{true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b, g := twoTunnels(t)
			for _, do := range tc.happens {
				do(b, g)
			}
			if got := b.operators(); !slices.Equal(got, tc.want) {
				t.Errorf("%s: an operator's %v, want %v", name, got, tc.want)
			}
			if g.Lapsed(watched, there.Addr(), time.Time{}) {
				t.Errorf("%s: lapsed, although somebody has hung up", name)
			}
		})
	}
}

// The service drops an attempt. That is no operator's hang-up either, and the peer may answer before xl2tpd drops the attempt.
func TestAttemptDropped(t *testing.T) {
	which := Selector{Owner: watched, Peer: there.Addr()}
	for name, tc := range map[string]struct {
		answered    bool   // before xl2tpd drops it
		first, then string // "dropped", "taken back", or nothing; then is once the peer has answered
		operator    bool
	}{
		"nobody drops it":                   {operator: true},
		"dropped":                           {first: "dropped"},
		"taken back":                        {first: "taken back", operator: true},
		"dropped and answered":              {answered: true, first: "dropped"},
		"answered, then taken back":         {answered: true, first: "dropped", then: "taken back", operator: true},
		"answered, then another is dropped": {answered: true, then: "dropped", operator: true},
	} {
		b := newFixture(t, t.TempDir())
		b.now = time.Now()
		g := &Guard{}
		g.setSession(&session{Guard: g, h: b.handler})
		do := func(what string) {
			switch what {
			case "dropped":
				g.NoteDrop(which)
			case "taken back":
				g.NoteDrop(which)
				g.EndHangUp(1, false)
			}
		}
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		do(tc.first)
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass) // a copy
		to := uint16(0)
		if tc.answered {
			b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
			b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
			to = 9
		}
		if got := g.Answered(watched, there.Addr(), b.now); got != tc.answered {
			t.Errorf("%s: answered %v", name, got)
		}
		do(tc.then)
		b.goodbye(to, 7, 2)
		if got := slices.Contains(b.operators(), true); got != tc.operator || tc.answered && len(b.ends) != 1 {
			t.Errorf("%s: got %+v, want one by an operator: %v", name, b.ends, tc.operator)
		}
	}
}

// However many hang-ups the service asks for, those of which nothing came are forgotten.
func TestRequestedHangUpsAreBounded(t *testing.T) {
	var r requestedHangUps
	now := time.Now()
	for i := range 1000 {
		r.add(watched, []l2tp.Connection{{Peer: there, LocalID: uint16(i)}}, now)
		now = now.Add(time.Second)
	}
	if most := int(commandTime / time.Second); len(r.all) > most {
		t.Errorf("got %d, want %d at most", len(r.all), most)
	}
	if r.add(watched, nil, now) != 0 {
		t.Error("nothing that could be hung up, and a hang-up is noted")
	}
}
