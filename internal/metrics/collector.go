// Package metrics serves Prometheus metrics: the figures that status shows to a person.
package metrics

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"xl2tpd-keepalive/internal/status"
)

// statusTimeout is how long a scrape waits for the status.
const statusTimeout = 5 * time.Second

var (
	byTunnel = []string{"tunnel", "link", "xl2tpd"} // the last one is empty, as if it were not there, where there is one xl2tpd alone

	build    = desc("build_info", "Always 1; a label has the version of the service.", "version")
	problems = desc("problems", "How many things do not work; status shows which.")
	up       = desc("tunnel_up", "1 for a tunnel that is up, 0 for one that is down or silent.", byTunnel...)
	since    = desc("tunnel_up_since_timestamp_seconds", "When the link came up.", byTunnel...)
	life     = desc("tunnel_last_sign_of_life_timestamp_seconds", "Latest echo reply, data or control message.", byTunnel...)
	sent     = desc("echo_requests_total", "Echo requests since the link came up.", byTunnel...)
	lost     = desc("echo_requests_lost_total", "Echo requests without a reply in time.", byTunnel...)
	trip     = desc("echo_round_trip_seconds", "Round trip of the latest echo request, if it was answered.", byTunnel...)
	hellos   = desc("hellos_total", "Hellos by what the guard did: held (xl2tpd's, acknowledged in the peer's name), "+
		"passed (xl2tpd's, shown to the peer), answered (the peer's, acknowledged in xl2tpd's name).", append(byTunnel, "outcome")...)
	holding = desc("hello_guard_holding", "1 while the tunnel needs the Hello guard.", byTunnel...)

	all = []*prometheus.Desc{build, problems, up, since, life, sent, lost, trip, hellos, holding}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("xl2tpd_keepalive_"+name, help, labels, nil)
}

// collector makes the metrics from the status at each scrape. The number of series
// follows the number of tunnels at that moment; no peer's address is a label.
type collector struct {
	status func(context.Context) (status.Status, error)
}

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	r, err := c.status(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(build, err)
		return
	}
	to := metrics(ch)
	to.gauge(build, 1, r.Version)
	to.gauge(problems, float64(len(r.Problems)))
	down := map[string]bool{} // sections without a name share one label
	for i := range r.Tunnels {
		t := &r.Tunnels[i]
		labels := []string{label(t.Name), "", label(t.Instance)}
		section := t.Instance + "\x00" + labels[0]
		switch {
		case t.State == "off":
		case t.Link != nil:
			labels[1] = t.Link.Name
			to.link(t, labels)
		case !down[section]:
			down[section] = true
			to.gauge(up, 0, labels...)
		}
	}
}

// metrics is where the values go.
type metrics chan<- prometheus.Metric

func (m metrics) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m metrics) counter(d *prometheus.Desc, v uint64, labels ...string) {
	m <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// link passes on the values of a tunnel with a link.
func (m metrics) link(t *status.Tunnel, labels []string) {
	m.gauge(up, truth(t.State == "up" || t.State == "alive"), labels...)
	if !t.Link.Up.IsZero() {
		m.gauge(since, seconds(t.Link.Up), labels...)
	}
	if at, _ := t.Link.Evidence.Last(); !at.IsZero() {
		m.gauge(life, seconds(at), labels...)
	}
	e := &t.Link.Echoes
	m.counter(sent, e.Sent, labels...)
	m.counter(lost, e.Lost, labels...)
	if n := len(e.Recent); n > 0 && e.Recent[n-1] != nil {
		m.gauge(trip, time.Duration(*e.Recent[n-1]).Seconds(), labels...)
	}
	if g := t.Guard; g != nil {
		m.counter(hellos, g.Held, append(labels, "held")...)
		m.counter(hellos, g.Passed, append(labels, "passed")...)
		m.counter(hellos, g.Answered, append(labels, "answered")...)
		m.gauge(holding, truth(g.Holding), labels...)
	}
}

// label makes a section's name valid UTF-8 for Prometheus; xl2tpd accepts any bytes.
func label(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strings.Trim(strconv.Quote(name), `"`)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
