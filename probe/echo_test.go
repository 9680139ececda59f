package probe

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	own      = netip.MustParseAddr("10.64.0.1")
	far      = netip.MustParseAddr("10.64.0.2")
)

// timed is Echo with its duration, which must stay within the timeout.
func timed(t *testing.T, ctx context.Context, req Request) (Result, time.Duration) {
	t.Helper()
	start := time.Now()
	res := Echo(ctx, req)
	took := time.Since(start)
	if late := took - req.Timeout; late > 250*time.Millisecond { // what a busy machine may add
		t.Errorf("took %s, timeout is %s", took, req.Timeout)
	}
	return res, took
}

func TestReply(t *testing.T) {
	defer goleak.VerifyNone(t)
	req := Request{Link: "lo", Index: index(t, "lo"), Source: loopback, Target: loopback, Timeout: time.Second}
	res, took := timed(t, t.Context(), req)
	if res.Err != nil || res.RTT <= 0 || res.RTT > took {
		t.Fatalf("got %+v in %s", res, took)
	}
	if res.Link != req.Link || res.Index != req.Index || res.Target != req.Target {
		t.Errorf("result %+v is not for request %+v", res, req)
	}
}

func TestMappedTarget(t *testing.T) {
	res := Echo(t.Context(), Request{Link: "lo", Target: netip.MustParseAddr("::ffff:127.0.0.1"), Timeout: time.Second})
	if res.Err != nil || res.Target != loopback {
		t.Fatalf("got %+v", res)
	}
}

func TestFailures(t *testing.T) {
	defer goleak.VerifyNone(t)
	lo := index(t, "lo")
	tests := []struct {
		name string
		req  Request
		kind error
		text string
	}{
		{"no such interface", Request{Link: "ppp4711", Target: far, Timeout: 2 * time.Second}, ErrGone,
			"echo 10.64.0.2 through ppp4711: interface is gone"},
		{"no such index", Request{Link: "lo", Index: 1 << 20, Target: loopback, Timeout: 2 * time.Second}, ErrGone,
			"echo 127.0.0.1 through lo: interface is gone"},
		{"another's index", Request{Link: "ppp4711", Index: lo, Target: loopback, Timeout: 2 * time.Second}, ErrGone,
			"is lo now"},
		{"impossible index", Request{Link: "lo", Index: -1, Target: loopback, Timeout: 2 * time.Second}, ErrGone,
			"interface is gone"},
		{"bad interface name", Request{Link: strings.Repeat("p", 20), Target: far, Timeout: 2 * time.Second}, ErrGone,
			"interface is gone"},
		{"no target", Request{Link: "lo", Timeout: 2 * time.Second}, ErrSend, "no target address"},
		{"no time", Request{Link: "lo", Target: loopback}, ErrTimeout, "timeout 0s is too short"},
		{"a nanosecond", Request{Link: "lo", Target: loopback, Timeout: 1}, ErrTimeout, "timeout 1ns is too short"},
		{"foreign source", Request{Link: "lo", Source: netip.MustParseAddr("192.0.2.1"), Target: loopback, Timeout: 2 * time.Second}, ErrSend,
			"cannot send: listen ip4:icmp 192.0.2.1: bind: cannot assign requested address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, took := timed(t, t.Context(), tt.req)
			if !errors.Is(res.Err, tt.kind) || !strings.Contains(res.Err.Error(), tt.text) {
				t.Errorf("got error %q, want %q", res.Err, tt.text)
			}
			if took > time.Second {
				t.Errorf("took %s to fail", took)
			}
			if strings.Contains(res.Err.Error(), "\n") || res.RTT != 0 {
				t.Errorf("got %+v", res)
			}
		})
	}
}

func TestNoReply(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	run(t, "ip", `link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		addr add 10.64.0.1/32 peer 10.64.0.2/32 dev ppp0`)
	for _, timeout := range []time.Duration{300 * time.Millisecond, time.Second, 20 * time.Millisecond} {
		before := openFiles(t)
		res, took := timed(t, t.Context(), Request{Link: "ppp0", Target: far, Timeout: timeout})
		if !errors.Is(res.Err, ErrTimeout) || took < timeout/3 {
			t.Errorf("got %+v in %s", res, took)
		}
		if after := openFiles(t); timeout > 2*closing && after != before {
			t.Errorf("%d open files before, %d after", before, after)
		}
		t.Logf("timeout %s: %v after %s", timeout, res.Err, took.Round(time.Millisecond))
	}
}

func TestCancel(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	run(t, "ip", "link add ppp0 type veth peer name far\n link set ppp0 up\n link set far up")
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	req := Request{Link: "ppp0", Target: far, Timeout: 10 * time.Second}
	if res, took := timed(t, ctx, req); !errors.Is(res.Err, cause) || took > 2*time.Second {
		t.Errorf("got %+v in %s", res, took)
	}
	if res, took := timed(t, ctx, req); !errors.Is(res.Err, cause) || took > time.Second {
		t.Errorf("already ended: got %+v in %s", res, took)
	}
}

// The echo leaves by its link though the route to the target says otherwise.
func TestBound(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	pid, there := neighbour(t)
	link := connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
	run(t, "ip", `link add other type veth peer name void
		link set other up
		link set void up
		route replace 10.64.0.2/32 dev other`)
	if res := Echo(t.Context(), Request{Link: "ppp0", Index: link, Source: own, Target: far, Timeout: 2 * time.Second}); res.Err != nil {
		t.Errorf("through the link: %v", res.Err)
	}
	if res := Echo(t.Context(), Request{Source: own, Target: far, Timeout: 300 * time.Millisecond}); !errors.Is(res.Err, ErrTimeout) {
		t.Errorf("as routed: got %+v, want a timeout", res)
	}
}

func TestRecreatedLink(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	pid, there := neighbour(t)
	last := 0
	for range 3 {
		link := connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
		if link == last {
			t.Fatalf("index %d again", link)
		}
		req := Request{Link: "ppp0", Index: link, Target: far, Timeout: 2 * time.Second}
		if res := Echo(t.Context(), req); res.Err != nil {
			t.Error(res.Err)
		}
		req.Index = last
		if res := Echo(t.Context(), req); last != 0 && !errors.Is(res.Err, ErrGone) {
			t.Errorf("old index: got %+v", res)
		}
		run(t, "ip", "link del ppp0")
		if res := Echo(t.Context(), req); !errors.Is(res.Err, ErrGone) {
			t.Errorf("deleted: got %+v", res)
		}
		last = link
	}
}

// A link that goes while its echo is under way is gone, not silent.
func TestLinkGoesWhileWaiting(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	run(t, "ip", "link add ppp0 type veth peer name far\n link set ppp0 up\n link set far up")
	ctx, cancel := context.WithCancel(t.Context())
	var deleted sync.WaitGroup
	deleted.Go(func() {
		run(t, "ip", "link del ppp0")
		cancel()
	})
	res, _ := timed(t, ctx, Request{Link: "ppp0", Target: far, Timeout: 10 * time.Second})
	deleted.Wait()
	if !errors.Is(res.Err, ErrGone) {
		t.Errorf("got %v", res.Err)
	}
}

func TestLinkDown(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	run(t, "ip", "link add ppp0 type veth peer name far")
	res, took := timed(t, t.Context(), Request{Link: "ppp0", Target: far, Timeout: 2 * time.Second})
	if !errors.Is(res.Err, ErrSend) || !strings.Contains(res.Err.Error(), "network is unreachable") || took > time.Second {
		t.Errorf("got %v in %s", res.Err, took)
	}
}

// A prohibit route must neither hold up an echo nor burn time.
func TestProhibit(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	run(t, "ip", `link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		link set lo up
		route add prohibit 10.64.0.2/32`)
	// Bound to a link, the kernel sends past such a route; unbound it refuses.
	// Either way the answer must come, at the price of an ordinary echo.
	const timeout = 2 * time.Second
	for link, kind := range map[string]error{"": ErrSend, "ppp0": ErrTimeout} {
		cpu := cpuTime(t)
		res, took := timed(t, t.Context(), Request{Link: link, Target: far, Timeout: timeout})
		cpu = cpuTime(t) - cpu
		t.Logf("link %q: %v after %s, %s of processor time", link, res.Err, took, cpu)
		if !errors.Is(res.Err, kind) || cpu > timeout/2 {
			t.Errorf("link %q: got %v, %s of processor time", link, res.Err, cpu)
		}
		if kind == ErrSend && took > timeout/2 {
			t.Errorf("took %s", took)
		}
	}
}

func TestNoPermission(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWUSER) {
		return
	}
	res, took := timed(t, t.Context(), Request{Link: "lo", Target: loopback, Timeout: 2 * time.Second})
	if !errors.Is(res.Err, ErrPermission) || !strings.HasSuffix(res.Err.Error(), "needs CAP_NET_RAW") || took > time.Second {
		t.Errorf("got %v in %s", res.Err, took)
	}
}

// Each of many echoes at a time gets its own reply.
func TestManyAtOnce(t *testing.T) {
	if !alone(t, syscall.CLONE_NEWNET) {
		return
	}
	defer goleak.VerifyNone(t)
	run(t, "ip", "link set lo up")
	before := openFiles(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			target := netip.AddrFrom4([4]byte{127, 0, 1, byte(i)})
			if res := Echo(t.Context(), Request{Link: "lo", Target: target, Timeout: 30 * time.Second}); res.Err != nil || res.Target != target {
				t.Errorf("got %+v", res)
			}
		})
	}
	wg.Wait()
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

// A thousand echoes leave no file open, no goroutine, and no memory behind.
func TestThousandEchoes(t *testing.T) {
	defer goleak.VerifyNone(t)
	req := Request{Link: "lo", Index: index(t, "lo"), Target: loopback, Timeout: 2 * time.Second}
	echoes := func(n int) {
		for range n {
			if res := Echo(t.Context(), req); res.Err != nil {
				t.Fatal(res.Err)
			}
		}
	}
	echoes(50) // what is allocated once
	files, heap := openFiles(t), heapInUse()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	echoes(1000)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	grown := int64(heapInUse()) - int64(heap)
	t.Logf("an echo: %s, %d allocations, %d bytes; after 1000 the heap has grown by %d bytes",
		took/1000, (after.Mallocs-before.Mallocs)/1000, (after.TotalAlloc-before.TotalAlloc)/1000, grown)
	if now := openFiles(t); now != files {
		t.Errorf("%d open files before, %d after", files, now)
	}
	if grown > 64<<10 {
		t.Errorf("heap has grown by %d bytes", grown)
	}
}

// The limit holds even if the work under it hangs.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		start := time.Now()
		_, err := within(3*time.Second, func() (time.Duration, error) { <-release; return 0, nil })
		if took := time.Since(start); took != 3*time.Second || !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v after %s", err, took)
		}
		close(release)
	})
}

func BenchmarkEcho(b *testing.B) {
	req := Request{Link: "lo", Target: loopback, Timeout: 2 * time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if res := Echo(b.Context(), req); res.Err != nil {
			b.Fatal(res.Err)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // finalizers and sync.Pools need a second round
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
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
