package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Pinger sends echo requests through one raw socket and passes each reply to its
// caller. The zero value is ready; its methods are safe for concurrent use.
//
// A reply does not wake it up. It reads the replies when those of the latest requests are likely to have come, and so
// with few wake-ups for many links. The kernel notes when each of them came.
type Pinger struct {
	Ready func()         // if set: called by Run when echoes can be sent
	Done  func([]Result) // gets the results of Start; must not block, nor call the Pinger

	once    sync.Once
	changed chan struct{} // closed when the socket or err is first known

	mu      sync.Mutex
	socket  *socket // nil: none
	err     error   // why there is none
	seq     uint16
	waiting map[uint16]*pendingEcho // by sequence number
	free    []*pendingEcho          // to be used again
	batch   *sendBatch
	replies *receiveBatch
	sending []*pendingEcho // those in batch
	results []Result       // to be passed to Done
	timer   *time.Timer    // calls look
	fires   time.Time      // when timer does; zero: it is stopped
	pause   time.Duration  // before the replies are read again
	usual   time.Duration  // the longest of the latest round trips
}

// pendingEcho is an echo that is under way. Its token proves that a reply answers it.
type pendingEcho struct {
	seq      uint16
	token    [8]byte
	req      Request
	sent     time.Time            // zero: not yet
	deadline time.Time            // of one of Start
	reply    chan<- time.Duration // of one of Echo; gets the round trip; nil: it is one of Start
	err      error                // why it can't be sent
}

func (p *Pinger) init() {
	p.once.Do(func() {
		p.changed = make(chan struct{})
		p.waiting = make(map[uint16]*pendingEcho)
		p.batch, p.replies = newSendBatch(), newReceiveBatch()
	})
}

// Run keeps the socket open until ctx ends, then returns ctx's error. Any other error
// is the socket's; then Run may be called again.
func (p *Pinger) Run(ctx context.Context) error {
	p.init()
	s, err := open(uint16(rand.Uint32()))
	p.set(s, err)
	if err != nil {
		return err
	}
	if p.Ready != nil {
		p.Ready()
	}
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-s.failed:
	}
	p.set(nil, err)
	s.close()
	return err
}

func (p *Pinger) set(s *socket, err error) {
	p.mu.Lock()
	defer p.unlock()
	p.socket, p.err = s, err
	p.sendEarly()
	select {
	case <-p.changed:
	default:
		close(p.changed)
	}
}

// answered passes on a reply, if it is one. p.mu is held.
func (p *Pinger) answered(seq uint16, token [8]byte, at time.Time) {
	w := p.waiting[seq]
	if w == nil || w.token != token || w.sent.IsZero() {
		return
	}
	rtt := at.Sub(w.sent)
	if rtt < 0 { // the host's clock was set meanwhile
		rtt = time.Since(w.sent)
	}
	p.usual = max(rtt, p.usual-p.usual/16)
	if w.reply != nil {
		delete(p.waiting, seq)
		w.reply <- rtt
		return
	}
	p.end(w, rtt, nil)
}

// expect takes a free sequence number for an echo. p.mu is held.
func (p *Pinger) expect(w *pendingEcho) error {
	if len(p.waiting) > 0xffff {
		return fmt.Errorf("%w: too many echo requests at a time", ErrSend)
	}
	for {
		p.seq++
		if p.waiting[p.seq] == nil {
			break
		}
	}
	w.seq = p.seq
	binary.NativeEndian.PutUint64(w.token[:], rand.Uint64())
	p.waiting[w.seq] = w
	return nil
}

// queue puts an echo into the batch, and sends a batch that is full. p.mu is held, and there is a socket.
func (p *Pinger) queue(w *pendingEcho) {
	p.batch.add(w, p.socket.id)
	if p.sending = append(p.sending, w); p.batch.n == batchSize {
		p.flush()
	}
}

// flush sends the batch. p.mu is held, so that no reply is seen before it is known when its request was sent.
func (p *Pinger) flush() {
	if p.batch.n == 0 {
		return
	}
	p.socket.send(p.batch, func(i int, at time.Time, err error) {
		w := p.sending[i]
		if w.sent, w.err = at, sendError(err); w.err != nil && w.reply == nil {
			p.end(w, 0, w.err)
		}
	})
	p.sending = p.sending[:0]
	p.pause = min(max(p.usual+p.usual/4, shortestPause), longestPause)
	p.fireAt(time.Now().Add(p.pause))
}

// sendError returns the error of an echo that the kernel did not send.
func sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODEV):
		return ErrGone
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: permission denied (a prohibit route?)", ErrSend)
	}
	return fmt.Errorf("%w: %w", ErrSend, err)
}

// socket is a raw ICMP socket that sees the replies to its own echo requests
// only.
type socket struct {
	fd     int
	id     uint16
	failed chan error // why it can't be used any more
}

const receiveBuffer = 1 << 20

func open(id uint16) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if errors.Is(err, fs.ErrPermission) {
		return nil, ErrPermission
	}
	if err != nil {
		return nil, fmt.Errorf("ICMP socket: %w", err)
	}
	if err := filter(fd, id); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ICMP socket: filter: %w", err)
	}
	// A whole second of many far ends may answer before the replies are read. Without CAP_NET_ADMIN it stays as it is.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	// Without it a reply seems to have come when it was read.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1)
	return &socket{fd, id, make(chan error, 1)}, nil
}

func (s *socket) close() { unix.Close(s.fd) }

// filter makes the socket receive only echo replies with that identifier. Without it
// a raw socket receives every ICMP packet of the host.
func filter(fd int, id uint16) error {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadMemShift{Off: 0}, // the length of the IP header
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ipv4.ICMPTypeEchoReply), SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(id), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
}

// parseReply reads an IPv4 packet that the filter let in.
func parseReply(packet []byte, id uint16) (seq uint16, token [8]byte, ok bool) {
	if len(packet) < ipv4.HeaderLen {
		return 0, token, false
	}
	header := int(packet[0]&0xf) * 4
	if len(packet) != header+echoSize {
		return 0, token, false
	}
	echo := packet[header:]
	if echo[0] != byte(ipv4.ICMPTypeEchoReply) || echo[1] != 0 || binary.BigEndian.Uint16(echo[4:]) != id {
		return 0, token, false
	}
	return binary.BigEndian.Uint16(echo[6:]), [8]byte(echo[8:]), true
}
