package foreign

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

const (
	repeat = time.Second // until a message is acknowledged
	giveUp = 30 * time.Second
)

// LAC has a tunnel of its own with a peer until the peer or a signal ends it.
// It writes down what it receives.
func LAC(args []string, log io.Writer) error {
	flags := flag.NewFlagSet("lac", flag.ContinueOnError)
	to := flags.String("to", "", "address of the peer")
	port := flags.Uint("port", l2tpPort, "source port, shared with xl2tpd if that has it")
	interval := flags.Duration("hello", 20*time.Second, "between two Hellos")
	if err := flags.Parse(args); err != nil {
		return err
	}
	peer, err := netip.ParseAddr(*to)
	if err != nil {
		return err
	}
	fd, err := shared(uint16(*port), &unix.SockaddrInet4{Port: l2tpPort, Addr: peer.As4()})
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "lac")
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return err
	}
	defer conn.Close()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	l := &lac{conn: conn.(net.Conn), log: log, id: id(rng), interval: *interval}
	return l.run()
}

// lac is one end of a tunnel without calls. It has one message in flight.
type lac struct {
	conn       net.Conn
	log        io.Writer
	id, peerID uint16 // tunnel ids
	interval   time.Duration

	ns, nr uint16    // of the next message: its own, and the one that is due
	flying []byte    // unacknowledged
	since  time.Time // it was sent first
	sent   time.Time // and last
	next   time.Time // Hello
}

func (l *lac) run() error {
	assigned := binary.BigEndian.AppendUint16(nil, l.id)
	l.send(1, avp{2, []byte{1, 0}}, avp{3, []byte{0, 0, 0, 3}}, avp{7, []byte("foreign")}, avp{9, assigned})
	for buffer := make([]byte, 2048); ; {
		l.conn.SetReadDeadline(time.Now().Add(repeat))
		n, err := l.conn.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = l.tick(time.Now())
		case err == nil:
			err = l.receive(buffer[:n])
		case errors.Is(err, unix.ECONNREFUSED):
			err = nil // the peer is about to listen
		}
		if err != nil {
			return err
		}
	}
}

// tick sends what is due, or sends it again.
func (l *lac) tick(now time.Time) error {
	switch {
	case l.flying != nil && now.Sub(l.since) > giveUp:
		return errors.New("no acknowledgement")
	case l.flying != nil && now.Sub(l.sent) >= repeat:
		l.sent = now
		binary.BigEndian.PutUint16(l.flying[10:], l.nr)
		l.conn.Write(l.flying)
	case l.flying == nil && l.peerID != 0 && !now.Before(l.next):
		l.next = now.Add(l.interval)
		l.send(6)
	}
	return nil
}

func (l *lac) receive(b []byte) error {
	if !l2tp.IsControl(b) {
		return nil
	}
	p, err := l2tp.Parse(b)
	if err != nil || p.Tunnel != l.id {
		fmt.Fprintf(l.log, "stray: %+v %v\n", p, err)
		return nil
	}
	if p.Nr == l.ns {
		l.flying = nil
	}
	if p.ZLB() {
		return l.tick(time.Now())
	}
	fmt.Fprintf(l.log, "received %s\n", p.Type())
	if p.Ns == l.nr {
		l.nr++
		if p.Type() == l2tp.SCCRP {
			return l.opened(p)
		}
	}
	l.write(0, l.ns)
	if p.Type() == l2tp.StopCCN {
		return errors.New("the peer closed the tunnel")
	}
	return l.tick(time.Now())
}

// opened takes the peer's id from its SCCRP.
func (l *lac) opened(p l2tp.Packet) error {
	for _, a := range p.AVPs {
		if a.Type == l2tp.AVPAssignedTunnel && len(a.Value) == 2 {
			l.peerID = binary.BigEndian.Uint16(a.Value)
		}
	}
	if l.peerID == 0 {
		return errors.New("an SCCRP without a tunnel id")
	}
	l.next = time.Now().Add(l.interval)
	l.send(3)
	return nil
}

// send makes a message the one in flight.
func (l *lac) send(kind uint16, avps ...avp) {
	l.flying, l.since = l.write(kind, l.ns, avps...), time.Now()
	l.sent = l.since
	l.ns++
}

func (l *lac) write(kind, ns uint16, avps ...avp) []byte {
	b := encode(kind, l.peerID, ns, l.nr, avps)
	l.conn.Write(b)
	return b
}
