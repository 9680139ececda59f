package supervisor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

func TestFirstEchoAtOnce(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	n.links(link("ppp0", 5, false))
	n.want()
	l := link("ppp0", 5, true)
	n.links(l)
	n.want(read(l))
	n.counter(l, 70) // what has come in before is no reason to wait
	n.want(echo(l))
	n.result(l, nil)
	n.want()
	n.wantNotes("tunnel up tunnel=lac tokyo peer=192.0.2.1 link=ppp0 target=10.0.0.1",
		"tunnel alive tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=echo reply in 12ms")
	n.wakes(10 * time.Second) // an interval after the start, as all tunnels do
}

// idlePair returns a fixture with the tunnels of two links that came up at different times and have had their first echo.
func idlePair(t *testing.T) (n *fixture, l, other ppp.Link) {
	n, l, other = newFixture(t, oneLAC, ""), link("ppp0", 5, true), link("ppp1", 6, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.after(time.Second)
	n.links(l, other)
	n.counter(other, 30)
	n.result(other, nil)
	n.actions = nil
	return n, l, other
}

// While nothing but echo replies comes in, an interval takes one wake-up for all tunnels. In each the counters are read
// once.
func TestIdleTunnelsShareAWakeUp(t *testing.T) {
	n, l, other := idlePair(t)
	n.wakes(9 * time.Second)
	n.after(9 * time.Second)
	for i := range uint64(3) {
		n.want(read(l), read(other))
		n.counter(l, 71+i)
		n.counter(other, 31+i)
		n.want(echo(l), echo(other))
		n.result(l, nil)
		n.result(other, nil)
		n.wakes(10 * time.Second)
		n.after(10 * time.Second)
	}
}

// A wake-up that is a little late, and answers that take their time, make no tunnel lose its slot.
func TestLateWakeUp(t *testing.T) {
	n, l, other := idlePair(t)
	n.after(9*time.Second + 40*time.Millisecond)
	n.now = n.now.Add(5 * time.Millisecond)
	n.counter(l, 71)
	n.counter(other, 31)
	n.now = n.now.Add(300 * time.Millisecond)
	n.result(l, nil)
	n.result(other, nil)
	n.wakes(10*time.Second - 345*time.Millisecond)
}

// The counter does not show when data came. So it is read more often once there was data. An echo request follows the
// last data by the interval and a third at most.
func TestLooksOftenAfterData(t *testing.T) {
	n, l, other := idlePair(t)
	n.after(9 * time.Second)
	n.want(read(l), read(other))
	n.counter(l, 72)
	n.counter(other, 32)
	n.wakes(2500 * time.Millisecond)
	n.after(2500 * time.Millisecond)
	n.want(read(l), read(other)) // together
	n.counter(l, 73)
	n.counter(other, 32)
	left := 10*time.Second*4/3 - 11500*time.Millisecond // its data may have come right after its echo reply, 11.5 s ago
	n.wakes(left)
	n.after(left)
	n.want(echo(other)) // its counter was read a moment ago
	n.result(other, nil)
	const every = 2500 * time.Millisecond
	for range 4 {
		n.after(every - n.now.Sub(epoch)%every)
		n.want(read(l), read(other))
		n.counter(l, 73)
		n.counter(other, 33)
	}
	n.want()
	n.wakes(10 * time.Second / 12) // with the interval and 2.5 s for the reading before, that is a third more
}

func TestEchoOnlyWhenIdle(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.want(read(l), echo(l))

	n.after(10500 * time.Millisecond)
	n.want(read(l))
	n.counter(l, 72) // the reply and one more
	n.want()
	if e := n.tunnel(l).evidence; e.Data != n.now || e.Reply != epoch {
		t.Errorf("evidence %+v", e)
	}

	n.after(10500 * time.Millisecond)
	n.want(read(l))
	n.counter(l, 72)
	n.want(echo(l))
	n.result(l, nil)

	n.after(14 * time.Second)
	n.want(read(l))
	n.counter(l, 73) // nothing but the reply
	n.want(echo(l))
}

func TestCounterFailsOrFalls(t *testing.T) {
	for name, ev := range map[string]Counter{
		"fails": {Err: lost},
		"falls": {Packets: 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, oneLAC, "")
			l := link("ppp0", 5, true)
			n.links(l)
			n.counter(l, 70)
			n.result(l, nil)
			n.after(10500 * time.Millisecond)
			n.want(read(l), echo(l), read(l))
			ev.Link = key("ppp0", 5)
			n.step(Counters{ev})
			n.want(echo(l))
		})
	}
}

func TestQuickRetriesThenSilentThenAlive(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.want(read(l), echo(l))
	n.wantNotes("tunnel up", "tunnel alive")
	for _, wait := range []time.Duration{10 * time.Second, time.Second, 2 * time.Second, 7 * time.Second, 10 * time.Second * 4 / 3} {
		n.echoIn(l, wait)
		n.after(wait)
		n.want(read(l))
		n.counter(l, 71)
		n.want(echo(l))
		n.result(l, lost)
	}
	n.wantNotes("tunnel silent tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=3 echo requests unanswered: no answer")
	if got := n.core.Summary(); got != "no tunnel up, 1 silent" {
		t.Errorf("the summary is %q", got)
	}
	n.after(14 * time.Second)
	n.counter(l, 71)
	n.result(l, nil)
	n.wantNotes("tunnel alive again tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=echo reply in 12ms silent=34s")
}

// How many lost echo requests make a tunnel silent can be set.
func TestFailures(t *testing.T) {
	n := newFixture(t, oneLAC, "[global]\nfailures = 5\n")
	l := link("ppp0", 5, true)
	n.links(l)
	for lostNow := 1; lostNow <= 5; lostNow++ {
		n.counter(l, 70)
		n.result(l, lost)
		if got, want := n.tunnel(l).state == Silent, lostNow == 5; got != want {
			t.Fatalf("silent after %d: %v", lostNow, got)
		}
		n.after(14 * time.Second)
	}
}

// A tunnel that is only observed gets no echo request. Its data is still seen, and it is never silent.
func TestObserve(t *testing.T) {
	n := newFixture(t, oneLAC, "[global]\nkeepalive = observe\nrecover = full\n")
	l := link("ppp0", 5, true)
	n.links(l)
	n.want(read(l))
	for range 10 {
		n.counter(l, 70)
		n.want()
		n.after(11 * time.Second)
		n.want(read(l))
	}
	if s := n.tunnel(l).state; s != Up {
		t.Errorf("%v without data", s)
	}
	n.counter(l, 71)
	n.wantNotes("tunnel up", "tunnel alive tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=data received")
	if r := n.status()[0]; r.Doing != "watches only: keepalive = observe" || !r.Observe {
		t.Errorf("got %+v, want a tunnel that is only observed", r)
	}
	if g := n.tunnel(l).view().Guard; g != config.GuardOff {
		t.Errorf("guard %v", g)
	}

	n.step(n.config("")) // from now on in earnest
	n.after(10500 * time.Millisecond)
	n.want(read(l))
	n.counter(l, 71)
	n.want(echo(l))
}

func TestDataMakesAliveAgain(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	for range 3 {
		n.counter(l, 70)
		n.result(l, lost)
		n.after(3 * time.Second)
	}
	n.wantNotes("tunnel up", "tunnel silent")
	n.after(10500 * time.Millisecond)
	n.counter(l, 71) // also a reply that came too late
	n.wantNotes("tunnel alive again tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=data received")

	// Echoes alone say nothing about a far end that has never answered one.
	n.after(10500 * time.Millisecond)
	for range 5 {
		n.counter(l, 71)
		n.result(l, lost)
		n.after(10500 * time.Millisecond)
	}
	n.wantNotes()
	if s := n.tunnel(l).state; s != Alive {
		t.Errorf("the tunnel is %v, want %v", s, Alive)
	}
}

func TestNewSAIsAReasonToAskAgain(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.actions = nil
	n.step(vici.Snapshot{SAs: []vici.SA{{Name: "old", UniqueID: "6", State: "ESTABLISHED", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}}})
	n.want(Ready{}) // a tunnel that is alive needs no other question
	n.after(10500 * time.Millisecond)
	for range 3 {
		n.counter(l, 71)
		n.result(l, lost)
		n.after(3 * time.Second)
	}
	n.counter(l, 71)
	n.actions = nil
	sa := vici.SA{Name: "tokyo", UniqueID: "7", State: "CONNECTING", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want()
	sa.State = "ESTABLISHED"
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want() // nothing could go out yet
	sa.Children = []vici.Child{{State: "INSTALLED"}}
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want(read(l))
	n.counter(l, 71)
	n.want(echo(l))
	sa.UniqueID = "8" // that echo went through the one before
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want(cancel(l))
	n.result(l, lost)
	n.want(read(l))
	if got := n.tunnel(l).identity.sa.Name; got != "tokyo" {
		t.Errorf("the tunnel's SA is %q, want tokyo", got)
	}
}

// In userspace mode nobody knows with whom the tunnel of a caller is. Any new SA is a reason to ask again.
func TestNewSAOfAnUnknownPeer(t *testing.T) {
	n := newFixture(t, "[lns default]\nip range = 10.0.0.1-10.0.255.254\npppoptfile = /etc/ppp/options.l2tpd\n", "")
	l := inUserspace(link("ppp0", 5, true))[0]
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.step(secured("6"))
	n.after(10500 * time.Millisecond)
	for range 3 {
		n.counter(l, 71)
		n.result(l, lost)
		n.after(3 * time.Second)
	}
	n.counter(l, 71)
	n.actions = nil
	n.step(secured("6"))
	n.want() // that one is known
	n.step(secured("7"))
	n.want(read(l))
	n.counter(l, 71)
	n.want(echo(l))
	n.step(secured("8"))
	n.want() // its reply counts, whichever SA it comes through
	n.now = n.now.Add(3 * time.Second)
	n.result(l, lost)
	n.want(read(l))
	n.counter(l, 71)
	n.want(echo(l))
	n.now = n.now.Add(3 * time.Second)
	n.result(l, lost)
	n.want()
}

// silentCaller returns a fixture with the silent tunnel of a caller. Nobody knows with whom it is.
func silentCaller(t *testing.T, settings string) (*fixture, ppp.Link) {
	n := newFixture(t, "[lns default]\nip range = 10.0.0.1-10.0.255.254\npppoptfile = /etc/ppp/options.l2tpd\n", settings)
	l := inUserspace(link("ppp0", 5, true))[0]
	n.links(l)
	n.plays(time.Minute, alive, succeeds)
	n.plays(5*time.Minute, probe.Result{Err: lost}, succeeds)
	if s := n.tunnel(l).state; s != Silent {
		t.Fatalf("the tunnel is %v, want %v", s, Silent)
	}
	return n, l
}

// While callers come back, there are new SAs all the time. A silent tunnel is asked more often then, but not for each SA.
// Its reply is heard however many there are.
func TestManyNewSAsOfUnknownPeers(t *testing.T) {
	const lasts = time.Minute
	for name, tc := range map[string]struct {
		settings    string
		every       time.Duration // between two SAs
		takes       time.Duration // the answer to an echo request; 0: it is lost
		least, most int           // echo requests in a minute
		soonest     time.Duration // between two of them
		want        State
	}{
		"one":                        {"", time.Hour, 0, 4, 8, 2500 * time.Millisecond, Silent},
		"one a second":               {"", time.Second, 0, 14, 24, 2500 * time.Millisecond, Silent},
		"ten a second":               {"", 100 * time.Millisecond, 0, 14, 24, 2500 * time.Millisecond, Silent},
		"a short timeout":            {"[global]\ntimeout = 1\n", time.Second, 0, 14, 24, 2500 * time.Millisecond, Silent},
		"a long interval":            {"[global]\ninterval = 60\n", time.Second, 0, 3, 5, 15 * time.Second, Silent},
		"ten a second, and it lives": {"", 100 * time.Millisecond, 500 * time.Millisecond, 1, 8, 2500 * time.Millisecond, Alive},
	} {
		t.Run(name, func(t *testing.T) {
			n, l := silentCaller(t, tc.settings)
			timeout := n.tunnel(l).settings.Timeout
			var last, answered time.Time
			began, id, sent := n.now, 0, 0
			for ; n.now.Sub(began) < lasts; n.after(100 * time.Millisecond) {
				if n.now.Sub(began)%tc.every == 0 {
					id++
					n.step(secured(fmt.Sprint(id)))
				}
				if !answered.IsZero() && !n.now.Before(answered) {
					answered = time.Time{}
					if tc.takes > 0 {
						n.result(l, nil)
					} else {
						n.result(l, lost)
					}
				}
				for len(n.actions) > 0 {
					a := n.actions[0]
					n.actions = n.actions[1:]
					switch a.(type) {
					case ReadCounter:
						n.counter(l, 0)
					case CancelEcho:
						t.Fatal("an echo request is cancelled")
					case SendEcho:
						if d := n.now.Sub(last); d < tc.soonest {
							t.Errorf("%v after the one before", d)
						}
						sent, last, answered = sent+1, n.now, n.now.Add(timeout)
						if tc.takes > 0 {
							answered = n.now.Add(tc.takes)
						}
					}
				}
			}
			if s := n.tunnel(l).state; sent < tc.least || sent > tc.most || s != tc.want {
				t.Errorf("%d echo requests, and the tunnel is %v; want %d to %d, and %v", sent, s, tc.least, tc.most, tc.want)
			}
		})
	}
}
