package main

import (
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/status"
	"xl2tpd-keepalive/supervisor"
)

// A link that has been up all the time has come up at the same time in each report.
func TestReckonIsSteady(t *testing.T) {
	up := time.Now()
	for range 10_000 {
		r := status.Tunnel{Link: &status.Link{Up: up}}
		reckon(&r, time.Now())
		if r.Link.Up.UnixNano() != up.UnixNano() {
			t.Fatalf("up since %v, then since %v", up, r.Link.Up)
		}
	}
}

// set is a moment by a clock that was set meanwhile: by the monotonic one it is the same.
func set(t *testing.T, at time.Time, by time.Duration) time.Time {
	is := at
	*(*uint64)(unsafe.Pointer(&is)) += uint64(by/time.Second) << 30 // no other way leads there
	if is.Sub(at) != 0 || is.Round(0).Sub(at.Round(0)) != by {
		t.Fatalf("a time is made in another way now: %v of %v", is, at)
	}
	return is
}

// If the clock was set, all of a report's times are by the new one; the brain's own stay as
// they are, and what never was has no time.
func TestReckonByTheClockAsItIs(t *testing.T) {
	was := time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		last := status.Close{Time: was}
		r := status.Tunnel{
			Since: was, Link: &status.Link{Up: was, Signs: status.Signs{Reply: was, Data: was}}, SA: &status.SA{Since: was}, Last: &last,
		}
		reckon(&r, set(t, was.Add(time.Minute), by))
		for i, at := range []time.Time{r.Since, r.Link.Up, r.Link.Signs.Reply, r.Link.Signs.Data, r.SA.Since, r.Last.Time} {
			if !at.Equal(was.Round(0).Add(by)) {
				t.Errorf("set by %v: time %d is %v after", by, i, at.Sub(was.Round(0)))
			}
		}
		if !r.Link.Signs.Control.IsZero() || last.Time != was {
			t.Errorf("%+v, %+v", r.Link.Signs, last)
		}
	}
}

// Of two channels with one peer the newer one counts, whichever comes first. A LAC
// without a link has none.
func TestJoin(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	now := time.Now()
	channels := []helloguard.Channel{
		{Tunnel: translator.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}, Vendor: "old", Heard: now.Add(-time.Minute)},
		{Tunnel: translator.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}, Vendor: "new", Heard: now},
		{Tunnel: translator.Tunnel{Peer: netip.AddrPortFrom(peer.Next(), 1701)}, Vendor: "another's"},
	}
	for range 2 {
		slices.Reverse(channels)
		details := []supervisor.Detail{
			{Tunnel: supervisor.Tunnel{Outer: peer}, Report: status.Tunnel{Link: &status.Link{}}},
			{Report: status.Tunnel{Name: "lac office", Peer: peer.Next()}},
			{Report: status.Tunnel{Name: "lac home"}},
		}
		join(details, channels)
		if r := details[0].Report; r.Vendor != "new" || r.Guard == nil || !r.Link.Signs.Control.Equal(now) {
			t.Errorf("%+v", r)
		}
		if details[1].Report.Guard != nil || details[2].Report.Guard != nil {
			t.Errorf("%+v", details)
		}
	}
}
