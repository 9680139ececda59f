package main

import (
	"cmp"
	"errors"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	systemdjournal "github.com/coreos/go-systemd/v22/journal"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/journal"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/sdnotify"
	"xl2tpd-keepalive/internal/serviceuser"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/savedstate"
)

const (
	// readyAfter is how long systemd waits at most for the watchers and the Hello guard: the
	// service also works without strongSwan, D-Bus or nftables.
	readyAfter = 2 * time.Second

	// lastWords is how long the end waits for a journal or a systemd that does not read, or for a disk that stalls.
	lastWords = 500 * time.Millisecond
)

func runCommand() command {
	return command{
		name: "run", brief: "keep the tunnels up, as the service does",
		about:   "The service xl2tpd-keepalive.service does this. It logs each change of a tunnel's state.",
		example: "sudo systemctl stop xl2tpd-keepalive && sudo xl2tpd-keepalive run --debug",
		flags: func(f *flag.FlagSet, o *options) {
			defineFiles(f, o)
			boolean(f, &o.debug, "debug", "log each echo request, each verdict on a Hello and each decision of recover too")
		},
		run: func(o options, _, stderr io.Writer) int { return runService(o, stderr) },
	}
}

// runService runs the service until a signal ends it.
func runService(o options, stderr io.Writer) int {
	if err := mayRun(o); err != nil {
		o.fail(stderr, err)
		return exitRights
	}
	lines := journal.NewQueue()
	defer lines.Close(lastWords)
	log := slog.New(lines.Handler(logHandler(stderr, o.debug)))
	ctx, stop := untilSignal()
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
	ready := sync.OnceFunc(func() { systemd.Send(daemon.SdNotifyReady) })
	defer time.AfterFunc(readyAfter, ready).Stop()
	defer time.AfterFunc(afterStart, func() { giveBack(log) }).Stop()
	saver := savedstate.NewSaver(savedstate.DefaultPath, log)
	defer saver.Close(lastWords)
	s := newService(o, systemd, saver, ready, log)

	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop() // if the loop panics
	runner := &supervisor.Runner{Log: log, Post: s.loop.Post, Jitter: rand.Float64}
	for _, t := range s.tasks() {
		wg.Go(func() { runner.Run(ctx, t) })
	}
	wg.Go(func() { s.followSignals(ctx, hangups) })
	s.loop.Run(ctx) // ends with ctx alone
	log.Info("xl2tpd-keepalive ends; tunnels stay, but those that the Hello guard holds close within 91 s unless it returns")
	return exitOK
}

// mayRun returns why the service can do nothing here, with a remedy. Without its raw socket there are no echo requests
// and no Hello guard, so it could only watch. A Hello guard that lacks something else is in the log.
func mayRun(o options) error {
	path := cmp.Or(o.config, config.DefaultPath)
	c, err := config.Load(path)
	if err != nil {
		c = config.Default(path)
	}
	switch {
	case !c.SendsEchoes() || !errors.Is(probe.Permitted(), probe.ErrPermission):
		return nil
	case os.Geteuid() == 0 || os.Geteuid() == serviceuser.User():
		return message.Errorf("run needs CAP_NET_RAW, and CAP_NET_ADMIN for the Hello guard: " +
			"take what forbids them out of `systemctl cat xl2tpd-keepalive`, or give them to the container")
	}
	return message.Errorf("run needs CAP_NET_RAW, and CAP_NET_ADMIN for the Hello guard: " +
		"use systemctl start xl2tpd-keepalive, or run it as root (sudo xl2tpd-keepalive run)")
}

// logHandler returns a handler that writes to the journal if stderr leads there, else as text.
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
