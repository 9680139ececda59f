package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

const matrixScenario = "matrix.txtar"

// keepers are who brings tunnels back in scenarios/matrix.txtar.
var keepers = []struct{ name, redial, title string }{
	{"redial", "15", "xl2tpd's `redial = yes`"},
	{"watchdog", "no", "ping and a script, each minute"},
	{"recover", "15", "`recover = auto`"},
}

// matrix plays scenarios/matrix.txtar once for each keeper, two VMs at a time, and prints a table.
func (l lab) matrix(ctx context.Context) bool {
	var mu sync.Mutex
	var rows []string
	cells := map[string]string{}
	l.record("matrix", vm.Skip, l.parameters([]string{matrixScenario}))
	machines := newJobs(2)
	for _, k := range keepers {
		m := l.machine(vm.Skip, event.Case{
			Scenarios: []string{matrixScenario},
			Env:       map[string]string{"KEEPER": k.name, "REDIAL": k.redial},
		})
		m.Limit *= 3
		machines.start(func() error {
			return l.show(ctx, func(e event.Event) {
				if e.Kind != event.Measure || e.Name == "" {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				fmt.Printf("%-9s  %s\n", k.name, e.Text)
				l.recorder.add(k.name+"."+e.Name+".", e.Figures)
				if !slices.Contains(rows, e.Name) {
					rows = append(rows, e.Name)
				}
				cells[e.Name+k.name] = strings.TrimPrefix(e.Text, e.Name+": ")
			}, k.name, "matrix-"+k.name, m)
		})
	}
	failed := machines.wait()
	fmt.Print("\n| trouble |")
	for _, k := range keepers {
		fmt.Printf(" %s |", k.title)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(keepers)))
	for _, row := range rows {
		fmt.Printf("| %s |", row)
		for _, k := range keepers {
			fmt.Printf(" %s |", cells[row+k.name])
		}
		fmt.Println()
	}
	if failed != nil {
		fmt.Fprintln(os.Stderr, "lab:", failed)
		return false
	}
	return true
}
