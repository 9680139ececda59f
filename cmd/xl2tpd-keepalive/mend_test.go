package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/hello"
	"xl2tpd-keepalive/hello/guard"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
)

func TestHeard(t *testing.T) {
	now, peer := time.Unix(1_000_000, 0), netip.MustParseAddr("192.0.2.1")
	channel := func(ago time.Duration) []guard.Channel {
		return []guard.Channel{{Tunnel: hello.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}, Heard: now.Add(-ago)}}
	}
	since := now.Add(-time.Minute)
	if !heard(channel(59*time.Second), peer, since) || heard(channel(time.Minute), peer, since) || heard(channel(0), peer.Next(), since) ||
		heard([]guard.Channel{{Tunnel: hello.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}}}, peer, since) {
		t.Error("wrong")
	}
}

// A peer is dead if its host answers outside the tunnel and nothing comes on the
// control channel, whether or not it was asked for; or if only the LNS answers, which
// is elsewhere now.
func TestDead(t *testing.T) {
	peer, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	unreachable, unknown := errors.New("unreachable"), errors.New("some other")
	for _, tc := range []struct {
		name    string
		heard   time.Duration // before it is asked
		answers int           // to the how manieth question; 0: never
		unasked bool
		lns     netip.Addr
		looks   []error // for the peer, before and after, or for the LNS
		want    error
		after   time.Duration
	}{
		{"sends Hellos", 14 * time.Second, 0, false, peer, nil, supervisor.ErrAlive, 0},
		{"answers", time.Minute, 2, false, peer, []error{nil}, supervisor.ErrAlive, 2 * time.Second},
		{"dead", time.Minute, 0, false, peer, []error{nil, nil}, nil, 3 * time.Second},
		{"out of reach", time.Minute, 0, false, peer, []error{unreachable}, unreachable, 0},
		{"gone meanwhile", time.Minute, 0, false, peer, []error{nil, unreachable}, unreachable, 3 * time.Second},
		{"moved", time.Minute, 0, false, elsewhere, []error{unreachable, nil}, nil, 0},
		{"moved, out of reach", time.Minute, 0, false, elsewhere, []error{unreachable, unreachable}, unreachable, 0},
		{"no guard", time.Minute, 0, true, peer, []error{nil}, unknown, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				heard, asked := began.Add(-tc.heard), 0
				m := &mender{
					echo: func(context.Context, probe.Request) probe.Result {
						err := tc.looks[0]
						tc.looks = tc.looks[1:]
						return probe.Result{Err: err}
					},
					channels: func() []guard.Channel {
						return []guard.Channel{{Tunnel: hello.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}, Heard: heard}}
					},
					ask: func(a netip.Addr) bool {
						if asked++; asked == tc.answers {
							heard = time.Now().Add(time.Millisecond)
						}
						return a == peer && !tc.unasked
					},
				}
				err := m.dead(t.Context(), supervisor.Recover{LNS: tc.lns, Peer: peer})
				if !errors.Is(err, tc.want) && (tc.want != unknown || err == nil || errors.Is(err, supervisor.ErrAlive)) {
					t.Errorf("%v, want %v", err, tc.want)
				}
				if d := time.Since(began); d != tc.after || len(tc.looks) > 0 {
					t.Errorf("took %v, want %v", d, tc.after)
				}
			})
		})
	}
}

// told is what xl2tpd was told, and when.
type told struct {
	began time.Time
	all   []string
}

func (x *told) note(what string) {
	x.all = append(x.all, fmt.Sprintf("%s after %v", what, time.Since(x.began)))
}

func (x *told) say(command, lac string) error {
	x.note(command + " " + lac)
	return nil
}

func (x *told) Connect(_ context.Context, lac string) error    { return x.say("c", lac) }
func (x *told) Disconnect(_ context.Context, lac string) error { return x.say("d", lac) }

func TestRedial(t *testing.T) {
	for name, tc := range map[string]struct {
		is, known, waits bool
		want             []string
	}{
		"dials":     {true, true, false, []string{"d office after 0s", "c office after 1s"}},
		"does not":  {false, true, true, nil},
		"who knows": {false, false, false, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := &told{began: time.Now()}
			m := &mender{control: x, resolve: func(string) {}, dialling: func(netip.Addr) (is, known bool) { return tc.is, tc.known }}
			err := m.step(t.Context(), supervisor.Recover{LAC: "office", Step: supervisor.StepRedial})
			if !slices.Equal(x.all, tc.want) || errors.Is(err, supervisor.ErrWaits) != tc.waits || (err == nil) != tc.is {
				t.Errorf("%s: %q, %v", name, x.all, err)
			}
		})
	}
}

// A peer that is proven dead is buried before its tunnel is hung up, one that does not
// listen after that; where nobody can tell, none is.
func TestHangUp(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	for name, tc := range map[string]struct {
		dead, guarded bool
		hears         time.Duration // after the hang-up; 0: never
		want          []string
		err           error
	}{
		"proven dead":     {true, true, 0, []string{"bury after 0s", "d office after 0s"}, nil},
		"listens":         {false, true, time.Millisecond, []string{"d office after 0s", "done after 1s"}, nil},
		"listens late":    {false, true, 2500 * time.Millisecond, []string{"d office after 0s", "done after 3s"}, nil},
		"does not listen": {false, true, 0, []string{"d office after 0s", "bury after 3s", "done after 3s"}, supervisor.ErrUnheard},
		"no guard":        {false, false, 0, []string{"d office after 0s", "done after 1s"}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := &told{began: time.Now()}
			m := &mender{
				control: x, resolve: func(string) {},
				hanging: func(netip.Addr, bool) {}, bury: func(a netip.Addr) {
					if a == peer {
						x.note("bury")
					}
				},
				channels: func() []guard.Channel {
					c := guard.Channel{Tunnel: hello.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}, Heard: x.began.Add(-time.Second)}
					if at := x.began.Add(tc.hears); tc.hears > 0 && !time.Now().Before(at) {
						c.Heard = at
					}
					return []guard.Channel{c}[:map[bool]int{true: 1}[tc.guarded]]
				},
			}
			err := m.step(t.Context(), supervisor.Recover{LAC: "office", Step: supervisor.StepHangUp, Peer: peer, Dead: tc.dead})
			if !tc.dead {
				x.note("done")
			}
			if !slices.Equal(x.all, tc.want) || err != tc.err {
				t.Errorf("%s: %q, %v", name, x.all, err)
			}
		})
	}
}
