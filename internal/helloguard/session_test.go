package helloguard

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/florianl/go-nfqueue/v2"
)

// Who has taken note of who is at work just before that has ended comes too late.
func TestNobodyIsAtWorkAfterTheEnd(t *testing.T) {
	g := &Guard{}
	w := &session{Guard: g, h: &handler{}}
	calls := 0
	ask := func() { g.with(func(*handler) { calls++ }) }
	ask()
	g.setSession(w)
	ask()
	if calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
	w.end()
	ask()
	g.setSession(w) // as it looked to him
	ask()
	w.packet(nil, false, nfqueue.Attribute{PacketID: new(uint32)}) // has no queue to answer to
	if calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
}

// Each message that a flood has lost is in one line, however seldom the log says so.
func TestFloodIsCounted(t *testing.T) {
	log := &strings.Builder{}
	s := &session{rules: &rules{}, h: &handler{log: &packetLog{Logger: slog.New(slog.NewTextHandler(log, nil)), ctx: t.Context(), said: map[string]saying{}}}}
	begin := time.Unix(1e9, 0)
	for _, tc := range []struct {
		after   time.Duration
		dropped uint64 // as the table counts
		want    string // in the line; empty: there is none
	}{
		{0, 0, ""},
		{1 * time.Second, 10, "messages=10 "},
		{20 * time.Second, 25, ""},
		{40 * time.Second, 27, ""},
		{62 * time.Second, 30, "messages=20 "},
		{80 * time.Second, 4, ""}, // a new table
		{123 * time.Second, 4, "messages=4 "},
		{200 * time.Second, 4, ""},
		{300 * time.Second, 7, "messages=3 "},
	} {
		log.Reset()
		s.rules.dropped = tc.dropped
		s.sayDropped(begin.Add(tc.after))
		if got := log.String(); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("after %v, %d dropped: got %q, want %q", tc.after, tc.dropped, got, tc.want)
		}
	}
}
