package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

const (
	// replyTime is how long an echo reply may take. A later one counts as lost.
	replyTime = 5 * time.Second

	// leastInterval keeps routers from taking two pings for a flood.
	leastInterval = 200 * time.Millisecond
	mostInterval  = time.Hour

	defaultInterval = time.Second // as ping(8)
	defaultData     = 56          // bytes, as ping(8)
)

// pingOptions are the values of ping's flags.
type pingOptions struct {
	name         string
	count        int // 0: until Ctrl-C
	interval     time.Duration
	size         int
	dontFragment bool
	mtu          bool // find the largest packet that passes, instead
	json         bool
}

func (o *pingOptions) define(flags *flag.FlagSet) {
	parsed(flags, "c", "stop after this `COUNT` of echo requests", func(s string) (err error) {
		o.count, err = between(s, 1, 1<<31-1)
		return err
	})
	parsed(flags, "i", "time between two echo requests in `SECONDS`, 1 by default", func(s string) error {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || !(seconds >= leastInterval.Seconds() && seconds <= mostInterval.Seconds()) {
			return message.Errorf("should be a number of seconds from %v to %v", leastInterval.Seconds(), mostInterval.Seconds())
		}
		o.interval = time.Duration(seconds * float64(time.Second))
		return nil
	})
	parsed(flags, "s", "data `BYTES` in each, 56 by default", func(s string) (err error) {
		o.size, err = between(s, probe.MinData, probe.MaxData)
		return err
	})
	parsed(flags, "M", "`do` not fragment: packets that are too long are lost", func(s string) error {
		if s != "do" {
			return message.Errorf("should be %q: do not fragment", "do")
		}
		o.dontFragment = true
		return nil
	})
	boolean(flags, &o.mtu, "mtu", "find the largest packet that passes, in seconds")
}

// chosen reports whether any flag says how to ping.
func (o *pingOptions) chosen() bool {
	return o.count != 0 || o.interval != defaultInterval || o.size != defaultData || o.dontFragment
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
	p.name, p.json = strings.Join(o.names, " "), o.json
	return p
}

// pingNamed runs the command ping.
func pingNamed(o options, stdout, stderr io.Writer) int {
	if len(o.names) == 0 {
		return o.misused(stderr, "ping", "needs the name of a tunnel, as status has it")
	}
	p := o.pinged()
	if p.mtu && p.chosen() {
		return o.misused(stderr, "ping", "--mtu chooses number, pace and size itself, so it takes no -c, -i, -s or -M")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	t, err := pingable(ctx, p.name)
	if err != nil {
		return o.fail(stderr, err)
	}
	if p.mtu {
		return pingMTU(ctx, t, o, stdout, stderr)
	}
	return ping(ctx, t, o, stdout, stderr)
}

// ping pings the two halves of a tunnel's path. The exit status shows whether the inner one had a reply.
func ping(ctx context.Context, t *status.Tunnel, with options, stdout, stderr io.Writer) int {
	o := with.pinged()
	p := newPair(t, o)
	out := stdout
	if o.json {
		out = io.Discard
	}
	if err := p.ping(ctx, out, with.lang); err != nil {
		return with.fail(stderr, err)
	}
	var err error
	if o.json {
		err = p.json(stdout)
	} else {
		err = p.summary(stdout, with.lang)
	}
	if err != nil || p.inner.figures.Received == 0 {
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
	t, err := findTunnel(r.Tunnels, name)
	if err != nil {
		return nil, err
	}
	err = probe.Permitted()
	if errors.Is(err, probe.ErrPermission) {
		err = message.Errorf("%v (sudo xl2tpd-keepalive ping %s)", err, name)
	}
	return t, err
}

// pair holds the two pings of one tunnel. The inner one goes through pppN, and so over the outer path too.
type pair struct {
	tunnel       *status.Tunnel
	inner, outer *half // outer is nil if the peer's address is not known
}

// half is one of the two pings.
type half struct {
	name string
	probe.Ping
	figures *probe.Stats // nil: it has not ended yet
	unsent  string       // why the latest request could not be sent; empty: each could
}

func newPair(t *status.Tunnel, o pingOptions) *pair {
	newHalf := func(name, link string, source, target netip.Addr) *half {
		return &half{name: name, Ping: probe.Ping{
			Link: link, Source: source, Target: target,
			Count: o.count, Interval: o.interval, Size: o.size, DontFragment: o.dontFragment, Wait: replyTime,
		}}
	}
	p := &pair{tunnel: t, inner: newHalf("inner", t.Link.Name, t.Link.Local, t.Link.EchoTarget())}
	if t.Peer.IsValid() {
		p.outer = newHalf("outer", "", t.Local, t.Peer)
	}
	return p
}

func (p *pair) halves() []*half {
	if p.outer == nil {
		return []*half{p.inner}
	}
	return []*half{p.inner, p.outer}
}

// ping pings both halves side by side, with a line for each reply, until both are done or ctx ends.
func (p *pair) ping(ctx context.Context, w io.Writer, lang *message.Language) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.head(w, lang)
	var mu sync.Mutex // guards w
	var done sync.WaitGroup
	errs := make([]error, len(p.halves()))
	for i, h := range p.halves() {
		h.Notify = func(pong probe.Pong) {
			mu.Lock()
			defer mu.Unlock()
			h.line(w, pong)
		}
		done.Go(func() {
			if errs[i] = h.Run(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	done.Wait()
	for _, h := range p.halves() {
		h.figures = h.Stats()
	}
	return errors.Join(slices.Compact(errs)...)
}

// findTunnel finds a tunnel that has a link, by any of its names. Its errors list the tunnels.
func findTunnel(all []status.Tunnel, name string) (*status.Tunnel, error) {
	var found []*status.Tunnel
	for i := range all {
		if slices.Contains(names(&all[i]), name) {
			found = append(found, &all[i])
		}
	}
	switch {
	case len(all) == 0:
		return nil, message.Errorf("there is no tunnel (xl2tpd-keepalive doctor looks for the reason)")
	case len(found) == 0:
		return nil, message.Errorf("there is no tunnel %q: name one of %s", status.Printable(name), list(pointers(all)))
	case len(found) > 1:
		return nil, message.Errorf("%q is not one tunnel alone: name one of %s by its pppN", status.Printable(name), list(found))
	case found[0].Link == nil || !found[0].Link.Remote.IsValid():
		return nil, message.Errorf("%s has no link now, so there is nothing to ping: %s (xl2tpd-keepalive status)",
			found[0].Title(), found[0].Doing)
	}
	return found[0], nil
}

// names returns a tunnel's possible names: its pppN; and its section, with or without lac or lns, and with or without
// its xl2tpd, in the order of status or of keepalive.conf.
func names(t *status.Tunnel) (all []string) {
	if t.Link != nil {
		all = append(all, t.Link.Name)
	}
	kind, section, ok := strings.Cut(t.Name, " ")
	if !ok {
		return all
	}
	all = append(all, t.Name, section)
	if t.Instance != "" {
		all = append(all, t.Title(), t.Instance+" "+section, kind+" "+t.Instance+" "+section)
	}
	return all
}

// list names tunnels in one line.
func list(tunnels []*status.Tunnel) message.Text {
	var all []message.Text
	for _, t := range tunnels {
		link := message.Text("no link")
		if t.Link != nil {
			link = message.Data(status.Printable(t.Link.Name))
		}
		all = append(all, message.Sprintf("%s, %s", t.Title(), link))
	}
	return message.Join(all, "%s; %s")
}

func pointers(all []status.Tunnel) (p []*status.Tunnel) {
	for i := range all {
		p = append(p, &all[i])
	}
	return p
}
