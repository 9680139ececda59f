package doctor

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/clamp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// mtuHost is a healthy host with a tunnel where echo requests are answered, and a path of these MTUs.
type mtuHost struct {
	*testHost
	inner, outer probe.PathMTU
	err          error // of the inner search
	clamps       []clamp.Rule
	sa           vici.Child

	mu     sync.Mutex
	likely []int
	inside int // how often each search ran
	beyond int
}

func newMTUHost(t *testing.T) *mtuHost {
	m := &mtuHost{
		testHost: healthy(t),
		inner:    probe.PathMTU{Claimed: 1400, Passes: 1400, Certain: true},
		outer:    probe.PathMTU{Claimed: 1500, Passes: 1500, Certain: true},
		sa:       vici.Child{State: "INSTALLED", Encap: true, Cipher: "AES_CBC", Integrity: "HMAC_SHA1_96"},
	}
	m.status.Tunnels[0].Link.Evidence.Reply = now
	m.PathMTU = func(ctx context.Context, p probe.Path) (probe.PathMTU, error) {
		if p.Link == "" {
			m.count(&m.beyond)
			return m.outer, nil
		}
		m.count(&m.inside)
		if m.inner.Limited() {
			m.likely = p.Likely(ctx)
		}
		return m.inner, m.err
	}
	m.Clamps = func(context.Context, string) ([]clamp.Rule, error) { return m.clamps, nil }
	m.SAs = func(context.Context) ([]vici.SA, error) {
		return []vici.SA{
			{Name: "tokyo", RemoteHost: netip.MustParseAddrPort("192.0.2.9:500")},
			{Name: "tokyo", RemoteHost: netip.MustParseAddrPort("192.0.2.1:4500"), Children: []vici.Child{{State: "DELETING"}, m.sa}},
		}, nil
	}
	return m
}

func (m *mtuHost) count(n *int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n++
}

// finding returns doctor's finding as text; empty: there is none.
func (m *mtuHost) finding() string {
	all := slices.DeleteFunc(Examine(m.t.Context(), m.Host), func(f Finding) bool { return f.Check != mtuCheck })
	return text(m.t, all)
}

// measured returns the finding of ping --mtu as text.
func (m *mtuHost) measured() string {
	_, f := MeasureMTU(m.t.Context(), m.Host, &m.status.Tunnels[0])
	return text(m.t, []Finding{f})
}

func text(t *testing.T, all []Finding) string {
	var b bytes.Buffer
	if err := Text(&b, all, false, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const clampIt = "    → nft 'table inet l2tp_mss { chain forward { type filter hook forward priority mangle; " +
	"oifname \"ppp*\" tcp flags syn tcp option maxseg size set rt mtu; }; }'"

func forwarding(m *mtuHost) { m.write("/proc/sys/net/ipv4/conf/ppp0/forwarding", "1\n") }

const hangUp = "    → echo 'd office' > /run/xl2tpd/l2tp-control, then the same with c\n"

func TestMTUFindings(t *testing.T) {
	limited := func(m *mtuHost) {
		m.inner.Passes, m.outer.Passes = 1356, 1454
	}
	const lost = "✗ lac office, path MTU: ppp0 claims 1400 bytes, but only 1356 pass: larger packets are lost without a word, " +
		"so pages and downloads hang; the path to the LNS takes 1454, of which IPsec and L2TP need 98\n" +
		"    → `mtu 1356` and `mru 1356` in the pppoptfile /etc/ppp/options.l2tpd\n" + hangUp
	for _, tc := range []struct {
		name string
		ill  func(*mtuHost)
		want string
	}{
		{"all is well", func(*mtuHost) {}, "✓ lac office, path MTU: 1400 bytes pass, as ppp0 claims\n"},
		{"a black hole", limited, lost},
		{"refused", func(m *mtuHost) { limited(m); m.inner.Told = true },
			strings.Replace(lost, "larger packets are lost without a word, so pages and downloads hang", "larger packets are refused", 1)},
		{"the LNS answers nothing outside", func(m *mtuHost) { limited(m); m.outer.Passes = 0 },
			strings.Replace(lost, "; the path to the LNS takes 1454, of which IPsec and L2TP need 98", "", 1)},
		{"options in the file", func(m *mtuHost) {
			limited(m)
			m.write("/etc/ppp/options.l2tpd", "noauth\nmtu 1400\nfile /etc/ppp/more\n")
			m.write("/etc/ppp/more", "mru 1500\n")
		}, strings.Replace(lost, "options.l2tpd\n", "options.l2tpd, instead of `mtu 1400` in /etc/ppp/options.l2tpd:2, instead of `mru 1500` in /etc/ppp/more:1\n", 1)},
		{"others behind this host", func(m *mtuHost) { limited(m); forwarding(m) }, lost + clampIt + "\n"},
		{"others behind this host, clamped", func(m *mtuHost) { limited(m); forwarding(m); m.clamps = []clamp.Rule{{}} }, lost},
		{"others behind this host, clamped to too much", func(m *mtuHost) {
			limited(m)
			forwarding(m)
			m.clamps = []clamp.Rule{{Where: "here", MSS: 1400}}
		}, lost + "    → lower the MSS to 1316: forwarded TCP is clamped to 1400 by here\n"},
		{"a Yamaha", func(m *mtuHost) { limited(m); m.status.Tunnels[0].Vendor = "YAMAHA Corporation" },
			lost + "    → at the router, in the lines of its tunnel: `ip tunnel tcp mss limit auto`\n"},
		{"NetworkManager's", func(m *mtuHost) { limited(m); m.networkManager() },
			strings.Replace(strings.Replace(lost, "`mtu 1356` and `mru 1356` in the pppoptfile /etc/ppp/options.l2tpd",
				"nmcli connection modify 'd4a4' +vpn.data mtu=1356,mru=1356", 1), hangUp, "    → nmcli connection down 'd4a4'; nmcli connection up 'd4a4'\n", 1)},
		{"a caller", func(m *mtuHost) {
			limited(m)
			m.status.Tunnels[0].Name = "lns callers"
			m.xl2tpd("[lns callers]\npppoptfile = /etc/ppp/options.lns\n")
		}, strings.Replace(strings.Replace(strings.Replace(lost, "lac office", "lns callers", 1), "options.l2tpd", "options.lns", 1),
			hangUp, "    → then close the tunnel, so that it is made anew\n", 1)},
		{"all passes, others behind this host", forwarding, "✓ lac office, path MTU: 1400 bytes pass, as ppp0 claims\n"},
		{"no answer now", func(m *mtuHost) { m.inner.Passes = 0 },
			"? lac office, path MTU: the far end answers not even the smallest echo request\n" +
				"    → if it never answers: `target = ADDRESS` behind the tunnel in its section of /etc/xl2tpd/keepalive.conf\n"},
		{"heavy losses", func(m *mtuHost) { m.inner.Certain = false },
			"? lac office, path MTU: the tunnel loses too many echo requests; at least 1400 of the 1400 bytes that ppp0 claims pass\n"},
		{"not in time", func(m *mtuHost) { m.inner.Passes, m.err = 68, context.DeadlineExceeded },
			"? lac office, path MTU: not found within 20s; at least 68 of the 1400 bytes that ppp0 claims pass\n" +
				"    → xl2tpd-keepalive ping --mtu ppp0\n"},
		{"no right", func(m *mtuHost) { m.err = probe.ErrPermission },
			"? lac office, path MTU: raw ICMP socket not permitted: needs CAP_NET_RAW\n    → sudo xl2tpd-keepalive doctor\n"},
		{"link gone", func(m *mtuHost) { m.err = probe.ErrGone }, "? lac office, path MTU: interface is gone\n"},
		{"nothing was ever answered", func(m *mtuHost) { m.status.Tunnels[0].Link.Evidence.Reply = time.Time{} }, ""},
		{"silent", func(m *mtuHost) { m.status.Tunnels[0].State = "silent" }, ""},
	} {
		m := newMTUHost(t)
		tc.ill(m)
		if got := m.finding(); got != tc.want {
			t.Errorf("%s:\n%swant\n%s", tc.name, got, tc.want)
		}
		if m.inner.Limited() == (m.beyond == 0) && m.inside > 0 || m.inside > 1 {
			t.Errorf("%s: %d searches inside, %d outside", tc.name, m.inside, m.beyond)
		}
	}
}

// Inside, sizes are tried first that follow from the line and the CHILD SA.
func TestMTULikely(t *testing.T) {
	m := newMTUHost(t)
	m.inner.Passes, m.outer.Passes = 1356, 1454
	m.finding()
	if want := []int{1356, 1354, 1358}; !slices.Equal(m.likely, want) {
		t.Errorf("%v, want %v", m.likely, want)
	}
	m.sa.Cipher = "KUZNYECHIK"
	m.finding()
	if m.likely != nil {
		t.Errorf("an unknown cipher: %v", m.likely)
	}
	m.SAs = func(context.Context) ([]vici.SA, error) { return nil, errors.New("vici: no such socket") }
	m.finding()
	if m.likely != nil {
		t.Errorf("no strongSwan: %v", m.likely)
	}
}

// Only a person who asks for it learns about fragments: doctor does not look outside where all passes.
func TestMTUFragments(t *testing.T) {
	m := newMTUHost(t)
	m.outer = probe.PathMTU{Claimed: 1500, Passes: 1454, Told: true, Certain: true}
	const want = "• lac office, path MTU: 1400 bytes pass, as ppp0 claims; those over 1354 go in fragments, because the path to the LNS takes 1454\n" +
		"    → to spare the fragments, which some lines lose:\n" +
		"    → `mtu 1354` and `mru 1354` in the pppoptfile /etc/ppp/options.l2tpd\n" + hangUp
	if got := m.measured(); got != want || m.beyond != 1 {
		t.Errorf("%d searches outside\n%swant\n%s", m.beyond, got, want)
	}
	m.outer.Passes = 1500
	if got := m.measured(); got != "✓ lac office, path MTU: 1400 bytes pass, as ppp0 claims\n" {
		t.Errorf("got %q", got)
	}
}

// Many tunnels are looked at side by side.
func TestMTUsOfMany(t *testing.T) {
	m := newMTUHost(t)
	one := m.status.Tunnels[0]
	for range 20 {
		m.status.Tunnels = append(m.status.Tunnels, one)
	}
	if all := strings.Count(m.finding(), "✓"); all != 21 || m.inside != 21 || m.beyond != 0 {
		t.Errorf("%d findings, %d searches inside, %d outside", all, m.inside, m.beyond)
	}
}

// Only a person who asks for it learns that nothing clamps the TCP connections of others.
func TestMTUUnclamped(t *testing.T) {
	m := newMTUHost(t)
	forwarding(m)
	const want = "• lac office, path MTU: 1400 bytes pass, as ppp0 claims; TCP that this host forwards is not clamped to that\n" +
		clampIt + ", if pages hang for hosts behind this one\n"
	if got := m.measured(); got != want {
		t.Errorf("\n%swant\n%s", got, want)
	}
	for what, change := range map[string]func(){
		"a rule": func() { m.clamps = []clamp.Rule{{}} },
		"Ethernet's size": func() {
			m.clamps, m.inner = nil, probe.PathMTU{Claimed: 1500, Passes: 1500, Certain: true}
			m.outer = probe.PathMTU{Claimed: 9000, Passes: 9000, Certain: true}
		},
	} {
		change()
		if got := m.measured(); !strings.HasPrefix(got, "✓") {
			t.Errorf("%s: got %s, want a check that passes", what, got)
		}
	}
}
