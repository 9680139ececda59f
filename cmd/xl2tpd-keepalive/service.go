package main

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/controltrace/socket"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/metrics"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/sdnotify"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/fullstatus"
	"xl2tpd-keepalive/supervisor/guard"
	"xl2tpd-keepalive/supervisor/recovery"
	"xl2tpd-keepalive/supervisor/savedstate"
	"xl2tpd-keepalive/vici"
)

const (
	taskEcho    = "ICMP socket"
	taskHooks   = "hooks"
	taskStatus  = "status socket"
	taskTrace   = "trace socket"
	taskMetrics = "metrics server"
)

// service holds all running parts of the program. Watchers report to the loop, the loop acts through
// executors, and executors ask watchers. Such circles use a method of service as the callback: when it
// is called, the service is complete.
type service struct {
	systemd *sdnotify.Notifier
	loop    *supervisor.Loop

	settings *config.Watcher
	xl2tpds  *xl2tpd.Watcher
	links    *ppp.Watcher
	sas      *vici.Watcher

	pinger   *probe.Pinger
	guard    *guard.Guard
	executor *recovery.Executor
	hooks    *hook.Runner

	socket  *status.Server
	traces  *socket.Server
	scrapes *metrics.Server

	known []ppp.Link // last passed to the guard
}

// newService makes a service. Nothing runs yet. ready is called once the watchers have had their
// first look and the Hello guard has said whether it works.
func newService(o options, systemd *sdnotify.Notifier, saver *savedstate.Saver, ready func(), log *slog.Logger) *service {
	path := cmp.Or(o.config, config.DefaultPath)
	looked, guarded := bothOf(ready)
	s := &service{systemd: systemd}

	s.settings = &config.Watcher{Path: path, Log: log, Deliver: s.configured, Fault: s.configFault}
	s.xl2tpds = &xl2tpd.Watcher{ConfPath: o.xl2tpdConf, Log: log, Deliver: s.sawDaemons}
	s.links = &ppp.Watcher{Log: log, Deliver: s.sawLinks}
	s.sas = &vici.Watcher{Log: log, Deliver: s.sawSAs}
	s.pinger = &probe.Pinger{Ready: s.works(taskEcho)}
	s.hooks = &hook.Runner{Log: log}

	core := supervisor.New(config.Default(path), rand.Float64)
	core.Restore(saver.Load(), time.Now())
	s.loop = supervisor.NewLoop(core, executors{s}, newNotifier(systemd, saver, looked, log), log)
	s.pinger.Done = s.loop.EchoesDone
	s.guard = guard.New(s.loop, s.xl2tpds, guarded, log)
	s.executor = recovery.New(&vici.Commander{}, newControl(), s.guard, hostNames{s.xl2tpds}, s.pinger)

	all := fullstatus.New(version, s.loop, s.guard)
	s.socket = &status.Server{Path: status.DefaultSocket, Status: all.Status, Ready: s.works(taskStatus)}
	s.traces = &socket.Server{Path: socket.DefaultPath, Source: s.guard, Ready: s.works(taskTrace)}
	s.scrapes = &metrics.Server{Status: all.Status, Ready: s.works(taskMetrics)}
	return s
}

// tasks returns the tasks that run beside the loop.
func (s *service) tasks() []supervisor.Task {
	return []supervisor.Task{
		{Name: supervisor.WatcherConfig, Run: s.settings.Run},
		{Name: supervisor.WatcherXl2tpd, Run: s.xl2tpds.Run},
		{Name: supervisor.WatcherPPP, Run: s.links.Run},
		{Name: supervisor.WatcherVICI, Run: s.sas.Run},
		{Name: taskEcho, Run: s.pinger.Run},
		{Name: guard.Task, Run: s.guard.Run},
		{Name: taskHooks, Run: s.runHooks},
		{Name: taskStatus, Run: s.socket.Run},
		{Name: taskTrace, Run: s.traces.Run},
		{Name: taskMetrics, Run: s.scrapes.Run},
	}
}

// works returns the function that a task calls when it works.
func (s *service) works(task string) func() {
	return func() { s.loop.Post(supervisor.TaskWorks{Task: task}) }
}

func (s *service) runHooks(ctx context.Context) error {
	s.works(taskHooks)()
	return s.hooks.Run(ctx)
}

func (s *service) configured(c *config.Config) {
	s.loop.Post(c)
	s.guard.Apply(c)
	s.scrapes.Configure(c.Metrics)
}

func (s *service) configFault(err error) {
	f := supervisor.Fault{What: "keepalive.conf"}
	if err != nil {
		f.Problem = status.Problem{Code: status.CodeConfig, Text: message.TextOf(err)}
	}
	s.loop.Post(f)
}

func (s *service) sawDaemons(all xl2tpd.Snapshot) {
	s.loop.Post(all)
	s.guard.TakeDaemons(all)
}

func (s *service) sawLinks(all ppp.Snapshot) {
	s.loop.Post(all)
	if !slices.Equal(all.Links, s.known) {
		s.known = all.Links
		s.guard.TakeLinks(all.Links)
		s.xl2tpds.Look() // a new link is a new session
	}
}

func (s *service) sawSAs(all vici.Snapshot) { s.loop.Post(all) }

// followSignals reads the files again on each SIGHUP, and says STOPPING=1 to systemd when SIGTERM or SIGINT ends ctx.
func (s *service) followSignals(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			s.systemd.Send(daemon.SdNotifyStopping)
			return
		case <-hangups:
			s.systemd.Send(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
			s.settings.Reload()
			s.xl2tpds.Look()
			s.systemd.Send(daemon.SdNotifyReady)
		}
	}
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
