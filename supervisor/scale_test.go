package supervisor

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

var (
	tunnels = flag.Int("tunnels", 1000, "of TestFleet")
	minutes = flag.Int("minutes", 1, "of TestFleet")
)

// On a host with many tunnels, each gets an echo request when it comes up and then every 10 s. The requests are spread
// over that time. The clock skips idle time. The log is for make bench.
func TestFleet(t *testing.T) {
	lasts := time.Duration(*minutes) * time.Minute
	before := cpuTime(t)
	sent, heap := playFleet(t, *tunnels, lasts, func(time.Duration) bool { return true })
	used := cpuTime(t) - before
	var first time.Duration
	var all []time.Duration
	for link, at := range sent {
		if n := len(at); n < 5**minutes || n > 6**minutes+1 {
			t.Fatalf("%s: %d echo requests in %d min", link, n, *minutes)
		}
		first = max(first, at[0])
		all = append(all, at...)
	}
	if first > time.Second {
		t.Errorf("a first echo request after %v", first)
	}
	most, mean := busiest(all, first, lasts)
	if float64(most) > 2*mean {
		t.Errorf("%d echo requests in one second, %.0f in the mean", most, mean)
	}
	t.Logf("%d tunnels, %v: %.2f %% of a core, heap %.1f MB; first echo requests within %v, later %.0f in a second and %d in the busiest one",
		*tunnels, lasts, 100*used.Seconds()/lasts.Seconds(), heap, first, mean, most)
	fleet := fmt.Sprintf("fleet-%d.", *tunnels)
	t.Attr(fleet+"cpu_percent", fmt.Sprint(100*used.Seconds()/lasts.Seconds()))
	t.Attr(fleet+"heap_mb", fmt.Sprint(heap))
	t.Attr(fleet+"echoes_busiest_s", fmt.Sprint(most))
}

// When the service starts, no far end answers, because the line is cut. Soon the far ends are asked at different
// moments.
func TestSilentFleet(t *testing.T) {
	const spread, end = time.Minute, 3 * time.Minute
	sent, _ := playFleet(t, 200, end, func(time.Duration) bool { return false })
	var all []time.Duration
	for _, at := range sent {
		all = append(all, at...)
	}
	if most, mean := busiest(all, spread, end); float64(most) > 3*mean {
		t.Errorf("%d echo requests in one second, %.0f in the mean", most, mean)
	}
}

// Half of many LNSs are away for long. A tunnel that is lost meanwhile does not wait until all of them were tried. An
// LNS that comes back does not wait for the others.
func TestOneLostAmongMany(t *testing.T) {
	const (
		n     = 1000
		other = "Branch999"
		back  = 10 * time.Minute
	)
	f := newFleet(n)
	secured := make(map[string][]time.Duration) // when a LAC's SA was initiated, with or without success
	var mu sync.Mutex
	var began time.Time
	dead := func(lac string) bool {
		var i int
		fmt.Sscanf(lac, "Branch%d", &i)
		return i < n/4 || i < n/2 && time.Since(began) < back
	}
	executors := fakeExecutors{
		echo: func(_ context.Context, r probe.Request) probe.Result {
			return probe.Result{Link: r.Link, Index: r.Index, Target: r.Target, RTT: 20 * time.Millisecond}
		},
		received: func(indexes []int) []ppp.Count { return make([]ppp.Count, len(indexes)) },
		recover: func(_ context.Context, r Recover) error {
			if r.Step == policy.StepSecure || r.Step == policy.StepRenew {
				mu.Lock()
				secured[r.LAC.Name] = append(secured[r.LAC.Name], time.Since(began))
				mu.Unlock()
			}
			switch is := dead(r.LAC.Name); {
			case is && r.Step.Asks():
				time.Sleep(2 * time.Second)
				return lost
			case is:
				time.Sleep(15 * time.Second)
				return lost
			}
			time.Sleep(200 * time.Millisecond)
			return nil
		},
	}
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		l := f.loop(executors)
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()

		time.Sleep(time.Minute)
		f.lose(l, 0, n/2)
		time.Sleep(4 * time.Minute)
		mu.Lock()
		tried := len(secured)
		mu.Unlock()
		if want := 4 * 60 / 15 * maxSlots * 8 / 10; tried < want {
			t.Errorf("%d of %d were tried in 4 min, want %d", tried, n/2, want)
		}
		at := time.Since(began)
		f.lose(l, n-1, n)
		time.Sleep(6 * time.Minute)
		cancel()
		<-ended
		if s := secured[other]; len(s) == 0 || s[0] > at+25*time.Second {
			t.Errorf("%s was lost at %v, and its SA was initiated at %v", other, at, s)
		}
		late := 0
		for i := range n / 4 {
			if s := secured[fmt.Sprint("Branch", n/4+i)]; len(s) == 0 || s[len(s)-1] < back {
				late++
			}
		}
		if late > 0 {
			t.Errorf("a minute after %d LNSs are back, %d SAs were not initiated", n/4, late)
		}
	})
}

// playFleet plays a fleet and returns when each link had its echo requests, and the heap
// in MB at the end. They are answered as that says of their time.
func playFleet(t *testing.T, n int, lasts time.Duration, answered func(at time.Duration) bool) (sent map[string][]time.Duration, heap float64) {
	f := newFleet(n)
	var mu sync.Mutex
	sent = map[string][]time.Duration{}
	var began time.Time
	executors := fakeExecutors{
		echo: func(_ context.Context, r probe.Request) probe.Result {
			at := time.Since(began)
			mu.Lock()
			sent[r.Link] = append(sent[r.Link], at)
			mu.Unlock()
			res := probe.Result{Link: r.Link, Index: r.Index, Target: r.Target, RTT: 20 * time.Millisecond}
			if !answered(at) {
				res.RTT, res.Err = r.Timeout, lost
			}
			time.Sleep(res.RTT)
			return res
		},
		received: func(indexes []int) []ppp.Count { return make([]ppp.Count, len(indexes)) },
	}
	var m runtime.MemStats
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		l := f.loop(executors)
		if err := l.Run(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&m)
		runtime.KeepAlive(l)
	})
	return sent, float64(m.HeapAlloc) / (1 << 20)
}

// loop returns a loop that will get the snapshots of the whole fleet.
func (f *fleet) loop(executors fakeExecutors) *Loop {
	jitter := rand.New(rand.NewPCG(1, 0)).Float64 // the same each time: chance has no say in whether a test holds
	l := fakeLoop(New(f.config, jitter), executors, quiet(10*time.Second), slog.New(slog.DiscardHandler))
	for _, ev := range []Event{f.config, f.xl2tpd, f.vici, f.ppp()} {
		l.Post(ev)
	}
	return l
}

// lose ends a range of tunnels and removes their SAs.
func (f *fleet) lose(l *Loop, from, to int) {
	gone := make(map[netip.Addr]bool)
	for _, c := range f.controls[from:to] {
		gone[c.Peer.Addr()] = true
		l.Post(Ending{OwnedConnection: c, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
	}
	f.xl2tpd.Sessions = slices.DeleteFunc(slices.Clone(f.xl2tpd.Sessions), func(s xl2tpd.Session) bool { return gone[s.Peer.Addr()] })
	f.vici.SAs = slices.DeleteFunc(slices.Clone(f.vici.SAs), func(s vici.SA) bool { return gone[s.RemoteHost.Addr()] })
	f.links = slices.DeleteFunc(slices.Clone(f.links), func(k ppp.Link) bool { return from < k.Index && k.Index <= to })
	for _, ev := range []Event{f.ppp(), f.xl2tpd, f.vici} {
		l.Post(ev)
	}
}

// busiest is how many there were in one second at most, and in the mean, from some time
// on.
func busiest(all []time.Duration, from, to time.Duration) (most int, mean float64) {
	slices.Sort(all)
	i := 0
	for i < len(all) && all[i] <= from {
		i++
	}
	all = all[i:]
	first := 0
	for i := range all {
		for all[i]-all[first] >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most, float64(len(all)) / (to - from).Seconds()
}

// cpuTime returns the processor time of this process so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
