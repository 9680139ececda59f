package recovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

func TestHeard(t *testing.T) {
	now, peer := time.Unix(1_000_000, 0), netip.MustParseAddr("192.0.2.1")
	channel := func(ago time.Duration) []helloguard.Channel {
		return []helloguard.Channel{{OwnedConnection: ownedBy(procfs.ID{}, peer), Heard: now.Add(-ago)}}
	}
	since := now.Add(-time.Minute)
	mine, others := procfs.ID{Pid: 100, Start: 1}, procfs.ID{Pid: 200, Start: 1}
	owned := func(by procfs.ID) []helloguard.Channel {
		all := channel(0)
		all[0].Owner = by
		return all
	}
	for name, tc := range map[string]struct {
		channels []helloguard.Channel
		peer     netip.Addr
		want     bool
	}{
		"lately":              {channel(59 * time.Second), peer, true},
		"long ago":            {channel(time.Minute), peer, false},
		"another peer":        {channel(0), peer.Next(), false},
		"never":               {[]helloguard.Channel{{OwnedConnection: ownedBy(procfs.ID{}, peer)}}, peer, false},
		"to its xl2tpd":       {owned(mine), peer, true},
		"to another xl2tpd":   {owned(others), peer, false},
		"to nobody knows who": {owned(procfs.ID{}), peer, true},
	} {
		r := supervisor.Recover{Peer: tc.peer, To: xl2tpd.Target{Process: mine}}
		if got := heard(tc.channels, r, since); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// A peer is dead if its host answers outside the tunnel, and nothing comes on the control channel. It is also dead if
// the LNS answers at another address now.
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
		{"sends Hellos", 14 * time.Second, 0, false, peer, nil, policy.ErrAlive, 0},
		{"answers", time.Minute, 2, false, peer, nil, policy.ErrAlive, 2 * time.Second},
		{"dead", time.Minute, 0, false, peer, []error{nil}, nil, 3 * time.Second},
		{"lets no echo request in, and answers", time.Minute, 1, false, peer, nil, policy.ErrAlive, time.Second},
		{"out of reach", time.Minute, 0, false, peer, []error{unreachable}, unreachable, 3 * time.Second},
		{"moved", time.Minute, 0, false, elsewhere, []error{unreachable, nil}, nil, 3 * time.Second},
		{"moved, out of reach", time.Minute, 0, false, elsewhere, []error{unreachable, unreachable}, unreachable, 3 * time.Second},
		{"lets no echo request in, beside another of the name", time.Minute, 1, false, elsewhere, nil, policy.ErrAlive, time.Second},
		{"moved, no guard", time.Minute, 0, true, elsewhere, []error{unreachable}, unreachable, 0},
		{"no guard", time.Minute, 0, true, peer, []error{nil}, unknown, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				heard, asked := began.Add(-tc.heard), 0
				guard := fakeGuard{
					channels: func() []helloguard.Channel {
						return []helloguard.Channel{{OwnedConnection: ownedBy(procfs.ID{}, peer), Heard: heard}}
					},
					ask: func(a netip.Addr) bool {
						if asked++; asked == tc.answers {
							heard = time.Now().Add(time.Millisecond)
						}
						return a == peer && !tc.unasked
					},
				}
				pinger := fakePinger(func() error {
					err := tc.looks[0]
					tc.looks = tc.looks[1:]
					return err
				})
				e := New(nil, nil, guard, unknownNames, pinger)
				err := e.ask(t.Context(), supervisor.Recover{LNS: tc.lns, Peer: peer})
				if !errors.Is(err, tc.want) && (tc.want != unknown || err == nil || errors.Is(err, policy.ErrAlive)) {
					t.Errorf("%v, want %v", err, tc.want)
				}
				if d := time.Since(began); d != tc.after || len(tc.looks) > 0 {
					t.Errorf("took %v, want %v", d, tc.after)
				}
			})
		})
	}
}

// told notes the commands to xl2tpd, and when they came.
type told struct {
	began      time.Time
	all        []string
	disconnect func(context.Context) error // instead of Disconnect; nil: xl2tpd takes the command immediately
}

func (x *told) note(what string) {
	x.all = append(x.all, fmt.Sprintf("%s after %v", what, time.Since(x.began)))
}

func (x *told) say(command, lac string) error {
	x.note(command + " " + lac)
	return nil
}

func (x *told) Connect(_ context.Context, to xl2tpd.Target, lac string) error {
	return x.say("c", to.Pipe+" "+lac)
}

func (x *told) Disconnect(ctx context.Context, to xl2tpd.Target, lac string) error {
	if x.disconnect != nil {
		if err := x.disconnect(ctx); err != nil {
			return err
		}
	}
	return x.say("d", to.Pipe+" "+lac)
}

// office is the LAC of the tests, with the pipe of its own xl2tpd.
var (
	office     = supervisor.LAC{Name: "office"}
	officeIsOf = xl2tpd.Target{Process: procfs.ID{Pid: 100, Start: 1}, Pipe: "/ctl"}
)

// xl2tpd may take seconds to read the command, and the attempt may end in that time. Then the command is taken back, unless
// xl2tpd has just read it.
func TestRedial(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	noPipe := errors.New("no such FIFO")
	takenBack := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	readIn := func(d time.Duration) func(context.Context) error {
		return func(context.Context) error { time.Sleep(d); return nil }
	}
	const never = time.Hour
	for name, tc := range map[string]struct {
		goesOn, closes   time.Duration // how long the attempt goes on, and until when its tunnel is closing
		unknown, nothing bool          // nobody knows whether xl2tpd dials; there is nothing to drop any more
		answered, lapsed bool          // the attempt, in the end
		read             func(context.Context) error
		want             []string
		err              error // or one that it wraps; nil: none
	}{
		"dials": {goesOn: never, want: []string{"noted", "d after 0s", "taken", "c after 1s"}},
		"is slow to read": {goesOn: never, read: readIn(3 * time.Second),
			want: []string{"noted", "d after 3s", "taken", "c after 4s"}},
		"had given up": {goesOn: never, lapsed: true,
			want: []string{"noted", "d after 0s", "taken"}, err: policy.ErrGaveUp},
		"does not":                       {err: policy.ErrRedialsLater},
		"was answered":                   {answered: true, err: policy.ErrAnswered},
		"was answered, and then refused": {answered: true, lapsed: true, err: policy.ErrRedialsLater},
		"who knows":                      {unknown: true, err: errAny},
		"is answered before the note":    {goesOn: never, nothing: true, err: policy.ErrRedialsLater},
		"is answered before": {goesOn: time.Second, answered: true, read: takenBack,
			want: []string{"noted", "taken back"}, err: policy.ErrAnswered},
		"gives up before": {goesOn: time.Second, read: takenBack,
			want: []string{"noted", "taken back"}, err: policy.ErrRedialsLater},
		"is answered as it reads": {goesOn: time.Second, answered: true, read: readIn(time.Second), closes: 2500 * time.Millisecond,
			want: []string{"noted", "d after 1s", "taken", "c after 3s"}},
		"is answered, and nobody acknowledges its end": {goesOn: time.Second, answered: true, read: readIn(time.Second), closes: never,
			want: []string{"noted", "d after 1s", "taken", "ackStops after 4s", "c after 5s"}},
		"can't be told": {goesOn: never, read: func(context.Context) error { return noPipe },
			want: []string{"noted", "taken back"}, err: noPipe},
		"was told, perhaps": {goesOn: never, read: func(context.Context) error { return xl2tpd.ErrNoAnswer },
			want: []string{"noted", "taken"}, err: policy.ErrHungUp},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := &told{began: time.Now(), disconnect: tc.read}
			guard := fakeGuard{
				dialling: func() (is, known bool) { return time.Since(x.began) < tc.goesOn, !tc.unknown },
				lapsed:   tc.lapsed, answered: tc.answered, nothing: tc.nothing,
				drops:    func(what string) { x.all = append(x.all, what) },
				ackStops: func(netip.Addr) bool { x.note("ackStops"); return true },
				channels: func() []helloguard.Channel {
					return []helloguard.Channel{{OwnedConnection: ownedBy(officeIsOf.Process, peer), Closing: time.Since(x.began) < tc.closes}}
				},
			}
			to := xl2tpd.Target{Process: officeIsOf.Process}
			err := New(nil, x, guard, unknownNames, nil).Do(t.Context(), supervisor.Recover{To: to, Step: policy.StepRedial, Peer: peer})
			for i, command := range x.all {
				x.all[i] = strings.Join(strings.Fields(command), " ")
			}
			if !slices.Equal(x.all, tc.want) || !errors.Is(err, tc.err) && (tc.err != errAny || err == nil) {
				t.Errorf("%s: got %q, error %v; want %q, %v", name, x.all, err, tc.want, tc.err)
			}
			if hungUp := slices.Contains(x.all, "taken"); errors.Is(err, policy.ErrHungUp) != (hungUp && err != nil) {
				t.Errorf("%s: error %v, and xl2tpd has hung up: %v", name, err, hungUp)
			}
		})
	}
}

// errAny stands for an error of which a test says no more.
var errAny = errors.New("any")

// For a peer that is proven dead, the guard acknowledges the StopCCN from the start. For one that then does not answer,
// it does so later. Without proof it does not. A peer that speaks is left alone.
func TestHangUp(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	for name, tc := range map[string]struct {
		up, dead, guarded bool
		speaks            bool
		unclear           bool          // nobody knows whose the connection is
		heardAfter        time.Duration // after the hang-up; 0: never
		want              []string
		err               error
	}{
		"proven dead":     {true, true, true, false, false, 0, []string{"ackStops after 0s", "d /ctl office after 0s"}, nil},
		"speaks":          {true, false, true, true, false, 0, []string{"done after 0s"}, policy.ErrAlive},
		"listens":         {false, false, true, false, false, time.Millisecond, []string{"d /ctl office after 0s", "done after 1s"}, nil},
		"listens late":    {false, false, true, false, false, 2500 * time.Millisecond, []string{"d /ctl office after 0s", "done after 3s"}, nil},
		"does not listen": {false, false, true, true, false, 0, []string{"d /ctl office after 0s", "ackStops after 3s", "done after 3s"}, policy.ErrPeerDead},
		"not known whose": {false, false, true, true, true, 0, []string{"d /ctl office after 0s", "ackStops after 3s", "done after 3s"}, nil},
		"no guard":        {false, false, false, false, false, 0, []string{"d /ctl office after 0s", "done after 1s"}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := &told{began: time.Now()}
			guard := fakeGuard{
				ackStops: func(a netip.Addr) bool {
					if a == peer {
						x.note("ackStops")
					}
					return a == peer && !tc.unclear
				},
				channels: func() []helloguard.Channel {
					// Another message of the peer, such as a Hello, is no answer.
					c := helloguard.Channel{OwnedConnection: ownedBy(procfs.ID{}, peer), Heard: time.Now(), Closing: true}
					if tc.heardAfter > 0 && !time.Now().Before(x.began.Add(tc.heardAfter)) {
						c.Closing = false
					}
					if !tc.speaks {
						c.Heard = x.began.Add(-2 * heardLately)
					}
					return []helloguard.Channel{c}[:map[bool]int{true: 1}[tc.guarded]]
				},
			}
			r := supervisor.Recover{LAC: office, To: officeIsOf, Step: policy.StepHangUp, Peer: peer, Up: tc.up, Dead: tc.dead}
			err := New(nil, x, guard, unknownNames, nil).Do(t.Context(), r)
			if !tc.dead {
				x.note("done")
			}
			if !slices.Equal(x.all, tc.want) || err != tc.err {
				t.Errorf("%s: commands %q, want %q; error: %v, want %v", name, x.all, tc.want, err, tc.err)
			}
		})
	}
}

// The new SA of a tunnel may be with another address. Earlier messages of the peer then count only if the peer can't be
// asked.
func TestHangUpOfAMovedLNS(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	for name, tc := range map[string]struct {
		heard   time.Duration // before the step
		moved   bool          // the SA was replaced 10 s before the step
		mute    bool          // it can't be asked
		answers bool
		err     error
		want    []string
	}{
		"heard before the new SA":                     {30 * time.Second, true, false, false, nil, []string{"d /ctl office after 3s"}},
		"heard before the new SA, and answers":        {30 * time.Second, true, false, true, policy.ErrAlive, nil},
		"heard before the new SA, and can't be asked": {30 * time.Second, true, true, false, policy.ErrAlive, nil},
		"heard since":        {5 * time.Second, true, false, false, policy.ErrAlive, nil},
		"has not moved":      {30 * time.Second, false, false, false, policy.ErrAlive, nil},
		"not heard for long": {2 * heardLately, true, true, false, nil, []string{"d /ctl office after 0s"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := &told{began: time.Now()}
			c := helloguard.Channel{OwnedConnection: ownedBy(procfs.ID{}, peer), Heard: x.began.Add(-tc.heard)}
			guard := fakeGuard{
				channels: func() []helloguard.Channel { return []helloguard.Channel{c} },
				ask: func(netip.Addr) bool {
					if tc.answers {
						c.Heard = time.Now().Add(time.Millisecond)
					}
					return !tc.mute
				},
			}
			r := supervisor.Recover{LAC: office, To: officeIsOf, Step: policy.StepHangUp, Peer: peer, Up: true}
			if tc.moved {
				r.Since = x.began.Add(-10 * time.Second)
			}
			err := New(nil, x, guard, unknownNames, nil).Do(t.Context(), r)
			if !slices.Equal(x.all, tc.want) || err != tc.err {
				t.Errorf("%s: commands %q, want %q; error: %v, want %v", name, x.all, tc.want, err, tc.err)
			}
		})
	}
}

// An SA may carry the tunnel of any xl2tpd with that peer, if the peer was heard lately.
func TestCarriesAnother(t *testing.T) {
	peer, second := netip.MustParseAddr("192.0.2.1"), procfs.ID{Pid: 200, Start: 6}
	r := supervisor.Recover{To: officeIsOf, Peer: peer}
	for name, tc := range map[string]struct {
		owner procfs.ID
		up    bool
		ago   time.Duration
		want  bool
	}{
		"its own, which can't be asked": {officeIsOf.Process, true, time.Second, true},
		"its own, hung up":              {officeIsOf.Process, false, time.Second, false},
		"another xl2tpd's":              {second, true, time.Second, true},
		"another xl2tpd's, long silent": {second, true, time.Hour, false},
		"another xl2tpd's, hung up":     {second, false, time.Second, false},
		"of an owner that nobody knows": {procfs.ID{}, true, time.Second, true},
		"new, and answers no question":  {officeIsOf.Process, true, helloLately - time.Second, true},
		"silent since, and asked":       {officeIsOf.Process, true, helloLately + time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			guard := fakeGuard{
				channels: func() []helloguard.Channel {
					return []helloguard.Channel{{OwnedConnection: ownedBy(tc.owner, peer), Up: tc.up, Heard: began.Add(-tc.ago)}}
				},
				ask: func(netip.Addr) bool { return tc.ago != time.Second },
			}
			if got := New(nil, nil, guard, unknownNames, nil).carriesAnother(t.Context(), r); got != tc.want {
				t.Errorf("%s: got %v, want %v", name, got, tc.want)
			}
		})
	}
}

// A message proves that a tunnel is alive if it belongs to the LAC's own control connection, not to another LAC's
// with that peer.
func TestHeardOnItsOwnConnection(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	one := func(id uint16) []helloguard.Channel {
		c := ownedBy(officeIsOf.Process, peer)
		c.LocalID = id
		return []helloguard.Channel{{OwnedConnection: c, Up: true, Heard: time.Now()}}
	}
	for name, tc := range map[string]struct {
		of, on uint16
		want   bool
	}{
		"its own":         {7, 7, true},
		"another LAC's":   {7, 8, false},
		"nobody can tell": {0, 8, true},
	} {
		r := supervisor.Recover{To: officeIsOf, Peer: peer, TunnelID: tc.of}
		if got := heard(one(tc.on), r, time.Now().Add(-time.Minute)); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// Renewing an SA ends it first. It does not if the link's peer speaks, or if strongSwan has no connection to initiate.
func TestSecure(t *testing.T) {
	tokyo := []vici.Connection{{Name: "tokyo", RemoteAddrs: []string{"vpn.example.org"}, Children: []vici.ChildConfig{{Name: "l2tp", Mode: "TRANSPORT"}}}}
	other := errors.New("some other")
	peer := netip.MustParseAddr("192.0.2.1")
	for name, tc := range map[string]struct {
		r    supervisor.Recover
		all  []vici.Connection
		list error
		want []string
		err  error
	}{
		"initiate": {supervisor.Recover{Step: policy.StepSecure, SA: "7"}, tokyo, nil, []string{"initiate tokyo/l2tp"}, nil},
		"renew": {supervisor.Recover{Step: policy.StepRenew, SA: "7", SAName: "osaka", SAPeer: peer}, tokyo, nil,
			[]string{"terminate 7 of osaka with 192.0.2.1", "initiate tokyo/l2tp"}, nil},
		"renew what is gone":  {supervisor.Recover{Step: policy.StepRenew}, tokyo, nil, []string{"initiate tokyo/l2tp"}, nil},
		"can't be ended":      {supervisor.Recover{Step: policy.StepRenew, SA: "?"}, tokyo, nil, nil, other},
		"speaks":              {supervisor.Recover{Step: policy.StepRenew, SA: "7", Up: true}, tokyo, nil, nil, policy.ErrAlive},
		"carries another":     {supervisor.Recover{Step: policy.StepRenew, SA: "8"}, tokyo, nil, nil, policy.ErrSAInUse},
		"no IPsec":            {supervisor.Recover{Step: policy.StepRenew, SA: "7"}, nil, nil, nil, policy.ErrNoConnection},
		"connection gone":     {supervisor.Recover{Step: policy.StepRenew, SA: "7", IKE: "tokyo"}, nil, nil, nil, other},
		"charon is not there": {supervisor.Recover{Step: policy.StepRenew, SA: "7"}, nil, other, nil, other},
	} {
		charon := &fakeCharon{connections: func() ([]vici.Connection, error) { return tc.all, tc.list }}
		guard := fakeGuard{
			channels: func() []helloguard.Channel {
				c := helloguard.Channel{OwnedConnection: ownedBy(procfs.ID{}, peer), Heard: time.Now()}
				c.Up = tc.r.Up || tc.r.SA == "8" // else it is the last tunnel's own, which was hung up
				return []helloguard.Channel{c}
			},
			ask: func(netip.Addr) bool { return false },
		}
		tc.r.Host, tc.r.Peer = "vpn.example.org", peer
		err := New(charon, nil, guard, unknownNames, nil).Do(t.Context(), tc.r)
		known := errors.Is(err, policy.ErrAlive) || errors.Is(err, policy.ErrNoConnection) || errors.Is(err, policy.ErrSAInUse)
		if !slices.Equal(charon.commands, tc.want) || !errors.Is(err, tc.err) && (tc.err != other || err == nil || known) {
			t.Errorf("%s: commands %q, want %q; error: %v, want %v", name, charon.commands, tc.want, err, tc.err)
		}
	}
}

// An LNS that has answered the latest attempt has refused it: the SA works and is kept.
func TestSAIsKeptIfTheLNSAnswers(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	for name, tc := range map[string]struct {
		heard, refused, attempt time.Duration // ago; 0: never
		up, elsewhere           bool
		want                    error
	}{
		"answered":                   {heard: 10 * time.Second, attempt: 20 * time.Second, want: policy.ErrAnswers},
		"answered right away":        {heard: 20*time.Second - time.Millisecond, attempt: 20 * time.Second, want: policy.ErrAnswers},
		"heard before the attempt":   {heard: 30 * time.Second, attempt: 20 * time.Second},
		"there was no attempt":       {heard: 10 * time.Second},
		"another address has":        {heard: 10 * time.Second, attempt: 20 * time.Second, elsewhere: true},
		"a link that is silent now":  {heard: 90 * time.Second, attempt: 100 * time.Second, up: true},
		"refused":                    {refused: 10 * time.Second, attempt: 20 * time.Second, want: policy.ErrAnswers},
		"refused before the attempt": {refused: 30 * time.Second, attempt: 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := helloguard.Channel{OwnedConnection: helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: netip.AddrPortFrom(peer, 1701)}, Owner: officeIsOf.Process}}
			if tc.heard > 0 {
				c.Heard = time.Now().Add(-tc.heard)
			}
			if tc.elsewhere {
				c.Peer = netip.AddrPortFrom(peer.Next(), 1701)
			}
			guard := fakeGuard{
				channels: func() []helloguard.Channel { return []helloguard.Channel{c} },
				ask:      func(netip.Addr) bool { return true },
			}
			if tc.refused > 0 {
				guard.refusedAt = time.Now().Add(-tc.refused)
			}
			charon := &fakeCharon{connections: func() ([]vici.Connection, error) {
				return []vici.Connection{{Name: "tokyo", RemoteAddrs: []string{"192.0.2.1"}, Children: []vici.ChildConfig{{Name: "l2tp", Mode: "TRANSPORT"}}}}, nil
			}}
			r := supervisor.Recover{LAC: office, To: officeIsOf, Step: policy.StepRenew, Peer: peer, LNS: peer, SA: "7", Up: tc.up, Host: "192.0.2.1"}
			if tc.attempt > 0 {
				r.LastAttempt = time.Now().Add(-tc.attempt)
			}
			err := New(charon, nil, guard, unknownNames, nil).renew(t.Context(), r)
			if !errors.Is(err, tc.want) || (tc.want == nil) != slices.Contains(charon.commands, "terminate 7") {
				t.Errorf("%s: error: %v, want %v; commands: %q", name, err, tc.want, charon.commands)
			}
		})
	}
}

// sources notes the source of each echo request. None is answered.
type sources []netip.Addr

func (s *sources) Echo(_ context.Context, r probe.Request) probe.Result {
	*s = append(*s, r.Source)
	return probe.Result{Err: errors.New("lost")}
}

// The LNS may be reached from one address of this host alone, so it is looked for from the one that xl2tpd sends from.
func TestLooksFromXl2tpdsAddress(t *testing.T) {
	here, peer := netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("192.0.2.1")
	for name, lns := range map[string]netip.Addr{"the peer": peer, "another address": peer.Next()} {
		synctest.Test(t, func(t *testing.T) {
			guard := fakeGuard{
				channels: func() []helloguard.Channel { return nil },
				ask:      func(netip.Addr) bool { return true },
			}
			var from sources
			New(nil, nil, guard, unknownNames, &from).ask(t.Context(), supervisor.Recover{LNS: lns, Peer: peer, From: here})
			if len(from) == 0 || slices.ContainsFunc(from, func(a netip.Addr) bool { return a != here }) {
				t.Errorf("%s: from %v", name, from)
			}
		})
	}
}

// An LNS that this host reaches, but not from the address that xl2tpd sends from, is out of reach.
func TestNoRouteFromXl2tpdsAddress(t *testing.T) {
	lns, elsewhere := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.77")
	for from, want := range map[netip.Addr]error{{}: nil, lns: nil, elsewhere: policy.ErrNoRoute} {
		pinger := fakePinger(func() error { return nil })
		err := New(nil, nil, nil, unknownNames, pinger).Do(t.Context(), supervisor.Recover{Step: policy.StepLook, LNS: lns, From: from})
		if !errors.Is(err, want) {
			t.Errorf("from %v: %v, want %v", from, err, want)
		}
	}
}
