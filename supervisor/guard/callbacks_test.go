package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/supervisor"
)

// fakeSupervisor notes events. It answers questions with one link after a time.
type fakeSupervisor struct {
	events []supervisor.Event
	takes  time.Duration
}

func (s *fakeSupervisor) Post(ev supervisor.Event) { s.events = append(s.events, ev) }

func (s *fakeSupervisor) LinksOf(ctx context.Context, _ helloguard.OwnedConnection) ([]supervisor.Tunnel, bool) {
	select {
	case <-time.After(s.takes):
		return []supervisor.Tunnel{{}}, true
	case <-ctx.Done():
		return nil, false
	}
}

type fakeWatcher struct{}

func (fakeWatcher) Look() {}

// Whatever the guard says becomes an event.
func TestCallbacks(t *testing.T) {
	s := &fakeSupervisor{}
	reported := 0
	g := New(s, fakeWatcher{}, func() { reported++ }, slog.New(slog.DiscardHandler))
	owner, peer := procfs.ID{Pid: 100, Start: 1}, netip.MustParseAddrPort("192.0.2.1:1701")
	g.Report(errors.New("no such queue"))
	g.Report(nil)
	why := helloguard.CloseReason{Reason: "shut down", ByPeer: true, Vague: true}
	c := helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: peer, LocalID: 7, PeerID: 9}, Owner: owner}
	g.Dials(helloguard.OwnedConnection{Connection: c.WithoutPeerID(), Owner: owner}, true)
	g.Calls(c)
	g.Ended(c, why)
	g.AttemptFailed(c, why)
	c.PeerID = 0
	want := []supervisor.Event{
		supervisor.Fault{What: Task, Problem: unavailable(status.CodeGuard, errors.New("no such queue"))},
		supervisor.Fault{What: answers},
		supervisor.TaskWorks{Task: Task},
		supervisor.Fault{What: Task},
		supervisor.Fault{What: answers},
		supervisor.TaskWorks{Task: Task},
		supervisor.Dials{OwnedConnection: c, Again: true},
		supervisor.Calls{OwnedConnection: c},
		supervisor.Ending{OwnedConnection: c, CloseReason: why},
		supervisor.AttemptFailed{OwnedConnection: c, CloseReason: why},
	}
	if !reflect.DeepEqual(s.events, want) || reported != 2 {
		t.Errorf("%+v, %d reports, want %+v", s.events, reported, want)
	}
}

// A guard that can't answer one xl2tpd still sees what each xl2tpd sends. Only a rule in OUTPUT may hide that from it.
func TestBlockedPath(t *testing.T) {
	for name, tc := range map[string]struct {
		reported error
		sees     bool
	}{
		"INPUT drops it":  {fmt.Errorf("of one peer: %w", helloguard.ErrBlockedInput), true},
		"OUTPUT drops it": {helloguard.ErrBlockedOutput, false},
		"no queue":        {errors.New("no such queue"), false},
	} {
		s := &fakeSupervisor{}
		g := New(s, fakeWatcher{}, func() {}, slog.New(slog.DiscardHandler))
		g.Report(tc.reported)
		texts := make(map[string]string)
		for _, ev := range s.events {
			if f, is := ev.(supervisor.Fault); is {
				texts[f.What] = f.Text.String()
			}
		}
		if sees := texts[Task] == ""; sees != tc.sees || texts[Task]+texts[answers] != "hello guard unavailable: "+tc.reported.Error() {
			t.Errorf("%s: got %q, want that it sees: %v", name, texts, tc.sees)
		}
	}
}

// A supervisor that does not answer in time has not said that there is no link.
func TestLinksInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for takes, unknown := range map[time.Duration]bool{0: false, answerIn + time.Millisecond: true} {
			g := New(&fakeSupervisor{takes: takes}, fakeWatcher{}, func() {}, slog.New(slog.DiscardHandler))
			began := time.Now()
			got := g.linksOf(t.Context(), helloguard.OwnedConnection{})
			if got.Unknown != unknown || !got.Linked || time.Since(began) > answerIn {
				t.Errorf("after %v: %+v", takes, got)
			}
		}
	})
}
