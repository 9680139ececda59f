package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// lineCommand makes bad lines of these peers' wires, in both directions; good ones again; or bad ones as before.
func lineCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "line NAME[,NAME...] off|on|NETEM...")
	for _, p := range peersOf(ts, strings.Split(args[0], ",")) {
		if p.outer == "" {
			ts.Fatalf("line: %s has no wire of its own", p.name)
		}
		change := "replace"
		switch args[1] {
		case "off":
			change = "del"
		case "on":
		default:
			p.netem = strings.Join(args[1:], " ")
		}
		for _, end := range []struct {
			space  *space
			device string
		}{{nil, p.outer}, {p.space, "up0"}} {
			tc := fmt.Sprintf("tc qdisc %s dev %s root netem %s", change, end.device, p.netem)
			ts.Check(end.space.shell(tc + "; " + pinNeighbours))
		}
	}
}

// pinNeighbours keeps the addresses that are known of neighbours: no lost ARP packet cuts the line for seconds.
const pinNeighbours = `ip -4 neigh | while read address _ device _ mac _; do
	test -z "$mac" || ip neigh replace $address lladdr $mac dev $device nud permanent || exit
done`

func (s *space) shell(script string) error {
	if text, err := s.command("sh", "-ec", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, text)
	}
	return nil
}

// dropsCommand lets guest time pass, and measures how often the tunnels of each group close in that, and why.
func dropsCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, groups := settingsIn(args)
	usage(ts, neg, len(words) == 1 && len(groups) > 0, "drops DURATION GROUP=NAME[,NAME...]...")
	c := clientOf(ts)
	from := time.Now()
	sleepCommand(ts, false, words)
	to := time.Now()
	time.Sleep(2 * time.Second) // the reason comes after the fact
	records := c.history.all()
	for _, a := range args[1:] {
		group, _, _ := strings.Cut(a, "=")
		peers := peersOf(ts, strings.Split(groups[group], ","))
		figures := event.Figures{group + ".tunnels": float64(len(peers)), group + ".drops": 0}
		var reasons []string
		for _, p := range peers {
			closed, up := lives(records, p.name, from, to)
			figures[group+".drops"] += float64(len(closed))
			figures[group+".up_hours"] += up.Hours()
			for _, at := range closed {
				why := reason(records, p.name, at)
				figures[group+".drops."+why]++
				reasons = append(reasons, why)
			}
		}
		slices.Sort(reasons)
		c.measured(figures, "%s: %d tunnels, up for %.2f h in all, closed %d times %s", group, len(peers),
			figures[group+".up_hours"], len(reasons), strings.Join(reasons, " "))
	}
}

// upAtLeast is how long a tunnel is up that counts as one. PPP can begin anew in its first seconds, when one of its first
// packets comes late.
const upAtLeast = 10 * time.Second

// lives returns when the tunnel closed in that time, and how long it was up in that.
func lives(records []record, tunnel string, from, to time.Time) (closed []time.Time, up time.Duration) {
	var began, since time.Time
	for _, r := range records {
		if r.tunnel != tunnel || r.at.After(to) {
			continue
		}
		switch {
		case r.kind == "up":
			began, since = r.at, r.at
			if since.Before(from) {
				since = from
			}
		case r.kind == "down":
			if r.at.After(from) && r.at.Sub(began) >= upAtLeast {
				closed = append(closed, r.at)
				up += r.at.Sub(since)
			}
			since = time.Time{}
		}
	}
	if !since.IsZero() {
		up += to.Sub(since)
	}
	return closed, up
}
