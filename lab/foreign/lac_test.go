package foreign

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// The lab's own LNS is the other end: the tunnel comes up, Hellos are answered
// both ways, and the LAC ends with a StopCCN.
func TestLAC(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ended := make(chan error)
	go func() { ended <- (&lac{conn: conn, log: &log, id: 9, interval: time.Millisecond}).run() }()

	b := l2tp.Defaults()
	b.KeepaliveInterval, b.KeepaliveTries = l2tp.Duration(50*time.Millisecond), 3
	peer := &lns{t: t, conn: server, count: map[string]int{}}
	sccrq, from := peer.read()
	peer.to = from
	tunnel, out, err := l2tp.Accept(time.Now(), b, 7, 70, sccrq, "")
	if err != nil {
		t.Fatal(err)
	}
	for peer.do(out); peer.count[l2tp.EventHelloAcked] < 3 || peer.count[l2tp.EventHelloReceived] < 3; peer.do(out) {
		p, _ := peer.read()
		out = append(tunnel.Receive(time.Now(), p), tunnel.Tick(time.Now())...)
		if peer.count[l2tp.EventClose]+peer.count[l2tp.EventOutOfOrder] > 0 {
			t.Fatalf("%v", peer.count)
		}
	}
	peer.do(tunnel.Close(time.Now(), l2tp.ReasonShutdown, ""))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(log.String(), "received Hello\n") || !strings.Contains(log.String(), "received StopCCN\n") {
		t.Errorf("log:\n%s", log.String())
	}
}

// lns is the socket of an LNS and what it has seen.
type lns struct {
	t     *testing.T
	conn  *net.UDPConn
	to    *net.UDPAddr
	count map[string]int // of events
}

func (l *lns) read() (l2tp.Packet, *net.UDPAddr) {
	l.t.Helper()
	b := make([]byte, 2048)
	l.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := l.conn.ReadFromUDP(b)
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := l2tp.Parse(b[:n])
	if err != nil {
		l.t.Fatal(err)
	}
	return p, from
}

func (l *lns) do(out []l2tp.Output) {
	for _, o := range out {
		switch o := o.(type) {
		case l2tp.Send:
			if _, err := l.conn.WriteToUDP(o.Packet, l.to); err != nil {
				l.t.Fatal(err)
			}
		case l2tp.Event:
			l.count[o.Name]++
		}
	}
}
