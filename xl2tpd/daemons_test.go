package xl2tpd

import (
	"os"
	"testing"
)

func TestCgroupPath(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/xl2tpd.service\n":        "/system.slice/xl2tpd.service",
		"12:pids:/a\n1:name=systemd:/b\n0::/c d\n": "/c d",
		"0::/\n":               "/",
		"0::/../other.slice\n": "", // of another cgroup namespace
		"12:pids:/a\n1:name=systemd:/system.slice/x.service\n": "",
		"": "",
	} {
		got, ok := cgroupPath(text)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v, want %q", text, got, ok, want)
		}
	}
}

// Where there is no hierarchy of the second version, a folder's number is not a cgroup's.
func TestCgroupOf(t *testing.T) {
	if got := cgroupOf(os.DirFS("/proc"), []string{t.TempDir()}, os.Getpid()); got != 0 {
		t.Errorf("cgroup %d on a folder that is none", got)
	}
}

// NetworkManager's xl2tpd counts here, and is not the one to watch.
func TestProcessesCountsAll(t *testing.T) {
	p := newProc(t)
	p.add(10, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
	p.add(11, 1, "xl2tpd", "S", 2, "self", "xl2tpd", "-D", "-c", "/run/nm-l2tp-1/xl2tpd.conf")
	p.add(12, 11, "xl2tpd", "S", 3, "self", "xl2tpd") // about to become pppd
	p.add(13, 1, "xl2tpd", "S", 4, "other", "xl2tpd")
	p.add(14, 1, "kl2tpd", "S", 5, "self", "kl2tpd")
	if all := processes(p.root); len(all) != 2 {
		t.Errorf("%+v", all)
	}
}
