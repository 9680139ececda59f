package ppp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxTogether is how many requests go to the kernel in one message. It answers all of them before the message is sent,
// and the answers have to fit into the socket's buffer.
const maxTogether = 32

// singles is what it takes to ask for the counters of single devices. The netlink library makes three system calls and
// 20 allocations for each.
type singles struct {
	seq    uint32
	out    [maxTogether * sizeofRequest]byte
	answer [1024]byte
}

const sizeofRequest = unix.SizeofNlMsghdr + sizeofIfStatsMsg

// single takes the counters of devices that it asks for one by one. k.mu is held.
func (k *kernel) single(indexes []int, counts []Count) error {
	if err := k.dial(); err != nil {
		return err
	}
	conn, err := k.conn.SyscallConn()
	if err != nil {
		return err
	}
	for len(indexes) > 0 {
		n := min(len(indexes), maxTogether)
		failed := conn.Control(func(fd uintptr) { err = k.singles.ask(int(fd), indexes[:n], counts[:n]) })
		if err := errors.Join(failed, err); err != nil {
			return err
		}
		indexes, counts = indexes[n:], counts[n:]
	}
	return nil
}

// ask sends the requests, and takes the answers.
func (s *singles) ask(fd int, indexes []int, counts []Count) error {
	for i, index := range indexes {
		b := s.out[i*sizeofRequest:]
		binary.NativeEndian.PutUint32(b, sizeofRequest)
		binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETSTATS)
		binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
		binary.NativeEndian.PutUint32(b[8:], s.seq+uint32(i))
		putStatsRequest(b[unix.SizeofNlMsghdr:], index)
	}
	if err := unix.Send(fd, s.out[:len(indexes)*sizeofRequest], 0); err != nil {
		return fmt.Errorf("netlink: send: %w", err)
	}
	for i := range indexes {
		n, err := unix.Read(fd, s.answer[:])
		if err != nil {
			return fmt.Errorf("netlink: receive: %w", err)
		}
		if counts[i].Packets, counts[i].Err, err = decodeAnswer(s.answer[:n], s.seq+uint32(i)); err != nil {
			return err
		}
	}
	s.seq += uint32(len(indexes))
	return nil
}

// decodeAnswer reads the answer to one request. failed is the kernel's error.
func decodeAnswer(b []byte, seq uint32) (packets uint64, failed, err error) {
	if len(b) < unix.SizeofNlMsghdr || int(binary.NativeEndian.Uint32(b)) > len(b) || binary.NativeEndian.Uint32(b[8:]) != seq {
		return 0, nil, errors.New("netlink: unexpected answer")
	}
	body := b[unix.SizeofNlMsghdr:binary.NativeEndian.Uint32(b)]
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == unix.NLMSG_ERROR && len(body) >= 4:
		return 0, unix.Errno(-int32(binary.NativeEndian.Uint32(body))), nil
	case kind == unix.RTM_NEWSTATS:
		_, packets, err = decodeStatistics(body)
		return packets, nil, err
	default:
		return 0, nil, fmt.Errorf("netlink: unexpected answer of type %d", kind)
	}
}
