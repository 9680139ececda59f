package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// looks are devices that look like the PPP links of an xl2tpd.
type looks struct {
	daemon  *exec.Cmd
	devices []*os.File
}

// xl2tpd has a process for each link, with the name of pppd and its pid file.
const lookalike = `
i=0
while [ $i -lt $1 ]; do
	pppd infinity &
	echo $! > /run/ppp$i.pid
	i=$((i + 1))
done
echo $$ > /run/xl2tpd.pid
wait
`

// linksCommand makes links beyond the number that a virtual machine can carry real ones of: link1 and so on are tun
// devices of PPP's type, whose far ends answer echo requests. What xl2tpd and pppd are on other days, a shell and sleep are here.
func linksCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "links N")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	c := clientOf(ts)
	ts.Check(do("systemctl", "stop", "xl2tpd"))
	bin := ts.MkAbs("bin")
	ts.Check(write(filepath.Join(bin, "links"), lookalike))
	ts.Check(do("cp", "/bin/sleep", filepath.Join(bin, "pppd")))
	ts.Check(do("cp", "/bin/sh", filepath.Join(bin, "xl2tpd")))
	c.looks.daemon = exec.Command(filepath.Join(bin, "xl2tpd"), filepath.Join(bin, "links"), args[0])
	c.looks.daemon.Env = []string{"PATH=" + bin}
	c.looks.daemon.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	ts.Check(c.looks.daemon.Start())
	var batch strings.Builder
	own, far := crowdClient, crowdPPP
	for i := range n {
		device := fmt.Sprintf("ppp%d", i)
		file, err := lookLike(device)
		ts.Check(err)
		c.looks.devices = append(c.looks.devices, file)
		go answer(file)
		c.join(&peer{name: fmt.Sprintf("link%d", i+1), ppp: far, twin: true})
		fmt.Fprintf(&batch, "address add %v peer %v dev %s\nlink set %s up\n", own, far, device, device)
		own, far = own.Next(), far.Next()
	}
	ts.Check(write(filepath.Join(bin, "batch"), batch.String()))
	ts.Check(do("ip", "-batch", filepath.Join(bin, "batch")))
}

// lookLike makes a tun device that the kernel takes for a PPP one.
func lookLike(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	ifreq.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq); err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETLINK, unix.ARPHRD_PPP)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil // only now: the runtime's poller would take it for broken
}

// answer answers echo requests until the device is gone.
func answer(device *os.File) {
	packet := make([]byte, 2000)
	for {
		n, err := device.Read(packet)
		if err != nil {
			return
		}
		header := int(packet[0]&0xf) * 4
		if n < header+8 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_ICMP || packet[header] != 8 {
			continue
		}
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

// end takes them away.
func (l *looks) end() {
	for _, d := range l.devices {
		d.Close()
	}
	if l.daemon != nil && l.daemon.Process != nil {
		unix.Kill(-l.daemon.Process.Pid, unix.SIGTERM)
		l.daemon.Wait()
	}
}
