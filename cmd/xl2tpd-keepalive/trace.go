package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/controltrace/socket"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// traceOptions are the values of trace's flags.
type traceOptions struct {
	count   int    // 0: until Ctrl-C
	file    string // empty: lines on standard output
	last    bool
	kernel  bool
	secrets bool
}

func (o *traceOptions) define(flags *flag.FlagSet) {
	parsed(flags, "c", "stop after this `COUNT` of messages", func(s string) (err error) {
		o.count, err = between(s, 1, 1<<31-1)
		return err
	})
	word(flags, &o.file, "w", "write pcapng to this `FILE`, for Wireshark and tshark")
	boolean(flags, &o.last, "last", "show the last messages of each tunnel instead, also before its latest drop")
	boolean(flags, &o.kernel, "kernel", "ask the kernel for the messages, and not the Hello guard")
	boolean(flags, &o.secrets, "secrets", "do not blank challenges, responses and hidden attributes")
}

// traceNamed runs the command trace.
func traceNamed(o options, stdout, stderr io.Writer) int {
	t := o.trace
	switch {
	case t.last && t.kernel:
		return o.misused(stderr, "trace", "--last and --kernel exclude each other")
	case t.last && t.secrets:
		return o.misused(stderr, "trace", "--last has no secrets: the service does not keep them")
	case t.secrets && os.Geteuid() != 0:
		return o.fail(stderr, message.Errorf("--secrets needs root (sudo xl2tpd-keepalive trace --secrets)"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	which, err := newSelection(ctx, strings.Join(o.names, " "))
	if err != nil {
		return o.fail(stderr, err)
	}
	to, err := newTraceSink(t.file, stdout, o.lang)
	if err != nil {
		return o.fail(stderr, err)
	}
	if t.last {
		err = traceLast(ctx, which, to)
	} else {
		err = trace(ctx, o, which, to, stderr)
	}
	if closed := to.close(); err == nil {
		err = closed
	}
	if err != nil {
		return o.fail(stderr, err)
	}
	if t.file != "" && t.file != "-" {
		fmt.Fprintln(stdout, o.lang.Sprintf("%s has %d messages", t.file, to.count))
	}
	return exitOK
}

// messages are where control messages come from.
type messages interface {
	Next() (controltrace.Event, error)
	Close() error
}

// trace shows messages as they come, until ctx ends or there were enough.
func trace(ctx context.Context, o options, which *selection, to *traceSink, stderr io.Writer) error {
	from, err := openTrace(ctx, o, stderr)
	if err != nil {
		return err
	}
	end := sync.OnceFunc(func() {
		if closed := from.Close(); closed != nil {
			o.fail(stderr, closed)
		}
	})
	defer o.sayDrops(stderr, queueFile, queueDrops(queueFile))
	defer end() // and waits for the end that ctx has begun
	stop := context.AfterFunc(ctx, end)
	defer stop()
	for o.trace.count == 0 || to.count < o.trace.count {
		e, err := from.Next()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return message.Errorf("the service has ended the trace: it stops, or too many traces run")
		case err != nil:
			return err
		}
		if err := to.event(ctx, which, e); err != nil {
			return err
		}
	}
	return nil
}

// event shows one event, if it is selected.
func (to *traceSink) event(ctx context.Context, which *selection, e controltrace.Event) error {
	if e.Missed > 0 {
		if err := to.missed(e.Missed); err != nil {
			return err
		}
	}
	if e.Record.Length == 0 {
		return nil
	}
	name, wanted := which.name(ctx, e.Tunnel)
	if !wanted {
		return nil
	}
	return to.put(e.Tunnel, name, &e.Record)
}

// openTrace asks the service for messages, or the kernel if the guard sees none.
func openTrace(ctx context.Context, o options, stderr io.Writer) (messages, error) {
	if o.trace.kernel {
		return openKernelLog(ctx, o.trace.secrets)
	}
	request := socket.Live
	if o.trace.secrets {
		request = socket.Secrets
	}
	why := message.Text("the service is not running")
	c, err := socket.Dial(ctx, socket.DefaultPath, request)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { c.Close() })
		_, err = c.Next() // it says that it is ready
		if stop(); err == nil {
			return c, nil
		}
		c.Close()
		why = "the Hello guard is off, or unavailable"
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, message.Errorf("the service has too many traces at one time")
	case !errors.Is(err, status.ErrNotRunning) && !errors.Is(err, controltrace.ErrNoGuard):
		return nil, err
	}
	fmt.Fprintf(stderr, "xl2tpd-keepalive: %s\n", o.lang.Sprintf("%s, so the kernel logs the messages", why))
	return openKernelLog(ctx, o.trace.secrets)
}

// traceLast shows what the flight recorders have: of each tunnel that has ended, the latest one last, and then of each
// that is there.
func traceLast(ctx context.Context, which *selection, to *traceSink) error {
	all, err := socket.ReadRecordings(ctx, socket.DefaultPath, socket.Recorded)
	if err != nil {
		return err
	}
	for _, k := range all {
		name, wanted := which.name(ctx, k.Tunnel)
		if !wanted {
			continue
		}
		if err := to.recording(name, k); err != nil {
			return err
		}
	}
	return nil
}
