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
	"busy-link.txtar": 40, "clamp.test": 5, "come-back.txtar": 40, "configuration.txtar": 75, "doctor-container-host.txtar": 60,
	"doctor-firewall.txtar": 75, "doctor-host.txtar": 90, "failed-lookup.txtar": 40, "gave-up.txtar": 90,
	"doctor.txtar": 95, "guard-blocked.txtar": 35, "guard-clock.txtar": 215, "guard-deaf.txtar": 75,
	"guard-firewalls.txtar": 115, "guard-flood.txtar": 150, "guard-flush.txtar": 135, "guard-foreign.txtar": 35,
	"guard-kills.txtar": 195, "guard-late.txtar": 100, "guard-life-returns.txtar": 90,
	"guard-lns-userspace.txtar": 70, "guard-lns.txtar": 90, "guard-lo-rule.txtar": 65, "guard-load.txtar": 65,
	"guard-no-clear.txtar": 35, "guard-peers.txtar": 125, "guard-port.txtar": 70, "guard-restart.txtar": 80,
	"guard-saved.txtar": 15, "guard-sccrq.txtar": 30, "guard-slow-userspace.txtar": 60, "guard-slow.txtar": 95,
	"guard-unavailable.txtar": 75, "guard-userspace.txtar": 75, "half-closed.txtar": 40, "helloguard.test": 60,
	"hook.txtar": 30, "hostile.txtar": 125, "killed-daemons.txtar": 65, "l2tp.test": 5, "late-userspace.txtar": 110,
	"lns.test": 10, "mtu.txtar": 60, "mtu-remedy.txtar": 30, "nat.txtar": 70, "network-manager-ipsec.txtar": 35,
	"options.test": 5, "personality-copy.txtar": 45, "ping.txtar": 15, "ppp.test": 110, "probe.test": 20, "recovery.txtar": 130, "report.txtar": 30,
	"second-xl2tpd.txtar": 35, "stalled-journald.txtar": 80, "suspend.txtar": 70, "vici.test": 120,
	"wrong-password-userspace.txtar": 155, "wrong-password.txtar": 115, "xl2tpd.test": 60,
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
