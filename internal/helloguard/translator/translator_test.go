package translator

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

var (
	alive     = Liveness{Peer: true, Xl2tpd: true, GivesUp: true}
	passFirst = Liveness{Peer: true, Xl2tpd: true, GivesUp: true, PassFirst: true}
	unknown   = Liveness{Xl2tpd: true, GivesUp: true, PassFirst: true}
)

func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

// fromXl2tpd and fromPeer show the translator a packet.
func fromXl2tpd(tr *Translator, typ l2tp.MessageType, ns, nr uint16, now time.Time, live Liveness) *Verdict {
	return tr.Out(parsed(packet(true, typ, 0, ns, nr)), now, live)
}

func fromPeer(tr *Translator, typ l2tp.MessageType, ns, nr uint16, now time.Time) *Verdict {
	return tr.In(parsed(packet(false, typ, 0, ns, nr)), now)
}

// inStep returns a translator that has seen one message of each side acknowledged a minute
// ago: xl2tpd uses 3 next and expects 2.
func inStep(t testing.TB) *Translator {
	t.Helper()
	tr := New(control, at(-60))
	fromXl2tpd(tr, typeOther, 2, 1, at(-60), alive)
	fromPeer(tr, typeOther, 1, 3, at(-60))
	fromXl2tpd(tr, l2tp.TypeNone, 3, 2, at(-60), alive)
	if !tr.out.exact || tr.out.acked != (seq{3, true}) || tr.out.next.number != 3 || tr.in.expects.number != 2 {
		t.Fatalf("not in step: %+v", tr)
	}
	return tr
}

// restarted returns what another life of the guard makes of tr's state.
func restarted(t testing.TB, tr *Translator, now time.Time) *Translator {
	t.Helper()
	state, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	tr, err = Restore(state, now)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func message(t testing.TB, b []byte) l2tp.Message {
	t.Helper()
	p, err := l2tp.ParsePacket(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return p.Msg
}

// sent is what an injected packet says, without its ids and length.
type sent struct {
	to     Side
	typ    l2tp.MessageType
	ns, nr uint16
}

func injected(t testing.TB, v *Verdict) (all []sent) {
	t.Helper()
	for _, i := range v.Inject {
		m := message(t, i.Packet)
		all = append(all, sent{i.To, m.Type, m.Ns, m.Nr})
	}
	return all
}

func wantInjected(t testing.TB, what string, v *Verdict, want ...sent) {
	t.Helper()
	if got := injected(t, v); !slices.Equal(got, want) {
		t.Errorf("%s: injected %+v, want %+v", what, got, want)
	}
}

func wantReason(t testing.TB, what string, v *Verdict, action Action, reason Reason) {
	t.Helper()
	if v.Action != action || v.Reason != reason {
		t.Errorf("%s: got action %d, %q; want %d, %q", what, v.Action, v.Reason, action, reason)
	}
}

// toLocal and question are the usual injections.
func toLocal(ns, nr uint16) sent { return sent{ToXl2tpd, l2tp.TypeNone, ns, nr} }

func question(ns, nr uint16) sent { return sent{ToPeer, l2tp.TypeSCCCN, ns, nr} }

func TestHelloOfALivingTunnel(t *testing.T) {
	tr := inStep(t)
	v := fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, alive)
	wantReason(t, "Hello", v, Drop, HelloAcked)
	wantInjected(t, "Hello", v, toLocal(2, 4))
	if !v.Save || tr.Offset() != 1 || !tr.Diverged() {
		t.Errorf("got save %v, offset %d, diverged %v; want true, 1, true", v.Save, tr.Offset(), tr.Diverged())
	}
	v = fromPeer(tr, typeOther, 2, 3, epoch)
	if m := message(t, v.Packet); m.Nr != 4 {
		t.Errorf("the peer's message: got Nr %d, want 4", m.Nr)
	}
	v = fromXl2tpd(tr, l2tp.TypeCDN, 4, 3, epoch, alive)
	if m := message(t, v.Packet); m.Ns != 3 || m.Nr != 3 {
		t.Errorf("CDN: got Ns %d, Nr %d; want 3, 3", m.Ns, m.Nr)
	}
}

// The peer has answered a Hello while the guard was down. xl2tpd's next one shows it.
func TestAnswerThatHasGonePast(t *testing.T) {
	for name, tc := range map[string]struct {
		restart, next float64 // s after the Hello; 0: no restart
		message       bool    // another message is unanswered too
		live          Liveness
		want          bool
	}{
		"a minute later":                {1, 60, false, unknown, true},
		"xl2tpd may send a copy yet":    {0, 10, false, unknown, false},
		"a copy may have gone past too": {50, 60, false, unknown, false},
		"not all is answered":           {1, 60, true, unknown, false},
		"the guard has answered it":     {1, 60, false, passFirst, false},
	} {
		tr := inStep(t)
		ns := uint16(3)
		if tc.message {
			fromXl2tpd(tr, l2tp.TypeCDN, ns, 2, epoch, tc.live)
			ns++
		}
		fromXl2tpd(tr, l2tp.TypeHello, ns, 2, epoch, tc.live)
		if tc.restart > 0 {
			tr = restarted(t, tr, at(tc.restart))
		}
		for next, ok := tr.NextTimer(); ok && next.Before(at(tc.next)); next, ok = tr.NextTimer() {
			tr.HandleTimers(next, tc.live)
		}
		fromXl2tpd(tr, l2tp.TypeHello, ns+1, 2, at(tc.next), tc.live)
		if tr.Counts() != tc.want {
			t.Errorf("%s: got counted %v, want %v", name, tr.Counts(), tc.want)
		}
	}
}

// Hellos are acknowledged in a row for as long as xl2tpd has numbers for them, 45 days, and
// longer; a restart on the way changes nothing. The peer has seen none of it.
func TestHellosOfManyDays(t *testing.T) {
	tr := inStep(t)
	ns := uint16(3)
	for i := range 70_000 {
		if i == 40_000 {
			tr = restarted(t, tr, epoch)
		}
		v := fromXl2tpd(tr, l2tp.TypeHello, ns, 2, epoch, alive)
		ns++
		if v.Action != Drop || v.Reason != HelloAcked || !slices.Contains(injected(t, v), toLocal(2, ns)) {
			t.Fatalf("Hello %d: %+v %v", i+1, v, injected(t, v))
		}
	}
	v := fromXl2tpd(tr, typeOther, ns, 2, epoch, alive)
	if m := message(t, v.Packet); m.Ns != 3 {
		t.Errorf("message: got Ns %d, want 3", m.Ns)
	}
	v = fromPeer(tr, l2tp.TypeNone, 2, 4, epoch)
	if m := message(t, v.Packet); m.Nr != ns+1 {
		t.Errorf("ZLB: got Nr %d, want %d", m.Nr, ns+1)
	}
}

// A Hello that was kept from the peer comes again: xl2tpd has not got the acknowledgement. If
// the peer was kept from no other, it gets this one, and a peer that answers can do so.
func TestAcknowledgementThatDoesNotArrive(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, alive)
	v := fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(1), alive)
	wantReason(t, "copy", v, Pass, HelloAckedForPeer)
	wantInjected(t, "copy", v, toLocal(2, 4))
	v = fromPeer(tr, l2tp.TypeNone, 2, 4, at(1.1))
	if v.Action != Pass || tr.Offset() != 0 || tr.Diverged() {
		t.Errorf("answered: %+v, offset %d, diverged %v; want it passed, 0, false", v, tr.Offset(), tr.Diverged())
	}
}

// Nothing is acknowledged past a message that still has to arrive.
func TestHelloBehindAMessage(t *testing.T) {
	for name, live := range map[string]Liveness{"alive": alive, "passFirst": passFirst} {
		tr := inStep(t)
		fromXl2tpd(tr, typeOther, 3, 2, epoch, live)
		v := fromXl2tpd(tr, l2tp.TypeHello, 4, 2, at(1), live)
		wantReason(t, name, v, Pass, HelloPassed)
		wantInjected(t, name, v)
		v = tr.HandleTimers(at(25), live) // the peer has not said that it has the message
		if got := injected(t, v); slices.ContainsFunc(got, func(s sent) bool { return s.to == ToXl2tpd }) {
			t.Errorf("%s: %v: want nothing for xl2tpd", name, got)
		}
	}
}

// The peer gets the Hello and all its copies; when it has answered nothing it is asked, and what
// it says decides.
func TestUnansweredHello(t *testing.T) {
	for name, tc := range map[string]struct {
		nr     uint16 // of the peer's answer to the question
		reason Reason
		offset int
		toNr   uint16 // of that for xl2tpd
	}{
		"not counted": {3, HelloNotCounted, 1, 4},
		"counted":     {4, Nothing, 0, 4},
	} {
		tr := inStep(t)
		for _, s := range []float64{0, 1, 3, 7, 15} {
			v := fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
			wantReason(t, name, v, Pass, HelloPassed)
			wantInjected(t, name, v)
		}
		when, ok := tr.NextTimer()
		if !ok || !when.Equal(at(17)) {
			t.Fatalf("%s: asks at %v %v, want %v", name, when, ok, at(17))
		}
		v := tr.HandleTimers(when, passFirst)
		wantInjected(t, name, v, question(2, 2))
		v = fromPeer(tr, l2tp.TypeNone, 2, tc.nr, at(17.1))
		if v.Reason != tc.reason || tr.Offset() != tc.offset || tr.HelloUnanswered() {
			t.Errorf("%s: got %q, offset %d; want %q, %d", name, v.Reason, tr.Offset(), tc.reason, tc.offset)
		}
		got := tc.nr
		if v.Action == Rewrite {
			got = message(t, v.Packet).Nr
		}
		if got != tc.toNr {
			t.Errorf("%s: xl2tpd is told Nr %d, want %d", name, got, tc.toNr)
		}
		if _, ok := tr.NextTimer(); ok {
			t.Errorf("%s: there is still a timer", name)
		}
	}
}

// A copy of the Hello goes out though the peer has been asked already, for as long as nobody has answered xl2tpd: the
// peer may have got no other.
func TestCopyBehindAQuestion(t *testing.T) {
	manyRetries := unknown
	manyRetries.GivesUp = false
	for name, tc := range map[string]struct {
		early []float64 // copies that this life of the guard has seen, others were lost
		live  Liveness
		late  float64 // the copy behind the question
		then  Liveness
		want  Action
	}{
		"others were lost":              {[]float64{0}, unknown, 15, unknown, Pass},
		"life returns":                  {[]float64{0}, unknown, 15, passFirst, Pass},
		"owner not known any more":      {[]float64{0}, unknown, 15, Liveness{GivesUp: true, PassFirst: true}, Pass},
		"let go":                        {[]float64{0}, unknown, 15, Liveness{Xl2tpd: true, GivesUp: true, LetGo: true}, Pass},
		"many retries":                  {[]float64{0, 1, 3, 7, 15}, manyRetries, 31, manyRetries, Pass},
		"acknowledged for the peer":     {[]float64{0}, passFirst, 15, passFirst, Drop},
		"acknowledged, no sign of life": {[]float64{0}, passFirst, 15, unknown, Drop},
	} {
		tr := inStep(t)
		for _, s := range tc.early {
			fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), tc.live)
		}
		for when, ok := tr.NextTimer(); ok && when.Before(at(tc.late)); when, ok = tr.NextTimer() {
			tr.HandleTimers(when, tc.live)
		}
		if !tr.out.hello.asked {
			t.Fatalf("%s: not asked", name)
		}
		v := fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(tc.late), tc.then)
		if v.Action != tc.want {
			t.Errorf("%s: got action %d, want %d", name, v.Action, tc.want)
		}
		if answered := slices.Contains(injected(t, v), toLocal(2, 4)); answered != (tc.want == Drop) {
			t.Errorf("%s: xl2tpd answered: %v, want %v", name, answered, tc.want == Drop)
		}
	}
}

// A message behind the Hello has been held back for the answer to a question, and goes out. The copies of the Hello go out
// again too: a peer that has got none can't take the message.
func TestCopyBehindAMessage(t *testing.T) {
	tr := inStep(t)
	tr.out.peer.rtt = 20 * time.Millisecond
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	wantReason(t, "message", fromXl2tpd(tr, typeOther, 4, 2, at(0.1), passFirst), Drop, MessageWaits)
	wantReason(t, "first copy", fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(1), passFirst), Drop, MessageWaits)
	tr.HandleTimers(at(2), passFirst)
	for _, s := range []float64{3, 7, 15} {
		wantReason(t, "copy", fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst), Pass, HelloPassed)
		wantReason(t, "message", fromXl2tpd(tr, typeOther, 4, 2, at(s+0.1), passFirst), Pass, Nothing)
	}
}

// The answer to a question that left before a copy of the Hello says nothing about that copy.
func TestAnswerToAnEarlierQuestion(t *testing.T) {
	for name, restarts := range map[string][]float64{
		"the same life":    nil,
		"a restart":        {14},
		"several restarts": {11, 12, 14},
	} {
		tr := inStep(t)
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, unknown)
		ask := func(s float64) {
			if v := tr.HandleTimers(at(s), unknown); !v.Save {
				t.Errorf("%s: the question at %v s is not saved", name, s)
			}
		}
		ask(10)
		for _, s := range restarts {
			tr = restarted(t, tr, at(s))
		}
		wantReason(t, name, fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(15), unknown), Pass, HelloPassed)
		ask(17)
		if v := fromPeer(tr, l2tp.TypeNone, 2, 3, at(17.5)); v.Reason == HelloNotCounted || !tr.HelloUnanswered() {
			t.Errorf("%s: %+v: want the Hello undecided", name, v)
		}
		if v := fromPeer(tr, l2tp.TypeNone, 2, 3, at(51)); v.Reason != HelloNotCounted {
			t.Errorf("%s: got %q for an answer to the question behind the copy, want %q", name, v.Reason, HelloNotCounted)
		}
	}
}

// Whatever the peer says before all copies can have arrived, and whatever it may have said before
// the Hello came, is no proof: not a ZLB, not a message, not one sent again.
func TestNoProof(t *testing.T) {
	for name, says := range map[string]func(tr *Translator) *Verdict{
		"ZLB without a question": func(tr *Translator) *Verdict { return fromPeer(tr, l2tp.TypeNone, 2, 3, at(16)) },
		"message":                func(tr *Translator) *Verdict { return fromPeer(tr, l2tp.TypeHello, 2, 3, at(20)) },
		"message sent again": func(tr *Translator) *Verdict {
			tr.HandleTimers(at(17), unknown)
			fromPeer(tr, l2tp.TypeHello, 2, 3, at(20))
			return fromPeer(tr, l2tp.TypeHello, 2, 3, at(60))
		},
		"answer to a question ahead of the last copy": func(tr *Translator) *Verdict {
			tr.Ask(at(15.5), passFirst)
			return fromPeer(tr, l2tp.TypeNone, 2, 3, at(16))
		},
		"answer to a message of the same time": func(tr *Translator) *Verdict {
			fromXl2tpd(tr, typeOther, 2, 1, at(15.5), passFirst)
			tr.HandleTimers(at(17), unknown)
			return fromPeer(tr, l2tp.TypeNone, 2, 3, at(17.1))
		},
	} {
		tr := inStep(t)
		for _, s := range []float64{0, 1, 3, 7, 15} {
			fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
		}
		if v := says(tr); v.Reason == HelloNotCounted || tr.Offset() != 0 || !tr.HelloUnanswered() {
			t.Errorf("%s: %+v, offset %d: want the Hello undecided", name, v, tr.Offset())
		}
		fromPeer(tr, l2tp.TypeNone, 2, 4, at(61))
		if tr.Offset() != 0 || tr.HelloUnanswered() {
			t.Errorf("%s, answered late: offset %d, unanswered %v; want 0, false", name, tr.Offset(), tr.HelloUnanswered())
		}
	}
}

// A new message of the peer's, more than a round trip after the Hello, is a proof as well: some
// peers answer no question.
func TestProofByAMessage(t *testing.T) {
	tr := inStep(t)
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
	}
	tr.HandleTimers(at(17), passFirst)
	wantInjected(t, "at the end of the time that xl2tpd waits", tr.HandleTimers(at(25), passFirst), toLocal(2, 4), question(2, 2))
	if v := fromPeer(tr, l2tp.TypeHello, 2, 3, at(51)); v.Reason != HelloNotCounted || tr.Offset() != 1 {
		t.Errorf("got %q, offset %d; want %q, 1", v.Reason, tr.Offset(), HelloNotCounted)
	}
}

// The peer answers each Hello, but late, and has sent a message of its own before the Hello came.
func TestSlowPeer(t *testing.T) {
	for _, delay := range []float64{1, 3, 5, 6, 8, 12, 20, 30} {
		tr := inStep(t)
		now := epoch
		for hello := uint16(3); hello < 10; hello++ {
			answered := now.Add(time.Duration(delay * float64(time.Second)))
			for _, s := range []time.Duration{0, 1, 3, 7, 15} {
				if at := now.Add(s * time.Second); at.Before(answered) {
					fromXl2tpd(tr, l2tp.TypeHello, hello, tr.in.expects.number, at, passFirst)
				}
			}
			fromPeer(tr, l2tp.TypeHello, tr.in.expected, hello, answered.Add(-900*time.Millisecond))
			for {
				at, ok := tr.NextTimer()
				if !ok || at.After(answered) {
					break
				}
				tr.HandleTimers(at, passFirst)
			}
			fromXl2tpd(tr, l2tp.TypeNone, hello+1, tr.in.expected, answered, passFirst)
			v := fromPeer(tr, l2tp.TypeNone, tr.in.expected, hello+1, answered)
			if v.Action != Pass || tr.Offset() != 0 || tr.HelloUnanswered() {
				t.Fatalf("%v s, Hello %d: %+v, offset %d", delay, hello, v, tr.Offset())
			}
			now = now.Add(time.Minute)
		}
	}
}

// Liveness returns when xl2tpd sends no copy any more, and before it gives up.
func TestLifeReturns(t *testing.T) {
	for name, tc := range map[string]struct {
		from   float64 // the peer is reachable, and the links show it
		silent bool    // it answers no question
	}{
		"just behind the last copy": {15.5, false},
		"between":                   {21, false},
		"late":                      {29, false},
		"at the last moment":        {30.4, false},
		"by the links alone":        {28.9, true},
	} {
		tr := inStep(t)
		for _, s := range []float64{0, 1, 3, 7, 15} {
			fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), unknown)
		}
		held := false
		for {
			when, ok := tr.NextTimer()
			if !ok || !when.Before(at(31)) {
				break
			}
			live := unknown
			if !when.Before(at(tc.from)) {
				live = passFirst
			}
			v := tr.HandleTimers(when, live)
			held = held || slices.Contains(injected(t, v), toLocal(2, 4))
			if live == passFirst && !tc.silent && slices.Contains(injected(t, v), question(2, 2)) {
				fromPeer(tr, l2tp.TypeNone, 2, 3, when)
				held = held || tr.Offset() == 1
			}
		}
		if !held {
			t.Errorf("%s: xl2tpd was told nothing", name)
		}
	}
}

// A peer that has said that it did not count a Hello gets none any more: it is asked instead, and
// xl2tpd is answered as soon as it says anything.
func TestDeafPeer(t *testing.T) {
	tr := inStep(t)
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
	}
	tr.HandleTimers(at(17), passFirst)
	fromPeer(tr, l2tp.TypeNone, 2, 3, at(17))
	v := fromXl2tpd(tr, l2tp.TypeHello, 4, 2, at(60), passFirst)
	wantReason(t, "alive", v, Drop, HelloAcked)
	wantInjected(t, "alive", v, toLocal(2, 5))
	v = fromXl2tpd(tr, l2tp.TypeHello, 5, 2, at(120), unknown)
	wantReason(t, "no sign of life", v, Drop, HelloWaits)
	wantInjected(t, "no sign of life", v, question(2, 2))
	v = fromPeer(tr, l2tp.TypeNone, 2, 3, at(120.1))
	wantInjected(t, "the peer answers", v, toLocal(2, 6))
	v = fromXl2tpd(tr, typeOther, 6, 2, at(130), passFirst)
	if m := message(t, v.Packet); m.Ns != 3 {
		t.Errorf("message: got Ns %d, want 3", m.Ns)
	}
}

// A tunnel is to be let go: its Hellos pass, whatever is known, and nobody answers them.
func TestLetGo(t *testing.T) {
	tr := inStep(t)
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
	}
	tr.HandleTimers(at(17), passFirst)
	fromPeer(tr, l2tp.TypeNone, 2, 3, at(17))
	for _, s := range []float64{60, 61, 63, 67, 75} {
		v := fromXl2tpd(tr, l2tp.TypeHello, 4, 2, at(s), Liveness{Xl2tpd: true, LetGo: true})
		wantReason(t, "let go", v, Rewrite, HelloPassed)
		wantInjected(t, "let go", v)
		if when, ok := tr.NextTimer(); ok {
			wantInjected(t, "timer", tr.HandleTimers(when, Liveness{Xl2tpd: true, LetGo: true}))
		}
		v = fromPeer(tr, l2tp.TypeHello, 2, 3, at(s+0.5))
		if m := message(t, v.Packet); m.Nr != 4 {
			t.Errorf("xl2tpd is told Nr %d, want 4", m.Nr)
		}
	}
}

// A copy of the Hello arrives later than any packet should, and is counted. Nothing was sent under
// its number, so that is undone.
func TestHelloCountedLate(t *testing.T) {
	for _, again := range []bool{false, true} {
		tr := inStep(t)
		for _, s := range []float64{0, 1, 3, 7, 15} {
			fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
		}
		tr.HandleTimers(at(17), passFirst)
		fromPeer(tr, l2tp.TypeNone, 2, 3, at(17))
		if again {
			tr = restarted(t, tr, at(20))
		}
		fromXl2tpd(tr, l2tp.TypeHello, 4, 2, at(60), passFirst)
		v := fromPeer(tr, l2tp.TypeNone, 2, 4, at(61))
		if v.Reason != HelloCounted || tr.Offset() != 1 {
			t.Fatalf("restarted %v: got %q, offset %d; want %q, 1", again, v.Reason, tr.Offset(), HelloCounted)
		}
		v = fromXl2tpd(tr, typeOther, 5, 2, at(62), passFirst)
		if m := message(t, v.Packet); m.Ns != 4 {
			t.Errorf("restarted %v: message with Ns %d, want 4", again, m.Ns)
		}
	}
}

// A message after an undecided Hello waits for the peer's word, and gets the number it expects.
func TestMessageBehindAnUndecidedHello(t *testing.T) {
	for name, tc := range map[string]struct {
		nr, ns uint16
	}{"not counted": {3, 3}, "counted": {4, 4}} {
		tr := inStep(t)
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
		wantReason(t, name, fromXl2tpd(tr, l2tp.TypeCDN, 4, 2, at(0.5), passFirst), Drop, MessageWaits)
		when, _ := tr.NextTimer()
		if want := at(2); !when.Equal(want) {
			t.Errorf("%s: asks at %v, want %v", name, when, want)
		}
		tr.HandleTimers(when, passFirst)
		fromPeer(tr, l2tp.TypeNone, 2, tc.nr, when)
		v := fromXl2tpd(tr, l2tp.TypeCDN, 4, 2, at(3.5), passFirst)
		ns := uint16(4)
		if v.Action == Rewrite {
			ns = message(t, v.Packet).Ns
		}
		if v.Action == Drop || ns != tc.ns {
			t.Errorf("%s: action %d, Ns %d; want Ns %d", name, v.Action, ns, tc.ns)
		}
	}
	// A peer that answers nothing, or not soon, gets it under its own number.
	for name, fast := range map[string]bool{"fast until now": true, "slow": false} {
		tr := inStep(t)
		tr.out.peer.rtt = 20 * time.Millisecond
		if !fast {
			tr.out.peer.rtt = 3 * time.Second
		}
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
		for _, s := range []float64{0.5, 1.5, 3.5, 7.5, 15.5} {
			want := Pass
			if fast && s < 3 {
				want = Drop
			}
			if v := fromXl2tpd(tr, l2tp.TypeCDN, 4, 2, at(s), passFirst); v.Action != want {
				t.Errorf("%s, after %v s: got action %d, want %d", name, s, v.Action, want)
			}
		}
	}
}

// What a guard sees first that has just started may be a copy. It may be the last one, and the peer may keep an earlier one.
// So it is not held back, and the Hello's number is not free.
func TestMessageThatMayBeACopy(t *testing.T) {
	for name, live := range map[string]Liveness{"gives up": passFirst, "many retries": {Peer: true, Xl2tpd: true, PassFirst: true}} {
		tr := restarted(t, inStep(t).Traits(), at(10))
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(15), live)
		wantReason(t, name, fromXl2tpd(tr, typeOther, 4, 2, at(15.1), live), Pass, Nothing)
		fromPeer(tr, l2tp.TypeHello, 2, 3, at(20))
		fromXl2tpd(tr, l2tp.TypeNone, 5, 3, at(20), live)
		tr.HandleTimers(at(50), live)
		fromPeer(tr, l2tp.TypeNone, 3, 3, at(51))
		if tr.Offset() != 0 {
			t.Errorf("%s: offset %d, want 0", name, tr.Offset())
		}
	}
}

// A StopCCN reaches a peer that has not said whether it has counted a Hello under the number it
// expects, whichever that is.
func TestStopBehindAnUndecidedHello(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	v := fromXl2tpd(tr, l2tp.TypeStopCCN, 4, 2, at(2), passFirst)
	if v.Action != Pass {
		t.Errorf("got %+v, want it passed", v)
	}
	wantInjected(t, "ahead of StopCCN 4", v, sent{ToPeer, l2tp.TypeStopCCN, 3, 2})
}

// While a Hello is undecided the peer may expect its number or the next.
func TestZLBBehindAnUndecidedHello(t *testing.T) {
	both := []sent{{ToPeer, l2tp.TypeNone, 3, 3}}
	for name, tc := range map[string]struct {
		rtt      time.Duration
		counts   bool
		repeats  int
		after    float64 // s after the Hello
		action   Action
		ns       uint16
		injected []sent
	}{
		"crossing":                       {20 * time.Millisecond, false, 0, 0.1, Drop, 4, nil},
		"crossing, asked again":          {20 * time.Millisecond, false, 1, 1.1, Drop, 4, nil},
		"its word":                       {20 * time.Millisecond, false, 0, 5, Rewrite, 3, nil},
		"crossing, asked twice more":     {20 * time.Millisecond, false, 2, 1.1, Pass, 4, both},
		"its word, asked twice more":     {20 * time.Millisecond, false, 2, 5, Pass, 4, both},
		"counts Hellos":                  {20 * time.Millisecond, true, 0, 0.1, Pass, 4, nil},
		"counts Hellos, asks twice":      {20 * time.Millisecond, true, 2, 5, Pass, 4, both},
		"slow":                           {6 * time.Second, false, 0, 5, Pass, 4, nil},
		"slow, asked twice more":         {6 * time.Second, false, 2, 5, Pass, 4, both},
		"slow, counts, asks twice":       {6 * time.Second, true, 2, 5, Pass, 4, both},
		"round trip not known, crossing": {0, false, 0, 0.1, Pass, 4, nil},
		"round trip not known":           {0, false, 0, 5, Pass, 4, both},
	} {
		tr := inStep(t)
		tr.out.peer.rtt, tr.out.peer.counts = tc.rtt, tc.counts
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
		for range tc.repeats + 1 {
			fromPeer(tr, l2tp.TypeHello, 2, 3, at(tc.after))
		}
		v := fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(tc.after), passFirst)
		ns := uint16(4)
		if v.Action == Rewrite {
			ns = message(t, v.Packet).Ns
		}
		if v.Action != tc.action || ns != tc.ns {
			t.Errorf("%s: got action %d, Ns %d; want %d, %d", name, v.Action, ns, tc.action, tc.ns)
		}
		wantInjected(t, name, v, tc.injected...)
	}
}

// xl2tpd acknowledges the peer's StopCCN with one ZLB, and then has no tunnel any more: nobody can send another.
func TestZLBForAStop(t *testing.T) {
	for name, tc := range map[string]struct {
		rtt    time.Duration
		counts bool
	}{
		"crossing":     {20 * time.Millisecond, false},
		"turned deaf":  {20 * time.Millisecond, true},
		"slow or deaf": {6 * time.Second, false},
	} {
		tr := inStep(t)
		tr.out.peer.rtt, tr.out.peer.counts = tc.rtt, tc.counts
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
		fromPeer(tr, l2tp.TypeStopCCN, 2, 3, at(0.1))
		v := fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(0.1), passFirst)
		if v.Action != Pass {
			t.Errorf("%s: got %+v, want it passed", name, v)
		}
		wantInjected(t, name, v, sent{ToPeer, l2tp.TypeNone, 3, 3})
	}
}

// A peer with several messages under way sends new ones between the old: they are no sign that it
// has seen the ZLBs.
func TestZLBForOldAndNewMessages(t *testing.T) {
	tr := inStep(t)
	tr.out.peer.rtt, tr.out.peer.counts = 20*time.Millisecond, true
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	for _, ns := range []uint16{2, 2, 3, 2, 3, 4} {
		fromPeer(tr, l2tp.TypeHello, ns, 3, at(float64(ns)))
	}
	v := fromXl2tpd(tr, l2tp.TypeNone, 4, 5, at(4), passFirst)
	wantInjected(t, "behind new ones", v, sent{ToPeer, l2tp.TypeNone, 3, 5})
}

// A ZLB that was held back is sent by the guard's next life: the peer may not ask for it in time.
func TestZLBHeldBackBehindARestart(t *testing.T) {
	tr := inStep(t)
	tr.out.peer.rtt = 20 * time.Millisecond
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(0.1))
	v := fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(0.1), passFirst)
	wantReason(t, "before", v, Drop, ZLBWaits)
	if !v.Save {
		t.Error("before: not saved")
	}
	v = restarted(t, tr, at(1)).HandleTimers(at(1), unknown)
	wantInjected(t, "behind", v, sent{ToPeer, l2tp.TypeNone, 4, 3}, sent{ToPeer, l2tp.TypeNone, 3, 3})
}

// The ZLBs of an earlier life of the guard are not known, nor how often the peer has repeated what
// they acknowledge.
func TestZLBBehindARestart(t *testing.T) {
	tr := inStep(t)
	tr.out.peer.rtt = 20 * time.Millisecond
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(5))
	v := fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(5), passFirst)
	wantReason(t, "before", v, Rewrite, Nothing)
	tr = restarted(t, tr, at(6))
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(9))
	v = fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(9), passFirst)
	wantReason(t, "behind", v, Pass, Nothing)
	wantInjected(t, "behind", v, sent{ToPeer, l2tp.TypeNone, 3, 3})
}

// A ZLB that was held back is not lost: the peer's Hello is acknowledged as soon as the peer's word
// is known. xl2tpd has said it itself, so that the links need not show life.
func TestZLBHeldBack(t *testing.T) {
	for name, live := range map[string]Liveness{"living": passFirst, "no sign of life": unknown, "owner not known": {Peer: true, PassFirst: true}} {
		tr := inStep(t)
		tr.out.peer.rtt = 20 * time.Millisecond
		var acked float64
		for i := range 100 {
			s := float64(i) / 10
			if slices.Contains([]int{0, 10, 30, 70}, i) {
				fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), live)
			}
			if i == 0 {
				fromPeer(tr, l2tp.TypeHello, 2, 3, at(s))
				wantReason(t, name+": crossing", fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(s), live), Drop, ZLBWaits)
			}
			if when, ok := tr.NextTimer(); ok && !when.After(at(s)) {
				if v := tr.HandleTimers(at(s), live); acked == 0 && slices.Contains(injected(t, v), sent{ToPeer, l2tp.TypeNone, 3, 3}) {
					acked = s
				}
			}
		}
		if acked == 0 || acked > 7 {
			t.Errorf("%s: acknowledged after %v s, want at most 7", name, acked)
		}
	}
}

// An xl2tpd that gives up after fewer copies can't wait for the peer's word: until its ZLB arrives, some peers acknowledge no
// Hello.
func TestZLBOfAnXl2tpdThatHurries(t *testing.T) {
	tr := inStep(t)
	tr.out.peer.rtt = 20 * time.Millisecond
	live := passFirst
	live.Hurries = true
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, live)
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(0.01))
	v := fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(0.01), live)
	wantReason(t, "crossing", v, Pass, Nothing)
	wantInjected(t, "crossing", v, sent{ToPeer, l2tp.TypeNone, 3, 3})
}

// For an xl2tpd that is not certainly the tunnel's, the peer gets only what that has said itself.
func TestZLBHeldBackOfAnUnknownOwner(t *testing.T) {
	tr := inStep(t)
	tr.out.peer.rtt = 20 * time.Millisecond
	live := Liveness{Peer: true, PassFirst: true}
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, live)
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(0.1))
	fromXl2tpd(tr, l2tp.TypeNone, 4, 3, at(0.1), live)
	fromPeer(tr, l2tp.TypeHello, 3, 3, at(0.2))
	wantInjected(t, "one acknowledged of two", tr.HandleTimers(at(3), live), sent{ToPeer, l2tp.TypeNone, 4, 3}, sent{ToPeer, l2tp.TypeNone, 3, 3})
}

// Before it is known what xl2tpd has sent, an acknowledgement beyond that may be forged: it goes
// on as it is, and is believed once xl2tpd itself shows that it has sent so much.
func TestAcknowledgementBeyondAllSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		claim, next, acked uint16
	}{"forged": {1004, 4, 4}, "forged by one": {5, 4, 4}, "true": {9, 9, 9}} {
		tr := New(control, epoch)
		fromXl2tpd(tr, typeOther, 3, 2, epoch, alive)
		if v := fromPeer(tr, l2tp.TypeNone, 2, tc.claim, epoch); v.Action != Pass {
			t.Errorf("%s: %+v, want it passed", name, v)
		}
		fromPeer(tr, l2tp.TypeNone, 2, 4, epoch)
		if tc.next != 4 {
			fromPeer(tr, l2tp.TypeNone, 2, tc.claim, epoch)
		}
		fromXl2tpd(tr, l2tp.TypeNone, tc.next, 2, epoch, alive)
		if tr.out.acked.number != tc.acked || tr.out.next.number != tc.next {
			t.Errorf("%s: acknowledged %d, next %d; want %d, %d", name, tr.out.acked.number, tr.out.next.number, tc.acked, tc.next)
		}
		v := fromPeer(tr, typeOther, 2, tc.acked, epoch)
		if m := message(t, packet(false, typeOther, 0, 2, tc.acked)); v.Action != Pass || m.Nr != tc.acked {
			t.Errorf("%s: %+v, want Nr %d", name, v, tc.acked)
		}
	}
}

// Only one direction of the connection is seen: the peer answers to another address. Nothing is
// held, and no number changes.
func TestOneDirection(t *testing.T) {
	for name, live := range map[string]Liveness{"alive": alive, "passFirst": passFirst} {
		tr := New(control, epoch)
		ns := uint16(3)
		for minute := range 30 {
			for _, s := range []float64{0, 1} {
				v := fromXl2tpd(tr, l2tp.TypeHello, ns, 2, at(float64(60*minute)+s), live)
				if v.Action != Pass || len(v.Inject) > 0 {
					t.Fatalf("%s: Hello %d: %+v", name, ns, v)
				}
			}
			for {
				when, ok := tr.NextTimer()
				if !ok || when.After(at(float64(60*minute+59))) {
					break
				}
				for _, s := range injected(t, tr.HandleTimers(when, live)) {
					if s.to == ToXl2tpd {
						t.Fatalf("%s: xl2tpd was told %+v", name, s)
					}
				}
			}
			ns++
			fromXl2tpd(tr, l2tp.TypeNone, ns, 2, at(float64(60*minute+2)), live)
		}
		if tr.Offset() != 0 || tr.Diverged() {
			t.Errorf("%s: offset %d", name, tr.Offset())
		}
	}
}

// The peer's Hello is acknowledged for a living xl2tpd only, for a Hello only that no other
// message comes before, and xl2tpd gets it again.
func TestPeerHelloAcked(t *testing.T) {
	late := epoch.Add(answerTime)
	for _, tc := range []struct {
		name  string
		types []l2tp.MessageType
		live  Liveness
		want  int
	}{
		{"living", []l2tp.MessageType{l2tp.TypeHello}, alive, 1},
		{"dead xl2tpd", []l2tp.MessageType{l2tp.TypeHello}, Liveness{Peer: true}, 0},
		{"no sign of life", []l2tp.MessageType{l2tp.TypeHello}, Liveness{Xl2tpd: true}, 0},
		{"no Hello", []l2tp.MessageType{typeOther}, alive, 0},
		{"behind another message", []l2tp.MessageType{typeOther, l2tp.TypeHello}, alive, 0},
	} {
		tr := inStep(t)
		for i, typ := range tc.types {
			fromPeer(tr, typ, 2+uint16(i), 3, epoch)
		}
		v := tr.HandleTimers(late, tc.live)
		if len(v.Inject) != tc.want {
			t.Errorf("%s: %+v", tc.name, v)
		}
		if tc.want == 0 {
			continue
		}
		wantInjected(t, tc.name, v, sent{ToPeer, l2tp.TypeNone, 3, 3})
		// xl2tpd, late, has not seen it.
		v = fromXl2tpd(tr, typeOther, 3, 2, late, alive)
		if m := message(t, v.Packet); m.Nr != 3 {
			t.Errorf("Nr %d goes back", m.Nr)
		}
		wantInjected(t, "the Hello for xl2tpd", v, sent{ToXl2tpd, l2tp.TypeHello, 2, 3})
	}
}

// An xl2tpd that answers nothing any more is not answered for without end.
func TestPeerHelloAckedBound(t *testing.T) {
	tr := inStep(t)
	now, acked := epoch, 0
	for i := range uint16(2 * maxAckedForXl2tpd) {
		fromPeer(tr, l2tp.TypeHello, 2+i, 3, now)
		now = now.Add(answerTime)
		if v := tr.HandleTimers(now, alive); v.Reason == PeerHelloAcked {
			acked++
		}
	}
	if acked != maxAckedForXl2tpd {
		t.Errorf("%d Hellos in a row acknowledged, want %d", acked, maxAckedForXl2tpd)
	}
}

// xl2tpd does not look at what a message acknowledges that it has taken already.
func TestAcknowledgedByAnOldMessage(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(1))
	wantInjected(t, "new", fromPeer(tr, l2tp.TypeHello, 3, 3, at(2)))
	wantInjected(t, "old", fromPeer(tr, l2tp.TypeHello, 2, 4, at(3)), toLocal(4, 4))
	wantInjected(t, "once more", fromPeer(tr, l2tp.TypeHello, 2, 4, at(4)))
}

// xl2tpd would ignore a ZLB with an odd Ns: it gets another one with the Ns that it expects.
func TestOddZLB(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, typeOther, 3, 2, epoch, alive)
	v := fromPeer(tr, l2tp.TypeNone, 0, 4, epoch)
	wantInjected(t, "odd ZLB", v, toLocal(2, 4))
	if v.Action != Pass {
		t.Errorf("got %+v, want it passed", v)
	}
}

// While the guard was down a Hello was lost, so its number is free; the message after it waits
// for it. Only StopCCN cannot: xl2tpd has forgotten the rest.
func TestLostWhileDown(t *testing.T) {
	for _, typ := range []l2tp.MessageType{typeOther, l2tp.TypeStopCCN} {
		tr := inStep(t)
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, alive)
		tr = restarted(t, tr, epoch)
		v := fromXl2tpd(tr, l2tp.TypeNone, 5, 2, epoch, alive)
		if m := message(t, v.Packet); m.Ns != 3 {
			t.Errorf("ZLB: got Ns %d, want 3", m.Ns)
		}
		v = fromXl2tpd(tr, typ, 5, 2, epoch, alive)
		if typ == l2tp.TypeStopCCN {
			if m := message(t, v.Packet); m.Ns != 3 {
				t.Errorf("StopCCN: got Ns %d, want 3", m.Ns)
			}
			continue
		}
		wantReason(t, "message", v, Drop, MessageEarly)
		wantReason(t, "Hello", fromXl2tpd(tr, l2tp.TypeHello, 4, 2, epoch, alive), Drop, HelloAcked)
		v = fromXl2tpd(tr, typ, 5, 2, epoch, alive)
		if m := message(t, v.Packet); m.Ns != 3 {
			t.Errorf("message: got Ns %d, want 3", m.Ns)
		}
	}
}

func TestForeign(t *testing.T) {
	tr := inStep(t)
	for name, b := range map[string][]byte{
		"other tunnel": l2tp.AppendPacket(nil, hostAddr, peerAddr, l2tp.Message{Tunnel: pID + 1, Ns: 3, Nr: 2, Type: l2tp.TypeHello}),
		"no tunnel":    l2tp.AppendPacket(nil, hostAddr, peerAddr, l2tp.Message{Ns: 3, Nr: 2, Type: l2tp.TypeHello}),
		"other way":    packet(false, l2tp.TypeHello, 0, 2, 3),
	} {
		wantReason(t, name, tr.Out(parsed(b), epoch, alive), Pass, Foreign)
	}
	wantReason(t, "far", fromXl2tpd(tr, l2tp.TypeHello, 9000, 2, epoch, alive), Pass, OutOfReach)
	// Beyond what xl2tpd has sent: the translator takes nothing from it, and xl2tpd does not believe it.
	v := fromPeer(tr, typeOther, 2, 9, epoch)
	wantReason(t, "Nr", v, Rewrite, OutOfReach)
	if m := message(t, v.Packet); m.Nr != 3 || m.Ns != 2 {
		t.Errorf("Nr 9 when 3 messages were sent: xl2tpd got Ns %d, Nr %d, want 2 and 3", m.Ns, m.Nr)
	}
	if tr.Connection() != control {
		t.Errorf("got %+v", tr.Connection())
	}
}

func TestRestoreErrors(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, alive)
	good, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Restore(good, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(back); !bytes.Equal(again, good) {
		t.Errorf("got %s\nwant %s", again, good)
	}
	for _, tc := range []struct{ old, new, want string }{
		{`{`, ``, "Hello guard state: "},
		{`"version":1`, `"version":2`, "version 2, want 1"},
		{`192.0.2.1`, `[2001:db8::1]`, "want IPv4"},
		{`"limbo_count":0`, `"limbo_count":9999`, "too many"},
		{`"start":3`, `"start":30`, "does not fit"},
	} {
		_, err := Restore([]byte(strings.Replace(string(good), tc.old, tc.new, 1)), epoch)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.new, err, tc.want)
		}
	}
}

// The state of an earlier version, with two Hellos under way that xl2tpd was told had arrived.
func TestRestoreEarlierVersion(t *testing.T) {
	tr, err := Restore([]byte(`{"version":1,"local":"192.0.2.1:1701","peer":"198.51.100.7:1701","local_id":4711,"peer_id":815,
		"debt":0,"high_known":true,"high":5,"synced":true,"acked_known":true,"acked":3,"limbo_first":3,"limbo_count":2,
		"limbo_adopted":true,"limbo_cover":5,"closing":false,"expected_known":true,"confirmed":2,"expected":2,"hello_to":2}`), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if !tr.Diverged() || !tr.out.peer.heard {
		t.Errorf("diverged %v, heard %v; want true, true", tr.Diverged(), tr.out.peer.heard)
	}
	if again := restarted(t, tr, epoch); !again.out.hello.first.IsZero() {
		t.Errorf("after another restart the Hello left first at %v, want: unknown", again.out.hello.first)
	}
	v := fromPeer(tr, l2tp.TypeHello, 2, 3, at(1))
	if m := message(t, v.Packet); m.Nr != 4 {
		t.Errorf("got Nr %d, want 4", m.Nr)
	}
}

// xl2tpd's next Hello shows that the one before was answered, unless a copy of that may still come: with
// `max retries = 100` they come 31 and 63 s after the first one too.
func TestNextHelloBehindAnUnansweredOne(t *testing.T) {
	for name, tc := range map[string]struct {
		next     float64 // seconds after the first copy
		live     Liveness
		answered bool
	}{
		"xl2tpd would have closed the tunnel": {60, Liveness{Xl2tpd: true, GivesUp: true}, true},
		"a copy may come":                     {31, Liveness{Xl2tpd: true, GivesUp: true}, false},
		"many retries":                        {60, Liveness{Xl2tpd: true}, false},
	} {
		tr := inStep(t)
		ns := tr.out.next.number
		for _, s := range []float64{0, 1, 3, 7, 15} {
			fromXl2tpd(tr, l2tp.TypeHello, ns, 2, at(100+s), tc.live)
		}
		fromXl2tpd(tr, l2tp.TypeHello, ns+1, 2, at(100+tc.next), tc.live)
		if got := tr.out.peer.counts; got != tc.answered {
			t.Errorf("%s: answered %v, want %v", name, got, tc.answered)
		}
	}
}

// A peer is asked with a message that it has. Without an acknowledgement of its own that is one
// which xl2tpd would have sent again by now.
func TestAsk(t *testing.T) {
	silent := func() *Translator {
		tr := New(control, epoch)
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(1), alive)
		return tr
	}
	for name, tc := range map[string]struct {
		tr   *Translator
		when float64
		live Liveness
		want []sent
	}{
		"in step":              {inStep(t), 0, alive, []sent{question(2, 2)}},
		"in step, many copies": {inStep(t), 0, Liveness{Xl2tpd: true}, []sent{question(2, 2)}},
		"restarted":            {restarted(t, inStep(t), epoch), 0, alive, []sent{question(2, 2)}},
		"silent, just begun":   {silent(), 5, alive, nil},
		"silent, for a while":  {silent(), 17, alive, []sent{question(2, 2)}},
		"silent, many copies":  {silent(), 17, Liveness{Xl2tpd: true}, nil}, // an older one may come again
	} {
		v := tc.tr.Ask(at(tc.when), tc.live)
		wantInjected(t, name, v, tc.want...)
		if v.Action != Drop {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// xl2tpd's StopCCN to a dead peer is acknowledged with the Hellos before it.
func TestAckStop(t *testing.T) {
	tr := inStep(t)
	if v := tr.AckStop(); len(v.Inject) != 0 || v.Reason != Nothing {
		t.Fatalf("before any StopCCN: %+v", v)
	}
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, unknown)
	fromXl2tpd(tr, l2tp.TypeStopCCN, 4, 2, epoch, unknown)
	v := tr.AckStop()
	wantInjected(t, "StopCCN", v, toLocal(2, 5))
	if v.Reason != StopAcked {
		t.Errorf("got %q, want %q", v.Reason, StopAcked)
	}
}

// The StopCCN for a dead xl2tpd comes under each number that the peer may expect. It comes again until
// it is acknowledged, also after a restart.
func TestClose(t *testing.T) {
	tr := inStep(t)
	fromXl2tpd(tr, l2tp.TypeHello, 3, 2, epoch, passFirst)
	v := tr.Close()
	if len(v.Inject) != 2 || !v.Save || v.Reason != StopSent {
		t.Fatalf("%+v", v)
	}
	for i, inject := range v.Inject {
		p, err := l2tp.ParsePacket(inject.Packet)
		want := l2tp.Message{Length: l2tp.StopLen, Tunnel: pID, Ns: 3 + uint16(i), Nr: 2, Type: l2tp.TypeStopCCN}
		if err != nil || p.Msg != want || inject.To != ToPeer || p.Src != hostAddr {
			t.Errorf("got %+v %v, want %+v", p, err, want)
		}
		id, _ := l2tp.AssignedTunnel(p.Payload())
		if code, _, ok := l2tp.Result(p.Payload()); id != xID || code != 1 || !ok {
			t.Errorf("got assigned tunnel %d, result %d; want %d, 1", id, code, xID)
		}
	}
	tr = restarted(t, tr, epoch)
	if v := tr.Close(); len(v.Inject) != 2 {
		t.Errorf("again: %+v", v)
	}
	fromPeer(tr, l2tp.TypeNone, 2, 5, epoch)
	if v := tr.Close(); len(v.Inject) != 0 {
		t.Errorf("acknowledged: %+v", v)
	}
}

// Of messages that the peer has not acknowledged it may have none, all or some. There are only so
// many tries.
func TestCloseBehindMessages(t *testing.T) {
	for unacked, want := range map[uint16][]uint16{
		0: {3},
		3: {3, 4, 5, 6},
		9: {3, 4, 5, 6, 12},
	} {
		tr := inStep(t)
		for i := range unacked {
			fromXl2tpd(tr, typeOther, 3+i, 2, epoch, alive)
		}
		var got []uint16
		for _, s := range injected(t, tr.Close()) {
			got = append(got, s.ns)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d messages unacknowledged: StopCCN with Ns %d, want %d", unacked, got, want)
		}
	}
}

// Of a message and the Hello before it the first copies have gone past. The message was seen first: its number is on the wire,
// whatever becomes of the Hello.
func TestHelloSeenBehindAMessage(t *testing.T) {
	tr := New(control, at(-60))
	fromXl2tpd(tr, typeOther, 4, 2, epoch, passFirst)
	fromPeer(tr, l2tp.TypeHello, 2, 3, at(0.1))
	fromXl2tpd(tr, l2tp.TypeNone, 5, 3, at(0.1), passFirst)
	for _, s := range []float64{0, 1, 3, 7, 15} {
		fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), passFirst)
	}
	tr.HandleTimers(at(17), passFirst)
	tr.HandleTimers(at(52), passFirst)
	fromPeer(tr, l2tp.TypeNone, 3, 3, at(53))
	if tr.Offset() != 0 {
		t.Errorf("offset %d, want 0", tr.Offset())
	}
	v := fromXl2tpd(tr, typeOther, 4, 2, at(60), passFirst)
	ns := uint16(4)
	if v.Action == Rewrite {
		ns = message(t, v.Packet).Ns
	}
	if ns != 4 || v.Action == Drop {
		t.Errorf("the message: action %d, Ns %d; want it sent again as 4", v.Action, ns)
	}
}

// Time shows what xl2tpd has on the wire only if it surely sends all of that again soon. It does not with a raised
// `max retries`. Then the translator has to have seen the tunnel's beginning.
func TestDecidedWithManyRetries(t *testing.T) {
	for name, tc := range map[string]struct {
		first   l2tp.MessageType
		givesUp bool
		offset  int
	}{
		"in the middle":               {typeOther, true, 1},
		"in the middle, many retries": {typeOther, false, 0},
		"from the beginning":          {l2tp.TypeSCCCN, false, 1},
	} {
		live := passFirst
		live.GivesUp = tc.givesUp
		begun := func() *Translator {
			tr := New(control, at(-60))
			fromXl2tpd(tr, tc.first, 2, 1, at(-60), Liveness{})
			fromPeer(tr, typeOther, 1, 3, at(-60))
			return tr
		}
		on := live
		on.PassFirst = false
		if held := fromXl2tpd(begun(), l2tp.TypeHello, 3, 2, epoch, on).Action == Drop; held != (tc.offset == 1) {
			t.Errorf("%s: with `hello guard = on` the Hello is held: %v, want %v", name, held, tc.offset == 1)
		}
		tr := begun()
		for _, s := range []float64{0, 1, 3, 7, 15} {
			fromXl2tpd(tr, l2tp.TypeHello, 3, 2, at(s), live)
		}
		tr.HandleTimers(at(17), live)
		fromPeer(tr, l2tp.TypeNone, 2, 3, at(17.1))
		if tr.Offset() != tc.offset {
			t.Errorf("%s: offset %d, want %d", name, tr.Offset(), tc.offset)
		}
	}
}
