package ppp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answerTime is how long the kernel may take for one part of an answer.
const answerTime = 5 * time.Second

// kernel asks the kernel for devices and addresses. The zero value is ready, and
// safe for concurrent use.
type kernel struct {
	mu   sync.Mutex
	conn *netlink.Conn
	held bool // keep conn open between requests

	singles singles
}

// device is a PPP device as the kernel has it.
type device struct {
	index int
	name  string
	up    bool // IFF_UP
}

// address is one point-to-point IPv4 address of a device.
type address struct {
	index       int
	local, peer netip.Addr
}

// keep sets whether the socket stays open between requests.
func (k *kernel) keep(held bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = held
	if !held {
		k.hangUp()
	}
}

// hangUp closes the socket, if any. k.mu is held.
func (k *kernel) hangUp() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// devices returns all PPP devices.
func (k *kernel) devices() ([]device, error) {
	const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h: half of the answer
	mask, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.IFLA_EXT_MASK, Data: binary.NativeEndian.AppendUint32(nil, skipStats)},
	})
	if err != nil {
		return nil, err
	}
	msgs, err := k.request(unix.RTM_GETLINK, netlink.Dump, append(make([]byte, unix.SizeofIfInfomsg), mask...))
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	all, err := decodeAll(msgs, unix.RTM_NEWLINK, decodeDevice)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return all, nil
}

// decodeAll decodes the messages of one type. It leaves out those that decode does not want.
func decodeAll[T any](msgs []netlink.Message, kind netlink.HeaderType, decode func([]byte) (T, bool, error)) (all []T, err error) {
	for _, m := range msgs {
		if m.Header.Type != kind {
			continue
		}
		one, wanted, err := decode(m.Data)
		if err != nil {
			return nil, err
		}
		if wanted {
			all = append(all, one)
		}
	}
	return all, nil
}

// addresses returns all point-to-point IPv4 addresses.
func (k *kernel) addresses() ([]address, error) {
	req := make([]byte, unix.SizeofIfAddrmsg)
	req[0] = unix.AF_INET
	msgs, err := k.request(unix.RTM_GETADDR, netlink.Dump, req)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	all, err := decodeAll(msgs, unix.RTM_NEWADDR, decodeAddress)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return all, nil
}

// request sends one request and returns the answer. When the socket fails, request
// tries once more on a new one.
func (k *kernel) request(kind uint16, flags netlink.HeaderFlags, body []byte) (msgs []netlink.Message, err error) {
	err = k.tryTwice(func() (err error) {
		msgs, err = k.exchange(kind, flags, body)
		return err
	})
	return msgs, err
}

// tryTwice calls do, and calls it once more on a new socket if the socket fails.
func (k *kernel) tryTwice(do func() error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.held {
		defer k.hangUp()
	}
	for try := 0; ; try++ {
		err := do()
		// The kernel's own "no such device" is an answer.
		if err == nil || errors.Is(err, unix.ENODEV) {
			return err
		}
		k.hangUp()
		if try == 1 {
			return err
		}
	}
}

// dial opens the socket, unless it is open. k.mu is held.
func (k *kernel) dial() error {
	if k.conn != nil {
		return nil
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return err
	}
	k.conn = conn
	return nil
}

func (k *kernel) exchange(kind uint16, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	if err := k.dial(); err != nil {
		return nil, err
	}
	if err := k.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	msgs, err := k.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   body,
	})
	if err != nil {
		return nil, err
	}
	// Devices came or went while the kernel was writing the list.
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 && flags&netlink.Dump == netlink.Dump {
			return nil, errors.New("the list changed while it was read")
		}
	}
	return msgs, nil
}

// The decoders read only the attributes that they need and ignore all others:
// newer kernels add attributes.

// decodeDevice reads an RTM_NEWLINK or RTM_DELLINK message; ppp reports whether
// the device is a PPP device.
func decodeDevice(b []byte) (d device, ppp bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return d, false, fmt.Errorf("device message of %d bytes", len(b))
	}
	ppp = binary.NativeEndian.Uint16(b[2:4]) == unix.ARPHRD_PPP
	d.index = int(binary.NativeEndian.Uint32(b[4:8]))
	d.up = binary.NativeEndian.Uint32(b[8:12])&unix.IFF_UP != 0
	attrs, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return d, false, err
	}
	for d.name == "" && attrs.Next() { // it is the first of some fifty
		if attrs.Type() == unix.IFLA_IFNAME {
			d.name = attrs.String()
		}
	}
	return d, ppp, attrs.Err()
}

// decodeAddress reads an RTM_NEWADDR or RTM_DELADDR message; ptp reports whether
// it is a point-to-point IPv4 address.
func decodeAddress(b []byte) (a address, ptp bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, false, fmt.Errorf("address message of %d bytes", len(b))
	}
	a.index = int(binary.NativeEndian.Uint32(b[4:8]))
	attrs, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return a, false, err
	}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.IFA_LOCAL:
			a.local, _ = netip.AddrFromSlice(attrs.Bytes())
		case unix.IFA_ADDRESS:
			a.peer, _ = netip.AddrFromSlice(attrs.Bytes())
		}
	}
	ptp = b[0] == unix.AF_INET && a.local.Is4() && a.peer.Is4() && a.local != a.peer
	return a, ptp, attrs.Err()
}
