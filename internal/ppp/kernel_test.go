package ppp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func attributes(t *testing.T, set func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	e := netlink.NewAttributeEncoder()
	set(e)
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func deviceMessage(t *testing.T, kind uint16, index, flags uint32, name string) []byte {
	t.Helper()
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(b[2:], kind)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[8:], flags)
	return append(b, attributes(t, func(e *netlink.AttributeEncoder) { e.String(unix.IFLA_IFNAME, name) })...)
}

func statisticsMessage(t *testing.T, index uint32, rx uint64, size int) []byte {
	t.Helper()
	b := make([]byte, sizeofIfStatsMsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	s := binary.NativeEndian.AppendUint64(nil, rx)
	s = append(s, make([]byte, 400)...)
	return append(b, attributes(t, func(e *netlink.AttributeEncoder) { e.Bytes(unix.IFLA_STATS_LINK_64, s[:size]) })...)
}

func addressMessage(t *testing.T, family byte, index uint32, local, peer string) []byte {
	t.Helper()
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:], index)
	return append(b, attributes(t, func(e *netlink.AttributeEncoder) {
		if local != "" {
			e.Bytes(unix.IFA_LOCAL, netip.MustParseAddr(local).AsSlice())
		}
		e.Bytes(unix.IFA_ADDRESS, netip.MustParseAddr(peer).AsSlice())
	})...)
}

func TestDecodeDevice(t *testing.T) {
	d, ppp, err := decodeDevice(deviceMessage(t, unix.ARPHRD_PPP, 5, unix.IFF_UP|unix.IFF_POINTOPOINT, "ppp0"))
	want := device{index: 5, name: "ppp0", up: true}
	if err != nil || !ppp || d != want {
		t.Errorf("ppp0: got %+v, %v, %v, want %+v", d, ppp, err, want)
	}
	d, ppp, err = decodeDevice(deviceMessage(t, unix.ARPHRD_ETHER, 2, 0, "eth0"))
	if err != nil || ppp || d.up {
		t.Errorf("eth0: got %+v, %v, %v", d, ppp, err)
	}
	if _, _, err := decodeDevice(make([]byte, 8)); err == nil {
		t.Error("short message: no error")
	}
}

func TestDecodeStatistics(t *testing.T) {
	// Sizes of a future kernel, of today's, and the least that the decoder reads.
	for _, size := range []int{400, 200, 8} {
		index, packets, err := decodeStatistics(statisticsMessage(t, 5, 7, size))
		if err != nil || index != 5 || packets != 7 {
			t.Errorf("%d bytes: got %d, %d, %v", size, index, packets, err)
		}
	}
	for _, b := range [][]byte{make([]byte, 4), make([]byte, sizeofIfStatsMsg), statisticsMessage(t, 5, 7, 4)} {
		if _, _, err := decodeStatistics(b); err == nil {
			t.Errorf("%x: no error", b)
		}
	}
}

func TestDecodeAddress(t *testing.T) {
	for _, tc := range []struct {
		name        string
		family      byte
		local, peer string
		ptp         bool
	}{
		{"pppd's", unix.AF_INET, "10.0.0.2", "10.0.0.1", true},
		{"of a LAN", unix.AF_INET, "10.0.0.2", "10.0.0.2", false},
		{"no local one", unix.AF_INET, "", "10.0.0.2", false},
		{"IPv6", unix.AF_INET6, "fe80::1", "fe80::2", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, ptp, err := decodeAddress(addressMessage(t, tc.family, 5, tc.local, tc.peer))
			if err != nil || ptp != tc.ptp {
				t.Fatalf("got %+v, %v, %v, want ptp %v", a, ptp, err, tc.ptp)
			}
			if want := (address{5, netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")}); ptp && a != want {
				t.Errorf("got %+v, want %+v", a, want)
			}
		})
	}
	if _, _, err := decodeAddress(make([]byte, 4)); err == nil {
		t.Error("short message: no error")
	}
}

func TestConcerns(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind netlink.HeaderType
		data []byte
		want bool
	}{
		{"ppp0 came", unix.RTM_NEWLINK, deviceMessage(t, unix.ARPHRD_PPP, 5, 0, "ppp0"), true},
		{"ppp device of another name went", unix.RTM_DELLINK, deviceMessage(t, unix.ARPHRD_PPP, 5, 0, "office"), true},
		{"eth0 came", unix.RTM_NEWLINK, deviceMessage(t, unix.ARPHRD_ETHER, 2, 0, "eth0"), false},
		{"ptp address came", unix.RTM_NEWADDR, addressMessage(t, unix.AF_INET, 5, "10.0.0.2", "10.0.0.1"), true},
		{"ptp address went", unix.RTM_DELADDR, addressMessage(t, unix.AF_INET, 5, "10.0.0.2", "10.0.0.1"), true},
		{"LAN address came", unix.RTM_NEWADDR, addressMessage(t, unix.AF_INET, 2, "10.0.0.2", "10.0.0.2"), false},
		{"unreadable", unix.RTM_NEWLINK, []byte{1}, true},
		{"route", unix.RTM_NEWROUTE, nil, false},
	} {
		if got := concerns(netlink.Message{Header: netlink.Header{Type: tc.kind}, Data: tc.data}); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func FuzzNetlink(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _, _ = decodeDevice(b)
		_, _, _ = decodeAddress(b)
		_, _, _ = decodeStatistics(b)
	})
}

// The kernel of any machine answers these.
func TestKernel(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	var k kernel
	for _, held := range []bool{false, true} {
		k.keep(held)
		if _, err := k.devices(); err != nil {
			t.Fatal(err)
		}
		if _, err := k.addresses(); err != nil {
			t.Fatal(err)
		}
		one := k.received([]int{lo.Index})[0]
		if one.Err != nil {
			t.Fatal(one.Err)
		}
		conn, err := net.Dial("udp", "127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		// One by one, and so many that the list of all is asked for.
		for _, n := range []int{2, maxSingle + 1} {
			indexes := slices.Repeat([]int{lo.Index}, n)
			indexes[1] = 1 << 30
			two := k.received(indexes)
			if len(two) != n || two[0].Err != nil || two[0].Packets <= one.Packets {
				t.Errorf("held %v: got %v, then %v: the counter did not grow", held, one, two)
			}
			if !errors.Is(two[1].Err, unix.ENODEV) {
				t.Errorf("held %v: got %v, want ENODEV", held, two[1].Err)
			}
		}
		if held {
			// The socket is closed while it is in use.
			k.conn.Close()
			if c := k.received([]int{lo.Index})[0]; c.Err != nil {
				t.Errorf("after the socket died: %v", c.Err)
			}
		}
	}
	k.keep(false)
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
