package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"strconv"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/ping"
	"xl2tpd-keepalive/internal/screen"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

const (
	// leastInterval keeps routers from taking two pings for a flood.
	leastInterval = 200 * time.Millisecond
	mostInterval  = time.Hour

	defaultInterval = time.Second // as ping(8)
	defaultData     = 56          // bytes, as ping(8)
)

// pingOptions are the values of ping's flags.
type pingOptions struct {
	ping.Options
	name string
	mtu  bool // find the largest packet that passes, instead
}

func (o *pingOptions) define(flags *flag.FlagSet) {
	parsed(flags, "c", "stop after this `COUNT` of echo requests", func(s string) (err error) {
		o.Count, err = between(s, 1, 1<<31-1)
		return err
	})
	parsed(flags, "i", "time between two echo requests in `SECONDS`, 1 by default", func(s string) error {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || !(seconds >= leastInterval.Seconds() && seconds <= mostInterval.Seconds()) {
			return message.Errorf("should be a number of seconds from %v to %v", leastInterval.Seconds(), mostInterval.Seconds())
		}
		o.Interval = time.Duration(seconds * float64(time.Second))
		return nil
	})
	parsed(flags, "s", "data `BYTES` in each, 56 by default", func(s string) (err error) {
		o.Size, err = between(s, probe.MinData, probe.MaxData)
		return err
	})
	parsed(flags, "M", "`do` not fragment: packets that are too long are lost", func(s string) error {
		if s != "do" {
			return message.Errorf("should be %q: do not fragment", "do")
		}
		o.DontFragment = true
		return nil
	})
	boolean(flags, &o.mtu, "mtu", "find the largest packet that passes, in seconds")
}

// chosen reports whether any flag says how to ping.
func (o *pingOptions) chosen() bool {
	return o.Count != 0 || o.Interval != defaultInterval || o.Size != defaultData || o.DontFragment
}

// parsed defines a flag with a value that set reads.
func parsed(flags *flag.FlagSet, name string, usage message.Text, set func(string) error) {
	flags.Func(name, usage.Marked(), func(s string) error {
		if err := set(s); err != nil {
			return message.Marked(err) // package flag puts its string into another error
		}
		return nil
	})
}

func between(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, message.Errorf("should be a whole number from %d to %d", least, most)
	}
	return n, nil
}

// pinged returns the options of ping. A tunnel's name may have a blank.
func (o options) pinged() pingOptions {
	p := o.ping
	p.name = strings.Join(o.names, " ")
	return p
}

func pingCommand() command {
	return command{
		name: "ping", args: "NAME", words: -1, brief: "show which half of a tunnel's path is slow, or loses packets",
		about: "Two pings run side by side, one inside the tunnel and one outside. Ctrl-C ends both.\n" +
			"With --mtu it finds the largest packet that passes, and what to enter if pages hang.",
		example: "sudo xl2tpd-keepalive ping office -c 20",
		flags: func(f *flag.FlagSet, o *options) {
			o.ping.define(f)
			defineJSON(f, o)
		},
		run: runPing,
	}
}

// runPing runs the command ping.
func runPing(o options, stdout, stderr io.Writer) int {
	if len(o.names) == 0 {
		return o.misused(stderr, "ping", "needs the name of a tunnel, as status has it")
	}
	p := o.pinged()
	if p.mtu && p.chosen() {
		return o.misused(stderr, "ping", "--mtu chooses number, pace and size itself, so it takes no -c, -i, -s or -M")
	}
	ctx, stop := untilSignal()
	defer stop()
	t, err := pingable(ctx, p.name)
	if err != nil {
		return o.fail(stderr, err)
	}
	if p.mtu {
		return pingMTU(ctx, t, o, stdout, stderr)
	}
	return pingBoth(ctx, t, o, stdout, stderr)
}

// pingBoth pings the two halves of a tunnel's path. The exit status shows whether the inner one had a reply.
func pingBoth(ctx context.Context, t *status.Tunnel, with options, stdout, stderr io.Writer) int {
	p := ping.NewPair(t, with.ping.Options)
	out := stdout
	if with.json {
		out = io.Discard
	}
	if err := p.Run(ctx, out, with.lang); err != nil {
		return with.fail(stderr, err)
	}
	var err error
	if with.json {
		err = p.JSON(stdout)
	} else {
		err = p.Summary(stdout, with.lang)
	}
	if err != nil || !p.Answered() {
		return exitError
	}
	return exitOK
}

// pingMTU finds the largest packet that passes through a tunnel. The exit status shows whether it is the one that the
// link claims.
func pingMTU(ctx context.Context, t *status.Tunnel, with options, stdout, stderr io.Writer) int {
	m, finding := doctor.MeasureMTU(ctx, doctor.ThisHost(), t)
	var err error
	if with.json {
		err = json.NewEncoder(stdout).Encode(ping.NewMTUResult(t, m, finding))
	} else {
		err = ping.MTUText(stdout, t, m, finding, screen.Coloured(stdout), with.lang)
	}
	if err != nil {
		return with.fail(stderr, err)
	}
	if finding.Kind == doctor.Problem || finding.Kind == doctor.Unknown {
		return exitError
	}
	return exitOK
}

// pingable returns the tunnel of that name, if this process may ping it.
func pingable(ctx context.Context, name string) (*status.Tunnel, error) {
	r, err := status.Read(ctx, status.DefaultSocket)
	if err != nil {
		return nil, err
	}
	t, err := ping.FindTunnel(r.Tunnels, name)
	if err != nil {
		return nil, err
	}
	err = probe.Permitted()
	if errors.Is(err, probe.ErrPermission) {
		err = message.Errorf("%v (sudo xl2tpd-keepalive ping %s)", err, name)
	}
	return t, err
}
