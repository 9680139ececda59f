package supervisor

import (
	"context"
	"flag"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/ppp"
	"xl2tpd-keepalive/probe"
)

var (
	tunnels = flag.Int("tunnels", 1000, "of TestCrowd")
	minutes = flag.Int("minutes", 1, "of TestCrowd")
)

// A host with many tunnels, on a clock that skips idle time: each gets its echo
// requests, at once and then every 10 s, spread over them. The rest is told for make bench.
func TestCrowd(t *testing.T) {
	f := newFleet(*tunnels)
	var mu sync.Mutex
	sent := map[string][]time.Duration{} // by link
	var began time.Time
	hands := Hands{
		Echo: func(_ context.Context, r probe.Request) probe.Result {
			mu.Lock()
			sent[r.Link] = append(sent[r.Link], time.Since(began))
			mu.Unlock()
			time.Sleep(20 * time.Millisecond)
			return probe.Result{Link: r.Link, Index: r.Index, Target: r.Target, RTT: 20 * time.Millisecond}
		},
		Received: func(indexes []int) []ppp.Count { return make([]ppp.Count, len(indexes)) },
	}
	front := Front{Ready: func() {}, Status: func(string) {}, Pulse: 10 * time.Second, Beat: func() {}, LeaveDown: func([]string) {}}
	lasts := time.Duration(*minutes) * time.Minute
	var m runtime.MemStats
	before := cpuTime(t)
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		l := NewLoop(New(f.config, rand.Float64), hands, front, slog.New(slog.DiscardHandler))
		for _, ev := range []Event{f.config, f.xl2tpd, f.vici, f.ppp()} {
			l.Post(ev)
		}
		if err := l.Run(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&m)
		runtime.KeepAlive(l)
	})
	used := cpuTime(t) - before
	var first time.Duration
	var all []time.Duration
	for _, l := range f.links {
		at := sent[l.Name]
		if n := len(at); n < 5**minutes || n > 6**minutes+1 {
			t.Fatalf("%s: %d echo requests in %d min", l.Name, n, *minutes)
		}
		first = max(first, at[0])
		all = append(all, at...)
	}
	if first > time.Second {
		t.Errorf("a first echo request after %v", first)
	}
	slices.Sort(all)
	most, from := 0, 0
	for i := range all {
		for all[i]-all[from] >= time.Second {
			from++
		}
		if all[from] > first {
			most = max(most, i-from+1)
		}
	}
	mean := float64(len(all)) / lasts.Seconds()
	if float64(most) > 2*mean {
		t.Errorf("%d echo requests in one second, %.0f in the mean", most, mean)
	}
	t.Logf("%d tunnels, %v: %.2f %% of a core, heap %.1f MB; first echo requests within %v, later %.0f in a second and %d in the busiest one",
		*tunnels, lasts, 100*used.Seconds()/lasts.Seconds(), float64(m.HeapAlloc)/(1<<20), first, mean, most)
}

// cpuTime is what this process has used of the processor so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
