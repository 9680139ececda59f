package ppp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture runs a loop on a fake clock.
type fixture struct {
	*loop
	done chan error

	mu    sync.Mutex
	now   state // what a look finds
	err   error
	takes time.Duration
	looks []time.Duration // since the start
	sent  []Snapshot
}

func newFixture(ctx context.Context) *fixture {
	b := &fixture{done: make(chan error, 1)}
	start := time.Now()
	b.loop = &loop{
		log: slog.New(slog.DiscardHandler),
		deliver: func(s Snapshot) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.sent = append(b.sent, s)
		},
		read: func() (state, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.looks = append(b.looks, time.Since(start))
			time.Sleep(b.takes)
			return b.now, b.err
		},
		findPppds: func(time.Time) []int { return nil },
		changes:   make(chan change),
	}
	go func() { b.done <- b.run(ctx) }()
	return b
}

// set says what looks find from now on.
func (f *fixture) set(v state, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.err = v, err
}

func (f *fixture) looked() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.looks)
}

func (f *fixture) delivered() []Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// pass lets time pass and returns the looks made in it, since the start.
func (f *fixture) pass(d time.Duration) []time.Duration {
	synctest.Wait()
	n := len(f.looked())
	time.Sleep(d)
	synctest.Wait()
	return f.looked()[n:]
}

func (f *fixture) latest() Snapshot {
	all := f.delivered()
	return all[len(all)-1]
}

func (f *fixture) end(t *testing.T, cancel func()) {
	t.Helper()
	cancel()
	if err := <-f.done; !errors.Is(err, context.Canceled) {
		t.Errorf("run returned %v, want context canceled", err)
	}
}

func onFixture(t *testing.T, f func(t *testing.T, b *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := newFixture(ctx)
		f(t, b)
		b.end(t, cancel)
	})
}

var (
	upLink = Link{Name: "ppp0", Index: 5, Raised: true, Up: true, Pid: 7, Xl2tpdPid: 6,
		Local: netip.MustParseAddr("10.0.0.2"), Peer: netip.MustParseAddr("10.0.0.1")}
	bareLink = Link{Name: "ppp0", Index: 5, Pid: 7, Xl2tpdPid: 6}
)

func (f *fixture) bothUp() {
	f.changes <- change{source: sourceDBus}
	f.changes <- change{source: sourceRtnetlink}
}

func TestFirstSnapshot(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.bothUp()
		b.pass(coalesce)
		if len(b.delivered()) != 1 || len(b.delivered()[0].Links) != 0 || b.delivered()[0].Sources != (Sources{DBus: true, Rtnetlink: true}) {
			t.Errorf("got %+v, want one snapshot without links, both sources up", b.delivered())
		}
	})
}

// Looks that take long, as with a thousand links, use at most a fifth of the
// time, however many hints there are.
func TestCooldown(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.mu.Lock()
		b.takes = 50 * time.Millisecond
		b.mu.Unlock()
		b.bothUp()
		for range 1000 {
			time.Sleep(time.Millisecond)
			b.again.Send()
		}
		if n := len(b.looked()); n != 4 {
			t.Errorf("%d looks in a second", n)
		}
	})
}

// A bus counts as working while the login is still under way.
func TestSourceNotHeardOf(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.pass(coalesce)
		if got := b.latest().Sources; got != (Sources{DBus: true, Rtnetlink: true}) {
			t.Errorf("before any source has spoken: %+v, want none lost", got)
		}
		b.changes <- change{source: sourceDBus, err: errNoSystemd}
		b.pass(coalesce)
		if got := b.latest().Sources; got != (Sources{Rtnetlink: true, NoSystemd: true}) {
			t.Errorf("without systemd: %+v, want that said", got)
		}
		b.changes <- change{source: sourceDBus, err: errors.New("no bus")}
		b.pass(coalesce)
		if got := b.latest().Sources; got != (Sources{Rtnetlink: true}) {
			t.Errorf("after D-Bus failed: %+v, want it lost", got)
		}
	})
}

func TestHintsAreCoalesced(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.bothUp()
		b.pass(time.Second)
		b.set(state{links: []Link{upLink}}, nil)
		for range 10 {
			b.again.Send()
			time.Sleep(time.Millisecond)
		}
		if n := len(b.pass(time.Second)); n != 1 {
			t.Errorf("10 hints in 10 ms: %d looks, want 1", n)
		}
		if n := len(b.delivered()); n != 2 {
			t.Errorf("%d snapshots, want 2", n)
		}
		// A storm never starves the look.
		n := len(b.looked())
		for range 1000 {
			b.again.Send()
			time.Sleep(time.Millisecond)
		}
		if n := len(b.looked()) - n; n < 30 || n > 50 {
			t.Errorf("hints all through a second: %d looks, want about 48", n)
		}
	})
}

func TestOnlyNewsAreDelivered(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.bothUp()
		b.set(state{links: []Link{upLink}}, nil)
		b.pass(time.Second)
		b.again.Send()
		b.pass(time.Second)
		if len(b.delivered()) != 1 {
			t.Errorf("nothing new: %d snapshots, want 1", len(b.delivered()))
		}
		b.pass(resync)
		if len(b.delivered()) != 2 {
			t.Errorf("after %v: %+v, want a second snapshot", resync, b.delivered())
		}
		b.changes <- change{source: sourceDBus, err: errors.New("bus died")}
		b.pass(coalesce)
		if len(b.delivered()) != 3 || b.delivered()[2].Sources != (Sources{Rtnetlink: true}) {
			t.Errorf("source lost: %+v, want a third snapshot that says so", b.delivered())
		}
	})
}

func TestQuietWhenAllIsKnown(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.bothUp()
		b.set(state{links: []Link{upLink, bareLink}}, nil)
		b.pass(time.Second)
		if n := len(b.pass(10 * time.Minute)); n != 5 {
			t.Errorf("%d looks in 10 quiet minutes, want 5", n)
		}
	})
}

func TestUnknownLinkIsLookedForThenLeft(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.bothUp()
		b.pass(time.Second)
		b.set(state{unowned: []int{5}}, nil)
		b.again.Send()
		looks := b.pass(unownedTime + time.Second)
		if n := len(looks); n < 10 || n > 50 {
			t.Errorf("%d looks for an unknown owner, want some tens", n)
		}
		for i := 1; i < len(looks); i++ {
			// A look comes late by at most a third of the time that has passed.
			if gap, age := looks[i]-looks[i-1], looks[i]-looks[0]; gap > max(coalesce, age/3) {
				t.Errorf("look at %v after %v without one", age, gap)
			}
		}
		if n := len(b.pass(10 * time.Minute)); n > 5 {
			t.Errorf("%d looks in 10 minutes for an owner that is never seen, want 5", n)
		}
		// Another device starts afresh.
		b.set(state{unowned: []int{5, 6}}, nil)
		b.again.Send()
		if n := len(b.pass(time.Second)); n < 5 {
			t.Errorf("%d looks for a new device, want some", n)
		}
	})
}

func TestLatePidFile(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.bothUp()
		b.pass(time.Second)
		b.set(state{unowned: []int{5}}, nil)
		b.again.Send()
		b.pass(500 * time.Millisecond)
		b.set(state{links: []Link{upLink}}, nil)
		b.pass(150 * time.Millisecond)
		if n := len(b.delivered()); n != 2 || len(b.delivered()[1].Links) != 1 {
			t.Errorf("pid file half a second late: %+v, want the link", b.delivered())
		}
	})
}

func TestLinkIsPolledWithoutRtnetlink(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.changes <- change{source: sourceRtnetlink, err: errors.New("no socket")}
		b.pass(time.Second)
		b.set(state{links: []Link{bareLink}}, nil)
		b.again.Send()
		b.pass(10 * time.Second)
		down := upLink // the address is set before the device is up
		down.Up = false
		b.set(state{links: []Link{down}}, nil)
		b.pass(10 * time.Second)
		b.set(state{links: []Link{upLink}}, nil)
		b.pass(notUpPoll)
		if last := b.latest(); !last.Links[0].Up {
			t.Errorf("got %+v, want the link up", last)
		}
		if n := len(b.pass(5 * time.Minute)); n > 10 {
			t.Errorf("%d looks in 5 minutes with the link up, want 10", n)
		}
		b.set(state{links: []Link{bareLink}}, nil)
		b.again.Send()
		b.pass(notUpTime + time.Second)
		if n := len(b.pass(5 * time.Minute)); n > 10 {
			t.Errorf("%d looks in 5 minutes at a link that never comes up, want 10", n)
		}
	})
}

func TestBlind(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		b.changes <- change{source: sourceDBus, err: errors.New("no bus")}
		b.changes <- change{source: sourceRtnetlink, err: errors.New("no socket")}
		b.pass(time.Second)
		b.set(state{links: []Link{upLink}}, nil)
		b.pass(blindResync)
		if last := b.latest(); len(last.Links) != 1 || last.Sources != (Sources{}) {
			t.Errorf("got %+v, want the link though no source works", last)
		}
	})
}

func TestLookFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no sockets left")
		b := newFixture(t.Context())
		b.bothUp()
		b.pass(time.Second)
		b.set(state{}, broken)
		b.again.Send()
		b.pass(200 * time.Millisecond)
		b.set(state{links: []Link{upLink}}, nil)
		b.pass(2 * time.Second)
		if n := len(b.delivered()); n != 2 {
			t.Errorf("after a look that failed at first: %d snapshots, want 2", n)
		}
		b.set(state{}, broken)
		b.again.Send()
		start := time.Now()
		if err := <-b.done; !errors.Is(err, broken) {
			t.Errorf("run returned %v, want %v", err, broken)
		}
		if d := time.Since(start); d < 500*time.Millisecond || d > 3*time.Second {
			t.Errorf("run gave up after %v, want one to two seconds", d)
		}
	})
}

func TestSourceIsRestarted(t *testing.T) {
	onFixture(t, func(t *testing.T, b *fixture) {
		lost := errors.New("lost")
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var mu sync.Mutex
		var starts []time.Duration
		works := false
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.feed(ctx, sourceDBus, func(ctx context.Context, ready, hint func()) error {
				mu.Lock()
				starts = append(starts, time.Since(start))
				ok := works
				mu.Unlock()
				if !ok {
					return lost
				}
				ready()
				hint()
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		b.pass(10 * time.Second)
		mu.Lock()
		if n := len(starts); n < 7 || n > 12 {
			t.Errorf("%d starts in 10 s, want about 8", n)
		}
		for i := 1; i < len(starts); i++ {
			gap := starts[i] - starts[i-1]
			if limit := min(slowRestart, firstRestart<<(i-1)); gap > limit || gap < limit*3/4 {
				t.Errorf("restart %d after %v, want %v less up to a quarter", i, gap, limit)
			}
		}
		works = true
		n := len(starts)
		mu.Unlock()
		b.pass(slowRestart + time.Second)
		if last := b.latest(); !last.Sources.DBus {
			t.Errorf("got %+v, want the source back", last)
		}
		b.pass(time.Hour)
		mu.Lock()
		if len(starts) != n+1 {
			t.Errorf("%d starts of a source that works, want 1", len(starts)-n)
		}
		mu.Unlock()
		cancel()
		<-ended
	})
}
