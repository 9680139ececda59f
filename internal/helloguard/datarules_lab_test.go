//go:build lab

package helloguard

import (
	"net"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// dataTo is a data message with that flag byte and tunnel id.
func dataTo(flags byte, id uint16) []byte {
	b := []byte{flags, 2}
	if flags&0x40 != 0 {
		b = append(b, 0, 12)
	}
	b = append(b, byte(id>>8), byte(id), 0, 1, 0xff, 3)
	return append(b, 0, 0)[:max(len(b), 12)]
}

func hasDataHook() bool {
	return exec.Command("nft", "list", "chain", "ip", TableName, dataHook).Run() == nil
}

// secureLine has what the far host sends to port 1701 of this one come through IPsec.
func secureLine(t *testing.T) {
	t.Helper()
	const keys = "auth 'hmac(sha1)' 0x0102030405060708090a0b0c0d0e0f1011121314 enc 'cbc(aes)' 0x0102030405060708090a0b0c0d0e0f10"
	state := "xfrm state add src 10.123.0.2 dst 10.123.0.1 proto esp spi 0x1701 mode transport " + keys
	t.Cleanup(func() { exec.Command("ip", "xfrm", "state", "flush").Run() })
	shell(t, "ip "+state, "ip -n "+farName+" "+state,
		"ip -n "+farName+" xfrm policy add src 10.123.0.2 dst 10.123.0.1 proto udp dir out tmpl src 10.123.0.2 dst 10.123.0.1 proto esp mode transport")
}

// The kernel notes when data of a path came in, in both forms of their header, in the clear and
// through IPsec; data of other paths it does not. Each packet renews the time.
func TestDataAreNoted(t *testing.T) {
	newLine(t)
	far := listenFar(t, lineThere)
	other := listenFar(t, netip.AddrPortFrom(lineThere.Addr(), 1702))
	at := path{lineHere, lineThere}
	r := putRules(t, contents{data: []path{at}}, 0)
	send := func(from *net.UDPConn, b []byte) {
		t.Helper()
		if _, err := from.WriteToUDPAddrPort(b, lineHere); err != nil {
			t.Fatal(err)
		}
	}
	// arrived is how long ago data came in for a tunnel.
	arrived := func(id uint16) (clear, secured time.Duration) {
		t.Helper()
		all, err := r.arrivals()
		if err != nil {
			t.Fatal(err)
		}
		ago := func(at time.Time) time.Duration {
			if at.IsZero() {
				return -1
			}
			return max(0, time.Since(at))
		}
		a := all[address{at, id, false}]
		return ago(a.clear), ago(a.secured)
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if want < 0 && got >= 0 || want >= 0 && (got < want || got > want+500*time.Millisecond) {
			t.Errorf("%s: data came in %v ago, want %v", what, got, want)
		}
	}
	send(far, dataTo(0, 7))
	send(far, dataTo(0x40, 8))
	send(far, dataTo(0x80, 9)) // a control message
	send(other, dataTo(0, 10))
	time.Sleep(time.Second)
	for id, want := range map[uint16]time.Duration{7: time.Second, 8: time.Second, 9: -1, 10: -1} {
		clear, secured := arrived(id)
		near("in the clear", clear, want)
		near("through IPsec", secured, -1)
	}
	send(far, dataTo(0, 7))
	clear, _ := arrived(7)
	near("again", clear, 0)

	secureLine(t)
	send(far, dataTo(0, 17))
	send(far, dataTo(0x40, 18))
	time.Sleep(200 * time.Millisecond)
	for _, id := range []uint16{17, 18} {
		clear, secured := arrived(id)
		near("in the clear", clear, -1)
		near("through IPsec", secured, 200*time.Millisecond)
	}
	if ok, err := r.intact(); !ok || err != nil {
		t.Errorf("not intact: %v", err)
	}
}

// The chain that every packet goes through comes with the first path that needs it.
func TestDataHookWhenNeeded(t *testing.T) {
	r := putRules(t, contents{}, 0)
	if hasDataHook() {
		t.Error("there before any path needs it")
	}
	if exec.Command("nft", "list", "set", "ip", TableName, "cleardata").Run() == nil {
		t.Error("the kernel walks through a large set once a second, before any path needs it")
	}
	one, two := path{lineHere, lineThere}, path{lineHere, netip.AddrPortFrom(lineThere.Addr(), 1702)}
	for _, step := range []struct {
		at       path
		on, want bool
	}{{one, true, true}, {one, true, true}, {two, true, true}, {one, false, true}, {two, false, true}, {two, false, true}, {one, true, true}} {
		if err := r.setData(step.at, step.on); err != nil || hasDataHook() != step.want {
			t.Errorf("%+v: %v, or the hook of the data is not as wanted", step, err)
		}
		if ok, err := r.intact(); !ok || err != nil {
			t.Errorf("%+v: not intact: %v", step, err)
		}
	}
	shell(t, "nft delete chain ip "+TableName+" "+dataHook)
	if ok, _ := r.intact(); ok {
		t.Error("intact without its chain")
	}
}

// A packet that waits in the queue while noting begins or ends comes to the guard once, and arrives.
func TestQueuedWhileNotingChanges(t *testing.T) {
	newLine(t)
	here := netip.AddrPortFrom(lineHere.Addr(), 41701) // an xl2tpd of this host has 1701
	near := listenNear(t, here)
	far := listenFar(t, lineThere)
	tunnel := l2tp.Connection{Local: here, Peer: lineThere, LocalID: 7, PeerID: 9}
	r := putRules(t, contents{listen: []l2tp.Connection{tunnel}}, 0)
	var seen atomic.Int32
	var on atomic.Bool
	takeQueue(t, plainQueue, func() {
		if seen.Add(1) == 1 {
			if err := r.setData(path{here, lineThere}, on.Load()); err != nil {
				t.Error(err)
			}
		}
	})
	for _, begins := range []bool{true, false, true} {
		seen.Store(0)
		on.Store(begins)
		if _, err := far.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 7}), here); err != nil {
			t.Fatal(err)
		}
		near.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := near.Read(make([]byte, 100)); err != nil {
			t.Errorf("noting begins %v: %v", begins, err)
		}
		time.Sleep(100 * time.Millisecond)
		if n := seen.Load(); n != 1 {
			t.Errorf("noting begins %v: the packet came to the queue %d times, want once", begins, n)
		}
	}
}

// A guard of tunnels of kernel mode, whose links are certain, has none.
func TestNoDataHookForKernelMode(t *testing.T) {
	newLine(t)
	r := runGuard(t, l2tp.Connection{Local: lineHere, Peer: lineThere, LocalID: 7, PeerID: 9})
	r.becomes(nil, 5*time.Second)
	if awaitTable(t); hasDataHook() {
		t.Error("the hook for data is still there")
	}
}

// What noting costs a data packet of a path that is noted, and any other packet. On the virtual
// clock that skips, an instruction takes 2 ns.
func TestCostOfNoting(t *testing.T) {
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := net.DialUDP("udp4", nil, far.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	pass := func(b []byte) (least time.Duration) {
		const times, n = 200, 50
		buf := make([]byte, 64)
		least = time.Hour
		for range times {
			began := time.Now()
			for range n {
				near.Write(b)
				if _, err := far.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			least = min(least, time.Since(began)/n)
		}
		return least
	}
	kinds := map[string][]byte{"data": dataTo(0, 7), "other": make([]byte, 12)}
	r := putRules(t, contents{}, 0)
	without := map[string]time.Duration{}
	for kind, b := range kinds {
		without[kind] = pass(b)
	}
	at := path{far.LocalAddr().(*net.UDPAddr).AddrPort(), near.LocalAddr().(*net.UDPAddr).AddrPort()}
	if err := r.setData(at, true); err != nil {
		t.Fatal(err)
	}
	for kind, b := range kinds {
		with := pass(b)
		t.Logf("%s packet: %v without noting, %v with: adds %v", kind, without[kind], with, with-without[kind])
	}
	if all, err := r.arrivals(); err != nil || len(all) != 1 {
		t.Errorf("arrivals: got %v, %v, want one", all, err)
	}
}

// How long it takes to read what was noted of thousands of tunnels.
func TestReadingManyArrivals(t *testing.T) {
	newLine(t)
	far := listenFar(t, lineThere)
	r := putRules(t, contents{data: []path{{lineHere, lineThere}}}, 0)
	for _, n := range []int{100, 4000, maxClear + 1000} {
		for id := range n {
			far.WriteToUDPAddrPort(dataTo(0, uint16(id)), lineHere)
		}
		began := time.Now()
		all, err := r.arrivals()
		t.Logf("%d tunnels: read %d in %v", n, len(all), time.Since(began))
		if err != nil || len(all) > maxClear || len(all) < min(n, maxClear)*9/10 {
			t.Errorf("%d tunnels: %d noted, %v", n, len(all), err)
		}
	}
}
