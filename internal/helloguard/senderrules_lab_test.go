//go:build lab

package helloguard

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// inCgroup moves this process into a new cgroup for the time of do, and returns its number.
func inCgroup(t *testing.T, name string, do func()) uint32 {
	t.Helper()
	mount := cgroupMount()
	own, err := exec.Command("sh", "-c", "sed -n s/^0:://p /proc/"+strconv.Itoa(os.Getpid())+"/cgroup").Output()
	if err != nil {
		t.Fatal(err)
	}
	before := filepath.Join(mount, string(own[:len(own)-1]))
	dir := filepath.Join(mount, name)
	move := func(to string) {
		t.Helper()
		if err := os.WriteFile(to+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	move(dir)
	defer move(before)
	do()
	return cgroupNumber(t, name)
}

// cgroupNumber is the kernel's number of a cgroup.
func cgroupNumber(t *testing.T, name string) uint32 {
	t.Helper()
	info, err := os.Stat(filepath.Join(cgroupMount(), name))
	if err != nil {
		t.Fatal(err)
	}
	return uint32(info.Sys().(*syscall.Stat_t).Ino)
}

func cgroupMount() string {
	const mount = "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		return mount + "/unified"
	}
	return mount
}

// Of two sockets on one port, in two cgroups, the kernel shows which has sent a message.
func TestNotesWhoSends(t *testing.T) {
	r := newRules()
	if r.tryKernel(); !r.notesSenders {
		t.Skip("this kernel notes no senders: Linux 5.13 and later do")
	}
	newLine(t)
	listenFar(t, lineThere)
	if err := r.install([]uint16{l2tpPort}, contents{}, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.remove()
		r.kernel.close()
	})
	say := func(id uint16) func() {
		return func() {
			s := xl2tpdSocket(t, l2tpPort, netip.AddrPort{})
			if _, err := s.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeHello, Tunnel: id}), lineThere); err != nil {
				t.Fatal(err)
			}
		}
	}
	one, two := inCgroup(t, "guard-one", say(7)), inCgroup(t, "guard-two/deeper", say(8))
	above := cgroupNumber(t, "guard-two")
	check := func(id uint16, want ...uint32) {
		t.Helper()
		from := r.sentFrom(address{path{lineHere, lineThere}, id, true})
		for _, cgroup := range []uint32{one, two, above, rootCgroup} {
			if got := from(cgroup); got != slices.Contains(want, cgroup) {
				t.Errorf("%d was sent from %v: %v, want %v", id, cgroup, got, want)
			}
		}
	}
	check(7, one)
	check(8, two, above)
	check(9)
	time.Sleep(senderAge)
	check(7)
}
