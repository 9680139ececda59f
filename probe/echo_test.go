package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	own      = netip.MustParseAddr("10.64.0.1")
	far      = netip.MustParseAddr("10.64.0.2")
)

// pinger is one that runs as long as the test.
func pinger(t testing.TB) *Pinger {
	t.Helper()
	p, before := &Pinger{}, goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	p.init()
	<-p.changed // its socket is among the open files from now on
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended: %v", err)
		}
		if n := len(p.waiting); n != 0 {
			t.Errorf("%d echoes are still waited for", n)
		}
		goleak.VerifyNone(t, before)
	})
	return p
}

// timed is Echo with its duration, which must stay within the timeout.
func timed(t *testing.T, p *Pinger, ctx context.Context, req Request) (Result, time.Duration) {
	t.Helper()
	start := time.Now()
	res := p.Echo(ctx, req)
	took := time.Since(start)
	if late := took - req.Timeout; late > time.Second { // what a busy machine may add
		t.Errorf("took %s, timeout is %s", took, req.Timeout)
	}
	return res, took
}

func TestReply(t *testing.T) {
	p := pinger(t)
	req := Request{Link: "lo", Index: index(t, "lo"), Source: loopback, Target: loopback, Timeout: time.Second}
	res, took := timed(t, p, t.Context(), req)
	if res.Err != nil || res.RTT <= 0 || res.RTT > took {
		t.Fatalf("got %+v in %s", res, took)
	}
	if res.Link != req.Link || res.Index != req.Index || res.Target != req.Target {
		t.Errorf("result %+v is not for request %+v", res, req)
	}
}

func TestMappedTarget(t *testing.T) {
	p := pinger(t)
	res := p.Echo(t.Context(), Request{Link: "lo", Target: netip.MustParseAddr("::ffff:127.0.0.1"), Timeout: time.Second})
	if res.Err != nil || res.Target != loopback {
		t.Fatalf("got %+v, want a reply from lo", res)
	}
}

func TestFailures(t *testing.T) {
	p := pinger(t)
	tests := []struct {
		name string
		req  Request
		kind error
		text string
	}{
		{"no such interface", Request{Link: "ppp7", Index: 1 << 20, Target: loopback, Timeout: 2 * time.Second}, ErrGone,
			"echo 127.0.0.1 through ppp7: interface is gone"},
		{"impossible index", Request{Link: "lo", Index: -1, Target: loopback, Timeout: 2 * time.Second}, ErrGone,
			"interface is gone"},
		{"no target", Request{Link: "lo", Timeout: 2 * time.Second}, ErrSend, "target is no IPv4 address"},
		{"IPv6", Request{Target: netip.MustParseAddr("::1"), Timeout: 2 * time.Second}, ErrSend, "target is no IPv4 address"},
		{"no time", Request{Link: "lo", Target: loopback}, ErrTimeout, "no reply within 0s"},
		{"foreign source", Request{Link: "lo", Source: netip.MustParseAddr("192.0.2.1"), Target: loopback, Timeout: 2 * time.Second}, ErrSend,
			"cannot send: sendmsg: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, took := timed(t, p, t.Context(), tt.req)
			if !errors.Is(res.Err, tt.kind) || !strings.Contains(res.Err.Error(), tt.text) {
				t.Errorf("got error %q, want %q", res.Err, tt.text)
			}
			if took > time.Second {
				t.Errorf("took %s to fail", took)
			}
			if strings.Contains(res.Err.Error(), "\n") || res.RTT != 0 {
				t.Errorf("got %+v, want an error in one line, and no round trip", res)
			}
		})
	}
}

func TestNoReply(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", `link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		addr add 10.64.0.1/32 peer 10.64.0.2/32 dev ppp0`)
	link := index(t, "ppp0")
	for _, timeout := range []time.Duration{300 * time.Millisecond, time.Second, 20 * time.Millisecond} {
		before := openFiles(t)
		res, took := timed(t, p, t.Context(), Request{Link: "ppp0", Index: link, Target: far, Timeout: timeout})
		if !errors.Is(res.Err, ErrTimeout) || took < timeout {
			t.Errorf("got %+v in %s", res, took)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%d open files before, %d after", before, after)
		}
		t.Logf("timeout %s: %v after %s", timeout, res.Err, took.Round(time.Millisecond))
	}
}

func TestCancel(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", "link add ppp0 type veth peer name far\n link set ppp0 up\n link set far up")
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	req := Request{Link: "ppp0", Index: index(t, "ppp0"), Target: far, Timeout: 10 * time.Second}
	if res, took := timed(t, p, ctx, req); !errors.Is(res.Err, cause) || took > 2*time.Second {
		t.Errorf("got %+v in %s", res, took)
	}
	if res, took := timed(t, p, ctx, req); !errors.Is(res.Err, cause) || took > time.Second {
		t.Errorf("already ended: got %+v in %s", res, took)
	}
}

// The echo leaves by its link though the route to the target says otherwise.
func TestBound(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	pid, there := neighbour(t)
	link := connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
	run(t, "ip", `link add other type veth peer name void
		link set other up
		link set void up
		route replace 10.64.0.2/32 dev other`)
	if res := p.Echo(t.Context(), Request{Link: "ppp0", Index: link, Source: own, Target: far, Timeout: 2 * time.Second}); res.Err != nil {
		t.Errorf("through the link: %v", res.Err)
	}
	if res := p.Echo(t.Context(), Request{Source: own, Target: far, Timeout: 300 * time.Millisecond}); !errors.Is(res.Err, ErrTimeout) {
		t.Errorf("as routed: got %+v, want a timeout", res)
	}
}

func TestRecreatedLink(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	pid, there := neighbour(t)
	last := 0
	for range 3 {
		link := connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
		if link == last {
			t.Fatalf("index %d again", link)
		}
		req := Request{Link: "ppp0", Index: link, Target: far, Timeout: 2 * time.Second}
		if res := p.Echo(t.Context(), req); res.Err != nil {
			t.Error(res.Err)
		}
		req.Index = last
		if res := p.Echo(t.Context(), req); last != 0 && !errors.Is(res.Err, ErrGone) {
			t.Errorf("old index: got %+v", res)
		}
		run(t, "ip", "link del ppp0")
		req.Index = link
		if res := p.Echo(t.Context(), req); !errors.Is(res.Err, ErrGone) {
			t.Errorf("deleted: got %+v", res)
		}
		last = link
	}
}

// If a link goes while its echo is under way, the error is ErrGone.
func TestLinkGoesWhileWaiting(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", "link add ppp0 type veth peer name far\n link set ppp0 up\n link set far up")
	link := index(t, "ppp0")
	ctx, cancel := context.WithCancel(t.Context())
	var deleted sync.WaitGroup
	deleted.Go(func() {
		run(t, "ip", "link del ppp0")
		cancel()
	})
	res, _ := timed(t, p, ctx, Request{Link: "ppp0", Index: link, Target: far, Timeout: 10 * time.Second})
	deleted.Wait()
	if !errors.Is(res.Err, ErrGone) {
		t.Errorf("got %v, want ErrGone", res.Err)
	}
}

func TestLinkDown(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", "link add ppp0 type veth peer name far")
	res, took := timed(t, p, t.Context(), Request{Link: "ppp0", Index: index(t, "ppp0"), Target: far, Timeout: 2 * time.Second})
	if !errors.Is(res.Err, ErrSend) || !strings.Contains(res.Err.Error(), "network is unreachable") || took > time.Second {
		t.Errorf("got %v in %s", res.Err, took)
	}
}

// A prohibit route must neither hold up an echo nor burn time.
func TestProhibit(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", `link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		link set lo up
		route add prohibit 10.64.0.2/32`)
	// Bound to a link, the kernel sends past such a route; unbound it refuses.
	// Either way the answer must come, at the price of an ordinary echo.
	const timeout = 2 * time.Second
	for link, kind := range map[int]error{0: ErrSend, index(t, "ppp0"): ErrTimeout} {
		cpu := cpuTime(t)
		res, took := timed(t, p, t.Context(), Request{Index: link, Target: far, Timeout: timeout})
		cpu = cpuTime(t) - cpu
		t.Logf("link %d: %v after %s, %s of processor time", link, res.Err, took, cpu)
		if !errors.Is(res.Err, kind) || cpu > timeout/2 {
			t.Errorf("link %d: got %v, %s of processor time", link, res.Err, cpu)
		}
		if kind == ErrSend && took > timeout/2 {
			t.Errorf("took %s", took)
		}
	}
}

func TestNoPermission(t *testing.T) {
	if !alone(t, "--user", "--map-root-user") {
		return
	}
	p := &Pinger{}
	if err := p.Run(t.Context()); !errors.Is(err, ErrPermission) || !strings.HasSuffix(err.Error(), "needs CAP_NET_RAW") {
		t.Errorf("ended: %v", err)
	}
	res, took := timed(t, p, t.Context(), Request{Target: loopback, Timeout: 2 * time.Second})
	if !errors.Is(res.Err, ErrPermission) || took > time.Second {
		t.Errorf("got %v in %s", res.Err, took)
	}
}

// Before there is a socket an echo waits for one; after, it does not.
func TestNoSocket(t *testing.T) {
	p := &Pinger{}
	res, _ := timed(t, p, t.Context(), Request{Target: loopback, Timeout: 50 * time.Millisecond})
	if !Unsent(res.Err) {
		t.Errorf("before: %v", res.Err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.Ready = cancel
	if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	res, took := timed(t, p, t.Context(), Request{Target: loopback, Timeout: 10 * time.Second})
	if !errors.Is(res.Err, context.Canceled) || took > time.Second {
		t.Errorf("after: %v in %s", res.Err, took)
	}
}

// Only a reply with the token of an echo that is under way is one.
func TestForgedReply(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	run(t, "ip", `link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		link set lo up
		addr add 10.64.0.1/32 peer 10.64.0.2/32 dev ppp0`)
	p := pinger(t)
	link := index(t, "ppp0")
	p.Echo(t.Context(), Request{Target: loopback, Timeout: time.Second}) // there is a socket now
	forge, err := net.Dial("ip4:icmp", "10.64.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer forge.Close()
	id := int(p.socket.id)
	reply := func(id, seq int, data []byte) []byte {
		m := icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}
		b, err := m.Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var sent sync.WaitGroup
	sent.Go(func() {
		for seq := range 8 {
			for _, b := range [][]byte{reply(id, seq, make([]byte, 8)), reply(id, seq, nil), reply(id+1, seq, make([]byte, 8)), {0, 0, 0, 0}, {0}} {
				forge.Write(b)
			}
		}
	})
	res, _ := timed(t, p, t.Context(), Request{Index: link, Source: own, Target: far, Timeout: 300 * time.Millisecond})
	sent.Wait()
	if !errors.Is(res.Err, ErrTimeout) {
		t.Errorf("got %+v, want ErrTimeout", res)
	}
}

// Each of many echoes at a time gets its own reply.
func TestManyAtOnce(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", "link set lo up")
	before := openFiles(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			target := netip.AddrFrom4([4]byte{127, 0, 1, byte(i)})
			if res := p.Echo(t.Context(), Request{Link: "lo", Index: 1, Target: target, Timeout: 30 * time.Second}); res.Err != nil || res.Target != target {
				t.Errorf("got %+v, want a reply", res)
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
	p := pinger(t)
	req := Request{Link: "lo", Index: index(t, "lo"), Target: loopback, Timeout: 2 * time.Second}
	echoes := func(n int) {
		for range n {
			if res := p.Echo(t.Context(), req); res.Err != nil {
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

// started sends echo requests by Start, and returns their results by link.
func started(t testing.TB, p *Pinger, reqs ...Request) map[string]Result {
	t.Helper()
	got := make(chan []Result, len(reqs))
	p.Done = func(r []Result) { got <- r }
	p.Start(reqs)
	all := map[string]Result{}
	for len(all) < len(reqs) {
		for _, r := range <-got {
			all[r.Link] = r
		}
	}
	return all
}

// Echo requests that are sent together have the same results as single ones.
func TestStart(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", `link set lo up
		link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		addr add 10.64.0.1/32 peer 10.64.0.2/32 dev ppp0`)
	const timeout = 300 * time.Millisecond
	reqs := []Request{
		{Link: "no such interface", Index: 1 << 20, Target: loopback, Timeout: timeout},
		{Link: "no target", Timeout: timeout},
		{Link: "silent", Index: index(t, "ppp0"), Source: own, Target: far, Timeout: timeout},
		{Link: "foreign source", Source: netip.MustParseAddr("192.0.2.1"), Target: loopback, Timeout: timeout},
	}
	for i := range 3 * batchSize {
		reqs = append(reqs, Request{Link: fmt.Sprint("lo ", i), Index: 1, Target: loopback, Timeout: 30 * time.Second})
	}
	began := time.Now()
	for link, res := range started(t, p, reqs...) {
		want := map[string]error{"no such interface": ErrGone, "no target": ErrSend, "silent": ErrTimeout, "foreign source": ErrSend}[link]
		if !errors.Is(res.Err, want) || (res.Err == nil) != (res.RTT > 0) || res.RTT > time.Since(began) {
			t.Errorf("%s: got %+v, want %v", link, res, want)
		}
	}
	if took := time.Since(began); took < timeout {
		t.Errorf("nothing came for %v, less than %v", took, timeout)
	}
	if !p.fires.IsZero() {
		t.Error("the timer still runs")
	}
}

// Echo requests that were started before there was a socket are sent once there is one. A cancelled one ends.
func TestStartEarly(t *testing.T) {
	got := make(chan []Result, 2)
	p := &Pinger{Done: func(r []Result) { got <- r }}
	p.Start([]Request{{Link: "lo", Index: 1, Target: loopback, Timeout: 30 * time.Second}, {Link: "other", Target: loopback, Timeout: 30 * time.Second}})
	p.Cancel("other", 0)
	if r := <-got; len(r) != 1 || r[0].Link != "other" || !errors.Is(r[0].Err, context.Canceled) {
		t.Errorf("cancelled: got %+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	if r := <-got; len(r) != 1 || r[0].Err != nil {
		t.Errorf("got %+v, want one reply", r)
	}
	cancel()
	<-ended
	p.Start([]Request{{Link: "late", Target: loopback, Timeout: 30 * time.Second}})
	if r := <-got; !errors.Is(r[0].Err, context.Canceled) {
		t.Errorf("without a socket: got %+v", r)
	}
}

// Many echo requests that are sent together take next to no allocations.
func TestStartAllocations(t *testing.T) {
	p := pinger(t)
	var reqs []Request
	for i := range batchSize {
		reqs = append(reqs, Request{Link: fmt.Sprint("lo ", i), Index: 1, Target: loopback, Timeout: 30 * time.Second})
	}
	got := make(chan int, len(reqs))
	p.Done = func(r []Result) { got <- len(r) }
	each := testing.AllocsPerRun(100, func() {
		p.Start(reqs)
		for left := len(reqs); left > 0; left -= <-got {
		}
	}) / batchSize
	t.Logf("%.2f allocations for an echo request", each)
	if each > 1 {
		t.Errorf("%.2f allocations for an echo request", each)
	}
}

// Replies wake nobody up: those of many requests are read together, after a pause. A reply has come when the kernel got it.
func TestRepliesAreReadTogether(t *testing.T) {
	p := pinger(t)
	var reqs []Request
	for i := range batchSize {
		reqs = append(reqs, Request{Link: fmt.Sprint("lo ", i), Index: 1, Target: loopback, Timeout: 30 * time.Second})
	}
	got := make(chan []Result, len(reqs))
	p.Done = func(r []Result) { got <- r }
	for range 2 {
		p.mu.Lock()
		p.usual = longestPause
		p.mu.Unlock()
		began := time.Now()
		p.Start(reqs)
		results := <-got
		if took := time.Since(began); len(results) != len(reqs) || took < longestPause {
			t.Errorf("%d of %d results after %v, want all after %v", len(results), len(reqs), took, longestPause)
		}
		for _, r := range results {
			if r.Err != nil || r.RTT > longestPause/2 {
				t.Errorf("got %+v, want a reply that was read soon", r)
			}
		}
	}
}

// The kernel tells by the host's clock when a packet came. That clock may be set meanwhile.
func TestCame(t *testing.T) {
	now := time.Now()
	b := newReceiveBatch()
	if got := b.came(0, now); got != now {
		t.Errorf("without a timestamp: got %v", got)
	}
	b.messages[0].header.SetControllen(int(unsafe.Sizeof(b.controls[0])))
	for _, ago := range []time.Duration{time.Millisecond, 0, time.Hour} {
		stamp := now.Add(-ago)
		b.controls[0] = timestamp{unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SO_TIMESTAMPNS_NEW}, stamp.Unix(), int64(stamp.Nanosecond())}
		if got := now.Sub(b.came(0, now)); got != ago {
			t.Errorf("it came %v ago, got %v", ago, got)
		}
	}
	b.controls[0].sec += 3600 + 10
	if got := b.came(0, now); got != now {
		t.Errorf("it comes in the future: got %v", got)
	}
}

// An echo of which the reply seems to have come before the request, for the clock was set, has the time until the reading.
func TestRoundTripWhileTheClockIsSet(t *testing.T) {
	p := &Pinger{Done: func([]Result) {}}
	p.init()
	now := time.Now()
	p.waiting[1] = &pendingEcho{seq: 1, sent: now.Add(-time.Second), req: Request{Target: loopback}}
	p.answered(1, [8]byte{}, now.Add(-time.Hour))
	if len(p.results) != 1 || p.results[0].RTT < time.Second || p.results[0].RTT > time.Minute {
		t.Errorf("got %+v, want the round trip by the monotonic clock", p.results)
	}
}

func BenchmarkStart(b *testing.B) {
	p := pinger(b)
	reqs := slices.Repeat([]Request{{Link: "lo", Index: 1, Target: loopback, Timeout: 2 * time.Second}}, batchSize)
	got := make(chan int, len(reqs))
	p.Done = func(r []Result) { got <- len(r) }
	b.ReportAllocs()
	for b.Loop() {
		p.Start(reqs)
		for left := len(reqs); left > 0; {
			p.look() // without the pause
			select {
			case n := <-got:
				left -= n
			default:
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batchSize), "ns/echo")
}

func BenchmarkEcho(b *testing.B) {
	p := pinger(b)
	req := Request{Link: "lo", Index: 1, Target: loopback, Timeout: 2 * time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if res := p.Echo(b.Context(), req); res.Err != nil {
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
