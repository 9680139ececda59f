package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Pinger sends echo requests through one raw socket and passes each reply to its
// caller. The zero value is ready; its methods are safe for concurrent use.
type Pinger struct {
	Ready func() // if set: called by Run when echoes can be sent

	once    sync.Once
	changed chan struct{} // closed when the socket or err is first known

	mu      sync.Mutex
	socket  *socket // nil: none
	err     error   // why there is none
	seq     uint16
	waiting map[uint16]waiter // by sequence number
}

// waiter is an echo that is under way. Its token proves that a reply answers it.
type waiter struct {
	token [8]byte
	reply chan<- time.Time
}

func (p *Pinger) init() {
	p.once.Do(func() {
		p.changed = make(chan struct{})
		p.waiting = make(map[uint16]waiter)
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
	defer p.mu.Unlock()
	p.socket, p.err = s, err
	select {
	case <-p.changed:
	default:
		close(p.changed)
	}
}

// receive passes on replies until the socket fails or is closed.
func (p *Pinger) receive(s *socket) error {
	buf := make([]byte, 512)
	for {
		n, err := s.file.Read(buf)
		if err != nil {
			return fmt.Errorf("ICMP socket: %w", err)
		}
		at := time.Now()
		seq, token, ok := parseReply(buf[:n], s.id)
		if !ok {
			continue
		}
		p.mu.Lock()
		if w, ok := p.waiting[seq]; ok && w.token == token {
			delete(p.waiting, seq)
			w.reply <- at
		}
		p.mu.Unlock()
	}
}

// expect takes a free sequence number for an echo.
func (p *Pinger) expect(reply chan<- time.Time) (s *socket, seq uint16, token [8]byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socket == nil {
		return nil, 0, token, p.err
	}
	if len(p.waiting) > 0xffff {
		return nil, 0, token, fmt.Errorf("%w: too many echo requests at a time", ErrSend)
	}
	for {
		p.seq++
		if _, taken := p.waiting[p.seq]; !taken {
			break
		}
	}
	for i := range token {
		token[i] = byte(rand.Uint32())
	}
	p.waiting[p.seq] = waiter{token, reply}
	return p.socket, p.seq, token, nil
}

func (p *Pinger) giveUp(seq uint16, token [8]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[seq].token == token {
		delete(p.waiting, seq)
	}
}

// socket is a raw ICMP socket that sees the replies to its own echo requests
// only.
type socket struct {
	file *os.File
	id   uint16
}

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
	return &socket{os.NewFile(uintptr(fd), "ICMP socket"), id}, nil
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

// send sends one echo request through the interface with the request's index.
func (s *socket) send(req Request, seq uint16, token [8]byte) error {
	echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(s.id), Seq: int(seq), Data: token[:]}}
	packet, err := echo.Marshal(nil)
	if err != nil {
		return err
	}
	info := unix.Inet4Pktinfo{Ifindex: int32(req.Index)}
	if req.Source.IsValid() {
		info.Spec_dst = req.Source.Unmap().As4()
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	// It must not block: another link that hangs may have filled the buffer.
	sent := raw.Control(func(fd uintptr) {
		err = unix.Sendmsg(int(fd), packet, unix.PktInfo4(&info), &unix.SockaddrInet4{Addr: req.Target.As4()}, unix.MSG_DONTWAIT)
	})
	return errors.Join(sent, os.NewSyscallError("sendmsg", err))
}

// parseReply reads an IPv4 packet that the filter let in.
func parseReply(packet []byte, id uint16) (seq uint16, token [8]byte, ok bool) {
	if len(packet) < ipv4.HeaderLen {
		return 0, token, false
	}
	header := int(packet[0]&0xf) * 4
	if len(packet) < header {
		return 0, token, false
	}
	m, err := icmp.ParseMessage(unix.IPPROTO_ICMP, packet[header:])
	if err != nil {
		return 0, token, false
	}
	echo, ok := m.Body.(*icmp.Echo)
	if !ok || m.Type != ipv4.ICMPTypeEchoReply || echo.ID != int(id) || len(echo.Data) != len(token) {
		return 0, token, false
	}
	return uint16(echo.Seq), [8]byte(echo.Data), true
}
