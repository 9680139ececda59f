package supervisor

import (
	"slices"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/status"
)

// A pppd whose link can't be found is named once in the log, and in the status while it exists.
func TestLostPppd(t *testing.T) {
	f := newFleet(1)
	b, _ := f.start()
	for _, tc := range []struct {
		lost   []int
		logged int
		part   string
	}{
		{nil, 0, ""},
		{[]int{407}, 1, "(pid 407)"},
		{[]int{407}, 0, "(pid 407)"},
		{[]int{407, 409}, 1, "(pid 407 409)"},
		{nil, 0, ""},
		{[]int{407}, 1, "(pid 407)"},
	} {
		logged := 0
		for _, a := range b.Step(ppp.Snapshot{Links: f.links, Lost: tc.lost, Sources: ppp.Sources{DBus: true, Rtnetlink: true}}, epoch) {
			if n, ok := a.(Note); ok && strings.Contains(n.Text, "pid file") {
				logged++
			}
		}
		problems := b.Overview(epoch).Problems
		is := slices.ContainsFunc(problems, func(p status.Problem) bool {
			return strings.HasPrefix(p.Text.String(), "the pid file of xl2tpd's pppd can't be seen "+tc.part) && tc.part != ""
		})
		if logged != tc.logged || is != (tc.part != "") {
			t.Errorf("%v: %d logged, %q", tc.lost, logged, problems)
		}
	}
}
