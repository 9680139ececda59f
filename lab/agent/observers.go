package main

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// observers look at the client host without any code of the product: the kernel's own address messages,
// a packet socket, and the journal. They run as long as the agent and report to the scenario's client.
type observers struct{ client atomic.Pointer[client] }

func startObservers() (*observers, error) {
	w := &observers{}
	w.client.Store(&client{history: newHistory(), out: &reporter{enc: json.NewEncoder(io.Discard)}})
	addresses, err := rtnetlink.Dial(&netlink.Config{Groups: unix.RTMGRP_IPV4_IFADDR})
	if err != nil {
		return nil, err
	}
	go watchAddresses(addresses, func(up bool, link string, own, peer netip.Addr, at time.Time) {
		w.client.Load().sawAddress(up, link, own, peer, at)
	})
	fd, err := tap()
	if err != nil {
		return nil, err
	}
	go watchEchoes(fd, func(link int, target netip.Addr, at time.Time) {
		w.client.Load().sawEcho(link, target, at)
	})
	return w, watchJournal(func(identifier, text string, at time.Time) {
		w.client.Load().sawJournal(identifier, text, at)
	})
}

// watchAddresses reports each pppN address that comes or goes.
func watchAddresses(conn *rtnetlink.Conn, seen func(up bool, link string, own, peer netip.Addr, at time.Time)) {
	links := map[uint32]string{} // also of one that is gone
	for {
		messages, raw, err := conn.Receive()
		if err != nil {
			return
		}
		at := time.Now()
		for i, m := range messages {
			a, ok := m.(*rtnetlink.AddressMessage)
			if !ok || a.Attributes == nil {
				continue
			}
			peer, ok := netip.AddrFromSlice(a.Attributes.Address.To4())
			if !ok {
				continue
			}
			own, _ := netip.AddrFromSlice(a.Attributes.Local.To4())
			if name, err := deviceName(int(a.Index)); err == nil {
				links[a.Index] = name
			}
			seen(raw[i].Header.Type == unix.RTM_NEWADDR, links[a.Index], own, peer, at)
		}
	}
}

// deviceName asks for one device, where net.InterfaceByIndex lists them all.
func deviceName(index int) (string, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	ifreq.SetUint32(uint32(index))
	err = unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifreq)
	return ifreq.Name(), err
}

// tap is a packet socket that sees every ICMP echo request the host sends, on whatever interface,
// those included that come later.
func tap() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return 0, err
	}
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 20, Size: 1}, // the service's echo requests have no IP options
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 8, SkipTrue: 1},
		bpf.RetConstant{Val: 64},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// watchEchoes reports each echo request on its way out.
func watchEchoes(fd int, seen func(link int, target netip.Addr, at time.Time)) {
	buf := make([]byte, 64)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		at := time.Now()
		sll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || sll.Pkttype != unix.PACKET_OUTGOING || n < 20 {
			continue
		}
		seen(sll.Ifindex, netip.AddrFrom4([4]byte(buf[16:20])), at)
	}
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// watchJournal reports each journal message from now on.
func watchJournal(seen func(identifier, text string, at time.Time)) error {
	command := exec.Command("journalctl", "--follow", "--lines=0", "--output=json",
		"--output-fields=SYSLOG_IDENTIFIER,_COMM,MESSAGE")
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	go func() {
		for lines := json.NewDecoder(pipe); ; {
			var line struct {
				ID   string `json:"SYSLOG_IDENTIFIER"`
				Comm string `json:"_COMM"`
				Text any    `json:"MESSAGE"` // a list of bytes when it is not UTF-8
				Time string `json:"__REALTIME_TIMESTAMP"`
			}
			if lines.Decode(&line) != nil {
				return
			}
			text, _ := line.Text.(string)
			usec, _ := strconv.ParseInt(line.Time, 10, 64)
			if line.ID == "NetworkManager" {
				line.ID = line.Comm // its xl2tpd has its standard error
			}
			seen(line.ID, text, time.UnixMicro(usec))
		}
	}()
	return nil
}
