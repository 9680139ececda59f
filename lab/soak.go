package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/timeline"
	"xl2tpd-keepalive/lab/vm"
)

const soakScenario = "soak.txtar"

// The scenario's parts, by the marks that begin them.
const (
	unguarded = "unguarded"
	guarded   = "guarded"
	end       = "end"
)

// spanIn returns the guest time that the arguments of a command name, and says so if they don't.
func spanIn(args []string) (time.Duration, bool) {
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, usage)
		return 0, false
	}
	span, err := time.ParseDuration(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 0, false
	}
	return span, true
}

// soak plays scenarios/soak.txtar in kernel and in userspace mode.
func (l lab) soak(ctx context.Context, args []string) bool {
	span, ok := spanIn(args)
	if !ok {
		return false
	}
	l.record("soak-"+l.set["GUARD"], vm.Skip, map[string]string{"GUARD": l.set["GUARD"], "DURATION": args[0]})
	s := &soaking{began: time.Now(), part: map[string]string{}}
	modes := []string{"kernel", "userspace"}
	machines := newJobs(len(modes))
	for _, mode := range modes {
		m := l.machine(vm.Skip, event.Case{
			Scenarios: []string{soakScenario},
			Env:       map[string]string{"MODE": mode, "DURATION": span.String()},
		})
		m.Limit += span / 4 // an hour takes a few minutes
		machines.start(func() error {
			return l.show(ctx, func(e event.Event) {
				l.recorder.add(mode+".", e.Figures)
				s.add(e)
			}, mode, "soak-"+mode, m)
		})
	}
	failed := machines.wait()
	l.recorder.add("", s.figures(modes))
	fmt.Println()
	for _, mode := range modes {
		s.table(os.Stdout, mode)
	}
	fmt.Printf("\nhello guard = %s, %v of guest time each (clock: %s), took %v\n", l.set["GUARD"], span, vm.Skip, time.Since(s.began).Round(time.Second))
	if failed != nil {
		fmt.Fprintln(os.Stderr, "lab:", failed)
		return false
	}
	return true
}

// soaking is what was seen so far; each part of each machine is a run of its timeline.
type soaking struct {
	mu       sync.Mutex
	began    time.Time
	timeline timeline.Timeline
	part     map[string]string // that a machine is in
}

func (s *soaking) add(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mode := e.Run
	part := s.part[mode]
	e.Run = mode + part
	switch e.Kind {
	case event.Mark:
		s.say(mode, "%s", e.Text)
		s.timeline.Add(e)
		if e.Text == unguarded || e.Text == guarded || e.Text == end {
			s.part[mode] = e.Text
			s.timeline.Add(event.Event{Time: e.Time, Kind: event.Mark, Run: mode + e.Text, Text: timeline.MarkStart})
		}
	case event.Measure:
		s.say(mode, "%s", e.Text)
	default: // a line of the log shows how far the machine has come
		s.timeline.Add(e)
		if e.Kind == event.Down && part == guarded {
			s.say(mode, "%s closed: %s", e.Tunnel, timeline.Words(e.Reason))
		}
	}
}

// say prints a line with the time that has really passed.
func (s *soaking) say(mode, format string, args ...any) {
	fmt.Printf("%5.0f s  %-9s  %s\n", time.Since(s.began).Seconds(), mode, fmt.Sprintf(format, args...))
}

// table writes what became of each tunnel without and with the guard.
func (s *soaking) table(w io.Writer, mode string) {
	without := s.timeline.Run(mode + unguarded)
	with := s.timeline.Run(mode + guarded)
	fmt.Fprintf(w, "%-9s  %-17s  %5s  %6s  %8s  without the guard\n", "mode", "tunnel", "drops", "up", "for")
	for _, row := range with.Rows {
		died := "not yet dialled"
		for _, other := range without.Rows {
			if other.Tunnel == row.Tunnel {
				died = ending(other.Lives[0], without.Now())
			}
		}
		fmt.Fprintf(w, "%-9s  %-17s  %5d  %5.1f%%  %8v  %s\n", mode, row.Tunnel, len(row.Drops(with.Now())),
			100*row.Uptime(with.Now()), with.Now().Round(time.Second), died)
	}
}

// figures are what became of all tunnels. Without the guard, those that live on are hung up by hand.
func (s *soaking) figures(modes []string) event.Figures {
	all := event.Figures{"tunnels": 0, "drops": 0}
	var ended []float64
	for _, mode := range modes {
		with := s.timeline.Run(mode + guarded)
		for _, row := range with.Rows {
			drops := float64(len(row.Drops(with.Now())))
			all[mode+"."+row.Tunnel+".drops"] = drops
			all["tunnels"]++
			all["drops"] += drops
		}
		for _, row := range s.timeline.Run(mode + unguarded).Rows {
			life := row.Lives[0]
			if life.Reason == "" || life.Reason == "operator" {
				continue
			}
			lasted := (life.To - life.From).Seconds()
			all[mode+"."+row.Tunnel+".unguarded_s"] = lasted
			ended = append(ended, lasted)
		}
	}
	all["unguarded.closed"] = float64(len(ended))
	if len(ended) > 0 {
		all["unguarded.closed_after_s.low"], all["unguarded.closed_after_s.high"] = slices.Min(ended), slices.Max(ended)
	}
	return all
}

// ending says how a tunnel without the guard ended; those that live on are hung up by hand.
func ending(l timeline.Life, now time.Duration) string {
	life := l.Upto(now) - l.From
	if l.Reason == "" || l.Reason == "operator" {
		return fmt.Sprintf("up for the %v it was watched", life.Round(time.Second))
	}
	return fmt.Sprintf("closed after %.1f s: %s", life.Seconds(), timeline.Words(l.Reason))
}
