package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/trace"
)

// traceOptions are the values of trace's flags.
type traceOptions struct {
	trace.Live
	file string // empty: lines on standard output
	last bool
}

func (o *traceOptions) define(flags *flag.FlagSet) {
	parsed(flags, "c", "stop after this `COUNT` of messages", func(s string) (err error) {
		o.Count, err = between(s, 1, 1<<31-1)
		return err
	})
	word(flags, &o.file, "w", "write pcapng to this `FILE`, for Wireshark and tshark")
	boolean(flags, &o.last, "last", "show the last messages of each tunnel instead, also before its latest drop")
	boolean(flags, &o.Kernel, "kernel", "ask the kernel for the messages, and not the Hello guard")
	boolean(flags, &o.Secrets, "secrets", "do not blank challenges, responses and hidden attributes")
}

func traceCommand() command {
	return command{
		name: "trace", args: "[NAME]", words: -1, brief: "show the L2TP messages of tunnels, and what the Hello guard does",
		about: "One line is one message, as its sender numbers it and as its receiver gets it. Ctrl-C ends it.\n" +
			"NAME is a tunnel as status has it, or the peer's address. Without the guard the kernel logs the messages.",
		example: "sudo xl2tpd-keepalive trace office -w office.pcapng",
		flags:   func(f *flag.FlagSet, o *options) { o.trace.define(f) },
		run:     runTrace,
	}
}

// runTrace runs the command trace.
func runTrace(o options, stdout, stderr io.Writer) int {
	t := o.trace
	switch {
	case t.last && t.Kernel:
		return o.misused(stderr, "trace", "--last and --kernel exclude each other")
	case t.last && t.Secrets:
		return o.misused(stderr, "trace", "--last has no secrets: the service does not keep them")
	case t.Secrets && os.Geteuid() != 0:
		return o.fail(stderr, message.Errorf("--secrets needs root (sudo xl2tpd-keepalive trace --secrets)"))
	}
	ctx, stop := untilSignal()
	defer stop()
	which, err := trace.NewSelection(ctx, strings.Join(o.names, " "))
	if err != nil {
		return o.fail(stderr, err)
	}
	to, err := trace.NewSink(t.file, stdout, "xl2tpd-keepalive "+version, o.lang)
	if err != nil {
		return o.fail(stderr, unwritable(t.file, err))
	}
	if t.last {
		err = trace.Last(ctx, which, to)
	} else {
		err = t.Follow(ctx, which, to, func(err error) { o.fail(stderr, err) })
	}
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return o.fail(stderr, err)
	}
	if t.last && t.file == "" && to.Count() == 0 {
		fmt.Fprintln(stderr, o.lang.Sprintf("no messages are kept: the Hello guard has seen none since the service started, or the tunnel was hung up"))
	}
	if t.file != "" && t.file != "-" {
		fmt.Fprintln(stdout, o.lang.Sprintf("%s has %d messages", t.file, to.Count()))
	}
	return exitOK
}
