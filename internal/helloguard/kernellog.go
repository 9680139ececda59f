package helloguard

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/florianl/go-nflog/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

const (
	logTable = TableName + "_trace"
	logGroup = 1701

	// What xl2tpd sends is logged before a guard could change it, and what it receives after that.
	beforeGuard = lastPriority - 1
	afterGuard  = lastPriority + 1

	// maxLogged is how many messages may wait to be shown.
	maxLogged = 4096
)

// LogTable is the nftables table, as nft(8) calls it.
const LogTable = "ip " + logTable

// KernelLog sees control messages without the guard: nftables rules log them to a netlink socket. It shows them as
// xl2tpd sends and receives them. Data packets are not logged.
type KernelLog struct {
	socket *nflog.Nflog
	rules  *rules
	conn   *nftables.Conn // has put the table into the kernel
	owned  bool           // the table goes when conn closes
	stop   context.CancelFunc
	events chan controltrace.Event
	failed chan error

	next  uint32 // sequence number that the next message has
	lost  uint64 // since the last one that was passed on
	again highestSent
}

// OpenKernelLog logs the messages of xl2tpds that listen on these ports, and on 1701. The socket comes first: of two
// traces at one time the second fails. So a table that is there already was left by a trace that has ended.
func OpenKernelLog(ctx context.Context, ports []uint16) (*KernelLog, error) {
	ctx, stop := context.WithCancel(ctx)
	k := &KernelLog{
		stop: stop, rules: newRules(), events: make(chan controltrace.Event, maxLogged), failed: make(chan error, 1),
	}
	k.rules.table.Name = logTable
	if err := k.open(ctx); err != nil {
		stop()
		return nil, logRemedy(err)
	}
	if err := k.install(Host{Ports: ports}.normal().Ports); err != nil {
		k.Close()
		return nil, logRemedy(err)
	}
	return k, nil
}

// logRemedy adds to an error what a person can do about it. go-nflog passes the kernel's errors on as texts alone. The
// kernel says EPERM for a log group that somebody else has, too (nfnetlink_log.c, nfulnl_recv_config).
func logRemedy(err error) error {
	is := func(cause unix.Errno) bool {
		return errors.Is(err, cause) || strings.HasSuffix(err.Error(), cause.Error())
	}
	if is(unix.EPERM) && os.Geteuid() != 0 {
		return message.Errorf("the kernel logs messages to root alone (sudo xl2tpd-keepalive trace)")
	}
	if is(unix.EPERM) || is(unix.EBUSY) {
		return message.Errorf("%v (needs CAP_NET_ADMIN, as with sudo, and log group %d free: is there another trace?)", err, logGroup)
	}
	return message.Errorf("%v (the kernel needs nf_tables, nft_log and nfnetlink_log)", err)
}

// open listens to the log group. A later error ends Next.
func (k *KernelLog) open(ctx context.Context) error {
	var err error
	k.socket, err = nflog.Open(&nflog.Config{Group: logGroup, Copymode: nflog.CopyPacket, Flags: nflog.FlagSeq, QThresh: 1})
	if err != nil {
		return err
	}
	_ = k.socket.Con.SetReadBuffer(batchSize) // a smaller one loses more, and says so
	err = k.socket.RegisterWithErrorFunc(ctx, func(a nflog.Attribute) int {
		k.take(a)
		return 0
	}, func(err error) int {
		if errors.Is(err, unix.ENOBUFS) {
			return 0 // the sequence numbers show how many were lost
		}
		if ctx.Err() == nil {
			k.failed <- err
		}
		return 1
	})
	if err != nil {
		k.socket.Con.Close()
	}
	return err
}

// install puts the table into the kernel, in place of one that was left.
func (k *KernelLog) install(ports []uint16) error {
	if err := k.rules.remove(); err != nil {
		return err
	}
	var socket *netlink.Conn
	var err error
	k.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		socket = c
		return nil
	}))
	if err != nil {
		return err
	}
	if k.owned, err = addOwned(socket, k.rules.table); err != nil {
		return err
	}
	if !k.owned {
		k.conn.AddTable(k.rules.table)
	}
	k.rules.addHooks(k.conn, beforeGuard, logged(ports), afterGuard, logged(ports))
	return flush(k.conn)
}

// Stays reports whether the table stays in the kernel if this process is killed.
func (k *KernelLog) Stays() bool { return !k.owned }

// logged are the rules: th sport PORT log group logGroup, and the same for the destination. Once is enough.
func logged(ports []uint16) [][]expr.Any {
	return ofPorts(ports, &expr.Log{Key: 1 << unix.NFTA_LOG_GROUP, Group: logGroup}, &expr.Verdict{Kind: expr.VerdictReturn})
}

// take passes a message on, or counts it.
func (k *KernelLog) take(a nflog.Attribute) {
	if a.Seq != nil {
		if *a.Seq > k.next {
			k.lost += uint64(*a.Seq - k.next)
		}
		k.next = *a.Seq + 1
	}
	if a.Payload == nil || a.Hook == nil {
		return
	}
	e, ok := k.again.event(*a.Payload, *a.Hook != hookInput, time.Now())
	if !ok {
		return
	}
	e.Lost = k.lost
	select {
	case k.events <- e:
		k.lost = 0
	default:
		k.lost++
	}
}

// Next returns the next message, with how many were missed before it; io.EOF after Close.
func (k *KernelLog) Next() (controltrace.Event, error) {
	select {
	case e := <-k.events:
		return e, nil
	case err := <-k.failed:
		return controltrace.Event{}, err
	}
}

// Close takes the table away, and ends Next.
func (k *KernelLog) Close() error {
	err := k.removeTable()
	k.rules.kernel.close()
	k.stop()
	k.socket.Close()
	select {
	case k.failed <- io.EOF:
	default:
	}
	return err
}

func (k *KernelLog) removeTable() error {
	if k.conn == nil {
		return nil
	}
	err := k.conn.CloseLasting()
	if k.owned {
		return err
	}
	return k.rules.remove()
}

// highestSent knows the highest number that each end has sent in a connection.
type highestSent struct{ highest map[repeatKey]uint16 }

type repeatKey struct {
	l2tp.Connection
	toPeer bool
}

// event makes an event of a packet.
func (s *highestSent) event(raw []byte, toPeer bool, at time.Time) (e controltrace.Event, ok bool) {
	l2tp.TrustChecksum(raw) // what goes out may get its checksum later
	p, err := l2tp.ParsePacket(raw)
	if err != nil {
		return e, false
	}
	e.Record = controltrace.NewRecord(at, toPeer, p.Msg, p.Payload())
	e.Connection = receiverOf(&p, toPeer)
	k := repeatKey{e.Connection, toPeer}
	if p.Msg.Tunnel == 0 { // before the receiver has given an id
		id, _ := l2tp.AssignedTunnel(p.Payload())
		k.PeerID = id
	}
	if !p.Msg.ZLB() {
		e.Record.Again = s.seen(k, p.Msg.Ns)
	}
	return e, true
}

// seen reports whether a number was seen before, and notes it.
func (s *highestSent) seen(k repeatKey, ns uint16) bool {
	highest, known := s.highest[k]
	if known && !l2tp.Before(highest, ns) {
		return true
	}
	if s.highest == nil || len(s.highest) >= 2*maxChannels {
		s.highest = map[repeatKey]uint16{}
	}
	s.highest[k] = ns
	return false
}
