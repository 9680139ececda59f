package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// find returns the only finding of a check that is like that.
func find(t *testing.T, p *testHost, check string, kind Kind) Finding {
	t.Helper()
	all := Examine(t.Context(), p.Host)
	i := slices.IndexFunc(all, func(f Finding) bool { return f.Check.String() == check && f.Kind == kind })
	if i < 0 {
		t.Fatalf("no %s of %s: %+v", kind, check, all)
	}
	return all[i]
}

// steps returns a remedy in English.
func steps(f Finding) (all []string) {
	for _, r := range f.Remedy {
		all = append(all, r.String())
	}
	return all
}

// A remedy has every step that it takes, and a step that is a command can be pasted.
func TestSteps(t *testing.T) {
	const idle = "  # at a time when its tunnels may end"
	const closes = "systemctl kill --signal=INT xl2tpd; sleep 1; "
	const ends = "systemctl kill --signal=KILL xl2tpd; find /var/lock/ -name 'LCK..*' -empty -delete; "
	const anew = "echo 'd office' > /run/xl2tpd/l2tp-control; sleep 3; echo 'c office' > /run/xl2tpd/l2tp-control"
	const noGuard = "if it is not wanted: `hello guard = off` in /etc/xl2tpd/keepalive.conf"
	gone := errors.New("vici: no such socket")
	for _, tc := range []struct {
		name  string
		ill   func(*testHost)
		check string
		steps []string
	}{
		{"no DPD in swanctl.conf", func(p *testHost) { p.conns[0].DPDDelay = 0 }, "DPD", []string{
			"`dpd_delay = 30s` in the connection of swanctl.conf, or `dpddelay=30s` and `dpdaction=restart` in ipsec.conf",
			"swanctl --load-conns"}},
		{"no DPD in ipsec.conf", func(p *testHost) {
			p.conns[0].DPDDelay, p.unit = 0, "inactive (dead)"
		}, "DPD", []string{
			"`dpd_delay = 30s` in the connection of swanctl.conf, or `dpddelay=30s` and `dpdaction=restart` in ipsec.conf",
			"ipsec update  # swanctl --load-conns, if the connection is in swanctl.conf"}},
		{"max retries", func(p *testHost) { p.home.Conf.MaxRetries = 100 }, "max retries", []string{
			"take `max retries` out of [global]: the Hello guard does what it was for", "systemctl restart xl2tpd" + idle}},
		{"saref", func(p *testHost) { p.home.Conf.SarefLine = 2 }, "userspace mode", []string{
			"take that line out: SAref needs a kernel that is patched for it", closes + "systemctl restart xl2tpd" + idle}},
		{"saref, and pppd persists", func(p *testHost) {
			p.home.Conf.SarefLine = 2
			p.write("/etc/ppp/options.l2tpd", "persist\n")
		}, "userspace mode", []string{
			"take that line out: SAref needs a kernel that is patched for it", closes + ends + "systemctl restart xl2tpd" + idle}},
		{"a kernel without L2TP, and pppd persists", func(p *testHost) {
			p.home.Conf.MaxRetries = 100
			p.write("/etc/ppp/options.l2tpd", "persist\n")
			p.write("/proc/modules", "ppp_generic 1 0 - Live 0x0\nesp4 1 0 - Live 0x0\n")
			p.write("/lib/modules/6.1/modules.dep", "")
		}, "max retries", []string{
			"take `max retries` out of [global]: the Hello guard does what it was for", closes + ends + "systemctl restart xl2tpd" + idle}},
		{"max retries in userspace mode", func(p *testHost) {
			p.home.Conf.MaxRetries = 100
			p.terminal("/dev/ptmx")
		}, "max retries", []string{
			"take `max retries` out of [global]: the Hello guard does what it was for", closes + "systemctl restart xl2tpd" + idle}},
		{"userspace mode without a unit", func(p *testHost) {
			p.xl2tpd("[global]\nforce userspace = yes\nmax retries = 100\n")
			p.home.Unit = ""
		}, "max retries", []string{
			"take `max retries` out of [global]: the Hello guard does what it was for",
			"end pid 100 by SIGINT, and start xl2tpd as it was started before" + idle}},
		{"a wrong lns", func(p *testHost) { p.home.Conf.Sections[0].LNS[0] = "192.0.2.1 # x" }, "lns", []string{
			"correct that line", "systemctl restart xl2tpd" + idle}},
		{"in the clear", func(p *testHost) {
			p.status.Tunnels[0].SA = nil
			p.conns[0].RemoteAddrs, p.conns[0].Children = []string{"192.0.2.1"}, childrenOf("tokyo-l2tp")
		}, "IPsec", []string{"swanctl --initiate --child tokyo-l2tp", "make the LNS refuse L2TP without IPsec"}},
		{"no CHILD SA of an SA whose connection has a host name", func(p *testHost) {
			p.status.Tunnels[0].SA.Child, p.status.Tunnels[0].SA.Encap = false, false
			p.sas = []vici.SA{saOf("192.0.2.1", "DELETING")}
			p.conns[0].Children = childrenOf("l2tp")
		}, "IPsec", []string{"swanctl --initiate --child l2tp", "make the LNS refuse L2TP without IPsec"}},
		{"in the clear, and no connection", func(p *testHost) { p.status.Tunnels[0].SA = nil }, "IPsec", []string{
			"give strongSwan a connection with 192.0.2.1, for UDP port 1701 in transport mode", "make the LNS refuse L2TP without IPsec"}},
		{"NetworkManager's in the clear", func(p *testHost) {
			p.networkManager()
			p.status.Tunnels[0].SA = nil
		}, "IPsec", []string{
			"nmcli connection modify 'd4a4' +vpn.data ipsec-enabled=yes vpn.secrets password=PASSWORD,ipsec-psk=KEY", "nmcli connection down 'd4a4'; nmcli connection up 'd4a4'",
			"make the LNS refuse L2TP without IPsec"}},
		{"silent", func(p *testHost) { p.status.Tunnels[0].State = "silent" }, "state", []string{
			"if it never answers: `target = ADDRESS` behind the tunnel in its section of /etc/xl2tpd/keepalive.conf",
			"if it did: xl2tpd closes the tunnel once a Hello is unanswered, within some two minutes",
			"echo 'd office' > /run/xl2tpd/l2tp-control  # if that is too long, then the same with c"}},
		{"cloud kernel", func(p *testHost) {
			p.Kernel = func() string { return "6.1.0-57-cloud-amd64" }
			p.write("/lib/modules/6.1.0-57-cloud-amd64/modules.dep", "")
		}, "kernel modules", []string{"apt install linux-image-amd64",
			"apt purge linux-image-cloud-amd64 linux-image-6.1.0-57-cloud-amd64  # else GRUB boots the cloud kernel again", "reboot"}},
		{"another kernel without modules", func(p *testHost) { p.write("/lib/modules/6.1/modules.dep", "") }, "kernel modules",
			[]string{"apt install linux-image-amd64", "reboot"}},
		{"a guard that no modprobe helps", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "no such module")}
			p.write("/lib/modules/6.1/modules.dep", "")
		}, "Hello guard", []string{"get the kernel modules that are missing, as below", noGuard}},
		{"iptables drops the guard's answers", func(p *testHost) {
			p.filters = []helloguard.Filter{{Family: "ip", Table: "filter", Chain: "OUTPUT"}, {Family: "ip", Table: "raw", Chain: "OUTPUT"}}
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardOutput, helloguard.ErrBlockedOutput.Error())}
		}, "Hello guard", []string{"iptables -I OUTPUT 1 -o lo -p udp --dport 1701 -j ACCEPT",
			"iptables -t raw -I OUTPUT 1 -o lo -p udp --dport 1701 -j ACCEPT", noGuard}},
		{"nft drops the guard's answers to another port", func(p *testHost) {
			p.xl2tpd("[global]\nport = 1702\n")
			p.filters = []helloguard.Filter{{Family: "inet", Table: "filter", Chain: "INPUT"}}
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardInput, helloguard.ErrBlockedInput.Error())}
		}, "Hello guard", []string{"nft insert rule inet filter INPUT iif lo udp sport 1701 accept", noGuard}},
		{"the old iptables may drop the guard's answers", func(p *testHost) {
			p.write("/proc/net/ip_tables_names", "filter\n")
			p.filters = []helloguard.Filter{{Family: "ip", Table: "host", Chain: "output"}}
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardOutput, helloguard.ErrBlockedOutput.Error())}
		}, "Hello guard", []string{"iptables -I OUTPUT 1 -o lo -p udp --dport 1701 -j ACCEPT",
			"nft insert rule ip host output oif lo udp dport 1701 accept", noGuard}},
		{"a container's service", func(p *testHost) {
			p.container()
			p.down = fs.ErrNotExist
		}, "xl2tpd-keepalive", []string{"xl2tpd-keepalive run  # as root, by what starts xl2tpd here: there is no systemd"}},
		{"a tunnel without PPP", func(p *testHost) {
			p.write("/proc/modules", "")
			p.status.Tunnels[0].State, p.status.Tunnels[0].Link = "down", nil
		}, "state", []string{"get the kernel modules that are missing, as above"}},
		{"a container's xl2tpd", func(p *testHost) {
			p.container()
			p.home.Process, p.noSystemd = procfs.ID{}, errors.New("not been booted with systemd")
		}, "xl2tpd", []string{"start it as it was started before"}},
		{"a container's service with a problem", func(p *testHost) {
			p.container()
			p.status.Problems = []status.Problem{{Text: "rtnetlink does not work"}}
		}, "xl2tpd-keepalive", []string{"what `xl2tpd-keepalive run` prints says more"}},
		{"the chains of nft can't be read", func(p *testHost) {
			p.hidden = os.ErrPermission
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardInput, helloguard.ErrBlockedInput.Error())}
		}, "Hello guard", []string{"iptables -I INPUT 1 -i lo -p udp --dport 1701 -j ACCEPT",
			"if the rule is one of nft, which can't be read (permission denied): nft insert rule FAMILY TABLE CHAIN iif lo udp dport 1701 accept, for its own chain", noGuard}},
		{"a call that PPP has given up", func(p *testHost) { p.status.Tunnels[0].State = "down" }, "state", []string{anew,
			"journalctl -u xl2tpd -u xl2tpd-keepalive"}},
		{"a container's tunnel where no module shows", func(p *testHost) {
			p.container()
			p.write("/proc/modules", "")
			p.must(os.RemoveAll(p.path("/lib/modules")))
			p.status.Tunnels[0].State, p.status.Tunnels[0].Link = "down", nil
		}, "state", []string{anew,
			"if it is to be down: `keepalive = no` in its section of /etc/xl2tpd/keepalive.conf",
			"what xl2tpd, pppd and `xl2tpd-keepalive run` have logged says more"}},
		{"a container's tunnel", func(p *testHost) {
			p.container()
			p.status.Tunnels[0].State, p.status.Tunnels[0].Link = "down", nil
		}, "state", []string{anew,
			"if it is to be down: `keepalive = no` in its section of /etc/xl2tpd/keepalive.conf",
			"what xl2tpd, pppd and `xl2tpd-keepalive run` have logged says more"}},
		{"a container without strongSwan", func(p *testHost) {
			p.container()
			p.viciErr = gone
		}, "VICI", []string{"give the container the socket /run/charon.vici of the strongSwan that does its IPsec"}},
		{"charon of the starter gone, the other unit unused", func(p *testHost) {
			p.viciErr, p.unit, p.starter = syscall.ECONNREFUSED, "inactive (dead)", "active (running)"
		}, "VICI", []string{"systemctl restart strongswan-starter"}},
		{"pppd redials too", func(p *testHost) { p.write("/etc/ppp/options.l2tpd", "persist\n") }, "redialling", []string{
			"keep one of them; `redial = yes` in xl2tpd.conf is enough", "systemctl restart xl2tpd" + idle}},
		{"pppd redials too, in userspace mode", func(p *testHost) {
			p.write("/etc/ppp/options", "persist\n")
			p.terminal("/ptmx")
		}, "redialling", []string{
			"keep one of them; `redial = yes` in xl2tpd.conf is enough",
			closes + ends + "systemctl restart xl2tpd" + idle}},
		{"pppd would redial too", func(p *testHost) {
			p.write("/etc/ppp/options.l2tpd", "persist\n")
			p.home.Process = procfs.ID{}
		}, "redialling", []string{"keep one of them; `redial = yes` in xl2tpd.conf is enough"}},
		{"Libreswan stopped", func(p *testHost) {
			p.viciErr = gone
			p.write("/usr/libexec/ipsec/pluto", "")
		}, "VICI", []string{"systemctl restart ipsec"}},
		{"Libreswan's leftovers beside strongSwan", func(p *testHost) {
			p.viciErr = gone
			p.write("/usr/libexec/ipsec/pluto", "")
			p.write("/usr/lib/ipsec/plugins/libstrongswan-vici.so", "")
		}, "VICI", []string{"systemctl restart strongswan"}},
	} {
		p := healthy(t)
		tc.ill(p)
		if f := find(t, p, tc.check, Problem); !slices.Equal(steps(f), tc.steps) {
			t.Errorf("%s: %q\nwant %q", tc.name, f.Remedy, tc.steps)
		}
	}
}

func childrenOf(name string) []vici.ChildConfig {
	return []vici.ChildConfig{{Name: name, Mode: "TRANSPORT"}}
}

// In a container nobody can say what the kernel would load. Only its host can.
func TestContainersModules(t *testing.T) {
	p := healthy(t)
	p.container()
	p.must(os.RemoveAll(p.path("/lib/modules")))
	f := find(t, p, "kernel modules", Unknown)
	if want := "not loaded: l2tp_ppp, nft_queue, nfnetlink_queue; only the host of this container knows whether it has them"; f.Text.String() != want ||
		!slices.Equal(steps(f), []string{"on the host: modprobe -a l2tp_ppp nft_queue nfnetlink_queue"}) {
		t.Errorf("got %+v, want what only the container's host knows", f)
	}
}

// An xl2tpd in a container has a file and a pipe of its own. What is here by these names says nothing of it.
func TestXl2tpdInContainer(t *testing.T) {
	p := healthy(t)
	p.home.ConfErr = message.Errorf("/etc/xl2tpd/xl2tpd.conf: xl2tpd (pid %d) has another file there: %v", 100, xl2tpd.ErrElsewhere)
	p.home.Conf, p.home.Pipe = nil, "/run/missing"
	f := find(t, p, "xl2tpd.conf", Note)
	if !slices.Equal(steps(f), []string{"run xl2tpd-keepalive in the container that has this xl2tpd"}) {
		t.Errorf("got %+v, want the container as the remedy", f)
	}
	for _, f := range Examine(t.Context(), p.Host) {
		if f.Check == "control pipe" || f.Check == "max retries" {
			t.Errorf("got %+v, want no check of a file in another container", f)
		}
	}
}

// On the host of a container with the only xl2tpd, the service belongs into the container.
func TestHostOfAContainer(t *testing.T) {
	stopped := fmt.Errorf("xl2tpd-keepalive is not running: %w", status.ErrNotRunning)
	left := status.Problem{Code: status.CodeContainer, Text: "the pid file of xl2tpd's pppd can't be seen"}
	const there = "run xl2tpd-keepalive in the container that has this xl2tpd"
	for _, tc := range []struct {
		name  string
		host  func(*testHost)
		check string
		kind  Kind
		text  string
		steps []string
	}{
		{"the service runs here", func(p *testHost) { p.status.Problems = []status.Problem{left} }, "xl2tpd-keepalive", Problem,
			left.Text.String(), []string{"systemctl disable --now xl2tpd-keepalive", there}},
		{"and it has an xl2tpd of its own", func(p *testHost) {
			p.status.Problems = []status.Problem{left}
			p.office()
		}, "xl2tpd-keepalive", Problem, left.Text.String(), []string{there}},
		{"without systemd", func(p *testHost) {
			p.status.Problems = []status.Problem{left}
			p.container()
		}, "xl2tpd-keepalive", Problem, left.Text.String(), []string{there}},
		{"the service does not run", func(p *testHost) { p.down = stopped }, "xl2tpd-keepalive", Note,
			"not running; the xl2tpd of this host runs in a container", []string{there}},
		{"nor does it, without systemd", func(p *testHost) {
			p.down = stopped
			p.container()
		}, "xl2tpd-keepalive", Note, "not running; the xl2tpd of this host runs in a container", []string{there}},
		{"nor does it, and is needed here", func(p *testHost) {
			p.down = stopped
			p.office()
		}, "xl2tpd-keepalive", Problem, stopped.Error(), []string{"systemctl enable --now xl2tpd-keepalive", "journalctl -u xl2tpd-keepalive"}},
		{"who dials", func(*testHost) {}, "redialling", Unknown, "nobody here; who dials in the container can't be seen from here", nil},
		{"Hellos", func(*testHost) {}, "unanswered Hellos", Unknown,
			"none in the journal of this host; an xl2tpd in a container may log elsewhere", nil},
	} {
		p := healthy(t)
		p.home.Conf, p.home.ConfErr = nil, message.Errorf("%v", xl2tpd.ErrElsewhere)
		tc.host(p)
		if f := find(t, p, tc.check, tc.kind); f.Text.String() != tc.text || !slices.Equal(steps(f), tc.steps) {
			t.Errorf("%s: got %+v, want %q with steps %q", tc.name, f, tc.text, tc.steps)
		}
	}
}

// Where there is no systemd, no text names its commands.
func TestContainersService(t *testing.T) {
	p := healthy(t)
	p.container()
	p.down = fmt.Errorf("xl2tpd-keepalive is not running (systemctl start xl2tpd-keepalive): %w", status.ErrNotRunning)
	if f := find(t, p, "xl2tpd-keepalive", Problem); f.Text.String() != "not running" {
		t.Errorf("got %+v, want not running", f)
	}
}

// terminal opens one for a call of xl2tpd.
func (h *testHost) terminal(path string) {
	h.write("/proc/100/fd/7", "")
	h.must(os.Remove(h.path("/proc/100/fd/7")))
	h.must(os.Symlink(path, h.path("/proc/100/fd/7")))
}

// container takes systemd away.
func (h *testHost) container() { h.must(os.RemoveAll(h.path("/run/systemd"))) }

// NetworkManager's tunnels are not all dialled by hand.
func TestNetworkManagerDials(t *testing.T) {
	p := healthy(t)
	p.networkManager()
	if f := find(t, p, "redialling", Passed); f.Text.String() != "nobody but NetworkManager" {
		t.Errorf("got %+v, want nobody but NetworkManager", f)
	}
}

// Without any xl2tpd.conf nobody knows whether tunnels are dialled by hand.
func TestRedialsUnknown(t *testing.T) {
	p := healthy(t)
	p.home.Conf, p.home.ConfErr = nil, fs.ErrPermission
	if f := find(t, p, "redialling", Unknown); f.Text.String() != "no xl2tpd.conf can be read" {
		t.Errorf("got %+v, want no xl2tpd.conf can be read", f)
	}
}

// Libreswan does IPsec without VICI. It is not to be replaced by strongSwan.
func TestLibreswan(t *testing.T) {
	p := healthy(t)
	p.viciErr = errors.New("vici: no such socket")
	p.write("/run/pluto/pluto.ctl", "")
	p.write("/usr/libexec/ipsec/pluto", "")
	f := find(t, p, "VICI", Unknown)
	if !strings.HasPrefix(f.Text.String(), "Libreswan does IPsec here") || !Healthy(Examine(t.Context(), p.Host)) {
		t.Errorf("got %+v, want Libreswan, and no problem", f)
	}
}

// A key that the running xl2tpd does not have is named, with its line.
func TestUnknownKey(t *testing.T) {
	const exe = "/proc/100/exe"
	for _, tc := range []struct {
		name string
		host func(*testHost)
		kind Kind // empty: no finding
		text string
	}{
		{"the running one lacks it", func(p *testHost) { p.write(exe, "\x00redial\x00redial timeout\x00") },
			Problem, `/etc/xl2tpd/xl2tpd.conf:3: xl2tpd knows no "timeout", and does not start with it`},
		{"the running one has it", func(p *testHost) { p.write(exe, "\x00redial\x00TimeOut\x00") }, "", ""},
		{"nobody may read the executable", func(*testHost) {},
			Note, `/etc/xl2tpd/xl2tpd.conf:3: xl2tpd knows no "timeout" up to 1.3.20, and does not start with it; a later one may`},
		{"none runs, and the installed one lacks it", func(p *testHost) {
			p.home.Process = procfs.ID{}
			p.write("/usr/sbin/xl2tpd", "\x00redial\x00")
		}, Problem, `/etc/xl2tpd/xl2tpd.conf:3: xl2tpd knows no "timeout", and does not start with it`},
		{"none runs, and another one does", func(p *testHost) {
			p.home.Process = procfs.ID{}
			p.write("/usr/sbin/xl2tpd", "\x00redial\x00")
			p.office()
		}, "", ""},
	} {
		p := healthy(t)
		p.xl2tpd("[lac office]\nredial = yes\nTimeout = 15\nlns = 192.0.2.1\n")
		tc.host(p)
		all := Examine(t.Context(), p.Host)
		i := slices.IndexFunc(all, func(f Finding) bool { return f.Check == "xl2tpd.conf" })
		switch {
		case tc.kind == "" && i >= 0:
			t.Errorf("%s: got %+v, want no such finding", tc.name, all[i])
		case tc.kind == "":
		case i < 0 || all[i].Kind != tc.kind || all[i].Text.String() != tc.text:
			t.Errorf("%s: got %+v, want %v %q", tc.name, all, tc.kind, tc.text)
		}
	}
}

// What the file says is in force only if xl2tpd has started after its last change.
func TestStaleFile(t *testing.T) {
	boot := time.Unix(1_700_000_000, 0)
	for _, tc := range []struct {
		name    string
		changed time.Duration // after the boot
		stat    string
		want    bool
	}{
		{"changed before the start", 59 * time.Second, "cpu  1 2\nbtime 1700000000\nprocesses 9\n", false},
		{"changed in the moment of the start", 61 * time.Second, "cpu  1 2\nbtime 1700000000\nprocesses 9\n", false},
		{"changed after the start", 63 * time.Second, "cpu  1 2\nbtime 1700000000\nprocesses 9\n", true},
		{"no time of the boot", 63 * time.Second, "", false},
	} {
		p := healthy(t)
		p.home.Process.Start = 6000
		p.write("/proc/stat", tc.stat)
		p.write("/etc/xl2tpd/xl2tpd.conf", "")
		p.must(os.Chtimes(p.path("/etc/xl2tpd/xl2tpd.conf"), boot, boot.Add(tc.changed)))
		all := Examine(t.Context(), p.Host)
		got := slices.ContainsFunc(all, func(f Finding) bool {
			return f.Check == "xl2tpd.conf" && f.Kind == Note && slices.Equal(steps(f), []string{"systemctl restart xl2tpd  # at a time when its tunnels may end"})
		})
		if got != tc.want || !Healthy(all) {
			t.Errorf("%s: got %+v, want the note on a restart: %v", tc.name, all, tc.want)
		}
	}
}
