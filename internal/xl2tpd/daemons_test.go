package xl2tpd

import (
	"os"
	"testing"
)

func TestCgroupPath(t *testing.T) {
	for _, tt := range []struct{ text, hierarchy, want string }{
		{"0::/system.slice/xl2tpd.service\n", "", "/system.slice/xl2tpd.service"},
		{"12:pids:/a\n1:name=systemd:/b\n0::/c d\n", "", "/c d"},
		{"12:pids:/a\n1:name=systemd:/b\n0::/c d\n", "name=systemd", "/b"},
		{"0::/\n", "", "/"},
		{"0::/../other.slice\n", "", ""}, // of another cgroup namespace
		{"12:pids:/a\n1:name=systemd:/system.slice/x.service\n", "", ""},
		{"", "", ""},
	} {
		got, ok := cgroupPath(tt.text, tt.hierarchy)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%q, hierarchy %q: %q %v, want %q", tt.text, tt.hierarchy, got, ok, tt.want)
		}
	}
}

func TestUnit(t *testing.T) {
	for _, tt := range []struct{ name, cgroup, want string }{
		{"Debian's", "0::/system.slice/xl2tpd.service\n", "xl2tpd.service"},
		{"another service", "0::/system.slice/office-l2tp.service\n", "office-l2tp.service"},
		{"of a template", "0::/system.slice/system-xl2tpd.slice/xl2tpd@a.service\n", "xl2tpd@a.service"},
		{"a group of the service's own", "0::/system.slice/office-l2tp.service/main\n", "office-l2tp.service"},
		{"hybrid hierarchy", "12:pids:/x\n1:name=systemd:/system.slice/xl2tpd.service\n0::/system.slice/xl2tpd.service\n", "xl2tpd.service"},
		{"first version's hierarchy", "1:name=systemd:/system.slice/xl2tpd.service\n0::/\n", "xl2tpd.service"},
		{"scope", "0::/system.slice/run-r1.scope\n", ""},
		{"container", "0::/system.slice/docker-0123.scope\n", ""},
		{"container with a systemd of its own", "0::/system.slice/docker-0123.scope/system.slice/xl2tpd.service\n", ""},
		{"nspawn", "0::/machine.slice/systemd-nspawn@x.service/payload/system.slice/xl2tpd.service\n", "systemd-nspawn@x.service"},
		{"login", "0::/user.slice/user-0.slice/session-1.scope\n", ""},
		{"a user's service", "0::/user.slice/user-0.slice/user@0.service/app.slice/xl2tpd.service\n", ""},
		{"escaped", "0::/system.slice/_memory.service\n", "memory.service"},
		{"no systemd", "0::/\n", ""},
		{"unreadable", "", ""},
	} {
		p := newProc(t)
		p.write("7/cgroup", tt.cgroup)
		if got := (procs{root: p.root}).unit(7); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Where there is no hierarchy of the second version, a folder's number is not a cgroup's.
func TestCgroupOf(t *testing.T) {
	if _, got := cgroupOf(os.DirFS("/proc"), []string{t.TempDir()}, os.Getpid()); got != 0 {
		t.Errorf("cgroup %d on a folder that is none", got)
	}
}

func TestAlone(t *testing.T) {
	const xl2tpd, pppd, script, other = 100, 101, 102, 103
	for name, tc := range map[string]struct {
		members string
		want    bool
	}{
		"xl2tpd, pppd and what pppd has started": {"100\n101\n102\n", true},
		"its pppd only":                          {"101\n", true},
		"another process of root":                {"100\n103\n101\n", false},
		"one of another pid namespace":           {"100\n0\n", false},
		"one that has just ended":                {"100\n999\n", false},
		"unreadable":                             {"", false},
	} {
		p := newProc(t)
		for pid, parent := range map[int]int{xl2tpd: 1, pppd: xl2tpd, script: pppd, other: 1} {
			p.add(pid, parent, "x", "S", 5, "self")
		}
		folder := t.TempDir()
		if tc.members != "" {
			if err := os.WriteFile(folder+"/cgroup.procs", []byte(tc.members), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := (procs{root: p.root}).alone(folder, xl2tpd); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}
