package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// iperf runs iperf3 between the client and the peer, at so many Mbit/s (0: as fast as it goes), and returns the bits
// per second that arrived.
func (p *peer) iperf(mbits, seconds int, download bool) (float64, error) {
	if err := p.run("iperf3.log", "iperf3", "--server", "--one-off", "--bind", p.ppp.String()); err != nil {
		return 0, err
	}
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

// loadCommand keeps a tunnel busy with data from the peer to the client.
func loadCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(args)
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
	clientOf(ts).measure("%s: %.1f Mbit/s received for %d s", p.name, bits/1e6, seconds)
}

// compareCommand loads a tunnel as much as it bears, time and again, in turn with one configuration of ours and with
// the other, and holds when the second is not slower: the median of the pairs' ratios counts. Each run has a tunnel of
// its own, and every other pair begins with the second configuration and loads the other direction.
func compareCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(args)
	usage(ts, neg, len(words) == 3 && len(opts) == 3, "compare NAME FILE FILE pairs=N seconds=N least=RATIO")
	pairs, err := strconv.Atoi(opts["pairs"])
	ts.Check(err)
	seconds, err := strconv.Atoi(opts["seconds"])
	ts.Check(err)
	least, err := strconv.ParseFloat(opts["least"], 64)
	ts.Check(err)
	var ratios []float64
	for i := range pairs {
		var bits [2]float64
		for j := range bits {
			which := (i + j) % 2
			keepaliveCommand(ts, false, []string{"config", words[1+which]})
			keepaliveCommand(ts, false, []string{"restart"})
			dialCommand(ts, false, words[:1])
			bits[which], err = peersOf(ts, words[:1])[0].iperf(0, seconds, i/2%2 == 0)
			ts.Check(err)
			hangupCommand(ts, false, words[:1])
		}
		ratios = append(ratios, bits[1]/bits[0])
		clientOf(ts).measure("%s: %.1f Mbit/s with %s, %.1f with %s: %.3f of it", words[0], bits[0]/1e6, words[1], bits[1]/1e6, words[2], ratios[i])
	}
	slices.Sort(ratios)
	median := (ratios[(pairs-1)/2] + ratios[pairs/2]) / 2
	clientOf(ts).measure("%s: %s has %.3f of the throughput with %s, median of %d pairs (%.3f to %.3f)",
		words[0], words[2], median, words[1], pairs, ratios[0], ratios[pairs-1])
	if median < least {
		ts.Fatalf("%s: %.3f of the throughput with %s, wanted %.3f", words[2], median, words[1], least)
	}
}
