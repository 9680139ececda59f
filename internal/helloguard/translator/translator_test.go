package translator

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

var alive = Life{Tunnel: true, Daemon: true}

// synced returns a translator that has seen one message of each side
// acknowledged: xl2tpd uses 3 next and expects 2.
func synced(t testing.TB) *Translator {
	t.Helper()
	tr := New(Tunnel{hostAddr, peerAddr, xID, pID}, DefaultTiming(), epoch)
	tr.In(packet(false, typeOther, 1, 1, 3), epoch)
	tr.Out(packet(true, l2tp.TypeNone, 0, 3, 2), epoch, alive)
	if !tr.synced || !tr.ackSure || tr.high != 3 || tr.confirmed != 2 {
		t.Fatalf("not in step: %+v", tr)
	}
	return tr
}

// restarted returns what another life of the guard makes of tr's state.
func restarted(t *testing.T, tr *Translator) *Translator {
	t.Helper()
	state, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	tr, err = Restore(state, DefaultTiming(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func message(t *testing.T, b []byte) l2tp.Message {
	t.Helper()
	p, err := l2tp.ParsePacket(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return p.Msg
}

func TestSwallow(t *testing.T) {
	tr := synced(t)
	v := tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
	if v.Action != Drop || !v.Save || len(v.Inject) != 1 || v.Inject[0].To != ToLocal || v.Why != WhySwallowed {
		t.Fatalf("%+v", v)
	}
	m := message(t, v.Inject[0].Packet)
	if want := (l2tp.Message{Length: l2tp.HeaderLen, Tunnel: xID, Ns: 2, Nr: 4}); m != want {
		t.Errorf("ZLB %+v, want %+v", m, want)
	}
	if tr.Debt() != 1 {
		t.Errorf("debt %d", tr.Debt())
	}
	// The peer's next message, and then xl2tpd's.
	v = tr.In(packet(false, typeOther, 2, 2, 3), epoch)
	if m := message(t, v.Packet); m.Nr != 4 {
		t.Errorf("Nr %d, want 4", m.Nr)
	}
	v = tr.Out(packet(true, l2tp.TypeCDN, 9, 4, 3), epoch, alive)
	if m := message(t, v.Packet); m.Ns != 3 || m.Nr != 3 {
		t.Errorf("CDN %+v, want Ns 3 Nr 3", m)
	}
}

// Hellos are held in a row for as long as xl2tpd has numbers for them, 45 days, and longer;
// a restart on the way changes nothing. The peer has seen none of it.
func TestSwallowLong(t *testing.T) {
	tr := synced(t)
	ns := uint16(3)
	for i := range 70_000 {
		if i == 40_000 {
			tr = restarted(t, tr)
		}
		v := tr.Out(packet(true, l2tp.TypeHello, 0, ns, 2), epoch, alive)
		ns++
		if v.Action != Drop || v.Why != WhySwallowed || len(v.Inject) != 1 {
			t.Fatalf("Hello %d: %+v", i+1, v)
		}
		if m := message(t, v.Inject[0].Packet); m.Ns != 2 || m.Nr != ns {
			t.Fatalf("Hello %d: ZLB %+v, want Ns 2 Nr %d", i+1, m, ns)
		}
	}
	v := tr.Out(packet(true, typeOther, 1, ns, 2), epoch, alive)
	if m := message(t, v.Packet); m.Ns != 3 {
		t.Errorf("message with Ns %d, want 3", m.Ns)
	}
	v = tr.In(packet(false, l2tp.TypeNone, 0, 2, 4), epoch)
	if m := message(t, v.Packet); m.Nr != ns+1 {
		t.Errorf("Nr %d, want %d", m.Nr, ns+1)
	}
}

// A retransmitted Hello repeats an old Nr: the ZLB must not.
func TestSwallowStaleNr(t *testing.T) {
	tr := synced(t)
	hello := packet(true, l2tp.TypeHello, 0, 3, 2)
	tr.Out(bytes.Clone(hello), epoch, alive)
	tr.In(packet(false, typeOther, 2, 2, 3), epoch)
	tr.Out(packet(true, l2tp.TypeNone, 0, 4, 3), epoch, alive)
	v := tr.Out(hello, epoch, Life{})
	if v.Action != Drop || len(v.Inject) != 1 {
		t.Fatalf("%+v: once swallowed, always swallowed", v)
	}
	if m := message(t, v.Inject[0].Packet); m.Ns != 3 || m.Nr != 4 {
		t.Errorf("ZLB %+v, want Ns 3 Nr 4", m)
	}
}

// Nothing is acknowledged past a message that still has to arrive.
func TestSwallowBehindMessage(t *testing.T) {
	tr := synced(t)
	tr.Out(packet(true, typeOther, 1, 3, 2), epoch, alive)
	v := tr.Out(packet(true, l2tp.TypeHello, 0, 4, 2), epoch, alive)
	if v.Action != Drop || len(v.Inject) != 0 || v.Why != WhyHeld {
		t.Fatalf("%+v", v)
	}
	v = tr.In(packet(false, l2tp.TypeNone, 0, 2, 4), epoch)
	if m := message(t, v.Packet); m.Nr != 5 {
		t.Errorf("Nr %d, want 5: the Hello directly follows", m.Nr)
	}
}

// Without life a Hello passes and stays on the wire; when life is back it is
// acknowledged, and if the peer did not take it the number is used again.
func TestPassedHello(t *testing.T) {
	tr := synced(t)
	hello := packet(true, l2tp.TypeHello, 0, 3, 2)
	if v := tr.Out(hello, epoch, Life{}); v.Action != Pass || v.Why != WhyPassed {
		t.Fatalf("%+v", v)
	}
	v := tr.Out(hello, epoch.Add(time.Second), alive)
	if v.Action != Pass || len(v.Inject) != 1 || v.Why != WhyAdopted {
		t.Fatalf("%+v", v)
	}
	if m := message(t, v.Inject[0].Packet); m.Nr != 4 {
		t.Errorf("Nr %d, want 4", m.Nr)
	}
	v = tr.Out(packet(true, l2tp.TypeCDN, 9, 4, 2), epoch.Add(2*time.Second), alive)
	if v.Action != Pass || len(v.Inject) != 1 || v.Inject[0].To != ToPeer {
		t.Fatalf("%+v: want a copy of the Hello ahead", v)
	}
	tr = synced(t)
	tr.Out(hello, epoch, Life{})
	tr.Out(hello, epoch.Add(time.Second), alive)
	v = tr.In(packet(false, l2tp.TypeHello, 0, 2, 3), epoch.Add(10*time.Second))
	if v.Why != WhyReclaimed || tr.Debt() != 1 {
		t.Fatalf("%+v, debt %d", v, tr.Debt())
	}
}

var offered = Life{Tunnel: true, Daemon: true, Offer: true}

// An offered Hello that the peer answers leaves the numbers as they are.
func TestOffer(t *testing.T) {
	tr := synced(t)
	hello := packet(true, l2tp.TypeHello, 0, 3, 2)
	if v := tr.Out(hello, epoch, offered); v.Action != Pass || len(v.Inject) != 0 || v.Why != WhyOffered {
		t.Fatalf("%+v", v)
	}
	if v := tr.In(packet(false, l2tp.TypeNone, 0, 2, 4), epoch); v.Action != Pass || v.Packet != nil || tr.limbo.count != 0 {
		t.Fatalf("%+v", v)
	}
	if v := tr.Out(packet(true, l2tp.TypeNone, 0, 4, 2), epoch, offered); v.Action != Pass || v.Packet != nil || tr.Debt() != 0 {
		t.Fatalf("%+v, debt %d", v, tr.Debt())
	}
}

// Just after a start it is the same; but the copy seen may be xl2tpd's last.
func TestOfferAfterStart(t *testing.T) {
	for _, answered := range []bool{true, false} {
		tr := synced(t)
		tr.Missed(epoch)
		if v := tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, offered); v.Action != Pass || len(v.Inject) != 0 || v.Why != WhyOffered {
			t.Fatalf("%+v", v)
		}
		if answered {
			tr.In(packet(false, l2tp.TypeNone, 0, 2, 4), epoch)
		}
		at, ok := tr.Wake()
		if want := epoch.Add(DefaultTiming().Offer); !ok || !at.Equal(want) {
			t.Fatalf("woken at %v %v, want %v", at, ok, want)
		}
		if v := tr.Due(at, offered); (v.Why == WhyAdopted) == answered || (len(v.Inject) > 0) == answered {
			t.Errorf("answered %v: %+v", answered, v)
		}
	}
}

// While the first Hello is with the peer, nobody knows what number it expects next:
// the answer to what it sends in that moment waits. Later it is known that it
// answers Hellos, and nothing waits.
func TestCrossing(t *testing.T) {
	tr := synced(t)
	now := epoch
	for _, want := range []Action{Drop, Pass} {
		ns := tr.high
		if v := tr.Out(packet(true, l2tp.TypeHello, 0, ns, tr.confirmed), now, offered); v.Why != WhyOffered {
			t.Fatalf("%+v", v)
		}
		peer := tr.expected
		tr.In(packet(false, l2tp.TypeHello, 0, peer, ns), now)
		if v := tr.Out(packet(true, l2tp.TypeNone, 0, ns+1, peer+1), now, offered); v.Action != want {
			t.Errorf("%+v, want %d", v, want)
		}
		tr.In(packet(false, l2tp.TypeNone, 0, peer+1, ns+1), now)
		if at, ok := tr.Wake(); ok != (want == Drop) || ok && len(tr.Due(at, offered).Inject) != 1 {
			t.Errorf("%v %v: want the answer made up for", at, ok)
		}
		now = now.Add(time.Minute)
	}
}

// One that stays unanswered is held from its second copy on. The peer did not
// take it, and sees that nowhere: not in a ZLB, and not in what comes after.
func TestOfferInVain(t *testing.T) {
	tr := synced(t)
	hello := packet(true, l2tp.TypeHello, 0, 3, 2)
	tr.Out(hello, epoch, offered)
	now := epoch.Add(time.Second)
	if v := tr.Out(hello, now, offered); v.Action != Pass || len(v.Inject) != 1 || v.Why != WhyAdopted {
		t.Fatalf("%+v", v)
	}
	tr.In(packet(false, l2tp.TypeHello, 0, 2, 3), now)
	v := tr.Out(packet(true, l2tp.TypeNone, 0, 4, 3), now, offered)
	if m := message(t, v.Packet); m.Ns != 3 {
		t.Errorf("ZLB with Ns %d, want 3", m.Ns)
	}
	// The peer asks again: it may have taken the Hello since.
	now = now.Add(time.Second)
	tr.In(packet(false, l2tp.TypeHello, 0, 2, 3), now)
	if v := tr.Out(packet(true, l2tp.TypeNone, 0, 4, 3), now, offered); v.Action != Pass || v.Packet != nil {
		t.Errorf("%+v: want the ZLB with the number behind the Hello", v)
	}
	now = now.Add(10 * time.Second)
	if v := tr.In(packet(false, l2tp.TypeHello, 0, 3, 3), now); v.Why != WhyReclaimed || tr.Debt() != 1 {
		t.Fatalf("%+v, debt %d", v, tr.Debt())
	}
	if v := tr.Out(packet(true, l2tp.TypeHello, 0, 4, 4), now, offered); v.Action != Drop || v.Why != WhySwallowed {
		t.Errorf("%+v: want the next one held at once", v)
	}
}

// A StopCCN reaches a peer that has not said whether it took a Hello under the
// number it expects, whichever that is.
func TestStopBehindHello(t *testing.T) {
	tr := synced(t)
	hello := packet(true, l2tp.TypeHello, 0, 3, 2)
	tr.Out(hello, epoch, offered)
	tr.Out(hello, epoch.Add(time.Second), offered)
	v := tr.Out(packet(true, l2tp.TypeStopCCN, 0, 4, 2), epoch.Add(2*time.Second), offered)
	if v.Action != Pass || len(v.Inject) != 1 || v.Inject[0].To != ToPeer {
		t.Fatalf("%+v", v)
	}
	if m := message(t, v.Inject[0].Packet); m.Type != l2tp.TypeStopCCN || m.Ns != 3 {
		t.Errorf("ahead of StopCCN 4: %+v, want StopCCN 3", m)
	}
}

// The peer's Hello is acknowledged for a living xl2tpd only, for a Hello only that
// no other message comes before, and xl2tpd gets it again.
func TestVouch(t *testing.T) {
	late := epoch.Add(DefaultTiming().Answer)
	for _, tc := range []struct {
		name  string
		types []l2tp.MessageType
		life  Life
		want  int
	}{
		{"living", []l2tp.MessageType{l2tp.TypeHello}, alive, 1},
		{"dead xl2tpd", []l2tp.MessageType{l2tp.TypeHello}, Life{Tunnel: true}, 0},
		{"no sign of life", []l2tp.MessageType{l2tp.TypeHello}, Life{Daemon: true}, 0},
		{"no Hello", []l2tp.MessageType{typeOther}, alive, 0},
		{"behind another message", []l2tp.MessageType{typeOther, l2tp.TypeHello}, alive, 0},
	} {
		tr := synced(t)
		for i, typ := range tc.types {
			tr.In(packet(false, typ, 0, 2+uint16(i), 3), epoch)
		}
		if v := tr.Due(late, tc.life); len(v.Inject) != tc.want {
			t.Errorf("%s: %+v", tc.name, v)
		} else if tc.want == 1 {
			if m := message(t, v.Inject[0].Packet); m != (l2tp.Message{Length: l2tp.HeaderLen, Tunnel: pID, Ns: 3, Nr: 3}) {
				t.Errorf("%s: %+v", tc.name, m)
			}
			// xl2tpd, late, has not seen it.
			v = tr.Out(packet(true, typeOther, 0, 3, 2), late, alive)
			if m := message(t, v.Packet); m.Nr != 3 {
				t.Errorf("Nr %d goes back", m.Nr)
			}
			if len(v.Inject) != 1 || v.Inject[0].To != ToLocal {
				t.Fatalf("%+v: want the Hello for xl2tpd", v)
			}
			if m := message(t, v.Inject[0].Packet); m.Type != l2tp.TypeHello || m.Ns != 2 {
				t.Errorf("%+v", m)
			}
		}
	}
}

// A ZLB with an odd Ns gets the one that xl2tpd looks for.
func TestOddZLB(t *testing.T) {
	tr := synced(t)
	tr.Out(packet(true, typeOther, 1, 3, 2), epoch, alive)
	v := tr.In(packet(false, l2tp.TypeNone, 0, 0, 4), epoch)
	if m := message(t, v.Packet); m.Ns != 2 || m.Nr != 4 {
		t.Errorf("%+v", m)
	}
}

// After a time in which packets went past, a Hello may have been seen before. It
// is acknowledged at once only if the peer has all that came before it. A restart is
// such a time, if the numbers agree.
func TestMissed(t *testing.T) {
	for name, missed := range map[string]func(*Translator) *Translator{
		"missed":    func(tr *Translator) *Translator { tr.Missed(epoch); return tr },
		"restarted": func(tr *Translator) *Translator { return restarted(t, tr) },
	} {
		tr := missed(synced(t))
		v := tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
		if v.Action != Pass || len(v.Inject) != 1+maxMissed || v.Why != WhyAdopted {
			t.Fatalf("%s: %+v", name, v)
		}

		tr = missed(synced(t))
		v = tr.Out(packet(true, l2tp.TypeHello, 0, 4, 2), epoch, alive) // what was number 3?
		if v.Action != Pass || len(v.Inject) != 0 || v.Why != WhyUncertain {
			t.Fatalf("%s: %+v", name, v)
		}
		at, ok := tr.Wake()
		if want := epoch.Add(DefaultTiming().Quiet); !ok || !at.Equal(want) {
			t.Fatalf("%s: woken at %v %v, want %v", name, at, ok, want)
		}
		v = tr.Due(at, alive)
		if len(v.Inject) != 1+maxMissed+1 || v.Inject[1+maxMissed].To != ToPeer || v.Why != WhyAdopted {
			t.Fatalf("%s: %+v", name, v)
		}
	}
}

// What xl2tpd sent before the watch began comes again in any order. None of it is
// acknowledged for a peer that is silent, and a Hello waits behind it.
func TestSilentPeer(t *testing.T) {
	for _, order := range [][]uint16{{3, 4}, {4, 3}} {
		tr := New(Tunnel{hostAddr, peerAddr, xID, pID}, DefaultTiming(), epoch)
		for _, ns := range order {
			tr.Out(packet(true, typeOther, ns, ns, 2), epoch, alive)
		}
		now := epoch.Add(DefaultTiming().Quiet)
		if v := tr.Out(packet(true, l2tp.TypeHello, 0, 5, 2), now, alive); v.Action != Drop || v.Why != WhyHeld {
			t.Fatalf("%v: %+v", order, v)
		}
		for _, ns := range order {
			if v := tr.Out(packet(true, typeOther, ns, ns, 2), now, alive); v.Action != Pass || len(v.Inject) != 0 {
				t.Errorf("%v: %+v for message %d", order, v, ns)
			}
		}
	}
}

// While the guard was down a Hello was lost, so its number is free; the message
// behind it waits for it. Only StopCCN cannot: xl2tpd has forgotten the rest.
func TestLostWhileDown(t *testing.T) {
	for _, typ := range []l2tp.MessageType{typeOther, l2tp.TypeStopCCN} {
		tr := synced(t)
		tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
		tr = restarted(t, tr)
		v := tr.Out(packet(true, l2tp.TypeNone, 0, 5, 2), epoch, alive)
		if m := message(t, v.Packet); m.Ns != 3 {
			t.Errorf("ZLB with Ns %d, want 3", m.Ns)
		}
		v = tr.Out(packet(true, typ, 0, 5, 2), epoch, alive)
		if typ == l2tp.TypeStopCCN {
			if m := message(t, v.Packet); m.Ns != 3 {
				t.Errorf("StopCCN with Ns %d, want 3", m.Ns)
			}
			continue
		}
		if v.Action != Drop || v.Why != WhyEarly {
			t.Errorf("%+v: want it held back", v)
		}
		if v = tr.Out(packet(true, l2tp.TypeHello, 0, 4, 2), epoch, alive); v.Action != Drop || v.Why != WhySwallowed {
			t.Errorf("%+v: want the Hello swallowed", v)
		}
		v = tr.Out(packet(true, typ, 0, 5, 2), epoch, alive)
		if m := message(t, v.Packet); m.Ns != 3 {
			t.Errorf("message with Ns %d, want 3", m.Ns)
		}
	}
}

// If the rules were away since a restart, a number that was not seen is taken to be on the
// wire all the same.
func TestMissedSinceRestart(t *testing.T) {
	for _, typ := range []l2tp.MessageType{l2tp.TypeNone, l2tp.TypeHello, typeOther, l2tp.TypeStopCCN} {
		tr := synced(t)
		tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
		tr = restarted(t, tr)
		tr.Missed(epoch)
		v := tr.Out(packet(true, typ, 0, 5, 2), epoch, alive) // what was number 4?
		if v.Action != Rewrite {
			t.Errorf("type %d: %+v", typ, v)
		} else if m := message(t, v.Packet); m.Ns != 4 {
			t.Errorf("type %d with Ns %d, want 4", typ, m.Ns)
		}
	}
}

// However many messages went past us, what is stored can be restored: old runs are
// folded into the debt in time.
func TestMissedMany(t *testing.T) {
	tr := synced(t)
	tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
	tr.Missed(epoch)
	for nr := uint16(1000); nr < 20000; nr += 1000 {
		tr.In(packet(false, l2tp.TypeNone, 0, 2, nr), epoch)
		state, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(state, DefaultTiming(), epoch); err != nil {
			t.Fatalf("after Nr %d: %v", nr, err)
		}
	}
	if tr.Debt() != 1 || tr.acked != 19000 {
		t.Errorf("debt %d, acknowledged %d", tr.Debt(), tr.acked)
	}
}

func TestForeign(t *testing.T) {
	tr := synced(t)
	for name, b := range map[string][]byte{
		"other tunnel": l2tp.AppendPacket(nil, hostAddr, peerAddr, l2tp.Message{Tunnel: pID + 1, Ns: 3, Nr: 2, Type: l2tp.TypeHello}),
		"no tunnel":    l2tp.AppendPacket(nil, hostAddr, peerAddr, l2tp.Message{Ns: 3, Nr: 2, Type: l2tp.TypeHello}),
		"other way":    packet(false, l2tp.TypeHello, 0, 2, 3),
	} {
		if v := tr.Out(b, epoch, alive); v.Action != Pass || v.Why != ErrForeign {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := tr.Out(packet(true, l2tp.TypeHello, 0, 9000, 2), epoch, alive); v.Action != Pass || v.Why != ErrReach {
		t.Errorf("far: %+v", v)
	}
	// Beyond what xl2tpd has sent: passed on as meant, nothing learnt.
	if v := tr.In(packet(false, typeOther, 0, 2, 9), epoch); v.Action != Pass || v.Why != ErrReach {
		t.Errorf("Nr: %+v", v)
	}
	if tr.Tunnel() != (Tunnel{hostAddr, peerAddr, xID, pID}) {
		t.Errorf("%+v", tr.Tunnel())
	}
}

func TestRestoreErrors(t *testing.T) {
	tr := synced(t)
	tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
	good, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Restore(good, DefaultTiming(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(back); !bytes.Equal(again, good) {
		t.Errorf("%s\nwas %s", again, good)
	}
	for _, tc := range []struct{ old, new, want string }{
		{`{`, ``, "hello state: "},
		{`"version":1`, `"version":2`, "version 2, want 1"},
		{`192.0.2.1`, `[2001:db8::1]`, "want IPv4"},
		{`"limbo_count":0`, `"limbo_count":999`, "too many"},
		{`"start":3`, `"start":30`, "does not fit"},
	} {
		_, err := Restore([]byte(strings.Replace(string(good), tc.old, tc.new, 1)), DefaultTiming(), epoch)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.new, err, tc.want)
		}
	}
}

func TestParseErrorsPass(t *testing.T) {
	tr := synced(t)
	b := packet(true, l2tp.TypeHello, 0, 3, 2)
	b[6] = 0x20
	for _, v := range []*Verdict{tr.Out(b, epoch, alive), tr.In(b, epoch)} {
		if v.Action != Pass || !errors.Is(v.Why, l2tp.ErrFragment) || len(v.Inject) != 0 || v.Save {
			t.Errorf("%+v", v)
		}
	}
}

// The number of a Hello is used again only if nothing else was sent behind it:
// the peer may have kept that.
func TestNoReuseBehindAnother(t *testing.T) {
	tr := synced(t)
	tr.Missed(epoch)
	tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)
	tr.Out(packet(true, l2tp.TypeHello, 0, 4, 2), epoch, alive)
	if tr.limbo.count != 2 || !tr.limbo.adopted {
		t.Fatalf("%+v", tr.limbo)
	}
	later := epoch.Add(DefaultTiming().Lifetime)
	if v := tr.In(packet(false, l2tp.TypeHello, 0, 2, 3), later); v.Why == WhyReclaimed || tr.Debt() != 0 {
		t.Errorf("%+v, debt %d", v, tr.Debt())
	}
}

// An xl2tpd that answers nothing any more is not vouched for without end.
func TestVouchBound(t *testing.T) {
	tr := synced(t)
	now, vouched := epoch, 0
	for i := range uint16(2 * maxVouched) {
		tr.In(packet(false, l2tp.TypeHello, 0, 2+i, 3), now)
		now = now.Add(DefaultTiming().Answer)
		if v := tr.Due(now, alive); v.Why == WhyVouched {
			vouched++
		}
	}
	if vouched != maxVouched {
		t.Errorf("vouched for %d Hellos in a row, want %d", vouched, maxVouched)
	}
}

// A peer is asked with a message that it has. Which one that is, is not certain before
// it has been heard: not from what was stored, and not from xl2tpd's silence.
func TestAsk(t *testing.T) {
	silent := New(Tunnel{hostAddr, peerAddr, xID, pID}, DefaultTiming(), epoch)
	silent.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch.Add(DefaultTiming().Quiet), alive)
	for name, tr := range map[string]*Translator{"restarted": restarted(t, synced(t)), "silent": silent} {
		if v := tr.Ask(alive); !tr.ackKnown || v.Action != Drop || len(v.Inject) != 0 {
			t.Errorf("%s: %+v", name, v)
		}
		tr.In(packet(false, l2tp.TypeNone, 0, 2, 3), epoch)
		v := tr.Ask(alive)
		if len(v.Inject) != 1 || v.Inject[0].To != ToPeer {
			t.Fatalf("%s, heard: %+v", name, v)
		}
		want := l2tp.Message{Length: l2tp.HelloLen, Tunnel: pID, Ns: 2, Nr: 2, Type: l2tp.TypeHello}
		if m := message(t, v.Inject[0].Packet); m != want {
			t.Errorf("%s: %+v, want %+v", name, m, want)
		}
	}
}

// xl2tpd's StopCCN to a dead peer is acknowledged with the Hellos before it.
func TestBury(t *testing.T) {
	tr := synced(t)
	if v := tr.Bury(); len(v.Inject) != 0 || v.Why != nil {
		t.Fatalf("before any StopCCN: %+v", v)
	}
	tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, Life{Daemon: true})
	tr.Out(packet(true, l2tp.TypeStopCCN, 0, 4, 2), epoch, Life{Daemon: true})
	v := tr.Bury()
	if len(v.Inject) != 1 || v.Inject[0].To != ToLocal || v.Why != WhyBuried {
		t.Fatalf("%+v", v)
	}
	if m, want := message(t, v.Inject[0].Packet), (l2tp.Message{Length: l2tp.HeaderLen, Tunnel: xID, Ns: 2, Nr: 5}); m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
}

// The StopCCN for a dead xl2tpd comes under each number that the peer may expect,
// again until it is acknowledged, and the same after a restart.
func TestClose(t *testing.T) {
	tr := synced(t)
	tr.Out(packet(true, l2tp.TypeHello, 0, 3, 2), epoch, alive)              // swallowed
	tr.Out(packet(true, l2tp.TypeHello, 0, 4, 2), epoch, Life{Daemon: true}) // let pass
	v := tr.Close()
	if len(v.Inject) != 2 || !v.Save || v.Why != WhyClosed {
		t.Fatalf("%+v", v)
	}
	for i, inject := range v.Inject {
		p, err := l2tp.ParsePacket(inject.Packet)
		want := l2tp.Message{Length: l2tp.StopLen, Tunnel: pID, Ns: 3 + uint16(i), Nr: 2, Type: l2tp.TypeStopCCN}
		if err != nil || p.Msg != want || inject.To != ToPeer || p.Src != hostAddr {
			t.Errorf("%+v %v, want %+v", p, err, want)
		}
		id, _ := l2tp.AssignedTunnel(p.Payload())
		if code, _, ok := l2tp.Result(p.Payload()); id != xID || code != 1 || !ok {
			t.Errorf("assigned tunnel %d, result %d", id, code)
		}
	}
	tr = restarted(t, tr)
	if v := tr.Close(); len(v.Inject) != 2 {
		t.Errorf("again: %+v", v)
	}
	tr.In(packet(false, l2tp.TypeNone, 0, 2, 5), epoch)
	if v := tr.Close(); len(v.Inject) != 0 {
		t.Errorf("acknowledged: %+v", v)
	}
}

// Of messages that the peer has not acknowledged it may have none, all or some. There
// are only so many tries.
func TestCloseBehindMessages(t *testing.T) {
	for unacked, want := range map[uint16][]uint16{
		0: {3},
		3: {3, 4, 5, 6},
		9: {3, 4, 5, 6, 12},
	} {
		tr := synced(t)
		for i := range unacked {
			tr.Out(packet(true, typeOther, i, 3+i, 2), epoch, alive)
		}
		var got []uint16
		for _, inject := range tr.Close().Inject {
			got = append(got, message(t, inject.Packet).Ns)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d messages unacknowledged: StopCCN with Ns %d, want %d", unacked, got, want)
		}
	}
}
