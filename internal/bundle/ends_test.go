package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"xl2tpd-keepalive/internal/controltrace"
)

// night is a journal of a night, as the lab's daemons write one.
const night = `2026-11-29T23:51:12.598000+0000 lab xl2tpd[388]: Connecting to host 10.77.1.2, port 1701
2026-11-29T23:52:49.921996+0000 lab xl2tpd[388]: Maximum retries exceeded for tunnel 29.  Closing.
2026-11-29T23:52:49.922143+0000 lab xl2tpd[388]: Connection 7221 closed to 10.77.1.2, port 1701 (Timeout)
2026-11-29T23:53:53.966050+0000 lab xl2tpd[388]: get_call: can't find call 38818 in tunnel 14080
                                                  (ref=0/0) closed to
2026-11-29T23:54:50.921996+0000 lab xl2tpd[388]: Maximum retries exceeded for tunnel 14080.  Closing.
2026-11-29T23:54:50.922143+0000 lab xl2tpd[388]: Connection 7220 closed to 10.77.2.2, port 1701 (Timeout)
2026-11-29T23:55:23.000000+0000 lab charon-systemd[12]: received DELETE for IKE_SA office[1]
2026-11-29T23:56:00.000000+0000 lab xl2tpd-keepalive[394]: tunnel down tunnel="lac office" peer=10.77.1.2 link=ppp0 reason="the link is gone"
`

// Ends that differ in numbers alone are one; those of two peers are two.
func TestEnds(t *testing.T) {
	all, begins := ends(night)
	want := []end{
		{"xl2tpd: Maximum retries exceeded for tunnel N.  Closing.", "2026-11-29T23:52:49", "2026-11-29T23:54:50", 2},
		{"xl2tpd: Connection N closed to 10.77.1.2, port N (Timeout)", "2026-11-29T23:52:49", "2026-11-29T23:52:49", 1},
		{"xl2tpd: Connection N closed to 10.77.2.2, port N (Timeout)", "2026-11-29T23:54:50", "2026-11-29T23:54:50", 1},
		{"charon-systemd: received DELETE for IKE_SA office[N]", "2026-11-29T23:55:23", "2026-11-29T23:55:23", 1},
		{`xl2tpd-keepalive: tunnel down tunnel="lac office" peer=10.77.1.2 link=ppp0 reason="the link is gone"`, "2026-11-29T23:56:00", "2026-11-29T23:56:00", 1},
	}
	if !slices.Equal(all, want) || begins != "2026-11-29T23:51:12" {
		t.Errorf("%+v, from %s", all, begins)
	}
	colon := strings.ReplaceAll(night, "+0000 ", "+00:00 ") // as Debian 13 writes it
	if all, _ := ends(colon); !slices.Equal(all, want) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	many := strings.Builder{}
	for i := range 2 * maxEnds {
		many.WriteString("2026-11-29T23:51:12.598000+0000 lab xl2tpd[388]: closed to peer" + strings.Repeat("x", i) + "\n")
	}
	if all, _ := ends(many.String()); len(all) != maxEnds || !strings.HasSuffix(all[maxEnds-1].text, strings.Repeat("x", 2*maxEnds-1)) {
		t.Errorf("got %+v, want the latest maxEnds of them", all)
	}
}

// What goes on is not displaced by later ends of other kinds.
func TestEndsThatGoOn(t *testing.T) {
	line := func(day int, text string) string {
		return fmt.Sprintf("2026-11-%02dT12:00:00.000000+0000 lab xl2tpd[388]: closed to %s\n", day, text)
	}
	journal := line(1, "office")
	for i := range maxEnds + 1 {
		journal += line(2+i/4, "peer"+strings.Repeat("x", i))
	}
	all, _ := ends(journal + line(30, "office"))
	want := end{"xl2tpd: closed to office", "2026-11-01T12:00:00", "2026-11-30T12:00:00", 2}
	if len(all) != maxEnds || all[0] != want || all[1].text != "xl2tpd: closed to peerxx" {
		t.Errorf("got %+v, want the latest maxEnds of them, the oldest first", all)
	}
}

func TestEndsText(t *testing.T) {
	for journal, want := range map[string]string{
		night: "of ends.txt, which begins at 2026-11-29T23:51:12:\n  2 times, 2026-11-29T23:52:49 to 2026-11-29T23:54:50\n    xl2tpd: Maximum",
		"":    "Nothing in the journal says how a tunnel ended.\n",
	} {
		if got := endsText(journal); !strings.Contains(got, want) {
			t.Errorf("%q: got %s, want %q in it", journal, got, want)
		}
	}
}

// A journal without ends is no failure.
func TestNoEnds(t *testing.T) {
	s := plant(t)
	run := s.Run
	s.Run = func(ctx context.Context, name string, args ...string) ([]byte, error) {
		if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--grep") }) {
			return nil, errors.New("journalctl: exit status 1: ")
		}
		return run(ctx, name, args...)
	}
	b := Collect(t.Context(), s)
	if strings.Contains(strings.Join(b.left(), "\n"), "--grep") || !strings.Contains(b.file(t, "README.txt"), "Nothing in the journal says") {
		t.Errorf("got %q, want no complaint about a search that finds nothing", b.left())
	}
}

// A search of the journal that takes too long is one that is left out.
func TestLateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plant(t)
		run := s.Run
		s.Run = func(ctx context.Context, name string, args ...string) ([]byte, error) {
			if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--grep") }) {
				<-ctx.Done()
				return nil, errors.New("journalctl: signal: killed: ")
			}
			return run(ctx, name, args...)
		}
		left := strings.Join(Collect(t.Context(), s).left(), "\n")
		if !strings.Contains(left, "--grep") || !strings.Contains(left, "not done after 10s") {
			t.Errorf("got %q, want the search that took too long", left)
		}
	})
}

// After a drop the guard has forgotten what the router calls itself. The flight recorder has not.
func TestVendorAfterDrop(t *testing.T) {
	s := plant(t)
	s.Status.Tunnels[0].Vendor = ""
	s.Recordings = []controltrace.Recording{{Connection: recorded, Vendor: "Yamaha"}}
	if text := Collect(t.Context(), s).file(t, "README.txt"); !strings.Contains(text, "router: 192.0.2.1, Yamaha\n") {
		t.Errorf("got %s, want the vendor from the flight recorder", text)
	}
	s.Status.Tunnels[0].Peer = netip.Addr{} // its name could not be looked up
	if text := Collect(t.Context(), s).file(t, "README.txt"); !strings.Contains(text, "router: of an unknown address, of an unknown vendor") {
		t.Errorf("got %s, want an unknown address and vendor", text)
	}
	s.Status.Tunnels[0].Peer, s.Recordings[0].Peer = recorded.Peer.Addr(), recorded.Local
	if text := Collect(t.Context(), s).file(t, "README.txt"); !strings.Contains(text, "router: 192.0.2.1, of an unknown vendor") {
		t.Errorf("got %s, want an unknown vendor", text)
	}
}
