package status

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
)

// connectionTo is a control connection with that peer.
func connectionTo(peer string, id uint16) *l2tp.Connection {
	return &l2tp.Connection{
		Local: netip.MustParseAddrPort("192.0.2.1:1701"), Peer: netip.MustParseAddrPort(peer + ":1701"), LocalID: id,
	}
}

// hellos returns n messages, a second apart.
func hellos(n int) (all []controltrace.Record) {
	for i := range n {
		m := l2tp.Message{Type: l2tp.TypeHello, Ns: uint16(i)}
		all = append(all, controltrace.NewRecord(time.Unix(int64(i), 0), true, m, l2tp.AppendMessage(nil, m)))
	}
	return all
}

// A tunnel's end gets the messages of its own control connection, and of an earlier one none.
func TestAddMessages(t *testing.T) {
	const peer = "198.51.100.7"
	ended := func(id uint16) controltrace.Recording {
		c := *connectionTo(peer, id)
		c.PeerID = 99 // the supervisor may not know it
		return controltrace.Recording{Connection: c, Ended: time.Now(), Records: hellos(int(id))}
	}
	stands := ended(3)
	stands.Ended = time.Time{}
	all := []Tunnel{{Last: &Close{Control: connectionTo(peer, 2)}}, {Last: &Close{Control: connectionTo(peer, 3)}}, {Last: &Close{}}, {}}
	AddMessages(all, []controltrace.Recording{ended(1), ended(2), stands})
	if n := len(all[0].Last.Messages); n != 2 || all[1].Last.Messages != nil || all[2].Last.Messages != nil {
		t.Errorf("%d messages, %+v", n, all)
	}
}

func TestNamesOf(t *testing.T) {
	names := NamesOf([]Tunnel{
		{Name: "lac office", Peer: netip.MustParseAddr("198.51.100.7"), Control: connectionTo("198.51.100.7", 1)},
		{Name: "lac office2", Instance: "b", Peer: netip.MustParseAddr("198.51.100.7"), Last: &Close{Control: connectionTo("198.51.100.7", 2)}},
		{Name: "lac home", Peer: netip.MustParseAddr("198.51.100.8"), Last: &Close{Control: connectionTo("198.51.100.7", 1)}},
	})
	for want, c := range map[string]*l2tp.Connection{
		"lac office":      connectionTo("198.51.100.7", 1), // and no longer home's
		"lac office2 (b)": connectionTo("198.51.100.7", 2),
		"":                connectionTo("198.51.100.7", 3), // one of two
		"lac home":        connectionTo("198.51.100.8", 0), // an SCCRQ on its way
	} {
		if got := names.Of(*c); got != want {
			t.Errorf("%v: %q, want %q", c, got, want)
		}
	}
}

// The diagram is below the reason, and takes 15 lines at most.
func TestTextOfMessages(t *testing.T) {
	page := func(n int) []string {
		var text strings.Builder
		last := &Close{Time: time.Unix(0, 0), Reason: "lost", Messages: hellos(n)}
		if err := Text(&text, Status{Tunnels: []Tunnel{{Name: "lac office", Last: last}}}, false, nil); err != nil {
			t.Fatal(err)
		}
		_, below, _ := strings.Cut(text.String(), "lost\n")
		return strings.Split(strings.TrimSuffix(below, "\n"), "\n")
	}
	if lines := page(64); len(lines) != 15 || !strings.Contains(lines[13], "Hello 63/0") ||
		!strings.Contains(lines[14], "… 51 messages before them: xl2tpd-keepalive trace --last lac office") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if lines := page(13); len(lines) != 14 {
		t.Errorf("%d lines", len(lines))
	}
	if lines := page(0); len(lines) != 1 || lines[0] != "" {
		t.Errorf("got %q, want nothing", lines)
	}
}
