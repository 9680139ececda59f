package ppp

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Measures one look at all links without the kernel's lists. Each hint that
// something has changed causes such a look.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 4000} {
		b.Run(fmt.Sprint("tunnels=", n), func(b *testing.B) {
			h := newHost()
			h.process(50, 1, "xl2tpd", "S", 5, "xl2tpd")
			var devices []device
			var addresses []address
			for i := range n {
				d := device{index: 10 + i, name: fmt.Sprint("ppp", i), up: true}
				h.process(1000+i, 50, "pppd", "S", 100, kernelArgs...)
				h.pidFile("run/"+d.name+".pid", fmt.Sprintln(1000+i))
				devices = append(devices, d)
				addresses = append(addresses, address{d.index, netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")})
			}
			// Real files: reading them costs about as much as in /proc.
			root := b.TempDir()
			if err := os.CopyFS(root, h); err != nil {
				b.Fatal(err)
			}
			interrupts := "\nintr" + strings.Repeat(" 0", 2000)
			stat, _ := os.ReadFile(filepath.Join(root, "proc/stat"))
			if err := os.WriteFile(filepath.Join(root, "proc/stat"), append(stat, interrupts...), 0o600); err != nil {
				b.Fatal(err)
			}
			o := pppdFinder{root: os.DirFS(root)}
			b.ReportAllocs()
			for b.Loop() {
				if v := combine(devices, addresses, o.find(devices)); len(v.links) != n {
					b.Fatalf("%d links", len(v.links))
				}
			}
		})
	}
}

// Measures one reading of the counters of all links. The service reads them once in an interval, and four times
// while data comes in now and then. The devices are veths: the kernel treats them as PPP devices.
func BenchmarkReceived(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint("tunnels=", n), func(b *testing.B) {
			runtime.LockOSThread() // never unlocked: the thread ends with its namespace
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				b.Skip(err)
			}
			var pairs strings.Builder
			for i := range n / 2 {
				fmt.Fprintf(&pairs, "link add a%d type veth peer name b%d\n", i, i)
			}
			ip := exec.Command("ip", "-batch", "-")
			ip.Stdin = strings.NewReader(pairs.String())
			if out, err := ip.CombinedOutput(); err != nil {
				b.Skipf("%v: %s", err, out)
			}
			var indexes []int
			for i := range n {
				indexes = append(indexes, 2+i) // behind lo
			}
			var k kernel
			k.keep(true)
			defer k.keep(false)
			b.ReportAllocs()
			for b.Loop() {
				for _, c := range k.received(indexes) {
					if c.Err != nil {
						b.Fatal(c.Err)
					}
				}
			}
		})
	}
}
