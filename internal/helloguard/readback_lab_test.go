//go:build lab

package helloguard

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"xl2tpd-keepalive/internal/l2tp"
)

// loadListed has nft load what it lists of a table in place of that table.
func loadListed(t *testing.T, table string) (text string, loaded bool) {
	t.Helper()
	list, err := exec.Command("nft", "list", "table", "ip", table).Output()
	if err != nil {
		t.Fatalf("nft list: %v", err)
	}
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader("delete table ip " + table + "\n" + string(list))
	out, err := load.CombinedOutput()
	return string(list) + string(out), err == nil
}

// nft can load what it has listed of the guard's table, whatever there is in it. Otherwise a host that has saved that would be
// without its firewall after the next boot. The guard sees that it is a copy. The nft of Debian 11 can't load it.
func TestNftLoadsWhatItLists(t *testing.T) {
	newLine(t)
	here := netip.AddrPortFrom(lineHere.Addr(), 41701) // an xl2tpd of this host has 1701
	at, otherAt := path{here, lineThere}, path{here, netip.AddrPortFrom(lineThere.Addr(), 1702)}
	far, other := listenFar(t, at.peer), listenFar(t, otherAt.peer)
	var near *net.UDPConn
	inCgroup(t, "guard-listed", func() { near = listenNear(t, here) })
	all := contents{
		failClosed: []l2tp.Connection{at.connection(7, 0xfffe), tunnelTo(1)},
		listen:     []l2tp.Connection{at.connection(7, 0xfffe), otherAt.connection(0, 0)},
		data:       []path{at},
		ofXl2tpds:  []uint16{here.Port()},
	}
	kernel := newRules()
	defer kernel.kernel.close()
	kernel.tryKernel()

	// sendAll puts something into each set that the kernel fills.
	sendAll := func(t *testing.T) {
		near.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 8, Nr: 1}), at.peer)
		other.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 7}), here)
		far.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 8}), here)
		far.WriteToUDPAddrPort(dataTo(0, 7), here)
		time.Sleep(100 * time.Millisecond)
		secureLine(t)
		far.WriteToUDPAddrPort(dataTo(0, 7), here)
		time.Sleep(100 * time.Millisecond)
	}
	for _, c := range []struct {
		name           string
		in             contents
		timeout        time.Duration
		senders, paces bool
		forCheck       bool
	}{
		{name: "everything", in: all, senders: true, paces: true},
		{name: "tunnels are left behind", in: all, timeout: time.Minute},
		{name: "no tunnel", senders: true, paces: true},
		{name: "a loopback check", in: all, forCheck: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRules()
			r.notesSenders, r.paces = kernel.notesSenders && c.senders, kernel.paces && c.paces
			t.Cleanup(func() {
				r.remove()
				r.kernel.close()
			})
			var err error
			if c.forCheck {
				err = r.installForCheck(c.in)
			} else {
				err = r.install([]uint16{l2tpPort, here.Port()}, c.in, c.timeout)
			}
			if err != nil {
				t.Fatal(err)
			}
			sets := []*nftables.Set{r.failClosed, r.connections, r.peers, r.dataPeers}
			if r.paces && c.in.data != nil {
				sendAll(t)
				sets = append(sets, r.clear, r.secured, r.rates, r.unknownRates)
				if r.notesSenders {
					sets = append(sets, r.senders)
				}
			}
			for _, s := range sets {
				if c.in.data != nil && size(t, s) == 0 {
					t.Errorf("nothing in the set %s", s.Name)
				}
			}
			text, loaded := loadListed(t, TableName)
			if loaded == onDebian11() {
				t.Errorf("nft loads what it has listed: %v\n%s", loaded, text)
			}
			if whole, _ := r.intact(); whole == loaded {
				t.Errorf("intact after a copy was loaded: %v", whole)
			}
		})
	}
}
