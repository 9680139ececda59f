package supervisor

import (
	"testing"
	"time"

	"xl2tpd-keepalive/internal/xl2tpd"
)

// A link in kernel mode waits for its session, which shows its section. It does not wait for ever.
func TestLinkWaitsForItsSession(t *testing.T) {
	two := redials + "[lac depot]\nlns = 192.0.2.2\npppoptfile = /etc/ppp/options.l2tpd\n"
	kernel := link("ppp0", 5, true)
	kernel.TTY = ""
	watched := "[global]\nhook = /bin/tell\n[lac depot]\nkeepalive = no\n"
	begins := func(conf string) *fixture {
		n := newFixture(t, two, conf)
		n.links(kernel)
		n.after(sessionWait / 2)
		n.want()
		n.wantNotes()
		return n
	}

	// The link does not count as left alone either, if [global] says so and its section does not.
	for _, conf := range []string{watched, "[global]\nkeepalive = no\n[lac office]\nkeepalive = yes\nhook = /bin/tell\n"} {
		n := begins(conf)
		s := n.xl2tpd(two)
		s.Sessions = []xl2tpd.Session{{Ifname: "ppp0", Ifindex: kernel.Index, Local: closer.Local, Peer: closer.Peer, LocalTunnel: closer.LocalID}}
		n.step(s)
		n.want(read(kernel))
		n.wantNotes(`tunnel up tunnel=lac office peer=192.0.2.1 link=ppp0 target=10.0.0.1`)
		if len(n.told) != 1 || n.told[0].Tunnel != "lac office" {
			t.Errorf("the hook was told %+v", n.told)
		}
	}

	n := begins(watched)
	n.after(sessionWait / 2)
	n.after(0)
	n.want(read(kernel))
	n.wantNotes(`tunnel up link=ppp0 target=10.0.0.1`, "can't tell which section the link belongs to")

	n = begins(watched)
	n.links()
	n.after(2 * time.Hour)
	n.want()
	n.wantNotes()
	if at, ok := n.core.NextWake(); ok {
		t.Errorf("a link that is gone is waited for until %v", at)
	}
}
