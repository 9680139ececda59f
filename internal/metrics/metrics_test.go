package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(context.Context) (status.Status, error) {
	at := time.Unix(1_800_000_000, 0)
	fast := status.Seconds(8 * time.Millisecond)
	return status.Status{
		Version: "1.0", Time: at, Problems: []status.Problem{{Text: "VICI unreachable"}},
		Tunnels: []status.Tunnel{
			{Name: "lac office", Peer: netip.MustParseAddr("192.0.2.1"), State: "alive",
				Link: &status.Link{Name: "ppp0", Up: at, Evidence: status.Evidence{Reply: at.Add(time.Minute)},
					Echoes: status.Echoes{Sent: 10, Lost: 1, Recent: []*status.Seconds{nil, &fast}}},
				Guard: &status.Guard{Holding: true, Held: 5, Passed: 2}},
			{Name: "lac branch", State: "down"},
			{Name: "lac spare", State: "off"},
		},
	}, nil
}

// What a scrape gives, and what promtool would say of the names.
func TestCollect(t *testing.T) {
	want := `
# HELP xl2tpd_keepalive_build_info Always 1; a label has the version of the service.
# TYPE xl2tpd_keepalive_build_info gauge
xl2tpd_keepalive_build_info{version="1.0"} 1
# HELP xl2tpd_keepalive_echo_requests_lost_total Echo requests without a reply in time.
# TYPE xl2tpd_keepalive_echo_requests_lost_total counter
xl2tpd_keepalive_echo_requests_lost_total{link="ppp0",tunnel="lac office",xl2tpd=""} 1
# HELP xl2tpd_keepalive_echo_requests_total Echo requests since the link came up.
# TYPE xl2tpd_keepalive_echo_requests_total counter
xl2tpd_keepalive_echo_requests_total{link="ppp0",tunnel="lac office",xl2tpd=""} 10
# HELP xl2tpd_keepalive_echo_round_trip_seconds Round trip of the latest echo request, if it was answered.
# TYPE xl2tpd_keepalive_echo_round_trip_seconds gauge
xl2tpd_keepalive_echo_round_trip_seconds{link="ppp0",tunnel="lac office",xl2tpd=""} 0.008
# HELP xl2tpd_keepalive_hello_guard_holding 1 while the tunnel needs the Hello guard.
# TYPE xl2tpd_keepalive_hello_guard_holding gauge
xl2tpd_keepalive_hello_guard_holding{link="ppp0",tunnel="lac office",xl2tpd=""} 1
# HELP xl2tpd_keepalive_hellos_total Hellos by what the guard did: held (xl2tpd's, acknowledged in the peer's name), passed (xl2tpd's, shown to the peer), answered (the peer's, acknowledged in xl2tpd's name).
# TYPE xl2tpd_keepalive_hellos_total counter
xl2tpd_keepalive_hellos_total{link="ppp0",outcome="answered",tunnel="lac office",xl2tpd=""} 0
xl2tpd_keepalive_hellos_total{link="ppp0",outcome="held",tunnel="lac office",xl2tpd=""} 5
xl2tpd_keepalive_hellos_total{link="ppp0",outcome="passed",tunnel="lac office",xl2tpd=""} 2
# HELP xl2tpd_keepalive_problems How many things do not work; status shows which.
# TYPE xl2tpd_keepalive_problems gauge
xl2tpd_keepalive_problems 1
# HELP xl2tpd_keepalive_tunnel_last_sign_of_life_timestamp_seconds Latest echo reply, data or control message.
# TYPE xl2tpd_keepalive_tunnel_last_sign_of_life_timestamp_seconds gauge
xl2tpd_keepalive_tunnel_last_sign_of_life_timestamp_seconds{link="ppp0",tunnel="lac office",xl2tpd=""} 1.80000006e+09
# HELP xl2tpd_keepalive_tunnel_up 1 for a tunnel that is up, 0 for one that is down or silent.
# TYPE xl2tpd_keepalive_tunnel_up gauge
xl2tpd_keepalive_tunnel_up{link="",tunnel="lac branch",xl2tpd=""} 0
xl2tpd_keepalive_tunnel_up{link="ppp0",tunnel="lac office",xl2tpd=""} 1
# HELP xl2tpd_keepalive_tunnel_up_since_timestamp_seconds When the link came up.
# TYPE xl2tpd_keepalive_tunnel_up_since_timestamp_seconds gauge
xl2tpd_keepalive_tunnel_up_since_timestamp_seconds{link="ppp0",tunnel="lac office",xl2tpd=""} 1.8e+09
`
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{sample})
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// The table of the manual has each metric with its help, and no other.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "| metric | meaning |\n|---|---|\n"
	for _, d := range all {
		m := regexp.MustCompile(`fqName: "xl2tpd_keepalive_(\w+)", help: "([^"]*)"`).FindStringSubmatch(d.String())
		want += "| `" + m[1] + "` | " + m[2] + " |\n"
	}
	if !strings.Contains(string(text), "\n"+want+"\n") {
		t.Errorf("docs/monitoring.md should have\n%s", want)
	}
}

// It listens where the configuration says, moves with it, and comes back.
func TestServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	ready := make(chan struct{})
	s := &Server{Status: sample, Ready: func() { ready <- struct{}{} }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	<-ready
	for range 2 {
		s.Configure(config.Listen{Network: "unix", Address: path})
		<-ready
		r, err := client.Get("http://x/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != http.StatusOK || !strings.Contains(string(body), "tunnel_up{") {
			t.Errorf("got %s\n%s, want 200 and the metrics", r.Status, body)
		}
		s.Configure(config.Listen{})
		<-ready
		if _, err := client.Get("http://x/metrics"); err == nil {
			t.Error("still there after metrics = off")
		}
	}
	s.Configure(config.Listen{Network: "unix", Address: filepath.Join(path, "no", "such")})
	if err := <-ended; err == nil || !strings.HasPrefix(err.Error(), "metrics: listen unix") {
		t.Error(err)
	}
	s.Configure(config.Listen{Network: "tcp", Address: "192.0.2.1:9174"}) // an address of no host
	go func() { ended <- s.Run(ctx) }()
	if err := <-ended; err == nil || err.Error() != "metrics: 192.0.2.1:9174: cannot assign requested address" {
		t.Error(err)
	}
	s.Configure(config.Listen{})
	go func() { ended <- s.Run(ctx) }()
	<-ready
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// xl2tpd takes names that are no UTF-8; one tunnel's name does not spoil the scrape.
func TestNames(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{func(context.Context) (status.Status, error) {
		return status.Status{Tunnels: []status.Tunnel{
			{Name: "lac \xc5\xec\xb5\xfe", State: "down"}, {Name: "lac \xc2\xe7\xba\xe5", State: "down"}, {Name: "lac 東京", State: "down"},
			{Name: "lac", State: "down"}, {Name: "lac", State: "down"},
		}}, nil
	}})
	want := `
# HELP xl2tpd_keepalive_tunnel_up 1 for a tunnel that is up, 0 for one that is down or silent.
# TYPE xl2tpd_keepalive_tunnel_up gauge
xl2tpd_keepalive_tunnel_up{link="",tunnel="lac",xl2tpd=""} 0
xl2tpd_keepalive_tunnel_up{link="",tunnel="lac 東京",xl2tpd=""} 0
xl2tpd_keepalive_tunnel_up{link="",tunnel="lac \\xc2\\xe7\\xba\\xe5",xl2tpd=""} 0
xl2tpd_keepalive_tunnel_up{link="",tunnel="lac \\xc5\\xec\\xb5\\xfe",xl2tpd=""} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "xl2tpd_keepalive_tunnel_up"); err != nil {
		t.Error(err)
	}
}

// A status that can't be had fails the scrape, and nothing else.
func TestNoReport(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{func(context.Context) (status.Status, error) { return status.Status{}, context.DeadlineExceeded }})
	if _, err := registry.Gather(); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
