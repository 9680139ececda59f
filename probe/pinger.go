package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Pinger sends echo requests through one raw socket and passes each reply to its
// caller. The zero value is ready; its methods are safe for concurrent use.
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
	sending []*pendingEcho // those in batch
	results []Result       // to be passed to Done
	started int            // echoes of Start that are under way
	timer   *time.Timer
	fires   time.Time // when timer does; zero: it is stopped
}

// pendingEcho is an echo that is under way. Its token proves that a reply answers it.
type pendingEcho struct {
	seq      uint16
	token    [8]byte
	req      Request
	sent     time.Time        // zero: not yet
	deadline time.Time        // of one of Start
	reply    chan<- time.Time // of one of Echo; nil: it is one of Start
	err      error            // why it can't be sent
}

func (p *Pinger) init() {
	p.once.Do(func() {
		p.changed = make(chan struct{})
		p.waiting = make(map[uint16]*pendingEcho)
		p.batch = newSendBatch()
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
	stop := context.AfterFunc(ctx, func() { s.file.Close() })
	err = p.receive(s)
	stop()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	p.set(nil, err)
	s.file.Close()
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

// receive passes on replies until the socket fails or is closed.
func (p *Pinger) receive(s *socket) error {
	b := newReceiveBatch()
	for {
		n, err := s.receive(b)
		if err != nil {
			return fmt.Errorf("ICMP socket: %w", err)
		}
		at := time.Now()
		p.mu.Lock()
		for i := range n {
			if seq, token, ok := parseReply(b.packet(i), s.id); ok {
				p.answered(seq, token, at)
			}
		}
		p.unlock()
	}
}

// answered passes on a reply, if it is one. p.mu is held.
func (p *Pinger) answered(seq uint16, token [8]byte, at time.Time) {
	w := p.waiting[seq]
	switch {
	case w == nil || w.token != token || w.sent.IsZero():
	case w.reply != nil:
		delete(p.waiting, seq)
		w.reply <- at
	default:
		p.end(w, at.Sub(w.sent), nil)
	}
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
	file *os.File
	conn syscall.RawConn // of file
	id   uint16
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
	file := os.NewFile(uintptr(fd), "ICMP socket")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("ICMP socket: %w", err)
	}
	return &socket{file, conn, id}, nil
}

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
