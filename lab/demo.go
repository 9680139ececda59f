package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/term"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/timeline"
	"xl2tpd-keepalive/lab/vm"
)

const demoScenario = "demo.txtar"

// demo plays scenarios/demo.txtar four times: xl2tpd in kernel and in userspace mode, each without and with
// xl2tpd-keepalive, two VMs at a time.
func (l lab) demo(ctx context.Context) bool {
	show := &screen{timeline: timeline.Timeline{Span: 4 * time.Minute}, live: term.IsTerminal(int(os.Stdout.Fd()))}
	fmt.Println("Four VMs, two at a time, guest clock: skip (idle time is jumped over). Booting takes about half a minute.")
	ok := true
	for _, mode := range []string{"kernel", "userspace"} {
		var wg sync.WaitGroup
		for _, with := range []string{"without", "with"} {
			name := mode + " mode, " + with
			show.timeline.Run(name)
			m := l.machine(vm.Skip, event.Case{
				Scenarios: []string{demoScenario},
				Env:       map[string]string{"MODE": mode, "KEEPALIVE": with},
			})
			wg.Go(func() {
				err := m.Run(ctx, func(e event.Event) {
					e.Run = name
					show.add(e)
					if e.Kind == event.Fail {
						show.mu.Lock()
						defer show.mu.Unlock()
						fmt.Printf("%s: %s\n", name, e.Text)
						ok = false
					}
				})
				if err != nil {
					show.mu.Lock()
					defer show.mu.Unlock()
					fmt.Println(err)
					ok = false
				}
			})
		}
		wg.Wait()
	}
	fmt.Println()
	show.timeline.Table(os.Stdout)
	picture := filepath.Join(l.out, "demo.svg")
	file, err := os.Create(picture)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return false
	}
	defer file.Close()
	show.timeline.SVG(file)
	fmt.Printf("\npicture: %s\n", picture)
	return ok
}

// screen shows the timeline while it grows: redrawn in place on a terminal, a line an event elsewhere.
type screen struct {
	mu       sync.Mutex
	timeline timeline.Timeline
	live     bool
	lines    int
	drawn    time.Time
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
	switch e.Kind {
	case event.Up:
		fmt.Printf("%6.0f s  %-26s %-9s up by %s\n", at, e.Run, e.Tunnel, e.Link)
	case event.Down:
		fmt.Printf("%6.0f s  %-26s %-9s closed: %s\n", at, e.Run, e.Tunnel, timeline.Words(e.Reason))
	}
}
