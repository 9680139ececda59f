package probe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	probing "github.com/prometheus-community/pro-bing"
	"go.uber.org/goleak"
)

// ping runs p until it ends, and returns its notifications. p must leave no goroutine and no open file behind.
func ping(t *testing.T, ctx context.Context, p *Ping) (pongs []Pong) {
	t.Helper()
	before, files := goleak.IgnoreCurrent(), openFiles(t)
	p.Notify = func(pong Pong) { pongs = append(pongs, pong) }
	if p.Size == 0 {
		p.Size = MinData
	}
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
	if after := openFiles(t); after != files {
		t.Errorf("%d open files before, %d after", files, after)
	}
	seen := map[int]bool{}
	var s Stats
	for _, pong := range pongs {
		if seen[pong.Seq] || pong.Seq < 1 {
			t.Errorf("number %d comes twice: %+v", pong.Seq, pongs)
		}
		seen[pong.Seq] = true
		if pong.Err == nil {
			s.Reply(pong.RTT)
		} else {
			s.Lose()
		}
	}
	if *p.Stats() != s {
		t.Errorf("figures %+v are not those of %+v", p.Stats(), pongs)
	}
	return pongs
}

func TestPingReply(t *testing.T) {
	for _, size := range []int{MinData, 56, MaxData} {
		p := &Ping{Link: "lo", Source: loopback, Target: loopback, Count: 3, Interval: 20 * time.Millisecond, Size: size, Wait: 5 * time.Second}
		for i, pong := range ping(t, t.Context(), p) {
			if pong.Err != nil || pong.Seq != i+1 || pong.Size != size+8 || pong.RTT <= 0 {
				t.Errorf("got %+v, want a reply in its turn", pong)
			}
		}
		if s := p.Stats(); s.Sent != 3 || s.Received != 3 || s.Max < s.P99() || s.Min <= 0 {
			t.Errorf("%d sent, %d received, min %v, max %v", s.Sent, s.Received, s.Min, s.Max)
		}
	}
}

// Two at a time do not take each other's replies.
func TestPingTwo(t *testing.T) {
	ended := make(chan *Stats)
	for range 2 {
		go func() {
			p := &Ping{Target: loopback, Count: 20, Interval: 5 * time.Millisecond, Size: MinData, Wait: 5 * time.Second}
			p.Run(t.Context())
			ended <- p.Stats()
		}()
	}
	for range 2 {
		if s := <-ended; s.Sent != 20 || s.Received != 20 {
			t.Errorf("%d sent, %d received", s.Sent, s.Received)
		}
	}
}

// The library sends a limited number with one pinger; nothing of that is to be seen.
func TestPingManyRuns(t *testing.T) {
	count := longestRun + 5
	p := &Ping{Target: loopback, Count: count, Interval: time.Millisecond, Wait: 5 * time.Second}
	if ping(t, t.Context(), p); p.Stats().Received != count {
		t.Errorf("%d of %d", p.Stats().Received, count)
	}
}

// The far end answers nothing: each request is lost after its time, and the end is not waited for longer.
func TestPingNoReply(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	run(t, "ip", `link add ppp0 type veth peer name far
		link set ppp0 up
		link set far up
		addr add 10.64.0.1/32 peer 10.64.0.2/32 dev ppp0`)
	start := time.Now()
	p := &Ping{Link: "ppp0", Source: own, Target: far, Count: 5, Interval: 200 * time.Millisecond, Wait: 300 * time.Millisecond}
	for i, pong := range ping(t, t.Context(), p) {
		if pong.Seq != i+1 || !errors.Is(pong.Err, ErrTimeout) || pong.Err.Error() != "no reply within 300ms" {
			t.Errorf("got %+v, want a lost request in its turn", pong)
		}
	}
	if took := time.Since(start); p.Stats().Lost() != 5 || took < 1100*time.Millisecond || took > 3*time.Second {
		t.Errorf("%d lost in %v", p.Stats().Lost(), took)
	}
}

// Requests that are under way when the user stops the ping do not count as lost.
func TestPingCancel(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	run(t, "ip", "link add ppp0 type veth peer name far\n link set ppp0 up\n link set far up")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	p := &Ping{Link: "ppp0", Target: far, Interval: 100 * time.Millisecond, Wait: 10 * time.Second}
	if ping(t, ctx, p); p.Stats().Sent != 0 || time.Since(start) > 3*time.Second {
		t.Errorf("%d sent, in %v", p.Stats().Sent, time.Since(start))
	}
	if p.seq < 2 {
		t.Errorf("%d sent", p.seq)
	}
}

// A link that goes and comes back under the same name is used again, and each request finds its end.
func TestPingRecreatedLink(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	pid, there := neighbour(t)
	connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
	next := make(chan Pong)
	ctx, cancel := context.WithCancel(t.Context())
	p := &Ping{Link: "ppp0", Target: far, Interval: 20 * time.Millisecond, Size: MinData, Wait: time.Second, Notify: func(p Pong) {
		select {
		case next <- p:
		case <-ctx.Done():
		}
	}}
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	until := func(is func(error) bool) {
		t.Helper()
		for limit := time.After(10 * time.Second); ; {
			select {
			case pong := <-next:
				if is(pong.Err) {
					return
				}
			case <-limit:
				t.Fatal("the expected end of an echo request has not come in time")
			}
		}
	}
	until(func(err error) bool { return err == nil })
	run(t, "ip", "link del ppp0")
	until(func(err error) bool { return errors.Is(err, ErrGone) })
	connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
	until(func(err error) bool { return err == nil })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A prohibit route neither burns time nor keeps the end away.
func TestPingProhibit(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	run(t, "ip", "link set lo up\n route add prohibit 10.64.0.2/32")
	cpu := cpuTime(t)
	p := &Ping{Target: far, Count: 5, Interval: 200 * time.Millisecond, Wait: time.Second}
	for _, pong := range ping(t, t.Context(), p) {
		if !errors.Is(pong.Err, ErrSend) || pong.Err.Error() != "cannot send: permission denied" {
			t.Errorf("got %+v, want permission denied", pong)
		}
	}
	if used := cpuTime(t) - cpu; p.Stats().Lost() != 5 || used > 400*time.Millisecond {
		t.Errorf("%d lost, %v of processor time", p.Stats().Lost(), used)
	}
}

// Requests that can't be sent are lost, each with its reason.
func TestPingUnsent(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	pid, there := neighbour(t)
	connect(t, pid, there, "ppp0", "10.64.0.1", "10.64.0.2")
	for want, p := range map[string]*Ping{
		"cannot send: message too long":             {Link: "ppp0", Target: far, Size: 1473, DontFragment: true},
		"interface is gone":                         {Link: "ppp7", Target: far},
		"cannot send: network is unreachable":       {Target: loopback.Next()},
		"cannot send: cannot assign requested addr": {Source: far, Target: far},
	} {
		p.Count, p.Interval, p.Wait = 2, 10*time.Millisecond, time.Second
		for _, pong := range ping(t, t.Context(), p) {
			if pong.Err == nil || !strings.HasPrefix(pong.Err.Error(), want) {
				t.Errorf("%v, want %s", pong.Err, want)
			}
		}
		if p.Stats().Lost() != 2 {
			t.Errorf("%s: %d sent, %d lost", want, p.Stats().Sent, p.Stats().Lost())
		}
	}
	fits := &Ping{Link: "ppp0", Target: far, Size: 1472, DontFragment: true, Count: 1, Wait: 5 * time.Second, Interval: time.Second}
	if ping(t, t.Context(), fits); fits.Stats().Received != 1 {
		t.Error("a packet that fits has no reply")
	}
	parted := &Ping{Link: "ppp0", Target: far, Size: 1473, Count: 1, Wait: 5 * time.Second, Interval: time.Second}
	if ping(t, t.Context(), parted); parted.Stats().Received != 1 {
		t.Error("a packet in fragments has no reply")
	}
}

func TestPingNoPermission(t *testing.T) {
	if !alone(t, "--user", "--map-root-user") {
		return
	}
	p := &Ping{Target: loopback, Interval: time.Second, Size: MinData, Wait: time.Second}
	if err := p.Run(t.Context()); !errors.Is(err, ErrPermission) {
		t.Errorf("ended: %v", err)
	}
}

// Lost requests are forgotten after their time, so that there is a limit to what is remembered.
func TestPingExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Ping{Target: far, Interval: 200 * time.Millisecond, Wait: 5 * time.Second}
		r := p.newRun()
		for n := range longestRun - 1 {
			r.sent(&probing.Packet{Seq: n})
			time.Sleep(p.Interval)
			if len(r.open) > 26 {
				t.Fatalf("%d open after %d", len(r.open), n)
			}
		}
	})
}
