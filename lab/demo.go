package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/timeline"
	"xl2tpd-keepalive/lab/vm"
)

const demoScenario = "demo.txtar"

// variants are the demo's runs, by the value of $KEEPALIVE.
var variants = []struct{ keepalive, title string }{
	{"without", "without xl2tpd-keepalive"},
	{"echo", "echo requests alone"},
	{"guard", "echo requests and Hello guard"},
}

// demo plays scenarios/demo.txtar six times: xl2tpd in kernel and in userspace mode, each in every variant, two
// VMs at a time.
func (l lab) demo(ctx context.Context) bool {
	show := &screen{timeline: timeline.Timeline{Span: 4 * time.Minute}, live: term.IsTerminal(int(os.Stdout.Fd()))}
	fmt.Println("Six VMs, two at a time (clock: skip). Booting takes about half a minute.")
	l.record("demo", vm.Skip, nil)
	machines := newJobs(2)
	for _, mode := range []string{"kernel", "userspace"} {
		for _, v := range variants {
			name := mode + " mode, " + v.title
			show.expect(name)
			m := l.machine(vm.Skip, event.Case{
				Scenarios: []string{demoScenario},
				Env:       map[string]string{"MODE": mode, "KEEPALIVE": v.keepalive},
			})
			machines.start(func() error { return l.show(ctx, show.add, name, mode+"-"+v.keepalive, m) })
		}
	}
	failed := machines.wait()
	for _, run := range show.timeline.Runs() {
		for _, row := range run.Rows {
			name := strings.ReplaceAll(run.Name+"."+row.Tunnel, " ", "-")
			l.recorder.add("", event.Figures{name + ".drops": float64(len(row.Drops(show.timeline.Span)))})
		}
	}
	fmt.Println()
	show.timeline.Table(os.Stdout)
	picture := filepath.Join(l.out, "demo.svg")
	file, err := os.Create(picture)
	if err == nil {
		show.timeline.SVG(file)
		err = file.Close()
	}
	if err == nil {
		err = l.recorder.picture(picture)
	}
	if err := errors.Join(failed, err); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return false
	}
	fmt.Printf("\npicture: %s\n", picture)
	return true
}

// show runs one machine under a name, into add and into its log file.
func (l lab) show(ctx context.Context, add func(event.Event), name, file string, m vm.Machine) error {
	log, err := os.Create(filepath.Join(l.out, file+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	var failed error
	err = m.Run(ctx, func(e event.Event) {
		l.recorder.saw(file, e)
		log.WriteString(logLine(e))
		e.Run = name
		add(e)
		if e.Kind == event.Fail {
			failed = fmt.Errorf("%s: %s (log: %s)", name, e.Text, log.Name())
		}
	})
	return errors.Join(err, failed)
}

// screen shows the timeline while it grows: redrawn in place on a terminal, a line an event elsewhere.
type screen struct {
	mu       sync.Mutex
	timeline timeline.Timeline
	live     bool
	lines    int
	drawn    time.Time
}

// expect makes room for a run.
func (s *screen) expect(run string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timeline.Run(run)
}

func (s *screen) add(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timeline.Add(e)
	if s.live {
		if time.Since(s.drawn) > 200*time.Millisecond || e.Kind == event.Done {
			if s.lines > 0 {
				fmt.Printf("\x1b[%dA", s.lines)
			}
			s.lines = s.timeline.Bars(os.Stdout)
			s.drawn = time.Now()
		}
		return
	}
	at := s.timeline.Run(e.Run).Now().Seconds()
	if at > s.timeline.Span.Seconds() {
		return
	}
	switch e.Kind {
	case event.Up:
		fmt.Printf("%6.0f s  %-45s %-9s up by %s\n", at, e.Run, e.Tunnel, e.Link)
	case event.Down:
		fmt.Printf("%6.0f s  %-45s %-9s closed: %s\n", at, e.Run, e.Tunnel, timeline.Words(e.Reason))
	}
}
