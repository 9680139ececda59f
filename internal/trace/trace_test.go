package trace

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/status"
)

// tracedTunnel is the control connection with a peer.
func tracedTunnel(peer string, id uint16) l2tp.Connection {
	return l2tp.Connection{
		Local: netip.MustParseAddrPort("192.0.2.1:1701"), Peer: netip.MustParseAddrPort(peer + ":1701"), LocalID: id,
	}
}

// traced are events of the tunnels office and home, and of an unknown one, and messages that were missed.
func traced() (all []controltrace.Event) {
	m := l2tp.Message{Type: l2tp.TypeHello, Ns: 5, Nr: 3}
	for _, peer := range []string{"198.51.100.7", "198.51.100.8", "198.51.100.9"} {
		r := controltrace.NewRecord(time.Unix(0, 0), true, m, l2tp.AppendMessage(nil, m))
		all = append(all, controltrace.Event{Connection: tracedTunnel(peer, 7), Record: r})
	}
	all[2].Lost = 12
	return append(all, controltrace.Event{Lost: 3})
}

// selects makes a selection of what status says, without asking the service again.
func selects(typed string, titles ...string) *Selection {
	office, home := tracedTunnel("198.51.100.7", 7), tracedTunnel("198.51.100.8", 7)
	s := &Selection{typed: typed, titles: map[string]bool{}, peers: map[netip.Addr]bool{}}
	s.take([]status.Tunnel{{Name: "lac office", Control: &office}, {Name: "lac home", Control: &home}})
	s.asked = time.Now().Add(time.Hour)
	for _, title := range titles {
		s.titles[title] = true
	}
	return s
}

// Each message is a line, only those of the tunnel that was chosen, and what was missed is said where it is missing.
func TestTraceLines(t *testing.T) {
	address := selects("198.51.100.9")
	address.peers[netip.MustParseAddr("198.51.100.9")] = true
	for name, tc := range map[string]struct {
		which *Selection
		want  string
	}{
		"all":     {selects(""), "lac office 198.51.100.7|lac home 198.51.100.8|... 12 messages not shown|198.51.100.9|... 3 messages not shown"},
		"one":     {selects("office", "lac office"), "lac office 198.51.100.7|... 12 messages not shown|... 3 messages not shown"},
		"address": {address, "... 12 messages not shown|198.51.100.9|... 3 messages not shown"},
	} {
		var out strings.Builder
		to, err := NewSink("", &out, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range traced() {
			if err := to.event(t.Context(), tc.which, e); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " 7/0 ")
			if _, behind, timed := strings.Cut(line, ".000 "); timed {
				line = behind
			}
			got = append(got, line)
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%s: got %s, want %s", name, strings.Join(got, "|"), tc.want)
		}
	}
}

// A file has all that was written up to now, is its owner's alone, and a recording has no lines then.
func TestTraceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.pcapng")
	to, err := NewSink(path, nil, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	e := traced()[0]
	if err := to.recording("lac office", controltrace.Recording{Connection: e.Connection, Records: []controltrace.Record{e.Record, e.Record}}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a file for its owner alone", info.Mode(), err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	packets := 0
	for ; ; packets++ {
		if _, _, err := r.ReadPacketData(); err != nil {
			break
		}
	}
	if packets != 4 || to.count != 2 { // each end has both
		t.Errorf("%d packets of %d messages", packets, to.count)
	}
	if err := to.Close(); err != nil {
		t.Error(err)
	}
}
