// Package lookalike makes network devices that look like the PPP links of an xl2tpd. It can make more of them than a
// kernel or a virtual machine can carry real links. Their far ends answer echo requests.
package lookalike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The first link's addresses, of this end and of the far one; the next links have the next ones.
var (
	firstOwn = netip.MustParseAddr("10.90.0.1")
	firstFar = netip.MustParseAddr("10.110.0.1")
)

// Link is one of them.
type Link struct {
	Device   string
	Own, Far netip.Addr
	tun      *os.File
}

// Echo is an echo request that has come to a link's far end.
type Echo struct {
	Link int
	At   time.Time
}

// Links are what Make made.
type Links struct {
	All    []Link
	daemon *exec.Cmd
	mu     sync.Mutex
	echoes []Echo
}

// xl2tpd has a process for each link, with the name of pppd and its pid file. It has a
// terminal for each, as in userspace mode: the kernel has no sessions of theirs.
const daemon = `
i=0
while [ $i -lt $1 ]; do
	pppd -c 'kill -STOP $$' pppd /dev/pts/$i &
	echo $! > /run/ppp$i.pid
	i=$((i + 1))
done
echo $$ > /run/xl2tpd.pid
wait
`

// Make makes n links that have no addresses yet, ppp0 and so on, and the processes that belong to them: what xl2tpd and
// pppd are on other days, shells are here. It uses dir, and /run for pid files.
func Make(dir string, n int) (*Links, error) {
	script := filepath.Join(dir, "links")
	if err := os.WriteFile(script, []byte(daemon), 0o644); err != nil {
		return nil, err
	}
	for _, name := range []string{"pppd", "xl2tpd"} {
		if err := exec.Command("cp", "/bin/sh", filepath.Join(dir, name)).Run(); err != nil {
			return nil, fmt.Errorf("cp /bin/sh: %w", err)
		}
	}
	l := &Links{daemon: exec.Command(filepath.Join(dir, "xl2tpd"), script, strconv.Itoa(n))}
	l.daemon.Env = []string{"PATH=" + dir}
	l.daemon.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := l.daemon.Start(); err != nil {
		return nil, err
	}
	own, far := firstOwn, firstFar
	for i := range n {
		link := Link{Device: fmt.Sprint("ppp", i), Own: own, Far: far}
		if err := link.make(); err != nil {
			l.End()
			return nil, fmt.Errorf("%s: %w", link.Device, err)
		}
		l.All = append(l.All, link)
		go l.answer(i, link.tun)
		own, far = own.Next(), far.Next()
	}
	return l, nil
}

// Up gives all links their addresses, one after the other, as pppd does after IPCP. It returns when each had them.
func (l *Links) Up() ([]time.Time, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(socket)
	var at []time.Time
	for _, link := range l.All {
		if err := link.up(socket); err != nil {
			return nil, fmt.Errorf("%s: %w", link.Device, err)
		}
		at = append(at, time.Now())
	}
	return at, nil
}

// Echoes are the echo requests that have come since then, in order.
func (l *Links) Echoes(since time.Time) []Echo {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.echoes {
		if e.At.After(since) {
			return append([]Echo(nil), l.echoes[i:]...)
		}
	}
	return nil
}

// End takes them away.
func (l *Links) End() {
	for _, link := range l.All {
		link.tun.Close()
	}
	unix.Kill(-l.daemon.Process.Pid, unix.SIGKILL)
	l.daemon.Wait()
}

// make makes a tun device that the kernel takes for a PPP one.
func (l *Link) make() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	ifreq, err := unix.NewIfreq(l.Device)
	if err == nil {
		ifreq.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETLINK, unix.ARPHRD_PPP)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	l.tun = os.NewFile(uintptr(fd), l.Device) // only now: the runtime's poller would take it for broken
	return nil
}

// up does what pppd's sifup and sifaddr do.
func (l *Link) up(socket int) error {
	flags, err1 := unix.NewIfreq(l.Device)
	own, err2 := unix.NewIfreq(l.Device)
	far, err3 := unix.NewIfreq(l.Device)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	flags.SetUint16(unix.IFF_UP | unix.IFF_POINTOPOINT)
	if err := errors.Join(own.SetInet4Addr(l.Own.AsSlice()), far.SetInet4Addr(l.Far.AsSlice())); err != nil {
		return err
	}
	for _, step := range []struct {
		request uint
		value   *unix.Ifreq
	}{{unix.SIOCSIFFLAGS, flags}, {unix.SIOCSIFADDR, own}, {unix.SIOCSIFDSTADDR, far}} {
		if err := unix.IoctlIfreq(socket, step.request, step.value); err != nil {
			return err
		}
	}
	return nil
}

// answer answers the link's echo requests until its device is gone.
func (l *Links) answer(link int, device *os.File) {
	packet := make([]byte, 2000)
	for {
		n, err := device.Read(packet)
		if err != nil {
			return
		}
		at := time.Now()
		header := int(packet[0]&0xf) * 4
		if n < header+8 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_ICMP || packet[header] != 8 {
			continue
		}
		l.mu.Lock()
		l.echoes = append(l.echoes, Echo{link, at})
		l.mu.Unlock()
		var own [4]byte
		copy(own[:], packet[12:16])
		copy(packet[12:16], packet[16:20])
		copy(packet[16:20], own[:])
		packet[header] = 0 // and the checksum follows (RFC 1624)
		sum := uint32(binary.BigEndian.Uint16(packet[header+2:])) + 0x800
		binary.BigEndian.PutUint16(packet[header+2:], uint16(sum+sum>>16))
		device.Write(packet[:n])
	}
}
