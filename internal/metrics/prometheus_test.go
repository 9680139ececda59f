//go:build monitoring

package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
)

// A real Prometheus scrapes the server, and each query of the Grafana dashboard has an
// answer. $PROMETHEUS is the program; see make monitoring.
func TestDashboard(t *testing.T) {
	ours, theirs := freePort(t), freePort(t)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}, 1), make(chan error, 1)
	s := &Server{Status: sample, Ready: func() { ready <- struct{}{} }}
	s.Configure(config.Listen{Network: "tcp", Address: ours})
	go func() { ended <- s.Run(ctx) }()
	<-ready

	dir := t.TempDir()
	conf := filepath.Join(dir, "prometheus.yml")
	rules, err := filepath.Abs("../../deploy/prometheus/xl2tpd-keepalive.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs:\n- job_name: tunnels\n  static_configs: [{targets: [%q]}]\n", rules, ours)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	prometheus := exec.Command(os.Getenv("PROMETHEUS"), "--config.file="+conf, "--storage.tsdb.path="+dir, "--web.listen-address="+theirs)
	prometheus.Stderr = os.Stderr
	if err := prometheus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		prometheus.Process.Kill()
		prometheus.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile("../../deploy/grafana/xl2tpd-keepalive.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Fatalf("%v, %d panels", err, len(dashboard.Panels))
	}
	variables := strings.NewReplacer("$job", "tunnels", "$instance", ".*", "$__rate_interval", "10s", "[5m]", "[10s]")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			n := answers(t, theirs, variables.Replace(target.Expr))
			t.Logf("%s: %d series", p.Title, n)
		}
	}
}

// answers waits for a query to have results, and counts them. The counters of
// the sample stand still, so a rate is there but 0.
func answers(t *testing.T, at, query string) int {
	t.Helper()
	query = strings.ReplaceAll(query, " > 0", " >= 0")
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(500 * time.Millisecond); ; <-tick.C {
		n, err := ask("http://" + at + "/api/v1/query?query=" + url.QueryEscape(query))
		if n > 0 {
			tick.Stop()
			return n
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: no answer: %v", query, err)
		}
	}
}

func ask(u string) (int, error) {
	r, err := http.Get(u)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, errors.New(answer.Error)
	}
	return len(answer.Data.Result), nil
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
