package fullstatus

import (
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor"
)

// A link that has been up all the time has come up at the same time in each status.
func TestRebasedTimesAreSteady(t *testing.T) {
	up := time.Now()
	for range 10_000 {
		r := status.Tunnel{Link: &status.Link{Up: up}}
		rebaseTimes(&r, time.Now())
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

// If the clock was set, all times of a status follow the new clock. The core's own times do not change, and a zero time
// stays zero.
func TestRebaseTimes(t *testing.T) {
	was := time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		last := status.Close{Time: was}
		r := status.Tunnel{
			Since: was, Link: &status.Link{Up: was, Evidence: status.Evidence{Reply: was, Data: was}}, SA: &status.SA{Since: was}, Last: &last,
		}
		rebaseTimes(&r, set(t, was.Add(time.Minute), by))
		for i, at := range []time.Time{r.Since, r.Link.Up, r.Link.Evidence.Reply, r.Link.Evidence.Data, r.SA.Since, r.Last.Time} {
			if !at.Equal(was.Round(0).Add(by)) {
				t.Errorf("set by %v: time %d is %v after", by, i, at.Sub(was.Round(0)))
			}
		}
		if !r.Link.Evidence.Control.IsZero() || last.Time != was {
			t.Errorf("got %+v, %+v, want no control message, and the supervisor's own time unchanged", r.Link.Evidence, last)
		}
	}
}

// The status adds up what was done for a peer. A counter that alternates between the figures of two connections would
// go down. A LAC without a link has no figures.
func TestJoin(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	now := time.Now()
	owner := procfs.ID{Pid: 100, Start: 1}
	channel := func(peer netip.Addr, owner procfs.ID, vendor string, held uint64, heard time.Time) helloguard.Channel {
		return helloguard.Channel{
			OwnedConnection: helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: netip.AddrPortFrom(peer, 1701)}, Owner: owner},
			Vendor:          vendor, Heard: heard,
			Counts: helloguard.Counts{Held: held},
		}
	}
	channels := []helloguard.Channel{
		channel(peer, owner, "old", 3, now.Add(-time.Minute)),
		channel(peer, owner, "new", 500, now),
		channel(peer, procfs.ID{Pid: 200}, "of another xl2tpd", 7, now),
		channel(peer.Next(), owner, "another's", 9, now),
	}
	for range 2 {
		slices.Reverse(channels)
		details := []supervisor.Detail{
			{Tunnel: supervisor.Tunnel{Outer: peer, Daemon: 100}, Status: status.Tunnel{Link: &status.Link{}}},
			{Status: status.Tunnel{Name: "lac office", Peer: peer.Next()}},
			{Status: status.Tunnel{Name: "lac home"}},
			{Tunnel: supervisor.Tunnel{Daemon: 100}, Status: status.Tunnel{Link: &status.Link{}}},
		}
		join(details, channels)
		if r := details[0].Status; r.Vendor != "new" || r.Guard == nil || r.Guard.Held != 503 || !r.Link.Evidence.Control.Equal(now) {
			t.Errorf("got %+v, want all that was done in both connections", r)
		}
		if details[1].Status.Guard != nil || details[2].Status.Guard != nil {
			t.Errorf("got %+v, want no guard for the other two", details)
		}
		if r := details[3].Status; r.Guard == nil || r.Vendor != "another's" { // the one link that is left, and the one connection
			t.Errorf("got %+v, want the one connection that is left", r)
		}
	}
}

// If more than one link or connection is left, nobody can match them.
func TestJoinStrays(t *testing.T) {
	owner := procfs.ID{Pid: 100, Start: 1}
	channel := helloguard.Channel{OwnedConnection: helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: netip.MustParseAddrPort("192.0.2.1:1701")}, Owner: owner}}
	stray := supervisor.Detail{Tunnel: supervisor.Tunnel{Daemon: 100}, Status: status.Tunnel{Link: &status.Link{}}}
	other := stray
	other.Daemon = 200
	another := channel
	another.LocalID = 9
	for name, tc := range map[string]struct {
		details  []supervisor.Detail
		channels []helloguard.Channel
	}{
		"two links":       {[]supervisor.Detail{stray, stray}, []helloguard.Channel{channel}},
		"two connections": {[]supervisor.Detail{stray}, []helloguard.Channel{channel, another}},
		"another xl2tpd":  {[]supervisor.Detail{other}, []helloguard.Channel{channel}},
	} {
		join(tc.details, tc.channels)
		for _, d := range tc.details {
			if d.Status.Guard != nil {
				t.Errorf("%s: got %+v, want none", name, d.Status.Guard)
			}
		}
	}
}

// This end's outer address is the kernel's, or else the one of the packets that the guard has seen.
func TestJoinLocal(t *testing.T) {
	addr := netip.MustParseAddrPort
	peer := addr("192.0.2.1:1701")
	channels := []helloguard.Channel{{OwnedConnection: helloguard.OwnedConnection{
		Connection: l2tp.Connection{Local: addr("198.51.100.7:1701"), Peer: peer, LocalID: 7}, Owner: procfs.ID{Pid: 100, Start: 1},
	}}}
	link := func(local netip.AddrPort) supervisor.Detail {
		d := supervisor.Detail{Tunnel: supervisor.Tunnel{Outer: peer.Addr(), Daemon: 100}, Status: status.Tunnel{Link: &status.Link{}}}
		if local.IsValid() {
			d.Session = xl2tpd.Session{Local: local, Peer: peer, LocalTunnel: 7}
		}
		return d
	}
	for want, d := range map[string]supervisor.Detail{
		"198.51.100.7": link(netip.AddrPort{}),
		"198.51.100.8": link(addr("198.51.100.8:1701")),
	} {
		details := []supervisor.Detail{d, {Status: status.Tunnel{Name: "lac home"}}}
		join(details, channels)
		if got := details[0].Status.Local; got.String() != want || details[1].Status.Local.IsValid() {
			t.Errorf("got %v, want %s; without a link %v", got, want, details[1].Status.Local)
		}
	}
}
