package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

const linesScenario = "bad-lines.txtar"

// badPeers are the personalities of the peers of scenarios/bad-lines.txtar, of which xl2tpd is a real one there.
var badPeers = []string{"nvr510", "xl2tpd", "mpd"}

// badLoss is what the lines lose each way.
var badLoss = []float64{0, 0.05, 0.20}

// badLines plays scenarios/bad-lines.txtar in kernel and in userspace mode.
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
	failed := errors.Join(machines.wait(), addExpected(all, span))
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

// simulated is for how long the expected drops are drawn.
const simulated = 600 * time.Hour

// addExpected adds, for each kind of tunnel, how many drops are the line's own doing.
func addExpected(all event.Figures, span time.Duration) error {
	for _, p := range badPeers {
		b, err := badPeer(p)
		if err != nil {
			return err
		}
		for _, loss := range badLoss {
			group := lossGroup(p, loss)
			for part, guarded := range map[string]bool{"without": false, "with": true} {
				tunnels := all["kernel."+part+"."+group+".tunnels"]
				if tunnels == 0 {
					continue
				}
				closes, err := closesIn(span, int(simulated/span)+1, b, loss, guarded)
				if err != nil {
					return err
				}
				all["line."+part+"."+group+".drops"] = closes * tunnels
			}
		}
	}
	return nil
}

func lossGroup(peer string, loss float64) string { return fmt.Sprintf("%s-%.0f", peer, 100*loss) }

func linesTable(w io.Writer, all event.Figures, modes []string) {
	row := func(cells ...any) {
		fmt.Fprintf(w, strings.Repeat("%-10v", len(cells))+"\n", cells...)
	}
	row("mode", "peer", "lost", "tunnels", "without", "expected", "with", "expected")
	for _, mode := range modes {
		for _, p := range badPeers {
			for _, loss := range badLoss {
				group := lossGroup(p, loss)
				drops := func(of string) string { return fmt.Sprintf("%.1f", all[of+"."+group+".drops"]) }
				row(mode, p, fmt.Sprintf("%.0f %%", 100*loss), all[mode+".with."+group+".tunnels"],
					drops(mode+".without"), drops("line.without"), drops(mode+".with"), drops("line.with"))
			}
		}
	}
}
