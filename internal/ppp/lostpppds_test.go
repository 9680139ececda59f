package ppp

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// A pppd of xl2tpd in this network namespace that runs no known device is lost.
func TestLost(t *testing.T) {
	h := newHost()
	h.net("self", 1)
	h.process(400, 1, "xl2tpd", "S", 100, "/usr/sbin/xl2tpd")
	for pid, namespace := range map[int]uint64{406: 1, 407: 1, 408: 2, 409: 1} {
		h.process(pid, 400, "pppd", "S", 250, kernelArgs...)
		h.net(strconv.Itoa(pid), namespace)
	}
	h.process(500, 1, "pppd", "S", 250, "pppd", "call", "isp")
	h.net("500", 1)
	h.pidFile("run/ppp0.pid", "406\n")
	h.process(410, 400, "pppd", "Z", 250)
	o := pppdFinder{root: h}
	o.find([]device{{index: 5, name: "ppp0"}, {index: 6, name: "ppp1"}})
	if got := o.lost(time.Now()); !slices.Equal(got, []int{407, 409}) {
		t.Errorf("got %v, want %v", got, []int{407, 409})
	}
	if got := o.lost(time.Unix(1700000000, 0).Add(5 * time.Second)); got != nil {
		t.Errorf("just started: %v", got)
	}
	h.pidFile("run/ppp1.pid", "409\n")
	o.find([]device{{index: 5, name: "ppp0"}, {index: 6, name: "ppp1"}})
	if got := o.lost(time.Now()); !slices.Equal(got, []int{407}) {
		t.Errorf("got %v, want %v", got, []int{407})
	}
}

// Lost pppds are delivered once a device has had no known pppd for a while, until that device is gone.
func TestTellsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t.Context())
		searches := 0
		b.findPppds = func(time.Time) []int { searches++; return []int{407} }
		b.set(state{unowned: []int{6}}, nil)
		lost := func() []int {
			all := b.delivered()
			return all[len(all)-1].Lost
		}
		b.pass(unownedTime / 2)
		if lost() != nil || searches > 0 {
			t.Errorf("%v after %d searches", lost(), searches)
		}
		b.pass(unownedTime/2 + resync + time.Second)
		if !slices.Equal(lost(), []int{407}) || searches == 0 {
			t.Errorf("got %v, want 407, found by a search", lost())
		}
		searches = 0
		for range 50 {
			b.again.Send()
			b.pass(resync / 100)
		}
		if searches > 1 {
			t.Errorf("%d searches in %v", searches, resync/2)
		}
		b.set(state{}, nil)
		b.pass(resync + time.Second)
		if lost() != nil {
			t.Errorf("got %v, want none", lost())
		}
	})
}
