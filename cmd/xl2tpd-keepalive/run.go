package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
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
	"xl2tpd-keepalive/internal/sdnotify"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/recovery"
	"xl2tpd-keepalive/supervisor/savedstate"
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
	systemd := sdnotify.New(log)
	defer systemd.Close(lastWords)
	ready := sync.OnceFunc(func() { systemd.Tell(daemon.SdNotifyReady) })
	defer time.AfterFunc(readyAfter, ready).Stop()
	looked, guarded := bothOf(ready)

	path := cmp.Or(o.config, config.DefaultPath)
	links := &ppp.Watcher{Log: log}
	pinger := &probe.Pinger{}
	var executor *recovery.Executor
	hooks := &hook.Runner{Log: log}
	brain := supervisor.New(config.Default(path), rand.Float64)
	saver := savedstate.NewSaver(savedstate.DefaultPath, log)
	defer saver.Close()
	brain.Remember(saver.Load(), time.Now())
	front := front(systemd, saver, looked, log)
	loop := supervisor.NewLoop(brain,
		supervisor.Hands{Echo: pinger.Echo, Received: links.Received, Recover: func(ctx context.Context, r supervisor.Recover) error { return executor.Do(ctx, r) }, Hook: hooks.Call},
		front, log)
	lacs := &xl2tpd.Watcher{ConfPath: o.xl2tpdConf, Log: log}
	hellos := newGuard(loop, log, guarded, lacs.Look)
	executor = recovery.New(&vici.Commander{}, newControl(), hellos, hostNames{lacs}, pinger)
	look := func(ctx context.Context) (status.Report, error) { return report(ctx, loop, hellos.Guard) }
	works := func(task string) func() { return func() { loop.Post(supervisor.TaskWorks{Task: task}) } }
	pinger.Ready = works(taskEcho)
	socket := &status.Server{Path: status.DefaultSocket, Report: look, Ready: works("status socket")}
	scrapes := &metrics.Server{Report: look, Ready: works("metrics")}
	lacs.Deliver = func(s xl2tpd.Snapshot) {
		loop.Post(s)
		hellos.tell(s)
	}
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
				systemd.Tell(daemon.SdNotifyStopping)
				return
			case <-hangups:
				systemd.Tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
				settings.Reload()
				lacs.Look()
				systemd.Tell(daemon.SdNotifyReady)
			}
		}
	})
	loop.Run(ctx) // ends with ctx alone
	log.Info("xl2tpd-keepalive ends; tunnels stay, those that the Hello guard holds for 91 s without it")
	return exitOK
}

// front is whom the loop tells how it goes: systemd and its watchdog, and the file for the next
// process.
func front(systemd *sdnotify.Notifier, saver *savedstate.Saver, ready func(), log *slog.Logger) supervisor.Front {
	f := supervisor.Front{
		Ready:  ready,
		Status: func(s string) { systemd.Tell("STATUS=" + s) },
		Keep:   saver.Keep,
		Pulse:  idlePulse,
		Beat:   func() {},
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "err", err)
	} else if watchdog > 0 {
		f.Pulse = watchdog
		f.Beat = func() { systemd.Tell(daemon.SdNotifyWatchdog) }
	}
	return f
}

// hostNames looks up the LNSs of xl2tpd.conf and other hosts.
type hostNames struct{ *xl2tpd.Watcher }

func (hostNames) LookupIPv4(ctx context.Context, host string) ([]netip.Addr, error) {
	return xl2tpd.LookupIPv4(ctx, host)
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
