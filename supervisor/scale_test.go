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
	lasts := time.Duration(*minutes) * time.Minute
	before := cpuTime(t)
	sent, heap := fates(t, *tunnels, lasts, func(time.Duration) bool { return true })
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
}

// No far end answers when we start, as when the line is cut. They are asked at
// different moments soon.
func TestSilentCrowd(t *testing.T) {
	const spread, end = time.Minute, 3 * time.Minute
	sent, _ := fates(t, 200, end, func(time.Duration) bool { return false })
	var all []time.Duration
	for _, at := range sent {
		all = append(all, at...)
	}
	if most, mean := busiest(all, spread, end); float64(most) > 3*mean {
		t.Errorf("%d echo requests in one second, %.0f in the mean", most, mean)
	}
}

// fates plays a fleet and returns when each link had its echo requests, and the heap
// in MB at the end. They are answered as that says of their time.
func fates(t *testing.T, n int, lasts time.Duration, answered func(at time.Duration) bool) (sent map[string][]time.Duration, heap float64) {
	f := newFleet(n)
	var mu sync.Mutex
	sent = map[string][]time.Duration{}
	var began time.Time
	hands := Hands{
		Echo: func(_ context.Context, r probe.Request) probe.Result {
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
		Received: func(indexes []int) []ppp.Count { return make([]ppp.Count, len(indexes)) },
	}
	front := Front{Ready: func() {}, Status: func(string) {}, Pulse: 10 * time.Second, Beat: func() {}, Keep: func(Memory) {}}
	var m runtime.MemStats
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		jitter := rand.New(rand.NewPCG(1, 0)).Float64 // the same each time: chance has no say in whether this holds
		l := NewLoop(New(f.config, jitter), hands, front, slog.New(slog.DiscardHandler))
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
	return sent, float64(m.HeapAlloc) / (1 << 20)
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

// cpuTime is what this process has used of the processor so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
