package supervisor

import (
	"slices"
	"testing"
	"time"
)

// In userspace mode, a link came of a call in one control connection. So the reason of another one does not explain its end,
// though it has the same peer.
func TestReasonOfAnotherControlConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		calls   []uint16 // the control connections in which xl2tpd has just called
		before  time.Duration
		blind   bool   // the Hello guard has only just begun
		ended   uint16 // the one that the operator hangs up
		explain bool
	}{
		"its own":                  {[]uint16{9}, time.Second, false, 9, true},
		"another one":              {[]uint16{9}, time.Second, false, 8, false},
		"one of two":               {[]uint16{9, 10}, time.Second, false, 10, true},
		"none of two":              {[]uint16{9, 10}, time.Second, false, 8, false},
		"nobody has seen the call": {nil, time.Second, false, 8, true},
		"the call is an old one":   {[]uint16{9}, callTime + time.Second, false, 8, true},
		"the guard has just begun": {[]uint16{9}, time.Second, true, 8, true},
	} {
		n, _ := oneLNS(t, "", full)
		if n.replaced("", 100); !tc.blind {
			n.step(TaskWorks{Task: TaskGuard})
		}
		office, _ := officeAndHome()
		n.plays(2*time.Minute, alive, succeeds)
		n.step(TaskWorks{Task: TaskGuard})
		for _, id := range tc.calls {
			n.step(Calls{closerOf("192.0.2.1", id)})
		}
		n.now = n.now.Add(tc.before)
		office.Index = 7
		n.links(inUserspace(office)...)
		n.now = n.now.Add(time.Minute)
		n.ends(tc.ended, operatorEnds)
		n.now = n.now.Add(20 * time.Second)
		n.links()
		if got := n.lac("office").lastEnd; got == nil || got.Operator != tc.explain {
			t.Errorf("%s: explained %v", name, !tc.explain)
		}
	}
}

// What comes last counts, however much has come before.
func TestFullListForgetsTheOldest(t *testing.T) {
	c := &ends{}
	for i := range maxReasons + 1 {
		c.takeCall(Calls{closerOf("192.0.2.1", uint16(i))}, epoch)
		c.record(Ending{OwnedConnection: closerOf("192.0.2.1", uint16(i))}, epoch)
	}
	calls, reasons := c.calls, c.reasons
	if got := []int{len(calls), int(calls[0].LocalID), int(calls[len(calls)-1].LocalID)}; !slices.Equal(got, []int{maxReasons, 1, maxReasons}) {
		t.Errorf("calls: got length, oldest and latest %v", got)
	}
	if got := []int{len(reasons), int(reasons[0].LocalID), int(reasons[len(reasons)-1].LocalID)}; !slices.Equal(got, []int{maxReasons, 1, maxReasons}) {
		t.Errorf("reasons: got length, oldest and latest %v", got)
	}
}
