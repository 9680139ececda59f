package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a fake host for a loop. Echoes are answered after rtt, or time out.
type host struct {
	loop  *Loop
	began time.Time
	rtt   time.Duration
	log   bytes.Buffer

	mu      sync.Mutex
	deaf    bool
	panics  bool
	grows   bool
	rx      uint64
	out     int
	maxOut  int
	echoes  []time.Duration // when each was sent
	status  []string
	beats   []time.Duration
	readied int
}

// fakeExecutors are functions of a test. A test that needs one of them sets it.
type fakeExecutors struct {
	start    func() // called before echo requests are sent
	echo     func(context.Context, probe.Request) probe.Result
	received func(indexes []int) []ppp.Count
	recover  func(context.Context, Recover) error
	*flights
}

// flights are the echo requests under way.
type flights struct {
	loop    *Loop
	mu      sync.Mutex
	cancels map[LinkKey]context.CancelFunc
}

// fakeLoop is NewLoop for executors of a test.
func fakeLoop(core *Core, e fakeExecutors, n Notifier, log *slog.Logger) *Loop {
	e.flights = &flights{cancels: make(map[LinkKey]context.CancelFunc)}
	e.loop = NewLoop(core, e, n, log)
	return e.loop
}

func (e fakeExecutors) StartEchoes(all []probe.Request) {
	if e.start != nil {
		e.start()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range all {
		ctx, cancel := context.WithCancel(context.Background())
		e.cancels[key(r.Link, r.Index)] = cancel
		go func() {
			defer cancel()
			e.loop.EchoesDone([]probe.Result{e.echo(ctx, r)})
		}()
	}
}

func (e fakeExecutors) CancelEcho(link LinkKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancels[link]()
}

func (e fakeExecutors) Received(indexes []int) []ppp.Count           { return e.received(indexes) }
func (e fakeExecutors) Recover(ctx context.Context, r Recover) error { return e.recover(ctx, r) }
func (e fakeExecutors) LookUp(string)                                {}
func (e fakeExecutors) CallHook(hook.Event)                          {}

// quiet is a Notifier that ignores everything, with this pulse.
type quiet time.Duration

func (q quiet) Ready()               {}
func (q quiet) Status(string)        {}
func (q quiet) Keep(SavedState)      {}
func (q quiet) Beat()                {}
func (q quiet) Pulse() time.Duration { return time.Duration(q) }

// hostNotifier keeps what a host is told.
type hostNotifier struct {
	quiet
	h *host
}

func (n hostNotifier) Ready()          { n.h.readied++ }
func (n hostNotifier) Status(s string) { n.h.status = append(n.h.status, s) }
func (n hostNotifier) Beat()           { n.h.beats = append(n.h.beats, time.Since(n.h.began)) }

// live runs a loop for a while beside f, in fake time.
func live(t *testing.T, d time.Duration, f func(h *host)) *host {
	h := &host{rtt: 20 * time.Millisecond}
	synctest.Test(t, func(t *testing.T) {
		h.began = time.Now()
		h.loop = fakeLoop(New(config.Default(""), func() float64 { return 0 }),
			fakeExecutors{start: h.start, echo: h.echo, received: h.received}, hostNotifier{quiet(10 * time.Second), h}, slog.New(slog.NewTextHandler(&h.log, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			h.loop.Post(config.Default(""))
			h.loop.Post(running(nil, 100))
			h.loop.Post(vici.Snapshot{})
			f(h)
		})
		if err := h.loop.Run(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		wg.Wait()
		if h.out != 0 {
			t.Errorf("%d echoes still out", h.out)
		}
	})
	return h
}

func (h *host) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.panics {
		h.echoes = append(h.echoes, time.Since(h.began))
		panic("ouch")
	}
}

func (h *host) echo(ctx context.Context, req probe.Request) probe.Result {
	h.mu.Lock()
	h.out++
	h.maxOut = max(h.maxOut, h.out)
	h.echoes = append(h.echoes, time.Since(h.began))
	deaf := h.deaf
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.out--
		h.mu.Unlock()
	}()
	wait := h.rtt
	if deaf {
		wait = req.Timeout
	}
	res := probe.Result{Link: req.Link, Index: req.Index, Target: req.Target}
	select {
	case <-ctx.Done():
		res.Err = ctx.Err()
	case <-time.After(wait):
		if deaf {
			res.Err = lost
		} else {
			h.mu.Lock()
			h.rx++
			h.mu.Unlock()
		}
	}
	return res
}

func (h *host) received(indexes []int) []ppp.Count {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.grows {
		h.rx += 2
	}
	return slices.Repeat([]ppp.Count{{Packets: h.rx}}, len(indexes))
}

func (h *host) links(links ...ppp.Link) {
	h.loop.Post(ppp.Snapshot{Links: links, Sources: ppp.Sources{DBus: true, Rtnetlink: true}})
}

func TestLoopEchoes(t *testing.T) {
	h := live(t, 35*time.Second, func(h *host) { h.links(link("ppp0", 5, true)) })
	if want := ms(0, 10000, 20000, 30000); !slices.Equal(h.echoes, want) {
		t.Errorf("echoes at %v, want %v", h.echoes, want)
	}
	if n := len(h.loop.echoes); n != 0 {
		t.Errorf("%d echo requests are still waited for", n)
	}
	if h.readied != 1 {
		t.Errorf("ready %d times", h.readied)
	}
	if got := h.status[len(h.status)-1]; got != "1 tunnel up" {
		t.Errorf("status %q", h.status)
	}
	if n := strings.Count(h.log.String(), "\n"); n != 3 {
		t.Errorf("%d lines, want xl2tpd running, tunnel up, tunnel alive:\n%s", n, h.log.String())
	}
}

func TestLoopBusyLink(t *testing.T) {
	h := live(t, time.Hour, func(h *host) {
		h.mu.Lock()
		h.grows = true
		h.mu.Unlock()
		h.links(link("ppp0", 5, true))
	})
	if want := ms(0); !slices.Equal(h.echoes, want) {
		t.Errorf("echoes at %v, want %v", h.echoes, want)
	}
}

// A link that gets another address during a lost echo is asked again without delay.
func TestLoopLinkMoves(t *testing.T) {
	moved := link("ppp1", 6, true)
	renumbered := moved
	renumbered.Peer = addr("10.0.0.77")
	h := live(t, 4*time.Second, func(h *host) {
		h.mu.Lock()
		h.deaf = true
		h.mu.Unlock()
		h.links(link("ppp0", 5, true))
		time.Sleep(time.Second)
		h.links(moved)
		time.Sleep(time.Second)
		h.mu.Lock()
		h.deaf = false
		h.mu.Unlock()
		h.links(renumbered)
	})
	if want := ms(0, 1000, 2000); !slices.Equal(h.echoes, want) {
		t.Errorf("echoes at %v, want %v", h.echoes, want)
	}
}

func TestLoopEndsDuringEchoes(t *testing.T) {
	h := live(t, 200*time.Millisecond, func(h *host) {
		h.mu.Lock()
		h.deaf = true
		h.mu.Unlock()
		var links []ppp.Link
		for i := range 2 * maxEchoes {
			links = append(links, link(fmt.Sprint("ppp", i), 1+i, true))
		}
		h.links(links...)
	})
	if len(h.echoes) != maxEchoes {
		t.Errorf("%d echoes, want no more after the end", len(h.echoes))
	}
}

// At the end the jobs that run are finished, and those that wait are dropped.
func TestLoopDropsWhatWaits(t *testing.T) {
	l := fakeLoop(New(config.Default(""), nil), fakeExecutors{}, quiet(0), slog.Default())
	for _, tc := range []struct {
		pool *workers
		ends Event
	}{
		{&l.counters, Counters{}},
		{&l.steps, StepDone{Step: policy.StepDial}},
		{&l.questions, StepDone{Step: policy.StepLook}},
	} {
		for tc.pool.free > 0 {
			tc.pool.start(func() { l.Post(tc.ends) })
		}
		tc.pool.start(func() {
			t.Errorf("one more that ends with %T%+v", tc.ends, tc.ends)
			l.Post(tc.ends)
		})
	}
	l.drain()
}

func TestLoopBoundsEchoes(t *testing.T) {
	h := live(t, 2*time.Second, func(h *host) {
		var links []ppp.Link
		for i := range 3 * maxEchoes {
			links = append(links, link(fmt.Sprint("ppp", i), 1+i, true))
		}
		h.links(links...)
	})
	if h.maxOut != maxEchoes {
		t.Errorf("%d echoes at once, want %d", h.maxOut, maxEchoes)
	}
	if len(h.echoes) != 3*maxEchoes || slices.Max(h.echoes) != 40*time.Millisecond {
		t.Errorf("%d echoes, the last after %v", len(h.echoes), slices.Max(h.echoes))
	}
}

func TestLoopBeatsWhileIdle(t *testing.T) {
	h := live(t, 21*time.Second, func(*host) {})
	if want := ms(0, 5000, 10000, 15000, 20000); !slices.Equal(h.beats, want) {
		t.Errorf("beats at %v, want %v", h.beats, want)
	}
}

// An event just before a beat does not delay it.
func TestLoopBeatsWhileBusy(t *testing.T) {
	h := live(t, 16*time.Second, func(h *host) {
		time.Sleep(4900 * time.Millisecond)
		h.loop.Post(Tick{})
	})
	if want := ms(0, 5000, 10000, 15000); !slices.Equal(h.beats, want) {
		t.Errorf("beats at %v, want %v", h.beats, want)
	}
}

func TestLoopHandPanics(t *testing.T) {
	h := live(t, 5*time.Second, func(h *host) {
		h.mu.Lock()
		h.panics = true
		h.mu.Unlock()
		h.links(link("ppp0", 5, true))
	})
	if want := ms(0, 1000, 3000); !slices.Equal(h.echoes, want) {
		t.Errorf("echoes at %v, want %v", h.echoes, want)
	}
	if log := h.log.String(); !strings.Contains(log, "echo panicked") || !strings.Contains(log, "panic: ouch") {
		t.Errorf("the log does not have the panic: %s", log)
	}
}

// A core that panics ends the process, even if jobs still run: systemd starts another.
func TestLoopCorePanics(t *testing.T) {
	asked, over := make(chan struct{}), make(chan struct{})
	l := fakeLoop(New(config.Default(""), func() float64 { return 0 }), fakeExecutors{
		echo: func(context.Context, probe.Request) probe.Result {
			close(asked)
			<-over
			return probe.Result{}
		},
		received: func(indexes []int) []ppp.Count { return make([]ppp.Count, len(indexes)) },
	}, quiet(time.Hour), slog.New(slog.DiscardHandler))
	for _, ev := range []Event{config.Default(""), running(nil, 100), vici.Snapshot{}, ppp.Snapshot{Links: []ppp.Link{link("ppp0", 5, true)}}} {
		l.Post(ev)
	}
	panicked := make(chan any)
	go func() {
		defer func() { panicked <- recover() }()
		l.Run(t.Context())
	}()
	<-asked
	l.Post("no such event")
	select {
	case p := <-panicked:
		if p == nil {
			t.Error("ended without a panic")
		}
	case <-time.After(5 * time.Second):
		t.Error("Run has not ended within 5 s of the panic: it waits for the echo")
	}
	close(over)
}

func TestInboxKeepsOrderAndNewest(t *testing.T) {
	in := new(inbox)
	a, b := &config.Config{Path: "a"}, &config.Config{Path: "b"}
	for _, ev := range []Event{a, TaskFailed{WatcherConfig, nil}, vici.Snapshot{}, TaskFailed{WatcherConfig, nil}, b} {
		in.post(ev)
	}
	var got []string
	for _, ev := range in.take() {
		got = append(got, fmt.Sprintf("%T", ev))
	}
	want := []string{"supervisor.TaskFailed", "vici.Snapshot", "supervisor.TaskFailed", "*config.Config"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The debug log shows each echo request.
func TestEchoesInTheDebugLog(t *testing.T) {
	var log bytes.Buffer
	l := NewLoop(nil, fakeExecutors{}, quiet(0), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, err := range []error{nil, errors.New("timeout")} {
		l.jobDone(Results{{Link: "ppp0", Index: 5, Target: addr("10.0.0.1"), RTT: 5 * time.Millisecond, Err: err}})
	}
	for _, want := range []string{`msg="echo request answered" link=ppp0 target=10.0.0.1 rtt=5ms`, `msg="echo request not answered" link=ppp0 target=10.0.0.1 reason=timeout`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%s", want, &log)
		}
	}
}
