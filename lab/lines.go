package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

const linesScenario = "bad-lines.txtar"

// badPeers are the personalities of the peers of scenarios/bad-lines.txtar, of which xl2tpd is a real one there.
var badPeers = []string{"nvr510", "xl2tpd", "mpd"}

// badLoss is what the lines lose each way.
var badLoss = []float64{0, 0.05, 0.20}

// badLines plays scenarios/bad-lines.txtar in one mode.
func (l lab) badLines(ctx context.Context, args []string) bool {
	span, ok := spanIn(args)
	if !ok {
		return false
	}
	mode := l.set["MODE"]
	name := "bad-lines-" + mode
	l.record(name, vm.Skip, map[string]string{"MODE": mode, "DURATION": args[0]})
	began := time.Now()
	all := event.Figures{}
	m := l.machine(vm.Skip, event.Case{
		Scenarios: []string{linesScenario},
		Env:       map[string]string{"DURATION": span.String()},
	})
	m.Limit += span // an hour takes some minutes
	failed := l.show(ctx, func(e event.Event) {
		maps.Copy(all, e.Figures)
		if e.Kind == event.Mark || e.Kind == event.Measure {
			fmt.Printf("%5.0f s  %s\n", time.Since(began).Seconds(), e.Text)
		}
	}, mode, name, m)
	failed = errors.Join(failed, addExpected(all, span))
	l.recorder.add("", all)
	fmt.Println()
	linesTable(os.Stdout, all)
	fmt.Printf("\n%s mode, %v of guest time each (clock: %s), took %v\n", mode, span, vm.Skip, time.Since(began).Round(time.Second))
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
				tunnels := all[part+"."+group+".tunnels"]
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

func linesTable(w io.Writer, all event.Figures) {
	row := func(cells ...any) {
		fmt.Fprintf(w, strings.Repeat("%-10v", len(cells))+"\n", cells...)
	}
	row("peer", "lost", "tunnels", "without", "expected", "with", "expected")
	for _, p := range badPeers {
		for _, loss := range badLoss {
			group := lossGroup(p, loss)
			drops := func(part string) string { return fmt.Sprintf("%.1f", all[part+"."+group+".drops"]) }
			row(p, fmt.Sprintf("%.0f %%", 100*loss), all["with."+group+".tunnels"],
				drops("without"), drops("line.without"), drops("with"), drops("line.with"))
		}
	}
}
