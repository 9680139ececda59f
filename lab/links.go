package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/lookalike"
	"xl2tpd-keepalive/lab/measure"
	"xl2tpd-keepalive/lab/vm"
)

const (
	linkRounds  = 3
	linkUp      = 11 * time.Second // longer than an interval
	linkSettle  = 31 * time.Second // what a start costs is over
	linkMeasure = 20 * time.Second
)

// linkKeeper sends echo requests to all links every 10 s. Its script is started with the name of a file of the links, a
// device and an address in each line.
type linkKeeper struct {
	name, script string
	slack        time.Duration // how late its timers may be, see TimerSlackNSec in systemd.exec(5); 0: as usual
}

var linkKeepers = []linkKeeper{
	{ourName, `exec "$2" run -config "$3"`, time.Millisecond}, // as its unit has it
	{"smokeping_prober", `exec prometheus-smokeping-prober --web.listen-address=127.0.0.1:9374 --ping.interval=10s $(cut -d ' ' -f 2 "$1")`, 0},
	{"a script", `while sleep 10; do while read link peer; do ping -q -c 1 -W 3 -I $link $peer < /dev/null; done < "$1"; done`, 0},
	{"fping", `exec fping -q -l -p 10000 $(cut -d ' ' -f 2 "$1")`, 0},
	{"a ping for each", `while read link peer; do ping -q -i 10 -I $link $peer < /dev/null & done < "$1"; wait`, 0},
}

const ourName = "xl2tpd-keepalive"

// links measures what so many links cost on this machine's own processors, for each number in namespaces of its own.
// There is no L2TP, and so nothing for the Hello guard to do: it is off.
func (l lab) links(ctx context.Context, args []string) bool {
	l.record("links", vm.Real, map[string]string{"LINKS": strings.Join(args, " ")})
	for _, n := range args {
		if count, err := strconv.ParseUint(n, 10, 16); err != nil || count == 0 {
			fmt.Fprint(os.Stderr, usage)
			return false
		}
		inside := exec.CommandContext(ctx, "/proc/self/exe", "-disk", l.disk, "inside", n)
		inside.Stdout, inside.Stderr = os.Stdout, os.Stderr
		inside.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
			Pdeathsig:  syscall.SIGKILL,
		}
		figures, err := told(inside)
		l.recorder.add(n+".", figures)
		if err != nil {
			fmt.Fprintf(os.Stderr, "lab: %s links: %v\n", n, err)
			return false
		}
	}
	return true
}

// told runs the command and returns the figures that it writes to its fourth file.
func told(inside *exec.Cmd) (figures event.Figures, err error) {
	pipe, far, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	inside.ExtraFiles = []*os.File{far}
	err = inside.Start()
	far.Close()
	if err != nil {
		return nil, err
	}
	err = json.NewDecoder(pipe).Decode(&figures)
	return figures, errors.Join(inside.Wait(), err)
}

// inside is what links does in the namespaces.
func (l lab) inside(ctx context.Context, args []string) bool {
	n, err := strconv.Atoi(strings.Join(args, " "))
	if err == nil {
		err = isolate()
	}
	figures := event.Figures{}
	unix.CloseOnExec(3)
	if err == nil {
		err = l.measureLinks(ctx, n, figures)
	}
	if err == nil {
		err = json.NewEncoder(os.NewFile(3, "figures")).Encode(figures)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	return err == nil
}

// isolate keeps the host's daemons, sockets and configuration out of sight.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: 10_000, Max: 10_000} // a file descriptor for each device
	return errors.Join(os.Mkdir("/run/xl2tpd-keepalive", 0o755), unix.Setrlimit(unix.RLIMIT_NOFILE, &limit),
		exec.Command("ip", "link", "set", "lo", "up").Run())
}

// linkSet is a number of links, and what a keeper is started with.
type linkSet struct {
	*lookalike.Links
	dir     string
	args    []string
	figures event.Figures
}

func (l lab) measureLinks(ctx context.Context, n int, figures event.Figures) error {
	ours, err := filepath.Abs(filepath.Join(l.disk, "install/usr/sbin", ourName))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/run", "lab")
	if err != nil {
		return err
	}
	links, err := lookalike.Make(dir, n)
	if err != nil {
		return err
	}
	defer links.End()
	var list strings.Builder
	for _, link := range links.All {
		fmt.Fprintln(&list, link.Device, link.Far)
	}
	c := linkSet{links, dir, []string{filepath.Join(dir, "list"), ours, filepath.Join(dir, "keepalive.conf")}, figures}
	if err := errors.Join(os.WriteFile(c.args[0], []byte(list.String()), 0o644),
		os.WriteFile(c.args[2], []byte("[global]\nhello guard = off\n"), 0o644)); err != nil {
		return err
	}
	fmt.Printf("\n%d links on one of this machine's own processors (clock: real)\n", n)
	if err := c.comeUp(ctx); err != nil {
		return err
	}
	return c.compare(ctx)
}

// comeUp brings all links up at the same time while the keeper runs.
func (c linkSet) comeUp(ctx context.Context) error {
	r, err := c.start(linkKeepers[0])
	if err != nil {
		return err
	}
	defer r.stop()
	if _, err := r.ready(); err != nil {
		return err
	}
	at, err := c.Up()
	if err != nil {
		return err
	}
	if err := wake.After(ctx, linkUp); err != nil {
		return err
	}
	delays, err := c.firstEchoes(func(link int) time.Time { return at[link] })
	if err != nil {
		return err
	}
	c.figures["come_up.within_s"], c.figures["come_up.first_echo_worst_s"] = at[len(at)-1].Sub(at[0]).Seconds(), slices.Max(delays).Seconds()
	fmt.Printf("all come up within %v: first echo request %v\n", at[len(at)-1].Sub(at[0]).Round(time.Millisecond), spread(delays))
	return nil
}

// compare starts one keeper after the other, and measures what each takes once it runs steadily.
func (c linkSet) compare(ctx context.Context) error {
	if err := c.startUp(ctx); err != nil {
		return err
	}
	var costs [][]linkCost
	for _, k := range linkKeepers {
		rounds, err := c.measure(ctx, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		costs = append(costs, rounds)
	}
	c.printCosts(costs)
	return nil
}

// startUp starts the service a few times while all links are up.
func (c linkSet) startUp(ctx context.Context) error {
	var ready, echoed []time.Duration
	for range linkRounds {
		r, err := c.start(linkKeepers[0])
		if err != nil {
			return err
		}
		took, err := r.ready()
		if err == nil {
			err = wake.After(ctx, linkUp)
		}
		r.stop()
		if err != nil {
			return err
		}
		delays, err := c.firstEchoes(func(int) time.Time { return r.began })
		if err != nil {
			return err
		}
		ready, echoed = append(ready, took), append(echoed, slices.Max(delays))
	}
	c.figures["start.ready_s"], c.figures["start.echoed_s"] = median(ready).Seconds(), median(echoed).Seconds()
	fmt.Printf("started with all up: ready %v, the last link's first echo request %v after the start\n", spread(ready), spread(echoed))
	return nil
}

// measure measures a few times what a keeper takes.
func (c linkSet) measure(ctx context.Context, k linkKeeper) ([]linkCost, error) {
	r, err := c.start(k)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	if err := wake.After(ctx, linkSettle); err != nil {
		return nil, err
	}
	var rounds []linkCost
	for range linkRounds {
		began, before := time.Now(), r.used()
		if err := wake.After(ctx, linkMeasure); err != nil {
			return nil, err
		}
		used, took := r.used()-before, time.Since(began)
		cost := linkCost{cpu: used.Seconds() / took.Seconds()}
		cost.rss, cost.pss = r.memory()
		var at []time.Time
		for _, e := range c.Echoes(began) {
			at = append(at, e.At)
		}
		cost.echoes, cost.busiest = float64(len(at))/took.Seconds(), measure.Busiest(at)
		rounds = append(rounds, cost)
	}
	return rounds, nil
}

// linkCost is what a keeper takes, all its processes together.
type linkCost struct {
	cpu      float64 // of one processor
	rss, pss int     // KB
	echoes   float64 // a second
	busiest  int     // echo requests in one second
}

// firstEchoes is how long after its time each link had its first echo request.
func (c linkSet) firstEchoes(since func(link int) time.Time) ([]time.Duration, error) {
	delays := map[int]time.Duration{}
	for _, e := range c.Echoes(since(0)) {
		if _, later := delays[e.Link]; !later {
			delays[e.Link] = e.At.Sub(since(e.Link))
		}
	}
	if missing := len(c.All) - len(delays); missing > 0 {
		return nil, fmt.Errorf("%d of %d links had no echo request", missing, len(c.All))
	}
	var all []time.Duration
	for _, d := range delays {
		all = append(all, d)
	}
	return all, nil
}

// printCosts prints a row for each keeper: its medians, and its processor time as a multiple of the service's in the
// same round.
func (c linkSet) printCosts(costs [][]linkCost) {
	fmt.Printf("| | of the core | times ours | resident MB | shared pages counted once | echo requests in a second | at most |\n|---|%s\n", strings.Repeat("---|", 6))
	for i, rounds := range costs {
		var cpu, times, rss, pss, echoes, busiest []float64
		for round, cost := range rounds {
			cpu, times = append(cpu, 100*cost.cpu), append(times, cost.cpu/costs[0][round].cpu)
			rss, pss = append(rss, float64(cost.rss)/1024), append(pss, float64(cost.pss)/1024)
			echoes, busiest = append(echoes, cost.echoes), append(busiest, float64(cost.busiest))
		}
		name := strings.ReplaceAll(linkKeepers[i].name, " ", "-")
		c.figures[name+".cpu_percent"], c.figures[name+".rss_mb"], c.figures[name+".pss_mb"] = median(cpu), median(rss), median(pss)
		c.figures[name+".echoes_per_s"], c.figures[name+".echoes_busiest_s"] = median(echoes), slices.Max(busiest)
		fmt.Printf("| %s | %.3f %% (%.3f to %.3f) | %.2f (%.2f to %.2f) | %.1f | %.1f | %.1f | %.0f |\n", linkKeepers[i].name,
			median(cpu), slices.Min(cpu), slices.Max(cpu), median(times), slices.Min(times), slices.Max(times),
			median(rss), median(pss), median(echoes), slices.Max(busiest))
	}
}

func median[N float64 | time.Duration](of []N) N { return slices.Sorted(slices.Values(of))[len(of)/2] }

func spread(of []time.Duration) string {
	rounded := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("%v (median), %v (worst)", rounded(median(of)), rounded(slices.Max(of)))
}
