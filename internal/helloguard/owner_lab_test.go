//go:build lab

package helloguard

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// The kernel and systemd say whose the sockets of real xl2tpds are.
func TestOwnersOfRealDaemons(t *testing.T) {
	command := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	var all []Daemon
	r := &factReader{daemons: func() []Daemon {
		all = nil
		for _, d := range xl2tpd.Daemons() {
			is := Daemon{ID: d.ID, Cgroup: d.Cgroup}
			if d.Conf != nil {
				is.Listens = netip.AddrPortFrom(d.Conf.ListenAddr, d.Conf.Port)
			}
			all = append(all, is)
		}
		return all
	}}
	local, peer := netip.MustParseAddrPort("192.0.2.9:1701"), netip.MustParseAddrPort("192.0.2.1:1701")
	owned := func(what string, daemons int, like func(owner) bool) owner {
		t.Helper()
		var o owner
		for range 100 {
			r.forget()
			if o = r.of(l2tpPort, time.Now()).whoSends(local, peer, true); len(all) == daemons && like(o) {
				t.Logf("%s: %+v of %+v", what, o, r.ports[l2tpPort])
				return o
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("%s: %+v of %+v", what, o, r.ports[l2tpPort])
		return o
	}
	is := func(p ownership) func(owner) bool { return func(o owner) bool { return o.ownership == p } }

	command("systemctl", "restart", "xl2tpd")
	first := owned("one", 1, is(ownerKnown))
	for _, d := range all {
		if d.Cgroup == 0 {
			t.Errorf("the cgroup of %v is not known", d.ID)
		}
	}
	path := t.TempDir() + "/second.conf"
	if err := os.WriteFile(path, []byte("[global]\nport = 1701\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command("systemd-run", "--unit=second-xl2tpd", "/usr/sbin/xl2tpd", "-D", "-c", path, "-p", "/run/second.pid", "-C", "/run/second-control")
	owned("two on one port", 2, is(ownerUnclear))
	command("systemctl", "kill", "-s", "KILL", "xl2tpd")
	second := owned("the other one", 1, is(ownerKnown))
	if second.process == first.process || second.process == (procfs.ID{}) {
		t.Errorf("%+v after %+v", second, first)
	}
	command("systemctl", "stop", "second-xl2tpd")
	owned("none", 0, is(ownerForeign))
	command("systemctl", "restart", "xl2tpd")
	owned("one again", 1, func(o owner) bool { return o.ownership == ownerKnown && o.process != first.process })
}
