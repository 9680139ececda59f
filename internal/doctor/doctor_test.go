package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testHost is a healthy host that each test breaks in one way.
type testHost struct {
	*Host
	t       *testing.T
	status  status.Status
	home    xl2tpd.Instance
	others  []xl2tpd.Instance
	conns   []vici.Connection
	sas     []vici.SA
	viciErr error
	device  string // towards a peer
	source  netip.Addr
	unit    string
	starter string // the unit of strongSwan's starter, if not as unit
	socket  string // the control socket's unit
	givenUp []time.Time
	down    error // of the service

	filters []helloguard.Filter
	hidden  error // why filters can't be read

	noJournal, noSystemd error
}

const ourPid = 4242

// unavailable is the service's problem that there is no Hello guard.
func unavailable(code status.Code, reason string) status.Problem {
	return status.Problem{Code: code, Text: message.Text("hello guard unavailable: " + reason), Reason: message.Text(reason)}
}

func healthy(t *testing.T) *testHost {
	addr := netip.MustParseAddr
	p := &testHost{
		t: t, unit: "active (running)", socket: "active (listening)", device: "eth0", source: addr("198.51.100.2"),
		conns: []vici.Connection{{Name: "tokyo", DPDDelay: 30 * time.Second}},
		status: status.Status{Version: "1.0", Pid: ourPid, Time: now, Tunnels: []status.Tunnel{{
			Name: "lac office", Peer: addr("192.0.2.1"), State: "alive",
			Link: &status.Link{Name: "ppp0", Local: addr("10.0.0.2"), Remote: addr("10.0.0.1")},
			SA:   &status.SA{Name: "tokyo", State: "ESTABLISHED", NAT: true, Child: true, Encap: true},
		}}},
	}
	p.Host = &Host{
		Root:        t.TempDir(),
		Filters:     func(helloguard.Way) ([]helloguard.Filter, error) { return p.filters, p.hidden },
		Status:      func(context.Context) (status.Status, error) { return p.status, p.down },
		Connections: func(context.Context) ([]vici.Connection, error) { return p.conns, p.viciErr },
		SAs:         func(context.Context) ([]vici.SA, error) { return p.sas, nil },
		Xl2tpd: func(context.Context) (xl2tpd.Snapshot, error) {
			return xl2tpd.Snapshot{Instances: append([]xl2tpd.Instance{p.home}, p.others...)}, nil
		},
		Device: func(_, _ netip.Addr) (string, error) { return p.device, nil },
		Source: func(netip.AddrPort) (netip.Addr, error) { return p.source, nil },
		Unit: func(_ context.Context, name string) (string, error) {
			switch {
			case name == controlSocket:
				return p.socket, p.noSystemd
			case name == starterUnit && p.starter != "":
				return p.starter, p.noSystemd
			}
			return p.unit, p.noSystemd
		},
		GivenUp: func(context.Context) ([]time.Time, error) { return p.givenUp, p.noJournal },
		Hook:    func(path string) error { return hook.Check(p.path(path)) },
		Kernel:  func() string { return "6.1" },
		Arch:    "amd64",
	}
	p.must(os.Chmod(p.Root, 0o755)) // whatever the umask
	p.xl2tpd("[lac office]\nlns = 192.0.2.1\nredial = yes\npppoptfile = /etc/ppp/options.l2tpd\n")
	p.write("/proc/modules", "ppp_generic 1\n")
	p.write("/sys/module/esp4/refcnt", "")
	p.write("/lib/modules/6.1/modules.builtin", "kernel/net/netfilter/nfnetlink_queue.ko\n")
	p.write("/lib/modules/6.1/modules.dep", "kernel/net/l2tp/l2tp_ppp.ko:\nkernel/net/netfilter/nft_queue.ko: x.ko\n")
	p.write("/etc/ppp/options.l2tpd", "noauth\n")
	p.write(fmt.Sprintf("/proc/%d/status", ourPid), "Name:\tx\nUid:\t998\t998\t998\t998\nCapEff:\t0000000000003000\n")
	p.must(os.MkdirAll(p.path("/run/systemd/system"), 0o755))
	pipe := p.path("/run/xl2tpd/l2tp-control")
	p.must(os.MkdirAll(filepath.Dir(pipe), 0o755))
	p.must(unix.Mkfifo(pipe, 0o600))
	return p
}

// saOf returns an SA with a CHILD SA in that state.
func saOf(peer, state string) vici.SA {
	return vici.SA{Name: "tokyo", State: "ESTABLISHED", RemoteHost: netip.AddrPortFrom(netip.MustParseAddr(peer), 4500),
		Children: []vici.Child{{State: state, RemoteTS: []string{peer + "/32[udp/l2f]"}}}}
}

func (h *testHost) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *testHost) xl2tpd(text string) {
	c, err := xl2tpd.ParseConf("/etc/xl2tpd/xl2tpd.conf", []byte(text))
	h.must(err)
	h.home = xl2tpd.Instance{
		Key:     xl2tpd.Key{Path: "/etc/xl2tpd/xl2tpd.conf", Pipe: "/run/xl2tpd/l2tp-control"},
		Process: procfs.ID{Pid: 100}, Unit: "xl2tpd.service", Conf: c,
	}
}

// queueTaken gives the guard's queue to a netlink socket with that port id, of a process.
func (h *testHost) queueTaken(port uint32, pid int) {
	h.write("/proc/net/netfilter/nfnetlink_queue", fmt.Sprintf(" 1701 %6d     0 2 65531     0     0        7  1\n", port))
	h.write("/proc/net/netlink", "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"+
		fmt.Sprintf("0000000000000000 0   %-10d 00000000 0        0        0     2        0        1111\n", port)+
		fmt.Sprintf("0000000000000000 12  %-10d 00000000 0        0        0     2        0        2222\n", port))
	h.write(fmt.Sprintf("/proc/%d/comm", pid), "suricata\n")
	h.must(os.Mkdir(h.path(fmt.Sprintf("/proc/%d/fd", pid)), 0o755))
	h.must(os.Symlink("socket:[2222]", h.path(fmt.Sprintf("/proc/%d/fd/3", pid))))
}

// office is a second xl2tpd, with a unit and a pipe of its own.
func (h *testHost) office() *xl2tpd.Instance {
	c, err := xl2tpd.ParseConf("/etc/office.conf", []byte("[lac office]\nlns = 192.0.2.1\nredial = yes\n"))
	h.must(err)
	h.must(os.MkdirAll(h.path("/run/office"), 0o755))
	h.must(unix.Mkfifo(h.path("/run/office/ctl"), 0o600))
	h.others = append(h.others, xl2tpd.Instance{
		Key: xl2tpd.Key{Path: "/etc/office.conf", Pipe: "/run/office/ctl"}, Process: procfs.ID{Pid: 200}, Unit: "office-l2tp.service", Conf: c,
	})
	return &h.others[len(h.others)-1]
}

// networkManager adds an xl2tpd of NetworkManager. The xl2tpd of the distribution has no tunnels.
func (h *testHost) networkManager() *xl2tpd.Instance {
	h.xl2tpd("")
	h.home.Process, h.home.Unit, h.unit = procfs.ID{}, "", "inactive (dead)"
	i := h.office()
	i.Path, i.Unit, i.Connection = "/run/nm-l2tp-d4a4/xl2tpd.conf", "NetworkManager.service", "d4a4"
	return i
}

func (h *testHost) write(name, text string) {
	h.t.Helper()
	path := h.path(name)
	h.must(os.MkdirAll(filepath.Dir(path), 0o755))
	h.must(os.WriteFile(path, []byte(text), 0o644))
}

// script writes one that is executable.
func (h *testHost) script(name, text string) {
	h.t.Helper()
	h.write(name, text)
	h.must(os.Chmod(h.path(name), 0o755))
}

// A script that nobody is seen to start is no culprit, but is named.
func TestPerhapsRedials(t *testing.T) {
	p := healthy(t)
	p.write("/usr/local/bin/vpn", "echo c office > /run/xl2tpd/l2tp-control\n")
	p.write("/etc/cron.hourly/vpn.sh", "systemctl restart xl2tpd\n")
	all := Examine(t.Context(), p.Host)
	i := slices.IndexFunc(all, func(f Finding) bool { return f.Check == "redialling" })
	const want = "xl2tpd (redial = yes) alone; /usr/local/bin/vpn, /etc/cron.hourly/vpn.sh may do so too, if anybody starts it"
	if !all[i].OK || all[i].Text.String() != want {
		t.Errorf("%+v, want %s", all[i], want)
	}
}

// Each illness is found by the one check that is for it, with a remedy; a
// healthy host has none.
func TestFindings(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ill   func(*testHost)
		check string // empty: none
		text  string // part of the finding
	}{
		{"healthy", func(*testHost) {}, "", ""},
		{"service stopped", func(p *testHost) { p.down = errors.New("is not running") }, "xl2tpd-keepalive", "is not running"},
		{"service has a problem", func(p *testHost) { p.status.Problems = []status.Problem{{Text: "D-Bus unreachable"}} }, "xl2tpd-keepalive", "D-Bus unreachable"},
		{"no rights", func(p *testHost) { p.write(fmt.Sprintf("/proc/%d/status", ourPid), "CapEff:\t0000000000001000\n") }, "xl2tpd-keepalive", "lacks CAP_NET_ADMIN or CAP_NET_RAW"},
		{"no guard, its queue taken", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "operation not permitted")}
			p.write("/proc/net/netfilter/nfnetlink_queue", " 1701   4343     0 2 65531     0     0        7  1\n")
			p.write("/proc/4343/comm", "suricata\n")
		}, "Hello guard", "operation not permitted"},
		{"no guard", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "no such module")}
		}, "Hello guard", "no such module"},
		{"the guard's table saved", func(p *testHost) {
			p.write("/etc/nftables.conf", "flush ruleset\ntable ip xl2tpd_keepalive {\n\tset peers {\n\t\ttype ipv4_addr . ipv4_addr . mark\n\t}\n}\n")
		}, "saved nftables rules", "/etc/nftables.conf has the Hello guard's table"},
		{"the guard's table saved so that nft can load it", func(p *testHost) {
			p.write("/etc/nftables.conf", "table ip xl2tpd_keepalive {\n\tset peers {\n\t\ttypeof ip saddr . ip daddr . @th,0,32\n\t}\n}\n"+
				"table ip own {\n\tset marked {\n\t\ttype ipv4_addr . ipv4_addr . mark\n\t}\n}\n")
		}, "", ""},
		{"the guard's table saved in a file of its own", func(p *testHost) {
			p.write("/etc/nftables.d/10-all.nft", "table ip xl2tpd_keepalive {\n\tset peers {\n\t\ttype ipv4_addr . ipv4_addr . mark\n\t}\n}\n")
		}, "saved nftables rules", "/etc/nftables.d/10-all.nft has the Hello guard's table"},
		{"rules of one's own saved", func(p *testHost) {
			p.write("/etc/nftables.conf", "flush ruleset\n# without table ip xl2tpd_keepalive\ntable inet filter {\n}\n")
		}, "", ""},
		{"no strongSwan", func(p *testHost) { p.viciErr = errors.New("vici: no such socket") }, "VICI", "no such socket"},
		{"no strongSwan, as the service says too", func(p *testHost) {
			p.viciErr, p.status.Problems = errors.New("vici: no such socket"), []status.Problem{{Code: status.CodeVICI, Text: status.NoVICI}}
		}, "VICI", "no such socket"},
		{"no DPD", func(p *testHost) { p.conns[0].DPDDelay = 0 }, "DPD", "off"},
		{"a shunt has no peer", func(p *testHost) {
			p.conns = append(p.conns, vici.Connection{Name: "lan", Children: []vici.ChildConfig{{Name: "lan", Mode: "PASS"}}})
		}, "", ""},
		{"a shunt that drops, and one that passes", func(p *testHost) {
			p.conns = append(p.conns, vici.Connection{Name: "clear", Children: []vici.ChildConfig{{Name: "a", Mode: "DROP"}, {Name: "b", Mode: "pass"}}})
		}, "", ""},
		{"a shunt beside a peer", func(p *testHost) {
			p.conns = append(p.conns, vici.Connection{Name: "osaka", Children: []vici.ChildConfig{{Name: "a", Mode: "PASS"}, {Name: "b", Mode: "TRANSPORT"}}})
		}, "DPD", "off for osaka:"},
		{"no child at all", func(p *testHost) { p.conns = append(p.conns, vici.Connection{Name: "osaka"}) }, "DPD", "off for osaka:"},
		{"xl2tpd dead, unit active", func(p *testHost) { p.home.Process.Pid, p.unit = 0, "active (exited)" }, "xl2tpd", "its unit is active (exited), but there is no process"},
		{"xl2tpd stopped", func(p *testHost) { p.home.Process.Pid, p.unit = 0, "inactive (dead)" }, "xl2tpd", "not running"},
		{"xl2tpd stopped, as the service says too", func(p *testHost) {
			p.home.Process.Pid, p.unit, p.status.Problems = 0, "inactive (dead)", []status.Problem{{Code: status.CodeXl2tpd, Text: "xl2tpd not running"}}
		}, "xl2tpd", "not running"},
		{"xl2tpd of another unit", func(p *testHost) { p.unit, p.home.Unit = "inactive (dead)", "office-l2tp.service" }, "", ""},
		{"xl2tpd of no unit", func(p *testHost) { p.unit, p.home.Unit = "masked", "" }, "", ""},
		{"two xl2tpds", func(p *testHost) { p.office() }, "", ""},
		{"two xl2tpds, one stopped", func(p *testHost) {
			p.office()
			p.home.Process.Pid, p.unit, p.status.Problems = 0, "inactive (dead)", []status.Problem{{Code: status.CodeXl2tpd, Text: "xl2tpd not running"}}
		}, "xl2tpd", "not running"},
		{"two xl2tpds, the second stopped, which the service alone knows", func(p *testHost) {
			p.status.Problems = []status.Problem{{Code: status.CodeXl2tpd, Text: "xl2tpd of /etc/office.conf not running"}}
		}, "xl2tpd-keepalive", "xl2tpd of /etc/office.conf not running"},
		{"second pipe is a file", func(p *testHost) {
			p.office()
			p.must(os.Remove(p.path("/run/office/ctl")))
			p.write("/run/office/ctl", "c office\n")
		}, "control pipe", "/run/office/ctl is no pipe"},
		{"masked and stopped", func(p *testHost) { p.home.Process.Pid, p.unit = 0, "masked" }, "xl2tpd", "its unit is masked"},
		{"NetworkManager's alone", func(p *testHost) {
			i := p.networkManager()
			p.conns = []vici.Connection{{Name: i.Connection}} // without DPD, as its plugin writes it
		}, "", ""},
		{"NetworkManager's alone, without any file", func(p *testHost) {
			p.networkManager()
			p.home.Conf, p.home.ConfErr = nil, fs.ErrNotExist
		}, "", ""},
		{"NetworkManager's, whose file root alone may read", func(p *testHost) {
			i := p.networkManager()
			i.Conf, i.ConfErr = nil, fs.ErrPermission
		}, "", ""},
		{"retries of the second one", func(p *testHost) { p.office().Conf.MaxRetries = 100 }, "max retries", "says 100"},
		{"bad xl2tpd.conf, as the service says too", func(p *testHost) {
			p.home.ConfErr, p.status.Problems = errors.New("xl2tpd.conf:3: no"), []status.Problem{{Code: status.CodeXl2tpdConf, Text: "xl2tpd.conf:3: no"}}
		}, "xl2tpd.conf", "xl2tpd.conf:3: no"},
		{"no xl2tpd.conf", func(p *testHost) {
			p.home.ConfErr = &fs.PathError{Op: "open", Path: p.home.Path, Err: fs.ErrNotExist}
		}, "xl2tpd.conf", "there is no file /etc/xl2tpd/xl2tpd.conf"},
		{"bad keepalive.conf, as the service says too", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\ninterval = soon\n")
			p.status.Problems = []status.Problem{{Code: status.CodeConfig, Text: message.Text(p.path(config.DefaultPath)) + ":2: 'interval' is \"soon\", must be a whole number of seconds from 1 to 3600"}}
		}, "keepalive.conf", "keepalive.conf:2: 'interval'"},
		{"keepalive.conf that the service can't read", func(p *testHost) {
			p.write(config.DefaultPath, "")
			p.status.Problems = []status.Problem{{Code: status.CodeConfig, Text: "open keepalive.conf: permission denied"}}
		}, "xl2tpd-keepalive", "open keepalive.conf: permission denied"},
		{"a wrong name in keepalive.conf, as the service says too", func(p *testHost) {
			p.write(config.DefaultPath, "[lac ofice]\nkeepalive = no\n")
			p.status.Problems = []status.Problem{{Code: status.CodeSection, Text: message.Text(p.path(config.DefaultPath)) + ":1: no xl2tpd has a [lac ofice], this section does nothing; did you mean [lac office]?"}}
		}, "keepalive.conf", "keepalive.conf:1: no xl2tpd has a [lac ofice], this section does nothing; did you mean [lac office]?"},
		{"a wrong kind in keepalive.conf", func(p *testHost) {
			p.write(config.DefaultPath, "[lac office]\n[lns office]\nkeepalive = no\n")
		}, "keepalive.conf", "keepalive.conf:2: no xl2tpd has a [lns office]"},
		{"a wrong name for one file", func(p *testHost) {
			p.office()
			p.write(config.DefaultPath, "[lac /etc/office.conf home]\nkeepalive = no\n")
		}, "keepalive.conf", "keepalive.conf:1: /etc/office.conf has no [lac home]"},
		{"a name that only the second one has", func(p *testHost) {
			p.office()
			p.xl2tpd("[lac home]\nlns = 192.0.2.1\nredial = yes\n")
			p.write(config.DefaultPath, "[lac office]\nkeepalive = no\n")
		}, "", ""},
		{"a name, and a file that nobody can read", func(p *testHost) {
			p.write(config.DefaultPath, "[lac ofice]\nkeepalive = no\n")
			p.home.Conf, p.home.ConfErr = nil, fs.ErrPermission
		}, "xl2tpd.conf", ""},
		{"pipe is a file", func(p *testHost) {
			p.must(os.Remove(p.path("/run/xl2tpd/l2tp-control")))
			p.write("/run/xl2tpd/l2tp-control", "c office\n")
		}, "control pipe", "is no pipe"},
		{"no pipe", func(p *testHost) { p.must(os.Remove(p.path("/run/xl2tpd/l2tp-control"))) }, "control pipe", "l2tp-control does not exist: "},
		{"cloud kernel", func(p *testHost) { p.write("/lib/modules/6.1/modules.dep", "") }, "kernel modules", "there is no l2tp_ppp for L2TP in the kernel (without it data goes through xl2tpd), no nft_queue for the Hello guard"},
		{"pppd redials too", func(p *testHost) { p.write("/etc/ppp/options.l2tpd", "noauth\npersist\n") }, "redialling", "pppd (persist in /etc/ppp/options.l2tpd:2), xl2tpd (redial = yes)"},
		{"pppd redials too, by a word among others", func(p *testHost) {
			p.write("/etc/ppp/options.l2tpd", "noauth  persist maxfail 0\n")
		}, "redialling", "pppd (persist in /etc/ppp/options.l2tpd:1), xl2tpd (redial = yes)"},
		{"pppd redials too, by another file", func(p *testHost) {
			p.write("/etc/ppp/options.l2tpd", "noauth\nfile /etc/ppp/common\n")
			p.write("/etc/ppp/common", "mtu 1400\n\n persist\n")
		}, "redialling", "pppd (persist in /etc/ppp/common:3), xl2tpd (redial = yes)"},
		{"pppd redials too, for every link of the host", func(p *testHost) {
			p.write("/etc/ppp/options", "persist\n")
		}, "redialling", "pppd (persist in /etc/ppp/options:1), xl2tpd (redial = yes)"},
		{"pppd does not redial after all", func(p *testHost) {
			p.write("/etc/ppp/options.l2tpd", "persist\nuser \"me\npersist\" nopersist\n")
		}, "", ""},
		{"cron redials too", func(p *testHost) {
			p.write("/etc/cron.d/vpn", "* * * * * root echo c office > /run/xl2tpd/l2tp-control\n")
		}, "redialling", "/etc/cron.d/vpn, xl2tpd (redial = yes)"},
		{"cron restarts xl2tpd", func(p *testHost) {
			p.write("/etc/crontab", "0 4 * * * root systemctl restart xl2tpd\n")
		}, "redialling", "/etc/crontab, xl2tpd (redial = yes)"},
		{"cron restarts this program alone", func(p *testHost) {
			p.write("/etc/crontab", "0 4 * * * root systemctl restart xl2tpd-keepalive.service\n0 5 * * * root pkill -HUP xl2tpd-keepalive\n")
		}, "", ""},
		{"cron starts xl2tpd behind another stop", func(p *testHost) {
			p.write("/etc/crontab", "0 4 * * * root systemctl stop apache2; systemctl start xl2tpd\n")
		}, "", ""},
		{"cron asks for the status", func(p *testHost) {
			p.write("/etc/crontab", "*/5 * * * * root xl2tpd-control status\n")
		}, "", ""},
		{"cron redials behind a test", func(p *testHost) {
			p.write("/etc/crontab", "* * * * * root [ -p /run/xl2tpd/l2tp-control ] && echo c office > /run/xl2tpd/l2tp-control\n")
		}, "redialling", "/etc/crontab, xl2tpd (redial = yes)"},
		{"a log that tells of restarts", func(p *testHost) {
			p.write("/etc/crontab", "* * * * * root /usr/local/sbin/check >> /var/log/vpn.log\n")
			p.script("/usr/local/sbin/check", "#!/bin/sh\nping -c1 10.0.0.1\n")
			p.write("/var/log/vpn.log", "systemctl restart xl2tpd\n")
		}, "", ""},
		{"two run one script", func(p *testHost) {
			p.write("/etc/cron.d/a", "* * * * * root /root/vpn\n")
			p.write("/etc/cron.d/b", "* * * * * root /root/vpn\n")
			p.write("/root/vpn", "systemctl restart xl2tpd\n")
		}, "redialling", "/etc/cron.d/a (runs /root/vpn), /etc/cron.d/b (runs /root/vpn), xl2tpd"},
		{"cron restarts IPsec", func(p *testHost) {
			p.write("/var/spool/cron/crontabs/root", "*/5 * * * * ping -c1 10.0.0.1 || ipsec restart\n")
		}, "redialling", "/var/spool/cron/crontabs/root, xl2tpd"},
		{"cron runs a script that does", func(p *testHost) {
			p.write("/etc/cron.d/vpn", "*/5 * * * * root /root/check.sh >/dev/null\n")
			p.write("/root/check.sh", "#!/bin/sh\nping -c1 10.0.0.1 || vpn-fix\n")
			p.write("/usr/local/sbin/vpn-fix", "#!/bin/sh\nservice xl2tpd restart\n")
		}, "redialling", "/etc/cron.d/vpn (runs /usr/local/sbin/vpn-fix), xl2tpd"},
		{"a timer restarts it", func(p *testHost) {
			p.write("/etc/systemd/system/vpn.service", "[Service]\nExecStart=/opt/vpn/watch.sh\n")
			p.write("/etc/systemd/system/timers.target.wants/vpn.timer", "")
			p.write("/opt/vpn/watch.sh", "invoke-rc.d xl2tpd force-reload\n")
		}, "redialling", "/etc/systemd/system/vpn.service (runs /opt/vpn/watch.sh), xl2tpd"},
		{"a timer of another name", func(p *testHost) {
			p.write("/etc/systemd/system/vpn.service", "[Service]\nExecStart=-/usr/bin/systemctl restart strongswan-starter\n")
			p.write("/etc/systemd/system/each-minute.timer", "[Timer]\nUnit=vpn.service\n")
		}, "redialling", "/etc/systemd/system/vpn.service, xl2tpd"},
		{"the unit of the second one is restarted", func(p *testHost) {
			p.office()
			p.write("/etc/cron.d/vpn", "0 4 * * * root systemctl restart office-l2tp\n")
		}, "redialling", "/etc/cron.d/vpn, xl2tpd"},
		{"ip-down redials", func(p *testHost) {
			p.script("/etc/ppp/ip-down.d/redial", "#!/bin/sh\nCTL=/run/xl2tpd/l2tp-control\necho c office > $CTL\n")
		}, "redialling", "/etc/ppp/ip-down.d/redial, xl2tpd"},
		{"ip-down.local redials", func(p *testHost) {
			p.script("/etc/ppp/ip-down.local", "sleep 5; xl2tpd-control connect-lac office\n")
		}, "redialling", "/etc/ppp/ip-down.local, xl2tpd"},
		{"rc.local has a loop", func(p *testHost) {
			p.script("/etc/rc.local", "#!/bin/sh -e\n/home/vpn/loop &\n")
			p.write("/home/vpn/loop", "while sleep 60; do killall xl2tpd; xl2tpd; done\n")
		}, "redialling", "/etc/rc.local (runs /home/vpn/loop), xl2tpd"},
		{"comments, and what nobody starts", func(p *testHost) {
			p.write("/etc/crontab", "# 0 4 * * * root systemctl restart xl2tpd\n")
			p.write("/etc/cron.d/vpn.bak", "0 4 * * * root systemctl restart xl2tpd\n")
			p.write("/etc/ppp/ip-down.d/redial", "echo c office > /run/xl2tpd/l2tp-control\n")
			p.write("/etc/systemd/system/vpn.service", "[Service]\nExecStart=ipsec restart\n")
			p.write("/usr/local/bin/vpn", "echo c office > /run/xl2tpd/l2tp-control\n")
			p.write("/root/vpn.sh", "ipsec restart\n")
		}, "", ""},
		{"a unit that starts an xl2tpd", func(p *testHost) {
			p.write("/etc/systemd/system/office-l2tp.service", "[Service]\nExecStartPre=rm -f /run/office/l2tp-control\nExecStart=/usr/sbin/xl2tpd -D -C /run/office/l2tp-control\n")
			p.write("/etc/systemd/system/multi-user.target.wants/office-l2tp.service", "")
			p.script("/etc/rc.local", "systemctl start xl2tpd\n")
		}, "", ""},
		{"recovery", func(p *testHost) { p.write(config.DefaultPath, "[global]\nrecover = auto\n") }, "", ""},
		{"recovery, nobody to ask", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\nrecover = auto\n")
			p.socket = "failed (resources)"
		}, "recovery", controlSocket + " is failed (resources): no LAC can be dialled or hung up"},
		{"recovery, nobody to ask, nor ever was", func(p *testHost) {
			p.write(config.DefaultPath, "[lac office]\nrecover = redial\n")
			p.socket = ""
		}, "recovery", controlSocket + " is not installed"},
		{"recovery by root", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\nrecover = auto\n")
			p.write(fmt.Sprintf("/proc/%d/status", ourPid), "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000003000\n")
			p.socket = ""
		}, "", ""},
		{"recovery of none", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\nrecover = full\n[lac office]\nkeepalive = no\n")
			p.socket = "inactive (dead)"
		}, "", ""},
		{"recovery where nobody wants it", func(p *testHost) {
			p.xl2tpd("[lac office]\nlns = 192.0.2.1\n")
			p.write(config.DefaultPath, "[global]\nrecover = auto\n")
			p.socket = "inactive (dead)"
		}, "", ""},
		{"cron redials beside us", func(p *testHost) {
			p.xl2tpd("[lac office]\nlns = 192.0.2.1\nautodial = yes\n")
			p.write(config.DefaultPath, "[global]\nrecover = auto\n")
			p.write("/etc/cron.d/vpn", "* * * * * root echo c office > /run/xl2tpd/l2tp-control\n")
		}, "redialling", "/etc/cron.d/vpn, xl2tpd-keepalive (recover)"},
		{"max retries", func(p *testHost) { p.xl2tpd("[global]\nmax retries = 100\n") }, "max retries", "says 100"},
		{"a comment that is none", func(p *testHost) {
			p.xl2tpd("[lac office]\nredial = yes\nlns = 192.0.2.1 # office\n")
		}, "lns", "/etc/xl2tpd/xl2tpd.conf:3: `lns` is \"192.0.2.1 # office\", and xl2tpd looks all of that up as one name"},
		{"two addresses in one lns", func(p *testHost) {
			p.xl2tpd("[lac default]\nlns = 192.0.2.1, 192.0.2.2\n[lac office]\nredial = yes\n")
		}, "lns", "/etc/xl2tpd/xl2tpd.conf:2: `lns` is"},
		{"no address, of the second one", func(p *testHost) {
			c, err := xl2tpd.ParseConf("/etc/office.conf", []byte("[lac office]\nlns = 192.0.2.08\nredial = yes\n"))
			p.must(err)
			p.office().Conf = c
		}, "lns", "/etc/office.conf:2: `lns` is \"192.0.2.08\", which is no address"},
		{"zeros before numbers", func(p *testHost) { p.xl2tpd("[lac office]\nlns = 192.000.002.001\nredial = yes\n") }, "", ""},
		{"saref", func(p *testHost) { p.xl2tpd("[global]\nipsec saref = no\n") }, "userspace mode", "/etc/xl2tpd/xl2tpd.conf:2: `ipsec saref` forces userspace mode with xl2tpd up to 1.3.18, whatever its value"},
		{"saref, in the version that runs", func(p *testHost) {
			p.xl2tpd("[global]\nport = 1701\nipsec saref = no\n")
			p.write("/proc/100/exe", "\x00xl2tpd-1.3.12\x00")
		}, "userspace mode", "/etc/xl2tpd/xl2tpd.conf:3: `ipsec saref` forces userspace mode with xl2tpd 1.3.12, whatever its value"},
		{"saref, and it is meant", func(p *testHost) {
			p.xl2tpd("[global]\nipsec saref = yes\n")
			p.write("/proc/100/exe", "\x00xl2tpd-1.3.20\x00")
		}, "userspace mode", "/etc/xl2tpd/xl2tpd.conf:2: `ipsec saref` forces userspace mode with xl2tpd 1.3.20"},
		{"saref of the second one", func(p *testHost) {
			p.office().Conf.SarefLine = 7
		}, "userspace mode", "/etc/office.conf:7: "},
		{"saref in a version without the fault", func(p *testHost) {
			p.xl2tpd("[global]\nipsec saref = no\n")
			p.write("/proc/100/exe", "\x00xl2tpd-1.3.19\x00")
		}, "", ""},
		{"userspace mode that is wanted", func(p *testHost) { p.xl2tpd("[global]\nforce userspace = yes\nipsec saref = no\n") }, "", ""},
		{"Hellos close tunnels", func(p *testHost) {
			p.givenUp = []time.Time{now.Add(-300 * time.Second), now.Add(-209 * time.Second), now.Add(-118 * time.Second)}
		}, "unanswered Hellos", "one every 1m31s"},
		{"they did an hour ago", func(p *testHost) { p.givenUp = []time.Time{now.Add(-time.Hour)} }, "", ""},
		{"hook that others can change", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\nhook = /etc/xl2tpd/hook\n")
			p.write("/etc/xl2tpd/hook", "#!/bin/sh\n")
			p.must(os.Chmod(p.path("/etc/xl2tpd/hook"), 0o775))
		}, "hook", "hook: others than its owner can write to it; chmod go-w it"},
		{"hook", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\nhook = /etc/xl2tpd/hook\n")
			p.write("/etc/xl2tpd/hook", "#!/bin/sh\n")
			p.must(os.Chmod(p.path("/etc/xl2tpd/hook"), 0o755))
		}, "", ""},
		{"tunnel down", func(p *testHost) {
			p.status.Tunnels[0].State, p.status.Tunnels[0].Link = "down", nil
			p.status.Tunnels[0].Last = &status.Close{Reason: "hung up on this host"}
		}, "state", "ended last by: hung up on this host"},
		{"tunnel down, its link still there", func(p *testHost) {
			p.status.Tunnels[0].State, p.status.Tunnels[0].SA = "down", nil
		}, "state", "down"},
		{"tunnel silent", func(p *testHost) { p.status.Tunnels[0].State = "silent" }, "state", "answers no echo request"},
		{"routed into itself", func(p *testHost) { p.device = "ppp0" }, "route to the peer", "192.0.2.1 is reached through ppp0, its own tunnel"},
		{"a link with the host's own address", func(p *testHost) { p.status.Tunnels[0].Link.Local = p.source }, "", ""},
		{"routed into another tunnel", func(p *testHost) {
			p.device = "ppp1"
			p.status.Tunnels = append(p.status.Tunnels, status.Tunnel{
				Name: "lac branch", State: "alive", Link: &status.Link{Name: "ppp1"},
			})
		}, "route to the peer", "192.0.2.1 is reached through ppp1, the tunnel of lac branch"},
		{"in the clear", func(p *testHost) { p.status.Tunnels[0].SA = nil }, "IPsec", "no IKE SA"},
		{"in the clear as the service knew it, but no longer", func(p *testHost) {
			p.status.Tunnels[0].SA = nil
			p.sas = []vici.SA{saOf("192.0.2.1", "INSTALLED")}
		}, "", ""},
		{"the SA of another peer", func(p *testHost) {
			p.status.Tunnels[0].SA = nil
			p.sas = []vici.SA{saOf("192.0.2.9", "INSTALLED")}
		}, "IPsec", "no IKE SA"},
		{"an SA for something else", func(p *testHost) {
			p.status.Tunnels[0].SA = nil
			p.sas = []vici.SA{saOf("192.0.2.1", "INSTALLED")}
			p.sas[0].Children[0].RemoteTS = []string{"192.0.2.1/32[gre]"}
		}, "IPsec", "no IKE SA"},
		{"no CHILD SA", func(p *testHost) {
			p.status.Tunnels[0].SA.Child, p.status.Tunnels[0].SA.Encap = false, false
			p.sas = []vici.SA{saOf("192.0.2.1", "DELETING")}
		}, "IPsec", "no CHILD SA"},
		{"NAT without NAT-T", func(p *testHost) { p.status.Tunnels[0].SA.Encap = false }, "NAT-T", "ESP does not go in UDP"},
	} {
		p := healthy(t)
		tc.ill(p)
		all := Examine(t.Context(), p.Host)
		var ill []Finding
		for _, f := range all {
			if !f.OK {
				ill = append(ill, f)
			}
		}
		if tc.check == "" {
			if len(ill) > 0 || !Healthy(all) {
				t.Errorf("%s: got %+v, want a healthy host", tc.name, ill)
			}
			continue
		}
		if len(ill) != 1 || ill[0].Check.String() != tc.check || !strings.Contains(ill[0].Text.String(), tc.text) || Healthy(all) {
			t.Errorf("%s: %+v, want %s: …%s…", tc.name, ill, tc.check, tc.text)
		}
	}
}

// A remedy is for what is wrong.
func TestRemedies(t *testing.T) {
	for _, tc := range []struct {
		name   string
		ill    func(*testHost)
		check  string
		remedy string // the first one
	}{
		{"queue taken", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "operation not permitted")}
			p.queueTaken(4343, 4343)
		}, "Hello guard", "suricata, pid 4343, has the guard's NFQUEUE: stop it, or give it another queue than 1701 and 1702"},
		{"queue taken by a second socket", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "operation not permitted")}
			p.queueTaken(2790921746, 4343)
		}, "Hello guard", "suricata, pid 4343, has the guard's NFQUEUE: stop it, or give it another queue than 1701 and 1702"},
		{"queue taken in a container, and its pid is another process here", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "operation not permitted")}
			p.queueTaken(30, 4343)
			p.write("/proc/30/comm", "oom_reaper\n")
		}, "Hello guard", "suricata, pid 4343, has the guard's NFQUEUE: stop it, or give it another queue than 1701 and 1702"},
		{"queue taken by who knows", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "operation not permitted")}
			p.write("/proc/net/netfilter/nfnetlink_queue", " 1702 2790921746     0 2 65531     0     0       43  1\n")
		}, "Hello guard", "another program has the guard's NFQUEUE: stop it, or give it another queue than 1701 and 1702"},
		{"OUTPUT drops the guard's answers", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardOutput, helloguard.ErrBlockedOutput.Error())}
		}, "Hello guard", "iptables -I OUTPUT 1 -o lo -p udp --dport 1701 -j ACCEPT"},
		{"OUTPUT drops the guard's answers to another port", func(p *testHost) {
			p.xl2tpd("[global]\nport = 1702\n")
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardOutput, helloguard.ErrBlockedOutput.Error())}
		}, "Hello guard", "iptables -I OUTPUT 1 -o lo -p udp --sport 1701 -j ACCEPT"},
		{"INPUT drops the guard's answers to any free port", func(p *testHost) {
			p.office().Conf.Port = 0
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardInput, helloguard.ErrBlockedInput.Error())}
		}, "Hello guard", "iptables -I INPUT 1 -i lo -p udp --sport 1701 -j ACCEPT"},
		{"INPUT drops the guard's answers", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuardInput, helloguard.ErrBlockedInput.Error())}
		}, "Hello guard", "iptables -I INPUT 1 -i lo -p udp --dport 1701 -j ACCEPT"},
		{"no modules", func(p *testHost) {
			p.status.Problems = []status.Problem{unavailable(status.CodeGuard, "no such module")}
		},
			"Hello guard", "modprobe -a nf_tables nft_queue nfnetlink_queue"},
		{"not root, nor in the group", func(p *testHost) { p.down = fmt.Errorf("status: %w", fs.ErrPermission) }, "xl2tpd-keepalive", "sudo xl2tpd-keepalive doctor"},
		{"charon not started", func(p *testHost) {
			p.viciErr = errors.New("no such socket")
			p.write("/usr/lib/ipsec/plugins/libstrongswan-vici.so", "")
		}, "VICI", "systemctl restart strongswan"},
		{"cloud kernel", func(p *testHost) { p.write("/lib/modules/6.1/modules.dep", "") }, "kernel modules", "apt install linux-image-amd64"},
		{"small kernel of a board", func(p *testHost) {
			p.write("/lib/modules/6.1/modules.dep", "")
			p.Arch = "arm"
		}, "kernel modules", "apt install linux-image-armmp"},
		{"cloud kernel of an architecture that is rare", func(p *testHost) {
			p.write("/lib/modules/6.1/modules.dep", "")
			p.Arch = "loong64"
		}, "kernel modules", "boot a kernel of Debian's that has them; those called `cloud` do not"},
		{"Ubuntu", func(p *testHost) {
			p.write("/lib/modules/6.1/modules.dep", "")
			p.write("/etc/os-release", "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n")
		}, "kernel modules", "apt install linux-modules-extra-6.1"},
		{"Raspberry Pi OS", func(p *testHost) {
			p.write("/lib/modules/6.1/modules.dep", "")
			p.write("/etc/os-release", "ID=debian\n")
			p.write("/etc/rpi-issue", "Raspberry Pi reference\n")
		}, "kernel modules", "apt full-upgrade  # the kernel of Raspberry Pi OS has them, others may not"},
		{"kernel upgraded, not rebooted", func(p *testHost) { p.must(os.RemoveAll(p.path("/lib/modules/6.1"))) },
			"kernel modules", "reboot  # there is no /lib/modules/6.1, as after an upgrade of the kernel"},
		{"recovery of a LAC that can't be dialled", func(p *testHost) {
			p.xl2tpd("[lac two words]\nlns = 192.0.2.1\nredial = yes\n")
			p.write(config.DefaultPath, "[global]\nrecover = auto\n")
		}, "recovery", string(renamed)},
		{"charon gone", func(p *testHost) { p.viciErr = unix.ECONNREFUSED }, "VICI", "systemctl restart strongswan"},
		{"charon gone, started by ipsec", func(p *testHost) { p.viciErr, p.unit = unix.ECONNREFUSED, "" }, "VICI", "systemctl restart strongswan-starter"},
		{"no VICI", func(p *testHost) { p.viciErr = errors.New("no such socket") }, "VICI", "apt install strongswan-swanctl"},
		{"LAC down", func(p *testHost) { p.status.Tunnels[0].State, p.status.Tunnels[0].Link = "down", nil }, "state", "echo 'd office' > /run/xl2tpd/l2tp-control; sleep 3; echo 'c office' > /run/xl2tpd/l2tp-control"},
		{"LAC that can't be dialled", func(p *testHost) {
			p.status.Tunnels[0].State, p.status.Tunnels[0].Link, p.status.Tunnels[0].Name = "down", nil, "lac two words"
		}, "state", string(renamed)},
		{"LAC coming up, or going", func(p *testHost) { p.status.Tunnels[0].State = "down" }, "state", "echo 'd office' > /run/xl2tpd/l2tp-control; sleep 3; echo 'c office' > /run/xl2tpd/l2tp-control"},
		{"LNS down", func(p *testHost) { p.status.Tunnels[0].State, p.status.Tunnels[0].Name = "down", "lns office" },
			"state", "journalctl -u xl2tpd -u xl2tpd-keepalive"},
		{"unit without process", func(p *testHost) { p.home.Process.Pid = 0 }, "xl2tpd", "systemctl restart xl2tpd"},
		{"LAC of the second one down", func(p *testHost) {
			p.office()
			t := &p.status.Tunnels[0]
			t.State, t.Link, t.Instance = "down", nil, "office-l2tp.service"
		}, "state", "echo 'd office' > /run/office/ctl; sleep 3; echo 'c office' > /run/office/ctl"},
		{"LAC of the one that is left down, by its unit", func(p *testHost) {
			t := &p.status.Tunnels[0]
			t.State, t.Link, t.Instance = "down", nil, "xl2tpd.service"
		}, "state", "echo 'd office' > /run/xl2tpd/l2tp-control; sleep 3; echo 'c office' > /run/xl2tpd/l2tp-control"},
		{"LAC of the one that is left down, by its file", func(p *testHost) {
			t := &p.status.Tunnels[0]
			t.State, t.Link, t.Instance = "down", nil, "/etc/xl2tpd/xl2tpd.conf"
		}, "state", "echo 'd office' > /run/xl2tpd/l2tp-control; sleep 3; echo 'c office' > /run/xl2tpd/l2tp-control"},
		{"LAC of who knows which down", func(p *testHost) {
			p.office()
			t := &p.status.Tunnels[0]
			t.State, t.Instance = "silent", ""
		}, "state", "if it never answers: `target = ADDRESS` behind the tunnel in its section of /etc/xl2tpd/keepalive.conf"},
		{"NetworkManager's down", func(p *testHost) {
			p.networkManager()
			t := &p.status.Tunnels[0]
			t.State, t.Link, t.Instance = "down", nil, ""
		}, "state", "nmcli connection down 'd4a4'; nmcli connection up 'd4a4'"},
		{"saref", func(p *testHost) { p.xl2tpd("[global]\nipsec saref = no\n") }, "userspace mode", "take that line out: SAref needs a kernel that is patched for it"},
		{"pipe of no unit's gone", func(p *testHost) {
			p.home.Unit = ""
			p.must(os.Remove(p.path("/run/xl2tpd/l2tp-control")))
		}, "control pipe", "end pid 100, and start xl2tpd as it was started before"},
		{"pipe of another unit's gone", func(p *testHost) {
			p.home.Unit = "office-l2tp.service"
			p.must(os.Remove(p.path("/run/xl2tpd/l2tp-control")))
		}, "control pipe", "systemctl restart office-l2tp"},
	} {
		p := healthy(t)
		tc.ill(p)
		all := Examine(t.Context(), p.Host)
		i := slices.IndexFunc(all, func(f Finding) bool { return f.Check.String() == tc.check })
		if i < 0 || all[i].OK || len(all[i].Remedy) == 0 || all[i].Remedy[0].String() != tc.remedy {
			t.Errorf("%s: got %+v, want a problem with the remedy", tc.name, all)
		}
	}
}

// IKE detects no NAT if the far end has no NAT-T. A tunnel that is up in spite of
// that is no problem.
func TestUnseenNAT(t *testing.T) {
	for _, tc := range []struct {
		source, state string
		want          bool
	}{
		{"192.168.1.2", "down", true},
		{"192.168.1.2", "alive", false},
		{"198.51.100.2", "down", false},
	} {
		p := healthy(t)
		p.source = netip.MustParseAddr(tc.source)
		tunnel := &p.status.Tunnels[0]
		tunnel.State, tunnel.SA.NAT, tunnel.SA.Encap = tc.state, false, false
		got := slices.ContainsFunc(Examine(t.Context(), p.Host), func(f Finding) bool { return f.Check == "NAT-T" && !f.OK })
		if got != tc.want {
			t.Errorf("%+v: got %v, want %v", tc, got, tc.want)
		}
	}
}

// A file's name is what the host calls it, whatever the root.
func TestName(t *testing.T) {
	for root, path := range map[string]string{"/": "/etc/crontab", "/root/of/it": "/root/of/it/etc/crontab", "/with/slash/": "/with/slash/etc/crontab"} {
		if got := (&Host{Root: root}).name(path); got != "/etc/crontab" {
			t.Errorf("%s: got %s, want %s", root, got, "/etc/crontab")
		}
	}
}

// A Yamaha router gets its lines; nobody else does.
func TestYamaha(t *testing.T) {
	p := healthy(t)
	for vendor, want := range map[string]bool{"YAMAHA Corporation": true, "xelerance.com": false, "": false} {
		p.status.Tunnels[0].Vendor = vendor
		p.status.Tunnels[0].Local = p.source
		all := Examine(t.Context(), p.Host)
		i := slices.IndexFunc(all, func(f Finding) bool { return f.Check == "router" })
		if (i >= 0) != want || want && (all[i].Kind != Note || !strings.Contains(all[i].Remedy[0].String(), "198.51.100.2 or its NAT's")) {
			t.Errorf("%q: got %+v, want a note with the router's lines for a Yamaha, and none for others", vendor, all)
			continue
		}
		if want && (all[i].Paste[1] != "tunnel select N" || !slices.Contains(all[i].Paste, "l2tp tunnel disconnect time off") || all[i].Paste[len(all[i].Paste)-1] != "save") {
			t.Errorf("got %q, want the lines that switch the idle timer off", all[i].Paste)
		}
	}
}

func TestOpenMetrics(t *testing.T) {
	p := healthy(t)
	p.write(config.DefaultPath, "[global]\nmetrics = 0.0.0.0:9174\n")
	all := Examine(t.Context(), p.Host)
	if !slices.ContainsFunc(all, func(f Finding) bool { return f.Check == "metrics" && f.Kind == Note }) {
		t.Errorf("got %+v, want a note about metrics", all)
	}
}

// Where the far end is a Yamaha, the interval has to suit its idle timer.
func TestIntervalForYamaha(t *testing.T) {
	for conf, want := range map[string]bool{
		"":                              false,
		"[global]\ninterval = 44\n":     false,
		"[global]\ninterval = 45\n":     true,
		"[lac office]\ninterval = 60\n": true,
		"[lac /etc/other.conf office]\ninterval = 60\n":  false,
		"[global]\ninterval = 60\nkeepalive = observe\n": false,
	} {
		p := healthy(t)
		p.status.Tunnels[0].Vendor = "YAMAHA Corporation"
		p.write(config.DefaultPath, conf)
		all := Examine(t.Context(), p.Host)
		if got := slices.ContainsFunc(all, func(f Finding) bool { return f.Check == "interval" && f.Kind == Note }); got != want {
			t.Errorf("%q: %v, want %v", conf, got, want)
		}
	}
}

func TestText(t *testing.T) {
	all := []Finding{good("VICI", "", "answers\x1b[2J"), bad("state", "lac office", "down", "do this", "then that"),
		unknown("unanswered Hellos", "", "no journal"), note("router", "lac office", "a Yamaha", "where N is")}
	all[3].Paste = []string{"tunnel select N"}
	var b bytes.Buffer
	if err := Text(&b, all, false, nil); err != nil {
		t.Fatal(err)
	}
	if want := "✓ VICI: answers?[2J\n✗ lac office, state: down\n    → do this\n    → then that\n" +
		"? unanswered Hellos: no journal\n• lac office, router: a Yamaha\n    → where N is\n      tunnel select N\n"; b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestTextInJapanese(t *testing.T) {
	lang := message.Japanese()
	tunnel := status.Tunnel{Name: "lac office", Local: netip.MustParseAddr("198.51.100.2"), Vendor: "YAMAHA Corporation"}
	all := []Finding{good("Hello guard", "", "at work, on NFQUEUE %d and %d", 1701, 1702), router([]*status.Tunnel{&tunnel})}
	var b bytes.Buffer
	if err := Text(&b, all, false, lang); err != nil {
		t.Fatal(err)
	}
	want := "✓ Hello ガード: 動作中、NFQUEUE は 1701 と 1702\n" +
		"• lac office、ルーター: 相手はヤマハルーターです。次の設定をルーターに入力すると、すべてのクライアントで切断を防げます\n" +
		"    → N はルーターのトンネル番号です。接続中に `show status l2tp` を見ると、クライアントのアドレスとともに表示されます: 198.51.100.2、または NAT のアドレス\n" +
		"    → G は、`show config` で、そのトンネルの `ipsec ike` の行にある番号です\n" +
		"    → macOS など、高負荷のときに Hello に応答しなくなるクライアントがある場合は、代わりに `l2tp keepalive use off` を設定する\n"
	if got, _, _ := strings.Cut(b.String(), "      administrator\n"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := Summary(all, lang), "問題 0 件、参考 1 件、正常 1 件"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, f := range all {
		if text, err := json.Marshal(f); err != nil || !strings.HasPrefix(string(text), `{"check":"`) || strings.ContainsFunc(string(text), func(r rune) bool { return r > 0x7f }) {
			t.Errorf("%s, %v: JSON is English", text, err)
		}
	}
}

func TestSummary(t *testing.T) {
	p, q := good("a", "", ""), bad("b", "", "")
	for want, all := range map[string][]Finding{
		"0 problems":                 nil,
		"0 problems, 1 check passed": {p},
		"2 problems, 1 not known, 2 notes, 3 checks passed": {p, q, p, unknown("c", "", ""), note("d", "", ""), note("d", "", ""), q, p},
		"1 problem": {q},
	} {
		if got := Summary(all, nil); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What can't be looked at is neither good nor bad, and has its reason.
func TestNotKnown(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ill   func(*testHost)
		check string
		text  string
	}{
		{"no journal", func(p *testHost) { p.noJournal = errNoJournal }, "unanswered Hellos", "this host has no journal"},
		{"VICI is root's", func(p *testHost) { p.viciErr = fmt.Errorf("vici: %w", fs.ErrPermission) }, "VICI", "permission denied"},
		{"no systemd", func(p *testHost) {
			p.write(config.DefaultPath, "[global]\nrecover = auto\n")
			p.noSystemd = errors.New("systemctl: System has not been booted with systemd")
		}, "recovery", "not been booted with systemd"},
		{"no look at xl2tpd.conf", func(p *testHost) { p.home.Conf, p.home.ConfErr = nil, nil }, "max retries", "/etc/xl2tpd/xl2tpd.conf can't be read"},
	} {
		p := healthy(t)
		tc.ill(p)
		all := Examine(t.Context(), p.Host)
		i := slices.IndexFunc(all, func(f Finding) bool { return f.Check.String() == tc.check })
		if i < 0 || all[i].Kind != Unknown || !strings.Contains(all[i].Text.String(), tc.text) || !Healthy(all) {
			t.Errorf("%s: got %+v, want unknown, on a healthy host", tc.name, all)
		}
	}
}

// A tunnel that is dialled by hand may be down.
func TestDownByHand(t *testing.T) {
	p := healthy(t)
	p.status.Tunnels[0].State, p.status.Tunnels[0].Link, p.status.Tunnels[0].ByHand = "down", nil, true
	all := Examine(t.Context(), p.Host)
	i := slices.IndexFunc(all, func(f Finding) bool { return f.Check == "state" })
	if !Healthy(all) || all[i].Kind != Note || fmt.Sprint(all[i].Remedy) != "[echo 'd office' > /run/xl2tpd/l2tp-control; sleep 3; echo 'c office' > /run/xl2tpd/l2tp-control]" {
		t.Errorf("got %+v, want a note with the command that dials", all[i])
	}
}

// Programs that fail are quoted: the exit status alone says nothing.
func TestOutput(t *testing.T) {
	for script, want := range map[string]string{
		"echo 'no bus' >&2; echo more >&2; exit 1": "sh: no bus",
		"exit 3":     "sh: exit status 3, without a reason",
		"kill -9 $$": "sh: signal: killed, without a reason",
	} {
		if _, err := output(t.Context(), "sh", "-c", script); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	if _, err := output(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
}

func TestHasJournal(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "run/log/journal/0123")
	if err := os.MkdirAll(dir, 0o755); err != nil || hasJournal(root) {
		t.Errorf("a folder without files: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "system.journal"), nil, 0o644); err != nil || !hasJournal(root) {
		t.Errorf("a file: %v", err)
	}
}

// On this host, whatever it is, a round ends and says something.
func TestThisHost(t *testing.T) {
	if all := Examine(t.Context(), ThisHost()); len(all) == 0 {
		t.Error("got no finding at all for this host")
	}
}

func TestPipeCommand(t *testing.T) {
	for lac, want := range map[string]string{
		"office":    "echo 'd office' > /run/xl2tpd/l2tp-control if that is too long",
		"o'brien":   `echo 'd o'\''brien' > /run/xl2tpd/l2tp-control if that is too long`,
		"two words": string(renamed),
	} {
		if got := pipeCommand("/run/xl2tpd/l2tp-control", "d", lac, "%s if that is too long"); got.String() != want {
			t.Errorf("%s: %s; want %s", lac, got, want)
		}
	}
}
