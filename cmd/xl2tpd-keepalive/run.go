package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	systemdjournal "github.com/coreos/go-systemd/v22/journal"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/journal"
	"xl2tpd-keepalive/internal/metrics"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

const (
	// readyAfter is how long systemd waits at most for the watchers and the Hello guard: the
	// service is of use without strongSwan, D-Bus or nftables too.
	readyAfter = 2 * time.Second

	idlePulse = time.Minute // without systemd's watchdog

	// lastWords is how long the end waits for a journal, or a systemd, that does not listen.
	lastWords = 500 * time.Millisecond

	taskEcho  = "ICMP socket"
	taskGuard = "hello guard"
	taskHooks = "hooks"
)

// keepalive wires everything together and runs until a signal ends it.
func keepalive(o options, stderr io.Writer) int {
	lines := journal.NewQueue()
	defer lines.Close(lastWords)
	log := slog.New(lines.Handler(logHandler(stderr, o.debug)))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	if r, err := status.Read(ctx, status.DefaultSocket); err == nil {
		log.Error("xl2tpd-keepalive is running already, stop it first", "pid", r.Pid)
		return exitError
	}
	log.Info("xl2tpd-keepalive starts", "version", version)
	systemd := newNotifier(log)
	defer systemd.close(lastWords)
	ready := sync.OnceFunc(func() { systemd.tell(daemon.SdNotifyReady) })
	defer time.AfterFunc(readyAfter, ready).Stop()
	looked, guarded := bothOf(ready)

	path := cmp.Or(o.config, config.DefaultPath)
	links := &ppp.Watcher{Log: log}
	pinger := &probe.Pinger{}
	mend := &mender{control: newDialler(), echo: pinger.Echo, listing: newListing(vici.Connections)}
	hooks := &hook.Runner{Log: log}
	brain := supervisor.New(config.Default(path), rand.Float64)
	lasting := newSaver(memory{path: defaultMemory, log: log})
	defer lasting.close()
	brain.Remember(lasting.load(), time.Now())
	front := systemd.front(looked)
	front.Keep = lasting.keep
	loop := supervisor.NewLoop(brain,
		supervisor.Hands{Echo: pinger.Echo, Received: links.Received, Recover: mend.step, Hook: hooks.Call},
		front, log)
	lacs := &xl2tpd.Watcher{ConfPath: o.xl2tpdConf, Log: log}
	hellos := newGuard(loop, log, guarded, lacs.Look)
	mend.channels, mend.ask, mend.bury, mend.hanging, mend.dialling = hellos.Channels, hellos.Ask, hellos.AckStops, hellos.Hanging, hellos.Dialling
	look := func(ctx context.Context) (status.Report, error) { return report(ctx, loop, hellos.Guard) }
	works := func(task string) func() { return func() { loop.Post(supervisor.TaskWorks{Task: task}) } }
	pinger.Ready = works(taskEcho)
	socket := &status.Server{Path: status.DefaultSocket, Report: look, Ready: works("status socket")}
	scrapes := &metrics.Server{Report: look, Ready: works("metrics")}
	lacs.Deliver = func(s xl2tpd.Snapshot) {
		loop.Post(s)
		hellos.tell(s)
	}
	mend.resolve = lacs.Resolve
	settings := &config.Watcher{Path: path, Log: log, Deliver: func(c *config.Config) {
		loop.Post(c)
		hellos.configure(c)
		scrapes.Configure(c.Metrics)
	}, Report: func(err error) {
		f := supervisor.Fault{What: "keepalive.conf"}
		if err != nil {
			f.Text = err.Error()
		}
		loop.Post(f)
	}}
	sas := &vici.Watcher{Log: log, Deliver: func(s vici.Snapshot) { loop.Post(s) }}
	var known []ppp.Link
	links.Deliver = func(s ppp.Snapshot) {
		loop.Post(s)
		if !slices.Equal(s.Links, known) {
			known = s.Links
			hellos.tellLinks(s.Links)
			lacs.Look() // a new link is a new session
		}
	}

	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop() // should the brain panic
	runner := &supervisor.Runner{Log: log, Post: loop.Post, Jitter: rand.Float64}
	for _, t := range []supervisor.Task{
		{Name: supervisor.EyeConfig, Run: settings.Run},
		{Name: supervisor.EyeXl2tpd, Run: lacs.Run},
		{Name: supervisor.EyePPP, Run: links.Run},
		{Name: supervisor.EyeVICI, Run: sas.Run},
		{Name: taskEcho, Run: pinger.Run},
		{Name: taskGuard, Run: hellos.Run},
		{Name: taskHooks, Run: func(ctx context.Context) error {
			works(taskHooks)()
			return hooks.Run(ctx)
		}},
		{Name: "status socket", Run: socket.Run},
		{Name: "metrics", Run: scrapes.Run},
	} {
		wg.Go(func() { runner.Run(ctx, t) })
	}
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				systemd.tell(daemon.SdNotifyStopping)
				return
			case <-hangups:
				systemd.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
				settings.Reload()
				lacs.Look()
				systemd.tell(daemon.SdNotifyReady)
			}
		}
	})
	loop.Run(ctx) // ends with ctx alone
	log.Info("xl2tpd-keepalive ends; tunnels stay, those that the Hello guard holds for 91 s without it")
	return exitOK
}

// bothOf returns two functions, and calls do once both were called.
func bothOf(do func()) (first, second func()) {
	var left atomic.Int32
	left.Store(2)
	one := func() func() {
		return sync.OnceFunc(func() {
			if left.Add(-1) == 0 {
				do()
			}
		})
	}
	return one(), one()
}

// logHandler writes to the journal if that reads stderr, else as text.
func logHandler(stderr io.Writer, debug bool) slog.Handler {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	if is, err := systemdjournal.StderrIsJournalStream(); err == nil && is {
		return journal.NewHandler(systemdjournal.Send, level)
	}
	return slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})
}
