package vici

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	govici "github.com/strongswan/govici/vici"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// seen is what a watcher has delivered, each with the time since the start.
type seen struct {
	snaps []Snapshot
	at    []time.Duration
}

// watcher returns a watcher of c that notes what it delivers.
func watcher(c *charon) (*Watcher, *seen) {
	s := &seen{}
	start := time.Now()
	return &Watcher{
		Log:  slog.New(slog.DiscardHandler),
		dial: c.dial,
		Deliver: func(snap Snapshot) {
			s.snaps = append(s.snaps, snap)
			s.at = append(s.at, time.Since(start))
		},
	}, s
}

// accept serves connections until the listener is closed.
func (c *charon) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go c.serve(&peer{Conn: conn, events: map[string]bool{}})
	}
}

// start runs w in a bubble of synctest; stop ends it and returns its error.
func start(t *testing.T, w *Watcher) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-done
	}
}

func names(s Snapshot) string {
	var n []string
	for _, sa := range s.SAs {
		n = append(n, sa.Name+"#"+sa.UniqueID)
	}
	return strings.Join(n, " ")
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &charon{}
		c.set(established(t, "a", "1"))
		w, seen := watcher(c)
		stop := start(t, w)
		if len(seen.snaps) != 1 || names(seen.snaps[0]) != "a#1" || seen.at[0] != 0 {
			t.Fatalf("at the start: %+v", seen)
		}
		if want := []string{"ike-updown", "child-updown", "ike-rekey", "child-rekey"}; !slices.Equal(c.subscribe, want) {
			t.Errorf("subscribed to %v", c.subscribe)
		}

		// A burst of events: one list, 50 ms later.
		time.Sleep(time.Second)
		c.set(established(t, "a", "2"), established(t, "b", "3"))
		for _, event := range []string{"ike-rekey", "child-rekey", "child-updown", "ike-updown", "ike-updown"} {
			c.emit(event)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(seen.snaps) != 2 || names(seen.snaps[1]) != "a#2 b#3" || seen.at[1] != time.Second+burst {
			t.Fatalf("after events: %+v", seen)
		}

		// A change without an event shows within 30 s.
		c.set()
		time.Sleep(resync)
		synctest.Wait()
		if len(seen.snaps) != 3 || names(seen.snaps[2]) != "" || seen.at[2] != seen.at[1]+resync {
			t.Fatalf("after %s: %+v", resync, seen)
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped: %v", err)
		}
	})
}

// The Watcher lists an SA that is going soon, then ever more rarely: charon sends
// no event when the SA is gone.
func TestPassingState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &charon{}
		c.set(fields(t, "a", fields(t, "uniqueid", "1", "state", "DELETING")))
		w, seen := watcher(c)
		stop := start(t, w)
		time.Sleep(62 * transientResync)
		c.set()
		time.Sleep(31 * transientResync)
		synctest.Wait()
		want := []time.Duration{0, transientResync, 3 * transientResync, 7 * transientResync, 15 * transientResync, 31 * transientResync, 61 * transientResync, 91 * transientResync}
		if !slices.Equal(seen.at, want) || len(seen.snaps[7].SAs) != 0 {
			t.Errorf("got %+v, want a list at each of these times, and no SA in the end", seen)
		}
		// The next one begins anew.
		c.set(fields(t, "a", fields(t, "uniqueid", "2", "state", "DELETING")))
		c.emit("ike-updown")
		time.Sleep(transientResync + transientResync/2)
		synctest.Wait()
		if n := c.listed(); n != 10 {
			t.Errorf("%d lists, wanted one at the event and one a second later", n)
		}
		stop()
	})
}

// Lists that take long, as with a thousand SAs, use at most a fifth of the time,
// however many events there are; but a pause is never longer than a second.
func TestCooldown(t *testing.T) {
	for takes, want := range map[time.Duration]int{50 * time.Millisecond: 40, 4 * time.Second: 3} {
		synctest.Test(t, func(t *testing.T) {
			c := &charon{answer: func(string) ([]*govici.Message, *govici.Message) {
				time.Sleep(takes)
				return nil, nil
			}}
			w, seen := watcher(c)
			stop := start(t, w)
			for range 1000 {
				c.emit("child-rekey")
				time.Sleep(10 * time.Millisecond)
			}
			if n := len(seen.snaps); n < want-1 || n > want {
				t.Errorf("%d lists of %v in 10 s", n, takes)
			}
			stop()
			c.serving.Wait() // a bubble may not end before an answer that takes time
		})
	}
}

// Events during a list, however many, make one more list.
func TestEventsNeverPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &charon{}
		w, _ := watcher(c)
		stop := start(t, w)
		for range 1000 {
			c.emit("child-updown")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := c.listed(); n < 10 || n > 22 {
			t.Errorf("%d lists for a second of events", n)
		}
		stop()
	})
}

// An event ahead of the confirmation locks up bare govici.
func TestEventBeforeConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &charon{early: true}
		c.set(established(t, "a", "1"))
		w, seen := watcher(c)
		stop := start(t, w)
		if len(seen.snaps) != 1 || seen.at[0] != 0 {
			t.Fatalf("got %+v, want one list at the start", seen)
		}
		c.emit("ike-updown")
		time.Sleep(time.Second)
		synctest.Wait()
		if len(seen.snaps) != 2 {
			t.Errorf("deaf after subscribing: %+v", seen)
		}
		stop()
	})
}

// If charon does not answer, Run ends after its timeout and leaves nothing behind.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		silent string
		early  bool
		after  time.Duration
		text   string
	}{
		{"ike-updown", false, subscribeTimeout, "vici: subscribe: charon has not answered within 4s"},
		{"child-rekey", true, subscribeTimeout, "vici: subscribe: charon has not answered within 4s"},
		{"list-sa", false, listTimeout, "vici: list-sas: charon has not answered within 10s"},
		{"list-sas", false, listTimeout, "vici: list-sas: charon has not answered within 10s"},
	} {
		t.Run(tt.silent, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &charon{early: tt.early, silent: map[string]bool{tt.silent: true}}
				w, _ := watcher(c)
				start := time.Now()
				err := w.Run(t.Context())
				if err == nil || err.Error() != tt.text || time.Since(start) != tt.after {
					t.Errorf("got %v after %s", err, time.Since(start))
				}
			})
		})
	}
}

// The end of the context ends Run immediately, whatever it is waiting for.
func TestCancel(t *testing.T) {
	for _, silent := range []string{"", "ike-updown", "list-sas", "list-sa"} {
		t.Run("silent "+silent, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &charon{silent: map[string]bool{silent: true}}
				w, _ := watcher(c)
				begin := time.Now()
				if err := start(t, w)(); !errors.Is(err, context.Canceled) || time.Since(begin) != 0 {
					t.Errorf("got %v after %s", err, time.Since(begin))
				}
			})
		})
	}
}

// charon dies and comes back: each Run starts with the state of then.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &charon{}
		w, seen := watcher(c)
		for i := range 10 {
			name := fmt.Sprint("round", i)
			c.set(established(t, name, "1"))
			done := make(chan error, 1)
			go func() { done <- w.Run(t.Context()) }()
			synctest.Wait()
			if last := seen.snaps[len(seen.snaps)-1]; names(last) != name+"#1" {
				t.Errorf("round %d: %+v", i, last)
			}
			if i%2 == 0 {
				c.emit("ike-updown") // dies before the list
				synctest.Wait()
			}
			c.die()
			if err := <-done; err == nil || !strings.HasPrefix(err.Error(), "vici: ") {
				t.Errorf("charon died: %v", err)
			}
		}
	})
}

// charon has more SAs than the queue of govici holds.
func TestManySAs(t *testing.T) {
	c := &charon{}
	const n = 5000
	var sas []*govici.Message
	for i := range n {
		sas = append(sas, established(t, "rw", fmt.Sprint(i)))
	}
	c.set(sas...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got Snapshot
	w, _ := watcher(c)
	w.Deliver = func(s Snapshot) { got = s; cancel() }
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(got.SAs) != n {
		t.Fatalf("%d SAs of %d", len(got.SAs), n)
	}
	for i, sa := range got.SAs {
		if sa.UniqueID != fmt.Sprint(i) {
			t.Fatalf("SA %d has id %s", i, sa.UniqueID)
		}
	}
}

func TestSockets(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    *charon
		list []string
		want []string // dialled
		text string
	}{
		{"default", &charon{refuse: syscall.EMFILE}, nil, []string{"unix /run/charon.vici"},
			"/run/charon.vici: dial unix: too many open files"},
		{"second", &charon{missing: "/run/charon.vici", refuse: syscall.EACCES}, nil,
			[]string{"unix /run/charon.vici", "unix /var/run/charon.vici"},
			"/var/run/charon.vici: permission denied: run as root or in the socket's group (charon.group in strongswan.conf)"},
		{"given", &charon{refuse: syscall.ECONNREFUSED}, []string{"/tmp/x"}, []string{"unix /tmp/x"},
			"/tmp/x: connection refused: charon has gone and left its socket; is strongswan running?"},
		{"none", &charon{missing: "/tmp/x"}, []string{"/tmp/x"}, []string{"unix /tmp/x"},
			"/tmp/x: no such socket: is strongswan running with the vici plugin (Debian: package strongswan-swanctl)?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := watcher(tt.c)
			w.sockets = tt.list
			if err := w.Run(t.Context()); err == nil || err.Error() != tt.text {
				t.Errorf("got %v, want %s", err, tt.text)
			}
			if !slices.Equal(tt.c.dialled, tt.want) {
				t.Errorf("dialled %v", tt.c.dialled)
			}
		})
	}
}

// Without a socket, the next Run waits until there is one.
func TestRunWaitsForTheSocket(t *testing.T) {
	c := &charon{}
	c.set(established(t, "a", "1"))
	w, seen := watcher(c)
	w.dial = nil
	w.sockets = []string{filepath.Join(t.TempDir(), "charon.vici")}
	if err := w.Run(t.Context()); err == nil {
		t.Fatal("no error without a socket")
	}

	ctx, cancel := context.WithCancel(t.Context())
	note := w.Deliver
	w.Deliver = func(s Snapshot) { note(s); cancel() }
	ended := make(chan error)
	go func() {
		for ctx.Err() == nil {
			ended <- w.Run(ctx)
		}
		close(ended)
	}()
	select {
	case err := <-ended:
		t.Fatal("did not wait: ", err)
	case <-time.After(50 * time.Millisecond):
	}
	l, err := net.Listen("unix", w.sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go c.accept(l)
	for err := range ended { // a socket refuses connections until its owner listens
		if err != context.Canceled && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	}
	if len(seen.snaps) != 1 {
		t.Errorf("%d snapshots, want 1", len(seen.snaps))
	}
}

// The same on real sockets.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "charon.vici")
	c := &charon{}
	c.set(established(t, "a", "1"))
	w, seen := watcher(c)
	w.dial = nil
	w.sockets = []string{filepath.Join(dir, "missing"), socket}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "missing: no such socket: is strongswan running") {
		t.Errorf("no socket: %v", err)
	}
	w.pluto = dir
	w.missing = false // else Run waits for a socket
	if err := w.Run(t.Context()); !errors.Is(err, ErrLibreswan) {
		t.Errorf("no socket, but Libreswan: %v", err)
	}
	w.pluto = filepath.Join(dir, "missing")

	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go c.accept(l)
	ctx, cancel := context.WithCancel(t.Context())
	note := w.Deliver
	w.Deliver = func(s Snapshot) { note(s); cancel() }
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) || len(seen.snaps) != 1 || names(seen.snaps[0]) != "a#1" {
		t.Errorf("got %v, %+v, want one list until the context ends", err, seen)
	}

	// A killed charon leaves its socket behind.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	w.pluto = dir
	if err := w.Run(t.Context()); !errors.Is(err, ErrLibreswan) {
		t.Errorf("a socket of strongSwan's, but Libreswan: %v", err)
	}
	w.pluto = filepath.Join(dir, "missing")
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("socket left behind: %v", err)
	}
	if err := unreachable(socket, fs.ErrPermission); !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v, want permission denied", err)
	}
}

// Whatever bytes come from the socket, Run ends with an error or goes on; it
// neither panics nor hangs nor leaves anything.
func TestGarbage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "body")
		kind := rapid.SampledFrom([]byte{0, 1, 2, 5, 6, packetEvent, 8, 255}).Draw(rt, "type")
		tail := rapid.SampledFrom([]string{
			"", "\x07list-sa", "\x07list-sa\x01\x01x\x01\x05child", "\x07list-sa\x03\x05state\xff\xff", "\xff",
		}).Draw(rt, "start")
		packet := append(append([]byte{kind}, tail...), body...)
		size := uint32(len(packet))
		if rapid.Bool().Draw(rt, "wrong size") {
			size = rapid.Uint32().Draw(rt, "size")
		}
		raw := append([]byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, packet...)
		synctest.Test(t, func(t *testing.T) {
			c := &charon{garbage: raw}
			w, _ := watcher(c)
			ctx, cancel := context.WithTimeout(t.Context(), 3*listTimeout)
			defer cancel()
			if err := w.Run(ctx); err == nil {
				t.Error("ended without an error")
			}
			c.die()
		})
	})
}

func TestPacketSize(t *testing.T) {
	for _, tt := range []struct{ head, text string }{
		{"\x00\x00\x00\x00", "packet of 0 bytes from charon"},
		{"\xff\xff\xff\xff", "packet of 4294967295 bytes from charon"},
		{"\x00\x08\x00\x01", "packet of 524289 bytes from charon"},
	} {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			(&peer{Conn: ours}).raw([]byte(tt.head))
		}()
		if _, err := newConn(theirs, false).Read(make([]byte, 4)); err == nil || err.Error() != tt.text {
			t.Errorf("%x: got %v", tt.head, err)
		}
		theirs.Close()
	}
}
