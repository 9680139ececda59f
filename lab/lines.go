package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

const linesScenario = "bad-lines.txtar"

// badPeers are the peers of scenarios/bad-lines.txtar, with those messages of both ends that the line can keep from being
// acknowledged. The Hellos of xl2tpd are nothing to a router that is deaf to them all.
var badPeers = []struct {
	name         string
	client, peer sender
}{
	{"nvr510", sender{}, sender{every: 10 * time.Second, tries: 6, same: true}},
	{"xl2tpd", xl2tpdHello, xl2tpdHello},
	{"mpd", xl2tpdHello, sender{every: time.Minute, tries: 9}},
}

// badLoss is what the lines lose each way, and twice is how often a packet is sent twice.
var badLoss = []float64{0, 0.05, 0.20}

const twice = 0.05

// xl2tpdHello is sent after 0, 1, 3, 7 and 15 s; 31 s after the first, xl2tpd gives up.
var xl2tpdHello = sender{every: time.Minute, tries: 5}

// sender is an end that sends a Hello every so often, and gives up when none of its tries was acknowledged.
type sender struct {
	every time.Duration
	tries int
	same  bool // a try takes the place of the next Hello
}

// givesUp is how often in an hour the line alone makes it do so at most. A try fails if the message or its acknowledgement
// is lost; another message that acknowledges the Hello meanwhile is not counted. netem drops a packet that it sends twice
// only if it was not to be sent twice.
func (s sender) givesUp(loss float64) float64 {
	if s.tries == 0 {
		return 0
	}
	arrives := 1 - loss*(1-twice)
	fails := 1 - arrives*arrives
	hellos := float64(time.Hour) / float64(s.every)
	if s.same {
		hellos *= (1 - fails) / (1 - math.Pow(fails, float64(s.tries)))
	}
	return hellos * math.Pow(fails, float64(s.tries))
}

// badLines plays scenarios/bad-lines.txtar in kernel and in userspace mode side by side.
func (l lab) badLines(ctx context.Context, args []string) bool {
	span, ok := spanIn(args)
	if !ok {
		return false
	}
	l.record("bad-lines", vm.Skip, map[string]string{"DURATION": args[0]})
	began := time.Now()
	all := event.Figures{}
	var mu sync.Mutex
	modes := []string{"kernel", "userspace"}
	machines := newJobs(len(modes))
	for _, mode := range modes {
		m := l.machine(vm.Skip, event.Case{
			Scenarios: []string{linesScenario},
			Env:       map[string]string{"MODE": mode, "DURATION": span.String()},
		})
		m.Limit += span // an hour takes some minutes
		machines.start(func() error {
			return l.show(ctx, func(e event.Event) {
				mu.Lock()
				defer mu.Unlock()
				for name, value := range e.Figures {
					all[mode+"."+name] = value
				}
				if e.Kind == event.Mark || e.Kind == event.Measure {
					fmt.Printf("%5.0f s  %-9s  %s\n", time.Since(began).Seconds(), mode, e.Text)
				}
			}, mode, "bad-lines-"+mode, m)
		})
	}
	failed := machines.wait()
	addExpected(all, span)
	l.recorder.add("", all)
	fmt.Println()
	linesTable(os.Stdout, all, modes)
	fmt.Printf("\n%v of guest time each (clock: %s), took %v\n", span, vm.Skip, time.Since(began).Round(time.Second))
	if failed != nil {
		fmt.Fprintln(os.Stderr, "lab:", failed)
		return false
	}
	return true
}

// addExpected adds, for each kind of tunnel, how many drops are the line's own doing, by the Hellos of either end.
func addExpected(all event.Figures, span time.Duration) {
	for _, p := range badPeers {
		for _, loss := range badLoss {
			group := lossGroup(p.name, loss)
			tunnels := all["kernel.with."+group+".tunnels"]
			all["line."+group+".by_client"] = p.client.givesUp(loss) * tunnels * span.Hours()
			all["line."+group+".by_peer"] = p.peer.givesUp(loss) * tunnels * span.Hours()
		}
	}
}

func lossGroup(peer string, loss float64) string { return fmt.Sprintf("%s-%.0f", peer, 100*loss) }

func linesTable(w io.Writer, all event.Figures, modes []string) {
	row := func(cells ...any) {
		fmt.Fprintf(w, strings.Repeat("%-10v", len(cells))+"\n", cells...)
	}
	row("mode", "peer", "lost", "tunnels", "without", "with", "expected of the line: by xl2tpd's Hellos, by the peer's")
	for _, mode := range modes {
		for _, p := range badPeers {
			for _, loss := range badLoss {
				group := lossGroup(p.name, loss)
				of := func(key string) float64 { return all[key+"."+group+".drops"] }
				row(mode, p.name, fmt.Sprintf("%.0f %%", 100*loss), all[mode+".with."+group+".tunnels"], of(mode+".without"),
					of(mode+".with"), fmt.Sprintf("%.2f, %.2f", all["line."+group+".by_client"], all["line."+group+".by_peer"]))
			}
		}
	}
}
