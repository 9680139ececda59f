package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

const chaosScenario = "chaos.txtar"

// neighboursScenario takes $SPAN too: make lab RUN=neighbours.
const neighboursScenario = "neighbours.txtar"

// chaos plays scenarios/chaos.txtar once for each seed, two VMs at a time.
func (l lab) chaos(ctx context.Context, args []string) bool {
	if len(args) != 2 {
		fmt.Fprint(os.Stderr, usage)
		return false
	}
	first, err1 := strconv.Atoi(args[0])
	seeds, err2 := strconv.Atoi(args[1])
	span, err3 := time.ParseDuration(l.set["SPAN"])
	if err1 != nil || err2 != nil || err3 != nil {
		fmt.Fprint(os.Stderr, usage)
		return false
	}
	l.record("chaos", vm.Skip, l.parameters([]string{chaosScenario}))
	began := time.Now()
	var worst float64
	var mu sync.Mutex
	held := 0
	machines := newJobs(2)
	for seed := first; seed < first+seeds; seed++ {
		m := l.machine(vm.Skip, event.Case{
			Scenarios: []string{chaosScenario},
			Env:       map[string]string{"SEED": strconv.Itoa(seed)},
		})
		m.Limit += span / 4
		name := fmt.Sprintf("chaos-%d", seed)
		machines.start(func() error {
			return l.show(ctx, func(e event.Event) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case e.Kind == event.Pass:
					held++
				case e.Kind == event.Measure && e.Name == "chaos":
					fmt.Println(e.Text)
					worst = max(worst, e.Figures["worst_s"])
					l.recorder.add(fmt.Sprintf("seed-%d.", seed), e.Figures)
				}
			}, name, name, m)
		})
	}
	failed := machines.wait()
	l.recorder.add("", event.Figures{"seeds": float64(seeds), "held": float64(held), "worst_s": worst})
	fmt.Printf("\n%d of %d seeds held, %v of guest time each (clock: %s), took %v\n", held, seeds, span, vm.Skip, time.Since(began).Round(time.Second))
	if failed != nil {
		fmt.Fprintln(os.Stderr, "lab:", failed)
		return false
	}
	return true
}
