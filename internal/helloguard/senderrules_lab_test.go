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
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		mount = "/sys/fs/cgroup/unified"
	}
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
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(info.Sys().(*syscall.Stat_t).Ino)
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
	from := func(id uint16) []uint32 { return r.sentFrom(address{path{lineHere, lineThere}, id, true}) }
	if got := from(7); !slices.Equal(got, []uint32{one}) {
		t.Errorf("7 was sent from %v, want %d", got, one)
	}
	if got := from(8); len(got) != 2 || !slices.Contains(got, two) || slices.Contains(got, one) {
		t.Errorf("8 was sent from %v, want %d and the one above it", got, two)
	}
	if got := from(9); len(got) != 0 {
		t.Errorf("9 was sent from %v", got)
	}
	if time.Sleep(senderAge); len(from(7)) != 0 {
		t.Error("an old sender counts")
	}
}
