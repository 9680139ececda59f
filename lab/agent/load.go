package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// iperf runs iperf3 between the client and the peer, at so many Mbit/s (0: as fast as it goes), and returns the bits
// per second that arrived.
func (p *peer) iperf(mbits, seconds int, download bool) (float64, error) {
	server := p.exec("iperf3", "--server", "--one-off", "--bind", p.ppp.String())
	if err := server.Start(); err != nil {
		return 0, err
	}
	defer end(server.Cmd) // another one finds its port free
	if err := poll(5*time.Second, func() bool { return p.exec("sh", "-c", "ss -tln | grep -q :5201").Run() == nil }); err != nil {
		return 0, fmt.Errorf("iperf3's server: %w", err)
	}
	args := []string{"--client", p.ppp.String(), "--time", strconv.Itoa(seconds), "--bitrate", fmt.Sprintf("%dM", mbits), "--json"}
	if download {
		args = append(args, "--reverse")
	}
	text, err := exec.Command("iperf3", args...).CombinedOutput()
	var result struct {
		Error string
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &result)
	}
	if err != nil || result.End.Received.Bits == 0 {
		return 0, fmt.Errorf("iperf3: %v: %s", err, text)
	}
	return result.End.Received.Bits, nil
}

var averageRTT = regexp.MustCompile(`rtt min/avg/max/mdev = [0-9.]+/([0-9.]+)/`)

// ping is how long an echo reply of the peer takes through the tunnel, mean of 200.
func (p *peer) ping() (ms float64, err error) {
	answers := func() bool { return exec.Command("ping", "-q", "-c", "1", "-W", "1", p.ppp.String()).Run() == nil }
	if err := poll(5*time.Second, answers); err != nil { // pppd puts a device up after it has its addresses
		return 0, fmt.Errorf("ping: %w", err)
	}
	text, err := exec.Command("ping", "-q", "-c", "200", "-i", "0.01", p.ppp.String()).CombinedOutput()
	m := averageRTT.FindSubmatch(text)
	if err != nil || m == nil {
		return 0, fmt.Errorf("ping: %v: %s", err, text)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// loadCommand keeps a tunnel busy with data from the peer to the client.
func loadCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "mbits")
	usage(ts, neg, len(words) == 2, "load NAME SECONDS [mbits=N]")
	p := peersOf(ts, words[:1])[0]
	seconds, err := strconv.Atoi(words[1])
	ts.Check(err)
	mbits := 5
	if text, ok := opts["mbits"]; ok {
		mbits, err = strconv.Atoi(text)
		ts.Check(err)
	}
	bits, err := p.iperf(mbits, seconds, true)
	ts.Check(err)
	clientOf(ts).measured(event.Figures{p.name + ".mbits": bits / 1e6}, "%s: %.1f Mbit/s received for %d s", p.name, bits/1e6, seconds)
}

// compareCommand loads a tunnel to its limit several times, alternately with two configurations of the service. It holds
// when the second is not slower, by the median of the pairs' ratios. It also compares the idle tunnel's round trip. Each
// run has its own tunnel, and every other pair begins with the second configuration and loads the other direction.
func compareCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "pairs", "seconds", "least")
	usage(ts, neg, len(words) == 3 && len(opts) == 3, "compare NAME FILE FILE pairs=N seconds=N least=RATIO")
	pairs, err := strconv.Atoi(opts["pairs"])
	ts.Check(err)
	seconds, err := strconv.Atoi(opts["seconds"])
	ts.Check(err)
	least, err := strconv.ParseFloat(opts["least"], 64)
	ts.Check(err)
	c, p := clientOf(ts), peersOf(ts, words[:1])[0]
	var throughput, rtt, idle []float64
	for i := range pairs {
		var bits, ms [2]float64
		for j := range bits {
			which := (i + j) % 2
			keepaliveCommand(ts, false, []string{"config", words[1+which]})
			keepaliveCommand(ts, false, []string{"restart"})
			dialCommand(ts, false, words[:1])
			ms[which], err = p.ping()
			ts.Check(err)
			bits[which], err = p.iperf(0, seconds, i/2%2 == 0)
			ts.Check(err)
			hangupCommand(ts, false, words[:1])
		}
		throughput, rtt, idle = append(throughput, bits[1]/bits[0]), append(rtt, ms[1]/ms[0]), append(idle, ms[0])
		c.measure("%s: %.1f Mbit/s and %.3f ms with %s, %.1f and %.3f with %s: %.3f and %.3f times",
			p.name, bits[0]/1e6, ms[0], words[1], bits[1]/1e6, ms[1], words[2], throughput[i], rtt[i])
	}
	carries := c.median(p.name+".throughput_ratio", p.name+": "+words[2]+" has %.3f of the throughput with "+words[1], throughput)
	takes := c.median(p.name+".rtt_ratio", p.name+": "+words[2]+" has %.3f of the round trip with "+words[1], rtt)
	c.median(p.name+".rtt_ms", p.name+": %.3f ms is the round trip with "+words[1], idle)
	if carries < least || takes > 1/least {
		ts.Fatalf("%s: %.3f of the throughput and %.3f of the round trip with %s, wanted %.3f", words[2], carries, takes, words[1], least)
	}
}

// median reports and returns the median of what the pairs have shown, which it sorts.
func (c *client) median(name, text string, pairs []float64) float64 {
	slices.Sort(pairs)
	n := len(pairs)
	median := (pairs[(n-1)/2] + pairs[n/2]) / 2
	c.measured(event.Figures{name: median, name + ".least": pairs[0], name + ".most": pairs[n-1], name + ".pairs": float64(n)},
		text+", median of %d pairs (%.3f to %.3f)", median, n, pairs[0], pairs[n-1])
	return median
}
