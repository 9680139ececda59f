package probe

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	batchSize = 32  // how many packets one system call sends or receives
	replySize = 128 // an IPv4 header takes 60 at most
	echoSize  = 16  // a header and the token
)

// message is struct mmsghdr of sendmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// pktInfo is the control message IP_PKTINFO of ip(7).
type pktInfo struct {
	header unix.Cmsghdr
	info   unix.Inet4Pktinfo
}

// sendBatch holds echo requests for one system call.
type sendBatch struct {
	n        int
	messages [batchSize]message
	packets  [batchSize][echoSize]byte
	vectors  [batchSize]unix.Iovec
	targets  [batchSize]unix.RawSockaddrInet4
	infos    [batchSize]pktInfo
}

func newSendBatch() *sendBatch {
	b := new(sendBatch)
	for i := range b.messages {
		b.vectors[i].Base = &b.packets[i][0]
		b.vectors[i].SetLen(echoSize)
		b.targets[i].Family = unix.AF_INET
		info := &b.infos[i]
		info.header.Level, info.header.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		info.header.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		h := &b.messages[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.targets[i])), unix.SizeofSockaddrInet4
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(info))
		h.SetControllen(int(unsafe.Sizeof(*info)))
	}
	return b
}

// add adds an echo request that leaves by the request's link.
func (b *sendBatch) add(w *pendingEcho, id uint16) {
	p := &b.packets[b.n]
	p[0], p[1], p[2], p[3] = byte(ipv4.ICMPTypeEcho), 0, 0, 0
	binary.BigEndian.PutUint16(p[4:], id)
	binary.BigEndian.PutUint16(p[6:], w.seq)
	copy(p[8:], w.token[:])
	binary.BigEndian.PutUint16(p[2:], checksum(p[:]))
	b.targets[b.n].Addr = w.req.Target.As4()
	b.infos[b.n].info = unix.Inet4Pktinfo{Ifindex: int32(w.req.Index)}
	if w.req.Source.IsValid() {
		b.infos[b.n].info.Spec_dst = w.req.Source.Unmap().As4()
	}
	b.n++
}

// checksum is that of RFC 1071; the length must be even.
func checksum(p []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

// send sends the batch, and empties it. It calls result for each echo request, in their order, with the time right before
// its system call: a round trip is never too short, and may be too long by what the call takes for the others.
func (s *socket) send(b *sendBatch, result func(i int, at time.Time, err error)) {
	all := b.n
	b.n = 0
	for i := 0; i < all; {
		began := time.Now()
		n, err := s.sendSome(b.messages[i:all])
		for j := range n {
			result(i+j, began, nil)
		}
		i += n
		if err != nil {
			result(i, began, os.NewSyscallError("sendmsg", err))
			i++
		}
	}
}

// sendSome sends some of the messages. An error is that of the message after them.
func (s *socket) sendSome(m []message) (n int, err error) {
	// It must not block: another link that hangs may have filled the buffer.
	r, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// receiveBatch has room for what one system call receives.
type receiveBatch struct {
	messages [batchSize]message
	packets  [batchSize][replySize]byte
	vectors  [batchSize]unix.Iovec
	controls [batchSize]timestamp
}

// timestamp is the control message SO_TIMESTAMPNS_NEW of socket(7): when a packet came, by the host's clock.
type timestamp struct {
	header    unix.Cmsghdr
	sec, nsec int64
}

func newReceiveBatch() *receiveBatch {
	b := new(receiveBatch)
	for i := range b.messages {
		b.vectors[i].Base = &b.packets[i][0]
		b.vectors[i].SetLen(replySize)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
		b.messages[i].header.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
	}
	return b
}

// receive returns how many packets it has received. It does not wait for any.
func (s *socket) receive(b *receiveBatch) (n int, err error) {
	for i := range b.messages {
		b.messages[i].header.SetControllen(int(unsafe.Sizeof(b.controls[i])))
	}
	r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.messages[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(r), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("ICMP socket: %w", errno)
}

// packet returns a received packet.
func (b *receiveBatch) packet(i int) []byte { return b.packets[i][:b.messages[i].length] }

// came returns when a packet came. now is a time after that, with the reading of the monotonic clock.
func (b *receiveBatch) came(i int, now time.Time) time.Time {
	c := &b.controls[i]
	if b.messages[i].header.Controllen == 0 || c.header.Level != unix.SOL_SOCKET || c.header.Type != unix.SO_TIMESTAMPNS_NEW {
		return now
	}
	return now.Add(-max(now.Sub(time.Unix(c.sec, c.nsec)), 0))
}
