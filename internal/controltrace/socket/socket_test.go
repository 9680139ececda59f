package socket

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard is a source for tests.
type guard struct {
	controltrace.Hub
	recordings []controltrace.Recording
	off        bool
}

func (g *guard) Recordings() []controltrace.Recording { return g.recordings }
func (g *guard) Works() bool                          { return !g.off }

var tunnel = l2tp.Connection{
	Local: netip.MustParseAddrPort("192.0.2.1:1701"), Peer: netip.MustParseAddrPort("198.51.100.7:1701"), LocalID: 7, PeerID: 9,
}

// challenge is a message with a secret.
func challenge() controltrace.Record {
	b := append(l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeSCCRQ}), "\x80\x0a\x00\x00\x00\x0bword"...)
	b[3] = byte(len(b))
	return controltrace.NewRecord(time.Now(), true, l2tp.Message{}, b)
}

// serve serves a source until the test ends, and returns the path of the socket.
func serve(t *testing.T, g *guard) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	s := Server{Path: path, Source: g, Ready: func() { close(ready) }}
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case <-ready:
	case <-done:
		t.Fatal("the server has ended")
	}
	return path
}

// watch begins a trace; after that every message comes.
func watch(t *testing.T, path string, r Request) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if e, err := c.Next(); err != nil || e.Record.Length != 0 || e.Lost != 0 {
		t.Fatalf("got %+v, %v, want the frame of Begin", e, err)
	}
	return c
}

// Only root gets secrets, and only if it asks for them.
func TestLive(t *testing.T) {
	g := new(guard)
	path := serve(t, g)
	all := map[Request]bool{Live: false, Secrets: os.Geteuid() == 0}
	clients := map[Request]*Client{}
	for request := range all {
		clients[request] = watch(t, path, request)
	}
	r := challenge()
	g.Publish(&tunnel, &r)
	for request, secret := range all {
		e, err := clients[request].Next()
		if err != nil || e.Connection != tunnel || string(e.Record.Payload[26:]) == "word" != secret {
			t.Errorf("%q: got %+v, %v, want the message, and its secret for root alone", request, e, err)
		}
		clients[request].Close()
	}
	for g.Watched() { // the server notices that they have gone
		time.Sleep(time.Millisecond)
	}
}

func TestNoGuard(t *testing.T) {
	path := serve(t, &guard{off: true})
	c, err := Dial(t.Context(), path, Live)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Next(); !errors.Is(err, controltrace.ErrNoGuard) {
		t.Errorf("got %v, want ErrNoGuard", err)
	}
}

// A trace that is one too many ends.
func TestTooMany(t *testing.T) {
	path := serve(t, new(guard))
	for {
		c, err := Dial(t.Context(), path, Live)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Next(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecorded(t *testing.T) {
	ended := controltrace.Recording{Connection: tunnel, Ended: time.Now(), Vendor: "router", Records: []controltrace.Record{challenge(), challenge()}}
	path := serve(t, &guard{recordings: []controltrace.Recording{ended, {Connection: tunnel}}})
	for request, want := range map[Request]int{Recorded: 2, Ended: 1} {
		all, err := ReadRecordings(t.Context(), path, request)
		if err != nil || len(all) != want || len(all[0].Records) != 2 || !all[0].Ended.Equal(ended.Ended) || all[0].Vendor != "router" {
			t.Errorf("%q: got %+v, %v, want the recordings", request, all, err)
		}
	}
}

func TestNotRunning(t *testing.T) {
	if _, err := ReadRecordings(t.Context(), filepath.Join(t.TempDir(), "trace"), Ended); !errors.Is(err, status.ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

// However fast messages come, each is shown or counted as missed.
func TestNothingIsLostInSilence(t *testing.T) {
	g := new(guard)
	c := watch(t, serve(t, g), Live)
	const sent = 50_000
	go func() {
		r := challenge()
		for range sent {
			g.Publish(&tunnel, &r)
		}
	}()
	shown, missed := 0, 0
	for shown+missed < sent {
		e, err := c.Next()
		if err != nil {
			t.Fatalf("%d shown, %d missed: %v", shown, missed, err)
		}
		missed += int(e.Lost)
		if e.Record.Length > 0 {
			shown++
		}
	}
	if shown+missed != sent {
		t.Errorf("%d shown, %d missed of %d", shown, missed, sent)
	}
	t.Logf("%d shown, %d missed", shown, missed)
}
