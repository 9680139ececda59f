package recovery

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// inside returns an echo request to the far end of each link.
func inside(links ...int) (all []probe.Request) {
	for _, index := range links {
		all = append(all, probe.Request{Index: index, Target: netip.MustParseAddr("10.0.0.1")})
	}
	return all
}

// The target of the echo requests may be switched off, and the peer may answer no question on the control channel. Its own
// end of the tunnel then shows that the tunnel is alive.
func TestFarEndAnswers(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	other := errors.New("some other")
	for name, tc := range map[string]struct {
		r         supervisor.Recover
		answers   farEnds
		unguarded bool
		want      error
		after     time.Duration
	}{
		"dead":                           {supervisor.Recover{Step: policy.StepAsk, Inside: inside(5)}, nil, false, nil, 3 * time.Second},
		"dead, and the target was asked": {supervisor.Recover{Step: policy.StepAsk}, nil, false, nil, 3 * time.Second},
		"answers":                        {supervisor.Recover{Step: policy.StepAsk, Inside: inside(5)}, farEnds{5: time.Second}, false, policy.ErrAlive, 3 * time.Second},
		"one of two answers":             {supervisor.Recover{Step: policy.StepAsk, Inside: inside(4, 5)}, farEnds{5: time.Second}, false, policy.ErrAlive, 3 * time.Second},
		"answers too late":               {supervisor.Recover{Step: policy.StepAsk, Inside: inside(5)}, farEnds{5: 2 * lookTime}, false, nil, 3 * time.Second},
		"answers, no guard":              {supervisor.Recover{Step: policy.StepAsk, Inside: inside(5)}, farEnds{5: time.Second}, true, policy.ErrAlive, time.Second},
		"silent, no guard":               {supervisor.Recover{Step: policy.StepAsk, Inside: inside(5)}, nil, true, other, 3 * time.Second},
		"not hung up":                    {supervisor.Recover{Step: policy.StepHangUp, Up: true, Inside: inside(5)}, farEnds{5: 0}, true, policy.ErrAlive, 0},
		"its SA stays":                   {supervisor.Recover{Step: policy.StepRenew, Up: true, SA: "7", Inside: inside(5)}, farEnds{5: 0}, true, policy.ErrAlive, 0},
		"another's SA stays":             {supervisor.Recover{Step: policy.StepRenew, Up: true, Dead: true, SA: "7", Beside: inside(6)}, farEnds{6: 0}, false, policy.ErrSAInUse, 0},
		"another's SA stays, down":       {supervisor.Recover{Step: policy.StepRenew, SA: "7", Beside: inside(6)}, farEnds{6: 0}, true, policy.ErrSAInUse, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			guard := fakeGuard{
				channels: func() []helloguard.Channel {
					return []helloguard.Channel{{OwnedConnection: ownedBy(procfs.ID{}, peer)}}
				},
				ask: func(netip.Addr) bool { return !tc.unguarded },
			}
			charon := &fakeCharon{connections: func() ([]vici.Connection, error) { return nil, nil }}
			x := &told{began: began}
			tc.r.Peer, tc.r.LAC, tc.r.To = peer, office, officeIsOf
			e := New(charon, x, guard, unknownNames, tc.answers)
			err := e.Do(t.Context(), tc.r)
			known := errors.Is(err, policy.ErrAlive) || errors.Is(err, policy.ErrSAInUse)
			if !errors.Is(err, tc.want) && (tc.want != other || err == nil || known) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
			if d := time.Since(began); d != tc.after || len(x.all)+len(charon.commands) > 0 {
				t.Errorf("%s: took %v, want %v; %q, %q", name, d, tc.after, x.all, charon.commands)
			}
		})
	}
}

// An echo request may be lost, so each far end is asked a few times.
func TestFarEndIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Duration
		var mu sync.Mutex // each echo request has a goroutine of its own
		began := time.Now()
		pinger := fakePinger(func() error {
			mu.Lock()
			defer mu.Unlock()
			if sent = append(sent, time.Since(began)); len(sent) < asks {
				return probe.ErrTimeout
			}
			return nil
		})
		if !New(nil, nil, nil, unknownNames, pinger).anyAnswers(t.Context(), inside(5)) {
			t.Error("a link that answers counts as silent")
		}
		if want := []time.Duration{0, insidePause, 2 * insidePause}; !slices.Equal(sent, want) {
			t.Errorf("got %v, want %v", sent, want)
		}
	})
}
