package main

import (
	"cmp"
	"slices"
	"strings"

	"xl2tpd-keepalive/lab/event"
)

// usual is what a scenario or a test program takes that is not in took.
const usual = 50

// took is how many seconds of this host's time each one takes, roughly. It
// decides only which of them share a machine.
var took = map[string]int{
	"busy-link.txtar": 40, "clock.txtar": 45, "come-back.txtar": 60, "configuration.txtar": 45, "doctor-host.txtar": 75,
	"doctor.txtar": 75, "guard-evidence.txtar": 50, "guard-firewalls.txtar": 110, "guard-foreign.txtar": 35,
	"guard-kills.txtar": 110, "guard-life-returns.txtar": 70, "guard-lns-userspace.txtar": 65, "guard-lns.txtar": 80,
	"guard-nat.txtar": 70, "guard-peers.txtar": 100, "guard-port.txtar": 60, "guard-restart.txtar": 80,
	"guard-slow.txtar": 80, "guard-stopped.txtar": 50, "guard-twins.txtar": 40, "half-closed.txtar": 40,
	"hello-deaf-userspace.txtar": 35, "hook.txtar": 60, "hostile.txtar": 140, "hung-up.txtar": 50, "idle-timer.txtar": 35,
	"killed-daemons.txtar": 120, "late-userspace.txtar": 60, "network-manager.txtar": 60, "nat.txtar": 130, "recovery.txtar": 170,
	"wrong-password-userspace.txtar": 150,
	"helloguard.test":                35, "lns.test": 10, "probe.test": 15, "xl2tpd.test": 60,
}

// split spreads work over machines: the longest first, each to the machine
// that has the least so far. Each machine begins with its longest.
func split(scenarios, tests []string, machines int) []event.Case {
	cases, load := make([]event.Case, machines), make([]int, machines)
	for _, name := range longestFirst(slices.Concat(scenarios, tests)) {
		i := slices.Index(load, slices.Min(load))
		load[i] += seconds(name)
		if strings.HasSuffix(name, ".test") {
			cases[i].Tests = append(cases[i].Tests, name)
		} else {
			cases[i].Scenarios = append(cases[i].Scenarios, name)
		}
	}
	return cases
}

func longestFirst(names []string) []string {
	return slices.SortedFunc(slices.Values(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(seconds(b), seconds(a)), strings.Compare(a, b))
	})
}

func seconds(name string) int { return cmp.Or(took[name], usual) }
